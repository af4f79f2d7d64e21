//! `tracker`, and transfers by way of it.

use crate::support::{Place, Running, noise, tree};

/// A tracker that serves, and the announce URLs that it printed.
fn tracker(place: &Place, line: &str, urls: usize) -> (Running, Vec<String>) {
    let mut tracker = place.start(line);
    let urls = (0..urls).map(|_| tracker.line()).collect();
    (tracker, urls)
}

/// Seeds by one tracker and fetches by another or the same.
fn transfer(place: &Place, seed_by: &str, fetch_by: &str) {
    place.write("in.bin", &noise(1, 500_000));
    place.run("make-meta in.bin --no-date").good();
    let mut seed = place.start(&format!("seed in.bin.meta --json --listen 127.0.0.1:0 --tracker {seed_by}"));
    while seed.event("tracker")["url"] != seed_by {}
    place.run(&format!("fetch in.bin.meta -o out --quiet --listen 127.0.0.1:0 --tracker {fetch_by}")).good();
    assert_eq!(std::fs::read(place.path("out/in.bin")).unwrap(), noise(1, 500_000));
    seed.signal("-INT");
    assert_eq!(seed.end(), Some(0));
}

#[test]
fn http_brings_peers_together() {
    let place = Place::new();
    let (mut tracker, urls) = tracker(&place, "tracker http --listen 127.0.0.1:0", 1);
    transfer(&place, &urls[0], &urls[0]);
    tracker.signal("-TERM");
    assert_eq!(tracker.end(), Some(0));
    let log = tracker.rest_of_stderr();
    assert!(log.starts_with("[info][2") && log.contains("HTTP tracker listens"), "{log}");
}

#[test]
fn native_brings_peers_together() {
    let place = Place::new();
    let (mut tracker, urls) = tracker(&place, "tracker native --listen 127.0.0.1:0", 1);
    transfer(&place, &urls[0], &urls[0]);
    tracker.signal("-INT");
    assert_eq!(tracker.end(), Some(0));
}

#[test]
fn udp_brings_peers_together() {
    let place = Place::new();
    let (mut tracker, urls) = tracker(&place, "tracker udp --listen 127.0.0.1:0", 1);
    assert!(urls[0].starts_with("udp://127.0.0.1:") && urls[0].ends_with("/announce"), "{urls:?}");
    transfer(&place, &urls[0], &urls[0]);
    tracker.signal("-TERM");
    assert_eq!(tracker.end(), Some(0));
    assert!(tracker.rest_of_stderr().contains("UDP tracker listens"));
}

#[test]
fn options_stand_in_a_file() {
    let place = Place::new();
    place.write(
        "tracker.toml",
        b"# All of them\nhttp = ['127.0.0.1:0', '127.0.0.1:0']\nudp = '127.0.0.1:0'\nlog-json = true\n",
    );
    let (mut tracker, urls) = tracker(&place, "tracker --config tracker.toml", 3);
    assert!(urls[0] != urls[1] && urls[1].starts_with("http://") && urls[2].starts_with("udp://"), "{urls:?}");
    transfer(&place, &urls[1], &urls[2]);
    tracker.signal("-TERM");
    assert_eq!(tracker.end(), Some(0));
    assert!(tracker.rest_of_stderr().starts_with('{'), "the log is JSON");
    place.write("tracker.toml", b"http = ':0'\nmax-peer = 1");
    place.run("tracker --config tracker.toml").failed(2, "there is no option 'max-peer'");
    place.write("tracker.toml", b"max-peers = 1");
    place.run("tracker --config tracker.toml").failed(2, "nowhere to listen");
    place.run("tracker --config nothing.toml").failed(4, "cannot read nothing.toml");
    place.run("tracker --http 127.0.0.1:0 --user no-such-user-here").failed(2, "there is no user 'no-such-user-here'");
}

