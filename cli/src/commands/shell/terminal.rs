//! Where lines come from and answers go: a terminal with an editor, or plain pipes.
//!
//! On a terminal everything is printed through the editor's own printer, which puts it above the line that is being typed and
//! draws that line again. So nothing ever cuts through it.

use super::command::{ShellCommand, WORDS};
use crate::exit::{Exit, Failure, OrExit};
use crate::render::{output, text};
use crate::state;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter, Helper};
use std::io::{BufRead, IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::sync::mpsc;

const PROMPT: &str = "swarm> ";
/// Lines of history that are kept.
const HISTORY: usize = 1_000;
/// Lines that may be typed or piped ahead.
const AHEAD: usize = 16;
/// Names that completion knows.
const NAMES: usize = 5_000;

/// Names of the catalogue, for completion. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownNames(Arc<Mutex<Vec<String>>>);

impl KnownNames {
    /// Adds a name, unless there are too many already.
    pub(super) fn add(&self, name: &str) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < NAMES && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    fn beginning_with(&self, prefix: &str) -> Vec<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().filter(|name| name.starts_with(prefix)).cloned().collect()
    }
}

/// Prints lines. Clones print to the same place.
#[derive(Clone)]
pub(super) struct Printer(Option<Arc<Mutex<Box<dyn ExternalPrinter + Send>>>>);

impl Printer {
    /// Prints text that is safe for a terminal, and a line break.
    pub(super) fn print(&self, text: &str) -> Result<(), Failure> {
        let Some(printer) = &self.0 else { return output::result(text) };
        let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
        printer.print(format!("{text}\n")).or_exit(Exit::Disk)
    }

    /// Tells what went wrong: into the terminal, or on standard error.
    pub(super) fn complain(&self, failure: &Failure) {
        match &self.0 {
            None => output::failure(failure),
            Some(_) => drop(self.print(&text::printable_lines(&output::causes(&failure.error)))),
        }
    }
}

/// The lines that are typed or piped, until they end.
pub(super) struct Lines {
    lines: mpsc::Receiver<String>,
    go_on: std::sync::mpsc::Sender<()>,
    /// As the terminal was; dropped last.
    _terminal: Option<Restored>,
}

impl Lines {
    /// The next line; `None` at the end of the input.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Lets lines be typed behind one that might have been the last.
    pub(super) fn go_on(&self) {
        // Fails when nobody types any more.
        let _ = self.go_on.send(());
    }
}

/// Leaves the terminal as it was, wherever the editor is interrupted.
struct Restored(Termios);

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// Begins to read lines, from an editor where there is a terminal.
pub(super) fn open(names: &KnownNames) -> Result<(Lines, Printer), Failure> {
    let (sender, lines) = mpsc::channel(AHEAD);
    let (go_on, waiting) = std::sync::mpsc::channel();
    if !stdin().is_terminal() || !stdout().is_terminal() {
        // Reading cannot be given up, so that thread ends with the process.
        thread::spawn(move || {
            let lines = stdin().lock().lines().map_while(Result::ok);
            lines.take_while(|line| sender.blocking_send(line.clone()).is_ok()).for_each(drop);
        });
        return Ok((Lines { lines, go_on, _terminal: None }, Printer(None)));
    }
    let terminal = tcgetattr(stdin()).ok().map(Restored);
    let config = Config::builder().completion_type(CompletionType::List).auto_add_history(true);
    let config = config.max_history_size(HISTORY).or_exit(Exit::Other)?.build();
    let mut editor: Editor<ShellHelper, FileHistory> = Editor::with_config(config).or_exit(Exit::Other)?;
    editor.set_helper(Some(ShellHelper { names: names.clone(), paths: FilenameCompleter::new() }));
    let printer = editor.create_external_printer().or_exit(Exit::Other)?;
    let history = state::history_file();
    if let Some(path) = &history {
        // There is none before the first time.
        let _ = editor.load_history(path);
    }
    thread::spawn(move || edit(editor, history, &sender, &waiting));
    let printer: Box<dyn ExternalPrinter + Send> = Box::new(printer);
    Ok((Lines { lines, go_on, _terminal: terminal }, Printer(Some(Arc::new(Mutex::new(printer))))))
}

fn edit(
    mut editor: Editor<ShellHelper, FileHistory>,
    history: Option<PathBuf>,
    lines: &mpsc::Sender<String>,
    go_on: &std::sync::mpsc::Receiver<()>,
) {
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(_) => return,
        };
        if let Some(path) = &history {
            let _ = editor.save_history(path);
        }
        let may_end = ShellCommand::parse(&line).may_end();
        if lines.blocking_send(line).is_err() || may_end && go_on.recv().is_err() {
            return;
        }
    }
}

/// Completion: words first, then names or paths.
struct ShellHelper {
    names: KnownNames,
    paths: FilenameCompleter,
}

impl Completer for ShellHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..pos).unwrap_or(line);
        let pair = |text: String| Pair { display: text::printable(&text), replacement: text };
        let Some((word, argument)) = typed.split_once(' ') else {
            let words = WORDS.iter().filter(|word| word.starts_with(typed));
            return Ok((0, words.map(|word| pair(format!("{word} "))).collect()));
        };
        match word {
            "update" | "shutdown" => self.paths.complete_path(line, pos),
            "get" | "delete" | "getpeer" | "list" => {
                let names = self.names.beginning_with(argument);
                Ok((word.len() + 1, names.into_iter().map(pair).collect()))
            }
            _ => Ok((pos, Vec::new())),
        }
    }
}

impl Hinter for ShellHelper {
    type Hint = String;
}

impl Highlighter for ShellHelper {}
impl Validator for ShellHelper {}
impl Helper for ShellHelper {}
