//! Rooms: on a terminal, in lines, as JSON, and who is who in them.

use crate::support::{PATIENCE, Place, noise};
use crate::terminal::Glass;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Somebody who talks through pipes.
pub(crate) struct Talker {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Talker {
    pub(crate) fn new(place: &Place, line: &str) -> Self {
        Self::of(place.swarm(line))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines();
            lines.map_while(Result::ok).take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Self { child, stdin, lines }
    }

    pub(crate) fn types(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no line: {error}"))
    }

    /// Lines up to the first that holds this.
    pub(crate) fn until(&self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Objects up to the first of this event for which the condition holds.
    pub(crate) fn event(&self, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.line();
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            if value["event"] == name && condition(&value) {
                return value;
            }
        }
    }

    pub(crate) fn end(mut self) -> Option<i32> {
        self.types("/quit");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

/// A room, and two people with places of their own; the second is in it already, and can be reached at the port.
pub(crate) fn room() -> (Place, Place, Talker, u64) {
    let (anna, bo) = (Place::new(), Place::new());
    anna.run("room den -o den.meta --quiet").good();
    std::fs::copy(anna.path("den.meta"), bo.path("den.meta")).unwrap();
    let talker = Talker::new(&bo, "chat den.meta --json --nick bo --listen 127.0.0.1:0");
    let port = talker.event("chat_entered", |_| true)["listen_port"].as_u64().unwrap();
    (anna, bo, talker, port)
}

#[test]
fn the_line_stays_whole_on_a_real_terminal() {
    let (anna, _bo, mut bo, port) = room();
    let line = format!("chat den.meta --nick anna --listen 127.0.0.1:0 --peer 127.0.0.1:{port}");
    let mut glass = Glass::new(&anna.swarm(&line), 24, 80);
    bo.event("chat_joined", |event| event["person"]["name"] == "anna");
    glass.until("bo is there", |glass| glass.rows().iter().any(|row| row.contains("● bo")));
    assert!(glass.is_taken() && !glass.is_usual());

    let text = "a line that nobody may cut, 漢字 é and all";
    let mut typed = String::new();
    for (index, c) in text.chars().enumerate() {
        if index % 3 == 0 {
            bo.types(&format!("line {index} from bo"));
        }
        typed.push(c);
        glass.press(&c.to_string());
        let wanted = format!("> {}", typed.trim_end());
        glass.until("the typed line", |glass| glass.rows()[23] == wanted);
        if index % 3 == 0 {
            let said = format!("line {index} from bo");
            glass.until("a message", |glass| glass.rows()[..22].iter().any(|row| row.contains(&said)));
            assert_eq!(glass.rows()[23], wanted, "a message has cut the line");
            glass.until("the cursor", |glass| glass.cursor().0 == 23);
        }
    }
    glass.resize(10, 50);
    glass.until("the smaller window", |glass| glass.rows()[9] == format!("> {text}"));
    glass.press("\r");
    bo.event("chat_message", |event| event["text"] == text && event["own"] == false);
    glass.until("an empty line", |glass| glass.rows()[9] == ">");
    glass.press("/quit\r");
    assert_eq!(glass.end(), Some(0));
    assert!(!glass.is_taken() && glass.is_usual());
    bo.event("chat_left", |event| event["person"]["name"] == "anna");
    assert_eq!(bo.end(), Some(0));
}

/// A key and the news of a new size may come at one and the same moment: neither hides the other until the next key.
#[test]
fn a_key_that_comes_with_a_new_size_is_not_lost() {
    let place = Place::new();
    place.run("room den -o den.meta --quiet").good();
    let mut glass = Glass::new(&place.swarm("chat den.meta --nick anna --listen 127.0.0.1:0"), 24, 80);
    glass.until("the room", |glass| glass.rows()[23] == ">" && glass.is_taken());
    for round in 0..200 {
        let last = if round % 2 == 0 { 9 } else { 23 };
        glass.resize(last + 1, 60);
        glass.press("x");
        glass.until("the key", |glass| glass.rows()[usize::from(last)] == "> x");
        glass.press("\u{8}");
        glass.until("an empty line", |glass| glass.rows()[usize::from(last)] == ">");
    }
}

#[test]
fn the_terminal_is_given_back_whatever_ends_the_room() {
    let place = Place::new();
    place.run("room den -o den.meta --quiet").good();
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut glass = Glass::new(&place.swarm("chat den.meta --nick anna --listen 127.0.0.1:0"), 24, 80);
        glass.until("the room", |glass| glass.rows()[23] == ">" && glass.is_taken());
        glass.signal(signal);
        assert_eq!(glass.end(), Some(0), "{signal}");
        assert!(!glass.is_taken() && glass.is_usual(), "{signal}");
    }
}

#[test]
fn one_thing_is_said_to_somebody_or_to_nobody() {
    let (anna, _bo, bo, port) = room();
    let peer = format!("127.0.0.1:{port}");
    let said = ["chat", "den.meta", "--say", "dinner is ready", "--nick", "anna", "--listen", "127.0.0.1:0"];
    let heard = anna.swarm_with(&[&said[..], &["--peer", &peer]].concat()).output().unwrap();
    assert_eq!(heard.status.code(), Some(0), "{}", String::from_utf8_lossy(&heard.stderr));
    let message = bo.event("chat_message", |event| event["text"] == "dinner is ready");
    assert_eq!(message["name"], "anna");
    drop(bo);
    let ran = anna.swarm_with(&[&said[..], &["--timeout", "1s"]].concat()).output().unwrap();
    assert_eq!(ran.status.code(), Some(5));
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert!(stderr.contains("nobody has heard it within 1.0 s"), "{stderr}");
}

#[test]
fn plain_lines_a_call_and_files() {
    let (anna, bo_place, mut bo, port) = room();
    let content = noise(7, 100_000);
    anna.write("picture.png", &content);
    let line = format!("chat den.meta --plain --nick anna --listen 127.0.0.1:0 --peer 127.0.0.1:{port}");
    let mut talker = Talker::new(&anna, &line);
    talker.until("bo (");
    bo.types("hello");
    assert!(talker.until("hello").ends_with("bo: hello"));
    talker.types("/accept");
    assert!(talker.until("nothing to answer").contains(" - "));

    talker.types("/msg bo a secret");
    let call = bo.event("chat_call_requested", |_| true);
    bo.types(&format!("/accept {}", call["number"]));
    bo.event("chat_direct", |event| event["text"] == "a secret" && event["request"] == call["request"]);
    talker.until("delivered to bo: a secret");
    bo.types("/hangup");
    talker.until("the call with bo is over");

    talker.types("/send bo picture.png");
    let offer = bo.event("chat_offer", |_| true);
    assert_eq!((&offer["name"], &offer["total_bytes"]), (&Value::from("picture.png"), &Value::from(100_000)));
    bo.types("/accept anna");
    bo.event("chat_file", |event| event["name"] == "picture.png");
    assert_eq!(std::fs::read(bo_place.path("picture.png")).unwrap(), content);
    talker.until("bo has all of picture.png");
    // The other way round, told as JSON.
    bo_place.write("answer.bin", &noise(8, 200_000));
    bo.types("/send anna answer.bin");
    let offered = bo.event("chat_offering", |_| true);
    talker.until("answer.bin");
    talker.types("/accept bo");
    let sent = bo.event("chat_sending", |event| event["state"] == "complete");
    assert_eq!((&sent["name"], &sent["have_bytes"]), (&Value::from("answer.bin"), &Value::from(200_000)));
    assert_eq!((&sent["request"], &sent["number"]), (&offered["request"], &offered["number"]));
    talker.until("answer.bin is here");
    assert_eq!(std::fs::read(anna.path("answer.bin")).unwrap(), noise(8, 200_000));
    assert_eq!(talker.end(), Some(0));
    assert_eq!(bo.end(), Some(0));
}

/// Killed while files come, and started again: what was there is not fetched again. Then the sender takes them back.
#[test]
fn a_transfer_goes_on_behind_a_crash_and_is_ended_by_its_number() {
    let (anna, bo_place, bo, port) = room();
    drop(bo);
    let content = noise(9, 16_000_000);
    anna.write("film.mkv", &content);
    let line = "chat den.meta --json --nick anna --listen 127.0.0.1:0 --up-limit 1M";
    let mut sender = Talker::new(&anna, line);
    let port = sender.event("chat_entered", |_| true)["listen_port"].as_u64().unwrap_or(port);
    let line = format!("chat den.meta --json --nick bo --listen 127.0.0.1:0 --peer 127.0.0.1:{port}");
    let mut had = 0;
    for round in 0..2 {
        let mut bo = Talker::new(&bo_place, &line);
        bo.event("chat_joined", |event| event["person"]["name"] == "anna");
        if round == 0 {
            sender.event("chat_joined", |event| event["person"]["name"] == "bo");
        }
        sender.types("/send bo film.mkv");
        let number = sender.event("chat_offering", |_| true)["number"].clone();
        bo.event("chat_offer", |event| event["name"] == "film.mkv");
        bo.types("/accept");
        if round == 1 {
            // Of the transfer before nobody has heard anything since.
            let lost = sender.event("chat_sending", |event| event["state"] == "lost");
            assert_eq!(lost["have_bytes"], had);
        }
        let fetching = |event: &Value| event["state"] == "fetching";
        let first = sender.event("chat_sending", fetching)["have_bytes"].as_u64().unwrap();
        assert!(first >= had, "{first} bytes, and {had} were there");
        had = sender.event("chat_sending", |event| fetching(event) && event["have_bytes"].as_u64() > Some(first))
            ["have_bytes"]
            .as_u64()
            .unwrap();
        if round == 1 {
            sender.types(&format!("/hangup {number}"));
            let end = sender.event("chat_sending", |event| event["state"] == "withdrawn");
            assert_eq!(end["number"], number);
            let end = bo.event("chat_receiving", |event| event["state"] == "withdrawn");
            assert!(end["have_bytes"].as_u64() >= Some(had), "{end}");
        }
        // Killed, not asked to leave.
        drop(bo);
    }
    assert_eq!(sender.end(), Some(0));
}

#[test]
fn people_talk_beside_a_transfer() {
    let (anna, bo) = (Place::new(), Place::new());
    let content = noise(8, 300_000);
    anna.write("data.bin", &content);
    anna.run("make-meta data.bin --quiet").good();
    std::fs::copy(anna.path("data.bin.meta"), bo.path("data.bin.meta")).unwrap();
    let seed = Talker::new(&anna, "seed data.bin.meta --chat --json --nick anna --listen 127.0.0.1:0");
    let port = seed.event("added", |_| true)["listen_port"].as_u64().unwrap();
    let cleo = Place::new();
    std::fs::copy(anna.path("data.bin.meta"), cleo.path("data.bin.meta")).unwrap();
    let line = format!("chat data.bin.meta --json --nick cleo --listen 127.0.0.1:0 --peer 127.0.0.1:{port}");
    let mut only_talks = Talker::new(&cleo, &line);
    only_talks.event("chat_joined", |event| event["person"]["name"] == "anna");
    only_talks.types("I only talk");
    seed.event("chat_message", |event| event["text"] == "I only talk");
    // A second program of the same person, beside the first.
    let line = format!("chat data.bin.meta --say again --nick cleo --listen 127.0.0.1:0 --peer 127.0.0.1:{port}");
    cleo.run(&line).good();
    seed.event("chat_message", |event| event["text"] == "again");
    assert_eq!(only_talks.end(), Some(0));
    assert!(!crate::support::tree(cleo.path("state").as_path()).iter().any(|(_, bytes)| bytes.len() > 10_000));
    let line =
        format!("fetch data.bin.meta -o here --chat --json --nick bo --listen 127.0.0.1:0 --peer 127.0.0.1:{port}");
    let mut fetch = Talker::new(&bo, &line);
    fetch.event("completed", |_| true);
    fetch.types("thank you");
    seed.event("chat_message", |event| event["text"] == "thank you" && event["name"] == "bo");
    assert_eq!(fetch.end(), Some(0), "it stayed although all was there, and left when it was told to");
    assert_eq!(std::fs::read(bo.path("here/data.bin")).unwrap(), content);
    assert_eq!(seed.end(), Some(0));
    bo.run("fetch data.bin.meta data.bin.meta --chat").failed(2, "one torrent");
}

#[test]
fn an_identity_is_made_once_and_not_lost_by_accident() {
    let (place, other) = (Place::new(), Place::new());
    let shown = |place: &Place| serde_json::from_str::<Value>(&place.run("id show --json").good()).unwrap();
    let (mine, theirs) = (shown(&place), shown(&other));
    assert_eq!(shown(&place)["key"], mine["key"]);
    assert_ne!(theirs["key"], mine["key"]);
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.path("state/swarm/chat/identity")), 0o600);

