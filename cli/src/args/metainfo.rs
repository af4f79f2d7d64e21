//! Options of the commands that make, show and check metainfo files.

use super::values::{self, HostPort, PieceLength, Tier};
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Arguments of `make-meta`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  swarm make-meta holiday/ --tracker http://box:6969/announce
  swarm make-meta disk.img -o out/disk.meta --tier http://a/announce,http://b/announce --piece-length 4M
  swarm make-meta src/ --exclude '*.o' --exclude target --no-date

The same content and options give the same bytes, apart from the creation date (leave it out with --no-date).
A metainfo lists files, so empty folders are left out.")]
pub(crate) struct MakeMetaArguments {
    /// The file or folder to describe.
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,

    /// The file to write; by default the name of PATH with .meta behind it, in the current folder.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Overwrite the output file even if it describes something else.
    #[arg(long)]
    pub(crate) force: bool,

    /// Print nothing but errors.
    #[arg(long, short)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) content: ContentArguments,

    /// Announce URL of a tracker (http, https, udp, native); may be repeated, each is a tier of its own.
    #[arg(long = "tracker", value_name = "URL", value_parser = values::tracker, value_hint = ValueHint::Url)]
    pub(crate) trackers: Vec<String>,

    /// Trackers of one tier, asked in place of one another (BEP 12); may be repeated, comes behind --tracker.
    #[arg(long = "tier", value_name = "URL,URL…", value_parser = values::tier)]
    pub(crate) tiers: Vec<Tier>,

    /// A machine that will have the content, for peers that find no tracker; may be repeated.
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = values::host_port)]
    pub(crate) peers: Vec<HostPort>,

    /// A web server that has the content (BEP 19); may be repeated.
    #[arg(long = "web-seed", value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) web_seeds: Vec<String>,

    /// Leave out the creation date.
    #[arg(long)]
    pub(crate) no_date: bool,
}

/// What becomes of the content: everything that decides the info hash, and the comment.
#[derive(Args, Debug)]
pub(crate) struct ContentArguments {
    /// Bytes of a piece: a power of two from 16K to 16M; auto aims at 1,000 to 2,000 pieces.
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = values::piece_length)]
    pub(crate) piece_length: PieceLength,

    /// Let peers find each other through the trackers only (BEP 27).
    #[arg(long)]
    pub(crate) private: bool,

    /// A remark for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,

    /// Where this comes from; gives the same content another info hash.
    #[arg(long, value_name = "TEXT")]
    pub(crate) source: Option<String>,

    /// Take hidden files too, those whose names begin with a dot.
    #[arg(long)]
    pub(crate) hidden: bool,

    /// Leave out what matches, as a name or as a path inside the folder; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
}

/// Arguments of `show`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  swarm show holiday.meta
  swarm show https://example.org/debian.torrent --json | jq -r .info_hash")]
pub(crate) struct ShowArguments {
    /// A metainfo file: a path, an http(s):// URL, or native://HOST:PORT/NAME.
    #[arg(value_name = "META")]
    pub(crate) source: String,

    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  swarm verify holiday.meta ~/pictures        # the folder that contains holiday/
  swarm verify disk.meta /mnt/disk.img --json

Exits with 1 if anything is missing or wrong, and names the pieces and files.")]
pub(crate) struct VerifyArguments {
    /// A metainfo file: a path, an http(s):// URL, or native://HOST:PORT/NAME.
    #[arg(value_name = "META")]
    pub(crate) source: String,

    /// The content, or the folder that contains it under its name.
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,

    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,

    /// Show no progress bar, and print nothing if all is right.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
