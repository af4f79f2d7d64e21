//! `seed`, `fetch` and `share` over loopback.

use crate::support::{Place, Running, free_port, noise, tree};
use crate::wiretap::Wiretap;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

/// A folder `in` of two files and its metainfo `in.meta`, in pieces of 16 KiB.
fn content(place: &Place, length: usize) {
    place.write("in/large.bin", &noise(7, length));
    place.write("in/deep/er/small.txt", b"small");
    place.write("in/deep/empty", b"");
    place.run("make-meta in --no-date --piece-length 16K").good();
}

/// A seed of `in.meta` that is ready, and its address.
fn seed(place: &Place, options: &str) -> (Running, String) {
    let mut seed = place.start(&format!("seed in.meta --json --listen 127.0.0.1:0 {options}"));
    let port = seed.event("added")["listen_port"].as_u64().unwrap();
    while seed.event("state")["state"] != "seeding" {}
    (seed, format!("127.0.0.1:{port}"))
}

fn assert_fetched(place: &Place, folder: &str) {
    assert_eq!(tree(&place.path("in")), tree(&place.path(folder).join("in")), "in {folder}");
}

#[test]
fn a_peer_is_enough_and_quiet_is_quiet() {
    let place = Place::new();
    content(&place, 1_000_000);
    let (mut seed, peer) = seed(&place, "");
    let ran = place.run(&format!("fetch in.meta -o out --listen 127.0.0.1:0 --quiet --peer {peer}"));
    assert_eq!((ran.code(), ran.stdout().as_str(), ran.stderr().as_str()), (0, "", ""));
    assert_fetched(&place, "out");
    // A seed's end is asked for, so it is a good one.
    seed.signal("-INT");
    assert_eq!(seed.end(), Some(0));
}

#[test]
fn a_pipe_gets_one_closing_line() {
    let place = Place::new();
    content(&place, 100_000);
    let (_seed, peer) = seed(&place, "");
    let ran = place.run(&format!("fetch in.meta -o out --listen 127.0.0.1:0 --peer {peer}"));
    assert_eq!((ran.code(), ran.stdout().as_str()), (0, ""));
    let line = ran.stderr();
    assert!(line.starts_with("in: received 97.7 KiB (0 B wasted) in ") && line.ends_with("/s\n"), "{line}");
}

#[test]
fn verbose_tells_what_happens() {
    let place = Place::new();
    content(&place, 100_000);
    let (_seed, peer) = seed(&place, "");
    let ran = place.run(&format!("fetch in.meta -v -o out --listen 127.0.0.1:0 --peer {peer}"));
    let log = ran.stderr();
    for text in ["in: fetching", &format!("in: {peer} connected"), "in: everything is verified"] {
        assert!(log.lines().any(|line| line.starts_with("[info][2") && line.contains(text)), "{text}: {log}");
    }
}

#[test]
fn more_verbose_tells_why_and_no_key() {
    const KEY: &str = "5f3ac0de5f3ac0de";
    let place = Place::new();
    content(&place, 100_000);
    let (_seed, peer) = seed(&place, "");
    let nobody = format!("127.0.0.1:{}", free_port());
    let fetch = |folder: &str, verbose: &str| {
        let tracker = format!("http://{nobody}/{KEY}/announce?key={KEY}");
        let peers = format!("--peer {peer} --peer {nobody} --tracker {tracker}");
        let ran = place.run(&format!("fetch in.meta {verbose} -o {folder} --listen 127.0.0.1:0 --json {peers}"));
        let log = ran.stderr();
        assert!(ran.code() == 0 && !log.contains(KEY), "{log}");
        log
    };
    let told = |log: &str, level: &str, texts: &[&str]| {
        let level = format!("[{level}][2");
        log.lines().any(|line| line.starts_with(&level) && texts.iter().all(|text| line.contains(text)))
    };
    let why = fetch("1", "-vv");
    for texts in [
        ["torrent begins", "trackers=1"],
        ["dialling", nobody.as_str()],
        ["no connection", nobody.as_str()],
        ["connected torrent=", peer.as_str()],
        ["connection ended", "peer="],
        ["asking a tracker", &format!("tracker=\"http://{nobody}/***/announce?***\" event=Started")],
        ["a tracker has not answered", "retry_in_s="],
    ] {
        assert!(told(&why, "debug", &texts), "{texts:?}: {why}");
    }
    assert!(!why.contains("[trace]"), "{why}");
    let all = fetch("2", "-vvv");
    for texts in [["from a peer", "said=Unchoke"], ["to a peer", "said=Request("], ["block from a peer", "begin=0"]] {
        assert!(told(&all, "trace", &texts), "{texts:?}: {all}");
    }
}

