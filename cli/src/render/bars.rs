//! Progress bars on standard error, where that is a terminal; nothing elsewhere.

use super::output;
use super::text::{self, shortened};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};

/// Characters of a torrent's name on its bar. With the bar's own and a full remark they fill 80 columns.
const NAME_WIDTH: usize = 16;

/// Redraws a second.
const REDRAWS_PER_S: u8 = 8;

/// A bar of progress through a known amount.
const PROGRESS: &str = "{prefix} {bar:8.cyan/blue} {percent:>3}% {wide_msg}";

/// What the user sees while waiting. Clones are the same screen.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    bars: Option<MultiProgress>,
}

impl Screen {
    /// With bars if they are `wanted` and standard error is a terminal.
    pub(crate) fn new(wanted: bool) -> Self {
        let target = || ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_S);
        Self { bars: (wanted && stderr().is_terminal()).then(|| MultiProgress::with_draw_target(target())) }
    }

    /// Without bars.
    pub(crate) fn silent() -> Self {
        Self { bars: None }
    }

    /// Writes a line above the bars.
    pub(crate) fn note(&self, line: &str) {
        self.suspend(|| output::note(line));
    }

    /// Takes the bars away while something else is written.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    /// A bar through `total` bytes.
    pub(crate) fn bar(&self, name: &str, total: u64) -> Bar {
        let bar = ProgressBar::new(total);
        let Some(bars) = &self.bars else { return Bar { bar: ProgressBar::hidden() } };
        let bar = bars.add(bar);
        if let Ok(style) = ProgressStyle::with_template(PROGRESS) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(format!("{:NAME_WIDTH$}", shortened(name, NAME_WIDTH)));
        Bar { bar }
    }
}

/// One line of the screen; gone when dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// Shows that `done` of the bytes are through, and a remark.
    pub(crate) fn show(&self, done: u64, remark: String) {
        self.bar.set_message(remark);
        self.bar.set_position(done);
    }

    /// Shows that `done` bytes are through, with the mean rate so far.
    pub(crate) fn hashed(&self, done: u64) {
        let rate = text::mean_rate(done, self.bar.elapsed());
        self.show(done, format!("hashing {}", text::rate(rate)));
    }
}

impl Bar {
    /// Takes the line away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}
