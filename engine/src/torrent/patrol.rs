//! Looks at what is on disk without being asked: whether the files are still the ones that were verified, and whether
//! the bytes that were served are still the right ones.
//!
//! Owns the schedule of both, and what they found. A look at names finds what other programs do to the files of a torrent
//! that nobody asks for; it comes every two seconds and gets round all files of a usual torrent within a minute. Hashing
//! finds what no look can: bits that changed by themselves. Each piece is hashed once a session, soon after it first left.

use super::inputs::Done;
use super::{Driver, disk};
use crate::disk::{DiskError, Round};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::{Geometry, PieceIndex};
use swarm_proto::swarm::DiskDone;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Time from one look at the folder to the next...
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// ...but so much for each torrent of the session: a thousand quiet ones must not keep a core busy with looks.
const LOOK_SHARE: Duration = Duration::from_millis(20);
/// Looks until all files were looked at.
const LOOKS_PER_ROUND: usize = 20;
/// Files in one look at least...
const LEAST_FILES: usize = 64;
/// ...and at most: some 10 ms of system calls. A torrent of more than 80,000 files takes longer for a round.
const MOST_FILES: usize = 4_096;
/// After a check of changed files, the looks rest for so many times as long as it took: a file that is written to all the
/// time must not be hashed all the time.
const REST: u32 = 10;
/// Bytes a second that a session hashes of what it has served: some hundredths of a core, and a small torrent within a
/// minute.
const SCRUB_RATE: u64 = 32 * 1024 * 1024;
/// Bytes hashed at once, or one piece.
const SCRUB_BYTES: u64 = 8 * 1024 * 1024;

pub(super) struct Patrol {
    geometry: Geometry,
    next_file: usize,
    looking: bool,
    look_at: Instant,
    /// When the check of changed files under way began.
    recheck_began: Instant,
    /// The folder could not be looked at.
    unreachable: bool,
    /// Pieces that were served and are hashed, or in the queue.
    seen: Bitfield,
    queue: VecDeque<PieceIndex>,
    hashing: bool,
}

impl Patrol {
    pub(super) fn new(geometry: Geometry, now: Instant) -> Self {
        Self {
            geometry,
            next_file: 0,
            looking: false,
            look_at: now,
            recheck_began: now,
            unreachable: false,
            seen: Bitfield::empty(geometry.pieces()),
            queue: VecDeque::new(),
            hashing: false,
        }
    }

    /// Whether the folder is not there, or may not be looked into.
    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable
    }

    pub(super) fn recheck_begins(&mut self, now: Instant) {
        self.recheck_began = now;
    }

    pub(super) fn recheck_done(&mut self, now: Instant) {
        self.look_at = now + (now.saturating_duration_since(self.recheck_began) * REST).max(LOOK_INTERVAL);
    }

    /// The pieces to hash next: a few, in the order in which they were served.
    fn batch(&mut self) -> (Vec<PieceIndex>, u64) {
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while bytes < SCRUB_BYTES
            && let Some(piece) = self.queue.pop_front()
        {
            bytes += u64::from(self.geometry.length_of(piece));
            pieces.push(piece);
        }
        (pieces, bytes)
    }
}

impl Driver {
    /// Looks at the folder and at some files, if it is time.
    pub(super) fn look_round(&mut self) {
        let now = super::now();
        if self.patrol.looking || now < self.patrol.look_at {
            return;
        }
        self.patrol.looking = true;
        let (storage, from) = (self.records.storage(), self.patrol.next_file);
        let most = storage.layout().file_count().div_ceil(LOOKS_PER_ROUND).clamp(LEAST_FILES, MOST_FILES);
        self.tasks.spawn(async move {
            let look = move || storage.look_round(from, most);
            Done::Looked(spawn_blocking(look).await.unwrap_or(Err(DiskError::Cancelled)))
        });
    }

    pub(super) fn looked(&mut self, result: Result<Round, DiskError>) {
        self.patrol.looking = false;
        let pause = look_interval(self.context.doors.count());
        self.patrol.look_at = self.patrol.look_at.max(super::now() + pause);
        let was_unreachable = std::mem::replace(&mut self.patrol.unreachable, result.is_err());
        match result {
            Ok(Round { next, changed }) => {
                self.patrol.next_file = next;
                if changed || was_unreachable {
                    self.recheck(None);
                }
            }
            Err(error) if !was_unreachable => self.reporter.disk_error(error.to_string()),
            Err(_) => {}
        }
        self.update_state();
    }

    /// A block of this piece has left: the piece is hashed soon, the first time.
    pub(super) fn served(&mut self, piece: PieceIndex) {
        if self.patrol.seen.insert(piece) {
            self.patrol.queue.push_back(piece);
            self.scrub();
        }
    }

    /// Hashes some of what was served. One torrent of a session at a time, and no more than [`SCRUB_RATE`].
    fn scrub(&mut self) {
        if self.patrol.hashing || self.patrol.queue.is_empty() {
            return;
        }
        self.patrol.hashing = true;
        let (pieces, bytes) = self.patrol.batch();
        let (storage, metainfo, cancel) = (self.records.storage(), self.metainfo.clone(), self.records.cancelled());
        let turn = std::sync::Arc::clone(&self.context.scrub);
        self.tasks.spawn(async move {
            let permit = turn.acquire_owned().await;
            let hash = move || disk::scrub(&storage, &metainfo, &pieces, &cancel);
            let outcome = spawn_blocking(hash).await.unwrap_or(Err(DiskError::Cancelled));
            tokio::spawn(async move {
                sleep(Duration::from_millis(bytes.saturating_mul(1_000) / SCRUB_RATE)).await;
                drop(permit);
            });
            Done::Scrubbed(outcome)
        });
    }

    pub(super) fn scrubbed(&mut self, result: Result<Vec<(PieceIndex, PathBuf)>, DiskError>) {
        self.patrol.hashing = false;
        match result {
            Ok(wrong) => {
                for (piece, path) in wrong {
                    if !self.swarm.have().has(piece) {
                        continue;
                    }
                    self.disk_error(&DiskError::Rotten { path, piece: piece.as_u32() });
                    self.patrol.seen.remove(piece);
                    self.swarm.handle_disk(super::now(), DiskDone::Lost { pieces: vec![piece] });
                }
            }
            Err(error) => self.disk_error(&error),
        }
        self.scrub();
    }
}

/// Time between two looks at one of so many torrents.
fn look_interval(torrents: usize) -> Duration {
    LOOK_INTERVAL.max(LOOK_SHARE.saturating_mul(u32::try_from(torrents).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_torrents_of_a_session_together_are_looked_at_fifty_times_a_second_at_most() {
        assert_eq!([0, 1, 100].map(look_interval), [LOOK_INTERVAL; 3]);
        for torrents in [101, 1_000, 50_000] {
            let a_second = torrents as f64 / look_interval(torrents).as_secs_f64();
            assert!((49.9..=50.1).contains(&a_second), "{torrents} torrents: {a_second} looks");
        }
    }
}
