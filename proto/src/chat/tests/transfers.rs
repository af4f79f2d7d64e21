//! Files that were accepted: how far they are, over lossy lines, and with liars at either end.

use super::bench::{Bench, key};
use super::calls::{count, torrent};
use crate::chat::payload::{Inner, Payload};
use crate::chat::*;
use crate::limits;
use std::net::SocketAddr;

/// Bytes of the files that are offered here.
pub(super) const TOTAL: u64 = 40 * 16_384;

/// An offer of the first in a line to the last, accepted, and described. Events before that are forgotten.
pub(super) fn accepted(bench: &mut Bench, from: usize, to: usize) -> RequestId {
    let (offer, metainfo) = torrent("film.mkv", 40);
    let id = bench.rooms[from].offer(bench.now, key(to), offer, metainfo).expect("an offer");
    bench.run(20);
    bench.rooms[to].accept(bench.now, id).expect("accepted");
    bench.run(60);
    assert_eq!(count(bench, to, |event| matches!(event, ChatEvent::OfferReady { .. })), 1);
    assert_eq!(count(bench, from, |event| matches!(event, ChatEvent::OfferAccepted { .. })), 1);
    bench.forget_events();
    id
}

/// What somebody was told of states and bytes.
pub(super) fn progress(bench: &Bench, at: usize) -> Vec<(TransferState, u64)> {
    let told = |event: &ChatEvent| match event {
        ChatEvent::OfferProgress { transfer, state } => {
            assert!(transfer.ours && transfer.name == "film.mkv" && transfer.total_bytes == TOTAL);
            Some((*state, transfer.have_bytes))
        }
        _ => None,
    };
    bench.events[at].iter().filter_map(told).collect()
}

/// How it ended for somebody, and with how many bytes.
pub(super) fn ends(bench: &Bench, at: usize) -> Vec<(TransferEnd, u64)> {
    let told = |event: &ChatEvent| match event {
        ChatEvent::OfferEnded { transfer, end } => Some((*end, transfer.have_bytes)),
        ChatEvent::OfferExpired { .. } => panic!("an offer that was accepted does not expire"),
        _ => None,
    };
    bench.events[at].iter().filter_map(told).collect()
}

pub(super) fn open(bench: &Bench, at: usize) -> (usize, usize) {
    bench.rooms[at].calls.count()
}

/// Puts something on the line that the room itself would not.
pub(super) fn forge(bench: &mut Bench, at: usize, id: RequestId, of: impl FnOnce(u64) -> Inner) {
    let now = bench.now;
    let call = bench.rooms[at].calls.get_mut(&id).expect("an open offer");
    let super::super::calls::Phase::Up { line, .. } = &mut call.phase else { panic!("a channel") };
    let number = line.next_number().expect("room on the line");
    line.push(now, &of(number));
    bench.rooms[at].drive_calls(now);
    bench.settle();
}

#[test]
fn whoever_offers_is_told_how_far_it_is_until_all_is_there() {
    let mut bench = Bench::line(4);
    let id = accepted(&mut bench, 0, 3);
    let report = |bench: &mut Bench, state, have| bench.rooms[3].report(bench.now, id, state, have).expect("reported");
    report(&mut bench, TransferState::Checking, 0);
    bench.run(2);
    report(&mut bench, TransferState::Waiting, 0);
    bench.run(2);
    for step in 0..20u64 {
        // Many times a second, as a shell may.
        for part in 0..10 {
            report(&mut bench, TransferState::Fetching, (step * 10 + part) * TOTAL / 200);
            bench.run_ms(100);
        }
    }
    let told = progress(&bench, 0);
    assert_eq!(told[..2], [(TransferState::Checking, 0), (TransferState::Waiting, 0)]);
    assert!((6..=8).contains(&told.len()), "after the first few, one in 5 s: {told:?}");
    assert!(told[2..4].iter().all(|(_, have)| *have < TOTAL / 3), "soon: {told:?}");
    assert!(told.is_sorted_by_key(|(_, have)| *have), "{told:?}");
    let last = told.last().unwrap().1;
    assert!(last > TOTAL / 2 && last < TOTAL, "{told:?}");
    report(&mut bench, TransferState::Complete, TOTAL);
    bench.run(2);
    assert_eq!(
        (ends(&bench, 0), ends(&bench, 3)),
        (vec![(TransferEnd::Complete, TOTAL)], vec![(TransferEnd::Complete, TOTAL)])
    );
    assert_eq!((open(&bench, 0), open(&bench, 3)), ((0, 0), (0, 0)), "the receiver has hung up");
    assert_eq!(bench.rooms[3].report(bench.now, id, TransferState::Fetching, 1), Err(ChatError::NoSuchRequest));
}

