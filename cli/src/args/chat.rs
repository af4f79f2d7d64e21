//! Options of the commands that have to do with people: `chat`, `room`, `id`, and `--chat` beside others.

use super::transfer::TransferArguments;
use super::values::{self, HostPort, Tier};
use crate::chat::pictures::terminal::{Graphics, Wanted};
use clap::builder::{FalseyValueParser, NonEmptyStringValueParser};
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;
use std::time::Duration;
use swarm_proto::native::NativeUrl;

/// Arguments of `chat`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  swarm chat holiday.meta
  swarm chat room.meta --nick anna --peer 192.168.1.5:6881
  swarm chat room.meta --say 'the build is done' --timeout 10s && echo somebody knows
  tail -f log | swarm chat room.meta --plain

Type /help in the room. Nothing of the torrent's own files is fetched: that is 'swarm fetch --chat'.")]
pub(crate) struct ChatArguments {
    /// A metainfo file, whose swarm is the room: a path, an http(s):// URL, or native://HOST:PORT/NAME.
    #[arg(value_name = "META")]
    pub(crate) source: String,

    /// How to be called; by default the name of the user.
    #[arg(long, value_name = "NAME", value_parser = nick)]
    pub(crate) nick: Option<String>,

    /// Lines instead of the whole terminal; so too where standard input or output is none.
    #[arg(long, conflicts_with = "json")]
    pub(crate) plain: bool,

    /// Say this, and end once somebody has it; exit code 5 if nobody does within --timeout.
    #[arg(long, value_name = "TEXT", conflicts_with = "plain")]
    pub(crate) say: Option<String>,

    /// How long --say waits, such as 10s.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::interval, requires = "say")]
    pub(crate) timeout: Duration,

    /// The folder for files that others hand over.
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) names: NameArguments,

    #[command(flatten)]
    pub(crate) pictures: PictureArguments,

    #[command(flatten)]
    pub(crate) transfer: TransferArguments,
}

/// How pictures are shown that others hand over.
#[derive(Args, Debug)]
pub(crate) struct PictureArguments {
    /// How the terminal of a chat takes pictures.
    #[arg(long, value_name = "HOW", value_enum, default_value = "auto", env = "SWARM_PICTURES")]
    #[cfg_attr(not(feature = "pictures"), arg(hide = true))]
    pictures: Wanted,
}

impl PictureArguments {
    /// How to show pictures on this terminal; `None`: not at all.
    pub(crate) fn graphics(&self) -> Option<Graphics> {
        let graphics = self.pictures.graphics(|name| std::env::var(name).ok());
        graphics.filter(|_| cfg!(feature = "pictures"))
    }
}

/// What native trackers learn of the people in a room.
#[derive(Args, Debug)]
pub(crate) struct NameArguments {
    /// Ask no native tracker whose the names in the room are; it would learn how people are called.
    #[arg(long, env = "SWARM_NO_NAME_LOOKUPS", value_parser = FalseyValueParser::new())]
    no_name_lookups: bool,
}

impl NameArguments {
    /// Whether trackers are asked.
    pub(crate) fn look_up(&self) -> bool {
        !self.no_name_lookups
    }
}

/// `--chat` beside `seed`, `fetch` and `share`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Chat options")]
pub(crate) struct ChatOptionArguments {
    /// Talk with the people of the torrent meanwhile, and stay until /quit or Ctrl-C; takes one torrent.
    #[arg(long)]
    pub(crate) chat: bool,

    /// How to be called in the chat; by default the name of the user.
    #[arg(long, value_name = "NAME", value_parser = nick, requires = "chat")]
    pub(crate) nick: Option<String>,

    /// Chat in lines on standard error instead of on the whole terminal; so too where there is none.
    #[arg(long, requires = "chat", conflicts_with = "json")]
    pub(crate) plain: bool,

    #[command(flatten)]
    pub(crate) names: NameArguments,

    #[command(flatten)]
    pub(crate) pictures: PictureArguments,
}

/// Arguments of `room`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  swarm room family --tracker native://box:6970
  swarm room office --peer 192.168.1.5:6881 -o office.meta

Hand the file around; 'swarm chat FILE' enters the room. Each room is another one, whatever its name.")]
pub(crate) struct RoomArguments {
    /// The name of the room.
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,

    /// The file to write; by default the name with .meta behind it, in the current folder.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Overwrite the output file.
    #[arg(long)]
    pub(crate) force: bool,

    /// Print nothing but errors.
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// Announce URL of a tracker (http, https, udp, native); may be repeated, each is a tier of its own.
    #[arg(long = "tracker", value_name = "URL", value_parser = values::tracker, value_hint = ValueHint::Url)]
    pub(crate) trackers: Vec<String>,

    /// Trackers of one tier, asked in place of one another (BEP 12); may be repeated, comes behind --tracker.
    #[arg(long = "tier", value_name = "URL,URL…", value_parser = values::tier)]
    pub(crate) tiers: Vec<Tier>,

    /// A machine that will be in the room, for people that find no tracker; may be repeated.
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = values::host_port)]
    pub(crate) peers: Vec<HostPort>,
}

/// Arguments of `id`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  swarm id show
  swarm id export key.txt              # whoever has this file is you
  swarm id trust k3j2-9qxa-77bd-m2vz   # after comparing it, over another way, with its owner
  swarm id register anna --tracker native://box:6970

The key is made on first use and lies in $XDG_STATE_HOME/swarm/chat, readable by you alone.")]
pub(crate) struct IdArguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) what: IdCommand,
}

/// What to do with identities.
#[derive(Subcommand, Debug)]
pub(crate) enum IdCommand {
    /// Show your fingerprint and key, and everybody you know.
    Show {
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Write your secret key to a file, or to standard output.
    Export {
        /// The file, which must not be there yet; readable by you alone.
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Take a secret key that was exported.
    Import {
        /// The file; - is standard input.
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Give up the key that is there: nobody can be its person any more.
        #[arg(long)]
        force: bool,
    },
    /// A fingerprint was compared and is right.
    Trust(Whom),
    /// Hear nothing of somebody, and pass nothing on.
    Block(Whom),
    /// Neither trust nor block somebody any longer.
    Unblock(Whom),
    /// Register a name for your key at a native tracker, or renew it: it is nobody else's there.
    Register(AtTracker),
    /// Whose a name is at a native tracker, or which name a key of 64 digits has.
    Lookup(AtTracker),
    /// Give back a name of yours at a native tracker.
    Release(AtTracker),
}

/// A name at a tracker.
#[derive(Args, Debug)]
pub(crate) struct AtTracker {
    /// The name: 1 to 64 bytes, the same in upper and lower case.
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,

    /// The tracker.
    #[arg(long, value_name = "native://HOST:PORT[/KEY]", value_hint = ValueHint::Url, value_parser = NativeUrl::tracker)]
    pub(crate) tracker: NativeUrl,

    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whom.
#[derive(Args, Debug)]
pub(crate) struct Whom {
    /// A name or fingerprint of somebody you have met, or a key of 64 digits.
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
}

/// A name to be called by; the room has its own rules too.
fn nick(text: &str) -> Result<String, String> {
    swarm_proto::chat::chosen_name(text).map_err(|fault| fault.to_string())
}
