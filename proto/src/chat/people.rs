//! Who is in the room, under which name, and how much of each is listened to.
//!
//! Owns names and their pins: the first key that uses a name keeps it, and whoever comes with another key, and that name or
//! one that looks like it, is flagged and shown with the beginning of the fingerprint.

use super::bucket::{Bucket, Rate};
use super::contract::{BookEntry, MessageId, Person, Pinned, Trust};
use super::identity::PublicKey;
use super::pins::Pins;
use super::text::folded;
use crate::id::PeerKey;
use crate::likeness::{Likeness, look_alike};
use crate::limits;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Messages to the room: what a fast talker says, to which we hold ourselves, and a third more for what comes late and at
/// once. Nobody can be given less for being new: to a newcomer everybody is.
const SAYS: Rate = Rate { burst: 16, milli_per_s: 1_200 };
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
/// How long a flooder is not listened to; each time twice as long, up to a day.
const MUTED: Duration = Duration::from_secs(600);
/// How often that time is doubled.
const MUTED_DOUBLED: u32 = 7;
/// Pins of one run that push out those of earlier ones, if there are too many: what strangers pin beyond that pushes out
/// what strangers have pinned.
const FRESH_PINS: usize = 512;
/// Looks of pinned names: each name has up to two.
const LOOKS: usize = 2 * limits::CHAT_PINS;
/// Names that one key can pin in one run; the oldest is given up.
const NAMES_EACH: usize = 4;
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
    mutes: u32,
    /// Names that it has pinned in this run.
    pinned: VecDeque<Likeness>,
    /// The neighbour from whom the newest came first.
    pub(super) route: Option<PeerKey>,
    pub(super) presence: Option<Presence>,
    pub(super) name: String,
    /// Of the name, so that it is made once and not with each message.
    likeness: Likeness,
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
    /// It belongs to another key, or looks like a name that does, and nobody was told yet.
    Conflict(PublicKey),
}

/// Everybody.
pub(super) struct People {
    authors: BTreeMap<PublicKey, Author>,
    /// Whose presences have these ids.
    presences: HashMap<MessageId, PublicKey>,
    book: BTreeMap<PublicKey, BookEntry>,
    pins: Pins,
    /// Pins of earlier runs that nobody confirmed, the oldest first.
    unconfirmed: VecDeque<PublicKey>,
    /// The same of this run.
    fresh: VecDeque<PublicKey>,
    /// Floors of authors for whom there was no room any more, and these, the oldest first.
    floors: BTreeMap<PublicKey, Floors>,
    floors_order: VecDeque<PublicKey>,
    /// Whom we never forget: ourselves.
    own: PublicKey,
}

/// Nothing of an author at or below these numbers is new, unless it is remembered as seen.
#[derive(Clone, Copy, Default)]
struct Floors {
    say: u64,
    direct: u64,
}

