//! What a flood costs whoever hears it, a message: by the check at which it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use std::time::{Duration, Instant};
use swarm_proto::chat::{Identity, MessageId, Room, RoomConfig, craft};
use swarm_proto::id::{InfoHash, PeerKey};

fn main() {
    divan::main();
}

const ROOM: InfoHash = InfoHash([7; 20]);
const MESSAGES: u32 = 200;

fn puppet(at: u32) -> Identity {
    let mut secret = [5; 32];
    secret[..4].copy_from_slice(&at.to_be_bytes());
    Identity::from_secret(secret)
}

fn said(author: u32, sequence: u64) -> Bytes {
    let head = craft::Head { room: ROOM, sequence, time_ms: 0 };
    craft::push(9, craft::say(&head, &puppet(author), &[], "n", &"x".repeat(200)).1)
}

fn room(now: Instant) -> Room {
    let config =
        RoomConfig { room: ROOM, identity: puppet(0), name: "p".into(), book: vec![], look_up_names: true, wall_ms: 1 };
    let mut room = Room::new(config, [1; 32], now).expect("a good name");
    room.handle_connected(now, PeerKey(1));
    room
}

/// A room that has heard these, hears those, and is asked each time when it is to be called again, as a shell does.
fn hears(bencher: Bencher, before: &[Bytes], then: &[Bytes]) {
    hears_later(bencher, Duration::from_secs(60), before, then);
}

fn hears_later(bencher: Bencher, after: Duration, before: &[Bytes], then: &[Bytes]) {
    let now = Instant::now();
    let later = now + after;
    bencher
        .counter(ItemsCount::new(then.len()))
        .with_inputs(|| {
            let mut room = room(now);
            before.iter().for_each(|payload| room.handle_payload(now, PeerKey(1), payload));
            room
        })
        .bench_local_refs(|room| {
            for payload in then {
                room.handle_payload(later, PeerKey(1), black_box(payload));
                black_box(room.poll_timeout());
            }
        });
}

#[divan::bench]
fn news(bencher: Bencher) {
    hears(bencher, &[], &(0..MESSAGES).map(|at| said(1 + at % 50, u64::from(at) + 1)).collect::<Vec<_>>());
}

#[divan::bench]
fn the_same_again(bencher: Bencher) {
    let one = said(1, 1);
    hears(bencher, std::slice::from_ref(&one), &vec![one.clone(); MESSAGES as usize]);
}

#[divan::bench]
fn of_somebody_muted(bencher: Bencher) {
    let flood: Vec<Bytes> = (0..100).map(|at| said(1, at + 1)).collect();
    hears(bencher, &flood, &(0..MESSAGES).map(|at| said(1, u64::from(at) + 1_000)).collect::<Vec<_>>());
}

#[divan::bench]
fn of_one_stranger_too_many(bencher: Bencher) {
    let crowd: Vec<Bytes> = (1..700).map(|at| said(at, 1)).collect();
    hears(bencher, &crowd, &(0..MESSAGES).map(|at| said(10_000 + at, 1)).collect::<Vec<_>>());
}

/// 64 ids each, of messages that nobody has.
fn words(from: u32, frames: u32) -> Vec<Bytes> {
    let id = |at: u32| {
        let mut id = [at.to_be_bytes()[3]; 16];
        id[1..5].copy_from_slice(&at.to_be_bytes());
        MessageId(id)
    };
    (from..from + frames).map(|frame| craft::know((0..64).map(|at| id(frame * 64 + at)).collect())).collect()
}

/// A payload is 64 ids here.
#[divan::bench]
fn ids_that_nobody_has(bencher: Bencher) {
    hears_later(bencher, Duration::from_millis(100), &words(0, 16), &words(16, MESSAGES));
}

/// Messages that wait for what nobody has, and news meanwhile.
#[divan::bench]
fn news_while_others_wait(bencher: Bencher) {
    let never =
        |of: u32| (0..48).map(|at| MessageId([of as u8, at, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4])).collect();
    let waiting = |at: u32| {
        let head = craft::Head { room: ROOM, sequence: u64::from(at) + 1, time_ms: 0 };
        let parents: Vec<MessageId> = never(at);
        craft::push(9, craft::say(&head, &puppet(1_000 + at % 40), &parents, "n", "x").1)
    };
    let before: Vec<Bytes> = (0..256).map(waiting).collect();
    let later = Duration::from_secs(8);
    hears_later(
        bencher,
        later,
        &before,
        &(0..MESSAGES).map(|at| said(1 + at % 50, u64::from(at) + 1)).collect::<Vec<_>>(),
    );
}