#[test]
fn json_tells_the_whole_story() {
    let place = Place::new();
    content(&place, 300_000);
    let (_seed, peer) = seed(&place, "");
    let ran = place.run(&format!("fetch in.meta -o out --listen 127.0.0.1:0 --json --peer {peer}"));
    let lines: Vec<serde_json::Value> = ran.good().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!((events.first(), events.last()), (Some(&"added"), Some(&"summary")));
    assert_eq!(events.iter().filter(|&&event| event == "piece").count(), 19);
    for event in ["state", "peer_connected", "progress", "completed"] {
        assert!(events.contains(&event), "{event} is not in {events:?}");
    }
    let summary = lines.last().unwrap();
    assert_eq!((&summary["downloaded"], &summary["wasted"]), (&300_005.into(), &0.into()));
    let info_hash = lines[0]["torrent"].as_str().unwrap();
    assert!(info_hash.len() == 40 && lines.iter().all(|line| line["torrent"] == info_hash));
}

#[test]
fn a_seed_that_is_ended_at_once_tells_all_that_it_sent() {
    let place = Place::new();
    content(&place, 300_000);
    let (mut seed, peer) = seed(&place, "");
    place.run(&format!("fetch in.meta -o out --quiet --listen 127.0.0.1:0 --peer {peer}")).good();
    seed.event("peer_closed");
    seed.signal("-INT");
    assert_eq!(seed.event("summary")["uploaded"], 300_005);
}

#[test]
fn what_is_there_already_is_checked_and_done() {
    let place = Place::new();
    content(&place, 100_000);
    let before = tree(&place.path("in"));
    place.run("fetch in.meta --listen 127.0.0.1:0 --give-up 20s").good();
    assert_eq!(tree(&place.path("in")), before);
}

#[test]
fn nobody_there_is_5() {
    let place = Place::new();
    content(&place, 1_000);
    let port = free_port();
    let line = format!("fetch in.meta -o out --listen 127.0.0.1:0 --quiet --give-up 1s --peer 127.0.0.1:{port}");
    place.run(&line).failed(5, "gave up");
}

#[test]
fn an_interrupted_fetch_is_130_and_goes_on_later() {
    let place = Place::new();
    content(&place, 1_000_000);
    let (mut slow, peer) = seed(&place, "--up-limit 400K");
    let mut fetch = place.start(&format!("fetch in.meta -o out --listen 127.0.0.1:0 --json --peer {peer}"));
    fetch.event("piece");
    fetch.signal("-INT");
    assert_eq!(fetch.end(), Some(130));
    slow.signal("-TERM");
    assert_eq!(slow.end(), Some(0));
    goes_on(&place);
}

#[test]
fn a_killed_fetch_goes_on_later() {
    let place = Place::new();
    content(&place, 1_000_000);
    let (_slow, peer) = seed(&place, "--up-limit 400K");
    let mut fetch = place.start(&format!("fetch in.meta -o out --listen 127.0.0.1:0 --json --peer {peer}"));
    for _ in 0..20 {
        fetch.event("piece");
    }
    fetch.signal("-KILL");
    assert_eq!(fetch.end(), None);
    goes_on(&place);
}

/// Fetches the rest from a fast seed; less than everything, since something was there.
fn goes_on(place: &Place) {
    let (_fast, peer) = seed(place, "");
    let mut again = place.start(&format!("fetch in.meta -o out --listen 127.0.0.1:0 --json --peer {peer}"));
    let downloaded = again.event("summary")["downloaded"].as_u64().unwrap();
    assert!(downloaded < 1_000_005, "{downloaded}");
    assert_eq!(again.end(), Some(0));
    assert_fetched(place, "out");
}

#[test]
fn a_second_signal_ends_at_once() {
    let place = Place::new();
    content(&place, 1_000);
    // A tracker that takes connections and never answers delays the goodbye.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", deaf.local_addr().unwrap());
    let mut fetch = place.start(&format!("fetch in.meta -o out --listen 127.0.0.1:0 --json --tracker {url}"));
    while fetch.event("state")["state"] != "fetching" {}
    fetch.signal("-INT");
    fetch.signal("-INT");
    assert_eq!(fetch.end(), Some(130));
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let place = Place::new();
    content(&place, 1_000);
    let mut fetch = place.swarm("fetch in.meta -o out --listen 127.0.0.1:0 --json");
    let mut fetch = fetch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(fetch.stdout.take());
    let output = fetch.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(130), b"".as_slice()));
}

