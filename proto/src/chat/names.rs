//! Names that are registered for a key at the torrent's native tracker, and who uses them.
//!
//! Owns which names are looked up, when, and what is remembered of the answers. What a tracker says of a name is its word:
//! nobody is pinned, trusted, blocked or hidden by it, and whoever the user has compared is believed more. Invariant: what
//! strangers call themselves decides neither how often the tracker is asked nor who of those who are here is left out.

use super::bucket::{Bucket, Rate};
use super::contract::{ChatEvent, NameOutcome, Output, Person, Trust};
use super::identity::PublicKey;
use super::text::looks_like_others;
use super::{Clock, Room};
use crate::native::PersonName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Questions to the tracker: each is a connection of its own there.
const LOOKUPS: Rate = Rate { burst: 8, milli_per_s: 250 };
/// What the user is told of registered names: a tracker and a crowd that share a name fill no screen together. What is not
/// told is shown all the same, and told with the next notice of whoever it is.
const TOLD: Rate = Rate { burst: 16, milli_per_s: 250 };
/// Answers that are remembered: more than [`LOOKUPS`] lets anybody push out while they count.
const REMEMBERED: usize = 512;
/// When an answer is asked for again: names last for months, and are registered while one watches.
const COUNTS: Duration = Duration::from_secs(900);
/// How long nothing is asked of a tracker that did not answer.
const PAUSE: Duration = Duration::from_secs(60);

/// What a tracker said last.
struct Known {
    owner: Option<PublicKey>,
    /// When it is asked again.
    until: Instant,
}

/// What is known of registered names.
pub(super) struct Names {
    /// Whether trackers are asked at all.
    looks_up: bool,
    /// The first native tracker that told us anything; names of others are others.
    tracker: Option<Arc<str>>,
    /// By the name in lower case.
    known: BTreeMap<String, Known>,
    /// Whether somebody may use a name of which too little is known.
    wanting: bool,
    asked: Option<PersonName>,
    /// Whose name was asked for last: each has a turn, however many names others go through meanwhile.
    turn: PublicKey,
    lookups: Bucket,
    told: Bucket,
    not_before: Instant,
}

impl Names {
    pub(super) fn new(clock: &Clock, looks_up: bool) -> Self {
        Self {
            looks_up,
            tracker: None,
            known: BTreeMap::new(),
            wanting: false,
            asked: None,
            turn: PublicKey([0; 32]),
            lookups: Bucket::new(LOOKUPS, clock.started),
            told: Bucket::new(TOLD, clock.started),
            not_before: clock.started,
        }
    }

    /// For whom a name is registered, as far as we know. What no tracker takes as a name is nobody's.
    pub(super) fn owner(&self, name: &str) -> Option<PublicKey> {
        self.known.get(&PersonName::new(name).ok()?.folded())?.owner
    }

    /// Whether the tracker says that a name is this key's. Names that are made to look like others are nobody's to us.
    pub(super) fn is_registered(&self, key: &PublicKey, name: &str) -> bool {
        self.owner(name).as_ref() == Some(key) && !looks_like_others(name)
    }

    /// What to ask for a name, if too little is known of it.
    fn wanted(&self, now: Instant, name: &str) -> Option<PersonName> {
        let name = PersonName::new(name).ok()?;
        let fresh = self.known.get(&name.folded()).is_some_and(|known| now < known.until);
        (!fresh).then_some(name)
    }

    fn remember(&mut self, now: Instant, name: &PersonName, owner: Option<PublicKey>) {
        let folded = name.folded();
        if self.known.len() >= REMEMBERED && !self.known.contains_key(&folded) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.until).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.known.remove(&oldest));
        }
        self.known.insert(folded, Known { owner, until: now + COUNTS });
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        (self.wanting && self.asked.is_none() && self.tracker.is_some()).then_some(self.not_before)
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.known.len() <= REMEMBERED, "{} registered names", self.known.len());
    }
}

impl Room {
    /// A name as it is shown: with the beginning of the fingerprint where it is somebody else's.
    pub(super) fn shown(&self, key: &PublicKey, name: &str) -> String {
        if self.is_of_another(key, name) { key.beside(name) } else { self.people.shown(key, name) }
    }

    /// Adds what the tracker says to what is known of somebody else.
    pub(super) fn judge_by_registration(&self, person: &mut Person) {
        let used = self.people.author(&person.key).map_or("", |author| author.name.as_str());
        person.registered = self.names.is_registered(&person.key, used);
        if self.is_of_another(&person.key, used) {
            person.trust = Trust::NameConflict;
            person.name = person.key.beside(used);
        }
    }

