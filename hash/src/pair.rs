//! The rounds of SHA-1 (FIPS 180-4) with the SHA instructions, for two messages in turn.
//!
//! Each of these instructions waits for the one before it for longer than it takes, so that one message leaves half of the
//! unit idle; a second one fills it. Faster than the lanes of the vectors as long as there are few messages.

use crate::{Block, State};
use fearless_simd::kernel;
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_sha1msg1_epu32, _mm_sha1msg2_epu32,
    _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32, _mm_shuffle_epi8, _mm_unpackhi_epi64, _mm_xor_si128,
};

kernel!(
    /// Hashes as many blocks of both messages as the shorter one has. The token stands for the SHA instructions too.
    pub(crate) fn advance(avx512: Avx512, states: &mut [State; 2], messages: [&[Block]; 2]) {
        let _ = avx512;
        // The instructions want the first word of four in the highest place.
        let order = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
        let [mut abcd0, mut abcd1] = states.map(|[a, b, c, d, _]| words(a, b, c, d));
        let [mut e0, mut e1] = states.map(|[.., e]| words(e, 0, 0, 0));
        for (block0, block1) in messages[0].iter().zip(messages[1]) {
            let (abcd_before, e_before) = ([abcd0, abcd1], [e0, e1]);
            let mut w0 = load(block0).map(|four| _mm_shuffle_epi8(four, order));
            let mut w1 = load(block1).map(|four| _mm_shuffle_epi8(four, order));
            e0 = _mm_add_epi32(e0, w0[0]);
            e1 = _mm_add_epi32(e1, w1[0]);
            // Four rounds of both. What comes out of them gives the `e` of the next four.
            macro_rules! four_rounds {
                ($function:literal: $($number:literal)*) => {$(
                    const { assert!($number / 5 == $function) };
                    let (before0, before1) = (abcd0, abcd1);
                    abcd0 = _mm_sha1rnds4_epu32::<$function>(abcd0, e0);
                    abcd1 = _mm_sha1rnds4_epu32::<$function>(abcd1, e1);
                    if $number < 19 {
                        const NEXT: usize = $number + 1;
                        if NEXT >= 4 {
                            extend!(w0, NEXT);
                            extend!(w1, NEXT);
                        }
                        e0 = _mm_sha1nexte_epu32(before0, w0[NEXT % 4]);
                        e1 = _mm_sha1nexte_epu32(before1, w1[NEXT % 4]);
                    } else {
                        e0 = _mm_sha1nexte_epu32(before0, e_before[0]);
                        e1 = _mm_sha1nexte_epu32(before1, e_before[1]);
                    }
                )*};
            }
            // The four words of the schedule with this number, in the place of those four numbers before.
            macro_rules! extend {
                ($w:ident, $number:expr) => {
                    let of_three = _mm_xor_si128(
                        _mm_sha1msg1_epu32($w[$number % 4], $w[($number + 1) % 4]),
                        $w[($number + 2) % 4],
                    );
                    $w[$number % 4] = _mm_sha1msg2_epu32(of_three, $w[($number + 3) % 4]);
                };
            }
            four_rounds!(0: 0 1 2 3 4);
            four_rounds!(1: 5 6 7 8 9);
            four_rounds!(2: 10 11 12 13 14);
            four_rounds!(3: 15 16 17 18 19);
            abcd0 = _mm_add_epi32(abcd0, abcd_before[0]);
            abcd1 = _mm_add_epi32(abcd1, abcd_before[1]);
        }
        *states = [state(abcd0, e0), state(abcd1, e1)];
    }
);

/// Four words, the first in the highest place.
#[inline]
#[target_feature(enable = "sse2")]
fn words(first: u32, second: u32, third: u32, fourth: u32) -> __m128i {
    let pair = |high: u32, low: u32| (u64::from(high) << 32 | u64::from(low)).cast_signed();
    _mm_set_epi64x(pair(first, second), pair(third, fourth))
}

/// The bytes of a block, as they lie in memory.
#[inline]
#[target_feature(enable = "sse2")]
fn load(block: &Block) -> [__m128i; 4] {
    let mut eights = block.as_chunks().0.iter().map(|eight| i64::from_le_bytes(*eight));
    let mut next = || eights.next().unwrap_or_default();
    std::array::from_fn(|_| {
        let low = next();
        _mm_set_epi64x(next(), low)
    })
}

#[inline]
#[target_feature(enable = "sse2")]
fn state(abcd: __m128i, e: __m128i) -> State {
    let halves = |vector: __m128i| {
        let [high, low] =
            [_mm_unpackhi_epi64(vector, vector), vector].map(|half| _mm_cvtsi128_si64(half).to_le_bytes());
        let word = |bytes: &[u8; 8], upper: bool| {
            let (fours, _) = bytes.as_chunks();
            fours.get(usize::from(upper)).map_or(0, |four| u32::from_le_bytes(*four))
        };
        [word(&high, true), word(&high, false), word(&low, true), word(&low, false)]
    };
    let [a, b, c, d] = halves(abcd);
    let [e, ..] = halves(e);
    [a, b, c, d, e]
}
