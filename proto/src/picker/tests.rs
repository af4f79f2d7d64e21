//! Pictures of one character a piece, and arbitrary sequences of operations.

use super::*;
use crate::geometry::BLOCK_LENGTH;
use proptest::prelude::*;

const A: PeerKey = PeerKey(1);
const B: PeerKey = PeerKey(2);
const C: PeerKey = PeerKey(3);
const D: PeerKey = PeerKey(4);

/// Pieces of two blocks.
fn geometry(pieces: usize) -> Geometry {
    Geometry::new(pieces as u64 * 2 * u64::from(BLOCK_LENGTH), 2 * u64::from(BLOCK_LENGTH)).unwrap()
}

/// `x` is a piece in the set.
fn set(picture: &str) -> Bitfield {
    let geometry = geometry(picture.len());
    let mut set = Bitfield::empty(geometry.pieces());
    for (piece, _) in geometry.all_pieces().zip(picture.chars()).filter(|(_, mark)| *mark == 'x') {
        set.insert(piece);
    }
    set
}

/// The availability of each piece as a digit, made of as many peers as the highest digit.
fn picker(avail: &str, have: &str, seed: u64) -> Picker {
    let config = PickerConfig { sequential: false, buffer_bytes: u64::MAX };
    let mut picker = Picker::new(geometry(avail.len()), &set(have), config, seed);
    for peer in '1'..='9' {
        let picture: String = avail.chars().map(|digit| if digit >= peer { 'x' } else { '.' }).collect();
        if picture.contains('x') {
            picker.peer_joined(&set(&picture));
        }
    }
    picker.check_invariants();
    picker
}

fn pick(picker: &mut Picker, peer: PeerKey, has: &str, count: usize, hints: PickHints<'_>) -> Vec<Block> {
    let mut out = Vec::new();
    picker.pick(peer, &set(has), count, hints, &mut out);
    picker.check_invariants();
    out
}

/// Per piece the number of blocks among these, `.` for none.
fn picture(picker: &Picker, blocks: &[Block]) -> String {
    let pieces = picker.geometry.all_pieces();
    let digit = |piece| blocks.iter().filter(|block| block.piece() == piece).count();
    pieces.map(|piece| if digit(piece) == 0 { ".".into() } else { digit(piece).to_string() }).collect()
}

fn piece(picker: &Picker, index: u32) -> PieceIndex {
    picker.geometry.piece(index).unwrap()
}

fn block(picker: &Picker, index: u32, ordinal: usize) -> Block {
    picker.geometry.block(piece(picker, index), ordinal).unwrap()
}

const PLAIN: PickHints<'static> = PickHints {
    only: None,
    suggested: &[],
    prefer_whole_pieces: false,
    random_first: false,
    only_suggested: false,
    alone: false,
    end_game: false,
};
const END_GAME: PickHints<'static> = PickHints { end_game: true, ..PLAIN };

#[track_caller]
fn picks(avail: &str, have: &str, has: &str, count: usize, expected: &str) {
    for seed in 0..20 {
        let mut picker = picker(avail, have, seed);
        let blocks = pick(&mut picker, A, has, count, PLAIN);
        assert_eq!(picture(&picker, &blocks), expected, "avail {avail} have {have} has {has} seed {seed}");
    }
}

#[test]
fn the_rarest_first() {
    picks("3213", "....", "xxxx", 2, "..2.");
    picks("3213", "....", "xxxx", 4, ".22.");
    picks("3213", "..x.", "xxxx", 2, ".2..");
    picks("3213", "..x.", "xxxx", 1, ".1..");
}

#[test]
fn equals_are_taken_at_random() {
    let mut seen = [0; 4];
    for seed in 0..400 {
        let mut picker = picker("2222", "....", seed);
        seen[pick(&mut picker, A, "xxxx", 1, PLAIN)[0].piece().as_usize()] += 1;
    }
    assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
}

