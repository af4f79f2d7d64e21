//! One swarm, message by message: each rule of the wire has its picture here. Whole swarms live in `tests/`.

mod chat;
mod crowding;
mod end_game;
mod hostile;
mod parole;
mod soak;
mod turns;

use super::*;
use crate::geometry::PieceIndex;
use crate::id::{InfoHash, PeerId};
use crate::limits;
use crate::wire::{ExtendedHandshake, ExtensionIds, Reserved};
use std::net::SocketAddr;

const PIECES: u32 = 8;
const PIECE_LENGTH: u64 = 32 * 1024;
const ALL: Reserved = Reserved { fast: true, extended: true };

struct Bench {
    swarm: Swarm,
    now: Instant,
}

impl Bench {
    fn new(have: &str) -> Self {
        Self::of(PIECES, have)
    }

    fn of(count: u32, have: &str) -> Self {
        let geometry = Geometry::new(u64::from(count) * PIECE_LENGTH, PIECE_LENGTH).unwrap();
        let mut pieces = Bitfield::empty(count);
        for (index, _) in have.chars().enumerate().filter(|(_, mark)| *mark == 'x') {
            pieces.insert(geometry.piece(index.try_into().unwrap()).unwrap());
        }
        let config = SwarmConfig {
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([5; 20]),
            listen_port: 6881,
            trackers: Vec::new(),
            private: false,
            metadata_size: 100,
            max_peers: 4,
            buffer_bytes: 1 << 20,
            profile: Profile::Public,
            role: Role::Fetch,
            sequential: false,
            client: "swarm 0.1.0".into(),
            chat: false,
        };
        let now = Instant::now();
        Self { swarm: Swarm::new(config, geometry, pieces, 1, now), now }
    }

    fn connect(&mut self, number: u8, reserved: Reserved) -> PeerKey {
        self.try_connect(number, reserved, Direction::Incoming).unwrap()
    }

    fn try_connect(&mut self, number: u8, reserved: Reserved, direction: Direction) -> Result<PeerKey, CloseReason> {
        let address = SocketAddr::from(([10, 0, 0, number], 6881));
        let connected = Connected { address, direction, peer_id: PeerId([number; 20]), reserved };
        self.swarm.handle_connected(self.now, connected)
    }

    fn say(&mut self, peer: PeerKey, message: Message) -> Vec<Output> {
        self.swarm.handle_message(self.now, peer, message);
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<Output> {
        self.swarm.check_invariants();
        std::iter::from_fn(|| self.swarm.poll_output()).collect()
    }

    fn wait(&mut self, time: Duration) -> Vec<Output> {
        let until = self.now + time;
        let mut outputs = Vec::new();
        while let Some(at) = self.swarm.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.swarm.handle_timeout(self.now);
            outputs.extend(self.outputs());
        }
        self.now = until;
        outputs
    }

    fn piece(&self, index: u32) -> PieceIndex {
        self.swarm.geometry.piece(index).unwrap()
    }

    /// Connects a seed that unchokes us, and returns the blocks that we ask it for.
    fn seed(&mut self, number: u8) -> (PeerKey, Vec<Block>) {
        let peer = self.connect(number, ALL);
        self.say(peer, Message::HaveAll);
        let outputs = self.say(peer, Message::Unchoke);
        (peer, self.requests(&outputs, peer))
    }

    fn requests(&self, outputs: &[Output], of: PeerKey) -> Vec<Block> {
        let block = |output: &Output| match output {
            Output::Send { peer, message: Message::Request(index, begin, length) } if *peer == of => {
                self.swarm.geometry.wire_block(*index, *begin, *length)
            }
            _ => None,
        };
        outputs.iter().filter_map(block).collect()
    }

