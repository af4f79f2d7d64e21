//! What neighbours in a chat may send: frames and messages as bytes, and two rooms between which somebody drops, bends,
//! repeats and invents, while a tracker and the shells of both say what they like.

use crate::input::Input;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_proto::chat::{
    ChatEvent, DeliveryState, Identity, MessageId, NameOutcome, Offer, Output, PublicKey, Reach, RelayOutcome,
    RelayPeer, RequestId, Room, RoomConfig, TransferState, craft,
};
use swarm_proto::id::{InfoHash, PeerKey};
use swarm_proto::limits;
use swarm_proto::metainfo::{Content, Metainfo, MetainfoBuilder};
use swarm_proto::path::is_deceptive;

const ROOM: InfoHash = InfoHash([6; 20]);
const WALL_MS: u64 = 1_790_000_000_000;
/// Payloads on their way that are kept.
const AIR: usize = 64;
/// The neighbour that is the input itself.
const STRANGER: PeerKey = PeerKey(9);
/// What one input can make a room say at once: its whole history and everybody's presence, to each neighbour.
const MOST_OUTPUTS: usize = 20_000;

/// Each payload is read to the last byte or not at all, and means the same when it is written again; nothing that was not
/// signed is genuine.
pub fn chat_frames(bytes: &[u8]) {
    let payload = Bytes::copy_from_slice(bytes);
    let Some(understood) = craft::understand(&ROOM, &payload) else { return };
    assert_eq!(understood.payload, payload);
    let Some(message) = understood.message else { return };
    assert!(payload.len() <= limits::CHAT_MESSAGE_LENGTH + 2);
    assert!(payload[..payload.len() - 64].ends_with(&message.content), "content with two encodings");
    assert!(!message.genuine, "nobody here has a key");
    if let Some(direct) = message.direct {
        assert!(message.content.ends_with(&direct));
    }
}

fn identity(at: usize) -> Identity {
    Identity::from_secret([u8::try_from(at + 1).expect("a few people"); 32])
}

/// Something to hand over, in two messages.
fn files() -> Metainfo {
    let content = Content::SingleFile { length: 200 * 16_384 };
    let builder = MetainfoBuilder { piece_length: 16_384, ..MetainfoBuilder::new("film", content) };
    Metainfo::parse(builder.build(&[[7; 20]; 200]).expect("a good torrent")).expect("what we built")
}

/// Where a tracker says that somebody is; the stranger is the third.
fn address(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1_000 + u16::try_from(at).expect("a few people")))
}

struct World {
    now: Instant,
    rooms: [Room; 2],
    /// To whom, from whom, what.
    air: Vec<(usize, Bytes)>,
    ids: Vec<MessageId>,
    requests: [Vec<RequestId>; 2],
    shown: [BTreeSet<MessageId>; 2],
    told: BTreeMap<(usize, RequestId), u64>,
    sequence: u64,
    /// What is offered: its metainfo.
    files: Metainfo,
    /// Offers whose metainfo has come, and those that are over.
    fetching: [Vec<RequestId>; 2],
    over: BTreeSet<(usize, RequestId)>,
    stuck: BTreeSet<(usize, RequestId)>,
    tracker: Arc<str>,
    /// To whom, and what: handed to the tracker.
    packets: Vec<(usize, Bytes)>,
}

