//! What is read to be offered: seen, told now and then, and stopped.

use super::{NOW, Table, key};
use crate::chat::action::{Action, Outcome};
use crossterm::event::KeyCode;
use swarm_engine::ReadProgress;
use swarm_proto::chat::{ChatEvent, Offer, RequestId};

const ID: RequestId = RequestId([6; 16]);
const TOTAL: u64 = 1_000_000_000;

fn offer(number: u32) -> Action {
    Action::Offer { number, to: key(3), path: "my films/lake.mkv".to_owned() }
}

/// At so many seconds this percentage has been read.
fn reads(table: &mut Table, seconds: u64, percent: u64) {
    table.app.now_ms = NOW + seconds * 1_000;
    table.app.has_read(1, Some(ReadProgress { done_bytes: TOTAL / 100 * percent, total_bytes: TOTAL }));
}

#[test]
fn a_reading_stands_among_the_transfers_until_it_is_an_offer() {
    let mut table = Table::new(80, 12);
    assert_eq!(table.enter("/send bo my films/lake.mkv"), [offer(1)]);
    assert!(table.last_line().ends_with("my films/lake.mkv is read, and then offered to bo (/hangup 1 stops it)"));
    let pane = |table: &mut Table| {
        let rows = table.screen();
        [8, 9].map(|row: usize| rows[row].get(54..).unwrap_or_default().trim().to_owned())
    };
    assert_eq!(pane(&mut table), ["lake.mkv for bo", "---------- 0% is listed"]);
    reads(&mut table, 1, 43);
    table.types("I am typing");
    assert_eq!(pane(&mut table), ["lake.mkv for bo", "####------ 43% is read"]);
    assert_eq!(table.screen()[11], "> I am typing");
    let before = table.app.pane.since(0).count();
    reads(&mut table, 1_000, 80);
    assert_eq!(table.app.pane.since(0).count(), before, "it moves on the screen, and needs no lines");
    let path = "my films/lake.mkv".to_owned();
    assert!(table.app.settle(Outcome::Offered { number: 1, to: key(3), id: ID, path }).is_empty());
    assert!(table.last_line().ends_with("my films/lake.mkv is offered to bo (/hangup 1 takes it back)"));
    assert_eq!(pane(&mut table), ["", ""]);
    assert_eq!(table.app.line("/hangup 1"), [Action::HangUp(ID)]);
    assert_eq!(table.app.line("/send bo my films/lake.mkv"), [offer(2)], "no number comes twice");
}

#[test]
fn lines_about_a_reading_are_few() {
    let mut table = Table::new(80, 12);
    table.app.tells_fates = true;
    table.app.line("/send bo my films/lake.mkv");
    let mut lines = Vec::new();
    let steps = [(1, 30), (4, 70), (5, 74), (6, 75), (9, 80), (65, 85), (67, 99), (125, 99), (126, 99), (200, 100)];
    for (seconds, percent) in steps {
        let before = table.app.pane.next_number();
        reads(&mut table, seconds, percent);
        lines.extend(table.app.pane.since(before).map(|line| (seconds, line.text.concat())));
    }
    let at: Vec<u64> = lines.iter().map(|(seconds, _)| *seconds).collect();
    assert_eq!(at, [5, 65, 125], "{lines:?}");
    let first = "my films/lake.mkv for bo: 74 % is read (706 MiB of 954 MiB; /hangup 1 stops it)";
    assert_eq!(lines[0].1, first);
    // Each quarter, where that takes longer than a few seconds.
    let mut table = Table::new(80, 12);
    table.app.tells_fates = true;
    table.app.line("/send bo my films/lake.mkv");
    let before = table.app.pane.next_number();
    (1..=100).for_each(|percent| reads(&mut table, percent / 2, percent));
    assert_eq!(table.app.pane.since(before).count(), 3);
}

