//! The network between the hosts: rates, delays, groups, partitions. What is on the way is in `transfer`.

use crate::queue::Moment;
use crate::world::HostIndex;
use rand::RngExt;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A rate that limits nothing, in bytes a second.
pub const UNLIMITED: u64 = u64::MAX;

/// A set of hosts that a partition or a delay is about.
pub type Group = u16;

/// How a host is connected to the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Bytes a second that leave it; its connections share them fairly, block by block.
    pub uplink: u64,
    /// Bytes a second that can come to it.
    pub downlink: u64,
    /// Time to the middle of the network, one way; added to that of the world and that of the other side.
    pub latency: Duration,
    /// Up to so much more for each thing sent, at random; order within a connection stays.
    pub jitter: Duration,
    /// Mean lifetime of a connection before it breaks for no reason; none for ever.
    pub mean_connection_life: Option<Duration>,
    /// Whether others can connect to it; false behind a NAT.
    pub reachable: bool,
    /// To which set it belongs.
    pub group: Group,
}

impl Link {
    /// A reachable host with this uplink in bytes a second, nothing else limited, in group 0.
    pub fn up(uplink: u64) -> Self {
        Self {
            uplink,
            downlink: UNLIMITED,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            mean_connection_life: None,
            reachable: true,
            group: 0,
        }
    }

    /// As [`Link::up`], with this downlink.
    pub fn asymmetric(uplink: u64, downlink: u64) -> Self {
        Self { downlink, ..Self::up(uplink) }
    }
}

struct Partition {
    groups: [Group; 2],
    from: Moment,
    to: Moment,
}

/// What is true of pairs of hosts.
pub(crate) struct Network {
    pub(crate) latency: Duration,
    between: BTreeMap<[Group; 2], Duration>,
    partitions: Vec<Partition>,
    cuts: BTreeSet<[HostIndex; 2]>,
}

pub(crate) fn nanos(duration: Duration) -> Moment {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Time that so many bytes take at this rate.
pub(crate) fn transfer_time(bytes: u32, rate: u64) -> Moment {
    if rate == UNLIMITED { 0 } else { u64::from(bytes) * 1_000_000_000 / rate.max(1) }
}

fn pair<T: Ord>(one: T, other: T) -> [T; 2] {
    if one <= other { [one, other] } else { [other, one] }
}

impl Network {
    pub(crate) fn new(latency: Duration) -> Self {
        Self { latency, between: BTreeMap::new(), partitions: Vec::new(), cuts: BTreeSet::new() }
    }

    pub(crate) fn set_latency_between(&mut self, one: Group, other: Group, latency: Duration) {
        self.between.insert(pair(one, other), latency);
    }

    pub(crate) fn cut(&mut self, one: HostIndex, other: HostIndex) {
        self.cuts.insert(pair(one, other));
    }

    pub(crate) fn is_cut(&self, one: HostIndex, other: HostIndex) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&pair(one, other))
    }

    pub(crate) fn partition(&mut self, one: Group, other: Group, from: Moment, to: Moment) {
        self.partitions.push(Partition { groups: pair(one, other), from, to });
    }

    /// When the two can reach each other again, if they cannot now.
    pub(crate) fn parted_until(&self, now: Moment, one: &Link, other: &Link) -> Option<Moment> {
        let groups = pair(one.group, other.group);
        let now_parted = self.partitions.iter().filter(|it| it.groups == groups && it.from <= now && now < it.to);
        now_parted.map(|partition| partition.to).max()
    }

    /// One way, without jitter.
    pub(crate) fn delay(&self, from: &Link, to: &Link) -> Moment {
        let base = self.between.get(&pair(from.group, to.group)).copied().unwrap_or(self.latency);
        nanos(base + from.latency + to.latency)
    }

    /// One way, with jitter.
    pub(crate) fn delay_of_one(&self, from: &Link, to: &Link, random: &mut SmallRng) -> Moment {
        let jitter = nanos(from.jitter + to.jitter);
        let extra = if jitter == 0 { 0 } else { random.random_range(0..=jitter) };
        self.delay(from, to) + extra
    }
}
