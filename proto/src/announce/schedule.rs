//! When to announce, to which tracker, and with which event.
//!
//! [`Announcer`] owns the announce state of one torrent: tiers (BEP 12), events (BEP 3), intervals, back-off and retry
//! times (BEP 31). It never talks to a tracker itself: [`Announcer::poll`] hands out jobs, and
//! [`Announcer::handle_reply`] takes their outcome.
//!
//! Every tier is announced to, each by its first tracker that answers: a tracker that a user adds is a tier of its own
//! and must not wait for another to fail. Within a tier the others are for failover only.
//!
//! Invariants: at most one job a tier is under way; `completed` is said at most once to each tier; `stopped` goes only
//! to trackers that took a `started`, and nothing is waited for longer than [`STOP_TIMEOUT`] after a stop.

use crate::announce::{Announce, AnnounceEvent, AnnounceReply, TrackerError};
use crate::id::{InfoHash, PeerId};
use crate::limits;
use crate::swarm::AnnounceJob;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long all that is left to say at a stop may take together.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stop waits for the announces that were under way already.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// After this the shell has lost the job.
const OVERDUE: Duration = Duration::from_secs(10);
/// No tracker is asked more often, whatever it says.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(60);
/// No tracker is asked less often, unless it said never (BEP 31).
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3_600);
/// First pause after a tracker could not be reached; doubles with each failure.
const FIRST_BACK_OFF: Duration = Duration::from_secs(5);
/// First pause after a tracker that is well said no.
const FIRST_REFUSAL_BACK_OFF: Duration = Duration::from_secs(60);
/// Longest pause, so that we are back 5 minutes after the tracker at the latest.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5 * 60);

/// What an [`Announcer`] says of us, and to whom.
#[derive(Clone, Debug)]
pub struct AnnouncerConfig {
    /// Announce URLs by tier (BEP 12). Duplicates, overlong URLs and those beyond [`limits::TRACKERS`] are left out.
    pub tiers: Vec<Vec<String>>,
    /// The torrent.
    pub info_hash: InfoHash,
    /// How we call ourselves.
    pub peer_id: PeerId,
    /// The TCP port on which we take connections.
    pub port: u16,
    /// A number that stays the same when our address changes.
    pub key: u32,
    /// For the order within tiers and the jitter of pauses.
    pub seed: u64,
}

/// Payload so far, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Sent in this run.
    pub uploaded: u64,
    /// Received in this run.
    pub downloaded: u64,
    /// Still lacking.
    pub left: u64,
}

/// The outcome of a job, for the swarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Announced {
    /// The tracker answered.
    Replied {
        /// Its URL.
        url: String,
        /// What it said.
        reply: AnnounceReply,
    },
    /// The tracker did not answer, or said no.
    Failed {
        /// Its URL.
        url: String,
        /// What went wrong.
        error: TrackerError,
        /// Time until it is asked again; `None` for not until the user resumes the torrent.
        retry_in: Option<Duration>,
    },
}

/// The tracker schedule of one torrent; see the module's header.
#[derive(Debug)]
pub struct Announcer {
    info_hash: InfoHash,
    peer_id: PeerId,
    port: u16,
    key: u32,
    tiers: Vec<Tier>,
    jobs: Vec<Job>,
    mode: Mode,
    completion: Completion,
    next_job: u64,
    random: SmallRng,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Running,
    /// Since when; say goodbye, then stay silent.
    Stopping(Instant),
}

/// Whether `completed` may still be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Completion {
    /// Nothing has been announced yet.
    Unknown,
    /// The torrent was not complete at the start.
    Ahead,
    /// It is complete, or was so at the start.
    Past,
}

#[derive(Debug)]
struct Tier {
    trackers: Vec<Tracker>,
    /// Time of the next announce; `None` when all trackers are shut for good.
    due: Option<Instant>,
    /// How early `due` may become when peers are lacking. Only behind a good answer.
    earliest: Option<Instant>,
    completed_owed: bool,
}

#[derive(Debug)]
struct Tracker {
    url: String,
    /// It took a `started` and has not been told `stopped`.
    registered: bool,
    shut: Shut,
    failures: u32,
    tracker_id: Option<Vec<u8>>,
}

/// Until when a tracker is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shut {
    Open,
    Until(Instant),
    ForGood,
}

/// The announce to make next: to which tracker of which tier.
#[derive(Debug)]
struct Next {
    tier: usize,
    tracker: usize,
    event: AnnounceEvent,
    timeout: Duration,
}

