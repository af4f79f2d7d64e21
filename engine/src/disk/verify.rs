//! Whether files on disk are what the metainfo says.

use super::error::DiskError;
use super::hash::{Extent, HashJob, Hashed, Source, hash_pieces};
use super::storage::Storage;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::PieceIndex;
use swarm_proto::layout::{FileIndex, FileKind};
use swarm_proto::metainfo::Metainfo;

/// What a verification found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyReport {
    /// The pieces that are right.
    pub have: Bitfield,
    /// The pieces that are missing or wrong, ascending.
    pub bad_pieces: Vec<PieceIndex>,
    /// The files that are not there.
    pub missing_files: Vec<FileIndex>,
    /// The files that are there with a length that is not theirs.
    pub wrong_lengths: Vec<FileIndex>,
    /// The files that are there and in which all of a bad piece lies: they are wrong for sure.
    pub damaged_files: Vec<FileIndex>,
    /// The other files that are there and hold a part of a bad piece: the wrong bytes may be in a file beside them.
    pub sharing_files: Vec<FileIndex>,
}

impl VerifyReport {
    /// Whether all is there and right, empty files included.
    pub fn is_complete(&self) -> bool {
        self.have.is_full() && self.missing_files.is_empty() && self.wrong_lengths.is_empty()
    }
}

/// Hashes everything. See [`HashJob`] for threads, progress and cancelling.
pub fn verify(storage: &Storage, metainfo: &Metainfo, job: HashJob<'_>) -> Result<VerifyReport, DiskError> {
    let have = verify_pieces(storage, metainfo, &Bitfield::full(metainfo.geometry().pieces()), job)?;
    let bad_pieces: Vec<PieceIndex> = metainfo.geometry().all_pieces().filter(|&piece| !have.has(piece)).collect();
    let (mut missing_files, mut wrong_lengths) = (Vec::new(), Vec::new());
    for (index, file) in storage.layout().files().filter(|(_, file)| file.kind() == FileKind::Regular) {
        match storage.on_disk(index) {
            None => missing_files.push(index),
            Some(found) if found.stamp.length != file.length() => wrong_lengths.push(index),
            Some(_) => (),
        }
    }
    let (damaged_files, sharing_files) = touched_files(storage, &bad_pieces);
    Ok(VerifyReport { have, bad_pieces, missing_files, wrong_lengths, damaged_files, sharing_files })
}

/// The files that are there and wrong for sure, and those that only share a bad piece with others.
fn touched_files(storage: &Storage, bad_pieces: &[PieceIndex]) -> (Vec<FileIndex>, Vec<FileIndex>) {
    let (mut damaged, mut sharing) = (BTreeSet::new(), BTreeSet::new());
    for &piece in bad_pieces {
        let spans = storage.layout().spans_of_piece(piece).filter(|&span| storage.is_on_disk(span));
        let files: Vec<FileIndex> = spans.map(|span| span.file).collect();
        let touched = if files.len() == 1 { &mut damaged } else { &mut sharing };
        touched.extend(files.into_iter().filter(|&index| storage.on_disk(index).is_some()));
    }
    let sharing = sharing.difference(&damaged).copied().collect();
    (damaged.into_iter().collect(), sharing)
}

