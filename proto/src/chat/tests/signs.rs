//! Signs of life over the channel of files that were accepted: who has crashed is known soon, and who is slow is left alone.

use super::bench::{Bench, WALL_MS, config, key};
use super::transfers::{TOTAL, accepted, ends, open, progress};
use crate::chat::*;
use std::cell::Cell;
use std::rc::Rc;

/// What somebody was told of silence.
fn silences(bench: &Bench, at: usize) -> Vec<bool> {
    let told = |event: &ChatEvent| match event {
        ChatEvent::OfferSilent { transfer, silent } => {
            assert_eq!((transfer.ours, transfer.total_bytes), (at == 0, TOTAL));
            Some(*silent)
        }
        _ => None,
    };
    bench.events[at].iter().filter_map(told).collect()
}

/// Runs until the condition holds; seconds until then.
fn seconds_until(bench: &mut Bench, condition: impl Fn(&Bench) -> bool) -> u64 {
    (0..1_000).find(|_| condition(bench) || (bench.run(1), false).1).expect("it never comes about")
}

#[test]
fn a_receiver_that_crashes_is_missed_after_half_a_minute_and_given_up_after_two() {
    let mut bench = Bench::line(2);
    let id = accepted(&mut bench, 0, 1);
    bench.rooms[1].report(bench.now, id, TransferState::Fetching, TOTAL / 2).expect("reported");
    bench.run(1);
    // The connection stands, as after a cable was pulled, and nothing comes over it.
    bench.filter = Some(Box::new(|_, _, _| false));
    let missed = seconds_until(&mut bench, |bench| silences(bench, 0) == [true]);
    assert!((29..=31).contains(&missed), "{missed} s");
    assert_eq!(ends(&bench, 0), [], "it may come back");
    let lost = missed + seconds_until(&mut bench, |bench| !ends(bench, 0).is_empty());
    assert!((105..=111).contains(&lost), "{lost} s");
    assert_eq!((ends(&bench, 0), open(&bench, 0)), (vec![(TransferEnd::Lost, TOTAL / 2)], (0, 0)));
    // To the receiver it looks the same the other way round.
    bench.run(5);
    assert_eq!((silences(&bench, 1), ends(&bench, 1).len(), open(&bench, 1)), (vec![true], 1, (0, 0)));
}

#[test]
fn a_receiver_that_waits_in_silence_is_alive() {
    let mut bench = Bench::line(2);
    let id = accepted(&mut bench, 0, 1);
    bench.rooms[1].report(bench.now, id, TransferState::Waiting, 7).expect("reported");
    bench.run(30);
    let (seen, said) = (Rc::new(Cell::new(0u32)), progress(&bench, 0).len());
    let counted = Rc::clone(&seen);
    bench.filter = Some(Box::new(move |_, _, payload| {
        counted.set(counted.get() + u32::from(matches!(payload[0], 1 | 6)));
        true
    }));
    bench.run(1_500);
    assert_eq!((silences(&bench, 0), silences(&bench, 1)), (vec![], vec![]));
    assert_eq!((progress(&bench, 0).len(), open(&bench, 0), open(&bench, 1)), (said, (0, 1), (0, 1)));
    // A hundred signs and their acknowledgements, if both sides do not ask at the same time; and who is here at all.
    assert!((200..=500).contains(&seen.get()), "{} messages in 1,500 s", seen.get());
    bench.rooms[1].report(bench.now, id, TransferState::Complete, 0).expect("reported");
    bench.run(2);
    assert_eq!(ends(&bench, 0), [(TransferEnd::Complete, TOTAL)]);
}

#[test]
fn who_answers_again_in_time_goes_on() {
    let mut bench = Bench::line(3);
    let id = accepted(&mut bench, 0, 2);
    bench.rooms[2].report(bench.now, id, TransferState::Fetching, 7).expect("reported");
    bench.run(1);
    bench.filter = Some(Box::new(|_, _, _| false));
    bench.run(70);
    assert_eq!((silences(&bench, 0), silences(&bench, 2)), (vec![true], vec![true]));
    bench.filter = None;
    bench.run(30);
    assert_eq!((silences(&bench, 0), silences(&bench, 2)), (vec![true, false], vec![true, false]));
    bench.rooms[2].report(bench.now, id, TransferState::Fetching, 9).expect("it stands");
    bench.run(10);
    assert_eq!(progress(&bench, 0).last(), Some(&(TransferState::Fetching, 9)));
    bench.rooms[2].report(bench.now, id, TransferState::Complete, 0).expect("reported");
    bench.run(2);
    assert_eq!((ends(&bench, 0), ends(&bench, 2).len()), (vec![(TransferEnd::Complete, TOTAL)], 1));
}

#[test]
fn a_receiver_that_was_started_again_has_no_channel_and_the_sender_finds_out() {
    let mut bench = Bench::line(2);
    let id = accepted(&mut bench, 0, 1);
    bench.rooms[1].report(bench.now, id, TransferState::Waiting, 7).expect("reported");
    bench.run(5);
    // The same person, who knows of nothing.
    bench.cut(0, 1);
    let config = RoomConfig { wall_ms: WALL_MS + 60_000, ..config(1, "p1") };
    bench.rooms[1] = Room::new(config, [9; 32], bench.now).expect("a good name");
    bench.link(0, 1);
    let lost = seconds_until(&mut bench, |bench| !ends(bench, 0).is_empty());
    assert!(lost <= 20, "{lost} s");
    assert_eq!((ends(&bench, 0), open(&bench, 0), silences(&bench, 0)), (vec![(TransferEnd::Lost, 7)], (0, 0), vec![]));
    assert!(bench.rooms[0].people().iter().any(|person| person.key == key(1) && person.here));
}
