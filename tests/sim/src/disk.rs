//! Disks: one operation after the other, each takes its time, and some go wrong.

use crate::interference::Action;
use crate::link::{nanos, transfer_time};
use crate::queue::Moment;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// The disk of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disk {
    /// Bytes a second that are hashed and written.
    pub rate: u64,
    /// Time that each piece takes besides.
    pub overhead: Duration,
    /// Times since the beginning of the world in which every write is refused (disk full, read-only, unplugged).
    pub full: Vec<Range<Duration>>,
    /// Writes that fail, counted from 1. A write that ends short is one that failed.
    pub failing_writes: BTreeSet<u64>,
    /// Pieces whose hash does not match although every block came right, counted from 1.
    pub corrupted_writes: BTreeSet<u64>,
    /// Reads for upload that fail, counted from 1: the piece is lost.
    pub failing_reads: BTreeSet<u64>,
}

impl Default for Disk {
    /// One millisecond a piece, nothing fails.
    fn default() -> Self {
        Self {
            rate: crate::UNLIMITED,
            overhead: Duration::from_millis(1),
            full: Vec::new(),
            failing_writes: BTreeSet::new(),
            corrupted_writes: BTreeSet::new(),
            failing_reads: BTreeSet::new(),
        }
    }
}

impl Disk {
    /// A disk that hashes and writes so many bytes a second.
    pub fn slow(rate: u64) -> Self {
        Self { rate, ..Self::default() }
    }
}

/// How an operation goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// As it should.
    Well,
    /// The disk refuses.
    Refused,
    /// The bytes on the way to the disk have changed.
    Corrupted,
    /// The shell has lost the blocks.
    Lost,
}

/// Where a disk stands.
#[derive(Default)]
pub(crate) struct DiskState {
    free_at: Moment,
    writes: u64,
    reads: u64,
}

impl DiskState {
    /// When a piece of so many bytes is done, and how it goes.
    pub(crate) fn write(&mut self, disk: &Disk, now: Moment, bytes: u32, action: Option<Action>) -> (Moment, Fate) {
        self.writes += 1;
        let begin = self.free_at.max(now);
        self.free_at = begin + nanos(disk.overhead) + transfer_time(bytes, disk.rate);
        let late = if let Some(Action::Delay(late)) = action { nanos(late) } else { 0 };
        let end = Duration::from_nanos(self.free_at);
        let fate = match action {
            Some(Action::Fail) => Fate::Refused,
            Some(Action::Corrupt) => Fate::Corrupted,
            Some(Action::Drop) => Fate::Lost,
            _ if disk.corrupted_writes.contains(&self.writes) => Fate::Corrupted,
            _ if disk.failing_writes.contains(&self.writes) => Fate::Refused,
            _ if disk.full.iter().any(|times| times.contains(&end)) => Fate::Refused,
            _ => Fate::Well,
        };
        (self.free_at + late, fate)
    }

    /// Whether the next read succeeds.
    pub(crate) fn read(&mut self, disk: &Disk, action: Option<Action>) -> bool {
        self.reads += 1;
        action != Some(Action::Fail) && !disk.failing_reads.contains(&self.reads)
    }
}
