//! Traces: a run in so few numbers that a run of any size can be drawn.
//!
//! [`Lines`] writes down everything. A [`Recorder`] looks at the world from time to time; a [`Trace`] is what it made of that. Its size is bounded whatever
//! the scale: [`SAMPLES`] moments, [`BUCKETS`] rows of pieces, [`CURVES`] single hosts, the deciles of all.

use crate::observation::{HostObservation, Observation, Record};
use crate::world::{Recorder as Listener, World};
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

/// Moments of a trace at most: more than a page is wide in columns that one can tell apart.
pub const SAMPLES: usize = 400;
/// Rows of pieces of a trace at most.
pub const BUCKETS: usize = 256;
/// Hosts whose own curve is kept at most.
pub const CURVES: usize = 100;
/// Minimum, the nine deciles, and maximum.
pub const DECILES: usize = 11;

/// Time between the first samples; doubles whenever [`SAMPLES`] are there.
const FIRST_INTERVAL: Duration = Duration::from_millis(20);
/// Rates are means over this share of the samples on either side: a block more or less is no news.
const RATE_WINDOW_FRACTION: usize = 60;

/// What a trace is of.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct About {
    /// The scenario's name.
    pub title: String,
    /// What it is about, in a sentence or two.
    pub summary: String,
    /// The seed of the run.
    pub seed: u64,
    /// The command that gives the same run again.
    pub command: String,
    /// Names and values of what was chosen.
    pub settings: Vec<(String, String)>,
    /// Time before which no distribution could have been complete.
    pub limit: Option<Duration>,
    /// Bytes of the torrent.
    pub total_bytes: u64,
    /// Bytes of a piece.
    pub piece_length: u64,
}

/// A run in few numbers. Everything that is a list by moment is as long as `times`.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    /// What it is of.
    pub about: About,
    /// The moments, in seconds.
    pub times: Vec<f64>,
    /// By moment: for each bucket of pieces the mean number of hosts that have one; 0 if nobody has one of them.
    pub availability: Vec<Vec<f32>>,
    /// By moment: full copies in the swarm; the fraction is the share of pieces that are there once more.
    pub copies: Vec<f64>,
    /// By moment: hosts that lack pieces, and hosts that have all.
    pub present: Vec<[u32; 2]>,
    /// By moment: verified bytes of all that began without, as a share of all they will ever need.
    pub progress: Vec<f64>,
    /// By moment: the same share, had every uplink been busy from the start with what somebody lacks.
    pub fluid: Vec<f64>,
    /// By moment: download rates of the hosts that lack pieces in bytes a second; `None` while there are none.
    pub rates: Vec<Option<[f64; DECILES]>>,
    /// Single hosts, chosen evenly.
    pub curves: Vec<Curve>,
    /// By moment: share of the uplinks in use, of hosts that have all and of the others.
    pub uplink_use: Vec<[Option<f64>; 2]>,
    /// By moment: payload received so far, and how much of it was of no use. Bytes.
    pub traffic: Vec<[u64; 2]>,
    /// Every host at the end.
    pub hosts: Vec<HostObservation>,
    /// Pieces of the torrent.
    pub pieces: usize,
}

/// The download rate of one host.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    /// Its number.
    pub host: usize,
    /// By moment, in bytes a second; `None` while it is not there or lacks nothing.
    pub rates: Vec<Option<f64>>,
}

/// Runs a world until every leecher that is not gone is complete or the time is over, and records it. `about` is asked
/// at the end, when the fluid limit can be known.
pub fn run(world: &mut World, limit: Duration, about: impl FnOnce(&Observation) -> About) -> Trace {
    let mut recorder = Recorder::default();
    while world.elapsed() < limit {
        let until = recorder.next_at().min(limit);
        if world.run(until) || !world.run_until(until) {
            break;
        }
        recorder.sample(&world.observe());
    }
    let last = world.observe();
    recorder.finish(about(&last), &last)
}

/// Writes every happening of a world as a line of JSON. The same run gives the same bytes.
pub struct Lines<W: Write> {
    state: Rc<RefCell<LinesState<W>>>,
}

struct LinesState<W> {
    out: W,
    /// The first error; nothing is written after it.
    error: Option<io::Error>,
}

impl<W: Write + 'static> Lines<W> {
    /// Lines to this place.
    pub fn new(out: W) -> Self {
        Self { state: Rc::new(RefCell::new(LinesState { out, error: None })) }
    }

    /// What is to be given to [`World::with_recorder`].
    pub fn listener(&self) -> Listener {
        let state = Rc::clone(&self.state);
        Box::new(move |record| state.borrow_mut().write(record))
    }

    /// Ends the lines and gives the place back.
    ///
    /// # Errors
    /// When one of them could not be written.
    ///
    /// # Panics
    /// When the world that was listened to is still there.
    pub fn finish(self) -> io::Result<W> {
        let state = Rc::into_inner(self.state).expect("the world is gone").into_inner();
        let mut out = state.error.map_or(Ok(state.out), Err)?;
        out.flush()?;
        Ok(out)
    }
}

