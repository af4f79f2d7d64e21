//! When hosts come, and how long they stay.

use rand::RngExt;
use rand::rngs::SmallRng;
use std::time::Duration;

/// How arrivals are spread over time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Arrivals {
    /// All at this time.
    At(Duration),
    /// One after the other at random, with this mean time between two of them (a Poisson process).
    Poisson(Duration),
    /// A crowd that hears of it at once and comes sooner or later: exponential with this mean.
    Crowd(Duration),
}

impl Arrivals {
    /// The moments of so many arrivals, in order.
    pub fn times(self, count: usize, random: &mut SmallRng) -> Vec<Duration> {
        let mut times: Vec<Duration> = match self {
            Self::At(time) => vec![time; count],
            Self::Poisson(mean) => {
                let mut now = Duration::ZERO;
                let mut next = || {
                    now += exponential(mean, random);
                    now
                };
                (0..count).map(|_| next()).collect()
            }
            Self::Crowd(mean) => (0..count).map(|_| exponential(mean, random)).collect(),
        };
        times.sort_unstable();
        times
    }
}

/// A time from an exponential distribution.
pub fn exponential(mean: Duration, random: &mut SmallRng) -> Duration {
    mean.mul_f64(-(1.0 - random.random::<f64>()).ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn means_are_what_was_asked_for() {
        let mut random = SmallRng::seed_from_u64(1);
        let second = Duration::from_secs(1);
        let last = *Arrivals::Poisson(second).times(10_000, &mut random).last().unwrap();
        assert!((9_700..10_300).contains(&last.as_secs()), "{last:?}");
        let crowd = Arrivals::Crowd(second).times(10_000, &mut random);
        let mean = crowd.iter().sum::<Duration>() / 10_000;
        assert!((950..1_050).contains(&mean.as_millis()), "{mean:?}");
        assert!(crowd.is_sorted());
    }
}
