//! Rooms in the simulated world: people, the links between them, and liars among them, on one virtual clock.
//!
//! Links have latencies and keep the order of what is sent; one that breaks loses what is on it. For each message it is
//! noted what its author had been shown before, so that the order in which others are shown it can be judged.

use crate::queue::{Moment, Queue};
use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use swarm_proto::chat::{ChatEvent, ChatStats, Identity, MessageId, Output, Room, RoomConfig, craft};
use swarm_proto::id::{InfoHash, PeerKey};

const SECOND: Moment = 1_000_000_000;
const MILLISECOND: Moment = 1_000_000;
/// The room of all these people.
pub const ROOM: InfoHash = InfoHash([3; 20]);
/// The time of day at the beginning, by everybody's clock.
pub const WALL_MS: u64 = 1_790_000_000_000;
/// Keys of one who is a crowd.
const CROWD: u64 = 400;
/// Payloads that a replayer keeps.
const RECORDED: usize = 2_000;

/// What somebody does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manners {
    /// Runs our program.
    Honest,
    /// Says a hundred things a second, all of them signed.
    Floods,
    /// Sends again whatever it has heard, over and over.
    Replays,
    /// Passes on what others said with other words.
    Forges,
    /// As one that floods, under hundreds of keys.
    IsACrowd,
    /// The same, over new connections every two seconds.
    IsACrowdAnew,
}

struct Someone {
    manners: Manners,
    identity: Identity,
    /// Of the honest.
    room: Option<Room>,
    wake: Moment,
    /// What was shown, in order.
    shown: Vec<MessageId>,
    /// What was heard: of liars.
    heard: Vec<Bytes>,
    /// How many messages of a flood it was told to hide.
    hidden: usize,
    sequence: u64,
}

enum Happening {
    Arrive { from: usize, to: usize, generation: u64, payload: Bytes },
    Wake(usize),
    Say(usize, String),
    Cut(usize, usize),
    Link(usize, usize),
    Misbehave(usize),
}

struct Line {
    generation: u64,
    latency: Moment,
    /// When the last thing arrives, by direction.
    last: BTreeMap<usize, Moment>,
}

/// What came of it all.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Messages that honest people said.
    pub said: usize,
    /// Times that an honest person was shown a message of another honest one.
    pub deliveries: usize,
    /// Messages that a person was not shown.
    pub missing: usize,
    /// Messages that a person was shown twice.
    pub twice: usize,
    /// Messages that were shown in front of something that their author had seen.
    pub disorder: usize,
    /// The most messages of liars that an honest person was shown.
    pub lies: usize,
    /// The most of these that a neighbour of somebody who floods was not told to hide again.
    pub unhidden: usize,
    /// What the honest counted, summed up.
    pub stats: ChatStats,
    /// Connections that the honest closed on liars.
    pub closed: usize,
    /// Links that broke.
    pub broken: usize,
}

/// A world of people.
pub struct ChatWorld {
    base: Instant,
    now: Moment,
    queue: Queue<Happening>,
    people: Vec<Someone>,
    lines: BTreeMap<(usize, usize), Line>,
    generation: u64,
    random: SmallRng,
    /// Who said what, and what was shown to it before.
    said: HashMap<MessageId, (usize, Vec<MessageId>)>,
    lies: BTreeSet<MessageId>,
    closed: usize,
    broken: usize,
}

impl ChatWorld {
    /// A world of honest people without links.
    pub fn new(people: usize, seed: u64) -> Self {
        let mut world = Self {
            base: Instant::now(),
            now: 0,
            queue: Queue::new(),
            people: Vec::new(),
            lines: BTreeMap::new(),
            generation: 0,
            random: SmallRng::seed_from_u64(seed),
            said: HashMap::new(),
            lies: BTreeSet::new(),
            closed: 0,
            broken: 0,
        };
        for _ in 0..people {
            world.enter(Manners::Honest);
        }
        world
    }

