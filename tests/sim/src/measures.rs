//! The figures of one run.

use crate::fluid::fluid_limit_of;
use crate::observation::{HostObservation, Observation};
use crate::world::World;
use std::collections::BTreeMap;
use std::time::Duration;

/// The figures of one run. Times in virtual seconds.
#[derive(Clone, PartialEq, Debug)]
pub struct Measures {
    /// Whether everybody who stayed had everything in the end.
    pub all_complete: bool,
    /// Leechers that had everything.
    pub completed: usize,
    /// Leechers that ever came.
    pub leechers: usize,
    /// The fluid limit, from the beginning of the world.
    pub limit: f64,
    /// When the last leecher had everything.
    pub last: f64,
    /// When half of the leechers had everything.
    pub median: f64,
    /// Bytes that were of no use over bytes received, of all hosts together.
    pub waste: f64,
    /// When the leechers had one whole copy among them...
    pub full_copy: Option<f64>,
    /// ...and the earliest moment at which the seeds could have sent one.
    pub full_copy_limit: f64,
    /// Useful payload over what the uplinks could have carried until the last completion.
    pub uplink_use: f64,
    /// Kinds of hosts.
    pub classes: Vec<ClassMeasures>,
    /// Virtual seconds that the run took.
    pub virtual_s: f64,
    /// Seconds of one core that the run took.
    pub processor_s: f64,
    /// Things that happened.
    pub happenings: u64,
    /// The digest of the run.
    pub digest: u64,
}

/// The figures of one kind of leechers. Times in seconds from the arrival of each.
#[derive(Clone, PartialEq, Debug)]
pub struct ClassMeasures {
    /// Its name.
    pub class: &'static str,
    /// How many there were.
    pub hosts: usize,
    /// How many had everything.
    pub completed: usize,
    /// Half of them took no longer.
    pub median_s: f64,
    /// 95 of 100 took no longer.
    pub p95_s: f64,
    /// The slowest took so long.
    pub worst_s: f64,
    /// Bytes received over bytes sent, all hosts together; infinite for those who never send.
    pub down_per_up: f64,
    /// The same of single hosts that have sent anything: the 10th and the 90th of 100.
    pub down_per_up_spread: [f64; 2],
}

impl Measures {
    /// Of a world that has run.
    pub fn of(world: &World, processor: Duration) -> Self {
        let observation = world.observe();
        let bytes = world.geometry().total_length();
        let seconds = |time: Option<Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64());
        let leechers: Vec<&HostObservation> =
            observation.hosts.iter().filter(|host| !host.seed && host.arrived <= observation.at).collect();
        let mut completions: Vec<Duration> = leechers.iter().filter_map(|host| host.completed).collect();
        completions.sort_unstable();
        let last = seconds(completions.last().copied());
        let (down, waste) =
            observation.hosts.iter().fold((0, 0), |(down, waste), host| (down + host.downloaded, waste + host.wasted));
        Self {
            all_complete: world.is_done(),
            completed: completions.len(),
            leechers: leechers.len(),
            limit: fluid_limit_of(&observation, bytes),
            last,
            median: seconds(completions.get(completions.len().saturating_sub(1) / 2).copied()),
            waste: if down == 0 { 0.0 } else { waste as f64 / down as f64 },
            full_copy: world.full_copy().map(|time| time.as_secs_f64()),
            full_copy_limit: full_copy_limit(&observation, bytes),
            uplink_use: (down - waste) as f64
                / capacity(&observation, if last.is_nan() { f64::INFINITY } else { last }),
            classes: classes(&leechers),
            virtual_s: world.elapsed().as_secs_f64(),
            processor_s: processor.as_secs_f64(),
            happenings: world.happenings(),
            digest: world.digest(),
        }
    }
}

fn full_copy_limit(observation: &Observation, bytes: u64) -> f64 {
    let seeds = observation.hosts.iter().filter(|host| host.seed && host.gives);
    bytes as f64 / seeds.map(|host| host.uplink as f64).sum::<f64>()
}

/// Bytes that all uplinks can carry while their hosts are there, up to this moment.
fn capacity(observation: &Observation, until: f64) -> f64 {
    let host = |host: &HostObservation| {
        let left = host.left.unwrap_or(observation.at).as_secs_f64().min(until);
        let uplink = if host.gives { host.uplink as f64 } else { 0.0 };
        uplink * (left - host.arrived.as_secs_f64()).max(0.0)
    };
    observation.hosts.iter().map(host).sum()
}

fn classes(leechers: &[&HostObservation]) -> Vec<ClassMeasures> {
    let mut by_class: BTreeMap<&'static str, Vec<&HostObservation>> = BTreeMap::new();
    for host in leechers {
        by_class.entry(host.class).or_default().push(host);
    }
    by_class.into_iter().map(|(class, hosts)| class_measures(class, &hosts)).collect()
}

fn class_measures(class: &'static str, hosts: &[&HostObservation]) -> ClassMeasures {
    let took = |host: &&HostObservation| Some(host.completed?.saturating_sub(host.arrived).as_secs_f64());
    let times = sorted(hosts.iter().filter_map(took));
    let givers = hosts.iter().filter(|host| host.uploaded > 0);
    let ratios = sorted(givers.map(|host| host.downloaded as f64 / host.uploaded as f64));
    let sum = |of: fn(&HostObservation) -> u64| hosts.iter().map(|host| of(host)).sum::<u64>();
    ClassMeasures {
        class,
        hosts: hosts.len(),
        completed: times.len(),
        median_s: quantile(&times, 0.5),
        p95_s: quantile(&times, 0.95),
        worst_s: quantile(&times, 1.0),
        down_per_up: sum(|host| host.downloaded) as f64 / sum(|host| host.uploaded) as f64,
        down_per_up_spread: [quantile(&ratios, 0.1), quantile(&ratios, 0.9)],
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values; not a number if there are none.
fn quantile(values: &[f64], share: f64) -> f64 {
    let index = (share * values.len().saturating_sub(1) as f64).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}
