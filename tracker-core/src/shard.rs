//! A part of all torrents, under one lock.
//!
//! Torrents stand densely in one array, so that a random one is one look, with an index beside it. Shards are many, and
//! so small that no table in them takes noticeable time to grow.

use crate::choice::{Asker, CompactPeers};
use crate::pieces::Pieces;
use crate::rate::{Limiter, TooOften};
use crate::record::{Address, PeerTag};
use crate::store::{MOST_PEERS, StoreConfig};
use crate::swarm::{Gone, Pools, Sighting, Torrent, Transition};
use crate::types::{Change, ChangeKind, Dialect, StoreAnnounce, StoreRefusal, SwarmCounts};
use arc_swap::Guard;
use hashbrown::HashTable;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::InfoHash;

/// Torrents of a piece of memory: 1,280 bytes.
const PIECE: usize = 32;
/// Torrents looked at when one must make room, and peers when one of a swarm must.
const SAMPLE: usize = 16;
/// Seconds after which ages are looked at in a store that nobody has expire anything: the records' time wraps around.
const UNSWEPT: u32 = 1 << 14;

/// What all shards of a store count together.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) torrents: AtomicUsize,
    pub(crate) peers: AtomicUsize,
    pub(crate) seeds: AtomicUsize,
    pub(crate) bytes: AtomicUsize,
    pub(crate) evicted_peers: AtomicU64,
    pub(crate) evicted_torrents: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) limited: AtomicU64,
    pub(crate) denied: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Shard {
    index: HashTable<u32>,
    pub(crate) torrents: Pieces<Torrent, PIECE>,
    pub(crate) pools: Pools,
    random: SmallRng,
    /// What this shard has added to the total of bytes.
    bytes: usize,
    /// Second at which no record was older than its bound.
    swept: u32,
    /// Second at which somebody was here last.
    visited: u32,
}

/// What goes with every announce: the second it comes in, the bounds, the counts, and the changes for the observers.
pub(crate) struct Context<'a> {
    pub(crate) now: u32,
    pub(crate) instant: Instant,
    pub(crate) config: Guard<Arc<StoreConfig>>,
    pub(crate) totals: &'a Totals,
    pub(crate) limiter: &'a Limiter,
    pub(crate) hasher: &'a RandomState,
    /// `None` where nobody wants to know.
    pub(crate) changes: Option<Vec<Change>>,
}

/// The torrent that is spoken of, and its place in the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) info_hash: InfoHash,
    pub(crate) hash: u64,
}

impl Context<'_> {
    pub(crate) fn left(&mut self, info_hash: InfoHash, gone: Gone, dialect: Option<Dialect>) {
        self.totals.peers.fetch_sub(1, Relaxed);
        self.change(info_hash, &gone.address, gone.tag, ChangeKind::Left, dialect);
    }

    pub(crate) fn change(
        &mut self,
        info_hash: InfoHash,
        address: &Address,
        tag: PeerTag,
        kind: ChangeKind,
        dialect: Option<Dialect>,
    ) {
        if let Some(changes) = &mut self.changes {
            changes.push(Change { info_hash, address: address.socket(), tag, kind, dialect });
        }
    }

    pub(crate) fn count_seeds(&self, before: usize, after: usize) {
        if after > before {
            self.totals.seeds.fetch_add(after - before, Relaxed);
        } else if before > after {
            self.totals.seeds.fetch_sub(before - after, Relaxed);
        }
    }

    fn is_full(&self) -> bool {
        self.totals.peers.load(Relaxed) >= self.config.max_peers || self.lacks_bytes()
    }

    fn lacks_bytes(&self) -> bool {
        self.totals.bytes.load(Relaxed) >= self.config.max_bytes
    }

    fn refused(&self) -> StoreRefusal {
        self.totals.refused.fetch_add(1, Relaxed);
        StoreRefusal::Full
    }

    fn limited(&self, refusal: TooOften) -> StoreRefusal {
        self.totals.limited.fetch_add(1, Relaxed);
        refusal.into()
    }
}

impl Shard {
    pub(crate) fn new(seed: u64, now: u32) -> Self {
        Self {
            index: HashTable::new(),
            torrents: Pieces::new(),
            pools: Pools::new(),
            random: SmallRng::seed_from_u64(seed),
            bytes: 0,
            swept: now,
            visited: now,
        }
    }