impl<W: Write> LinesState<W> {
    fn write(&mut self, record: &Record) {
        let Record { at, kind, host, peer, piece, bytes } = record;
        let optional =
            |name: &str, value: Option<u64>| value.map_or(String::new(), |value| format!(",\"{name}\":{value}"));
        let peer = optional("peer", peer.map(|peer| peer as u64));
        let piece = optional("piece", piece.map(u64::from));
        let bytes = optional("bytes", Some(u64::from(*bytes)).filter(|&bytes| bytes > 0));
        let (at, kind) = (at.as_nanos(), kind.name());
        if self.error.is_none() {
            let line = writeln!(self.out, "{{\"at_ns\":{at},\"kind\":\"{kind}\",\"host\":{host}{peer}{piece}{bytes}}}");
            self.error = line.err();
        }
    }
}

/// A world at one moment, for the time being with every host. Sums in KiB, so that ten thousand hosts stay small.
struct Sample {
    at: Duration,
    downloaded: Vec<u32>,
    uploaded: Vec<u32>,
    traffic: [u64; 2],
    have: u64,
    availability: Vec<f32>,
    copies: f64,
}

/// Makes a [`Trace`] of what it is shown.
pub struct Recorder {
    samples: Vec<Sample>,
    interval: Duration,
    next: Duration,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { samples: Vec::new(), interval: FIRST_INTERVAL, next: Duration::ZERO }
    }
}

impl Recorder {
    /// When it wants to see the world next.
    pub fn next_at(&self) -> Duration {
        self.next
    }

    /// Looks at the world, whether it is time or not.
    pub fn sample(&mut self, world: &Observation) {
        if self.samples.len() >= SAMPLES {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.interval *= 2;
        }
        self.samples.push(Sample::of(world));
        self.next = world.at + self.interval;
    }

    /// The trace, with a last look at the world.
    pub fn finish(mut self, about: About, last: &Observation) -> Trace {
        if self.samples.last().is_none_or(|sample| sample.at < last.at) {
            self.sample(last);
        }
        let samples = &self.samples;
        let view = View { samples, hosts: &last.hosts };
        Trace {
            times: samples.iter().map(|sample| sample.at.as_secs_f64()).collect(),
            availability: samples.iter().map(|sample| sample.availability.clone()).collect(),
            copies: samples.iter().map(|sample| sample.copies).collect(),
            present: samples.iter().map(|sample| view.present(sample.at)).collect(),
            progress: view.progress(last.availability.len()),
            fluid: view.fluid(about.total_bytes),
            rates: (0..samples.len()).map(|index| view.rate_deciles(index)).collect(),
            curves: view.curves(),
            uplink_use: (0..samples.len())
                .map(|index| [true, false].map(|full| view.uplink_use(index, full)))
                .collect(),
            traffic: samples.iter().map(|sample| sample.traffic).collect(),
            hosts: last.hosts.clone(),
            pieces: last.availability.len(),
            about,
        }
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
}

impl Sample {
    fn of(world: &Observation) -> Self {
        let sum = |of: fn(&HostObservation) -> u64| world.hosts.iter().map(of).sum();
        let leechers = world.hosts.iter().filter(|host| !host.seed);
        let rarest = world.availability.iter().copied().min().unwrap_or(0);
        let above = world.availability.iter().filter(|&&hosts| hosts > rarest).count();
        Self {
            at: world.at,
            downloaded: world.hosts.iter().map(|host| kib(host.downloaded)).collect(),
            uploaded: world.hosts.iter().map(|host| kib(host.uploaded)).collect(),
            traffic: [sum(|host| host.downloaded), sum(|host| host.wasted)],
            have: leechers.map(|host| u64::from(host.have)).sum(),
            availability: buckets(&world.availability),
            copies: f64::from(rarest) + above as f64 / world.availability.len().max(1) as f64,
        }
    }
}

/// Means over equal runs of pieces; 0 where a piece is nowhere.
fn buckets(availability: &[u32]) -> Vec<f32> {
    let rows = availability.len().min(BUCKETS);
    let edge = |row: usize| row * availability.len() / rows;
    let mean = |row| {
        let pieces = &availability[edge(row)..edge(row + 1)];
        let sum: u64 = pieces.iter().map(|&hosts| u64::from(hosts)).sum();
        if pieces.contains(&0) { 0.0 } else { sum as f32 / pieces.len() as f32 }
    };
    (0..rows).map(mean).collect()
}

/// All samples, and what is known of the hosts at the end.
struct View<'a> {
    samples: &'a [Sample],
    hosts: &'a [HostObservation],
}

/// Whether the host was there.
fn is_here(host: &HostObservation, at: Duration) -> bool {
    host.arrived <= at && host.left.is_none_or(|left| at < left)
}

/// Whether the host had every piece. One that lost some again counts as complete all the same.
fn is_full(host: &HostObservation, at: Duration) -> bool {
    host.seed || host.completed.is_some_and(|completed| completed <= at)
}

