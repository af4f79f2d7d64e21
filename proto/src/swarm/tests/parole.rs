//! Pieces that are wrong by nobody knows whose fault, and those who may have done it.

use super::*;
use rand::rngs::StdRng;
use std::collections::BTreeSet;

const RIGHT: [u8; 20] = [0; 20];
const WRONG: [u8; 20] = [9; 20];

impl Bench {
    /// What it is asked for and has not answered.
    fn pending(&self, of: PeerKey) -> Vec<Block> {
        let peer = self.swarm.peers.get(&of);
        peer.map_or_else(Vec::new, |peer| peer.download.requests.iter().map(|pending| pending.block).collect())
    }
}

/// A piece came half from each of two seeds, and is wrong. Nothing else of theirs is here.
fn spoiled(bench: &mut Bench) -> (PeerKey, PeerKey, PieceIndex) {
    let config = SwarmConfig { buffer_bytes: PIECE_LENGTH, ..bench.swarm.config.clone() };
    let roomy = SwarmConfig { buffer_bytes: 1 << 20, ..config.clone() };
    bench.swarm = Swarm::new(config, bench.swarm.geometry, Bitfield::empty(PIECES), 1, bench.now);
    // Both share the only piece that the budget allows.
    let (one, blocks) = bench.seed(1);
    bench.swarm.handle_message(bench.now, one, Message::Choke);
    bench.deliver(one, &blocks);
    let (other, rest) = bench.seed(2);
    let piece = blocks[0].piece();
    assert_eq!((blocks.len(), rest.len(), rest[0].piece()), (1, 1, piece), "the piece that was left");
    assert!(bench.deliver(other, &rest).contains(&Output::Verify { piece, digests: false }));
    bench.swarm.config = roomy;
    bench.swarm.picker.set_buffer_bytes(1 << 20);
    bench.write(piece, VerifyOutcome::Mismatch { digests: vec![WRONG, RIGHT] });
    (one, other, piece)
}

fn pieces_of(blocks: &[Block]) -> BTreeSet<u32> {
    blocks.iter().map(|block| block.piece().as_u32()).collect()
}

#[test]
fn suspects_get_one_piece_each_until_one_is_right() {
    let mut bench = Bench::new("........");
    let (one, other, spoiled) = spoiled(&mut bench);
    let outputs = bench.say(one, Message::Unchoke);
    let (mine, theirs) = (bench.requests(&outputs, one), bench.pending(other));
    assert_eq!((mine.len(), theirs.len()), (2, 2), "{mine:?}, {theirs:?}");
    assert_eq!((pieces_of(&mine).len(), pieces_of(&theirs).len()), (1, 1));
    assert!(pieces_of(&mine).is_disjoint(&pieces_of(&theirs)));
    assert_eq!(bench.deliver(other, &theirs[..1]).len(), 0, "no block of another piece is asked for");
    let last = bench.deliver(other, &theirs[1..]);
    assert_eq!(bench.requests(&last, other), [], "nothing before the verdict");
    let piece = theirs[0].piece();
    let digests = if piece == spoiled { vec![RIGHT; 2] } else { Vec::new() };
    let outputs = bench.write(piece, VerifyOutcome::Written { digests });
    assert!(pieces_of(&bench.requests(&outputs, other)).len() > 1, "no suspect any more: {outputs:?}");
}

#[test]
fn a_suspicion_ends() {
    let mut bench = Bench::new("........");
    let (one, other, _) = spoiled(&mut bench);
    bench.say(other, Message::Choke);
    bench.swarm.handle_closed(bench.now, other);
    bench.wait(Duration::from_secs(59));
    let outputs = bench.say(one, Message::Unchoke);
    assert_eq!(pieces_of(&bench.requests(&outputs, one)).len(), 1);
    let outputs = bench.wait(Duration::from_secs(3));
    assert!(!bench.requests(&outputs, one).is_empty(), "{outputs:?}");
}

