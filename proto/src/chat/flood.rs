//! Messages come from neighbours, are judged, and go on to others.
//!
//! A message is passed on once, when it is new and genuine and its author is within the rate: at once to
//! [`limits::CHAT_EAGER`] neighbours who are not known to have it; the others are told its id, and ask.

use super::contract::MessageId;
use super::envelope::{Body, Envelope, Unverified};
use super::frame::Frame;
use super::history::author_of;
use super::people::{Kind, Why};
use super::{ChatEvent, Room};
use crate::id::PeerKey;
use crate::limits;
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long ids are collected before a neighbour is told of them.
const TELL: Duration = Duration::from_millis(500);
/// Ids that wait to be told to one neighbour.
pub(super) const LAZY: usize = 2 * limits::CHAT_FRAME_IDS;
/// How often one neighbour is told of the newest messages, so that what was refused or lost is noticed.
pub(super) const GOSSIP: Duration = Duration::from_secs(30);

/// What somebody who is muted has said for so long is taken for the beginning of the flood.
const FLOOD: Duration = Duration::from_secs(60);

/// How a message came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// As news, to be passed on so often.
    Push(u8),
    /// Because we asked.
    Past,
    /// For one person, to be passed on so often.
    Route(u8),
}

/// Takes a few at random.
pub(super) fn take_at_random(from: &mut Vec<PeerKey>, most: usize, random: &mut StdRng) -> Vec<PeerKey> {
    let mut chosen = Vec::new();
    while chosen.len() < most && !from.is_empty() {
        chosen.push(from.swap_remove(random.random_range(0..from.len())));
    }
    chosen
}

impl Room {
    pub(super) fn take_frame(&mut self, now: Instant, from: PeerKey, frame: Frame) {
        match frame {
            Frame::Push { hops, message } => self.take_message(now, from, &message, Way::Push(hops)),
            Frame::Route { hops, message } => self.take_message(now, from, &message, Way::Route(hops)),
            Frame::Past { message } => {
                let Some(state) = self.neighbours.get_mut(&from) else { return };
                match state.credit.checked_sub(1) {
                    Some(left) => {
                        state.credit = left;
                        self.take_message(now, from, &message, Way::Past);
                    }
                    None => self.stats.unasked += 1,
                }
            }
            Frame::Have { age_s, ids } => self.take_have(now, from, age_s, ids),
            Frame::Know(ids) => self.take_know(now, from, &ids),
            Frame::Want(ids) => self.take_want(now, from, &ids),
            Frame::Given(ids) => self.take_given(now, from, &ids),
        }
    }

    fn take_message(&mut self, now: Instant, from: PeerKey, bytes: &Bytes, way: Way) {
        let Some(read) = Envelope::parse(&self.room, bytes) else { return self.blame_malformed(from) };
        let is_direct = matches!(read.envelope.body, Body::Direct { .. });
        if !is_direct && matches!(way, Way::Route(_)) || is_direct && way == Way::Past {
            return self.blame_malformed(from);
        }
        let hops = match way {
            Way::Push(hops) | Way::Route(hops) => hops.min(limits::CHAT_HOPS),
            Way::Past => limits::CHAT_HOPS,
        };
        self.note_sender(from, &read, way == Way::Push(limits::CHAT_HOPS));
        let seen = if is_direct { &self.history.seen_direct } else { &self.history.seen };
        if seen.contains(&read.id) {
            return self.came_again(from, read.id);
        }
        if !self.admit(now, from, &read, way) {
            return;
        }
        if let Some(state) = self.neighbours.get_mut(&from) {
            state.sent_us.insert(read.id);
        }
        match &read.envelope.body {
            Body::Say { .. } => self.take_say(now, from, read, way, hops),
            Body::Presence { .. } => self.take_presence(now, from, read, way, hops),
            Body::Direct { .. } => self.take_direct(now, from, read, way, hops),
        }
    }

    /// A neighbour has what it sends; and what comes over no hop is its own.
    fn note_sender(&mut self, from: PeerKey, read: &Unverified, first_hop: bool) {
        let Some(state) = self.neighbours.get_mut(&from) else { return };
        state.knows.insert(read.id);
        if first_hop && matches!(read.envelope.body, Body::Presence { here: true, .. }) {
            state.key = Some(read.envelope.author);
        }
        if read.envelope.author == self.me.key {
            self.note_heard(from, read.id);
        }
    }

    fn came_again(&mut self, from: PeerKey, id: MessageId) {
        let again = self.neighbours.get_mut(&from).is_some_and(|state| !state.sent_us.insert(id));
        if again {
            self.stats.replayed += 1;
        } else {
            self.stats.duplicates += 1;
        }
    }

