//! Options of the trackers and of the catalogue that a native tracker keeps.

use super::tls::TlsArguments;
use super::values;
use clap::{Args, Subcommand, ValueHint};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use swarm_proto::native::{Name, NameError, NativeUrl};
use swarm_tracker_http::IpNetwork;
use swarm_tracker_redis::Address;

/// Arguments of `tracker`.
#[derive(Args, Debug)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  swarm tracker http --listen 0.0.0.0:6969
  swarm tracker --http :6969 --udp :6969 --native :6970 --state /var/lib/swarm/tracker
  swarm tracker --tls :443 --tls-cert chain.pem --tls-key key.pem
  swarm tracker native --listen 0.0.0.0:6970 --log-json

A peer that announces over one dialect is found over the others. Started on a terminal, the native
tracker has a console: type 'help'.")]
pub(crate) struct TrackerArguments {
    /// One dialect only.
    #[command(subcommand)]
    pub(crate) dialect: Option<Dialect>,

    /// Speak HTTP here; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen)]
    #[arg(required_unless_present_any = ["tls", "udp", "native", "config"])]
    pub(crate) http: Vec<SocketAddr>,

    /// Speak UDP here; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen)]
    pub(crate) udp: Vec<SocketAddr>,

    /// Speak the native protocol here.
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen)]
    pub(crate) native: Option<SocketAddr>,

    /// Take options from this TOML file too; what is typed counts more. A key is an option without
    /// its dashes. SIGHUP has it read again.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) tls: Box<TlsArguments>,

    #[command(flatten)]
    pub(crate) proxies: ProxyArguments,

    #[command(flatten)]
    pub(crate) datagrams: DatagramArguments,

    #[command(flatten)]
    pub(crate) service: ServiceArguments,
}

/// Options of the HTTP dialect behind reverse proxies.
#[derive(Args, Debug)]
pub(crate) struct ProxyArguments {
    /// A reverse proxy whose word on the asker's address is taken: an address or a range such as
    /// 10.0.0.0/8; may be given more than once.
    #[arg(long, value_name = "RANGE")]
    pub(crate) proxy: Vec<IpNetwork>,

    /// The header in which proxies name the asker; by default X-Forwarded-For.
    #[arg(long, value_name = "NAME")]
    pub(crate) proxy_header: Option<String>,
}

/// One dialect only.
#[derive(Subcommand, Debug)]
pub(crate) enum Dialect {
    /// The announce protocol of BEP 3 over HTTP.
    Http(DialectArguments),
    /// The announce protocol of BEP 15 over UDP.
    Udp(UdpArguments),
    /// The native protocol, with catalogue, names and push.
    Native(DialectArguments),
    /// Show the numbers of a running tracker that speaks HTTP.
    Top(TopArguments),
}

/// Arguments of `tracker top`.
#[derive(Args, Debug)]
#[command(after_help = "Example: swarm tracker top http://box:6969")]
pub(crate) struct TopArguments {
    /// The tracker; what stands behind the port does not count.
    #[arg(value_name = "http://HOST:PORT", value_hint = ValueHint::Url)]
    pub(crate) tracker: String,

    /// Time between two looks.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = values::interval)]
    pub(crate) every: Duration,

    /// Look once.
    #[arg(long)]
    pub(crate) once: bool,

    /// Print one JSON object a look.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `tracker http` and `tracker native`.
#[derive(Args, Debug)]
pub(crate) struct DialectArguments {
    /// Where to take connections.
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen)]
    pub(crate) listen: SocketAddr,

    #[command(flatten)]
    pub(crate) service: ServiceArguments,
}

/// Arguments of `tracker udp`.
#[derive(Args, Debug)]
pub(crate) struct UdpArguments {
    #[command(flatten)]
    pub(crate) datagrams: DatagramArguments,

    #[command(flatten)]
    pub(crate) dialect: DialectArguments,
}

/// Options of the UDP dialect.
#[derive(Args, Debug)]
pub(crate) struct DatagramArguments {
    /// Make connection ids with the key in this file (32 hex digits), so that trackers behind one name
    /// know each other's; by default with one of its own.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) udp_key: Option<PathBuf>,
}

/// Options of every tracker.
#[derive(Args, Debug)]
pub(crate) struct ServiceArguments {
    /// Torrents to remember at most; by default 200,000. One more takes the place of one with
    /// at most one peer, or is refused.
    #[arg(long, value_name = "N")]
    pub(crate) max_torrents: Option<usize>,

    /// Peers to remember at most, over all torrents; by default 2,000,000. One more takes the place of one
    /// that has been silent for long, or is refused.
    #[arg(long, value_name = "N")]
    pub(crate) max_peers: Option<usize>,

    /// Time between two announces of a peer, such as 30m; by default 5m, at most 4h.
    #[arg(long, value_name = "TIME", value_parser = values::announce_interval)]
    pub(crate) interval: Option<Duration>,

    /// Track the torrents whose info hashes stand in this file, one a line, and no others. This file, and
    /// those of --deny and --keys, are read again at SIGHUP.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) allow: Option<PathBuf>,

    /// Do not track the torrents whose info hashes stand in this file, one a line.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) deny: Option<PathBuf>,

