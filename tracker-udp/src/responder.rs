//! From a datagram to its answer; no I/O.

use crate::connection_id::{ConnectionIds, Period};
use crate::counters::Outcome;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use swarm_proto::announce::Announce;
use swarm_proto::announce::udp::{
    Claimed, Family, Fault, Options, PEERS_LENGTH, Query, Reply, Request, write_announced,
};
use swarm_proto::id::InfoHash;
use swarm_tracker_core::{
    CompactPeers, DEFAULT_PEERS, Dialect, Store, StoreAnnounce, StoreRefusal, SwarmCounts, passkey_of,
};

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

/// The memory that a thread's answers are put together in.
#[derive(Default, Debug)]
pub(crate) struct Scratch {
    peers: CompactPeers,
}

impl Responder {
    pub(crate) fn new(store: Arc<Store>, ids: ConnectionIds) -> Self {
        Self { store, ids }
    }

    /// Writes the answer to `out`, which is empty before; stays so where silence is the answer.
    ///
    /// Giving a connection id takes one code over 24 bytes; neither that nor an announce takes memory.
    pub(crate) fn respond(
        &self,
        moment: Moment,
        from: SocketAddr,
        datagram: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let family = Family::of(from.ip());
        match Request::read(datagram) {
            None => Outcome::Malformed,
            Some(Request::Connect(transaction)) => {
                let id = self.ids.issue(from.ip(), moment.period);
                Reply::Connected(id).write(transaction, family, out);
                Outcome::Connected
            }
            Some(Request::Claimed(claimed)) if !self.ids.prove(claimed.connection, from.ip(), moment.period) => {
                Outcome::Unproven
            }
            Some(Request::Claimed(claimed)) => {
                self.answer(moment.instant, from, &claimed, scratch, out).unwrap_or_else(|refusal| {
                    let text = match refusal {
                        Refusal::Fault(fault) => fault.to_string().into(),
                        Refusal::Store(refusal) => refusal.text().into(),
                    };
                    Reply::Refused(text).write(claimed.transaction, family, out);
                    Outcome::Refused
                })
            }
        }
    }

    fn answer(
        &self,
        now: Instant,
        from: SocketAddr,
        claimed: &Claimed<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, Refusal> {
        match claimed.query().map_err(Refusal::Fault)? {
            Query::Announce { announce, options } => {
                let counts = self.announce(now, from, &announce, options, &mut scratch.peers)?;
                let CompactPeers { v4, v6, .. } = &scratch.peers;
                let peers = if from.ip().to_canonical().is_ipv4() { v4 } else { v6 };
                let (interval, counts) = (self.store.config().interval, (counts.complete, counts.incomplete));
                write_announced(claimed.transaction, interval, counts, peers, out);
                Ok(Outcome::Announced)
            }
            Query::Scrape(hashes) => {
                let reply = self.scrape(now, from, &hashes)?;
                reply.write(claimed.transaction, Family::of(from.ip()), out);
                Ok(Outcome::Scraped)
            }
        }
    }

    fn announce(
        &self,
        now: Instant,
        from: SocketAddr,
        announce: &Announce,
        options: Options<'_>,
        peers: &mut CompactPeers,
    ) -> Result<SwarmCounts, Refusal> {
        // Where there are no keys, nobody needs to look for one.
        let is_open = self.store.config().access.is_none();
        let url_data = if is_open { Vec::new() } else { options.url_data() };
        let ip = from.ip().to_canonical();
        let room = u32::try_from(PEERS_LENGTH / Family::of(ip).peer_length()).unwrap_or(u32::MAX);
        // Without a number there would be as many as the store thinks fit, which may be more than one packet takes.
        let most = room.min(u32::try_from(DEFAULT_PEERS).unwrap_or(room));
        let request = StoreAnnounce {
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            address: SocketAddr::new(ip, announce.port),
            left: announce.left,
            event: announce.event,
            num_want: Some(announce.num_want.map_or(most, |wanted| wanted.min(room))),
            dialect: Dialect::Udp,
            passkey: passkey_of(&url_data),
        };
        self.store.announce_into(now, &request, peers).map_err(Refusal::Store)
    }

    fn scrape(&self, now: Instant, from: SocketAddr, hashes: &[InfoHash]) -> Result<Reply, Refusal> {
        let cost = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        self.store.admit(now, from.ip(), cost).map_err(Refusal::Store)?;
        // A scrape has no room for a key.
        let access = self.store.config().access.as_ref();
        access.map_or(Ok(()), |access| access.check_key(None)).map_err(Refusal::Store)?;
        Ok(Reply::Scraped(self.store.scrape(hashes)))
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
