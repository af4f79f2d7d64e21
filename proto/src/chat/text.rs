//! Texts and names of strangers, made safe for a terminal.

use super::bytes::prefix;
use crate::limits;
use crate::path::{is_deceptive, printable};

/// A text: line feeds and tabs stay, nothing else that a terminal obeys or that turns the direction of writing.
pub(super) fn shown_text(raw: &str) -> String {
    printable(raw.as_bytes())
}

/// A name: one line without anything deceptive, and without `#`, which stands between a name and its fingerprint.
pub(super) fn shown_name(raw: &str) -> String {
    let shown = |c: char| match c {
        '#' => '_',
        c if is_deceptive(c) => char::REPLACEMENT_CHARACTER,
        c if c.is_whitespace() => ' ',
        c => c,
    };
    let name: String = prefix(raw, limits::CHAT_NAME_LENGTH).chars().map(shown).collect();
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.chars().all(|c| c == char::REPLACEMENT_CHARACTER) { "nameless".to_owned() } else { name }
}

/// What makes two names one: case does not.
pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// A name that we may choose ourselves.
pub(super) fn chosen_name(raw: &str) -> Option<String> {
    let trimmed = raw.trim();
    let fine = !trimmed.is_empty() && trimmed.len() <= limits::CHAT_NAME_LENGTH && shown_name(trimmed) == trimmed;
    fine.then(|| trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left_of_names_and_texts() {
        let raw = "a\x1b[2Jb\u{202e}c\r\u{7}\u{9b}d\u{200b}\n\te\u{2066}";
        let text = shown_text(raw);
        assert_eq!(text, "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\u{fffd}\u{fffd}d\u{fffd}\n\te\u{fffd}");
        let name = shown_name(raw);
        assert!(name.chars().all(|c| !is_deceptive(c)), "{name:?}");
        assert_eq!(shown_name(" an  na#1 "), "an na_1");
        assert_eq!((shown_name("").as_str(), shown_name("\u{202e}\0").as_str()), ("nameless", "nameless"));
        assert!(shown_name(&"ü".repeat(99)).len() <= limits::CHAT_NAME_LENGTH);
    }

    #[test]
    fn a_name_of_our_own_looks_the_same_to_everybody() {
        assert_eq!(chosen_name(" Anna B. "), Some("Anna B.".to_owned()));
        for bad in ["", "  ", "a#b", "a\nb", "a\u{202e}", &"x".repeat(65)] {
            assert_eq!(chosen_name(bad), None, "{bad:?}");
        }
        assert_eq!(folded("ÄNNA"), folded("änna"));
    }
}
