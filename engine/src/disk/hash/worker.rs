//! One thread's share of hashing files: several pieces at a time, a stripe of each in turn.
//!
//! Owns the reading. Each piece under way has one stripe's buffer, whatever the pieces' length, so that a thread needs
//! half a MiB at most, which stays in its core's cache between reading and hashing. Stripes of 16 pieces in turn would be
//! 16 places between which the head of a disk goes to and fro, for some 100 KiB each: so the kernel is told beforehand
//! what comes, in long stretches and in their order on the disk.

use super::super::error::{DiskError, Operation};
use super::super::file_pool::is_out_of_descriptors;
use super::super::positioned::read_at;
use super::{Extent, HashJob, Hashed, Source};
use rustix::fs::Advice;
use std::collections::VecDeque;
use std::fs::File;
use std::num::NonZeroU64;
use std::rc::Rc;
use swarm_hash::{BLOCK_LENGTH, Method, Part, Partial};
use swarm_proto::geometry::{Geometry, PieceIndex};
use swarm_proto::id::HASH_LENGTH;

/// Bytes of a piece that are read at once: long enough that the system calls do not count, short enough that those of
/// all lanes fit into the second level of cache.
const STRIPE_LENGTH: usize = 32 * 1024;

/// Bytes between the beginnings of the lanes' buffers. At a power of two they would push each other out of the cache.
const STRIPE_DISTANCE: usize = STRIPE_LENGTH + BLOCK_LENGTH;

/// Bytes of each piece that the kernel is told of in advance, a multiple of a stripe: long for a head that has to move
/// there, and 16 MiB for all lanes.
const WINDOW_LENGTH: u64 = 1024 * 1024;

/// Bytes of a stretch that are worth telling; the kernel reads shorter ones at once anyway.
const WORTH_TELLING: u64 = 128 * 1024;

/// Bytes of one call: of more the kernel forgets the rest, at twice its usual read-ahead if not later.
const TOLD_AT_ONCE: u64 = 256 * 1024;

/// Files that all threads together hold open, beyond one each. With fewer than lanes, files that are longer than a
/// stripe and shorter than a piece are opened again for each stripe.
const OPEN_FILES: usize = 64;

pub(super) struct Worker<'s, S> {
    source: &'s S,
    geometry: Geometry,
    job: HashJob<'s>,
    method: Method,
    files: OpenFiles,
    buffer: Vec<u8>,
}

impl<'s, S: Source> Worker<'s, S> {
    pub(super) fn new(source: &'s S, geometry: Geometry, job: HashJob<'s>, method: Method) -> Self {
        let limit = (OPEN_FILES / job.threads.max(1)).clamp(1, method.lanes());
        let buffer = vec![0; STRIPE_DISTANCE * method.lanes()];
        Self { source, geometry, job, method, files: OpenFiles { open: VecDeque::new(), limit }, buffer }
    }

    /// Hashes a run of pieces.
    pub(super) fn hash(&mut self, run: &[PieceIndex]) -> Result<Vec<Hashed>, DiskError> {
        let mut lanes: Vec<Lane> = run.iter().map(|&piece| self.lane(piece)).collect();
        self.read_ahead(&lanes)?;
        for group in lanes.chunks_mut(self.method.lanes()) {
            let mut position = 0;
            while group.iter().any(|lane| lane.outcome.is_none()) {
                if position == WINDOW_LENGTH {
                    self.read_ahead(group)?;
                    position = 0;
                }
                let done = self.fill(group)? + self.advance(group);
                (self.job.progress)(done);
                position += STRIPE_LENGTH as u64;
            }
        }
        Ok(lanes.into_iter().map(|lane| (lane.piece, lane.outcome.flatten())).collect())
    }

