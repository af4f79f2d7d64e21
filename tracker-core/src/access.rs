//! Which torrents are tracked, and for whom.
//!
//! Owns the list of info hashes that are allowed (all, where there is none), that of those that are denied, and the keys of
//! a private tracker with their limits. All of it is read from text files, and again by [`Access::reload`] while the
//! tracker works: a file with a fault in it changes nothing. Changes by [`Access::set_allowed`] and its like last until
//! the next reload or the end.
//!
//! Invariant: memory is bounded, by [`MOST_HASHES`] and [`MOST_KEYS`], and for each key by its limits.

mod files;
mod holdings;

pub use files::AccessError;

use crate::types::{StoreAnnounce, StoreRefusal};
use files::{read_hashes, read_keys};
use holdings::Holdings;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::InfoHash;

/// Info hashes of one list: some 60 MB of memory.
pub const MOST_HASHES: usize = 1_000_000;
/// Keys of a private tracker: some 150 MB of memory.
pub const MOST_KEYS: usize = 1_000_000;
/// Bytes of a key.
pub const LONGEST_KEY: usize = swarm_proto::limits::PASSKEY_LENGTH;

/// Where the lists are; none of them need exist.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessFiles {
    /// Info hashes that are tracked, and no others: one of 40 hexadecimal digits a line. `#` begins a comment.
    pub allow: Option<PathBuf>,
    /// Info hashes that are not tracked, in the same form; they count more than those that are allowed.
    pub deny: Option<PathBuf>,
    /// Keys of a private tracker, one a line, each with its limits or without: `KEY max-torrents=20 max-peers=40`.
    pub keys: Option<PathBuf>,
}

/// What the owner of a key may have in the store at a time; `None` for no such limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyLimits {
    /// Torrents.
    pub max_torrents: Option<u32>,
    /// Peers, all torrents together.
    pub max_peers: Option<u32>,
}

/// How much there is in the lists; `None` for those that there are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccessCounts {
    /// Info hashes that are allowed.
    pub allowed: Option<usize>,
    /// Info hashes that are denied.
    pub denied: usize,
    /// Keys.
    pub keys: Option<usize>,
}

#[derive(Debug, Default)]
struct Lists {
    allow: Option<HashSet<InfoHash>>,
    deny: HashSet<InfoHash>,
    keys: Option<HashMap<Box<[u8]>, Key>>,
}

#[derive(Clone, Debug)]
struct Key {
    limits: KeyLimits,
    /// Outlives a reload.
    holdings: Arc<Holdings>,
}

/// The lists; see the module's header.
#[derive(Debug, Default)]
pub struct Access {
    files: AccessFiles,
    lists: RwLock<Lists>,
    hasher: RandomState,
}

impl Access {
    /// Reads the lists.
    ///
    /// # Errors
    /// [`AccessError`], which says what is wrong in which line of which file.
    pub fn open(files: AccessFiles) -> Result<Self, AccessError> {
        let access = Self { files, ..Self::default() };
        access.reload()?;
        Ok(access)
    }

    /// Reads the lists again. Announces go on meanwhile, by the old ones.
    ///
    /// # Errors
    /// [`AccessError`]; everything is as it was before.
    pub fn reload(&self) -> Result<AccessCounts, AccessError> {
        let allow = self.files.allow.as_deref().map(read_hashes).transpose()?;
        let deny = self.files.deny.as_deref().map(read_hashes).transpose()?.unwrap_or_default();
        let keys = self.files.keys.as_deref().map(read_keys).transpose()?;
        let mut lists = self.write();
        let keys = keys.map(|keys| {
            let mut before = lists.keys.take().unwrap_or_default();
            let known = |(key, limits)| {
                let holdings = before.remove(&key).map(|key: Key| key.holdings).unwrap_or_default();
                (key, Key { limits, holdings })
            };
            keys.into_iter().map(known).collect()
        });
        *lists = Lists { allow, deny, keys };
        drop(lists);
        Ok(self.counts())
    }

    /// How much there is in the lists.
    pub fn counts(&self) -> AccessCounts {
        let lists = self.read();
        AccessCounts {
            allowed: lists.allow.as_ref().map(HashSet::len),
            denied: lists.deny.len(),
            keys: lists.keys.as_ref().map(HashMap::len),
        }
    }

    /// Puts an info hash on the list of those that are allowed, or takes it off. Where there was no such list, there is one
    /// from then on. Returns whether that changed anything; a full list takes no more.
    pub fn set_allowed(&self, info_hash: InfoHash, allowed: bool) -> bool {
        change(self.write().allow.get_or_insert_default(), info_hash, allowed)
    }

    /// Puts an info hash on the list of those that are denied, or takes it off. Its peers are told to nobody from then on,
    /// and expire. Returns whether that changed anything; a full list takes no more.
    pub fn set_denied(&self, info_hash: InfoHash, denied: bool) -> bool {
        change(&mut self.write().deny, info_hash, denied)
    }

