//! The store on disk: everything it knows, written atomically, checked before it is believed.
//!
//! A [`Sealed`] file. All numbers big endian, ages in seconds at the moment of writing. Per torrent: info hash (20),
//! downloads (4), age (4), number of peers (4), and per peer family and role (1: bit 0 IPv6, bit 1 seed), address (4 or
//! 16), port (2), age (2), tag of the peer id (2). A torrent of many peers stands there in several parts, so that its
//! shard is not locked for as long as it takes to copy all of them.

use crate::record::{Address, OLDEST, PeerTag, Record, V4, V6};
use crate::sealed::{Sealed, SnapshotError, Writer};
use crate::shard::Shard;
use crate::store::Store;
use crate::swarm::{Sighting, Torrent, numbered};
use crate::sweep::Walk;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::Instant;
use swarm_proto::id::InfoHash;

/// Some 90 million peers at most.
const SNAPSHOT: Sealed = Sealed { magic: b"swarm tracker snapshot\x02", largest: 1 << 30 };
/// Bytes that are copied under one hold of a lock, and those of one torrent more.
const SLICE: usize = 64 << 10;
/// Peers of one part of a large torrent.
const PART: usize = 2_048;

/// What was read from a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Loaded {
    /// Torrents taken over.
    pub torrents: usize,
    /// Peers taken over.
    pub peers: usize,
}

impl Store {
    /// Writes everything to `path`: first to a new file beside it, which then takes its place.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]; a file that was at `path` before is still there.
    pub fn save(&self, now: Instant, path: &Path) -> Result<(), SnapshotError> {
        SNAPSHOT.write(path, |writer| self.write(self.second(now), writer))
    }

    fn write(&self, second: u32, writer: &mut Writer) -> io::Result<()> {
        let mut buffer = Vec::new();
        for door in &self.shards {
            let mut walk = Walk::START;
            let mut done = false;
            while !done {
                buffer.clear();
                // Copied under the lock, written without it.
                done = door.lock().encode(&mut walk, second, &mut buffer);
                writer.put(&buffer)?;
            }
        }
        Ok(())
    }

    /// Takes over what is in the snapshot at `path`, as far as the bounds allow; nothing if there is no such file. To
    /// be called before the store is used. Observers are not told.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`], in which case the file has been renamed; [`SnapshotError::Io`].
    pub fn load(&self, now: Instant, path: &Path) -> Result<Loaded, SnapshotError> {
        let loaded = SNAPSHOT.read(path, |content| {
            // All of it or nothing, and no second copy of it in memory.
            check(content)?;
            Ok(self.take_over(content, now))
        })?;
        Ok(loaded.unwrap_or_default())
    }

    fn take_over(&self, mut rest: &[u8], now: Instant) -> Loaded {
        let mut loaded = Loaded::default();
        let mut taken = HashSet::new();
        let mut context = self.context(now);
        context.changes = None;
        while let Some(saved) = SavedTorrent::decode(&mut rest) {
            let new = !taken.contains(&saved.info_hash);
            let room = loaded.torrents + usize::from(new) <= context.config.max_torrents
                && loaded.peers + saved.count <= context.config.max_peers;
            if !room || (new && saved.exists(self)) {
                continue;
            }
            if new {
                loaded.torrents += 1;
                taken.insert(saved.info_hash);
            }
            let key = self.key(saved.info_hash);
            let mut shard = self.door(key).lock();
            let position = shard.find_or_create(key, &context);
            let before = shard.torrents.get(position).map_or(0, |torrent| shard.pools.len(torrent));
            for peer in saved.peers() {
                let sighting = Sighting { now: context.now, ..peer.sighting };
                let torrent = shard.torrents.get(position);
                let place = torrent.and_then(|torrent| shard.pools.find(torrent, &peer.address, &self.hasher));
                shard.put(position, (peer.address, place), sighting, (None, false), &mut context);
            }
            if let Some(torrent) = shard.torrents.get_mut(position) {
                torrent.downloaded = saved.downloaded;
                // Whatever the file says, no peer was seen after the last announce.
                // A record tells no age beyond its bound.
                let ages = saved.peers().map(|peer| peer.sighting.age).filter(|age| *age < u32::from(OLDEST));
                let age = ages.fold(saved.age, u32::min);
                let touched = context.now.saturating_sub(age);
                torrent.touched = if new { touched } else { torrent.touched.max(touched) };
            }
            loaded.peers += shard.torrents.get(position).map_or(0, |torrent| shard.pools.len(torrent)) - before;
        }
        loaded
    }
}

