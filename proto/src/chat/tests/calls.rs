//! Calls, words in them, and offers.

use super::bench::{Bench, key};
use crate::chat::*;
use crate::metainfo::{Content, Metainfo, MetainfoBuilder};
use ::bytes::Bytes;

fn requested(bench: &Bench, at: usize) -> Vec<RequestId> {
    let id = |event: &ChatEvent| match event {
        ChatEvent::CallRequested { id, .. } | ChatEvent::OfferReceived { id, .. } => Some(*id),
        _ => None,
    };
    bench.events[at].iter().filter_map(id).collect()
}

pub(super) fn count(bench: &Bench, at: usize, such: impl Fn(&ChatEvent) -> bool) -> usize {
    bench.events[at].iter().filter(|event| such(event)).count()
}

/// Texts that came in calls.
fn told(bench: &Bench, at: usize) -> Vec<String> {
    let text =
        |event: &ChatEvent| if let ChatEvent::DirectMessage { text, .. } = event { Some(text.clone()) } else { None };
    bench.events[at].iter().filter_map(text).collect()
}

fn delivered(bench: &Bench, at: usize) -> usize {
    count(bench, at, |event| matches!(event, ChatEvent::DirectState { state: DeliveryState::Delivered, .. }))
}

/// A call between two people of a line that stands.
fn call(bench: &mut Bench, from: usize, to: usize) -> RequestId {
    let id = bench.rooms[from].call(bench.now, key(to)).expect("a call");
    bench.run(1);
    assert_eq!(requested(bench, to), [id]);
    bench.rooms[to].accept(bench.now, id).expect("accepted");
    bench.run(1);
    for at in [from, to] {
        assert_eq!(count(bench, at, |event| matches!(event, ChatEvent::CallEstablished { .. })), 1, "{at}");
    }
    id
}

#[test]
fn a_call_is_requested_accepted_talked_in_and_hung_up() {
    let mut bench = Bench::line(6);
    let id = call(&mut bench, 0, 5);
    assert_eq!(count(&bench, 0, |event| *event == ChatEvent::Ringing { id }), 1);
    for at in 0..10 {
        bench.rooms[0].tell(bench.now, id, &format!("secret {at}")).unwrap();
        bench.rooms[5].tell(bench.now, id, &format!("answer {at}")).unwrap();
    }
    bench.run(2);
    assert_eq!(told(&bench, 5), (0..10).map(|at| format!("secret {at}")).collect::<Vec<_>>());
    assert_eq!(told(&bench, 0), (0..10).map(|at| format!("answer {at}")).collect::<Vec<_>>());
    assert_eq!((delivered(&bench, 0), delivered(&bench, 5)), (10, 10));
    assert!((1..5).all(|at| told(&bench, at).is_empty() && bench.rooms[at].stats().relayed_direct > 20));
    bench.rooms[5].hang_up(bench.now, id).unwrap();
    bench.run(2);
    let ended = |event: &ChatEvent| matches!(event, ChatEvent::CallEnded { why: CallEnd::HungUp, .. });
    assert_eq!((count(&bench, 0, ended), count(&bench, 5, ended)), (1, 1));
    assert_eq!(bench.rooms[0].tell(bench.now, id, "still there?"), Err(ChatError::NoSuchRequest));
    assert_eq!((bench.rooms[0].calls.count(), bench.rooms[5].calls.count()), ((0, 0), (0, 0)));
    let frames: u64 = bench.rooms.iter().map(|room| room.stats().frames).sum();
    bench.run(20);
    assert!(bench.rooms.iter().map(|room| room.stats().frames).sum::<u64>() - frames < 20, "nothing goes on");
}

#[test]
fn nobody_on_the_way_can_read_a_word() {
    let mut bench = Bench::line(3);
    let id = call(&mut bench, 0, 2);
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let tap = seen.clone();
    bench.filter = Some(Box::new(move |_, _, payload| {
        tap.borrow_mut().extend_from_slice(payload);
        true
    }));
    bench.rooms[0].tell(bench.now, id, "rosebud rosebud").unwrap();
    bench.run(1);
    assert_eq!(told(&bench, 2), ["rosebud rosebud"]);
    assert!(seen.borrow().len() > 100 && !seen.borrow().windows(7).any(|word| word == b"rosebud"));
}

