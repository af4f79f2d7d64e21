//! People who cannot reach each other, and a tracker between them.

use super::bench::{Bench, at_tracker, key, peer};
use crate::chat::frame::Frame;
use crate::chat::*;
use crate::metainfo::{Content, MetainfoBuilder};
use ::bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// So many people, all of one tracker, and none connected to any other.
fn behind_a_tracker(people: usize) -> Bench {
    let mut bench = Bench::new(people);
    bench.announce(&(0..people).collect::<Vec<_>>());
    bench
}

/// The same, once all know each other.
fn acquainted(people: usize) -> Bench {
    let mut bench = behind_a_tracker(people);
    bench.run(30);
    for at in 0..people {
        assert_eq!(bench.names(at).len(), people, "{at}");
    }
    bench.forget_events();
    bench
}

fn links(bench: &Bench, at: usize) -> usize {
    bench.rooms[at].relayed_neighbours()
}

#[test]
fn two_people_hear_each_other_some_time_after_they_heard_of_each_other() {
    let mut bench = behind_a_tracker(2);
    bench.run(9);
    assert_eq!(bench.packets, 0, "they may still connect");
    bench.run(6);
    assert_eq!((bench.names(0), links(&bench, 0), links(&bench, 1)), (vec!["p0".into(), "p1".into()], 1, 1));
    assert!(bench.rooms[0].people().iter().all(|person| person.me || !person.direct));
    bench.forget_events();
    let id = bench.say(0, "hello");
    bench.run(1);
    assert_eq!((bench.texts(0), bench.texts(1)), (vec!["hello"], vec!["hello"]));
    assert!(bench.events[0].contains(&ChatEvent::Heard { id, neighbours: 1 }));
    let before = bench.packets;
    bench.run(600);
    assert!(bench.packets - before < 120, "{} packets in ten minutes without a word", bench.packets - before);
    bench.rooms[0].leave(bench.now);
    bench.run(1);
    let left = |event: &ChatEvent| matches!(event, ChatEvent::Left { silent: false, .. });
    assert!(bench.events[1].iter().any(left), "goodbyes get through too");
}

#[test]
fn a_dial_that_failed_makes_it_sooner() {
    let mut bench = behind_a_tracker(2);
    bench.rooms[0].handle_unreachable(bench.now, at_tracker(1).address);
    bench.run(4);
    assert_eq!(links(&bench, 1), 1);
}

#[test]
fn who_is_connected_needs_no_tracker_and_who_no_longer_is_does() {
    let mut bench = behind_a_tracker(2);
    bench.link(0, 1);
    let told = |bench: &mut Bench| {
        bench.rooms[0].handle_address(bench.now, peer(1), at_tracker(1).address);
        bench.rooms[1].handle_address(bench.now, peer(0), at_tracker(0).address);
    };
    told(&mut bench);
    bench.run(200);
    assert_eq!(bench.packets, 0);
    bench.cut(0, 1);
    bench.run(12);
    assert_eq!((links(&bench, 0), links(&bench, 1)), (1, 1));
    bench.forget_events();
    bench.say(0, "over the tracker");
    bench.run(1);
    bench.link(0, 1);
    told(&mut bench);
    bench.run(1);
    assert_eq!((links(&bench, 0), links(&bench, 1)), (0, 0));
    bench.say(1, "directly");
    let before = bench.packets;
    bench.run(300);
    assert_eq!((bench.texts(0), bench.packets), (vec!["over the tracker", "directly"], before));
}

#[test]
fn two_islands_become_one_room() {
    let mut bench = Bench::new(8);
    for (one, two) in [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7)] {
        bench.link(one, two);
        bench.rooms[one].handle_address(bench.now, peer(two), at_tracker(two).address);
        bench.rooms[two].handle_address(bench.now, peer(one), at_tracker(one).address);
    }
    bench.announce(&[3, 4]);
    bench.run(20);
    bench.forget_events();
    bench.say(0, "from one end");
    bench.say(7, "from the other");
    bench.run(5);
    assert!((0..8).all(|at| bench.texts(at).len() == 2), "{:?}", bench.texts(0));
    assert_eq!((0..8).map(|at| links(&bench, at)).sum::<usize>(), 2);
}

