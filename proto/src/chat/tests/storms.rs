//! Many keys, many ids, many names: whoever makes them up keeps nobody else out.

use super::bench::{Bench, ROOM, WALL_MS, identity, key, peer};
use crate::chat::envelope::{Body, Envelope};
use crate::chat::frame::{Decoded, Frame};
use crate::chat::*;
use crate::limits;
use ::bytes::Bytes;
use std::time::Duration;

/// One of many people who are none.
fn puppet(at: u32) -> Identity {
    let mut secret = [9; 32];
    secret[..4].copy_from_slice(&at.to_be_bytes());
    Identity::from_secret(secret)
}

fn signed(identity: &Identity, sequence: u64, body: Body) -> (MessageId, Bytes) {
    Envelope { author: identity.public(), sequence, time_ms: WALL_MS, body }.seal(&ROOM, identity)
}

fn say(identity: &Identity, sequence: u64, text: &str) -> (MessageId, Bytes) {
    signed(identity, sequence, Body::Say { parents: vec![], name: "x".into(), text: text.into() })
}

fn presence(identity: &Identity, sequence: u64, name: &str) -> (MessageId, Bytes) {
    let body = Body::Presence { noise_key: *identity.noise_public(), here: true, name: name.into() };
    signed(identity, sequence, body)
}

/// A room whose neighbours are the test itself, under numbers from 10 on.
fn among(neighbours: usize) -> Bench {
    let mut bench = Bench::new(1);
    for at in 0..neighbours {
        bench.rooms[0].handle_connected(bench.now, peer(10 + at));
    }
    bench.collect();
    bench
}

fn hand(bench: &mut Bench, from: usize, frame: &Frame) {
    bench.rooms[0].handle_payload(bench.now, peer(from), &frame.encode());
}

fn push(bench: &mut Bench, from: usize, message: Bytes) {
    hand(bench, from, &Frame::Push { hops: 5, message });
}

/// Frames that the room sends now.
fn sent(bench: &mut Bench) -> Vec<(PeerKey, Frame)> {
    let outputs = std::iter::from_fn(|| bench.rooms[0].poll_output());
    let frames = outputs.filter_map(|output| match output {
        Output::Send { neighbour, payload } => match Frame::decode(&payload) {
            Decoded::Frame(frame) => Some((neighbour, frame)),
            _ => None,
        },
        _ => None,
    });
    frames.collect()
}

#[test]
fn who_tells_of_messages_that_are_none_keeps_nobody_from_being_heard() {
    let mut bench = among(3);
    sent(&mut bench);
    let word = |at: u32| {
        let id = |low: u32| MessageId(std::array::from_fn(|place| (at * 64 + low).to_be_bytes()[place % 4]));
        Frame::Know((0..64).map(id).collect())
    };
    // Two of them, so that both have as much as they can get.
    (0..200).for_each(|at| hand(&mut bench, 10 + at as usize % 2, &word(at)));
    let (id, message) = say(&identity(5), 1, "hello");
    hand(&mut bench, 12, &Frame::Know(vec![id]));
    (200..400).for_each(|at| hand(&mut bench, 10 + at as usize % 2, &word(at)));
    bench.rooms[0].check_invariants();
    bench.now += Duration::from_secs(1);
    bench.rooms[0].handle_timeout(bench.now);
    let asked = sent(&mut bench);
    let ids = |frame: &Frame| if let Frame::Want(ids) = frame { ids.clone() } else { Vec::new() };
    assert!(asked.iter().any(|(to, frame)| *to == peer(12) && ids(frame) == [id]), "{} frames", asked.len());
    let wanted: usize = asked.iter().map(|(_, frame)| ids(frame).len()).sum();
    assert!(wanted <= limits::CHAT_WANTED, "no more is asked for than is told of: {wanted}");
    hand(&mut bench, 12, &Frame::Past { message });
    bench.collect();
    assert_eq!(bench.texts(0), ["hello"]);
}

