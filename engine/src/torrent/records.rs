//! What is known to be on disk, and the work of the disk that is under way.
//!
//! Owns the storage and counts the tasks that use it, so that a torrent ends only when all of them are over.
//!
//! A sync that fails costs every piece written since the last one that worked: the system may have dropped their bytes,
//! the next sync would not tell, and reading them shows the copy in memory. So these pieces count as lost and are
//! fetched again. Syncs run one after the other, and each knows how many had failed when what it is to record was
//! decided: one that was asked for in front of a failure does nothing behind it. Thus no record ever claims such a piece.

use crate::disk::resume::{CheckpointPolicy, ResumeStore};
use crate::disk::{DiskError, Storage};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::PieceIndex;
use swarm_proto::layout::FileIndex;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// Syncs that may fail one after the other; then the disk is given up.
const FAILED_SYNCS: u32 = 3;
/// Time until files that could not be read are looked at again: descriptors may have come free.
const RECHECK_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Records {
    storage: Arc<Storage>,
    resume: Option<Arc<ResumeStore>>,
    policy: CheckpointPolicy,
    verifications: usize,
    syncs: usize,
    checkpoint_under_way: Option<Checkpoint>,
    /// The suspects that a recheck looks at now.
    recheck_under_way: Option<BTreeSet<PieceIndex>>,
    /// When to try a recheck again that could not read.
    recheck_again_at: Option<Instant>,
    /// Pieces that could not be read since the last recheck began.
    suspects: BTreeSet<PieceIndex>,
    /// Ends a recheck.
    cancel: Arc<AtomicBool>,
    /// Pieces written or lost since the last checkpoint began.
    changes: usize,
    /// Pieces ever written.
    written: u64,
    /// Pieces that no checkpoint has synced, each with the value of `written` behind it.
    unsynced: VecDeque<(u64, PieceIndex)>,
    /// Failed syncs that were told to us.
    failures: u64,
    /// Of these, the ones since the last checkpoint that worked.
    failures_in_a_row: u32,
    /// Held during a sync; the number of syncs that have failed.
    turn: Arc<Mutex<u64>>,
}

/// A checkpoint under way.
struct Checkpoint {
    begun: Instant,
    /// The value of `written` then.
    written: u64,
}

impl Records {
    pub(super) fn new(storage: Arc<Storage>, resume: Option<Arc<ResumeStore>>) -> Self {
        Self {
            storage,
            resume,
            policy: CheckpointPolicy::new(super::now()),
            verifications: 0,
            syncs: 0,
            checkpoint_under_way: None,
            recheck_under_way: None,
            recheck_again_at: None,
            suspects: BTreeSet::new(),
            cancel: Arc::default(),
            changes: 0,
            written: 0,
            unsynced: VecDeque::new(),
            failures: 0,
            failures_in_a_row: 0,
            turn: Arc::default(),
        }
    }

    pub(super) fn storage(&self) -> Arc<Storage> {
        Arc::clone(&self.storage)
    }

    /// Whether any task still uses the storage for writing.
    pub(super) fn is_busy(&self) -> bool {
        self.verifications > 0 || self.syncs > 0 || self.checkpoint_under_way.is_some()
    }

    pub(super) fn verification_begins(&mut self) {
        self.verifications += 1;
    }

    pub(super) fn verification_done(&mut self) {
        self.verifications = self.verifications.saturating_sub(1);
    }

    pub(super) fn sync_done(&mut self) {
        self.syncs = self.syncs.saturating_sub(1);
    }

    /// Whether files are being synced and renamed.
    pub(super) fn is_syncing(&self) -> bool {
        self.syncs > 0
    }

    /// A piece is on disk.
    pub(super) fn written(&mut self, piece: PieceIndex) {
        self.changes += 1;
        self.written += 1;
        self.unsynced.push_back((self.written, piece));
    }

    /// Pieces are on disk no more.
    pub(super) fn lost(&mut self, pieces: usize) {
        self.changes += pieces;
    }

    /// The resume record, for the journal.
    pub(super) fn resume(&self) -> Option<Arc<ResumeStore>> {
        self.resume.clone()
    }

    /// The last steps of a download, with its last piece unless these steps are tried again.
    pub(super) fn finish(
        &mut self,
        last: Option<PieceIndex>,
        have: Bitfield,
    ) -> impl Future<Output = Result<(), DiskError>> + Send + use<> {
        let storage = self.storage();
        self.sync(move || {
            if let Some(piece) = last {
                storage.finish_piece(piece, &have)?;
            }
            storage.sync(&have).map(drop)
        })
    }

