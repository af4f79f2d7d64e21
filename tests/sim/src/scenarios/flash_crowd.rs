//! A crowd hears of a torrent that has one seed: half of it comes within the first 20 seconds, the rest later.

use super::{Scenario, Settings};
use crate::churn::Arrivals;
use crate::host::HostConfig;
use crate::link::Link;
use crate::world::World;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "flash-crowd",
    about: "one seed; leechers come sooner or later, 30 s after the start in the mean, and stay",
    peers: 1_000,
    limit: Duration::from_secs(4 * 3_600),
    build,
};

fn build(settings: &Settings) -> World {
    let mut world = settings.world();
    let link = Link::asymmetric(settings.uplink, settings.downlink);
    world.add(HostConfig::seed(settings.uplink).with_link(link), Duration::ZERO);
    let arrivals = Arrivals::Crowd(Duration::from_secs(30));
    for at in arrivals.times(settings.peers, &mut settings.random()) {
        world.add(HostConfig::leecher(settings.uplink).with_link(link), at);
    }
    world
}