#[test]
fn whoever_only_says_to_have_a_message_does_not_hide_it() {
    let mut bench = among(5);
    sent(&mut bench);
    let (id, message) = say(&identity(5), 1, "hello");
    // Four liars first, and then the one who has it.
    (10..15).for_each(|from| hand(&mut bench, from, &Frame::Know(vec![id])));
    for _ in 0..10 {
        bench.now += Duration::from_secs(2);
        bench.rooms[0].handle_timeout(bench.now);
        let asked = sent(&mut bench);
        if asked.iter().any(|(to, frame)| *to == peer(14) && *frame == Frame::Want(vec![id])) {
            hand(&mut bench, 14, &Frame::Past { message: message.clone() });
        }
    }
    bench.collect();
    assert_eq!(bench.texts(0), ["hello"]);
}

#[test]
fn a_crowd_behind_one_neighbour_keeps_no_newcomer_out() {
    let mut bench = among(6);
    push(&mut bench, 15, presence(&identity(5), 1, "early").1);
    // As many as there is room for, all of them here.
    for at in 0..2_200u32 {
        let from = 10 + (at % 5) as usize;
        push(&mut bench, from, presence(&puppet(at), 1, &format!("n{at}")).1);
    }
    bench.collect();
    assert_eq!(bench.rooms[0].people().len(), limits::CHAT_PEOPLE);
    bench.now += Duration::from_secs(60);
    push(&mut bench, 15, presence(&identity(6), 1, "late").1);
    push(&mut bench, 15, say(&identity(6), 2, "hello").1);
    bench.collect();
    let people = bench.rooms[0].people();
    for name in ["early", "late"] {
        assert!(people.iter().any(|person| person.name == name && person.here), "{name}");
    }
    assert_eq!((bench.texts(0), people.len()), (vec!["hello"], limits::CHAT_PEOPLE));
}

#[test]
fn many_keys_say_no_more_than_one_neighbour_may_bring() {
    let mut bench = among(1);
    hand(&mut bench, 10, &Frame::Given(vec![]));
    for at in 0..3_000u32 {
        push(&mut bench, 10, say(&puppet(at % 500), u64::from(at) + 1, "spam").1);
    }
    bench.collect();
    assert_eq!(bench.texts(0).len(), 256);
    bench.now += Duration::from_secs(1);
    for at in 3_000..4_000u32 {
        push(&mut bench, 10, say(&puppet(at % 500), u64::from(at) + 1, "spam").1);
    }
    bench.collect();
    assert_eq!(bench.texts(0).len(), 256 + 32);
}

#[test]
fn a_history_of_many_keys_is_no_longer_than_a_history() {
    let mut bench = among(1);
    for at in 0..3_000u32 {
        let message = say(&puppet(at % 500), u64::from(at) + 1, "spam").1;
        hand(&mut bench, 10, &Frame::Past { message });
    }
    bench.collect();
    assert_eq!(bench.texts(0).len(), 576);
}

#[test]
fn names_that_strangers_make_up_push_out_no_friends() {
    let mut bench = Bench::new(0);
    let friend = |at: u32| BookEntry {
        key: puppet(90_000 + at).public(),
        name: format!("friend {at}"),
        trust: Pinned::FirstSeen,
    };
    let book: Vec<BookEntry> = (0..3_000).map(friend).collect();
    let config = RoomConfig {
        room: ROOM,
        identity: identity(0),
        name: "p0".into(),
        book,
        look_up_names: true,
        wall_ms: WALL_MS,
    };
    bench.enter(config);
    (10..14).for_each(|at| bench.rooms[0].handle_connected(bench.now, peer(at)));
    for sequence in 1..9u64 {
        for at in 0..2_000u32 {
            let name = format!("n{at} {sequence}");
            push(&mut bench, 10 + (at % 4) as usize, presence(&puppet(at), sequence, &name).1);
        }
        bench.now += Duration::from_secs(20);
        bench.collect();
    }
    let forgotten = bench.remembered[0].iter().filter_map(|output| match output {
        Output::Forget(key) => Some(*key),
        _ => None,
    });
    let forgotten: Vec<PublicKey> = forgotten.collect();
    let friends: Vec<PublicKey> = (0..3_000).map(|at| friend(at).key).collect();
    let lost = friends.iter().filter(|key| forgotten.contains(key)).count();
    assert!(forgotten.len() > 1_000 && lost <= 512, "{lost} of {} that were forgotten are friends", forgotten.len());
    // Whoever takes the name of a friend is flagged as ever.
    push(&mut bench, 13, presence(&puppet(70_000), 1, "Friend 2999").1);
    bench.collect();
    let flagged =
        |event: &ChatEvent| matches!(event, ChatEvent::NameChangedKey { pinned, .. } if *pinned == friends[2_999]);
    assert!(bench.events[0].iter().any(flagged));
}