#[test]
fn the_numbers_of_a_tracker_are_shown() {
    let place = Place::new();
    let (_tracker, urls) = tracker(&place, "tracker --http 127.0.0.1:0 --native 127.0.0.1:0", 2);
    place.run(&format!("scrape {} --tracker {}", "ab".repeat(20), urls[0])).good();
    let table = place.run(&format!("tracker top {} --once", urls[0])).good();
    assert!(table.starts_with(&urls[0]) && table.lines().any(|line| line.starts_with("scrapes ")), "{table}");
    let told = place.run(&format!("tracker top {} --once --json", urls[0])).good();
    let told: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
    assert_eq!((&told["scrapes"], &told["peers"]), (&1.into(), &0.into()));
    let native = |name: &str| told[name].as_u64().unwrap();
    assert_eq!((native("native_connections"), native("native_accepted")), (0, 0));
    place.run(&format!("ls {}", urls[1])).good();
    until(&urls[0], "/stats", "\"native_lists\":1,");
    let mut live = place.start(&format!("tracker top {} --json --every 1s", urls[0]));
    assert!(live.line().starts_with('{') && live.line().starts_with('{'), "it looks again");
    live.signal("-INT");
    assert_eq!(live.end(), Some(0));
    place.run("tracker top http://127.0.0.1:1 --once").failed(6, "http://127.0.0.1:1");
    place.run(&format!("tracker top {} --once", urls[1])).failed(6, &urls[1]);
}

#[test]
fn every_dialect_is_scraped() {
    let place = Place::new();
    let (_tracker, urls) = tracker(&place, "tracker --http 127.0.0.1:0 --udp 127.0.0.1:0 --native 127.0.0.1:0", 3);
    place.write("in.bin", &noise(1, 50_000));
    place.run(&format!("make-meta in.bin --no-date --tracker {}", urls[0])).good();
    let mut seed = place.start("seed in.bin.meta --json --listen 127.0.0.1:0");
    seed.event("tracker");
    let unknown = "0123456789abcdef0123456789abcdef01234567";
    for (url, downloaded) in urls.iter().zip(["0", "0", "null"]) {
        let told = place.run(&format!("scrape in.bin.meta {unknown} --tracker {url} --json")).good();
        let lines: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let counts = |line: &serde_json::Value| (line["seeds"].clone(), line["leechers"].clone());
        assert_eq!((lines.len(), counts(&lines[0])), (2, (1.into(), 0.into())), "{told}");
        assert_eq!((&lines[0]["name"], &lines[0]["tracker"]), (&"in.bin".into(), &url.as_str().into()));
        assert_eq!(lines[0]["downloaded"].to_string(), downloaded);
        assert_eq!((&lines[1]["info_hash"], counts(&lines[1])), (&unknown.into(), (0.into(), 0.into())));
    }
    let table = place.run("scrape in.bin.meta").good();
    assert!(table.starts_with(&urls[0]) && table.contains("        1         0          0  in.bin"), "{table}");
    let gone = "udp://127.0.0.1:1/announce";
    let one_of_two = place.run(&format!("scrape in.bin.meta --tracker {gone} --tracker {}", urls[1]));
    assert_eq!(one_of_two.code(), 0);
    assert!(one_of_two.stderr().contains(gone) && one_of_two.stdout().contains("in.bin"));
    place.run(&format!("scrape in.bin.meta --tracker {gone}")).failed(6, gone);
    place.run(&format!("scrape {unknown}")).failed(2, "name one with --tracker");
}

