//! What a room takes in the worst case: everything that is bounded filled to its bound, with the longest that may be said.
//!
//! One test alone in its process, because it counts what the process has allocated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail")]

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use std::time::{Duration, Instant};
use swarm_proto::chat::{ChatEvent, Identity, MessageId, Offer, Output, PublicKey, Room, RoomConfig, craft};
use swarm_proto::id::{InfoHash, PeerKey};
use swarm_proto::limits;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const ROOM: InfoHash = InfoHash([7; 20]);
const WALL_MS: u64 = 1_790_000_000_000;
/// Neighbours who only send; those who call have numbers behind them.
const NEIGHBOURS: u64 = 50;
/// Those who make up the rest of the calls.
const CALLERS: u8 = 11;
/// What a room may take, in bytes. Twice as much as it should: vectors grow by doubling.
const MOST: usize = 48 << 20;

/// A room, and those who fill it.
struct Crowd {
    now: Instant,
    victim: Room,
    sent: u64,
    callers: Vec<Room>,
    /// Long messages that each of them may still send.
    left: Vec<usize>,
}

fn puppet(at: u64) -> Identity {
    let mut secret = [5; 32];
    secret[..8].copy_from_slice(&at.to_be_bytes());
    Identity::from_secret(secret)
}

fn room(at: u64, now: Instant) -> Room {
    let config = RoomConfig {
        room: ROOM,
        identity: puppet(at),
        name: format!("{at}"),
        book: vec![],
        look_up_names: true,
        wall_ms: WALL_MS,
    };
    let seed = std::array::from_fn(|place| at.to_be_bytes()[place % 8]);
    Room::new(config, seed, now).expect("a good name")
}

fn head(sequence: u64) -> craft::Head {
    craft::Head { room: ROOM, sequence, time_ms: WALL_MS }
}

fn made_up(count: usize, of: u64) -> Vec<MessageId> {
    let id = |at: usize| {
        let mut id = [0xEE; 16];
        id[..8].copy_from_slice(&of.to_be_bytes());
        id[8..].copy_from_slice(&(at as u64).to_be_bytes());
        MessageId(id)
    };
    (0..count).map(id).collect()
}

impl Crowd {
    fn new() -> Self {
        let now = Instant::now();
        let mut victim = room(1_000_000, now);
        (0..NEIGHBOURS).for_each(|at| victim.handle_connected(now, PeerKey(at)));
        let mut crowd =
            Self { now, victim, sent: 0, callers: Vec::new(), left: vec![usize::MAX; usize::from(CALLERS)] };
        crowd.drain();
        crowd
    }

    fn drain(&mut self) -> Vec<(PeerKey, Bytes)> {
        while self.victim.poll_event().is_some() {}
        let outputs = std::iter::from_fn(|| self.victim.poll_output());
        let sends = outputs.filter_map(|it| match it {
            Output::Send { neighbour, payload } => Some((neighbour, payload)),
            _ => None,
        });
        sends.collect()
    }

