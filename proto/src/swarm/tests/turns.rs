//! Pictures of who is fed when, and of what a lone seed gives to whom.

use super::*;

impl Bench {
    /// A seed of 32 pieces with so many leechers that it serves, all of whom know BEP 6.
    fn lone_seed(leechers: u8) -> (Self, Vec<PeerKey>) {
        let mut bench = Self::of(32, &"x".repeat(32));
        bench.swarm.config.max_peers = 60;
        bench.swarm.config.profile = Profile::Lan;
        let connect = |number| {
            let peer = bench.connect(number, ALL);
            bench.say(peer, Message::HaveNone);
            bench.say(peer, Message::Interested);
            peer
        };
        let peers = (1..=leechers).map(connect).collect();
        bench.wait(Duration::from_secs(1));
        (bench, peers)
    }

    /// Both blocks of a piece are asked for; what the shell is given.
    fn ask(&mut self, peer: PeerKey, piece: u32) -> Vec<(PeerKey, Block)> {
        let first = self.say(peer, Message::Request(piece, 0, 16_384));
        let second = self.say(peer, Message::Request(piece, 16_384, 16_384));
        uploads(&[first, second].concat())
    }

    fn owned_by(&self, peer: PeerKey) -> PieceIndex {
        self.swarm.geometry.all_pieces().find(|piece| self.swarm.spread.is_own(peer, *piece)).unwrap()
    }
}

fn uploads(outputs: &[Output]) -> Vec<(PeerKey, Block)> {
    let upload = |output: &Output| match output {
        Output::Upload { peer, block } => Some((*peer, *block)),
        _ => None,
    };
    outputs.iter().filter_map(upload).collect()
}

fn peers_of(uploads: &[(PeerKey, Block)]) -> Vec<PeerKey> {
    uploads.iter().map(|(peer, _)| *peer).collect()
}

#[test]
fn one_is_fed_at_a_time_and_the_longest_wait_is_next() {
    let (mut bench, peers) = Bench::lone_seed(4);
    bench.swarm.spread = Spread::new(0);
    let handed: Vec<_> = (0..).zip(&peers).flat_map(|(piece, &peer)| bench.ask(peer, piece)).collect();
    assert_eq!(peers_of(&handed), [peers[0]; 2]);
    bench.swarm.handle_uploaded(bench.now, peers[0], handed[0].1);
    assert!(uploads(&bench.outputs()).is_empty(), "its turn is not over");
    bench.swarm.handle_uploaded(bench.now, peers[0], handed[1].1);
    assert_eq!(peers_of(&uploads(&bench.outputs())), [peers[1]; 2]);
    // A socket that takes nothing keeps the rest waiting for a moment only.
    let served = peers_of(&uploads(&bench.wait(Duration::from_secs(2))));
    assert_eq!(served, [peers[2], peers[2], peers[3], peers[3]]);
}

#[test]
fn a_turn_ends_with_a_piece_while_others_wait() {
    let (mut bench, peers) = Bench::lone_seed(2);
    bench.swarm.geometry = Geometry::new(1 << 27, 128 * 1024).unwrap();
    bench.swarm.spread = Spread::new(0);
    let mut due: VecDeque<(PeerKey, Block)> = VecDeque::new();
    for (&peer, block) in peers.iter().flat_map(|peer| (0..12).map(move |block| (peer, block))) {
        due.extend(uploads(&bench.say(peer, Message::Request(block / 8, block % 8 * 16_384, 16_384))));
    }
    let mut order = Vec::new();
    while let Some((peer, block)) = due.pop_front() {
        order.push(peer);
        bench.swarm.handle_uploaded(bench.now, peer, block);
        due.extend(uploads(&bench.outputs()));
    }
    let runs: Vec<_> = order.chunk_by(|one, other| one == other).map(|run| (run[0], run.len())).collect();
    assert_eq!(runs, [(peers[0], 8), (peers[1], 8), (peers[0], 4), (peers[1], 4)]);
}

