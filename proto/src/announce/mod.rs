//! What a peer tells a tracker and what it hears back, the same in every dialect.
//!
//! [`Announce`] and [`AnnounceReply`] are the one form that all dialects translate from and to: `http` (BEP 3, 7, 23,
//! 24, 27, 31, 48), `udp` (BEP 15, 41), and the native protocol in [`crate::native`]. `schedule` decides when to
//! announce, and where.

pub mod http;
mod reach;
mod schedule;
pub mod udp;

pub use reach::{Reach, network_of};
pub use schedule::{Announced, Announcer, AnnouncerConfig, STOP_TIMEOUT, Totals};

use crate::id::{InfoHash, PeerId};
use crate::path::is_deceptive;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Why a peer announces now (BEP 3 `event`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum AnnounceEvent {
    /// The interval has passed.
    #[default]
    Regular,
    /// The first announce of this run.
    Started,
    /// The last piece has just been verified. Never sent when the torrent was complete at the start.
    Completed,
    /// The peer leaves.
    Stopped,
}

/// One announce of one torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// How the peer calls itself.
    pub peer_id: PeerId,
    /// The TCP port on which the peer takes connections.
    pub port: u16,
    /// Bytes of payload sent in this run.
    pub uploaded: u64,
    /// Bytes of payload received in this run.
    pub downloaded: u64,
    /// Bytes that the peer still lacks; 0 for a seed.
    pub left: u64,
    /// Why the peer announces.
    pub event: AnnounceEvent,
    /// Peers wanted in the answer; the tracker decides where there is none.
    pub num_want: Option<u32>,
    /// A number that stays the same when the peer's address changes.
    pub key: u32,
    /// What the tracker gave as `tracker id` in its last answer.
    pub tracker_id: Option<Vec<u8>>,
}

impl Announce {
    /// The first announce of a peer: nothing was sent or received yet, and how many peers it is told of is left to the tracker.
    pub fn new(info_hash: InfoHash, peer_id: PeerId, port: u16, left: u64) -> Self {
        let (uploaded, downloaded, event) = (0, 0, AnnounceEvent::Started);
        let (num_want, key, tracker_id) = (None, 0, None);
        Self { info_hash, peer_id, port, uploaded, downloaded, left, event, num_want, key, tracker_id }
    }
}

/// An address at which a peer takes connections.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PeerAddress {
    /// Where to connect.
    pub address: SocketAddr,
    /// Its id, if the answer was not compact.
    pub peer_id: Option<PeerId>,
}

/// A tracker's answer to an announce.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AnnounceReply {
    /// Time until the next regular announce, as the tracker said it (the schedule clamps it).
    pub interval: Duration,
    /// Time before which no announce may come.
    pub min_interval: Option<Duration>,
    /// Seeds in the swarm.
    pub complete: Option<u32>,
    /// Leechers in the swarm.
    pub incomplete: Option<u32>,
    /// Peers, both address families in one list.
    pub peers: Vec<PeerAddress>,
    /// The address from which the tracker saw us (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// To be sent back in the next announce.
    pub tracker_id: Option<Vec<u8>>,
    /// Something to tell the user, although the answer is good.
    pub warning: Option<String>,
}

/// Why an announce brought nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrackerError {
    /// The tracker said no, and when to come again if it said that (BEP 31).
    #[error("the tracker refuses: {reason}")]
    Refused {
        /// The tracker's text, made safe to print, at most 250 characters.
        reason: String,
        /// When to try again; `Some(Duration::MAX)` for never.
        retry_in: Option<Duration>,
    },
    /// No connection, or it broke.
    #[error("the tracker cannot be reached: {0}")]
    Unreachable(String),
    /// No whole answer in time.
    #[error("the tracker did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The tracker is there and says that it does not work, in the words of its dialect.
    #[error("the tracker fails: {0}")]
    Failed(String),
    /// An answer that is not one.
    #[error("the tracker's answer makes no sense: {0}")]
    Malformed(String),
    /// A URL that no dialect of ours takes.
    #[error("no tracker dialect for {0}")]
    Unsupported(String),
}

/// Characters of a foreign text that are shown.
const PRINTABLE_LENGTH: usize = 250;

/// Text of a stranger, safe for a terminal and a log: one line, at most 250 characters, control characters and those
/// that are invisible or turn the direction of writing as `.`.
pub fn printable(bytes: &[u8]) -> String {
    // No character takes more than four bytes.
    let head = bytes.get(..bytes.len().min(4 * PRINTABLE_LENGTH)).unwrap_or_default();
    let safe = |c: char| if is_deceptive(c) { '.' } else { c };
    String::from_utf8_lossy(head).chars().take(PRINTABLE_LENGTH).map(safe).collect()
}
