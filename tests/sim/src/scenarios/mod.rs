//! The scenarios, a file each.

mod churn;
mod corrupters;
mod flash_crowd;
mod free_riders;
mod mixed_links;
mod one_to_many;
mod partition;
mod seed_leaves;
mod slow_disks;

use crate::measures::Measures;
use crate::world::World;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;
use swarm_proto::geometry::Geometry;
use swarm_proto::swarm::Profile;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What can be chosen about a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Leechers that come in the whole run.
    pub peers: usize,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Bytes of the torrent.
    pub bytes: u64,
    /// Bytes of a piece.
    pub piece_length: u64,
    /// Bytes a second that leave an ordinary host.
    pub uplink: u64,
    /// Bytes a second that can come to an ordinary host.
    pub downlink: u64,
    /// One way, between two hosts.
    pub latency: Duration,
    /// Whom to serve.
    pub profile: Profile,
}

/// A kind of world.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub about: &'static str,
    /// Leechers unless told otherwise.
    pub peers: usize,
    /// A run that is not over by then has failed.
    pub limit: Duration,
    /// Builds its world.
    pub build: fn(&Settings) -> World,
}

/// All of them.
pub static ALL: &[Scenario] = &[
    one_to_many::SCENARIO,
    churn::SCENARIO,
    flash_crowd::SCENARIO,
    mixed_links::SCENARIO,
    free_riders::SCENARIO,
    seed_leaves::SCENARIO,
    corrupters::SCENARIO,
    partition::SCENARIO,
    slow_disks::SCENARIO,
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Settings {
    /// 64 MiB in pieces of 256 KiB; 10 Mbit/s up and 100 Mbit/s down; 10 ms from one host to another.
    pub fn new(peers: usize, seed: u64) -> Self {
        Self {
            peers,
            seed,
            bytes: 64 * MIB,
            piece_length: 256 * KIB,
            uplink: 1_250_000,
            downlink: 12_500_000,
            latency: Duration::from_millis(10),
            profile: Profile::Public,
        }
    }

    /// An empty world of this shape.
    pub fn world(&self) -> World {
        let geometry = Geometry::new(self.bytes, self.piece_length).expect("a valid shape");
        World::new(geometry, self.seed).with_latency(self.latency).with_profile(self.profile).without_events()
    }

    /// What decides arrivals and kinds of hosts: another generator than that of the world.
    fn random(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995)
    }
}

impl Scenario {
    /// Builds a world and runs it to its end.
    pub fn run(&self, settings: &Settings) -> (World, Measures) {
        let begin = processor_time();
        let mut world = (self.build)(settings);
        world.run(self.limit);
        let measures = Measures::of(&world, processor_time().saturating_sub(begin));
        (world, measures)
    }
}

/// So many in a hundred of the numbers from 0 up, evenly spread.
fn in_hundred(share: usize, number: usize) -> bool {
    (number + 1) * share / 100 > number * share / 100
}

/// What this process has used of the processor: other programs do not count, as they would on a wall clock.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
