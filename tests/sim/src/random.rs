//! Worlds drawn from one number, and what must hold in each of them, whatever was drawn.
//!
//! - The invariants of every swarm hold after every step, and no shell is asked for what it cannot do (checked by the
//!   world itself).
//! - No honest host shuts out another, or blames it for anything but silence.
//! - Every honest leecher that stays completes in a generous time, in worlds in which one honest seed stays.
//! - Queues and outputs stay bounded.

use crate::trace::{About, Recorder};
use crate::world::{HostIndex, World};
use crate::{Conduct, Departure, Disk, HostConfig, Leave, Link, UNLIMITED};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::fmt::Write;
use std::time::Duration;
use swarm_proto::geometry::Geometry;
use swarm_proto::swarm::{CloseReason, Command, Event, PeerFault, Profile};
use swarm_proto::wire::Reserved;

const KIB: u64 = 1024;
/// Disturbances happen within this time; after it, everybody has the chance to finish.
const RESTLESS: u64 = 400;
/// How often it is looked whether everybody is complete.
const SLICE: Duration = Duration::from_secs(5);
/// What one input may call forth: every peer asked for a window, told of every piece, and refused a full queue.
const MOST_OUTPUTS: usize = 10_000;
/// Messages and blocks that may wait on a connection: a full queue of requests, answers and announcements.
const MOST_WAITING: usize = 6_000;
/// Product of hosts squared and pieces, to which the time of a checked run is roughly proportional.
const MOST_WORK: u64 = 12_000;

/// A world drawn from a number.
pub struct RandomWorld {
    /// The world, not yet run.
    pub world: World,
    /// The number.
    pub seed: u64,
    /// Its hosts.
    pub hosts: Vec<HostConfig>,
    /// Names and values of what was drawn, for people.
    pub settings: Vec<(String, String)>,
    /// The leechers that must complete...
    owed: Vec<HostIndex>,
    /// ...until then.
    deadline: Duration,
    /// What users do, latest first.
    commands: Vec<(Duration, HostIndex, Command)>,
}

/// A run of a random world in which everything held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Hosts of the world.
    pub hosts: usize,
    /// Leechers that had to complete, and did.
    pub completed: usize,
    /// Hosts that did not follow the protocol.
    pub hostile: usize,
    /// Peers banned, each of them rightly.
    pub banned: usize,
    /// Virtual time of the run.
    pub took: Duration,
    /// Payload received by all hosts in bytes.
    pub downloaded: u64,
    /// How much of it was of no use.
    pub wasted: u64,
    /// The digest of the run.
    pub digest: u64,
}

/// The dice, with the distributions that worlds are made of.
struct Dice(SmallRng);

impl Dice {
    /// Every order of magnitude is equally likely.
    fn log(&mut self, from: u64, to: u64) -> u64 {
        let (low, high) = ((from as f64).ln(), (to as f64).ln());
        let drawn = self.0.random_range(low..=high).exp().round();
        (drawn as u64).clamp(from, to)
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.0.random_bool(probability)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0.random_range(0..most.max(1))
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most + 1))
    }

    /// A time in which something is out of order.
    fn times(&mut self) -> std::ops::Range<Duration> {
        let (begin, length) = (self.below(RESTLESS / 2), self.log(1, RESTLESS / 2));
        Duration::from_secs(begin)..Duration::from_secs(begin + length)
    }
}

/// What all hosts of a world have in common.
struct Climate {
    hostile: f64,
    limited_down: bool,
    breaking: bool,
    jitter: bool,
    churn: f64,
    odd_disks: f64,
    groups: u16,
    arrivals_s: u64,
    extensions: f64,
    piece_length: u64,
}

impl Climate {
    fn draw(dice: &mut Dice, piece_length: u64) -> Self {
        Self {
            hostile: [0.0, 0.0, 0.1, 0.3, 0.5][dice.below(5) as usize],
            limited_down: dice.chance(0.5),
            breaking: dice.chance(0.3),
            jitter: dice.chance(0.3),
            churn: [0.0, 0.2, 0.5][dice.below(3) as usize],
            odd_disks: [0.0, 0.3][dice.below(2) as usize],
            groups: if dice.chance(0.3) { 2 } else { 1 },
            arrivals_s: [1, 30, RESTLESS / 2][dice.below(3) as usize],
            extensions: [1.0, 0.6, 0.0][dice.below(3) as usize],
            piece_length,
        }
    }

