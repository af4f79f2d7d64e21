//! A lone seed spreads distinct pieces first, so that fresh leechers have something to trade at once.
//!
//! The idea of BEP 16 without its idle uplink: nothing is hidden, the seed only decides what leaves first. Each piece
//! that nobody else has belongs to one leecher: the one that we told by `suggest` (BEP 6) to take it, or the first that
//! asked for it. As long as anybody waits for a piece of his own, requests for the pieces of others wait: they are
//! better asked for there. A client that does not know `suggest` falls back to its own choice and is served by the same
//! rule. Over when every piece is elsewhere too, or when another seed is there.

use super::{State, Swarm};
use crate::bitfield::Bitfield;
use crate::geometry::PieceIndex;
use crate::id::PeerKey;
use crate::wire::Message;
use rand::RngExt;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Suggestions ahead of what a peer has begun: so many seconds of what it gets from us...
const AHEAD_S: u64 = 1;
/// ...but at least so many, for the next comes with the first request...
const LEAST_AHEAD: usize = 2;
/// ...and at most so many: a peer that leaves or falls back must not sit on pieces that nobody else gets...
const MOST_AHEAD: usize = 8;
/// ...or what it gets in this time, for a suggestion is answered a round trip later: with eight pieces of 1 MiB for each
/// round trip of 100 ms, a third of a link of 1 Gbit/s would idle.
const AHEAD_AT_MOST_MS: u64 = 200;
/// Pieces that a choked peer may finish, beside what any beginner may take.
const MOST_ALLOWED: usize = 32;
/// Random probes for a piece that belongs to nobody, before all are looked at in order.
const PROBES: usize = 16;
/// Torrents of more pieces are not looked through for a piece that belongs to nobody: the probes must find one.
const SEARCHED: u32 = 10_000;
/// Requests for the pieces of somebody else wait no longer than this at a stretch, which is less than any client's patience:
/// they are better asked for there...
const HELD_AT_MOST: Duration = Duration::from_secs(10);
/// ...and not again before so long after they began to wait: who takes requests for all pieces and then next to nothing
/// must not keep the others from theirs.
const HELD_EVERY: Duration = Duration::from_secs(15);

/// Who is to spread which piece.
pub(super) struct Spread {
    owners: BTreeMap<PieceIndex, PeerKey>,
    /// Pieces that some other peer has had.
    elsewhere: Bitfield,
}

impl Spread {
    pub(super) fn new(pieces: u32) -> Self {
        Self { owners: BTreeMap::new(), elsewhere: Bitfield::empty(pieces) }
    }

    /// A peer has this piece: it belongs to nobody any more. To whom it belonged.
    fn seen(&mut self, piece: PieceIndex) -> Option<PeerKey> {
        self.elsewhere.insert(piece);
        self.owners.remove(&piece)
    }

    /// The pieces of a peer that has left belong to nobody again.
    pub(super) fn peer_left(&mut self, peer: PeerKey) {
        self.owners.retain(|_, owner| *owner != peer);
    }

    /// Whether this peer is to spread the piece.
    pub(super) fn is_own(&self, peer: PeerKey, piece: PieceIndex) -> bool {
        self.owners.get(&piece) == Some(&peer)
    }

    /// Whether some piece is neither elsewhere nor somebody's.
    fn has_unowned(&self) -> bool {
        self.owners.len() + (self.elsewhere.count() as usize) < self.elsewhere.pieces() as usize
    }
}

impl Swarm {
    /// Whether we are the only seed, and there are pieces that nobody else has.
    pub(super) fn is_spreading(&self) -> bool {
        self.state == State::Running
            && self.is_complete()
            && !self.spread.elsewhere.is_full()
            && !self.peers.values().any(|peer| peer.is_seed())
    }

    /// Some other peer has the piece.
    pub(super) fn seen_elsewhere(&mut self, piece: PieceIndex) {
        let owner = self.spread.seen(piece);
        if let Some(owner) = owner.and_then(|owner| self.peers.get_mut(&owner)) {
            owner.upload.requests.disown(piece);
        }
    }

    /// Whether a peer's requests for pieces that others are to spread have to wait: as long as anybody else is fed, but
    /// not most of the time, whatever others do.
    pub(super) fn is_held(&mut self, now: Instant, key: PeerKey) -> bool {
        let busy = self.others_are_fed(now, key);
        let Some(peer) = self.peers.get_mut(&key) else { return false };
        let since = peer.upload.held_since.filter(|since| now.duration_since(*since) < HELD_EVERY).unwrap_or(now);
        peer.upload.held_since = Some(since);
        busy && now.duration_since(since) < HELD_AT_MOST
    }

