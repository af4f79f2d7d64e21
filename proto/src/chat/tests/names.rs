//! Names that a native tracker has registered for somebody, trackers that lie about them, and crowds that use many.

use super::bench::{Bench, config, key};
use crate::chat::*;
use std::sync::Arc;

fn tracker() -> Arc<str> {
    "tracker:1".into()
}

/// What is being asked of the tracker.
fn asked(bench: &mut Bench, at: usize) -> Vec<String> {
    let asked = std::mem::take(&mut bench.remembered[at]);
    let name = |output: Output| if let Output::LookUp { name, .. } = output { Some(name.to_string()) } else { None };
    asked.into_iter().filter_map(name).collect()
}

/// Answers for so many seconds; returns what was asked.
fn answer(bench: &mut Bench, at: usize, seconds: u64, mut of: impl FnMut(&str) -> NameOutcome) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..2 * seconds {
        bench.run_ms(500);
        let names = asked(bench, at);
        assert!(names.len() <= 1, "one question at a time: {names:?}");
        for name in names {
            bench.rooms[at].handle_name(bench.now, of(&name));
            all.push(name);
        }
    }
    all
}

/// What the user is told of registered names.
fn told(event: &ChatEvent) -> Option<String> {
    match event {
        ChatEvent::NameRegistered { person, .. } => {
            Some(format!("{} is registered: {}", person.name, person.registered))
        }
        ChatEvent::NameOfAnother { person, name, owner, .. } => {
            Some(format!("{name} is of {}, used by {}", owner.fingerprint(), person.key.fingerprint()))
        }
        _ => None,
    }
}

/// Somebody as the room sees it.
fn seen(bench: &Bench, at: usize, who: usize) -> Person {
    bench.rooms[at].people().into_iter().find(|it| it.key == key(who)).expect("somebody")
}

#[test]
fn names_are_looked_up_once_and_told_once() {
    let mut bench = Bench::line(3);
    bench.run(10);
    assert!(asked(&mut bench, 1).is_empty(), "there is no tracker");
    bench.rooms[1].handle_peers(bench.now, &tracker(), &[]);
    let names = answer(&mut bench, 1, 200, |name| match name {
        "p0" => NameOutcome::Registered(key(0)),
        "p2" => NameOutcome::Registered(key(7)),
        _ => NameOutcome::Nobody,
    });
    assert_eq!((names.len(), names[0].as_str()), (3, "p1"), "our own comes first: {names:?}");
    let mut told: Vec<String> = bench.events[1].iter().filter_map(told).collect();
    told.sort_unstable();
    let (owner, now) = (key(7).fingerprint(), key(2).fingerprint());
    assert_eq!(told, ["p0 is registered: true".to_owned(), format!("p2 is of {owner}, used by {now}")]);
    let other = seen(&bench, 1, 2);
    assert_eq!((other.trust, other.registered, seen(&bench, 1, 0).registered), (Trust::NameConflict, false, true));
    assert_eq!(other.name, format!("p2#{}", &now[..4]));
    bench.rooms[2].say(bench.now, "me too").unwrap();
    bench.run(5);
    let said = bench.rooms[1].messages().into_iter().next_back().expect("a message");
    assert_eq!((said.text.as_str(), said.name), ("me too", other.name), "what it says is shown with the same name");
    // Whoever was compared is believed more than a tracker.
    bench.rooms[1].trust(key(2)).unwrap();
    let compared = seen(&bench, 1, 2);
    assert_eq!((compared.trust, compared.name.as_str()), (Trust::Trusted, "p2"));
    // The answers count for a while, and are asked for again; so is our own.
    assert_eq!(answer(&mut bench, 1, 650, |_| NameOutcome::Nobody), Vec::<String>::new());
    let mut again = answer(&mut bench, 1, 400, |_| NameOutcome::Nobody);
    again.sort_unstable();
    assert_eq!(again, ["p0", "p1", "p2"]);
    assert!(bench.rooms[1].people().iter().all(|person| !person.registered));
}

