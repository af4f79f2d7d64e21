//! One thread's share of hashing files: several pieces at a time, a stripe of each in turn.
//!
//! Owns the reading. Each piece under way has one stripe's buffer, whatever the pieces' length, so that a thread needs
//! half a MiB at most, which stays in its core's cache between reading and hashing. Inside a run of pieces the stripes are
//! as many fronts as there are lanes, each moving on in order, which the kernel's read-ahead follows.

use super::super::error::{DiskError, Operation};
use super::super::file_pool::is_out_of_descriptors;
use super::super::positioned::read_at;
use super::{Extent, HashJob, Hashed, Source};
use rustix::fs::Advice;
use std::collections::VecDeque;
use std::fs::File;
use std::rc::Rc;
use swarm_hash::{BLOCK_LENGTH, Method, Part, Partial};
use swarm_proto::geometry::{Geometry, PieceIndex};
use swarm_proto::id::HASH_LENGTH;

/// Bytes of a piece that are read at once: long enough that the system calls do not count, short enough that those of
/// all lanes fit into the second level of cache.
const STRIPE_LENGTH: usize = 32 * 1024;

/// Bytes between the beginnings of the lanes' buffers. At a power of two they would push each other out of the cache.
const STRIPE_DISTANCE: usize = STRIPE_LENGTH + BLOCK_LENGTH;

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
        let mut outcomes = Vec::with_capacity(run.len());
        for group in run.chunks(self.method.lanes()) {
            let mut lanes: Vec<Lane> = group.iter().map(|&piece| self.lane(piece)).collect();
            while lanes.iter().any(|lane| lane.outcome.is_none()) {
                let done = self.fill(&mut lanes)? + self.advance(&mut lanes);
                (self.job.progress)(done);
            }
            outcomes.extend(lanes.into_iter().map(|lane| (lane.piece, lane.outcome.flatten())));
        }
        Ok(outcomes)
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