#[test]
fn begun_pieces_come_first_and_the_fewest_missing_blocks_before_all() {
    let mut picker = picker("1113", "....", 1);
    let [first, _] = pick(&mut picker, A, "...x", 2, PLAIN)[..] else { panic!("two blocks") };
    picker.release(first, A);
    let blocks = pick(&mut picker, A, "xxxx", 2, PLAIN);
    assert_eq!(blocks[0], first, "its own piece, although others are rarer");
    assert_ne!(blocks[1].piece(), first.piece());
}

#[test]
fn two_peers_share_a_piece_only_when_nothing_untouched_is_left() {
    let mut picker = picker("111", "...", 1);
    let blocks: Vec<Block> = [A, B, C].into_iter().flat_map(|peer| pick(&mut picker, peer, "xxx", 1, PLAIN)).collect();
    assert_eq!(picture(&picker, &blocks), "111");
    let blocks = pick(&mut picker, D, "xxx", 9, END_GAME);
    assert_eq!(picture(&picker, &blocks), "111", "then the free blocks of the others' pieces");
}

#[test]
fn a_piece_that_somebody_left_is_taken_over_before_another_is_begun() {
    let mut picker = picker("111", "...", 1);
    let left = pick(&mut picker, A, ".x.", 2, PLAIN);
    assert!(matches!(picker.block_received(left[0], A), Received::Kept { piece_complete: false, .. }));
    assert_ne!(pick(&mut picker, B, "xxx", 1, PLAIN)[0].piece(), left[0].piece());
    picker.release(left[1], A);
    assert_eq!(pick(&mut picker, C, "xxx", 1, PLAIN), [left[1]]);
}

#[test]
fn the_budget_bounds_what_is_begun() {
    let mut picker = picker("1111", "....", 1);
    picker.config.buffer_bytes = 4 * u64::from(BLOCK_LENGTH);
    assert_eq!(pick(&mut picker, A, "xxxx", 3, PLAIN).len(), 3);
    assert_eq!(pick(&mut picker, B, "xxxx", 9, PLAIN).len(), 1, "shares, and no new piece");
    assert_eq!(pick(&mut picker, C, "xxxx", 9, END_GAME).len(), 0, "not the end game: there are untouched pieces");
    picker.config.buffer_bytes = 0;
    for piece in picker.geometry.all_pieces() {
        picker.piece_failed(piece);
    }
    assert_eq!(pick(&mut picker, A, "xxxx", 9, PLAIN).len(), 2, "a single piece is always allowed");
}

#[test]
fn end_game_asks_at_most_three_peers_and_never_one_twice() {
    let mut picker = picker("11", "x.", 1);
    assert_eq!(pick(&mut picker, A, ".x", 9, END_GAME).len(), 2);
    assert!(picker.in_end_game());
    assert_eq!(pick(&mut picker, A, ".x", 9, END_GAME).len(), 0);
    assert_eq!(pick(&mut picker, B, ".x", 9, PLAIN).len(), 0, "only if the caller wants it");
    let [again] = pick(&mut picker, B, ".x", 1, END_GAME)[..] else { panic!("one block") };
    let [other, third] = pick(&mut picker, C, ".x", 9, END_GAME)[..] else { panic!("two blocks") };
    assert!(other != again && third == again, "the block with fewer requesters first");
    assert_eq!(pick(&mut picker, D, ".x", 9, END_GAME), [other], "three have the other one");
    assert_eq!(picker.requesters(again), [A, B, C]);
    let kept = picker.block_received(again, B);
    assert_eq!(kept, Received::Kept { others: vec![A, C], piece_complete: false });
    assert_eq!(picker.requesters(again), []);
    assert_eq!(picker.block_received(again, C), Received::Unwanted);
    let Received::Kept { piece_complete: true, .. } = picker.block_received(other, C) else { panic!("complete") };
    assert_eq!(picker.contributors(again.piece()).iter().flatten().count(), 2);
    assert_eq!(pick(&mut picker, D, "xx", 9, END_GAME), [], "nothing while it is verified");
    picker.piece_verified(again.piece());
    assert!(picker.is_complete() && !picker.in_end_game() && picker.contributors(again.piece()).is_empty());
}

