//! The people who registered a name at this tracker, in memory and on disk.
//!
//! Owns the table and its bounds; proofs have been checked before. Invariant: a name, in whatever case, is one key's, and
//! while it is, no other key gets one that looks like it; sums by key and by network and the looks are those of the entries. What
//! nobody has proven for [`LIFETIME_DAYS`] counts as free. Names that a tracker gave away before it knew of looks all stay with
//! their keys, each found by its own spelling; what looks like several is found as the first of them.
//!
//! The file is a [`Sealed`] one, numbers big endian. Per person: day of the last proof since 1970 (4), key (32), the network
//! that registered it as IPv6 (16; IPv4 mapped), length of the name (1), name.

use crate::network::Network;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use swarm_proto::likeness::{Likeness, Look};
use swarm_proto::native::{Person, PersonKey, PersonName, PersonQuery, Refusal, RefusalCode};
use swarm_tracker_core::{Sealed, SnapshotError, Writer};

/// Days after its last proof for which a name stays somebody's: a long absence, and no longer.
pub(crate) const LIFETIME_DAYS: u32 = 180;
/// Names of one key: one for each of somebody's roles.
const NAMES_OF_KEY: usize = 4;
/// Bytes of a person on disk at most.
const ROW: u64 = 128;

/// The day of the operating system's clock.
pub(crate) fn today() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / 86_400).unwrap_or(u32::MAX)
}

#[derive(Clone, Debug)]
struct Row {
    person: PersonName,
    key: PersonKey,
    network: Network,
    /// Day of the last proof.
    proven: u32,
}

/// Bounds of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeopleLimits {
    pub(crate) people: usize,
    pub(crate) of_network: usize,
}

/// Why a registration is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum PeopleError {
    #[error("the name is somebody else's")]
    Taken,
    #[error("it looks like {0}, and that name is somebody else's")]
    LooksLike(PersonName),
    #[error("nobody has that name")]
    NoSuchPerson,
    #[error("the tracker knows as many people as it may")]
    Full,
    #[error("your network, or your key, has as many names as it may have")]
    ShareFull,
}

impl PeopleError {
    pub(crate) fn refusal(self) -> Refusal {
        let code = match self {
            Self::Taken | Self::LooksLike(_) => RefusalCode::NotOwner,
            Self::NoSuchPerson => RefusalCode::NotFound,
            Self::Full | Self::ShareFull => RefusalCode::Full,
        };
        Refusal::new(code, &self.to_string())
    }
}

/// The table, by the name in lower case.
#[derive(Debug)]
pub(crate) struct People {
    rows: BTreeMap<String, Row>,
    /// Which names look so.
    of_look: HashMap<Look, BTreeSet<String>>,
    of_key: HashMap<PersonKey, BTreeSet<String>>,
    of_network: HashMap<Network, usize>,
    limits: PeopleLimits,
}

impl People {
    pub(crate) fn new(limits: PeopleLimits) -> Self {
        let (of_look, of_key, of_network) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { rows: BTreeMap::new(), of_look, of_key, of_network, limits }
    }

    /// How many names there are, those included that have expired and not been taken since.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Gives a free name to a key, or notes that the key was proven again. Says whether there is anything to be saved.
    pub(crate) fn register(
        &mut self,
        person: PersonName,
        key: PersonKey,
        network: Network,
        today: u32,
    ) -> Result<bool, PeopleError> {
        let folded = person.folded();
        if let Some(row) = self.rows.get_mut(&folded).filter(|row| is_alive(row, today)) {
            if row.key != key {
                return Err(PeopleError::Taken);
            }
            let news = row.proven != today || row.person != person;
            (row.proven, row.person) = (today, person);
            return Ok(news);
        }
        if let Some(row) = self.alike(&person, today).find(|row| row.key != key) {
            return Err(PeopleError::LooksLike(row.person.clone()));
        }
        self.take_out(&folded);
        if self.rows.len() >= self.limits.people {
            self.expire(today);
        }
        if self.rows.len() >= self.limits.people {
            return Err(PeopleError::Full);
        }
        let of_key = self.of_key.get(&key).map_or(0, BTreeSet::len);
        if of_key >= NAMES_OF_KEY || self.of_network.get(&network).copied().unwrap_or(0) >= self.limits.of_network {
            return Err(PeopleError::ShareFull);
        }
        self.insert(Row { person, key, network, proven: today });
        Ok(true)
    }

