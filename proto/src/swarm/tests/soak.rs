//! Any inputs in any order: nothing panics, spins or grows, and an honest peer that comes afterwards is served and serves.

use super::super::*;
use crate::announce::PeerAddress;
use crate::geometry::PieceIndex;
use crate::id::{InfoHash, PeerId};
use crate::wire::Reserved;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::net::SocketAddr;

const PIECES: u32 = 12;
const PIECE_LENGTH: u64 = 48 * 1024;
const TOTAL_LENGTH: u64 = (PIECES as u64 - 1) * PIECE_LENGTH + 17_000;
const MAX_PEERS: usize = 6;
/// What one input may call forth: every peer asked for a window, told of every piece, and refused a full queue.
const MOST_OUTPUTS: usize = 50_000;
/// An honest peer gets what it wants within this time, whatever was before.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Clone, Debug)]
enum Outcome {
    Written,
    Mismatch,
    WriteFailed,
    Aborted,
}

/// One input; an [`Index`] chooses among what stands open.
#[derive(Clone, Debug)]
enum Step {
    Connect { number: u8, direction: Direction, reserved: Reserved },
    Dialled { dial: Index, number: Option<u8> },
    Closed(Index),
    Fault(Index),
    Say(Index, Message),
    Answer { request: Index, with: Answer },
    Block { peer: Index, piece: u32, begin: u32, length: u32 },
    Upload { upload: Index, works: bool },
    Verified(Index, Outcome),
    Lost(Vec<u32>),
    Announced(Index, Option<Vec<u8>>),
    Command(u8, u8),
    Wait(Duration),
}

#[derive(Clone, Debug)]
enum Answer {
    Block,
    Reject,
}

fn piece_number() -> impl Strategy<Value = u32> {
    prop_oneof![20 => 0..PIECES, 1 => Just(PIECES), 1 => Just(u32::MAX)]
}

fn begin() -> impl Strategy<Value = u32> {
    prop_oneof![20 => (0..3u32).prop_map(|ordinal| ordinal * 16_384), 1 => any::<u32>(), 1 => 0..50_000u32]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![20 => Just(16_384u32), 2 => 0..40_000u32, 1 => any::<u32>()]
}

