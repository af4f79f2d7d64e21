//! What is handed over has its bounds: how long a description may be, how many at once, and that it is of what was offered.

use super::bench::{Bench, key};
use super::calls::{count, torrent};
use super::transfers::open;
use crate::chat::*;
use crate::limits;
use std::cell::Cell;
use std::rc::Rc;

#[test]
fn a_description_that_does_not_end_is_taken_to_the_bound() {
    let mut bench = Bench::line(2);
    let (offer, metainfo) = torrent("film.mkv", 1);
    let id = bench.rooms[0].offer(bench.now, key(1), offer, metainfo).expect("an offer");
    bench.rooms[0].calls.get_mut(&id).expect("it is open").metainfo = vec![b'd'; 4 * limits::CHAT_METAINFO_LENGTH];
    bench.run(5);
    bench.forget_events();
    bench.rooms[1].accept(bench.now, id).expect("accepted");
    let sent = Rc::new(Cell::new(0));
    let counted = Rc::clone(&sent);
    bench.filter = Some(Box::new(move |from, _, payload| {
        counted.set(counted.get() + if from == 0 { payload.len() } else { 0 });
        true
    }));
    bench.run(30);
    let most = limits::CHAT_METAINFO_LENGTH * 5 / 4;
    assert!((limits::CHAT_METAINFO_LENGTH..most).contains(&sent.get()), "{}", sent.get());
    assert_eq!(count(&bench, 1, |event| matches!(event, ChatEvent::OfferExpired { .. })), 1);
    assert_eq!(count(&bench, 0, |event| matches!(event, ChatEvent::OfferEnded { .. })), 1);
    assert_eq!((open(&bench, 0), open(&bench, 1)), ((0, 0), (0, 0)));
}

#[test]
fn what_is_described_is_what_was_offered() {
    let (honest, metainfo) = torrent("film.mkv", 40);
    let shorter = Offer { total_length: honest.total_length - 1, ..honest.clone() };
    let renamed = Offer { name: "film.jpg".to_owned(), ..honest.clone() };
    let other = Offer { info_hash: torrent("film.mkv", 41).0.info_hash, ..honest.clone() };
    for (offer, fits) in [(honest, true), (shorter, false), (renamed, false), (other, false)] {
        let mut bench = Bench::line(2);
        let id = bench.rooms[0].offer(bench.now, key(1), offer.clone(), metainfo.clone()).expect("an offer");
        bench.run(5);
        bench.rooms[1].accept(bench.now, id).expect("accepted");
        bench.run(5);
        let ready = count(&bench, 1, |event| matches!(event, ChatEvent::OfferReady { .. }));
        let over = count(&bench, 1, |event| matches!(event, ChatEvent::OfferExpired { .. }));
        assert_eq!((ready, over), (usize::from(fits), usize::from(!fits)), "{offer:?}");
        assert_eq!(open(&bench, 1), (0, usize::from(fits)), "{offer:?}");
    }
}

#[test]
fn where_the_line_is_full_an_end_is_an_end_all_the_same() {
    let mut bench = Bench::line(2);
    let id = bench.rooms[0].call(bench.now, key(1)).expect("a call");
    bench.run(5);
    bench.rooms[1].accept(bench.now, id).expect("accepted");
    bench.run(5);
    bench.filter = Some(Box::new(|_, _, _| false));
    let said = (0..1_000).take_while(|_| bench.rooms[0].tell(bench.now, id, "hello?").is_ok()).count();
    assert_eq!((said, bench.rooms[0].tell(bench.now, id, "hello?")), (128, Err(ChatError::TooMany)));
    bench.rooms[0].hang_up(bench.now, id).expect("hung up");
    bench.settle();
    assert_eq!(open(&bench, 0), (0, 0), "nothing could be said of it any more");
    let failed = |event: &ChatEvent| matches!(event, ChatEvent::DirectState { state: DeliveryState::Failed, .. });
    assert_eq!((count(&bench, 0, failed), count(&bench, 0, |it| matches!(it, ChatEvent::CallEnded { .. }))), (128, 1));
    // The other side finds out.
    bench.filter = None;
    bench.rooms[1].tell(bench.now, id, "are you there?").expect("told");
    bench.run(5);
    assert_eq!(open(&bench, 1), (0, 0));
}

#[test]
fn no_more_is_accepted_than_there_are_places_and_the_rest_can_wait() {
    let mut bench = Bench::line(2);
    let (offer, metainfo) = torrent("film.mkv", 1);
    let asked = bench.rooms[0].offer(bench.now, key(1), offer.clone(), metainfo.clone()).expect("an offer");
    bench.run(5);
    let offer_back = |bench: &mut Bench| bench.rooms[1].offer(bench.now, key(0), offer.clone(), metainfo.clone());
    let own: Vec<_> = (0..limits::CHAT_TRANSFERS).map(|_| offer_back(&mut bench).expect("an offer")).collect();
    assert_eq!(bench.rooms[1].may_offer(key(0)), Err(ChatError::TooMany));
    assert_eq!(bench.rooms[1].accept(bench.now, asked), Err(ChatError::TooMany));
    bench.rooms[1].hang_up(bench.now, own[0]).expect("taken back");
    bench.rooms[1].accept(bench.now, asked).expect("it still waits");
    assert_eq!(offer_back(&mut bench), Err(ChatError::TooMany));
    assert_eq!(bench.rooms[1].may_offer(key(9)), Err(ChatError::TooMany));
    assert_eq!(bench.rooms[0].may_offer(key(9)), Err(ChatError::Unknown));
    assert_eq!(bench.rooms[0].may_offer(key(0)), Err(ChatError::Myself));
    assert_eq!(bench.rooms[0].may_offer(key(1)), Ok(()));
}
