//! Half of the leechers have links ten times as fast as the other half.

use super::{Scenario, Settings, in_hundred};
use crate::host::HostConfig;
use crate::link::Link;
use crate::world::World;
use rand::RngExt;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "mixed-links",
    about: "one fast seed; half of the leechers have a tenth of the others' rates, both ways",
    peers: 200,
    limit: Duration::from_secs(4 * 3_600),
    build,
};

fn build(settings: &Settings) -> World {
    let mut world = settings.world();
    let mut random = settings.random();
    let fast = Link::asymmetric(settings.uplink, settings.downlink);
    let slow = Link::asymmetric(settings.uplink / 10, settings.downlink / 10);
    world.add(HostConfig::seed(settings.uplink).with_link(fast), Duration::ZERO);
    for number in 0..settings.peers {
        let (link, class) = if in_hundred(50, number) { (fast, "fast") } else { (slow, "slow") };
        let after = Duration::from_millis(random.random_range(100..1_100));
        world.add(HostConfig::leecher(link.uplink).with_link(link).with_class(class), after);
    }
    world
}
