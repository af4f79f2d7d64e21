//! What a run comes down to, in figures and in sentences: where to look first.

use super::text;
use crate::conduct::Conduct;
use crate::trace::{DECILES, Trace};

/// A swarm whose uplinks are used less than this has a reason worth finding.
const BUSY: f64 = 0.85;
/// The last host takes so much longer than the median before it is worth a sentence.
const LONG_TAIL: f64 = 1.25;

/// The figures of a run. Times in seconds since its beginning.
pub(super) struct Figures {
    pub(super) leechers: u64,
    pub(super) complete: u64,
    /// Middle one of all leechers; none if half of them never complete.
    pub(super) median: Option<f64>,
    /// Of those that complete.
    pub(super) last: Option<f64>,
    /// When somebody else had each piece that the first seeds brought.
    pub(super) first_copy: Option<f64>,
    pub(super) downloaded: u64,
    pub(super) uploaded: u64,
    pub(super) wasted: u64,
    /// Wasted bytes over received ones.
    pub(super) waste: f64,
    /// Bytes sent over what the uplinks could have sent until the last completion.
    pub(super) use_of_uplinks: Option<f64>,
}

impl Figures {
    pub(super) fn of(trace: &Trace) -> Self {
        let leechers = trace.hosts.iter().filter(|host| !host.seed);
        let mut times: Vec<f64> = leechers.clone().filter_map(|host| Some(host.completed?.as_secs_f64())).collect();
        times.sort_by(f64::total_cmp);
        let count = leechers.count();
        let [downloaded, wasted] = trace.traffic.last().copied().unwrap_or_default();
        let uploaded = trace.hosts.iter().map(|host| host.uploaded).sum();
        Self {
            leechers: count as u64,
            complete: times.len() as u64,
            median: count.checked_sub(1).and_then(|last| times.get(last / 2)).copied(),
            last: times.last().copied(),
            first_copy: first_copy(trace),
            downloaded,
            uploaded,
            wasted,
            waste: wasted as f64 / downloaded.max(1) as f64,
            use_of_uplinks: use_of_uplinks(trace, uploaded),
        }
    }
}

/// The seeds that there were from the start have one copy each; one more must be among the others.
fn first_copy(trace: &Trace) -> Option<f64> {
    let seeds_at = |at: f64| {
        let seeds = trace.hosts.iter().filter(|host| host.seed && host.arrived.as_secs_f64() <= at);
        seeds.filter(|host| host.left.is_none_or(|left| left.as_secs_f64() > at)).count() as f64
    };
    let first = trace.times.iter().zip(&trace.copies).find(|&(&at, &copies)| copies >= seeds_at(at) + 1.0);
    first.map(|(at, _)| *at)
}

fn use_of_uplinks(trace: &Trace, uploaded: u64) -> Option<f64> {
    let end = trace.times.last().copied()?;
    let there = |host: &crate::observation::HostObservation| {
        let until = host.left.map_or(end, |left| left.as_secs_f64()).min(end);
        (until - host.arrived.as_secs_f64()).max(0.0) * host.uplink as f64
    };
    let limited = trace.hosts.iter().all(|host| host.uplink != crate::UNLIMITED);
    let capacity: f64 = trace.hosts.iter().map(there).sum();
    (limited && capacity > 0.0).then(|| (uploaded as f64 / capacity).min(1.0))
}

/// What to look at, most important first. Says nothing that the trace does not show.
pub(super) fn sentences(trace: &Trace, figures: &Figures) -> Vec<String> {
    let all = [
        unfinished(trace, figures),
        nowhere(trace),
        against_limit(trace, figures),
        waiting_for_seed(figures),
        uplinks(trace, figures),
        tail(trace, figures),
        unfair(trace),
        waste(figures),
        hostile(trace),
    ];
    let said: Vec<String> = all.into_iter().flatten().collect();
    if said.is_empty() { vec!["Nothing: everybody finished near the limit.".into()] } else { said }
}

