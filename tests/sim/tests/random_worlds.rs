//! Two hundred worlds drawn at random, with everything that must hold in any world: see [`swarm_sim::random`].
//!
//! A longer soak: `cargo run --release -p swarm-sim -- soak --seeds 0..10000`.

use std::ops::Range;
use swarm_sim::random::{self, Held};

/// Runs these worlds, all of them even if some fail; the sums of what they were.
fn run(seeds: impl Iterator<Item = u64>) -> Held {
    let (mut sum, mut failures) = (Held::default(), Vec::new());
    for seed in seeds {
        match random::check(seed) {
            Ok(held) => {
                sum.hosts += held.hosts;
                sum.completed += held.completed;
                sum.hostile += held.hostile;
                sum.banned += held.banned;
            }
            Err(wrong) => failures.push(wrong),
        }
    }
    assert!(failures.is_empty(), "{} worlds failed\n{}", failures.len(), failures.join("\n"));
    sum
}

/// In halves, so that two cores share them.
fn hundred(seeds: Range<u64>) {
    let sum = run(seeds);
    println!("{sum:?}");
    // Worlds in which nothing happens would hold whatever the swarms do.
    assert!(sum.hosts >= 800 && sum.completed >= 350 && sum.hostile >= 100 && sum.banned >= 10, "{sum:?}");
}

#[test]
fn everything_holds_in_a_hundred_random_worlds() {
    hundred(0..100);
}

#[test]
fn everything_holds_in_a_hundred_more() {
    hundred(100..200);
}

/// A peer that is always wrong, always among those who share a piece: all pieces failed for ever, and nobody was
/// convicted, because no piece ever passed.
#[test]
fn who_spoils_every_piece_is_found_out() {
    let sum = run([270, 304, 471, 680, 1_546].into_iter());
    assert!(sum.banned >= 10, "{sum:?}");
}

/// For a while nothing was left to happen in it: the clock stood still, and the run never ended.
#[test]
fn a_world_that_falls_silent_goes_on_to_its_end() {
    assert_eq!(random::check(8_427).map(|held| held.hosts), Ok(2));
}