#[test]
fn what_a_suspect_left_behind_is_fetched_again() {
    let mut bench = Bench::new("........");
    let (one, other, _) = spoiled(&mut bench);
    let outputs = bench.say(one, Message::Unchoke);
    let mine = bench.requests(&outputs, one);
    bench.deliver(one, &mine[..1]);
    let wasted = bench.swarm.stats(bench.now).wasted;
    bench.swarm.handle_closed(bench.now, one);
    let outputs = bench.wait(Duration::from_secs(1));
    assert!(outputs.contains(&Output::ForgetBlock { block: mine[0] }), "{outputs:?}");
    assert_eq!(bench.swarm.stats(bench.now).wasted - wasted, u64::from(mine[0].length()));
    bench.swarm.handle_closed(bench.now, other);
    let (_, honest) = bench.seed(3);
    assert_eq!(honest.len(), 2, "a stranger gets one whole piece while pieces are wrong");
}

#[test]
fn what_a_suspect_leaves_is_not_finished_by_others_meanwhile() {
    let mut bench = Bench::new("........");
    let (one, other, spoiled) = spoiled(&mut bench);
    let outputs = bench.say(one, Message::Unchoke);
    let mine = bench.requests(&outputs, one);
    bench.deliver(one, &mine[..1]);
    // The other one clears itself, and would like to have all that nobody works on.
    let theirs = bench.pending(other);
    bench.deliver(other, &theirs);
    let piece = theirs[0].piece();
    let digests = if piece == spoiled { vec![WRONG, WRONG] } else { Vec::new() };
    bench.swarm.handle_closed(bench.now, one);
    bench.write(piece, VerifyOutcome::Written { digests });
    assert!(!bench.swarm.is_on_parole(bench.now, other), "{piece:?} of {spoiled:?}");
    assert!(bench.pending(other).iter().all(|block| block.piece() != mine[0].piece()), "{:?}", bench.pending(other));
    let outputs = bench.wait(Duration::from_secs(2));
    assert!(outputs.contains(&Output::ForgetBlock { block: mine[0] }), "{outputs:?}");
    assert!(!bench.swarm.picker.contributors(mine[0].piece()).contains(&Some(one)), "nothing of it is left");
}

#[test]
fn nothing_of_a_liar_is_kept() {
    let mut bench = Bench::new("........");
    let (liar, blocks) = bench.seed(1);
    let first = blocks[0].piece();
    let (of_first, others): (Vec<Block>, Vec<Block>) = blocks.into_iter().partition(|block| block.piece() == first);
    bench.deliver(liar, &of_first);
    let half: Vec<Block> = others.into_iter().filter(|block| block.begin() == 0).collect();
    bench.deliver(liar, &half);
    assert!(half.len() > 2);
    let outputs = bench.write(first, VerifyOutcome::Mismatch { digests: vec![WRONG; 2] });
    assert_eq!(closed(&outputs), Some(CloseReason::Fault(PeerFault::CorruptData)));
    let forgotten = half.iter().filter(|block| outputs.contains(&Output::ForgetBlock { block: **block })).count();
    assert_eq!(forgotten, half.len());
    assert_eq!(bench.swarm.picker.begun_bytes(), 0);
}

/// Peers that give wrong blocks, choke, leave and come again beside an honest one that does all of that but lie.
struct Lab {
    bench: Bench,
    random: StdRng,
    wrong: BTreeSet<(u32, usize)>,
    here: Vec<(u8, PeerKey)>,
}