#[test]
fn pieces_that_nobody_can_finish_make_room_for_others() {
    let mut picker = picker("1111", "....", 1);
    picker.config.buffer_bytes = 4 * u64::from(BLOCK_LENGTH);
    let [first, second, third] = pick(&mut picker, A, "xx..", 3, PLAIN)[..] else { panic!("three blocks") };
    let _ = picker.block_received(first, A);
    let _ = picker.block_received(third, A);
    assert_eq!(pick(&mut picker, B, "..xx", 9, PLAIN), [], "the budget is spent");
    assert_eq!(picker.make_room(&set("xx..")), None, "no untouched piece");
    let room = picker.make_room(&set("..xx"));
    assert_eq!(room, Some(third.piece()), "the other is still under way");
    assert_eq!(picker.make_room(&set("..xx")), None, "there is room");
    assert_eq!(pick(&mut picker, B, "..xx", 9, PLAIN).len(), 2);
    assert_eq!(picker.make_room(&set("..xx")), None, "all are under way");
    picker.release(second, A);
    assert_eq!(picker.make_room(&set("..xx")), Some(first.piece()));
}

#[test]
fn the_end_game_wastes_little_per_peer() {
    let mut picker = picker(&"1".repeat(40), &".".repeat(40), 1);
    let all = "x".repeat(40);
    assert_eq!(pick(&mut picker, A, &all, 99, END_GAME).len(), 80);
    let again = pick(&mut picker, B, &all, 99, END_GAME);
    assert_eq!(again.len(), 8);
    assert_eq!(pick(&mut picker, B, &all, 99, END_GAME), []);
    let _ = picker.block_received(again[0], B);
    let _ = picker.block_received(again[1], A);
    assert_eq!(pick(&mut picker, B, &all, 99, END_GAME).len(), 2);
    let third = pick(&mut picker, C, &all, 99, END_GAME);
    assert!(third.iter().all(|block| picker.requesters(*block).len() == 2), "others than those that B was asked for");
}

#[test]
fn a_failed_piece_and_a_lost_one_are_fetched_again() {
    let mut picker = picker("11", "x.", 1);
    for block in pick(&mut picker, A, "xx", 9, PLAIN) {
        let _ = picker.block_received(block, A);
    }
    let (lost, failed) = (piece(&picker, 0), piece(&picker, 1));
    picker.piece_failed(failed);
    assert_eq!(pick(&mut picker, B, "xx", 9, PLAIN).len(), 2);
    assert!(!picker.wants_from(&set("x.")));
    picker.piece_lost(lost);
    assert!(picker.wants_from(&set("x.")) && picker.wants_from(&set("xx")));
    let blocks = pick(&mut picker, A, "xx", 9, PLAIN);
    assert_eq!(picture(&picker, &blocks), "2.");
}

#[test]
fn hints_are_followed() {
    let mut picker = picker("9999911", ".......", 1);
    let (slow, wanted) = (piece(&picker, 1), piece(&picker, 3));
    let hints = PickHints { only: Some(&[slow, wanted]), ..PLAIN };
    let blocks = pick(&mut picker, A, "x..xxxx", 9, hints);
    assert_eq!(picture(&picker, &blocks), "...2...", "allowed fast, and only what the peer has");
    let hints = PickHints { suggested: &[piece(&picker, 2)], ..PLAIN };
    let blocks = pick(&mut picker, A, "xxxxxxx", 2, hints);
    assert_eq!(picture(&picker, &blocks), "..2....", "suggested");
    picker.set_sequential(true);
    let blocks = pick(&mut picker, A, "xxxxxxx", 5, PLAIN);
    assert_eq!(picture(&picker, &blocks), "22..1..", "in order");
}

#[test]
fn random_first_does_not_care_for_rarity() {
    let hints = PickHints { random_first: true, ..PLAIN };
    let common = |seed| pick(&mut picker("9111", "....", seed), A, "xxxx", 1, hints)[0].piece().as_u32() == 0;
    let count = (0..200).filter(|&seed| common(seed)).count();
    assert!((20..=90).contains(&count), "{count} of 200");
}