    fn link(&self, dice: &mut Dice) -> Link {
        Link {
            uplink: dice.log(10_000, 10_000_000),
            downlink: if self.limited_down { dice.log(30_000, 30_000_000) } else { UNLIMITED },
            latency: Duration::from_millis(dice.log(1, 200)),
            jitter: if self.jitter { dice.millis(100) } else { Duration::ZERO },
            mean_connection_life: (self.breaking && dice.chance(0.3)).then(|| Duration::from_secs(dice.log(20, 600))),
            reachable: dice.chance(0.8),
            group: u16::try_from(dice.below(self.groups.into())).unwrap_or(0),
        }
    }

    fn disk(&self, dice: &mut Dice) -> Disk {
        if !dice.chance(self.odd_disks) {
            return Disk::default();
        }
        let mut disk = Disk { overhead: dice.millis(50), ..Disk::default() };
        match dice.below(4) {
            0 => disk.rate = dice.log(50_000, 5_000_000),
            1 => disk.full = vec![dice.times()],
            2 => disk.failing_writes = (0..dice.below(6)).map(|_| 1 + dice.below(20)).collect(),
            _ => disk.failing_reads = (0..dice.below(4)).map(|_| 1 + dice.below(40)).collect(),
        }
        disk
    }

    fn conduct(&self, dice: &mut Dice) -> Conduct {
        if !dice.chance(self.hostile) {
            return Conduct::Honest;
        }
        match dice.below(7) {
            0 => Conduct::CORRUPT,
            1 => Conduct::Corrupt { one_in: 1 + u32::try_from(dice.below(20)).unwrap_or(0) },
            2 => Conduct::Stall,
            3 => Conduct::Lie,
            4 => Conduct::Flood { per_second: 10 + u32::try_from(dice.below(200)).unwrap_or(0) },
            5 => Conduct::FreeRide,
            _ => Conduct::RejectAll,
        }
    }

    fn leave(&self, dice: &mut Dice, total: u64) -> Leave {
        if !dice.chance(self.churn) {
            return Leave::Never;
        }
        match dice.below(3) {
            0 => Leave::After(dice.millis(RESTLESS / 2 * 1_000)),
            1 => Leave::Completed { linger: dice.millis(60_000) },
            _ => Leave::Uploaded(1 + dice.below(2 * total)),
        }
    }

    fn reserved(&self, dice: &mut Dice) -> Reserved {
        Reserved { fast: dice.chance(self.extensions), extended: dice.chance(self.extensions) }
    }

    fn host(&self, dice: &mut Dice, total: u64) -> HostConfig {
        let conduct = self.conduct(dice);
        let departures = [Departure::Goodbye, Departure::Crash, Departure::Vanish];
        HostConfig {
            class: if conduct == Conduct::Honest { "honest" } else { "rogues" },
            seed: dice.chance(if conduct == Conduct::Honest { 0.1 } else { 0.5 }),
            link: self.link(dice),
            disk: self.disk(dice),
            conduct,
            leave: self.leave(dice, total),
            departure: departures[dice.below(3) as usize],
            reserved: self.reserved(dice),
            max_peers: if dice.chance(0.3) { 4 + dice.below(6) as usize } else { 60 },
            buffer_bytes: self.buffer(dice),
        }
    }

    fn buffer(&self, dice: &mut Dice) -> u64 {
        if dice.chance(0.3) { self.piece_length * (1 + dice.below(6)) } else { 64 << 20 }
    }

    /// The honest seed that stays: others can reach it, and its disk is in order. All else is as with any other host.
    fn anchor(&self, dice: &mut Dice) -> HostConfig {
        HostConfig {
            seed: true,
            link: Link { reachable: true, group: 0, ..self.link(dice) },
            reserved: self.reserved(dice),
            max_peers: if dice.chance(0.3) { 6 + dice.below(6) as usize } else { 60 },
            ..HostConfig::seed(0)
        }
    }
}

/// The world of this seed.
pub fn draw(seed: u64) -> RandomWorld {
    let mut dice = Dice(SmallRng::seed_from_u64(seed ^ 0x7261_6e64_6f6d));
    let hosts = dice.log(2, 40);
    let pieces = dice.log(1, 200.min((MOST_WORK / hosts / hosts).max(2)));
    let piece_length = KIB * [16, 16, 32, 48, 64][dice.below(5) as usize];
    let total = (pieces - 1) * piece_length + 1 + dice.below(piece_length);
    let climate = Climate::draw(&mut dice, piece_length);
    let anchored = dice.chance(0.9);
    let profile = if dice.chance(0.7) { Profile::Public } else { Profile::Lan };
    let (trackers, latency) = (1 + dice.below(3) as usize, Duration::from_millis(dice.log(1, 100)));
    let geometry = Geometry::new(total, piece_length).expect("a valid shape");
    let world = World::new(geometry, seed).with_latency(latency).with_profile(profile);
    let world = world.with_trackers(trackers).with_checking();
    let anchor = if anchored { climate.anchor(&mut dice) } else { climate.host(&mut dice, total) };
    let others = (1..hosts).map(|_| climate.host(&mut dice, total));
    let mut hosts = vec![anchor];
    hosts.extend(others);
    let mut drawn = RandomWorld {
        world,
        seed,
        settings: settings(&climate, total, pieces, profile, latency, anchored),
        hosts,
        owed: Vec::new(),
        deadline: Duration::ZERO,
        commands: Vec::new(),
    };
    drawn.populate(&mut dice, &climate);
    drawn.disturb(&mut dice, &climate, trackers, anchored);
    drawn.deadline = drawn.deadline();
    drawn
}