    pub(crate) fn announce(
        &mut self,
        key: Key,
        request: &StoreAnnounce<'_>,
        wanted: usize,
        context: &mut Context<'_>,
        out: &mut CompactPeers,
    ) -> Result<SwarmCounts, StoreRefusal> {
        let address = Address::from(request.address);
        let (tag, seed) = (PeerTag::of(&request.peer_id), request.left == 0);
        let position = if request.event == AnnounceEvent::Stopped {
            self.remove(key, &address, tag, Some(request.dialect), context);
            return Ok(self.find(key).map(|position| self.counts(position)).unwrap_or_default());
        } else {
            let sighting = Sighting { tag, seed, now: context.now, age: 0, imported: false };
            self.sight(key, address, sighting, request, context)?
        };
        let asker = Asker::new(address, tag, seed, request.dialect == Dialect::Udp);
        Ok(self.answer(position, &asker, wanted, out))
    }

    /// The counts of a swarm, and up to `wanted` peers for this one.
    pub(crate) fn choose(&mut self, key: Key, asker: &Asker, wanted: usize, out: &mut CompactPeers) -> SwarmCounts {
        self.find(key).map(|position| self.answer(position, asker, wanted, out)).unwrap_or_default()
    }

    fn answer(&mut self, position: usize, asker: &Asker, wanted: usize, out: &mut CompactPeers) -> SwarmCounts {
        if let Some(torrent) = self.torrents.get(position) {
            self.pools.choose(torrent, asker, wanted, &mut self.random, out);
        }
        self.counts(position)
    }

    pub(crate) fn counts(&self, position: usize) -> SwarmCounts {
        let Some(torrent) = self.torrents.get(position) else { return SwarmCounts::default() };
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (peers, seeds) = (self.pools.len(torrent), self.pools.seeds(torrent));
        SwarmCounts { complete: count(seeds), incomplete: count(peers - seeds), downloaded: torrent.downloaded }
    }

    pub(crate) fn find(&self, key: Key) -> Option<usize> {
        let is = |&at: &u32| self.torrents.get(at as usize).is_some_and(|torrent| torrent.info_hash == key.info_hash);
        self.index.find(key.hash, is).map(|&at| at as usize)
    }

    /// Puts in or renews a peer that has announced. Returns where its torrent is.
    fn sight(
        &mut self,
        key: Key,
        address: Address,
        sighting: Sighting,
        request: &StoreAnnounce<'_>,
        context: &mut Context<'_>,
    ) -> Result<usize, StoreRefusal> {
        let found = self.find(key);
        let place = found.and_then(|position| self.pools.find(self.torrents.get(position)?, &address, context.hasher));
        if place.is_none() {
            self.make_room(key, found, &address, context)?;
        }
        let position = match found.filter(|_| place.is_some()) {
            Some(position) => position,
            // Others may have moved when room was made.
            None => self.find_or_create(key, context),
        };
        let completes = request.event == AnnounceEvent::Completed;
        self.put(position, (address, place), sighting, (Some(request.dialect), completes), context);
        Ok(position)
    }

    pub(crate) fn find_or_create(&mut self, key: Key, context: &Context<'_>) -> usize {
        if let Some(position) = self.find(key) {
            return position;
        }
        let position = self.torrents.len();
        self.torrents.push(Torrent::new(key.info_hash, context.now));
        let Self { index, torrents, .. } = self;
        let hash =
            |&at: &u32| torrents.get(at as usize).map_or(0, |torrent| context.hasher.hash_one(torrent.info_hash));
        index.insert_unique(key.hash, u32::try_from(position).unwrap_or(u32::MAX), hash);
        context.totals.torrents.fetch_add(1, Relaxed);
        position
    }

    /// Renews the peer at its place, or puts it in where it has none.
    pub(crate) fn put(
        &mut self,
        position: usize,
        (address, place): (Address, Option<usize>),
        sighting: Sighting,
        (dialect, completes): (Option<Dialect>, bool),
        context: &mut Context<'_>,
    ) {
        let Sighting { tag, seed, .. } = sighting;
        let lacks_room =
            place.is_none() && self.torrents.get(position).is_some_and(|it| self.pools.lacks_room(it, &address));
        if lacks_room {
            self.get_memory(address.is_v4());
        }
        let Some(torrent) = self.torrents.get_mut(position) else { return };
        torrent.touched = torrent.touched.max(sighting.now.saturating_sub(sighting.age));
        let info_hash = torrent.info_hash;
        let newly_seed = match place {
            Some(place) => {
                let transition = self.pools.renew(torrent, (address, place), sighting, context.hasher);
                match transition {
                    Transition::Finished => {
                        context.count_seeds(0, 1);
                        context.change(info_hash, &address, tag, ChangeKind::Completed, dialect);
                    }
                    Transition::Regressed => context.count_seeds(1, 0),
                    Transition::None => {}
                }
                transition == Transition::Finished
            }
            None => {
                self.pools.add(torrent, address, sighting, context.hasher);
                context.totals.peers.fetch_add(1, Relaxed);
                context.count_seeds(0, usize::from(seed));
                context.change(info_hash, &address, tag, ChangeKind::Joined { seed }, dialect);
                seed
            }
        };
        if newly_seed && completes {
            torrent.downloaded = torrent.downloaded.saturating_add(1);
        }
        if place.is_none() {
            self.count_bytes(context);
        }
    }