    /// One neighbour after the other sends something.
    fn send(&mut self, payload: &Bytes) {
        self.sent += 1;
        self.victim.handle_payload(self.now, PeerKey(self.sent % NEIGHBOURS), payload);
        self.drain();
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// Everybody there is room for, each with the longest name, which nobody else has.
    fn people(&mut self) {
        for at in 0..limits::CHAT_PEOPLE as u64 * 3 {
            let name = format!("{at:0>64}");
            self.send(&craft::push(9, craft::presence(&head(1), &puppet(at), true, &name).1));
            self.pass(20);
        }
    }

    /// The longest messages, more than are kept and remembered; of so many authors that none is too fast.
    fn history(&mut self) {
        for at in 0..limits::CHAT_SEEN as u64 + 600 {
            let long = at % 8 == 0;
            let text = if long { "ü".repeat(limits::CHAT_TEXT_LENGTH / 2) } else { "x".repeat(2_900) };
            let author = puppet(limits::CHAT_PEOPLE as u64 * 2 + at % 2_000);
            let name = "n".repeat(limits::CHAT_NAME_LENGTH);
            self.send(&craft::push(9, craft::say(&head(at + 10), &author, &[], &name, &text).1));
            self.pass(20);
        }
        assert_eq!(self.victim.messages().len(), limits::CHAT_HISTORY);
    }

    /// As many direct messages between others as are remembered.
    fn directs(&mut self) {
        for at in 0..limits::CHAT_SEEN as u64 + 100 {
            let author = puppet(limits::CHAT_PEOPLE as u64 * 2 + at % 2_000);
            let message =
                craft::direct(&head(at + 20_000), &author, PublicKey([3; 32]), Bytes::from_static(&[5; 3_900]));
            self.send(&craft::route(9, message.1));
            self.pass(10);
        }
    }

    /// Messages that wait for others, which never were; and ids of more of them.
    fn pending(&mut self) {
        for at in 0..limits::CHAT_PENDING as u64 {
            let author = puppet(limits::CHAT_PEOPLE as u64 * 2 + at % 20);
            let parents = made_up(limits::CHAT_PARENTS, at);
            let text = "y".repeat(limits::CHAT_TEXT_LENGTH);
            self.send(&craft::push(9, craft::say(&head(at + 50_000), &author, &parents, "n", &text).1));
        }
        for at in 0..500 {
            self.send(&craft::know(made_up(limits::CHAT_FRAME_IDS, 1_000_000 + at)));
            self.send(&craft::given(made_up(limits::CHAT_HAVE_IDS, 2_000_000 + at)));
        }
    }

    /// Offers whose metainfo is as long as may be, of which all but the end is here.
    fn calls(&mut self) {
        for at in 0..u64::from(CALLERS) {
            let mut caller = room(2_000_000 + at, self.now);
            caller.handle_connected(self.now, PeerKey(0));
            self.victim.handle_connected(self.now, PeerKey(NEIGHBOURS + at));
            self.callers.push(caller);
        }
        self.talk(3, |_| {});
        for caller in &mut self.callers {
            for _ in 0..3 {
                let offer = Offer {
                    info_hash: InfoHash([1; 20]),
                    name: "x".repeat(255),
                    total_length: 1,
                    files: 1,
                    port: 1,
                    addresses: Vec::new(),
                };
                let metainfo = Bytes::from(vec![7; limits::CHAT_METAINFO_LENGTH]);
                caller.offer(self.now, puppet(1_000_000).public(), offer, metainfo).expect("offered");
            }
        }
        let mut asked = Vec::new();
        self.talk(2, |event| {
            if let ChatEvent::OfferReceived { id, .. } = event {
                asked.push(*id);
            }
        });
        assert_eq!(asked.len(), limits::CHAT_CALLS);
        asked.iter().for_each(|id| self.victim.accept(self.now, *id).expect("open"));
        // All but the end of each metainfo.
        self.left.fill(3 * 80);
        self.talk(16, |_| {});
        assert!(self.left.iter().all(|left| *left < 60), "{:?}", self.left);
    }

    /// Everybody who calls and the victim hear each other for so many seconds.
    fn talk(&mut self, seconds: u32, mut see: impl FnMut(&ChatEvent)) {
        for _ in 0..seconds {
            self.pass(1_000);
            self.victim.handle_timeout(self.now);
            self.callers.iter_mut().for_each(|caller| caller.handle_timeout(self.now));
            let mut quiet = false;
            while !quiet {
                quiet = true;
                while let Some(event) = self.victim.poll_event() {
                    see(&event);
                }
                for (to, payload) in self.drain() {
                    let at = usize::try_from(to.0.saturating_sub(NEIGHBOURS)).unwrap();
                    if to.0 >= NEIGHBOURS {
                        self.callers[at].handle_payload(self.now, PeerKey(0), &payload);
                    }
                }
                for ((at, caller), left) in (NEIGHBOURS..).zip(&mut self.callers).zip(&mut self.left) {
                    while caller.poll_event().is_some() {}
                    while let Some(output) = caller.poll_output() {
                        let Output::Send { payload, .. } = output else { continue };
                        let is_long = payload.len() > 2_900;
                        if !is_long || *left > 0 {
                            *left -= usize::from(is_long);
                            quiet = false;
                            self.victim.handle_payload(self.now, PeerKey(at), &payload);
                        }
                    }
                }
                while let Some(event) = self.victim.poll_event() {
                    see(&event);
                }
            }
        }
    }
}

#[test]
fn a_room_that_is_filled_to_all_its_bounds_takes_bounded_memory() {
    let before = ALLOCATED.current_usage();
    let mut crowd = Crowd::new();
    let mut last = ALLOCATED.current_usage();
    let mut told = |what: &str| {
        let now = ALLOCATED.current_usage();
        println!("{what}: {} KiB, {} KiB in all", now.saturating_sub(last) / 1_024, (now - before) / 1_024);
        last = now;
    };
    told("50 neighbours");
    crowd.people();
    told("people");
    crowd.history();
    told("history and what was seen");
    crowd.directs();
    told("direct messages that were seen");
    crowd.calls();
    let callers = std::mem::take(&mut crowd.callers);
    drop(callers);
    told("offers that are under way");
    crowd.pending();
    told("what waits and is wanted");
    let stats = crowd.victim.stats();
    crowd.victim.check_invariants();
    ALLOCATED.reset_peak_usage();
    let all = ALLOCATED.current_usage() - before;
    println!("{} MiB in all; {stats:?}", all >> 20);
    assert!((8 << 20..MOST).contains(&all), "{all} bytes");
    // One `have` brings all of it at once, and that is the most that a room ever hands over.
    crowd.victim.handle_payload(crowd.now, PeerKey(1), &craft::have(u32::MAX, Vec::new()));
    let more = ALLOCATED.peak_usage() - before - all;
    println!("{} KiB more to answer somebody who has nothing", more >> 10);
    assert!(more < 8 << 20, "{more} bytes to answer");
}