    /// Whether a message that has not been seen is taken: its author is neither blocked nor too fast, and has signed it.
    fn admit(&mut self, now: Instant, from: PeerKey, read: &Unverified, way: Way) -> bool {
        let (author, sequence) = (read.envelope.author, read.envelope.sequence);
        let kind = match read.envelope.body {
            Body::Say { .. } => Kind::Say,
            Body::Presence { .. } => Kind::Notice,
            Body::Direct { .. } => Kind::Direct,
        };
        if !self.is_worth_a_look(now, from, read, kind) {
            return false;
        }
        // The dearest of all checks: behind those that cost nothing.
        if !read.is_genuine(&self.room) {
            self.stats.forged += 1;
            self.blame(from);
            return false;
        }
        if self.people.author_mut(&author).is_some_and(|known| known.is_muted(now)) {
            self.stats.rate_limited += 1;
            self.note_seen(read, kind);
            self.pass_over(now, read.id);
            return false;
        }
        let is_new = self.people.author(&author).is_none();
        let may_come = self.neighbours.get_mut(&from).is_some_and(|state| !is_new || state.rates.newcomers.take(now));
        if !may_come || !self.people.admit(now, author) {
            self.stats.rate_limited += 1;
            return false;
        }
        if author == self.me.key {
            self.me.was_used(sequence);
        }
        if !self.charge(now, from, read, kind, way) {
            return false;
        }
        if self.people.is_blocked(&author) {
            self.stats.blocked += 1;
            // Those who answer to it need not wait for it.
            self.note_seen(read, kind);
            self.pass_over(now, read.id);
            return false;
        }
        if let Some(known) = self.people.author_mut(&author)
            && way != Way::Past
        {
            known.route = Some(from);
        }
        true
    }

    /// Whether a message may be news, its author is listened to, and its neighbour may still bring somebody if nobody knows the
    /// author. A signature is looked at only then: it costs more than all of this.
    fn is_worth_a_look(&mut self, now: Instant, from: PeerKey, read: &Unverified, kind: Kind) -> bool {
        let author = read.envelope.author;
        if read.envelope.sequence <= self.people.floor(&author, kind == Kind::Direct) {
            self.stats.replayed += 1;
            return false;
        }
        let Some(known) = self.people.author_mut(&author) else {
            let may_bring = self.neighbours.get_mut(&from).is_some_and(|state| state.rates.newcomers.has(now));
            self.stats.rate_limited += u64::from(!may_bring);
            return may_bring;
        };
        // What others wait for is let in, to be passed over.
        let is_heard = !known.is_muted(now) || kind == Kind::Say && self.is_waited_for(&read.id);
        self.stats.rate_limited += u64::from(!is_heard);
        is_heard
    }

    /// Counts a genuine message against the rates of its author and of the neighbour who brings it.
    fn charge(&mut self, now: Instant, from: PeerKey, read: &Unverified, kind: Kind, way: Way) -> bool {
        let author = read.envelope.author;
        let why = match way {
            Way::Past if self.sync.is_with(from) => Why::Gift,
            Way::Past => Why::Asked,
            Way::Push(_) | Way::Route(_) => Why::News,
        };
        let Some(known) = self.people.author_mut(&author) else { return false };
        let charged = known.charge(now, kind, why);
        let Some(state) = self.neighbours.get_mut(&from) else { return false };
        let of_neighbour = if why == Why::News { &mut state.rates.news } else { &mut state.rates.given };
        if charged.is_ok() && (kind != Kind::Say || of_neighbour.take(now)) {
            return true;
        }
        self.stats.rate_limited += 1;
        if charged == Err(true) {
            self.stats.muted += 1;
            let hidden = self.history.hide(now, author, FLOOD);
            self.events.push_back(ChatEvent::Muted { person: self.person(author), hidden });
        }
        false
    }

    /// Remembers a message as seen, and what can no longer be new because of that.
    pub(super) fn note_seen(&mut self, read: &Unverified, kind: Kind) {
        let (author, sequence) = (read.envelope.author, read.envelope.sequence);
        let direct = kind == Kind::Direct;
        let seen = if direct { &mut self.history.seen_direct } else { &mut self.history.seen };
        let Some((author, floor)) = seen.insert(read.id, author, sequence) else { return };
        self.people.raise_floor(author, floor, direct);
    }

    /// Passes a message on: as news to some, by its id to the others.
    pub(super) fn spread(&mut self, now: Instant, id: MessageId, bytes: &Bytes, hops: u8, from: Option<PeerKey>) {
        let mut lacking = self.lacking(&id, from);
        let eager = self.choose(&mut lacking);
        if hops > 0 {
            for neighbour in eager {
                self.send_message(neighbour, id, Frame::Push { hops, message: bytes.clone() });
            }
        } else {
            lacking.extend(eager);
        }
        self.tell_later(now, &lacking, id);
    }