#[test]
fn late_blocks_are_kept_while_missing_and_odd_ones_never() {
    let mut picker = picker("11", "x.", 1);
    let wanted = block(&picker, 1, 0);
    let odd = picker.geometry.wire_block(1, 1, BLOCK_LENGTH).unwrap();
    let short = picker.geometry.wire_block(1, 0, BLOCK_LENGTH - 1).unwrap();
    let had = block(&picker, 0, 0);
    for unwanted in [odd, short, had] {
        assert_eq!(picker.block_received(unwanted, A), Received::Unwanted);
    }
    assert_eq!(picker.block_received(wanted, A), Received::Kept { others: vec![], piece_complete: false });
    assert_eq!(picker.block_received(wanted, A), Received::Unwanted);
}

#[test]
fn a_peer_with_little_in_a_large_torrent_is_found_something() {
    let pieces = 100_000;
    let mut picker = picker(&"1".repeat(pieces), &".".repeat(pieces), 1);
    let mut has = Bitfield::empty(picker.geometry.pieces());
    has.insert(piece(&picker, 77_777));
    picker.peer_joined(&has);
    let mut out = Vec::new();
    picker.pick(A, &has, 9, PLAIN, &mut out);
    assert_eq!(out, [block(&picker, 77_777, 0), block(&picker, 77_777, 1)]);
}

#[derive(Clone, Debug)]
enum Step {
    Join(Vec<bool>),
    Leave(usize),
    Gain(usize, u32),
    Lose(usize, u32),
    Pick(usize, usize, bool),
    PickAlone(usize, usize),
    Disown(usize),
    Tick,
    Receive(usize),
    Release(usize),
    Verify(u32, bool),
    LosePiece(u32),
}

const PIECES: usize = 12;

fn step() -> impl Strategy<Value = Step> {
    let peer = 0..9usize;
    let piece = 0..geometry(PIECES).pieces();
    let marks = prop_oneof![proptest::collection::vec(any::<bool>(), PIECES), Just(vec![true; PIECES])];
    prop_oneof![
        1 => marks.prop_map(Step::Join),
        1 => peer.clone().prop_map(Step::Leave),
        1 => (peer.clone(), piece.clone()).prop_map(|(peer, piece)| Step::Gain(peer, piece)),
        1 => (peer.clone(), piece.clone()).prop_map(|(peer, piece)| Step::Lose(peer, piece)),
        4 => (peer.clone(), 0..9usize, any::<bool>()).prop_map(|(peer, count, end)| Step::Pick(peer, count, end)),
        2 => (peer.clone(), 0..9usize).prop_map(|(peer, count)| Step::PickAlone(peer, count)),
        1 => peer.prop_map(Step::Disown),
        1 => Just(Step::Tick),
        4 => (0..99usize).prop_map(Step::Receive),
        2 => (0..99usize).prop_map(Step::Release),
        1 => (piece.clone(), any::<bool>()).prop_map(|(piece, right)| Step::Verify(piece, right)),
        1 => piece.prop_map(Step::LosePiece),
    ]
}

/// A swarm kept in the plainest way, to compare with.
struct Model {
    picker: Picker,
    peers: Vec<(PeerKey, Bitfield)>,
    requests: Vec<(Block, PeerKey)>,
    joined: u64,
}

impl Model {
    fn pick(&mut self, peer: usize, count: usize, hints: PickHints<'_>) {
        let Some((key, has)) = self.peers.get(peer) else { return };
        let mut out = Vec::new();
        self.picker.pick(*key, has, count, hints, &mut out);
        assert!(out.len() <= count);
        for block in out {
            assert!(has.has(block.piece()), "the peer lacks it");
            assert!(!self.picker.have().has(block.piece()), "we have it");
            assert!(!self.requests.contains(&(block, *key)), "requested from this peer already");
            let others = self.requests.iter().filter(|(other, _)| *other == block).count();
            assert!(others == 0 || hints.end_game && others < 3, "requested {others} times already");
            self.requests.push((block, *key));
            assert!(self.picker.is_requested_from(block, *key));
        }
    }

