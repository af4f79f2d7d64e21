//! Who is there, and under which name.

use super::bench::{Bench, ROOM, WALL_MS, identity, key};
use crate::chat::*;

#[test]
fn people_join_rename_and_leave() {
    let mut bench = Bench::new(3);
    bench.link(0, 1);
    bench.link(1, 2);
    bench.run(2);
    let joined = |bench: &Bench, at: usize| {
        let who = |event: &ChatEvent| if let ChatEvent::Joined(it) = event { Some(it.name.clone()) } else { None };
        let mut who: Vec<String> = bench.events[at].iter().filter_map(who).collect();
        who.sort();
        who
    };
    assert_eq!([0, 1, 2].map(|at| joined(&bench, at)), [vec!["p1", "p2"], vec!["p0", "p2"], vec!["p0", "p1"]]);
    let people = bench.rooms[0].people();
    let direct: Vec<_> = people.iter().map(|it| (it.name.as_str(), it.direct, it.me, it.trust)).collect();
    let first = Trust::FirstSeen;
    let mut expected = vec![("p1", true, false, first), ("p2", false, false, first)];
    expected.sort_by_key(|(name, ..)| key(if *name == "p1" { 1 } else { 2 }));
    expected.insert(0, ("p0", true, true, first));
    assert_eq!(direct, expected);
    bench.forget_events();
    bench.rooms[2].rename(bench.now, "zoe").unwrap();
    bench.settle();
    assert!(
        matches!(&bench.events[0][..], [ChatEvent::Renamed { person, before }] if person.name == "zoe" && before == "p2"),
        "{:?}",
        bench.events[0]
    );
    bench.rooms[2].leave(bench.now);
    bench.run(2);
    let [_, ChatEvent::Left { person, silent: false }] = &bench.events[0][..] else { panic!("{:?}", bench.events[0]) };
    assert_eq!((person.name.as_str(), person.here), ("zoe", false));
    assert_eq!(bench.names(0), ["p0", "p1"]);
}

#[test]
fn who_is_silent_has_left_and_who_only_says_nothing_has_not() {
    let mut bench = Bench::line(3);
    bench.run(1_800);
    assert_eq!(bench.names(0).len(), 3, "nobody spoke for half an hour, and all are here");
    bench.cut(1, 2);
    bench.run(420);
    let left = |event: &&ChatEvent| matches!(event, ChatEvent::Left { person, silent: true } if person.key == key(2));
    assert_eq!(bench.events[0].iter().filter(left).count(), 1);
    bench.link(1, 2);
    bench.run(2);
    let back = |event: &&ChatEvent| matches!(event, ChatEvent::Joined(person) if person.key == key(2));
    assert_eq!(bench.events[0].iter().filter(back).count(), 1);
    assert_eq!(bench.names(2).len(), 3);
}

#[test]
fn a_name_belongs_to_the_first_key_and_others_are_flagged_loudly() {
    let mut bench = Bench::new(0);
    let (anna, bob) = (bench.enter_as(0, "anna"), bench.enter_as(1, "bob"));
    let liar = bench.enter_as(2, "Anna");
    bench.link(anna, bob);
    bench.run(1);
    bench.link(liar, bob);
    bench.run(1);
    let flags = |bench: &Bench, at: usize| {
        bench.events[at]
            .iter()
            .filter(|event| matches!(event, ChatEvent::NameChangedKey { .. }))
            .cloned()
            .collect::<Vec<_>>()
    };
    let flag = ChatEvent::NameChangedKey { name: "Anna".into(), like: None, pinned: key(0), now: key(2) };
    assert_eq!(flags(&bench, bob), std::slice::from_ref(&flag));
    bench.say(liar, "it is me");
    bench.rooms[liar].rename(bench.now, "Anna").unwrap();
    bench.run(300);
    assert_eq!(flags(&bench, bob), [flag], "once is enough");
    let shown = format!("Anna#{}", &key(2).fingerprint()[..4]);
    let said = bench.rooms[bob].messages();
    assert_eq!((said[0].name.as_str(), said[0].text.as_str()), (shown.as_str(), "it is me"));
    let person = bench.rooms[bob].people().into_iter().find(|person| person.key == key(2)).unwrap();
    assert_eq!((person.name, person.trust), (shown, Trust::NameConflict));
    // The user has compared fingerprints: it was Anna with a new key.
    bench.rooms[bob].trust(key(2)).unwrap();
    let trust = |key| bench.rooms[bob].people().into_iter().find(|person| person.key == key).unwrap().trust;
    assert_eq!((trust(key(2)), trust(key(0))), (Trust::Trusted, Trust::NameConflict));
}

