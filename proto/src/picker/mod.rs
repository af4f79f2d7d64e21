//! Which blocks to request from whom.
//!
//! Owns what we have, who has what in sum, and the state of every block of the begun pieces. Never sees payload, time
//! or sockets; never remembers peers beyond the keys of those with requests or blocks in begun pieces.
//!
//! Begun pieces come first, then the rarest untouched one, random among equals. Two peers share a piece only when no
//! untouched piece is left or the budget for begun pieces is spent; so the pieces spread, and a bad one names its
//! sender.
//!
//! Invariant: a piece is had, begun or open, never two of them; a block is never requested twice from the same peer,
//! nor when it has been received; begun pieces hold no more bytes than the budget, unless it is a single piece.

mod choose;
mod partial;
mod rarity;

use crate::bitfield::Bitfield;
use crate::geometry::{Block, Geometry, PieceIndex};
use crate::id::PeerKey;
use partial::{Arrival, BlockState, Partial, Partials};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rarity::{Place, Rarity};
use std::collections::BTreeSet;

/// Seconds that one peer has for a piece that must come from one peer alone...
const PATIENCE_S: u32 = 30;
/// ...and for each of its blocks: 8 KiB a second is slow, but there are such links...
const PATIENCE_PER_BLOCK_S: u32 = 2;
/// ...but never more: a peer that trickles must not hold a large piece for hours.
const MOST_PATIENCE_S: u32 = 600;

/// How a picker behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PickerConfig {
    /// Pieces in order instead of rarest first.
    pub sequential: bool,
    /// Bytes of all begun pieces at most (requested, or received but not yet written). A single one is always allowed.
    pub buffer_bytes: u64,
}

/// What the caller knows about the peer to pick for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PickHints<'a> {
    /// Nothing but these pieces: the allowed-fast set while the peer chokes us (BEP 6).
    pub only: Option<&'a [PieceIndex]>,
    /// Pieces that the peer suggests (BEP 6); they come first if they are of use.
    pub suggested: &'a [PieceIndex],
    /// The peer is fast: it finishes its own piece before it takes over one that somebody left.
    pub prefer_whole_pieces: bool,
    /// A random piece instead of the rarest: until there is something to trade.
    pub random_first: bool,
    /// No untouched piece but the suggested ones: the peer would like us to fetch the others elsewhere.
    pub only_suggested: bool,
    /// The peer may have sent wrong blocks: it gets one piece at a time, begun by itself and for itself.
    pub alone: bool,
    /// When every missing block is requested from somebody, request some from this peer too.
    pub end_game: bool,
}

/// What became of a block that came.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Received {
    /// Not a block that is missing: had, received already, not one that we ask for, or the budget is spent.
    Unwanted,
    /// Keep its bytes.
    Kept {
        /// Others that it was requested from, and is no more: cancel it there.
        others: Vec<PeerKey>,
        /// Every block of its piece is there now: verify it.
        piece_complete: bool,
    },
}

/// The state of every piece and every request of one torrent. See the module's header.
pub struct Picker {
    geometry: Geometry,
    config: PickerConfig,
    have: Bitfield,
    rarity: Rarity,
    partials: Partials,
    /// Pieces that were wrong, nobody knows by whose fault: each is to come from one peer alone.
    doubtful: BTreeSet<u32>,
    /// No piece before this one is missing.
    first_missing: u32,
    rng: SmallRng,
}

impl Picker {
    /// A picker that knows no peers yet; `seed` makes its random choices repeatable.
    pub fn new(geometry: Geometry, have: &Bitfield, config: PickerConfig, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rarity = Rarity::new(geometry.pieces(), have, &mut rng);
        let (partials, doubtful) = (Partials::default(), BTreeSet::new());
        let mut picker =
            Self { geometry, config, have: have.clone(), rarity, partials, doubtful, first_missing: 0, rng };
        picker.skip_had();
        picker
    }

