//! What came over the native protocol and what became of it: numbers for those who watch the tracker.
//!
//! Owns the counts since the start; what is there now is asked of whoever owns it when somebody looks.

use crate::server::Handle;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use swarm_tracker_core::{Exposition, Figure, Histogram, Watched};

/// Something that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What is counted, over all connections.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Count,
    pub(crate) turned_away: Count,
    pub(crate) requests: Count,
    pub(crate) announces: Count,
    pub(crate) joins: Count,
    pub(crate) lists: Count,
    pub(crate) searches: Count,
    pub(crate) name_lookups: Count,
    pub(crate) relayed: Count,
    pub(crate) relayed_bytes: Count,
    pub(crate) refused: Count,
    pub(crate) malformed: Count,
    pub(crate) pushes: Count,
    pub(crate) pushes_dropped: Count,
    pub(crate) received_bytes: Count,
    pub(crate) sent_bytes: Count,
    /// How long a request takes, from its whole frame to its answer.
    pub(crate) latency: Histogram,
}

impl Watched for Handle {
    fn figures(&self) -> Vec<Figure> {
        let shared = self.shared();
        let counts = shared.counters();
        let (names, catalogue_bytes) = {
            let catalogue = shared.catalogue();
            (catalogue.len() as u64, catalogue.bytes())
        };
        let counter = |name, help, count: &Count| Figure::counter(name, help, count.get());
        vec![
            Figure::gauge("native_connections", "Native connections now.", shared.registry.connections() as u64),
            counter("native_accepted", "Native connections taken.", &counts.accepted),
            counter("native_turned_away", "Native connections turned away: too many.", &counts.turned_away),
            counter("native_requests", "Requests over the native protocol.", &counts.requests),
            counter("native_announces", "Announces (D) answered over the native protocol.", &counts.announces),
            counter("native_joins", "Peers that began to serve a torrent over the native protocol.", &counts.joins),
            counter("native_lists", "Pages of the catalogue given, searches included.", &counts.lists),
            counter("native_searches", "Pages of the catalogue searched by a part of the name.", &counts.searches),
            counter("native_name_lookups", "Questions whose a name is, or which a key has.", &counts.name_lookups),
            counter("native_relayed", "Messages handed on from peer to peer.", &counts.relayed),
            counter("native_relayed_bytes", "Bytes of frames handed on from peer to peer.", &counts.relayed_bytes),
            counter("native_refused", "Refusals (N) over the native protocol.", &counts.refused),
            counter("native_malformed", "Frames over the native protocol that made no sense.", &counts.malformed),
            counter("native_pushes", "Pushes put into the mailboxes of connections.", &counts.pushes),
            counter("native_pushes_dropped", "Pushes dropped, since their peer reads slowly.", &counts.pushes_dropped),
            counter("native_received_bytes", "Bytes received over the native protocol.", &counts.received_bytes),
            counter("native_sent_bytes", "Bytes sent over the native protocol.", &counts.sent_bytes),
            Figure::gauge("native_names", "Names in the catalogue.", names),
            Figure::gauge("native_catalogue_bytes", "Bytes of metainfo in the catalogue.", catalogue_bytes),
            Figure::gauge("native_people", "Names of people.", shared.people().len() as u64),
        ]
    }

    fn expose(&self, page: &mut Exposition) {
        let help = "Time from a whole request over the native protocol to its answer.";
        page.histogram("native_request_seconds", help, &self.shared().counters().latency);
    }
}
