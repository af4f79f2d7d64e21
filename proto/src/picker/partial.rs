//! The begun pieces: who was asked for which block, and who sent it.
//!
//! Owns the state of every block of every begun piece and nothing about any other piece. Never chooses.
//!
//! Invariant: a block is free, requested by 1 to [`MAX_REQUESTERS`] peers, or received; a begun piece has at least one
//! block that is not free; `joinable` lists exactly the pieces with free blocks.

use crate::id::PeerKey;

/// Peers that a block is requested from at the same time at most (end game).
pub(super) const MAX_REQUESTERS: usize = 3;

/// A begun piece on which nobody works for so long is nobody's any more.
const LEFT_S: u32 = 5;

/// The peers that one block is requested from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Requesters {
    keys: [PeerKey; MAX_REQUESTERS],
    length: u8,
}

impl Requesters {
    const NONE: Self = Self { keys: [PeerKey(0); MAX_REQUESTERS], length: 0 };

    pub(super) fn as_slice(&self) -> &[PeerKey] {
        self.keys.get(..usize::from(self.length)).unwrap_or(&[])
    }

    /// Whether there was room.
    fn push(&mut self, peer: PeerKey) -> bool {
        let Some(slot) = self.keys.get_mut(usize::from(self.length)) else { return false };
        *slot = peer;
        self.length += 1;
        true
    }

    /// Whether it was there.
    fn remove(&mut self, peer: PeerKey) -> bool {
        let Some(at) = self.as_slice().iter().position(|&key| key == peer) else { return false };
        self.length -= 1;
        self.keys.swap(at, usize::from(self.length));
        true
    }
}

/// One block of a begun piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BlockState {
    /// Not there; requested from these peers, or free if there are none.
    Wanted(Requesters),
    /// Kept; sent by this peer.
    Received(PeerKey),
}

const FREE: BlockState = BlockState::Wanted(Requesters::NONE);

/// A begun piece.
pub(super) struct Partial {
    pub(super) piece: u32,
    /// Length in bytes.
    length: u32,
    blocks: Box<[BlockState]>,
    free: usize,
    received: usize,
    /// No block before this one is free.
    first_free: usize,
    /// The peer that a block was last requested from.
    latest: Option<PeerKey>,
    /// The only peer that may send it, as long as it has this patience.
    only: Option<(PeerKey, u32)>,
    /// Seconds for which no block of it has been under way.
    idle_s: u32,
    /// Index in `joinable`; meaningless without free blocks.
    listed: usize,
}

impl Partial {
    /// Blocks still to come, requested or not.
    pub(super) fn missing(&self) -> usize {
        self.blocks.len() - self.received
    }

    /// Whether blocks of it are under way.
    pub(super) fn is_active(&self) -> bool {
        self.missing() > self.free
    }

    pub(super) fn is_complete(&self) -> bool {
        self.received == self.blocks.len()
    }

    /// Whether nobody has worked on it for some time.
    pub(super) fn is_left(&self) -> bool {
        !self.is_active() && self.idle_s >= LEFT_S
    }

    /// The peer that a block was last requested from.
    pub(super) fn latest(&self) -> Option<PeerKey> {
        self.latest
    }

    /// Whether it has neither requests nor blocks.
    pub(super) fn is_untouched(&self) -> bool {
        self.free == self.blocks.len()
    }

    /// What the peer has to do with it, if anything.
    pub(super) fn share_of(&self, peer: PeerKey) -> Option<Share> {
        if self.only.is_some() {
            return self.is_for(peer).then_some(Share::Sole);
        }
        let (mut own, mut others) = (false, false);
        for block in &self.blocks {
            match block {
                BlockState::Received(sender) => *(if *sender == peer { &mut own } else { &mut others }) = true,
                BlockState::Wanted(requesters) => {
                    own |= requesters.as_slice().contains(&peer);
                    others |= requesters.as_slice().iter().any(|key| *key != peer);
                }
            }
        }
        own.then_some(if others { Share::Some } else { Share::Sole })
    }

    /// Whether this peer may be asked for its blocks.
    pub(super) fn is_for(&self, peer: PeerKey) -> bool {
        self.only.is_none_or(|(only, _)| only == peer)
    }

    pub(super) fn blocks(&self) -> &[BlockState] {
        &self.blocks
    }

    pub(super) fn requesters(&self, ordinal: usize) -> &[PeerKey] {
        match self.blocks.get(ordinal) {
            Some(BlockState::Wanted(requesters)) => requesters.as_slice(),
            _ => &[],
        }
    }
}

/// What a peer has to do with a begun piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Share {
    /// Nobody else has anything to do with it.
    Sole,
    /// It sent or was asked for some blocks, others for others.
    Some,
}