    /// Counts in all that a new peer has. A seed costs O(1), any peer at most a swap for half of the pieces.
    pub fn peer_joined(&mut self, has: &Bitfield) {
        self.rarity.count_set(has, 1, &mut self.rng);
    }

    /// Counts out all that a peer has that is gone: what it came with, and what it gained and lost since.
    pub fn peer_left(&mut self, has: &Bitfield) {
        self.rarity.count_set(has, -1, &mut self.rng);
    }

    /// A peer has one piece more (BEP 3 `have`). Only if it did not have it before.
    pub fn peer_gained(&mut self, piece: PieceIndex) {
        self.rarity.count_piece(piece.as_u32(), 1, &mut self.rng);
    }

    /// A peer has one piece less (BEP 54 `lt_donthave`). Only if it had it before.
    pub fn peer_lost(&mut self, piece: PieceIndex) {
        self.rarity.count_piece(piece.as_u32(), -1, &mut self.rng);
    }

    /// Whether this peer may be asked for blocks of the piece, as far as others have begun it.
    pub fn may_join(&self, peer: PeerKey, piece: PieceIndex) -> bool {
        match self.rarity.place(piece.as_u32()) {
            Place::Begun(slot) => self.partials.slot(slot).is_some_and(|partial| partial.is_for(peer)),
            Place::Open(_) => true,
            Place::Have => false,
        }
    }

    /// Number of peers that have the piece.
    pub fn availability(&self, piece: PieceIndex) -> u32 {
        self.rarity.availability(piece.as_u32())
    }

    /// The peers that the block is requested from now.
    pub fn requesters(&self, block: Block) -> &[PeerKey] {
        self.partial(block.piece()).map_or(&[], |partial| partial.requesters(block.ordinal()))
    }

    /// Whether the block is requested from the peer now.
    pub fn is_requested_from(&self, block: Block, peer: PeerKey) -> bool {
        self.requesters(block).contains(&peer)
    }

    /// Takes note of a block that came, requested or not (late ones are welcome while the block is missing).
    pub fn block_received(&mut self, block: Block, peer: PeerKey) -> Received {
        let (piece, ordinal) = (block.piece(), block.ordinal());
        if self.geometry.block(piece, ordinal) != Some(block) {
            return Received::Unwanted;
        }
        let slot = match self.rarity.place(piece.as_u32()) {
            Place::Begun(slot) if self.partials.slot(slot).is_some_and(|it| it.is_for(peer)) => slot,
            Place::Open(_) if self.has_room() => self.begin(piece.as_u32(), peer, false),
            Place::Begun(_) | Place::Open(_) | Place::Have => return Received::Unwanted,
        };
        let Arrival::Kept(requesters) = self.partials.receive(slot, ordinal, peer) else { return Received::Unwanted };
        let others = requesters.as_slice().iter().copied().filter(|&other| other != peer).collect();
        Received::Kept { others, piece_complete: self.partials.slot(slot).is_some_and(Partial::is_complete) }
    }

    /// The request will not be answered (timed out, rejected, choked, closed): others may get it.
    pub fn release(&mut self, block: Block, peer: PeerKey) {
        let Place::Begun(slot) = self.rarity.place(block.piece().as_u32()) else { return };
        let released = self.partials.release(slot, block.ordinal(), peer);
        if released && self.partials.slot(slot).is_some_and(Partial::is_untouched) {
            self.reopen(block.piece());
        }
    }

    /// For a peer that got nothing from a pick and has nothing under way. If it has untouched pieces, and only the
    /// budget stands against beginning one, the begun piece that has the fewest blocks of those that nobody is working
    /// on is forgotten and returned, one that nobody has before all others. The caller throws its blocks away and picks
    /// again.
    ///
    /// Without this, pieces whose only sources went away could fill the budget for ever.
    pub fn make_room(&mut self, has: &Bitfield) -> Option<PieceIndex> {
        if self.has_room() || !self.has_open_piece(has) {
            return None;
        }
        let left = self.partials.iter().filter(|partial| !partial.is_active() && !partial.is_complete());
        let least = left.min_by_key(|it| (self.rarity.availability(it.piece) > 0, it.blocks().len() - it.missing()))?;
        let piece = self.geometry.piece(least.piece)?;
        self.reopen(piece);
        Some(piece)
    }

