//! A token bucket that everything of one session shares in one direction.
//!
//! Smooth: the bucket holds 50 ms of the rate, so that a limited link never bursts. Free where there is no limit. Never
//! sleeps itself; it says how long to wait.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The largest burst as a part of a second.
const BURST: Duration = Duration::from_millis(50);
/// The smallest grant in bytes, about a packet: less would cost more in system calls than it brings.
const QUANTUM: f64 = 1_460.0;

/// Bytes a second at most, over any number of connections.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    bucket: Option<Mutex<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    rate: f64,
    tokens: f64,
    updated: Instant,
}

impl RateLimiter {
    /// `rate` in bytes a second; `None` for no limit, and 0 is taken as 1.
    pub(crate) fn new(rate: Option<u64>, now: Instant) -> Self {
        let bucket = |rate: u64| Mutex::new(Bucket { rate: rate.max(1) as f64, tokens: 0.0, updated: now });
        Self { bucket: rate.map(bucket) }
    }

    /// How many of `wanted` bytes may be moved now, at least one, or how long to wait before asking again.
    pub(crate) fn take(&self, now: Instant, wanted: usize) -> Result<usize, Duration> {
        let Some(bucket) = &self.bucket else { return Ok(wanted) };
        bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now, wanted)
    }

    /// Gives back what was granted but not moved.
    pub(crate) fn give_back(&self, unused: usize) {
        if let Some(bucket) = &self.bucket {
            bucket.lock().unwrap_or_else(PoisonError::into_inner).tokens += unused as f64;
        }
    }
}

impl Bucket {
    fn take(&mut self, now: Instant, wanted: usize) -> Result<usize, Duration> {
        let elapsed = now.saturating_duration_since(self.updated);
        self.updated = self.updated.max(now);
        let capacity = (self.rate * BURST.as_secs_f64()).max(QUANTUM);
        self.tokens = (self.tokens + self.rate * elapsed.as_secs_f64()).min(capacity);
        let least = (wanted as f64).min(QUANTUM);
        if self.tokens < least {
            // A hair more than needed, lest rounding makes the caller come back for a fraction of a byte.
            let wait = (least - self.tokens) / self.rate + 1e-6;
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        #[expect(clippy::cast_possible_truncation, reason = "not negative, and at most `wanted`")]
        let granted = self.tokens.min(wanted as f64).floor() as usize;
        self.tokens -= granted as f64;
        Ok(granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves what a limiter lets through in `seconds`, on a virtual clock.
    fn moved(rate: u64, seconds: u64, wanted: usize) -> usize {
        let start = Instant::now();
        let limiter = RateLimiter::new(Some(rate), start);
        let mut now = start;
        let mut total = 0;
        while now < start + Duration::from_secs(seconds) {
            match limiter.take(now, wanted) {
                Ok(granted) => {
                    assert!(granted > 0 && granted <= wanted);
                    total += granted;
                }
                Err(wait) => now += wait,
            }
        }
        total
    }

    #[test]
    fn the_rate_holds_over_seconds_and_over_a_tenth() {
        for rate in [1_000, 100_000, 10_000_000] {
            let total = moved(rate, 10, 16_384) as f64;
            assert!((total / (rate as f64 * 10.0) - 1.0).abs() < 0.16, "{rate}: {total}");
        }
        let start = Instant::now();
        let limiter = RateLimiter::new(Some(1_000_000), start);
        let idle = start + Duration::from_secs(60);
        assert_eq!(limiter.take(idle, usize::MAX), Ok(50_000), "an idle minute saves up no more than 50 ms");
        assert!(limiter.take(idle, 16_384).is_err());
    }

    #[test]
    fn unused_grants_come_back_and_no_limit_is_free() {
        let start = Instant::now();
        let limiter = RateLimiter::new(Some(1_000_000), start);
        let later = start + Duration::from_secs(1);
        assert_eq!(limiter.take(later, 50_000), Ok(50_000));
        limiter.give_back(50_000);
        assert_eq!(limiter.take(later, 60_000), Ok(50_000));
        assert_eq!(RateLimiter::new(None, start).take(start, usize::MAX), Ok(usize::MAX));
    }
}
