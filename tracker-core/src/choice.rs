//! Which peers of a swarm somebody is told of.
//!
//! Every one that fits is as likely as every other, and each set of them as every other set of its size. Twice as many as
//! are wanted are drawn at most, since some may not fit: so the cost goes by the number wanted, and a swarm in which most
//! do not fit may yield fewer. Nothing is allocated.

use crate::pool::Peers;
use crate::record::{Address, PeerTag, Record};
use crate::swarm::{Pools, Torrent};
use rand::RngExt;
use rand::rngs::SmallRng;
use std::net::SocketAddr;
use swarm_proto::announce::Reach;

/// Bits of the filter in front of the numbers that were drawn.
const FILTER_BITS: usize = 4_096;

/// Peers as BEP 23, BEP 7 and BEP 15 have them on the wire; keeps its memory from answer to answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CompactPeers {
    /// IPv4 peers: address and port, 6 bytes each, in the order of the network.
    pub v4: Vec<u8>,
    /// IPv6 peers: address and port, 18 bytes each, in the order of the network.
    pub v6: Vec<u8>,
    /// Numbers that were drawn for the answer under way.
    drawn: Vec<u32>,
}

impl CompactPeers {
    /// No peers, and no memory yet.
    pub const fn new() -> Self {
        Self { v4: Vec::new(), v6: Vec::new(), drawn: Vec::new() }
    }

    /// Forgets the peers, and keeps the memory.
    pub fn clear(&mut self) {
        self.v4.clear();
        self.v6.clear();
    }

    /// The number of peers.
    pub fn len(&self) -> usize {
        self.v4.len() / crate::record::V4 + self.v6.len() / crate::record::V6
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The peers, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        let v4 = self.v4.chunks_exact(crate::record::V4);
        v4.chain(self.v6.chunks_exact(crate::record::V6)).map(crate::record::socket)
    }
}

/// For whom peers are chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) address: Address,
    pub(crate) tag: PeerTag,
    pub(crate) reach: Reach,
    /// It has everything, and has no use for those who have too.
    pub(crate) seed: bool,
    /// Its dialect can tell it of peers of its own address family only.
    pub(crate) one_family: bool,
}

impl Asker {
    pub(crate) fn new(address: Address, tag: PeerTag, seed: bool, one_family: bool) -> Self {
        Self { address, tag, reach: Reach::of(address.socket().ip()), seed, one_family }
    }

    fn wants<const L: usize>(&self, own: Option<&[u8; L]>, peer: &Record<L>) -> bool {
        own != Some(&peer.address)
            && peer.tag() != self.tag
            && (self.reach == Reach::Loopback || peer.reach() >= self.reach)
    }
}

/// A part of a list: all of it, or its leechers.
#[derive(Clone, Copy)]
struct Part<'a, const L: usize> {
    peers: Peers<'a, L>,
    first: usize,
    len: usize,
}

impl<'a, const L: usize> Part<'a, L> {
    fn of(peers: Peers<'a, L>, asker: &Asker, spoken: bool) -> Self {
        let first = if asker.seed { peers.seeds() } else { 0 };
        let len = if spoken { peers.len() - first } else { 0 };
        Self { peers, first, len }
    }

    /// Writes the peer of this number if it fits.
    fn take(&self, number: usize, asker: &Asker, own: Option<&[u8; L]>, out: &mut Vec<u8>) -> bool {
        match self.peers.get(self.first + number) {
            Some(peer) if asker.wants(own, peer) => {
                out.extend_from_slice(&peer.address);
                true
            }
            _ => false,
        }
    }
}

impl Pools {
    /// Writes up to `wanted` peers for this one behind what is in `out`.
    pub(crate) fn choose(
        &self,
        torrent: &Torrent,
        asker: &Asker,
        wanted: usize,
        random: &mut SmallRng,
        out: &mut CompactPeers,
    ) {
        let spoken = |v4: bool| !asker.one_family || asker.address.is_v4() == v4;
        let v4 = Part::of(self.v4.peers(torrent.v4), asker, spoken(true));
        let v6 = Part::of(self.v6.peers(torrent.v6), asker, spoken(false));
        let (own4, own6) = match &asker.address {
            Address::V4(bytes) => (Some(bytes), None),
            Address::V6(bytes) => (None, Some(bytes)),
        };
        let CompactPeers { v4: out4, v6: out6, drawn } = out;
        let mut left = wanted;
        let mut take = |number: usize| {
            let taken = match number.checked_sub(v4.len) {
                None => v4.take(number, asker, own4, out4),
                Some(number) => v6.take(number, asker, own6, out6),
            };
            left -= usize::from(taken);
            left > 0
        };
        let all = v4.len + v6.len;
        if wanted == 0 || all == 0 {
            return;
        }
        // Oneself may be among them.
        if all <= wanted + 1 {
            let start = random.random_range(0..all);
            let _ = (start..all).chain(0..start).all(&mut take);
        } else {
            draw(all, all.min(2 * wanted + 8), random, drawn, take);
        }
    }
}

/// Draws different numbers below `all`, `most` of them or until `take` wants no more.
fn draw(all: usize, most: usize, random: &mut SmallRng, drawn: &mut Vec<u32>, mut take: impl FnMut(usize) -> bool) {
    drawn.clear();
    if all <= 2 * most {
        // Few: shuffled as far as they are drawn.
        drawn.extend(0..u32::try_from(all).unwrap_or(u32::MAX));
        for place in 0..most {
            let other = random.random_range(place..all);
            drawn.swap(place, other);
            let Some(number) = drawn.get(place) else { return };
            if !take(*number as usize) {
                return;
            }
        }
        return;
    }
    let mut filter = [0_u64; FILTER_BITS / 64];
    let mut count = 0;
    while count < most {
        let number = random.random_range(0..u32::try_from(all).unwrap_or(u32::MAX));
        let bit = number as usize % FILTER_BITS;
        let Some(word) = filter.get_mut(bit / 64) else { return };
        // Most numbers are new by the filter; the others are looked for.
        if *word >> (bit % 64) & 1 == 1 && drawn.contains(&number) {
            continue;
        }
        *word |= 1 << (bit % 64);
        drawn.push(number);
        count += 1;
        if !take(number as usize) {
            return;
        }
    }
}
