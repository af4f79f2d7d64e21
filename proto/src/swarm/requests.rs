//! What we request of whom: windows are filled, answers and refusals taken, and nothing waits for ever.

use super::peer::{Peer, Pending};
use super::{BlockVerdict, CloseReason, Output, PeerFault, State, Swarm};
use crate::geometry::{BLOCK_LENGTH, Block};
use crate::id::PeerKey;
use crate::picker::{PickHints, Received};
use crate::wire::Message;
use std::time::{Duration, Instant};

/// After a reject the same peer is asked nothing for so long: a peer that rejects everything is asked once a
/// second or so, not a hundred thousand times.
const PAUSE_AFTER_REJECT: Duration = Duration::from_millis(100);
/// Rejects in a row after which a peer is of no use.
const REJECTS: u32 = 50;
/// Rarest first begins once there are so many pieces to trade; before that any piece is good.
const PIECES_TO_TRADE: u32 = 4;
/// Blocks that a new peer is asked for at the least, and again for each second, until a piece of it has proved right.
const UNPROVEN_BLOCKS: u32 = 16;
/// A window is topped up once so much of it is free, so that picks come in runs.
const TOP_UP_FRACTION: usize = 8;

impl Swarm {
    /// Tops up the requests of every peer.
    pub(super) fn request_from_all(&mut self, now: Instant) {
        if self.is_complete() {
            return;
        }
        let ready =
            |peer: &Peer| peer.download.interested && !peer.download.choked || !peer.download.allowed.is_empty();
        let mut keys: Vec<PeerKey> = self.peers.iter().filter(|(_, peer)| ready(peer)).map(|(key, _)| *key).collect();
        // Fast peers choose first, so that the last blocks do not end up with a slow one.
        keys.sort_by_key(|key| std::cmp::Reverse(self.peers.get(key).map_or(0, |peer| peer.download.window.rate())));
        for key in keys {
            self.request_from(now, key);
        }
    }

    /// Requests that the peer may be sent now, if any.
    fn free_requests(&self, now: Instant, key: PeerKey, peer: &Peer) -> Option<usize> {
        let disk_waits = self.verification.is_blocked() || self.verification.is_behind(self.geometry.piece_length());
        let download = &peer.download;
        let refused = download.choked && download.allowed.is_empty() || download.not_before.is_some_and(|at| now < at);
        if self.state != State::Running || disk_waits || !download.interested || refused {
            return None;
        }
        // A peer that does not answer, or says no, is tried with one request at a time.
        let doubtful = download.rejects > 0 || download.window.is_snubbed(now);
        // Half of the buffers at most: whatever a fast peer can send, others are to have a share.
        let share = usize::try_from(self.config.buffer_bytes / 2 / u64::from(BLOCK_LENGTH)).unwrap_or(usize::MAX);
        let target = if doubtful { 1 } else { download.window.target().min(share.max(1)) };
        let free = target.saturating_sub(download.requests.len());
        let worth_it = free > 0 && (free >= target / TOP_UP_FRACTION || self.picker.in_end_game());
        Some(free.min(self.trust(now, key, peer))).filter(|&free| worth_it && free > 0)
    }

    /// Blocks that a peer may still be asked for before a piece of it has proved right. So a corrupting peer spoils two
    /// pieces, however fast it is; one whose pieces wait for others gets some more with time.
    fn trust(&self, now: Instant, key: PeerKey, peer: &Peer) -> usize {
        if peer.good_pieces > 0 {
            return usize::MAX;
        }
        let two_pieces = 2 * self.geometry.piece_length().div_ceil(BLOCK_LENGTH);
        // What waits for the disk is judged soon, however slow the machine: that earns no trust.
        let waits = self.picker.awaits_verdict(key);
        let seconds = if waits { 0 } else { now.duration_since(peer.since).as_secs() };
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let trusted =
            two_pieces.max(UNPROVEN_BLOCKS).saturating_add(seconds.saturating_mul(two_pieces.max(UNPROVEN_BLOCKS)));
        trusted.saturating_sub(peer.download.asked) as usize
    }

