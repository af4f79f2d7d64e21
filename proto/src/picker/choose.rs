//! The order in which pieces are offered to a peer.

use super::partial::{BlockState, MAX_REQUESTERS, Share};
use super::rarity::Place;
use super::{PickHints, Picker};
use crate::bitfield::Bitfield;
use crate::geometry::{BLOCK_LENGTH, Block, PieceIndex};
use crate::id::PeerKey;
use rand::RngExt;
use rand::seq::SliceRandom;

/// Open pieces that are looked at in the order of rarity before the peer's own set is walked instead.
const RAREST_LOOKS: usize = 256;
/// Open pieces of the peer's own set among which the rarest are taken.
const SAMPLE: usize = 64;
/// Suggested pieces that are looked at.
const SUGGESTIONS: usize = 16;
/// Blocks that one peer is asked for although others were before: what the end game may waste per peer.
const END_GAME_BLOCKS: usize = 8;

/// One pick under way.
struct Request<'a> {
    peer: PeerKey,
    has: &'a Bitfield,
    /// Whether pieces are begun for this peer alone.
    alone: bool,
    /// Length of `out` to reach.
    goal: usize,
    out: &'a mut Vec<Block>,
}

impl Request<'_> {
    fn is_done(&self) -> bool {
        self.out.len() >= self.goal
    }
}

/// Which begun pieces to join.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joining {
    /// The peer's own, and those that nobody is working on.
    OwnOrLeft,
    /// Any.
    All,
}

impl Picker {
    /// Appends up to `count` blocks to request from this peer, which has `has`, and marks them as requested from it.
    pub fn pick(&mut self, peer: PeerKey, has: &Bitfield, count: usize, hints: PickHints<'_>, out: &mut Vec<Block>) {
        if count == 0 {
            return;
        }
        let before = out.len();
        let goal = before.saturating_add(count);
        let mut request = Request { peer, has, alone: hints.alone, goal, out };
        if hints.alone {
            self.pick_alone(hints, &mut request);
            return;
        }
        if let Some(only) = hints.only {
            self.pick_listed(only, &mut request);
            return;
        }
        self.pick_listed(hints.suggested.get(..SUGGESTIONS).unwrap_or(hints.suggested), &mut request);
        if self.config.sequential {
            self.pick_in_order(&mut request);
        } else {
            self.join(Joining::OwnOrLeft, hints.prefer_whole_pieces, &mut request);
            if !hints.only_suggested {
                self.begin_open(hints.random_first, &mut request);
            }
        }
        self.join(Joining::All, hints.prefer_whole_pieces, &mut request);
        if hints.end_game && request.out.len() == before && self.in_end_game() {
            self.pick_again(&mut request);
        }
    }

    /// Finishes what the peer has a share in already; begins one piece if there is none.
    fn pick_alone(&mut self, hints: PickHints<'_>, request: &mut Request<'_>) {
        let begun: Vec<(usize, u32)> =
            (0..self.partials.slots()).filter_map(|slot| Some((slot, self.partials.slot(slot)?.piece))).collect();
        let mut has_one = false;
        for (slot, piece) in begun {
            let Some(share) = self.partials.slot(slot).and_then(|it| it.share_of(request.peer)) else { continue };
            let Some(index) = self.geometry.piece(piece).filter(|index| request.has.has(*index)) else { continue };
            has_one |= share == Share::Sole;
            if hints.only.is_none_or(|only| only.contains(&index)) {
                self.take(piece, request);
            }
        }
        if has_one || request.is_done() {
            return;
        }
        let longest = usize::try_from(self.geometry.piece_length().div_ceil(BLOCK_LENGTH)).unwrap_or(usize::MAX);
        request.goal = request.goal.min(request.out.len().saturating_add(longest));
        let before = request.out.len();
        self.begin_alone(hints, request);
        if request.out.len() == before && hints.only.is_none() {
            self.join_left(request);
        }
    }

