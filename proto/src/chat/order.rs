//! The order in which messages are shown: behind all that their authors had seen.
//!
//! Owns the messages that wait for others, the ids that are missing, and the frontier: the messages that nobody has
//! answered to yet, which the next message of ours names as its parents.

use super::contract::{ChatEvent, ChatMessage, MessageId};
use super::envelope::{Body, Unverified};
use super::flood::Way;
use super::history::Logged;
use super::pending::{Pending, Pendings};
use super::people::Kind;
use super::text::{shown_name, shown_text};
use super::wanted::Wants;
use super::{Room, limits};
use crate::id::PeerKey;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a message that is known of may take to come by itself.
const SOON: Duration = Duration::from_millis(600);
/// As [`SOON`], while a neighbour is giving us everything.
const AFTER_SYNC: Duration = Duration::from_secs(4);
/// How long a message may wait without anybody to ask.
const ALONE: Duration = Duration::from_secs(600);
/// Messages nobody has answered to that are remembered. Each message that comes is compared with all of them, in less time
/// than its signature takes.
const FRONTIER: usize = 128;

/// What waits, and what is waited for.
#[derive(Default)]
pub(super) struct Waiting {
    pending: Pendings,
    pub(super) wanted: Wants<MessageId, PeerKey>,
    /// The oldest first.
    frontier: VecDeque<MessageId>,
}

impl Waiting {
    /// The newest messages that nobody has answered to.
    pub(super) fn newest(&self, limit: usize) -> Vec<MessageId> {
        self.frontier.iter().rev().take(limit).copied().collect()
    }

    pub(super) fn pending_ids(&self) -> impl Iterator<Item = MessageId> {
        self.pending.ids()
    }

    pub(super) fn bytes(&self, id: &MessageId) -> Option<&Bytes> {
        self.pending.bytes(id)
    }

    /// Has a message asked for that this neighbour has, unless it comes soon by itself.
    pub(super) fn want(&mut self, now: Instant, id: MessageId, source: PeerKey) {
        self.wanted.want(now, id, source, SOON, false);
    }

    fn note_delivered(&mut self, id: MessageId, parents: &[MessageId]) {
        self.wanted.no_longer(&id);
        self.frontier.retain(|known| !parents.contains(known));
        self.frontier.push_back(id);
        if self.frontier.len() > FRONTIER {
            self.frontier.pop_front();
        }
    }

    pub(super) fn check_invariants(&self) {
        self.pending.check_invariants();
        self.wanted.check_invariants();
        assert!(self.frontier.len() <= FRONTIER, "a frontier of {}", self.frontier.len());
    }
}

impl Room {
    /// A message to the room that is new and genuine: passed on, and shown when its time has come.
    pub(super) fn take_say(&mut self, now: Instant, from: PeerKey, read: Unverified, way: Way, hops: u8) {
        let Body::Say { parents, .. } = &read.envelope.body else { return };
        let there = |id: &MessageId| self.history.seen.contains(id) && !self.waiting.pending.contains(id);
        let mut missing: Vec<MessageId> = parents.iter().filter(|id| !there(id)).copied().collect();
        if way == Way::Past && self.is_from_before_us(now, from) {
            // It is given in order; what is missing is older than what is given.
            missing.iter().for_each(|id| self.note_before_us(*id));
            missing.retain(|id| self.waiting.pending.contains(id));
        }
        let author = read.envelope.author;
        if !missing.is_empty() && self.waiting.pending.is_full_for(&author) {
            // Not even remembered, but asked for again when there may be room.
            self.stats.rate_limited += 1;
            self.waiting.want(now, read.id, from);
            return;
        }
        self.note_seen(&read, Kind::Say);
        let (id, bytes, past) = (read.id, read.bytes.clone(), way == Way::Past);
        let of_author = self.neighbours.get(&from).is_some_and(|state| state.key == Some(author));
        if way == Way::Push(limits::CHAT_HOPS) || (past && of_author) {
            // Its author wants to know that somebody has it.
            self.send(from, &super::Frame::Know(vec![id]));
        }
        if past {
            let lacking = self.lacking(&id, Some(from));
            self.tell_later(now, &lacking, id);
        } else {
            self.spread(now, id, &bytes, hops.saturating_sub(1), Some(from));
        }
        if missing.is_empty() {
            return self.deliver(now, read, past, false);
        }
        let wait = if past && self.sync.is_with(from) { AFTER_SYNC } else { SOON };
        for id in missing.iter().filter(|id| !self.history.seen.contains(id)) {
            self.waiting.wanted.want(now, *id, from, wait, true);
        }
        self.waiting.wanted.no_longer(&id);
        self.waiting.pending.insert(Pending { read, past, since: now, gap: false }, &missing);
    }

