//! The only seed goes when it has sent 1.05 times the bytes of the torrent: no byte of it can have been sent twice often.

use super::{Scenario, Settings};
use crate::conduct::{Departure, Leave};
use crate::host::HostConfig;
use crate::link::Link;
use crate::world::World;
use rand::RngExt;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "seed-leaves",
    about: "the only seed dies after 1.05 copies have left it",
    peers: 50,
    limit: Duration::from_secs(1_200),
    build,
};

fn build(settings: &Settings) -> World {
    let mut world = settings.world();
    let mut random = settings.random();
    let link = Link::asymmetric(settings.uplink, settings.downlink);
    let seed = HostConfig::seed(settings.uplink).with_link(link);
    let leave = Leave::Uploaded(settings.bytes + settings.bytes / 20);
    world.add(HostConfig { leave, departure: Departure::Crash, ..seed }, Duration::ZERO);
    for _ in 0..settings.peers {
        let after = Duration::from_millis(random.random_range(100..1_100));
        world.add(HostConfig::leecher(settings.uplink).with_link(link), after);
    }
    world
}
