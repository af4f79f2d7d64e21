//! `cargo bench -p swarm-hash`: bytes a second of one core, of each method that the processor has, 16 pieces at a time.
//!
//! The last method is the crate `sha1`, one piece after the other.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use swarm_hash::Method;

/// Pieces at a time: as many as the widest method has lanes.
const PIECES: usize = 16;

fn main() {
    divan::main();
}

/// Lanes of each method.
fn methods() -> Vec<usize> {
    Method::all().map(Method::lanes).collect()
}

#[divan::bench(args = methods(), consts = [16_384, 262_144, 1_048_576], sample_count = 50)]
fn pieces<const LENGTH: usize>(bencher: Bencher<'_, '_>, lanes: usize) {
    let data: Vec<u8> = (0..=250).cycle().take(PIECES * LENGTH).collect();
    let pieces: Vec<&[u8]> = data.chunks(LENGTH).collect();
    let method = Method::all().find(|method| method.lanes() == lanes).unwrap_or_else(Method::best);
    bencher.counter(BytesCount::new(PIECES * LENGTH)).bench_local(|| method.digest(black_box(&pieces)));
}

/// A few pieces at a time, as they come from peers.
#[divan::bench(args = [1, 2, 4, 8, 10, 12, 16], sample_count = 50)]
fn few(bencher: Bencher<'_, '_>, count: usize) {
    const LENGTH: usize = 1_048_576;
    let data: Vec<u8> = (0..=250).cycle().take(count * LENGTH).collect();
    let pieces: Vec<&[u8]> = data.chunks(LENGTH).collect();
    bencher.counter(BytesCount::new(count * LENGTH)).bench_local(|| Method::best().digest(black_box(&pieces)));
}
