//! Random worlds: one of them, or many.

use crate::{Arguments, watched};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use swarm_proto::geometry::Geometry;
use swarm_sim::random::{self, Held};
use swarm_sim::{World, trace};

/// Worlds after which a soak says how far it is.
const NEWS: u64 = 500;

/// Runs the world of one seed, with a report and a trace if they are wanted: of a run that breaks an invariant too, up
/// to there.
pub(crate) fn random(arguments: &Arguments) -> ExitCode {
    let mut drawn = random::draw(arguments.seed);
    let empty = World::new(Geometry::new(0, 1).expect("a valid shape"), 0);
    let world = std::mem::replace(&mut drawn.world, empty);
    let lines = match watched::listened(arguments, world) {
        Ok((world, lines)) => {
            drawn.world = world;
            lines
        }
        Err(error) => return watched::failed(&error),
    };
    let mut recorder = Some(trace::Recorder::default());
    let ran = catch_unwind(AssertUnwindSafe(|| drawn.run_recorded(&mut recorder)));
    let picture = recorder.unwrap_or_default().finish(drawn.about(), &drawn.world.observe());
    drop(drawn);
    if let Err(error) = watched::finish(arguments, &picture, lines) {
        return watched::failed(&error);
    }
    match ran {
        Ok(Ok(held)) => println!("{held:#?}"),
        Ok(Err(wrong)) => return watched::failed(&wrong),
        Err(_) => return watched::failed(&"an invariant is broken: see above"),
    }
    ExitCode::SUCCESS
}

/// Runs the worlds of all seeds.
pub(crate) fn soak(arguments: &Arguments) -> ExitCode {
    let seeds = arguments.seeds.clone().unwrap_or(arguments.seed..arguments.seed + 1);
    let next = AtomicU64::new(seeds.start);
    let (failures, sums) = (AtomicU64::new(0), Mutex::new((0, 0, 0)));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed)) {
                    match random::check(seed) {
                        Ok(held) => add(&sums, held),
                        Err(wrong) => {
                            failures.fetch_add(1, Ordering::Relaxed);
                            println!("{wrong}");
                        }
                    }
                    if (seed + 1 - seeds.start).is_multiple_of(NEWS) {
                        println!("{} worlds, {} failures", seed + 1 - seeds.start, failures.load(Ordering::Relaxed));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner();
    let (hosts, completed, banned) = *sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let count = seeds.end - seeds.start;
    println!(
        "{count} worlds of {hosts} hosts: {completed} leechers had to complete and did, {banned} peers were banned"
    );
    println!("{failures} worlds failed");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn add(sums: &Mutex<(usize, usize, usize)>, held: Held) {
    let mut sums = sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *sums = (sums.0 + held.hosts, sums.1 + held.completed, sums.2 + held.banned);
}
