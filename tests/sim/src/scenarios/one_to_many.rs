//! One seed, many leechers that all come within a second, all links alike: the case for which the product exists.

use super::{Scenario, Settings};
use crate::host::HostConfig;
use crate::link::Link;
use crate::world::World;
use rand::RngExt;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "one-to-many",
    about: "one seed, all leechers at once, all links alike",
    peers: 1_000,
    limit: Duration::from_secs(4 * 3_600),
    build,
};

fn build(settings: &Settings) -> World {
    let mut world = settings.world();
    let mut random = settings.random();
    let link = Link::asymmetric(settings.uplink, settings.downlink);
    world.add(HostConfig::seed(settings.uplink).with_link(link), Duration::ZERO);
    for _ in 0..settings.peers {
        let after = Duration::from_millis(random.random_range(100..1_100));
        world.add(HostConfig::leecher(settings.uplink).with_link(link), after);
    }
    world
}
