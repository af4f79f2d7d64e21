//! What liars and flooders achieve: nothing beyond their own first words.

use super::bench::{Bench, ROOM, WALL_MS, identity, key, peer};
use crate::chat::envelope::{Body, Envelope};
use crate::chat::frame::Frame;
use crate::chat::*;
use crate::limits;
use ::bytes::Bytes;

/// A signed message to the room of somebody whose program says what it likes.
fn said(at: usize, sequence: u64, parents: Vec<MessageId>, text: &str) -> (MessageId, Bytes) {
    let body = Body::Say { parents, name: format!("p{at}"), text: text.into() };
    let envelope = Envelope { author: key(at), sequence, time_ms: WALL_MS, body };
    envelope.seal(&ROOM, &identity(at))
}

/// A room whose only neighbour is the test itself, under this number.
fn lone() -> (Bench, usize) {
    let mut bench = Bench::new(1);
    bench.rooms[0].handle_connected(bench.now, peer(9));
    bench.collect();
    (bench, 9)
}

fn push(bench: &mut Bench, message: Bytes) {
    let payload = Frame::Push { hops: 5, message }.encode();
    bench.rooms[0].handle_payload(bench.now, peer(9), &payload);
    bench.collect();
}

#[test]
fn forged_messages_are_refused_counted_and_end_the_connection() {
    let (mut bench, _) = lone();
    let (_, genuine) = said(5, 1, vec![], "hello");
    for at in [0, 40, 60, genuine.len() - 1] {
        let mut forged = genuine.to_vec();
        forged[at] ^= 1;
        push(&mut bench, forged.into());
    }
    let stats = bench.rooms[0].stats();
    assert_eq!((stats.forged + stats.malformed, stats.delivered), (4, 0));
    assert_eq!(bench.closed, [(0, 9)]);
    push(&mut bench, genuine);
    assert_eq!(bench.rooms[0].stats().delivered, 1, "the genuine one is not taken for a repetition");
}

#[test]
fn replays_are_refused_however_old_they_are() {
    let (mut bench, _) = lone();
    let (_, first) = said(5, 1, vec![], "first");
    push(&mut bench, first.clone());
    for _ in 0..5 {
        push(&mut bench, first.clone());
    }
    assert_eq!((bench.rooms[0].stats().delivered, bench.rooms[0].stats().replayed), (1, 5));
    // Long after it has been forgotten.
    for sequence in 2..limits::CHAT_SEEN as u64 + 10 {
        bench.now += std::time::Duration::from_millis(900);
        let (_, message) = said(5, sequence, vec![], "more");
        push(&mut bench, message);
    }
    let delivered = bench.rooms[0].stats().delivered;
    assert_eq!(delivered, limits::CHAT_SEEN as u64 + 9);
    push(&mut bench, first);
    assert_eq!((bench.rooms[0].stats().delivered, bench.rooms[0].stats().replayed), (delivered, 6));
}

#[test]
fn a_flooder_is_heard_for_a_moment_and_then_not_for_ten_minutes() {
    let mut bench = Bench::line(3);
    bench.rooms[1].handle_connected(bench.now, peer(9));
    bench.collect();
    let flood = |bench: &mut Bench, sequences: std::ops::Range<u64>| {
        for sequence in sequences {
            let (_, message) = said(5, sequence, vec![], "spam");
            let payload = Frame::Push { hops: limits::CHAT_HOPS, message }.encode();
            bench.rooms[1].handle_payload(bench.now, peer(9), &payload);
        }
        bench.settle();
    };
    flood(&mut bench, 1..2_000);
    let spam = |bench: &Bench, at: usize| bench.texts(at).iter().filter(|text| **text == "spam").count();
    assert_eq!([spam(&bench, 0), spam(&bench, 1), spam(&bench, 2)], [16; 3]);
    assert_eq!(bench.rooms[1].stats().muted, 1);
    bench.run(500);
    flood(&mut bench, 2_000..2_100);
    assert_eq!(spam(&bench, 1), 16, "still not listened to");
    bench.run(101);
    flood(&mut bench, 2_100..2_101);
    assert_eq!(spam(&bench, 2), 17);
    bench.say(0, "and the others go on");
    bench.settle();
    assert_eq!(bench.texts(2).last(), Some(&"and the others go on"));
}