/// Two rooms and a stranger: whatever comes to them in whatever order, each message is shown once and harmless, direct ones
/// in order, and all that is kept stays within its bounds.
pub fn chat_room(bytes: &[u8]) {
    let mut input = Input(bytes);
    let now = Instant::now();
    let room = |at: usize| {
        let name = format!("p{at}");
        let config = RoomConfig {
            room: ROOM,
            identity: identity(at),
            name,
            book: Vec::new(),
            look_up_names: true,
            wall_ms: WALL_MS,
        };
        Room::new(config, [u8::try_from(at).expect("two"); 32], now).expect("a good name")
    };
    let mut world = World {
        now,
        rooms: [room(0), room(1)],
        air: Vec::new(),
        ids: Vec::new(),
        requests: Default::default(),
        shown: Default::default(),
        told: BTreeMap::new(),
        sequence: 0,
        files: files(),
        fetching: Default::default(),
        over: BTreeSet::new(),
        stuck: BTreeSet::new(),
        tracker: "tracker:1".into(),
        packets: Vec::new(),
    };
    for at in 0..2 {
        world.rooms[at].handle_connected(now, PeerKey(1 - at as u64));
        world.rooms[at].handle_connected_from(now, STRANGER, Ipv4Addr::LOCALHOST.into());
        world.collect(at);
    }
    let mut steps = 0;
    while !input.is_empty() && steps < 400 {
        world.step(&mut input);
        steps += 1;
    }
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        let at = input.below(2);
        let now = self.now;
        match input.below(20) {
            0..=4 => self.deliver(input),
            5 => {
                self.now += Duration::from_millis(u64::from(input.u16()) * 4);
                for room in &mut self.rooms {
                    assert!(room.poll_timeout().is_some());
                    room.handle_timeout(self.now);
                }
            }
            6 => self.say(at, input),
            7 => {
                let _ = self.rooms[at].call(now, identity(1 - at).public());
            }
            8 => {
                self.offer(at);
            }
            9 => {
                if let Some(id) = input.take(&mut self.requests[at]) {
                    let _ = if input.flag() {
                        let reach = Reach { port: input.u16(), addresses: vec![address(at).ip()] };
                        self.rooms[at].accept(now, id).and_then(|()| self.rooms[at].tell_reach(now, id, reach))
                    } else {
                        self.rooms[at].decline(now, id)
                    };
                }
            }
            10 => {
                if let Some((id, _)) = self.open(input) {
                    let _ = if input.flag() {
                        self.rooms[at].hang_up(now, id)
                    } else {
                        self.rooms[at].tell(now, id, "psst\u{202e}").map(drop)
                    };
                }
            }
            11 => self.relink(at, input),
            12 => {
                let key = identity(input.below(4)).public();
                let _ = match input.below(3) {
                    0 => self.rooms[at].block(now, key),
                    1 => self.rooms[at].unblock(key),
                    _ => self.rooms[at].trust(key),
                };
            }
            13 => self.rooms[at].handle_payload(now, STRANGER, &Bytes::copy_from_slice(input.short())),
            16 => self.report(at, input),
            17 => self.say_who_is_there(at, input),
            18 => self.hand_on(at, input),
            19 => self.say_whose_name(at, input),
            _ => {
                let payload = self.invent(input);
                self.rooms[at].handle_payload(now, STRANGER, &payload);
            }
        }
        self.collect(0);
        self.collect(1);
    }

    /// Something on its way arrives: as it is, twice, bent, or at the stranger's hands.
    fn deliver(&mut self, input: &mut Input<'_>) {
        let index = if input.flag() { 0 } else { input.below(self.air.len()) };
        let how = input.byte();
        if index >= self.air.len() {
            return;
        }
        let (to, payload) = if how & 3 == 1 { self.air[index].clone() } else { self.air.remove(index) };
        let from = if how & 4 == 0 { PeerKey(1 - to as u64) } else { STRANGER };
        let mut bytes = payload.to_vec();
        if how & 0x30 == 0x10 && !bytes.is_empty() {
            let place = usize::from(input.u16()) % bytes.len();
            bytes[place] ^= 1 << (how >> 6);
        }
        if how & 0x38 != 0x08 {
            self.rooms[to].handle_payload(self.now, from, &bytes.into());
        }
    }

    fn say(&mut self, at: usize, input: &mut Input<'_>) {
        let text = String::from_utf8_lossy(input.short()).into_owned();
        if let Ok(id) = self.rooms[at].say(self.now, &text) {
            self.ids.push(id);
        }
    }

    fn offer(&mut self, at: usize) -> Option<RequestId> {
        let (info_hash, total_length) = (self.files.info_hash(), self.files.layout().geometry().total_length());
        let offer = Offer { info_hash, name: "film".into(), total_length, files: 1, port: 1, addresses: Vec::new() };
        let to = identity(1 - at).public();
        self.rooms[at].offer(self.now, to, offer, self.files.bytes().clone()).ok()
    }

    /// The shell says how far it is, also of what is over, and also what cannot be; or one of the two hangs up.
    fn report(&mut self, at: usize, input: &mut Input<'_>) {
        let Some(id) = input.pick(&self.fetching[at]) else { return };
        let states = [
            TransferState::Checking,
            TransferState::Waiting,
            TransferState::Fetching,
            TransferState::Complete,
            TransferState::GivenUp,
        ];
        let _ = match states.get(input.below(states.len() + 2)) {
            Some(state) => self.rooms[at].report(self.now, id, *state, input.u64()),
            None => self.rooms[input.below(2)].hang_up(self.now, id),
        };
    }

    /// A tracker tells of peers, a dial fails, or a neighbour says where it takes connections.
    fn say_who_is_there(&mut self, at: usize, input: &mut Input<'_>) {
        let (now, whom) = (self.now, address([1 - at, 2][input.below(2)]));
        match input.below(4) {
            0 | 1 => {
                self.rooms[at].handle_peers(now, &self.tracker, &[whom, SocketAddr::from(([10, 0, 0, 2], input.u16()))])
            }
            2 => self.rooms[at].handle_unreachable(now, whom),
            _ => self.rooms[at].handle_address(now, if input.flag() { STRANGER } else { PeerKey(1 - at as u64) }, whom),
        }
    }

    /// A tracker hands something on: as it is, twice, bent, or of the stranger's making; or says what came of it.
    fn hand_on(&mut self, at: usize, input: &mut Input<'_>) {
        let how = input.byte();
        if how & 3 == 0 {
            let outcomes = [
                RelayOutcome::HandedOn,
                RelayOutcome::NoSuchPeer,
                RelayOutcome::TooFast { wait: Duration::from_millis(u64::from(input.u16())) },
                RelayOutcome::Failed,
            ];
            return self.rooms[at].handle_relay_done(self.now, outcomes[usize::from(how >> 6)]);
        }
        let (to, from, mut data) = match self.packets.first().cloned() {
            _ if how & 3 == 1 => (at, 2, input.short().to_vec()),
            None => return,
            Some((to, data)) => {
                if how & 4 == 0 {
                    self.packets.remove(0);
                }
                (to, if how & 8 == 0 { 1 - to } else { 2 }, data.to_vec())
            }
        };
        if how & 0x30 == 0x10 && !data.is_empty() {
            let place = usize::from(input.u16()) % data.len();
            data[place] ^= 1 << (how >> 6);
        }
        let from = RelayPeer { tracker: self.tracker.clone(), address: address(from) };
        self.rooms[to].handle_relayed(self.now, &from, &data.into());
    }

    /// What a tracker says of a name, asked or not.
    fn say_whose_name(&mut self, at: usize, input: &mut Input<'_>) {
        let outcome = match input.below(6) {
            0 => NameOutcome::Nobody,
            1 => NameOutcome::Failed,
            other => NameOutcome::Registered(identity(other - 2).public()),
        };
        self.rooms[at].handle_name(self.now, outcome);
    }

    fn open(&self, input: &mut Input<'_>) -> Option<(RequestId, u64)> {
        let known: Vec<_> = self.told.iter().map(|((_, id), number)| (*id, *number)).collect();
        input.pick(&known)
    }

    fn relink(&mut self, at: usize, input: &mut Input<'_>) {
        let peer = if input.flag() { STRANGER } else { PeerKey(1 - at as u64) };
        self.rooms[at].handle_closed(self.now, peer);
        if input.flag() {
            self.rooms[at].handle_connected_from(self.now, peer, Ipv4Addr::LOCALHOST.into());
        }
    }

    /// A signed message, or ids, of the stranger and its friends.
    fn invent(&mut self, input: &mut Input<'_>) -> Bytes {
        let author = identity(2 + input.below(3));
        self.sequence = if input.flag() { self.sequence + 1 } else { u64::from(input.byte()) };
        let head = craft::Head { room: ROOM, sequence: self.sequence, time_ms: input.u64() };
        let mut ids = Vec::new();
        for _ in 0..input.below(4) {
            ids.push(if input.flag() {
                MessageId([input.byte(); 16])
            } else {
                input.pick(&self.ids).unwrap_or(MessageId([0; 16]))
            });
        }
        let (id, message) = match input.below(8) {
            0 => return craft::have(input.u32(), ids),
            1 => return craft::know(ids),
            2 => return craft::want(ids),
            3 => return craft::given(ids),
            4 => craft::presence(&head, &author, input.flag(), &String::from_utf8_lossy(input.slice(9))),
            5 => {
                let to: PublicKey = identity(input.below(3)).public();
                craft::direct(&head, &author, to, Bytes::copy_from_slice(input.short()))
            }
            _ => craft::say(&head, &author, &ids, "p1", &String::from_utf8_lossy(input.slice(20))),
        };
        self.ids.push(id);
        match input.below(4) {
            0 => craft::past(message),
            1 => craft::route(input.byte(), message),
            _ => craft::push(input.byte(), message),
        }
    }

    fn collect(&mut self, at: usize) {
        let mut outputs = 0;
        while let Some(output) = self.rooms[at].poll_output() {
            outputs += 1;
            match output {
                Output::Send { neighbour, payload } => {
                    assert!(payload.len() < limits::EXTENDED_LENGTH, "a frame of {} bytes", payload.len());
                    assert!(craft::understand(&ROOM, &payload).is_some(), "we do not understand ourselves");
                    if neighbour != STRANGER && self.air.len() < AIR {
                        self.air.push((1 - at, payload));
                    }
                }
                Output::Relay { to, data } => {
                    assert!(data.len() <= limits::NATIVE_RELAYED_LENGTH, "a packet of {} bytes", data.len());
                    if to.address == address(1 - at) && self.packets.len() < AIR {
                        self.packets.push((1 - at, data));
                    }
                }
                Output::Reach { id, with, .. } => {
                    assert!(with == identity(1 - at).public() && !self.over.contains(&(at, id)), "to dial a stranger");
                }
                _ => {}
            }
        }
        assert!(outputs < MOST_OUTPUTS, "{outputs} outputs");
        while let Some(event) = self.rooms[at].poll_event() {
            self.check(at, event);
        }
        self.rooms[at].check_invariants();
    }

    fn check(&mut self, at: usize, event: ChatEvent) {
        let harmless = |text: &str| !text.chars().any(|c| is_deceptive(c) && c != '\n' && c != '\t');
        match event {
            ChatEvent::Message(message) => {
                assert!(self.shown[at].insert(message.id), "shown twice");
                assert!(harmless(&message.text) && harmless(&message.name) && !message.name.contains('\n'));
            }
            ChatEvent::CallRequested { id, .. } => self.requests[at].push(id),
            ChatEvent::OfferReceived { id, offer, .. } => {
                assert!(harmless(&offer.name) && offer.addresses.len() <= limits::CHAT_ADDRESSES);
                self.requests[at].push(id);
            }
            ChatEvent::CallEstablished { id, with } => {
                let other = identity(1 - at).public();
                assert!(with.key == other || !self.told.contains_key(&(at, id)), "a call with somebody else");
                self.told.insert((at, id), 0);
            }
            ChatEvent::DirectMessage { id, number, text, .. } => {
                let next = self.told.get_mut(&(at, id)).expect("a call that stands");
                assert!(number >= *next, "{number} came behind {next}");
                *next = number + 1;
                assert!(harmless(&text));
            }
            ChatEvent::DirectState { number, state: DeliveryState::Delivered, .. } => assert!(number < u64::MAX),
            ChatEvent::OfferReady { id, from, metainfo, .. } => {
                assert!(from.key == identity(1 - at).public() && metainfo == *self.files.bytes(), "of somebody else");
                self.fetching[at].push(id);
            }
            ChatEvent::OfferProgress { transfer, .. } => {
                assert!(transfer.ours && transfer.have_bytes <= transfer.total_bytes, "{transfer:?}");
                assert!(!self.over.contains(&(at, transfer.id)), "it was over");
            }
            ChatEvent::OfferStuck { transfer, .. } => assert!(self.stuck.insert((at, transfer.id)), "told twice"),
            ChatEvent::OfferEnded { transfer, .. } => {
                assert!(transfer.have_bytes <= transfer.total_bytes, "{transfer:?}");
                assert!(self.over.insert((at, transfer.id)), "over twice");
            }
            _ => {}
        }
    }
}