impl View<'_> {
    fn present(&self, at: Duration) -> [u32; 2] {
        let mut counts = [0; 2];
        for host in self.hosts.iter().filter(|host| is_here(host, at)) {
            counts[usize::from(is_full(host, at))] += 1;
        }
        counts
    }

    fn leechers(&self) -> usize {
        self.hosts.iter().filter(|host| !host.seed).count()
    }

    fn progress(&self, pieces: usize) -> Vec<f64> {
        let needed = (self.leechers() * pieces).max(1) as f64;
        self.samples.iter().map(|sample| (sample.have as f64 / needed).min(1.0)).collect()
    }

    /// The sum of the uplinks, bounded by that of the downlinks, over time; to each of those who came never more than
    /// they need, nor than the seeds can have sent.
    fn fluid(&self, total_bytes: u64) -> Vec<f64> {
        let needed = (self.leechers() as f64 * total_bytes as f64).max(1.0);
        let (mut bytes, mut out, mut before) = (0.0f64, 0.0f64, Duration::ZERO);
        let mut curve = Vec::with_capacity(self.samples.len());
        for sample in self.samples {
            let at = sample.at;
            let here = || self.hosts.iter().filter(|host| is_here(host, before));
            let lacking = || here().filter(|host| !host.seed);
            let up: f64 = here().filter(|host| host.gives).map(|host| host.uplink as f64).sum();
            let down: f64 = lacking().map(|host| host.downlink as f64).sum();
            let from_seeds: f64 = here().filter(|host| host.seed && host.gives).map(|host| host.uplink as f64).sum();
            let seconds = at.saturating_sub(before).as_secs_f64();
            bytes += up.min(down) * seconds;
            out += from_seeds * seconds;
            let came = self.hosts.iter().filter(|host| !host.seed && host.arrived <= at).count();
            bytes = bytes.min(came as f64 * out.min(total_bytes as f64));
            curve.push((bytes / needed).min(1.0));
            before = at;
        }
        curve
    }

    /// The samples between which the rate at this one is measured.
    fn window(&self, index: usize) -> (usize, usize) {
        let reach = (self.samples.len() / RATE_WINDOW_FRACTION).max(1);
        (index.saturating_sub(reach), (index + reach).min(self.samples.len().saturating_sub(1)))
    }

    /// Bytes a second of a host around a sample, from its sums.
    fn rate(&self, index: usize, host: usize, of: fn(&Sample) -> &Vec<u32>) -> f64 {
        let (from, to) = self.window(index);
        let (from, to) = (&self.samples[from], &self.samples[to]);
        let at = |sample| of(sample).get(host).copied().unwrap_or(0);
        // The host was not there, or was complete, in a part of the window: the rate is that of the rest.
        let state = &self.hosts[host];
        let begin = from.at.max(state.arrived);
        let end = to.at.min(state.left.unwrap_or(to.at));
        let end = if is_full(state, self.samples[index].at) { end } else { end.min(state.completed.unwrap_or(end)) };
        let seconds = end.saturating_sub(begin).as_secs_f64();
        let bytes = f64::from(at(to).saturating_sub(at(from))) * 1024.0;
        if seconds > 0.0 { bytes / seconds } else { 0.0 }
    }

    fn download_rate(&self, index: usize, host: usize) -> Option<f64> {
        let at = self.samples[index].at;
        let state = &self.hosts[host];
        (is_here(state, at) && !is_full(state, at)).then(|| self.rate(index, host, |sample| &sample.downloaded))
    }

    fn rate_deciles(&self, index: usize) -> Option<[f64; DECILES]> {
        let mut rates: Vec<f64> = (0..self.hosts.len()).filter_map(|host| self.download_rate(index, host)).collect();
        rates.sort_by(f64::total_cmp);
        let last = rates.len().checked_sub(1)?;
        Some(std::array::from_fn(|decile| rates[(decile * last + (DECILES - 1) / 2) / (DECILES - 1)]))
    }

    fn curves(&self) -> Vec<Curve> {
        let leechers: Vec<usize> = (0..self.hosts.len()).filter(|&host| !self.hosts[host].seed).collect();
        let count = leechers.len().min(CURVES);
        let chosen = (0..count).map(|number| leechers[number * leechers.len() / count]);
        let rates = |host| (0..self.samples.len()).map(|index| self.download_rate(index, host)).collect();
        chosen.map(|host| Curve { host, rates: rates(host) }).collect()
    }

    /// Share of the uplinks in use; none where there is none, or one without a limit.
    fn uplink_use(&self, index: usize, full: bool) -> Option<f64> {
        let at = self.samples[index].at;
        let (mut used, mut there) = (0.0, 0.0);
        for (number, host) in self.hosts.iter().enumerate() {
            if host.gives && is_here(host, at) && is_full(host, at) == full {
                used += self.rate(index, number, |sample| &sample.uploaded);
                there += host.uplink as f64;
            }
        }
        (there > 0.0 && there < crate::UNLIMITED as f64 / 2.0).then(|| (used / there).min(1.0))
    }
}