    /// Tops up the requests of one peer.
    pub(super) fn request_from(&mut self, now: Instant, key: PeerKey) {
        let Some(free) = self.peers.get(&key).and_then(|peer| self.free_requests(now, key, peer)) else { return };
        let alone = self.is_on_parole(now, key);
        let end_game = self.may_ask_again(now, key);
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let choked = peer.download.choked;
        let lacking = |piece: &_| !self.picker.have().has(*piece);
        peer.download.suggested.retain(lacking);
        let only_suggested = !peer.download.requests.is_empty() && peer.download.suggests(now);
        let suggested = peer.download.suggested.make_contiguous();
        let hints = PickHints {
            only: choked.then_some(peer.download.allowed.as_slice()),
            suggested,
            prefer_whole_pieces: peer.download.window.rate() > u64::from(self.geometry.piece_length()),
            random_first: self.picker.have().count() < PIECES_TO_TRADE,
            only_suggested,
            alone,
            end_game,
        };
        let mut blocks = Vec::new();
        self.picker.pick(key, &peer.has, free, hints, &mut blocks);
        // Not for the few pieces that a choking peer allows: another one is no gain then.
        if blocks.is_empty()
            && !choked
            && !(alone && self.picker.awaits_verdict(key))
            && peer.download.requests.is_empty()
            && let Some(piece) = self.picker.make_room(&peer.has)
        {
            self.outputs.push_back(Output::Forget { piece });
            self.picker.pick(key, &peer.has, free, hints, &mut blocks);
        }
        let may_take_over = !choked && !alone && !peer.download.suggests(now) && peer.download.requests.is_empty();
        if blocks.is_empty() && may_take_over && self.take_over(now, key, free) {
            let Some(peer) = self.peers.get(&key) else { return };
            self.picker.pick(key, &peer.has, free, PickHints::default(), &mut blocks);
        }
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !blocks.is_empty() && peer.download.waiting_since.is_none() {
            peer.download.waiting_since = Some(now);
        }
        for block in blocks {
            peer.download.window.on_request(now);
            peer.download.requests.push_back(Pending { block, at: now });
            peer.download.asked = peer.download.asked.saturating_add(1);
            peer.last_sent = now;
            self.outputs.push_back(Output::Send { peer: key, message: Message::request(block) });
        }
    }

    /// The payload of a block has arrived in full; what to do with the bytes.
    pub fn handle_block(&mut self, now: Instant, key: PeerKey, block: Block) -> BlockVerdict {
        let length = u64::from(block.length());
        self.traffic.downloaded += length;
        self.traffic.download_rate.record(now, length);
        let Some(peer) = self.peers.get_mut(&key) else {
            self.waste(block);
            return BlockVerdict::Drop;
        };
        peer.last_received = now;
        peer.download.bytes += length;
        peer.download.rate.record(now, length);
        if !self.geometry.is_on_grid(block) {
            self.waste(block);
            self.close(now, key, CloseReason::Fault(PeerFault::OddBlock));
            return BlockVerdict::Drop;
        }
        if !self.note_answer(now, key, block) {
            self.waste(block);
            return BlockVerdict::Drop;
        }
        let verdict = self.keep_or_drop(now, key, block);
        self.request_from(now, key);
        verdict
    }

    /// Whether the block was asked for, now or a while ago; counts it against the peer if it was not.
    fn note_answer(&mut self, now: Instant, key: PeerKey, block: Block) -> bool {
        let Some(peer) = self.peers.get_mut(&key) else { return false };
        if let Some(pending) = peer.download.take(block) {
            peer.download.window.on_block(now, block.length(), now.duration_since(pending.at));
            peer.download.rejects = 0;
            peer.download.waiting_since = (!peer.download.requests.is_empty()).then_some(now);
            return true;
        }
        if peer.download.late > 0 {
            peer.download.late -= 1;
            // Late, but an answer: the peer is slow, not silent.
            peer.download.waiting_since = (!peer.download.requests.is_empty()).then_some(now);
            return true;
        }
        if let Err(fault) = peer.download.note_unrequested() {
            self.close(now, key, CloseReason::Fault(fault));
        }
        false
    }