#[derive(Debug)]
struct Job {
    id: u64,
    url: String,
    event: AnnounceEvent,
    timeout: Duration,
    expires: Instant,
}

impl Announcer {
    /// A schedule whose first announces are due at once.
    pub fn new(config: AnnouncerConfig, now: Instant) -> Self {
        let mut announcer = Self {
            info_hash: config.info_hash,
            peer_id: config.peer_id,
            port: config.port,
            key: config.key,
            tiers: Vec::new(),
            jobs: Vec::new(),
            mode: Mode::Running,
            completion: Completion::Unknown,
            next_job: 0,
            random: SmallRng::seed_from_u64(config.seed),
        };
        for mut tier in config.tiers {
            tier.shuffle(&mut announcer.random);
            announcer.add_tier(now, tier);
        }
        announcer
    }

    /// Knows one more tracker, as a tier of its own behind the others. Its first announce is due at once.
    pub fn add_tracker(&mut self, now: Instant, url: String) {
        self.add_tier(now, vec![url]);
    }

    fn add_tier(&mut self, now: Instant, urls: Vec<String>) {
        let mut known = self.tiers.iter().map(|tier| tier.trackers.len()).sum::<usize>();
        let mut trackers: Vec<Tracker> = Vec::new();
        for url in urls {
            let twice = trackers.iter().any(|tracker| tracker.url == url) || self.tracker(&url).is_some();
            if twice || url.is_empty() || url.len() > limits::URL_LENGTH || known >= limits::TRACKERS {
                continue;
            }
            known += 1;
            trackers.push(Tracker::new(url));
        }
        if !trackers.is_empty() {
            self.tiers.push(Tier { trackers, due: Some(now), earliest: None, completed_owed: false });
        }
    }

