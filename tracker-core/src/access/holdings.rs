//! What the owner of a key has in the store.
//!
//! Only keys with limits are looked after, and only as far as their limits go: an entry is a hash of torrent and address. A
//! peer that was refused afterwards, or evicted, counts until it would have expired.

use super::KeyLimits;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Peers of a key whose torrents alone are limited.
const MOST_PEERS: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Holdings(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Torrent and second of the last announce of each peer.
    peers: HashMap<u64, (u64, u32)>,
    /// Peers of each torrent.
    torrents: HashMap<u64, u32>,
}

impl Holdings {
    /// Counts a peer that announces. Returns whether it is within the limits.
    pub(super) fn hold(&self, (torrent, peer): (u64, u64), now: u32, ttl: u32, limits: KeyLimits) -> bool {
        let mut table = self.lock();
        if let Some((_, seen)) = table.peers.get_mut(&peer) {
            *seen = now;
            return true;
        }
        if !table.has_room(torrent, limits) {
            table.expire(now.saturating_sub(ttl));
        }
        let room = table.has_room(torrent, limits);
        if room {
            table.peers.insert(peer, (torrent, now));
            *table.torrents.entry(torrent).or_default() += 1;
        }
        room
    }

    pub(super) fn remove(&self, peer: u64) {
        let mut table = self.lock();
        if let Some((torrent, _)) = table.peers.remove(&peer) {
            table.leave(torrent);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn has_room(&self, torrent: u64, limits: KeyLimits) -> bool {
        let peers = limits.max_peers.map_or(MOST_PEERS, |most| most as usize);
        let torrents = limits.max_torrents.map_or(usize::MAX, |most| most as usize);
        self.peers.len() < peers && (self.torrents.len() < torrents || self.torrents.contains_key(&torrent))
    }

    fn expire(&mut self, since: u32) {
        let silent: Vec<u64> = self.peers.extract_if(|_, (_, seen)| *seen < since).map(|(_, (it, _))| it).collect();
        silent.into_iter().for_each(|torrent| self.leave(torrent));
    }

    fn leave(&mut self, torrent: u64) {
        if let Some(peers) = self.torrents.get_mut(&torrent) {
            *peers -= 1;
            if *peers == 0 {
                self.torrents.remove(&torrent);
            }
        }
    }
}