#[test]
fn an_idle_peer_takes_over_what_a_busy_one_keeps_waiting() {
    let mut bench = Bench::new("........");
    bench.swarm.config.profile = Profile::Lan;
    let (busy, blocks) = bench.seed(1);
    let rest = bench.connect(2, ALL);
    bench.say(rest, Message::Bitfield(vec![0].into()));
    bench.say(rest, Message::Unchoke);
    for piece in blocks.iter().map(|block| block.piece()).collect::<std::collections::BTreeSet<_>>() {
        let outputs = bench.say(rest, Message::have(piece));
        assert!(bench.requests(&outputs, rest).is_empty(), "{piece:?} is asked for");
    }
    let outputs = bench.wait(Duration::from_secs(1));
    let moved = bench.requests(&outputs, rest);
    assert_eq!(moved.len(), 8);
    for block in moved {
        assert!(blocks.contains(&block));
        assert!(outputs.contains(&Output::Send { peer: busy, message: Message::cancel(block) }));
        assert_eq!(bench.swarm.picker.requesters(block), [rest]);
    }
}

#[test]
fn a_lone_seed_serves_own_pieces_first_and_those_of_others_when_it_has_nothing_else_to_do() {
    let (mut bench, peers) = Bench::lone_seed(2);
    let (own, foreign) = (bench.owned_by(peers[0]), bench.owned_by(peers[1]));
    let mut due = VecDeque::from(bench.ask(peers[1], foreign.as_u32()));
    assert_eq!(due.len(), 2);
    assert!(bench.ask(peers[0], foreign.as_u32()).is_empty(), "better asked for at its owner");
    assert!(bench.ask(peers[0], own.as_u32()).is_empty(), "it is not its turn");
    let mut order = Vec::new();
    while let Some((peer, block)) = due.pop_front() {
        order.push((peer, block.piece()));
        bench.swarm.handle_uploaded(bench.now, peer, block);
        due.extend(uploads(&bench.outputs()));
    }
    order.dedup();
    assert_eq!(order, [(peers[1], foreign), (peers[0], own), (peers[0], foreign)]);
}

#[test]
fn a_choked_peer_may_finish_the_piece_that_it_is_to_spread() {
    let (mut bench, peers) = Bench::lone_seed(1);
    let begun = bench.owned_by(peers[0]);
    bench.say(peers[0], Message::Request(begun.as_u32(), 0, 16_384));
    let suggested = bench.swarm.peers[&peers[0]].upload.suggested.clone();
    let messages = sent(&bench.say(peers[0], Message::NotInterested));
    assert!(messages.contains(&Message::AllowedFast(begun.as_u32())) && messages.contains(&Message::Choke));
    assert!(!suggested.is_empty());
    assert!(suggested.iter().all(|piece| !bench.swarm.spread.is_own(peers[0], *piece)), "what is not begun is free");
    assert_eq!(uploads(&bench.say(peers[0], Message::Request(begun.as_u32(), 16_384, 16_384))).len(), 1);
}

#[test]
fn a_choke_and_a_cancel_catch_what_the_shell_does_not_hold_yet() {
    let mut bench = Bench::new("xxxxxxxx");
    bench.swarm.geometry = Geometry::new(1 << 27, 1 << 24).unwrap();
    bench.swarm.spread = Spread::new(0);
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::HaveNone);
    bench.say(peer, Message::Interested);
    let mut uploads = 0;
    for number in 0..12u32 {
        let outputs = bench.say(peer, Message::Request(0, number * 16_384, 16_384));
        uploads += outputs.iter().filter(|output| matches!(output, Output::Upload { .. })).count();
    }
    assert_eq!(uploads, 2, "32 KiB in the hands of the shell");
    let last = 11 * 16_384;
    assert_eq!(sent(&bench.say(peer, Message::Cancel(0, last, 16_384))), [Message::Reject(0, last, 16_384)]);
    assert_eq!(sent(&bench.say(peer, Message::Cancel(0, 0, 16_384))), [], "on its way already");
    let messages = sent(&bench.say(peer, Message::NotInterested));
    assert_eq!(messages.iter().filter(|message| matches!(message, Message::Reject(..))).count(), 9);
}