    /// Gives these files, which are complete, their final names. Nothing in here is as long as the torrent: there may be as many
    /// calls as files.
    pub(super) fn finish_files(
        &mut self,
        files: Vec<FileIndex>,
    ) -> impl Future<Output = Result<(), DiskError>> + Send + use<> {
        let storage = self.storage();
        self.sync(move || storage.finish_files(&files).map(drop))
    }

    fn sync<W: FnOnce() -> Result<(), DiskError> + Send + 'static>(
        &mut self,
        work: W,
    ) -> impl Future<Output = Result<(), DiskError>> + Send + use<W> {
        self.syncs += 1;
        in_turn(Arc::clone(&self.turn), self.failures, work)
    }

    /// Begins a checkpoint, if one is due and none is under way.
    pub(super) fn checkpoint(
        &mut self,
        now: Instant,
        have: &Bitfield,
    ) -> Option<impl Future<Output = Result<(), DiskError>> + Send + use<>> {
        if self.checkpoint_under_way.is_some() || !self.policy.is_due(now, self.changes) {
            return None;
        }
        self.checkpoint_under_way = Some(Checkpoint { begun: now, written: self.written });
        Some(self.last_checkpoint(have.clone()))
    }

    /// One that failed is due again.
    pub(super) fn checkpoint_done(&mut self, now: Instant, worked: bool) {
        let Some(Checkpoint { begun, written }) = self.checkpoint_under_way.take() else { return };
        self.policy.done(now, now.saturating_duration_since(begun));
        if worked {
            self.failures_in_a_row = 0;
            let synced = self.unsynced.partition_point(|(number, _)| *number <= written);
            self.unsynced.drain(..synced);
        } else {
            self.changes += 1;
        }
    }

    /// Syncs and writes the resume record, if anything has changed. No other checkpoint may be under way.
    pub(super) fn last_checkpoint(
        &mut self,
        have: Bitfield,
    ) -> impl Future<Output = Result<(), DiskError>> + Send + use<> {
        let changed = std::mem::take(&mut self.changes) > 0;
        let (storage, resume) = (self.storage(), self.resume());
        in_turn(Arc::clone(&self.turn), self.failures, move || match resume {
            _ if !changed => Ok(()),
            Some(resume) => resume.checkpoint(&storage, &have).map(drop),
            None => storage.sync(&have).map(drop),
        })
    }

    /// A sync has failed: the pieces that are lost by that, and whether the disk should be given up.
    pub(super) fn sync_failed(&mut self) -> (Vec<PieceIndex>, bool) {
        self.failures += 1;
        let pieces: Vec<PieceIndex> = self.unsynced.drain(..).map(|(_, piece)| piece).collect();
        self.failures_in_a_row += u32::from(!pieces.is_empty());
        (pieces, self.failures_in_a_row >= FAILED_SYNCS)
    }

    /// Notes a piece to look at again, if any, and begins a recheck of changed files unless one is under way: the pieces
    /// noted so far, and what ends it early.
    pub(super) fn recheck_begins(
        &mut self,
        suspect: Option<PieceIndex>,
    ) -> Option<(BTreeSet<PieceIndex>, Arc<AtomicBool>)> {
        self.suspects.extend(suspect);
        if self.recheck_under_way.is_some() {
            return None;
        }
        let suspects = std::mem::take(&mut self.suspects);
        (self.recheck_under_way, self.recheck_again_at) = (Some(suspects.clone()), None);
        Some((suspects, Arc::clone(&self.cancel)))
    }

    /// Whether another one is wanted at once. One that could not read is due again after a while.
    pub(super) fn recheck_done(&mut self, now: Instant, worked: bool) -> bool {
        let suspects = self.recheck_under_way.take();
        if !worked {
            self.suspects.extend(suspects.into_iter().flatten());
            self.recheck_again_at = Some(now + RECHECK_PAUSE);
        }
        worked && !self.suspects.is_empty()
    }

    /// Whether a recheck that could not read should be tried again.
    pub(super) fn is_recheck_due(&self, now: Instant) -> bool {
        self.recheck_again_at.is_some_and(|at| now >= at)
    }

    /// Set when the torrent ends: for work that may be long.
    pub(super) fn cancelled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    /// Lets a recheck end soon.
    pub(super) fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

/// Runs a sync when all before it are over, unless more have failed than was known when it was asked for.
async fn in_turn(
    turn: Arc<Mutex<u64>>,
    failures: u64,
    work: impl FnOnce() -> Result<(), DiskError> + Send + 'static,
) -> Result<(), DiskError> {
    let mut turn = turn.lock_owned().await;
    let run = move || {
        if *turn != failures {
            return Err(DiskError::Cancelled);
        }
        let result = work();
        *turn += u64::from(result.as_ref().is_err_and(DiskError::is_failed_sync));
        result
    };
    spawn_blocking(run).await.unwrap_or(Err(DiskError::Cancelled))
}

#[cfg(test)]
mod tests;