    /// Connects a seed and takes from it all blocks of the first piece that we ask for.
    fn first_piece(&mut self) -> (PeerKey, PieceIndex) {
        let (peer, blocks) = self.seed(1);
        let piece = blocks[0].piece();
        let of_piece: Vec<_> = blocks.into_iter().filter(|block| block.piece() == piece).collect();
        self.deliver(peer, &of_piece);
        (peer, piece)
    }

    fn deliver(&mut self, peer: PeerKey, blocks: &[Block]) -> Vec<Output> {
        for block in blocks {
            let _ = self.swarm.handle_block(self.now, peer, *block);
        }
        self.outputs()
    }

    fn write(&mut self, piece: PieceIndex, outcome: VerifyOutcome) -> Vec<Output> {
        self.swarm.handle_disk(self.now, DiskDone::Verified { piece, outcome });
        self.outputs()
    }
}

fn sent(outputs: &[Output]) -> Vec<Message> {
    let message = |output: &Output| match output {
        Output::Send { message, .. } => Some(message.clone()),
        _ => None,
    };
    outputs.iter().filter_map(message).collect()
}

fn closed(outputs: &[Output]) -> Option<CloseReason> {
    outputs.iter().find_map(|output| match output {
        Output::Close { reason, .. } => Some(*reason),
        _ => None,
    })
}

const WRITTEN: VerifyOutcome = VerifyOutcome::Written { digests: Vec::new() };

#[test]
fn the_greeting_tells_what_we_have() {
    for (have, reserved, first) in [
        ("........", ALL, Some(Message::HaveNone)),
        ("xxxxxxxx", ALL, Some(Message::HaveAll)),
        ("x.......", ALL, Some(Message::Bitfield(vec![0x80].into()))),
        ("........", Reserved::default(), None),
        ("xxxxxxxx", Reserved::default(), Some(Message::Bitfield(vec![0xff].into()))),
    ] {
        let mut bench = Bench::new(have);
        bench.connect(1, reserved);
        let messages = sent(&bench.outputs());
        let handshakes = messages.iter().filter(|message| matches!(message, Message::Extended(0, _))).count();
        assert_eq!(handshakes, usize::from(reserved.extended));
        assert_eq!(messages.into_iter().find(|message| !matches!(message, Message::Extended(..))), first, "{have}");
    }
}

#[test]
fn the_extension_handshake_tells_who_we_are() {
    let mut bench = Bench::new("xxxxxxxx");
    bench.connect(9, ALL);
    let messages = sent(&bench.outputs());
    let Some(Message::Extended(0, payload)) = messages.last() else { panic!("{messages:?}") };
    let expected = ExtendedHandshake {
        ids: ExtensionIds::OURS,
        client: Some("swarm 0.1.0".into()),
        listen_port: Some(6881),
        request_queue: Some(2_000),
        your_ip: Some([10, 0, 0, 9].into()),
        metadata_size: Some(100),
        upload_only: true,
    };
    assert_eq!(ExtendedHandshake::parse(payload), Some(expected));
}

#[test]
fn broken_rules_close_the_connection_and_are_named() {
    let none = Reserved::default();
    for (reserved, messages, fault) in [
        (ALL, vec![Message::Have(8)], PeerFault::NoSuchPiece(8)),
        (ALL, vec![Message::Have(u32::MAX)], PeerFault::NoSuchPiece(u32::MAX)),
        (ALL, vec![Message::HaveAll; 17], PeerFault::TooManyBitfields),
        (none, vec![Message::Bitfield(vec![0].into()); 17], PeerFault::TooManyBitfields),
        (none, vec![Message::HaveAll], PeerFault::FastNotNegotiated),
        (none, vec![Message::Reject(0, 0, 1)], PeerFault::FastNotNegotiated),
        (none, vec![Message::Extended(0, "de".into())], PeerFault::ExtensionsNotNegotiated),
        (ALL, vec![Message::Extended(0, "le".into())], PeerFault::Extension),
        (ALL, vec![Message::Extended(1, "abc".into())], PeerFault::Extension),
        (ALL, vec![Message::Request(0, 0, 0)], PeerFault::NoSuchBlock(0, 0, 0)),
        (ALL, vec![Message::Request(7, 32_767, 2)], PeerFault::NoSuchBlock(7, 32_767, 2)),
        (ALL, vec![Message::Cancel(8, 0, 1)], PeerFault::NoSuchBlock(8, 0, 1)),
        (ALL, vec![Message::AllowedFast(8)], PeerFault::NoSuchPiece(8)),
    ] {
        let mut bench = Bench::new("x.......");
        let peer = bench.connect(1, reserved);
        let outputs: Vec<_> = messages.iter().flat_map(|message| bench.say(peer, message.clone())).collect();
        assert_eq!(closed(&outputs), Some(CloseReason::Fault(fault)), "{messages:?}");
        assert!(bench.say(peer, Message::Interested).is_empty(), "a closed connection says nothing");
    }
}