    /// Makes a name free that is the key's.
    pub(crate) fn release(&mut self, person: &PersonName, key: PersonKey, today: u32) -> Result<(), PeopleError> {
        let folded = person.folded();
        let row = self.rows.get(&folded).filter(|row| is_alive(row, today)).ok_or(PeopleError::NoSuchPerson)?;
        if row.key != key {
            return Err(PeopleError::Taken);
        }
        self.take_out(&folded);
        Ok(())
    }

    /// Those whose names look like this one.
    fn alike(&self, person: &PersonName, today: u32) -> impl Iterator<Item = &Row> {
        let looks = Likeness::of(person.as_str()).looks();
        let names = looks.into_iter().filter_map(|look| self.of_look.get(&look)).flatten();
        names.filter_map(|folded| self.rows.get(folded)).filter(move |row| is_alive(row, today))
    }

    /// Who has this name, or else one that looks like it; or who has this key.
    pub(crate) fn find(&self, query: &PersonQuery, today: u32) -> Result<Person, PeopleError> {
        let row = match query {
            PersonQuery::Name(person) => {
                let same = self.rows.get(&person.folded()).filter(|row| is_alive(row, today));
                same.or_else(|| self.alike(person, today).next())
            }
            PersonQuery::Key(key) => {
                let rows = self.of_key.get(key).into_iter().flatten().filter_map(|folded| self.rows.get(folded));
                rows.into_iter().find(|row| is_alive(row, today))
            }
        };
        let row = row.ok_or(PeopleError::NoSuchPerson)?;
        let idle_days = today.saturating_sub(row.proven);
        Ok(Person { person: row.person.clone(), key: row.key, idle_days })
    }

    /// Forgets those who have not been here for long.
    fn expire(&mut self, today: u32) {
        let gone = self.rows.iter().filter(|(_, row)| !is_alive(row, today));
        let gone: Vec<_> = gone.map(|(folded, _)| folded.clone()).collect();
        gone.iter().for_each(|folded| self.take_out(folded));
    }

    fn insert(&mut self, row: Row) {
        let folded = row.person.folded();
        self.take_out(&folded);
        *self.of_network.entry(row.network).or_default() += 1;
        self.of_key.entry(row.key).or_default().insert(folded.clone());
        for look in Likeness::of(&folded).looks() {
            self.of_look.entry(look).or_default().insert(folded.clone());
        }
        self.rows.insert(folded, row);
    }

    fn take_out(&mut self, folded: &str) {
        let Some(row) = self.rows.remove(folded) else { return };
        remove(&mut self.of_key, &row.key, folded);
        Likeness::of(folded).looks().iter().for_each(|look| remove(&mut self.of_look, look, folded));
        if let Some(count) = self.of_network.get_mut(&row.network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_network.remove(&row.network);
            }
        }
    }

    /// What is to be saved, as it stands in the file.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in self.rows.values() {
            let network = match row.network.address() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            let name = row.person.as_str().as_bytes();
            bytes.extend_from_slice(&row.proven.to_be_bytes());
            bytes.extend_from_slice(&row.key.0);
            bytes.extend_from_slice(&network.octets());
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(name);
        }
        bytes
    }

    /// Reads the people at `path`; nobody if there is no such file. Who has not been here for long is left out.
    pub(crate) fn load(path: &Path, limits: PeopleLimits, today: u32) -> Result<Self, SnapshotError> {
        let mut people = Self::new(limits);
        let rows = sealed(ROW * limits.people as u64).read(path, decode)?.unwrap_or_default();
        rows.into_iter().for_each(|row| people.insert(row));
        people.expire(today);
        Ok(people)
    }
}

/// Writes what [`People::encoded`] gave, in place of what stood there.
pub(crate) fn save(encoded: &[u8], path: &Path) -> Result<(), SnapshotError> {
    sealed(0).write(path, |writer: &mut Writer| -> io::Result<()> { writer.put(encoded) })
}

/// Takes a name out of one of the sets, and the set too if it was the last.
fn remove<K: Eq + Hash>(sets: &mut HashMap<K, BTreeSet<String>>, key: &K, folded: &str) {
    if let Some(names) = sets.get_mut(key) {
        names.remove(folded);
        if names.is_empty() {
            sets.remove(key);
        }
    }
}

fn is_alive(row: &Row, today: u32) -> bool {
    today.saturating_sub(row.proven) <= LIFETIME_DAYS
}

fn sealed(largest: u64) -> Sealed {
    Sealed { magic: b"swarm people\x01", largest }
}

