//! The order in which messages are shown: behind all that their authors had seen.
//!
//! Owns the messages that wait for others, the ids that are missing, and the frontier: the messages that nobody has
//! answered to yet, which the next message of ours names as its parents.

use super::contract::{ChatEvent, ChatMessage, MessageId};
use super::envelope::{Body, Unverified};
use super::flood::Way;
use super::history::Logged;
use super::people::Kind;
use super::text::{shown_name, shown_text};
use super::{Room, limits};
use crate::id::PeerKey;
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a message that is known of may take to come by itself.
const SOON: Duration = Duration::from_millis(600);
/// As [`SOON`], while a neighbour is giving us everything.
const AFTER_SYNC: Duration = Duration::from_secs(4);
/// How long a neighbour may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How often somebody is asked for a message that others wait for, before they wait no longer.
const NEEDED_TRIES: u32 = 6;
/// How often for one that nobody waits for: each of [`SOURCES`] once.
const TRIES: u32 = 8;
/// How long a message may wait without anybody to ask.
const ALONE: Duration = Duration::from_secs(600);
/// Messages nobody has answered to that are remembered.
const FRONTIER: usize = 128;
/// Neighbours that are remembered to have a missing message: more than a few who only say so.
const SOURCES: usize = 8;

/// A message that waits for others.
struct Pending {
    read: Unverified,
    past: bool,
    since: Instant,
    missing: Vec<MessageId>,
    /// Some of what was missing is waited for no longer.
    gap: bool,
}

/// A message that is missing.
struct Wanted {
    /// What was told of first is asked for first: whoever tells names nothing in front of its parents.
    order: u64,
    next: Instant,
    tries: u32,
    sources: VecDeque<PeerKey>,
    /// Who told of it first.
    teller: PeerKey,
    /// Another one waits for it.
    needed: bool,
}

impl Wanted {
    /// Whether nobody waits for it, and nobody else has told of it.
    fn is_word_of(&self, teller: PeerKey) -> bool {
        !self.needed && self.teller == teller && self.sources.iter().all(|source| *source == teller)
    }
}

/// What waits, and what is waited for.
#[derive(Default)]
pub(super) struct Waiting {
    pending: BTreeMap<MessageId, Pending>,
    wanted: BTreeMap<MessageId, Wanted>,
    /// How many of these each neighbour has told of first.
    told: BTreeMap<PeerKey, usize>,
    /// What others wait for, and nobody will be asked for: there was no room for it.
    given_up: Vec<MessageId>,
    /// How many were ever wanted.
    wants: u64,
    /// The oldest first.
    frontier: VecDeque<MessageId>,
}

impl Waiting {
    /// The newest messages that nobody has answered to.
    pub(super) fn newest(&self, limit: usize) -> Vec<MessageId> {
        self.frontier.iter().rev().take(limit).copied().collect()
    }

    pub(super) fn pending_ids(&self) -> impl Iterator<Item = MessageId> {
        self.pending.keys().copied()
    }

    pub(super) fn bytes(&self, id: &MessageId) -> Option<&Bytes> {
        self.pending.get(id).map(|pending| &pending.read.bytes)
    }

    /// Has a message asked for that this neighbour has, unless it comes soon by itself.
    pub(super) fn want(&mut self, now: Instant, id: MessageId, source: PeerKey) {
        self.want_after(now, id, source, SOON, false);
    }

    fn want_after(&mut self, now: Instant, id: MessageId, source: PeerKey, wait: Duration, needed: bool) {
        if !self.wanted.contains_key(&id) {
            if self.wanted.len() >= limits::CHAT_WANTED {
                let Some(given_up) = self.giving_way_to(source, needed) else {
                    // Who waits for it would wait for ever.
                    self.given_up.extend(needed.then_some(id));
                    return;
                };
                self.given_up.extend(self.wanted.get(&given_up).filter(|wanted| wanted.needed).map(|_| given_up));
                self.no_longer_wanted(&given_up);
            }
            *self.told.entry(source).or_default() += 1;
        }
        self.wants += 1;
        let order = self.wants;
        let new = || Wanted { order, next: now + wait, tries: 0, sources: VecDeque::new(), teller: source, needed };
        let wanted = self.wanted.entry(id).or_insert_with(new);
        wanted.needed |= needed;
        if wanted.sources.len() < SOURCES && !wanted.sources.contains(&source) {
            wanted.sources.push_back(source);
        }
    }

