//! Numbers for those who watch a tracker: histograms that count without a lock, and the text in which they are given out.
//!
//! The text is Prometheus' exposition format, version 0.0.4. Names are written by us alone and values are numbers, so that
//! nothing in it has to be escaped.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that somebody may watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figure {
    /// What it is called: lower case, words joined by `_`, without the unit of a counter.
    pub name: &'static str,
    /// What it says, in a sentence.
    pub help: &'static str,
    /// How it moves.
    pub kind: FigureKind,
    /// Its value now.
    pub value: u64,
}

/// How a [`Figure`] moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FigureKind {
    /// It only grows, and begins anew when the process does.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Figure {
    /// Something that only grows.
    pub const fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: FigureKind::Counter, value }
    }

    /// Something that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: FigureKind::Gauge, value }
    }
}

/// A part of a tracker that can be watched.
pub trait Watched: Send + Sync {
    /// Its numbers now.
    fn figures(&self) -> Vec<Figure>;

    /// Writes to a page of metrics how long things take, where that is known.
    fn expose(&self, _page: &mut Exposition) {}

    /// What does not work, although the tracker goes on; a short sentence.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// What names of metrics begin with.
const PREFIX: &str = "swarm_tracker_";

/// Buckets of a histogram: upper bounds of 1 µs, 2 µs, 4 µs ... 0.5 s, and one without.
const BUCKETS: usize = 21;

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Not added up: each counts what fits into none before it.
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Counts one that took so long.
    pub fn record(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // A bound belongs to its bucket: so one nanosecond less decides.
        let bits = u64::BITS - (nanoseconds.saturating_sub(1) / 1_000).leading_zeros();
        if let Some(bucket) = self.buckets.get((bits as usize).min(BUCKETS - 1)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }
}

/// A page of metrics that is being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// The media type of [`Exposition::into_text`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// A number; the name of a counter ends in `_total`, as is the custom.
    pub fn figure(&mut self, figure: &Figure) {
        let (kind, suffix) = match figure.kind {
            FigureKind::Counter => ("counter", "_total"),
            FigureKind::Gauge => ("gauge", ""),
        };
        let name = format!("{PREFIX}{}{suffix}", figure.name);
        self.head(&name, figure.help, kind);
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.text, "{name} {}", figure.value);
    }

    /// How long something takes, in seconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let name = format!("{PREFIX}{name}");
        self.head(&name, help, "histogram");
        let mut total = 0;
        for (number, bucket) in histogram.buckets.iter().enumerate() {
            total += bucket.load(Relaxed);
            let _ = match number {
                last if last == BUCKETS - 1 => writeln!(self.text, "{name}_bucket{{le=\"+Inf\"}} {total}"),
                _ => writeln!(self.text, "{name}_bucket{{le=\"{}\"}} {total}", (1_u64 << number) as f64 / 1e6),
            };
        }
        let seconds = histogram.nanoseconds.load(Relaxed) as f64 / 1e9;
        let _ = writeln!(self.text, "{name}_sum {seconds}\n{name}_count {total}");
    }

    /// All that was written.
    pub fn into_text(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_falls_into_its_bucket() {
        for (nanoseconds, bucket) in [
            (0, 0),
            (1, 0),
            (1_000, 0),
            (1_001, 1),
            (2_000, 1),
            (2_001, 2),
            (4_000, 2),
            (4_001, 3),
            (524_288_000, 19),
            (524_288_001, 20),
            (u64::MAX, 20),
        ] {
            let histogram = Histogram::default();
            histogram.record(Duration::from_nanos(nanoseconds));
            let found = histogram.buckets.iter().position(|count| count.load(Relaxed) == 1);
            assert_eq!(found, Some(bucket), "{nanoseconds} ns");
        }
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let histogram = Histogram::default();
        [500, 3_000, 3_000, 2_000_000_000]
            .into_iter()
            .map(Duration::from_nanos)
            .for_each(|took| histogram.record(took));
        let mut page = Exposition::default();
        page.figure(&Figure::gauge("peers", "Peers now.", 7));
        page.figure(&Figure::counter("announces", "Announces.", 9));
        page.histogram("announce_seconds", "Time.", &histogram);
        let text = page.into_text();
        let begin = "# HELP swarm_tracker_peers Peers now.\n# TYPE swarm_tracker_peers gauge\nswarm_tracker_peers 7\n";
        assert!(text.starts_with(begin), "{text}");
        for line in [
            "# TYPE swarm_tracker_announces_total counter",
            "swarm_tracker_announces_total 9",
            "# TYPE swarm_tracker_announce_seconds histogram",
            "swarm_tracker_announce_seconds_bucket{le=\"0.000001\"} 1",
            "swarm_tracker_announce_seconds_bucket{le=\"0.000002\"} 1",
            "swarm_tracker_announce_seconds_bucket{le=\"0.000004\"} 3",
            "swarm_tracker_announce_seconds_bucket{le=\"0.524288\"} 3",
            "swarm_tracker_announce_seconds_bucket{le=\"+Inf\"} 4",
            "swarm_tracker_announce_seconds_count 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