#[test]
fn a_tracker_that_lies_hides_nobody_and_decides_nothing() {
    let mut bench = Bench::line(4);
    bench.rooms[1].trust(key(0)).unwrap();
    bench.rooms[1].block(bench.now, key(3)).unwrap();
    bench.run(5);
    let book = |bench: &mut Bench| {
        let changes = std::mem::take(&mut bench.remembered[1]);
        changes.into_iter().filter(|output| !matches!(output, Output::LookUp { .. })).count()
    };
    book(&mut bench);
    bench.rooms[1].handle_peers(bench.now, &tracker(), &[]);
    // Every name is somebody's who is not here, each time another's.
    let (mut lies, mut asked) = (20, Vec::new());
    for _ in 0..4 {
        asked.extend(answer(&mut bench, 1, 1_000, |_| {
            lies += 1;
            NameOutcome::Registered(key(lies))
        }));
    }
    assert!(!asked.contains(&"p3".to_owned()), "nobody asks for the name of somebody who is blocked: {asked:?}");
    assert_eq!(book(&mut bench), 0, "nothing of it is kept");
    let trust: Vec<Trust> = [0, 2, 3].into_iter().map(|who| seen(&bench, 1, who).trust).collect();
    assert_eq!(trust, [Trust::Trusted, Trust::NameConflict, Trust::Blocked]);
    assert_eq!((seen(&bench, 1, 0).name.as_str(), bench.rooms[1].myself().name.as_str()), ("p0", "p1"));
    let alarms = bench.events[1].iter().filter_map(told);
    let (own, others): (Vec<String>, Vec<String>) = alarms.partition(|told| told.starts_with("p1 "));
    assert!((2..=5).contains(&own.len()) && (2..=5).contains(&others.len()), "{own:?} {others:?}");
    assert!(others.iter().all(|told| told.starts_with("p2 ")), "{others:?}");
    bench.forget_events();
    for from in [0, 2] {
        bench.rooms[from].say(bench.now, "still here").unwrap();
    }
    bench.run(5);
    let heard = bench.events[1].iter().filter(|event| matches!(event, ChatEvent::Message(_))).count();
    assert_eq!(heard, 2);
}

#[test]
fn a_crowd_that_goes_through_names_asks_the_tracker_little_and_hides_nobody() {
    let mut bench = Bench::new(12);
    for other in 1..12 {
        bench.link(0, other);
    }
    bench.run(5);
    bench.rooms[0].handle_peers(bench.now, &tracker(), &[]);
    let mut names = Vec::new();
    for round in 0..30 {
        for puppet in 1..11 {
            bench.rooms[puppet].rename(bench.now, &format!("name {round} {puppet}")).unwrap();
        }
        names.extend(answer(&mut bench, 0, 10, |name| match name {
            "p11" => NameOutcome::Registered(key(99)),
            _ => NameOutcome::Registered(key(5)),
        }));
    }
    assert!((60..=8 + 75 + 1).contains(&names.len()), "{} questions in five minutes", names.len());
    // Each of those who are here has its turn, whatever the others do.
    let mut of: Vec<&str> = names[..12].iter().filter_map(|name| name.rsplit(' ').next()).collect();
    of.sort_unstable();
    of.dedup();
    assert_eq!(of.len(), 12, "{names:?}");
    assert_eq!(seen(&bench, 0, 11).trust, Trust::NameConflict);
    let told = bench.events[0].iter().filter_map(told).count();
    assert!(told <= 16 + 75 + 1, "{told} lines");
}

#[test]
fn many_who_share_a_name_fill_no_screen() {
    let mut bench = Bench::new(0);
    bench.enter_as(0, "p0");
    for other in 1..40 {
        bench.enter_as(other, "anna");
        bench.link(0, other);
    }
    bench.run(5);
    bench.rooms[0].handle_peers(bench.now, &tracker(), &[]);
    answer(&mut bench, 0, 10, |name| NameOutcome::Registered(key(if name == "anna" { 99 } else { 0 })));
    let told = bench.events[0].iter().filter_map(told).count();
    assert!((16..=19).contains(&told), "{told} lines");
    let shown = bench.rooms[0].people().into_iter().filter(|person| person.trust == Trust::NameConflict);
    assert_eq!(shown.filter(|person| person.name.starts_with("anna#")).count(), 39, "all are shown as what they are");
}