    /// What gives way to something that this neighbour tells of: what others only say to have gives way to what is waited
    /// for, and what comes of one neighbour who tells of very much to what others tell of.
    fn giving_way_to(&self, source: PeerKey, needed: bool) -> Option<MessageId> {
        let (most, count) = self.told.iter().max_by_key(|(_, count)| **count)?;
        let is_fair = self.told.get(&source).copied().unwrap_or(0) + 1 < *count;
        let first = |such: &dyn Fn(&Wanted) -> bool| {
            let mut found = self.wanted.iter().filter(|(_, wanted)| such(wanted));
            found.next().map(|(id, _)| *id)
        };
        let word = || first(&|wanted| wanted.is_word_of(*most)).filter(|_| needed || is_fair);
        let idle = || first(&|wanted| !wanted.needed).filter(|_| needed);
        let any = || first(&|wanted| wanted.teller == *most).filter(|_| is_fair);
        word().or_else(idle).or_else(any)
    }

    /// It is here, or will not be asked for any more.
    fn no_longer_wanted(&mut self, id: &MessageId) {
        let Some(wanted) = self.wanted.remove(id) else { return };
        count_down(&mut self.told, wanted.teller);
    }

    pub(super) fn next_ask(&self) -> Option<Instant> {
        self.wanted.values().map(|wanted| wanted.next).min()
    }

    pub(super) fn neighbour_left(&mut self, neighbour: PeerKey) {
        self.wanted.values_mut().for_each(|wanted| wanted.sources.retain(|source| *source != neighbour));
    }

    /// Whom to ask now for what; and what nobody will be asked for again.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        neighbours: &[PeerKey],
        random: &mut StdRng,
    ) -> (Vec<(MessageId, PeerKey)>, Vec<MessageId>) {
        let (mut due, mut hopeless) = (Vec::new(), std::mem::take(&mut self.given_up));
        let told = &mut self.told;
        self.wanted.retain(|id, wanted| {
            if now < wanted.next {
                return true;
            }
            if wanted.tries >= if wanted.needed { NEEDED_TRIES } else { TRIES } {
                hopeless.push(*id);
                count_down(told, wanted.teller);
                return false;
            }
            wanted.next = now + ANSWER;
            let anyone = wanted.needed && !neighbours.is_empty();
            let anyone = anyone.then(|| random.random_range(0..neighbours.len())).and_then(|at| neighbours.get(at));
            match wanted.sources.pop_front().or(anyone.copied()) {
                Some(source) => {
                    wanted.tries += 1;
                    due.push((wanted.order, *id, source));
                    true
                }
                // Who is alone waits for company.
                None if wanted.needed => true,
                None => {
                    count_down(told, wanted.teller);
                    false
                }
            }
        });
        due.sort_unstable();
        (due.into_iter().map(|(_, id, source)| (id, source)).collect(), hopeless)
    }

    /// These are waited for no longer: what waited for nothing else, the oldest first. `gap` if they are not there.
    fn release(&mut self, ids: &[MessageId], gap: bool) -> Vec<Pending> {
        let mut ready = Vec::new();
        for (waiting, pending) in &mut self.pending {
            let before = pending.missing.len();
            pending.missing.retain(|missing| !ids.contains(missing));
            pending.gap |= gap && pending.missing.len() < before;
            if pending.missing.is_empty() {
                ready.push(*waiting);
            }
        }
        let mut taken: Vec<Pending> = ready.iter().filter_map(|id| self.pending.remove(id)).collect();
        taken.sort_by_key(|pending| (pending.read.envelope.time_ms, pending.read.id));
        taken
    }

    fn note_delivered(&mut self, id: MessageId, parents: &[MessageId]) {
        self.no_longer_wanted(&id);
        self.frontier.retain(|known| !parents.contains(known));
        self.frontier.push_back(id);
        if self.frontier.len() > FRONTIER {
            self.frontier.pop_front();
        }
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.pending.len() <= limits::CHAT_PENDING, "{} messages wait", self.pending.len());
        assert!(self.wanted.len() <= limits::CHAT_WANTED, "{} messages are wanted", self.wanted.len());
        assert!(self.frontier.len() <= FRONTIER, "a frontier of {}", self.frontier.len());
        assert_eq!(self.told.values().sum::<usize>(), self.wanted.len(), "each wanted message counts once");
        for (id, pending) in &self.pending {
            assert!(!pending.missing.is_empty(), "{id} waits for nothing");
        }
    }
}

