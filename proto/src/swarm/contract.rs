//! What goes into a [`Swarm`](super::Swarm) and what comes out of it: the whole interface between protocol and shell.

use crate::announce::{Announce, PeerAddress};
use crate::geometry::{Block, PieceIndex};
use crate::id::{HASH_LENGTH, InfoHash, PeerId, PeerKey};
use crate::swarm::fault::PeerFault;
use crate::wire::{Message, Reserved};
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How a swarm behaves; fixed at its start.
#[derive(Clone, Debug)]
pub struct SwarmConfig {
    /// The torrent.
    pub info_hash: InfoHash,
    /// How we call ourselves.
    pub peer_id: PeerId,
    /// The TCP port on which the shell takes connections; told to trackers and peers.
    pub listen_port: u16,
    /// Announce URLs by tier (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// BEP 27: no peers but those of the tracker.
    pub private: bool,
    /// Bytes of the info dictionary, for `metadata_size`; 0 for unknown.
    pub metadata_size: u32,
    /// Connections of this torrent at most, in both directions together.
    pub max_peers: usize,
    /// Bytes of payload that may be requested or received but not yet written.
    pub buffer_bytes: u64,
    /// Whom to serve.
    pub profile: Profile,
    /// What to be to the swarm.
    pub role: Role,
    /// Pieces in order instead of rarest first.
    pub sequential: bool,
    /// Name and version for the extension handshake.
    pub client: String,
    /// Whether to take and send chat messages, and to keep connections for them alone.
    pub chat: bool,
}

/// Whom to serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Profile {
    /// Tit for tat with upload slots, as public swarms expect it.
    #[default]
    Public,
    /// Everybody at once: machines of one owner on one network.
    Lan,
}

/// What to be to the swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// Fetches what is missing, and serves what is there.
    #[default]
    Fetch,
    /// Serves what is there, and never asks for anything: the data is not to be written to.
    Seed,
}

/// Who opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// The other side did.
    Incoming,
    /// We did, after [`Output::Dial`].
    Outgoing,
}

/// A connection behind its handshake.
#[derive(Clone, Copy, Debug)]
pub struct Connected {
    /// The other end of the socket.
    pub address: SocketAddr,
    /// Who opened it.
    pub direction: Direction,
    /// How the peer calls itself.
    pub peer_id: PeerId,
    /// What the peer can do.
    pub reserved: Reserved,
}

/// What the shell must do. Taken one at a time from `poll_output()` until it returns nothing, after every input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send a control message. Order per peer matters, across [`Output::Upload`] too.
    Send {
        /// To whom.
        peer: PeerKey,
        /// What.
        message: Message,
    },
    /// Send the block as a `piece` message, then call `handle_uploaded`; or `handle_cut_short`, if the connection ends before all of
    /// it is out.
    Upload {
        /// To whom.
        peer: PeerKey,
        /// Which bytes.
        block: Block,
    },
    /// Close the connection. `handle_closed` must not be called for it.
    Close {
        /// Which.
        peer: PeerKey,
        /// Why, for the log.
        reason: CloseReason,
    },
    /// Connect; then call `handle_connected` or `handle_connect_failed`.
    Dial {
        /// Where to.
        address: SocketAddr,
    },
    /// All blocks of the piece were kept: hash it, write it if the hash matches, then call `handle_disk`. The shell keeps
    /// the blocks until the outcome is another than [`VerifyOutcome::WriteFailed`]; after that this comes again for the
    /// same piece.
    Verify {
        /// Which.
        piece: PieceIndex,
        /// Whether the outcome must name the SHA-1 of each block even if the piece is right.
        digests: bool,
    },
    /// Throw away the blocks kept for a piece: it was given up half done, and will be fetched from the start if at all.
    Forget {
        /// Which.
        piece: PieceIndex,
    },
    /// Throw away the bytes kept of a block: whoever sent it lies, and it will be fetched again.
    ForgetBlock {
        /// Which.
        block: Block,
    },
    /// Ask a tracker, then call `handle_announced`.
    Announce(AnnounceJob),
    /// The peer takes chat messages from now on, until its connection is closed; see `send_chat`.
    ChatUp {
        /// Which.
        peer: PeerKey,
        /// The other end of the socket.
        address: SocketAddr,
        /// Where the peer takes connections, as far as it says.
        reachable: Option<SocketAddr>,
    },
    /// A chat message came.
    Chat {
        /// From whom.
        peer: PeerKey,
        /// What.
        payload: Bytes,
    },
}

/// One announce to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceJob {
    /// To be given back with the answer.
    pub id: u64,
    /// The announce URL; its scheme picks the dialect.
    pub url: String,
    /// What to say.
    pub announce: Announce,
    /// How long to wait for the answer.
    pub timeout: Duration,
}

/// What the swarm did with a block that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum BlockVerdict {
    /// Keep the bytes for the verification of the piece.
    Keep,
    /// Nobody needs them.
    Drop,
}

/// What the disk did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskDone {
    /// The answer to [`Output::Verify`].
    Verified {
        /// Which.
        piece: PieceIndex,
        /// How it went.
        outcome: VerifyOutcome,
    },
    /// A block to upload could not be read: the piece is no longer what it was.
    ReadFailed {
        /// The peer that was to get it.
        peer: PeerKey,
        /// What could not be read.
        block: Block,
    },
    /// Data that we had is gone or wrong (file changed, truncated, vanished).
    Lost {
        /// The pieces that we no longer have.
        pieces: Vec<PieceIndex>,
    },
}