#[test]
fn a_name_that_is_made_to_look_like_another_is_not_marked() {
    let mut bench = Bench::new(0);
    for (at, name) in ["p0", "Анна", "аnna"].into_iter().enumerate() {
        bench.enter_as(at, name);
    }
    bench.link(0, 1);
    bench.link(0, 2);
    bench.run(5);
    bench.rooms[0].handle_peers(bench.now, &tracker(), &[]);
    answer(&mut bench, 0, 30, |name| {
        NameOutcome::Registered(key(match name {
            "Анна" => 1,
            "аnna" => 2,
            _ => 0,
        }))
    });
    assert!(seen(&bench, 0, 1).registered && !seen(&bench, 0, 2).registered);
    assert_eq!(seen(&bench, 0, 2).trust, Trust::FirstSeen);
    let told = bench.events[0].iter().filter_map(told).collect::<Vec<_>>();
    assert!(told.len() == 2 && !told.iter().any(|told| told.starts_with("аnna")), "{told:?}");
}

#[test]
fn a_name_that_looks_like_a_registered_one_is_shown_as_that_of_another() {
    let mut bench = Bench::new(0);
    for (at, name) in ["p0", "аӏісе", "alice"].into_iter().enumerate() {
        bench.enter_as(at, name);
    }
    bench.link(0, 1);
    bench.run(5);
    bench.rooms[0].handle_peers(bench.now, &tracker(), &[]);
    // To a tracker both are the name of the second.
    let of = |name: &str| if name == "p0" { NameOutcome::Nobody } else { NameOutcome::Registered(key(2)) };
    answer(&mut bench, 0, 30, of);
    let first = seen(&bench, 0, 1);
    assert_eq!((first.trust, first.registered), (Trust::NameConflict, false));
    let (owner, now) = (key(2).fingerprint(), key(1).fingerprint());
    let told = bench.events[0].iter().filter_map(told).collect::<Vec<_>>();
    assert_eq!(told, [format!("аӏісе is of {owner}, used by {now}")]);
    // She comes later than he did: the pin says that she is the other, and the tracker that she is not.
    bench.link(0, 2);
    bench.run(5);
    answer(&mut bench, 0, 30, of);
    assert!(seen(&bench, 0, 2).registered && !seen(&bench, 0, 1).registered);
}

#[test]
fn nothing_is_asked_of_a_tracker_by_those_who_do_not_want_it() {
    let mut bench = Bench::new(1);
    let silent = RoomConfig { look_up_names: false, ..config(1, "silent") };
    bench.enter(silent);
    bench.link(0, 1);
    for at in 0..2 {
        bench.rooms[at].handle_peers(bench.now, &tracker(), &[]);
    }
    bench.run(1_000);
    let (asks, silent) = (asked(&mut bench, 0), asked(&mut bench, 1));
    assert_eq!((asks, silent), (vec!["p0".to_owned()], Vec::new()), "who asks waits for the first answer");
    // An answer to nothing is none.
    bench.rooms[1].handle_name(bench.now, NameOutcome::Registered(key(9)));
    assert!(bench.rooms[1].people().iter().all(|person| person.trust == Trust::FirstSeen && !person.registered));
}

#[test]
fn a_tracker_that_is_not_there_is_left_alone() {
    let mut bench = Bench::line(3);
    bench.rooms[0].handle_peers(bench.now, &tracker(), &[]);
    let mut questions = 0;
    answer(&mut bench, 0, 600, |_| {
        questions += 1;
        NameOutcome::Failed
    });
    assert!((8..=11).contains(&questions), "once a minute: {questions}");
    // Nobody has asked.
    bench.rooms[0].handle_name(bench.now, NameOutcome::Registered(key(9)));
    let names = answer(&mut bench, 0, 120, |_| NameOutcome::Nobody);
    assert_eq!(names.len(), 3, "it has come back: {names:?}");
}