    /// Nobody else goes on with these, so better with a doubtful peer than not at all.
    fn join_left(&mut self, request: &mut Request<'_>) {
        let mut left = self.partials.joinable().iter().filter_map(|&slot| self.partials.slot(slot));
        let has = |piece: u32| self.geometry.piece(piece).is_some_and(|piece| request.has.has(piece));
        let found = left.find(|it| it.is_left() && it.is_for(request.peer) && has(it.piece));
        if let Some(piece) = found.map(|it| it.piece) {
            self.take(piece, request);
        }
    }

    fn begin_alone(&mut self, hints: PickHints<'_>, request: &mut Request<'_>) {
        let open = |picker: &Self, piece: PieceIndex| matches!(picker.rarity.place(piece.as_u32()), Place::Open(_));
        let suggested = hints.suggested.get(..SUGGESTIONS).unwrap_or(hints.suggested);
        for &piece in hints.only.unwrap_or(suggested) {
            if !request.is_done() && request.has.has(piece) && open(self, piece) {
                self.take(piece.as_u32(), request);
            }
        }
        if hints.only.is_some() || hints.only_suggested || request.is_done() {
            return;
        }
        if self.config.sequential {
            let first = self.open_pieces_of(request.has, self.first_missing).next();
            first.into_iter().for_each(|piece| self.take(piece, request));
        } else {
            self.begin_open(hints.random_first, request);
        }
    }

    fn pick_listed(&mut self, pieces: &[PieceIndex], request: &mut Request<'_>) {
        for piece in pieces {
            if request.is_done() {
                return;
            }
            if request.has.has(*piece) {
                self.take(piece.as_u32(), request);
            }
        }
    }

    fn pick_in_order(&mut self, request: &mut Request<'_>) {
        let mut start = self.first_missing;
        while !request.is_done() {
            let mut wanted = request.has.beyond_from(&self.have, start, self.geometry.pieces());
            let Some(piece) = wanted.next() else { return };
            drop(wanted);
            if matches!(self.rarity.place(piece), Place::Open(_)) && !self.has_room() {
                return;
            }
            self.take(piece, request);
            start = piece + 1;
        }
    }

    /// Takes free blocks of begun pieces; those with the fewest missing blocks first.
    fn join(&mut self, joining: Joining, own_first: bool, request: &mut Request<'_>) {
        if request.is_done() {
            return;
        }
        let mut found = Vec::new();
        for partial in self.partials.joinable().iter().filter_map(|&slot| self.partials.slot(slot)) {
            let own = partial.latest() == Some(request.peer);
            let allowed = joining == Joining::All || own || !partial.is_active();
            if allowed && self.geometry.piece(partial.piece).is_some_and(|piece| request.has.has(piece)) {
                found.push((own_first && !own, partial.missing(), partial.piece));
            }
        }
        found.sort_unstable();
        for (_, _, piece) in found {
            if request.is_done() {
                return;
            }
            self.take(piece, request);
        }
    }

    fn begin_open(&mut self, random: bool, request: &mut Request<'_>) {
        // A peer with fewer than one piece in so many would seldom have any of the rarest.
        let has_few = u64::from(request.has.count()) * (RAREST_LOOKS as u64) < u64::from(self.geometry.pieces());
        let may_sample = |picker: &Self| random || picker.rarity.open_and_available() > RAREST_LOOKS;
        let only_sample = random || has_few && may_sample(self);
        if !only_sample {
            self.begin_rarest(request);
        }
        if may_sample(self) {
            self.begin_sampled(random, request);
        }
    }

    /// Begins the rarest open pieces that the peer has, as far as they stand among the first few of the order.
    fn begin_rarest(&mut self, request: &mut Request<'_>) {
        let open = self.rarity.open().len();
        let mut index = open - self.rarity.open_and_available();
        let last = index.saturating_add(RAREST_LOOKS);
        while !request.is_done() && index < last && self.has_room() {
            let Some(&piece) = self.rarity.open().get(index) else { return };
            let has = self.geometry.piece(piece).is_some_and(|piece| request.has.has(piece));
            if has {
                self.take(piece, request);
            } else {
                index += 1;
            }
        }
    }

