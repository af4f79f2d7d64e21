//! Some rooms, the links between them, and a clock.

use super::super::*;
use crate::id::{InfoHash, PeerKey};
use ::bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

pub(super) const ROOM: InfoHash = InfoHash([7; 20]);
pub(super) const WALL_MS: u64 = 1_790_000_000_000;

pub(super) type Filter = Box<dyn FnMut(usize, usize, &Bytes) -> bool>;

/// What a tracker does with a message; `None` if it takes it, and loses it.
pub(super) type Tracker = Box<dyn FnMut(usize, usize, &Bytes) -> Option<RelayOutcome>>;

pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) rooms: Vec<Room>,
    pub(super) links: BTreeSet<(usize, usize)>,
    pub(super) events: Vec<Vec<ChatEvent>>,
    pub(super) remembered: Vec<Vec<Output>>,
    /// Links that a room has closed.
    pub(super) closed: Vec<(usize, usize)>,
    pub(super) queue: VecDeque<(usize, usize, Bytes)>,
    /// What is lost on its way: `false` loses it.
    pub(super) filter: Option<Filter>,
    /// What the tracker is to hand on.
    pub(super) relayed: VecDeque<(usize, RelayPeer, Bytes)>,
    /// What it does, if that is not to hand everything on.
    pub(super) tracker: Option<Tracker>,
    /// Packets that the tracker was given.
    pub(super) packets: usize,
}

pub(super) fn identity(at: usize) -> Identity {
    Identity::from_secret([u8::try_from(at + 1).unwrap(); 32])
}

pub(super) fn key(at: usize) -> PublicKey {
    identity(at).public()
}

pub(super) fn peer(at: usize) -> PeerKey {
    PeerKey(at as u64)
}

/// Somebody as the tracker tells of it.
pub(super) fn at_tracker(at: usize) -> RelayPeer {
    let port = u16::try_from(at + 1).unwrap();
    RelayPeer { tracker: "tracker:1".into(), address: ([10, 0, 0, 1], port).into() }
}

pub(super) fn config(at: usize, name: &str) -> RoomConfig {
    RoomConfig {
        room: ROOM,
        identity: identity(at),
        name: name.into(),
        book: Vec::new(),
        look_up_names: true,
        wall_ms: WALL_MS,
    }
}

impl Bench {
    /// So many people, called `p0`, `p1`, …, without links.
    pub(super) fn new(people: usize) -> Self {
        let now = Instant::now();
        let mut bench = Self {
            now,
            rooms: Vec::new(),
            links: BTreeSet::new(),
            events: Vec::new(),
            remembered: Vec::new(),
            closed: Vec::new(),
            queue: VecDeque::new(),
            filter: None,
            relayed: VecDeque::new(),
            tracker: None,
            packets: 0,
        };
        for at in 0..people {
            bench.enter(config(at, &format!("p{at}")));
        }
        bench
    }

    /// People who stand in a line, and all know each other.
    pub(super) fn line(people: usize) -> Self {
        let mut bench = Self::new(people);
        for at in 1..people {
            bench.link(at - 1, at);
        }
        bench.run(5);
        bench.forget_events();
        bench
    }

    pub(super) fn enter(&mut self, config: RoomConfig) -> usize {
        let at = self.rooms.len();
        let seed = [u8::try_from(at).unwrap(); 32];
        self.rooms.push(Room::new(config, seed, self.now).expect("a good name"));
        self.events.push(Vec::new());
        self.remembered.push(Vec::new());
        at
    }

    pub(super) fn enter_as(&mut self, at: usize, name: &str) -> usize {
        self.enter(config(at, name))
    }

    pub(super) fn link(&mut self, one: usize, two: usize) {
        self.links.insert((one, two));
        self.links.insert((two, one));
        self.rooms[one].handle_connected(self.now, peer(two));
        self.rooms[two].handle_connected(self.now, peer(one));
        self.settle();
    }

