//! A third of the disks are slower than the links, some are full for a while, some refuse a write now and then.

use super::{Scenario, Settings};
use crate::disk::Disk;
use crate::host::HostConfig;
use crate::link::Link;
use crate::world::World;
use rand::RngExt;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "slow-disks",
    about: "a third of the disks take 0.8 of the uplink's rate, a tenth are full for 20 s, a tenth fail each 50th write",
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
        let after = Duration::from_millis(random.random_range(100..1_100));
        let full = Duration::from_secs(random.random_range(5..30));
        let (disk, class) = match number % 30 {
            0..10 => (Disk::slow(settings.uplink * 8 / 10), "slow"),
            10..13 => (Disk { full: vec![full..full + Duration::from_secs(20)], ..Disk::default() }, "full"),
            13..16 => (Disk { failing_writes: (1..).step_by(50).take(20).collect(), ..Disk::default() }, "failing"),
            _ => (Disk::default(), "well"),
        };
        world.add(HostConfig::leecher(settings.uplink).with_link(link).with_disk(disk).with_class(class), after);
    }
    world
}
