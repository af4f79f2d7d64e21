//! When to write the next snapshot.

use std::time::{Duration, Instant};

/// Time between snapshots while pieces come in.
const INTERVAL: Duration = Duration::from_secs(5);

/// Pieces since the last snapshot that make one due before that time.
const PENDING_PIECES: usize = 256;

/// Share of the time that syncing may take: one part in so many.
const BACK_OFF: u32 = 10;

/// Decides when a checkpoint is due: often enough that little is checked again after a crash, seldom enough that a slow
/// disk has time for the transfer.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointPolicy {
    last: Instant,
    last_took: Duration,
}

impl CheckpointPolicy {
    /// From the start of the transfer on.
    pub fn new(now: Instant) -> Self {
        Self { last: now, last_took: Duration::ZERO }
    }

    /// Whether a checkpoint is due with so many pieces written since the last one.
    pub fn is_due(&self, now: Instant, pending: usize) -> bool {
        self.due_at(pending).is_some_and(|due| now >= due)
    }

    /// When a checkpoint is due if no more pieces come; never without any.
    pub fn due_at(&self, pending: usize) -> Option<Instant> {
        let rest = self.last_took.saturating_mul(BACK_OFF);
        match pending {
            0 => None,
            1..PENDING_PIECES => Some(self.last + rest.max(INTERVAL)),
            _ => Some(self.last + rest),
        }
    }

    /// A checkpoint ended at `now`, whether it worked or not.
    pub fn done(&mut self, now: Instant, took: Duration) {
        (self.last, self.last_took) = (now, took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_by_time_by_number_and_never_too_often() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut policy = CheckpointPolicy::new(start);
        assert!(!policy.is_due(after(1_000_000), 0), "nothing to record");
        assert!(!policy.is_due(after(4_999), 255));
        assert!(policy.is_due(after(5_000), 1));
        assert!(policy.is_due(after(0), 256));
        policy.done(after(10_000), Duration::from_secs(2));
        assert!(!policy.is_due(after(29_999), 10_000), "a slow disk gets ten times its time");
        assert!(policy.is_due(after(30_000), 1));
        policy.done(after(30_000), Duration::from_millis(100));
        assert_eq!(policy.due_at(1), Some(after(35_000)));
        assert_eq!(policy.due_at(256), Some(after(31_000)));
    }
}
