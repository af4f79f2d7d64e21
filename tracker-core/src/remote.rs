//! What a store behind this one, which several nodes share, needs of it.
//!
//! Peers that other nodes told of stand among the own ones, with a mark. They expire like those, give way to what is heard
//! of them here, and go when all of a swarm was read and they were not among it. So an answer needs nothing but this store.

use crate::record::{Address, PeerTag};
use crate::shard::{Context, Key, Shard};
use crate::store::Store;
use crate::swarm::Sighting;
use crate::types::StoreAnnounce;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use swarm_proto::id::InfoHash;

/// Ready when what other nodes know of a swarm is here, or was waited for long enough.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A store behind this one.
pub trait Remote: Send + Sync + std::fmt::Debug {
    /// A peer has announced here. Must return at once; a [`Wait`] if what is known of its swarm is too old.
    fn announced(&self, request: &StoreAnnounce<'_>) -> Option<Wait>;

    /// A peer is gone whose connection has ended.
    fn removed(&self, info_hash: &InfoHash, address: SocketAddr);

    /// Has something done that waits, for those who have threads of their own and must not: on the runtime that also talks
    /// to the other store.
    fn spawn(&self, task: Wait);

    /// Whether it works.
    fn health(&self) -> RemoteHealth;
}

/// Whether a store behind this one works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteHealth {
    /// It answers. Where it does not, the node goes on with what it knows.
    pub up: bool,
    /// For people: what it is, and what is wrong with it.
    pub text: String,
}

/// A peer as another node knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemotePeer {
    /// Where it takes connections.
    pub address: SocketAddr,
    /// What is left of its id.
    pub tag: PeerTag,
    /// It has everything.
    pub seed: bool,
    /// Since when it is silent.
    pub age: Duration,
}

/// What was read of a swarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteSwarm {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Its peers, or some of them.
    pub peers: Vec<RemotePeer>,
    /// Peers that have completed it.
    pub downloaded: u32,
    /// `peers` are all that there are.
    pub is_whole: bool,
}

impl Store {
    /// Puts a store behind this one; the first one counts.
    pub fn set_remote(&self, remote: Arc<dyn Remote>) {
        drop(self.remote.set(remote));
    }

    /// Has something done that begins with a [`Wait`], elsewhere; without a store behind this one there is nothing to wait
    /// for, and nothing is done.
    pub fn spawn_behind(&self, task: Wait) {
        if let Some(remote) = self.remote.get() {
            remote.spawn(task);
        }
    }

    /// Whether the store behind this one works, if there is one.
    pub fn remote_health(&self) -> Option<RemoteHealth> {
        self.remote.get().map(|remote| remote.health())
    }

    /// Takes over what another store knows of a swarm that is known here, as far as there is room. Observers are told.
    pub fn import(&self, now: Instant, swarm: &RemoteSwarm) {
        let key = self.key(swarm.info_hash);
        self.with_shard(key, now, |shard, context| shard.import(key, swarm, context));
    }
}

impl Shard {
    fn import(&mut self, key: Key, swarm: &RemoteSwarm, context: &mut Context<'_>) {
        let Some(position) = self.find(key) else { return };
        let ttl = context.config.forgotten_after();
        for peer in swarm.peers.iter().filter(|peer| peer.age <= ttl) {
            self.import_peer(position, peer, context);
        }
        if let Some(torrent) = self.torrents.get_mut(position) {
            torrent.downloaded = torrent.downloaded.max(swarm.downloaded);
        }
        if swarm.is_whole {
            let there = swarm.peers.iter().map(|peer| Address::from(peer.address)).collect();
            self.forget_imported(position, &there, context);
        }
    }

