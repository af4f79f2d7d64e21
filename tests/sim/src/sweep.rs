//! Sweeps: the same small run again and again, each time with one fault at the next place, until no place is left.
//!
//! A sweep tells how many faults were carried out; who calls it asserts that, for a sweep that injects nothing proves
//! nothing.

use crate::interference::{Action, Interference, Target};
use crate::world::World;
use std::time::Duration;

/// A sweep that has not come to its end after so many runs never will.
const MOST_RUNS: u64 = 100_000;

/// What is swept.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Of what the N-th one is hit, for every N.
    pub target: Target,
    /// What happens to it.
    pub action: Action,
    /// Virtual time within which everybody is to be complete.
    pub limit: Duration,
    /// Virtual time for which the world goes on after that: what is late must do no harm either.
    pub afterwards: Duration,
}

/// What came of a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Faults that were carried out, each in a run of its own.
    pub injected: u64,
    /// The last completion of the slowest of these runs.
    pub slowest: Duration,
    /// Bytes wasted in the most wasteful of them.
    pub most_wasted: u64,
    /// Peers banned in all of them together.
    pub banned: u64,
}

impl Sweep {
    /// Runs the world of `build` with one fault at each place in turn. `judge` looks at each run once it is over, and
    /// panics if it does not like it: that somebody is not complete, first of all.
    ///
    /// # Panics
    /// When the judge or the world finds something wrong, or a run without a fault does not complete.
    pub fn run(&self, build: impl Fn() -> World, judge: impl Fn(&World, Interference)) -> Swept {
        let mut swept = Swept::default();
        for number in 1..=MOST_RUNS {
            let interference = Interference { target: self.target, number, action: self.action };
            let mut world = build().with_interference(interference);
            world.run(self.limit);
            world.run_until(world.elapsed() + self.afterwards);
            if !world.passed(self.target).reached {
                assert!(world.is_done(), "{self:?}: not complete without any fault");
                return swept;
            }
            judge(&world, interference);
            let hosts = 0..world.host_count();
            swept.injected += world.passed(self.target).carried_out;
            swept.slowest = swept.slowest.max(world.last_completion().unwrap_or(self.limit));
            swept.most_wasted = swept.most_wasted.max(world.traffic().1);
            swept.banned += hosts.map(|host| u64::from(world.stats(host).banned_peers)).sum::<u64>();
        }
        panic!("{self:?}: no end after {MOST_RUNS} runs")
    }
}