#[test]
fn a_name_that_looks_like_anothers_is_flagged_like_an_equal_one() {
    let mut bench = Bench::new(0);
    for (at, name) in ["bob", "alice", "аӏісе", "Jos\u{e9}", "jose\u{301}", "PauI", "paul"].into_iter().enumerate()
    {
        bench.enter_as(at, name);
        if at > 0 {
            bench.link(0, at);
            bench.run(1);
        }
    }
    let flags = bench.events[0].iter().filter_map(|event| match event {
        ChatEvent::NameChangedKey { name, like, pinned, now } => Some((name.clone(), like.clone(), *pinned, *now)),
        _ => None,
    });
    let flag = |name: &str, like: &str, pinned, now| (name.to_owned(), Some(like.to_owned()), key(pinned), key(now));
    let expected = [flag("аӏісе", "alice", 1, 2), flag("jose\u{301}", "Jos\u{e9}", 3, 4), flag("paul", "PauI", 5, 6)];
    assert_eq!(flags.collect::<Vec<_>>(), expected);
    let seen = |bench: &Bench, who| bench.rooms[0].people().into_iter().find(|it| it.key == key(who)).unwrap();
    let shown = format!("аӏісе#{}", &key(2).fingerprint()[..4]);
    assert_eq!((seen(&bench, 2).name, seen(&bench, 2).trust), (shown, Trust::NameConflict));
    assert_eq!((seen(&bench, 1).name.as_str(), seen(&bench, 1).trust), ("alice", Trust::FirstSeen));
    // Both were compared, and are called what they are called.
    bench.rooms[0].trust(key(5)).unwrap();
    bench.rooms[0].trust(key(6)).unwrap();
    let both = [5, 6].map(|who| (seen(&bench, who).name, seen(&bench, who).trust));
    assert_eq!(both, [("PauI".to_owned(), Trust::Trusted), ("paul".to_owned(), Trust::Trusted)]);
    // Whoever trusts somebody with a name that looks like the own one does not lose it.
    bench.rooms[1].rename(bench.now, "b0b").unwrap();
    bench.run(1);
    assert_eq!(seen(&bench, 1).trust, Trust::NameConflict);
    bench.rooms[0].trust(key(1)).unwrap();
    assert_eq!((seen(&bench, 1).trust, bench.rooms[0].myself().name.as_str()), (Trust::Trusted, "bob"));
    // With the very same name there is one of it again: the last that was compared.
    bench.rooms[6].rename(bench.now, "paui").unwrap();
    bench.run(1);
    bench.rooms[0].trust(key(6)).unwrap();
    assert_eq!((seen(&bench, 5).trust, seen(&bench, 6).trust), (Trust::NameConflict, Trust::Trusted));
}

#[test]
fn whoever_is_known_from_before_names_were_compared_by_looks_is_still_known() {
    let entry = |at: usize, name: &str, trust| BookEntry { key: key(at), name: name.into(), trust };
    let book = vec![
        entry(1, "alice", Pinned::Blocked),
        entry(2, "аӏісе", Pinned::FirstSeen),
        entry(3, "AIice", Pinned::FirstSeen),
        entry(4, "PauI", Pinned::Trusted),
        entry(5, "paul", Pinned::Trusted),
        entry(6, "PAUL", Pinned::Trusted),
    ];
    let mut bench = Bench::new(0);
    bench.enter(RoomConfig {
        room: ROOM,
        identity: identity(0),
        name: "bob".into(),
        book,
        look_up_names: true,
        wall_ms: WALL_MS,
    });
    let names = [(2, "аӏісе"), (3, "AIice"), (4, "PauI"), (5, "paul"), (6, "PAUL"), (7, "a1ice")];
    for (at, (_, name)) in names.into_iter().enumerate() {
        let config = RoomConfig {
            room: ROOM,
            identity: identity(names[at].0),
            name: name.into(),
            book: vec![],
            look_up_names: true,
            wall_ms: WALL_MS,
        };
        let entered = bench.enter(config);
        bench.link(0, entered);
        bench.run(1);
    }
    let trust = |who| bench.rooms[0].people().into_iter().find(|it| it.key == key(who)).unwrap().trust;
    assert_eq!((trust(2), trust(3), trust(7)), (Trust::FirstSeen, Trust::NameConflict, Trust::NameConflict));
    assert_eq!((trust(4), trust(5), trust(6)), (Trust::Trusted, Trust::Trusted, Trust::NameConflict));
}

