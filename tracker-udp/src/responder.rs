//! From a datagram to its answer; no I/O.

use crate::connection_id::{ConnectionIds, Period};
use crate::counters::Outcome;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use swarm_proto::announce::udp::{Claimed, Family, Fault, PEERS_LENGTH, Query, Reply, Request};
use swarm_proto::announce::{Announce, AnnounceReply};
use swarm_proto::id::InfoHash;
use swarm_tracker_core::{Dialect, Store, StoreAnnounce, StoreRefusal};

/// The time, for all datagrams of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) period: Period,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), period: Period::of(SystemTime::now()) }
    }
}

/// Answers requests from a store; one a thread.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    store: Arc<Store>,
    ids: ConnectionIds,
}

impl Responder {
    pub(crate) fn new(store: Arc<Store>, ids: ConnectionIds) -> Self {
        Self { store, ids }
    }

    /// Writes the answer to `out`, which is empty before; stays so where silence is the answer.
    ///
    /// Giving a connection id takes one code over 24 bytes and no memory.
    pub(crate) fn respond(&self, moment: Moment, from: SocketAddr, datagram: &[u8], out: &mut Vec<u8>) -> Outcome {
        let family = Family::of(from.ip());
        let (transaction, reply, outcome) = match Request::read(datagram) {
            None => return Outcome::Malformed,
            Some(Request::Connect(transaction)) => {
                let id = self.ids.issue(from.ip(), moment.period);
                (transaction, Reply::Connected(id), Outcome::Connected)
            }
            Some(Request::Claimed(claimed)) if !self.ids.prove(claimed.connection, from.ip(), moment.period) => {
                return Outcome::Unproven;
            }
            Some(Request::Claimed(claimed)) => {
                let (reply, outcome) = self.answer(moment.instant, from, &claimed).unwrap_or_else(|refusal| {
                    let text = match refusal {
                        Refusal::Fault(fault) => fault.to_string(),
                        Refusal::Store(refusal) => refusal.to_string(),
                    };
                    (Reply::Refused(text.into()), Outcome::Refused)
                });
                (claimed.transaction, reply, outcome)
            }
        };
        reply.write(transaction, family, out);
        outcome
    }

    fn answer(&self, now: Instant, from: SocketAddr, claimed: &Claimed<'_>) -> Result<(Reply, Outcome), Refusal> {
        match claimed.query().map_err(Refusal::Fault)? {
            Query::Announce { announce, .. } => self.announce(now, from, &announce),
            Query::Scrape(hashes) => self.scrape(now, from, &hashes),
        }
    }

    fn announce(&self, now: Instant, from: SocketAddr, announce: &Announce) -> Result<(Reply, Outcome), Refusal> {
        let ip = from.ip().to_canonical();
        let room = u32::try_from(PEERS_LENGTH / Family::of(ip).peer_length()).unwrap_or(u32::MAX);
        let request = StoreAnnounce {
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            address: SocketAddr::new(ip, announce.port),
            left: announce.left,
            event: announce.event,
            num_want: announce.num_want.map(|wanted| wanted.min(room)),
            dialect: Dialect::Udp,
        };
        let stored = self.store.announce(now, &request).map_err(Refusal::Store)?;
        let reply = AnnounceReply {
            interval: self.store.config().interval,
            complete: Some(stored.complete),
            incomplete: Some(stored.incomplete),
            peers: stored.peers,
            ..AnnounceReply::default()
        };
        Ok((Reply::Announced(reply), Outcome::Announced))
    }

    fn scrape(&self, now: Instant, from: SocketAddr, hashes: &[InfoHash]) -> Result<(Reply, Outcome), Refusal> {
        let cost = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        self.store.admit(now, from.ip(), cost).map_err(Refusal::Store)?;
        Ok((Reply::Scraped(self.store.scrape(hashes)), Outcome::Scraped))
    }
}

/// Why somebody who has proven his address gets an error.
#[derive(Debug)]
enum Refusal {
    Fault(Fault),
    Store(StoreRefusal),
}

#[cfg(test)]
mod tests;