fn extended() -> impl Strategy<Value = Message> {
    let known: Vec<&'static [u8]> = vec![
        b"de",
        b"d1:md11:lt_donthavei7eee",
        b"d1:pi99e4:reqqi0e11:upload_onlyi1ee",
        b"d4:reqqi3ee",
        b"d4:reqqi4294967295e11:upload_onlyi0ee",
        b"le",
    ];
    let handshake = prop::sample::select(known).prop_map(|bytes| Message::Extended(0, bytes.into()));
    let lost = piece_number().prop_map(|piece| Message::Extended(1, piece.to_be_bytes().to_vec().into()));
    prop_oneof![
        handshake,
        lost,
        (any::<u8>(), vec(any::<u8>(), 0..8)).prop_map(|(id, it)| Message::Extended(id, it.into()))
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let block = || (piece_number(), begin(), length());
    prop_oneof![
        1 => Just(Message::KeepAlive),
        4 => Just(Message::Choke),
        8 => Just(Message::Unchoke),
        4 => Just(Message::Interested),
        3 => Just(Message::NotInterested),
        8 => piece_number().prop_map(Message::Have),
        4 => (any::<u8>(), 0..=15u8).prop_map(|(a, b)| Message::Bitfield(vec![a, b << 4].into())),
        1 => vec(any::<u8>(), 0..4).prop_map(|bytes| Message::Bitfield(bytes.into())),
        4 => Just(Message::HaveAll),
        2 => Just(Message::HaveNone),
        8 => block().prop_map(|(a, b, c)| Message::Request(a, b, c)),
        4 => block().prop_map(|(a, b, c)| Message::Cancel(a, b, c)),
        2 => block().prop_map(|(a, b, c)| Message::Reject(a, b, c)),
        3 => piece_number().prop_map(Message::Suggest),
        3 => piece_number().prop_map(Message::AllowedFast),
        6 => extended(),
        1 => any::<u16>().prop_map(Message::Port),
        1 => any::<u8>().prop_map(Message::Unknown),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 1..10u8;
    let direction = prop_oneof![Just(Direction::Incoming), Just(Direction::Outgoing)];
    let reserved = (prop::bool::weighted(0.7), prop::bool::weighted(0.7));
    let reserved = reserved.prop_map(|(fast, extended)| Reserved { fast, extended });
    let outcome = prop_oneof![
        6 => Just(Outcome::Written),
        2 => Just(Outcome::Mismatch),
        2 => Just(Outcome::WriteFailed),
        1 => Just(Outcome::Aborted)
    ];
    let answer = prop_oneof![6 => Just(Answer::Block), 1 => Just(Answer::Reject)];
    let wait = prop_oneof![
        6 => (0..400u64).prop_map(Duration::from_millis),
        3 => (0..40u64).prop_map(Duration::from_secs),
        1 => (0..100_000u64).prop_map(Duration::from_secs)
    ];
    prop_oneof![
        6 => (number(), direction, reserved).prop_map(|(number, direction, reserved)| Step::Connect { number, direction, reserved }),
        3 => (any::<Index>(), prop::option::of(number())).prop_map(|(dial, number)| Step::Dialled { dial, number }),
        2 => any::<Index>().prop_map(Step::Closed),
        1 => any::<Index>().prop_map(Step::Fault),
        40 => (any::<Index>(), message()).prop_map(|(peer, message)| Step::Say(peer, message)),
        30 => (any::<Index>(), answer).prop_map(|(request, with)| Step::Answer { request, with }),
        2 => (any::<Index>(), 0..PIECES, begin(), length())
            .prop_map(|(peer, piece, begin, length)| Step::Block { peer, piece, begin, length }),
        8 => (any::<Index>(), prop::bool::weighted(0.95)).prop_map(|(upload, works)| Step::Upload { upload, works }),
        12 => (any::<Index>(), outcome).prop_map(|(verify, outcome)| Step::Verified(verify, outcome)),
        1 => vec(0..PIECES, 0..4).prop_map(Step::Lost),
        2 => (any::<Index>(), prop::option::of(vec(number(), 0..5))).prop_map(|(job, peers)| Step::Announced(job, peers)),
        1 => (0..6u8, number()).prop_map(|(kind, number)| Step::Command(kind, number)),
        12 => wait.prop_map(Step::Wait),
    ]
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 6881))
}

/// A shell of which everything under way can be finished in any way.
struct Shell {
    swarm: Swarm,
    now: Instant,
    peers: Vec<PeerKey>,
    requests: Vec<(PeerKey, Block)>,
    uploads: Vec<(PeerKey, Block)>,
    verifies: Vec<PieceIndex>,
    dials: Vec<SocketAddr>,
    announces: Vec<u64>,
    unchoked: Vec<PeerKey>,
}

fn config(role: Role, profile: Profile, sequential: bool) -> SwarmConfig {
    SwarmConfig {
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([5; 20]),
        listen_port: 6881,
        trackers: vec![vec!["http://tracker/announce".into()]],
        private: false,
        metadata_size: 100,
        max_peers: MAX_PEERS,
        buffer_bytes: 4 * PIECE_LENGTH,
        profile,
        role,
        sequential,
        client: "swarm".into(),
        chat: sequential,
    }
}

impl Shell {
    fn new(config: SwarmConfig, have: u16) -> Self {
        let geometry = Geometry::new(TOTAL_LENGTH, PIECE_LENGTH).unwrap();
        let mut pieces = Bitfield::empty(PIECES);
        for piece in geometry.all_pieces().filter(|piece| have >> piece.as_u32() & 1 == 1) {
            pieces.insert(piece);
        }
        let now = Instant::now();
        let swarm = Swarm::new(config, geometry, pieces, 1, now);
        let (peers, requests, uploads, verifies) = Default::default();
        let (dials, announces, unchoked) = Default::default();
        Self { swarm, now, peers, requests, uploads, verifies, dials, announces, unchoked }
    }

