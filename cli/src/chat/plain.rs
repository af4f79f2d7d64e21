//! Lines for pipes and screen readers: each once, complete, in the order in which they came.

use super::app::App;
use super::pane::Line;

/// Prints what is new.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// The first line that was not printed.
    next: u64,
}

impl Plain {
    /// The lines that have come since the last call.
    pub(crate) fn news(&mut self, app: &App) -> Vec<String> {
        let lines = app.pane.since(self.next).map(in_text).collect();
        self.next = app.pane.next_number();
        lines
    }
}

/// A line of the room as one of text. A text of several lines stays one entry: those behind the first are indented.
fn in_text(line: &Line) -> String {
    format!("{}{}", line.head(), line.text.join("\n      "))
}
