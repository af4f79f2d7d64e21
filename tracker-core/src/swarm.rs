//! The peers of one torrent.
//!
//! Invariant: the first `seeds` entries of `peers` are the seeds, all others the leechers. So a random choice among
//! either is a choice among a range of numbers.

use crate::address::Address;
use indexmap::IndexMap;
use indexmap::map::Entry;
use rand::rngs::SmallRng;
use rand::seq::index;
use swarm_proto::announce::PeerAddress;
use swarm_proto::id::PeerId;

/// Peers looked at when the longest silent one is sought.
const SAMPLE: usize = 16;

/// One peer; its address is the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) peer_id: PeerId,
    /// Second of the last announce, on the store's clock.
    pub(crate) seen: u32,
}

/// For whom peers are chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) address: &'a Address,
    pub(crate) peer_id: &'a PeerId,
    /// It has everything, and has no use for those who have too.
    pub(crate) seed: bool,
    /// Its dialect can tell it of peers of its own address family only.
    pub(crate) one_family: bool,
}

/// What an announce did to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transition {
    Joined,
    /// A leecher became a seed.
    Finished,
    /// A seed lost data.
    Regressed,
    None,
}

#[derive(Debug, Default)]
pub(crate) struct Swarm {
    peers: IndexMap<Address, Peer>,
    seeds: usize,
    /// Peers that have completed the torrent, ever.
    pub(crate) downloaded: u32,
    /// Second of the last announce of any peer.
    pub(crate) touched: u32,
}

impl Swarm {
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(crate) fn seeds(&self) -> usize {
        self.seeds
    }

    pub(crate) fn leechers(&self) -> usize {
        self.peers.len() - self.seeds
    }

    pub(crate) fn contains(&self, address: &Address) -> bool {
        self.peers.contains_key(address)
    }

    /// Takes in or renews a peer.
    pub(crate) fn upsert(&mut self, address: Address, peer: Peer, seed: bool) -> Transition {
        self.touched = self.touched.max(peer.seen);
        let (index, transition) = match self.peers.entry(address) {
            Entry::Occupied(mut entry) => {
                entry.insert(peer);
                let index = entry.index();
                let transition = match (index < self.seeds, seed) {
                    (false, true) => Transition::Finished,
                    (true, false) => Transition::Regressed,
                    _ => Transition::None,
                };
                (index, transition)
            }
            Entry::Vacant(entry) => {
                let index = entry.index();
                entry.insert(peer);
                (index, Transition::Joined)
            }
        };
        match transition {
            Transition::Joined | Transition::Finished if seed => {
                self.peers.swap_indices(index, self.seeds);
                self.seeds += 1;
            }
            Transition::Regressed => {
                self.seeds -= 1;
                self.peers.swap_indices(index, self.seeds);
            }
            _ => {}
        }
        transition
    }

    /// Removes a peer, unless another one has taken its address meanwhile.
    pub(crate) fn remove(&mut self, address: &Address, peer_id: &PeerId) -> Option<(Address, Peer)> {
        let (index, _, peer) = self.peers.get_full(address)?;
        if peer.peer_id == *peer_id { self.remove_index(index) } else { None }
    }

    fn remove_index(&mut self, mut index: usize) -> Option<(Address, Peer)> {
        if index < self.seeds {
            self.seeds -= 1;
            self.peers.swap_indices(index, self.seeds);
            index = self.seeds;
        }
        self.peers.swap_remove_index(index)
    }

    /// Removes the peers that were last seen before `since`.
    pub(crate) fn expire(&mut self, since: u32) -> Vec<(Address, Peer)> {
        let mut gone = Vec::new();
        for index in (0..self.peers.len()).rev() {
            if self.peers.get_index(index).is_some_and(|(_, peer)| peer.seen < since) {
                gone.extend(self.remove_index(index));
            }
        }
        if self.peers.capacity() > 4 * self.peers.len() + SAMPLE {
            self.peers.shrink_to_fit();
        }
        gone
    }

    /// Removes the longest silent of a few random peers.
    pub(crate) fn evict(&mut self, random: &mut SmallRng) -> Option<(Address, Peer)> {
        let sample = index::sample(random, self.peers.len(), SAMPLE.min(self.peers.len()));
        let oldest = sample.iter().min_by_key(|&index| self.peers.get_index(index).map(|(_, peer)| peer.seen))?;
        self.remove_index(oldest)
    }

