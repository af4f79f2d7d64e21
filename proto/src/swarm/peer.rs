//! The protocol state of one connection. Holds and answers; what to do next is decided by the rest of the swarm.

use crate::bitfield::Bitfield;
use crate::geometry::{Block, PieceIndex};
use crate::id::PeerId;
use crate::limits;
use crate::rate::RateMeter;
use crate::request_window::RequestWindow;
use crate::swarm::bans::Offender;
use crate::swarm::contract::{Connected, Direction};
use crate::swarm::fault::PeerFault;
use crate::swarm::request_queue::RequestQueue;
use crate::wire::{ExtensionIds, Reserved};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Rates of peers are means over this time: long enough to smooth TCP, short enough for a choke round.
pub(super) const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Answers that nobody asked for, beyond those that may still come to requests given up; one more a second.
const UNREQUESTED: u32 = 32;

/// A peer that has suggested a piece is expected to suggest more for so long.
const SUGGESTIONS_HOLD: Duration = Duration::from_secs(3);

/// One connection behind its handshake.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) direction: Direction,
    pub(super) peer_id: PeerId,
    pub(super) reserved: Reserved,
    pub(super) since: Instant,
    pub(super) extension: Extension,
    /// What the peer has, as far as it said.
    pub(super) has: Bitfield,
    /// Bitfields, `have all` and `have none` that told little news, less one for each second since.
    pub(super) idle_bitfields: u32,
    /// How many pieces the peer has that we lack: we are interested exactly while this is not zero.
    pub(super) useful: u32,
    pub(super) download: Download,
    pub(super) upload: Upload,
    pub(super) last_received: Instant,
    pub(super) last_sent: Instant,
    /// Pieces that this peer helped to complete and that were right.
    pub(super) good_pieces: u32,
    /// Its blocks in those pieces, less what wrong ones have cost it.
    pub(super) good_blocks: u32,
}

/// How long a peer may take to say that it chats.
const CHAT_GRACE: Duration = Duration::from_secs(10);

/// What the extension handshake told (BEP 10).
#[derive(Default)]
pub(super) struct Extension {
    pub(super) ids: ExtensionIds,
    /// A handshake of this kind has come.
    pub(super) told: bool,
    /// It takes chat messages, and so do we.
    pub(super) chats: bool,
    pub(super) client: Option<String>,
    /// Where the peer listens, if it said so.
    pub(super) listens: Option<SocketAddr>,
    /// BEP 21: the peer will never want anything.
    pub(super) upload_only: bool,
}

/// What we want of the peer, and how it answers.
pub(super) struct Download {
    pub(super) interested: bool,
    pub(super) choked: bool,
    pub(super) window: RequestWindow,
    /// Requests under way, oldest first.
    pub(super) requests: VecDeque<Pending>,
    /// Requests so far.
    pub(super) asked: u32,
    /// Blocks that may still come although we do not wait for them any more.
    pub(super) late: u32,
    /// BEP 6: pieces that we may request while choked.
    pub(super) allowed: Vec<PieceIndex>,
    /// BEP 6: pieces that the peer would like us to take.
    pub(super) suggested: VecDeque<PieceIndex>,
    /// When the last suggestion came.
    pub(super) suggested_at: Option<Instant>,
    pub(super) rate: RateMeter,
    pub(super) bytes: u64,
    /// Consecutive rejects without a block in between.
    pub(super) rejects: u32,
    /// No requests before this moment, after a reject.
    pub(super) not_before: Option<Instant>,
    /// Answers that nobody asked for, less one for each second since.
    pub(super) unrequested: u32,
    /// Since when requests are under way without any answer.
    pub(super) waiting_since: Option<Instant>,
    /// When it was last tried in vain to have the peer take requests over from others.
    pub(super) found_nothing_at: Option<Instant>,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) block: Block,
    pub(super) at: Instant,
}

/// What the peer wants of us.
pub(super) struct Upload {
    pub(super) interested: bool,
    pub(super) choked: bool,
    /// Since when it is choked or unchoked.
    pub(super) changed: Instant,
    pub(super) optimistic: bool,
    /// Requests that wait.
    pub(super) requests: RequestQueue,
    /// It waits for its turn (see [`super::turns`]).
    pub(super) waits: bool,
    /// When the last time began in which its requests may be held back for those of others.
    pub(super) held_since: Option<Instant>,
    /// Bytes given to the shell and not yet reported as sent.
    pub(super) handed: u64,
    pub(super) rate: RateMeter,
    pub(super) bytes: u64,
    pub(super) bytes_since_unchoke: u64,
    /// BEP 6: pieces that the peer may request while choked, each with the blocks it may still take.
    pub(super) allowed: Vec<(PieceIndex, u32)>,
    /// Requests that we refused, less some for each second since.
    pub(super) refused: u32,
    /// Pieces that we suggested and whose first request has not come yet.
    pub(super) suggested: Vec<PieceIndex>,
}