    /// When [`Announcer::poll`] must be called next; `None` when only an input can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let overdue = self.jobs.iter().map(|job| job.expires).min();
        let due = match self.mode {
            Mode::Running => self.tiers.iter().filter(|tier| !self.under_way(tier)).filter_map(|tier| tier.due).min(),
            Mode::Stopping(since) => self.next_farewell().is_some().then_some(since),
        };
        overdue.into_iter().chain(due).min()
    }

    /// The next announce to make now. To be called until it returns nothing.
    ///
    /// `num_want` is the number of peers wanted.
    pub fn poll(&mut self, now: Instant, totals: &Totals, num_want: u32) -> Option<AnnounceJob> {
        if self.completion == Completion::Unknown {
            self.completion = if totals.left == 0 { Completion::Past } else { Completion::Ahead };
        }
        self.drop_overdue(now);
        let next = match self.mode {
            Mode::Running => self.next_announce(now)?,
            Mode::Stopping(since) => {
                let left = (since + STOP_TIMEOUT).saturating_duration_since(now);
                if left.is_zero() {
                    self.forget_registrations();
                }
                let next = self.next_farewell()?;
                // What comes before `stopped` leaves time for it.
                Next { timeout: if next.event == AnnounceEvent::Stopped { left } else { left / 2 }, ..next }
            }
        };
        self.job(now, &next, totals, num_want)
    }

    fn job(&mut self, now: Instant, next: &Next, totals: &Totals, num_want: u32) -> Option<AnnounceJob> {
        let &Next { event, timeout, .. } = next;
        let id = self.next_job;
        let tracker = self.tiers.get_mut(next.tier)?.trackers.get_mut(next.tracker)?;
        if event == AnnounceEvent::Stopped {
            tracker.registered = false;
        }
        let slack = if matches!(self.mode, Mode::Running) { OVERDUE } else { Duration::ZERO };
        self.next_job += 1;
        self.jobs.push(Job { id, url: tracker.url.clone(), event, timeout, expires: now + timeout + slack });
        let announce = Announce {
            info_hash: self.info_hash,
            peer_id: self.peer_id,
            port: self.port,
            uploaded: totals.uploaded,
            downloaded: totals.downloaded,
            left: totals.left,
            event,
            num_want: Some(if event == AnnounceEvent::Stopped { 0 } else { num_want }),
            key: self.key,
            tracker_id: tracker.tracker_id.clone(),
        };
        Some(AnnounceJob { id, url: tracker.url.clone(), announce, timeout })
    }

    /// The first tier that is due and its first tracker that is not shut.
    fn next_announce(&self, now: Instant) -> Option<Next> {
        let due = |tier: &Tier| tier.due.is_some_and(|due| due <= now) && !self.under_way(tier);
        self.tiers.iter().enumerate().filter(|(_, tier)| due(tier)).find_map(|(index, tier)| {
            let (position, tracker) = tier.trackers.iter().enumerate().find(|(_, tracker)| tracker.is_open(now))?;
            let event = match tracker.registered {
                false => AnnounceEvent::Started,
                true if tier.completed_owed => AnnounceEvent::Completed,
                true => AnnounceEvent::Regular,
            };
            Some(Next { tier: index, tracker: position, event, timeout: TIMEOUT })
        })
    }

    /// The next `completed` or `stopped` to send at a stop: to a tracker that knows us and has no job under way.
    fn next_farewell(&self) -> Option<Next> {
        self.tiers.iter().enumerate().find_map(|(index, tier)| {
            let waits = |tracker: &Tracker| tracker.registered && !self.jobs.iter().any(|job| job.url == tracker.url);
            let position = tier.trackers.iter().position(waits)?;
            let event = if tier.completed_owed { AnnounceEvent::Completed } else { AnnounceEvent::Stopped };
            Some(Next { tier: index, tracker: position, event, timeout: STOP_TIMEOUT })
        })
    }

    fn forget_registrations(&mut self) {
        self.tiers.iter_mut().flat_map(|tier| &mut tier.trackers).for_each(|tracker| tracker.registered = false);
    }

    /// Takes the outcome of a job. Nothing comes back for a job that is not known any more, nor for goodbyes.
    pub fn handle_reply(
        &mut self,
        now: Instant,
        job: u64,
        outcome: Result<AnnounceReply, TrackerError>,
    ) -> Option<Announced> {
        let position = self.jobs.iter().position(|known| known.id == job)?;
        let job = self.jobs.swap_remove(position);
        let tier = self.tiers.iter().position(|tier| tier.position(&job.url).is_some())?;
        if matches!(self.mode, Mode::Stopping(_)) {
            self.farewell_done(tier, &job, outcome.is_ok());
            return None;
        }
        Some(match outcome {
            Ok(reply) => {
                self.replied(now, tier, &job, &reply);
                Announced::Replied { url: job.url, reply }
            }
            Err(error) => {
                let retry_in = self.failed(now, tier, &job.url, &error);
                Announced::Failed { url: job.url, error, retry_in }
            }
        })
    }

    fn farewell_done(&mut self, tier: usize, job: &Job, good: bool) {
        let Some(tier) = self.tiers.get_mut(tier) else { return };
        match job.event {
            // It reached the tracker just before the stop: there is something to take back now.
            AnnounceEvent::Started if good => tier.register(&job.url),
            AnnounceEvent::Completed => tier.completed_owed = false,
            _ => {}
        }
    }

    fn replied(&mut self, now: Instant, tier: usize, job: &Job, reply: &AnnounceReply) {
        let Some(tier) = self.tiers.get_mut(tier) else { return };
        tier.register(&job.url);
        if job.event == AnnounceEvent::Completed {
            tier.completed_owed = false;
        }
        let Some(position) = tier.position(&job.url) else { return };
        let mut tracker = tier.trackers.remove(position);
        tracker.failures = 0;
        tracker.shut = Shut::Open;
        if reply.tracker_id.is_some() {
            tracker.tracker_id.clone_from(&reply.tracker_id);
        }
        tier.trackers.insert(0, tracker);
        let shortest = reply.min_interval.unwrap_or_default().clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        tier.earliest = Some(now + shortest);
        tier.due = Some(if tier.completed_owed { now } else { now + reply.interval.clamp(shortest, LONGEST_INTERVAL) });
    }

    /// Shuts the tracker for a while and turns to the next of its tier. Returns for how long.
    fn failed(&mut self, now: Instant, tier: usize, url: &str, error: &TrackerError) -> Option<Duration> {
        let jitter = self.random.random_range(0.75..=1.0);
        let tier = self.tiers.get_mut(tier)?;
        let position = tier.position(url)?;
        let tracker = tier.trackers.get_mut(position)?;
        let pause = pause(error, tracker.failures, jitter);
        tracker.failures = tracker.failures.saturating_add(1);
        tracker.shut = pause.map_or(Shut::ForGood, |pause| Shut::Until(now + pause));
        tier.earliest = None;
        tier.due = tier.trackers.iter().filter_map(|tracker| tracker.opens(now)).min();
        pause
    }

    /// The last piece has just been verified: `completed` is due, unless the torrent was complete at the start.
    pub fn completed(&mut self, now: Instant) {
        if self.completion == Completion::Past {
            return;
        }
        self.completion = Completion::Past;
        for tier in &mut self.tiers {
            tier.completed_owed = true;
            if tier.earliest.is_some() {
                tier.due = Some(now);
            }
        }
    }

    /// Says `stopped` to every tracker that took a `started`, then stays silent. Over after [`STOP_TIMEOUT`].
    pub fn stop(&mut self, now: Instant) {
        if matches!(self.mode, Mode::Stopping(_)) {
            return;
        }
        self.mode = Mode::Stopping(now);
        for job in &mut self.jobs {
            job.expires = job.expires.min(now + STOP_GRACE);
        }
    }

    /// Begins anew after a stop: `started` is due at once everywhere, also at trackers that were shut for good.
    pub fn resume(&mut self, now: Instant) {
        if self.mode == Mode::Running {
            return;
        }
        self.mode = Mode::Running;
        self.jobs.clear();
        for tier in &mut self.tiers {
            tier.due = Some(now);
            tier.earliest = None;
            for tracker in &mut tier.trackers {
                tracker.registered = false;
                tracker.shut = Shut::Open;
                tracker.failures = 0;
            }
        }
    }

    /// The swarm has too few peers: announces as early as the trackers allow, but never within a minute of the last
    /// answer.
    pub fn hungry(&mut self, now: Instant) {
        for tier in &mut self.tiers {
            if let Some(earliest) = tier.earliest {
                tier.due = tier.due.map(|due| due.min(earliest.max(now)));
            }
        }
    }

    /// Whether no job is under way and, after [`Announcer::stop`], nothing is left to say.
    pub fn is_idle(&self) -> bool {
        let farewell = matches!(self.mode, Mode::Stopping(_)) && self.next_farewell().is_some();
        self.jobs.is_empty() && !farewell
    }

    /// Jobs that the shell never answered count as timed out.
    fn drop_overdue(&mut self, now: Instant) {
        while let Some(job) = self.jobs.iter().find(|job| job.expires <= now) {
            let (id, timeout) = (job.id, job.timeout);
            self.handle_reply(now, id, Err(TrackerError::TimedOut(timeout)));
        }
    }

    fn under_way(&self, tier: &Tier) -> bool {
        self.jobs.iter().any(|job| tier.position(&job.url).is_some())
    }

    fn tracker(&self, url: &str) -> Option<&Tracker> {
        self.tiers.iter().flat_map(|tier| &tier.trackers).find(|tracker| tracker.url == url)
    }
}

