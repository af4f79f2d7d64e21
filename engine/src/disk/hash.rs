//! SHA-1 of pieces: of those in memory, and of those in files on every core.
//!
//! Owns the reading of whole files for hashing. Memory is bounded by one buffer a thread, whatever the pieces' length. The
//! threads take runs of pieces in order, so that each reads long stretches and the disk sees one front moving on.

use super::error::{DiskError, Operation};
use super::positioned::read_at;
use rustix::fs::Advice;
use sha1::{Digest, Sha1};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use swarm_proto::geometry::{Geometry, PieceIndex};
use swarm_proto::id::HASH_LENGTH;

/// Bytes that a thread reads at once.
const BUFFER_LENGTH: usize = 1024 * 1024;

/// Bytes of a run of pieces: long enough for read-ahead, short enough that all threads end together.
const RUN_LENGTH: u64 = 16 * 1024 * 1024;

/// What padding (BEP 47) is made of.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The SHA-1 of a piece, given as slices of any length in order.
pub fn hash_piece(blocks: &[&[u8]]) -> [u8; HASH_LENGTH] {
    let mut digest = Sha1::new();
    blocks.iter().for_each(|block| digest.update(block));
    digest.finalize().into()
}

/// The SHA-1 of each slice on its own: which of the blocks of a wrong piece were wrong.
pub fn block_digests(blocks: &[&[u8]]) -> Vec<[u8; HASH_LENGTH]> {
    blocks.iter().map(|block| Sha1::digest(block).into()).collect()
}

/// How to hash files: with how many threads, whom to tell, and when to stop.
#[derive(Clone, Copy)]
pub struct HashJob<'j> {
    /// Threads at most, at least 1.
    pub threads: usize,
    /// Called from the threads with the number of bytes done since the last call; missing ones count too.
    pub progress: &'j (dyn Fn(u64) + Sync),
    /// Set from anywhere: ends the work with [`DiskError::Cancelled`] within one buffer.
    pub cancel: &'j AtomicBool,
}

impl<'j> HashJob<'j> {
    /// On every core.
    pub fn new(progress: &'j (dyn Fn(u64) + Sync), cancel: &'j AtomicBool) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, progress, cancel }
    }
}

impl std::fmt::Debug for HashJob<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashJob").field("threads", &self.threads).field("cancel", self.cancel).finish_non_exhaustive()
    }
}

/// A range of one file, or of padding.
pub(super) struct Extent {
    /// The file's number; nothing for zeros that are in no file.
    pub(super) file: Option<usize>,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Files whose bytes, end to end, are the pieces.
pub(super) trait Source: Sync {
    /// Where a piece is, in order.
    fn extents(&self, piece: PieceIndex) -> Vec<Extent>;
    /// Opens a file; nothing if it is not there.
    fn open(&self, file: usize) -> Result<Option<File>, DiskError>;
    /// For messages.
    fn path(&self, file: usize) -> PathBuf;
}

/// What became of a piece: its SHA-1, or nothing where bytes of it are missing or cannot be read.
pub(super) type Hashed = (PieceIndex, Option<[u8; HASH_LENGTH]>);

/// Hashes pieces, ascending. `done` gets the outcomes from all threads, a run of pieces at a time. Files that cannot be
/// opened for another reason than not being there are an error; the first one ends the work.
pub(super) fn hash_pieces<S: Source>(
    source: &S,
    geometry: Geometry,
    pieces: &[PieceIndex],
    job: HashJob<'_>,
    done: &(dyn Fn(&[Hashed]) + Sync),
) -> Result<(), DiskError> {
    let run = usize::try_from(RUN_LENGTH / u64::from(geometry.piece_length())).unwrap_or(1).max(1);
    let runs: Vec<&[PieceIndex]> = pieces.chunks(run).collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut worker = Worker { source, geometry, job, open: None, buffer: vec![0; BUFFER_LENGTH] };
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !failed.load(Ordering::Relaxed))
        {
            let outcomes: Result<Vec<Hashed>, _> = run.iter().map(|&piece| Ok((piece, worker.hash(piece)?))).collect();
            match outcomes {
                Ok(outcomes) => done(&outcomes),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..job.threads.min(runs.len())).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for thread in threads {
            let other = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(other);
        }
        result
    })
}

struct Worker<'s, S> {
    source: &'s S,
    geometry: Geometry,
    job: HashJob<'s>,
    /// The file used last, and what its opening gave.
    open: Option<(usize, Option<File>)>,
    buffer: Vec<u8>,
}

impl<S: Source> Worker<'_, S> {
    fn hash(&mut self, piece: PieceIndex) -> Result<Option<[u8; HASH_LENGTH]>, DiskError> {
        let mut digest = Sha1::new();
        let mut left = u64::from(self.geometry.length_of(piece));
        for extent in self.source.extents(piece) {
            let complete = match extent.file {
                Some(file) => self.hash_file(&mut digest, file, &extent, &mut left)?,
                None => self.hash_zeros(&mut digest, &extent, &mut left),
            };
            if !complete {
                (self.job.progress)(left);
                return Ok(None);
            }
        }
        Ok(Some(digest.finalize().into()))
    }

    fn hash_zeros(&self, digest: &mut Sha1, extent: &Extent, left: &mut u64) -> bool {
        let mut rest = extent.length;
        while rest > 0 {
            let length = rest.min(ZEROS.len() as u64);
            let zeros = usize::try_from(length).ok().and_then(|length| ZEROS.get(..length));
            digest.update(zeros.unwrap_or_default());
            rest -= length;
        }
        (self.job.progress)(extent.length);
        *left = left.saturating_sub(extent.length);
        true
    }

    /// False where the file is missing, too short or unreadable.
    fn hash_file(
        &mut self,
        digest: &mut Sha1,
        number: usize,
        extent: &Extent,
        left: &mut u64,
    ) -> Result<bool, DiskError> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let file = self.source.open(number)?;
            if let Some(file) = &file {
                // Advice: where it is not taken, reading works as well.
                let _ = rustix::fs::fadvise(file, 0, None, Advice::Sequential);
            }
            self.open = Some((number, file));
        }
        let Some((_, Some(file))) = &self.open else { return Ok(false) };
        let (mut offset, end) = (extent.offset, extent.offset + extent.length);
        while offset < end {
            if self.job.cancel.load(Ordering::Relaxed) {
                return Err(DiskError::Cancelled);
            }
            let length = usize::try_from(end - offset).unwrap_or(usize::MAX).min(BUFFER_LENGTH);
            let Some(buffer) = self.buffer.get_mut(..length) else { return Ok(false) };
            match read_at(file, buffer, offset) {
                Ok(count) if count == length => (),
                Ok(_) => return Ok(false),
                Err(code) => {
                    let error = DiskError::system(Operation::Read, self.source.path(number))(code);
                    tracing::warn!(%error, "a piece counts as missing");
                    return Ok(false);
                }
            }
            digest.update(&*buffer);
            (self.job.progress)(length as u64);
            *left = left.saturating_sub(length as u64);
            offset += length as u64;
        }
        Ok(true)
    }
}
