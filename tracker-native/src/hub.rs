//! Which connection serves which torrent, and the pushes to them.
//!
//! Owns the subscriptions and the task that turns changes of the store into frames. It never waits for a connection: a push
//! that does not fit a connection's queue is dropped. Invariant: an address stands in a torrent for the connection that named it
//! last; the end of an older one changes nothing. That is why the store is written to under the lock of the subscription.

use crate::registry::ConnectionKey;
use bytes::Bytes;
use rand::seq::IndexedRandom;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use swarm_proto::announce::Reach;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::{PeerChange, PeerList, TrackerMessage};
use swarm_tracker_core::{Change, ChangeKind, Dialect, Store, StoreAnnounce, StoreRefusal, StoreReply};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout_at;

/// Locks: far more than cores.
const SHARDS: u64 = 64;
/// Changes that wait for the pushing task; more are dropped.
const QUEUED_CHANGES: usize = 65_536;
/// Changes that are turned into pushes in one go.
const BATCH: usize = 8_192;
/// Joined or gone peers in one push: as many as anybody can use at once.
const PUSHED_PEERS: usize = 100;

/// One connection, as a subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) connection: ConnectionKey,
    pub(crate) peer_id: PeerId,
    pub(crate) pushes: Sender<Bytes>,
}

#[derive(Clone, Debug)]
struct Subscription {
    subscriber: Subscriber,
    seed: bool,
}

type Subscribers = HashMap<SocketAddr, Subscription>;

/// Subscriptions by torrent and address.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Vec<Mutex<HashMap<InfoHash, Subscribers>>>,
    hasher: RandomState,
    store: Arc<Store>,
    fan_out: usize,
}

impl Hub {
    pub(crate) fn new(store: Arc<Store>, fan_out: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), store, fan_out }
    }

    fn shard(&self, info_hash: &InfoHash) -> MutexGuard<'_, HashMap<InfoHash, Subscribers>> {
        let index = (self.hasher.hash_one(info_hash) % SHARDS) as usize;
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS of them")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a peer into the swarm, or renews it, and subscribes its connection.
    pub(crate) fn serve(&self, announce: &StoreAnnounce, subscriber: &Subscriber) -> Result<StoreReply, StoreRefusal> {
        let mut shard = self.shard(&announce.info_hash);
        let reply = self.store.announce(Instant::now(), announce)?;
        let subscription = Subscription { subscriber: subscriber.clone(), seed: announce.left == 0 };
        shard.entry(announce.info_hash).or_default().insert(announce.address, subscription);
        Ok(reply)
    }

    /// Takes a peer out of the swarm, unless another connection has taken its place.
    pub(crate) fn stop(&self, info_hash: InfoHash, address: SocketAddr, connection: ConnectionKey) {
        let mut shard = self.shard(&info_hash);
        let Entry::Occupied(mut subscribers) = shard.entry(info_hash) else { return };
        let Some(mine) = subscribers.get().get(&address) else { return };
        if mine.subscriber.connection != connection {
            return;
        }
        self.store.remove(Instant::now(), info_hash, address, &mine.subscriber.peer_id, Dialect::Native);
        subscribers.get_mut().remove(&address);
        if subscribers.get().is_empty() {
            subscribers.remove();
        }
    }

    fn push(&self, info_hash: InfoHash, changes: &SwarmChanges) {
        let subscribers = self.audience(&info_hash);
        if subscribers.is_empty() {
            return;
        }
        let counts = self.store.scrape(&[info_hash]).first().copied().unwrap_or_default();
        for (address, Subscription { subscriber, seed }) in subscribers {
            let wanted = |peer: SocketAddr| peer != address && Reach::of(peer.ip()) >= Reach::of(address.ip());
            let joined = changes.0.iter().filter(|(peer, what)| match what {
                Now::Joined { seed: other } => wanted(**peer) && !(seed && *other),
                Now::Gone => false,
            });
            let gone = changes.0.iter().filter(|(peer, what)| **what == Now::Gone && wanted(**peer));
            let joined: Vec<_> = joined.map(|(peer, _)| *peer).take(PUSHED_PEERS).collect();
            let gone: Vec<_> = gone.map(|(peer, _)| *peer).take(PUSHED_PEERS).collect();
            if joined.is_empty() && gone.is_empty() {
                continue;
            }
            let joined = PeerList { complete: counts.complete, incomplete: counts.incomplete, peers: joined };
            let frame = TrackerMessage::Push(PeerChange { info_hash, joined, gone }).encode();
            if subscriber.pushes.try_send(frame.into()).is_err() {
                tracing::debug!(connection = subscriber.connection.0, %info_hash, "push dropped, the peer is slow");
            }
        }
    }

    /// The subscribers of a torrent, or a random part of very many.
    fn audience(&self, info_hash: &InfoHash) -> Vec<(SocketAddr, Subscription)> {
        let shard = self.shard(info_hash);
        let Some(subscribers) = shard.get(info_hash) else { return Vec::new() };
        let owned = |(address, subscription): (&SocketAddr, &Subscription)| (*address, subscription.clone());
        if subscribers.len() <= self.fan_out {
            return subscribers.iter().map(owned).collect();
        }
        let all: Vec<_> = subscribers.iter().collect();
        all.sample(&mut rand::rng(), self.fan_out).map(|&row| owned(row)).collect()
    }
}

