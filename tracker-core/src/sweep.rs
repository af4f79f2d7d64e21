//! Walks through a whole shard in slices, so that nobody waits long for its lock.
//!
//! A walk goes from the last torrent to the first, and from the last peer of each to the first, since what is removed is
//! replaced by what stands behind it, which the walk has seen. What moves between two slices may be missed; the next walk
//! finds it.

use crate::pool::{List, Pool};
use crate::record::{Address, Record};
use crate::shard::{Context, Shard};
use crate::swarm::{Gone, Torrent};
use std::hash::RandomState;

/// A torrent without peers keeps its count of downloads for so long, in seconds.
const EMPTY_TTL: u32 = 24 * 3_600;

/// How far a walk has come: the torrents below `torrent` are still to be seen, and of the one below it the peers below
/// these numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub(crate) torrent: usize,
    pub(crate) v4: usize,
    pub(crate) v6: usize,
}

impl Walk {
    pub(crate) const START: Self = Self { torrent: usize::MAX, v4: usize::MAX, v6: usize::MAX };

    fn next_torrent(&mut self, position: usize) {
        *self = Self { torrent: position, ..Self::START };
    }
}

impl Shard {
    /// Removes the peers that have been silent for too long and the torrents that have been empty for too long; looks at
    /// some `budget` of them. Returns the number of peers removed, and whether the walk is over.
    pub(crate) fn expire(&mut self, walk: &mut Walk, budget: usize, context: &mut Context<'_>) -> (usize, bool) {
        let ttl = context.config.ttl();
        let (mut left, mut removed) = (budget, 0);
        self.keep_ages(context.now);
        walk.torrent = walk.torrent.min(self.torrents.len());
        while let Some(position) = walk.torrent.checked_sub(1) {
            if left == 0 {
                self.tidy(context);
                return (removed, false);
            }
            left -= 1;
            let Some(torrent) = self.torrents.get_mut(position) else { break };
            let (info_hash, seeds) = (torrent.info_hash, self.pools.seeds(torrent));
            let silence = Silence { now: context.now, ttl, hasher: context.hasher };
            let mut gone = |address: Address, tag| {
                removed += 1;
                context.left(info_hash, Gone { address, tag }, None);
            };
            let pools = &mut self.pools;
            silence.expire(&mut pools.v4, &mut torrent.v4, (&mut walk.v4, &mut left), |peer| {
                gone(Address::V4(peer.address), peer.tag());
            });
            silence.expire(&mut pools.v6, &mut torrent.v6, (&mut walk.v6, &mut left), |peer| {
                gone(Address::V6(peer.address), peer.tag());
            });
            context.count_seeds(seeds, pools.seeds(torrent));
            if walk.v4 == 0 && walk.v6 == 0 {
                let torrent = *torrent;
                walk.next_torrent(position);
                if self.is_forgotten(&torrent, context) {
                    self.drop_torrent(position, context);
                }
            }
        }
        self.has_swept(context.now);
        self.tidy(context);
        (removed, true)
    }

    fn is_forgotten(&self, torrent: &Torrent, context: &Context<'_>) -> bool {
        let ttl = u32::from(context.config.ttl());
        // Without a count of downloads there is nothing to keep.
        let kept = if torrent.downloaded == 0 { ttl } else { EMPTY_TTL.max(ttl) };
        self.pools.len(torrent) == 0 && torrent.touched < context.now.saturating_sub(kept)
    }
}

/// Which peers have been silent for too long.
struct Silence<'a> {
    now: u32,
    ttl: u16,
    hasher: &'a RandomState,
}

impl Silence<'_> {
    fn expire<const L: usize>(
        &self,
        pool: &mut Pool<L>,
        list: &mut List,
        (from, budget): (&mut usize, &mut usize),
        mut gone: impl FnMut(Record<L>),
    ) {
        *from = pool.len(*list).min(*from);
        while *from > 0 && *budget > 0 {
            *from -= 1;
            *budget -= 1;
            let silent = pool.peers(*list).get(*from).is_some_and(|peer| peer.age(self.now) > self.ttl);
            if silent && let Some(peer) = pool.remove(list, *from, self.hasher) {
                gone(peer);
            }
        }
    }
}
