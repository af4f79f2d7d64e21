//! Every method against the crate `sha1`.

use super::*;
use proptest::prelude::*;
use sha1::{Digest, Sha1};

/// Bytes in which no two blocks are alike.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn expected(messages: &[&[u8]]) -> Vec<[u8; DIGEST_LENGTH]> {
    messages.iter().map(|message| Sha1::digest(message).into()).collect()
}

/// What this run has looked at, to be asserted: methods that the processor lacks cannot be tested on it.
fn check(messages: &[&[u8]]) {
    let expected = expected(messages);
    for method in Method::all() {
        assert!(method.digest(messages) == expected, "{method:?}: {:?}", messages.iter().map(|it| it.len()));
    }
}

#[test]
fn the_methods_are_those_of_the_processor() {
    let lanes: Vec<usize> = Method::all().map(Method::lanes).collect();
    assert_eq!(lanes.last(), Some(&1), "there is always one");
    assert!(lanes.is_sorted_by(|wide, narrow| wide > narrow));
    #[cfg(target_arch = "x86_64")]
    {
        assert_eq!(lanes.contains(&16), std::arch::is_x86_feature_detected!("avx512vbmi2"));
        assert_eq!(lanes.contains(&8), std::arch::is_x86_feature_detected!("avx2"));
    }
}

#[test]
fn every_length_in_every_lane() {
    let data = bytes(300, 1);
    for length in 0..=300 {
        let message = &data[..length];
        check(&[message; 33]);
    }
}

#[test]
fn any_number_of_messages_of_different_lengths() {
    let data = bytes(300, 2);
    for count in 0..=33 {
        // Each lane is once the longest, the shortest, and empty.
        for turn in 0..17 {
            let messages: Vec<&[u8]> = (0..count).map(|lane| &data[lane..][..(lane + turn) % 17 * 16]).collect();
            check(&messages);
        }
    }
}

#[test]
fn parts_of_any_length_add_up() {
    let data = bytes(100_000, 3);
    let whole = data.as_chunks::<BLOCK_LENGTH>().0;
    for method in Method::all() {
        let mut partials = vec![Partial::new(); 16];
        let mut from = 0;
        for count in [0, 1, 7, 500, 2] {
            let mut parts: Vec<Part<'_>> = Vec::new();
            for (lane, partial) in partials.iter_mut().enumerate() {
                parts.push(Part { partial, blocks: &whole[lane..][from..from + count] });
            }
            method.advance(&mut parts);
            assert!(parts.iter().all(|part| part.blocks.is_empty()));
            from += count;
        }
        for (lane, partial) in partials.into_iter().enumerate() {
            let message = &data[lane * BLOCK_LENGTH..][..from * BLOCK_LENGTH + lane * 9];
            let digest: [u8; DIGEST_LENGTH] = Sha1::digest(message).into();
            assert_eq!(partial.finish(&message[from * BLOCK_LENGTH..]), digest, "{method:?}, lane {lane}");
        }
    }
}

proptest! {
    #[test]
    fn any_messages(lengths in prop::collection::vec(0usize..3000, 0..40), seed: u64) {
        let owned: Vec<Vec<u8>> = lengths.iter().zip(seed..).map(|(&length, seed)| bytes(length, seed)).collect();
        check(&owned.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
}
