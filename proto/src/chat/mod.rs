//! A room as one person's program sees it: a state machine, driven from outside like a [`Swarm`](crate::swarm::Swarm).
//!
//! In go [`Room::handle_connected_from`], [`Room::handle_closed`], [`Room::handle_payload`], [`Room::handle_timeout`] and what
//! the user says ([`Room::say`], [`Room::call`], …), each with the time; after any of them, out come
//! [`Room::poll_output`] until it is empty, [`Room::poll_event`] until it is empty, and then [`Room::poll_timeout`].
//! `docs/chat-protocol.md` has the bytes and the rules.
//!
//! Owns every decision about messages: what is genuine, what is new, in which order it is shown, to whom it is passed on,
//! how much of anybody is listened to. Never blocks, never reads a clock, never fails: whatever a neighbour sends is an
//! input. All randomness, that of the encryption too, comes from the seed. Each message is delivered once, behind all
//! that its author had seen.

mod bucket;
mod bytes;
mod calls;
mod contract;
pub mod craft;
mod direct;
mod envelope;
mod flood;
mod frame;
mod history;
mod identity;
mod line;
mod names;
mod neighbour;
mod noise;
mod order;
mod pairs;
mod payload;
mod pending;
mod people;
mod pins;
mod presence;
mod relay;
mod requests;
mod returning;
mod sync;
#[cfg(test)]
mod tests;
mod text;
mod transfers;
mod wanted;

pub use contract::*;
pub use identity::{Identity, PublicKey};
pub use text::{NameFault, chosen_name, looks_like_others};

use crate::id::{InfoHash, PeerKey};
use crate::limits;
use ::bytes::Bytes;
use bucket::{Bucket, Rate};
use calls::Calls;
use envelope::{Body, Envelope};
use frame::Frame;
use history::History;
use names::Names;
use neighbour::{Neighbour, Rates};
use order::Waiting;
use people::People;
use presence::Me;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::{Relay, is_relayed};
use returning::{Origin, Returning};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use sync::Sync;

/// What we say at most: three quarters of what others take at once, and no more a second than they do.
const OWN_RATE: Rate = Rate { burst: 12, milli_per_s: 1_000 };
/// Own messages of which is counted who has them.
const HEARD: usize = 64;

/// The time of the shell, and the time of day by it.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    wall_ms: u64,
}

impl Clock {
    /// Milliseconds since 1970.
    fn wall_ms(&self, now: Instant) -> u64 {
        self.wall_ms.saturating_add(u64::try_from(self.age(now).as_millis()).unwrap_or(u64::MAX))
    }

    /// How long we have been in the room.
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

/// When something is to be done next.
#[derive(Clone, Copy, Debug)]
struct Timers {
    /// Neighbours are told of what was not sent to them.
    tell: Option<Instant>,
    /// Our presence is said again.
    refresh: Instant,
    /// Who is silent has left; what waited for too long is given up.
    sweep: Instant,
    /// One neighbour is told of the newest messages.
    gossip: Instant,
}

/// One room. See the module's header for how to drive it.
pub struct Room {
    room: InfoHash,
    identity: Identity,
    me: Me,
    clock: Clock,
    timers: Timers,
    left: bool,
    neighbours: BTreeMap<PeerKey, Neighbour>,
    returning: Returning,
    people: People,
    history: History,
    waiting: Waiting,
    sync: Sync,
    calls: Calls,
    own_rate: Bucket,
    relay: Relay,
    names: Names,
    /// Which neighbours have the latest messages of ours.
    heard: VecDeque<(MessageId, BTreeSet<PeerKey>)>,
    stats: ChatStats,
    random: StdRng,
    outputs: VecDeque<Output>,
    events: VecDeque<ChatEvent>,
}

impl Room {
    /// Enters a room. `seed` decides everything random in it, the keys of calls too: outside of tests it must come from
    /// the randomness of the operating system.
    ///
    /// # Errors
    /// [`ChatError::BadName`].
    pub fn new(config: RoomConfig, seed: [u8; 32], now: Instant) -> Result<Self, ChatError> {
        let name = text::chosen_name(&config.name)?;
        let clock = Clock { started: now, wall_ms: config.wall_ms };
        let mut room = Self {
            room: config.room,
            me: Me::new(config.identity.public(), name, config.wall_ms),
            people: People::new(config.identity.public(), config.book),
            identity: config.identity,
            clock,
            timers: Timers { tell: None, refresh: now, sweep: now + presence::SWEEP, gossip: now + flood::GOSSIP },
            left: false,
            neighbours: BTreeMap::new(),
            returning: Returning::default(),
            history: History::new(),
            waiting: Waiting::default(),
            sync: Sync::default(),
            calls: Calls::default(),
            own_rate: Bucket::new(OWN_RATE, now),
            relay: Relay::new(now),
            names: Names::new(&clock, config.look_up_names),
            heard: VecDeque::new(),
            stats: ChatStats::default(),
            random: StdRng::from_seed(seed),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
        };
        room.people.admit(now, room.me.key);
        room.note_name(now, room.me.key, &room.me.name.clone());
        room.announce_presence(now);
        Ok(room)
    }

