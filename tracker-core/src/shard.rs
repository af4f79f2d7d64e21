//! A part of all torrents, under one lock.

use crate::address::Address;
use crate::rate::{Limiter, TooOften};
use crate::store::{Change, ChangeKind, Dialect, MOST_PEERS, StoreAnnounce, StoreConfig, StoreRefusal};
use crate::swarm::{Asker, Peer, Swarm, Transition};
use indexmap::IndexMap;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::index;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;
use swarm_proto::announce::{AnnounceEvent, PeerAddress};
use swarm_proto::id::{InfoHash, PeerId};

/// Torrents looked at when one must make room.
const SAMPLE: usize = 16;
/// A torrent without peers keeps its count of downloads for so long, in seconds.
const EMPTY_TTL: u32 = 24 * 3_600;

/// What all shards of a store count together.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) torrents: AtomicUsize,
    pub(crate) peers: AtomicUsize,
    pub(crate) seeds: AtomicUsize,
    pub(crate) evicted_peers: AtomicU64,
    pub(crate) evicted_torrents: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) limited: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) torrents: IndexMap<InfoHash, Swarm>,
    random: SmallRng,
}

/// What goes with every announce: the second it comes in, the bounds, the counts, and the changes for the observers.
pub(crate) struct Context<'a> {
    pub(crate) now: u32,
    pub(crate) instant: Instant,
    pub(crate) config: &'a StoreConfig,
    pub(crate) totals: &'a Totals,
    pub(crate) limiter: &'a Limiter,
    pub(crate) changes: Vec<Change>,
}

/// Counts of one swarm: seeds, leechers, downloads; and the peers chosen.
pub(crate) type Answer = (usize, usize, u32, Vec<PeerAddress>);

impl Context<'_> {
    fn left(&mut self, info_hash: InfoHash, (address, peer): (Address, Peer), dialect: Option<Dialect>) {
        self.totals.peers.fetch_sub(1, Relaxed);
        self.change(info_hash, &address, peer.peer_id, ChangeKind::Left, dialect);
    }

    fn change(
        &mut self,
        info_hash: InfoHash,
        address: &Address,
        peer_id: PeerId,
        kind: ChangeKind,
        dialect: Option<Dialect>,
    ) {
        self.changes.push(Change { info_hash, address: address.socket(), peer_id, kind, dialect });
    }
}

impl Shard {
    pub(crate) fn new(seed: u64) -> Self {
        Self { torrents: IndexMap::new(), random: SmallRng::seed_from_u64(seed) }
    }

    pub(crate) fn announce(
        &mut self,
        request: &StoreAnnounce,
        wanted: usize,
        context: &mut Context<'_>,
    ) -> Result<Answer, StoreRefusal> {
        let address = Address::from(request.address);
        let seed = request.left == 0;
        if request.event == AnnounceEvent::Stopped {
            self.remove(request.info_hash, &address, &request.peer_id, Some(request.dialect), context);
        } else {
            self.make_room(request.info_hash, &address, context)?;
            self.upsert(request, &address, seed, context);
        }
        let wanted = if request.event == AnnounceEvent::Stopped { 0 } else { wanted };
        let one_family = request.dialect == Dialect::Udp;
        let asker = Asker { address: &address, peer_id: &request.peer_id, seed, one_family };
        Ok(self.choose(&request.info_hash, &asker, wanted))
    }

    /// The counts of a swarm, and up to `wanted` peers for this one.
    pub(crate) fn choose(&mut self, info_hash: &InfoHash, asker: &Asker<'_>, wanted: usize) -> Answer {
        let Some(swarm) = self.torrents.get(info_hash) else { return (0, 0, 0, Vec::new()) };
        let peers = swarm.choose(asker, wanted, &mut self.random);
        (swarm.seeds(), swarm.leechers(), swarm.downloaded, peers)
    }

    fn upsert(&mut self, request: &StoreAnnounce, address: &Address, seed: bool, context: &mut Context<'_>) {
        let StoreAnnounce { info_hash, peer_id, dialect, .. } = *request;
        let swarm = self.torrents.entry(info_hash).or_insert_with(|| {
            context.totals.torrents.fetch_add(1, Relaxed);
            Swarm::default()
        });
        let seeds_before = swarm.seeds();
        let transition = swarm.upsert(address.clone(), Peer { peer_id, seen: context.now }, seed);
        let newly_seed = swarm.seeds() > seeds_before;
        if newly_seed && request.event == AnnounceEvent::Completed {
            swarm.downloaded = swarm.downloaded.saturating_add(1);
        }
        match transition {
            Transition::Joined => {
                context.totals.peers.fetch_add(1, Relaxed);
                context.change(info_hash, address, peer_id, ChangeKind::Joined { seed }, Some(dialect));
            }
            Transition::Finished => context.change(info_hash, address, peer_id, ChangeKind::Completed, Some(dialect)),
            Transition::Regressed | Transition::None => {}
        }
        count_seeds(context.totals, seeds_before, swarm.seeds());
    }