#[test]
fn foreign_files_stay_unless_told_otherwise() {
    let place = Place::new();
    content(&place, 100_000);
    let (_seed, peer) = seed(&place, "");
    place.write("out/in/large.bin", b"precious");
    let line = format!("fetch in.meta -o out --listen 127.0.0.1:0 --quiet --peer {peer}");
    place.run(&line).failed(4, "large.bin");
    assert_eq!(std::fs::read(place.path("out/in/large.bin")).unwrap(), b"precious");
    place.run(&format!("{line} --overwrite")).good();
    assert_fetched(&place, "out");
}

#[test]
fn a_target_that_cannot_be_is_4() {
    let place = Place::new();
    content(&place, 100_000);
    place.write("file", b"");
    place.run("fetch in.meta -o file --listen 127.0.0.1:0 --quiet").failed(4, "in the way");
    place.write("other/in", b"a file where a folder belongs");
    place.run("fetch in.meta -o other --listen 127.0.0.1:0 --quiet").failed(4, "in");
    place.run("seed in.meta --path nowhere --listen 127.0.0.1:0 --quiet").failed(4, "nowhere");
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    std::fs::rename(place.path("in"), place.path("elsewhere/in")).unwrap();
    place.run("seed in.meta --listen 127.0.0.1:0 --quiet").failed(4, "--path");
}

#[test]
fn two_processes_on_one_target_are_one_too_many() {
    let place = Place::new();
    content(&place, 100_000);
    let mut first = place.start("fetch in.meta -o out --listen 127.0.0.1:0 --json");
    while first.event("state")["state"] != "fetching" {}
    place.run("fetch in.meta -o out --listen 127.0.0.1:0 --quiet").failed(4, "in use");
    first.signal("-INT");
    assert_eq!(first.end(), Some(130));
}

#[test]
fn one_torrent_that_cannot_be_does_not_keep_the_others() {
    let place = Place::new();
    content(&place, 100_000);
    place.write("one.bin", &noise(3, 50_000));
    place.run("make-meta one.bin").good();
    let (_seed, peer) = seed(&place, "");
    place.write("out/one.bin/in-the-way", b"a folder where a file belongs");
    let ran = place.run(&format!("fetch one.bin.meta in.meta -o out --listen 127.0.0.1:0 --quiet --peer {peer}"));
    assert_eq!(ran.code(), 4, "{}", ran.stderr());
    assert!(ran.stderr().contains("one.bin"), "{}", ran.stderr());
    assert_fetched(&place, "out");
}

#[test]
fn the_same_torrent_twice_is_2() {
    let place = Place::new();
    content(&place, 1_000);
    place.run("fetch in.meta in.meta --listen 127.0.0.1:0 --quiet").failed(2, "running already");
}

/// A server that gives every connection the same answer, and its announce URL.
fn answering(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4_096];
            // Whoever hangs up early is no concern of this server.
            let _ = stream.read(&mut request).and_then(|_| stream.write_all(&answer));
        }
    });
    url
}

#[test]
fn a_tracker_that_makes_no_sense_is_named() {
    let head = |status: &str| format!("HTTP/1.1 {status}\r\nconnection: close\r\n").into_bytes();
    let body = |status: &str, body: &[u8]| [head(status), b"\r\n".to_vec(), body.to_vec()].concat();
    let answers = [
        body("200 OK", b"<!DOCTYPE html><html>\x1b[31m"),
        body("500 Internal Server Error", b""),
        body("200 OK", b"d8:intervali"),
        body("200 OK", &vec![b'x'; 10 << 20]),
        [head("302 Found"), b"location: /announce\r\n\r\n".to_vec()].concat(),
        body("200 OK", b"d14:failure reason13:go away\x1b[31me"),
        b"garbage".to_vec(),
        Vec::new(),
    ];
    let place = Place::new();
    content(&place, 1_000);
    let place = &place;
    std::thread::scope(|scope| {
        for (number, answer) in answers.into_iter().enumerate() {
            scope.spawn(move || {
                let what = String::from_utf8_lossy(&answer).chars().take(60).collect::<String>();
                let url = answering(answer);
                let line = format!("fetch in.meta -o {number} --listen 127.0.0.1:0 --give-up 2s --tracker {url}");
                let ran = place.run(&line);
                assert_eq!(ran.code(), 5, "{what}");
                let stderr = ran.stderr();
                assert!(stderr.contains(&url) && !stderr.contains('\x1b'), "{what}: {stderr}");
            });
        }
    });
}