impl Lab {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::new("........");
        let mut random = StdRng::seed_from_u64(seed);
        let buffer_bytes = PIECE_LENGTH * random.random_range(1..10);
        let config = SwarmConfig { buffer_bytes, sequential: random.random(), ..bench.swarm.config.clone() };
        bench.swarm = Swarm::new(config, bench.swarm.geometry, Bitfield::empty(PIECES), seed, bench.now);
        Self { bench, random, wrong: BTreeSet::new(), here: Vec::new() }
    }

    fn come(&mut self, number: u8) {
        let Ok(peer) = self.bench.try_connect(number, ALL, Direction::Incoming) else { return };
        self.here.retain(|(_, key)| self.bench.swarm.peers.contains_key(key));
        self.here.push((number, peer));
        self.bench.swarm.handle_message(self.bench.now, peer, Message::HaveAll);
        self.bench.swarm.handle_message(self.bench.now, peer, Message::Unchoke);
    }

    /// Something happens at a peer; the honest one has the number 0.
    fn step(&mut self) {
        let number = self.random.random_range(0..4);
        let Some(&(_, peer)) = self.here.iter().find(|(it, _)| *it == number) else { return self.come(number) };
        let now = self.bench.now;
        match self.random.random_range(0..20) {
            0 => {
                self.here.retain(|(_, key)| *key != peer);
                self.bench.swarm.handle_closed(now, peer);
            }
            1 => {
                self.bench.swarm.handle_message(now, peer, Message::Choke);
                for block in self.bench.pending(peer) {
                    let reject = Message::Reject(block.piece().as_u32(), block.begin(), block.length());
                    self.bench.swarm.handle_message(now, peer, reject);
                }
            }
            2..4 => self.bench.swarm.handle_message(now, peer, Message::Unchoke),
            _ => self.give(number, peer),
        }
    }

    fn give(&mut self, number: u8, peer: PeerKey) {
        let Some(&block) = self.bench.pending(peer).first() else { return };
        let lie = number > 0 && self.random.random_range(0..u32::from(number)) == 0;
        if self.bench.swarm.handle_block(self.bench.now, peer, block) == BlockVerdict::Keep && lie {
            self.wrong.insert((block.piece().as_u32(), block.ordinal()));
        }
    }

    fn obey(&mut self) {
        for output in self.bench.outputs() {
            match output {
                Output::Close { peer, .. } => self.here.retain(|(_, key)| *key != peer),
                Output::Forget { piece } => self.wrong.retain(|(of, _)| *of != piece.as_u32()),
                Output::ForgetBlock { block } => {
                    self.wrong.remove(&(block.piece().as_u32(), block.ordinal()));
                }
                Output::Verify { piece, .. } => self.judge(piece),
                _ => {}
            }
        }
    }

    fn judge(&mut self, piece: PieceIndex) {
        let digest = |ordinal| if self.wrong.contains(&(piece.as_u32(), ordinal)) { WRONG } else { RIGHT };
        let digests: Vec<_> = (0..2).map(digest).collect();
        self.wrong.retain(|(of, _)| *of != piece.as_u32());
        let right = digests.iter().all(|digest| *digest == RIGHT);
        let outcome = if right { VerifyOutcome::Written { digests } } else { VerifyOutcome::Mismatch { digests } };
        self.bench.swarm.handle_disk(self.bench.now, DiskDone::Verified { piece, outcome });
        self.obey();
    }
}

#[test]
fn with_one_honest_peer_among_liars_nothing_stalls() {
    let mut failed = 0;
    for seed in 0..200 {
        let mut lab = Lab::new(seed);
        let mut seconds = 0;
        while !lab.bench.swarm.is_complete() {
            for _ in 0..4 {
                lab.step();
                lab.obey();
            }
            lab.bench.now += Duration::from_secs(1);
            lab.bench.swarm.handle_timeout(lab.bench.now);
            lab.obey();
            seconds += 1;
            assert!(seconds < 600, "seed {seed}: {:?}", lab.bench.swarm.have());
        }
        failed += lab.bench.swarm.stats(lab.bench.now).failed_pieces;
    }
    assert!(failed > 200, "{failed} pieces were wrong");
}

#[test]
fn a_piece_that_only_suspects_can_give_comes_soon() {
    let mut bench = Bench::new("........");
    let (one, other, _) = spoiled(&mut bench);
    // All but the piece that the other one begins is there already; it leaves that half done, and only a suspect is left.
    bench.say(one, Message::Unchoke);
    let theirs = bench.pending(other);
    bench.deliver(other, &theirs[..1]);
    bench.swarm.parole.acquit(super::super::bans::Mark::of(([10, 0, 0, 2], 6881).into(), PeerId([2; 20])));
    bench.swarm.handle_closed(bench.now, other);
    let mut seconds = 0;
    while !bench.swarm.is_complete() {
        for block in bench.pending(one) {
            for output in bench.deliver(one, &[block]) {
                if let Output::Verify { piece, digests } = output {
                    // It was the other one's block.
                    let digests = if digests { vec![WRONG, WRONG] } else { Vec::new() };
                    // Never acquitted: as if all of it came in pieces of others.
                    bench.write(piece, VerifyOutcome::Written { digests });
                    let mark = super::super::bans::Mark::of(([10, 0, 0, 1], 6881).into(), PeerId([1; 20]));
                    bench.swarm.parole.suspect(bench.now, mark);
                    bench.swarm.parole.be_wary(bench.now);
                }
            }
        }
        bench.wait(Duration::from_secs(1));
        seconds += 1;
        assert!(seconds < 30, "{:?}", bench.swarm.have());
    }
}