#[test]
fn a_reading_is_stopped_by_its_number_and_by_whom_it_is_for() {
    let mut table = Table::new(120, 12);
    assert_eq!(table.enter("/send bo my films/lake.mkv"), [offer(1)]);
    let second = Action::Offer { number: 2, to: key(2), path: "b".to_owned() };
    assert_eq!(table.enter("/send anna b"), [second]);
    assert!(table.enter("/hangup").is_empty());
    let asked = table.last_line();
    assert!(asked.contains("1 (my films/lake.mkv for bo), 2 (b for anna); type its number"), "{asked}");
    assert!(table.enter("/accept 1").is_empty() && table.enter("/hangup 3").is_empty());
    assert_eq!(table.enter("/hangup bo"), [Action::StopReading(1)]);
    assert!(table.enter("/hangup 1").is_empty(), "it is being stopped already");
    let path = "my films/lake.mkv".to_owned();
    table.app.settle(Outcome::NotOffered { number: 1, to: key(3), path, why: None });
    assert!(table.last_line().ends_with("my films/lake.mkv is read no more, and not offered to bo"));
    // The other is offered in the very moment in which it is stopped.
    assert_eq!(table.enter("/hangup 2"), [Action::StopReading(2)]);
    let offered = Outcome::Offered { number: 2, to: key(2), id: ID, path: "b".to_owned() };
    assert_eq!(table.app.settle(offered), [Action::HangUp(ID)]);
    table.app.settle(Outcome::Closed { id: ID, text: "you have ended it".to_owned() });
    assert!(table.app.requests.all().is_empty() && table.app.requests.readings().is_empty());
    // One that fails says why.
    table.enter("/send anna c");
    let why = Some("cannot open c: no such file".to_owned());
    table.app.settle(Outcome::NotOffered { number: 3, to: key(2), path: "c".to_owned(), why });
    assert!(table.last_line().ends_with("c: cannot open c: no such file") && table.app.requests.readings().is_empty());
}

#[test]
fn what_is_accepted_before_it_was_known_to_be_offered_has_one_number() {
    let mut table = Table::new(80, 12);
    table.enter("/send bo my films/lake.mkv");
    table.app.take(ChatEvent::OfferAccepted { id: ID, with: super::person("bo", 3) });
    assert!(table.last_line().contains("bo takes the files (/hangup 2"), "{}", table.last_line());
    let path = "my films/lake.mkv".to_owned();
    table.app.settle(Outcome::Offered { number: 1, to: key(3), id: ID, path });
    assert_eq!(table.app.requests.all().len(), 1);
    assert!(table.enter("/hangup 1").is_empty());
    assert_eq!(table.enter("/hangup 2"), [Action::HangUp(ID)]);
    assert!(table.press(KeyCode::Enter).is_empty());
}

#[test]
fn so_many_are_read_at_once_and_no_more() {
    let mut table = Table::new(80, 12);
    for number in 1..=64 {
        assert_eq!(table.app.line("/send bo my films/lake.mkv"), [offer(number)]);
    }
    assert!(table.app.line("/send bo my films/lake.mkv").is_empty());
    assert!(table.last_line().contains("64 files are being read already"), "{}", table.last_line());
}

#[test]
fn an_offer_that_came_to_nothing_is_told_once_and_by_whose_it_was() {
    let (mut table, bo) = (Table::new(100, 12), super::person("bo", 3));
    let offered = Outcome::Offered { number: 1, to: key(3), id: ID, path: "lake.mkv".to_owned() };
    table.app.settle(offered);
    table.app.take(ChatEvent::OfferExpired { id: ID, with: bo.clone() });
    assert!(table.last_line().ends_with("lake.mkv is offered to bo no more"), "{}", table.last_line());
    let before = table.app.pane.next_number();
    table.app.take(ChatEvent::OfferExpired { id: ID, with: bo.clone() });
    assert_eq!(table.app.pane.next_number(), before, "it is over already");
    let (id, name) = (RequestId([7; 16]), "lake.mkv".to_owned());
    let info_hash = swarm_proto::id::InfoHash([1; 20]);
    let offer = Offer { info_hash, name, total_length: 1, files: 1, port: 1, addresses: Vec::new() };
    table.app.take(ChatEvent::OfferReceived { id, from: bo.clone(), offer });
    table.app.take(ChatEvent::OfferExpired { id, with: bo });
    assert!(table.last_line().ends_with("bo offers lake.mkv no more"), "{}", table.last_line());
}