    fn keep_or_drop(&mut self, now: Instant, key: PeerKey, block: Block) -> BlockVerdict {
        match self.picker.block_received(block, key) {
            Received::Unwanted => {
                self.waste(block);
                BlockVerdict::Drop
            }
            Received::Kept { others, piece_complete } => {
                for other in others {
                    self.cancel(now, other, block);
                }
                if piece_complete {
                    self.verify(block.piece());
                }
                BlockVerdict::Keep
            }
        }
    }

    /// Takes a request back that another peer has answered (end game, BEP 3) or is asked for instead.
    pub(super) fn cancel(&mut self, now: Instant, key: PeerKey, block: Block) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if peer.download.give_up(block) {
            peer.download.late = peer.download.late.saturating_add(1);
            self.picker.release(block, key);
            self.send(now, key, Message::cancel(block));
        }
    }

    /// The peer serves us no more. Without BEP 6 all our requests are forgotten by it; with it each is rejected or
    /// answered one by one.
    pub(super) fn choked(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if std::mem::replace(&mut peer.download.choked, true) {
            return;
        }
        if peer.reserved.fast {
            return;
        }
        for block in peer.download.take_all() {
            self.picker.release(block, key);
        }
        self.request_from_all(now);
    }

    pub(super) fn unchoked(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.download.choked = false;
        self.request_from(now, key);
    }

    /// BEP 6: a request of ours will not be answered.
    pub(super) fn rejected(&mut self, now: Instant, key: PeerKey, block: (u32, u32, u32)) -> Result<(), PeerFault> {
        self.require_fast(key)?;
        let (index, begin, length) = block;
        let Some(block) = self.geometry.wire_block(index, begin, length) else {
            return Err(PeerFault::NoSuchBlock(index, begin, length));
        };
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if !peer.download.give_up(block) {
            // The answer to a cancel or to a request given up; what was never requested cannot be rejected (BEP 6).
            let Some(late) = peer.download.late.checked_sub(1) else { return peer.download.note_unrequested() };
            peer.download.late = late;
            peer.download.waiting_since = peer.download.waiting_since.filter(|_| !peer.download.requests.is_empty());
            return Ok(());
        }
        self.picker.release(block, key);
        let allowed = peer.download.allowed.len();
        if peer.download.choked {
            peer.download.allowed.retain(|&piece| piece != block.piece());
        }
        if peer.download.choked && peer.download.allowed.len() == allowed {
            // The usual end of an unchoke: no fault of anybody's.
            return Ok(());
        }
        peer.download.suggested.retain(|&piece| piece != block.piece());
        peer.download.rejects += 1;
        peer.download.not_before = Some(now + PAUSE_AFTER_REJECT);
        if peer.download.rejects >= REJECTS {
            return Err(PeerFault::RejectsEverything);
        }
        Ok(())
    }

    /// Gives requests that wait too long to others; the peer's answers are still welcome.
    pub(super) fn expire_requests(&mut self, now: Instant) {
        let mut expired: Vec<(PeerKey, Vec<Block>)> = Vec::new();
        for (&key, peer) in &mut self.peers {
            let timeout = peer.download.window.timeout();
            let waits = |pending: &&Pending| now.duration_since(pending.at) >= timeout;
            let answered = peer.download.waiting_since.is_none_or(|since| now.duration_since(since) < timeout);
            if answered || !peer.download.requests.iter().any(|pending| waits(&pending)) {
                continue;
            }
            let kept_waiting = peer.download.waiting_since;
            let blocks = peer.download.take_all();
            peer.download.window.on_timeout(now);
            // The clock that ends in "never answers" goes on.
            peer.download.waiting_since = kept_waiting;
            expired.push((key, blocks));
        }
        let any = !expired.is_empty();
        for (key, blocks) in expired {
            for block in blocks {
                self.picker.release(block, key);
            }
        }
        if any {
            self.request_from_all(now);
        }
    }
}
