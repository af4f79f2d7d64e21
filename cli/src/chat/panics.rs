//! A panic while the terminal is taken over, on a real terminal line: this test runs itself once more, on one of its own.

use super::app::App;
use super::screen::Screen;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, stdin};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// Says to the second run that it is the one on the terminal.
const ON_A_TERMINAL: &str = "SWARM_TEST_ON_A_TERMINAL";
const DRAWS: &str = "while it draws";
const ELSEWHERE: &str = "somewhere else";

#[test]
fn a_panic_of_who_draws_gives_the_terminal_back_and_one_elsewhere_is_a_note() {
    if std::env::var_os(ON_A_TERMINAL).is_some() {
        take_the_terminal_and_panic();
    }
    let (painted, code, modes) = run_on_a_terminal();
    let at = |what: &str| painted.find(what).unwrap_or_else(|| panic!("no {what:?} in {painted:?}"));
    let (entered, drawn, left) = (at("\x1b[?1049h"), at("den"), at("\x1b[?1049l"));
    assert!(entered < drawn && drawn < left, "the room is drawn and then left: {painted:?}");
    assert!(left < at(DRAWS), "the panic is told on the usual screen: {painted:?}");
    // What was pasted came in brackets, and the cursor may have been hidden; nothing else is asked of a terminal.
    let last = |what: &str| painted.rfind(what).unwrap_or_else(|| panic!("no {what:?} in {painted:?}"));
    assert!(at("\x1b[?2004h") < drawn && drawn < last("\x1b[?2004l"), "pasted text comes plainly: {painted:?}");
    assert!(left < last("\x1b[?25h"), "the cursor is to be seen: {painted:?}");
    for mouse in ["1000", "1002", "1003", "1006"] {
        assert!(!painted.contains(&format!("\x1b[?{mouse}h")), "the mouse is left alone: {painted:?}");
    }
    assert!(!painted.contains(ELSEWHERE), "it went into the room: {painted:?}");
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "lines and echo are back: {modes:?}");
    assert_eq!(code, Some(101), "{painted:?}");
}

/// What the second run does. Whatever goes wrong here shows as another panic than the last one.
fn take_the_terminal_and_panic() -> ! {
    let mut screen = Screen::take().expect("a terminal");
    screen.draw(&mut App::new("den")).expect("drawn");
    let modes = tcgetattr(stdin()).expect("a terminal").local_modes;
    assert!(!modes.contains(LocalModes::ICANON), "the terminal is taken");
    assert!(thread::spawn(|| panic!("{ELSEWHERE}")).join().is_err());
    let note = screen.notes.try_recv().expect("a note");
    assert!(note.contains(ELSEWHERE) && !tcgetattr(stdin()).unwrap().local_modes.contains(LocalModes::ICANON));
    panic!("{DRAWS}")
}

/// Everything that was painted, how it ended, and the state of the terminal after that.
fn run_on_a_terminal() -> (String, Option<i32>, LocalModes) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let path = Path::new(OsStr::from_bytes(name.as_bytes()));
    let line = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut paint = File::from(master);
    let reader = thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::new(), [0; 4_096]);
        // The end of a terminal is an error.
        while let Ok(read @ 1..) = paint.read(&mut buffer) {
            all.extend_from_slice(&buffer[..read]);
        }
        all
    });
    let side = || Stdio::from(line.try_clone().unwrap());
    let mut again = Command::new("setsid");
    again.arg("--ctty").arg("--wait").arg(std::env::current_exe().unwrap());
    again.args(["--exact", "--nocapture", "--test-threads=1"]);
    again.arg("chat::panics::a_panic_of_who_draws_gives_the_terminal_back_and_one_elsewhere_is_a_note");
    again.env(ON_A_TERMINAL, "1").env("TERM", "xterm-256color").env("RUST_BACKTRACE", "0");
    let code = again.stdin(side()).stdout(side()).stderr(side()).status().unwrap().code();
    let modes = tcgetattr(&line).unwrap().local_modes;
    drop((line, again));
    (String::from_utf8_lossy(&reader.join().unwrap()).into_owned(), code, modes)
}
