//! The catalogue: names, what they stand for, and who owns them.
//!
//! Owns the table in memory and its bounds. It never touches a file (that is `snapshot`) or a socket. Invariant: names are
//! unique, the sums (bytes, names per network) are those of the entries, and no token is kept, only its SHA-1.

use crate::config::Limits;
use crate::network::Network;
use bytes::Bytes;
use sha1::{Digest, Sha1};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use swarm_proto::id::{HASH_LENGTH, InfoHash};
use swarm_proto::metainfo::Metainfo;
use swarm_proto::native::{Name, NameError, Refusal, RefusalCode, Token, fold};

/// SHA-1 of a token: a stolen snapshot opens nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnerDigest(pub(crate) [u8; HASH_LENGTH]);

impl OwnerDigest {
    fn of(token: Token) -> Self {
        Self(Sha1::digest(token.as_bytes()).into())
    }

    /// Takes the same time whatever the bytes are.
    fn is_of(self, token: Token) -> bool {
        let other = Self::of(token);
        let difference = self.0.iter().zip(other.0).fold(0, |seen, (one, two)| seen | (one ^ two));
        std::hint::black_box(difference) == 0
    }
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) info_hash: InfoHash,
    pub(crate) size: u64,
    pub(crate) metainfo: Bytes,
    pub(crate) owner: OwnerDigest,
    pub(crate) publisher: Network,
    /// The name as a search compares it, where that is another.
    pub(crate) folded: Option<Box<str>>,
}

/// A metainfo that has been read and found good, with the name that it is to have.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) name: Name,
    pub(crate) info_hash: InfoHash,
    pub(crate) size: u64,
    pub(crate) metainfo: Bytes,
}

/// Why a publication or removal is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CatalogueError {
    #[error("the metainfo cannot be read: {0}")]
    Metainfo(String),
    #[error("the metainfo is of another torrent, {0}")]
    OtherTorrent(InfoHash),
    #[error("the metainfo has no name that could stand in the catalogue ({0}); publish it under another")]
    Name(NameError),
    #[error("the name is taken, and the token is not its owner's")]
    NotOwner,
    #[error("no such name")]
    NoSuchName,
    #[error("the catalogue is full")]
    Full,
    #[error("your network has as many names as it may have")]
    NetworkFull,
}

impl CatalogueError {
    pub(crate) fn refusal(&self) -> Refusal {
        let code = match self {
            Self::Metainfo(_) | Self::OtherTorrent(_) | Self::Name(_) => RefusalCode::BadMetainfo,
            Self::NotOwner => RefusalCode::NotOwner,
            Self::NoSuchName => RefusalCode::NotFound,
            Self::Full | Self::NetworkFull => RefusalCode::Full,
        };
        Refusal::new(code, &self.to_string())
    }
}

impl Candidate {
    /// Reads a metainfo; takes time and memory by its size, so not on a thread that serves connections.
    pub(crate) fn read(metainfo: Bytes, name: Option<Name>, told: InfoHash) -> Result<Self, CatalogueError> {
        let parsed = Metainfo::parse(metainfo.clone()).map_err(|error| CatalogueError::Metainfo(error.to_string()))?;
        if parsed.info_hash() != told {
            return Err(CatalogueError::OtherTorrent(parsed.info_hash()));
        }
        let name = match name {
            Some(name) => name,
            None => Name::new(parsed.name()).map_err(CatalogueError::Name)?,
        };
        Ok(Self { name, info_hash: told, size: parsed.geometry().total_length(), metainfo })
    }
}

/// The table of names.
#[derive(Debug)]
pub(crate) struct Catalogue {
    entries: BTreeMap<Name, Entry>,
    names_of: HashMap<InfoHash, BTreeSet<Name>>,
    names_from: HashMap<Network, usize>,
    bytes: u64,
    limits: Limits,
}