    /// As [`Room::handle_connected_from`], for one of whom nobody knows where it comes from: it has fresh rates each time.
    pub fn handle_connected(&mut self, now: Instant, neighbour: PeerKey) {
        self.connected(now, neighbour, None);
    }

    /// A neighbour, who comes from this address, takes `sw_chat` messages from now on. Of whoever left from there a while ago
    /// and comes again, no more is taken than if it had stayed.
    pub fn handle_connected_from(&mut self, now: Instant, neighbour: PeerKey, address: IpAddr) {
        self.connected(now, neighbour, Some(Origin::new(address, is_relayed(neighbour))));
    }

    fn connected(&mut self, now: Instant, neighbour: PeerKey, origin: Option<Origin>) {
        if self.left {
            return;
        }
        let rates = origin.and_then(|origin| self.returning.take(now, origin));
        let rates = rates.unwrap_or_else(|| Rates::new(now, is_relayed(neighbour)));
        self.neighbours.insert(neighbour, Neighbour::new(rates, origin));
        let presence = self.me.presence.clone();
        if let Some((id, message)) = presence {
            self.send_message(neighbour, id, Frame::Push { hops: limits::CHAT_HOPS, message });
        }
        self.queue_sync(now, neighbour);
    }

    /// The connection to a neighbour is gone. Also to be called for one that [`Output::Close`] named.
    pub fn handle_closed(&mut self, now: Instant, neighbour: PeerKey) {
        if let Some(Neighbour { origin: Some(origin), rates, .. }) = self.neighbours.remove(&neighbour) {
            self.returning.keep(now, origin, rates);
        }
        self.people.neighbour_left(neighbour);
        self.waiting.wanted.neighbour_left(neighbour);
        self.sync_ended(now, neighbour);
        self.direct_left(now, neighbour);
    }

    /// A neighbour has sent this payload.
    pub fn handle_payload(&mut self, now: Instant, neighbour: PeerKey, payload: &Bytes) {
        let Some(state) = self.neighbours.get_mut(&neighbour) else { return };
        if !state.rates.frames.take(now) {
            self.stats.rate_limited += 1;
            if state.rates.exceeds() {
                self.close_neighbour(neighbour);
            }
            return;
        }
        match Frame::decode(payload) {
            frame::Decoded::Frame(frame) => self.take_frame(now, neighbour, frame),
            frame::Decoded::Unknown => {}
            frame::Decoded::Malformed => self.blame_malformed(neighbour),
        }
    }