#[test]
fn interest_follows_what_the_peer_has_and_we_lack() {
    let mut bench = Bench::new("x.......");
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::HaveNone);
    assert_eq!(sent(&bench.say(peer, Message::Have(0))), []);
    assert_eq!(sent(&bench.say(peer, Message::Have(3))), [Message::Interested]);
    assert_eq!(sent(&bench.say(peer, Message::Have(3))), [], "twice the same");
    let gone = Message::Extended(1, vec![0, 0, 0, 3].into());
    assert_eq!(sent(&bench.say(peer, gone)), [Message::NotInterested]);
}

/// aria2 sends a bitfield for every 20 pieces that it has got: dozens within a second on a fast link.
#[test]
fn bitfields_that_bring_news_are_never_too_many() {
    let mut bench = Bench::of(1_000, "");
    let peer = bench.connect(1, Reserved::default());
    let bitfield = |pieces: usize| {
        let byte = |at: usize| u8::try_from(0xff_u32 << (8 - pieces.saturating_sub(8 * at).min(8)) & 0xff).unwrap();
        Message::Bitfield((0..125).map(byte).collect::<Vec<_>>().into())
    };
    for pieces in (20..=1_000).step_by(20) {
        assert_eq!(closed(&bench.say(peer, bitfield(pieces))), None, "{pieces} pieces");
        assert_eq!(bench.swarm.peers[&peer].has.count() as usize, pieces);
    }
    let outputs: Vec<_> = (0..17).flat_map(|_| bench.say(peer, bitfield(1_000))).collect();
    assert_eq!(closed(&outputs), Some(CloseReason::Fault(PeerFault::TooManyBitfields)));
}

#[test]
fn a_late_bitfield_adds_to_what_was_known() {
    let mut bench = Bench::new("x.......");
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::Have(3));
    bench.say(peer, Message::Interested);
    assert_eq!(sent(&bench.say(peer, Message::Bitfield(vec![0b1100_0000].into()))), []);
    assert_eq!(bench.swarm.peers(bench.now)[0].pieces, 3);
    for _ in 0..60 {
        assert_eq!(closed(&bench.say(peer, Message::Bitfield(vec![0b1000_0000].into()))), None);
        bench.wait(Duration::from_secs(1));
    }
    assert_eq!(bench.swarm.peers(bench.now)[0].pieces, 3);
}

#[test]
fn a_seed_of_incomplete_data_fetches_nothing() {
    let mut bench = Bench::new("xxxx....");
    bench.swarm.config.role = Role::Seed;
    let (peer, blocks) = bench.seed(1);
    assert!(blocks.is_empty() && !bench.swarm.peers(bench.now)[0].interested);
    bench.say(peer, Message::Have(7));
    assert_eq!(bench.wait(Duration::from_secs(1)).iter().filter(|it| matches!(it, Output::Send { .. })).count(), 0);
}

