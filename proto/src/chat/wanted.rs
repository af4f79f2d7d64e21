//! What is missing: whom to ask for it, when, and what gives way to what.
//!
//! Whoever is a neighbour decides how much is told of, so nothing here that happens for each id walks through the others:
//! each question has an ordered set that answers it. Invariant: these sets say the same as the ids themselves.

use super::limits;
use super::pairs::{Least, Pairs};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How long a neighbour may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How often somebody is asked for a message that others wait for, before they wait no longer.
const NEEDED_TRIES: u32 = 6;
/// How often for one that nobody waits for: each of [`SOURCES`] once.
const TRIES: u32 = 8;
/// Neighbours that are remembered to have a missing message: more than a few who only say so.
const SOURCES: usize = 8;

/// A message that is missing.
struct Wanted<P> {
    /// What was told of first is asked for first: whoever tells names nothing in front of its parents.
    order: u64,
    next: Instant,
    tries: u32,
    sources: VecDeque<P>,
    /// Who told of it first.
    teller: P,
    /// Another one waits for it.
    needed: bool,
}

impl<P: Copy + Ord> Wanted<P> {
    /// Whether nobody waits for it, and nobody but its teller has told of it.
    fn is_word(&self) -> bool {
        !self.needed && self.sources.iter().all(|source| *source == self.teller)
    }

    fn takes_source(&self, source: P) -> bool {
        self.sources.len() < SOURCES && !self.sources.contains(&source)
    }
}

/// Everything that is missing: ids of type `I`, of which neighbours of type `P` have told.
pub(super) struct Wants<I, P> {
    wanted: BTreeMap<I, Wanted<P>>,
    /// What each neighbour has told of first, and how many these are, by neighbour and by number.
    told: Pairs<P, I>,
    counts: BTreeMap<P, usize>,
    crowds: BTreeSet<(usize, P)>,
    /// What nobody waits for, and what of it is its teller's word alone.
    idle: BTreeSet<I>,
    words: Pairs<P, I>,
    /// When somebody is to be asked.
    due: BTreeSet<(Instant, I)>,
    /// What others wait for, and nobody will be asked for: there was no room for it.
    given_up: Vec<I>,
    /// How many were ever wanted.
    wants: u64,
}

impl<I, P> Default for Wants<I, P> {
    fn default() -> Self {
        Self {
            wanted: BTreeMap::new(),
            told: Pairs::default(),
            counts: BTreeMap::new(),
            crowds: BTreeSet::new(),
            idle: BTreeSet::new(),
            words: Pairs::default(),
            due: BTreeSet::new(),
            given_up: Vec::new(),
            wants: 0,
        }
    }
}

/// Whom to ask for what.
type Asks<I, P> = Vec<(I, P)>;

impl<I: Least, P: Copy + Ord> Wants<I, P> {
    /// Has a message asked for that this neighbour has, unless it comes within this time by itself. `needed` if another one
    /// waits for it.
    pub(super) fn want(&mut self, now: Instant, id: I, source: P, wait: Duration, needed: bool) {
        if let Some(known) = self.wanted.get(&id) {
            if needed && !known.needed || known.takes_source(source) {
                self.add_source(id, source, needed);
            }
            return;
        }
        if self.wanted.len() >= limits::CHAT_WANTED {
            let Some(given_up) = self.giving_way_to(source, needed) else {
                // Who waits for it would wait for ever.
                self.given_up.extend(needed.then_some(id));
                return;
            };
            let was_needed = self.take(&given_up).is_some_and(|wanted| wanted.needed);
            self.given_up.extend(was_needed.then_some(given_up));
        }
        self.wants += 1;
        let (order, sources) = (self.wants, VecDeque::from([source]));
        self.put(id, Wanted { order, next: now + wait, tries: 0, sources, teller: source, needed });
    }

    fn add_source(&mut self, id: I, source: P, needed: bool) {
        let Some(mut wanted) = self.take(&id) else { return };
        wanted.needed |= needed;
        if wanted.takes_source(source) {
            wanted.sources.push_back(source);
        }
        self.put(id, wanted);
    }

    /// What gives way to something that this neighbour tells of: what others only say to have gives way to what is waited
    /// for, and what comes of one neighbour who tells of very much to what others tell of.
    fn giving_way_to(&self, source: P, needed: bool) -> Option<I> {
        let (count, most) = *self.crowds.last()?;
        let is_fair = self.counts.get(&source).copied().unwrap_or(0) + 1 < count;
        let word = || self.words.beside(most).next().filter(|_| needed || is_fair);
        let idle = || self.idle.first().copied().filter(|_| needed);
        let any = || self.told.beside(most).next().filter(|_| is_fair);
        word().or_else(idle).or_else(any)
    }