    fn import_peer(&mut self, position: usize, peer: &RemotePeer, context: &mut Context<'_>) {
        let address = Address::from(peer.address);
        let age = u32::try_from(peer.age.as_secs()).unwrap_or(u32::MAX);
        let Some(torrent) = self.torrents.get(position) else { return };
        let place = self.pools.find(torrent, &address, context.hasher);
        let known_age = place.and_then(|place| self.pools.age_of(torrent, &address, place, context.now));
        // What was heard here is newer than what is said of it.
        let is_news = known_age.is_none_or(|known| u32::from(known) > age);
        let room = place.is_some() || context.totals.peers.load(Relaxed) < context.config.max_peers;
        if is_news && room {
            let sighting = Sighting { tag: peer.tag, seed: peer.seed, now: context.now, age, imported: true };
            self.put(position, (address, place), sighting, (None, false), context);
        }
    }

    /// Removes the peers that other nodes told of, but for these.
    fn forget_imported(&mut self, position: usize, there: &HashSet<Address>, context: &mut Context<'_>) {
        let peers = self.torrents.get(position).map_or(0, |torrent| self.pools.len(torrent));
        for number in (0..peers).rev() {
            let Some(torrent) = self.torrents.get(position) else { return };
            let Some((address, place, _)) = self.pools.nth(torrent, number, context.now) else { continue };
            let imported = self.pools.record_tag(torrent, &address, place).is_some_and(|(_, imported)| imported);
            if imported && !there.contains(&address) {
                self.remove_at(position, (address, place), None, context);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, StoreConfig};
    use swarm_proto::announce::AnnounceEvent;
    use swarm_proto::id::PeerId;

    const HASH: InfoHash = InfoHash([1; 20]);

    fn announce(n: u8) -> StoreAnnounce<'static> {
        StoreAnnounce {
            info_hash: HASH,
            peer_id: PeerId([n; 20]),
            address: ([8, 8, 8, n], 1).into(),
            left: 1,
            event: AnnounceEvent::Started,
            num_want: None,
            dialect: Dialect::Http,
            passkey: None,
        }
    }

    fn remote(n: u8, age: u64) -> RemotePeer {
        let tag = PeerTag::of(&PeerId([n; 20]));
        RemotePeer { address: ([8, 8, 8, n], 1).into(), tag, seed: true, age: Duration::from_secs(age) }
    }

    fn known(store: &Store) -> Vec<(u8, bool)> {
        let last = |address: SocketAddr| match address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        let mut known: Vec<_> = store.peers(&HASH, 99).iter().map(|peer| (last(peer.address), peer.seed)).collect();
        known.sort_unstable();
        known
    }

    #[test]
    fn what_others_know_is_taken_over_and_forgotten_with_them() {
        let now = Instant::now();
        let store = Store::new(StoreConfig { max_peers: 6, ..StoreConfig::default() }, now);
        let swarm = |peers: &[RemotePeer], is_whole| RemoteSwarm {
            info_hash: HASH,
            peers: peers.to_vec(),
            downloaded: 7,
            is_whole,
        };
        store.import(now, &swarm(&[remote(9, 0)], true));
        assert_eq!(store.stats().torrents, 0, "nobody here wants it");
        store.announce(now, &announce(1)).unwrap();
        store.announce(now, &announce(2)).unwrap();
        let later = now + Duration::from_secs(100);
        store.announce(later, &announce(2)).unwrap();
        store.import(later, &swarm(&[remote(1, 50), remote(2, 50), remote(3, 600), remote(4, 700)], false));
        assert_eq!(known(&store), [(1, true), (2, false), (3, true)], "the newer counts, and the dead do not");
        assert_eq!(store.scrape(&[HASH])[0].downloaded, 7);
        let reply = store.announce(later, &announce(5)).unwrap();
        assert_eq!((reply.peers.len(), reply.complete), (3, 2));
        store.import(later, &swarm(&[remote(1, 50), remote(6, 0), remote(7, 0), remote(8, 0), remote(9, 0)], true));
        assert_eq!(
            known(&store),
            [(1, true), (2, false), (5, false), (6, true), (7, true)],
            "3 is gone; 6 are the most"
        );
        // Whoever announces here is ours again.
        store.announce(later, &announce(6)).unwrap();
        store.import(later, &swarm(&[], true));
        assert_eq!(known(&store), [(2, false), (5, false), (6, false)]);
        store.check_invariants();
        assert_eq!(store.expire(later + Duration::from_secs(3_600)), 3);
    }
}