    /// Begins open pieces that the peer has, found by a walk from a random place of its set: random ones, or the
    /// rarest of a sample.
    fn begin_sampled(&mut self, random: bool, request: &mut Request<'_>) {
        while !request.is_done() && self.has_room() {
            let mut sample = self.sample(request.has);
            if random {
                sample.shuffle(&mut self.rng);
            } else {
                sample.sort_by_key(|&piece| self.rarity.availability(piece));
            }
            if sample.is_empty() {
                return;
            }
            for piece in sample {
                if request.is_done() {
                    return;
                }
                self.take(piece, request);
            }
        }
    }

    fn sample(&mut self, has: &Bitfield) -> Vec<u32> {
        let start = self.rng.random_range(0..self.geometry.pieces().max(1));
        self.open_pieces_of(has, start).take(SAMPLE).collect()
    }

    pub(super) fn has_open_piece(&self, has: &Bitfield) -> bool {
        self.open_pieces_of(has, 0).next().is_some()
    }

    /// The open pieces of a peer from one on, and around to it.
    fn open_pieces_of(&self, has: &Bitfield, start: u32) -> impl Iterator<Item = u32> {
        let behind = has.beyond_from(&self.have, start, self.geometry.pieces());
        let before = has.beyond_from(&self.have, 0, start);
        behind.chain(before).filter(|&piece| matches!(self.rarity.place(piece), Place::Open(_)))
    }

    /// Requests free blocks of the piece, beginning it if need be and the budget has room.
    fn take(&mut self, piece: u32, request: &mut Request<'_>) {
        let slot = match self.rarity.place(piece) {
            Place::Begun(slot) if self.partials.slot(slot).is_some_and(|it| it.is_for(request.peer)) => slot,
            Place::Open(_) if self.has_room() => self.begin(piece, request.peer, request.alone),
            Place::Begun(_) | Place::Open(_) | Place::Have => return,
        };
        let Some(piece) = self.geometry.piece(piece) else { return };
        while !request.is_done() {
            let Some(ordinal) = self.partials.take_free(slot, request.peer) else { break };
            request.out.extend(self.geometry.block(piece, ordinal));
        }
    }

    /// End game: requests blocks that others were asked for already, those with the fewest requesters first. The search
    /// starts at a random piece, so that peers seldom choose the same ones.
    fn pick_again(&mut self, request: &mut Request<'_>) {
        let under_way = self.partials.duplicates_of(request.peer);
        let most = END_GAME_BLOCKS.saturating_sub(under_way).min(request.goal - request.out.len());
        let start = self.rng.random_range(0..=self.partials.slots());
        let mut found: [Vec<(usize, usize)>; MAX_REQUESTERS] = Default::default();
        for slot in (start..self.partials.slots()).chain(0..start) {
            if found.get(1).is_some_and(|once| once.len() >= most) {
                break;
            }
            self.find_again(slot, most, request, &mut found);
        }
        for (slot, ordinal) in found.into_iter().flatten().take(most) {
            let piece = self.partials.slot(slot).and_then(|partial| self.geometry.piece(partial.piece));
            if self.partials.take_again(slot, ordinal, request.peer) {
                request.out.extend(piece.and_then(|piece| self.geometry.block(piece, ordinal)));
            }
        }
    }

    /// Sorts the blocks of a piece that may be requested from one more peer by their number of requesters.
    fn find_again(
        &self,
        slot: usize,
        most: usize,
        request: &Request<'_>,
        found: &mut [Vec<(usize, usize)>; MAX_REQUESTERS],
    ) {
        let Some(partial) = self.partials.slot(slot) else { return };
        let has = self.geometry.piece(partial.piece).is_some_and(|piece| request.has.has(piece));
        if !has || !partial.is_for(request.peer) {
            return;
        }
        for (ordinal, block) in partial.blocks().iter().enumerate() {
            let BlockState::Wanted(requesters) = block else { continue };
            let requesters = requesters.as_slice();
            let list = found.get_mut(requesters.len()).filter(|list| list.len() < most);
            if let Some(list) = list.filter(|_| !requesters.contains(&request.peer)) {
                list.push((slot, ordinal));
            }
        }
    }
}