impl Shard {
    /// Writes the next torrents, from the last to the first. Returns whether that was all.
    fn encode(&mut self, walk: &mut Walk, now: u32, out: &mut Vec<u8>) -> bool {
        self.keep_ages(now);
        walk.torrent = walk.torrent.min(self.torrents.len());
        while let Some(position) = walk.torrent.checked_sub(1) {
            if out.len() >= SLICE {
                return false;
            }
            let Some(torrent) = self.torrents.get(position) else { break };
            let (v4, v6) = (self.pools.v4.peers(torrent.v4), self.pools.v6.peers(torrent.v6));
            walk.v4 = walk.v4.min(v4.len());
            walk.v6 = walk.v6.min(v6.len());
            let (from4, from6) = (walk.v4.saturating_sub(PART), walk.v6.saturating_sub(PART));
            encode_head(torrent, walk.v4 - from4 + walk.v6 - from6, now, out);
            numbered(v4, from4).take(walk.v4 - from4).for_each(|(peer, seed)| encode_peer(peer, seed, now, out));
            numbered(v6, from6).take(walk.v6 - from6).for_each(|(peer, seed)| encode_peer(peer, seed, now, out));
            (walk.v4, walk.v6) = (from4, from6);
            if from4 == 0 && from6 == 0 {
                *walk = Walk { torrent: position, ..Walk::START };
            }
        }
        true
    }
}

fn encode_head(torrent: &Torrent, peers: usize, now: u32, out: &mut Vec<u8>) {
    out.extend(torrent.info_hash.0);
    out.extend(torrent.downloaded.to_be_bytes());
    out.extend(now.saturating_sub(torrent.touched).to_be_bytes());
    out.extend(u32::try_from(peers).unwrap_or(u32::MAX).to_be_bytes());
}

fn encode_peer<const L: usize>(peer: &Record<L>, seed: bool, now: u32, out: &mut Vec<u8>) {
    out.push(u8::from(L == V6) | u8::from(seed) << 1);
    out.extend(peer.address);
    out.extend(peer.age(now).to_be_bytes());
    out.extend(peer.tag().bits().to_be_bytes());
}

/// A torrent, or a part of one; its peers are read when they are needed.
struct SavedTorrent<'a> {
    info_hash: InfoHash,
    downloaded: u32,
    age: u32,
    count: usize,
    peers: &'a [u8],
}

struct SavedPeer {
    address: Address,
    sighting: Sighting,
}

impl<'a> SavedTorrent<'a> {
    fn decode(rest: &mut &'a [u8]) -> Option<Self> {
        let info_hash = InfoHash(take(rest)?);
        let [downloaded, age, count] = [number(rest)?, number(rest)?, number(rest)?];
        let start = *rest;
        for _ in 0..count {
            SavedPeer::decode(rest)?;
        }
        let peers = start.get(..start.len() - rest.len())?;
        Some(Self { info_hash, downloaded, age, count: count as usize, peers })
    }

    fn peers(&self) -> impl Iterator<Item = SavedPeer> {
        let mut rest = self.peers;
        std::iter::from_fn(move || SavedPeer::decode(&mut rest))
    }

    /// Whether the store has it from somewhere else.
    fn exists(&self, store: &Store) -> bool {
        let key = store.key(self.info_hash);
        store.door(key).lock().find(key).is_some()
    }
}

impl SavedPeer {
    fn decode(rest: &mut &[u8]) -> Option<Self> {
        let [kind] = take(rest)?;
        let bytes = if kind & 1 == 0 { Address::V4(take::<V4>(rest)?) } else { Address::V6(take::<V6>(rest)?) };
        let [age, tag] = [u16::from_be_bytes(take(rest)?), u16::from_be_bytes(take(rest)?)];
        let (tag, seed) = (PeerTag::from_bits(tag), kind & 2 != 0);
        let sighting = Sighting { tag, seed, now: 0, age: age.into(), imported: false };
        // A file may have an address in another form than the store has it.
        Some(Self { address: Address::from(bytes.socket()), sighting })
    }
}

fn check(mut content: &[u8]) -> Result<(), &'static str> {
    while !content.is_empty() {
        SavedTorrent::decode(&mut content).ok_or("a torrent in it is cut short")?;
    }
    Ok(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
