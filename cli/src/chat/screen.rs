//! The terminal: taken over for a room, and given back on every way out.
//!
//! Ways out are the end of [`Screen`], a panic of the thread that draws, and [`restore`], which whoever ends the process
//! by force calls before. While the terminal is taken, what would be written to standard error goes to the room instead.

use super::app::App;
use super::draw::draw;
use crate::exit::{Exit, Failure, OrExit};
use crate::render::output;
use crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{cursor, execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use std::io::{self, BufWriter, IsTerminal, Stdout, stdin, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;

/// Keys that wait while the room is busy.
const KEYS: usize = 256;

/// Notes that wait; more than anybody reads at once.
const NOTES: usize = 256;

/// Bytes of a large terminal's picture, with all its colours.
const FRAME: usize = 256 * 1024;

/// How long the reader of keys goes without looking whether the terminal is still ours.
const LOOK: Duration = Duration::from_millis(100);

/// Whether the terminal is taken over.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, as long as this lives.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    /// Keys, pasted text and changes of the size.
    pub(crate) events: mpsc::Receiver<Event>,
    /// What would have been written to standard error.
    pub(crate) notes: mpsc::Receiver<String>,
}

/// Whether somebody sits at a terminal.
pub(crate) fn is_there() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

impl Screen {
    /// Takes the terminal over.
    pub(crate) fn take() -> Result<Self, Failure> {
        restore_when_panicking();
        TAKEN.store(true, Ordering::SeqCst);
        let opened = enable_raw_mode().and_then(|()| {
            execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste)?;
            Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(FRAME, stdout())))
        });
        let terminal = opened.inspect_err(|_| restore()).or_exit_while(Exit::Other, "terminal")?;
        let (sender, events) = mpsc::channel(KEYS);
        thread::spawn(move || read_events(&sender));
        let (sender, notes) = mpsc::channel(NOTES);
        output::divert(Some(sender));
        Ok(Self { terminal, events, notes })
    }

    /// Paints the room.
    pub(crate) fn draw(&mut self, app: &mut App) -> io::Result<()> {
        // One picture, one write: the terminal never shows half of it, or a cursor on its way.
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| draw(frame, app))?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    /// The next [`Self::draw`] paints every cell.
    pub(crate) fn forget(&mut self) {
        // What cannot be cleared cannot be drawn either, and that is told.
        let _told_by_draw = self.terminal.clear();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        // What nobody has seen yet is told now.
        while let Ok(note) = self.notes.try_recv() {
            output::note(&note);
        }
    }
}

/// Gives the terminal back, if it was taken. May be called by anybody, at any time, any number of times.
pub(crate) fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        output::divert(None);
        // There is nobody left to tell.
        let _gone =
            execute!(stdout(), EndSynchronizedUpdate, DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
        let _gone = disable_raw_mode();
    }
}

/// A panic of the thread that draws gives the terminal back before it is told. Those of other threads are notes, for
/// their tasks end and the room goes on.
fn restore_when_panicking() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        let drawing = thread::current().id();
        panic::set_hook(Box::new(move |info| {
            if thread::current().id() == drawing {
                restore();
            }
            if TAKEN.load(Ordering::SeqCst) { output::note(&info.to_string()) } else { usual(info) }
        }));
    });
}

/// Reads keys until the terminal is given back or is gone. A thread of its own, since it waits.
fn read_events(sender: &mpsc::Sender<Event>) {
    while TAKEN.load(Ordering::SeqCst) {
        let event = match event::poll(LOOK) {
            Ok(true) => event::read(),
            Ok(false) => continue,
            Err(error) => Err(error),
        };
        let Ok(event) = event else { return };
        // The end of the channel tells the room, and that of the room this thread.
        if sender.blocking_send(event).is_err() {
            return;
        }
    }
}