fn unfinished(trace: &Trace, figures: &Figures) -> Option<String> {
    let missing = figures.leechers - figures.complete;
    let left = trace.hosts.iter().filter(|host| !host.seed && host.completed.is_none() && host.left.is_some()).count();
    let (missing, left) = (text::count(missing), text::count(left as u64));
    (missing != "0").then(|| format!("{missing} leechers did not finish; {left} of them left before they could."))
}

fn nowhere(trace: &Trace) -> Option<String> {
    let missing = |copies: &f64| *copies < 1.0;
    let begin = trace.times.iter().zip(&trace.copies).find(|(_, copies)| missing(copies)).map(|(at, _)| *at)?;
    let moments = trace.copies.iter().filter(|copies| missing(copies)).count();
    let share = text::percent(moments as f64 / trace.copies.len().max(1) as f64);
    Some(format!("From {} on, and for {share} of the time, some piece was nowhere in the swarm.", text::time(begin)))
}

fn against_limit(trace: &Trace, figures: &Figures) -> Option<String> {
    let (limit, last) = (trace.about.limit?.as_secs_f64(), figures.last?);
    let lost = text::time((last - limit).max(0.0));
    Some(format!("The last leecher was complete {lost} after the fluid limit of {}.", text::time(limit)))
}

fn waiting_for_seed(figures: &Figures) -> Option<String> {
    let (first, last) = (figures.first_copy?, figures.last?);
    let share = text::percent(first / last.max(1e-9));
    Some(format!(
        "One full copy was out after {}, which is {share} of the time to the last completion: until then the \
                  first seeds set the pace.",
        text::time(first)
    ))
}

fn uplinks(trace: &Trace, figures: &Figures) -> Option<String> {
    let used = figures.use_of_uplinks.filter(|used| *used < BUSY)?;
    let idlest = trace.times.iter().zip(&trace.uplink_use).filter_map(|(at, [_, lacking])| Some((*at, (*lacking)?)));
    let idlest = idlest.min_by(|one, other| one.1.total_cmp(&other.1));
    let detail = idlest.map_or(String::new(), |(at, used)| {
        format!(" Leechers sent least around {}, with {} of what they could.", text::time(at), text::percent(used))
    });
    Some(format!("Uplinks stood idle: {} of what they could have sent was sent.{detail}", text::percent(used)))
}

fn tail(trace: &Trace, figures: &Figures) -> Option<String> {
    let (median, last) = (figures.median?, figures.last?);
    let slowest = trace.hosts.iter().filter(|host| !host.seed).max_by_key(|host| (host.completed, host.host))?;
    (last > median * LONG_TAIL).then(|| {
        format!(
            "A long tail: the last leecher took {:.2} × as long as the median one. It was host {} (uplink {}, came \
                 after {}).",
            last / median.max(1e-9),
            slowest.host,
            text::rate(slowest.uplink),
            text::duration(slowest.arrived)
        )
    })
}

fn unfair(trace: &Trace) -> Option<String> {
    let busy = trace.rates.iter().flatten().filter(|deciles| deciles[DECILES / 2] > 0.0);
    let spreads: Vec<f64> =
        busy.map(|deciles| deciles[DECILES - 2] / deciles[1].max(deciles[DECILES / 2] / 1e3)).collect();
    let mean = spreads.iter().map(|spread| spread.ln()).sum::<f64>() / spreads.len().max(1) as f64;
    let ratio = mean.exp();
    (ratio > 3.0)
        .then(|| format!("Leechers were served unevenly: the fastest tenth got {ratio:.1} × the rate of the slowest."))
}

fn waste(figures: &Figures) -> Option<String> {
    (figures.waste > 0.01).then(|| {
        format!(
            "{} of the payload was of no use: {}.",
            text::percent(figures.waste),
            text::bytes(figures.wasted as f64)
        )
    })
}

fn hostile(trace: &Trace) -> Option<String> {
    let odd = trace.hosts.iter().filter(|host| host.conduct != Conduct::Honest).count();
    (odd > 0).then(|| {
        format!(
            "{} of {} hosts did not follow the protocol.",
            text::count(odd as u64),
            text::count(trace.hosts.len() as u64)
        )
    })
}
