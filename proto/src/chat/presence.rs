//! Who is there: signed notices of each person, of which only the newest counts.

use super::contract::{BookEntry, CallEnd, ChatError, ChatEvent, MessageId, Output, Pinned};
use super::envelope::{Body, Unverified};
use super::flood::Way;
use super::identity::PublicKey;
use super::people::{Author, Kind, NameNews, Presence};
use super::text::{chosen_name, shown_name};
use super::{Room, limits};
use crate::id::PeerKey;
use bytes::Bytes;
use rand::RngExt;
use std::time::{Duration, Instant};

/// Our presence is said again after this time, and up to a fifth of it more, so that not all speak at once.
const REFRESH: Duration = Duration::from_secs(120);
/// How often it is looked who has left.
pub(super) const SWEEP: Duration = Duration::from_secs(15);

/// Ourselves.
pub(super) struct Me {
    pub(super) key: PublicKey,
    pub(super) name: String,
    sequence: u64,
    /// What we said of us last.
    pub(super) presence: Option<(MessageId, Bytes)>,
}

impl Me {
    /// Numbers begin with the time of day, so that they go on growing after a restart.
    pub(super) fn new(key: PublicKey, name: String, wall_ms: u64) -> Self {
        Self { key, name, sequence: wall_ms, presence: None }
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence = self.sequence.saturating_add(1);
        self.sequence
    }

    /// A message of ours came from outside: of an earlier start, or of another machine with our key.
    pub(super) fn was_used(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }
}

impl Room {
    /// Says that we are here, and how we are called.
    pub(super) fn announce_presence(&mut self, now: Instant) {
        let jitter = self.random.random_range(0..=REFRESH.as_secs() / 5);
        self.timers.refresh = now + REFRESH + Duration::from_secs(jitter);
        self.publish_presence(now, true);
        self.check_name(now, self.me.key, &self.me.name.clone());
    }

    fn publish_presence(&mut self, now: Instant, here: bool) {
        let name = self.me.name.clone();
        let read = self.seal(now, Body::Presence { noise_key: *self.identity.noise_public(), here, name });
        self.note_seen(&read, Kind::Notice);
        self.me.presence = Some((read.id, read.bytes.clone()));
        self.spread(now, read.id, &read.bytes, limits::CHAT_HOPS, None);
    }

    /// Takes another name.
    ///
    /// # Errors
    /// [`ChatError::BadName`], [`ChatError::Ended`].
    pub fn rename(&mut self, now: Instant, name: &str) -> Result<(), ChatError> {
        if self.left {
            return Err(ChatError::Ended);
        }
        let name = chosen_name(name)?;
        let before = self.myself().name;
        self.note_name(now, self.me.key, &name);
        self.me.name = name;
        self.announce_presence(now);
        self.events.push_back(ChatEvent::Renamed { person: self.myself(), before });
        Ok(())
    }

    /// Says goodbye and ends everything. Nothing can be done with the room after that but to look at it.
    pub fn leave(&mut self, now: Instant) {
        if self.left {
            return;
        }
        self.end_all_calls(now);
        self.publish_presence(now, false);
        self.tell_neighbours();
        if let Some((_, presence)) = self.me.presence.clone() {
            self.say_goodbye_over_trackers(&presence);
        }
        self.left = true;
        self.neighbours.clear();
    }

    pub(super) fn take_presence(&mut self, now: Instant, from: PeerKey, read: Unverified, way: Way, hops: u8) {
        let Body::Presence { noise_key, here, name } = &read.envelope.body else { return };
        let (key, sequence) = (read.envelope.author, read.envelope.sequence);
        self.note_seen(&read, Kind::Notice);
        let name = shown_name(name);
        let Some(author) = self.people.author_mut(&key) else { return };
        if key == self.me.key || author.presence.as_ref().is_some_and(|known| known.sequence >= sequence) {
            // Older than what we know, or another machine with our key.
            self.stats.replayed += u64::from(key != self.me.key);
            return;
        }
        let (was_here, before) = (author.is_here(), author.name.clone());
        let (id, bytes) = (read.id, read.bytes.clone());
        let (noise_key, here) = (*noise_key, *here);
        self.people.note_presence(&key, Presence { sequence, id, bytes: bytes.clone(), noise_key, here, heard: now });
        let shown_before = self.shown(&key, &before);
        self.note_name(now, key, &name);
        self.presence_changed(now, key, (was_here, here), shown_before, before != name);
        if way == Way::Past {
            let lacking = self.lacking(&id, Some(from));
            self.tell_later(now, &lacking, id);
        } else {
            self.spread(now, id, &bytes, hops.saturating_sub(1), Some(from));
        }
    }

