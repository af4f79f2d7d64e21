//! A pseudo-terminal and what stands on it: a real program, a real terminal line, and an emulator in place of the glass.

use crate::support::PATIENCE;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A program on a terminal.
pub(crate) struct Glass {
    child: Child,
    keys: File,
    /// The other side, which the program holds too: whether it has been put back into its usual state is asked here.
    line: File,
    painted: Receiver<Vec<u8>>,
    parser: vt100::Parser,
    /// Everything that was painted.
    pub(crate) bytes: Vec<u8>,
}

impl Glass {
    /// Starts the command on a terminal of this size, in a session of its own.
    pub(crate) fn new(command: &Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes())).to_owned();
        tcsetwinsize(&master, size(rows, columns)).unwrap();
        let line = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let side = || Stdio::from(line.try_clone().unwrap());
        let mut inner = Command::new("setsid");
        inner.arg("--ctty").arg(command.get_program()).args(command.get_args());
        inner.current_dir(command.get_current_dir().unwrap()).env("TERM", "xterm-256color");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inner.env(name, value),
                None => inner.env_remove(name),
            };
        }
        let child = inner.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        let keys = File::from(master);
        let mut paint = keys.try_clone().unwrap();
        let (sender, painted) = channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 4_096];
            while let Ok(read) = paint.read(&mut buffer) {
                if read == 0 || sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            keys,
            line,
            painted,
            parser: vt100::Parser::new(cells(rows), cells(columns), 0),
            bytes: Vec::new(),
        }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the size of the window.
    pub(crate) fn resize(&mut self, rows: u16, columns: u16) {
        self.parser.screen_mut().set_size(cells(rows), cells(columns));
        tcsetwinsize(&self.keys, size(rows, columns)).unwrap();
    }

    /// What stands on the glass, without spaces at the ends.
    pub(crate) fn rows(&self) -> Vec<String> {
        let (_, columns) = self.parser.screen().size();
        self.parser.screen().rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
    }

    /// Row and column of the cursor.
    pub(crate) fn cursor(&self) -> (u16, u16) {
        self.parser.screen().cursor_position()
    }

    /// Whether the program has the whole terminal.
    pub(crate) fn is_taken(&self) -> bool {
        self.parser.screen().alternate_screen()
    }

    /// Whether the terminal shows what is typed and lets Ctrl-C through, as a shell expects it.
    pub(crate) fn is_usual(&self) -> bool {
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        use rustix::termios::LocalModes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Paints until the condition holds.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.painted.recv_timeout(left) {
                Ok(bytes) => {
                    self.parser.process(&bytes);
                    self.bytes.extend_from_slice(&bytes);
                }
                Err(error) => panic!("{what}: {error}; the screen:\n{}", self.rows().join("\n")),
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the end; gives the exit code, or none if a signal killed it.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Ok(bytes) = self.painted.try_recv() {
                self.parser.process(&bytes);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                // What it painted last may still be on its way.
                while let Ok(bytes) = self.painted.recv_timeout(Duration::from_millis(50)) {
                    self.parser.process(&bytes);
                }
                return status.code();
            }
            assert!(Instant::now() < deadline, "hangs:\n{}", self.rows().join("\n"));
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Glass {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