#[test]
fn an_answer_counts_for_the_one_request_it_names() {
    let mut bench = Bench::line(3);
    assert_eq!(bench.rooms[1].accept(bench.now, RequestId([0; 16])), Err(ChatError::NoSuchRequest));
    let first = bench.rooms[0].call(bench.now, key(1)).unwrap();
    bench.run(1);
    bench.rooms[0].hang_up(bench.now, first).unwrap();
    bench.run(1);
    let second = bench.rooms[2].call(bench.now, key(1)).unwrap();
    bench.run(1);
    assert_eq!(requested(&bench, 1), [first, second]);
    assert_eq!(bench.rooms[1].accept(bench.now, first), Err(ChatError::NoSuchRequest), "it was taken back");
    bench.run(1);
    assert_eq!(count(&bench, 2, |event| matches!(event, ChatEvent::CallEstablished { .. })), 0);
    bench.rooms[1].decline(bench.now, second).unwrap();
    bench.run(1);
    assert_eq!(count(&bench, 2, |event| matches!(event, ChatEvent::CallDeclined { .. })), 1);
    assert_eq!(bench.rooms[1].accept(bench.now, second), Err(ChatError::NoSuchRequest), "it was declined");
    assert_eq!(bench.rooms[1].decline(bench.now, second), Err(ChatError::NoSuchRequest));
}

#[test]
fn a_request_that_nobody_answers_is_over_after_a_minute_on_both_sides() {
    let mut bench = Bench::line(2);
    let id = bench.rooms[0].call(bench.now, key(1)).unwrap();
    bench.run(59);
    assert_eq!(count(&bench, 1, |event| matches!(event, ChatEvent::CallRequested { .. })), 1, "it rings once");
    assert_eq!(count(&bench, 0, |event| matches!(event, ChatEvent::CallExpired { .. })), 0);
    assert_eq!(bench.rooms[0].call(bench.now, key(1)), Err(ChatError::Busy));
    bench.run(2);
    for at in 0..2 {
        assert_eq!(count(&bench, at, |event| matches!(event, ChatEvent::CallExpired { .. })), 1, "{at}");
    }
    assert_eq!(bench.rooms[1].accept(bench.now, id), Err(ChatError::NoSuchRequest));
    assert!(bench.rooms[0].call(bench.now, key(1)).is_ok(), "another one may be made");
}

#[test]
fn an_answer_from_somebody_else_or_to_something_else_is_worth_nothing() {
    let mut bench = Bench::line(3);
    let id = bench.rooms[0].call(bench.now, key(2)).unwrap();
    bench.run(1);
    // The one in the middle answers, with bytes of its own and with those of another call.
    let now = bench.now;
    for handshake in [vec![], vec![0; 48], vec![9; 200]] {
        bench.rooms[1].send_direct(now, key(0), &payload::Payload::Accept { id, handshake: handshake.clone() }, false);
        bench.rooms[2].send_direct(now, key(0), &payload::Payload::Accept { id, handshake }, false);
    }
    bench.settle();
    assert_eq!(count(&bench, 0, |event| matches!(event, ChatEvent::CallEstablished { .. })), 0);
    assert_eq!(bench.rooms[0].stats().forged, 3, "those of the one who was asked are none either");
    bench.rooms[2].accept(bench.now, id).unwrap();
    bench.run(1);
    assert_eq!(count(&bench, 0, |event| matches!(event, ChatEvent::CallEstablished { .. })), 1);
}

#[test]
fn both_may_call_at_once_and_one_call_comes_of_it() {
    let mut bench = Bench::line(3);
    let one = bench.rooms[0].call(bench.now, key(2)).unwrap();
    let two = bench.rooms[2].call(bench.now, key(0)).unwrap();
    bench.run(1);
    bench.rooms[2].accept(bench.now, one).unwrap();
    bench.run(2);
    for at in [0, 2] {
        assert_eq!(count(&bench, at, |event| matches!(event, ChatEvent::CallEstablished { .. })), 1, "{at}");
        assert_eq!(bench.rooms[at].calls.count(), (1, 0), "{at}");
    }
    assert_eq!(bench.rooms[0].accept(bench.now, two), Err(ChatError::NoSuchRequest));
}

#[test]
fn whoever_swallows_what_it_should_pass_on_is_got_round() {
    // 0 - 1 - 3 and 0 - 2 - 3; what goes by the way that was heard first is swallowed there.
    let mut bench = Bench::new(4);
    for (one, two) in [(0, 1), (1, 3), (0, 2), (2, 3)] {
        bench.link(one, two);
    }
    bench.run(5);
    bench.filter = Some(Box::new(|from, to, payload| !((from == 1 || to == 1) && matches!(payload[0], 1 | 6))));
    let id = bench.rooms[0].call(bench.now, key(3)).unwrap();
    bench.run(10);
    assert_eq!(requested(&bench, 3), [id]);
    bench.rooms[3].accept(bench.now, id).unwrap();
    bench.run(10);
    bench.rooms[0].tell(bench.now, id, "made it").unwrap();
    bench.run(10);
    assert_eq!((told(&bench, 3), delivered(&bench, 0)), (vec!["made it".to_owned()], 1));
}

