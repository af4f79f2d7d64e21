//! Trackers: the store of the real ones, with times at which it is down.

use crate::queue::Moment;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};
use swarm_proto::announce::{Announce, AnnounceReply, TrackerError};
use swarm_tracker_core::{Dialect, Store, StoreAnnounce, StoreConfig};

/// How often silent peers are forgotten.
const EXPIRY: Duration = Duration::from_secs(60);

/// One tracker.
pub(crate) struct Tracker {
    store: Store,
    down: Vec<Range<Moment>>,
    next_expiry: Instant,
}

impl Tracker {
    pub(crate) fn new(seed: u64, now: Instant) -> Self {
        let store = Store::new(StoreConfig { seed, ..StoreConfig::default() }, now);
        Self { store, down: Vec::new(), next_expiry: now + EXPIRY }
    }

    pub(crate) fn set_down(&mut self, times: Range<Moment>) {
        self.down.push(times);
    }

    pub(crate) fn url(number: usize) -> String {
        format!("http://tracker-{number}/announce")
    }

    /// The number of the tracker in a URL of [`Tracker::url`].
    pub(crate) fn number(url: &str) -> Option<usize> {
        url.strip_prefix("http://tracker-")?.strip_suffix("/announce")?.parse().ok()
    }

    pub(crate) fn is_down(&self, at: Moment) -> bool {
        self.down.iter().any(|times| times.contains(&at))
    }

    pub(crate) fn announce(
        &mut self,
        now: Instant,
        address: SocketAddr,
        announce: &Announce,
    ) -> Result<AnnounceReply, TrackerError> {
        if now >= self.next_expiry {
            self.store.expire(now);
            self.next_expiry = now + EXPIRY;
        }
        let request = StoreAnnounce {
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            address: SocketAddr::new(address.ip(), announce.port),
            left: announce.left,
            event: announce.event,
            num_want: announce.num_want,
            dialect: Dialect::Http,
            passkey: None,
        };
        let refused = |_| TrackerError::Refused { reason: "the tracker is full".into(), retry_in: None };
        let reply = self.store.announce(now, &request).map_err(refused)?;
        let config = self.store.config();
        Ok(AnnounceReply {
            interval: config.interval,
            min_interval: Some(config.min_interval),
            complete: Some(reply.complete),
            incomplete: Some(reply.incomplete),
            peers: reply.peers,
            ..AnnounceReply::default()
        })
    }
}
