//! What goes into a store and comes out of it.

use crate::rate::TooOften;
use crate::record::PeerTag;
use std::net::SocketAddr;
use std::time::Duration;
use swarm_proto::announce::{AnnounceEvent, PeerAddress};
use swarm_proto::id::{InfoHash, PeerId};

/// When somebody who found the tracker full may come again.
const FULL_RETRY: Duration = Duration::from_secs(15 * 60);
/// When somebody whose network asked too often may come again: a minute fills a good part of its bucket.
const TOO_OFTEN_RETRY: Duration = Duration::from_secs(60);

/// By which protocol something was announced.
///
/// It says how an answer is put together, not what the peer can do: peers of every dialect speak BitTorrent among each
/// other, so everybody may be told of everybody.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// BEP 3.
    Http,
    /// BEP 15: its answers hold peers of the asker's address family only.
    Udp,
    /// The native protocol.
    Native,
}

/// An announce, as the store needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreAnnounce<'a> {
    /// The torrent.
    pub info_hash: InfoHash,
    /// How the peer calls itself.
    pub peer_id: PeerId,
    /// Where the peer takes connections: the source address as the tracker saw it, and the port that the peer named.
    pub address: SocketAddr,
    /// Bytes that the peer lacks; 0 makes it a seed.
    pub left: u64,
    /// Why it announces.
    pub event: AnnounceEvent,
    /// How many peers it wants.
    pub num_want: Option<u32>,
    /// How it came in.
    pub dialect: Dialect,
    /// The key that its user was given, where there is one (see [`passkey_of`](crate::passkey_of)).
    pub passkey: Option<&'a [u8]>,
}

impl StoreAnnounce<'_> {
    /// Whether the answer may have peers in it.
    pub(crate) fn wants_peers(&self) -> bool {
        self.num_want != Some(0) && self.event != AnnounceEvent::Stopped
    }
}

/// Counts of a swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SwarmCounts {
    /// Seeds in the swarm.
    pub complete: u32,
    /// Leechers in the swarm.
    pub incomplete: u32,
    /// Peers that have completed the torrent so far.
    pub downloaded: u32,
}

/// The answer to an announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreReply {
    /// Seeds in the swarm.
    pub complete: u32,
    /// Leechers in the swarm.
    pub incomplete: u32,
    /// Peers that have completed the torrent so far.
    pub downloaded: u32,
    /// Chosen at random; without their ids, which are not kept.
    pub peers: Vec<PeerAddress>,
}

/// Why the store does not do what it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreRefusal {
    /// There is no room for this torrent or peer.
    #[error("{}", self.text())]
    Full,
    /// The asker's network has done more than [`StoreConfig::rates`](crate::StoreConfig::rates) allows.
    #[error("{}", self.text())]
    TooOften {
        /// When it may go on, if it is silent until then.
        retry_in: Duration,
    },
    /// The torrent is on the list of those that are denied, or not on the list of those that are allowed.
    #[error("{}", self.text())]
    NotTracked,
    /// The tracker is private, and the announce came without a key.
    #[error("{}", self.text())]
    NoKey,
    /// The tracker is private, and does not know the key.
    #[error("{}", self.text())]
    UnknownKey,
    /// The key has as many torrents or peers as it may have.
    #[error("{}", self.text())]
    KeyLimit,
}

impl StoreRefusal {
    /// What to tell the asker: short, and always the same.
    pub const fn text(&self) -> &'static str {
        match self {
            Self::Full => "the tracker is full",
            Self::TooOften { .. } => "your network asks too often, or brings in too many peers",
            Self::NotTracked => "this torrent is not tracked here",
            Self::NoKey => "this tracker is private: the announce URL needs your key",
            Self::UnknownKey => "unknown key in the announce URL",
            Self::KeyLimit => "too many torrents or peers for your key",
        }
    }

    /// When to try again (BEP 31), or [`Duration::MAX`] where that will not help.
    pub const fn retry_in(&self) -> Duration {
        match self {
            Self::Full | Self::KeyLimit => FULL_RETRY,
            Self::TooOften { .. } => TOO_OFTEN_RETRY,
            Self::NotTracked | Self::NoKey | Self::UnknownKey => Duration::MAX,
        }
    }
}

impl From<TooOften> for StoreRefusal {
    fn from(TooOften(retry_in): TooOften) -> Self {
        Self::TooOften { retry_in }
    }
}

/// What happened to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChangeKind {
    /// It announced for the first time.
    Joined {
        /// It has everything.
        seed: bool,
    },
    /// A leecher became a seed.
    Completed,
    /// It stopped, was removed, expired, or had to make room.
    Left,
}

/// A change in a swarm, for observers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Where the peer takes connections.
    pub address: SocketAddr,
    /// What is left of its id.
    pub tag: PeerTag,
    /// What happened.
    pub kind: ChangeKind,
    /// By which dialect; `None` if the store did it itself.
    pub dialect: Option<Dialect>,
}

/// Called after each change, on the thread that made it, with no lock held; must return fast.
pub type Observer = Box<dyn Fn(&Change) + Send + Sync>;

/// A peer as the store knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredPeer {
    /// Where it takes connections.
    pub address: SocketAddr,
    /// What is left of its id.
    pub tag: PeerTag,
    /// It has everything.
    pub seed: bool,
}

/// Counts over everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    /// Torrents known, empty ones included.
    pub torrents: u64,
    /// Peers.
    pub peers: u64,
    /// Peers that have everything.
    pub seeds: u64,
    /// Bytes of memory that torrents and peers take.
    pub bytes: u64,
    /// Announces since the start.
    pub announces: u64,
    /// Torrents named in scrapes since the start.
    pub scrapes: u64,
    /// Peers that had to make room.
    pub evicted_peers: u64,
    /// Torrents that had to make room.
    pub evicted_torrents: u64,
    /// Announces refused because the store was full.
    pub refused: u64,
    /// Announces, scrapes and questions refused because of [`StoreConfig::rates`](crate::StoreConfig::rates).
    pub limited: u64,
    /// Announces refused because of [`StoreConfig::access`](crate::StoreConfig::access).
    pub denied: u64,
}