    /// Tells the kernel of what is read next of each piece.
    fn read_ahead(&mut self, lanes: &[Lane]) -> Result<(), DiskError> {
        let mut stretch = Extent { file: None, offset: 0, length: 0 };
        for lane in lanes.iter().filter(|lane| lane.outcome.is_none()) {
            let mut room = WINDOW_LENGTH;
            for extent in &lane.extents {
                let length = extent.length.min(room);
                room -= length;
                if extent.file == stretch.file && extent.offset == stretch.offset + stretch.length {
                    stretch.length += length;
                } else {
                    self.files.tell(self.source, &stretch)?;
                    stretch = Extent { length, ..*extent };
                }
                if room == 0 {
                    break;
                }
            }
        }
        self.files.tell(self.source, &stretch)
    }

    fn lane(&self, piece: PieceIndex) -> Lane {
        let left = u64::from(self.geometry.length_of(piece));
        let extents = self.source.extents(piece).into();
        Lane { piece, extents, left, partial: Partial::new(), filled: 0, outcome: None }
    }

    /// Reads the next stripe of each piece that is not done. Returns the bytes of those that turned out to be missing.
    fn fill(&mut self, lanes: &mut [Lane]) -> Result<u64, DiskError> {
        let mut missing = 0;
        for (lane, buffer) in lanes.iter_mut().zip(self.buffer.chunks_exact_mut(STRIPE_DISTANCE)) {
            lane.filled = 0;
            while let Some(extent) = lane.next_extent() {
                if self.job.cancel.load(std::sync::atomic::Ordering::Relaxed) {
                    return Err(DiskError::Cancelled);
                }
                let length = usize::try_from(extent.length).unwrap_or(usize::MAX);
                let Some(out) = buffer.get_mut(lane.filled..lane.filled + length) else { break };
                if !read(self.source, &mut self.files, &extent, out)? {
                    missing += lane.left;
                    (lane.filled, lane.outcome) = (0, Some(None));
                    break;
                }
                lane.filled += length;
            }
        }
        Ok(missing)
    }

    /// Hashes what was read. Returns its bytes.
    fn advance(&mut self, lanes: &mut [Lane]) -> u64 {
        let mut done = 0;
        let mut parts = Vec::with_capacity(lanes.len());
        let mut ends = Vec::new();
        for (lane, buffer) in lanes.iter_mut().zip(self.buffer.chunks_exact(STRIPE_DISTANCE)) {
            let stripe = buffer.get(..lane.filled).unwrap_or_default();
            let (blocks, rest) = stripe.as_chunks();
            done += stripe.len() as u64;
            lane.left = lane.left.saturating_sub(stripe.len() as u64);
            ends.push(rest);
            parts.push(Part { partial: &mut lane.partial, blocks });
        }
        self.method.advance(&mut parts);
        for (lane, rest) in lanes.iter_mut().zip(ends).filter(|(lane, _)| lane.extents.is_empty()) {
            lane.outcome.get_or_insert_with(|| Some(lane.partial.clone().finish(rest)));
        }
        done
    }
}

/// A piece under way.
struct Lane {
    piece: PieceIndex,
    /// Where the bytes are that were not read yet.
    extents: VecDeque<Extent>,
    /// Bytes that were not hashed yet.
    left: u64,
    partial: Partial,
    /// Bytes of the stripe that were read.
    filled: usize,
    /// The SHA-1, or that bytes are missing, once it is known.
    outcome: Option<Option<[u8; HASH_LENGTH]>>,
}

impl Lane {
    /// What to read next, so that it fits into the rest of the stripe; nothing if that is full or the piece ends.
    fn next_extent(&mut self) -> Option<Extent> {
        let room = (STRIPE_LENGTH - self.filled) as u64;
        if room == 0 || self.outcome.is_some() {
            return None;
        }
        let first = self.extents.front_mut()?;
        if first.length <= room {
            return self.extents.pop_front();
        }
        let now = Extent { length: room, ..*first };
        first.offset += room;
        first.length -= room;
        Some(now)
    }
}

