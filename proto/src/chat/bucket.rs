//! How much of something one may do: so many at once, and so many a second from then on.

use std::time::{Duration, Instant};

/// A rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// At once.
    pub(super) burst: u32,
    /// Thousandths a second.
    pub(super) milli_per_s: u32,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// Thousandths.
    level: u64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, level: u64::from(rate.burst) * 1_000, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed_ms = u64::try_from(now.saturating_duration_since(self.filled).as_millis()).unwrap_or(u64::MAX);
        let gained = elapsed_ms.saturating_mul(u64::from(self.rate.milli_per_s)) / 1_000;
        if gained > 0 {
            self.level = self.level.saturating_add(gained).min(u64::from(self.rate.burst) * 1_000);
            self.filled = now;
        }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let left = self.level.checked_sub(1_000);
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }

    /// Whether there is one.
    pub(super) fn has(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level >= 1_000
    }

    /// How long until there is one.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        let missing = 1_000u64.saturating_sub(self.level);
        Duration::from_millis(missing * 1_000 / u64::from(self.rate.milli_per_s.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate { burst: 3, milli_per_s: 500 }, start);
        let mut taken = |ms| bucket.take(start + Duration::from_millis(ms));
        assert_eq!([taken(0), taken(0), taken(0), taken(0), taken(1_999)], [true, true, true, false, false]);
        assert_eq!([taken(2_001), taken(2_002)], [true, false]);
        assert!(bucket.wait(start + Duration::from_millis(2_002)) <= Duration::from_secs(2));
        assert!((0..3).all(|_| bucket.take(start + Duration::from_secs(60))));
        assert!(!bucket.take(start + Duration::from_secs(60)));
    }
}