#[test]
fn calls_and_the_metainfo_of_an_offer_pass() {
    let mut bench = acquainted(2);
    let now = bench.now;
    let id = bench.rooms[0].call(now, key(1)).unwrap();
    bench.run(1);
    bench.rooms[1].accept(bench.now, id).unwrap();
    bench.run(1);
    for at in 0..10 {
        bench.rooms[0].tell(bench.now, id, &format!("secret {at}")).unwrap();
    }
    bench.run(5);
    let told = |event: &&ChatEvent| matches!(event, ChatEvent::DirectMessage { .. });
    assert_eq!(bench.events[1].iter().filter(told).count(), 10);

    let builder = MetainfoBuilder::new("film", Content::SingleFile { length: 9_000 << 14 });
    let geometry = builder.geometry().unwrap();
    let metainfo = Bytes::from(builder.build(&vec![[7; 20]; geometry.pieces() as usize]).unwrap());
    let offer = Offer {
        info_hash: crate::metainfo::Metainfo::parse(metainfo.clone()).unwrap().info_hash(),
        name: "film".into(),
        total_length: geometry.total_length(),
        files: 1,
        port: 6881,
        addresses: vec![],
    };
    let id = bench.rooms[0].offer(bench.now, key(1), offer, metainfo.clone()).unwrap();
    bench.run(1);
    bench.rooms[1].accept(bench.now, id).unwrap();
    bench.run(60);
    let ready = bench.events[1].iter().find_map(|event| match event {
        ChatEvent::OfferReady { metainfo, .. } => Some(metainfo.clone()),
        _ => None,
    });
    assert_eq!(ready.map(|ready| ready.len()), Some(metainfo.len()));
}

#[test]
fn many_people_hear_everything_once_at_a_bounded_price() {
    let people = 12;
    let mut bench = acquainted(people);
    assert!((0..people).all(|at| (1..=9).contains(&links(&bench, at))));
    bench.run(60);
    let before = bench.packets;
    for at in 0..30 {
        bench.say(at % people, &at.to_string());
        bench.run(4);
    }
    bench.run(20);
    for at in 0..people {
        let texts = bench.texts(at);
        assert_eq!(texts, (0..30).map(|at| at.to_string()).collect::<Vec<_>>(), "{at}");
    }
    // Whoever has a message sends it to two, and tells those to whom it is linked; signs of life and presences are among it.
    let price = (bench.packets - before) as f64 / (30.0 * (people - 1) as f64);
    assert!(price < 12.0, "{price} packets per delivery");
    assert_eq!(bench.rooms.iter().map(|room| room.stats().relay_dropped).sum::<u64>(), 0);
}

#[test]
fn a_tracker_gets_no_more_than_it_takes_of_one_connection() {
    let mut bench = behind_a_tracker(12);
    let clock = Rc::new(RefCell::new((Instant::now(), BTreeMap::<usize, Vec<Instant>>::new())));
    let note = clock.clone();
    bench.tracker = Some(Box::new(move |from, _, _| {
        let (now, sent) = &mut *note.borrow_mut();
        sent.entry(from).or_default().push(*now);
        Some(RelayOutcome::HandedOn)
    }));
    let start = bench.now;
    for at in 0..1_200u64 {
        clock.borrow_mut().0 = start + Duration::from_millis(at * 100);
        for from in 0..12 {
            let _ = bench.rooms[from].say(bench.now, "all talk at once, as fast as they may");
        }
        bench.run_ms(100);
    }
    for (from, sent) in &clock.borrow().1 {
        assert!(sent.len() > 200, "{from}: {}", sent.len());
        for (at, first) in sent.iter().enumerate() {
            let within = |seconds| sent[at..].iter().filter(|it| **it - *first < Duration::from_secs(seconds)).count();
            assert!(within(1) <= 32 && within(10) <= 100, "{from} sent {} in a second", within(1));
        }
    }
}

#[test]
fn what_a_tracker_loses_is_asked_for() {
    let mut bench = acquainted(6);
    let mut count = 0_u32;
    bench.tracker = Some(Box::new(move |_, _, _| {
        count += 1;
        (!count.is_multiple_of(5)).then_some(RelayOutcome::HandedOn)
    }));
    for at in 0..40 {
        bench.say(at % 6, &at.to_string());
        bench.run(8);
    }
    bench.run(120);
    for at in 0..6 {
        assert_eq!(bench.texts(at), (0..40).map(|at| at.to_string()).collect::<Vec<_>>(), "{at}");
    }
}