/// How long a tracker is left alone after an error; `None` for ever. `jitter` is a factor from 0.75 to 1.
fn pause(error: &TrackerError, failures: u32, jitter: f64) -> Option<Duration> {
    let first = match error {
        TrackerError::Unsupported(_) => return None,
        TrackerError::Refused { retry_in: Some(Duration::MAX), .. } => return None,
        TrackerError::Refused { retry_in: Some(retry_in), .. } => {
            return Some((*retry_in).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL));
        }
        TrackerError::Refused { .. } => FIRST_REFUSAL_BACK_OFF,
        TrackerError::Unreachable(_)
        | TrackerError::TimedOut(_)
        | TrackerError::Failed(_)
        | TrackerError::Malformed(_) => FIRST_BACK_OFF,
    };
    Some(first.saturating_mul(1 << failures.min(10)).min(LONGEST_BACK_OFF).mul_f64(jitter))
}

impl Tier {
    fn position(&self, url: &str) -> Option<usize> {
        self.trackers.iter().position(|tracker| tracker.url == url)
    }

    fn register(&mut self, url: &str) {
        self.trackers.iter_mut().filter(|tracker| tracker.url == url).for_each(|tracker| tracker.registered = true);
    }
}

impl Tracker {
    fn new(url: String) -> Self {
        Self { url, registered: false, shut: Shut::Open, failures: 0, tracker_id: None }
    }

    fn is_open(&self, now: Instant) -> bool {
        self.opens(now).is_some_and(|opens| opens <= now)
    }

    /// When it may be asked.
    fn opens(&self, now: Instant) -> Option<Instant> {
        match self.shut {
            Shut::Open => Some(now),
            Shut::Until(until) => Some(until),
            Shut::ForGood => None,
        }
    }
}

#[cfg(test)]
mod tests;