/// What has become of a peer since the last push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Now {
    Joined { seed: bool },
    Gone,
}

/// The changes of one swarm since the last push, each peer once. The order of the table is random, and so is the choice where
/// a push has no room for all.
#[derive(Debug, Default)]
struct SwarmChanges(HashMap<SocketAddr, Now>);

impl SwarmChanges {
    fn add(&mut self, address: SocketAddr, kind: ChangeKind) {
        match kind {
            ChangeKind::Joined { seed } => {
                self.0.insert(address, Now::Joined { seed });
            }
            ChangeKind::Completed => {
                self.0.entry(address).and_modify(|now| *now = Now::Joined { seed: true });
            }
            ChangeKind::Left => match self.0.entry(address) {
                // Came and went in between: nobody needs to know.
                Entry::Occupied(entry) if matches!(entry.get(), Now::Joined { .. }) => {
                    entry.remove();
                }
                entry => {
                    entry.insert_entry(Now::Gone);
                }
            },
        }
    }
}

/// Has the store tell its changes to the returned queue. A full queue drops them: what it would bring can be asked for.
pub(crate) fn observe(store: &Store) -> Receiver<Change> {
    let (sender, receiver) = mpsc::channel(QUEUED_CHANGES);
    store.observe(Box::new(move |change| {
        if sender.try_send(*change).is_err() {
            tracing::debug!(info_hash = %change.info_hash, "change not pushed, too many at once");
        }
    }));
    receiver
}