fn count_down(told: &mut BTreeMap<PeerKey, usize>, teller: PeerKey) {
    if let Some(count) = told.get_mut(&teller) {
        *count -= 1;
        if *count == 0 {
            told.remove(&teller);
        }
    }
}

impl Room {
    /// A message to the room that is new and genuine: passed on, and shown when its time has come.
    pub(super) fn take_say(&mut self, now: Instant, from: PeerKey, read: Unverified, way: Way, hops: u8) {
        let Body::Say { parents, .. } = &read.envelope.body else { return };
        let there = |id: &MessageId| self.history.seen.contains(id) && !self.waiting.pending.contains_key(id);
        let mut missing: Vec<MessageId> = parents.iter().filter(|id| !there(id)).copied().collect();
        if way == Way::Past && self.is_from_before_us(now, from) {
            // It is given in order; what is missing is older than what is given.
            missing.iter().for_each(|id| self.note_before_us(*id));
            missing.retain(|id| self.waiting.pending.contains_key(id));
        }
        let author = read.envelope.author;
        let of_author = self.waiting.pending.values().filter(|pending| pending.read.envelope.author == author).count();
        let full = self.waiting.pending.len() >= limits::CHAT_PENDING || of_author >= limits::CHAT_PENDING_PER_AUTHOR;
        if !missing.is_empty() && full {
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
            self.waiting.want_after(now, *id, from, wait, true);
        }
        self.waiting.no_longer_wanted(&id);
        self.waiting.pending.insert(id, Pending { read, past, since: now, missing, gap: false });
    }

    /// Shows a message, and whatever waited for it alone.
    pub(super) fn deliver(&mut self, now: Instant, read: Unverified, past: bool, gap: bool) {
        let mut ready = VecDeque::from([(read, past, gap)]);
        while let Some((read, past, gap)) = ready.pop_front() {
            let id = read.id;
            self.show(now, &read, past, gap);
            let released = self.waiting.release(&[id], false);
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
        self.waiting.wanted.get(id).is_some_and(|wanted| wanted.needed)
    }

    /// This one has come, and is not shown, as the user wants it: who waits for it waits no longer, and nothing is missing.
    pub(super) fn pass_over(&mut self, now: Instant, id: MessageId) {
        self.waiting.no_longer_wanted(&id);
        let ready = self.waiting.release(&[id], false);
        self.deliver_all(now, ready);
    }

    /// Nobody has these: who waits for them waits no longer.
    pub(super) fn give_up_on(&mut self, now: Instant, ids: &[MessageId]) {
        let ready = self.waiting.release(ids, true);
        self.deliver_all(now, ready);
    }

    /// A message from before our time: known, and never shown.
    pub(super) fn note_before_us(&mut self, id: MessageId) {
        if !self.history.seen.contains(&id) {
            // It has no author here, so it leaves no floor behind.
            self.history.seen.insert(id, self.me.key, 0);
            self.history.note_older(id);
            self.waiting.no_longer_wanted(&id);
        }
    }

    /// Messages that have waited for too long without anybody to ask.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        let hopeless = self.missing_of(|pending| now.saturating_duration_since(pending.since) >= ALONE);
        if !hopeless.is_empty() {
            self.give_up_on(now, &hopeless);
        }
    }

    /// What such messages wait for, apart from other messages that wait.
    fn missing_of(&self, such: impl Fn(&Pending) -> bool) -> Vec<MessageId> {
        let missing = self.waiting.pending.values().filter(|pending| such(pending)).flat_map(|it| &it.missing);
        missing.filter(|id| !self.waiting.pending.contains_key(id)).copied().collect()
    }

    fn deliver_all(&mut self, now: Instant, ready: Vec<Pending>) {
        for pending in ready {
            self.deliver(now, pending.read, pending.past, pending.gap);
        }
    }
}