    /// Makes a key good, with these limits, or changes its limits. The tracker is private from then on. Returns whether
    /// there was room for it.
    pub fn set_key(&self, key: &[u8], limits: KeyLimits) -> bool {
        let mut lists = self.write();
        let keys = lists.keys.get_or_insert_default();
        if let Some(known) = keys.get_mut(key) {
            known.limits = limits;
            return true;
        }
        let room = keys.len() < MOST_KEYS && (1..=LONGEST_KEY).contains(&key.len());
        if room {
            keys.insert(key.into(), Key { limits, holdings: Arc::default() });
        }
        room
    }

    /// Makes a key good for nothing. Returns whether it was good.
    pub fn remove_key(&self, key: &[u8]) -> bool {
        self.write().keys.as_mut().is_some_and(|keys| keys.remove(key).is_some())
    }

    /// Whether this torrent may be tracked for the owner of this key.
    ///
    /// # Errors
    /// [`StoreRefusal::NoKey`], [`StoreRefusal::UnknownKey`], [`StoreRefusal::NotTracked`].
    pub fn check(&self, info_hash: &InfoHash, passkey: Option<&[u8]>) -> Result<(), StoreRefusal> {
        self.read().admit(info_hash, passkey).map(drop)
    }

    /// Whether this key is good, where one is needed.
    ///
    /// # Errors
    /// [`StoreRefusal::NoKey`], [`StoreRefusal::UnknownKey`].
    pub fn check_key(&self, passkey: Option<&[u8]>) -> Result<(), StoreRefusal> {
        self.read().key(passkey).map(drop)
    }

    /// [`Access::check`] for an announce, which counts for its key from then on.
    pub(crate) fn announce(&self, now: u32, ttl: u32, request: &StoreAnnounce<'_>) -> Result<(), StoreRefusal> {
        let key = self.read().admit(&request.info_hash, request.passkey)?.cloned();
        let Some(Key { limits, holdings }) = key.filter(|key| key.limits != KeyLimits::default()) else {
            return Ok(());
        };
        let torrent = self.hasher.hash_one(request.info_hash);
        let peer = self.held(&request.info_hash, request.address);
        if request.event == AnnounceEvent::Stopped {
            holdings.remove(peer);
            return Ok(());
        }
        if holdings.hold((torrent, peer), now, ttl, limits) { Ok(()) } else { Err(StoreRefusal::KeyLimit) }
    }

    /// A peer that announced with this key is gone: it counts for the key no longer.
    pub(crate) fn leave(&self, info_hash: &InfoHash, address: SocketAddr, passkey: &[u8]) {
        let holdings = self.read().key(Some(passkey)).ok().flatten().map(|key| Arc::clone(&key.holdings));
        if let Some(holdings) = holdings {
            holdings.remove(self.held(info_hash, address));
        }
    }

    /// As what a peer counts for its key.
    fn held(&self, info_hash: &InfoHash, address: SocketAddr) -> u64 {
        self.hasher.hash_one((info_hash, address.ip().to_canonical(), address.port()))
    }

    fn read(&self) -> RwLockReadGuard<'_, Lists> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Lists> {
        self.lists.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    /// The key by which the torrent may be tracked; none where none is needed.
    fn admit(&self, info_hash: &InfoHash, passkey: Option<&[u8]>) -> Result<Option<&Key>, StoreRefusal> {
        let key = self.key(passkey)?;
        let allowed = self.allow.as_ref().is_none_or(|allow| allow.contains(info_hash));
        if allowed && !self.deny.contains(info_hash) { Ok(key) } else { Err(StoreRefusal::NotTracked) }
    }

    fn key(&self, passkey: Option<&[u8]>) -> Result<Option<&Key>, StoreRefusal> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let passkey = passkey.ok_or(StoreRefusal::NoKey)?;
        keys.get(passkey).ok_or(StoreRefusal::UnknownKey).map(Some)
    }
}

fn change(list: &mut HashSet<InfoHash>, info_hash: InfoHash, listed: bool) -> bool {
    if listed { list.len() < MOST_HASHES && list.insert(info_hash) } else { list.remove(&info_hash) }
}

/// The key in the path of an announce URL: `/KEY/announce` or `/announce/KEY`, and the same with `scrape`; what stands
/// behind a `?` does not count.
pub fn passkey_of(path: &[u8]) -> Option<&[u8]> {
    let path = path.split(|byte| *byte == b'?').next()?;
    let mut parts = path.strip_prefix(b"/")?.split(|byte| *byte == b'/');
    let (first, second, end) = (parts.next()?, parts.next()?, parts.next());
    let is_verb = |part: &[u8]| part == b"announce" || part == b"scrape";
    let key = match (is_verb(first), is_verb(second), end) {
        (false, true, None) => first,
        (true, false, None) => second,
        _ => return None,
    };
    (1..=LONGEST_KEY).contains(&key.len()).then_some(key)
}

#[cfg(test)]
mod tests;