    /// Whether the tracker says so of somebody else's name, and the user does not know better.
    fn is_of_another(&self, key: &PublicKey, name: &str) -> bool {
        let other = self.names.owner(name).is_some_and(|owner| owner != *key);
        other && *key != self.me.key && self.people.trust(key, name) == Trust::FirstSeen
    }

    /// There is a native tracker: what people are called is looked up there, unless the user does not want that.
    pub(super) fn note_tracker(&mut self, tracker: &Arc<str>) {
        if self.names.looks_up && self.names.tracker.is_none() {
            (self.names.tracker, self.names.wanting) = (Some(tracker.clone()), true);
        }
    }

    /// Somebody is called so.
    pub(super) fn check_name(&mut self, now: Instant, key: PublicKey, name: &str) {
        self.names.wanting |= self.names.wanted(now, name).is_some();
        self.tell_registered(now, key, name);
    }

    /// What the tracker says of the name of the last [`Output::LookUp`]. The next one comes only then.
    pub fn handle_name(&mut self, now: Instant, outcome: NameOutcome) {
        let Some(name) = self.names.asked.take() else { return };
        match outcome {
            NameOutcome::Registered(key) => self.names.remember(now, &name, Some(key)),
            NameOutcome::Nobody => self.names.remember(now, &name, None),
            NameOutcome::Failed => {
                self.names.not_before = now + PAUSE;
                return;
            }
        }
        let folded = name.folded();
        let same = |used: &str| PersonName::new(used).is_ok_and(|used| used.folded() == folded);
        let here = self.people.authors().filter(|(_, author)| author.is_here() && same(&author.name));
        let mut users: Vec<(PublicKey, String)> = here.map(|(key, author)| (*key, author.name.clone())).collect();
        if same(&self.me.name) {
            users.insert(0, (self.me.key, self.me.name.clone()));
        }
        users.into_iter().for_each(|(key, name)| self.tell_registered(now, key, &name));
    }

    /// Tells the user once whose name it is.
    fn tell_registered(&mut self, now: Instant, key: PublicKey, name: &str) {
        let (Some(owner), Some(tracker)) = (self.names.owner(name), self.names.tracker.clone()) else { return };
        let (registered, trust) = (self.names.is_registered(&key, name), self.people.trust(&key, name));
        let known_better = trust == Trust::Blocked || trust == Trust::Trusted && !registered;
        let Some(author) = self.people.author_mut(&key) else { return };
        let news = Some((name.to_owned(), owner));
        if author.told_owner == news || known_better || owner == key && !registered || !self.names.told.take(now) {
            return;
        }
        author.told_owner = news;
        let (person, name) = (self.person(key), name.to_owned());
        self.events.push_back(match registered {
            true => ChatEvent::NameRegistered { person, tracker },
            false => ChatEvent::NameOfAnother { person, name, owner, tracker },
        });
    }

    /// Asks the tracker for the next name.
    pub(super) fn drive_names(&mut self, now: Instant) {
        if self.names.next_due().is_none_or(|due| now < due) {
            return;
        }
        let Some((key, name)) = self.next_name(now) else {
            self.names.wanting = false;
            return;
        };
        if !self.names.lookups.take(now) {
            self.names.not_before = now + self.names.lookups.wait(now).max(Duration::from_millis(1));
            return;
        }
        if let Some(tracker) = self.names.tracker.clone() {
            (self.names.turn, self.names.asked) = (key, Some(name.clone()));
            self.outputs.push_back(Output::LookUp { tracker, name });
        }
    }

    /// Our own name first; then those of who is here, each in turn.
    fn next_name(&self, now: Instant) -> Option<(PublicKey, PersonName)> {
        let turn = self.names.turn;
        if let Some(own) = self.names.wanted(now, &self.me.name) {
            return Some((turn, own));
        }
        let heard = |key: &PublicKey| !self.people.is_blocked(key);
        let here = || self.people.authors().filter(|(key, author)| author.is_here() && heard(key));
        let mut wanted = here().filter_map(|(key, author)| Some((*key, self.names.wanted(now, &author.name)?)));
        let first = wanted.next()?;
        if first.0 > turn { Some(first) } else { wanted.find(|(key, _)| *key > turn).or(Some(first)) }
    }
}