fn decode(mut rest: &[u8]) -> Result<Vec<Row>, &'static str> {
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let proven = u32::from_be_bytes(array(&mut rest)?);
        let key = PersonKey(array(&mut rest)?);
        let network = Network::of(Ipv6Addr::from(array::<16>(&mut rest)?).into());
        let [length] = array(&mut rest)?;
        let (name, tail) = rest.split_at_checked(length.into()).ok_or("it ends inside a name")?;
        rest = tail;
        let person = std::str::from_utf8(name).ok().and_then(|name| PersonName::new(name).ok()).ok_or("a bad name")?;
        rows.push(Row { person, key, network, proven });
    }
    Ok(rows)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (head, tail) = rest.split_first_chunk().ok_or("it ends inside a person")?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PeopleLimits = PeopleLimits { people: 6, of_network: 5 };
    const ANN: PersonKey = PersonKey([1; 32]);
    const BOB: PersonKey = PersonKey([2; 32]);

    fn person(text: &str) -> PersonName {
        PersonName::new(text).unwrap()
    }

    fn network(last: u8) -> Network {
        Network::of(IpAddr::from([192, 0, 2, last]))
    }

    fn found(people: &People, name: &str, today: u32) -> Option<(String, PersonKey, u32)> {
        let found = people.find(&PersonQuery::Name(person(name)), today).ok()?;
        Some((found.person.to_string(), found.key, found.idle_days))
    }

    #[test]
    fn a_name_is_one_keys_until_it_is_released_or_forgotten() {
        let mut people = People::new(LIMITS);
        let mut register = |name: &str, key, today| people.register(person(name), key, network(1), today);
        assert_eq!(register("Ann", ANN, 10), Ok(true));
        assert_eq!(register("Ann", ANN, 10), Ok(false), "nothing to be saved");
        assert_eq!(register("aNN", BOB, 10), Err(PeopleError::Taken));
        assert_eq!(register("ann", ANN, 12), Ok(true));
        assert_eq!(found(&people, "ANN", 13), Some(("ann".into(), ANN, 1)));
        assert_eq!(people.find(&PersonQuery::Key(ANN), 12).unwrap().person, person("ann"));
        assert_eq!(people.release(&person("ann"), BOB, 12), Err(PeopleError::Taken));
        assert_eq!(people.release(&person("ann"), ANN, 12), Ok(()));
        assert_eq!(people.release(&person("ann"), ANN, 12), Err(PeopleError::NoSuchPerson));
        assert_eq!(people.register(person("ann"), BOB, network(1), 12), Ok(true));
        assert!(found(&people, "ann", 12 + LIFETIME_DAYS).is_some());
        assert_eq!(found(&people, "ann", 13 + LIFETIME_DAYS), None);
        assert_eq!(people.find(&PersonQuery::Key(BOB), 13 + LIFETIME_DAYS), Err(PeopleError::NoSuchPerson));
        assert_eq!(people.register(person("ann"), ANN, network(1), 13 + LIFETIME_DAYS), Ok(true));
        assert_eq!((people.rows.len(), people.of_key.len(), people.of_network[&network(1)]), (1, 1, 1));
    }

    #[test]
    fn a_name_keeps_all_that_look_like_it_from_others() {
        let mut people = People::new(LIMITS);
        let mut register = |name: &str, key, today| people.register(person(name), key, network(1), today);
        assert_eq!(register("alice", ANN, 10), Ok(true));
        assert_eq!(register("Jos\u{e9}", ANN, 10), Ok(true));
        for (like, of) in [("аӏісе", "alice"), ("AIice", "alice"), ("a1ice", "alice"), ("jose\u{301}", "Jos\u{e9}")]
        {
            assert_eq!(register(like, BOB, 11), Err(PeopleError::LooksLike(person(of))), "{like}");
        }
        assert_eq!(register("Jose", BOB, 11), Ok(true), "an accent is to be seen");
        assert_eq!(register("jose\u{301}", ANN, 11), Ok(true), "her own");
        let refusal = PeopleError::LooksLike(person("alice")).refusal();
        assert_eq!(refusal.code, RefusalCode::NotOwner);
        assert_eq!(refusal.text, "it looks like alice, and that name is somebody else's");
        // Whoever asks for what looks like a name is told whose that is.
        assert_eq!(found(&people, "AIICE", 11), Some(("alice".into(), ANN, 1)));
        assert_eq!(found(&people, "JOSE\u{301}", 11), Some(("jose\u{301}".into(), ANN, 0)), "its own spelling first");
        assert_eq!(people.release(&person("аӏісе"), ANN, 11), Err(PeopleError::NoSuchPerson));
        assert_eq!(people.release(&person("alice"), ANN, 11), Ok(()));
        assert_eq!((found(&people, "alice", 11), found(&people, "аӏісе", 11)), (None, None));
        assert_eq!(people.register(person("аӏісе"), BOB, network(1), 11), Ok(true));
        let late = 12 + LIFETIME_DAYS;
        assert_eq!(found(&people, "alice", late), None);
        assert_eq!(people.register(person("alice"), ANN, network(1), late), Ok(true), "it has expired");
        for name in ["Jos\u{e9}", "jose\u{301}", "Jose", "аӏісе", "alice"] {
            people.take_out(&person(name).folded());
        }
        assert!(people.of_look.is_empty() && people.of_key.is_empty() && people.of_network.is_empty());
    }

    /// What a tracker that knew nothing of looks has given to two keys.
    #[test]
    fn names_that_look_alike_and_were_given_away_before_all_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people");
        let mut before = People::new(LIMITS);
        for (name, key) in [("alice", ANN), ("аӏісе", BOB), ("Jos\u{e9}", BOB), ("jose\u{301}", ANN)] {
            before.insert(Row { person: person(name), key, network: network(1), proven: 10 });
        }
        save(&before.encoded(), &path).unwrap();
        let mut people = People::load(&path, LIMITS, 11).unwrap();
        assert_eq!(people.encoded(), before.encoded(), "nobody is lost");
        for (name, key) in [("Alice", ANN), ("АӏІСЕ", BOB), ("jos\u{e9}", BOB), ("JOSE\u{301}", ANN)] {
            assert_eq!(found(&people, name, 11).map(|found| found.1), Some(key), "{name}");
            assert_eq!(people.register(person(name), key, network(1), 11), Ok(true), "{name} is renewed");
        }
        let other = PersonKey([3; 32]);
        assert!(matches!(people.register(person("a1ice"), other, network(1), 11), Err(PeopleError::LooksLike(_))));
        // What one of them gives back only the other gets.
        assert_eq!(people.release(&person("alice"), ANN, 11), Ok(()));
        assert!(matches!(people.register(person("alice"), ANN, network(1), 11), Err(PeopleError::LooksLike(_))));
        assert_eq!(people.register(person("alice"), BOB, network(1), 11), Ok(true));
    }

    #[test]
    fn people_are_bounded_in_all_by_key_and_by_network() {
        let mut people = People::new(LIMITS);
        let mut register = |name: &str, key, last, today| people.register(person(name), key, network(last), today);
        for name in ["a", "b", "c", "d"] {
            assert_eq!(register(name, ANN, 1, 10), Ok(true));
        }
        assert_eq!(register("e", ANN, 1, 10), Err(PeopleError::ShareFull), "of one key");
        assert_eq!(register("e", BOB, 1, 10), Ok(true));
        assert_eq!(register("f", BOB, 1, 10), Err(PeopleError::ShareFull), "of one network");
        assert_eq!(register("f", BOB, 2, 100), Ok(true));
        assert_eq!(register("g", BOB, 2, 100), Err(PeopleError::Full));
        assert_eq!(register("g", BOB, 2, 11 + LIFETIME_DAYS), Ok(true), "the old ones make room");
        assert_eq!((people.rows.len(), people.of_network.len()), (2, 1));
    }

    #[test]
    fn people_survive_a_restart_and_no_changed_byte_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people");
        assert_eq!(People::load(&path, LIMITS, 1).unwrap().rows.len(), 0);
        let mut people = People::new(LIMITS);
        people.register(person("\u{c4}nn"), ANN, network(1), 10).unwrap();
        people.register(person("bob"), BOB, Network::of("2001:db8::1".parse().unwrap()), 100).unwrap();
        save(&people.encoded(), &path).unwrap();
        let again = People::load(&path, LIMITS, 10 + LIFETIME_DAYS).unwrap();
        assert_eq!(found(&again, "\u{e4}NN", 11), Some(("\u{c4}nn".into(), ANN, 1)));
        assert_eq!(again.encoded(), people.encoded());
        let later = People::load(&path, LIMITS, 11 + LIFETIME_DAYS).unwrap();
        assert_eq!((found(&later, "\u{c4}nn", 11), later.rows.len()), (None, 1));
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(matches!(People::load(&path, LIMITS, 10), Err(SnapshotError::Damaged { .. })), "byte {at}");
        }
    }
}
