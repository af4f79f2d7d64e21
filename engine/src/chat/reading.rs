//! How far it is with what is read to be offered, and the way to stop that.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// The reading of what is about to be offered: one for each offer, cheap to clone. See
/// [`ChatHandle::offer_watched`](super::ChatHandle::offer_watched).
#[derive(Clone, Debug, Default)]
pub struct Reading(Arc<State>);

#[derive(Debug, Default)]
struct State {
    total_bytes: OnceLock<u64>,
    done_bytes: AtomicU64,
    stopped: AtomicBool,
    stops: Notify,
}

/// How much of something has been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadProgress {
    /// Bytes that have been read and hashed.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

impl Reading {
    /// How far it is; `None` as long as the files are being listed.
    pub fn progress(&self) -> Option<ReadProgress> {
        let total_bytes = *self.0.total_bytes.get()?;
        let done_bytes = self.0.done_bytes.load(Ordering::Relaxed).min(total_bytes);
        Some(ReadProgress { done_bytes, total_bytes })
    }

    /// Has it stop. What was not offered by then never will be; an offer that has gone out stands.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
        self.0.stops.notify_waiters();
    }

    /// Waits for [`Reading::stop`].
    pub(super) async fn stopped(&self) {
        loop {
            // Before the flag is looked at, so that none is missed.
            let stops = self.0.stops.notified();
            if self.flag().load(Ordering::Relaxed) {
                return;
            }
            stops.await;
        }
    }

    /// Set once it is to stop.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.0.stopped
    }

    /// The files are known.
    pub(super) fn listed(&self, total_bytes: u64) {
        self.0.total_bytes.get_or_init(|| total_bytes);
    }

    /// How many have a part in it.
    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// More has been read.
    pub(super) fn advance(&self, bytes: u64) {
        self.0.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Stops a reading when whoever waits for it has gone.
pub(super) struct StopsIt(pub(super) Reading);

impl Drop for StopsIt {
    fn drop(&mut self) {
        self.0.stop();
    }
}