/// What came of a block.
pub(super) enum Arrival {
    /// It is there already, or there is no such block.
    Unwanted,
    /// Kept. The peers that it was requested from have it no more.
    Kept(Requesters),
}

/// A request for a block that another peer had been asked for already.
#[derive(Clone, Copy)]
struct Duplicate {
    peer: PeerKey,
    slot: usize,
    piece: u32,
    ordinal: usize,
}

/// All begun pieces.
#[derive(Default)]
pub(super) struct Partials {
    slots: Vec<Option<Partial>>,
    vacant: Vec<usize>,
    joinable: Vec<usize>,
    /// Bytes of all begun pieces.
    committed: u64,
    /// Requests for blocks that another peer had been asked for already. May hold some that are no longer under way;
    /// those are dropped when the list is read.
    duplicates: Vec<Duplicate>,
}

impl Partials {
    /// Bytes of all begun pieces: what they hold or will hold in memory.
    pub(super) fn committed(&self) -> u64 {
        self.committed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == self.vacant.len()
    }

    /// Slots of the pieces with free blocks, in no order.
    pub(super) fn joinable(&self) -> &[usize] {
        &self.joinable
    }

    /// Number of slots, used or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn slot(&self, slot: usize) -> Option<&Partial> {
        self.slots.get(slot)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Partial> {
        self.slots.iter().flatten()
    }

    /// Begins a piece, all blocks free. The caller takes a block of it at once.
    pub(super) fn begin(&mut self, piece: u32, length: u32, blocks: usize) -> usize {
        self.committed += u64::from(length);
        let states = vec![FREE; blocks].into_boxed_slice();
        let listed = self.joinable.len();
        let (latest, only) = (None, None);
        let partial = Partial {
            piece,
            length,
            blocks: states,
            free: blocks,
            received: 0,
            first_free: 0,
            latest,
            only,
            idle_s: 0,
            listed,
        };
        let slot = self.vacant.pop().unwrap_or(self.slots.len());
        self.joinable.push(slot);
        match self.slots.get_mut(slot) {
            Some(vacant) => *vacant = Some(partial),
            None => self.slots.push(Some(partial)),
        }
        slot
    }