/// False where the file is missing, too short or unreadable.
fn read<S: Source>(source: &S, files: &mut OpenFiles, extent: &Extent, out: &mut [u8]) -> Result<bool, DiskError> {
    let Some(number) = extent.file else {
        // Padding (BEP 47).
        out.fill(0);
        return Ok(true);
    };
    let file = files.file(source, number)?;
    let Some(file) = &*file else { return Ok(false) };
    match read_at(file, out, extent.offset) {
        Ok(count) => Ok(count == out.len()),
        Err(code) => {
            let error = DiskError::system(Operation::Read, source.path(number))(code);
            tracing::warn!(%error, "a piece counts as missing");
            Ok(false)
        }
    }
}

/// The files used last, and what their opening gave.
struct OpenFiles {
    open: VecDeque<(usize, Rc<Option<File>>)>,
    limit: usize,
}

impl OpenFiles {
    fn tell<S: Source>(&mut self, source: &S, stretch: &Extent) -> Result<(), DiskError> {
        let Some(number) = stretch.file.filter(|_| stretch.length >= WORTH_TELLING) else { return Ok(()) };
        let file = self.file(source, number)?;
        let end = stretch.offset + stretch.length;
        let mut offset = stretch.offset;
        while let (Some(file), Some(length)) = (&*file, NonZeroU64::new(TOLD_AT_ONCE.min(end - offset))) {
            // Advice: where it is not taken, reading works as well.
            let _ = rustix::fs::fadvise(file, offset, Some(length), Advice::WillNeed);
            offset += length.get();
        }
        Ok(())
    }