#[test]
fn pins_are_remembered_from_one_start_to_the_next() {
    let mut bench = Bench::new(0);
    let (anna, bob) = (bench.enter_as(0, "anna"), bench.enter_as(1, "bob"));
    bench.link(anna, bob);
    bench.run(1);
    let entry = BookEntry { key: key(0), name: "anna".into(), trust: Pinned::FirstSeen };
    assert_eq!(bench.remembered[bob], [Output::Remember(entry.clone())]);
    let config = RoomConfig {
        room: ROOM,
        identity: identity(1),
        name: "bob".into(),
        book: vec![entry],
        look_up_names: true,
        wall_ms: WALL_MS,
    };
    let again = bench.enter(RoomConfig { identity: identity(3), ..config });
    let liar = bench.enter_as(2, "anna");
    bench.link(again, liar);
    bench.run(1);
    let flagged = |event: &ChatEvent| matches!(event, ChatEvent::NameChangedKey { pinned, .. } if *pinned == key(0));
    assert!(bench.events[again].iter().any(flagged), "{:?}", bench.events[again]);
}

#[test]
fn who_is_blocked_is_neither_heard_nor_passed_on() {
    let mut bench = Bench::line(3);
    bench.rooms[1].block(bench.now, key(0)).unwrap();
    bench.say(0, "noise");
    bench.run(5);
    assert_eq!((bench.texts(1).len(), bench.texts(2).len()), (0, 0));
    assert!(bench.rooms[1].stats().blocked >= 1);
    let answer = bench.say(2, "fine");
    bench.run(5);
    assert_eq!(bench.texts(1), ["fine"]);
    assert_eq!(bench.rooms[1].messages().last().unwrap().id, answer);
    assert_eq!(bench.rooms[1].call(bench.now, key(0)), Err(ChatError::Blocked));
    assert_eq!(bench.rooms[1].block(bench.now, key(1)), Err(ChatError::Myself));
    bench.rooms[1].unblock(key(0)).unwrap();
    bench.say(0, "sorry");
    bench.run(5);
    assert_eq!(bench.texts(1).last(), Some(&"sorry"));
    // There nobody has what was said before it.
    bench.run(15);
    assert_eq!(bench.texts(2).last(), Some(&"sorry"));
}

#[test]
fn names_that_cannot_be_are_refused_and_strange_ones_are_shown_harmless() {
    let mut bench = Bench::line(2);
    for bad in ["", " ", "a#b", "a\u{202e}b", "a\nb"] {
        let refused = bench.rooms[0].rename(bench.now, bad);
        assert!(matches!(refused, Err(ChatError::BadName(_))), "{bad:?} {refused:?}");
    }
    // Another program may say anything.
    bench.rooms[0].me.name = "x\x1b[2J\u{202e}#".into();
    bench.rooms[0].announce_presence(bench.now);
    bench.say(0, "a\x1b[31mb\u{2066}");
    bench.settle();
    let message = bench.rooms[1].messages().pop().unwrap();
    assert_eq!((message.name.as_str(), message.text.as_str()), ("x\u{fffd}[2J\u{fffd}_", "a\u{fffd}[31mb\u{fffd}"));
}

/// Three in a row, of whom the first has said two things that the one in the middle has.
fn with_words_of_the_first() -> (Bench, [MessageId; 2]) {
    let mut bench = Bench::line(3);
    let said = ["one", "two"].map(|text| bench.say(0, text));
    bench.settle();
    (bench, said)
}

#[test]
fn what_the_blocked_said_before_is_not_passed_on_either() {
    let (mut bench, said) = with_words_of_the_first();
    bench.rooms[1].block(bench.now, key(0)).unwrap();
    bench.say(2, "of another");
    bench.settle();
    let new = bench.enter_as(3, "new");
    bench.link(1, new);
    bench.run(20);
    assert_eq!(bench.texts(new), ["of another"], "neither as history, nor because it was asked for");
    assert!(bench.rooms[new].people().iter().all(|person| person.key != key(0)), "nor that the first is here");
    assert_eq!(bench.rooms[1].stats().gaps + bench.rooms[2].stats().gaps, 0);
    bench.rooms[1].unblock(key(0)).unwrap();
    let later = bench.enter_as(4, "later");
    bench.link(1, later);
    bench.run(2);
    assert_eq!(bench.texts(later), ["one", "two", "of another"]);
    assert_eq!(bench.rooms[1].messages()[0].id, said[0]);
}