impl People {
    pub(super) fn new(own: PublicKey, book: Vec<BookEntry>) -> Self {
        let mut people = Self {
            authors: BTreeMap::new(),
            presences: HashMap::new(),
            book: BTreeMap::new(),
            pins: Pins::default(),
            unconfirmed: VecDeque::new(),
            fresh: VecDeque::new(),
            floors: BTreeMap::new(),
            floors_order: VecDeque::new(),
            own,
        };
        let book: Vec<BookEntry> = book.into_iter().take(limits::CHAT_PINS).collect();
        people.give_names(&book);
        for entry in book {
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

    /// The newest presence of somebody.
    pub(super) fn note_presence(&mut self, key: &PublicKey, presence: Presence) {
        let Some(author) = self.authors.get_mut(key) else { return };
        self.presences.insert(presence.id, *key);
        author.presence.replace(presence).and_then(|old| self.presences.remove(&old.id));
    }

    /// The presence with this id, if it is the newest of somebody.
    pub(super) fn presence(&self, id: &MessageId) -> Option<&Presence> {
        self.authors.get(self.presences.get(id)?)?.presence.as_ref()
    }

    pub(super) fn is_blocked(&self, key: &PublicKey) -> bool {
        self.book.get(key).is_some_and(|entry| entry.trust == Pinned::Blocked)
    }

    /// Makes room for somebody new.
    pub(super) fn admit(&mut self, now: Instant, key: PublicKey) -> bool {
        if self.authors.contains_key(&key) {
            return true;
        }
        if self.authors.len() >= limits::CHAT_PEOPLE {
            let Some(forgotten) = self.least_missed() else { return false };
            if let Some(author) = self.authors.remove(&forgotten) {
                author.presence.and_then(|presence| self.presences.remove(&presence.id));
                self.raise_floor(forgotten, author.floor, false);
                self.raise_floor(forgotten, author.floor_direct, true);
            }
        }
        let mut author = Author::new(now);
        let floors = self.floors.get(&key).copied().unwrap_or_default();
        (author.floor, author.floor_direct) = (floors.say, floors.direct);
        self.authors.insert(key, author);
        true
    }

    /// Nothing of this author at or below this number is new, unless it is remembered as seen.
    pub(super) fn floor(&self, key: &PublicKey, direct: bool) -> u64 {
        let known = self.authors.get(key).map(|author| Floors { say: author.floor, direct: author.floor_direct });
        let floors = known.or_else(|| self.floors.get(key).copied()).unwrap_or_default();
        if direct { floors.direct } else { floors.say }
    }

    /// Nothing of this author at or below this number is new from now on, also when there is no room for the author itself.
    pub(super) fn raise_floor(&mut self, key: PublicKey, floor: u64, direct: bool) {
        if floor == 0 {
            return;
        }
        let known = match self.authors.get_mut(&key) {
            Some(author) if direct => &mut author.floor_direct,
            Some(author) => &mut author.floor,
            None => {
                let order = &mut self.floors_order;
                let floors = self.floors.entry(key).or_insert_with(|| {
                    order.push_back(key);
                    Floors::default()
                });
                if direct { &mut floors.direct } else { &mut floors.say }
            }
        };
        *known = floor.max(*known);
        if self.floors_order.len() > limits::CHAT_PEOPLE
            && let Some(oldest) = self.floors_order.pop_front()
        {
            self.floors.remove(&oldest);
        }
    }

    /// Who has left, of whom nothing was heard for longest. If all are here, the same among those who come over the one
    /// neighbour over whom most come: a crowd of keys behind one neighbour makes room for itself, and keeps nobody out.
    fn least_missed(&self) -> Option<PublicKey> {
        let is_trusted = |key: &PublicKey| self.book.get(key).is_some_and(|entry| entry.trust == Pinned::Trusted);
        let others = || self.authors.iter().filter(|(key, _)| **key != self.own && !is_trusted(key));
        let gone = others().filter(|(_, author)| !author.is_here()).min_by_key(|(_, author)| author.heard);
        if let Some((key, _)) = gone {
            return Some(*key);
        }
        let mut over: BTreeMap<Option<PeerKey>, usize> = BTreeMap::new();
        others().for_each(|(_, author)| *over.entry(author.route).or_default() += 1);
        let most = over.into_iter().max_by_key(|(_, people)| *people).map(|(route, _)| route)?;
        let crowd = others().filter(|(_, author)| author.route == most);
        crowd.min_by_key(|(_, author)| author.heard).map(|(key, _)| *key)
    }

    /// A neighbour is gone: nothing goes over it any more.
    pub(super) fn neighbour_left(&mut self, neighbour: PeerKey) {
        for author in self.authors.values_mut().filter(|author| author.route == Some(neighbour)) {
            author.route = None;
        }
    }

    /// Says to whom the names of earlier runs belong. Several that look alike are all kept: the first of those who were compared has
    /// the name, then of those who were only seen, then of those who are blocked. Names of people who were compared belong to
    /// each of them where they only look alike.
    fn give_names(&mut self, book: &[BookEntry]) {
        let of = |trust: Pinned| book.iter().filter(move |entry| entry.trust == trust);
        let mut taken = BTreeSet::new();
        for entry in of(Pinned::Trusted).filter(|entry| taken.insert(folded(&entry.name))) {
            self.pins.give(entry.key, &Likeness::of(&entry.name), |_| true);
        }
        for entry in [Pinned::Trusted, Pinned::FirstSeen, Pinned::Blocked].into_iter().flat_map(of) {
            self.pins.claim(entry.key, &Likeness::of(&entry.name));
        }
    }

    /// Notes the name that somebody uses, made safe before.
    pub(super) fn named(&mut self, key: PublicKey, name: &str) -> NameNews {
        let Some(author) = self.authors.get_mut(&key) else { return NameNews::Known };
        if author.name != name {
            name.clone_into(&mut author.name);
            author.likeness = Likeness::of(name);
        }
        match self.pins.other(&key, &author.likeness) {
            Some(_) if author.flagged.as_deref() == Some(name) => NameNews::Known,
            Some(owner) => {
                author.flagged = Some(name.to_owned());
                NameNews::Conflict(owner)
            }
            None if self.pins.is_of(&key, &author.likeness) => match self.book.get_mut(&key) {
                Some(entry) if entry.name != name => {
                    name.clone_into(&mut entry.name);
                    NameNews::Pinned(entry.clone())
                }
                _ => NameNews::Known,
            },
            None => NameNews::Pinned(self.pin(key, name)),
        }
    }

    fn pin(&mut self, key: PublicKey, name: &str) -> BookEntry {
        let likeness = Likeness::of(name);
        self.pins.claim(key, &likeness);
        let entry = BookEntry { key, name: name.to_owned(), trust: Pinned::FirstSeen };
        let entry = self.book.entry(key).and_modify(|known| name.clone_into(&mut known.name)).or_insert_with(|| {
            self.fresh.push_back(key);
            entry
        });
        let entry = entry.clone();
        if let Some(author) = self.authors.get_mut(&key) {
            author.pinned.push_back(likeness);
            // Whoever takes one name after the other keeps only the last ones from others.
            if author.pinned.len() > NAMES_EACH
                && let Some(given_up) = author.pinned.pop_front()
            {
                self.pins.take(&key, &given_up, author.pinned.iter());
            }
        }
        entry
    }

    /// Forgets a pin that nobody confirmed if there are too many: the oldest of an earlier run, or, when strangers have
    /// pinned too many in this one, the oldest of these.
    pub(super) fn make_room_for_pins(&mut self) -> Option<PublicKey> {
        if self.pins.len() <= LOOKS && self.book.len() <= limits::CHAT_PINS {
            return None;
        }
        while let Some(key) = self.oldest_pin() {
            if self.book.get(&key).is_some_and(|entry| entry.trust == Pinned::FirstSeen) {
                self.book.remove(&key);
                self.pins.forget(&key);
                return Some(key);
            }
        }
        None
    }

    fn oldest_pin(&mut self) -> Option<PublicKey> {
        match self.fresh.len() > FRESH_PINS {
            true => self.fresh.pop_front(),
            false => self.unconfirmed.pop_front().or_else(|| self.fresh.pop_front()),
        }
    }

    /// What the user thinks of a key from now on; a name that is confirmed belongs to it.
    pub(super) fn judge(&mut self, key: PublicKey, trust: Pinned) -> BookEntry {
        let name = self.authors.get(&key).map(|author| author.name.clone()).filter(|name| !name.is_empty());
        let known = self.book.get(&key).map(|entry| entry.name.clone());
        let name = name.or(known).unwrap_or_else(|| key.fingerprint());
        if trust == Pinned::Trusted {
            // Two whom the user has compared may be called what they are called, but not both the same; so may the user.
            let (plain, own) = (folded(&name), self.own);
            let sure = |known: &BookEntry| known.trust == Pinned::Trusted || known.key == own;
            let keeps = |known: &BookEntry| sure(known) && folded(&known.name) != plain;
            let (pins, book) = (&mut self.pins, &self.book);
            pins.give(key, &Likeness::of(&name), |other| book.get(other).is_some_and(keeps));
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
        match self.owner_before(key, name) {
            Some(_) => Trust::NameConflict,
            None if self.book.get(key).is_some_and(|entry| entry.trust == Pinned::Trusted) => Trust::Trusted,
            None => Trust::FirstSeen,
        }
    }

    /// A name as it is shown: with the beginning of the fingerprint where it belongs to somebody else.
    pub(super) fn shown(&self, key: &PublicKey, name: &str) -> String {
        if self.owner_before(key, name).is_some() { key.beside(name) } else { name.to_owned() }
    }

    /// To whom else this name belongs, or one that looks like it.
    fn owner_before(&self, key: &PublicKey, name: &str) -> Option<PublicKey> {
        let known = self.authors.get(key).filter(|author| author.name == name).map(|author| author.likeness);
        self.pins.other(key, &known.unwrap_or_else(|| Likeness::of(name)))
    }

    /// The name of somebody who is known, where it looks like this one and is another.
    pub(super) fn like(&self, key: &PublicKey, name: &str) -> Option<String> {
        let known = self.book.get(key).map(|entry| &entry.name);
        let known = known.or_else(|| self.authors.get(key).map(|author| &author.name))?;
        (folded(known) != folded(name) && look_alike(known, name)).then(|| known.clone())
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
        let presences = self.authors.values().filter_map(|author| author.presence.as_ref());
        assert_eq!(presences.clone().count(), self.presences.len(), "each presence is found");
        assert!(presences.clone().all(|presence| self.presences.contains_key(&presence.id)), "by its id");
        assert!(self.book.len() <= limits::CHAT_PINS + 1, "{} pins", self.book.len());
        assert!(self.pins.len() <= LOOKS + 2, "{} looks of names", self.pins.len());
        assert_eq!(self.floors.len(), self.floors_order.len(), "each floor once");
        assert!(self.floors.len() <= limits::CHAT_PEOPLE, "{} floors", self.floors.len());
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
            mutes: 0,
            pinned: VecDeque::new(),
            route: None,
            presence: None,
            name: String::new(),
            likeness: Likeness::of(""),
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
            self.muted_until = Some(now + MUTED * (1 << self.mutes.min(MUTED_DOUBLED)));
            self.mutes = self.mutes.saturating_add(1);
        }
        Err(muted)
    }
}
