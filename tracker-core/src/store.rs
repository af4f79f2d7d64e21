//! The store: shards, bounds, observers.

use crate::address::Address;
use crate::rate::{Limiter, Rates, TooOften};
use crate::shard::{Context, Shard, Totals};
use crate::swarm::{Asker, Swarm};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use swarm_proto::announce::http::ScrapeEntry;
use swarm_proto::announce::{AnnounceEvent, PeerAddress};
use swarm_proto::id::{InfoHash, PeerId};

/// Peers in an answer to someone who does not say how many.
pub const DEFAULT_PEERS: usize = 50;
/// Peers in an answer at most.
pub const MOST_PEERS: usize = 200;
/// Locks: far more than cores, far fewer than torrents.
const SHARDS: usize = 64;
/// The store's clock starts here, so that what was loaded from a snapshot may be older than the store.
const FIRST_SECOND: u32 = 1 << 30;
/// Torrents that are looked at under one hold of a lock when peers expire.
const EXPIRY_SLICE: usize = 256;

/// Bounds and times of a store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Torrents at most; the crate's front page says what gives way. One takes some 300 bytes.
    pub max_torrents: usize,
    /// Peers at most, all torrents together. One takes some 70 bytes.
    pub max_peers: usize,
    /// The interval that announcing peers are told.
    pub interval: Duration,
    /// The time before which they shall not announce again.
    pub min_interval: Duration,
    /// Peers are forgotten when they have been silent for so long.
    pub peer_ttl: Duration,
    /// What one network may do.
    pub rates: Rates,
    /// For the random choice of peers.
    pub seed: u64,
}

impl Default for StoreConfig {
    /// 200,000 torrents, 2,000,000 peers (some 200 MB), an announce every 5 minutes, forgotten after 11.
    fn default() -> Self {
        Self {
            max_torrents: 200_000,
            max_peers: 2_000_000,
            interval: Duration::from_secs(5 * 60),
            min_interval: Duration::from_secs(60),
            peer_ttl: Duration::from_secs(11 * 60),
            rates: Rates::default(),
            seed: 0,
        }
    }
}

/// By which protocol something was announced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// BEP 3.
    Http,
    /// BEP 15: its answers hold peers of the asker's address family only.
    Udp,
    /// The native protocol.
    Native,
}

/// An announce, as the store needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreAnnounce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// How the peer calls itself.
    pub peer_id: PeerId,
    /// Where the peer takes connections: the source address as the tracker saw it, and the port that the peer named.
    pub address: SocketAddr,
    /// Bytes that the peer lacks; 0 makes it a seed.
    pub left: u64,
    /// Why it announces.
    pub event: AnnounceEvent,
    /// How many peers it wants.
    pub num_want: Option<u32>,
    /// How it came in.
    pub dialect: Dialect,
}

/// The answer to an announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreReply {
    /// Seeds in the swarm.
    pub complete: u32,
    /// Leechers in the swarm.
    pub incomplete: u32,
    /// Peers that have completed the torrent so far.
    pub downloaded: u32,
    /// Chosen at random, with their ids.
    pub peers: Vec<PeerAddress>,
}

/// Why the store does not do what it is asked; try again later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreRefusal {
    /// There is no room for this torrent or peer.
    #[error("the tracker is full")]
    Full,
    /// The asker's network has done more than [`StoreConfig::rates`] allows.
    #[error("your network asks too often, or brings in too many peers")]
    TooOften {
        /// When it may go on, if it is silent until then.
        retry_in: Duration,
    },
}

impl From<TooOften> for StoreRefusal {
    fn from(TooOften(retry_in): TooOften) -> Self {
        Self::TooOften { retry_in }
    }
}

/// What happened to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChangeKind {
    /// It announced for the first time.
    Joined {
        /// It has everything.
        seed: bool,
    },
    /// A leecher became a seed.
    Completed,
    /// It stopped, was removed, expired, or had to make room.
    Left,
}

/// A change in a swarm, for observers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Where the peer takes connections.
    pub address: SocketAddr,
    /// How it calls itself.
    pub peer_id: PeerId,
    /// What happened.
    pub kind: ChangeKind,
    /// By which dialect; `None` if the store did it itself.
    pub dialect: Option<Dialect>,
}

/// Called after each change, on the thread that made it, with no lock held; must return fast.
pub type Observer = Box<dyn Fn(&Change) + Send + Sync>;

