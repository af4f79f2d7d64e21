//! What can be seen of a tracker: numbers for people, programs and Prometheus, all from one list.

use crate::config::Watching;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use swarm_tracker_core::{Exposition, Figure, Histogram, Store};

/// A rate is one over at least so long.
const RATE_SPAN: Duration = Duration::from_secs(5);

/// What the tracker sees of itself.
#[derive(Debug)]
pub(crate) struct Watch {
    start: Instant,
    requests: AtomicU64,
    /// How long announces take, from the parsed head to the written answer.
    pub(crate) latency: Histogram,
    draining: AtomicBool,
    rate: Mutex<Rate>,
    others: Watching,
}

#[derive(Debug)]
struct Rate {
    since: Instant,
    announces: u64,
    per_s: u64,
}

impl Watch {
    pub(crate) fn new(others: Watching) -> Self {
        let rate = Mutex::new(Rate { since: Instant::now(), announces: 0, per_s: 0 });
        Self {
            start: Instant::now(),
            requests: AtomicU64::new(0),
            latency: Histogram::default(),
            draining: AtomicBool::new(false),
            rate,
            others,
        }
    }

    /// Counts a request.
    pub(crate) fn count(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// The tracker is ending: requests under way are the last.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.draining.load(Relaxed)
    }

    /// What does not work although the tracker goes on, a sentence a line.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.others.0.iter().filter_map(|other| other.problem()).collect()
    }

    /// Prometheus' text: these numbers, and how long things take.
    pub(crate) fn exposition(&self, figures: &[Figure]) -> String {
        let mut page = Exposition::default();
        figures.iter().for_each(|figure| page.figure(figure));
        let help = "Time from the head of an announce over HTTP to its answer.";
        page.histogram("http_announce_seconds", help, &self.latency);
        self.others.0.iter().for_each(|other| other.expose(&mut page));
        page.into_text()
    }

    /// All numbers.
    pub(crate) fn figures(&self, store: &Store, malformed: u64) -> Vec<Figure> {
        let stats = store.stats();
        let mut figures = vec![
            Figure::gauge("torrents", "Torrents known, empty ones included.", stats.torrents),
            Figure::gauge("peers", "Peers of all torrents.", stats.peers),
            Figure::gauge("seeds", "Peers that have everything.", stats.seeds),
            Figure::gauge("leechers", "Peers that lack something.", stats.peers.saturating_sub(stats.seeds)),
            Figure::counter("announces", "Announces over all protocols.", stats.announces),
            Figure::gauge("announces_per_s", "Announces a second, of late.", self.announces_per_s(stats.announces)),
            Figure::counter("scrapes", "Torrents named in scrapes.", stats.scrapes),
            Figure::counter("refused", "Announces refused because the tracker was full.", stats.refused),
            Figure::counter("limited", "Requests refused because their network asked too often.", stats.limited),
            Figure::counter("denied", "Announces refused by the lists of torrents and keys.", stats.denied),
            Figure::counter("evicted_torrents", "Torrents that had to make room.", stats.evicted_torrents),
            Figure::counter("evicted_peers", "Peers that had to make room.", stats.evicted_peers),
            Figure::counter("http_requests", "Requests over HTTP.", self.requests.load(Relaxed)),
            Figure::counter("http_malformed", "Announces and scrapes over HTTP that made no sense.", malformed),
            Figure::gauge("uptime_s", "Seconds since the start.", self.start.elapsed().as_secs()),
        ];
        figures.extend(self.others.0.iter().flat_map(|other| other.figures()));
        figures
    }

    /// As of the last look that was long enough after the one before.
    fn announces_per_s(&self, announces: u64) -> u64 {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let span = rate.since.elapsed();
        if span >= RATE_SPAN {
            let new = announces.saturating_sub(rate.announces);
            rate.per_s = new.saturating_mul(1_000) / u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
            (rate.since, rate.announces) = (Instant::now(), announces);
        }
        rate.per_s
    }
}

/// A JSON object.
pub(crate) fn json(figures: &[Figure]) -> Vec<u8> {
    let all: BTreeMap<&str, u64> = figures.iter().map(|figure| (figure.name, figure.value)).collect();
    serde_json::to_vec(&all).unwrap_or_default()
}

/// Keeps the numbers of [`page`] true, where a browser runs scripts; without, they are those of the moment when it was asked.
pub(crate) const SCRIPT: &str = "\
'use strict';
async function look() {
  try {
    const stats = await (await fetch('stats', {cache: 'no-store'})).json();
    for (const cell of document.querySelectorAll('td[id]')) {
      if (cell.id in stats) cell.textContent = stats[cell.id].toLocaleString('en');
    }
    document.getElementById('state').textContent = 'live';
  } catch {
    document.getElementById('state').textContent = 'no answer';
  }
}
setInterval(look, 2000);
look();
";

/// The page for people. Contains numbers only: nothing that a peer said.
pub(crate) fn page(figures: &[Figure], problems: &[String]) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>swarm tracker</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><script src=\"live.js\" defer></script></head>\n\
         <body><h1>swarm tracker</h1>\n\
         <p>This is a BitTorrent tracker. Its announce URL is this page's address with <code>/announce</code> \
         behind it.</p>\n",
    );
    for problem in problems {
        // Problems are sentences of ours, and yet they may quote what a system said. Writing to a String cannot fail.
        let problem = problem.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(page, "<p role=\"alert\"><strong>{problem}</strong></p>");
    }
    page.push_str("<table>\n");
    for Figure { name, help, value, .. } in figures {
        let words = name.replace('_', " ");
        let _ = writeln!(
            page,
            "<tr title=\"{help}\"><th align=\"left\">{words}</th><td align=\"right\" id=\"{name}\">{value}</td></tr>"
        );
    }
    page.push_str(
        "</table>\n<p>These numbers: <span id=\"state\">of the moment when this page was asked for</span>.</p>\n\
         <p>For programs: <a href=\"stats\">stats</a>, <a href=\"metrics\">metrics</a>, <a href=\"health\">health</a>, \
         <a href=\"ready\">ready</a>.</p>\n</body></html>\n",
    );
    page
}