    fn file<S: Source>(&mut self, source: &S, number: usize) -> Result<Rc<Option<File>>, DiskError> {
        if let Some((_, file)) = self.open.iter().find(|(open, _)| *open == number) {
            return Ok(Rc::clone(file));
        }
        self.open.truncate(self.limit - 1);
        let opened = match source.open(number) {
            Err(error) if is_out_of_descriptors(&error) && !self.open.is_empty() => {
                self.open.clear();
                source.open(number)?
            }
            opened => opened?,
        };
        if let Some(file) = &opened {
            // Advice: where it is not taken, reading works as well.
            let _ = rustix::fs::fadvise(file, 0, None, Advice::Sequential);
        }
        let file = Rc::new(opened);
        self.open.push_front((number, Rc::clone(&file)));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{hash_piece, hash_pieces};
    use super::*;
    use rustix::io::Errno;
    use std::path::PathBuf;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    use tempfile::TempDir;

    /// Files of one length, of which some are missing, behind a system that has descriptors for every n-th opening only.
    struct Files {
        folder: TempDir,
        length: u64,
        count: u64,
        piece_length: u64,
        is_missing: fn(usize) -> bool,
        opened: AtomicUsize,
        refuse_every: usize,
    }

    impl Files {
        fn new(length: u64, count: u64, piece_length: u64) -> (Self, Vec<u8>) {
            let folder = TempDir::new().unwrap();
            let mut all = Vec::new();
            for number in 0..count {
                let bytes: Vec<u8> = (0..length).map(|at| ((at / 256 + at * 7 + number * 13) % 251) as u8).collect();
                std::fs::write(folder.path().join(number.to_string()), &bytes).unwrap();
                all.extend(bytes);
            }
            let (opened, refuse_every) = (AtomicUsize::new(0), usize::MAX);
            (Self { folder, length, count, piece_length, is_missing: |_| false, opened, refuse_every }, all)
        }

        fn hash(&self, threads: usize) -> Result<Vec<Option<[u8; HASH_LENGTH]>>, DiskError> {
            let geometry = Geometry::new(self.length * self.count, self.piece_length).unwrap();
            let pieces: Vec<PieceIndex> = geometry.all_pieces().collect();
            let (found, total, cancel) = (Mutex::new(Vec::new()), AtomicU64::new(0), AtomicBool::new(false));
            let progress = |bytes| {
                total.fetch_add(bytes, Ordering::Relaxed);
            };
            let job = HashJob { threads, progress: &progress, cancel: &cancel };
            hash_pieces(self, geometry, &pieces, job, &|outcomes| found.lock().unwrap().extend_from_slice(outcomes))?;
            assert_eq!(total.into_inner(), self.length * self.count, "all bytes are told of");
            let mut found = found.into_inner().unwrap();
            found.sort_unstable_by_key(|(piece, _)| *piece);
            assert!(found.iter().map(|(piece, _)| *piece).eq(pieces));
            Ok(found.into_iter().map(|(_, hash)| hash).collect())
        }
    }

    impl Source for Files {
        fn extents(&self, piece: PieceIndex) -> Vec<Extent> {
            let (mut at, total) = (piece.as_u32() as u64 * self.piece_length, self.length * self.count);
            let end = total.min(at + self.piece_length);
            let mut extents = Vec::new();
            while at < end {
                let (number, offset) = (at / self.length, at % self.length);
                let length = (self.length - offset).min(end - at);
                extents.push(Extent { file: usize::try_from(number).ok(), offset, length });
                at += length;
            }
            extents
        }

        fn open(&self, file: usize) -> Result<Option<File>, DiskError> {
            let path = self.path(file);
            if (self.opened.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.refuse_every) {
                return Err(DiskError::system(Operation::Open, path)(Errno::MFILE));
            }
            Ok((!(self.is_missing)(file)).then(|| File::open(path).unwrap()))
        }

        fn path(&self, file: usize) -> PathBuf {
            self.folder.path().join(file.to_string())
        }
    }

    fn expected(all: &[u8], piece_length: usize) -> Vec<Option<[u8; HASH_LENGTH]>> {
        all.chunks(piece_length).map(|piece| Some(hash_piece(&[piece]))).collect()
    }

    #[test]
    fn files_of_any_length_below_pieces_of_any_length() {
        // More files than are held open; stripes of many files; windows that end within files and pieces.
        for (length, count) in [(40_000, 70), (999, 500), (WINDOW_LENGTH + 77, 3), (2_500_000, 1)] {
            let (mut files, all) = Files::new(length, count, 0);
            for piece_length in [1_000, 16 * 1024, STRIPE_LENGTH as u64 + 1, 300_001, 2 * WINDOW_LENGTH + 64] {
                files.piece_length = piece_length;
                let expected = expected(&all, usize::try_from(piece_length).unwrap());
                for threads in [1, 9] {
                    let found = files.hash(threads).unwrap();
                    assert!(
                        found == expected,
                        "{count} files of {length}, pieces of {piece_length}, {threads} threads"
                    );
                }
            }
        }
    }

    #[test]
    fn missing_files_cost_their_pieces_and_no_others() {
        let (mut files, all) = Files::new(50_000, 100, 70_000);
        files.is_missing = |number| number % 10 == 3;
        let mut expected = expected(&all, 70_000);
        for (piece, hash) in expected.iter_mut().enumerate() {
            let touched = piece * 70_000 / 50_000..((piece + 1) * 70_000).div_ceil(50_000).min(100);
            if touched.into_iter().any(files.is_missing) {
                *hash = None;
            }
        }
        assert!(expected.iter().filter(|hash| hash.is_none()).count() > 10);
        assert_eq!(files.hash(2).unwrap(), expected);
    }

    #[test]
    fn descriptors_that_run_out_are_taken_from_the_files_held_open() {
        let (mut files, all) = Files::new(50_000, 100, 70_000);
        files.refuse_every = 7;
        assert_eq!(files.hash(1).unwrap(), expected(&all, 70_000));
        assert!(files.opened.load(Ordering::Relaxed) > 100);
        files.refuse_every = 1;
        assert!(matches!(files.hash(1), Err(DiskError::System { .. })), "none at all are an error");
    }
}