#[test]
fn a_newcomer_gets_the_last_messages_over_the_tracker() {
    let mut bench = Bench::new(2);
    bench.link(0, 1);
    for at in 0..120 {
        bench.say(at % 2, &format!("{at} {}", "x".repeat(1_000)));
        bench.run(2);
    }
    let late = bench.enter_as(2, "late");
    bench.announce(&[1, late]);
    bench.run(40);
    let numbers: Vec<_> = bench.texts(late).iter().map(|text| text.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(numbers, (70..120).map(|at| at.to_string()).collect::<Vec<_>>());
    assert_eq!(bench.rooms[late].stats().gaps, 0);
}

#[test]
fn what_the_tracker_refuses_is_obeyed() {
    let mut bench = behind_a_tracker(2);
    let asked = Rc::new(RefCell::new(0));
    let count = asked.clone();
    bench.tracker = Some(Box::new(move |_, _, _| {
        *count.borrow_mut() += 1;
        Some(RelayOutcome::NoSuchPeer)
    }));
    bench.run(3_600);
    assert_eq!(*asked.borrow(), 2, "who is not there is asked once");
    bench.announce(&[0, 1]);
    let count = asked.clone();
    bench.tracker = Some(Box::new(move |_, _, _| {
        *count.borrow_mut() += 1;
        Some(RelayOutcome::TooFast { wait: Duration::from_secs(1) })
    }));
    bench.run(60);
    assert!(*asked.borrow() <= 2 + 2 * 60, "{}", asked.borrow());
    bench.tracker = None;
    bench.run(300);
    assert_eq!((links(&bench, 0), links(&bench, 1)), (1, 1), "later it goes");
}

#[test]
fn who_does_not_answer_is_asked_less_and_less() {
    let mut bench = behind_a_tracker(2);
    bench.rooms[1].leave(bench.now);
    bench.run(3 * 3_600);
    assert!((10..=40).contains(&bench.packets), "{} packets in three hours", bench.packets);
    let waiting = bench.rooms[0].poll_timeout().unwrap();
    assert!(waiting > bench.now, "and the clock goes on");
}

#[test]
fn whoever_comes_back_is_linked_again() {
    let mut bench = acquainted(2);
    // The room of 1 is gone without a word, and somebody else is at its address.
    let again = bench.enter_as(5, "again");
    bench.rooms.swap(1, again);
    bench.announce(&[0, 1]);
    bench.run(120);
    assert!(bench.names(0).contains(&"again".to_owned()), "{:?}", bench.names(0));
    bench.forget_events();
    bench.say(0, "who are you?");
    bench.run(2);
    assert_eq!(bench.rooms[1].messages().last().map(|it| it.text.clone()), Some("who are you?".into()));
}

/// A liar at the address of 9, who opens a link to 0 and has the id of 0's end.
struct Liar {
    theirs: [u8; 8],
}

impl Liar {
    fn link(bench: &mut Bench, hello: u8) -> Self {
        Self::send(bench, &[&[1, 1][..], &[hello; 8]].concat());
        let mut heard = Vec::new();
        for _ in 0..50 {
            Self::step(bench, &mut heard);
        }
        let welcome = heard.into_iter().find(|data| data[..2] == [1, 2]).expect("a welcome");
        Self { theirs: welcome[10..18].try_into().unwrap() }
    }

    fn send(bench: &mut Bench, data: &[u8]) {
        let from = at_tracker(9);
        bench.rooms[0].handle_relayed(bench.now, &from, &Bytes::copy_from_slice(data));
        bench.collect();
    }

    fn frames(&self, bench: &mut Bench, number: u32, frames: &[Bytes]) {
        let mut data = [&[1, 3][..], &self.theirs, &number.to_be_bytes()].concat();
        for frame in frames {
            data.extend_from_slice(&u16::try_from(frame.len()).unwrap().to_be_bytes());
            data.extend_from_slice(frame);
        }
        Self::send(bench, &data);
    }

    /// Lets a moment pass; what 0 sends to it is taken from the tracker.
    fn step(bench: &mut Bench, heard: &mut Vec<Bytes>) {
        bench.now += Duration::from_millis(20);
        if bench.rooms[0].poll_timeout().is_some_and(|due| due <= bench.now) {
            bench.rooms[0].handle_timeout(bench.now);
        }
        bench.collect();
        if let Some((_, to, data)) = bench.relayed.pop_front() {
            assert_eq!(to, at_tracker(9));
            heard.push(data);
            bench.rooms[0].handle_relay_done(bench.now, RelayOutcome::HandedOn);
        }
        assert!(bench.relayed.is_empty(), "one at a time");
    }

    /// Lets time pass; how many bytes came meanwhile.
    fn run(bench: &mut Bench, ms: u64) -> usize {
        let mut heard = Vec::new();
        for _ in 0..ms.div_ceil(20) {
            Self::step(bench, &mut heard);
        }
        heard.iter().map(Bytes::len).sum()
    }
}

#[test]
fn a_liar_who_floods_over_the_tracker_is_cut_off_and_gets_little_for_it() {
    let mut bench = Bench::new(1);
    (0..200).for_each(|at| {
        bench.say(0, &format!("{at} {}", "x".repeat(2_000)));
        bench.now += Duration::from_secs(2);
    });
    bench.forget_events();
    let mut sent = 0;
    let mut back = 0;
    for at in 0..600u32 {
        // Hellos under new names, halves of links, frames for links that never were, garbage.
        for data in [[&[1, 1][..], &at.to_be_bytes(), &[7; 4]].concat(), vec![1, 3, 9, 9], vec![0xff; 8_192]] {
            sent += data.len();
            Liar::send(&mut bench, &data);
        }
        back += Liar::run(&mut bench, 100);
    }
    assert!(back < sent / 100, "{back} bytes for {sent}");
    assert!(bench.rooms[0].stats().rate_limited > 500);
    assert_eq!(links(&bench, 0), 0);
}

#[test]
fn histories_are_not_given_again_and_again() {
    let mut bench = Bench::new(1);
    (0..200).for_each(|at| {
        bench.say(0, &format!("{at} {}", "x".repeat(2_000)));
        bench.now += Duration::from_secs(2);
    });
    let mut back = 0;
    for round in 0..60u8 {
        Liar::send(&mut bench, &[&[1, 1][..], &[round; 8]].concat());
        let mut heard = Vec::new();
        for _ in 0..50 {
            Liar::step(&mut bench, &mut heard);
        }
        back += heard.iter().map(Bytes::len).sum::<usize>();
        let data = heard.into_iter().find(|sent| sent[..2] == [1, 2]);
        if let Some(welcome) = data {
            let liar = Liar { theirs: welcome[10..18].try_into().unwrap() };
            let have = Frame::Have { age_s: u32::MAX, ids: vec![] }.encode();
            liar.frames(&mut bench, 0, &[have.clone(), have.clone(), have.clone(), have]);
        }
        back += Liar::run(&mut bench, 2_000);
    }
    // Three minutes: two gifts for each of the first links, then one link in 20 s, and never more than the rate.
    assert!(back < 20 * 2 * 110_000, "{back}");
    assert!(back / 180 < 45_000, "{} bytes a second", back / 180);
}

#[test]
fn forged_and_oversized_frames_over_the_tracker_end_the_link_for_a_while() {
    let mut bench = Bench::new(1);
    let liar = Liar::link(&mut bench, 1);
    let forged = Frame::Push { hops: 32, message: Bytes::from(vec![1; 300]) }.encode();
    liar.frames(&mut bench, 0, &[]);
    assert_eq!(links(&bench, 0), 1);
    liar.frames(&mut bench, 1, &[forged.clone(), forged.clone(), forged.clone(), forged]);
    Liar::run(&mut bench, 100);
    assert_eq!((links(&bench, 0), bench.rooms[0].stats().forged), (0, 4));
    Liar::send(&mut bench, &[&[1, 1][..], &[2; 8]].concat());
    assert_eq!(Liar::run(&mut bench, 60_000), 0, "not a word to it for ten minutes");
    Liar::run(&mut bench, 600_000);
    let liar = Liar::link(&mut bench, 3);
    // A frame without end.
    for number in 0..40 {
        let mut data = [&[1, 3][..], &liar.theirs, &u32::to_be_bytes(number)].concat();
        let flags: u16 = if number == 0 { 0x4000 } else { 0xc000 };
        data.extend_from_slice(&(flags | 8_000).to_be_bytes());
        data.extend_from_slice(&[1; 8_000]);
        Liar::send(&mut bench, &data);
    }
    assert_eq!(bench.rooms[0].stats().malformed, 1);
    // Nobody but the tracker's own peer can speak in a link: the address is the tracker's word, the id is random.
    let other = RelayPeer { tracker: "another:1".into(), ..at_tracker(9) };
    let before = bench.rooms[0].stats();
    let data = [&[1, 3][..], &liar.theirs, &[0; 4], &[0, 1, 9]].concat();
    bench.rooms[0].handle_relayed(bench.now, &other, &data.into());
    assert_eq!(bench.rooms[0].stats().malformed, before.malformed);
}

#[test]
fn a_tracker_that_tells_of_very_many_peers_is_remembered_in_part() {
    let mut bench = Bench::new(1);
    for round in 0..20u8 {
        let many = (1..=u16::MAX).step_by(50).map(|port| SocketAddr::from(([10, 0, round, 1], port)));
        bench.rooms[0].handle_peers(bench.now, &"tracker:1".into(), &many.collect::<Vec<_>>());
        bench.rooms[0].check_invariants();
    }
    let mut asked = 0;
    for _ in 0..6_000 {
        bench.now += Duration::from_millis(20);
        bench.rooms[0].handle_timeout(bench.now);
        bench.collect();
        asked += bench.relayed.len();
        if bench.relayed.pop_front().is_some() {
            bench.rooms[0].handle_relay_done(bench.now, RelayOutcome::NoSuchPeer);
        }
    }
    assert!((100..=300).contains(&asked), "{asked} were asked in two minutes");
}