#[test]
fn signatures_are_looked_at_last() {
    let mut bench = among(1);
    for at in 0..600u32 {
        push(&mut bench, 10, presence(&puppet(at), 1, "n").1);
    }
    let before = bench.rooms[0].stats();
    for at in 1_000..2_000u32 {
        let mut forged = presence(&puppet(at), 1, "n").1.to_vec();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        push(&mut bench, 10, forged.into());
    }
    bench.collect();
    let after = bench.rooms[0].stats();
    assert_eq!((before.forged, after.forged, bench.closed.len()), (0, 0, 0), "nobody looked");
    assert_eq!(after.rate_limited - before.rate_limited, 1_000);
}

#[test]
fn whoever_was_forgotten_cannot_be_made_to_speak_again() {
    let mut bench = among(5);
    let (_, first) = say(&identity(5), 1, "first");
    push(&mut bench, 10, first.clone());
    // It falls out of the memory for messages, and its author out of that for people, in either order.
    let talk = |bench: &mut Bench, keys: std::ops::Range<u32>| {
        for at in keys {
            bench.now += Duration::from_millis(600);
            push(bench, 10 + (at % 5) as usize, say(&puppet(at % 2_500), u64::from(at) + 10, "more").1);
        }
        bench.collect();
    };
    talk(&mut bench, 0..u32::try_from(limits::CHAT_SEEN).unwrap() + 10);
    assert!(bench.rooms[0].people.author(&key(5)).is_none(), "forgotten");
    let (shown, replayed) = (bench.texts(0).len(), bench.rooms[0].stats().replayed);
    push(&mut bench, 10, first.clone());
    push(&mut bench, 11, first);
    bench.collect();
    let texts = bench.texts(0);
    assert_eq!(texts.iter().filter(|text| **text == "first").count(), 1);
    assert_eq!((texts.len(), bench.rooms[0].stats().replayed > replayed), (shown, true));
}

#[test]
fn the_largest_numbers_and_times_wedge_nobody() {
    let mut bench = among(1);
    let say_at = |sequence: u64, time_ms: u64, text: &str| {
        let body = Body::Say { parents: vec![], name: "x".into(), text: text.into() };
        Envelope { author: key(5), sequence, time_ms, body }.seal(&ROOM, &identity(5)).1
    };
    push(&mut bench, 10, say_at(u64::MAX, u64::MAX, "last"));
    push(&mut bench, 10, say_at(7, 0, "first"));
    push(&mut bench, 10, say(&identity(6), 1, "another").1);
    bench.say(0, "own");
    bench.collect();
    assert_eq!(bench.texts(0), ["last", "first", "another", "own"]);
    // A presence of the end of time keeps out its own successors, and nobody else's.
    push(&mut bench, 10, presence(&identity(5), u64::MAX, "max").1);
    push(&mut bench, 10, presence(&identity(5), 9, "nine").1);
    push(&mut bench, 10, presence(&identity(6), 9, "six").1);
    bench.collect();
    let names: Vec<_> = bench.names(0);
    assert!(
        names.contains(&"max".to_owned()) && names.contains(&"six".to_owned()) && !names.contains(&"nine".to_owned())
    );
}

#[test]
fn what_was_signed_in_another_room_is_forged_here() {
    let mut bench = among(1);
    let other = InfoHash([8; 20]);
    let body = Body::Presence { noise_key: [1; 32], here: true, name: "guest".into() };
    let envelope = Envelope { author: key(5), sequence: u64::MAX, time_ms: WALL_MS, body };
    push(&mut bench, 10, envelope.seal(&other, &identity(5)).1);
    assert_eq!((bench.rooms[0].stats().forged, bench.rooms[0].people().len()), (1, 1));
    push(&mut bench, 10, presence(&identity(5), 1, "guest").1);
    assert_eq!(bench.rooms[0].people().len(), 2, "its number counts nothing here");
}

