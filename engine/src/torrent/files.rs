//! Which files have just become complete.
//!
//! Owns a count of missing pieces for each file, so that a piece costs as much as it has files and not as the torrent
//! has pieces.

use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::PieceIndex;
use swarm_proto::layout::Layout;

pub(super) struct FileProgress {
    layout: Layout,
    missing: Vec<u32>,
}

impl FileProgress {
    pub(super) fn new(layout: Layout, have: &Bitfield) -> Self {
        let geometry = layout.geometry();
        let is_missing = |piece: &u32| geometry.piece(*piece).is_some_and(|piece| !have.has(piece));
        let missing =
            |index| u32::try_from(layout.pieces_of_file(index).filter(is_missing).count()).unwrap_or(u32::MAX);
        let missing = layout.files().map(|(index, _)| missing(index)).collect();
        Self { layout, missing }
    }

    /// A piece is there that was missing; true if a file became complete by it.
    pub(super) fn gained(&mut self, piece: PieceIndex) -> bool {
        let mut complete = false;
        for span in self.layout.spans_of_piece(piece) {
            if let Some(missing) = self.missing.get_mut(span.file.as_usize()) {
                *missing = missing.saturating_sub(1);
                complete |= *missing == 0;
            }
        }
        complete
    }

    /// A piece is missing that was there.
    pub(super) fn lost(&mut self, piece: PieceIndex) {
        for span in self.layout.spans_of_piece(piece) {
            if let Some(missing) = self.missing.get_mut(span.file.as_usize()) {
                *missing = missing.saturating_add(1);
            }
        }
    }
}
