//! What is said to the room.

use super::bench::{Bench, WALL_MS, key};
use crate::chat::*;
use std::time::Duration;

#[test]
fn two_people_hear_each_other_once_and_know_it() {
    let mut bench = Bench::line(2);
    let id = bench.say(0, "hello");
    bench.settle();
    let [ChatEvent::Message(own), ChatEvent::Heard { id: heard, neighbours: 1 }] = &bench.events[0][..] else {
        panic!("{:?}", bench.events[0])
    };
    assert_eq!((own.own, own.id, *heard, own.time_ms), (true, id, id, WALL_MS + 5_000));
    let [ChatEvent::Message(message)] = &bench.events[1][..] else { panic!("{:?}", bench.events[1]) };
    let expected = ChatMessage { own: false, ..own.clone() };
    assert_eq!(message, &expected);
    assert_eq!((message.name.as_str(), message.author, message.gap, message.past), ("p0", key(0), false, false));
    bench.run(300);
    assert_eq!((bench.texts(0), bench.texts(1)), (vec!["hello"], vec!["hello"]));
}

#[test]
fn a_line_of_neighbours_hears_everything_from_both_ends() {
    let mut bench = Bench::line(12);
    bench.say(0, "from the left");
    bench.settle();
    bench.say(11, "from the right");
    bench.settle();
    for at in 0..12 {
        assert_eq!(bench.texts(at), ["from the left", "from the right"], "{at}");
    }
    let sent: u64 = bench.rooms.iter().map(|room| room.stats().sent).sum();
    bench.run(10);
    assert_eq!(bench.rooms.iter().map(|room| room.stats().sent).sum::<u64>(), sent, "nothing is sent again");
    assert_eq!(bench.rooms[3].people().len(), 12);
}

#[test]
fn an_answer_that_overtakes_its_question_waits_for_it() {
    let mut bench = Bench::line(2);
    let third = bench.enter_as(2, "p2");
    bench.link(0, third);
    bench.link(1, third);
    bench.run(5);
    bench.forget_events();
    // What 0 says to 2 is late.
    bench.filter = Some(Box::new(|from, to, payload| !(from == 0 && to == 2 && payload[0] == 1)));
    bench.say(0, "question");
    bench.collect();
    let (direct, rest): (Vec<_>, Vec<_>) = bench.queue.drain(..).partition(|(_, to, _)| *to == 2);
    bench.queue.extend(rest);
    // 1 has the question, and passes it on; that is lost too.
    bench.filter = Some(Box::new(|from, to, payload| !(from == 1 && to == 2 && payload[0] == 1)));
    bench.settle();
    bench.filter = None;
    bench.say(1, "answer");
    bench.settle();
    assert_eq!((bench.texts(1), bench.texts(2)), (vec!["question", "answer"], vec![]));
    bench.queue.extend(direct);
    bench.settle();
    assert_eq!(bench.texts(2), ["question", "answer"]);
    assert_eq!(bench.rooms[2].stats().gaps, 0);
}

#[test]
fn what_is_lost_is_asked_for_by_who_needs_it() {
    let mut bench = Bench::line(2);
    bench.filter = Some(Box::new(|_, _, payload| payload[0] != 1));
    bench.say(0, "lost");
    bench.settle();
    bench.filter = None;
    bench.say(0, "not lost");
    bench.settle();
    assert!(bench.texts(1).is_empty(), "the second waits for the first");
    bench.run(3);
    assert_eq!(bench.texts(1), ["lost", "not lost"]);
    assert_eq!(bench.rooms[1].stats().gaps, 0);
}

#[test]
fn what_nobody_has_any_more_is_waited_for_a_while_and_then_named_as_a_gap() {
    let mut bench = Bench::line(3);
    bench.filter = Some(Box::new(|_, _, payload| payload[0] != 1));
    bench.say(0, "lost");
    bench.settle();
    // Nobody gives it: neither as an answer, nor as history.
    bench.filter = Some(Box::new(|from, _, payload| !(from == 0 && payload[0] == 2)));
    bench.say(0, "not lost");
    bench.run(30);
    let [ChatEvent::Message(message)] = &bench.events[2][..] else { panic!("{:?}", bench.events[2]) };
    assert_eq!((message.text.as_str(), message.gap), ("not lost", true));
    assert_eq!(bench.rooms[1].stats().gaps, 1);
}