    /// Whether a complete piece with blocks of this peer has not been judged yet.
    pub fn awaits_verdict(&self, peer: PeerKey) -> bool {
        let from_it = |block: &BlockState| *block == BlockState::Received(peer);
        self.partials.iter().any(|partial| partial.is_complete() && partial.blocks().iter().any(from_it))
    }

    /// Who sent each block of a begun piece, in order; nothing for any other piece.
    pub fn contributors(&self, piece: PieceIndex) -> Vec<Option<PeerKey>> {
        let sender = |block: &BlockState| match block {
            BlockState::Received(peer) => Some(*peer),
            BlockState::Wanted(_) => None,
        };
        self.partial(piece).map_or_else(Vec::new, |partial| partial.blocks().iter().map(sender).collect())
    }

    /// The piece is on disk and right: we have it, however far its blocks were.
    pub fn piece_verified(&mut self, piece: PieceIndex) {
        if !self.have.insert(piece) {
            return;
        }
        if let Place::Begun(slot) = self.rarity.place(piece.as_u32()) {
            self.partials.end(slot);
        }
        self.rarity.close(piece.as_u32(), Place::Have);
        self.doubtful.remove(&piece.as_u32());
        self.skip_had();
    }

    /// The piece is wrong: all its blocks are to be fetched again, and requests for it are forgotten.
    pub fn piece_failed(&mut self, piece: PieceIndex) {
        if matches!(self.rarity.place(piece.as_u32()), Place::Begun(_)) {
            self.reopen(piece);
        }
    }

    /// The piece is wrong and it is not known who spoiled it: from now on it is to come from one peer alone. Whatever
    /// comes of that tells who it was. Mixed again and again, it could be spoiled for ever by a peer that is always among
    /// the fastest. Who keeps the piece waiting loses the privilege.
    pub fn piece_spoiled(&mut self, piece: PieceIndex) {
        self.piece_failed(piece);
        if !self.have.has(piece) {
            self.doubtful.insert(piece.as_u32());
        }
    }

    /// A peer whose blocks will be disowned at the next tick has left: nobody is to go on with them until then.
    pub fn withhold(&mut self, peer: PeerKey) {
        self.partials.withhold(peer);
    }

    /// The blocks that these peers sent are not trusted any more: those of incomplete pieces are free again, and returned.
    pub fn disown(&mut self, peers: &[PeerKey]) -> Vec<Block> {
        let mut disowned = Vec::new();
        for slot in 0..self.partials.slots() {
            let Some(piece) = self.partials.slot(slot).and_then(|it| self.geometry.piece(it.piece)) else { continue };
            for ordinal in self.partials.disown(slot, peers) {
                disowned.extend(self.geometry.block(piece, ordinal));
            }
            if self.partials.slot(slot).is_some_and(Partial::is_untouched) {
                self.reopen(piece);
            }
        }
        disowned
    }

    /// A second has passed.
    pub fn tick(&mut self) {
        self.partials.tick();
    }

    /// A piece that we had is gone; it is to be fetched again.
    pub fn piece_lost(&mut self, piece: PieceIndex) {
        if self.have.remove(piece) {
            self.first_missing = self.first_missing.min(piece.as_u32());
            self.reopen(piece);
        }
    }

    /// Whether the set has a piece that we lack (BEP 3 `interested`). Looks at 64 pieces at a time.
    pub fn wants_from(&self, has: &Bitfield) -> bool {
        has.count() > self.have.count() || (0..has.words()).any(|word| has.word(word) & !self.have.word(word) != 0)
    }

    /// Whether we have every piece.
    pub fn is_complete(&self) -> bool {
        self.have.is_full()
    }