    place.run("id export key.txt").good();
    assert_eq!(mode(place.path("key.txt")), 0o600);
    place.run("id export key.txt").failed(4, "exists");
    let secret = std::fs::read_to_string(place.path("key.txt")).unwrap();
    assert_eq!(place.run("id export").good().trim(), secret.trim());
    other.write("key.txt", secret.as_bytes());
    other.run("id import key.txt").failed(4, "--force");
    assert_eq!(shown(&other)["key"], theirs["key"]);
    other.write("junk", b"hello");
    other.run("id import junk --force").failed(2, "no exported key");
    other.run("id import key.txt --force").good();
    other.run("id import key.txt").good();
    assert_eq!(shown(&other)["key"], mine["key"]);
    assert_eq!(mode(other.path("state/swarm/chat/identity")), 0o600);

    let key = theirs["key"].as_str().unwrap();
    assert!(place.run(&format!("id block {key}")).good().contains("blocked"));
    assert_eq!(shown(&place)["people"][0]["trust"], "blocked");
    let fingerprint = theirs["fingerprint"].as_str().unwrap();
    place.run(&format!("id trust {fingerprint}")).good();
    assert_eq!(shown(&place)["people"][0]["trust"], "trusted");
    place.run("id trust nobody").failed(2, "met nobody");
}