fn settings(
    climate: &Climate,
    total: u64,
    pieces: u64,
    profile: Profile,
    latency: Duration,
    anchored: bool,
) -> Vec<(String, String)> {
    [
        ("torrent", format!("{total} bytes, {pieces} pieces of {}", climate.piece_length)),
        ("profile", format!("{profile:?}")),
        ("latency", format!("{latency:?} and that of each link")),
        ("an honest seed stays", anchored.to_string()),
        ("share of hostile hosts", climate.hostile.to_string()),
        ("share of hosts that leave", climate.churn.to_string()),
        ("share of odd disks", climate.odd_disks.to_string()),
        ("share of hosts with extensions", climate.extensions.to_string()),
        ("groups", climate.groups.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

impl RandomWorld {
    fn populate(&mut self, dice: &mut Dice, climate: &Climate) {
        for (number, config) in self.hosts.clone().into_iter().enumerate() {
            let after = if number == 0 { 0 } else { dice.below(climate.arrivals_s * 1_000) };
            self.world.add(config, Duration::from_millis(after));
        }
    }

    /// Partitions, outages, moves, and users; all over before the restless time is.
    fn disturb(&mut self, dice: &mut Dice, climate: &Climate, trackers: usize, anchored: bool) {
        if climate.groups > 1 {
            for _ in 0..=dice.below(3) {
                self.world.partition(0, 1, dice.times());
            }
        }
        for tracker in 0..trackers {
            if dice.chance(0.2) {
                self.world.tracker_down(tracker, dice.times());
            }
        }
        for host in 0..self.hosts.len() {
            if dice.chance(0.05) {
                self.world.rehome_at(host, dice.times().end);
            }
            if dice.chance(0.05) && (host > 0 || !anchored) {
                let times = dice.times();
                self.commands.push((times.start, host, Command::Pause));
                self.commands.push((times.end, host, Command::Resume));
            }
            let config = &self.hosts[host];
            let stays = matches!(config.leave, Leave::Never | Leave::Completed { .. });
            if anchored && stays && !config.seed && config.conduct == Conduct::Honest {
                self.owed.push(host);
            }
        }
        self.commands.sort_by_key(|(at, host, _)| (std::cmp::Reverse(*at), *host));
    }

    /// Every byte of everybody over the slowest links alone, several times, after the last disturbance, and some time for
    /// silences to be noticed.
    fn deadline(&self) -> Duration {
        let Some(anchor) = self.hosts.first() else { return Duration::ZERO };
        let total = self.world.geometry.total_length() as f64;
        let slowest = |rate: fn(&HostConfig) -> u64| {
            self.owed.iter().filter_map(|&host| self.hosts.get(host)).map(rate).min().unwrap_or(UNLIMITED) as f64
        };
        let all = self.hosts.len() as f64 * total / anchor.link.uplink.min(anchor.link.downlink) as f64;
        let alone = total / slowest(|host| host.link.downlink) + total / slowest(|host| host.disk.rate);
        let blocks = total / 16_384.0 + f64::from(self.world.geometry.pieces());
        Duration::from_secs(RESTLESS + 1_200) + Duration::from_secs_f64(5.0 * (all + 2.0 * alone) + blocks)
    }

    /// Runs the world to its end.
    ///
    /// # Errors
    /// What did not hold, line by line.
    ///
    /// # Panics
    /// When an invariant of a swarm or of its shell is broken.
    pub fn run(&mut self) -> Result<Held, String> {
        self.run_recorded(&mut None)
    }

    /// As [`RandomWorld::run`], with somebody who looks at the world from time to time.
    ///
    /// # Errors
    /// What did not hold, line by line.
    ///
    /// # Panics
    /// When an invariant of a swarm or of its shell is broken.
    pub fn run_recorded(&mut self, recorder: &mut Option<Recorder>) -> Result<Held, String> {
        let is_complete = |world: &World, host: &HostIndex| {
            world.completed(*host).is_some() || world.observation_of(*host).left.is_some()
        };
        loop {
            let calm = self.world.elapsed() >= Duration::from_secs(RESTLESS) || self.world.is_done();
            let settled = calm && self.owed.iter().all(|host| is_complete(&self.world, host));
            if settled || self.world.elapsed() > self.deadline {
                break;
            }
            self.advance(recorder);
        }
        let mut wrong = String::new();
        self.look_for_unfinished(&mut wrong);
        let banned = self.look_for_injustice(&mut wrong);
        self.look_for_growth(&mut wrong);
        if wrong.is_empty() { Ok(self.held(banned)) } else { Err(wrong) }
    }

    fn advance(&mut self, recorder: &mut Option<Recorder>) {
        let next = self.world.elapsed() + SLICE;
        while let Some((at, host, command)) = self.commands.pop_if(|(at, ..)| *at <= next) {
            self.run_until(at, recorder);
            self.world.command(host, command);
        }
        self.run_until(next, recorder);
    }

    fn run_until(&mut self, until: Duration, recorder: &mut Option<Recorder>) {
        while let Some(recorder) = recorder.as_mut().filter(|recorder| recorder.next_at() < until) {
            self.world.run_until(recorder.next_at());
            recorder.sample(&self.world.observe());
        }
        self.world.run_until(until);
    }

    /// What a report says of it.
    pub fn about(&self) -> About {
        let geometry = self.world.geometry();
        About {
            title: format!("random world {}", self.seed),
            summary: "A world drawn from one number. The invariants are checked after every step.".into(),
            seed: self.seed,
            command: replay(self.seed),
            settings: self.settings.clone(),
            limit: None,
            total_bytes: geometry.total_length(),
            piece_length: u64::from(geometry.piece_length()),
        }
    }

    fn held(&self, banned: usize) -> Held {
        let (downloaded, wasted) = self.world.traffic();
        Held {
            hosts: self.hosts.len(),
            completed: self.owed.len(),
            hostile: self.hosts.iter().filter(|host| host.conduct != Conduct::Honest).count(),
            banned,
            took: self.world.elapsed(),
            downloaded,
            wasted,
            digest: self.world.digest(),
        }
    }

    fn look_for_unfinished(&self, wrong: &mut String) {
        for &host in &self.owed {
            let seen = self.world.observation_of(host);
            if seen.completed.is_none() && seen.left.is_none() {
                let of = self.world.geometry.pieces();
                _ = writeln!(
                    wrong,
                    "host {host} has {} of {of} pieces after {:?}: {:?}, {:?}",
                    seen.have, self.deadline, self.hosts[host], seen
                );
            }
        }
    }

    /// No honest host bans another honest one, or says that it broke a rule. Silence is no more than bad luck.
    fn look_for_injustice(&self, wrong: &mut String) -> usize {
        let mut banned = 0;
        for (host, config) in self.hosts.iter().enumerate() {
            for (at, event) in self.world.events(host).iter().filter(|_| config.conduct == Conduct::Honest) {
                let (address, what) = match event {
                    Event::PeerBanned(address) => (address, "bans"),
                    Event::PeerClosed { reason: Some(CloseReason::Fault(PeerFault::NeverAnswers)), .. } => continue,
                    Event::PeerClosed { address, reason: Some(CloseReason::Fault(_)), .. } => (address, "blames"),
                    _ => continue,
                };
                let other = self.world.host_at(address.ip());
                banned += usize::from(what == "bans");
                if other.is_none_or(|other| self.hosts[other].conduct == Conduct::Honest) {
                    _ = writeln!(wrong, "honest host {host} {what} honest {other:?} after {at:?}: {event:?}");
                }
            }
        }
        banned
    }

    fn look_for_growth(&self, wrong: &mut String) {
        let [waiting, outputs] = self.world.peaks();
        if waiting > MOST_WAITING || outputs > MOST_OUTPUTS {
            _ = writeln!(wrong, "{waiting} things waited on a connection, {outputs} outputs came of one input");
        }
    }
}

/// Draws and runs the world of a seed.
///
/// # Errors
/// What did not hold, a broken invariant among it, and how to see it again.
pub fn check(seed: u64) -> Result<Held, String> {
    let run = std::panic::catch_unwind(|| draw(seed).run());
    let held = run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
    });
    held.map_err(|wrong| format!("seed {seed}: {wrong}\n  again: {}", replay(seed)))
}

/// The command that runs the world of a seed again.
pub fn replay(seed: u64) -> String {
    format!("cargo run --release -p swarm-sim -- random --seed {seed} --report random-{seed}.html")
}