#[test]
fn a_neighbour_who_hides_history_hides_nothing_that_is_said_later() {
    let mut bench = Bench::line(2);
    let old: Vec<MessageId> = (0..5).map(|at| bench.say(0, &format!("old {at}"))).collect();
    bench.settle();
    let new = bench.enter_as(2, "new");
    bench.rooms[new].handle_connected(bench.now, peer(9));
    let lie = Frame::Given(old.clone()).encode();
    bench.rooms[new].handle_payload(bench.now, peer(9), &lie);
    bench.link(1, new);
    bench.run(2);
    assert!(bench.texts(new).is_empty(), "what was said before is the word of the first neighbour");
    bench.say(0, "later");
    bench.run(1);
    let [ChatEvent::Message(message)] =
        &bench.events[new].iter().filter(|it| matches!(it, ChatEvent::Message(_))).collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", bench.events[new])
    };
    assert_eq!((message.text.as_str(), message.gap, message.past), ("later", false, false));
}

#[test]
fn what_waits_for_nothing_is_bounded_and_keeps_nobody_else_waiting() {
    let mut bench = among(2);
    let never = |of: u32| {
        let id = |at: u32| MessageId(std::array::from_fn(|place| (of * 64 + at).to_be_bytes()[place % 4]));
        (0..48).map(id).collect::<Vec<_>>()
    };
    for at in 0..400u32 {
        let body = Body::Say { parents: never(at), name: "x".into(), text: "never".into() };
        push(&mut bench, 10, signed(&puppet(at % 40), u64::from(at) + 1, body).1);
    }
    assert_eq!(bench.rooms[0].waiting.pending_ids().count(), limits::CHAT_PENDING);
    sent(&mut bench);
    // An answer overtakes its question, and there is no room for it to wait.
    let (question, asked) = say(&identity(5), 1, "question");
    let body = Body::Say { parents: vec![question], name: "x".into(), text: "answer".into() };
    let (answer, answered) = signed(&identity(6), 1, body);
    push(&mut bench, 11, answered.clone());
    push(&mut bench, 11, asked);
    bench.now += Duration::from_secs(1);
    bench.rooms[0].handle_timeout(bench.now);
    let asks = |(to, frame): &(PeerKey, Frame)| *to == peer(11) && *frame == Frame::Want(vec![answer]);
    assert!(sent(&mut bench).iter().any(asks));
    hand(&mut bench, 11, &Frame::Past { message: answered });
    bench.collect();
    let honest: Vec<_> = bench.texts(0).into_iter().filter(|text| *text != "never").collect();
    assert_eq!(honest, ["question", "answer"]);
}

#[test]
fn whoever_asks_for_very_much_is_given_so_much_a_second() {
    let mut bench = among(0);
    let ids = [bench.say(0, "one"), bench.say(0, "two")];
    bench.rooms[0].handle_connected(bench.now, peer(10));
    sent(&mut bench);
    let all = |bench: &mut Bench| {
        (0..100).for_each(|_| hand(bench, 10, &Frame::Want([ids; 32].concat())));
        sent(bench).iter().filter(|(_, frame)| matches!(frame, Frame::Past { .. })).count()
    };
    assert_eq!(all(&mut bench), 1_024);
    bench.now += Duration::from_secs(10);
    assert_eq!(all(&mut bench), 320);
}