/// Hashes some pieces and returns those of them that are right.
pub fn verify_pieces(
    storage: &Storage,
    metainfo: &Metainfo,
    pieces: &Bitfield,
    job: HashJob<'_>,
) -> Result<Bitfield, DiskError> {
    let geometry = metainfo.geometry();
    let wanted: Vec<PieceIndex> = pieces.iter().filter_map(|number| geometry.piece(number)).collect();
    let right = Mutex::new(Bitfield::empty(geometry.pieces()));
    let done = |outcomes: &[Hashed]| {
        let mut right = right.lock().unwrap_or_else(PoisonError::into_inner);
        for (piece, hash) in outcomes {
            if hash.is_some() && hash.as_ref() == metainfo.piece_hash(*piece) {
                right.insert(*piece);
            }
        }
    };
    hash_pieces(storage, geometry, &wanted, job, &done)?;
    Ok(right.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Source for Storage {
    fn extents(&self, piece: PieceIndex) -> Vec<Extent> {
        let extent = |span: swarm_proto::layout::Span| Extent {
            file: self.is_on_disk(span).then_some(span.file.as_usize()),
            offset: span.offset,
            length: span.length,
        };
        self.layout().spans_of_piece(piece).map(extent).collect()
    }

    fn open(&self, file: usize) -> Result<Option<File>, DiskError> {
        match self.layout().index(file).map(|index| self.open_for_hashing(index)) {
            // Gone since it was found, or something else stands there now.
            Some(Err(error)) if error.needs_recheck() => Ok(None),
            Some(opened) => opened,
            None => Ok(None),
        }
    }

    fn path(&self, file: usize) -> PathBuf {
        self.layout().index(file).map(|index| self.display_path(index)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::super::{Mode, StorageOptions};
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use tempfile::TempDir;

    const PIECE: usize = 16_384;

    fn sample() -> Sample {
        let files = [
            ("first", 2_000_000, ""),
            ("empty", 0, ""),
            ("second", 3 * PIECE + 1, ""),
            (".pad", 100, "p"),
            ("third", 5, ""),
        ];
        Sample::folder(&files, PIECE)
    }

    fn report(folder: &Path, sample: &Sample, threads: usize) -> VerifyReport {
        let storage = Storage::open(folder, sample.layout(), StorageOptions::new(Mode::Seed)).unwrap();
        let (total, cancel) = (AtomicU64::new(0), AtomicBool::new(false));
        let progress = |bytes| {
            total.fetch_add(bytes, Ordering::Relaxed);
        };
        let job = HashJob { threads, progress: &progress, cancel: &cancel };
        let report = verify(&storage, &sample.metainfo, job).unwrap();
        assert_eq!(total.into_inner(), sample.bytes.len() as u64, "progress ends at the end");
        report
    }

    #[test]
    fn right_data_is_complete_with_any_number_of_threads() {
        let (temporary, sample) = (TempDir::new().unwrap(), sample());
        sample.write_to(temporary.path());
        for threads in [0, 1, 2, 7] {
            assert!(report(temporary.path(), &sample, threads).is_complete());
        }
    }

    #[test]
    fn pieces_longer_than_a_buffer_are_right() {
        let (temporary, sample) = (TempDir::new().unwrap(), Sample::file(5_000_000, 2_500_001));
        sample.write_to(temporary.path());
        assert!(report(temporary.path(), &sample, 2).is_complete());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (temporary, sample) = (TempDir::new().unwrap(), sample());
        sample.write_to(temporary.path());
        let top = temporary.path().join("top");
        let mut first = fs::read(top.join("first")).unwrap();
        first[20_000] ^= 1;
        fs::write(top.join("first"), first).unwrap();
        fs::remove_file(top.join("empty")).unwrap();
        fs::write(top.join("third"), b"longer than it was").unwrap();
        let found = report(temporary.path(), &sample, 2);
        let last = sample.metainfo.geometry().pieces() - 1;
        assert_eq!(found.bad_pieces.iter().map(|piece| piece.as_u32()).collect::<Vec<_>>(), [1, last]);
        assert_eq!(found.have.count(), last - 1);
        assert_eq!(found.missing_files, [sample.index(1)]);
        assert_eq!(found.wrong_lengths, [sample.index(4)]);
        assert_eq!(found.damaged_files, [sample.index(0)]);
        assert_eq!(found.sharing_files, [sample.index(2), sample.index(4)], "the last piece has bytes of both");
        assert!(!found.is_complete());
    }

    #[test]
    fn a_file_cut_off_or_gone_costs_its_pieces_only() {
        let (temporary, sample) = (TempDir::new().unwrap(), sample());
        sample.write_to(temporary.path());
        fs::File::options()
            .write(true)
            .open(temporary.path().join("top/first"))
            .unwrap()
            .set_len(PIECE as u64)
            .unwrap();
        fs::remove_file(temporary.path().join("top/second")).unwrap();
        let found = report(temporary.path(), &sample, 2);
        assert_eq!(found.have.iter().collect::<Vec<_>>(), [0]);
        assert_eq!((found.missing_files, found.wrong_lengths), (vec![sample.index(2)], vec![sample.index(0)]));
    }

    #[test]
    fn cancelling_ends_it() {
        let (temporary, sample) = (TempDir::new().unwrap(), sample());
        sample.write_to(temporary.path());
        let storage = Storage::open(temporary.path(), sample.layout(), StorageOptions::new(Mode::Seed)).unwrap();
        let cancel = AtomicBool::new(false);
        let progress = |_| cancel.store(true, Ordering::Relaxed);
        let result = verify(&storage, &sample.metainfo, HashJob::new(&progress, &cancel));
        assert!(matches!(result, Err(DiskError::Cancelled)), "{result:?}");
    }

    #[test]
    fn only_the_pieces_asked_for_are_read() {
        let (temporary, sample) = (TempDir::new().unwrap(), sample());
        sample.write_to(temporary.path());
        let storage = Storage::open(temporary.path(), sample.layout(), StorageOptions::new(Mode::Seed)).unwrap();
        let (total, cancel) = (AtomicU64::new(0), AtomicBool::new(false));
        let progress = |bytes| {
            total.fetch_add(bytes, Ordering::Relaxed);
        };
        let mut wanted = Bitfield::empty(sample.metainfo.geometry().pieces());
        for number in [3, 100] {
            wanted.insert(sample.metainfo.geometry().piece(number).unwrap());
        }
        let right = verify_pieces(&storage, &sample.metainfo, &wanted, HashJob::new(&progress, &cancel)).unwrap();
        assert_eq!(right, wanted);
        assert_eq!(total.into_inner(), 2 * PIECE as u64);
    }
}