    /// Serve only those who have one of the keys in this file in their announce URL (/KEY/announce): one a
    /// line, with its limits or without, such as 'KEY max-torrents=20 max-peers=40'.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) keys: Option<PathBuf>,

    /// Where several trackers meet: redis://HOST:PORT, or redis-cluster://HOST:PORT,HOST:PORT; valkey means
    /// the same. By default 'memory': this tracker is alone.
    #[arg(long, value_name = "STORE", value_parser = store)]
    pub(crate) store: Option<Backing>,

    /// Remember peers and published files here over a restart.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) state: Option<PathBuf>,

    /// Become this user once the sockets are open; the state must be in a folder of that user.
    #[arg(long, value_name = "USER", value_hint = ValueHint::Username)]
    pub(crate) user: Option<String>,

    /// Whoever knows the token in this file may close the tracker from afar, with 'shutdown' in 'swarm shell'. 16 bytes
    /// at the least; only the native dialect can be asked.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) admin_token_file: Option<PathBuf>,

    /// Write the log as one JSON object a line.
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// What stands behind the store in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Backing {
    /// Nothing.
    Memory,
    /// Redis or Valkey.
    Redis(Address),
}

fn store(text: &str) -> Result<Backing, String> {
    if text == "memory" {
        return Ok(Backing::Memory);
    }
    let explain = || format!("'{text}' is no store: memory, redis://HOST:PORT or redis-cluster://HOST:PORT,HOST:PORT");
    Address::parse(text).map(Backing::Redis).ok_or_else(explain)
}

/// Arguments of `ls`.
#[derive(Args, Debug)]
#[command(after_help = "Example: swarm ls native://box:6970 debian-")]
pub(crate) struct ListArguments {
    /// The tracker; a private one with your key.
    #[arg(value_name = "native://HOST:PORT[/KEY]", value_hint = ValueHint::Url, value_parser = NativeUrl::tracker)]
    pub(crate) tracker: NativeUrl,

    /// Only names that begin so.
    #[arg(default_value = "")]
    pub(crate) prefix: String,

    /// Only names with this in them, in upper or lower case.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) contains: String,

    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `scrape`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  swarm scrape debian.torrent
  swarm scrape 0123456789abcdef0123456789abcdef01234567 --tracker udp://box:6969 --json")]
pub(crate) struct ScrapeArguments {
    /// Metainfo files (a path, an http(s):// URL, or native://HOST:PORT/NAME), or info hashes of 40 hexadecimal digits.
    #[arg(value_name = "META|HASH", required = true)]
    pub(crate) torrents: Vec<String>,

    /// Ask this tracker (http, https, udp or native); may be repeated. By default those in the metainfo.
    #[arg(long = "tracker", value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) trackers: Vec<String>,

    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `shell`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example: swarm shell native://box:6970
         printf 'get debian.iso\\n' | swarm shell native://box:6970 -o downloads

On a terminal there are history and completion, and what is printed never cuts through what is typed. Lines
may come from a pipe too: then the shell ends when all are done and everything is fetched, with the exit code
of the last thing that failed.")]
pub(crate) struct ShellArguments {
    /// The tracker; a private one with your key.
    #[arg(value_name = "native://HOST:PORT[/KEY]", value_hint = ValueHint::Url, value_parser = NativeUrl::tracker)]
    pub(crate) tracker: NativeUrl,

    /// Where fetched files go.
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Where to take connections of other peers; by default a usual port of every address.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,

    /// The token for 'shutdown', if that names no other.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) admin_token_file: Option<PathBuf>,
}

/// Arguments of `publish`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example: swarm publish disk.meta native://box:6970 && swarm seed disk.meta --tracker native://box:6970

A token proves to the tracker who owns the name. It is kept in $XDG_STATE_HOME/swarm, or in
~/.local/state/swarm, for publishing anew and for 'swarm unpublish'.")]
pub(crate) struct PublishArguments {
    /// A metainfo file: a path, or an http(s):// URL.
    #[arg(value_name = "META")]
    pub(crate) source: String,

    /// The tracker; a private one as native://HOST:PORT/KEY/.
    #[arg(value_name = "native://HOST:PORT", value_hint = ValueHint::Url)]
    pub(crate) tracker: NativeUrl,

    /// The name to publish under; by default the one in the metainfo.
    #[arg(long, value_parser = name)]
    pub(crate) name: Option<Name>,
}

/// Arguments of `unpublish`.
#[derive(Args, Debug)]
#[command(after_help = "Example: swarm unpublish native://box:6970/disk.img")]
pub(crate) struct UnpublishArguments {
    /// The tracker and the published name; a private tracker as native://HOST:PORT/KEY/NAME.
    #[arg(value_name = "native://HOST:PORT/NAME", value_hint = ValueHint::Url)]
    pub(crate) file: NativeUrl,
}

/// Arguments of `peers`.
#[derive(Args, Debug)]
#[command(after_help = "Example: swarm peers native://box:6970/disk.img")]
pub(crate) struct PeersArguments {
    /// The tracker, or one of its files; a private tracker as native://HOST:PORT/KEY/, with the NAME behind it or not.
    #[arg(value_name = "native://HOST:PORT[/NAME]", value_hint = ValueHint::Url)]
    pub(crate) tracker: NativeUrl,

    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A name that can stand in a catalogue.
fn name(text: &str) -> Result<Name, NameError> {
    Name::new(text)
}
