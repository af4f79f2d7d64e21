//! The store: shards, bounds, observers.

use crate::access::Access;
use crate::choice::{Asker, CompactPeers};
use crate::rate::{Limiter, Rates};
use crate::record::{Address, OLDEST, PeerTag};
use crate::remote::{Remote, Wait};
use crate::shard::{Context, Key, Shard, Totals};
use crate::swarm::numbered;
use crate::sweep::Walk;
use crate::types::{
    Change, Dialect, Observer, StoreAnnounce, StoreRefusal, StoreReply, StoreStats, StoredPeer, SwarmCounts,
};
use arc_swap::{ArcSwap, Guard};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};
use swarm_proto::announce::http::ScrapeEntry;
use swarm_proto::announce::{AnnounceEvent, PeerAddress};
use swarm_proto::id::{InfoHash, PeerId};

/// Peers in an answer to someone who does not say how many.
pub const DEFAULT_PEERS: usize = 50;
/// Peers in an answer at most.
pub const MOST_PEERS: usize = 200;
/// Locks of a small store: far more than cores.
const LEAST_SHARDS: usize = 64;
/// Locks of the largest store; one takes some 300 bytes.
const MOST_SHARDS: usize = 1 << 16;
/// Torrents of a full shard on average: so few that to move all of them takes less than a millisecond.
const SHARD_TORRENTS: usize = 512;
/// The store's clock starts here, so that what was loaded from a snapshot may be older than the store.
const FIRST_SECOND: u32 = 1 << 30;
/// Torrents and peers that are looked at under one hold of a lock when peers expire: a tenth of a millisecond.
const EXPIRY_SLICE: usize = 256;
/// How often the thread that expires peers steps aside for one that waits for its lock.
const MOST_YIELDS: u32 = 1_000;
/// Counters beside each other, so that cores do not fight for one.
const COUNTERS: usize = 16;

/// Bounds and times of a store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Torrents at most; the crate's front page says what gives way. One takes some 55 bytes.
    pub max_torrents: usize,
    /// Peers at most, all torrents together. One takes 11 bytes, some 25 in swarms of more than 64; 12 more over IPv6.
    pub max_peers: usize,
    /// Bytes of memory at most, torrents and peers together; gives way as peers do. `usize::MAX` for no such bound.
    pub max_bytes: usize,
    /// The interval that announcing peers are told.
    pub interval: Duration,
    /// The time before which they shall not announce again.
    pub min_interval: Duration,
    /// Peers are forgotten when they have been silent for so long; nine hours at most.
    pub peer_ttl: Duration,
    /// What one network may do.
    pub rates: Rates,
    /// Which torrents are tracked, and for whom; `None` for all and everybody.
    pub access: Option<Arc<Access>>,
    /// For the random choice of peers.
    pub seed: u64,
}

impl Default for StoreConfig {
    /// 200,000 torrents, 2,000,000 peers (some 50 MB), an announce every 5 minutes, forgotten after 11.
    fn default() -> Self {
        Self {
            max_torrents: 200_000,
            max_peers: 2_000_000,
            max_bytes: usize::MAX,
            interval: Duration::from_secs(5 * 60),
            min_interval: Duration::from_secs(60),
            peer_ttl: Duration::from_secs(11 * 60),
            rates: Rates::default(),
            access: None,
            seed: 0,
        }
    }
}

impl StoreConfig {
    /// After how much silence peers are forgotten in fact: [`StoreConfig::peer_ttl`] in whole seconds, and never more than the
    /// nine hours that a record can tell.
    pub fn forgotten_after(&self) -> Duration {
        Duration::from_secs(self.ttl().into())
    }

    /// The time to live in seconds, as records can tell it.
    pub(crate) fn ttl(&self) -> u16 {
        u16::try_from(self.peer_ttl.as_secs()).unwrap_or(u16::MAX).min(OLDEST - 1)
    }

    fn shards(&self) -> usize {
        (self.max_torrents / SHARD_TORRENTS).clamp(LEAST_SHARDS, MOST_SHARDS).next_power_of_two()
    }
}

