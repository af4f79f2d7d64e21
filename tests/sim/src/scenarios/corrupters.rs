//! One in five sends wrong bytes in everything, one in twenty in every hundredth block, one in twenty lies about what it
//! has, one in twenty rejects whatever it is asked for.

use super::{Scenario, Settings};
use crate::conduct::Conduct;
use crate::host::HostConfig;
use crate::link::Link;
use crate::world::World;
use rand::RngExt;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "corrupters",
    about: "one honest seed; of the others 20 % send wrong bytes, 5 % now and then, 5 % lie, 5 % reject everything",
    peers: 100,
    limit: Duration::from_secs(4 * 3_600),
    build,
};

fn build(settings: &Settings) -> World {
    let mut world = settings.world();
    let mut random = settings.random();
    let link = Link::asymmetric(settings.uplink, settings.downlink);
    world.add(HostConfig::seed(settings.uplink).with_link(link), Duration::ZERO);
    for number in 0..settings.peers {
        let after = Duration::from_millis(random.random_range(100..1_100));
        let host = |conduct, class| HostConfig::leecher(settings.uplink).with_conduct(conduct).with_class(class);
        let host = match number % 20 {
            0..4 => HostConfig { seed: true, ..host(Conduct::CORRUPT, "corrupters") },
            4 => HostConfig { seed: true, ..host(Conduct::Corrupt { one_in: 100 }, "noisy") },
            5 => HostConfig { seed: true, ..host(Conduct::RejectAll, "rejecters") },
            6 => host(Conduct::Lie, "liars"),
            _ => host(Conduct::Honest, "honest"),
        };
        world.add(host.with_link(link), after);
    }
    world
}