    /// Up to `wanted` random peers for this one. More candidates than that are drawn, since some may not fit; a swarm in
    /// which most do not may yield fewer.
    pub(crate) fn choose(&self, asker: &Asker<'_>, wanted: usize, random: &mut SmallRng) -> Vec<PeerAddress> {
        let candidates = 2 * wanted + 8;
        let chosen = self.draw(asker, wanted, candidates, random);
        // The peers of one family may be few among many of the other.
        if asker.one_family && chosen.len() < wanted && candidates < self.peers.len() {
            return self.draw(asker, wanted, 8 * candidates, random);
        }
        chosen
    }

    fn draw(&self, asker: &Asker<'_>, wanted: usize, candidates: usize, random: &mut SmallRng) -> Vec<PeerAddress> {
        if wanted == 0 {
            return Vec::new();
        }
        let &Asker { address, peer_id, seed, one_family } = asker;
        let reach = address.reach();
        let first = if seed { self.seeds } else { 0 };
        let range = self.peers.len() - first;
        let fits = |(key, peer): &(&Address, &Peer)| {
            let spoken = !one_family || key.is_v4() == address.is_v4();
            *key != address && peer.peer_id != *peer_id && spoken && key.reach() >= reach
        };
        index::sample(random, range, range.min(candidates))
            .into_iter()
            .filter_map(|index| self.peers.get_index(first + index))
            .filter(fits)
            .take(wanted)
            .map(|(key, peer)| PeerAddress { address: key.socket(), peer_id: Some(peer.peer_id) })
            .collect()
    }

    /// # Panics
    /// When the seeds are more than the peers, a peer was seen behind the last announce, or its address has two forms.
    pub(crate) fn check_invariants(&self) {
        assert!(self.seeds <= self.peers.len(), "{} seeds among {} peers", self.seeds, self.peers.len());
        for (address, peer) in &self.peers {
            assert!(peer.seen <= self.touched, "seen at {}, last announce at {}", peer.seen, self.touched);
            assert_eq!(*address, Address::from(address.socket()), "an address in another form");
        }
    }

    /// All peers, seeds first, and whether they are seeds.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Address, &Peer, bool)> {
        self.peers.iter().enumerate().map(|(index, (address, peer))| (address, peer, index < self.seeds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use std::collections::HashMap;
    use std::net::SocketAddr;

    fn address(n: u16) -> Address {
        SocketAddr::from(([192, 0, 2, 1], n)).into()
    }

    fn peer(n: u8, seen: u32) -> Peer {
        Peer { peer_id: PeerId([n; 20]), seen }
    }

    #[test]
    fn only_the_same_peer_can_leave() {
        let mut swarm = Swarm::default();
        swarm.upsert(address(1), peer(1, 0), false);
        assert!(swarm.remove(&address(1), &PeerId([2; 20])).is_none());
        assert!(swarm.remove(&address(1), &PeerId([1; 20])).is_some());
        assert_eq!(swarm.len(), 0);
    }

    #[test]
    fn eviction_takes_the_silent() {
        let mut swarm = Swarm::default();
        for n in 0..10 {
            swarm.upsert(address(n), peer(1, 100 - u32::from(n)), n % 2 == 0);
        }
        let mut random = SmallRng::seed_from_u64(1);
        assert_eq!(swarm.evict(&mut random).unwrap().0, address(9));
        assert_eq!((swarm.seeds(), swarm.leechers()), (5, 4));
    }

    proptest! {
        /// Against a plain map.
        #[test]
        fn seeds_stay_in_front(steps in prop::collection::vec((0u16..12, 0u8..4, 0u32..50), 0..100)) {
            let mut swarm = Swarm::default();
            let mut model: HashMap<Address, (bool, u32)> = HashMap::new();
            for (port, action, seen) in steps {
                match action {
                    0 | 1 => {
                        swarm.upsert(address(port), peer(1, seen), action == 1);
                        model.insert(address(port), (action == 1, seen));
                    }
                    2 => {
                        let removed = swarm.remove(&address(port), &PeerId([1; 20])).is_some();
                        prop_assert_eq!(removed, model.remove(&address(port)).is_some());
                    }
                    _ => {
                        let before = model.len();
                        model.retain(|_, entry| entry.1 >= seen);
                        prop_assert_eq!(swarm.expire(seen).len(), before - model.len());
                    }
                }
                let found = swarm.iter().map(|(key, peer, seed)| (key.clone(), (seed, peer.seen)));
                let found: HashMap<_, _> = found.collect();
                prop_assert_eq!(&found, &model);
                prop_assert_eq!(swarm.seeds(), model.values().filter(|entry| entry.0).count());
            }
        }
    }
}
