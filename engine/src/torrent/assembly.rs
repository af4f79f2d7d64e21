//! Blocks in memory on their way to becoming pieces.
//!
//! Owns the bytes that the swarm decided to keep, until their piece is taken for verification. Never decides what to
//! keep; the swarm's budget bounds it.

use crate::buffer::BlockBuffer;
use std::collections::HashMap;
use swarm_proto::geometry::{Block, Geometry, PieceIndex};

pub(super) struct Assembly {
    geometry: Geometry,
    pieces: HashMap<PieceIndex, Vec<Option<BlockBuffer>>>,
}

impl Assembly {
    pub(super) fn new(geometry: Geometry) -> Self {
        Self { geometry, pieces: HashMap::new() }
    }

    /// Keeps the bytes of a block that the swarm wants; an older version of it is dropped.
    pub(super) fn keep(&mut self, block: Block, buffer: BlockBuffer) {
        let count = self.geometry.blocks_of(block.piece());
        let slots =
            self.pieces.entry(block.piece()).or_insert_with(|| std::iter::repeat_with(|| None).take(count).collect());
        if let Some(slot) = slots.get_mut(block.ordinal()) {
            *slot = Some(buffer);
        }
    }

    /// All blocks of a piece in order; `None`, and nothing taken, if one is missing.
    pub(super) fn take(&mut self, piece: PieceIndex) -> Option<Vec<BlockBuffer>> {
        if !self.pieces.get(&piece)?.iter().all(Option::is_some) {
            return None;
        }
        Some(self.pieces.remove(&piece)?.into_iter().flatten().collect())
    }

    /// Whether no block of any piece is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether any block of the piece is kept.
    pub(super) fn has_begun(&self, piece: PieceIndex) -> bool {
        self.pieces.contains_key(&piece)
    }

    /// Drops what was kept of a piece.
    pub(super) fn forget(&mut self, piece: PieceIndex) {
        self.pieces.remove(&piece);
    }

    /// Drops what was kept of a block.
    pub(super) fn forget_block(&mut self, block: Block) {
        let Some(slots) = self.pieces.get_mut(&block.piece()) else { return };
        if let Some(slot) = slots.get_mut(block.ordinal()) {
            *slot = None;
        }
        if slots.iter().all(Option::is_none) {
            self.pieces.remove(&block.piece());
        }
    }

    /// Puts back what was taken, for another try.
    pub(super) fn restore(&mut self, piece: PieceIndex, blocks: Vec<BlockBuffer>) {
        self.pieces.insert(piece, blocks.into_iter().map(Some).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BlockPool;

    #[test]
    fn a_piece_is_taken_whole_or_not_at_all() {
        let geometry = Geometry::new(100_000, 65_536).unwrap();
        let piece = geometry.piece(1).unwrap();
        let pool = BlockPool::new(8);
        let mut assembly = Assembly::new(geometry);
        assert!(assembly.take(piece).is_none());
        for block in geometry.blocks(piece).collect::<Vec<_>>().into_iter().rev() {
            assert!(assembly.take(piece).is_none());
            let mut buffer = pool.take(block.length() as usize);
            buffer.fill(u8::try_from(block.ordinal()).unwrap());
            assembly.keep(block, buffer);
        }
        let blocks = assembly.take(piece).unwrap();
        assert_eq!(blocks.iter().map(|block| block[0]).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(assembly.take(piece).is_none());
        assembly.restore(piece, blocks);
        let first = geometry.block(piece, 0).unwrap();
        assembly.forget_block(first);
        assert!(assembly.take(piece).is_none());
        assembly.keep(first, pool.take(first.length() as usize));
        assert_eq!(assembly.take(piece).unwrap().len(), 3);
        assembly.keep(first, pool.take(first.length() as usize));
        assembly.forget_block(first);
        assert!(!assembly.has_begun(piece), "nothing of it is left");
    }
}
