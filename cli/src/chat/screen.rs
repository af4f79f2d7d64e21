//! The terminal: taken over for a room, and given back on every way out.
//!
//! Ways out are the end of [`Screen`], a panic of the thread that draws, and [`restore`], which whoever ends the process
//! by force calls before. While the terminal is taken, what would be written to standard error goes to the room instead.

use super::app::App;
use super::draw::draw;
use super::pictures::Art;
use super::pictures::terminal::{Cell, Graphics};
use crate::exit::{Exit, Failure, OrExit};
use crate::render::output;
use crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event};
use crossterm::style::Print;
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, window_size,
};
use crossterm::{cursor, execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write, stdin, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
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

/// Whether the terminal keeps a picture that clearing the screen does not take away.
static KEEPS_PICTURE: AtomicBool = AtomicBool::new(false);

/// The terminal, as long as this lives.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    /// Keys, pasted text and changes of the size.
    pub(crate) events: mpsc::Receiver<Event>,
    /// What would have been written to standard error.
    pub(crate) notes: mpsc::Receiver<String>,
    /// The picture on it, and where.
    painted: Option<(Arc<Art>, Position)>,
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
        Ok(Self { terminal, events, notes, painted: None })
    }

    /// Paints the room.
    pub(crate) fn draw(&mut self, app: &mut App) -> io::Result<()> {
        // One picture, one write: the terminal never shows half of it, or a cursor on its way.
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| draw(frame, app))?;
        self.paint(app)?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    /// The next [`Self::draw`] paints every cell.
    pub(crate) fn forget(&mut self) {
        // What cannot be cleared cannot be drawn either, and that is told.
        let _told_by_draw = self.clear();
    }

    /// Pixels of a cell, for pictures.
    pub(crate) fn cell(graphics: Graphics) -> Cell {
        let (cells, pixels) =
            window_size().map_or(((0, 0), (0, 0)), |size| ((size.columns, size.rows), (size.width, size.height)));
        Cell::of(cells, pixels, graphics)
    }

    /// Puts the picture that is open into its place, or takes away what is there no longer.
    fn paint(&mut self, app: &mut App) -> io::Result<()> {
        let wanted = app.album.to_paint();
        let same = match (&self.painted, &wanted) {
            (Some((art, at)), Some((other, there))) => Arc::ptr_eq(art, other) && at == there,
            (painted, wanted) => painted.is_none() && wanted.is_none(),
        };
        if same {
            return Ok(());
        }
        if self.painted.is_some() {
            // The cells below it are empty already, and would not be painted again.
            self.clear()?;
            self.terminal.draw(|frame| draw(frame, app))?;
        }
        if let Some((art, at)) = &wanted {
            KEEPS_PICTURE.store(art.graphics == Graphics::Kitty, Ordering::SeqCst);
            let backend = self.terminal.backend_mut();
            queue!(backend, cursor::SavePosition, cursor::MoveTo(at.x, at.y))?;
            backend.write_all(&art.bytes)?;
            queue!(backend, cursor::RestorePosition)?;
        }
        self.painted = wanted;
        Ok(())
    }

    /// Takes everything off the glass; the next frame is a whole one. Without asking the terminal where its cursor is, as
    /// the library does: the answer comes among the keys, and from some never.
    fn clear(&mut self) -> io::Result<()> {
        if let Some((art, _)) = self.painted.take() {
            KEEPS_PICTURE.store(false, Ordering::SeqCst);
            self.terminal.backend_mut().write_all(art.graphics.farewell().as_bytes())?;
        }
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
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
        if KEEPS_PICTURE.swap(false, Ordering::SeqCst) {
            let _gone = execute!(stdout(), Print(Graphics::Kitty.farewell()));
        }
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
