//! Who is in the room, under which name, and how much of each is listened to.
//!
//! Owns names and their pins: the first key that uses a name keeps it, and whoever comes with another key is flagged and
//! shown with the beginning of the fingerprint.

use super::bucket::{Bucket, Rate};
use super::contract::{BookEntry, MessageId, Person, Pinned, Trust};
use super::identity::PublicKey;
use super::text::folded;
use crate::id::PeerKey;
use crate::limits;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Messages to the room: what a fast talker says with pasted lines, to which we hold ourselves, and a third more for what
/// comes late and at once. Nobody can be given less for being new: to a newcomer everybody is.
const SAYS: Rate = Rate { burst: 40, milli_per_s: 1_200 };
/// The same of a history that we have asked for: it was said over a longer time.
const GIFTS: Rate = Rate { burst: 96, milli_per_s: 1_200 };
/// Notices: one each two minutes, and some changes of name.
const NOTICES: Rate = Rate { burst: 16, milli_per_s: 100 };
/// Messages to one person: those of a call, their acknowledgements, and the metainfo of an offer.
const DIRECTS: Rate = Rate { burst: 256, milli_per_s: 16_000 };
/// Calls and offers.
const REQUESTS: Rate = Rate { burst: 6, milli_per_s: 100 };
/// Refused messages after which an author is not listened to for [`MUTED`].
const REFUSALS: u32 = 64;
/// How long a flooder is not listened to.
const MUTED: Duration = Duration::from_secs(600);
/// Somebody of whom no notice comes for so long has left: two of them may get lost.
pub(super) const SILENT: Duration = Duration::from_secs(400);

/// What somebody said of itself last.
pub(super) struct Presence {
    pub(super) sequence: u64,
    pub(super) id: MessageId,
    pub(super) bytes: Bytes,
    pub(super) noise_key: [u8; 32],
    pub(super) here: bool,
    pub(super) heard: Instant,
}

/// Somebody who has said something.
pub(super) struct Author {
    /// Nothing at or below this number is new, unless it is remembered as seen.
    pub(super) floor: u64,
    pub(super) floor_direct: u64,
    says: Bucket,
    gifts: Bucket,
    notices: Bucket,
    directs: Bucket,
    pub(super) requests: Bucket,
    refused: u32,
    muted_until: Option<Instant>,
    /// The neighbour from whom the newest came first.
    pub(super) route: Option<PeerKey>,
    pub(super) presence: Option<Presence>,
    pub(super) name: String,
    heard: Instant,
    /// The name for which the user was warned.
    flagged: Option<String>,
    /// The name of which the user was told for whom it is registered, and that one.
    pub(super) told_owner: Option<(String, PublicKey)>,
}

/// Which of an author's rates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Say,
    Notice,
    Direct,
}

/// Why a message came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// By itself.
    News,
    /// We have asked for this one.
    Asked,
    /// We have asked for all that we lack.
    Gift,
}

/// What a name turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NameNews {
    /// Nothing new.
    Known,
    /// It belongs to this key from now on.
    Pinned(BookEntry),
    /// It belongs to another key, and nobody was told yet.
    Conflict(PublicKey),
}

/// Everybody.
pub(super) struct People {
    authors: BTreeMap<PublicKey, Author>,
    book: BTreeMap<PublicKey, BookEntry>,
    names: BTreeMap<String, PublicKey>,
    /// Pins that nobody confirmed, the oldest first.
    unconfirmed: VecDeque<PublicKey>,
}

impl People {
    pub(super) fn new(book: Vec<BookEntry>) -> Self {
        let mut people = Self {
            authors: BTreeMap::new(),
            book: BTreeMap::new(),
            names: BTreeMap::new(),
            unconfirmed: VecDeque::new(),
        };
        for entry in book.into_iter().take(limits::CHAT_PINS) {
            people.names.entry(folded(&entry.name)).or_insert(entry.key);
            if entry.trust == Pinned::FirstSeen {
                people.unconfirmed.push_back(entry.key);
            }
            people.book.insert(entry.key, entry);
        }
        people
    }