    fn drain(&mut self) {
        self.swarm.check_invariants();
        let mut outputs = 0;
        while let Some(output) = self.swarm.poll_output() {
            outputs += 1;
            match output {
                Output::Send { peer, message } => {
                    assert!(self.peers.contains(&peer), "{message:?} to a connection that is gone");
                    self.sent(peer, &message);
                }
                Output::Upload { peer, block } => {
                    assert!(self.peers.contains(&peer), "an upload to a connection that is gone");
                    self.uploads.push((peer, block));
                }
                Output::Close { peer, .. } => self.gone(peer),
                Output::Dial { address } => self.dials.push(address),
                Output::Verify { piece, .. } => {
                    assert!(!self.verifies.contains(&piece), "a piece is verified twice at once");
                    self.verifies.push(piece);
                }
                Output::Forget { .. } | Output::ForgetBlock { .. } | Output::ChatUp { .. } | Output::Chat { .. } => {}
                Output::Announce(job) => self.announces.push(job.id),
            }
        }
        assert!(outputs <= MOST_OUTPUTS, "{outputs} outputs");
        while self.swarm.poll_event().is_some() {}
        assert!(self.dials.len() <= 20 && self.swarm.peers.len() <= MAX_PEERS);
    }

    fn sent(&mut self, peer: PeerKey, message: &Message) {
        match *message {
            Message::Request(piece, begin, length) => {
                let block = self.swarm.geometry.wire_block(piece, begin, length).unwrap();
                self.requests.push((peer, block));
            }
            Message::Unchoke => self.unchoked.push(peer),
            Message::Choke => self.unchoked.retain(|key| *key != peer),
            _ => {}
        }
    }

    fn gone(&mut self, peer: PeerKey) {
        self.peers.retain(|key| *key != peer);
        self.requests.retain(|(key, _)| *key != peer);
        self.uploads.retain(|(key, _)| *key != peer);
        self.unchoked.retain(|key| *key != peer);
    }

    /// Time passes; every deadline is kept, and none comes again and again.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let (mut spins, mut wakes) = (0, 0);
        while let Some(at) = self.swarm.poll_timeout().filter(|at| *at <= until) {
            spins = if at > self.now { 0 } else { spins + 1 };
            wakes += 1;
            assert!(spins < 20, "the deadline stays in the past");
            if wakes > 30 {
                // The machine sleeps through the rest of it.
                self.now = until;
            }
            self.now = self.now.max(at);
            self.swarm.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn connect(
        &mut self,
        address: SocketAddr,
        number: u8,
        direction: Direction,
        reserved: Reserved,
    ) -> Option<PeerKey> {
        let connected = Connected { address, direction, peer_id: PeerId([number; 20]), reserved };
        let key = self.swarm.handle_connected(self.now, connected).ok();
        self.peers.extend(key);
        self.drain();
        key
    }

    fn take(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Connect { number, direction, reserved } => {
                self.connect(address(number), number, direction, reserved);
            }
            Step::Dialled { dial, number } => self.dialled(&dial, number),
            Step::Closed(peer) => {
                if let Some(key) = pick(&self.peers, &peer) {
                    self.gone(key);
                    self.swarm.handle_closed(now, key);
                }
            }
            Step::Fault(peer) => {
                if let Some(key) = pick(&self.peers, &peer) {
                    self.swarm.handle_fault(now, key, PeerFault::Length(3));
                }
            }
            Step::Say(peer, message) => {
                if let Some(key) = pick(&self.peers, &peer) {
                    self.swarm.handle_message(now, key, message);
                }
            }
            Step::Answer { request, with } => {
                if let Some((key, block)) = take(&mut self.requests, &request) {
                    self.answer(key, block, &with);
                }
            }
            Step::Block { peer, piece, begin, length } => {
                let block = self.swarm.geometry.wire_block(piece, begin, length);
                if let (Some(key), Some(block)) = (pick(&self.peers, &peer), block) {
                    let _ = self.swarm.handle_block(now, key, block);
                }
            }
            Step::Upload { upload, works } => {
                if let Some((peer, block)) = take(&mut self.uploads, &upload) {
                    match works {
                        true => self.swarm.handle_uploaded(now, peer, block),
                        false => self.swarm.handle_disk(now, DiskDone::ReadFailed { peer, block }),
                    }
                }
            }
            Step::Verified(verify, outcome) => {
                if let Some(piece) = take(&mut self.verifies, &verify) {
                    self.verified(piece, &outcome);
                }
            }
            Step::Lost(pieces) => {
                let pieces = pieces.into_iter().filter_map(|piece| self.swarm.geometry.piece(piece)).collect();
                self.swarm.handle_disk(now, DiskDone::Lost { pieces });
            }
            Step::Announced(job, peers) => self.announced(&job, peers),
            Step::Command(kind, number) => self.command(kind, number),
            Step::Wait(time) => self.wait(time),
        }
        self.drain();
    }

