//! What the shell of a host would hold: checks that the swarm never asks it for what it cannot do.
//!
//! A swarm that has a piece verified before all of its bytes are there, keeps a block twice, or serves a piece that it
//! does not have would complete with wrong data, whatever its own invariants say.

use std::collections::{BTreeMap, BTreeSet};
use swarm_proto::geometry::{Block, Geometry, PieceIndex};

/// The blocks kept for pieces that are not written yet.
#[derive(Default)]
pub(crate) struct Shell {
    kept: BTreeMap<PieceIndex, BTreeSet<usize>>,
}

impl Shell {
    /// The swarm wants the bytes of a block kept.
    pub(crate) fn keep(&mut self, block: Block) {
        let new = self.kept.entry(block.piece()).or_default().insert(block.ordinal());
        assert!(new, "{block:?} is kept twice");
    }

    /// The swarm wants a piece hashed and written.
    pub(crate) fn verify(&self, geometry: Geometry, piece: PieceIndex) {
        let kept = self.kept.get(&piece).map_or(0, BTreeSet::len);
        assert_eq!(kept, geometry.blocks_of(piece), "blocks of {piece:?} that is to be verified");
    }

    /// The bytes of a block are needed no longer.
    pub(crate) fn forget_block(&mut self, block: Block) {
        let was_there = self.kept.get_mut(&block.piece()).is_some_and(|kept| kept.remove(&block.ordinal()));
        assert!(was_there, "{block:?} is forgotten, but was not kept");
    }

    /// The bytes of a piece are needed no longer.
    pub(crate) fn forget(&mut self, piece: PieceIndex) {
        self.kept.remove(&piece);
    }
}