/// The body of an answer over HTTP.
fn get(announce_url: &str, target: &str) -> String {
    use std::io::{Read, Write};
    let host = announce_url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Waits until the answer has this in it.
fn until(announce_url: &str, target: &str, text: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !get(announce_url, target).contains(text) {
        assert!(std::time::Instant::now() < deadline, "{text} never came: {}", get(announce_url, target));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn sighup_has_options_and_lists_read_again_and_loses_no_peer() {
    let place = Place::new();
    let (hash, other) = ("a".repeat(20), "b".repeat(20));
    place.write("deny", format!("# nothing of {other}\n{}\n", "62".repeat(20)).as_bytes());
    place.write("tracker.toml", b"http = '127.0.0.1:0'\ninterval = '7m'\ndeny = 'deny'\n");
    let (mut tracker, urls) = tracker(&place, "tracker --config tracker.toml", 1);
    let announce = |hash: &str, port: u16| {
        get(&urls[0], &format!("/announce?info_hash={hash}&peer_id={hash}&port={port}&left=1&compact=1"))
    };
    assert!(announce(&hash, 1000).contains("8:intervali420e"));
    assert!(announce(&other, 1000).contains("this torrent is not tracked here"));
    place.write("deny", b"");
    place.write("tracker.toml", b"http = '127.0.0.1:1'\ninterval = '8m'\ndeny = 'deny'\n");
    tracker.signal("-HUP");
    until(
        &urls[0],
        "/announce?info_hash=cccccccccccccccccccc&peer_id=cccccccccccccccccccc&port=1&left=1",
        "intervali480e",
    );
    until(&urls[0], &format!("/announce?info_hash={other}&peer_id={other}&port=1000&left=1"), "intervali480e");
    assert!(get(&urls[0], "/stats").contains("\"torrents\":3,"), "the first one is still there");
    // A fault changes nothing.
    place.write("tracker.toml", b"interval = 'x'");
    place.write("deny", b"no hash\n");
    tracker.signal("-HUP");
    tracker.signal("-TERM");
    assert_eq!(tracker.end(), Some(0));
    let log = tracker.rest_of_stderr();
    assert!(log.contains("takes effect only when the tracker is started again option=\"http\""), "{log}");
}

#[test]
fn a_private_tracker_asks_for_a_key() {
    let place = Place::new();
    place.write("keys", b"sesame max-torrents=1\nopen-wide\n5f3ac0de5f3ac0de\n");
    let (mut tracker, urls) = tracker(&place, "tracker --http 127.0.0.1:0 --native 127.0.0.1:0 --keys keys", 2);
    let announce = |path: &str, hash: char| {
        let hash = hash.to_string().repeat(20);
        get(&urls[0], &format!("{path}?info_hash={hash}&peer_id={hash}&port=1000&left=1"))
    };
    assert!(announce("/announce", 'a').contains("this tracker is private"));
    assert!(announce("/open/announce", 'a').contains("unknown key"));
    assert!(announce("/sesame/announce", 'a').contains("8:intervali300e"));
    assert!(announce("/sesame/announce", 'b').contains("too many torrents or peers for your key"));
    assert!(get(&urls[0], "/stats").contains("\"denied\":3,"), "the three refusals are counted");
    assert!(get(&urls[0], "/metrics").contains("\nswarm_tracker_denied_total 3\n"));
    let native = &urls[1];
    place.run(&format!("ls {native}")).failed(6, "this tracker is private");
    place.run(&format!("ls {native}/open")).failed(6, "unknown key");
    // What is typed is asked on this machine too, whatever its path; what a metainfo names only if it looks like a tracker's.
    let http = urls[0].strip_suffix("/announce").unwrap();
    transfer(&place, &format!("{native}/open-wide"), &format!("{http}/open-wide/announce"));
    let (key, word) = (format!("{http}/5f3ac0de5f3ac0de/announce"), format!("{http}/open-wide/announce"));
    place.run(&format!("make-meta in.bin -o keyed.meta --no-date --tracker {key} --tracker {word}")).good();
    let mut seed = place.start("seed keyed.meta --json --listen 127.0.0.1:0");
    let (mut answered, mut refused) = (None, None);
    while answered.is_none() || refused.is_none() {
        let event: serde_json::Value = serde_json::from_str(&seed.line()).unwrap();
        match event["event"].as_str() {
            Some("tracker") => answered = Some(event["url"].clone()),
            Some("tracker_failed") => refused = Some((event["url"].clone(), event["error"].to_string())),
            _ => {}
        }
    }
    let (url, why) = refused.unwrap();
    assert!(answered.unwrap() == key && url == word && why.contains("only this machine or network can reach"), "{why}");
    let scrape = |urls: &str| place.run(&format!("scrape keyed.meta {urls}"));
    assert!(scrape("").good().contains(&key));
    assert!(scrape(&format!("--tracker {word}")).good().contains(&word));
    seed.signal("-INT");
    assert_eq!(seed.end(), Some(0));
    // A file from a catalogue: its tracker is asked by the same key, whatever stands in the metainfo.
    place.run(&format!("publish in.bin.meta {native}/open-wide/")).good();
    assert!(place.run(&format!("ls {native}/open-wide")).good().contains("in.bin"));
    let mut seed = place.start(&format!("seed in.bin.meta --json --listen 127.0.0.1:0 --tracker {native}/open-wide"));
    seed.event("tracker");
    place.run(&format!("fetch {native}/open-wide/in.bin -o again --quiet --listen 127.0.0.1:0")).good();
    assert_eq!(tree(&place.path("again")), [("in.bin".into(), noise(1, 500_000))]);
    tracker.signal("-TERM");
    assert_eq!(tracker.end(), Some(0));
    place.write("keys", b"sesame max-torrents=many\n");
    place.run("tracker --http 127.0.0.1:0 --keys keys").failed(4, "keys");
    assert_eq!(place.run("tracker --http 127.0.0.1:0 --store mysql://x").code(), 2);
}

#[test]
fn a_key_for_connection_ids_is_read_from_a_file() {
    let place = Place::new();
    place.write("key", b"000102030405060708090a0b0c0d0e0f\n");
    place.write("short", b"0001");
    let (_tracker, urls) = tracker(&place, "tracker --udp 127.0.0.1:0 --udp-key key", 1);
    let taken = urls[0].trim_start_matches("udp://").trim_end_matches("/announce");
    place.run(&format!("tracker udp --listen {taken}")).failed(6, taken);
    place.run("tracker udp --listen 127.0.0.1:0 --udp-key short").failed(2, "short is no key");
    place.run("tracker udp --listen 127.0.0.1:0 --udp-key nowhere").failed(4, "nowhere");
}

#[test]
fn tls_takes_a_certificate_and_its_key() {
    let place = Place::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tracker-http/tests/tls");
    for (name, from) in [("chain.pem", "one.pem"), ("key.pem", "one.key"), ("other.pem", "two.key")] {
        place.write(name, &std::fs::read(format!("{folder}/{from}")).unwrap());
    }
    let line = "tracker --http 127.0.0.1:0 --tls 127.0.0.1:0 --tls-cert chain.pem --tls-key key.pem --proxy 10.0.0.0/8";
    let (_tracker, urls) = tracker(&place, line, 2);
    assert!(urls[0].starts_with("http://127.0.0.1:") && urls[1].starts_with("https://127.0.0.1:"), "{urls:?}");
    let tls = "tracker --tls 127.0.0.1:0 --tls-cert";
    let without_key = place.run(&format!("{tls} chain.pem"));
    assert!(without_key.code() == 2 && without_key.stderr().contains("--tls-key"), "{}", without_key.stderr());
    place.run(&format!("{tls} key.pem --tls-key key.pem")).failed(4, "key.pem: no certificate");
    place.run(&format!("{tls} chain.pem --tls-key other.pem")).failed(4, "other.pem: ");
    place.run(&format!("{tls} nowhere --tls-key key.pem")).failed(4, "nowhere: ");
    let range = place.run("tracker --http 127.0.0.1:0 --proxy 10.0.0.0/40");
    assert!(range.code() == 2 && range.stderr().contains("not an address or a range"), "{}", range.stderr());
}

#[test]
fn all_dialects_share_one_store() {
    let place = Place::new();
    let line =
        "tracker --http 127.0.0.1:0 --udp 127.0.0.1:0 --native 127.0.0.1:0 --log-json --max-peers 100 --interval 2m";
    let (mut tracker, urls) = tracker(&place, line, 3);
    for (seed_by, fetch_by) in [(0, 1), (1, 2), (2, 0)] {
        transfer(&place, &urls[seed_by], &urls[fetch_by]);
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }
    tracker.signal("-INT");
    assert_eq!(tracker.end(), Some(0));
    for line in tracker.rest_of_stderr().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["level"].is_string() && value["message"].is_string(), "{line}");
    }
}

#[test]
fn the_state_survives_a_restart() {
    let place = Place::new();
    let line = "tracker --http 127.0.0.1:0 --native 127.0.0.1:0 --state tracker.state";
    let (mut first, urls) = tracker(&place, line, 2);
    place.write("in.bin", &noise(1, 50_000));
    place.run("make-meta in.bin --no-date").good();
    place.run(&format!("publish in.bin.meta {}", urls[1])).good();
    first.signal("-INT");
    assert_eq!(first.end(), Some(0));
    let (_second, urls) = tracker(&place, line, 2);
    assert!(place.run(&format!("ls {}", urls[1])).good().contains("in.bin"));
}

#[test]
fn a_name_is_published_fetched_and_taken_back() {
    let place = Place::new();
    let (_tracker, urls) = tracker(&place, "tracker native --listen 127.0.0.1:0", 1);
    let url = &urls[0];
    place.write("in.bin", &noise(1, 500_000));
    place.run(&format!("make-meta in.bin --no-date --tracker {url}")).good();
    place.run(&format!("publish in.bin.meta {url} --name the-file")).good();
    let listed = place.run(&format!("ls {url} the- --json")).good();
    let listed: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
    assert_eq!((&listed["name"], &listed["length"]), (&"the-file".into(), &500_000.into()));
    assert_eq!(place.run(&format!("ls {url} other --json")).good(), "");

    let mut seed = place.start("seed in.bin.meta --json --listen 127.0.0.1:0");
    seed.event("tracker");
    let port = seed_port(&place, url);
    place.run(&format!("fetch {url}/the-file -o out --quiet --listen 127.0.0.1:0")).good();
    assert_eq!(tree(&place.path("out")), [("in.bin".into(), noise(1, 500_000))]);
    let peers = place.run(&format!("peers {url}/the-file --json")).good();
    assert!(peers.contains(&format!("127.0.0.1:{port}")), "{peers}");

    // Someone else has no token.
    let stranger = Place::new();
    stranger.run(&format!("unpublish {url}/the-file")).failed(6, "the-file");
    place.run(&format!("unpublish {url}/the-file")).good();
    place.run(&format!("fetch {url}/the-file -o out --quiet")).failed(3, "the-file");
    assert_eq!(place.run(&format!("ls {url}")).good().trim(), "");
}

/// The port of the one peer that the whole tracker knows.
fn seed_port(place: &Place, url: &str) -> u64 {
    let peers = place.run(&format!("peers {url} --json")).good();
    let peer: serde_json::Value = serde_json::from_str(peers.lines().next().unwrap()).unwrap();
    peer["address"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn a_state_that_could_not_be_saved_is_told_at_the_start() {
    let place = Place::new();
    for dialect in ["http", "udp", "native"] {
        place.run(&format!("tracker {dialect} --listen 127.0.0.1:0 --state nowhere/state")).failed(4, "nowhere");
    }
    assert_eq!(place.run("tracker http --listen 127.0.0.1:0 --interval 0").code(), 2);
}

#[test]
fn a_tracker_that_is_not_there_is_6() {
    let place = Place::new();
    let port = crate::support::free_port();
    place.run(&format!("ls native://127.0.0.1:{port}")).failed(6, &port.to_string());
    assert_eq!(place.run("ls http://127.0.0.1:1").code(), 2);
}
