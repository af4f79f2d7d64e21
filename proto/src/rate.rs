//! How many bytes a second pass.

use std::time::{Duration, Instant};

/// Slots that a window is divided into.
const SLOTS: usize = 20;

/// Mean rate over a sliding window. Costs a few nanoseconds a call and 200 bytes, and never allocates.
///
/// While less time than the window has passed since the first bytes, or since the first ones after a silence as long as
/// the window, the mean is over the time that has: a transfer that starts shows its rate at once.
#[derive(Clone, Debug)]
pub struct RateMeter {
    /// Nanoseconds.
    slot_length: u64,
    /// Bytes of the latest slots; that of number `n` at `n % SLOTS`.
    slots: [u64; SLOTS],
    /// Number of the latest slot, counted from `start`.
    latest: u64,
    /// When the first slot began; nothing before the first bytes.
    start: Option<Instant>,
}

impl RateMeter {
    /// Short enough to follow a transfer: for requests and choking.
    pub const SHORT: Duration = Duration::from_secs(5);
    /// Long enough to be read by people.
    pub const LONG: Duration = Duration::from_secs(20);

    /// A meter over so long a time; at least 20 ms.
    pub fn new(window: Duration) -> Self {
        let slot_length = nanos((window / 20).max(Duration::from_millis(1)));
        Self { slot_length, slots: [0; SLOTS], latest: 0, start: None }
    }

    /// Counts bytes that have just passed. Times may not go back; if they do, the bytes count for the latest slot.
    pub fn record(&mut self, now: Instant, bytes: u64) {
        let start = match self.start {
            Some(start) if self.slot_at(start, now) < self.latest.saturating_add(SLOTS as u64) => start,
            _ => {
                self.slots = [0; SLOTS];
                self.latest = 0;
                self.start = Some(now);
                now
            }
        };
        let slot = self.slot_at(start, now);
        while self.latest < slot {
            self.latest += 1;
            if let Some(reused) = self.slots.get_mut(Self::place(self.latest)) {
                *reused = 0;
            }
        }
        if let Some(current) = self.slots.get_mut(Self::place(self.latest)) {
            *current = current.saturating_add(bytes);
        }
    }

    /// Bytes a second.
    pub fn rate(&self, now: Instant) -> u64 {
        let Some(start) = self.start else { return 0 };
        let slot = self.slot_at(start, now).max(self.latest);
        let oldest = (slot + 1).saturating_sub(SLOTS as u64);
        let sum = (oldest..=self.latest)
            .fold(0u64, |sum, slot| sum.saturating_add(self.slots.get(Self::place(slot)).copied().unwrap_or(0)));
        let passed = nanos(now.saturating_duration_since(start));
        let covered = passed.saturating_sub(oldest.saturating_mul(self.slot_length)).max(self.slot_length);
        u64::try_from(u128::from(sum) * 1_000_000_000 / u128::from(covered)).unwrap_or(u64::MAX)
    }

    fn slot_at(&self, start: Instant, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(start)) / self.slot_length
    }

    fn place(slot: u64) -> usize {
        usize::try_from(slot % SLOTS as u64).unwrap_or(0)
    }
}

/// Up to 584 years; a division of 128 bits would be what a record costs.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records so many bytes every 10 ms for a time; the instant after.
    fn run(meter: &mut RateMeter, from: Instant, seconds: u64, bytes: u64) -> Instant {
        let step = Duration::from_millis(10);
        for index in 0..seconds * 100 {
            meter.record(from + step * u32::try_from(index).unwrap(), bytes);
        }
        from + Duration::from_secs(seconds)
    }

    #[track_caller]
    fn about(rate: u64, expected: u64) {
        assert!(rate.abs_diff(expected) <= expected / 15, "{rate} is not about {expected}");
    }

    #[test]
    fn a_steady_rate_is_shown_from_the_start_to_the_end() {
        let start = Instant::now();
        let mut meter = RateMeter::new(RateMeter::SHORT);
        assert_eq!(meter.rate(start), 0);
        let now = run(&mut meter, start, 1, 5_000);
        about(meter.rate(now), 500_000);
        let now = run(&mut meter, now, 60, 5_000);
        about(meter.rate(now), 500_000);
        about(meter.rate(now + Duration::from_millis(2_500)), 250_000);
        assert_eq!(meter.rate(now + Duration::from_secs(5)), 0);
    }

    #[test]
    fn it_follows_a_change_within_the_window() {
        let mut meter = RateMeter::new(RateMeter::SHORT);
        let now = run(&mut meter, Instant::now(), 30, 100);
        let now = run(&mut meter, now, 5, 10_000);
        about(meter.rate(now), 1_000_000);
    }

    #[test]
    fn after_a_silence_it_starts_afresh() {
        let mut meter = RateMeter::new(RateMeter::LONG);
        let now = run(&mut meter, Instant::now(), 30, 9_000_000);
        let now = now + Duration::from_secs(100_000);
        assert_eq!(meter.rate(now), 0);
        let now = run(&mut meter, now, 2, 5_000);
        about(meter.rate(now), 500_000);
    }

    #[test]
    fn extremes_do_no_harm() {
        let start = Instant::now();
        let mut meter = RateMeter::new(Duration::ZERO);
        meter.record(start + Duration::from_secs(9), u64::MAX);
        meter.record(start, u64::MAX);
        assert!(meter.rate(start) > 0);
        assert_eq!(meter.rate(start + Duration::from_secs(1 << 40)), 0);
    }
}