    pub(super) fn author(&self, key: &PublicKey) -> Option<&Author> {
        self.authors.get(key)
    }

    pub(super) fn author_mut(&mut self, key: &PublicKey) -> Option<&mut Author> {
        self.authors.get_mut(key)
    }

    pub(super) fn authors(&self) -> impl Iterator<Item = (&PublicKey, &Author)> {
        self.authors.iter()
    }

    pub(super) fn is_blocked(&self, key: &PublicKey) -> bool {
        self.book.get(key).is_some_and(|entry| entry.trust == Pinned::Blocked)
    }

    /// Makes room for somebody new; false if everybody known is here or has just been.
    pub(super) fn admit(&mut self, now: Instant, key: PublicKey) -> bool {
        if self.authors.contains_key(&key) {
            return true;
        }
        if self.authors.len() >= limits::CHAT_PEOPLE {
            let idle = self.authors.iter().filter(|(_, author)| !author.is_here());
            let Some(oldest) = idle.min_by_key(|(_, author)| author.heard).map(|(key, _)| *key) else { return false };
            self.authors.remove(&oldest);
        }
        self.authors.insert(key, Author::new(now));
        true
    }

    /// A neighbour is gone: nothing goes over it any more.
    pub(super) fn neighbour_left(&mut self, neighbour: PeerKey) {
        for author in self.authors.values_mut().filter(|author| author.route == Some(neighbour)) {
            author.route = None;
        }
    }

    /// Notes the name that somebody uses, made safe before.
    pub(super) fn named(&mut self, key: PublicKey, name: &str) -> NameNews {
        let Some(author) = self.authors.get_mut(&key) else { return NameNews::Known };
        if author.name != name {
            name.clone_into(&mut author.name);
        }
        match self.names.get(&folded(name)) {
            Some(owner) if *owner == key => match self.book.get_mut(&key) {
                Some(entry) if entry.name != name => {
                    name.clone_into(&mut entry.name);
                    NameNews::Pinned(entry.clone())
                }
                _ => NameNews::Known,
            },
            Some(_) if author.flagged.as_deref() == Some(name) => NameNews::Known,
            Some(owner) => {
                author.flagged = Some(name.to_owned());
                NameNews::Conflict(*owner)
            }
            None => NameNews::Pinned(self.pin(key, name)),
        }
    }

    fn pin(&mut self, key: PublicKey, name: &str) -> BookEntry {
        self.names.insert(folded(name), key);
        let entry = BookEntry { key, name: name.to_owned(), trust: Pinned::FirstSeen };
        let entry = self.book.entry(key).and_modify(|known| name.clone_into(&mut known.name)).or_insert_with(|| {
            self.unconfirmed.push_back(key);
            entry
        });
        entry.clone()
    }

    /// Forgets the oldest pin that nobody confirmed if there are too many.
    pub(super) fn make_room_for_pins(&mut self) -> Option<PublicKey> {
        if self.names.len() <= limits::CHAT_PINS && self.book.len() <= limits::CHAT_PINS {
            return None;
        }
        while let Some(key) = self.unconfirmed.pop_front() {
            if self.book.get(&key).is_some_and(|entry| entry.trust == Pinned::FirstSeen) {
                self.book.remove(&key);
                self.names.retain(|_, owner| *owner != key);
                return Some(key);
            }
        }
        None
    }

    /// What the user thinks of a key from now on; a name that is confirmed belongs to it.
    pub(super) fn judge(&mut self, key: PublicKey, trust: Pinned) -> BookEntry {
        let name = self.authors.get(&key).map(|author| author.name.clone()).filter(|name| !name.is_empty());
        let known = self.book.get(&key).map(|entry| entry.name.clone());
        let name = name.or(known).unwrap_or_else(|| key.fingerprint());
        if trust == Pinned::Trusted {
            self.names.insert(folded(&name), key);
        }
        let entry = BookEntry { key, name, trust };
        self.book.insert(key, entry.clone());
        if trust == Pinned::FirstSeen {
            self.unconfirmed.push_back(key);
        }
        entry
    }