    /// Somebody comes.
    pub fn enter(&mut self, manners: Manners) -> usize {
        let at = self.people.len();
        let identity = Identity::from_secret(self.random.random());
        let config = RoomConfig {
            room: ROOM,
            identity: identity.clone(),
            name: format!("person {at}"),
            book: Vec::new(),
            look_up_names: true,
            wall_ms: WALL_MS + self.now / MILLISECOND,
        };
        let honest = manners == Manners::Honest;
        let room = honest.then(|| Room::new(config, self.random.random(), self.instant()).expect("a good name"));
        if !honest {
            self.queue.push(self.now + 10 * SECOND, Happening::Misbehave(at));
        }
        let wake = Moment::MAX;
        self.people.push(Someone {
            manners,
            identity,
            room,
            wake,
            shown: vec![],
            heard: vec![],
            hidden: 0,
            sequence: WALL_MS,
        });
        self.carry_out(at);
        at
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    /// Two people are connected from now on.
    pub fn link(&mut self, one: usize, two: usize) {
        let pair = (one.min(two), one.max(two));
        if one == two || self.lines.contains_key(&pair) {
            return;
        }
        self.generation += 1;
        let latency = self.random.random_range(2..60) * MILLISECOND;
        self.lines.insert(pair, Line { generation: self.generation, latency, last: BTreeMap::new() });
        for (at, other) in [(one, two), (two, one)] {
            let now = self.instant();
            if let Some(room) = &mut self.people[at].room {
                room.handle_connected_from(now, PeerKey(other as u64), address(other));
            }
            self.carry_out(at);
        }
    }

    /// They are not any more; what is on its way between them is lost.
    pub fn cut(&mut self, one: usize, two: usize) {
        if self.lines.remove(&(one.min(two), one.max(two))).is_none() {
            return;
        }
        self.broken += 1;
        for (at, other) in [(one, two), (two, one)] {
            let now = self.instant();
            if let Some(room) = &mut self.people[at].room {
                room.handle_closed(now, PeerKey(other as u64));
            }
            self.carry_out(at);
        }
    }

    /// A connected graph in which everybody has about so many neighbours.
    pub fn link_at_random(&mut self, neighbours: usize) {
        let people = self.people.len();
        for at in 1..people {
            let other = self.random.random_range(0..at);
            self.link(at, other);
        }
        while self.lines.len() * 2 < people * neighbours {
            let (one, two) = (self.random.random_range(0..people), self.random.random_range(0..people));
            self.link(one, two);
        }
    }

    /// Everybody stands in a line.
    pub fn link_in_a_line(&mut self) {
        (1..self.people.len()).for_each(|at| self.link(at - 1, at));
    }

    /// The pairs that are connected.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        self.lines.keys().copied().collect()
    }

    /// Somebody will say something, in so many milliseconds.
    pub fn say_in(&mut self, ms: u64, at: usize, text: &str) {
        self.queue.push(self.now + ms * MILLISECOND, Happening::Say(at, text.to_owned()));
    }

    /// Two people will be disconnected, and connected again later, in so many milliseconds each.
    pub fn break_in(&mut self, ms: u64, again_ms: u64, (one, two): (usize, usize)) {
        self.queue.push(self.now + ms * MILLISECOND, Happening::Cut(one, two));
        self.queue.push(self.now + again_ms * MILLISECOND, Happening::Link(one, two));
    }