#[test]
fn a_piece_goes_from_request_to_have() {
    let mut bench = Bench::new("........");
    let watcher = bench.connect(2, ALL);
    bench.say(watcher, Message::HaveNone);
    let (seed, blocks) = bench.seed(1);
    assert_eq!(blocks.len(), 8, "the first window");
    let piece = blocks[0].piece();
    let of_piece: Vec<_> = blocks.iter().copied().filter(|block| block.piece() == piece).collect();
    let outputs = bench.deliver(seed, &of_piece);
    assert!(outputs.contains(&Output::Verify { piece, digests: false }));
    assert!(!bench.swarm.have().has(piece), "not before it is written");
    let outputs = bench.write(piece, WRITTEN);
    assert!(outputs.contains(&Output::Send { peer: watcher, message: Message::have(piece) }));
    assert!(
        !outputs
            .iter()
            .any(|output| matches!(output, Output::Send { peer, message: Message::Have(_) } if *peer == seed))
    );
    assert_eq!(bench.swarm.stats(bench.now).have_bytes, PIECE_LENGTH);
}

#[test]
fn completion_is_told_once_and_closes_seeds() {
    let mut bench = Bench::new("xxxxxxx.");
    let (seed, blocks) = bench.seed(1);
    bench.deliver(seed, &blocks);
    let outputs = bench.write(bench.piece(7), WRITTEN);
    assert_eq!(closed(&outputs), Some(CloseReason::NothingToTrade));
    let events: Vec<_> = std::iter::from_fn(|| bench.swarm.poll_event()).collect();
    assert_eq!(events.iter().filter(|event| **event == Event::Completed).count(), 1);
    assert!(bench.swarm.is_complete());
}

#[test]
fn requests_are_served_only_while_unchoked_and_only_what_we_have() {
    let mut bench = Bench::new("xxxxxxx.");
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::HaveNone);
    assert_eq!(sent(&bench.say(peer, Message::Request(0, 0, 16_384))), [Message::Reject(0, 0, 16_384)]);
    assert!(sent(&bench.say(peer, Message::Interested)).contains(&Message::Unchoke));
    let outputs = bench.say(peer, Message::Request(0, 0, 16_384));
    let block = bench.swarm.geometry.wire_block(0, 0, 16_384).unwrap();
    assert!(outputs.contains(&Output::Upload { peer, block }));
    assert_eq!(sent(&bench.say(peer, Message::Request(7, 0, 16_384))), [Message::Reject(7, 0, 16_384)]);
    let outputs = bench.say(peer, Message::NotInterested);
    assert!(sent(&outputs).contains(&Message::Choke));
}

#[test]
fn a_flood_of_requests_is_bounded_and_ends() {
    let mut bench = Bench::new("xxxxxxxx");
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::HaveNone);
    bench.say(peer, Message::Interested);
    let mut end = None;
    for number in 0..20_000u32 {
        let outputs = bench.say(peer, Message::Request(number % 8, number / 8 % 16_384, 1_000));
        end = end.or(closed(&outputs));
        let queued = bench.swarm.peers.get(&peer).map_or(0, |peer| peer.upload.requests.len());
        assert!(queued <= limits::INCOMING_REQUESTS);
    }
    assert_eq!(end, Some(CloseReason::Fault(PeerFault::RequestFlood)));
}

#[test]
fn a_choke_without_bep_6_gives_the_blocks_to_others() {
    let mut bench = Bench::new("........");
    let plain = bench.connect(1, Reserved::default());
    bench.say(plain, Message::Bitfield(vec![0xff].into()));
    let outputs = bench.say(plain, Message::Unchoke);
    let bound = bench.requests(&outputs, plain);
    assert_eq!(bound.len(), 8, "the first window");
    bench.say(plain, Message::Choke);
    assert!(bound.iter().all(|block| bench.swarm.picker.requesters(*block).is_empty()));
    let (_, blocks) = bench.seed(2);
    assert_eq!(blocks.len(), 8);
}

