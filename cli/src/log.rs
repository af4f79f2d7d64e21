//! The log on standard error: `[level][time] text` for people, one JSON object a line for collectors.

use crate::render::bars::Screen;
use crate::render::text::{moment, printable};
use std::fmt::{self, Write as _};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};
use swarm_tracker_native::LogRing;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that the console of a tracker can show again.
const REMEMBERED_LINES: usize = 1_000;

/// What is told of as much as is asked for.
const OURS: [&str; 7] = [
    "swarm",
    "swarm_engine",
    "swarm_tracker_core",
    "swarm_tracker_http",
    "swarm_tracker_native",
    "swarm_tracker_redis",
    "swarm_tracker_udp",
];

/// The form of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// `[level][time] text`.
    Text,
    /// One JSON object.
    Json,
}

/// What is logged without any `-v`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Usual {
    /// Errors: the command shows in other ways what it does.
    Errors,
    /// What happens: the log is all that a service shows.
    Info,
}

/// Starts logging for the rest of the process; `verbose` counts the `-v`. Lines go through `screen`, if there is one,
/// so that they do not tear its bars; the last of them are remembered for the console of a tracker.
pub(crate) fn start(usual: Usual, verbose: u8, form: Form, screen: Option<&Screen>) -> LogRing {
    let level = match (usual, verbose) {
        (Usual::Errors, 0) => Level::ERROR,
        (Usual::Errors, 1) | (Usual::Info, 0) => Level::INFO,
        (Usual::Errors, 2) | (Usual::Info, 1) => Level::DEBUG,
        _ => Level::TRACE,
    };
    // The libraries below would drown a verbose run in their messages.
    let others = LevelFilter::from_level(if level == Level::TRACE { Level::DEBUG } else { level.min(Level::WARN) });
    let filter = Targets::new().with_default(others).with_targets(OURS.map(|target| (target, level)));
    let recent = LogRing::new(REMEMBERED_LINES);
    let lines = Lines { screen: screen.cloned(), recent: recent.clone() };
    let registry = tracing_subscriber::registry().with(filter);
    let format = tracing_subscriber::fmt::layer().with_writer(lines);
    let started = match form {
        Form::Text => registry.with(format.event_format(Text)).try_init(),
        Form::Json => registry.with(format.json().flatten_event(true)).try_init(),
    };
    debug_assert!(started.is_ok(), "logging starts once");
    recent
}

/// Where lines go: the screen and the memory.
#[derive(Clone, Debug)]
struct Lines {
    screen: Option<Screen>,
    recent: LogRing,
}

impl io::Write for Lines {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(buffer).lines() {
            self.recent.push(line);
            self.screen.iter().for_each(|screen| screen.note(line));
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The form `[level][time] text`.
struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let text = printable(&format!("{}{}", fields.message, fields.others));
        writeln!(writer, "[{level}][{}] {text}", now())
    }
}

/// The message of an event, and its other fields behind it.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _infallible = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
    }
}

/// The present moment (UTC).
fn now() -> String {
    moment(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_safe_and_remembered() {
        let recent = LogRing::new(REMEMBERED_LINES);
        let lines = Lines { screen: None, recent: recent.clone() };
        let format = tracing_subscriber::fmt::layer().with_writer(lines).event_format(Text);
        let subscriber = tracing_subscriber::registry().with(format);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(peer = "1.2.3.4:5", "hello\x1b[31m\nworld");
            tracing::warn!("second");
        });
        let [first, second] = recent.last(2).try_into().unwrap();
        assert!(
            first.starts_with("[info][2") && first.ends_with("Z] hello\u{FFFD}[31m\u{FFFD}world peer=\"1.2.3.4:5\""),
            "{first}"
        );
        assert!(second.starts_with("[warn]["));
        assert_eq!(recent.last(1), [second]);
    }
}