#[test]
fn a_newcomer_gets_the_last_messages_and_who_was_there_gets_all() {
    let mut bench = Bench::line(2);
    let early = bench.enter_as(2, "early");
    bench.run(60);
    for at in 0..120 {
        bench.say(at % 2, &at.to_string());
        bench.run(1);
    }
    let late = bench.enter_as(3, "late");
    bench.link(1, early);
    bench.link(1, late);
    bench.run(1);
    let all: Vec<String> = (0..120).map(|at| at.to_string()).collect();
    assert_eq!(bench.texts(early), all, "was in the room when it was said");
    assert_eq!(bench.texts(late), all[70..], "was not");
    let all_past = |at: usize| {
        let past = |event: &ChatEvent| if let ChatEvent::Message(it) = event { it.past && !it.gap } else { true };
        bench.events[at].iter().all(past)
    };
    assert!(all_past(early) && all_past(late));
    bench.say(late, "hello all");
    bench.settle();
    assert!([0, 1, early].iter().all(|at| bench.texts(*at).last() == Some(&"hello all")));
    // A second neighbour has nothing to add, and a second newcomer behind the first gets the same.
    let before = bench.rooms[0].stats().sent;
    bench.link(0, late);
    bench.run(5);
    assert!(bench.rooms[0].stats().sent - before <= 2, "only presences");
    let later = bench.enter_as(4, "later");
    bench.link(late, later);
    bench.run(5);
    assert_eq!(bench.texts(later).len(), 50);
    assert_eq!(bench.texts(later).last(), Some(&"hello all"));
}

#[test]
fn partitions_heal_without_a_word_lost_or_heard_twice() {
    let mut bench = Bench::line(6);
    bench.cut(2, 3);
    for at in 0..40 {
        bench.say(at % 6, &format!("{at} of {}", at % 6));
        bench.run(3);
    }
    assert_eq!((bench.texts(0).len(), bench.texts(5).len()), (21, 19));
    bench.link(2, 3);
    bench.run(10);
    for at in 0..6 {
        let texts = bench.texts(at);
        assert_eq!(texts.len(), 40, "{at}: {texts:?}");
        let mut unique = texts.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 40);
        for author in 0..6 {
            let own: Vec<_> = texts.iter().filter(|text| text.ends_with(&format!("of {author}"))).collect();
            let number = |text: &str| text.split(' ').next().unwrap().parse::<u32>().unwrap();
            assert!(own.windows(2).all(|pair| number(pair[0]) < number(pair[1])), "{at} about {author}: {own:?}");
        }
    }
    assert_eq!(bench.rooms.iter().map(|room| room.stats().gaps).sum::<u64>(), 0);
}

#[test]
fn a_room_full_of_neighbours_is_told_at_a_bounded_price() {
    let mut bench = Bench::new(20);
    for one in 0..20 {
        for two in 0..one {
            bench.link(one, two);
        }
    }
    bench.run(20);
    bench.forget_events();
    let sent = |bench: &Bench| bench.rooms.iter().map(|room| room.stats().sent).sum::<u64>();
    let before = sent(&bench);
    for at in 0..20 {
        bench.say(at, &format!("{at}"));
        bench.run(2);
    }
    for at in 0..20 {
        assert_eq!(bench.texts(at).len(), 20);
    }
    let messages = sent(&bench) - before;
    assert!(messages <= 20 * 20 * crate::limits::CHAT_EAGER as u64, "{messages} for 400 deliveries");
}

#[test]
fn what_cannot_be_said_is_named() {
    let mut bench = Bench::line(2);
    let now = bench.now;
    let limit = crate::limits::CHAT_TEXT_LENGTH;
    let room = &mut bench.rooms[0];
    assert_eq!(room.say(now, ""), Err(ChatError::Empty));
    assert_eq!(room.say(now, &"x".repeat(limit + 1)), Err(ChatError::TooLong { length: limit + 1, limit }));
    for _ in 0..12 {
        room.say(now, &"ü".repeat(limit / 2)).expect("a burst");
    }
    let Err(ChatError::TooFast { wait }) = room.say(now, "x") else { panic!("no limit") };
    assert!(wait <= Duration::from_secs(1) && room.say(now + wait, "x").is_ok());
    room.leave(now);
    assert_eq!(room.say(now, "x"), Err(ChatError::Ended));
    assert_eq!(room.poll_timeout(), None);
}