    fn get_memory(&mut self, v4: bool) {
        if v4 {
            self.pools.v4.make_room(self.torrents.iter_mut().map(|torrent| &mut torrent.v4));
        } else {
            self.pools.v6.make_room(self.torrents.iter_mut().map(|torrent| &mut torrent.v6));
        }
    }

    /// Gives back what has become free, if it is much; counts what is taken.
    pub(crate) fn tidy(&mut self, context: &Context<'_>) {
        if self.torrents.is_empty() {
            (self.index, self.torrents, self.pools) = (HashTable::new(), Pieces::new(), Pools::new());
        }
        if self.pools.v4.is_loose() {
            self.get_memory(true);
        }
        if self.pools.v6.is_loose() {
            self.get_memory(false);
        }
        if self.index.capacity() > 4 * self.torrents.len() + PIECE {
            let Self { index, torrents, .. } = self;
            let hash = |&at: &u32| torrents.get(at as usize).map_or(0, |it| context.hasher.hash_one(it.info_hash));
            index.shrink_to(0, hash);
        }
        self.count_bytes(context);
    }

    fn count_bytes(&mut self, context: &Context<'_>) {
        let bytes = self.torrents.memory() + self.index.allocation_size() + self.pools.memory();
        if bytes > self.bytes {
            context.totals.bytes.fetch_add(bytes - self.bytes, Relaxed);
        } else if bytes < self.bytes {
            context.totals.bytes.fetch_sub(self.bytes - bytes, Relaxed);
        }
        self.bytes = bytes;
    }

    pub(crate) fn remove(
        &mut self,
        key: Key,
        address: &Address,
        tag: PeerTag,
        dialect: Option<Dialect>,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(position) = self.find(key) else { return false };
        let Some(torrent) = self.torrents.get(position) else { return false };
        let Some(place) = self.pools.find(torrent, address, context.hasher) else { return false };
        let same = self.pools.record_tag(torrent, address, place).is_some_and(|(other, _)| other == tag);
        same && self.remove_at(position, (*address, place), dialect, context)
    }

    pub(crate) fn remove_at(
        &mut self,
        position: usize,
        (address, place): (Address, usize),
        dialect: Option<Dialect>,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(torrent) = self.torrents.get_mut(position) else { return false };
        let seeds = self.pools.seeds(torrent);
        let Some(gone) = self.pools.remove(torrent, address, place, context.hasher) else { return false };
        context.count_seeds(seeds, self.pools.seeds(torrent));
        context.left(torrent.info_hash, gone, dialect);
        self.tidy(context);
        true
    }

    /// Keeps the bounds when a peer is about to join; the crate's front page states the rule.
    fn make_room(
        &mut self,
        key: Key,
        found: Option<usize>,
        address: &Address,
        context: &mut Context<'_>,
    ) -> Result<(), StoreRefusal> {
        let joined = context.limiter.join(context.instant, address.socket().ip(), found.is_none());
        joined.map_err(|refusal| context.limited(refusal))?;
        let known = found.and_then(|position| self.torrents.get(position));
        let large = known.is_some_and(|torrent| self.pools.len(torrent) >= MOST_PEERS);
        if found.is_none() && context.totals.torrents.load(Relaxed) >= context.config.max_torrents {
            self.evict_torrent(key.info_hash, context).ok_or_else(|| context.refused())?;
        }
        if context.is_full() {
            let lone = if large { None } else { self.evict_torrent(key.info_hash, context).filter(|&peers| peers > 0) };
            lone.or_else(|| self.evict_peer(key, context)).ok_or_else(|| context.refused())?;
        }
        Ok(())
    }

    /// Removes the least of a few random torrents, if it has one peer at most. Returns how many peers went with it.
    fn evict_torrent(&mut self, spared: InfoHash, context: &mut Context<'_>) -> Option<usize> {
        let length = self.torrents.len();
        let rank = |position: usize| {
            let torrent = self.torrents.get(position)?;
            let peers = self.pools.len(torrent);
            (peers <= 1 && torrent.info_hash != spared).then_some((peers, torrent.touched, position))
        };
        let position = if length <= SAMPLE {
            (0..length).filter_map(rank).min()
        } else {
            let random = &mut self.random;
            (0..SAMPLE).filter_map(|_| rank(random.random_range(0..length))).min()
        };
        let (_, _, position) = position?;
        context.totals.evicted_torrents.fetch_add(1, Relaxed);
        Some(self.drop_torrent(position, context))
    }

