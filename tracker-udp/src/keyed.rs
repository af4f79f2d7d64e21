//! Who has announced to a private tracker with a good key lately, for those requests that have no room for one.
//!
//! BEP 41 puts options behind announces only, so a scrape over UDP cannot tell its key. That of the last announce from the same
//! address counts for it: an address that has proven itself by its connection id, and the tracker looks whether the key is
//! still good. Whoever shares an address with somebody who has a key (a household behind one router) can scrape as well, and
//! learns numbers, no peers. Where a tracker has several nodes, each knows the announces that it has heard.
//!
//! Invariant: memory is bounded; an address that finds no room cannot scrape, and can announce as before.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Locks: more than cores.
const SHARDS: usize = 16;
/// Addresses under one lock, 65,536 in all: some 10 MB. To look through them for old ones takes some 20 µs.
const MOST: usize = 4_096;

/// When an address announced last, and with which key.
type Table = HashMap<IpAddr, (Instant, Arc<[u8]>)>;

#[derive(Debug, Default)]
pub(crate) struct KeyedAddresses {
    shards: [Mutex<Table>; SHARDS],
    hasher: RandomState,
}

impl KeyedAddresses {
    /// An announce with this key was answered. What is older than `ttl` may make room for it.
    pub(crate) fn remember(&self, ip: IpAddr, key: &[u8], now: Instant, ttl: Duration) {
        let mut table = self.shard(ip);
        if let Some((seen, known)) = table.get_mut(&ip) {
            *seen = now;
            if **known != *key {
                *known = key.into();
            }
            return;
        }
        if table.len() >= MOST {
            table.retain(|_, (seen, _)| now.saturating_duration_since(*seen) <= ttl);
        }
        if table.len() < MOST {
            table.insert(ip, (now, key.into()));
        }
    }

    /// The key with which an address has announced, if that is no longer ago than `ttl`.
    pub(crate) fn key_of(&self, ip: IpAddr, now: Instant, ttl: Duration) -> Option<Arc<[u8]>> {
        let table = self.shard(ip);
        let (seen, key) = table.get(&ip)?;
        (now.saturating_duration_since(*seen) <= ttl).then(|| Arc::clone(key))
    }

    fn shard(&self, ip: IpAddr) -> MutexGuard<'_, Table> {
        let index = usize::try_from(self.hasher.hash_one(ip) % SHARDS as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS of them")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_old_make_room() {
        let (keyed, start, ttl) = (KeyedAddresses::default(), Instant::now(), Duration::from_secs(60));
        let ip = |n: u32| IpAddr::from(n.to_be_bytes());
        let all = 2 * u32::try_from(SHARDS * MOST).unwrap();
        (0..all).for_each(|n| keyed.remember(ip(n), b"key", start, ttl));
        let held = || keyed.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>();
        assert_eq!(held(), SHARDS * MOST);
        let left_out = (0..all).find(|n| keyed.key_of(ip(*n), start, ttl).is_none()).unwrap();
        let later = start + Duration::from_secs(61);
        assert_eq!(keyed.key_of(ip(0), later, ttl), None);
        keyed.remember(ip(left_out), b"other", later, ttl);
        assert_eq!(keyed.key_of(ip(left_out), later, ttl).as_deref(), Some(&b"other"[..]));
        assert!(held() < SHARDS * MOST);
    }
}