#[test]
fn rooms_of_one_name_are_different_rooms() {
    let place = Place::new();
    let one = place.run("room den --tracker http://box:6969/announce --peer box:6881").good();
    place.run("room den").failed(4, "exists");
    let other = place.run("room den --force").good();
    assert_ne!(one, other);
    assert_eq!(place.swarm_with(&["room", ""]).output().unwrap().status.code(), Some(2));
    assert!(place.run("show den.meta").good().contains("den"));
}

/// Times are told as a wall clock beside the reader has them, and whoever can be found by nobody learns how others come.
#[test]
fn times_are_those_of_the_reader_and_a_lonely_room_says_how_others_come() {
    let place = Place::new();
    place.run("room den -o den.meta --quiet").good();
    let hello = |zone: &str, options: &str| {
        let mut command = place.swarm(&format!("chat den.meta --plain --listen 127.0.0.1:0 {options}"));
        command.env("TZ", zone);
        let mut talker = Talker::of(command);
        talker.types("/help");
        let before: Vec<String> =
            std::iter::from_fn(|| Some(talker.line()).filter(|it| !it.contains("/peers"))).collect();
        assert_eq!(talker.end(), Some(0));
        before
    };
    let hour = |lines: &[String]| lines[0].get(..2).and_then(|hour| hour.parse::<i32>().ok()).expect("an hour");
    let (here, there) = (hello("UTC0", ""), hello("<+07>-7", ""));
    // The clock goes on between the two.
    assert!([7, 8].contains(&(hour(&there) - hour(&here)).rem_euclid(24)), "{here:?} {there:?}");
    assert!(
        here.iter().any(|line| line.contains("others come with: swarm chat den.meta --peer 127.0.0.1:")),
        "{here:?}"
    );
    let found = hello("UTC0", "--tracker http://127.0.0.1:9/announce");
    assert!(!found.iter().any(|line| line.contains("others come with")), "{found:?}");
}

#[test]
fn whoever_shares_and_talks_says_how_others_come_to_talk() {
    let place = Place::new();
    place.write("film", b"content");
    let mut command = place.swarm("share film --chat --plain --listen 127.0.0.1:0");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"/quit\n").unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let hint = said.lines().find_map(|line| line.split_once("others come with: ")).expect("how others come").1;
    assert!(hint.starts_with("swarm fetch http://127.0.0.1:") && hint.ends_with("/film.meta --chat"), "{hint}");
}