#[test]
fn what_never_arrives_has_failed_and_the_call_with_it() {
    let mut bench = Bench::line(3);
    let id = call(&mut bench, 0, 2);
    bench.filter = Some(Box::new(|_, _, payload| !(payload[0] == 6 || payload[0] == 1 && payload[3] == 3)));
    bench.rooms[0].tell(bench.now, id, "hello?").unwrap();
    bench.run(150);
    let failed = |event: &ChatEvent| matches!(event, ChatEvent::DirectState { state: DeliveryState::Failed, .. });
    let lost = |event: &ChatEvent| matches!(event, ChatEvent::CallEnded { why: CallEnd::Lost, .. });
    assert_eq!((count(&bench, 0, failed), count(&bench, 0, lost)), (1, 1));
    bench.filter = None;
    bench.rooms[2].tell(bench.now, id, "are you there?").unwrap();
    bench.run(5);
    assert_eq!(count(&bench, 2, lost), 1, "who does not know that it is over is told");
}

#[test]
fn a_tenth_of_everything_may_be_lost_on_each_of_three_hops() {
    let mut bench = Bench::line(4);
    let mut at = 0u32;
    bench.filter = Some(Box::new(move |_, _, payload| {
        at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        !(matches!(payload[0], 1 | 6) && (at >> 16).is_multiple_of(10))
    }));
    let id = bench.rooms[0].call(bench.now, key(3)).unwrap();
    bench.run(30);
    bench.rooms[3].accept(bench.now, id).unwrap();
    bench.run(30);
    for at in 0..20 {
        bench.rooms[0].tell(bench.now, id, &at.to_string()).unwrap();
        bench.run(1);
    }
    bench.run(90);
    assert_eq!(told(&bench, 3), (0..20).map(|at| at.to_string()).collect::<Vec<_>>());
    assert_eq!(delivered(&bench, 0), 20);
}

pub(super) fn torrent(name: &str, pieces: usize) -> (Offer, Bytes) {
    let mut builder = MetainfoBuilder::new(name, Content::SingleFile { length: pieces as u64 * 16_384 });
    builder.piece_length = 16_384;
    let metainfo = Bytes::from(builder.build(&vec![[7; 20]; pieces]).unwrap());
    let parsed = Metainfo::parse(metainfo.clone()).unwrap();
    let offer = Offer {
        info_hash: parsed.info_hash(),
        name: name.into(),
        total_length: pieces as u64 * 16_384,
        files: 1,
        port: 6_881,
        addresses: vec!["192.0.2.1".parse().unwrap()],
    };
    (offer, metainfo)
}

#[test]
fn files_are_offered_taken_and_described() {
    let mut bench = Bench::line(4);
    let (offer, metainfo) = torrent("holiday.tar", 5_000);
    assert!(metainfo.len() > 100_000);
    let id = bench.rooms[0].offer(bench.now, key(3), offer.clone(), metainfo.clone()).unwrap();
    bench.run(5);
    let Some(ChatEvent::OfferReceived { offer: seen, .. }) = bench.events[3].last() else { panic!() };
    assert_eq!((seen, requested(&bench, 3)), (&offer, vec![id]));
    bench.run(300);
    bench.rooms[3].accept(bench.now, id).unwrap();
    bench.run(60);
    assert_eq!(count(&bench, 0, |event| matches!(event, ChatEvent::OfferAccepted { .. })), 1);
    let ready = |event: &ChatEvent| {
        matches!(event, ChatEvent::OfferReady { id: ready, metainfo: came, offer: same, .. }
            if *ready == id && *came == metainfo && *same == offer)
    };
    assert_eq!(count(&bench, 3, ready), 1);
    let over = |event: &ChatEvent| matches!(event, ChatEvent::OfferExpired { .. } | ChatEvent::OfferEnded { .. });
    assert_eq!((count(&bench, 0, over), count(&bench, 3, over)), (0, 0));
    assert_eq!((bench.rooms[0].calls.count(), bench.rooms[3].calls.count()), ((0, 1), (0, 1)), "it stays open");
}

