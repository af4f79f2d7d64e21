//! Which files have just become complete.
//!
//! Owns a count of missing pieces for each file, so that a piece costs as much as it has files and not as the torrent
//! has pieces.

use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::PieceIndex;
use swarm_proto::layout::{FileIndex, Layout};

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

    /// A piece is there that was missing: the files that have become complete by it.
    pub(super) fn gained(&mut self, piece: PieceIndex) -> Vec<FileIndex> {
        let mut complete = Vec::new();
        for span in self.layout.spans_of_piece(piece) {
            if let Some(missing) = self.missing.get_mut(span.file.as_usize()) {
                *missing = missing.saturating_sub(1);
                if *missing == 0 {
                    complete.push(span.file);
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sample::Sample;

    #[test]
    fn each_file_is_named_once_by_the_piece_that_completes_it() {
        // The first three share a piece, and the last two.
        let sample = Sample::folder(&[("a", 10, ""), ("b", 20, ""), ("c", 40_000, ""), ("d", 5, "")], 16_384);
        let layout = sample.metainfo.layout();
        let geometry = layout.geometry();
        let piece = |number| geometry.piece(number).unwrap();
        let mut files = FileProgress::new(layout.clone(), &Bitfield::empty(geometry.pieces()));
        let index = |number| sample.index(number);
        assert_eq!(files.gained(piece(0)), [index(0), index(1)]);
        assert_eq!(files.gained(piece(1)), []);
        assert_eq!(files.gained(piece(2)), [index(2), index(3)]);
        files.lost(piece(1));
        assert_eq!(files.gained(piece(1)), [index(2)]);
    }
}