    fn presence_changed(&mut self, now: Instant, key: PublicKey, here: (bool, bool), before: String, renamed: bool) {
        let person = self.person(key);
        match here {
            (false, true) => self.events.push_back(ChatEvent::Joined(person)),
            (true, false) => self.gone(now, key, false),
            (true, true) if renamed => self.events.push_back(ChatEvent::Renamed { person, before }),
            _ => {}
        }
    }

    fn gone(&mut self, now: Instant, key: PublicKey, silent: bool) {
        if !self.people.is_blocked(&key) {
            self.events.push_back(ChatEvent::Left { person: self.person(key), silent });
        }
        self.end_calls_with(now, key, CallEnd::Lost);
    }

    /// Notes a name that somebody uses, and tells the user if it is somebody else's.
    pub(super) fn note_name(&mut self, now: Instant, key: PublicKey, name: &str) {
        match self.people.named(key, name) {
            NameNews::Known => {}
            NameNews::Pinned(entry) => self.remember(entry),
            NameNews::Conflict(pinned) => {
                let (like, name) = (self.people.like(&pinned, name), name.to_owned());
                self.events.push_back(ChatEvent::NameChangedKey { name, like, pinned, now: key });
            }
        }
        self.check_name(now, key, name);
    }

    fn remember(&mut self, entry: BookEntry) {
        if entry.key != self.me.key {
            self.outputs.push_back(Output::Remember(entry));
        }
        if let Some(forgotten) = self.people.make_room_for_pins() {
            self.outputs.push_back(Output::Forget(forgotten));
        }
    }

    /// The key was compared, and is right: its name belongs to it, whoever had it before.
    ///
    /// # Errors
    /// [`ChatError::Myself`].
    pub fn trust(&mut self, key: PublicKey) -> Result<(), ChatError> {
        self.judge(key, Pinned::Trusted)
    }

    /// Nothing of this person is shown or passed on from now on; calls with it end.
    ///
    /// # Errors
    /// [`ChatError::Myself`].
    pub fn block(&mut self, now: Instant, key: PublicKey) -> Result<(), ChatError> {
        self.end_calls_with(now, key, CallEnd::HungUp);
        self.judge(key, Pinned::Blocked)
    }

    /// The person is listened to again.
    ///
    /// # Errors
    /// [`ChatError::Myself`].
    pub fn unblock(&mut self, key: PublicKey) -> Result<(), ChatError> {
        if self.people.is_blocked(&key) { self.judge(key, Pinned::FirstSeen) } else { Ok(()) }
    }

    fn judge(&mut self, key: PublicKey, trust: Pinned) -> Result<(), ChatError> {
        if key == self.me.key {
            return Err(ChatError::Myself);
        }
        let entry = self.people.judge(key, trust);
        self.remember(entry);
        Ok(())
    }

    /// The presence with this id, if it is the newest of somebody who is here.
    pub(super) fn presence_bytes(&self, id: &MessageId) -> Option<Bytes> {
        let own = self.me.presence.iter().filter(|(own, _)| own == id).map(|(_, bytes)| bytes.clone()).next();
        own.or_else(|| self.people.presence(id).map(|presence| presence.bytes.clone()))
    }

    /// Who is silent for too long has left; what waited for too long is given up.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.timers.sweep = now + SWEEP;
        for key in self.people.take_silent(now) {
            self.gone(now, key, true);
        }
        self.give_up_waiting(now);
    }

    /// The key to encrypt for somebody who is here.
    pub(super) fn noise_key_of(&self, key: &PublicKey) -> Option<[u8; 32]> {
        let author = self.people.author(key).filter(|author| Author::is_here(author))?;
        author.presence.as_ref().map(|presence| presence.noise_key)
    }
}