    /// A peer asks for a block: if the piece belongs to nobody it is the peer's now, and if it was a suggestion the peer
    /// gets the next one.
    pub(super) fn piece_begun(&mut self, now: Instant, key: PeerKey, piece: PieceIndex) {
        if !self.is_spreading() {
            return;
        }
        if !self.spread.elsewhere.has(piece) {
            self.spread.owners.entry(piece).or_insert(key);
        }
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let Some(index) = peer.upload.suggested.iter().position(|suggested| *suggested == piece) else { return };
        peer.upload.suggested.remove(index);
        self.suggest_pieces(now, key);
    }

    /// A peer is about to be choked: it may finish what it has begun to spread (BEP 6), for a piece that two peers have
    /// half of each is nowhere. What it has not begun belongs to nobody again.
    pub(super) fn let_finish(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let suggested = std::mem::take(&mut peer.upload.suggested);
        let fast = peer.reserved.fast && self.is_spreading();
        self.spread.owners.retain(|piece, owner| *owner != key || fast && !suggested.contains(piece));
        let owned = self.spread.owners.iter().filter(|(_, owner)| **owner == key).map(|(piece, _)| *piece);
        for piece in owned.take(MOST_AHEAD).collect::<Vec<_>>() {
            let budget = u32::try_from(self.geometry.blocks_of(piece)).unwrap_or(u32::MAX);
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.upload.allowed.retain(|(allowed, left)| *allowed != piece && *left > 0);
                peer.upload.allowed.truncate(MOST_ALLOWED);
                peer.upload.allowed.push((piece, budget));
            }
            self.send(now, key, Message::AllowedFast(piece.as_u32()));
        }
    }

    /// Tops up the suggestions of a peer.
    pub(super) fn suggest_pieces(&mut self, now: Instant, key: PeerKey) {
        if !self.is_spreading() {
            return;
        }
        while let Some(peer) = self.peers.get(&key) {
            let ahead = suggestions_ahead(peer.upload.rate.rate(now), self.geometry.piece_length());
            if !peer.reserved.fast || peer.upload.suggested.len() >= ahead {
                return;
            }
            let Some(piece) = self.unowned_piece() else { return };
            self.spread.owners.insert(piece, key);
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.upload.suggested.push(piece);
            }
            self.send(now, key, Message::Suggest(piece.as_u32()));
        }
    }

    /// A piece that nobody has and that belongs to nobody.
    fn unowned_piece(&mut self) -> Option<PieceIndex> {
        if !self.spread.has_unowned() {
            return None;
        }
        let pieces = self.geometry.pieces();
        let probes: Vec<u32> = (0..PROBES).map(|_| self.random.random_range(0..pieces)).collect();
        let start = self.random.random_range(0..pieces);
        let searched = if pieces <= SEARCHED { pieces } else { 0 };
        let order = probes.into_iter().chain((0..searched).map(|offset| (start + offset) % pieces));
        let free = |piece: &PieceIndex| !self.spread.elsewhere.has(*piece) && !self.spread.owners.contains_key(piece);
        order.filter_map(|index| self.geometry.piece(index)).find(free)
    }
}

/// Suggestions ahead of what a peer has begun, by the bytes a second that it gets from us.
fn suggestions_ahead(rate: u64, piece_length: u32) -> usize {
    let pieces = |bytes: u64| usize::try_from(bytes / u64::from(piece_length)).unwrap_or(MOST_AHEAD);
    let usual = pieces(rate.saturating_mul(AHEAD_S)).clamp(LEAST_AHEAD, MOST_AHEAD);
    usual.max(pieces(rate / 1_000 * AHEAD_AT_MOST_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suggested_ahead_fills_a_long_link() {
        const MIB: u32 = 1 << 20;
        assert_eq!([0, 3_000_000, 10_000_000].map(|rate| suggestions_ahead(rate, MIB)), [2, 2, 8]);
        assert_eq!(suggestions_ahead(10_000_000, MIB / 4), 8, "no more at 80 Mbit/s");
        // At 1 Gbit/s, twice what is on the way within 100 ms.
        assert_eq!(suggestions_ahead(125_000_000, MIB), 23);
    }
}
