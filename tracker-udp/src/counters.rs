//! What came in and what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use swarm_tracker_core::{Figure, Watched};

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Connected,
    Announced,
    Scraped,
    /// An error reply.
    Refused,
    /// No answer: the connection id is wrong.
    Unproven,
    /// No answer: it is no request.
    Malformed,
}

/// Counts since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UdpStats {
    /// Connection ids given.
    pub connects: u64,
    /// Announces answered.
    pub announces: u64,
    /// Scrapes answered.
    pub scrapes: u64,
    /// Error replies.
    pub refused: u64,
    /// Requests without an answer, since their connection id was wrong or too old.
    pub unproven: u64,
    /// Datagrams without an answer, since they were no requests.
    pub malformed: u64,
    /// Replies that the system did not send.
    pub unsent: u64,
}

impl UdpStats {
    pub(crate) fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Connected => &mut self.connects,
            Outcome::Announced => &mut self.announces,
            Outcome::Scraped => &mut self.scrapes,
            Outcome::Refused => &mut self.refused,
            Outcome::Unproven => &mut self.unproven,
            Outcome::Malformed => &mut self.malformed,
        } += 1;
    }
}

/// The counts of a tracker, while it runs and after it.
#[derive(Clone, Debug, Default)]
pub struct UdpCounters(Arc<[AtomicU64; 7]>);

impl UdpCounters {
    /// Counts since the start, over all threads.
    pub fn stats(&self) -> UdpStats {
        let [connects, announces, scrapes, refused, unproven, malformed, unsent] =
            self.0.each_ref().map(|count| count.load(Relaxed));
        UdpStats { connects, announces, scrapes, refused, unproven, malformed, unsent }
    }

    /// Adds what a thread has counted over a batch: not one by one, since all threads write here.
    pub(crate) fn add(&self, stats: &UdpStats) {
        let &UdpStats { connects, announces, scrapes, refused, unproven, malformed, unsent } = stats;
        let counts = [connects, announces, scrapes, refused, unproven, malformed, unsent];
        for (sum, count) in self.0.iter().zip(counts).filter(|(_, count)| *count > 0) {
            sum.fetch_add(count, Relaxed);
        }
    }
}

impl Watched for UdpCounters {
    fn figures(&self) -> Vec<Figure> {
        let UdpStats { connects, announces, scrapes, refused, unproven, malformed, unsent } = self.stats();
        vec![
            Figure::counter("udp_connects", "Connection ids given over UDP.", connects),
            Figure::counter("udp_announces", "Announces answered over UDP.", announces),
            Figure::counter("udp_scrapes", "Scrapes answered over UDP.", scrapes),
            Figure::counter("udp_refused", "Error replies over UDP.", refused),
            Figure::counter("udp_unproven", "Datagrams left unanswered: their connection id was wrong.", unproven),
            Figure::counter("udp_malformed", "Datagrams left unanswered: they were no requests.", malformed),
            Figure::counter("udp_unsent", "Replies over UDP that the system did not send.", unsent),
        ]
    }
}