    /// Lets so many milliseconds pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms * MILLISECOND;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            let (at, happening) = self.queue.pop().expect("the next");
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.instant();
        match happening {
            Happening::Arrive { from, to, generation, payload } => {
                let pair = (from.min(to), from.max(to));
                if self.lines.get(&pair).is_some_and(|line| line.generation == generation) {
                    self.arrive(from, to, payload);
                }
            }
            Happening::Wake(at) => {
                self.people[at].wake = Moment::MAX;
                if let Some(room) = &mut self.people[at].room {
                    room.handle_timeout(now);
                }
                self.carry_out(at);
            }
            Happening::Say(at, text) => {
                let before = self.people[at].shown.clone();
                let room = self.people[at].room.as_mut().expect("an honest one");
                let id = room.say(now, &text).expect("within the rate");
                self.said.insert(id, (at, before));
                self.carry_out(at);
            }
            Happening::Cut(one, two) => self.cut(one, two),
            Happening::Link(one, two) => self.link(one, two),
            Happening::Misbehave(at) => self.misbehave(at),
        }
    }

    fn arrive(&mut self, from: usize, to: usize, payload: Bytes) {
        let now = self.instant();
        let someone = &mut self.people[to];
        match &mut someone.room {
            Some(room) => {
                room.handle_payload(now, PeerKey(from as u64), &payload);
                room.check_invariants();
            }
            None if someone.heard.len() < RECORDED && matches!(payload.first(), Some(1 | 2 | 6)) => {
                someone.heard.push(payload);
            }
            None => {}
        }
        self.carry_out(to);
    }

    fn send(&mut self, from: usize, to: usize, payload: Bytes) {
        let Some(line) = self.lines.get_mut(&(from.min(to), from.max(to))) else { return };
        let at = (self.now + line.latency).max(line.last.get(&to).copied().unwrap_or(0));
        line.last.insert(to, at);
        self.queue.push(at, Happening::Arrive { from, to, generation: line.generation, payload });
    }

    /// Does everything that a room has to say now.
    fn carry_out(&mut self, at: usize) {
        let mut cuts = Vec::new();
        while let Some(output) = self.people[at].room.as_mut().and_then(Room::poll_output) {
            match output {
                Output::Send { neighbour, payload } => self.send(at, neighbour.0 as usize, payload),
                Output::Close { neighbour } => cuts.push(neighbour.0 as usize),
                Output::Relay { .. } | Output::LookUp { .. } | Output::Reach { .. } => {}
                Output::Remember(_) | Output::Forget(_) => {}
            }
        }
        while let Some(event) = self.people[at].room.as_mut().and_then(Room::poll_event) {
            match event {
                ChatEvent::Message(message) => self.people[at].shown.push(message.id),
                ChatEvent::Muted { hidden, .. } => self.people[at].hidden += hidden as usize,
                _ => {}
            }
        }
        let wake = self.people[at].room.as_ref().and_then(Room::poll_timeout);
        if let Some(wake) = wake {
            let due = u64::try_from(wake.saturating_duration_since(self.base).as_nanos()).expect("a short run");
            let due = due.max(self.now + 1);
            if due < self.people[at].wake {
                self.people[at].wake = due;
                self.queue.push(due, Happening::Wake(at));
            }
        }
        for other in cuts {
            assert_ne!(self.people[other].manners, Manners::Honest, "an honest neighbour is taken for a liar");
            self.closed += 1;
            self.cut(at, other);
            let again = self.random.random_range(1_000..5_000) * MILLISECOND;
            self.queue.push(self.now + again, Happening::Link(at, other));
        }
    }

    fn neighbours(&self, at: usize) -> Vec<usize> {
        let pairs = self.lines.keys().filter(|(one, two)| *one == at || *two == at);
        pairs.map(|(one, two)| if *one == at { *two } else { *one }).collect()
    }

    /// What a liar does ten times a second.
    fn misbehave(&mut self, at: usize) {
        let neighbours = self.neighbours(at);
        let payloads: Vec<Bytes> = match self.people[at].manners {
            Manners::Honest => Vec::new(),
            Manners::Floods => (0..10).map(|_| self.spam(at)).collect(),
            Manners::IsACrowd => (0..10).map(|_| self.crowd(at)).collect(),
            Manners::IsACrowdAnew => {
                if self.people[at].sequence % 200 == WALL_MS % 200 {
                    neighbours.iter().for_each(|neighbour| self.cut(at, *neighbour));
                    neighbours.iter().for_each(|neighbour| self.link(at, *neighbour));
                }
                (0..10).map(|_| self.crowd(at)).collect()
            }
            Manners::Replays => (0..20).filter_map(|_| self.heard(at)).collect(),
            Manners::Forges => (0..2)
                .filter_map(|_| {
                    let payload = self.heard(at)?;
                    Some(self.forge(&payload))
                })
                .collect(),
        };
        for neighbour in neighbours {
            payloads.iter().for_each(|payload| self.send(at, neighbour, payload.clone()));
        }
        self.queue.push(self.now + SECOND / 10, Happening::Misbehave(at));
    }

    fn spam(&mut self, at: usize) -> Bytes {
        let identity = self.people[at].identity.clone();
        self.spam_of(at, &identity)
    }

    /// The same, of another key each time.
    fn crowd(&mut self, at: usize) -> Bytes {
        let mut secret = [1; 32];
        secret[..8].copy_from_slice(&(self.people[at].sequence % CROWD).to_be_bytes());
        self.spam_of(at, &Identity::from_secret(secret))
    }

    fn spam_of(&mut self, at: usize, identity: &Identity) -> Bytes {
        let time_ms = WALL_MS + self.now / MILLISECOND;
        let someone = &mut self.people[at];
        someone.sequence += 1;
        let head = craft::Head { room: ROOM, sequence: someone.sequence, time_ms };
        let (id, message) = craft::say(&head, identity, &[], "spam", &format!("buy {}", someone.sequence));
        self.lies.insert(id);
        craft::push(32, message)
    }

    /// Something that was heard, with its hops as new.
    fn heard(&mut self, at: usize) -> Option<Bytes> {
        let heard = &self.people[at].heard;
        let payload = heard.get(self.random.random_range(0..heard.len().max(1)))?;
        let message = payload.slice(if payload.first() == Some(&2) { 1.. } else { 2.. });
        Some(if self.random.random() { craft::push(32, message) } else { craft::past(message) })
    }

    /// Other words, another author, another number, or another signature.
    fn forge(&mut self, payload: &Bytes) -> Bytes {
        let mut bytes = payload.to_vec();
        let at = self.random.random_range(4..bytes.len());
        bytes[at] ^= 1 << self.random.random_range(0..8);
        bytes.into()
    }

    /// What the honest have sent each other so far: whole messages.
    pub fn sent(&self) -> u64 {
        self.people.iter().filter_map(|someone| someone.room.as_ref()).map(|room| room.stats().sent).sum()
    }

    /// Everybody who runs our program.
    fn honest(&self) -> impl Iterator<Item = (usize, &Someone)> {
        self.people.iter().enumerate().filter(|(_, someone)| someone.manners == Manners::Honest)
    }

    /// What came of it.
    pub fn outcome(&self) -> Outcome {
        let (said, closed, broken) = (self.said.len(), self.closed, self.broken);
        let mut outcome = Outcome { said, closed, broken, ..Outcome::default() };
        for (at, someone) in self.honest() {
            let mut places = HashMap::new();
            for (place, id) in someone.shown.iter().enumerate() {
                outcome.twice += usize::from(places.insert(*id, place).is_some());
            }
            for (id, (author, before)) in &self.said {
                let Some(place) = places.get(id) else {
                    outcome.missing += 1;
                    continue;
                };
                outcome.deliveries += usize::from(*author != at);
                let late = |seen: &&MessageId| places.get(*seen).is_none_or(|earlier| earlier > place);
                outcome.disorder +=
                    usize::from(before.iter().filter(|id| self.said.contains_key(id)).any(|it| late(&it)));
            }
            let lies = someone.shown.iter().filter(|id| !self.said.contains_key(id)).count();
            outcome.lies = outcome.lies.max(lies);
            if self.neighbours(at).iter().any(|other| self.people[*other].manners == Manners::Floods) {
                outcome.unhidden = outcome.unhidden.max(lies.saturating_sub(someone.hidden));
            }
            add(&mut outcome.stats, &someone.room.as_ref().expect("an honest one").stats());
        }
        outcome
    }
}

/// Where somebody's connections come from.
fn address(at: usize) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(at).expect("a small world")).into()
}

fn add(sum: &mut ChatStats, more: &ChatStats) {
    sum.delivered += more.delivered;
    sum.gaps += more.gaps;
    sum.duplicates += more.duplicates;
    sum.replayed += more.replayed;
    sum.forged += more.forged;
    sum.malformed += more.malformed;
    sum.rate_limited += more.rate_limited;
    sum.unasked += more.unasked;
    sum.muted += more.muted;
    sum.sent += more.sent;
    sum.frames += more.frames;
}