#[test]
fn another_metainfo_than_the_one_that_was_offered_is_no_use() {
    let mut bench = Bench::line(2);
    let (offer, _) = torrent("good", 3);
    let (_, other) = torrent("other", 3);
    let id = bench.rooms[0].offer(bench.now, key(1), offer.clone(), other).unwrap();
    bench.run(1);
    bench.rooms[1].accept(bench.now, id).unwrap();
    bench.run(10);
    assert_eq!(count(&bench, 1, |event| matches!(event, ChatEvent::OfferReady { .. })), 0);
    assert_eq!(count(&bench, 1, |event| matches!(event, ChatEvent::OfferExpired { .. })), 1);
    let too_long = Bytes::from(vec![0; crate::limits::CHAT_METAINFO_LENGTH + 1]);
    assert_eq!(bench.rooms[0].offer(bench.now, key(1), offer, too_long), Err(ChatError::MetainfoTooLong));
}

#[test]
fn an_offer_can_be_declined_and_taken_back() {
    let mut bench = Bench::line(2);
    let (offer, metainfo) = torrent("good", 3);
    let id = bench.rooms[0].offer(bench.now, key(1), offer.clone(), metainfo.clone()).unwrap();
    bench.run(1);
    bench.rooms[1].decline(bench.now, id).unwrap();
    bench.run(1);
    assert_eq!(count(&bench, 0, |event| matches!(event, ChatEvent::OfferDeclined { .. })), 1);
    let id = bench.rooms[0].offer(bench.now, key(1), offer, metainfo).unwrap();
    bench.run(1);
    bench.rooms[0].hang_up(bench.now, id).unwrap();
    bench.run(1);
    assert_eq!(count(&bench, 1, |event| matches!(event, ChatEvent::OfferExpired { .. })), 1);
}

#[test]
fn who_leaves_or_is_blocked_ends_its_calls() {
    let mut bench = Bench::line(3);
    let id = call(&mut bench, 0, 2);
    bench.rooms[2].leave(bench.now);
    bench.run(2);
    assert_eq!(count(&bench, 0, |event| matches!(event, ChatEvent::CallEnded { id: ended, .. } if *ended == id)), 1);
    assert_eq!(bench.rooms[0].call(bench.now, key(2)), Err(ChatError::Unknown));
    let mut bench = Bench::line(3);
    let id = call(&mut bench, 0, 2);
    bench.rooms[0].block(bench.now, key(2)).unwrap();
    bench.run(2);
    assert_eq!(count(&bench, 2, |event| matches!(event, ChatEvent::CallEnded { id: ended, .. } if *ended == id)), 1);
}

#[test]
fn one_person_asks_for_so_much_at_once_and_so_often() {
    let mut bench = Bench::line(2);
    let info_hash = crate::id::InfoHash([1; 20]);
    let offer = Offer { info_hash, name: "x".into(), total_length: 1, files: 1, port: 1, addresses: Vec::new() };
    let ask = |bench: &mut Bench, times: usize| -> Vec<RequestId> {
        for _ in 0..times {
            let metainfo = ::bytes::Bytes::from_static(b"d");
            bench.rooms[0].offer(bench.now, key(1), offer.clone(), metainfo).unwrap();
        }
        bench.settle();
        let asked = bench.events[1].iter().filter_map(|event| match event {
            ChatEvent::OfferReceived { id, .. } => Some(*id),
            _ => None,
        });
        let asked = asked.collect();
        bench.forget_events();
        asked
    };
    let open = ask(&mut bench, 5);
    assert_eq!(open.len(), 3, "the others are told that we are busy");
    open.iter().for_each(|id| bench.rooms[1].decline(bench.now, *id).unwrap());
    bench.settle();
    assert_eq!(ask(&mut bench, 3).len(), 1, "that makes six at once, with those that were turned away");
    bench.run(21);
    assert_eq!(ask(&mut bench, 3).len(), 2, "one in ten seconds, and three that are open");
}

#[test]
fn the_ends_of_the_last_calls_are_remembered_and_no_more() {
    let mut bench = Bench::line(2);
    let first = bench.rooms[0].call(bench.now, key(1)).unwrap();
    bench.run(1);
    assert_eq!(requested(&bench, 1), [first]);
    bench.rooms[1].decline(bench.now, first).unwrap();
    bench.run(1);
    for _ in 0..300 {
        let id = bench.rooms[0].call(bench.now, key(1)).unwrap();
        bench.rooms[0].hang_up(bench.now, id).unwrap();
        bench.rooms[0].check_invariants();
    }
    bench.run(30);
    let why = |bench: &Bench| bench.rooms[1].calls.remembers_end(&first);
    assert!(why(&bench));
    let mut ended = 0;
    while why(&bench) {
        let id = bench.rooms[1].call(bench.now, key(0)).unwrap();
        bench.rooms[1].hang_up(bench.now, id).unwrap();
        ended += 1;
        assert!(ended <= 128, "remembered for ever");
    }
    assert!(ended > 64, "forgotten after {ended}");
}