/// A peer as the store knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredPeer {
    /// Where it takes connections.
    pub address: SocketAddr,
    /// How it calls itself.
    pub peer_id: PeerId,
    /// It has everything.
    pub seed: bool,
}

/// Counts over everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    /// Torrents known, empty ones included.
    pub torrents: u64,
    /// Peers.
    pub peers: u64,
    /// Peers that have everything.
    pub seeds: u64,
    /// Announces since the start.
    pub announces: u64,
    /// Torrents named in scrapes since the start.
    pub scrapes: u64,
    /// Peers that had to make room.
    pub evicted_peers: u64,
    /// Torrents that had to make room.
    pub evicted_torrents: u64,
    /// Announces refused because the store was full.
    pub refused: u64,
    /// Announces, scrapes and questions refused because of [`StoreConfig::rates`].
    pub limited: u64,
}

/// All swarms of a tracker; see the crate's front page. Shared by reference among threads.
pub struct Store {
    pub(crate) shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    start: Instant,
    pub(crate) config: StoreConfig,
    pub(crate) totals: Totals,
    limiter: Limiter,
    announces: AtomicU64,
    scrapes: AtomicU64,
    observers: RwLock<Vec<Observer>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("config", &self.config).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store.
    pub fn new(config: StoreConfig, now: Instant) -> Self {
        Self {
            // One seed for all: in which shard a torrent ends up differs from run to run, and must not matter.
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(config.seed))).collect(),
            hasher: RandomState::new(),
            start: now,
            limiter: Limiter::new(config.rates, now),
            config,
            totals: Totals::default(),
            announces: AtomicU64::new(0),
            scrapes: AtomicU64::new(0),
            observers: RwLock::new(Vec::new()),
        }
    }

    /// The bounds and times.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Has every change from now on told to `observer`, whichever dialect it comes by.
    pub fn observe(&self, observer: Observer) {
        self.observers.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    /// Takes in an announce and answers it.
    ///
    /// A `stopped` removes the peer and brings no peers; it does nothing if another peer id has taken over the address.
    ///
    /// # Errors
    /// [`StoreRefusal`] if the bounds leave no room for a newcomer, or its network has asked too often. A `stopped` is
    /// never refused.
    pub fn announce(&self, now: Instant, request: &StoreAnnounce) -> Result<StoreReply, StoreRefusal> {
        if request.event != AnnounceEvent::Stopped {
            self.admit(now, request.address.ip(), 1)?;
        }
        self.announces.fetch_add(1, Relaxed);
        let wanted = request.num_want.map_or(DEFAULT_PEERS, |wanted| MOST_PEERS.min(wanted as usize));
        let (answer, changes) =
            self.with_shard(&request.info_hash, now, |shard, context| shard.announce(request, wanted, context));
        self.tell(&changes);
        let (seeds, leechers, downloaded, peers) = answer?;
        Ok(StoreReply { complete: count(seeds), incomplete: count(leechers), downloaded, peers })
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

    /// Removes a peer, as its connection has ended. Returns whether it was there under this id.
    pub fn remove(
        &self,
        now: Instant,
        info_hash: InfoHash,
        address: SocketAddr,
        peer_id: &PeerId,
        dialect: Dialect,
    ) -> bool {
        let address = Address::from(address);
        let (removed, changes) = self.with_shard(&info_hash, now, |shard, context| {
            shard.remove(info_hash, &address, peer_id, Some(dialect), context)
        });
        self.tell(&changes);
        removed
    }

    /// Peers of a torrent for somebody who asks without announcing, chosen by the rules for a leecher at `address`.
    pub fn choose(
        &self,
        info_hash: &InfoHash,
        address: SocketAddr,
        peer_id: &PeerId,
        num_want: Option<u32>,
    ) -> StoreReply {
        let wanted = num_want.map_or(DEFAULT_PEERS, |wanted| MOST_PEERS.min(wanted as usize));
        let asker = Asker { address: &Address::from(address), peer_id, seed: false, one_family: false };
        let answer = self.shard(info_hash).choose(info_hash, &asker, wanted);
        let (seeds, leechers, downloaded, peers) = answer;
        StoreReply { complete: count(seeds), incomplete: count(leechers), downloaded, peers }
    }

    /// Counts of these torrents, in their order; zeros for those that nobody announced.
    pub fn scrape(&self, hashes: &[InfoHash]) -> Vec<ScrapeEntry> {
        self.scrapes.fetch_add(hashes.len() as u64, Relaxed);
        let entry = |hash: &InfoHash| {
            let shard = self.shard(hash);
            shard.torrents.get(hash).map_or_else(ScrapeEntry::default, |swarm| ScrapeEntry {
                complete: count(swarm.seeds()),
                incomplete: count(swarm.leechers()),
                downloaded: swarm.downloaded,
            })
        };
        hashes.iter().map(entry).collect()
    }

    /// Up to `limit` peers of a torrent, seeds first: for people and catalogues, not for peers.
    pub fn peers(&self, info_hash: &InfoHash, limit: usize) -> Vec<StoredPeer> {
        let shard = self.shard(info_hash);
        let peers = shard.torrents.get(info_hash).into_iter().flat_map(|swarm| swarm.iter());
        peers
            .take(limit)
            .map(|(address, peer, seed)| StoredPeer { address: address.socket(), peer_id: peer.peer_id, seed })
            .collect()
    }

    /// Forgets the peers that have been silent for too long, and torrents that have been empty for a day. Returns the
    /// number of peers. Locks are held for short times only.
    pub fn expire(&self, now: Instant) -> usize {
        let mut expired = 0;
        for shard in &self.shards {
            let mut next = Some(usize::MAX);
            while let Some(from) = next {
                let mut context = self.context(now);
                next = lock(shard).expire(from, EXPIRY_SLICE, &mut context);
                expired += context.changes.len();
                self.tell(&context.changes);
            }
        }
        expired
    }

    /// Counts over everything.
    pub fn stats(&self) -> StoreStats {
        let Totals { torrents, peers, seeds, evicted_peers, evicted_torrents, refused, limited } = &self.totals;
        StoreStats {
            torrents: torrents.load(Relaxed) as u64,
            peers: peers.load(Relaxed) as u64,
            seeds: seeds.load(Relaxed) as u64,
            announces: self.announces.load(Relaxed),
            scrapes: self.scrapes.load(Relaxed),
            evicted_peers: evicted_peers.load(Relaxed),
            evicted_torrents: evicted_torrents.load(Relaxed),
            refused: refused.load(Relaxed),
            limited: limited.load(Relaxed),
        }
    }

    /// Asserts what must hold between any two calls. For tests; stops all others meanwhile.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn check_invariants(&self) {
        let shards: Vec<MutexGuard<'_, Shard>> = self.shards.iter().map(lock).collect();
        let swarms = || shards.iter().flat_map(|shard| shard.torrents.values());
        swarms().for_each(Swarm::check_invariants);
        let Totals { torrents, peers, seeds, .. } = &self.totals;
        assert_eq!(torrents.load(Relaxed), swarms().count(), "count of torrents");
        assert_eq!(peers.load(Relaxed), swarms().map(Swarm::len).sum(), "count of peers");
        assert_eq!(seeds.load(Relaxed), swarms().map(Swarm::seeds).sum(), "count of seeds");
    }

    /// The second of the store's clock at `now`.
    pub(crate) fn second(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.start).as_secs();
        FIRST_SECOND.saturating_add(u32::try_from(elapsed).unwrap_or(u32::MAX))
    }

    pub(crate) fn context(&self, now: Instant) -> Context<'_> {
        let (config, totals, limiter) = (&self.config, &self.totals, &self.limiter);
        Context { now: self.second(now), instant: now, config, totals, limiter, changes: Vec::new() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the remainder is less than the number of shards")]
    pub(crate) fn shard(&self, info_hash: &InfoHash) -> MutexGuard<'_, Shard> {
        let index = (self.hasher.hash_one(info_hash) % SHARDS as u64) as usize;
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS of them")]
        lock(&self.shards[index])
    }

    fn with_shard<T>(
        &self,
        info_hash: &InfoHash,
        now: Instant,
        work: impl FnOnce(&mut Shard, &mut Context<'_>) -> T,
    ) -> (T, Vec<Change>) {
        let mut context = self.context(now);
        let outcome = work(&mut self.shard(info_hash), &mut context);
        (outcome, context.changes)
    }

    fn tell(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let observers = self.observers.read().unwrap_or_else(PoisonError::into_inner);
        observers.iter().for_each(|observer| changes.iter().for_each(observer));
    }
}

/// A panic under the lock left the counts at worst a little off.
pub(crate) fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