    /// The pieces that we have.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Bytes of all begun pieces: what they hold, or will hold, in memory.
    pub fn begun_bytes(&self) -> u64 {
        self.partials.committed()
    }

    /// Whether every missing block that anybody has is requested or received, and some piece is missing.
    pub fn in_end_game(&self) -> bool {
        let free = |&slot: &usize| self.partials.slot(slot).is_some_and(|it| self.rarity.availability(it.piece) > 0);
        !self.is_complete()
            && self.rarity.open_and_available() == 0
            && !self.partials.is_empty()
            && !self.partials.joinable().iter().any(free)
    }

    /// Pieces in order from now on, or rarest first.
    pub fn set_sequential(&mut self, sequential: bool) {
        self.config.sequential = sequential;
    }

    #[cfg(test)]
    pub(crate) fn set_buffer_bytes(&mut self, bytes: u64) {
        self.config.buffer_bytes = bytes;
    }

    fn partial(&self, piece: PieceIndex) -> Option<&Partial> {
        match self.rarity.place(piece.as_u32()) {
            Place::Begun(slot) => self.partials.slot(slot),
            Place::Open(_) | Place::Have => None,
        }
    }

    /// Moves `first_missing` on to a piece that is missing, or to the end.
    fn skip_had(&mut self) {
        while self.first_missing < self.geometry.pieces() && self.rarity.place(self.first_missing) == Place::Have {
            self.first_missing += 1;
        }
    }

    fn length_of(&self, piece: u32) -> u32 {
        self.geometry.piece(piece).map_or(0, |piece| self.geometry.length_of(piece))
    }

    /// Whether the budget allows one more begun piece.
    pub fn has_room(&self) -> bool {
        let sum = self.partials.committed() + u64::from(self.geometry.piece_length());
        sum <= self.config.buffer_bytes || self.partials.is_empty()
    }

    fn begin(&mut self, piece: u32, peer: PeerKey, alone: bool) -> usize {
        let blocks = self.geometry.piece(piece).map_or(0, |piece| self.geometry.blocks_of(piece));
        let slot = self.partials.begin(piece, self.length_of(piece), blocks);
        if alone || self.doubtful.contains(&piece) {
            let patience = u32::try_from(blocks).unwrap_or(u32::MAX).saturating_mul(PATIENCE_PER_BLOCK_S);
            self.partials.reserve(slot, peer, patience.saturating_add(PATIENCE_S).min(MOST_PATIENCE_S));
        }
        self.rarity.close(piece, Place::Begun(slot));
        slot
    }

    /// Makes a piece that was begun or had an untouched one.
    fn reopen(&mut self, piece: PieceIndex) {
        if let Place::Begun(slot) = self.rarity.place(piece.as_u32()) {
            self.partials.end(slot);
        }
        self.rarity.reopen(piece.as_u32(), &mut self.rng);
    }

    /// Panics if an invariant does not hold. Looks at every piece.
    pub fn check_invariants(&self) {
        self.rarity.check_invariants();
        self.partials.check_invariants();
        let mut begun = 0;
        for piece in self.geometry.all_pieces() {
            let place = self.rarity.place(piece.as_u32());
            assert_eq!(place == Place::Have, self.have.has(piece), "piece {} is had", piece.as_u32());
            assert!(place != Place::Have || piece.as_u32() != self.first_missing, "the first missing piece");
            assert!(place == Place::Have || piece.as_u32() >= self.first_missing, "the first missing piece");
            if let Place::Begun(slot) = place {
                begun += 1;
                assert_eq!(self.partials.slot(slot).map(|it| it.piece), Some(piece.as_u32()), "a begun piece");
            }
        }
        assert_eq!(begun, self.partials.iter().count(), "every block state belongs to a begun piece");
        let within = self.partials.committed() <= self.config.buffer_bytes;
        assert!(within || begun <= 1, "begun pieces exceed the budget");
    }
}

#[cfg(test)]
mod tests;