impl Peer {
    pub(super) fn new(now: Instant, connected: Connected, pieces: u32) -> Self {
        Self {
            address: connected.address,
            direction: connected.direction,
            peer_id: connected.peer_id,
            reserved: connected.reserved,
            since: now,
            extension: Extension::default(),
            has: Bitfield::empty(pieces),
            idle_bitfields: 0,
            useful: 0,
            download: Download::new(),
            upload: Upload::new(now),
            last_received: now,
            last_sent: now,
            good_pieces: 0,
            good_blocks: 0,
        }
    }

    /// Who it is, should it have to be shut out.
    pub(super) fn as_offender(&self) -> Offender {
        let (address, reachable, id) = (self.address, self.reachable_at(), self.peer_id);
        Offender { address, reachable, id, proven: self.good_pieces > 0, good_blocks: self.good_blocks }
    }

    /// Whether the peer has every piece.
    pub(super) fn is_seed(&self) -> bool {
        self.has.is_full() && self.has.pieces() > 0
    }

    /// Whether the connection is kept for chat alone, or may be: who chats says so right behind the handshake.
    pub(super) fn may_chat(&self, now: Instant, we_chat: bool) -> bool {
        let silent = self.reserved.extended && !self.extension.told;
        we_chat && (self.extension.chats || silent && now.saturating_duration_since(self.since) < CHAT_GRACE)
    }

    /// Whether the peer takes part in any transfer, or could.
    pub(super) fn is_useless(&self) -> bool {
        !self.download.interested && !self.upload.interested
    }

    /// Where others could reach the peer: the address that we dialled, or what it told.
    pub(super) fn reachable_at(&self) -> Option<SocketAddr> {
        match self.direction {
            Direction::Outgoing => Some(self.address),
            Direction::Incoming => self.extension.listens,
        }
    }
}

impl Download {
    fn new() -> Self {
        Self {
            interested: false,
            choked: true,
            window: RequestWindow::new(limits::DEFAULT_REQUEST_QUEUE),
            requests: VecDeque::new(),
            asked: 0,
            late: 0,
            allowed: Vec::new(),
            suggested: VecDeque::new(),
            suggested_at: None,
            rate: RateMeter::new(RATE_WINDOW),
            bytes: 0,
            rejects: 0,
            not_before: None,
            unrequested: 0,
            waiting_since: None,
            found_nothing_at: None,
        }
    }

    /// Counts an answer to a request that was never made.
    pub(super) fn note_unrequested(&mut self) -> Result<(), PeerFault> {
        self.unrequested += 1;
        if self.unrequested > UNREQUESTED { Err(PeerFault::Unrequested) } else { Ok(()) }
    }

    /// Takes a request off the list that will not be answered.
    pub(super) fn give_up(&mut self, block: Block) -> bool {
        let found = self.take(block).is_some();
        if found {
            self.window.on_released(1);
        }
        found
    }

    /// Takes a request off the list that has been answered; how long it took is told by its time of departure.
    pub(super) fn take(&mut self, block: Block) -> Option<Pending> {
        let index = self.requests.iter().position(|pending| pending.block == block)?;
        let pending = self.requests.remove(index);
        if self.requests.is_empty() {
            self.waiting_since = None;
        }
        pending
    }

    /// Whether the peer tells us now what to take.
    pub(super) fn suggests(&self, now: Instant) -> bool {
        self.suggested_at.is_some_and(|at| now.duration_since(at) < SUGGESTIONS_HOLD)
    }

    /// Counts the time of all requests from now.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.requests.iter_mut().for_each(|pending| pending.at = now);
        self.waiting_since = self.waiting_since.map(|_| now);
    }

    /// Gives up all requests; their blocks may still come.
    pub(super) fn take_all(&mut self) -> Vec<Block> {
        self.late = self.late.saturating_add(u32::try_from(self.requests.len()).unwrap_or(u32::MAX));
        self.window.on_released(self.requests.len());
        self.waiting_since = None;
        self.requests.drain(..).map(|pending| pending.block).collect()
    }
}

impl Upload {
    fn new(now: Instant) -> Self {
        Self {
            interested: false,
            choked: true,
            changed: now,
            optimistic: false,
            requests: RequestQueue::default(),
            waits: false,
            held_since: None,
            handed: 0,
            rate: RateMeter::new(RATE_WINDOW),
            bytes: 0,
            bytes_since_unchoke: 0,
            allowed: Vec::new(),
            refused: 0,
            suggested: Vec::new(),
        }
    }
}