#[test]
fn a_peer_that_rejects_everything_is_asked_slowly_and_dropped_within_a_minute() {
    let mut bench = Bench::new("........");
    let (peer, mut pending) = bench.seed(1);
    let (start, mut asked, mut end) = (bench.now, pending.len(), None);
    while end.is_none() && bench.now.duration_since(start) < Duration::from_secs(120) {
        for block in std::mem::take(&mut pending) {
            let reject = Message::Reject(block.piece().as_u32(), block.begin(), block.length());
            let outputs = bench.say(peer, reject);
            end = end.or(closed(&outputs));
            pending.extend(bench.requests(&outputs, peer));
        }
        let outputs = bench.wait(Duration::from_millis(50));
        end = end.or(closed(&outputs));
        pending.extend(bench.requests(&outputs, peer));
        asked += pending.len();
    }
    let seconds = bench.now.duration_since(start).as_secs();
    assert_eq!(end, Some(CloseReason::Fault(PeerFault::RejectsEverything)));
    assert!(seconds <= 60, "{seconds} s");
    assert!(asked as u64 <= 16 + 10 * seconds, "{asked} requests in {seconds} s");
}

#[test]
fn a_peer_that_never_answers_is_dropped() {
    let mut bench = Bench::new("........");
    let (peer, _) = bench.seed(1);
    let mut end = None;
    for _ in 0..100 {
        bench.swarm.handle_message(bench.now, peer, Message::KeepAlive);
        end = end.or(closed(&bench.wait(Duration::from_secs(1))));
    }
    assert_eq!(end, Some(CloseReason::Fault(PeerFault::NeverAnswers)));
}

#[test]
fn blocks_that_nobody_asked_for_are_dropped_counted_and_end_the_connection() {
    let mut bench = Bench::new("........");
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::HaveAll);
    let block = bench.swarm.geometry.block(bench.piece(0), 0).unwrap();
    let mut end = None;
    for _ in 0..40 {
        assert_eq!(bench.swarm.handle_block(bench.now, peer, block), BlockVerdict::Drop);
        end = end.or(closed(&bench.outputs()));
    }
    assert_eq!(end, Some(CloseReason::Fault(PeerFault::Unrequested)));
    assert_eq!(bench.swarm.stats(bench.now).wasted, 40 * 16_384);
}

#[test]
fn a_block_off_the_grid_closes_at_once() {
    let mut bench = Bench::new("........");
    let (peer, _) = bench.seed(1);
    let odd = bench.swarm.geometry.wire_block(0, 0, 16_383).unwrap();
    assert_eq!(bench.swarm.handle_block(bench.now, peer, odd), BlockVerdict::Drop);
    assert_eq!(closed(&bench.outputs()), Some(CloseReason::Fault(PeerFault::OddBlock)));
}

#[test]
fn the_sole_sender_of_a_wrong_piece_is_banned_and_cannot_return() {
    let mut bench = Bench::new("........");
    let (_, piece) = bench.first_piece();
    let outputs = bench.write(piece, VerifyOutcome::Mismatch { digests: vec![[1; 20]; 2] });
    assert_eq!(closed(&outputs), Some(CloseReason::Fault(PeerFault::CorruptData)));
    assert_eq!(bench.try_connect(1, ALL, Direction::Incoming), Err(CloseReason::Banned));
    assert_eq!(bench.swarm.stats(bench.now).failed_pieces, 1);
    // Strangers get one piece at a time now.
    let (honest, mut blocks) = bench.seed(2);
    let mut asked_for = Vec::new();
    while let Some(first) = blocks.first().map(|block| block.piece()) {
        asked_for.push(first);
        bench.deliver(honest, &blocks);
        let outputs = bench.write(first, WRITTEN);
        blocks = bench.requests(&outputs, honest);
    }
    assert!(asked_for.contains(&piece), "the piece is fetched again");
}