#[test]
fn a_signal_ends_the_wait_for_a_metainfo() {
    let place = Place::new();
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = deaf.local_addr().unwrap();
    let lines =
        ["show http://", "verify --quiet . http://", "fetch --quiet http://", "ls native://", "peers native://"];
    for line in lines {
        let line = match line.split_once(" . ") {
            Some((command, scheme)) => format!("{command} {scheme}{address} ."),
            None => format!("{line}{address}"),
        };
        let mut waiting = place.start(&line);
        let _held = deaf.accept().unwrap();
        waiting.signal("-INT");
        assert_eq!(waiting.end(), Some(130), "{line}");
    }
}

#[test]
fn a_port_in_use_is_6() {
    let place = Place::new();
    content(&place, 1_000);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for command in
        ["fetch in.meta -o out --quiet", "seed in.meta --quiet", "tracker http", "tracker native", "share in"]
    {
        let ran = place.run(&format!("{command} --listen {address}"));
        assert_eq!(ran.code(), 6, "{command}: {}", ran.stderr());
        assert!(ran.stderr().contains(&address.to_string()), "{command}: {}", ran.stderr());
    }
    // No URL is printed that is not served.
    let ran = place.run(&format!("tracker --http 127.0.0.1:0 --native {address}"));
    assert_eq!((ran.code(), ran.stdout().as_str()), (6, ""), "{}", ran.stderr());
}

#[test]
fn a_seed_of_something_else_is_1() {
    let place = Place::new();
    content(&place, 100_000);
    place.write("in/large.bin", &noise(8, 100_000));
    place.write("in/deep/er/small.txt", b"wrong");
    place.run("seed in.meta --listen 127.0.0.1:0 --quiet").failed(1, "not the content");
}

/// Whether a seed starts without a look at the data.
fn starts_at_once(place: &Place) -> bool {
    let mut seed = place.start("seed in.meta --json --listen 127.0.0.1:0");
    let mut checked = 0;
    loop {
        let line: serde_json::Value = serde_json::from_str(&seed.line()).unwrap();
        checked += line["done_bytes"].as_u64().unwrap_or(0);
        if line["state"] == "seeding" {
            return checked == 0;
        }
    }
}

#[test]
fn what_was_hashed_once_is_not_hashed_again() {
    let place = Place::new();
    content(&place, 100_000);
    assert!(starts_at_once(&place), "after make-meta");
    std::fs::remove_dir_all(place.path("state")).unwrap();
    assert!(!starts_at_once(&place), "without a record");
    std::fs::remove_dir_all(place.path("state")).unwrap();
    place.run("verify in.meta in").good();
    assert!(starts_at_once(&place), "after verify");
    place.write("in/large.bin", &noise(7, 100_000));
    assert!(!starts_at_once(&place), "after a change");
}

#[test]
fn a_seed_finds_its_content() {
    let place = Place::new();
    content(&place, 100_000);
    std::fs::create_dir_all(place.path("a/b")).unwrap();
    std::fs::rename(place.path("in"), place.path("a/in")).unwrap();
    for (meta, path) in [("in.meta", "--path a"), ("in.meta", "--path a/in"), ("a/beside.meta", "")] {
        std::fs::copy(place.path("in.meta"), place.path("a/beside.meta")).unwrap();
        let mut seed = place.start(&format!("seed {meta} {path} --json --listen 127.0.0.1:0"));
        while seed.event("state")["state"] != "seeding" {}
        seed.signal("-INT");
        assert_eq!(seed.end(), Some(0), "{meta} {path}");
    }
}

#[test]
fn seeding_after_a_fetch_ends_as_asked() {
    let place = Place::new();
    content(&place, 100_000);
    let (_seed, peer) = seed(&place, "");
    place.run(&format!("fetch in.meta -o 1 --listen 127.0.0.1:0 --quiet --peer {peer} --seed-time 0")).good();
    place.run(&format!("fetch in.meta -o 2 --listen 127.0.0.1:0 --quiet --peer {peer} --seed-ratio 0")).good();
    let mut stays = place.start(&format!("fetch in.meta -o 3 --listen 127.0.0.1:0 --json --peer {peer} --seed-after"));
    stays.event("completed");
    stays.event("progress");
    stays.signal("-INT");
    assert_eq!(stays.end(), Some(0));
}