impl Catalogue {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { entries: BTreeMap::new(), names_of: HashMap::new(), names_from: HashMap::new(), bytes: 0, limits }
    }

    /// Puts an entry in, or in the place of one that the token owns. A free name belongs to `token`.
    pub(crate) fn publish(
        &mut self,
        candidate: Candidate,
        token: Token,
        publisher: Network,
    ) -> Result<(), CatalogueError> {
        let old = self.entries.get(&candidate.name);
        if old.is_some_and(|entry| !entry.owner.is_of(token)) {
            return Err(CatalogueError::NotOwner);
        }
        let freed = old.map_or(0, |entry| entry.metainfo.len() as u64);
        let added = candidate.metainfo.len() as u64;
        let names = self.entries.len() + usize::from(old.is_none());
        if names > self.limits.names || self.bytes - freed + added > self.limits.catalogue_bytes {
            return Err(CatalogueError::Full);
        }
        // A replaced entry stays with the network that it came from: its owner may have moved since.
        let publisher = old.map_or(publisher, |entry| entry.publisher);
        let from_network = self.names_from.get(&publisher).copied().unwrap_or(0);
        if old.is_none() && from_network >= self.limits.names_per_network {
            return Err(CatalogueError::NetworkFull);
        }
        let Candidate { name, info_hash, size, metainfo } = candidate;
        let folded = folded(&name);
        self.insert(name, Entry { info_hash, size, metainfo, owner: OwnerDigest::of(token), publisher, folded });
        Ok(())
    }

    /// Puts an entry in without asking; for what was published before a restart.
    pub(crate) fn insert(&mut self, name: Name, entry: Entry) {
        self.take_out(&name);
        self.bytes += entry.metainfo.len() as u64;
        *self.names_from.entry(entry.publisher).or_default() += 1;
        self.names_of.entry(entry.info_hash).or_default().insert(name.clone());
        self.entries.insert(name, entry);
    }

    /// Takes an entry out that the token owns.
    pub(crate) fn remove(&mut self, name: &Name, token: Token) -> Result<(), CatalogueError> {
        let entry = self.entries.get(name).ok_or(CatalogueError::NoSuchName)?;
        if !entry.owner.is_of(token) {
            return Err(CatalogueError::NotOwner);
        }
        self.take_out(name);
        Ok(())
    }

    fn take_out(&mut self, name: &Name) {
        let Some(entry) = self.entries.remove(name) else { return };
        self.bytes = self.bytes.saturating_sub(entry.metainfo.len() as u64);
        if let Some(names) = self.names_of.get_mut(&entry.info_hash) {
            names.remove(name);
            if names.is_empty() {
                self.names_of.remove(&entry.info_hash);
            }
        }
        if let Some(count) = self.names_from.get_mut(&entry.publisher) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.names_from.remove(&entry.publisher);
            }
        }
    }

    pub(crate) fn by_name(&self, name: &Name) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The first name of a torrent, with its entry.
    pub(crate) fn by_info_hash(&self, info_hash: InfoHash) -> Option<(&Name, &Entry)> {
        self.entries.get_key_value(self.names_of.get(&info_hash)?.first()?)
    }

    /// Entries whose names start with `prefix` and stand behind `after`, at most `limit`, and whether there are more.
    pub(crate) fn page(&self, prefix: &str, after: Option<&Name>, limit: usize) -> (Vec<(&Name, &Entry)>, bool) {
        let mut matching = self.behind(prefix, after);
        let page = matching.by_ref().take(limit).collect();
        let more = matching.next().is_some();
        (page, more)
    }

    /// Of the next `slice` names that start with `prefix` and stand behind `after` those with `wanted` in them, at most `limit`.
    /// And the last name that was looked at, unless it is the last there is.
    pub(crate) fn search(
        &self,
        prefix: &str,
        wanted: &str,
        after: Option<&Name>,
        limit: usize,
        slice: usize,
    ) -> (Vec<(&Name, &Entry)>, Option<&Name>) {
        let mut rows = self.behind(prefix, after);
        let (mut found, mut seen) = (Vec::new(), None);
        for (name, entry) in rows.by_ref().take(slice) {
            if entry.folded.as_deref().unwrap_or(name.as_str()).contains(wanted) {
                if found.len() == limit {
                    return (found, seen);
                }
                found.push((name, entry));
            }
            seen = Some(name);
        }
        let more = rows.next().is_some();
        (found, seen.filter(|_| more))
    }

    /// Entries whose names start with `prefix` and stand behind `after`, in order.
    fn behind(&self, prefix: &str, after: Option<&Name>) -> impl Iterator<Item = (&Name, &Entry)> {
        let from = match after.map(Name::as_str) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rows = self.entries.range::<str, _>((from, Bound::Unbounded));
        rows.take_while(move |(name, _)| name.as_str().starts_with(prefix))
    }

    /// Bytes of metainfo, all entries together.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// A name as a search compares it, if that is not the name itself.