#[test]
fn a_refused_write_stops_requests_until_one_succeeds() {
    let mut bench = Bench::new("........");
    let (_, piece) = bench.first_piece();
    bench.write(piece, VerifyOutcome::WriteFailed);
    let (_, blocks) = bench.seed(2);
    assert!(blocks.is_empty(), "nothing is requested while the disk refuses");
    let outputs = bench.wait(Duration::from_secs(3));
    assert!(outputs.contains(&Output::Verify { piece, digests: false }), "tried again");
    bench.write(piece, WRITTEN);
    let events: Vec<_> = std::iter::from_fn(|| bench.swarm.poll_event()).collect();
    assert!(events.contains(&Event::DiskBlocked) && events.contains(&Event::DiskRecovered));
    assert!(bench.swarm.have().has(piece));
}

#[test]
fn requests_wait_for_a_disk_that_is_behind() {
    let mut bench = Bench::new("........");
    let length = 16 << 20;
    let geometry = Geometry::new(8 * length, length).unwrap();
    let config = SwarmConfig { buffer_bytes: 1 << 30, ..bench.swarm.config.clone() };
    bench.swarm = Swarm::new(config, geometry, Bitfield::empty(8), 1, bench.now);
    let (peer, mut blocks) = bench.seed(1);
    let mut waiting = Vec::new();
    while !blocks.is_empty() {
        let outputs = bench.deliver(peer, &blocks);
        let verify =
            outputs.iter().filter_map(|it| if let Output::Verify { piece, .. } = it { Some(*piece) } else { None });
        waiting.extend(verify);
        blocks = bench.requests(&outputs, peer);
    }
    assert_eq!(waiting.len(), 2, "pieces that wait for the disk");
    let outputs = bench.write(waiting[0], WRITTEN);
    assert!(!bench.requests(&outputs, peer).is_empty());
}

#[test]
fn lost_pieces_are_withdrawn_and_fetched_again() {
    let mut bench = Bench::new("xxxxxxxx");
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::HaveAll);
    let m = ExtendedHandshake { ids: ExtensionIds { dont_have: Some(7), chat: None }, ..ExtendedHandshake::default() };
    bench.say(peer, Message::Extended(0, m.encode().into()));
    bench.say(peer, Message::Unchoke);
    let piece = bench.piece(3);
    bench.swarm.handle_disk(bench.now, DiskDone::Lost { pieces: vec![piece] });
    let outputs = bench.outputs();
    let messages = sent(&outputs);
    assert!(
        messages.contains(&Message::Extended(7, vec![0, 0, 0, 3].into())) && messages.contains(&Message::Interested)
    );
    assert_eq!(bench.requests(&outputs, peer).len(), 2);
    assert!(!bench.swarm.is_complete());
}

#[test]
fn ourselves_doubles_and_crowds_are_refused() {
    let mut bench = Bench::new("........");
    assert_eq!(bench.try_connect(5, ALL, Direction::Outgoing), Err(CloseReason::Myself));
    bench.connect(1, ALL);
    assert_eq!(bench.try_connect(1, ALL, Direction::Incoming), Err(CloseReason::Duplicate));
    for number in 2..5 {
        bench.connect(number, ALL);
    }
    assert_eq!(bench.try_connect(6, ALL, Direction::Incoming), Err(CloseReason::Crowded));
    bench.wait(Duration::from_secs(30));
    bench.connect(6, ALL);
    assert_eq!(bench.swarm.stats(bench.now).peers, 4, "a connection of no use made room");
}