    fn receive(&mut self, at: usize) {
        if self.requests.is_empty() {
            return;
        }
        let (block, peer) = self.requests[at % self.requests.len()];
        let Received::Kept { mut others, .. } = self.picker.block_received(block, peer) else { panic!("requested") };
        let mut expected: Vec<_> = self.requests.iter().filter(|(it, key)| *it == block && *key != peer).collect();
        expected.sort();
        others.sort();
        assert_eq!(others, expected.iter().map(|(_, key)| *key).collect::<Vec<_>>());
        self.requests.retain(|(it, _)| *it != block);
    }

    fn finish(&mut self, piece: PieceIndex, right: bool) {
        let complete = self.picker.contributors(piece);
        if complete.is_empty() || complete.contains(&None) {
            return;
        }
        if right { self.picker.piece_verified(piece) } else { self.picker.piece_failed(piece) }
    }

    fn change(&mut self, peer: usize, piece: PieceIndex, gains: bool) {
        let Some((key, has)) = self.peers.get_mut(peer) else { return };
        if gains && has.insert(piece) {
            self.picker.peer_gained(piece);
        }
        if !gains && has.remove(piece) {
            self.picker.peer_lost(piece);
            let key = *key;
            self.release(|block, peer| peer == key && block.piece() == piece);
        }
    }

    fn release(&mut self, which: impl Fn(Block, PeerKey) -> bool) {
        let (gone, kept) = self.requests.iter().partition(|(block, peer)| which(*block, *peer));
        self.requests = kept;
        let gone: Vec<(Block, PeerKey)> = gone;
        gone.into_iter().for_each(|(block, peer)| self.picker.release(block, peer));
    }

    fn step(&mut self, step: Step) {
        let piece = |index| geometry(PIECES).piece(index).unwrap();
        match step {
            Step::Join(marks) => {
                let picture: String = marks.iter().map(|&has| if has { 'x' } else { '.' }).collect();
                self.picker.peer_joined(&set(&picture));
                self.joined += 1;
                self.peers.push((PeerKey(self.joined), set(&picture)));
            }
            Step::Leave(peer) if peer < self.peers.len() => {
                let (key, has) = self.peers.swap_remove(peer);
                self.release(|_, peer| peer == key);
                self.picker.peer_left(&has);
            }
            Step::Leave(_) => {}
            Step::Gain(peer, index) => self.change(peer, piece(index), true),
            Step::Lose(peer, index) => self.change(peer, piece(index), false),
            Step::Pick(peer, count, end_game) => self.pick(peer, count, PickHints { end_game, ..PLAIN }),
            Step::PickAlone(peer, count) => self.pick(peer, count, PickHints { alone: true, ..PLAIN }),
            Step::Disown(peer) => {
                let keys: Vec<PeerKey> = self.peers.get(peer).map(|(key, _)| *key).into_iter().collect();
                for block in self.picker.disown(&keys) {
                    assert!(!self.picker.have().has(block.piece()), "it is missing again");
                    assert_eq!(self.picker.requesters(block), [], "nobody is asked for it");
                }
            }
            Step::Tick => self.picker.tick(),
            Step::Receive(at) => self.receive(at),
            Step::Release(at) => {
                if let Some(&(block, peer)) = self.requests.get(at) {
                    self.release(|it, key| (it, key) == (block, peer));
                }
            }
            Step::Verify(index, right) => self.finish(piece(index), right),
            Step::LosePiece(index) => self.picker.piece_lost(piece(index)),
        }
    }