#[test]
fn a_forger_cannot_use_up_what_somebody_else_may_say() {
    let (mut bench, _) = lone();
    for sequence in 1..500 {
        let (_, message) = said(5, sequence, vec![], "x");
        let mut forged = message.to_vec();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        push(&mut bench, forged.into());
    }
    let (_, message) = said(5, 1_000, vec![], "genuine");
    push(&mut bench, message);
    assert_eq!(bench.texts(0), ["genuine"]);
}

#[test]
fn what_names_parents_that_never_were_waits_in_bounded_memory_and_only_for_a_while() {
    let (mut bench, _) = lone();
    for sequence in 1..=60u8 {
        let parents = (0..limits::CHAT_PARENTS)
            .map(|at| MessageId([sequence, u8::try_from(at).unwrap(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        let (_, message) = said(5, sequence.into(), parents.collect(), "never");
        // Slowly enough to be within the author's rate.
        bench.now += std::time::Duration::from_secs(1);
        push(&mut bench, message);
    }
    assert!(bench.texts(0).is_empty());
    assert_eq!(bench.rooms[0].stats().rate_limited, 60 - limits::CHAT_PENDING_PER_AUTHOR as u64);
    let (_, honest) = said(6, 1, vec![], "hello");
    push(&mut bench, honest);
    assert_eq!(bench.texts(0), ["hello"], "nobody else waits");
    bench.run(30);
    assert_eq!(bench.texts(0).len(), 1 + limits::CHAT_PENDING_PER_AUTHOR);
}

#[test]
fn what_nobody_asked_for_is_not_taken() {
    let (mut bench, _) = lone();
    let (id, message) = said(5, 1, vec![], "hello");
    bench.run(10);
    // The room asked for everything when it met the neighbour; that is over once the neighbour says so.
    bench.rooms[0].handle_payload(bench.now, peer(9), &Frame::Given(vec![]).encode());
    let given = bench.rooms[0].stats().unasked;
    for at in 0..80 {
        let (_, other) = said(5, 10 + at, vec![], "past");
        bench.rooms[0].handle_payload(bench.now, peer(9), &Frame::Past { message: other }.encode());
    }
    bench.collect();
    let before = bench.rooms[0].stats().unasked;
    assert_eq!(before - given, 80 - 64, "{:?}", bench.rooms[0].stats());
    bench.rooms[0].handle_payload(bench.now, peer(9), &Frame::Past { message }.encode());
    bench.collect();
    assert!(!bench.texts(0).contains(&"hello"), "{id}");
}

#[test]
fn thousands_of_keys_are_let_in_slowly_and_in_bounded_memory() {
    let (mut bench, _) = lone();
    for at in 0..1_500u32 {
        let mut secret = [9; 32];
        secret[..4].copy_from_slice(&at.to_be_bytes());
        let identity = Identity::from_secret(secret);
        let body = Body::Presence { noise_key: [1; 32], here: true, name: format!("n{at}") };
        let envelope = Envelope { author: identity.public(), sequence: 1, time_ms: WALL_MS, body };
        push(&mut bench, envelope.seal(&ROOM, &identity).1);
    }
    assert_eq!(bench.rooms[0].people().len(), 513, "as many as a neighbour may bring at once, and us");
}

#[test]
fn hops_that_lie_or_are_used_up_go_no_further() {
    let mut bench = Bench::line(4);
    bench.rooms[0].handle_connected(bench.now, peer(9));
    bench.collect();
    for (hops, sequence, text) in [(1, 1, "near"), (0, 2, "nearest"), (255, 3, "far")] {
        let (_, message) = said(5, sequence, vec![], text);
        bench.rooms[0].handle_payload(bench.now, peer(9), &Frame::Push { hops, message }.encode());
        bench.settle();
    }
    assert_eq!(bench.texts(0), ["near", "nearest", "far"]);
    assert_eq!(bench.texts(1), ["far"], "not pushed on; they are told of it, and may ask");
    assert_eq!(bench.texts(3), ["far"]);
}

#[test]
fn a_neighbour_that_floods_with_frames_is_cut_off() {
    let (mut bench, _) = lone();
    for _ in 0..10_000 {
        bench.rooms[0].handle_payload(bench.now, peer(9), &Frame::Know(vec![MessageId([1; 16])]).encode());
    }
    bench.collect();
    assert!(bench.closed.contains(&(0, 9)));
    assert!(bench.rooms[0].stats().rate_limited > 4_000);
}

#[test]
fn everything_is_given_only_so_often() {
    let mut bench = Bench::new(1);
    for _ in 0..3 {
        bench.say(0, &"x".repeat(3_000));
    }
    bench.rooms[0].handle_connected(bench.now, peer(9));
    bench.collect();
    let before = bench.rooms[0].stats().sent;
    for _ in 0..100 {
        bench.rooms[0].handle_payload(bench.now, peer(9), &Frame::Have { age_s: 0, ids: vec![] }.encode());
        bench.collect();
    }
    let stats = bench.rooms[0].stats();
    assert_eq!((stats.sent - before, stats.rate_limited), (3, 96), "each message once, and four answers");
    let again = Frame::Want(bench.rooms[0].messages().iter().map(|message| message.id).collect());
    bench.rooms[0].handle_payload(bench.now, peer(9), &again.encode());
    assert_eq!(bench.rooms[0].stats().sent - before, 6, "what did not come after all is asked for by its id");
}

/// A flood of somebody that the one in the middle of three hears, and the two others through it.
fn flooded(bench: &mut Bench, sequences: std::ops::Range<u64>) {
    for sequence in sequences {
        let (_, message) = said(5, sequence, vec![], "spam");
        let payload = Frame::Push { hops: limits::CHAT_HOPS, message }.encode();
        bench.rooms[1].handle_payload(bench.now, peer(9), &payload);
    }
    bench.settle();
}

#[test]
fn what_was_heard_of_a_flood_is_told_to_be_hidden_and_no_history() {
    let mut bench = Bench::line(3);
    bench.rooms[1].handle_connected(bench.now, peer(9));
    bench.say(0, "before");
    bench.settle();
    flooded(&mut bench, 1..5);
    bench.run(61);
    bench.forget_events();
    flooded(&mut bench, 5..200);
    let muted = |event: &ChatEvent| match event {
        ChatEvent::Muted { person, hidden } => Some((person.key, *hidden)),
        _ => None,
    };
    assert_eq!(bench.events[1].iter().filter_map(muted).collect::<Vec<_>>(), [(key(5), 16)], "once");
    assert_eq!(bench.rooms[1].messages().len(), 1 + 4, "what is older than the flood stays");
    let new = bench.enter_as(3, "new");
    bench.link(1, new);
    bench.say(0, "after");
    bench.run(3);
    assert_eq!(bench.texts(new), ["before", "spam", "spam", "spam", "spam", "after"]);
    assert_eq!(bench.rooms[new].stats().gaps, 0);
}

#[test]
fn who_floods_again_is_muted_for_twice_as_long() {
    let mut bench = Bench::line(3);
    bench.rooms[1].handle_connected(bench.now, peer(9));
    bench.collect();
    let spam = |bench: &Bench| bench.texts(1).iter().filter(|text| **text == "spam").count();
    let mut from = 1;
    for (minutes, heard) in [(10, 16), (20, 32), (40, 48)] {
        flooded(&mut bench, from..from + 100);
        assert_eq!(spam(&bench), heard);
        bench.run(minutes * 60 - 10);
        flooded(&mut bench, from + 100..from + 101);
        assert_eq!(spam(&bench), heard, "still muted");
        bench.run(11);
        from += 101;
    }
}

#[test]
fn nobody_waits_for_what_a_flooder_said_that_others_have_answered_to() {
    let mut bench = Bench::line(2);
    bench.rooms[1].handle_connected(bench.now, peer(9));
    bench.collect();
    flooded(&mut bench, 1..100);
    bench.run(5);
    // Somebody else was shown one more of these, and answers to it.
    let (id, spam) = said(5, 1_000, vec![], "spam");
    bench.forget_events();
    bench.rooms[0].handle_payload(bench.now, peer(1), &Frame::Push { hops: 0, message: spam }.encode());
    bench.say(0, "what is that?");
    bench.run(4);
    assert_eq!((bench.texts(0), bench.texts(1)), (vec!["spam", "what is that?"], vec!["what is that?"]));
    let stats = bench.rooms[1].stats();
    assert_eq!((stats.gaps, stats.delivered), (0, 17), "{id} is there, and hidden");
}

#[test]
fn what_of_a_flood_had_to_wait_is_not_shown_later() {
    let mut bench = Bench::line(3);
    bench.rooms[1].handle_connected(bench.now, peer(9));
    bench.collect();
    let (_, waits) = said(5, 1, vec![MessageId([1; 16])], "waits");
    bench.rooms[1].handle_payload(bench.now, peer(9), &Frame::Push { hops: 0, message: waits }.encode());
    flooded(&mut bench, 2..100);
    bench.run(60);
    assert!(!bench.texts(1).contains(&"waits"), "{:?}", bench.texts(1));
    assert_eq!(bench.rooms[1].messages().len(), 0);
}