    fn dialled(&mut self, dial: &Index, number: Option<u8>) {
        let Some(address) = take(&mut self.dials, dial) else { return };
        match number {
            Some(number) => {
                _ = self.connect(address, number, Direction::Outgoing, Reserved { fast: true, extended: true })
            }
            None => self.swarm.handle_connect_failed(self.now, address),
        }
    }

    fn answer(&mut self, key: PeerKey, block: Block, with: &Answer) {
        match with {
            Answer::Block => _ = self.swarm.handle_block(self.now, key, block),
            Answer::Reject => {
                let reject = Message::Reject(block.piece().as_u32(), block.begin(), block.length());
                self.swarm.handle_message(self.now, key, reject);
            }
        }
    }

    fn verified(&mut self, piece: PieceIndex, outcome: &Outcome) {
        let blocks = self.swarm.geometry.blocks_of(piece);
        let digests = |byte: u8| vec![[byte; 20]; blocks];
        let outcome = match outcome {
            Outcome::Written => VerifyOutcome::Written { digests: digests(0) },
            Outcome::Mismatch => VerifyOutcome::Mismatch { digests: digests(1) },
            Outcome::WriteFailed => VerifyOutcome::WriteFailed,
            Outcome::Aborted => VerifyOutcome::Aborted,
        };
        self.swarm.handle_disk(self.now, DiskDone::Verified { piece, outcome });
    }

    fn announced(&mut self, job: &Index, peers: Option<Vec<u8>>) {
        let Some(id) = take(&mut self.announces, job) else { return };
        let reply = peers.map(|numbers| AnnounceReply {
            interval: Duration::from_secs(1_800),
            peers: numbers.into_iter().map(|number| PeerAddress { address: address(number), peer_id: None }).collect(),
            ..AnnounceReply::default()
        });
        self.swarm.handle_announced(self.now, id, reply.ok_or(TrackerError::TimedOut(TICK)));
    }

    fn command(&mut self, kind: u8, number: u8) {
        let peers = vec![PeerAddress { address: address(number), peer_id: None }];
        let command = match kind {
            0 => Command::Pause,
            1 | 2 => Command::Resume,
            3 => Command::AddPeers(peers, PeerSource::User),
            4 => Command::AddPeers(peers, PeerSource::Push),
            _ => Command::AddTrackers(vec!["udp://other:1".into()]),
        };
        self.swarm.command(self.now, command);
    }

    /// From now on the disk works, and the sockets take what they are given.
    fn settle(&mut self) {
        while let Some(piece) = self.verifies.pop() {
            self.verified(piece, &Outcome::Written);
            self.drain();
        }
        while let Some((peer, block)) = self.uploads.pop() {
            self.swarm.handle_uploaded(self.now, peer, block);
            self.drain();
        }
        while let Some(address) = self.dials.pop() {
            self.swarm.handle_connect_failed(self.now, address);
            self.drain();
        }
    }

