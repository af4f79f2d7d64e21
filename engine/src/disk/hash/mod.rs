//! SHA-1 of pieces: of those in memory, and of those in files on every core.
//!
//! Owns the sharing out of whole files for hashing. The threads take runs of pieces in order, so that each reads long
//! stretches; each hashes as many pieces side by side as its core has lanes (`worker`).

mod worker;

use self::worker::Worker;
use super::error::DiskError;
use sha1::{Digest, Sha1};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use swarm_hash::{BLOCK_LENGTH, Method, Part, Partial};
use swarm_proto::geometry::{Geometry, PieceIndex};
use swarm_proto::id::HASH_LENGTH;

/// Bytes of a run of pieces, as far as these are not too long to fill the lanes: long enough for read-ahead, short enough
/// that all threads end together.
const RUN_LENGTH: u64 = 16 * 1024 * 1024;

/// The SHA-1 of a piece, given as slices of any length in order.
pub fn hash_piece(blocks: &[&[u8]]) -> [u8; HASH_LENGTH] {
    let mut digest = Sha1::new();
    blocks.iter().for_each(|block| digest.update(block));
    digest.finalize().into()
}

/// The SHA-1 of each of these pieces, side by side where that is faster.
pub(crate) fn hash_pieces_in_memory(pieces: &[Vec<&[u8]>]) -> Vec<[u8; HASH_LENGTH]> {
    // Only the last slice may end in the middle of a block of SHA-1; in a torrent no other does.
    let even = |slices: &Vec<&[u8]>| slices.iter().rev().skip(1).all(|slice| slice.len().is_multiple_of(BLOCK_LENGTH));
    if pieces.len() < 2 || !pieces.iter().all(even) {
        return pieces.iter().map(|slices| hash_piece(slices)).collect();
    }
    let method = Method::best();
    let mut partials: Vec<(Partial, &[u8])> = pieces.iter().map(|_| Default::default()).collect();
    for row in 0..pieces.iter().map(Vec::len).max().unwrap_or(0) {
        let mut parts: Vec<Part<'_>> = Vec::with_capacity(pieces.len());
        for ((partial, rest), slices) in partials.iter_mut().zip(pieces) {
            let Some(slice) = slices.get(row) else { continue };
            let (blocks, behind) = slice.as_chunks();
            *rest = behind;
            parts.push(Part { partial, blocks });
        }
        method.advance(&mut parts);
    }
    partials.into_iter().map(|(partial, rest)| partial.finish(rest)).collect()
}

/// The SHA-1 of each slice on its own: which of the blocks of a wrong piece were wrong.
pub fn block_digests(blocks: &[&[u8]]) -> Vec<[u8; HASH_LENGTH]> {
    Method::best().digest(blocks)
}

/// How to hash files: with how many threads, whom to tell, and when to stop.
#[derive(Clone, Copy)]
pub struct HashJob<'j> {
    /// Threads at most, at least 1.
    pub threads: usize,
    /// Called from the threads with the number of bytes done since the last call; missing ones count too.
    pub progress: &'j (dyn Fn(u64) + Sync),
    /// Set from anywhere: ends the work with [`DiskError::Cancelled`] within one read.
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
    let method = Method::best();
    let run = run_length(geometry, pieces.len(), job.threads, method.lanes());
    let runs: Vec<&[PieceIndex]> = pieces.chunks(run).collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut worker = Worker::new(source, geometry, job, method);
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !failed.load(Ordering::Relaxed))
        {
            match worker.hash(run) {
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

/// Pieces of a run: whole groups of as many as there are lanes, unless that would leave threads without work.
fn run_length(geometry: Geometry, pieces: usize, threads: usize, lanes: usize) -> usize {
    let fitting = usize::try_from(RUN_LENGTH / u64::from(geometry.piece_length())).unwrap_or(1);
    let full = (fitting / lanes).max(1) * lanes;
    full.min(pieces.div_ceil(threads.max(1))).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_fill_the_lanes_and_leave_no_thread_idle() {
        let run = |piece_length: u64, pieces: usize, threads| {
            let geometry = Geometry::new(piece_length * pieces as u64, piece_length).unwrap();
            run_length(geometry, pieces, threads, 16)
        };
        const MIB: u64 = 1024 * 1024;
        assert_eq!(run(MIB / 64, 100_000, 2), 1024, "16 MiB");
        assert_eq!(run(MIB, 1000, 2), 16);
        assert_eq!(run(64 * MIB, 100, 2), 16, "as many as there are lanes, however long they are");
        assert_eq!(run(1_000_000, 1000, 2), 16, "whole groups");
        assert_eq!(run(16 * MIB, 20, 2), 10, "a share for each thread");
        assert_eq!(run(16 * MIB, 20, 64), 1);
        assert_eq!(run(MIB, 1, 0), 1);
    }

    #[test]
    fn pieces_hashed_together_are_hashed_right() {
        let data: Vec<u8> = (0..=250).cycle().take(200_000).collect();
        // Whole blocks, a last piece that ends anywhere, one that is empty, one whose slices are cut anywhere.
        let pieces = [(100_000, 16_384), (100_000, 16_384), (33_333, 16_384), (0, 1), (64, 64), (50_000, 999)];
        let cut = |&(length, slice): &(usize, usize)| data[..length].chunks(slice).collect::<Vec<_>>();
        for count in 0..=pieces.len() {
            let pieces: Vec<_> = pieces[..count].iter().map(cut).collect();
            let each: Vec<_> = pieces.iter().map(|slices| hash_piece(slices)).collect();
            assert_eq!(hash_pieces_in_memory(&pieces), each);
        }
    }

    #[test]
    fn digests_of_blocks_are_those_of_each() {
        let data: Vec<u8> = (0..=255).cycle().take(50_000).collect();
        let blocks: Vec<&[u8]> = data.chunks(999).collect();
        let each: Vec<_> = blocks.iter().map(|block| hash_piece(&[block])).collect();
        assert_eq!(block_digests(&blocks), each);
    }
}
