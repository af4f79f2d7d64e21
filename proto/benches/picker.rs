//! What a pick and a `have` cost, by the number of pieces and of peers. Neither may grow with them.
//!
//! Every peer has requests under way, as in a transfer. A fifth of the peers are seeds, the others have some thousand pieces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use divan::Bencher;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::fmt;
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::{Block, Geometry, PieceIndex};
use swarm_proto::id::PeerKey;
use swarm_proto::picker::{PickHints, Picker, PickerConfig};

fn main() {
    divan::main();
}

const PIECE_LENGTH: u64 = 256 * 1024;
/// Requests that each peer has under way.
const UNDER_WAY: usize = 32;
const SIZES: [Size; 9] = {
    const fn of(pieces: u32, peers: u64) -> Size {
        Size { pieces, peers }
    }
    [
        of(1_000, 1),
        of(1_000, 20),
        of(1_000, 200),
        of(64_000, 1),
        of(64_000, 20),
        of(64_000, 200),
        of(4_000_000, 1),
        of(4_000_000, 20),
        of(4_000_000, 200),
    ]
};

#[derive(Clone, Copy)]
struct Size {
    pieces: u32,
    peers: u64,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pieces, {} peers", self.pieces, self.peers)
    }
}

struct World {
    picker: Picker,
    geometry: Geometry,
    peers: Vec<Bitfield>,
    random: SmallRng,
}

impl World {
    fn new(size: Size) -> Self {
        let geometry = Geometry::new(u64::from(size.pieces) * PIECE_LENGTH, PIECE_LENGTH).unwrap();
        let config = PickerConfig { sequential: false, buffer_bytes: 1 << 30 };
        let mut picker = Picker::new(geometry, &Bitfield::empty(size.pieces), config, 1);
        let mut random = SmallRng::seed_from_u64(2);
        let peers: Vec<Bitfield> = (0..size.peers)
            .map(|number| if number % 5 == 0 { Bitfield::full(size.pieces) } else { some(geometry, &mut random) })
            .collect();
        peers.iter().for_each(|has| picker.peer_joined(has));
        for (key, has) in peers.iter().enumerate() {
            let mut under_way = Vec::new();
            picker.pick(PeerKey(key as u64), has, UNDER_WAY, PickHints::default(), &mut under_way);
        }
        Self { picker, geometry, peers, random }
    }

    fn random_piece(&mut self) -> PieceIndex {
        random_piece(self.geometry, &mut self.random)
    }
}

fn random_piece(geometry: Geometry, random: &mut SmallRng) -> PieceIndex {
    geometry.piece(random.random_range(0..geometry.pieces())).unwrap()
}

/// A peer that has a thousand pieces, or half of them.
fn some(geometry: Geometry, random: &mut SmallRng) -> Bitfield {
    let mut has = Bitfield::empty(geometry.pieces());
    for _ in 0..geometry.pieces().min(2_000) / 2 {
        has.insert(random_piece(geometry, random));
    }
    has
}

/// One more block for a peer, and what it costs that it is not answered.
#[divan::bench(args = SIZES)]
fn pick_and_release(bencher: Bencher, size: Size) {
    let mut world = World::new(size);
    let (mut blocks, mut turn): (Vec<Block>, usize) = (Vec::new(), 0);
    bencher.bench_local(|| {
        turn = (turn + 1) % world.peers.len();
        let peer = PeerKey(turn as u64);
        world.picker.pick(peer, &world.peers[turn], 1, PickHints::default(), &mut blocks);
        let block = blocks.pop().expect("there is always more");
        world.picker.release(block, peer);
    });
}

/// A `have`, and the loss of it.
#[divan::bench(args = SIZES)]
fn have(bencher: Bencher, size: Size) {
    let mut world = World::new(size);
    bencher.bench_local(|| {
        let piece = world.random_piece();
        world.picker.peer_gained(piece);
        world.picker.peer_lost(piece);
    });
}

/// A whole piece: picked, received, verified, and lost again, so that there is always one to fetch.
#[divan::bench(args = SIZES)]
fn whole_piece(bencher: Bencher, size: Size) {
    let mut world = World::new(size);
    let mut blocks = Vec::new();
    let count = (PIECE_LENGTH / 16_384) as usize;
    bencher.bench_local(|| {
        world.picker.pick(PeerKey(0), &world.peers[0], count, PickHints::default(), &mut blocks);
        for block in &blocks {
            let _ = world.picker.block_received(*block, PeerKey(0));
        }
        let piece = blocks.first().expect("there is always more").piece();
        world.picker.piece_verified(piece);
        world.picker.piece_lost(piece);
        blocks.clear();
    });
}