    /// An honest peer connects, as often as it takes, and says this.
    fn honest(&mut self, peer: &mut Option<PeerKey>, number: u8, greeting: &[Message]) -> Option<PeerKey> {
        if peer.is_none_or(|key| !self.peers.contains(&key)) {
            let reserved = Reserved { fast: number.is_multiple_of(2), extended: true };
            *peer = self.connect(address(number), number, Direction::Incoming, reserved);
            for message in greeting {
                if let Some(key) = *peer {
                    self.swarm.handle_message(self.now, key, message.clone());
                    self.drain();
                }
            }
        }
        *peer
    }

    /// An honest seed makes us complete.
    fn complete_from_honest_seed(&mut self, number: u8) {
        let start = self.now;
        let mut seed = None;
        while !self.swarm.is_complete() {
            assert!(self.now - start < PATIENCE, "never complete: {:?}", self.swarm.stats(self.now));
            self.settle();
            let greeting = [Message::Bitfield(Bitfield::full(PIECES).to_wire().into()), Message::Unchoke];
            if let Some(key) = self.honest(&mut seed, number, &greeting) {
                let (asked, others) = std::mem::take(&mut self.requests).into_iter().partition(|(of, _)| *of == key);
                self.requests = others;
                for (key, block) in asked {
                    if self.peers.contains(&key) {
                        self.answer(key, block, &Answer::Block);
                        self.drain();
                    }
                }
            }
            self.settle();
            self.wait(Duration::from_millis(500));
        }
    }

    /// An honest leecher gets every piece from us.
    fn serve_honest_leecher(&mut self, number: u8) {
        let start = self.now;
        let (mut leecher, mut next, mut asked) = (None, 0, false);
        while next < PIECES {
            assert!(self.now - start < PATIENCE, "piece {next} is not served");
            let piece = self.swarm.geometry.piece(next).unwrap();
            let before = self.peers.len();
            let was = leecher;
            if let Some(key) = self.honest(&mut leecher, number, &[Message::Interested]) {
                asked &= was == leecher;
                if self.unchoked.contains(&key) && !asked {
                    self.swarm.handle_message(self.now, key, Message::Request(next, 0, 16_384));
                    self.drain();
                    asked = true;
                }
                asked &= self.unchoked.contains(&key);
                if self.uploads.iter().any(|(to, block)| *to == key && block.piece() == piece) {
                    (next, asked) = (next + 1, false);
                }
            }
            assert!(self.peers.len() <= before + 1);
            self.settle();
            self.wait(Duration::from_millis(500));
        }
    }
}

fn pick<T: Clone>(list: &[T], index: &Index) -> Option<T> {
    (!list.is_empty()).then(|| index.get(list).clone())
}

fn take<T>(list: &mut Vec<T>, index: &Index) -> Option<T> {
    (!list.is_empty()).then(|| list.swap_remove(index.index(list.len())))
}

proptest! {
    #[test]
    fn any_inputs_in_any_order(
        have in prop_oneof![Just(0u16), Just(0xfff), 0..0x1000u16],
        seeding in prop::bool::weighted(0.15),
        lan in any::<bool>(),
        sequential in any::<bool>(),
        steps in vec(step(), 1..300),
    ) {
        let role = if seeding { Role::Seed } else { Role::Fetch };
        let profile = if lan { Profile::Lan } else { Profile::Public };
        let mut shell = Shell::new(config(role, profile, sequential), have);
        shell.drain();
        for step in steps {
            shell.take(step);
        }
        shell.swarm.command(shell.now, Command::Resume);
        shell.drain();
        if role == Role::Fetch {
            shell.complete_from_honest_seed(20);
            shell.serve_honest_leecher(30);
            shell.serve_honest_leecher(31);
        }
        shell.swarm.command(shell.now, Command::Stop);
        shell.drain();
        shell.wait(Duration::from_secs(60));
        prop_assert!(shell.swarm.is_stopped());
        prop_assert_eq!(shell.swarm.poll_timeout(), None);
    }
}