    /// From now on a begun piece is to come from this peer alone.
    pub(super) fn reserve(&mut self, slot: usize, peer: PeerKey, patience: u32) {
        if let Some(partial) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            partial.only = Some((peer, patience));
        }
    }

    /// Nobody goes on for a second or two with what this peer, which has left, has sent some of, unless somebody is about it.
    pub(super) fn withhold(&mut self, peer: PeerKey) {
        for partial in self.slots.iter_mut().flatten() {
            let left = !partial.is_active() && !partial.is_complete();
            if left && partial.blocks.contains(&BlockState::Received(peer)) {
                partial.only = Some((peer, 2));
            }
        }
    }

    /// A second has passed: less patience with those that have a piece for themselves.
    pub(super) fn tick(&mut self) {
        for partial in self.slots.iter_mut().flatten() {
            partial.only = partial.only.and_then(|(peer, patience)| Some((peer, patience.checked_sub(1)?)));
            partial.idle_s = if partial.is_active() { 0 } else { partial.idle_s.saturating_add(1) };
            if partial.is_left() && !partial.is_complete() {
                // It may be gone.
                partial.only = None;
            }
        }
    }

    /// Frees the blocks of an incomplete piece that these peers sent; their ordinals. If the piece is untouched then, it
    /// must be ended.
    pub(super) fn disown(&mut self, slot: usize, peers: &[PeerKey]) -> Vec<usize> {
        let Some(partial) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return Vec::new() };
        if partial.is_complete() {
            return Vec::new();
        }
        let mut freed = Vec::new();
        for (ordinal, block) in partial.blocks.iter_mut().enumerate() {
            if matches!(block, BlockState::Received(sender) if peers.contains(sender)) {
                *block = FREE;
                freed.push(ordinal);
            }
        }
        let Some(first) = freed.first() else { return freed };
        partial.received -= freed.len();
        partial.first_free = partial.first_free.min(*first);
        if partial.free == 0 {
            partial.listed = self.joinable.len();
            self.joinable.push(slot);
        }
        partial.free += freed.len();
        if !partial.is_active() {
            partial.only = None;
        }
        freed
    }

    /// Forgets a begun piece.
    pub(super) fn end(&mut self, slot: usize) {
        let Some(partial) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        self.committed -= u64::from(partial.length);
        if partial.free > 0 {
            self.unlist(partial.listed);
        }
        self.vacant.push(slot);
    }

    /// Marks the first free block as requested from the peer; its ordinal.
    pub(super) fn take_free(&mut self, slot: usize, peer: PeerKey) -> Option<usize> {
        let partial = self.slots.get_mut(slot)?.as_mut()?;
        let rest = partial.blocks.get(partial.first_free..)?;
        let ordinal = partial.first_free + rest.iter().position(|block| *block == FREE)?;
        partial.first_free = ordinal + 1;
        if let Some(BlockState::Wanted(requesters)) = partial.blocks.get_mut(ordinal) {
            requesters.push(peer);
        }
        partial.latest = Some(peer);
        self.one_free_less(slot);
        Some(ordinal)
    }

    /// Requests a block that others were asked for from one more peer; false if it has enough requesters or is there.
    pub(super) fn take_again(&mut self, slot: usize, ordinal: usize, peer: PeerKey) -> bool {
        let Some(partial) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return false };
        let Some(BlockState::Wanted(requesters)) = partial.blocks.get_mut(ordinal) else { return false };
        let taken = !requesters.as_slice().contains(&peer) && requesters.push(peer);
        if taken {
            self.duplicates.push(Duplicate { peer, slot, piece: partial.piece, ordinal });
        }
        taken
    }

    /// Number of blocks under way that the peer was asked for although others had been.
    pub(super) fn duplicates_of(&mut self, peer: PeerKey) -> usize {
        let mut duplicates = std::mem::take(&mut self.duplicates);
        duplicates.retain(|duplicate| {
            let partial = self.slot(duplicate.slot).filter(|partial| partial.piece == duplicate.piece);
            partial.is_some_and(|partial| partial.requesters(duplicate.ordinal).contains(&duplicate.peer))
        });
        self.duplicates = duplicates;
        self.duplicates.iter().filter(|duplicate| duplicate.peer == peer).count()
    }

    /// Takes the request back; whether there was one. A piece that has neither requests nor blocks must be ended then.
    pub(super) fn release(&mut self, slot: usize, ordinal: usize, peer: PeerKey) -> bool {
        let Some(partial) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return false };
        let Some(BlockState::Wanted(requesters)) = partial.blocks.get_mut(ordinal) else { return false };
        if !requesters.remove(peer) {
            return false;
        }
        if requesters.as_slice().is_empty() {
            *requesters = Requesters::NONE;
            partial.first_free = partial.first_free.min(ordinal);
            partial.free += 1;
            if !partial.is_active() {
                partial.only = None;
            }
            if partial.free == 1 {
                partial.listed = self.joinable.len();
                self.joinable.push(slot);
            }
        }
        true
    }

    /// Marks the block as received from the peer.
    pub(super) fn receive(&mut self, slot: usize, ordinal: usize, peer: PeerKey) -> Arrival {
        let Some(partial) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return Arrival::Unwanted };
        let Some(block) = partial.blocks.get_mut(ordinal) else { return Arrival::Unwanted };
        let BlockState::Wanted(requesters) = *block else { return Arrival::Unwanted };
        *block = BlockState::Received(peer);
        partial.received += 1;
        if requesters.as_slice().is_empty() {
            self.one_free_less(slot);
        }
        Arrival::Kept(requesters)
    }

    fn one_free_less(&mut self, slot: usize) {
        let Some(partial) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        partial.free -= 1;
        if partial.free == 0 {
            let listed = partial.listed;
            self.unlist(listed);
        }
    }

    fn unlist(&mut self, listed: usize) {
        self.joinable.swap_remove(listed);
        let moved = self.joinable.get(listed).copied();
        if let Some(partial) = moved.and_then(|slot| self.slots.get_mut(slot)).and_then(Option::as_mut) {
            partial.listed = listed;
        }
    }

    /// Panics if the invariant in the module's header does not hold.
    pub(super) fn check_invariants(&self) {
        let mut listed = 0;
        for (slot, partial) in self.slots.iter().enumerate().filter_map(|(slot, it)| Some((slot, it.as_ref()?))) {
            let free = partial.blocks.iter().filter(|&&block| block == FREE).count();
            let received = partial.blocks.iter().filter(|block| matches!(block, BlockState::Received(_))).count();
            assert_eq!((partial.free, partial.received), (free, received), "the counts of piece {}", partial.piece);
            assert!(free < partial.blocks.len(), "piece {} is begun in vain", partial.piece);
            assert!(partial.blocks.iter().take(partial.first_free).all(|block| *block != FREE), "first free block");
            if free > 0 {
                listed += 1;
                assert_eq!(self.joinable.get(partial.listed), Some(&slot), "the listing of piece {}", partial.piece);
            }
        }
        assert_eq!(listed, self.joinable.len(), "only pieces with free blocks are joinable");
        assert_eq!(self.committed, self.iter().map(|partial| u64::from(partial.length)).sum::<u64>(), "bytes begun");
    }
}
