//! `shell`: over a pipe, and at a terminal.

use crate::support::{PATIENCE, Place, Ran, Running, noise, tree};
use rustix::fd::OwnedFd;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn tracker(place: &Place, options: &str) -> (Running, String) {
    let mut tracker = place.start(&format!("tracker native --listen 127.0.0.1:0 {options}"));
    let url = tracker.line();
    (tracker, url)
}

/// All lines at once, and what came of them.
fn piped(place: &Place, url: &str, lines: &str) -> Ran {
    let mut command = place.swarm(&format!("shell {url} --listen 127.0.0.1:0 -o out"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    Ran(child.wait_with_output().unwrap())
}

/// A shell whose input stays open.
struct Piped(Child);

impl Piped {
    fn start(place: &Place, url: &str) -> Self {
        let mut command = place.swarm(&format!("shell {url} --listen 127.0.0.1:0"));
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Says a line and gives the first of the answer.
    fn ask(&mut self, line: &str) -> String {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

#[test]
fn lines_of_a_pipe_publish_fetch_and_take_back() {
    let (here, there) = (Place::new(), Place::new());
    let (_tracker, url) = tracker(&here, "");
    here.write("a file.bin", &noise(1, 500_000));
    let mut owner = Piped::start(&here, &url);
    assert_eq!(owner.ask("update a file.bin"), format!("published {url}/a%20file.bin"));

    let fetched = piped(&there, &url, "list\nsearch FILE\nlist x\nget a file.bin\n").good();
    assert_eq!(fetched.matches("a file.bin\n").count(), 2, "{fetched}");
    assert_eq!(fetched.matches("1 name\n").count(), 2, "{fetched}");
    assert!(fetched.contains("0 names\n") && fetched.contains("a file.bin: done, 488 KiB"), "{fetched}");
    assert_eq!(tree(&there.path("out")), [("a file.bin".into(), noise(1, 500_000))]);

    let refused = piped(&there, &url, "delete a file.bin\nlist\n");
    assert_eq!(refused.code(), 6, "{}", refused.stderr());
    assert!(refused.stderr().contains("was not published from here") && refused.stdout().contains("1 name"));
    assert_eq!(owner.ask("delete a file.bin"), format!("deleted {url}/a%20file.bin"));
    assert_eq!(owner.ask("transfers"), "0 transfers");
    piped(&there, &url, "get a file.bin\n").failed(3, "nothing of that name");
    piped(&there, &url, "frobnicate\n").failed(2, "unknown command 'frobnicate'");
    piped(&there, "native://127.0.0.1:1", "list\n").failed(6, "native://127.0.0.1:1");
}

#[test]
fn an_admin_shuts_the_tracker_down() {
    let place = Place::new();
    place.write("token", b"0123456789abcdef0123456789abcdef\n");
    place.write("wrong", b"0123456789abcdef0123456789abcdee\n");
    let (mut tracker, url) = tracker(&place, "--admin-token-file token");
    piped(&place, &url, "shutdown\n").failed(2, "which token?");
    piped(&place, &url, "shutdown nowhere\n").failed(4, "cannot read nowhere");
    piped(&place, &url, "shutdown wrong\n").failed(6, "not the admin token");
    assert_eq!(piped(&place, &url, "shutdown token\nlist\n").good(), "the tracker closes\n");
    assert_eq!(tracker.end(), Some(0));
    place.write("short", b"0123\n");
    place.run("tracker native --listen 127.0.0.1:0 --admin-token-file short").failed(2, "short is no token");
}

/// A shell at a terminal of its own.
struct AtTerminal {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    screen: Arc<Mutex<String>>,
}

impl AtTerminal {
    fn start(place: &Place, url: &str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal: OwnedFd = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap().into();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = place.swarm(&format!("shell {url} --listen 127.0.0.1:0 -o out"));
        let child = command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keyboard = File::from(master);
        let (mut output, screen) = (keyboard.try_clone().unwrap(), Arc::new(Mutex::new(String::new())));
        let shown = Arc::clone(&screen);
        // Ends when the terminal does.
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { child, keyboard, terminal, screen }
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen was sent a text so often; gives all that it was sent.
    fn shows(&self, text: &str, times: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen.lock().unwrap().clone();
            if screen.matches(text).count() >= times {
                return screen;
            }
            assert!(Instant::now() < deadline, "no {text:?} in {screen:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ends_with_the_terminal_as_it_was(mut self) {
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON), "{modes:?}");
    }
}

#[test]
fn what_is_typed_stays_whole_while_a_transfer_ends() {
    let (here, there) = (Place::new(), Place::new());
    let (_tracker, url) = tracker(&here, "");
    here.write("in.bin", &noise(1, 300_000));
    here.run(&format!("make-meta in.bin --no-date --tracker {url}")).good();
    here.run(&format!("publish in.bin.meta {url}")).good();
    let mut shell = AtTerminal::start(&there, &url);
    shell.shows("swarm> ", 1);
    shell.type_in("get i\t\r");
    shell.shows("in.bin: 293 KiB to fetch", 1);
    // Nobody has it yet. It comes when half of another line has been typed.
    shell.type_in("frobnicate-");
    shell.shows("frobnicate-", 1);
    let _seed = here.start("seed in.bin.meta --quiet --listen 127.0.0.1:0");
    let screen = shell.shows("in.bin: done", 1);
    let (before, _) = screen.split_once("in.bin: done").unwrap();
    let line = before.rsplit(['\r', '\n']).next().unwrap();
    assert!(!line.contains("frobnicate"), "it has a line of its own: {line:?}");
    let so_often = |screen: &str| screen.matches("swarm> frobnicate-").count();
    let drawn_before = so_often(before);
    shell.shows("swarm> frobnicate-", drawn_before + 1);
    shell.type_in("whole\r");
    shell.shows("unknown command 'frobnicate-whole'", 1);
    // The last line comes back, and so does a command of which some is typed.
    shell.type_in("\x1b[A\r");
    shell.shows("unknown command 'frobnicate-whole'", 2);
    shell.type_in("tra\t\r");
    shell.shows("1 transfer", 1);
    assert_eq!(std::fs::read(there.path("out/in.bin")).unwrap(), noise(1, 300_000));
    shell.type_in("close\r");
    shell.ends_with_the_terminal_as_it_was();
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let place = Place::new();
    let (_tracker, url) = tracker(&place, "");
    let mut shell = AtTerminal::start(&place, &url);
    shell.shows("swarm> ", 1);
    shell.type_in("half a li");
    shell.shows("half a li", 1);
    let pid = shell.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    shell.ends_with_the_terminal_as_it_was();
}
