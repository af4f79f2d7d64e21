//! What a line says.

/// What `help` prints.
pub(super) const HELP: &str = "\
update PATH     publish a file or folder under its name, and serve it
delete NAME     take back what was published from here
get NAME        fetch a file of the catalogue; goes on while you type
list [PREFIX]   the catalogue: bytes, seeds, leechers, name
search TEXT     names with this in them, in upper or lower case
getpeer [NAME]  the peers of a file, or of the whole tracker
transfers       what is fetched and served from here
close           end this shell, and all that it fetches and serves
shutdown [FILE] close the tracker; FILE holds its admin token
help            this text";

/// The words that a line begins with, for completion.
pub(super) const WORDS: [&str; 10] =
    ["close", "delete", "get", "getpeer", "help", "list", "search", "shutdown", "transfers", "update"];

/// One line, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ShellCommand {
    Nothing,
    Update(String),
    Delete(String),
    Get(String),
    List(String),
    Search(String),
    Peers(Option<String>),
    Transfers,
    Close,
    Shutdown(Option<String>),
    Help,
    /// Why it was not understood.
    Wrong(String),
}

impl ShellCommand {
    /// Reads a line: a word, and behind it all the rest as one argument, for names have blanks in them. In the path of `update`
    /// a backslash takes the meaning of the character behind it, as completion writes it.
    pub(super) fn parse(line: &str) -> Self {
        let line = line.trim();
        let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = argument.trim().to_owned();
        let optional = |argument: String| (!argument.is_empty()).then_some(argument);
        match (word, argument.is_empty()) {
            ("", _) => Self::Nothing,
            ("list", _) => Self::List(argument),
            ("getpeer", _) => Self::Peers(optional(argument)),
            ("shutdown", _) => Self::Shutdown(optional(argument)),
            ("help", _) => Self::Help,
            ("transfers", true) => Self::Transfers,
            ("close" | "quit" | "exit", true) => Self::Close,
            ("update", false) => Self::Update(unescaped(&argument)),
            ("delete", false) => Self::Delete(argument),
            ("get", false) => Self::Get(argument),
            ("search", false) => Self::Search(argument),
            ("update" | "delete" | "get" | "search", true) => Self::Wrong(format!("{word} what? 'help' says more")),
            _ => Self::Wrong(format!("unknown command '{line}'; 'help' lists them")),
        }
    }

    /// Whether the shell may end by it: then nothing more is to be typed before that is known.
    pub(super) fn may_end(&self) -> bool {
        matches!(self, Self::Close | Self::Shutdown(_))
    }
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::new();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_a_word_and_the_rest() {
        let is = |line: &str, command: ShellCommand| assert_eq!(ShellCommand::parse(line), command, "{line}");
        is("  ", ShellCommand::Nothing);
        is(" get  a b.iso ", ShellCommand::Get("a b.iso".into()));
        is("update a\\ b\\\\c", ShellCommand::Update("a b\\c".into()));
        is("list", ShellCommand::List(String::new()));
        is("getpeer x", ShellCommand::Peers(Some("x".into())));
        is("getpeer", ShellCommand::Peers(None));
        is("shutdown", ShellCommand::Shutdown(None));
        is("exit", ShellCommand::Close);
        assert!(matches!(ShellCommand::parse("get"), ShellCommand::Wrong(_)));
        assert!(matches!(ShellCommand::parse("close now"), ShellCommand::Wrong(_)));
        assert!(matches!(ShellCommand::parse("frobnicate"), ShellCommand::Wrong(_)));
    }

    #[test]
    fn every_word_is_known_and_helped_with() {
        for word in WORDS {
            let unknown = format!("unknown command '{word}'");
            assert!(!matches!(ShellCommand::parse(word), ShellCommand::Wrong(text) if text.starts_with(&unknown)));
            assert!(HELP.lines().any(|line| line.split(' ').next() == Some(word)), "{word}");
        }
    }
}
