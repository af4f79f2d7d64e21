//! The fluid limit: what no distribution can beat, however clever.
//!
//! Kumar and Ross (2006) for hosts that all begin at once: the largest of the time in which the seeds can send one copy,
//! the time in which the slowest downlink takes one, and the time in which all uplinks together can carry one copy to
//! each leecher. With arrivals, each term counts from the moment at which its hosts are there, and uplinks count only
//! while their hosts are.

use crate::observation::{HostObservation, Observation};

/// A host, as far as the limit is concerned. Times in seconds, rates in bytes a second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FluidHost {
    /// Whether it has everything from the start.
    pub seed: bool,
    /// Whether it has to get everything for the run to be over.
    pub counts: bool,
    /// What it gives; 0 for one that never serves.
    pub uplink: f64,
    /// What it can take.
    pub downlink: f64,
    /// When it comes.
    pub arrived: f64,
    /// When it goes for reasons of its own; infinite for never.
    pub left: f64,
}

impl FluidHost {
    fn of(host: &HostObservation) -> Self {
        let rate = |rate: u64| if rate == crate::UNLIMITED { f64::INFINITY } else { rate as f64 };
        Self {
            seed: host.seed,
            counts: !host.seed && (host.left.is_none() || host.completed.is_some()),
            uplink: if host.gives { rate(host.uplink) } else { 0.0 },
            downlink: rate(host.downlink),
            arrived: host.arrived.as_secs_f64(),
            left: host.left.map_or(f64::INFINITY, |left| left.as_secs_f64()),
        }
    }
}

/// The earliest moment, in seconds from the beginning, at which the last leecher of this run could have had everything.
pub fn fluid_limit_of(observation: &Observation, bytes: u64) -> f64 {
    let hosts: Vec<FluidHost> = observation.hosts.iter().map(FluidHost::of).collect();
    fluid_limit(&hosts, bytes)
}

/// The earliest moment at which the last leecher that counts can have everything.
pub fn fluid_limit(hosts: &[FluidHost], bytes: u64) -> f64 {
    let bytes = bytes as f64;
    let leechers = hosts.iter().filter(|host| host.counts);
    let demand = bytes * leechers.clone().count() as f64;
    if demand == 0.0 {
        return 0.0;
    }
    let slowest = leechers.map(|host| host.arrived + bytes / host.downlink).fold(0.0, f64::max);
    let seeds: Vec<FluidHost> = hosts.iter().copied().filter(|host| host.seed).collect();
    let one_copy = earliest(&seeds, bytes);
    slowest.max(one_copy).max(earliest(hosts, demand))
}

/// When the uplinks of these hosts can have carried so many bytes.
fn earliest(hosts: &[FluidHost], bytes: f64) -> f64 {
    let mut changes: Vec<(f64, f64)> = Vec::new();
    for host in hosts {
        changes.push((host.arrived, host.uplink));
        if host.left.is_finite() {
            changes.push((host.left, -host.uplink));
        }
    }
    changes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut now, mut rate, mut left) = (0.0, 0.0, bytes);
    for (at, change) in changes {
        if rate > 0.0 && left <= rate * (at - now) {
            break;
        }
        left -= if rate > 0.0 { rate * (at - now) } else { 0.0 };
        (now, rate) = (at, rate + change);
    }
    // Sums of rates that come and go never end at exactly nothing.
    if rate > 1e-6 { now + left / rate } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(seed: bool, uplink: f64, downlink: f64, arrived: f64) -> FluidHost {
        FluidHost { seed, counts: !seed, uplink, downlink, arrived, left: f64::INFINITY }
    }

    #[test]
    fn each_of_the_three_terms_can_be_the_largest() {
        let free = f64::INFINITY;
        let seed_bound = [host(true, 1.0, free, 0.0), host(false, 50.0, free, 0.0)];
        assert_eq!(fluid_limit(&seed_bound, 100), 100.0);
        let down_bound = [host(true, 100.0, free, 0.0), host(false, 50.0, 0.5, 0.0)];
        assert_eq!(fluid_limit(&down_bound, 100), 200.0);
        let sum_bound = [host(true, 10.0, free, 0.0), host(false, 0.0, free, 0.0), host(false, 0.0, free, 0.0)];
        assert_eq!(fluid_limit(&sum_bound, 100), 20.0);
    }

    #[test]
    fn who_comes_late_or_goes_early_gives_less() {
        let free = f64::INFINITY;
        let late = [host(true, 10.0, free, 5.0), host(false, 10.0, free, 7.0)];
        assert_eq!(fluid_limit(&late, 100), 15.0);
        let mut early = [host(true, 10.0, free, 0.0), host(false, 0.0, free, 0.0), host(true, 10.0, free, 0.0)];
        early[2].left = 2.0;
        assert_eq!(fluid_limit(&early, 100), 8.0);
        early[0].left = 3.0;
        assert_eq!(fluid_limit(&early, 100), f64::INFINITY);
    }
}
