//! Options of the commands that move data.

use super::chat::ChatOptionArguments;
use super::metainfo::ContentArguments;
use super::values::{self, HostPort};
use clap::{Args, ValueEnum, ValueHint};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Whom to serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Profile {
    /// Tit for tat with upload slots, as public swarms expect it.
    #[default]
    Public,
    /// Everybody at once: machines of one owner on one network.
    Lan,
}

/// Options that `seed`, `fetch` and `share` have in common.
#[derive(Args, Debug)]
#[command(next_help_heading = "Transfer options")]
pub(crate) struct TransferArguments {
    /// Take connections here; by default a free port from 6881 to 6999 on every address.
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen)]
    pub(crate) listen: Option<SocketAddr>,

    /// Connect to this peer too, with or without a tracker; may be repeated.
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = values::host_port)]
    pub(crate) peers: Vec<HostPort>,

    /// Ask this tracker too (http, https, udp, native); may be repeated.
    #[arg(long = "tracker", value_name = "URL", value_parser = values::tracker, value_hint = ValueHint::Url)]
    pub(crate) trackers: Vec<String>,

    /// Connections of a torrent at most; by default 80. Never more than the limit of open files leaves.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) max_peers: Option<u32>,

    /// Receive at most so many bytes a second, such as 5M.
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) down_limit: Option<u64>,

    /// Send at most so many bytes a second, such as 500K.
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) up_limit: Option<u64>,

    /// Whom to serve.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) profile: Profile,

    /// Print nothing but errors.
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,

    /// Print one JSON object a line on standard output for every event and for the state once a second.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `fetch`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  swarm fetch http://192.168.1.5:7880/holiday.meta      # the line that 'swarm share' printed
  swarm fetch debian.torrent -o ~/downloads --seed-ratio 2
  swarm fetch native://box:6970/disk.img --give-up 30s && echo here

What is on disk already is checked and kept, so running the same command again goes on where it ended.")]
pub(crate) struct FetchArguments {
    /// Metainfo files: paths, http(s):// URLs, or native://HOST:PORT/NAME.
    #[arg(value_name = "META", required = true)]
    pub(crate) sources: Vec<String>,

    /// The folder to put the content into.
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Replace files that are in the way and are no part of an earlier fetch of the same torrent.
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Reserve the space of all files at the start.
    #[arg(long)]
    pub(crate) preallocate: bool,

    /// Fetch pieces in order instead of rarest first.
    #[arg(long)]
    pub(crate) sequential: bool,

    /// Hash what is on disk already before the first byte moves, even if a record says that it is right.
    #[arg(long)]
    pub(crate) verify_first: bool,

    /// Give up when nothing has come for so long, such as 30s, be it for the lack of peers or of room on the disk; by
    /// default never.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) give_up: Option<Duration>,

    /// Go on serving when all is there, until Ctrl-C.
    #[arg(long)]
    pub(crate) seed_after: bool,

    /// Go on serving until so many times the content has been sent, or --seed-time is over.
    #[arg(long, value_name = "RATIO", value_parser = values::ratio)]
    pub(crate) seed_ratio: Option<f64>,

    /// Go on serving for so long, such as 2h, or until --seed-ratio is reached.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) seed_time: Option<Duration>,

    #[command(flatten)]
    pub(crate) transfer: TransferArguments,

    #[command(flatten)]
    pub(crate) chat: ChatOptionArguments,
}

/// Arguments of `seed`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  swarm seed holiday.meta --path ~/pictures
  swarm seed *.meta --path /srv/images --up-limit 20M --profile lan")]
pub(crate) struct SeedArguments {
    /// Metainfo files: paths, http(s):// URLs, or native://HOST:PORT/NAME.
    #[arg(value_name = "META", required = true)]
    pub(crate) sources: Vec<String>,

    /// The content, or the folder that contains it; by default the current folder, then that of the metainfo file.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: Option<PathBuf>,

    /// Hash everything before the first byte leaves, even if a record says that it is right.
    #[arg(long)]
    pub(crate) verify_first: bool,

    #[command(flatten)]
    pub(crate) transfer: TransferArguments,

    #[command(flatten)]
    pub(crate) chat: ChatOptionArguments,
}

/// Arguments of `share`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  swarm share holiday/
  swarm share disk.img --profile lan --address 10.0.0.5

Prints one line to run on the other machines and serves until Ctrl-C.")]
pub(crate) struct ShareArguments {
    /// The file or folder to share.
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,

    /// The address or host name to print; by default the one by which this machine reaches its network.
    #[arg(long, value_name = "HOST", value_parser = address)]
    pub(crate) address: Option<String>,

    /// Port of the page that hands out the metainfo; by default a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub(crate) http_port: u16,

    #[command(flatten)]
    pub(crate) content: ContentArguments,

    #[command(flatten)]
    pub(crate) transfer: TransferArguments,

    #[command(flatten)]
    pub(crate) chat: ChatOptionArguments,
}

/// An address, or a name that can stand in a URL.
fn address(text: &str) -> Result<String, String> {
    let literal = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    match literal {
        Ok(IpAddr::V6(address)) => Ok(format!("[{address}]")),
        Ok(IpAddr::V4(address)) => Ok(address.to_string()),
        Err(_) if name => Ok(text.to_owned()),
        Err(_) => Err("an address such as 192.168.1.5, or a host name".to_owned()),
    }
}
