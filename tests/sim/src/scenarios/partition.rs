//! The network falls apart into two halves, with the seed in one of them, and comes together again.

use super::{Scenario, Settings, in_hundred};
use crate::host::HostConfig;
use crate::link::Link;
use crate::world::World;
use rand::RngExt;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "partition",
    about: "two halves cannot reach each other from second 10 to second 40; the seed is in one of them",
    peers: 200,
    limit: Duration::from_secs(4 * 3_600),
    build,
};

fn build(settings: &Settings) -> World {
    let mut world = settings.world();
    let mut random = settings.random();
    let link = Link::asymmetric(settings.uplink, settings.downlink);
    world.add(HostConfig::seed(settings.uplink).with_link(link), Duration::ZERO);
    for number in 0..settings.peers {
        let (group, class) = if in_hundred(50, number) { (0, "with the seed") } else { (1, "without the seed") };
        let after = Duration::from_millis(random.random_range(100..1_100));
        world.add(HostConfig::leecher(settings.uplink).with_link(Link { group, ..link }).with_class(class), after);
    }
    world.partition(0, 1, Duration::from_secs(10)..Duration::from_secs(40));
    world
}