#[test]
fn nothing_goes_on_for_longer_than_its_hops() {
    let mut bench = among(2);
    hand(&mut bench, 10, &Frame::Given(vec![]));
    sent(&mut bench);
    let mut pushed = |hops: u8, sequence: u64| {
        let (_, message) = say(&identity(5), sequence, "x");
        hand(&mut bench, 10, &Frame::Push { hops, message });
        let hops = |(to, frame)| match frame {
            Frame::Push { hops, .. } if to == peer(11) => Some(hops),
            _ => None,
        };
        sent(&mut bench).into_iter().find_map(hops)
    };
    assert_eq!([pushed(255, 1), pushed(33, 2), pushed(32, 3)], [Some(31); 3], "more count as 32");
    assert_eq!([pushed(2, 4), pushed(1, 5), pushed(0, 6)], [Some(1), None, None]);
    let mut routed = |hops: u8, sequence: u64| {
        let body = Body::Direct { to: key(6), payload: Bytes::from_static(b"sealed") };
        let (_, message) = signed(&identity(5), sequence, body);
        hand(&mut bench, 10, &Frame::Route { hops, message });
        let hops = |(to, frame)| match frame {
            Frame::Push { hops, .. } | Frame::Route { hops, .. } if to == peer(11) => Some(hops),
            _ => None,
        };
        sent(&mut bench).into_iter().find_map(hops)
    };
    assert_eq!([routed(255, 7), routed(2, 8), routed(1, 9), routed(0, 10)], [Some(31), Some(1), None, None]);
}

#[test]
fn what_was_asked_for_is_told_of_and_not_pushed_on() {
    let mut bench = among(2);
    sent(&mut bench);
    let (id, message) = say(&identity(5), 1, "x");
    hand(&mut bench, 10, &Frame::Past { message });
    bench.now += Duration::from_secs(1);
    bench.rooms[0].handle_timeout(bench.now);
    let frames = sent(&mut bench);
    assert!(frames.contains(&(peer(11), Frame::Know(vec![id]))), "{frames:?}");
    assert!(!frames.iter().any(|(_, frame)| matches!(frame, Frame::Push { .. })), "{frames:?}");
}

#[test]
fn what_the_blocked_said_is_given_to_nobody_and_nothing_is_brought_to_them() {
    let mut bench = among(2);
    hand(&mut bench, 10, &Frame::Given(vec![]));
    let (id, message) = say(&identity(5), 1, "x");
    push(&mut bench, 10, message);
    push(&mut bench, 11, presence(&identity(6), 1, "six").1);
    let now = bench.now;
    let asked = |bench: &mut Bench| {
        sent(bench);
        hand(bench, 11, &Frame::Want(vec![id]));
        sent(bench).len()
    };
    assert_eq!(asked(&mut bench), 1);
    bench.rooms[0].block(now, key(5)).unwrap();
    assert_eq!(asked(&mut bench), 0);
    let brought = |bench: &mut Bench, sequence: u64| {
        let body = Body::Direct { to: key(6), payload: Bytes::from_static(b"sealed") };
        hand(bench, 10, &Frame::Route { hops: 9, message: signed(&identity(7), sequence, body).1 });
        sent(bench).len()
    };
    assert_eq!(brought(&mut bench, 1), 1);
    bench.rooms[0].block(now, key(6)).unwrap();
    assert_eq!((brought(&mut bench, 2), bench.rooms[0].stats().relayed_direct), (0, 1));
}

#[test]
fn ids_to_be_told_wait_for_a_moment_but_not_in_masses() {
    let mut bench = among(2);
    sent(&mut bench);
    let give = |bench: &mut Bench, messages: std::ops::Range<u32>| {
        for at in messages {
            hand(bench, 10, &Frame::Past { message: say(&puppet(at), 1, "x").1 });
        }
        bench.rooms[0].check_invariants();
        let knows = sent(bench).into_iter().filter_map(|(to, frame)| match frame {
            Frame::Know(ids) if to == peer(11) => Some(ids.len()),
            _ => None,
        });
        knows.collect::<Vec<_>>()
    };
    assert_eq!(give(&mut bench, 0..127), [0_usize; 0], "told soon, all at once");
    assert_eq!(give(&mut bench, 127..128), [64, 64], "as many as may wait");
    assert_eq!(give(&mut bench, 128..138), [0_usize; 0]);
    bench.now += Duration::from_millis(500);
    bench.rooms[0].handle_timeout(bench.now);
    assert_eq!(give(&mut bench, 138..138), [10]);
}
