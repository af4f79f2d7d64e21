//! What one peer has requested and not been given yet.
//!
//! Two queues: blocks of pieces that the peer is to spread, and all others (see [`super::spread`]). Each is served oldest
//! first. Invariant: no block stands in it twice. Every operation that a message can cause costs less than O(n), but for
//! taking out of the middle.

use crate::geometry::{Block, PieceIndex};
use std::collections::{BTreeSet, VecDeque};

#[derive(Default)]
pub(super) struct RequestQueue {
    own: VecDeque<Block>,
    other: VecDeque<Block>,
    all: BTreeSet<Block>,
}

impl RequestQueue {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether a block of a piece that the peer is to spread waits.
    pub(super) fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// Queues a block; `own` if the peer is to spread its piece. One that waits already keeps its place.
    pub(super) fn push(&mut self, block: Block, own: bool) {
        if self.all.insert(block) {
            if own { self.own.push_back(block) } else { self.other.push_back(block) }
        }
    }

    /// Takes the next block to serve: of its own pieces first.
    pub(super) fn pop(&mut self) -> Option<Block> {
        let block = self.own.pop_front().or_else(|| self.other.pop_front())?;
        self.all.remove(&block);
        Some(block)
    }

    /// Takes a block out; whether it waited.
    pub(super) fn remove(&mut self, block: Block) -> bool {
        if !self.all.remove(&block) {
            return false;
        }
        for queue in [&mut self.own, &mut self.other] {
            if let Some(index) = queue.iter().position(|waiting| *waiting == block) {
                queue.remove(index);
            }
        }
        true
    }

    /// Takes out all but those that are to stay.
    pub(super) fn take_unless(&mut self, mut stays: impl FnMut(Block) -> bool) -> Vec<Block> {
        let mut taken = Vec::new();
        for queue in [&mut self.own, &mut self.other] {
            queue.retain(|&block| {
                let stay = stays(block);
                if !stay {
                    taken.push(block);
                }
                stay
            });
        }
        taken.iter().for_each(|block| _ = self.all.remove(block));
        taken
    }

    /// The piece is one like any other from now on; its blocks have waited the longest.
    pub(super) fn disown(&mut self, piece: PieceIndex) {
        for index in (0..self.own.len()).rev() {
            if self.own.get(index).is_some_and(|block| block.piece() == piece)
                && let Some(block) = self.own.remove(index)
            {
                self.other.push_front(block);
            }
        }
    }

    /// # Panics
    /// When a block stands twice, or in one place only.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.own.len() + self.other.len(), self.all.len(), "requests that wait");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Geometry;

    #[test]
    fn own_blocks_come_first_and_nothing_stands_twice() {
        let geometry = Geometry::new(1 << 20, 1 << 16).unwrap();
        let block = |piece, ordinal| geometry.block(geometry.piece(piece).unwrap(), ordinal).unwrap();
        let mut queue = RequestQueue::default();
        for (piece, own) in [(0, false), (1, true), (2, true), (1, true), (0, false), (3, false)] {
            queue.push(block(piece, 0), own);
            queue.check_invariants();
        }
        assert_eq!(queue.len(), 4);
        queue.disown(geometry.piece(2).unwrap());
        assert!(queue.remove(block(0, 0)) && !queue.remove(block(0, 0)));
        queue.check_invariants();
        assert_eq!(queue.pop(), Some(block(1, 0)));
        assert!(!queue.has_own());
        assert_eq!(queue.take_unless(|stays| stays == block(3, 0)), [block(2, 0)]);
        queue.check_invariants();
        assert_eq!((queue.pop(), queue.pop(), queue.is_empty()), (Some(block(3, 0)), None, true));
    }
}
