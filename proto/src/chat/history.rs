//! What was said, and what has been seen.
//!
//! Owns the messages that are kept for newcomers, and the memory by which each message counts once. Both are bounded; what
//! falls out of the memory leaves a floor behind, below which nothing of its author is taken any more.

use super::contract::{ChatMessage, MessageId};
use super::identity::PublicKey;
use crate::limits;
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// A message that was delivered.
pub(super) struct Logged {
    pub(super) bytes: Bytes,
    pub(super) message: ChatMessage,
    /// When it came to us.
    pub(super) received: Instant,
    /// Part of a flood: given to whoever asks for it, because another message names it, and otherwise not there.
    pub(super) hidden: bool,
}

/// Who has signed these bytes of a message, as they say.
pub(super) fn author_of(bytes: &Bytes) -> Option<PublicKey> {
    bytes.get(2..34)?.try_into().ok().map(PublicKey)
}

/// Ids that were seen, the oldest first.
pub(super) struct Seen {
    order: VecDeque<(MessageId, PublicKey, u64)>,
    set: HashSet<MessageId>,
}

impl Seen {
    fn new() -> Self {
        Self { order: VecDeque::new(), set: HashSet::new() }
    }

    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.set.contains(id)
    }

    /// Notes an id. What makes room for it: its author, and the number at or below which nothing new can come.
    pub(super) fn insert(&mut self, id: MessageId, author: PublicKey, sequence: u64) -> Option<(PublicKey, u64)> {
        if !self.set.insert(id) {
            return None;
        }
        self.order.push_back((id, author, sequence));
        if self.order.len() <= limits::CHAT_SEEN {
            return None;
        }
        let (old, author, sequence) = self.order.pop_front()?;
        self.set.remove(&old);
        Some((author, sequence))
    }
}

/// The memory of a room.
pub(super) struct History {
    log: VecDeque<Logged>,
    bytes: HashMap<MessageId, Bytes>,
    /// Messages that were there before us or are no longer kept: known, not held.
    older: VecDeque<MessageId>,
    /// Messages to the room, and notices.
    pub(super) seen: Seen,
    /// Messages between two people.
    pub(super) seen_direct: Seen,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            log: VecDeque::new(),
            bytes: HashMap::new(),
            older: VecDeque::new(),
            seen: Seen::new(),
            seen_direct: Seen::new(),
        }
    }

    /// Keeps a message that was delivered.
    pub(super) fn push(&mut self, logged: Logged) {
        self.bytes.insert(logged.message.id, logged.bytes.clone());
        self.log.push_back(logged);
        if self.log.len() > limits::CHAT_HISTORY
            && let Some(old) = self.log.pop_front()
        {
            self.bytes.remove(&old.message.id);
            self.note_older(old.message.id);
        }
    }

    pub(super) fn note_older(&mut self, id: MessageId) {
        self.older.push_back(id);
        if self.older.len() > limits::CHAT_HISTORY {
            self.older.pop_front();
        }
    }

    pub(super) fn bytes(&self, id: &MessageId) -> Option<&Bytes> {
        self.bytes.get(id)
    }

    /// Everything kept, the oldest first.
    pub(super) fn messages(&self) -> impl Iterator<Item = &ChatMessage> {
        self.log.iter().filter(|logged| !logged.hidden).map(|logged| &logged.message)
    }

    /// Hides what somebody has said lately. How many messages that were.
    pub(super) fn hide(&mut self, now: Instant, author: PublicKey, lately: Duration) -> u32 {
        let is_one = |logged: &&mut Logged| {
            !logged.hidden
                && logged.message.author == author
                && now.saturating_duration_since(logged.received) <= lately
        };
        let flood = self.log.iter_mut().filter(is_one).map(|logged| logged.hidden = true);
        u32::try_from(flood.count()).unwrap_or(u32::MAX)
    }

    /// Everything that need not be given to us.
    pub(super) fn known_ids(&self) -> impl Iterator<Item = MessageId> {
        self.log.iter().map(|logged| logged.message.id).chain(self.older.iter().copied())
    }

    /// What somebody should get who has these, and who came to the room so long ago: all that came since, and the last
    /// ones from before. Then the ids of what is older than that, or was a flood. Nothing of those who are `blocked`.
    pub(super) fn lacking(
        &self,
        now: Instant,
        has: &HashSet<MessageId>,
        age: Duration,
        blocked: impl Fn(&PublicKey) -> bool,
    ) -> (Vec<(MessageId, Bytes)>, Vec<MessageId>) {
        let kept = || self.log.iter().filter(|logged| !blocked(&logged.message.author));
        let mut before = kept().filter(|logged| !logged.hidden).count().saturating_sub(limits::CHAT_NEWCOMER);
        let (mut give, mut older) = (Vec::new(), Vec::new());
        older.extend(self.older.iter().filter(|id| !has.contains(id)));
        for logged in kept() {
            let id = logged.message.id;
            let is_old = before > 0;
            before = before.saturating_sub(usize::from(!logged.hidden));
            if has.contains(&id) {
                continue;
            }
            if logged.hidden {
                older.push(id);
            } else if !is_old || now.saturating_duration_since(logged.received) <= age {
                give.push((id, logged.bytes.clone()));
            } else {
                older.push(id);
            }
        }
        (give, older)
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.log.len() <= limits::CHAT_HISTORY && self.older.len() <= limits::CHAT_HISTORY, "history");
        assert_eq!(self.log.len(), self.bytes.len(), "each message is kept once");
        for seen in [&self.seen, &self.seen_direct] {
            assert!(seen.order.len() <= limits::CHAT_SEEN && seen.order.len() == seen.set.len(), "seen ids");
        }
        for logged in &self.log {
            assert!(self.bytes.contains_key(&logged.message.id), "a message without its bytes");
        }
    }
}