/// How a verification went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VerifyOutcome {
    /// Hash right, every write returned. `digests` is empty unless asked for.
    Written {
        /// SHA-1 of each block in order.
        digests: Vec<[u8; HASH_LENGTH]>,
    },
    /// Hash wrong; nothing was written.
    Mismatch {
        /// SHA-1 of each block in order.
        digests: Vec<[u8; HASH_LENGTH]>,
    },
    /// Hash right, but the disk refused. The blocks are still in memory.
    WriteFailed,
    /// The shell has lost the blocks by a fault of its own: they are fetched again, and nobody is blamed.
    Aborted,
}

/// What a user asks of a swarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Know these addresses.
    AddPeers(Vec<PeerAddress>, PeerSource),
    /// Know these trackers too, each a tier of its own behind the others.
    AddTrackers(Vec<String>),
    /// Stop all transfer and close all connections; announces `stopped`.
    Pause,
    /// Go on.
    Resume,
    /// As [`Command::Pause`], for ever. Done when no announce is left under way.
    Stop,
}

/// Where an address came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerSource {
    /// Named by the user; tried again for ever.
    User,
    /// Named in the metainfo, by whoever wrote that; tried again for ever, but not often.
    Metainfo,
    /// From a tracker's answer.
    Tracker,
    /// Pushed by a native tracker.
    Push,
}

/// Why a connection was closed by us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CloseReason {
    /// The peer broke a rule.
    #[error("{0}")]
    Fault(#[from] PeerFault),
    /// Both are seeds, or neither can ever want anything.
    #[error("nothing to trade")]
    NothingToTrade,
    /// We are connected to this peer already.
    #[error("second connection to the same peer")]
    Duplicate,
    /// It is us.
    #[error("connected to ourselves")]
    Myself,
    /// Sent bad data before.
    #[error("banned")]
    Banned,
    /// A better peer needs the place.
    #[error("too many peers")]
    Crowded,
    /// Silent for too long.
    #[error("silent for too long")]
    Idle,
    /// The torrent stops.
    #[error("the torrent stops")]
    Stopped,
}

/// What a user may want to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A peer's connection is up.
    PeerConnected {
        /// Its key.
        peer: PeerKey,
        /// Its address.
        address: SocketAddr,
    },
    /// A peer's connection is gone.
    PeerClosed {
        /// Its key.
        peer: PeerKey,
        /// Its address.
        address: SocketAddr,
        /// Why, if we closed it.
        reason: Option<CloseReason>,
    },
    /// A piece is on disk and right.
    PieceVerified(PieceIndex),
    /// A piece was wrong and will be fetched again.
    PieceFailed(PieceIndex),
    /// A peer sent bad data and is shut out.
    PeerBanned(SocketAddr),
    /// Every piece is on disk and right.
    Completed,
    /// Pieces that we had are gone.
    PiecesLost(Vec<PieceIndex>),
    /// The disk refused a write; nothing is requested until one succeeds.
    DiskBlocked,
    /// The disk takes writes again.
    DiskRecovered,
    /// A tracker answered.
    TrackerReplied {
        /// Its URL.
        url: String,
        /// Peers in the answer.
        peers: usize,
        /// Something that it wants the user to know.
        warning: Option<String>,
    },
    /// A tracker failed; when it will be asked again.
    TrackerFailed {
        /// Its URL.
        url: String,
        /// What went wrong.
        error: String,
        /// Time until the next try; `None` for not before the user resumes the torrent.
        retry_in: Option<Duration>,
    },
}

/// Sums and rates of a swarm at one moment. Rates in bytes a second, sums in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SwarmStats {
    /// Payload received.
    pub downloaded: u64,
    /// Payload sent.
    pub uploaded: u64,
    /// Payload received that was of no use: duplicate, unrequested or wrong.
    pub wasted: u64,
    /// Payload in per second.
    pub download_rate: u64,
    /// Payload out per second.
    pub upload_rate: u64,
    /// Bytes of the torrent that are verified and on disk.
    pub have_bytes: u64,
    /// Bytes of the torrent.
    pub total_bytes: u64,
    /// Pieces that we have.
    pub have_pieces: u32,
    /// Pieces of the torrent.
    pub total_pieces: u32,
    /// Connections.
    pub peers: u32,
    /// Connections to peers that have everything.
    pub seeds: u32,
    /// Addresses known.
    pub known_peers: u32,
    /// Wrong pieces so far.
    pub failed_pieces: u32,
    /// Peers banned so far.
    pub banned_peers: u32,
}

/// One connection at one moment. Rates in bytes a second.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerSnapshot {
    /// Its key.
    pub key: PeerKey,
    /// The other end of the socket.
    pub address: SocketAddr,
    /// How it calls itself.
    pub peer_id: PeerId,
    /// What its extension handshake said.
    pub client: Option<String>,
    /// Who opened the connection.
    pub direction: Direction,
    /// Pieces that it has.
    pub pieces: u32,
    /// Payload from it per second.
    pub download_rate: u64,
    /// Payload to it per second.
    pub upload_rate: u64,
    /// Payload from it.
    pub downloaded: u64,
    /// Payload to it.
    pub uploaded: u64,
    /// It serves us.
    pub unchoked_by_peer: bool,
    /// We want something of it.
    pub interested: bool,
    /// We serve it.
    pub unchoked: bool,
    /// It wants something of us.
    pub peer_interested: bool,
    /// Our requests under way.
    pub requests: u32,
    /// Since when the connection is up.
    pub since: Instant,
}