    fn check(&self) {
        self.picker.check_invariants();
        for piece in self.picker.geometry.all_pieces() {
            let count = self.peers.iter().filter(|(_, has)| has.has(piece)).count();
            assert_eq!(self.picker.availability(piece) as usize, count, "availability");
        }
        for (block, peer) in &self.requests {
            assert!(self.picker.is_requested_from(*block, *peer), "a request was forgotten");
        }
        for (_, has) in &self.peers {
            let wants = self.picker.geometry.all_pieces().any(|it| has.has(it) && !self.picker.have().has(it));
            assert_eq!(self.picker.wants_from(has), wants);
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_of_operations_keeps_the_books(
        steps in proptest::collection::vec(step(), 0..200), seed: u64, sequential: bool, budget in 0..30u64,
    ) {
        let buffer_bytes = budget * u64::from(BLOCK_LENGTH);
        let config = PickerConfig { sequential, buffer_bytes };
        let picker = Picker::new(geometry(PIECES), &set("............"), config, seed);
        let mut model = Model { picker, peers: Vec::new(), requests: Vec::new(), joined: 0 };
        for step in steps {
            model.step(step);
            model.check();
        }
        // Whatever happened, a seed is enough to end it.
        model.step(Step::Join(vec![true; PIECES]));
        model.release(|_, _| true);
        let seed = model.peers.len() - 1;
        // Nor does anybody work on what was reserved.
        (0..10).for_each(|_| model.picker.tick());
        for _ in 0..2 * PIECES {
            model.pick(seed, 99, END_GAME);
            while !model.requests.is_empty() {
                model.receive(0);
            }
            for piece in model.picker.geometry.all_pieces() {
                model.finish(piece, true);
            }
            model.check();
        }
        prop_assert!(model.picker.is_complete(), "every missing block is picked in the end");
        while !model.peers.is_empty() {
            model.step(Step::Leave(0));
        }
        model.check();
    }
}

#[test]
fn a_spoiled_piece_comes_from_one_peer_alone() {
    let mut picker = picker("2", "", 1);
    let (one, other) = (PeerKey(1), PeerKey(2));
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    let has = set("x");
    picker.pick(one, &has, 1, PickHints::default(), &mut mine);
    picker.pick(other, &has, 9, PickHints::default(), &mut theirs);
    for (block, peer) in mine.iter().map(|block| (*block, one)).chain(theirs.iter().map(|block| (*block, other))) {
        let _ = picker.block_received(block, peer);
    }
    picker.piece_spoiled(piece(&picker, 0));
    mine.clear();
    picker.pick(one, &has, 1, PickHints::default(), &mut mine);
    let hints = PickHints { end_game: true, ..PickHints::default() };
    let mut others = Vec::new();
    picker.pick(other, &has, 9, hints, &mut others);
    assert_eq!((mine.len(), others.len()), (1, 0));
    let late = theirs.iter().find(|block| !mine.contains(block)).copied().unwrap();
    assert_eq!(picker.block_received(late, other), Received::Unwanted);
    // Whoever keeps it waiting shares it again, or gives it up.
    (0..=MOST_PATIENCE_S).for_each(|_| picker.tick());
    picker.pick(other, &has, 9, hints, &mut others);
    assert!(!others.is_empty());
    picker.check_invariants();
}

/// Whoever has three pieces of a hundred thousand is asked for these three, and no others are looked at.
#[test]
fn a_peer_that_has_next_to_nothing_is_asked_for_that() {
    let config = PickerConfig { sequential: false, buffer_bytes: u64::MAX };
    let geometry = geometry(100_000);
    let mut picker = Picker::new(geometry, &Bitfield::empty(geometry.pieces()), config, 7);
    let mut few = Bitfield::empty(geometry.pieces());
    for number in [5, 64_000, 99_999] {
        few.insert(geometry.piece(number).unwrap());
    }
    picker.peer_joined(&Bitfield::full(geometry.pieces()));
    picker.peer_joined(&few);
    let mut blocks = Vec::new();
    picker.pick(A, &few, 10, PLAIN, &mut blocks);
    let mut pieces: Vec<u32> = blocks.iter().map(|block| block.piece().as_u32()).collect();
    pieces.sort_unstable();
    assert_eq!(pieces, [5, 5, 64_000, 64_000, 99_999, 99_999]);
    assert!(!picker.has_open_piece(&few));
    picker.check_invariants();
}
