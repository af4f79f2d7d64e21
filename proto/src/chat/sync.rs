//! What somebody missed: on each new connection, both sides tell what they have, and are given what they lack.
//!
//! One neighbour at a time, so that nothing is given twice. A newcomer gets the last messages; whoever was in the room
//! before gets all that came since it entered, however long the connection was gone. Receipt is what counts, by the
//! giver's own clock, so that nobody's clock needs to be right.

use super::contract::MessageId;
use super::frame::Frame;
use super::relay::is_relayed;
use super::{Room, limits};
use crate::id::PeerKey;
use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// How long a neighbour may take to give.
const PATIENCE: Duration = Duration::from_secs(3);
/// As long as we are so new, we take a neighbour's word for what was there before us.
const NEWCOMER: Duration = Duration::from_secs(60);
/// Presences, and bytes of messages, that somebody behind a tracker is given at once: what it lacks beyond that comes with the
/// next round of presences, or when it is asked for.
const RELAYED_PRESENCES: usize = 256;
const RELAYED_GIFT: usize = 96 * 1024;
/// What is given was received so long before the other entered the room, to be sure.
const SLACK: Duration = Duration::from_secs(5);

/// Whom we ask, and whom we shall.
#[derive(Default)]
pub(super) struct Sync {
    current: Option<(PeerKey, Instant)>,
    queue: VecDeque<PeerKey>,
}

impl Sync {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.current.map(|(_, deadline)| deadline)
    }

    /// Whether this neighbour is giving us what we lack.
    pub(super) fn is_with(&self, neighbour: PeerKey) -> bool {
        self.current.is_some_and(|(current, _)| current == neighbour)
    }
}

/// Leaves the newest messages, of so many bytes together; what does not stay.
fn all_but_newest(messages: &mut Vec<(MessageId, Bytes)>, most: usize) -> Vec<MessageId> {
    let mut bytes = 0_usize;
    let newest = messages.iter().rev().take_while(|(_, message)| {
        bytes = bytes.saturating_add(message.len());
        bytes <= most
    });
    let older = messages.len() - newest.count();
    messages.drain(..older).map(|(id, _)| id).collect()
}

impl Room {
    /// Has a neighbour asked for what we lack.
    pub(super) fn queue_sync(&mut self, now: Instant, neighbour: PeerKey) {
        if !self.sync.is_with(neighbour) && !self.sync.queue.contains(&neighbour) {
            self.sync.queue.push_back(neighbour);
        }
        self.next_sync(now);
    }

    fn next_sync(&mut self, now: Instant) {
        while self.sync.current.is_none() {
            let Some(neighbour) = self.sync.queue.pop_front() else { return };
            let ids: Vec<MessageId> = self.all_known();
            let Some(state) = self.neighbours.get_mut(&neighbour) else { continue };
            state.credit = limits::CHAT_HAVE_IDS;
            let age_s = u32::try_from(self.clock.age(now).as_secs()).unwrap_or(u32::MAX);
            self.sync.current = Some((neighbour, now + PATIENCE));
            self.send(neighbour, &Frame::Have { age_s, ids });
        }
    }

    /// Everything that we need not be given.
    fn all_known(&self) -> Vec<MessageId> {
        let presences = self.people.authors().filter_map(|(_, author)| author.presence.as_ref());
        let presences = presences.filter(|presence| presence.here).map(|presence| presence.id);
        let known = self.history.known_ids().chain(self.waiting.pending_ids());
        known.chain(self.me.presence.iter().map(|(id, _)| *id)).chain(presences).collect()
    }

    /// A neighbour gives no more: it is done, gone, or too slow.
    pub(super) fn sync_ended(&mut self, now: Instant, neighbour: PeerKey) {
        self.sync.queue.retain(|queued| *queued != neighbour);
        if self.sync.is_with(neighbour) {
            self.sync.current = None;
            self.next_sync(now);
        }
    }

    pub(super) fn check_sync(&mut self, now: Instant) {
        if self.sync.deadline().is_some_and(|deadline| now >= deadline) {
            self.sync.current = None;
            self.next_sync(now);
        }
    }

    pub(super) fn take_have(&mut self, now: Instant, from: PeerKey, age_s: u32, ids: Vec<MessageId>) {
        let Some(state) = self.neighbours.get_mut(&from) else { return };
        if !state.rates.answers.take(now) {
            self.stats.rate_limited += 1;
            return;
        }
        ids.iter().for_each(|id| self.note_heard(from, *id));
        let has: HashSet<MessageId> = ids.into_iter().collect();
        let heard = self.people.authors().filter(|(key, _)| !self.people.is_blocked(key));
        let presences = heard.filter_map(|(_, author)| author.presence.as_ref());
        let presences = presences.filter(|presence| presence.here && !has.contains(&presence.id));
        let (most_presences, most_bytes) =
            if is_relayed(from) { (RELAYED_PRESENCES, RELAYED_GIFT) } else { (usize::MAX, usize::MAX) };
        let presences = presences.take(most_presences).map(|presence| (presence.id, presence.bytes.clone()));
        let presences: Vec<_> = presences.collect();
        let age = Duration::from_secs(u64::from(age_s)) + SLACK;
        let (mut give, mut older) = self.history.lacking(now, &has, age, |author| self.people.is_blocked(author));
        // What was sent over this connection has come; only what it refused is asked for one by one.
        if let Some(state) = self.neighbours.get(&from) {
            give.retain(|(id, _)| !state.knows.contains(id));
        }
        older.extend(all_but_newest(&mut give, most_bytes));
        for (id, message) in presences.into_iter().chain(give) {
            self.send_message(from, id, Frame::Past { message });
        }
        self.send(from, &Frame::Given(older));
    }

    /// Whether what was there before us is still to be found out.
    fn is_newcomer(&self, now: Instant) -> bool {
        self.clock.age(now) < NEWCOMER
    }

    /// Whether a neighbour is just giving us what was there before us: what is missing then is older still.
    pub(super) fn is_from_before_us(&self, now: Instant, from: PeerKey) -> bool {
        self.sync.is_with(from) && self.is_newcomer(now)
    }

    pub(super) fn take_given(&mut self, now: Instant, from: PeerKey, older: &[MessageId]) {
        if let Some(state) = self.neighbours.get_mut(&from) {
            state.credit = state.credit.min(limits::CHAT_FRAME_IDS);
        }
        if !self.sync.is_with(from) {
            self.stats.unasked += 1;
            return;
        }
        if self.is_newcomer(now) {
            older.iter().for_each(|id| self.note_before_us(*id));
        }
        self.sync_ended(now, from);
    }
}