#[test]
fn a_fifth_may_be_lost_on_each_hop_and_nothing_queues() {
    let mut bench = Bench::line(4);
    let mut at = 0u32;
    bench.filter = Some(Box::new(move |_, _, payload| {
        at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        !(matches!(payload[0], 1 | 6) && (at >> 16).is_multiple_of(5))
    }));
    let id = accepted(&mut bench, 0, 3);
    for step in 0..=600u64 {
        bench.rooms[3].report(bench.now, id, TransferState::Fetching, step * TOTAL / 601).expect("reported");
        bench.run_ms(200);
        let call = bench.rooms[3].calls.get(&id).expect("it stands");
        let crate::chat::calls::Phase::Up { line, .. } = &call.phase else { panic!("it stands") };
        assert!(line.waiting() <= 1, "only the newest is under way");
    }
    let told = progress(&bench, 0);
    assert!(told.len() >= 3 && told.is_sorted_by_key(|(_, have)| *have), "{told:?}");
    bench.rooms[3].report(bench.now, id, TransferState::Complete, 0).expect("reported");
    bench.run(60);
    assert_eq!(ends(&bench, 0), [(TransferEnd::Complete, TOTAL)]);
    assert_eq!((open(&bench, 0), open(&bench, 3)), ((0, 0), (0, 0)));
}

#[test]
fn a_report_goes_on_the_newest_and_not_on_what_was_between() {
    let mut bench = Bench::line(2);
    let id = accepted(&mut bench, 0, 1);
    bench.filter = Some(Box::new(|_, _, payload| !matches!(payload[0], 1 | 6)));
    for have in 1..=1_000 {
        bench.rooms[1].report(bench.now, id, TransferState::Fetching, have).expect("reported");
        bench.run_ms(20);
    }
    assert_eq!(progress(&bench, 0), []);
    bench.filter = None;
    bench.run(40);
    assert_eq!(progress(&bench, 0), [(TransferState::Fetching, 1), (TransferState::Fetching, 1_000)]);
}

#[test]
fn either_side_may_hang_up_and_both_know_what_it_was() {
    for (who, end) in [(0, TransferEnd::Withdrawn), (2, TransferEnd::GivenUp)] {
        let mut bench = Bench::line(3);
        let id = accepted(&mut bench, 0, 2);
        bench.rooms[2].report(bench.now, id, TransferState::Fetching, 7).expect("reported");
        bench.run(1);
        bench.rooms[who].hang_up(bench.now, id).expect("hung up");
        bench.run(2);
        assert_eq!((ends(&bench, 0), ends(&bench, 2)), (vec![(end, 7)], vec![(end, 7)]), "{who}");
        assert_eq!((open(&bench, 0), open(&bench, 2)), ((0, 0), (0, 0)), "{who}");
        assert_eq!(bench.rooms[who].hang_up(bench.now, id), Err(ChatError::NoSuchRequest));
    }
}

#[test]
fn who_leaves_with_half_of_it_has_half_of_it() {
    let mut bench = Bench::line(3);
    let id = accepted(&mut bench, 0, 2);
    bench.rooms[2].report(bench.now, id, TransferState::Fetching, TOTAL / 2).expect("reported");
    bench.run(1);
    bench.rooms[2].leave(bench.now);
    bench.run(2);
    assert_eq!(ends(&bench, 0), [(TransferEnd::Lost, TOTAL / 2)]);
    // Without a word: nothing comes any more from either.
    let mut bench = Bench::line(2);
    let id = accepted(&mut bench, 0, 1);
    bench.rooms[1].report(bench.now, id, TransferState::Fetching, TOTAL / 2).expect("reported");
    bench.run(1);
    bench.cut(0, 1);
    bench.rooms[1].report(bench.now, id, TransferState::Fetching, TOTAL - 1).expect("reported");
    bench.run(120);
    let lost = |have| vec![(TransferEnd::Lost, have)];
    assert_eq!((ends(&bench, 0), ends(&bench, 1)), (lost(TOTAL / 2), lost(TOTAL - 1)));
    bench.run(400);
    assert_eq!((ends(&bench, 0).len(), ends(&bench, 1).len()), (1, 1), "that they leave the room tells nothing more");
    assert_eq!((open(&bench, 0), open(&bench, 1)), ((0, 0), (0, 0)));
}

