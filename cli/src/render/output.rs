//! Standard output and the error line: the only places that write there.

use super::text::printable_lines;
use crate::exit::{Exit, Failure, OrExit};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::sync::Mutex;
use swarm_proto::path::is_deceptive;
use tokio::sync::mpsc;

/// Where notes go while a room has the terminal.
static DIVERTED: Mutex<Option<mpsc::Sender<String>>> = Mutex::new(None);

/// Writes a result and a line feed to standard output. Nobody reading any more is [`Exit::Done`]: whoever closed the
/// pipe has seen enough.
pub(crate) fn result(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let written =
        output.write_all(text.as_bytes()).and_then(|()| output.write_all(b"\n")).and_then(|()| output.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::new(Exit::Done, "nobody reads the output"),
        _ => Failure::new(Exit::Disk, format!("standard output: {error}")),
    })
}

/// Writes a value as JSON on one line. What a terminal would obey is escaped.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    result(&escaped(&serde_json::to_string(value).or_exit(Exit::Other)?))
}

/// Tells why the command failed, with all causes, on standard error. A failure that is no error says nothing.
pub(crate) fn failure(failure: &Failure) {
    if failure.exit != Exit::Done {
        note(&format!("swarm: {}", causes(&failure.error)));
    }
}

/// The error and its causes, without those that the text before them has said already.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.is_empty() {
        true => cause,
        false if text.contains(&cause) => text,
        false => format!("{text}: {cause}"),
    })
}

/// From now on notes go there instead of to standard error; `None`: no longer.
pub(crate) fn divert(to: Option<mpsc::Sender<String>>) {
    if let Ok(mut diverted) = DIVERTED.lock() {
        *diverted = to;
    }
}

/// Writes a line to standard error, safe for a terminal; that nobody reads it is no reason to fail.
pub(crate) fn note(text: &str) {
    let diverted = DIVERTED.lock().ok().and_then(|diverted| diverted.clone());
    if let Some(diverted) = diverted {
        // A room that is flooded with notes loses some.
        let _full = diverted.try_send(text.to_owned());
        return;
    }
    let _nobody_reads = writeln!(io::stderr().lock(), "{}", printable_lines(text));
}

/// JSON in which harmful characters stand as `\u` escapes. Outside of strings there are none.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if !is_deceptive(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _infallible = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cause_is_told_twice() {
        let error = anyhow::anyhow!("no such file").context("cannot open: no such file").context("x.meta");
        assert_eq!(causes(&error), "x.meta: cannot open: no such file");
    }

    #[test]
    fn json_is_harmless_and_means_the_same() {
        let text = "a\x1b\u{9b}\u{202e}\n\"é";
        let json = escaped(&serde_json::to_string(text).unwrap());
        assert!(!json.chars().any(is_deceptive), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
