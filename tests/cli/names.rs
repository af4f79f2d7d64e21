//! Names that are registered at a native tracker: by whom, for whom not, and how rooms show it.

use crate::chat::Talker;
use crate::support::{Place, Running};
use serde_json::Value;

/// A native tracker, and its URL.
fn tracker(place: &Place, more: &str) -> (Running, String) {
    let mut tracker = place.start(&format!("tracker --native 127.0.0.1:0 {more}"));
    let url = tracker.line();
    (tracker, url)
}

fn json(place: &Place, line: &str) -> Value {
    serde_json::from_str(&place.run(&format!("{line} --json")).good()).unwrap()
}

/// Somebody in the room `den.meta` with a tracker, and the port at which it takes connections.
fn enters(place: &Place, url: &str, nick: &str, more: &str) -> (Talker, u64) {
    let line = format!("chat den.meta --json --nick {nick} --listen 127.0.0.1:0 --tracker {url} {more}");
    let talker = Talker::new(place, &line);
    let port = talker.event("chat_entered", |_| true)["listen_port"].as_u64().unwrap();
    (talker, port)
}

#[test]
fn a_name_is_one_key_s_until_it_is_given_back() {
    let (anna, bo) = (Place::new(), Place::new());
    let (_tracker, url) = tracker(&anna, "");
    bo.run(&format!("id lookup anna --tracker {url}")).failed(6, "nobody has that name");
    assert!(!bo.path("state/swarm/chat/identity").exists(), "whoever only looks needs no key");
    let registered = json(&anna, &format!("id register anna --tracker {url}"));
    assert_eq!((&registered["name"], &registered["lifetime_days"]), (&Value::from("anna"), &Value::from(180)));
    let (key, fingerprint) = (registered["key"].as_str().unwrap(), registered["fingerprint"].as_str().unwrap());
    assert_eq!(json(&anna, "id show")["key"].as_str(), Some(key), "it is the key of the chats");
    for what in ["ANNA", key] {
        let found = json(&bo, &format!("id lookup {what} --tracker {url}"));
        let told = ["name", "key", "fingerprint"].map(|field| found[field].as_str().unwrap());
        assert_eq!((told, &found["me"]), (["anna", key, fingerprint], &Value::from(false)));
    }
    let own = anna.run(&format!("id lookup anna --tracker {url}")).good();
    assert!(own.starts_with(fingerprint) && own.contains("you"), "{own}");
    anna.run(&format!("id register pay --tracker {url}")).good();
    let refused = bo.run(&format!("id register рау --tracker {url}"));
    refused.failed(6, "it looks like pay, and that name is somebody else's");
    let like = bo.run(&format!("id lookup рау --tracker {url}")).good();
    assert!(like.starts_with(fingerprint) && like.contains("рау looks like it"), "{like}");
    // Another key gets it neither by asking nor by giving it back; its own renews it.
    bo.run(&format!("id register Anna --tracker {url}")).failed(6, "the name is somebody else's");
    bo.run(&format!("id release anna --tracker {url}")).failed(6, "the name is somebody else's");
    assert!(anna.run(&format!("id register anna --tracker {url}")).good().contains("180 days"));
    assert_eq!(json(&bo, &format!("id lookup anna --tracker {url}"))["key"].as_str(), Some(key));
    assert!(anna.run(&format!("id release anna --tracker {url}")).good().contains("anna is free"));
    anna.run(&format!("id release anna --tracker {url}")).failed(6, "nobody has that name");
    let now = json(&bo, &format!("id register Anna --tracker {url}"));
    assert_ne!(now["key"].as_str(), Some(key));
    anna.run(&format!("id register anna --tracker {url}")).failed(6, "the name is somebody else's");
}

#[test]
fn what_cannot_be_registered_is_told() {
    let place = Place::new();
    let (mut tracker, url) = tracker(&place, "");
    let register = |name: &str, url: &str| place.run(&format!("id register {name} --tracker {url}"));
    for bad in ["a/b", "a#b", "✓anna", &"x".repeat(65)] {
        register(bad, &url).failed(2, "name");
    }
    register("аnna", &url).failed(2, "mixes alphabets");
    for name in ["one", "two", "three", "four"] {
        register(name, &url).good();
    }
    register("five", &url).failed(6, "as many names as it may have");
    assert_eq!(register("anna", "http://127.0.0.1:1/announce").code(), 2);
    tracker.signal("-TERM");
    assert_eq!(tracker.end(), Some(0));
    register("anna", &url).failed(6, "cannot be reached");
}