#[test]
fn no_connection_for_twenty_seconds_is_told_on_both_sides_and_once() {
    let mut bench = Bench::line(3);
    let id = accepted(&mut bench, 0, 2);
    let stuck = |bench: &Bench, at: usize| {
        let told = |event: &ChatEvent| match event {
            ChatEvent::OfferStuck { transfer, tried } => Some((transfer.ours, tried.clone())),
            _ => None,
        };
        bench.events[at].iter().filter_map(told).collect::<Vec<_>>()
    };
    let tried: Vec<SocketAddr> = vec!["192.0.2.1:6881".parse().unwrap()];
    bench.rooms[2].tried(id, tried.clone());
    bench.rooms[2].report(bench.now, id, TransferState::Checking, 0).expect("reported");
    bench.run(30);
    assert_eq!((stuck(&bench, 0), stuck(&bench, 2)), (vec![], vec![]), "whoever looks at its disk waits for nobody");
    for state in [TransferState::Waiting, TransferState::Fetching, TransferState::Waiting] {
        bench.rooms[2].report(bench.now, id, state, 0).expect("reported");
        bench.run(18);
    }
    assert_eq!((stuck(&bench, 0), stuck(&bench, 2)), (vec![], vec![]), "not without a pause");
    bench.run(5);
    assert_eq!((stuck(&bench, 0), stuck(&bench, 2)), (vec![(true, vec![])], vec![(false, tried)]));
    bench.rooms[2].report(bench.now, id, TransferState::Fetching, 1).expect("reported");
    bench.run(5);
    bench.rooms[2].report(bench.now, id, TransferState::Waiting, 1).expect("reported");
    bench.run(60);
    assert_eq!((stuck(&bench, 0).len(), stuck(&bench, 2).len()), (1, 1));
}

#[test]
fn the_sender_is_told_once_where_to_dial_and_only_by_whom_it_has_offered_something() {
    let mut bench = Bench::line(3);
    let id = accepted(&mut bench, 0, 2);
    let reach = Reach { port: 6_882, addresses: vec!["192.0.2.2".parse().unwrap(), "0.0.0.0".parse().unwrap()] };
    bench.rooms[2].tell_reach(bench.now, id, reach.clone()).expect("told");
    bench.run(1);
    forge(&mut bench, 2, id, |number| Inner::Reach { number, reach: Reach { port: 25, ..reach.clone() } });
    bench.run(1);
    // The other way round it means nothing.
    forge(&mut bench, 0, id, |number| Inner::Reach { number, reach: Reach { port: 26, ..reach.clone() } });
    bench.run(1);
    let dialled = |bench: &Bench, at: usize| {
        let told = |output: &Output| match output {
            Output::Reach { id, with, reach, .. } => Some((*id, *with, reach.clone())),
            _ => None,
        };
        bench.remembered[at].iter().filter_map(told).collect::<Vec<_>>()
    };
    let told = Reach { addresses: reach.addresses[..1].to_vec(), ..reach.clone() };
    assert_eq!((dialled(&bench, 0), dialled(&bench, 2)), (vec![(id, key(2), told)], vec![]));
    assert_eq!(bench.rooms[0].tell_reach(bench.now, id, reach.clone()), Err(ChatError::NoSuchRequest));
    // An offer that was not accepted opens no channel.
    let (offer, metainfo) = torrent("other.mkv", 3);
    let id = bench.rooms[0].offer(bench.now, key(2), offer, metainfo).expect("an offer");
    bench.run(1);
    assert_eq!(bench.rooms[2].tell_reach(bench.now, id, reach), Err(ChatError::NoSuchRequest));
    assert_eq!(bench.rooms[2].report(bench.now, id, TransferState::Fetching, 1), Err(ChatError::NoSuchRequest));
}