#[test]
fn of_two_simultaneous_connections_both_sides_keep_the_same() {
    // Our id is 5: towards 1 we keep the one that we opened, towards 9 the one that they opened.
    for (number, first, second, replaced) in [
        (1, Direction::Incoming, Direction::Outgoing, true),
        (1, Direction::Outgoing, Direction::Incoming, false),
        (9, Direction::Outgoing, Direction::Incoming, true),
        (9, Direction::Incoming, Direction::Outgoing, false),
    ] {
        let mut bench = Bench::new("........");
        bench.try_connect(number, ALL, first).unwrap();
        assert_eq!(bench.try_connect(number, ALL, second).is_ok(), replaced, "{number} {first:?}");
        assert_eq!(bench.swarm.stats(bench.now).peers, 1);
    }
}

#[test]
fn silence_is_answered_by_keep_alives_and_then_by_the_end() {
    let mut bench = Bench::new("x.......");
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::HaveNone);
    let outputs = bench.wait(Duration::from_secs(149));
    assert!(sent(&outputs).contains(&Message::KeepAlive));
    assert_eq!(closed(&outputs), None);
    assert_eq!(closed(&bench.wait(Duration::from_secs(2))), Some(CloseReason::Idle));
}

#[test]
fn a_machine_that_slept_does_not_blame_its_peers() {
    let mut bench = Bench::new("........");
    let (_, blocks) = bench.seed(1);
    assert!(!blocks.is_empty());
    bench.now += Duration::from_secs(300);
    bench.swarm.handle_timeout(bench.now);
    assert_eq!(closed(&bench.outputs()), None);
    assert_eq!(closed(&bench.wait(Duration::from_secs(70))), Some(CloseReason::Fault(PeerFault::NeverAnswers)));
}

#[test]
fn a_stopped_swarm_lets_go_of_everybody_and_takes_nobody() {
    let mut bench = Bench::new("........");
    bench.connect(1, ALL);
    bench.swarm.command(bench.now, Command::Stop);
    assert_eq!(closed(&bench.outputs()), Some(CloseReason::Stopped));
    assert!(bench.swarm.is_stopped());
    assert_eq!(bench.try_connect(2, ALL, Direction::Incoming), Err(CloseReason::Stopped));
    assert_eq!(bench.swarm.poll_timeout(), None);
}

#[test]
fn a_lone_seed_suggests_distinct_pieces_to_each() {
    let mut bench = Bench::new("xxxxxxxx");
    let mut suggested = Vec::new();
    for number in 1..4 {
        let peer = bench.connect(number, ALL);
        bench.say(peer, Message::HaveNone);
        let messages = sent(&bench.say(peer, Message::Interested));
        suggested.extend(messages.into_iter().filter_map(|message| match message {
            Message::Suggest(piece) => Some(piece),
            _ => None,
        }));
    }
    assert_eq!(suggested.len(), 6);
    suggested.sort_unstable();
    suggested.dedup();
    assert_eq!(suggested.len(), 6, "no piece twice");
}

#[test]
fn suggestions_are_followed() {
    let mut bench = Bench::new("........");
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::HaveAll);
    bench.say(peer, Message::Suggest(6));
    let outputs = bench.say(peer, Message::Unchoke);
    assert_eq!(bench.requests(&outputs, peer)[0].piece(), bench.piece(6));
}

#[test]
fn inputs_for_connections_that_are_gone_do_no_harm() {
    // Messages to connections that do not exist are the shell's race, not a fault.
    let mut bench = Bench::new("x.......");
    let ghost = PeerKey(99);
    let block = bench.swarm.geometry.block(bench.piece(1), 0).unwrap();
    bench.swarm.handle_message(bench.now, ghost, Message::Unchoke);
    bench.swarm.handle_uploaded(bench.now, ghost, block);
    bench.swarm.handle_cut_short(bench.now, 100);
    assert_eq!(bench.swarm.stats(bench.now).uploaded, u64::from(block.length()) + 100, "what was sent was sent");
    bench.swarm.handle_closed(bench.now, ghost);
    assert_eq!(bench.swarm.handle_block(bench.now, ghost, block), BlockVerdict::Drop);
    assert!(bench.outputs().is_empty());
}
