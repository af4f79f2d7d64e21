//! Hosts come all the time, and go: most when they have everything and have stayed a while, some long before.

use super::{Scenario, Settings, in_hundred};
use crate::churn::{Arrivals, exponential};
use crate::conduct::{Departure, Leave};
use crate::host::HostConfig;
use crate::link::Link;
use crate::world::World;
use rand::RngExt;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "churn",
    about: "one seed stays; ten leechers a second come; a fifth give up after 60 s in the mean, the others seed for 30 s",
    peers: 5_000,
    limit: Duration::from_secs(4 * 3_600),
    build,
};

fn build(settings: &Settings) -> World {
    let mut world = settings.world();
    let mut random = settings.random();
    let link = Link::asymmetric(settings.uplink, settings.downlink);
    world.add(HostConfig::seed(settings.uplink).with_link(link), Duration::ZERO);
    let arrivals = Arrivals::Poisson(Duration::from_millis(100));
    for (number, at) in arrivals.times(settings.peers, &mut random).into_iter().enumerate() {
        let gives_up = in_hundred(20, number);
        let leave = if gives_up {
            Leave::After(exponential(Duration::from_secs(60), &mut random))
        } else {
            Leave::Completed { linger: exponential(Duration::from_secs(30), &mut random) }
        };
        let departure = match random.random_range(0..4) {
            0 => Departure::Crash,
            1 => Departure::Vanish,
            _ => Departure::Goodbye,
        };
        let class = if gives_up { "impatient" } else { "leechers" };
        let host = HostConfig::leecher(settings.uplink).with_link(link).with_leave(leave).with_class(class);
        world.add(HostConfig { departure, ..host }, at);
    }
    world
}
