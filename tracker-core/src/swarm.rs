//! One torrent: its counts, and where its peers are.

use crate::pool::{List, Peers, Pool};
use crate::record::{Address, PeerTag, Record, V4, V6};
use std::hash::RandomState;
use swarm_proto::id::InfoHash;

/// A torrent in forty bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Torrent {
    pub(crate) info_hash: InfoHash,
    /// Peers that have completed the torrent, ever.
    pub(crate) downloaded: u32,
    /// Second of the last announce of any peer.
    pub(crate) touched: u32,
    pub(crate) v4: List,
    pub(crate) v6: List,
}

/// The peers of all torrents of a shard.
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) v4: Pool<V4>,
    pub(crate) v6: Pool<V6>,
}

/// What an announce did to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transition {
    /// A leecher became a seed.
    Finished,
    /// A seed lost data.
    Regressed,
    None,
}

/// A peer that is to be put in or renewed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    pub(crate) tag: PeerTag,
    pub(crate) seed: bool,
    pub(crate) now: u32,
    pub(crate) age: u32,
    /// Another node told of it.
    pub(crate) imported: bool,
}

/// A peer that is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) address: Address,
    pub(crate) tag: PeerTag,
}

/// Does the same to the list of either family.
macro_rules! by_family {
    ($address:expr, $pools:expr, $torrent:expr, $work:expr) => {
        match $address {
            Address::V4(bytes) => $work(&mut $pools.v4, &mut $torrent.v4, bytes),
            Address::V6(bytes) => $work(&mut $pools.v6, &mut $torrent.v6, bytes),
        }
    };
}

impl Torrent {
    pub(crate) fn new(info_hash: InfoHash, now: u32) -> Self {
        Self { info_hash, downloaded: 0, touched: now, v4: List::default(), v6: List::default() }
    }
}

impl Pools {
    pub(crate) const fn new() -> Self {
        Self { v4: Pool::new(), v6: Pool::new() }
    }

    pub(crate) fn len(&self, torrent: &Torrent) -> usize {
        self.v4.len(torrent.v4) + self.v6.len(torrent.v6)
    }

    pub(crate) fn seeds(&self, torrent: &Torrent) -> usize {
        self.v4.seeds(torrent.v4) + self.v6.seeds(torrent.v6)
    }

    /// The number of a peer within the list of its family.
    pub(crate) fn find(&self, torrent: &Torrent, address: &Address, hasher: &RandomState) -> Option<usize> {
        match address {
            Address::V4(bytes) => self.v4.find(torrent.v4, bytes, hasher),
            Address::V6(bytes) => self.v6.find(torrent.v6, bytes, hasher),
        }
    }

    pub(crate) fn record_tag(&self, torrent: &Torrent, address: &Address, index: usize) -> Option<(PeerTag, bool)> {
        match address {
            Address::V4(_) => self.v4.peers(torrent.v4).get(index).map(|peer| (peer.tag(), peer.is_imported())),
            Address::V6(_) => self.v6.peers(torrent.v6).get(index).map(|peer| (peer.tag(), peer.is_imported())),
        }
    }

    pub(crate) fn age_of(&self, torrent: &Torrent, address: &Address, index: usize, now: u32) -> Option<u16> {
        match address {
            Address::V4(_) => self.v4.peers(torrent.v4).get(index).map(|peer| peer.age(now)),
            Address::V6(_) => self.v6.peers(torrent.v6).get(index).map(|peer| peer.age(now)),
        }
    }

    /// Whether a newcomer of this family needs memory first.
    pub(crate) fn lacks_room(&self, torrent: &Torrent, address: &Address) -> bool {
        if address.is_v4() { self.v4.lacks_room(torrent.v4) } else { self.v6.lacks_room(torrent.v6) }
    }

    /// Puts in a peer that is not there.
    pub(crate) fn add(&mut self, torrent: &mut Torrent, address: Address, sighting: Sighting, hasher: &RandomState) {
        fn add<const L: usize>(
            pool: &mut Pool<L>,
            list: &mut List,
            bytes: [u8; L],
            sighting: Sighting,
            hasher: &RandomState,
        ) {
            pool.add(list, record(bytes, sighting), sighting.seed, hasher);
        }
        by_family!(address, self, torrent, |pool, list, bytes| add(pool, list, bytes, sighting, hasher));
    }

    /// Renews a peer that stands at `index`.
    pub(crate) fn renew(
        &mut self,
        torrent: &mut Torrent,
        (address, index): (Address, usize),
        sighting: Sighting,
        hasher: &RandomState,
    ) -> Transition {
        by_family!(address, self, torrent, |pool, list, bytes| renew(pool, list, (bytes, index), sighting, hasher))
    }

    /// Removes the peer at `index`.
    pub(crate) fn remove(
        &mut self,
        torrent: &mut Torrent,
        address: Address,
        index: usize,
        hasher: &RandomState,
    ) -> Option<Gone> {
        let tag = match address {
            Address::V4(_) => self.v4.remove(&mut torrent.v4, index, hasher)?.tag(),
            Address::V6(_) => self.v6.remove(&mut torrent.v6, index, hasher)?.tag(),
        };
        Some(Gone { address, tag })
    }

    /// The peer of this number among all of a torrent, IPv4 first, and its age.
    pub(crate) fn nth(&self, torrent: &Torrent, number: usize, now: u32) -> Option<(Address, usize, u16)> {
        let v4 = self.v4.peers(torrent.v4);
        if let Some(peer) = v4.get(number) {
            return Some((Address::V4(peer.address), number, peer.age(now)));
        }
        let number = number.checked_sub(v4.len())?;
        let peer = self.v6.peers(torrent.v6).get(number)?;
        Some((Address::V6(peer.address), number, peer.age(now)))
    }

    pub(crate) fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory()
    }

    pub(crate) fn saturate(&mut self, before: u32, now: u32) {
        self.v4.saturate(before, now);
        self.v6.saturate(before, now);
    }
}

fn record<const L: usize>(bytes: [u8; L], sighting: Sighting) -> Record<L> {
    let record = Record::new(bytes, sighting.tag, sighting.now, sighting.age);
    if sighting.imported { record.imported() } else { record }
}

fn renew<const L: usize>(
    pool: &mut Pool<L>,
    list: &mut List,
    (bytes, index): ([u8; L], usize),
    sighting: Sighting,
    hasher: &RandomState,
) -> Transition {
    if let Some(place) = pool.record_mut(*list, index) {
        *place = record(bytes, sighting);
    }
    match (index < pool.seeds(*list), sighting.seed) {
        (false, true) => {
            pool.make_seed(list, index, hasher);
            Transition::Finished
        }
        (true, false) => {
            pool.make_leecher(list, index, hasher);
            Transition::Regressed
        }
        _ => Transition::None,
    }
}

/// The peers of a list from number `from` on, with whether they are seeds.
pub(crate) fn numbered<'a, const L: usize>(
    peers: Peers<'a, L>,
    from: usize,
) -> impl Iterator<Item = (&'a Record<L>, bool)> {
    let seeds = peers.seeds();
    (from..peers.len()).filter_map(move |index| peers.get(index).map(|peer| (peer, index < seeds)))
}
