//! Which connection serves which torrent.
//!
//! Owns the subscriptions, and what is counted of them and all else; what is pushed is up to [`crate::pusher`]. Invariant: an address stands in a torrent for the
//! connection that named it last; the end of an older one changes nothing. That is why the store is written to under the lock
//! of the subscription.

use crate::counters::Counters;
use crate::mailbox::Mailbox;
use crate::registry::ConnectionKey;
use bytes::Bytes;
use rand::seq::IteratorRandom;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use swarm_proto::announce::Reach;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::Passkey;
use swarm_tracker_core::{Dialect, Store, StoreAnnounce, StoreRefusal, StoreReply};

/// Locks: far more than cores.
const SHARDS: u64 = 64;

/// One connection, as a subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) connection: ConnectionKey,
    pub(crate) peer_id: PeerId,
    pub(crate) mailbox: Arc<Mailbox>,
    /// It takes messages of other peers.
    pub(crate) relay: bool,
    /// Its key, if it has told one.
    pub(crate) passkey: Option<Passkey>,
}

impl Subscriber {
    /// The bytes of its key.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.passkey.as_ref().map(Passkey::as_bytes)
    }
}

/// Why a message is not handed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotRelayed {
    NoSuchPeer,
    Busy,
}

/// A connection that serves a torrent.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) subscriber: Subscriber,
    pub(crate) seed: bool,
}

type Subscribers = HashMap<SocketAddr, Subscription>;

/// Subscriptions by torrent and address.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Vec<Mutex<HashMap<InfoHash, Subscribers>>>,
    hasher: RandomState,
    store: Arc<Store>,
    pub(crate) counters: Counters,
}

impl Hub {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), store, counters: Counters::default() }
    }

    fn shard(&self, info_hash: &InfoHash) -> MutexGuard<'_, HashMap<InfoHash, Subscribers>> {
        let index = (self.hasher.hash_one(info_hash) % SHARDS) as usize;
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS of them")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a peer into the swarm, or renews it, and subscribes its connection.
    pub(crate) fn serve(
        &self,
        announce: &StoreAnnounce<'_>,
        subscriber: &Subscriber,
    ) -> Result<StoreReply, StoreRefusal> {
        let mut shard = self.shard(&announce.info_hash);
        let reply = self.store.announce(Instant::now(), announce)?;
        let subscription = Subscription { subscriber: subscriber.clone(), seed: announce.left == 0 };
        let before = shard.entry(announce.info_hash).or_default().insert(announce.address, subscription);
        self.counters.announces.add(1);
        self.counters.joins.add(usize::from(before.is_none()));
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
        if let Some(key) = mine.subscriber.key() {
            self.store.release_key(&info_hash, address, key);
        }
        subscribers.get_mut().remove(&address);
        if subscribers.get().is_empty() {
            subscribers.remove();
        }
    }

    /// Hands a message to the peer at `to`, if it is one of whom the peer at `from` may be told and wants messages.
    pub(crate) fn relay(
        &self,
        info_hash: &InfoHash,
        from: SocketAddr,
        to: SocketAddr,
        message: Bytes,
    ) -> Result<(), NotRelayed> {
        let mailbox = {
            let shard = self.shard(info_hash);
            let receiver = shard.get(info_hash).and_then(|subscribers| subscribers.get(&to));
            let known = |subscription: &&Subscription| subscription.subscriber.relay && from != to;
            let receiver = receiver.filter(known).filter(|_| Reach::of(to.ip()) >= Reach::of(from.ip()));
            Arc::clone(&receiver.ok_or(NotRelayed::NoSuchPeer)?.subscriber.mailbox)
        };
        let length = message.len();
        if !mailbox.put_relayed(message) {
            return Err(NotRelayed::Busy);
        }
        self.counters.relayed.add(1);
        self.counters.relayed_bytes.add(length);
        Ok(())
    }

    /// How many subscribe to a torrent.
    pub(crate) fn members(&self, info_hash: &InfoHash) -> usize {
        self.shard(info_hash).get(info_hash).map_or(0, HashMap::len)
    }

    /// Seeds and leechers of a torrent.
    pub(crate) fn counts(&self, info_hash: &InfoHash) -> (u32, u32) {
        let counts = self.store.scrape(&[*info_hash]).first().copied().unwrap_or_default();
        (counts.complete, counts.incomplete)
    }

    /// The subscribers of a torrent, or a random part of very many.
    pub(crate) fn audience(&self, info_hash: &InfoHash, most: usize) -> Vec<(SocketAddr, Subscription)> {
        let shard = self.shard(info_hash);
        let Some(subscribers) = shard.get(info_hash) else { return Vec::new() };
        let owned = |(address, subscription): (&SocketAddr, &Subscription)| (*address, subscription.clone());
        if subscribers.len() <= most {
            return subscribers.iter().map(owned).collect();
        }
        subscribers.iter().sample(&mut rand::rng(), most).into_iter().map(owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_proto::announce::AnnounceEvent;
    use swarm_tracker_core::StoreConfig;

    const HASH: InfoHash = InfoHash([1; 20]);

    #[test]
    fn the_end_of_an_older_connection_changes_nothing() {
        let hub = Hub::new(Arc::new(Store::new(StoreConfig::default(), Instant::now())));
        let announce = StoreAnnounce {
            info_hash: HASH,
            peer_id: PeerId([1; 20]),
            address: SocketAddr::from(([8, 8, 8, 1], 6881)),
            left: 0,
            event: AnnounceEvent::Started,
            num_want: None,
            dialect: Dialect::Native,
            passkey: None,
        };
        let subscriber = |key| {
            let mailbox = Arc::new(Mailbox::new(1));
            Subscriber {
                connection: ConnectionKey(key),
                peer_id: announce.peer_id,
                mailbox,
                relay: false,
                passkey: None,
            }
        };
        let (old, new) = (subscriber(1), subscriber(99));
        hub.serve(&announce, &old).unwrap();
        hub.serve(&announce, &new).unwrap();
        hub.stop(HASH, announce.address, old.connection);
        assert_eq!((hub.store.stats().peers, hub.members(&HASH)), (1, 1));
        hub.stop(HASH, announce.address, new.connection);
        assert_eq!((hub.store.stats().peers, hub.shard(&HASH).len()), (0, 0));
    }
}