    pub(crate) fn remove(
        &mut self,
        info_hash: InfoHash,
        address: &Address,
        peer_id: &PeerId,
        dialect: Option<Dialect>,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(swarm) = self.torrents.get_mut(&info_hash) else { return false };
        let seeds_before = swarm.seeds();
        let Some(gone) = swarm.remove(address, peer_id) else { return false };
        count_seeds(context.totals, seeds_before, swarm.seeds());
        context.left(info_hash, gone, dialect);
        true
    }

    /// Keeps the bounds when a peer is about to join; the crate's front page states the rule.
    fn make_room(
        &mut self,
        info_hash: InfoHash,
        address: &Address,
        context: &mut Context<'_>,
    ) -> Result<(), StoreRefusal> {
        let known = self.torrents.get(&info_hash);
        if known.is_some_and(|swarm| swarm.contains(address)) {
            return Ok(());
        }
        let new_torrent = known.is_none();
        let joined = context.limiter.join(context.instant, address.socket().ip(), 1 + u32::from(new_torrent));
        joined.map_err(|refusal| limited(refusal, context))?;
        let large = known.is_some_and(|swarm| swarm.len() >= MOST_PEERS);
        if new_torrent && context.totals.torrents.load(Relaxed) >= context.config.max_torrents {
            self.evict_torrent(info_hash, context).ok_or_else(|| refused(context))?;
        }
        if context.totals.peers.load(Relaxed) >= context.config.max_peers {
            let lone = if large { None } else { self.evict_torrent(info_hash, context).filter(|&peers| peers > 0) };
            lone.or_else(|| self.evict_peer(info_hash, context)).ok_or_else(|| refused(context))?;
        }
        Ok(())
    }

    /// Removes the least of a few random torrents, if it has one peer at most. Returns how many peers went with it.
    fn evict_torrent(&mut self, spared: InfoHash, context: &mut Context<'_>) -> Option<usize> {
        let rank = |index: usize| {
            let (hash, swarm) = self.torrents.get_index(index)?;
            (swarm.len() <= 1 && *hash != spared).then_some((swarm.len(), swarm.touched, index))
        };
        let length = self.torrents.len();
        let sample = index::sample(&mut self.random, length, SAMPLE.min(length));
        let (_, _, index) = sample.iter().filter_map(rank).min()?;
        context.totals.evicted_torrents.fetch_add(1, Relaxed);
        Some(self.drop_torrent(index, context))
    }

    fn evict_peer(&mut self, info_hash: InfoHash, context: &mut Context<'_>) -> Option<usize> {
        let swarm = self.torrents.get_mut(&info_hash)?;
        let seeds_before = swarm.seeds();
        let gone = swarm.evict(&mut self.random)?;
        count_seeds(context.totals, seeds_before, swarm.seeds());
        context.totals.evicted_peers.fetch_add(1, Relaxed);
        context.left(info_hash, gone, None);
        Some(1)
    }

    fn drop_torrent(&mut self, index: usize, context: &mut Context<'_>) -> usize {
        let Some((info_hash, mut swarm)) = self.torrents.swap_remove_index(index) else { return 0 };
        context.totals.torrents.fetch_sub(1, Relaxed);
        count_seeds(context.totals, swarm.seeds(), 0);
        let gone = swarm.expire(u32::MAX);
        let peers = gone.len();
        gone.into_iter().for_each(|peer| context.left(info_hash, peer, None));
        peers
    }

    /// Removes what has been silent for too long, in up to `budget` torrents from number `from` downwards. Returns the
    /// number to go on with, if there is one.
    pub(crate) fn expire(&mut self, from: usize, budget: usize, context: &mut Context<'_>) -> Option<usize> {
        let ttl = u32::try_from(context.config.peer_ttl.as_secs()).unwrap_or(u32::MAX);
        let since = context.now.saturating_sub(ttl);
        let end = from.min(self.torrents.len());
        let start = end.saturating_sub(budget);
        for index in (start..end).rev() {
            let Some((&info_hash, swarm)) = self.torrents.get_index_mut(index) else { continue };
            let seeds_before = swarm.seeds();
            let gone = swarm.expire(since);
            count_seeds(context.totals, seeds_before, swarm.seeds());
            // Without a count of downloads there is nothing to keep.
            let kept = if swarm.downloaded == 0 { ttl } else { EMPTY_TTL.max(ttl) };
            let forgotten = swarm.len() == 0 && swarm.touched < context.now.saturating_sub(kept);
            gone.into_iter().for_each(|peer| context.left(info_hash, peer, None));
            if forgotten {
                self.drop_torrent(index, context);
            }
        }
        (start > 0).then_some(start)
    }
}

fn refused(context: &Context<'_>) -> StoreRefusal {
    context.totals.refused.fetch_add(1, Relaxed);
    StoreRefusal::Full
}

fn limited(refusal: TooOften, context: &Context<'_>) -> StoreRefusal {
    context.totals.limited.fetch_add(1, Relaxed);
    refusal.into()
}

fn count_seeds(totals: &Totals, before: usize, after: usize) {
    if after >= before {
        totals.seeds.fetch_add(after - before, Relaxed);
    } else {
        totals.seeds.fetch_sub(before - after, Relaxed);
    }
}