    /// The moment of [`Room::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.left {
            return;
        }
        if self.timers.tell.is_some_and(|due| now >= due) {
            self.tell_neighbours();
        }
        if now >= self.timers.refresh {
            self.announce_presence(now);
        }
        if now >= self.timers.sweep {
            self.sweep(now);
        }
        if now >= self.timers.gossip {
            self.gossip(now);
        }
        self.check_sync(now);
        self.ask_for_wanted(now);
        self.drive_calls(now);
        self.drive_relay(now);
        self.drive_names(now);
    }

    /// When to call [`Room::handle_timeout`] unless another input comes first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.left {
            return None;
        }
        let fixed = [Some(self.timers.refresh), Some(self.timers.sweep), Some(self.timers.gossip), self.timers.tell];
        let others =
            [self.sync.deadline(), self.waiting.wanted.next_ask(), self.calls.next_due(), self.relay.next_due()];
        fixed.into_iter().chain(others).chain([self.names.next_due()]).flatten().min()
    }

    /// The next thing for the shell to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next thing for the user to know.
    pub fn poll_event(&mut self) -> Option<ChatEvent> {
        self.events.pop_front()
    }

    /// Says something to everybody.
    ///
    /// # Errors
    /// [`ChatError::Empty`], [`ChatError::TooLong`], [`ChatError::TooFast`], [`ChatError::Ended`].
    pub fn say(&mut self, now: Instant, text: &str) -> Result<MessageId, ChatError> {
        self.check_text(text)?;
        if !self.own_rate.take(now) {
            return Err(ChatError::TooFast { wait: self.own_rate.wait(now) });
        }
        let parents = self.waiting.newest(limits::CHAT_PARENTS);
        let body = Body::Say { parents, name: self.me.name.clone(), text: text.to_owned() };
        let read = self.seal(now, body);
        let id = read.id;
        self.history.seen.insert(id, self.me.key, read.envelope.sequence);
        self.heard.push_back((id, BTreeSet::new()));
        if self.heard.len() > HEARD {
            self.heard.pop_front();
        }
        let bytes = read.bytes.clone();
        self.deliver(now, read, false, false);
        self.spread(now, id, &bytes, limits::CHAT_HOPS, None);
        Ok(id)
    }

    /// Everybody who is or was in the room, us first.
    pub fn people(&self) -> Vec<Person> {
        let others = self.people.authors().filter(|(key, author)| **key != self.me.key && !author.name.is_empty());
        std::iter::once(self.myself()).chain(others.map(|(key, _)| self.person(*key))).collect()
    }

    /// What is kept of what was said, the oldest first.
    pub fn messages(&self) -> Vec<ChatMessage> {
        self.history.messages().cloned().collect()
    }

    /// What has been counted.
    pub fn stats(&self) -> ChatStats {
        self.stats
    }

    /// Neighbours that chat.
    pub fn neighbours(&self) -> usize {
        self.neighbours.len()
    }

    /// Neighbours behind a tracker.
    pub fn relayed_neighbours(&self) -> usize {
        self.relay.up()
    }

    /// The neighbour that somebody seems to be. Nobody has proven it: good for where to look first, and for nothing else.
    pub fn neighbour_of(&self, key: &PublicKey) -> Option<PeerKey> {
        self.neighbours.iter().find(|(_, state)| state.key == Some(*key)).map(|(peer, _)| *peer)
    }

    /// Who we are.
    pub fn myself(&self) -> Person {
        let (key, here) = (self.me.key, !self.left);
        let name = self.people.shown(&key, &self.me.name);
        let trust = self.people.trust(&key, &self.me.name);
        let registered = self.names.is_registered(&key, &self.me.name);
        Person { key, trust, name, here, direct: true, registered, me: true }
    }

    /// Asserts what must hold between any two inputs. For tests and the simulation.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn check_invariants(&self) {
        self.history.check_invariants();
        self.people.check_invariants();
        self.waiting.check_invariants();
        self.calls.check_invariants();
        assert!(self.heard.len() <= HEARD, "{} own messages counted", self.heard.len());
        for id in self.waiting.pending_ids() {
            assert!(self.history.seen.contains(&id) && self.history.bytes(&id).is_none(), "{id}: waits, and is there");
        }
        for neighbour in self.neighbours.values() {
            neighbour.knows.check_invariants();
            neighbour.sent_us.check_invariants();
            assert!(neighbour.lazy.len() <= flood::LAZY, "{} ids to tell", neighbour.lazy.len());
        }
        self.returning.check_invariants();
        self.relay.check_invariants();
        self.names.check_invariants();
        let relayed = self.neighbours.keys().filter(|key| is_relayed(**key)).count();
        assert!(self.left || relayed >= self.relay.up(), "a link that is up is a neighbour");
        assert!(!self.left || self.neighbours.is_empty(), "neighbours of a room that was left");
    }

    fn check_text(&self, text: &str) -> Result<(), ChatError> {
        let limit = limits::CHAT_TEXT_LENGTH;
        match text.len() {
            _ if self.left => Err(ChatError::Ended),
            0 => Err(ChatError::Empty),
            length if length > limit => Err(ChatError::TooLong { length, limit }),
            _ => Ok(()),
        }
    }

    /// Signs something of ours.
    fn seal(&mut self, now: Instant, body: Body) -> envelope::Unverified {
        let (sequence, time_ms) = (self.me.next_sequence(), self.clock.wall_ms(now));
        let envelope = Envelope { author: self.me.key, sequence, time_ms, body };
        let (id, bytes) = envelope.seal(&self.room, &self.identity);
        envelope::Unverified { envelope, id, bytes }
    }

    fn person(&self, key: PublicKey) -> Person {
        if key == self.me.key {
            return self.myself();
        }
        let mut connected = self.neighbours.iter().filter(|(at, _)| !is_relayed(**at));
        let direct = connected.any(|(_, neighbour)| neighbour.key == Some(key));
        let mut person = self.people.person(key, direct);
        self.judge_by_registration(&mut person);
        person
    }

    /// Sends a frame.
    fn send(&mut self, neighbour: PeerKey, frame: &Frame) {
        self.stats.frames += 1;
        let payload = frame.encode();
        if is_relayed(neighbour) {
            self.send_relayed(neighbour, payload);
        } else {
            self.outputs.push_back(Output::Send { neighbour, payload });
        }
    }

    /// Sends a whole message.
    fn send_message(&mut self, neighbour: PeerKey, id: MessageId, frame: Frame) {
        if let Some(state) = self.neighbours.get_mut(&neighbour) {
            state.knows.insert(id);
            self.stats.sent += 1;
            self.send(neighbour, &frame);
        }
    }

    fn blame_malformed(&mut self, neighbour: PeerKey) {
        self.stats.malformed += 1;
        self.blame(neighbour);
    }

    /// Something came that no honest neighbour sends.
    fn blame(&mut self, neighbour: PeerKey) {
        if self.neighbours.get_mut(&neighbour).is_some_and(|state| state.rates.lies()) {
            self.close_neighbour(neighbour);
        }
    }

    fn close_neighbour(&mut self, neighbour: PeerKey) {
        if is_relayed(neighbour) {
            self.condemn(neighbour);
        } else {
            self.outputs.push_back(Output::Close { neighbour });
        }
    }
}