pub(crate) fn folded(name: &Name) -> Option<Box<str>> {
    let folded = fold(name.as_str());
    (folded != name.as_str()).then(|| folded.into_boxed_str())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::IpAddr;

    const ALICE: Token = Token::new([1; 16]);
    const MALLORY: Token = Token::new([2; 16]);

    /// A metainfo of one small file, and its info hash.
    pub(crate) fn metainfo(name: &str, length: u32) -> (Bytes, InfoHash) {
        let info = format!(
            "d6:lengthi{length}e4:name{}:{name}12:piece lengthi16384e6:pieces20:ABCDEFGHIJKLMNOPQRSTe",
            name.len()
        );
        let hash = InfoHash(Sha1::digest(info.as_bytes()).into());
        (format!("d4:info{info}e").into(), hash)
    }

    pub(crate) fn candidate(name: &str, length: u32) -> Candidate {
        let (metainfo, hash) = metainfo(name, length);
        Candidate::read(metainfo, None, hash).unwrap()
    }

    fn network(last: u8) -> Network {
        Network::of(IpAddr::from([192, 0, 2, last]))
    }

    fn names(page: &[(&Name, &Entry)]) -> Vec<String> {
        page.iter().map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn only_the_token_replaces_and_removes() {
        let mut catalogue = Catalogue::new(Limits::default());
        assert_eq!(catalogue.publish(candidate("a", 5), ALICE, network(1)), Ok(()));
        assert_eq!(catalogue.publish(candidate("a", 6), MALLORY, network(2)), Err(CatalogueError::NotOwner));
        assert_eq!(catalogue.publish(candidate("a", 7), ALICE, network(3)), Ok(()));
        let a = Name::new("a").unwrap();
        assert_eq!(catalogue.by_name(&a).map(|entry| entry.size), Some(7));
        assert!(catalogue.by_info_hash(candidate("a", 5).info_hash).is_none());
        assert_eq!(catalogue.remove(&a, MALLORY), Err(CatalogueError::NotOwner));
        assert_eq!(catalogue.remove(&a, ALICE), Ok(()));
        assert_eq!(catalogue.remove(&a, ALICE), Err(CatalogueError::NoSuchName));
        assert_eq!((catalogue.bytes, catalogue.names_from.len(), catalogue.names_of.len()), (0, 0, 0));
        assert_eq!(catalogue.publish(candidate("a", 5), MALLORY, network(1)), Ok(()));
    }

    #[test]
    fn a_metainfo_must_be_one_and_of_the_torrent_told() {
        let (good, hash) = metainfo("a", 5);
        let other = InfoHash([0; 20]);
        assert_eq!(Candidate::read(good, None, other).unwrap_err(), CatalogueError::OtherTorrent(hash));
        let garbage = Candidate::read(Bytes::from_static(b"d4:infoi1ee"), None, other);
        assert!(matches!(garbage, Err(CatalogueError::Metainfo(_))));
    }

    #[test]
    fn names_bytes_and_squatters_are_bounded() {
        let limits = Limits { names: 3, names_per_network: 2, catalogue_bytes: 400, ..Limits::default() };
        let mut catalogue = Catalogue::new(limits);
        let mut publish = |name: &str, last| catalogue.publish(candidate(name, 5), ALICE, network(last));
        assert_eq!(publish("a", 1), Ok(()));
        assert_eq!(publish("b", 1), Ok(()));
        assert_eq!(publish("c", 1), Err(CatalogueError::NetworkFull));
        assert_eq!(publish("a", 1), Ok(()), "a replacement takes no further name");
        assert_eq!(publish("c", 2), Ok(()));
        assert_eq!(publish("d", 3), Err(CatalogueError::Full));
        let long = "c".repeat(200);
        let (long, hash) = metainfo(&long, 5);
        let long = Candidate::read(long, Some(Name::new("c").unwrap()), hash).unwrap();
        assert_eq!(catalogue.publish(long, ALICE, network(2)), Err(CatalogueError::Full), "bytes");
    }

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let mut catalogue = Catalogue::new(Limits::default());
        for name in ["b2", "a", "b1", "b", "c", "b3"] {
            catalogue.publish(candidate(name, 5), ALICE, network(1)).unwrap();
        }
        let (page, more) = catalogue.page("b", None, 3);
        assert_eq!((names(&page), more), (vec!["b".into(), "b1".into(), "b2".into()], true));
        let (page, more) = catalogue.page("b", Some(&Name::new("b2").unwrap()), 3);
        assert_eq!((names(&page), more), (vec!["b3".into()], false));
        let (page, more) = catalogue.page("b", Some(&Name::new("a").unwrap()), 1);
        assert_eq!((names(&page), more), (vec!["b".into()], true));
        assert_eq!(names(&catalogue.page("", None, 100).0).len(), 6);
        assert!(catalogue.page("b", Some(&Name::new("z").unwrap()), 9).0.is_empty());
        assert!(catalogue.page("b", None, 0).0.is_empty());
    }

    #[test]
    fn a_search_looks_at_a_slice_and_says_where_to_go_on() {
        let mut catalogue = Catalogue::new(Limits::default());
        for name in ["B1.iso", "a1.ISO", "a2.txt", "a3.iso", "a4.iso"] {
            catalogue.publish(candidate(name, 5), ALICE, network(1)).unwrap();
        }
        let search = |prefix: &str, after: Option<&str>, limit, slice| {
            let after = after.map(|after| Name::new(after).unwrap());
            let (rows, seen) = catalogue.search(prefix, ".iso", after.as_ref(), limit, slice);
            (names(&rows).join(" "), seen.map(ToString::to_string).unwrap_or_default())
        };
        let found = |names: &str, seen: &str| (names.to_owned(), seen.to_owned());
        assert_eq!(search("", None, 9, 9), found("B1.iso a1.ISO a3.iso a4.iso", ""));
        assert_eq!(search("", None, 9, 3), found("B1.iso a1.ISO", "a2.txt"));
        assert_eq!(search("", Some("a2.txt"), 9, 3), found("a3.iso a4.iso", ""));
        assert_eq!(search("", None, 2, 9), found("B1.iso a1.ISO", "a2.txt"), "there is another, behind the last seen");
        assert_eq!(search("a", Some("B1.iso"), 1, 9), found("a1.ISO", "a2.txt"));
        assert_eq!(search("", Some("a4.iso"), 9, 9), found("", ""));
        assert_eq!(search("", None, 0, 9), found("", ""), "nothing is wanted");
    }
}
