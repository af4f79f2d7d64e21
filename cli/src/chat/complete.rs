//! Completion with Tab: commands at the start of the line, names behind commands and in texts, paths behind a name.

use super::command::number;
use super::command::{COMMANDS, TAKE_NAMES};
use super::people::Directory;
use super::work::expanded;
use swarm_proto::path::is_deceptive;

/// Files of a folder that are looked at.
const LOOKED_AT: usize = 10_000;

/// Paths that are offered: more are a reason to type another letter.
const PATHS: usize = 50;

/// Completions of one beginning, through which Tab walks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Completion {
    /// What stands in front of what is completed.
    head: String,
    /// What stood behind the cursor.
    tail: String,
    candidates: Vec<String>,
    at: usize,
}

impl Completion {
    /// What can be made of the text in front of the cursor; `None` if nothing.
    pub(crate) fn of(before: &str, after: &str, people: &Directory) -> Option<Self> {
        let (head, candidates) = candidates(before, people);
        let completion = Self { head: head.to_owned(), tail: after.to_owned(), candidates, at: 0 };
        (!completion.candidates.is_empty()).then_some(completion)
    }

    /// The line as it is with the present candidate: in front of the cursor, and behind it.
    pub(crate) fn line(&self) -> (String, &str) {
        let candidate = self.candidates.get(self.at).map_or("", String::as_str);
        (format!("{}{candidate}", self.head), &self.tail)
    }

    /// Nothing else can be made of it: what comes next is another beginning.
    pub(crate) fn is_only_one(&self) -> bool {
        self.candidates.len() == 1
    }

    /// Goes on to the next candidate, or back.
    pub(crate) fn step(&mut self, back: bool) {
        let count = self.candidates.len().max(1);
        self.at = (self.at + if back { count - 1 } else { 1 }) % count;
    }

    /// All candidates, if there are several: for the line above.
    pub(crate) fn choices(&self) -> Option<String> {
        let names: Vec<&str> = self.candidates.iter().map(|candidate| candidate.trim_end()).collect();
        (names.len() > 1).then(|| names.join("  "))
    }
}

fn candidates<'t>(before: &'t str, people: &Directory) -> (&'t str, Vec<String>) {
    if before.starts_with('/') {
        let Some((command, rest)) = before.split_once(' ') else {
            let fitting = COMMANDS.iter().filter(|(command, ..)| command.len() > 2 && command.starts_with(before));
            return ("", fitting.map(|(command, ..)| format!("{command} ")).collect());
        };
        if command == "/send"
            && let Some(path) = path(rest, people)
        {
            return paths(before, path);
        }
        let head = before.get(..=command.len()).unwrap_or_default();
        let names = if TAKE_NAMES.contains(&command) { people.beginning(rest) } else { Vec::new() };
        return (head, names.into_iter().map(|name| quoted(&name)).collect());
    }
    let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let (head, word) = before.split_at(start);
    let behind = if head.is_empty() { ": " } else { " " };
    let names = if word.is_empty() { Vec::new() } else { people.beginning(word) };
    (head, names.into_iter().map(|name| format!("{name}{behind}")).collect())
}

/// What stands behind a name, if a name and a space are in front.
fn path<'t>(typed: &'t str, people: &Directory) -> Option<&'t str> {
    let (_, path) = people.find_first(typed).ok()?;
    typed.strip_suffix(path).is_some_and(|name| name.ends_with(' ')).then_some(path)
}

/// Files and folders that begin like this path, with which the text in front of the cursor ends.
fn paths<'t>(before: &'t str, path: &str) -> (&'t str, Vec<String>) {
    let (folder, start) = path.rfind('/').map_or(("", path), |at| path.split_at(at + 1));
    let head = before.strip_suffix(start).unwrap_or_default();
    let files = std::fs::read_dir(expanded(if folder.is_empty() { "./" } else { folder }));
    let named = files.into_iter().flatten().take(LOOKED_AT).flatten().filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        let is_meant = name.starts_with(start) && (start.starts_with('.') || !name.starts_with('.'));
        let behind = if file.path().is_dir() { "/" } else { "" };
        // What cannot be shown as it is cannot be typed either.
        (is_meant && !name.contains(is_deceptive)).then(|| format!("{name}{behind}"))
    });
    let mut named: Vec<String> = named.collect();
    named.sort_unstable();
    named.truncate(PATHS);
    (head, named)
}

/// A name as it stands behind a command.
fn quoted(name: &str) -> String {
    if name.contains(char::is_whitespace) || number(name).is_ok() { format!("\"{name}\" ") } else { format!("{name} ") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::person;
    use super::*;

    fn completed(before: &str) -> Vec<String> {
        let people = Directory::new(&[person("Ada", 1), person("Adam West", 2), person("Bo", 3)]);
        let Some(mut completion) = Completion::of(before, "!", &people) else { return Vec::new() };
        let first = completion.line().0;
        let mut lines = vec![first.clone()];
        loop {
            completion.step(false);
            let (line, tail) = completion.line();
            assert_eq!(tail, "!");
            if line == first {
                return lines;
            }
            lines.push(line);
        }
    }

    #[test]
    fn commands_and_names() {
        assert_eq!(completed("/h"), ["/hangup ", "/help "]);
        assert_eq!(completed("/msg a"), ["/msg Ada ", "/msg \"Adam West\" "]);
        assert_eq!(completed("/msg \"adam w"), ["/msg \"Adam West\" "]);
        assert_eq!(completed("b"), ["Bo: "]);
        assert_eq!(completed("ask b"), ["ask Bo "]);
        assert!(completed("").is_empty() && completed("/nick b").is_empty() && completed("x").is_empty());
    }

    #[test]
    fn paths_behind_a_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["My Film.mkv", "my.txt", ".hidden", "a\u{202e}b"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("My Files")).unwrap();
        let at = |typed: &str| format!("/send bo {}/{typed}", folder.path().display());
        assert_eq!(completed(&at("My")), [at("My Files/"), at("My Film.mkv")]);
        assert_eq!(completed(&at("")), [at("My Files/"), at("My Film.mkv"), at("my.txt")]);
        assert_eq!(completed(&at(".h")), [at(".hidden")]);
        assert!(completed(&at("none/x")).is_empty());
        assert_eq!(completed("/send \"adam west\" src/chat/comple"), ["/send \"adam west\" src/chat/complete.rs"]);
        assert_eq!(completed("/send b"), ["/send Bo "]);
    }

    #[test]
    fn back_and_forth() {
        let people = Directory::new(&[person("Ada", 1), person("Adam", 2)]);
        let mut completion = Completion::of("a", "", &people).unwrap();
        assert_eq!(completion.choices().unwrap(), "Ada:  Adam:");
        completion.step(true);
        assert_eq!(completion.line().0, "Adam: ");
        completion.step(true);
        assert_eq!(completion.line().0, "Ada: ");
    }
}