    /// Neighbours that are not known to have a message.
    pub(super) fn lacking(&self, id: &MessageId, from: Option<PeerKey>) -> Vec<PeerKey> {
        let lacking = self.neighbours.iter().filter(|(key, state)| Some(**key) != from && !state.knows.contains(id));
        lacking.map(|(key, _)| *key).collect()
    }

    /// Has neighbours told of a message soon.
    pub(super) fn tell_later(&mut self, now: Instant, neighbours: &[PeerKey], id: MessageId) {
        let mut full = false;
        for neighbour in neighbours {
            if let Some(state) = self.neighbours.get_mut(neighbour) {
                state.lazy.push(id);
                full |= state.lazy.len() >= LAZY;
                self.timers.tell.get_or_insert(now + TELL);
            }
        }
        if full {
            self.tell_neighbours();
        }
    }

    /// Tells neighbours of what was not sent to them, as far as they have not got it meanwhile.
    pub(super) fn tell_neighbours(&mut self) {
        self.timers.tell = None;
        let mut frames = Vec::new();
        for (key, state) in &mut self.neighbours {
            let mut ids = std::mem::take(&mut state.lazy);
            ids.retain(|id| !state.knows.contains(id));
            frames.extend(ids.chunks(limits::CHAT_FRAME_IDS).map(|ids| (*key, Frame::Know(ids.to_vec()))));
        }
        frames.into_iter().for_each(|(key, frame)| self.send(key, &frame));
    }

    /// Tells one neighbour of the newest messages, so that it finds out what it lacks.
    pub(super) fn gossip(&mut self, now: Instant) {
        self.timers.gossip = now + GOSSIP;
        let keys: Vec<PeerKey> = self.neighbours.keys().copied().collect();
        let ids = self.waiting.newest(limits::CHAT_FRAME_IDS);
        if keys.is_empty() || ids.is_empty() {
            return;
        }
        if let Some(key) = keys.get(self.random.random_range(0..keys.len())) {
            self.send(*key, &Frame::Know(ids));
        }
    }

    fn take_know(&mut self, now: Instant, from: PeerKey, ids: &[MessageId]) {
        let Some(state) = self.neighbours.get_mut(&from) else { return };
        for id in ids {
            state.knows.insert(*id);
        }
        ids.iter().for_each(|id| self.note_heard(from, *id));
        let unknown: Vec<MessageId> = ids.iter().filter(|id| !self.history.seen.contains(id)).copied().collect();
        for id in unknown {
            self.waiting.want(now, id, from);
        }
    }

    fn take_want(&mut self, now: Instant, from: PeerKey, ids: &[MessageId]) {
        for id in ids {
            let Some(state) = self.neighbours.get_mut(&from) else { return };
            if !state.rates.wants.take(now) {
                self.stats.rate_limited += 1;
                return;
            }
            if let Some(message) = self.message_bytes(id) {
                self.send_message(from, *id, Frame::Past { message });
            }
        }
    }

    /// A message that can be given: of the history, of those that wait, or a presence.
    fn message_bytes(&self, id: &MessageId) -> Option<Bytes> {
        let kept = self.history.bytes(id).or_else(|| self.waiting.bytes(id));
        let found = kept.cloned().or_else(|| self.presence_bytes(id));
        found.filter(|bytes| author_of(bytes).is_some_and(|author| !self.people.is_blocked(&author)))
    }

    /// Asks for what is due to be asked for.
    pub(super) fn ask_for_wanted(&mut self, now: Instant) {
        let keys: Vec<PeerKey> = self.neighbours.keys().copied().collect();
        let mut asks: BTreeMap<PeerKey, Vec<MessageId>> = BTreeMap::new();
        let (due, hopeless) = self.waiting.wanted.take_due(now, &keys, &mut self.random);
        for (id, neighbour) in due {
            asks.entry(neighbour).or_default().push(id);
        }
        for (neighbour, ids) in asks {
            if let Some(state) = self.neighbours.get_mut(&neighbour) {
                state.credit = state.credit.saturating_add(ids.len()).min(limits::CHAT_HAVE_IDS);
            }
            for ids in ids.chunks(limits::CHAT_FRAME_IDS) {
                self.send(neighbour, &Frame::Want(ids.to_vec()));
            }
        }
        if !hopeless.is_empty() {
            self.give_up_on(now, &hopeless);
        }
    }

    /// A neighbour has a message of ours.
    pub(super) fn note_heard(&mut self, neighbour: PeerKey, id: MessageId) {
        if let Some((_, who)) = self.heard.iter_mut().find(|(own, _)| *own == id)
            && who.insert(neighbour)
        {
            let neighbours = u32::try_from(who.len()).unwrap_or(u32::MAX);
            self.events.push_back(ChatEvent::Heard { id, neighbours });
        }
    }
}