#[test]
fn nobody_waits_for_what_the_blocked_say_and_nothing_of_it_is_marked() {
    let mut bench = Bench::new(3);
    bench.link(0, 2);
    bench.link(1, 2);
    bench.link(0, 1);
    bench.run(5);
    bench.forget_events();
    bench.rooms[2].block(bench.now, key(0)).unwrap();
    // What the blocked one says reaches the third only when it is asked for.
    bench.filter = Some(Box::new(|_, to, payload| !(to == 2 && payload[0] == 1)));
    bench.say(0, "question");
    bench.settle();
    bench.filter = Some(Box::new(|from, to, _| !(from == 0 && to == 2)));
    bench.say(1, "answer");
    bench.run(4);
    let [ChatEvent::Message(message)] = &bench.events[2][..] else { panic!("{:?}", bench.events[2]) };
    assert_eq!((message.text.as_str(), message.gap), ("answer", false));
}

#[test]
fn what_waits_when_its_author_is_blocked_is_never_shown() {
    let mut bench = Bench::line(2);
    bench.filter = Some(Box::new(|_, _, payload| payload[0] != 1));
    bench.say(0, "lost");
    bench.settle();
    bench.filter = None;
    bench.say(0, "waits for it");
    bench.settle();
    bench.rooms[1].block(bench.now, key(0)).unwrap();
    bench.run(60);
    assert!(bench.texts(1).is_empty());
    bench.rooms[1].unblock(key(0)).unwrap();
    bench.run(60);
    assert!(bench.texts(1).is_empty(), "what was said meanwhile does not come back");
    bench.say(0, "new");
    bench.run(20);
    assert_eq!(bench.texts(1), ["new"]);
}

#[test]
fn blocking_ends_the_call_and_lets_no_other_in() {
    let mut bench = Bench::line(2);
    let id = bench.rooms[0].call(bench.now, key(1)).unwrap();
    bench.run(1);
    bench.rooms[1].accept(bench.now, id).unwrap();
    bench.run(1);
    bench.forget_events();
    bench.rooms[1].block(bench.now, key(0)).unwrap();
    bench.run(1);
    let ended = |event: &ChatEvent| matches!(event, ChatEvent::CallEnded { id: it, .. } if *it == id);
    assert!(bench.events[1].iter().any(ended), "{:?}", bench.events[1]);
    assert!(bench.events[0].iter().any(ended), "the other side is told: {:?}", bench.events[0]);
    assert_eq!(bench.rooms[0].tell(bench.now, id, "hello?"), Err(ChatError::NoSuchRequest));
    bench.forget_events();
    bench.rooms[0].call(bench.now, key(1)).unwrap();
    bench.rooms[0].announce_presence(bench.now);
    bench.run(70);
    assert_eq!(bench.events[1], [], "neither the call, nor that it was missed, nor that the caller is here");
}

#[test]
fn whoever_takes_one_name_after_the_other_keeps_the_last_ones() {
    let mut bench = Bench::line(2);
    for at in 0..20 {
        bench.rooms[0].rename(bench.now, &format!("name {at}")).unwrap();
        bench.run(15);
    }
    bench.forget_events();
    let third = bench.enter_as(2, "name 0");
    bench.link(1, third);
    bench.run(2);
    let flagged = |bench: &Bench| bench.events[1].iter().any(|event| matches!(event, ChatEvent::NameChangedKey { .. }));
    assert!(!flagged(&bench), "that name is free again");
    for last in ["name 16", "Name 19"] {
        bench.forget_events();
        bench.rooms[third].rename(bench.now, last).unwrap();
        bench.run(2);
        assert!(flagged(&bench), "{last}");
    }
}

#[test]
fn nobody_is_told_when_the_blocked_leave_with_or_without_a_word() {
    let mut bench = Bench::line(4);
    let left = |bench: &Bench, at: usize| {
        let who = |event: &ChatEvent| if let ChatEvent::Left { person, .. } = event { Some(person.key) } else { None };
        bench.events[0].iter().filter_map(who).filter(|who| *who == key(at)).count()
    };
    let is_here = |bench: &Bench, at: usize| bench.names(0).contains(&format!("p{at}"));
    bench.rooms[0].block(bench.now, key(3)).unwrap();
    assert!(is_here(&bench, 3));
    bench.rooms[3].leave(bench.now);
    bench.run(900);
    assert_eq!((left(&bench, 3), is_here(&bench, 3), is_here(&bench, 2)), (0, false, true));
    bench.rooms[0].block(bench.now, key(2)).unwrap();
    bench.cut(1, 2);
    bench.run(900);
    assert_eq!((left(&bench, 2), is_here(&bench, 2), is_here(&bench, 1)), (0, false, true));
    bench.rooms[1].leave(bench.now);
    bench.run(2);
    assert_eq!(left(&bench, 1), 1, "of others one is told");
}
