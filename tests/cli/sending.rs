//! What is read to be offered takes a while: it is seen, the talk goes on beside it, and it is stopped.

use crate::chat::{Talker, room};
use crate::support::Place;
use crate::terminal::Glass;
use serde_json::Value;

/// A file that takes minutes to read, and no room.
fn long_file(place: &Place) {
    std::fs::File::create(place.path("long film.mkv")).unwrap().set_len(1 << 40).unwrap();
}

#[test]
fn a_long_reading_is_seen_on_the_terminal_and_stopped_there() {
    let (anna, _bo, mut bo, port) = room();
    long_file(&anna);
    let line = format!("chat den.meta --nick anna --listen 127.0.0.1:0 --peer 127.0.0.1:{port}");
    let mut glass = Glass::new(&anna.swarm(&line), 24, 80);
    glass.until("bo is there", |glass| glass.rows().iter().any(|row| row.contains("● bo")));
    glass.press("/send bo long film.mkv\r");
    let reads = |glass: &Glass| glass.rows().iter().any(|row| row.ends_with("% is read"));
    glass.until("it is read", reads);
    assert!(glass.rows().iter().any(|row| row.contains("long film.mkv for bo")), "{:?}", glass.rows());
    // The line is typed, and messages come, while it goes on.
    let mut typed = String::new();
    for (at, c) in "it takes a while".chars().enumerate() {
        if at % 4 == 0 {
            bo.types(&format!("word {at} from bo"));
        }
        typed.push(c);
        glass.press(&c.to_string());
        let wanted = format!("> {}", typed.trim_end());
        glass.until("the typed line", |glass| glass.rows()[23] == wanted);
        if at % 4 == 0 {
            let said = format!("word {at} from bo");
            glass.until("a message", |glass| glass.rows()[..22].iter().any(|row| row.contains(&said)));
            assert_eq!(glass.rows()[23], wanted, "a message has cut the line");
        }
    }
    glass.press("\r");
    bo.event("chat_message", |event| event["text"] == typed && event["own"] == false);
    assert!(reads(&glass), "{:?}", glass.rows());
    glass.press("/hangup\r");
    glass.until("it is stopped", |glass| glass.rows().concat().contains("is read no more"));
    glass.until("it is gone", |glass| !reads(glass));
    // Whoever leaves does not wait for it either.
    glass.press("/send bo long film.mkv\r");
    glass.until("it is read", reads);
    glass.press("/quit\r");
    assert_eq!(glass.end(), Some(0));
    assert_eq!(bo.end(), Some(0));
}

#[test]
fn programs_see_what_is_read_and_stop_it() {
    let (anna, _bo, bo, port) = room();
    long_file(&anna);
    anna.write("small", b"small");
    let line = format!("chat den.meta --json --nick anna --listen 127.0.0.1:0 --peer 127.0.0.1:{port}");
    let mut talker = Talker::new(&anna, &line);
    let key = talker.event("chat_joined", |event| event["person"]["name"] == "bo")["person"]["key"].clone();
    talker.types("/send bo long film.mkv");
    let first = talker.event("chat_reading", |_| true);
    assert_eq!((&first["path"], &first["key"], &first["state"]), (&"long film.mkv".into(), &key, &"reading".into()));
    let moves = |event: &Value| event["total_bytes"] == 1u64 << 40 && event["done_bytes"].as_u64() > Some(0);
    let later = talker.event("chat_reading", moves);
    assert!(later["done_bytes"].as_u64() < Some(1 << 40) && later["number"] == first["number"], "{later}");
    talker.types(&format!("/hangup {}", first["number"]));
    let end = talker.event("chat_reading", |event| event["state"] != "reading");
    assert_eq!((&end["state"], &end["number"], end.get("done_bytes")), (&"stopped".into(), &first["number"], None));
    assert!(talker.event("chat_done", |_| true)["message"].as_str().unwrap().contains("is read no more"));
    talker.types("/send bo nothing");
    let end = talker.event("chat_reading", |event| event["state"] != "reading");
    assert_eq!(end["state"], "failed");
    assert!(talker.event("chat_failed", |_| true)["message"].as_str().unwrap().starts_with("nothing: "));
    // What is offered keeps the number under which it was read.
    talker.types("/send bo small");
    let number = talker.event("chat_reading", |_| true)["number"].clone();
    assert_eq!(talker.event("chat_offering", |_| true)["number"], number);
    assert_eq!(bo.event("chat_offer", |_| true)["name"], "small", "and nothing else");
    assert_eq!((talker.end(), bo.end()), (Some(0), Some(0)));
}