    fn put(&mut self, id: I, wanted: Wanted<P>) {
        let teller = wanted.teller;
        self.due.insert((wanted.next, id));
        self.told.insert(teller, id);
        self.count(teller, |count| count + 1);
        if !wanted.needed {
            self.idle.insert(id);
        }
        if wanted.is_word() {
            self.words.insert(teller, id);
        }
        self.wanted.insert(id, wanted);
    }

    fn take(&mut self, id: &I) -> Option<Wanted<P>> {
        let wanted = self.wanted.remove(id)?;
        self.due.remove(&(wanted.next, *id));
        self.told.remove(wanted.teller, *id);
        self.count(wanted.teller, |count| count.saturating_sub(1));
        self.idle.remove(id);
        self.words.remove(wanted.teller, *id);
        Some(wanted)
    }

    fn count(&mut self, teller: P, change: impl Fn(usize) -> usize) {
        let before = self.counts.remove(&teller).unwrap_or(0);
        self.crowds.remove(&(before, teller));
        let after = change(before);
        if after > 0 {
            self.counts.insert(teller, after);
            self.crowds.insert((after, teller));
        }
    }

    /// It is here, or will not be asked for any more.
    pub(super) fn no_longer(&mut self, id: &I) {
        self.take(id);
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> impl Iterator<Item = I> {
        self.wanted.keys().copied()
    }

    /// Whether another message waits for this one.
    pub(super) fn is_needed(&self, id: &I) -> bool {
        self.wanted.get(id).is_some_and(|wanted| wanted.needed)
    }

    pub(super) fn next_ask(&self) -> Option<Instant> {
        self.due.first().map(|(next, _)| *next)
    }

    /// A neighbour is gone: it is asked for nothing any more.
    pub(super) fn neighbour_left(&mut self, neighbour: P) {
        let its = self.wanted.iter().filter(|(_, wanted)| wanted.sources.contains(&neighbour));
        for id in its.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some(mut wanted) = self.take(&id) {
                wanted.sources.retain(|source| *source != neighbour);
                self.put(id, wanted);
            }
        }
    }

    /// Whom to ask now for what; and what nobody will be asked for again.
    pub(super) fn take_due(&mut self, now: Instant, neighbours: &[P], random: &mut StdRng) -> (Asks<I, P>, Vec<I>) {
        let (mut asks, mut hopeless) = (Vec::new(), std::mem::take(&mut self.given_up));
        let due = self.due.iter().take_while(|(next, _)| *next <= now);
        let mut due: Vec<I> = due.map(|(_, id)| *id).collect();
        due.sort_unstable();
        for id in due {
            let Some(mut wanted) = self.take(&id) else { continue };
            if wanted.tries >= if wanted.needed { NEEDED_TRIES } else { TRIES } {
                hopeless.push(id);
                continue;
            }
            wanted.next = now + ANSWER;
            let anyone = wanted.needed && !neighbours.is_empty();
            let anyone = anyone.then(|| random.random_range(0..neighbours.len())).and_then(|at| neighbours.get(at));
            let source = wanted.sources.pop_front().or(anyone.copied());
            wanted.tries += u32::from(source.is_some());
            asks.extend(source.map(|source| (wanted.order, id, source)));
            // Who is alone waits for company.
            if wanted.needed || source.is_some() {
                self.put(id, wanted);
            }
        }
        asks.sort_unstable();
        (asks.into_iter().map(|(_, id, source)| (id, source)).collect(), hopeless)
    }

    pub(super) fn check_invariants(&self) {
        let count = self.wanted.len();
        assert!(count <= limits::CHAT_WANTED, "{count} messages are wanted");
        assert_eq!((self.told.len(), self.due.len()), (count, count), "each wanted message counts once");
        assert_eq!(self.counts.values().sum::<usize>(), count, "each has one teller");
        assert_eq!(self.crowds.len(), self.counts.len(), "each teller is in one place");
        assert!(self.counts.iter().all(|(teller, count)| self.crowds.contains(&(*count, *teller))), "the crowds");
        let (idle, words) = (|it: &&Wanted<P>| !it.needed, |it: &&Wanted<P>| it.is_word());
        assert_eq!(self.idle.len(), self.wanted.values().filter(idle).count(), "what nobody waits for");
        assert_eq!(self.words.len(), self.wanted.values().filter(words).count(), "what is a word");
        for (id, wanted) in &self.wanted {
            assert!(self.due.contains(&(wanted.next, *id)) && self.told.contains(wanted.teller, *id), "out of place");
            assert!(wanted.needed || self.idle.contains(id), "nobody waits for it");
            assert!(!wanted.is_word() || self.words.contains(wanted.teller, *id), "a word");
        }
    }
}