/// Pushes the changes of all swarms to their subscribers, collected for `delay`. Runs until it is dropped.
pub(crate) async fn push_changes(hub: Arc<Hub>, changes: Arc<tokio::sync::Mutex<Receiver<Change>>>, delay: Duration) {
    let mut changes = changes.lock().await;
    let mut batch = Vec::new();
    while changes.recv_many(&mut batch, BATCH).await > 0 {
        let deadline = tokio::time::Instant::now() + delay;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            match timeout_at(deadline, changes.recv_many(&mut batch, room)).await {
                Ok(received) if received > 0 => {}
                _ => break,
            }
        }
        let mut swarms: HashMap<InfoHash, SwarmChanges> = HashMap::new();
        for change in batch.drain(..) {
            swarms.entry(change.info_hash).or_default().add(change.address, change.kind);
        }
        for (info_hash, changes) in swarms {
            hub.push(info_hash, &changes);
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_proto::announce::AnnounceEvent;
    use swarm_proto::native::{Decoded, Sender as Side, decode};
    use swarm_tracker_core::StoreConfig;

    const HASH: InfoHash = InfoHash([1; 20]);

    struct Peer {
        announce: StoreAnnounce,
        subscriber: Subscriber,
        pushes: Receiver<Bytes>,
    }

    fn peer(n: u8, left: u64, queue: usize) -> Peer {
        let (sender, pushes) = mpsc::channel(queue);
        let announce = StoreAnnounce {
            info_hash: HASH,
            peer_id: PeerId([n; 20]),
            address: SocketAddr::from(([8, 8, 8, n], 6881)),
            left,
            event: AnnounceEvent::Started,
            num_want: None,
            dialect: Dialect::Native,
        };
        let subscriber = Subscriber { connection: ConnectionKey(n.into()), peer_id: announce.peer_id, pushes: sender };
        Peer { announce, subscriber, pushes }
    }

    fn hub() -> (Hub, Receiver<Change>) {
        let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
        let changes = observe(&store);
        (Hub::new(store, 100), changes)
    }

    /// Pushes what has happened, as the task does.
    fn flush(hub: &Hub, changes: &mut Receiver<Change>) {
        let mut swarm = SwarmChanges::default();
        while let Ok(change) = changes.try_recv() {
            swarm.add(change.address, change.kind);
        }
        hub.push(HASH, &swarm);
    }

    fn told(peer: &mut Peer) -> Option<(Vec<u8>, Vec<u8>)> {
        let bytes = peer.pushes.try_recv().ok()?;
        let Ok(Decoded::Frame(frame, _)) = decode(&bytes, Side::Tracker) else { panic!("no frame") };
        let Ok(TrackerMessage::Push(change)) = TrackerMessage::parse(&frame) else { panic!("no push") };
        let last = |peers: &[SocketAddr]| {
            let mut last: Vec<u8> = peers.iter().map(|peer| peer.port().to_be_bytes()[1]).collect();
            for (to, peer) in last.iter_mut().zip(peers) {
                if let SocketAddr::V4(v4) = peer {
                    *to = v4.ip().octets()[3];
                }
            }
            last.sort_unstable();
            last
        };
        Some((last(&change.joined.peers), last(&change.gone)))
    }

    #[test]
    fn leechers_hear_of_all_and_seeds_of_leechers() {
        let (hub, mut changes) = hub();
        let (mut seed, mut leecher) = (peer(1, 0, 9), peer(2, 5, 9));
        hub.serve(&seed.announce, &seed.subscriber).unwrap();
        hub.serve(&leecher.announce, &leecher.subscriber).unwrap();
        flush(&hub, &mut changes);
        assert_eq!(told(&mut seed), Some((vec![2], vec![])));
        assert_eq!(told(&mut leecher), Some((vec![1], vec![])), "not of itself");
        let other_seed = StoreAnnounce { dialect: Dialect::Http, ..peer(3, 0, 1).announce };
        hub.store.announce(Instant::now(), &other_seed).unwrap();
        flush(&hub, &mut changes);
        assert_eq!((told(&mut seed), told(&mut leecher)), (None, Some((vec![3], vec![]))));
        hub.stop(HASH, leecher.announce.address, leecher.subscriber.connection);
        flush(&hub, &mut changes);
        assert_eq!((told(&mut seed), told(&mut leecher)), (Some((vec![], vec![2])), None));
    }

    #[test]
    fn who_comes_and_goes_in_between_is_not_told() {
        let (hub, mut changes) = hub();
        let mut leecher = peer(1, 5, 9);
        hub.serve(&leecher.announce, &leecher.subscriber).unwrap();
        flush(&hub, &mut changes);
        let short = peer(2, 5, 1);
        hub.serve(&short.announce, &short.subscriber).unwrap();
        hub.stop(HASH, short.announce.address, short.subscriber.connection);
        flush(&hub, &mut changes);
        assert_eq!(told(&mut leecher), None);
    }

    #[test]
    fn the_end_of_an_older_connection_changes_nothing() {
        let (hub, mut changes) = hub();
        let old = peer(1, 0, 9);
        let new = Subscriber { connection: ConnectionKey(99), ..old.subscriber.clone() };
        hub.serve(&old.announce, &old.subscriber).unwrap();
        hub.serve(&old.announce, &new).unwrap();
        hub.stop(HASH, old.announce.address, old.subscriber.connection);
        assert_eq!(hub.store.stats().peers, 1);
        hub.stop(HASH, old.announce.address, new.connection);
        assert_eq!((hub.store.stats().peers, hub.shard(&HASH).len()), (0, 0));
        flush(&hub, &mut changes);
    }

    #[test]
    fn a_slow_subscriber_misses_pushes_and_holds_up_nobody() {
        let (hub, mut changes) = hub();
        let (mut slow, mut fast) = (peer(1, 5, 1), peer(2, 5, 9));
        for subscriber in [&slow, &fast] {
            hub.serve(&subscriber.announce, &subscriber.subscriber).unwrap();
        }
        flush(&hub, &mut changes);
        for n in 3..6 {
            hub.store.announce(Instant::now(), &peer(n, 5, 1).announce).unwrap();
            flush(&hub, &mut changes);
        }
        assert_eq!((told(&mut slow), told(&mut slow)), (Some((vec![2], vec![])), None));
        assert_eq!(std::iter::from_fn(|| told(&mut fast)).count(), 4);
    }

    #[test]
    fn a_large_audience_is_sampled() {
        let (hub, mut changes) = hub();
        let peers: Vec<_> = (1..=200).map(|n| peer(n, 5, 9)).collect();
        for peer in &peers {
            hub.serve(&peer.announce, &peer.subscriber).unwrap();
        }
        flush(&hub, &mut changes);
        let told = peers.into_iter().filter_map(|mut peer| told(&mut peer)).collect::<Vec<_>>();
        assert_eq!(told.len(), 100);
        assert!(told.iter().all(|(joined, _)| joined.len() == PUSHED_PEERS));
    }
}
