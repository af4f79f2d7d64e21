//! The store on disk: everything it knows, written atomically, checked before it is believed.
//!
//! A [`Sealed`] file. All numbers big endian, ages in seconds at the moment of writing. Per torrent: info hash (20), downloads (4), age (4), number of peers (4), and per peer family and role (1: bit 0
//! IPv6, bit 1 seed), address (4 or 16), port (2), peer id (20), age (4).

use crate::address::Address;
use crate::sealed::{Sealed, SnapshotError};
use crate::shard::Shard;
use crate::store::{Store, lock};
use crate::swarm::{Peer, Swarm};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use swarm_proto::id::{InfoHash, PeerId};

/// Some 30 million peers at most.
const SNAPSHOT: Sealed = Sealed { magic: b"swarm tracker snapshot\x01", largest: 1 << 30 };

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
        let second = self.second(now);
        SNAPSHOT.write(path, |writer| {
            let mut buffer = Vec::new();
            for shard in &self.shards {
                buffer.clear();
                // Copied under the lock, written without it.
                lock(shard).torrents.iter().for_each(|(hash, swarm)| encode(hash, swarm, second, &mut buffer));
                writer.put(&buffer)?;
            }
            Ok(())
        })
    }

    /// Takes over what is in the snapshot at `path`, as far as the bounds allow; nothing if there is no such file. To
    /// be called before the store is used. Observers are not told.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`], in which case the file has been renamed; [`SnapshotError::Io`].
    pub fn load(&self, now: Instant, path: &Path) -> Result<Loaded, SnapshotError> {
        let torrents = SNAPSHOT.read(path, decode)?.unwrap_or_default();
        let second = self.second(now);
        let mut loaded = Loaded::default();
        for (info_hash, swarm) in torrents {
            let room =
                loaded.torrents < self.config.max_torrents && loaded.peers + swarm.peers.len() <= self.config.max_peers;
            if room {
                loaded.torrents += 1;
                loaded.peers += swarm.peers.len();
                self.take_over(info_hash, swarm, second);
            }
        }
        Ok(loaded)
    }

    fn take_over(&self, info_hash: InfoHash, saved: SavedSwarm, second: u32) {
        let mut shard = self.shard(&info_hash);
        let Shard { torrents, .. } = &mut *shard;
        if torrents.contains_key(&info_hash) {
            return;
        }
        let mut swarm = Swarm::default();
        swarm.downloaded = saved.downloaded;
        for (address, peer_id, age, seed) in saved.peers {
            swarm.upsert(address.into(), Peer { peer_id, seen: second.saturating_sub(age) }, seed);
        }
        // Whatever the file says, no peer was seen after the last announce.
        swarm.touched = swarm.touched.max(second.saturating_sub(saved.age));
        self.totals.torrents.fetch_add(1, Relaxed);
        self.totals.peers.fetch_add(swarm.len(), Relaxed);
        self.totals.seeds.fetch_add(swarm.seeds(), Relaxed);
        torrents.insert(info_hash, swarm);
    }
}

fn encode(hash: &InfoHash, swarm: &Swarm, second: u32, out: &mut Vec<u8>) {
    out.extend(hash.0);
    out.extend(swarm.downloaded.to_be_bytes());
    out.extend(second.saturating_sub(swarm.touched).to_be_bytes());
    out.extend(u32::try_from(swarm.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (address, peer, seed) in swarm.iter() {
        let kind = u8::from(matches!(address, Address::V6(_))) | u8::from(seed) << 1;
        out.push(kind);
        match address.socket().ip() {
            IpAddr::V4(ip) => out.extend(ip.octets()),
            IpAddr::V6(ip) => out.extend(ip.octets()),
        }
        out.extend(address.socket().port().to_be_bytes());
        out.extend(peer.peer_id.0);
        out.extend(second.saturating_sub(peer.seen).to_be_bytes());
    }
}

struct SavedSwarm {
    downloaded: u32,
    age: u32,
    peers: Vec<(SocketAddr, PeerId, u32, bool)>,
}

fn decode(mut rest: &[u8]) -> Result<Vec<(InfoHash, SavedSwarm)>, &'static str> {
    let mut torrents = Vec::new();
    while !rest.is_empty() {
        torrents.push(decode_torrent(&mut rest).ok_or("a torrent in it is cut short")?);
    }
    Ok(torrents)
}

fn decode_torrent(rest: &mut &[u8]) -> Option<(InfoHash, SavedSwarm)> {
    let info_hash = InfoHash(take(rest)?);
    let [downloaded, age, count] = [number(rest)?, number(rest)?, number(rest)?];
    let mut peers = Vec::new();
    for _ in 0..count {
        let [kind] = take(rest)?;
        let ip: IpAddr = if kind & 1 == 0 { take::<4>(rest)?.into() } else { take::<16>(rest)?.into() };
        let address = SocketAddr::new(ip, u16::from_be_bytes(take(rest)?));
        peers.push((address, PeerId(take(rest)?), number(rest)?, kind & 2 != 0));
    }
    Some((info_hash, SavedSwarm { downloaded, age, peers }))
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
