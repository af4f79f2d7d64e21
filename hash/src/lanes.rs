//! The rounds of SHA-1 (FIPS 180-4) over vectors: lane n of each vector belongs to message n.
//!
//! Written for vectors of any width; the compiler makes `vprold` of the rotations and `vpternlogd` of the functions where
//! there is AVX-512. It may use such instructions only in what it has inlined into [`advance`]: so everything here is always
//! inlined, and no vector goes through a closure. Owns the order of the operations, and nothing else.

use crate::{Block, LANES, State};
use fearless_simd::{Simd, prelude::*};

/// Rows of a block that is cut into vectors, and words of a block.
const WORDS: usize = 16;

/// The constants of the four times twenty rounds.
const CONSTANTS: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];

/// Hashes as many blocks as the shortest lane has. Of fewer lanes than [`LANES`] the first ones count.
#[inline]
pub(crate) fn advance<S: Simd>(simd: S, states: &mut [State; LANES], lanes: &[&[Block]; LANES]) {
    simd.vectorize(
        #[inline(always)]
        || advance_vectors(simd, states, lanes),
    );
}

#[inline(always)]
fn advance_vectors<S: Simd>(simd: S, states: &mut [State; LANES], lanes: &[&[Block]; LANES]) {
    let width = S::u32s::LEN;
    let mut state = load_state(simd, states);
    let swap = swap_bytes(simd);
    let mut streams = lanes.map(|blocks| blocks.iter());
    let streams = streams.get_mut(..width).unwrap_or_default();
    let count = lanes.iter().take(width).map(|blocks| blocks.len()).min().unwrap_or(0);
    for _ in 0..count {
        let mut words = [S::u32s::splat(simd, 0); WORDS];
        load_words(simd, swap, streams, &mut words);
        let outcome = rounds(simd, words, state);
        for (word, added) in state.iter_mut().zip(&outcome) {
            *word += *added;
        }
    }
    store_state::<S>(state, states);
}

/// The words of the states as vectors.
#[inline(always)]
fn load_state<S: Simd>(simd: S, states: &[State; LANES]) -> [S::u32s; 5] {
    let mut rows = [[0; LANES]; 5];
    for (lane, state) in states.iter().enumerate() {
        for (row, word) in rows.iter_mut().zip(state) {
            row.iter_mut().skip(lane).take(1).for_each(|place| *place = *word);
        }
    }
    let mut state = [S::u32s::splat(simd, 0); 5];
    for (vector, row) in state.iter_mut().zip(&rows) {
        *vector = S::u32s::from_slice(simd, row.get(..S::u32s::LEN).unwrap_or_default());
    }
    state
}

#[inline(always)]
fn store_state<S: Simd>(state: [S::u32s; 5], states: &mut [State; LANES]) {
    for (number, vector) in state.iter().enumerate() {
        for (lane, word) in states.iter_mut().zip(vector.as_slice()) {
            lane.iter_mut().skip(number).take(1).for_each(|place| *place = *word);
        }
    }
}

/// The order that makes little-endian words of big-endian ones, for [`Simd`]'s swizzle within 16 bytes.
#[inline(always)]
fn swap_bytes<S: Simd>(simd: S) -> S::u8s {
    const ORDER: [u8; 16] = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];
    S::u8s::block_splat(ORDER.simd_into(simd))
}

/// Takes the next block of each stream: word n of all of them becomes vector n.
#[inline(always)]
fn load_words<S: Simd>(
    simd: S,
    swap: S::u8s,
    streams: &mut [std::slice::Iter<'_, Block>],
    words: &mut [S::u32s; WORDS],
) {
    let width = S::u32s::LEN;
    for (lane, stream) in streams.iter_mut().enumerate() {
        let Some(block) = stream.next() else { return };
        for (row, bytes) in words.iter_mut().skip(lane).step_by(width).zip(block.chunks_exact(4 * width)) {
            *row = S::u32s::from_bytes(S::u8s::from_slice(simd, bytes).swizzle_dyn_within_blocks(swap));
        }
    }
    for square in words.chunks_exact_mut(width) {
        transpose::<S>(square);
    }
}

/// Swaps rows and columns of a square. Each step deals the two halves of the rows out alternately, as one shuffles cards:
/// as many steps as the width has bits, and every number has its row and its column swapped.
#[inline(always)]
fn transpose<S: Simd>(rows: &mut [S::u32s]) {
    let mut step = 1;
    while step < rows.len() {
        let Some(&filler) = rows.first() else { return };
        let mut dealt = [filler; WORDS];
        let (front, back) = rows.split_at(rows.len() / 2);
        for (pair, (low, high)) in dealt.as_chunks_mut::<2>().0.iter_mut().zip(front.iter().zip(back)) {
            *pair = low.interleave(*high).into();
        }
        for (row, new) in rows.iter_mut().zip(&dealt) {
            *row = *new;
        }
        step *= 2;
    }
}

#[inline(always)]
fn rotate<S: Simd>(vector: S::u32s, by: u32) -> S::u32s {
    (vector << by) | (vector >> (32 - by))
}

#[inline(always)]
fn choose<S: Simd>(b: S::u32s, c: S::u32s, d: S::u32s) -> S::u32s {
    d ^ (b & (c ^ d))
}

#[inline(always)]
fn parity<S: Simd>(b: S::u32s, c: S::u32s, d: S::u32s) -> S::u32s {
    b ^ c ^ d
}

#[inline(always)]
fn majority<S: Simd>(b: S::u32s, c: S::u32s, d: S::u32s) -> S::u32s {
    (b & c) | (d & (b | c))
}

/// The eighty rounds; what comes out is to be added to the state.
#[inline(always)]
fn rounds<S: Simd>(simd: S, mut words: [S::u32s; WORDS], state: [S::u32s; 5]) -> [S::u32s; 5] {
    let [mut a, mut b, mut c, mut d, mut e] = state;
    // One round. The vectors trade places by being named in turn, so that none is moved.
    macro_rules! round {
        ($number:expr, $function:ident, $a:ident $b:ident $c:ident $d:ident $e:ident) => {
            const NUMBER: usize = $number;
            const AT: usize = NUMBER % WORDS;
            if NUMBER >= WORDS {
                let of_13 = words[(AT + 13) % WORDS] ^ words[(AT + 8) % WORDS];
                words[AT] = rotate::<S>(of_13 ^ words[(AT + 2) % WORDS] ^ words[AT], 1);
            }
            let constant = S::u32s::splat(simd, CONSTANTS[NUMBER / 20]);
            $e = $e + words[AT] + constant + $function::<S>($b, $c, $d) + rotate::<S>($a, 5);
            $b = rotate::<S>($b, 30);
        };
    }
    macro_rules! five_rounds {
        ($function:ident: $($first:literal)*) => {$(
            { round!($first, $function, a b c d e); }
            { round!($first + 1, $function, e a b c d); }
            { round!($first + 2, $function, d e a b c); }
            { round!($first + 3, $function, c d e a b); }
            { round!($first + 4, $function, b c d e a); }
        )*};
    }
    five_rounds!(choose: 0 5 10 15);
    five_rounds!(parity: 20 25 30 35);
    five_rounds!(majority: 40 45 50 55);
    five_rounds!(parity: 60 65 70 75);
    [a, b, c, d, e]
}
