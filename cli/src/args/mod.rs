//! What can be typed: every subcommand, option and help text. What it means is decided in [`crate::commands`].

pub(crate) mod chat;
pub(crate) mod metainfo;
pub(crate) mod tls;
pub(crate) mod tracker;
pub(crate) mod transfer;
pub(crate) mod values;

use crate::exit::EXIT_CODES_HELP;
use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

/// Move files among N machines as a BitTorrent swarm.
///
/// `swarm share PATH` on the machine that has the files prints one line to run on every other machine. Everyone who
/// has received a part passes it on, so that ten machines take hardly longer than one. Metainfo files (.meta) are
/// byte for byte .torrent files, and every BitTorrent client can take part.
#[derive(Parser, Debug)]
#[command(name = "swarm", version, propagate_version = true, after_long_help = EXIT_CODES_HELP)]
#[command(after_help = "Run 'swarm help COMMAND' for a command's options and examples, 'swarm --help' for exit codes.")]
#[command(arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Tell more on standard error: -v what happens, -vv why, -vvv every message.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Share a file or folder at once: metainfo, tracker and seed in one command.
    Share(transfer::ShareArguments),
    /// Fetch what metainfo files describe, and resume what was begun.
    Fetch(transfer::FetchArguments),
    /// Serve files that are on disk already.
    Seed(transfer::SeedArguments),
    /// Make a metainfo file of a file or folder.
    MakeMeta(metainfo::MakeMetaArguments),
    /// Show everything that is in a metainfo file.
    Show(metainfo::ShowArguments),
    /// Compare files on disk with a metainfo file.
    Verify(metainfo::VerifyArguments),
    /// Run a tracker: HTTP, UDP and native over one store.
    Tracker(Box<tracker::TrackerArguments>),
    /// List the files that a native tracker offers.
    Ls(tracker::ListArguments),
    /// Offer a metainfo file by name on a native tracker.
    Publish(tracker::PublishArguments),
    /// Take back what was published from this machine.
    Unpublish(tracker::UnpublishArguments),
    /// List the peers of a native tracker, or of one of its files.
    Peers(tracker::PeersArguments),
    /// Ask trackers how many seeds and leechers torrents have.
    Scrape(tracker::ScrapeArguments),
    /// Talk to a native tracker: list, publish, fetch, one command after the other.
    Shell(tracker::ShellArguments),
    /// Talk with the people of a torrent, and hand files over.
    Chat(chat::ChatArguments),
    /// Make a room to chat in that needs no files.
    Room(chat::RoomArguments),
    /// Who you are in chats, whom you trust, and whom you want to hear nothing of.
    Id(chat::IdArguments),
    /// Print the completion script of a shell.
    Completions(CompletionsArguments),
    /// Write the manual pages into a folder.
    Man(ManArguments),
}

/// Arguments of `completions`.
#[derive(Args, Debug)]
#[command(after_help = "Example: swarm completions bash > ~/.local/share/bash-completion/completions/swarm")]
pub(crate) struct CompletionsArguments {
    /// Which shell.
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Args, Debug)]
#[command(after_help = "Example: swarm man ~/.local/share/man/man1")]
pub(crate) struct ManArguments {
    /// The folder; made if it is not there.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_tells_the_true_defaults() {
        let store = swarm_tracker_core::StoreConfig::default();
        assert_eq!((store.max_torrents, store.max_peers, store.interval.as_secs()), (200_000, 2_000_000, 300));
        assert_eq!(swarm_engine::SessionConfig::default().max_peers, 80);
        let mut command = Arguments::command();
        let mut help = |name| command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        let (tracker, fetch) = (help("tracker"), help("fetch"));
        for default in ["by default 200,000", "by default 2,000,000", "by default 5m"] {
            assert!(tracker.contains(default), "{tracker}");
        }
        assert!(fetch.contains("by default 80"), "{fetch}");
    }

    #[test]
    fn the_lines_of_the_measuring_harness_parse() {
        let lines = [
            "swarm seed X.torrent --path DIR --listen 0.0.0.0:7001 --quiet --peer 10.0.0.2:7002",
            "swarm fetch X.torrent -o DIR --listen 0.0.0.0:7002 --quiet --peer 10.0.0.1:7001 --seed-after",
            "swarm tracker http --listen 0.0.0.0:6969 --log-json",
            "swarm tracker --http 0.0.0.0:6969 --native 0.0.0.0:6970 --max-peers 1000",
            "swarm tracker --config FILE",
            "swarm chat X.meta --say hello --timeout 10s --peer 10.0.0.2:7002",
            "swarm fetch X.torrent -o DIR --chat --plain --nick anna",
            "swarm chat X.meta --no-name-lookups",
            "swarm seed X.torrent --chat --no-name-lookups",
            "swarm id import key.txt --force",
            "swarm make-meta PATH --tier http://a/announce,http://b/announce --tracker native://c:6970 --piece-length 1M",
        ];
        for line in lines {
            assert!(Arguments::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let lines = [
            "swarm fetch",
            "swarm tracker",
            "swarm tracker http --listen 0.0.0.0:1 --http 0.0.0.0:2",
            "swarm fetch X --quiet --json",
            "swarm make-meta PATH --peer box",
            "swarm chat X --plain --json",
            "swarm chat X --timeout 3s",
            "swarm seed X --plain",
            "swarm room",
        ];
        for line in lines {
            assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
