//! Three in ten take and never give, and upload is scarce: who has everything goes at once.

use super::{Scenario, Settings, in_hundred};
use crate::churn::Arrivals;
use crate::conduct::{Conduct, Leave};
use crate::host::HostConfig;
use crate::link::Link;
use crate::world::World;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "free-riders",
    about: "one seed stays; two leechers a second come, 30 % of them never serve; all go when they have everything",
    peers: 500,
    limit: Duration::from_secs(4 * 3_600),
    build,
};

fn build(settings: &Settings) -> World {
    let mut world = settings.world();
    let link = Link::asymmetric(settings.uplink, settings.downlink);
    world.add(HostConfig::seed(settings.uplink).with_link(link), Duration::ZERO);
    let arrivals = Arrivals::Poisson(Duration::from_millis(500));
    for (number, at) in arrivals.times(settings.peers, &mut settings.random()).into_iter().enumerate() {
        let (conduct, class) =
            if in_hundred(30, number) { (Conduct::FreeRide, "free riders") } else { (Conduct::Honest, "contributors") };
        let host = HostConfig::leecher(settings.uplink).with_link(link).with_conduct(conduct).with_class(class);
        world.add(host.with_leave(Leave::Completed { linger: Duration::ZERO }), at);
    }
    world
}