/// The line that `share` prints, as arguments behind the program's name.
fn shared(share: &mut Running) -> String {
    let line = share.line();
    line.strip_prefix("swarm ").unwrap_or_else(|| panic!("{line}: {}", share.rest_of_stderr())).to_owned()
}

#[test]
fn share_prints_the_one_line_that_fetches() {
    let place = Place::new();
    content(&place, 1_000_000);
    std::fs::remove_file(place.path("in.meta")).unwrap();
    let mut share = place.start("share in --listen 127.0.0.1:0");
    let line = shared(&mut share);
    assert!(line.starts_with("fetch http://127.0.0.1:") && line.ends_with("/in.meta"), "{line}");
    place.run(&format!("{line} -o out --listen 127.0.0.1:0 --quiet")).good();
    assert_fetched(&place, "out");
    let url = line.strip_prefix("fetch ").unwrap();
    let shown: serde_json::Value = serde_json::from_str(&place.run(&format!("show {url} --json")).good()).unwrap();
    assert_eq!(shown["trackers"].as_array().map(Vec::len), Some(2));
    share.signal("-INT");
    assert_eq!(share.end(), Some(0));
    assert!(!Path::new(&place.path("in.meta")).exists(), "nothing is written");
}

#[test]
fn share_of_one_file_with_a_difficult_name() {
    let place = Place::new();
    let name = "ü #1 50% <b>.bin";
    place.write(name, &noise(9, 70_000));
    let mut share = Running::new(place.swarm_with(&["share", name, "--listen", "127.0.0.1:0"]));
    let line = shared(&mut share);
    assert!(line.is_ascii() && !line.contains('<') && line.split(' ').count() == 2, "{line}");
    place.run(&format!("{line} -o out --listen 127.0.0.1:0 --quiet")).good();
    let fetched = tree(&place.path("out"));
    assert_eq!(fetched.len(), 1);
    assert_eq!(fetched[0].1, noise(9, 70_000));
}

#[test]
fn a_fetch_killed_six_times_loses_no_piece() {
    const PIECES: usize = 192;
    const BLOCK: u64 = 16 * 1024;
    let place = Place::new();
    place.write("in", &noise(9, 48 * 1024 * 1024));
    place.run("make-meta in --no-date --piece-length 256K").good();
    let (mut seed, peer) = seed(&place, "--up-limit 16M");
    let wiretap = Wiretap::before(&peer);
    let line = format!("fetch in.meta -o out --json --listen 127.0.0.1:0 --peer {}", wiretap.address);
    let (mut told, mut cut_short) = (BTreeSet::new(), 0);
    for kill in 0..7 {
        let mut pieces = Vec::new();
        let rest = if kill < 6 {
            let mut fetch = place.start(&line);
            pieces.extend((0..20).map(|_| fetch.event("piece")["piece"].as_u64().unwrap()));
            fetch.signal("-KILL");
            fetch.end();
            fetch.rest_of_stdout()
        } else {
            place.run(&line).good()
        };
        // The last line may be cut.
        let rest = rest.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        pieces.extend(rest.filter(|line| line["event"] == "piece").map(|line| line["piece"].as_u64().unwrap()));
        let asked = wiretap.asked();
        seed.event("peer_closed");
        assert!(
            !asked.is_empty() && asked.iter().all(|piece| !told.contains(piece)),
            "what is there is asked for again"
        );
        for piece in pieces {
            assert!(told.insert(piece), "piece {piece} comes twice");
        }
        cut_short += asked.iter().filter(|piece| !told.contains(piece)).count() as u64;
    }
    // A piece that was written an instant before the kill may not have been told.
    assert!(told.len() >= PIECES - 6, "{} pieces in all", told.len());
    assert_eq!(std::fs::read(place.path("out/in")).unwrap(), std::fs::read(place.path("in")).unwrap());
    seed.signal("-INT");
    let uploaded = seed.event("summary")["uploaded"].as_u64().unwrap();
    // All of it was sent once. What was under way at a kill depends on how busy the machine is: all that a starved process has
    // asked for may wait for it.
    let once = 48 * 1024 * 1024;
    let most = once + cut_short * BLOCK;
    assert!((once..=most).contains(&uploaded), "{uploaded} bytes were sent, {cut_short} blocks were cut short");
}