    pub(super) fn trust(&self, key: &PublicKey, name: &str) -> Trust {
        if self.is_blocked(key) {
            return Trust::Blocked;
        }
        match self.names.get(&folded(name)) {
            Some(owner) if owner != key => Trust::NameConflict,
            _ if self.book.get(key).is_some_and(|entry| entry.trust == Pinned::Trusted) => Trust::Trusted,
            _ => Trust::FirstSeen,
        }
    }

    /// A name as it is shown: with the beginning of the fingerprint where it belongs to somebody else.
    pub(super) fn shown(&self, key: &PublicKey, name: &str) -> String {
        match self.names.get(&folded(name)) {
            Some(owner) if owner != key => key.beside(name),
            _ => name.to_owned(),
        }
    }

    /// Somebody as the user sees it.
    pub(super) fn person(&self, key: PublicKey, direct: bool) -> Person {
        let author = self.authors.get(&key);
        let known = self.book.get(&key).map(|entry| entry.name.clone());
        let name = author.map(|author| author.name.clone()).filter(|name| !name.is_empty());
        let name = name.or(known).unwrap_or_else(|| key.fingerprint());
        Person {
            key,
            trust: self.trust(&key, &name),
            here: author.is_some_and(Author::is_here),
            name: self.shown(&key, &name),
            direct,
            registered: false,
            me: false,
        }
    }

    /// Those of whom nothing came for too long.
    pub(super) fn take_silent(&mut self, now: Instant) -> Vec<PublicKey> {
        let mut silent = Vec::new();
        for (key, author) in &mut self.authors {
            if let Some(presence) = author.presence.as_mut().filter(|presence| presence.here)
                && now.saturating_duration_since(presence.heard) >= SILENT
            {
                presence.here = false;
                silent.push(*key);
            }
        }
        silent
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.authors.len() <= limits::CHAT_PEOPLE, "{} people", self.authors.len());
        assert!(self.book.len() <= limits::CHAT_PINS + 1, "{} pins", self.book.len());
    }
}

impl Author {
    fn new(now: Instant) -> Self {
        Self {
            floor: 0,
            floor_direct: 0,
            says: Bucket::new(SAYS, now),
            gifts: Bucket::new(GIFTS, now),
            notices: Bucket::new(NOTICES, now),
            directs: Bucket::new(DIRECTS, now),
            requests: Bucket::new(REQUESTS, now),
            refused: 0,
            muted_until: None,
            route: None,
            presence: None,
            name: String::new(),
            heard: now,
            flagged: None,
            told_owner: None,
        }
    }

    pub(super) fn is_here(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| presence.here)
    }

    pub(super) fn is_muted(&mut self, now: Instant) -> bool {
        if self.muted_until.is_some_and(|until| now >= until) {
            (self.muted_until, self.refused) = (None, 0);
        }
        self.muted_until.is_some()
    }

    /// Counts a message against its rate. `Err(true)` if that was one too many, and the author is muted from now on. What
    /// we asked for ourselves may come faster than it was said, and is only refused.
    pub(super) fn charge(&mut self, now: Instant, kind: Kind, why: Why) -> Result<(), bool> {
        self.heard = now;
        let bucket = match (kind, why) {
            (Kind::Say, Why::Gift) => &mut self.gifts,
            (Kind::Say, _) => &mut self.says,
            (Kind::Notice, _) => &mut self.notices,
            (Kind::Direct, _) => &mut self.directs,
        };
        if bucket.take(now) {
            return Ok(());
        }
        if why != Why::News {
            return Err(false);
        }
        self.refused += 1;
        let muted = self.refused >= REFUSALS;
        if muted {
            self.muted_until = Some(now + MUTED);
        }
        Err(muted)
    }
}
