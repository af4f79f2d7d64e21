//! From a datagram to its answer; no I/O.

use crate::connection_id::{ConnectionIds, Period};
use crate::counters::Outcome;
use crate::keyed::KeyedAddresses;
use rustix::net::{SendFlags, sendto};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Instant, SystemTime};
use swarm_proto::announce::Announce;
use swarm_proto::announce::udp::{
    Claimed, Family, Fault, Options, PEERS_LENGTH, Query, Reply, Request, TransactionId, write_announced,
};
use swarm_proto::id::InfoHash;
use swarm_tracker_core::{
    CompactPeers, DEFAULT_PEERS, Dialect, Store, StoreAnnounce, StoreRefusal, SwarmCounts, Wait, passkey_of,
};

/// Answers that wait for other nodes at a time; beyond them the answer is what this node knows.
const MOST_WAITING: usize = 16_384;

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
    keyed: Arc<KeyedAddresses>,
    /// Answers that wait for other nodes.
    waiting: Arc<AtomicUsize>,
}

/// What a thread answers with.
#[derive(Default, Debug)]
pub(crate) struct Scratch {
    /// The memory that its answers are put together in.
    peers: CompactPeers,
    /// By which an answer goes that waits for other nodes; without one nothing waits.
    socket: Option<Arc<UdpSocket>>,
}

impl Scratch {
    pub(crate) fn new(socket: Arc<UdpSocket>) -> Self {
        Self { socket: Some(socket), ..Self::default() }
    }
}

/// An announce whose answer waits for other nodes.
struct Later {
    request: StoreAnnounce<'static>,
    transaction: TransactionId,
    from: SocketAddr,
    socket: Arc<UdpSocket>,
}

impl Responder {
    pub(crate) fn new(store: Arc<Store>, ids: ConnectionIds) -> Self {
        Self { store, ids, keyed: Arc::default(), waiting: Arc::default() }
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
                let (request, counts, wait) = self.announce(now, from, &announce, options, &mut scratch.peers)?;
                match (wait, &scratch.socket) {
                    (Some(wait), Some(socket)) if self.waiting.load(Relaxed) < MOST_WAITING => {
                        let socket = Arc::clone(socket);
                        self.answer_later(wait, Later { request, transaction: claimed.transaction, from, socket });
                    }
                    _ => write_answer(&self.store, claimed.transaction, from, (counts, &scratch.peers), out),
                }
                Ok(Outcome::Announced)
            }
            Query::Scrape(hashes) => {
                let reply = self.scrape(now, from, &hashes)?;
                reply.write(claimed.transaction, Family::of(from.ip()), out);
                Ok(Outcome::Scraped)
            }
        }
    }

    /// Answers when other nodes' peers are there, or were waited for long enough; this thread goes on.
    fn answer_later(&self, wait: Wait, later: Later) {
        let (store, waiting) = (Arc::clone(&self.store), Arc::clone(&self.waiting));
        waiting.fetch_add(1, Relaxed);
        self.store.spawn_behind(Box::pin(async move {
            wait.await;
            waiting.fetch_sub(1, Relaxed);
            let (mut peers, mut out) = (CompactPeers::new(), Vec::new());
            let counts = store.answer_into(&later.request, &mut peers);
            write_answer(&store, later.transaction, later.from, (counts, &peers), &mut out);
            // A full socket loses the answer, as the network would.
            if let Err(error) = sendto(&later.socket, &out, SendFlags::DONTWAIT, &later.from) {
                tracing::debug!(%error, to = %later.from, "an answer that has waited was not sent");
            }
        }));
    }

    fn announce(
        &self,
        now: Instant,
        from: SocketAddr,
        announce: &Announce,
        options: Options<'_>,
        peers: &mut CompactPeers,
    ) -> Result<(StoreAnnounce<'static>, SwarmCounts, Option<Wait>), Refusal> {
        // Where there are no keys, nobody needs to look for one.
        let is_open = self.store.config().access.is_none();
        let path = if is_open { Vec::new() } else { options.path() };
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
            passkey: None,
        };
        let with_key = StoreAnnounce { passkey: passkey_of(&path), ..request };
        let (counts, wait) = self.store.announce_or_wait(now, &with_key, peers).map_err(Refusal::Store)?;
        if let Some(key) = with_key.passkey {
            self.keyed.remember(ip, key, now, self.store.config().forgotten_after());
        }
        Ok((request, counts, wait))
    }

    fn scrape(&self, now: Instant, from: SocketAddr, hashes: &[InfoHash]) -> Result<Reply, Refusal> {
        let cost = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        self.store.admit(now, from.ip(), cost).map_err(Refusal::Store)?;
        let config = self.store.config();
        if config.access.is_some() {
            // A scrape has no room for a key: that of the last announce from there counts, as long as it is good.
            let key = self.keyed.key_of(from.ip().to_canonical(), now, config.forgotten_after());
            self.store.check_key(key.as_deref()).map_err(Refusal::Store)?;
        }
        Ok(Reply::Scraped(self.store.scrape(hashes)))
    }
}

fn write_answer(
    store: &Store,
    transaction: TransactionId,
    from: SocketAddr,
    (counts, peers): (SwarmCounts, &CompactPeers),
    out: &mut Vec<u8>,
) {
    let peers = if from.ip().to_canonical().is_ipv4() { &peers.v4 } else { &peers.v6 };
    write_announced(transaction, store.config().interval, (counts.complete, counts.incomplete), peers, out);
}

/// Why somebody who has proven his address gets an error.
#[derive(Debug)]
enum Refusal {
    Fault(Fault),
    Store(StoreRefusal),
}

#[cfg(test)]
mod tests;
