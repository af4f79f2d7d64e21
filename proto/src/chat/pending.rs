//! Messages that wait for others.
//!
//! Owns them, and who waits for what, so that what comes releases those who wait for it without a look at the others.

use super::contract::MessageId;
use super::envelope::Unverified;
use super::identity::PublicKey;
use super::limits;
use super::pairs::{Least, Pairs};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

impl Least for MessageId {
    const LEAST: Self = Self([0; 16]);
}

/// Who waits for what: each waits until nothing of it is missing.
pub(super) struct Waiters<I> {
    /// What is missing, and who waits for it.
    missing: Pairs<I, I>,
    /// For how many each waits.
    counts: BTreeMap<I, usize>,
}

impl<I> Default for Waiters<I> {
    fn default() -> Self {
        Self { missing: Pairs::default(), counts: BTreeMap::new() }
    }
}

impl<I: Least> Waiters<I> {
    pub(super) fn wait(&mut self, waiting: I, missing: &[I]) {
        let new = missing.iter().filter(|id| self.missing.insert(**id, waiting)).count();
        *self.counts.entry(waiting).or_default() += new;
    }

    /// These are not missing any more: who has waited for one of them, and who for nothing else.
    pub(super) fn release(&mut self, ids: &[I]) -> (BTreeSet<I>, Vec<I>) {
        let (mut touched, mut ready) = (BTreeSet::new(), Vec::new());
        for id in ids {
            for waiting in self.missing.beside(*id).collect::<Vec<_>>() {
                self.missing.remove(*id, waiting);
                touched.insert(waiting);
                let Some(count) = self.counts.get_mut(&waiting) else { continue };
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.counts.remove(&waiting);
                    ready.push(waiting);
                }
            }
        }
        (touched, ready)
    }

    /// What such messages wait for.
    fn missing_of(&self, such: impl Fn(&I) -> bool) -> Vec<I> {
        self.missing.iter().filter(|(_, waiting)| such(waiting)).map(|(id, _)| id).collect()
    }
}

/// A message that waits for others.
pub(super) struct Pending {
    pub(super) read: Unverified,
    pub(super) past: bool,
    pub(super) since: Instant,
    /// Some of what was missing is waited for no longer.
    pub(super) gap: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Pendings {
    waiting: BTreeMap<MessageId, Pending>,
    waiters: Waiters<MessageId>,
    of_author: BTreeMap<PublicKey, usize>,
}

impl Pendings {
    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.waiting.contains_key(id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.waiting.keys().copied()
    }

    pub(super) fn bytes(&self, id: &MessageId) -> Option<&Bytes> {
        self.waiting.get(id).map(|pending| &pending.read.bytes)
    }

    /// Whether there is no room for another message of this author.
    pub(super) fn is_full_for(&self, author: &PublicKey) -> bool {
        let of_author = self.of_author.get(author).copied().unwrap_or(0);
        self.waiting.len() >= limits::CHAT_PENDING || of_author >= limits::CHAT_PENDING_PER_AUTHOR
    }

    /// Has a message wait for these.
    pub(super) fn insert(&mut self, pending: Pending, missing: &[MessageId]) {
        let id = pending.read.id;
        self.waiters.wait(id, missing);
        *self.of_author.entry(pending.read.envelope.author).or_default() += 1;
        self.waiting.insert(id, pending);
    }

    /// These are waited for no longer: what waited for nothing else, the oldest first. `gap` if they are not there.
    pub(super) fn release(&mut self, ids: &[MessageId], gap: bool) -> Vec<Pending> {
        let (touched, ready) = self.waiters.release(ids);
        if gap {
            for id in touched {
                self.waiting.get_mut(&id).into_iter().for_each(|pending| pending.gap = true);
            }
        }
        let mut taken: Vec<Pending> = ready.iter().filter_map(|id| self.remove(id)).collect();
        taken.sort_by_key(|pending| (pending.read.envelope.time_ms, pending.read.id));
        taken
    }

    fn remove(&mut self, id: &MessageId) -> Option<Pending> {
        let pending = self.waiting.remove(id)?;
        let author = pending.read.envelope.author;
        if let Some(count) = self.of_author.get_mut(&author) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_author.remove(&author);
            }
        }
        Some(pending)
    }

    /// What those wait for who have waited since then or longer, apart from other messages that wait.
    pub(super) fn missing_since(&self, since: Instant) -> Vec<MessageId> {
        let long = |id: &MessageId| self.waiting.get(id).is_some_and(|pending| pending.since <= since);
        let mut missing = self.waiters.missing_of(long);
        missing.retain(|id| !self.contains(id));
        missing
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.waiting.len() <= limits::CHAT_PENDING, "{} messages wait", self.waiting.len());
        assert_eq!(self.of_author.values().sum::<usize>(), self.waiting.len(), "each has one author");
        let most = self.of_author.values().max().copied().unwrap_or(0);
        assert!(most <= limits::CHAT_PENDING_PER_AUTHOR, "{most} messages of one author wait");
        assert_eq!(self.waiters.counts.len(), self.waiting.len(), "each waits for something");
        assert_eq!(self.waiters.counts.values().sum::<usize>(), self.waiters.missing.len(), "for so many");
        for (id, count) in &self.waiters.counts {
            assert!(*count > 0 && self.waiting.contains_key(id), "{id} waits for {count}");
        }
    }
}