    pub(super) fn cut(&mut self, one: usize, two: usize) {
        self.links.remove(&(one, two));
        self.links.remove(&(two, one));
        self.queue.retain(|(from, to, _)| !((*from, *to) == (one, two) || (*from, *to) == (two, one)));
        self.rooms[one].handle_closed(self.now, peer(two));
        self.rooms[two].handle_closed(self.now, peer(one));
        self.settle();
    }

    /// Takes out what the rooms say, without delivering it.
    pub(super) fn collect(&mut self) {
        for (at, room) in self.rooms.iter_mut().enumerate() {
            while let Some(output) = room.poll_output() {
                match output {
                    Output::Send { neighbour, payload } => {
                        let to = usize::try_from(neighbour.0).unwrap();
                        if self.links.contains(&(at, to)) {
                            self.queue.push_back((at, to, payload));
                        }
                    }
                    Output::Relay { to, data } => self.relayed.push_back((at, to, data)),
                    Output::Close { neighbour } => self.closed.push((at, usize::try_from(neighbour.0).unwrap())),
                    other => self.remembered[at].push(other),
                }
            }
            while let Some(event) = room.poll_event() {
                self.events[at].push(event);
            }
            room.check_invariants();
        }
    }

    /// Delivers everything that is on its way, in order, and what comes of it.
    pub(super) fn settle(&mut self) {
        self.collect();
        let mut delivered = 0;
        loop {
            if let Some((from, to, payload)) = self.queue.pop_front() {
                if self.filter.as_mut().is_none_or(|filter| filter(from, to, &payload)) {
                    self.rooms[to].handle_payload(self.now, peer(from), &payload);
                }
            } else if let Some((from, to, data)) = self.relayed.pop_front() {
                self.hand_on(from, &to, &data);
            } else {
                break;
            }
            self.collect();
            delivered += 1;
            assert!(delivered < 100_000, "messages go round for ever");
        }
    }

    /// The tracker hands something on.
    fn hand_on(&mut self, from: usize, to: &RelayPeer, data: &Bytes) {
        assert!((1..=crate::limits::NATIVE_RELAYED_LENGTH).contains(&data.len()));
        self.packets += 1;
        let at = usize::from(to.address.port()) - 1;
        let answer = self.tracker.as_mut().map_or(Some(RelayOutcome::HandedOn), |tracker| tracker(from, at, data));
        if answer == Some(RelayOutcome::HandedOn) {
            self.rooms[at].handle_relayed(self.now, &at_tracker(from), data);
        }
        self.rooms[from].handle_relay_done(self.now, answer.unwrap_or(RelayOutcome::HandedOn));
    }

    /// The tracker tells each of these of the others.
    pub(super) fn announce(&mut self, people: &[usize]) {
        for at in people {
            let others = people.iter().filter(|other| *other != at).map(|at| at_tracker(*at).address);
            self.rooms[*at].handle_peers(self.now, &"tracker:1".into(), &others.collect::<Vec<_>>());
        }
    }

    /// Lets so many seconds pass.
    pub(super) fn run(&mut self, seconds: u64) {
        self.run_ms(seconds * 1_000);
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        self.settle();
        let mut steps = 0;
        while let Some(next) = self.rooms.iter().filter_map(Room::poll_timeout).min().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            for room in &mut self.rooms {
                if room.poll_timeout().is_some_and(|due| due <= self.now) {
                    room.handle_timeout(self.now);
                }
            }
            self.settle();
            steps += 1;
            assert!(steps < 100_000, "a clock that does not go on");
        }
        self.now = end;
    }

    pub(super) fn say(&mut self, at: usize, text: &str) -> MessageId {
        self.rooms[at].say(self.now, text).expect("said")
    }

    /// Texts as somebody saw them, in order.
    pub(super) fn texts(&self, at: usize) -> Vec<&str> {
        let messages = self.events[at].iter().filter_map(|event| match event {
            ChatEvent::Message(message) => Some(message.text.as_str()),
            _ => None,
        });
        messages.collect()
    }

    pub(super) fn forget_events(&mut self) {
        self.events.iter_mut().for_each(Vec::clear);
    }

    pub(super) fn names(&self, at: usize) -> Vec<String> {
        self.rooms[at].people().into_iter().filter(|person| person.here).map(|person| person.name).collect()
    }
}