#[test]
fn a_receiver_that_lies_or_floods_says_little() {
    let mut bench = Bench::line(2);
    let id = accepted(&mut bench, 0, 1);
    // As many reports as go through, of changing states, for a minute.
    let states = [TransferState::Checking, TransferState::Waiting, TransferState::Fetching];
    for at in 0..600u64 {
        let state = states[usize::try_from(at % 3).unwrap()];
        forge(&mut bench, 1, id, |number| Inner::Report { number, state, have: at % 7 });
        bench.run_ms(100);
    }
    let told = progress(&bench, 0).len();
    assert!((10..=61).contains(&told), "{told} in a minute");
    // More than there is: it is over, and what comes then is of no account.
    forge(&mut bench, 1, id, |number| Inner::Report { number, state: TransferState::Fetching, have: TOTAL + 1 });
    bench.run(5);
    assert_eq!(ends(&bench, 0).len(), 1);
    assert!(matches!(ends(&bench, 0)[..], [(TransferEnd::Lost, have)] if have < 7));
    assert!(bench.rooms[0].stats().malformed > 0);
    for (state, have) in [(TransferState::Complete, TOTAL - 1), (TransferState::Complete, TOTAL + 1)] {
        let mut bench = Bench::line(2);
        let id = accepted(&mut bench, 0, 1);
        forge(&mut bench, 1, id, |number| Inner::Report { number, state, have });
        bench.run(5);
        assert_eq!(ends(&bench, 0), [(TransferEnd::Lost, 0)], "{have}");
    }
}

#[test]
fn what_comes_after_the_end_of_a_transfer_counts_for_nothing() {
    let mut bench = Bench::line(2);
    let id = accepted(&mut bench, 0, 1);
    forge(&mut bench, 1, id, |number| Inner::Report { number, state: TransferState::Complete, have: TOTAL });
    for state in [TransferState::Fetching, TransferState::Waiting, TransferState::GivenUp, TransferState::Complete] {
        forge(&mut bench, 1, id, |number| Inner::Report { number, state, have: TOTAL });
        bench.run(3);
    }
    assert_eq!((ends(&bench, 0), progress(&bench, 0)), (vec![(TransferEnd::Complete, TOTAL)], vec![]));
}

#[test]
fn a_sender_that_goes_on_describing_what_is_described_changes_nothing() {
    let mut bench = Bench::line(2);
    let id = accepted(&mut bench, 0, 1);
    let (_, other) = torrent("other.mkv", 3);
    for _ in 0..3 {
        forge(&mut bench, 0, id, |number| Inner::Data { number, last: true, bytes: other.to_vec() });
    }
    // Reports go one way only.
    forge(&mut bench, 0, id, |number| Inner::Report { number, state: TransferState::Complete, have: TOTAL });
    bench.run(5);
    assert!(bench.events[1].is_empty(), "{:?}", bench.events[1]);
    assert_eq!(open(&bench, 1), (0, 1));
}

#[test]
fn transfers_have_places_of_their_own() {
    let mut bench = Bench::line(2);
    let (offer, metainfo) = torrent("film.mkv", 1);
    for _ in 0..limits::CHAT_TRANSFERS {
        bench.rooms[0].offer(bench.now, key(1), offer.clone(), metainfo.clone()).expect("an offer");
    }
    assert_eq!(bench.rooms[0].offer(bench.now, key(1), offer, metainfo), Err(ChatError::TooMany));
    assert!(bench.rooms[0].call(bench.now, key(1)).is_ok(), "a call is another thing");
    bench.run(5);
    assert!(open(&bench, 1).0 <= limits::CHAT_CALLS);
}