#[test]
fn a_room_shows_whose_a_registered_name_is() {
    let (anna, bo, mallory) = (Place::new(), Place::new(), Place::new());
    anna.run("room den -o den.meta --quiet").good();
    for other in [&bo, &mallory] {
        std::fs::copy(anna.path("den.meta"), other.path("den.meta")).unwrap();
    }
    let (_tracker, url) = tracker(&anna, "");
    let at = url.strip_prefix("native://").unwrap();
    let registered = json(&anna, &format!("id register anna --tracker {url}"));
    let fingerprint = registered["fingerprint"].as_str().unwrap();
    let (hers, port) = enters(&anna, &url, "anna", "");
    let proven = hers.event("chat_name_registered", |_| true);
    assert_eq!((&proven["person"]["me"], proven["tracker"].as_str()), (&Value::from(true), Some(at)));

    let line = format!("--listen 127.0.0.1:0 --tracker {url} --peer 127.0.0.1:{port}");
    let mut his = Talker::new(&bo, &format!("chat den.meta --plain --nick bo {line}"));
    let line = his.until("is registered for this key");
    assert!(line.contains(&format!("✓ anna ({fingerprint}): ")) && line.contains(at), "{line}");

    // Somebody else with her name: told to everybody, the thief too, and seen in every list.
    let (mut thief, _) = enters(&mallory, &url, "Anna", &format!("--peer 127.0.0.1:{port}"));
    let told = thief.event("chat_name_of_another", |_| true);
    assert_eq!((&told["person"]["me"], &told["name"]), (&Value::from(true), &Value::from("Anna")));
    assert_eq!(told["owner"], registered["key"]);
    let person = thief.event("chat_name_registered", |_| true)["person"].clone();
    assert_eq!((&person["registered"], &person["key"]), (&Value::from(true), &registered["key"]));
    let seen = hers.event("chat_name_of_another", |_| true);
    assert_eq!((&seen["person"]["trust"], &seen["person"]["registered"]), (&"name_conflict".into(), &false.into()));
    let line = his.until("looks like it, registered for");
    assert!(line.contains("!! SOMEBODY ELSE MAY CALL HIMSELF Anna: ") && line.contains(fingerprint), "{line}");
    his.types("/peers");
    let mut people = vec![his.until("(here, you)"), his.line(), his.line()];
    people.sort_by_key(|line| line.contains('#'));
    assert!(people[..2].iter().any(|line| line.trim() == format!("anna {fingerprint} ✓ (here)")), "{people:?}");
    let other = people[2].trim();
    assert!(other.starts_with("Anna#") && other.ends_with(" (here, !! THE NAME OF ANOTHER KEY)"), "{people:?}");
    assert!(!other.contains('✓'), "{people:?}");
    thief.types("/peers");
    let all = thief.event("chat_peers", |_| true)["people"].clone();
    let registered: Vec<_> =
        all.as_array().unwrap().iter().map(|it| (it["me"].clone(), it["registered"].clone())).collect();
    assert_eq!(registered.iter().filter(|(_, registered)| *registered == true).count(), 1, "{all}");
    assert!(registered.contains(&(true.into(), false.into())), "{all}");
    for talker in [hers, his, thief] {
        assert_eq!(talker.end(), Some(0));
    }
}

#[test]
fn names_at_a_private_tracker_are_looked_up_with_the_key() {
    let place = Place::new();
    place.write("keys", b"sesame\n");
    let (_tracker, url) = tracker(&place, "--keys keys");
    place.run("room den -o den.meta --quiet").good();
    place.run(&format!("id register anna --tracker {url}")).failed(6, "this tracker is private");
    place.run(&format!("id register anna --tracker {url}/sesame")).good();
    place.run(&format!("id lookup anna --tracker {url}")).failed(6, "this tracker is private");
    let (talker, _) = enters(&place, &format!("{url}/sesame"), "anna", "");
    let proven = talker.event("chat_name_registered", |_| true);
    assert_eq!(proven["person"]["registered"], true);
    assert_eq!(proven["tracker"].as_str(), url.strip_prefix("native://"), "the key is told to nobody");
    assert_eq!(talker.end(), Some(0));
}