/// A shard, and how many threads wait for it.
#[derive(Debug)]
pub(crate) struct Door {
    shard: Mutex<Shard>,
    waiting: AtomicU32,
}

impl Door {
    /// A panic under the lock left the counts at worst a little off.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shard> {
        match self.shard.try_lock() {
            Ok(shard) => shard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.waiting.fetch_add(1, Relaxed);
                let shard = self.shard.lock().unwrap_or_else(PoisonError::into_inner);
                self.waiting.fetch_sub(1, Relaxed);
                shard
            }
        }
    }

    /// Lets those go first who wait: the lock itself would be had again before they wake up.
    pub(crate) fn step_aside(&self) {
        for _ in 0..MOST_YIELDS {
            if self.waiting.load(Relaxed) == 0 {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// A counter in a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Counter(AtomicU64);

/// All swarms of a tracker; see the crate's front page. Shared by reference among threads.
pub struct Store {
    pub(crate) shards: Vec<Door>,
    pub(crate) hasher: RandomState,
    start: Instant,
    config: ArcSwap<StoreConfig>,
    pub(crate) totals: Totals,
    limiter: Limiter,
    announces: [Counter; COUNTERS],
    scrapes: AtomicU64,
    observed: AtomicBool,
    observers: RwLock<Vec<Observer>>,
    pub(crate) remote: OnceLock<Arc<dyn Remote>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("config", &**self.config()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store.
    pub fn new(config: StoreConfig, now: Instant) -> Self {
        // One seed for all: in which shard a torrent ends up differs from run to run, and must not matter.
        let door = |_| Door { shard: Mutex::new(Shard::new(config.seed, FIRST_SECOND)), waiting: AtomicU32::new(0) };
        Self {
            shards: (0..config.shards()).map(door).collect(),
            hasher: RandomState::new(),
            start: now,
            limiter: Limiter::new(config.rates, now),
            config: ArcSwap::from_pointee(config),
            totals: Totals::default(),
            announces: Default::default(),
            scrapes: AtomicU64::new(0),
            observed: AtomicBool::new(false),
            observers: RwLock::new(Vec::new()),
            remote: OnceLock::new(),
        }
    }

    /// The bounds and times, as they are now.
    pub fn config(&self) -> Guard<Arc<StoreConfig>> {
        self.config.load()
    }

    /// From now on these bounds and times hold. Nothing is lost: where there is more than they allow, newcomers make it less.
    /// [`StoreConfig::rates`] and [`StoreConfig::seed`] stay what they were at the start.
    pub fn reconfigure(&self, config: StoreConfig) {
        self.config.store(Arc::new(config));
    }

    /// Has every change from now on told to `observer`, whichever dialect it comes by.
    pub fn observe(&self, observer: Observer) {
        self.observers.write().unwrap_or_else(PoisonError::into_inner).push(observer);
        self.observed.store(true, Relaxed);
    }

    /// Takes in an announce and answers it.
    ///
    /// A `stopped` removes the peer and brings no peers; it does nothing if another peer id has taken over the address.
    ///
    /// # Errors
    /// [`StoreRefusal`] if the bounds leave no room for a newcomer, or its network has asked too often (a `stopped` is never
    /// refused for either), or its torrent or its key is not welcome.
    pub fn announce(&self, now: Instant, request: &StoreAnnounce<'_>) -> Result<StoreReply, StoreRefusal> {
        let mut peers = CompactPeers::default();
        let counts = self.announce_into(now, request, &mut peers)?;
        Ok(reply(counts, &peers))
    }

    /// [`Store::announce`] without a byte of memory of its own: the peers are written to `out`, which is cleared first
    /// and can serve for the next announce.
    ///
    /// # Errors
    /// As [`Store::announce`].
    pub fn announce_into(
        &self,
        now: Instant,
        request: &StoreAnnounce<'_>,
        out: &mut CompactPeers,
    ) -> Result<SwarmCounts, StoreRefusal> {
        self.announce_or_wait(now, request, out).map(|(counts, _)| counts)
    }

    /// [`Store::announce_into`], and with a store behind this one a [`Wait`] where other nodes may know of more peers. Whoever
    /// waits for it, a quarter of a second at most, writes the answer anew with [`Store::answer_into`].
    ///
    /// # Errors
    /// As [`Store::announce`].
    pub fn announce_or_wait(
        &self,
        now: Instant,
        request: &StoreAnnounce<'_>,
        out: &mut CompactPeers,
    ) -> Result<(SwarmCounts, Option<Wait>), StoreRefusal> {
        out.clear();
        if request.event != AnnounceEvent::Stopped {
            self.admit(now, request.address.ip(), 1)?;
        }
        let config = self.config();
        if let Some(access) = &config.access {
            let checked = access.announce(self.second(now), config.ttl().into(), request);
            checked.inspect_err(|_| {
                self.totals.denied.fetch_add(1, Relaxed);
            })?;
        }
        let key = self.key(request.info_hash);
        self.count_announce(key);
        let wanted = wanted(request.num_want);
        let counts = self.with_shard(key, now, |shard, context| shard.announce(key, request, wanted, context, out))?;
        Ok((counts, self.remote.get().and_then(|remote| remote.announced(request))))
    }

    /// Counts so many requests of the network of `ip`; for all that is answered beside announces, which count themselves.
    ///
    /// # Errors
    /// [`StoreRefusal::TooOften`]: not to be answered.
    pub fn admit(&self, now: Instant, ip: IpAddr, requests: u32) -> Result<(), StoreRefusal> {
        self.limiter.request(now, ip, requests).map_err(|refusal| {
            self.totals.limited.fetch_add(1, Relaxed);
            refusal.into()
        })
    }

    /// Counts a question for the peers of a torrent by somebody at `ip` who does not join it, for [`Store::choose`].
    ///
    /// # Errors
    /// [`StoreRefusal::TooOften`]: not to be answered.
    pub fn admit_list(&self, now: Instant, ip: IpAddr) -> Result<(), StoreRefusal> {
        self.limiter.list(now, ip).map_err(|refusal| {
            self.totals.limited.fetch_add(1, Relaxed);
            refusal.into()
        })
    }

    /// Whether this key is good, where one is needed; for all that is answered beside announces, which tell theirs.
    ///
    /// # Errors
    /// [`StoreRefusal::NoKey`], [`StoreRefusal::UnknownKey`].
    pub fn check_key(&self, passkey: Option<&[u8]>) -> Result<(), StoreRefusal> {
        self.config().access.as_ref().map_or(Ok(()), |access| access.check_key(passkey))
    }

    /// A peer that announced with this key is removed: from now on it does not count for the key's limits.
    pub fn release_key(&self, info_hash: &InfoHash, address: SocketAddr, passkey: &[u8]) {
        if let Some(access) = &self.config().access {
            access.leave(info_hash, address, passkey);
        }
    }

    /// Removes a peer, as its connection has ended. Returns whether it was there under this id.
    pub fn remove(
        &self,
        now: Instant,
        info_hash: InfoHash,
        address: SocketAddr,
        peer_id: &PeerId,
        dialect: Dialect,
    ) -> bool {
        let (key, address, tag) = (self.key(info_hash), Address::from(address), PeerTag::of(peer_id));
        let removed =
            self.with_shard(key, now, |shard, context| shard.remove(key, &address, tag, Some(dialect), context));
        if let Some(remote) = self.remote.get().filter(|_| removed) {
            remote.removed(&info_hash, address.socket());
        }
        removed
    }

    /// Peers of a torrent for somebody who asks without announcing, chosen by the rules for a leecher at `address`. Nobody
    /// is told of a torrent that is not tracked, and a private tracker tells nobody without a good key.
    pub fn choose(
        &self,
        info_hash: &InfoHash,
        address: SocketAddr,
        peer_id: &PeerId,
        num_want: Option<u32>,
        passkey: Option<&[u8]>,
    ) -> StoreReply {
        let asker = Asker::new(address.into(), PeerTag::of(peer_id), false, false);
        let (key, mut peers) = (self.key(*info_hash), CompactPeers::default());
        let closed = self.config().access.as_ref().is_some_and(|access| access.check(info_hash, passkey).is_err());
        if closed {
            return reply(SwarmCounts::default(), &peers);
        }
        let counts = self.door(key).lock().choose(key, &asker, wanted(num_want), &mut peers);
        reply(counts, &peers)
    }

    /// Writes the answer to an announce that was taken in before, as it is now; changes nothing.
    pub fn answer_into(&self, request: &StoreAnnounce<'_>, out: &mut CompactPeers) -> SwarmCounts {
        out.clear();
        let (address, tag) = (request.address.into(), PeerTag::of(&request.peer_id));
        let asker = Asker::new(address, tag, request.left == 0, request.dialect == Dialect::Udp);
        let wanted = if request.wants_peers() { wanted(request.num_want) } else { 0 };
        let key = self.key(request.info_hash);
        self.door(key).lock().choose(key, &asker, wanted, out)
    }

    /// Counts of a torrent; zeros if nobody announced it.
    pub fn scrape_one(&self, info_hash: &InfoHash) -> SwarmCounts {
        self.scrapes.fetch_add(1, Relaxed);
        let key = self.key(*info_hash);
        let shard = self.door(key).lock();
        shard.find(key).map(|position| shard.counts(position)).unwrap_or_default()
    }

    /// Counts of these torrents, in their order; zeros for those that nobody announced.
    pub fn scrape(&self, hashes: &[InfoHash]) -> Vec<ScrapeEntry> {
        let entry = |hash: &InfoHash| {
            let SwarmCounts { complete, incomplete, downloaded } = self.scrape_one(hash);
            ScrapeEntry { complete, incomplete, downloaded }
        };
        hashes.iter().map(entry).collect()
    }

    /// Up to `limit` peers of a torrent, seeds of a family first: for people and catalogues, not for peers.
    pub fn peers(&self, info_hash: &InfoHash, limit: usize) -> Vec<StoredPeer> {
        let key = self.key(*info_hash);
        let shard = self.door(key).lock();
        let Some(torrent) = shard.find(key).and_then(|position| shard.torrents.get(position)) else {
            return Vec::new();
        };
        let v4 = numbered(shard.pools.v4.peers(torrent.v4), 0).map(|(peer, seed)| StoredPeer {
            address: peer.socket(),
            tag: peer.tag(),
            seed,
        });
        let v6 = numbered(shard.pools.v6.peers(torrent.v6), 0).map(|(peer, seed)| StoredPeer {
            address: peer.socket(),
            tag: peer.tag(),
            seed,
        });
        v4.chain(v6).take(limit).collect()
    }

    /// Forgets the peers that have been silent for too long, and torrents that have been empty for a day. Returns the
    /// number of peers. Locks are held for a small part of a millisecond at a time.
    pub fn expire(&self, now: Instant) -> usize {
        self.expire_in_slices(now, || ())
    }

    /// [`Store::expire`] that calls `between` whenever it has let go of a lock.
    pub fn expire_in_slices(&self, now: Instant, mut between: impl FnMut()) -> usize {
        let mut expired = 0;
        for door in &self.shards {
            let mut walk = Walk::START;
            loop {
                let mut context = self.context(now);
                let (removed, done) = door.lock().expire(&mut walk, EXPIRY_SLICE, &mut context);
                expired += removed;
                self.tell(context.changes);
                between();
                if done {
                    break;
                }
                door.step_aside();
            }
        }
        expired
    }

    /// Counts over everything.
    pub fn stats(&self) -> StoreStats {
        let Totals { torrents, peers, seeds, bytes, evicted_peers, evicted_torrents, refused, limited, denied } =
            &self.totals;
        StoreStats {
            torrents: torrents.load(Relaxed) as u64,
            peers: peers.load(Relaxed) as u64,
            seeds: seeds.load(Relaxed) as u64,
            bytes: bytes.load(Relaxed) as u64,
            announces: self.announces.iter().map(|counter| counter.0.load(Relaxed)).sum(),
            scrapes: self.scrapes.load(Relaxed),
            evicted_peers: evicted_peers.load(Relaxed),
            evicted_torrents: evicted_torrents.load(Relaxed),
            refused: refused.load(Relaxed),
            limited: limited.load(Relaxed),
            denied: denied.load(Relaxed),
        }
    }

    /// Asserts what must hold between any two calls. For tests; stops all others meanwhile.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn check_invariants(&self) {
        let shards: Vec<MutexGuard<'_, Shard>> = self.shards.iter().map(Door::lock).collect();
        shards.iter().for_each(|shard| shard.check_invariants(u32::MAX, &self.hasher));
        let swarms = || shards.iter().flat_map(|shard| shard.torrents.iter().map(|torrent| (&shard.pools, torrent)));
        let Totals { torrents, peers, seeds, .. } = &self.totals;
        assert_eq!(torrents.load(Relaxed), swarms().count(), "count of torrents");
        assert_eq!(peers.load(Relaxed), swarms().map(|(pools, it)| pools.len(it)).sum(), "count of peers");
        assert_eq!(seeds.load(Relaxed), swarms().map(|(pools, it)| pools.seeds(it)).sum(), "count of seeds");
    }

    /// The second of the store's clock at `now`.
    pub(crate) fn second(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.start).as_secs();
        FIRST_SECOND.saturating_add(u32::try_from(elapsed).unwrap_or(u32::MAX))
    }

    pub(crate) fn context(&self, now: Instant) -> Context<'_> {
        Context {
            now: self.second(now),
            instant: now,
            config: self.config.load(),
            totals: &self.totals,
            limiter: &self.limiter,
            hasher: &self.hasher,
            changes: self.observed.load(Relaxed).then(Vec::new),
        }
    }

    pub(crate) fn key(&self, info_hash: InfoHash) -> Key {
        Key { info_hash, hash: self.hasher.hash_one(info_hash) }
    }

    pub(crate) fn door(&self, key: Key) -> &Door {
        // The tables in a shard use the lowest and the highest bits.
        let index = usize::try_from(key.hash >> 32 & 0xffff_ffff).unwrap_or_default() & (self.shards.len() - 1);
        #[expect(clippy::indexing_slicing, reason = "their number is a power of two")]
        &self.shards[index]
    }

    pub(crate) fn with_shard<T>(
        &self,
        key: Key,
        now: Instant,
        work: impl FnOnce(&mut Shard, &mut Context<'_>) -> T,
    ) -> T {
        let mut context = self.context(now);
        let outcome = {
            let mut shard = self.door(key).lock();
            shard.keep_ages(context.now);
            work(&mut shard, &mut context)
        };
        self.tell(context.changes);
        outcome
    }

    pub(crate) fn tell(&self, changes: Option<Vec<Change>>) {
        let Some(changes) = changes.filter(|changes| !changes.is_empty()) else { return };
        let observers = self.observers.read().unwrap_or_else(PoisonError::into_inner);
        observers.iter().for_each(|observer| changes.iter().for_each(observer));
    }

    fn count_announce(&self, key: Key) {
        let counter = usize::try_from(key.hash & 0xff).unwrap_or_default() % COUNTERS;
        if let Some(Counter(counter)) = self.announces.get(counter) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

fn wanted(num_want: Option<u32>) -> usize {
    num_want.map_or(DEFAULT_PEERS, |wanted| MOST_PEERS.min(wanted as usize))
}

fn reply(counts: SwarmCounts, peers: &CompactPeers) -> StoreReply {
    let SwarmCounts { complete, incomplete, downloaded } = counts;
    let peers = peers.iter().map(|address| PeerAddress { address, peer_id: None }).collect();
    StoreReply { complete, incomplete, downloaded, peers }
}

#[cfg(test)]
mod tests;