#[test]
fn an_acceptance_that_is_lost_costs_its_own_time_and_no_more() {
    let mut bench = Bench::line(2);
    let (offer, metainfo) = torrent("film.mkv", 1);
    let id = bench.rooms[0].offer(bench.now, key(1), offer, metainfo).expect("an offer");
    bench.run(1);
    let mut first = true;
    bench.filter = Some(Box::new(move |from, _, payload| {
        !(from == 1 && matches!(payload[0], 1 | 6) && std::mem::take(&mut first))
    }));
    bench.rooms[1].accept(bench.now, id).expect("accepted");
    bench.rooms[1].tell_reach(bench.now, id, Reach { port: 1, addresses: Vec::new() }).expect("told");
    bench.run_ms(2_500);
    assert!(bench.remembered[0].iter().any(|output| matches!(output, Output::Reach { .. })));
    assert_eq!(count(&bench, 1, |event| matches!(event, ChatEvent::OfferReady { .. })), 1);
    // A payload of somebody who was never asked opens nothing.
    let now = bench.now;
    bench.rooms[1].send_direct(now, key(0), &Payload::Accept { id: RequestId([9; 16]), handshake: vec![0; 48] }, false);
    bench.settle();
    assert_eq!(open(&bench, 0), (0, 1));
}

#[test]
fn the_same_files_accepted_again_take_the_place_of_those_before() {
    let mut bench = Bench::line(2);
    let first = accepted(&mut bench, 0, 1);
    bench.rooms[1].report(bench.now, first, TransferState::Fetching, 5).expect("reported");
    bench.run(1);
    let (offer, metainfo) = torrent("other.mkv", 3);
    let other = bench.rooms[0].offer(bench.now, key(1), offer, metainfo).expect("an offer");
    bench.run(1);
    bench.rooms[1].accept(bench.now, other).expect("accepted");
    bench.run(1);
    assert_eq!(ends(&bench, 0), [], "other files are another thing");
    bench.forget_events();
    let (offer, metainfo) = torrent("film.mkv", 40);
    let second = bench.rooms[0].offer(bench.now, key(1), offer, metainfo).expect("an offer");
    bench.run(1);
    assert_eq!(ends(&bench, 0), [], "an offer alone changes nothing");
    bench.rooms[1].accept(bench.now, second).expect("accepted");
    bench.run(1);
    assert_eq!((ends(&bench, 0), open(&bench, 0)), (vec![(TransferEnd::Lost, 5)], (0, 2)));
    // Whoever still reports of the first hears that it is over.
    bench.rooms[1].report(bench.now, first, TransferState::Fetching, 9).expect("reported");
    bench.run(10);
    assert_eq!(ends(&bench, 1), [(TransferEnd::Lost, 9)]);
    bench.rooms[1].report(bench.now, second, TransferState::Complete, 0).expect("reported");
    bench.run(1);
    assert_eq!(ends(&bench, 0).last(), Some(&(TransferEnd::Complete, TOTAL)));
}

/// Seconds from the acceptance until the metainfo of so many pieces is there.
fn described_after(bench: &mut Bench, to: usize, pieces: usize) -> u64 {
    let (offer, metainfo) = torrent("film.mkv", pieces);
    let id = bench.rooms[0].offer(bench.now, key(to), offer, metainfo).expect("an offer");
    bench.run(5);
    bench.forget_events();
    bench.rooms[to].accept(bench.now, id).expect("accepted");
    for seconds in 1..=1_200 {
        bench.run(1);
        if count(bench, to, |event| matches!(event, ChatEvent::OfferReady { .. })) == 1 {
            return seconds;
        }
        assert_eq!(count(bench, to, |event| matches!(event, ChatEvent::OfferExpired { .. })), 0, "{seconds}");
    }
    panic!("it never comes");
}

#[test]
fn the_longest_metainfo_goes_through_others_hands_and_through_a_tracker() {
    let longest = limits::CHAT_METAINFO_LENGTH / 20 - 20;
    let direct = described_after(&mut Bench::line(4), 3, longest);
    assert!(direct <= 10, "{direct} s");
    let over_tracker = |pieces| {
        let mut bench = Bench::new(2);
        bench.announce(&[0, 1]);
        bench.run(60);
        described_after(&mut bench, 1, pieces)
    };
    // As many pieces as are aimed at; and as many as there can be.
    let (usual, longest) = (over_tracker(2_000), over_tracker(longest));
    assert!(usual <= 10 && longest <= 60, "{usual} s, {longest} s");
}