    /// Removes the longest silent of a few random peers of a swarm.
    fn evict_peer(&mut self, key: Key, context: &mut Context<'_>) -> Option<usize> {
        let position = self.find(key)?;
        let torrent = self.torrents.get(position)?;
        let peers = self.pools.len(torrent);
        let look = |number: usize| self.pools.nth(torrent, number, context.now);
        let oldest = if peers <= SAMPLE {
            (0..peers).filter_map(look).max_by_key(|(_, _, age)| *age)
        } else {
            let random = &mut self.random;
            (0..SAMPLE).filter_map(|_| look(random.random_range(0..peers))).max_by_key(|(_, _, age)| *age)
        };
        let (address, place, _) = oldest?;
        context.totals.evicted_peers.fetch_add(1, Relaxed);
        self.remove_at(position, (address, place), None, context).then_some(1)
    }

    /// Forgets a torrent; the last one takes its place.
    pub(crate) fn drop_torrent(&mut self, position: usize, context: &mut Context<'_>) -> usize {
        let Some(torrent) = self.torrents.get(position).copied() else { return 0 };
        let (peers, seeds) = (self.pools.len(&torrent), self.pools.seeds(&torrent));
        for number in 0..peers {
            if let Some((address, place, _)) = self.pools.nth(&torrent, number, context.now)
                && let Some((tag, _)) = self.pools.record_tag(&torrent, &address, place)
            {
                context.left(torrent.info_hash, Gone { address, tag }, None);
            }
        }
        context.count_seeds(seeds, 0);
        if let Some(torrent) = self.torrents.get_mut(position) {
            self.pools.v4.clear(&mut torrent.v4);
            self.pools.v6.clear(&mut torrent.v6);
        }
        self.move_entry(torrent.info_hash, position, None, context.hasher);
        let last = self.torrents.len() - 1;
        if let Some(moved) = self.torrents.get(last).filter(|_| last != position).map(|torrent| torrent.info_hash) {
            self.move_entry(moved, last, Some(position), context.hasher);
        }
        self.torrents.swap_remove(position);
        context.totals.torrents.fetch_sub(1, Relaxed);
        self.tidy(context);
        peers
    }

    /// Has the index say another place for a torrent, or none.
    fn move_entry(&mut self, info_hash: InfoHash, from: usize, to: Option<usize>, hasher: &RandomState) {
        let from = u32::try_from(from).unwrap_or(u32::MAX);
        if let Ok(mut entry) = self.index.find_entry(hasher.hash_one(info_hash), |&at| at == from) {
            match to.and_then(|to| u32::try_from(to).ok()) {
                Some(to) => *entry.get_mut() = to,
                None => {
                    entry.remove();
                }
            }
        }
    }

    /// Keeps the ages of records from wrapping around where nobody has silent peers expire; to be called before anything
    /// that goes by an age or makes one.
    pub(crate) fn keep_ages(&mut self, now: u32) {
        if now.saturating_sub(self.swept) >= UNSWEPT {
            self.pools.saturate(self.visited, now);
            self.swept = now;
        }
        self.visited = self.visited.max(now);
    }

    /// No record is older than its bound now.
    pub(crate) fn has_swept(&mut self, now: u32) {
        self.swept = self.swept.max(now);
    }

    /// # Panics
    /// When something does not hold.
    pub(crate) fn check_invariants(&self, now: u32, hasher: &RandomState) {
        assert_eq!(self.index.len(), self.torrents.len(), "torrents in the index");
        let lists = |of: fn(&Torrent) -> crate::pool::List| self.torrents.iter().map(of).collect::<Vec<_>>();
        self.pools.v4.check_invariants(&lists(|torrent| torrent.v4), hasher);
        self.pools.v6.check_invariants(&lists(|torrent| torrent.v6), hasher);
        for (position, torrent) in self.torrents.iter().enumerate() {
            let key = Key { info_hash: torrent.info_hash, hash: hasher.hash_one(torrent.info_hash) };
            assert_eq!(self.find(key), Some(position), "a torrent that is not found");
            assert!(torrent.touched <= now, "announced in the future");
            for number in 0..self.pools.len(torrent) {
                let Some((address, place, _)) = self.pools.nth(torrent, number, now) else {
                    panic!("a peer is missing")
                };
                assert_eq!(address, Address::from(address.socket()), "an address in another form");
                assert_eq!(self.pools.find(torrent, &address, hasher), Some(place), "an address twice");
            }
        }
    }
}