    /// Shows a message, and whatever waited for it alone.
    pub(super) fn deliver(&mut self, now: Instant, read: Unverified, past: bool, gap: bool) {
        let mut ready = VecDeque::from([(read, past, gap)]);
        while let Some((read, past, gap)) = ready.pop_front() {
            let id = read.id;
            self.show(now, &read, past, gap);
            let released = self.waiting.pending.release(&[id], false);
            ready.extend(released.into_iter().map(|pending| (pending.read, pending.past, pending.gap)));
        }
    }

    fn show(&mut self, now: Instant, read: &Unverified, past: bool, gap: bool) {
        let Body::Say { parents, name, text } = &read.envelope.body else { return };
        let author = read.envelope.author;
        let name = shown_name(name);
        // The name of somebody who is here is the one of the presence; this may be an old one.
        if self.people.author(&author).is_some_and(|author| author.presence.is_none()) {
            self.note_name(now, author, &name);
        }
        self.waiting.note_delivered(read.id, parents);
        if self.people.is_blocked(&author) {
            // It waited for something when its author was blocked.
            self.stats.blocked += 1;
            return;
        }
        let hidden = self.people.author_mut(&author).is_some_and(|author| author.is_muted(now));
        self.stats.delivered += u64::from(!hidden);
        self.stats.gaps += u64::from(gap && !hidden);
        let message = ChatMessage {
            id: read.id,
            author,
            name: self.shown(&author, &name),
            text: shown_text(text),
            time_ms: read.envelope.time_ms,
            own: author == self.me.key,
            past,
            gap,
        };
        self.history.push(Logged { bytes: read.bytes.clone(), message: message.clone(), received: now, hidden });
        if hidden {
            self.stats.rate_limited += 1;
        } else {
            self.events.push_back(ChatEvent::Message(message));
        }
    }

    /// Whether another message waits for this one.
    pub(super) fn is_waited_for(&self, id: &MessageId) -> bool {
        self.waiting.wanted.is_needed(id)
    }

    /// This one has come, and is not shown, as the user wants it: who waits for it waits no longer, and nothing is missing.
    pub(super) fn pass_over(&mut self, now: Instant, id: MessageId) {
        self.waiting.wanted.no_longer(&id);
        let ready = self.waiting.pending.release(&[id], false);
        self.deliver_all(now, ready);
    }

    /// Nobody has these: who waits for them waits no longer.
    pub(super) fn give_up_on(&mut self, now: Instant, ids: &[MessageId]) {
        let ready = self.waiting.pending.release(ids, true);
        self.deliver_all(now, ready);
    }

    /// A message from before our time: known, and never shown.
    pub(super) fn note_before_us(&mut self, id: MessageId) {
        if !self.history.seen.contains(&id) {
            // It has no author here, so it leaves no floor behind.
            self.history.seen.insert(id, self.me.key, 0);
            self.history.note_older(id);
            self.waiting.wanted.no_longer(&id);
        }
    }

    /// Messages that have waited for too long without anybody to ask.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        let hopeless =
            now.checked_sub(ALONE).map(|since| self.waiting.pending.missing_since(since)).unwrap_or_default();
        if !hopeless.is_empty() {
            self.give_up_on(now, &hopeless);
        }
    }

    fn deliver_all(&mut self, now: Instant, ready: Vec<Pending>) {
        for pending in ready {
            self.deliver(now, pending.read, pending.past, pending.gap);
        }
    }
}
