//! Who comes again is taken for who left: a new connection gives nobody fresh rates.

use super::bench::{Bench, ROOM, WALL_MS, peer};
use crate::chat::envelope::{Body, Envelope};
use crate::chat::frame::Frame;
use crate::chat::*;
use ::bytes::Bytes;
use std::net::IpAddr;
use std::time::Duration;

/// One of many keys of one flooder.
fn puppet(at: u32) -> Identity {
    let mut secret = [11; 32];
    secret[..4].copy_from_slice(&at.to_be_bytes());
    Identity::from_secret(secret)
}

fn said(sequence: u32) -> Bytes {
    let body = Body::Say { parents: vec![], name: "x".into(), text: "spam".into() };
    let author = puppet(sequence % 400);
    let envelope = Envelope { author: author.public(), sequence: sequence.into(), time_ms: WALL_MS, body };
    envelope.seal(&ROOM, &author).1
}

fn from(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Floods over this connection with what was not said before. How much of it was shown.
fn flood(bench: &mut Bench, at: usize, sequences: std::ops::Range<u32>) -> usize {
    let before = bench.texts(0).len();
    for sequence in sequences {
        let payload = Frame::Push { hops: 5, message: said(sequence) }.encode();
        bench.rooms[0].handle_payload(bench.now, peer(at), &payload);
    }
    bench.collect();
    bench.texts(0).len() - before
}

fn connect(bench: &mut Bench, at: usize, address: &str) {
    bench.rooms[0].handle_connected_from(bench.now, peer(at), from(address));
    bench.collect();
}

fn leave(bench: &mut Bench, at: usize) {
    bench.rooms[0].handle_closed(bench.now, peer(at));
    bench.collect();
}

#[test]
fn who_floods_over_ever_new_connections_is_heard_no_more_than_who_stays() {
    let mut heard = [0; 2];
    for (comes_again, heard) in [false, true].into_iter().zip(&mut heard) {
        let mut bench = Bench::new(1);
        connect(&mut bench, 10, "192.0.2.1");
        for (round, from) in (1..30).zip((1_000..).step_by(1_000)) {
            *heard += flood(&mut bench, 9 + round, from..from + 300);
            if comes_again {
                leave(&mut bench, 9 + round);
                connect(&mut bench, 10 + round, "192.0.2.1");
            } else {
                // The same connection under another number, for the test's sake.
                let stays = bench.rooms[0].neighbours.remove(&peer(9 + round)).unwrap();
                bench.rooms[0].neighbours.insert(peer(10 + round), stays);
            }
            bench.now += Duration::from_secs(1);
        }
    }
    assert_eq!(heard, [256 + 28 * 32; 2]);
}

#[test]
fn others_have_rates_of_their_own_and_so_has_who_comes_much_later() {
    let mut bench = Bench::new(1);
    connect(&mut bench, 10, "192.0.2.1");
    assert_eq!(flood(&mut bench, 10, 0..300), 256);
    leave(&mut bench, 10);
    connect(&mut bench, 11, "192.0.2.2");
    assert_eq!(flood(&mut bench, 11, 1_000..1_300), 256, "another address");
    connect(&mut bench, 12, "::ffff:192.0.2.1");
    assert_eq!(flood(&mut bench, 12, 2_000..2_300), 0, "the same in other clothes");
    connect(&mut bench, 13, "192.0.2.1");
    assert_eq!(flood(&mut bench, 13, 3_000..3_300), 256, "two at a time are two neighbours");
    leave(&mut bench, 12);
    leave(&mut bench, 13);
    bench.now += Duration::from_secs(1_300);
    connect(&mut bench, 14, "192.0.2.1");
    assert_eq!((flood(&mut bench, 14, 4_000..4_300), bench.rooms[0].returning.count()), (256, 0));
}

#[test]
fn a_household_has_one_network_of_the_many_addresses_it_has() {
    let mut bench = Bench::new(1);
    connect(&mut bench, 10, "2001:db8:0:1::1");
    assert_eq!(flood(&mut bench, 10, 0..300), 256);
    leave(&mut bench, 10);
    connect(&mut bench, 11, "2001:db8:0:2::1");
    assert_eq!(flood(&mut bench, 11, 1_000..1_300), 256, "a neighbour's house");
    connect(&mut bench, 12, "2001:db8:0:1:ffff:ffff:ffff:ffff");
    assert_eq!(flood(&mut bench, 12, 2_000..2_300), 0);
}

#[test]
fn who_was_closed_for_lies_is_closed_at_the_next_one() {
    let mut bench = Bench::new(1);
    let lie = |bench: &mut Bench, at: usize| {
        bench.rooms[0].handle_payload(bench.now, peer(at), &Bytes::from_static(&[1, 5, 0]));
        bench.collect();
        bench.closed.len()
    };
    connect(&mut bench, 10, "192.0.2.1");
    assert_eq!([10; 4].map(|at| lie(&mut bench, at)), [0, 0, 0, 1]);
    leave(&mut bench, 10);
    connect(&mut bench, 11, "192.0.2.1");
    assert_eq!(lie(&mut bench, 11), 2);
    connect(&mut bench, 12, "192.0.2.9");
    assert_eq!([12; 4].map(|at| lie(&mut bench, at)), [2, 2, 2, 3]);
}

#[test]
fn so_many_are_remembered_and_the_first_who_left_make_room() {
    let mut bench = Bench::new(1);
    connect(&mut bench, 10, "192.0.2.1");
    assert_eq!(flood(&mut bench, 10, 0..300), 256);
    leave(&mut bench, 10);
    let others = |bench: &mut Bench, range: std::ops::Range<u8>| {
        for at in range {
            connect(bench, 500 + usize::from(at), &format!("10.0.0.{at}"));
            leave(bench, 500 + usize::from(at));
        }
    };
    others(&mut bench, 0..255);
    assert_eq!(bench.rooms[0].returning.count(), 256);
    connect(&mut bench, 11, "192.0.2.1");
    assert_eq!(flood(&mut bench, 11, 1_000..1_300), 0, "remembered as the last of 256");
    leave(&mut bench, 11);
    connect(&mut bench, 12, "10.1.0.1");
    leave(&mut bench, 12);
    others(&mut bench, 0..255);
    assert_eq!(bench.rooms[0].returning.count(), 256);
}

#[test]
fn an_honest_program_that_connects_again_and_again_is_heard_as_ever() {
    let mut bench = Bench::line(2);
    bench.cut(0, 1);
    for round in 0..40 {
        for (one, two) in [(0, 1), (1, 0)] {
            bench.links.insert((one, two));
            bench.rooms[one].handle_connected_from(bench.now, peer(two), from(&format!("192.0.2.{two}")));
        }
        bench.settle();
        bench.say(1, &round.to_string());
        bench.run(5);
        bench.cut(0, 1);
        bench.say(0, &format!("alone {round}"));
        bench.run(5);
    }
    assert_eq!(bench.texts(0).iter().filter(|text| !text.starts_with("alone")).count(), 40);
    assert_eq!(bench.texts(1).iter().filter(|text| text.starts_with("alone")).count(), 39);
    let stats = [0, 1].map(|at| bench.rooms[at].stats().rate_limited);
    assert_eq!(stats, [0; 2], "nothing was refused");
}
