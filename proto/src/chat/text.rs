//! Texts and names of strangers, made safe for a terminal.

use super::bytes::prefix;
use crate::limits;
use crate::path::{is_deceptive, printable};

/// A text: line feeds and tabs stay, nothing else that a terminal obeys or that turns the direction of writing.
pub(super) fn shown_text(raw: &str) -> String {
    printable(raw.as_bytes())
}

/// A name: one line without anything deceptive or invisible, without `#`, which stands between a name and its fingerprint,
/// without the mark of a registered name, and without what looks like either.
pub(super) fn shown_name(raw: &str) -> String {
    let shown = |c: char| match c {
        c if is_mark(c) => '_',
        c if is_deceptive(c) => char::REPLACEMENT_CHARACTER,
        c if c.is_whitespace() => ' ',
        c => c,
    };
    let visible = prefix(raw, limits::CHAT_NAME_LENGTH).chars().filter(|c| !is_ignorable(*c));
    let name: String = visible.map(shown).collect();
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.chars().all(|c| c == char::REPLACEMENT_CHARACTER) { "nameless".to_owned() } else { name }
}

/// What is the same name: case does not make another.
pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// Why nobody may choose a name: others would see another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameFault {
    /// Nothing of it can be seen.
    #[error("a name has something in it that can be seen")]
    Empty,
    /// Over 64 bytes.
    #[error("a name has at most {} bytes", limits::CHAT_NAME_LENGTH)]
    Length,
    /// `#`, a check mark, or what looks like one.
    #[error("a name has no {0} in it, for such marks stand behind names to tell people apart")]
    Mark(char),
    /// A control character, or one that changes the direction of writing.
    #[error("a name has no {0:?} in it")]
    Character(char),
    /// Two spaces together, or one that is no plain space.
    #[error("between the words of a name stands one plain space")]
    Space,
}

/// A name that one may choose for oneself, as others will see it.
///
/// # Errors
/// If they would see another.
pub fn chosen_name(raw: &str) -> Result<String, NameFault> {
    let visible: String = raw.chars().filter(|c| !is_ignorable(*c)).collect();
    let trimmed = visible.trim();
    if trimmed.chars().all(|c| c == char::REPLACEMENT_CHARACTER) {
        return Err(NameFault::Empty);
    }
    if trimmed.len() > limits::CHAT_NAME_LENGTH {
        return Err(NameFault::Length);
    }
    if let Some(mark) = trimmed.chars().find(|c| is_mark(*c)) {
        return Err(NameFault::Mark(mark));
    }
    if let Some(wrong) = trimmed.chars().find(|c| is_deceptive(*c)) {
        return Err(NameFault::Character(wrong));
    }
    if shown_name(trimmed) == trimmed { Ok(trimmed.to_owned()) } else { Err(NameFault::Space) }
}

/// Characters that show nothing wherever they stand (Unicode's `Default_Ignorable_Code_Point`, but for those that are
/// deceptive in texts too). Two names that differ only in them look the same, so they are left out, and the names are one.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}')
        || matches!(c, '\u{200c}' | '\u{200d}' | '\u{2061}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{3164}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}')
        || matches!(c, '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// What may be taken for `✓`, or for `#`.
fn is_mark(c: char) -> bool {
    let check = matches!(c, '\u{221a}' | '\u{237b}' | '\u{2611}' | '\u{2705}' | '\u{2713}' | '\u{2714}' | '\u{10102}')
        || matches!(c, '\u{1f5f8}' | '\u{1f5f9}' | '\u{1fbb1}');
    check || matches!(c, '#' | '\u{22d5}' | '\u{2317}' | '\u{266f}' | '\u{29e3}' | '\u{fe5f}' | '\u{ff03}')
}

/// Whether a name mixes alphabets whose letters look alike, or has letters that only exist to look like Latin ones: rooms mark no
/// such name as registered, whatever a tracker says. Names wholly of another alphabet are what most of the world uses; whether
/// one looks like somebody's is told by [`look_alike`](crate::likeness::look_alike).
pub fn looks_like_others(name: &str) -> bool {
    let alphabet = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Some('L'),
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Some('G'),
        '\u{400}'..='\u{52f}' => Some('C'),
        '\u{531}'..='\u{58f}' => Some('A'),
        '\u{13a0}'..='\u{13ff}' | '\u{ab70}'..='\u{abbf}' => Some('T'),
        // Phonetic, small capital, roman, double-struck, full-width, bold and the like.
        '\u{250}'..='\u{2af}' | '\u{1d00}'..='\u{1dbf}' | '\u{2100}'..='\u{218f}' | '\u{ff21}'..='\u{ff5a}' => {
            Some('?')
        }
        '\u{a720}'..='\u{a7ff}' | '\u{1d400}'..='\u{1d7ff}' | '\u{1f110}'..='\u{1f189}' => Some('?'),
        _ => None,
    };
    let mut alphabets = name.chars().filter_map(alphabet);
    alphabets.next().is_some_and(|first| first == '?' || alphabets.any(|other| other != first))
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
        assert_eq!(chosen_name(" Anna B. "), Ok("Anna B.".to_owned()));
        assert_eq!(chosen_name(&"x".repeat(64)), Ok("x".repeat(64)));
        let bad = [
            ("", NameFault::Empty),
            (" \u{ad} ", NameFault::Empty),
            ("\u{fffd}", NameFault::Empty),
            ("a#b", NameFault::Mark('#')),
            ("a＃b", NameFault::Mark('＃')),
            ("a\nb", NameFault::Character('\n')),
            ("a\u{202e}", NameFault::Character('\u{202e}')),
            ("a  b", NameFault::Space),
            ("a\u{a0}b", NameFault::Space),
            (&"x".repeat(65), NameFault::Length),
        ];
        for (bad, fault) in bad {
            assert_eq!(chosen_name(bad), Err(fault), "{bad:?}");
        }
        assert_eq!(NameFault::Length.to_string(), "a name has at most 64 bytes");
        assert_eq!(folded("ÄNNA"), folded("änna"));
    }

    #[test]
    fn no_name_hides_a_letter_or_imitates_the_mark_of_a_registered_one() {
        for hidden in ["a\u{200d}nna", "an\u{ad}na", "anna\u{fe0f}", "\u{3164}anna", "ann\u{e0061}a", "anna\u{2064}"] {
            assert_eq!(
                (shown_name(hidden).as_str(), chosen_name(hidden).as_deref()),
                ("anna", Ok("anna")),
                "{hidden:?}"
            );
        }
        assert_eq!((shown_name("\u{200d}"), chosen_name("\u{200d}")), ("nameless".to_owned(), Err(NameFault::Empty)));
        for mark in "✓✔✅☑√⍻🗸🗹🮱𐄂#＃﹟♯⋕⌗⧣".chars() {
            let name = format!("anna {mark}");
            assert_eq!((shown_name(&name).as_str(), chosen_name(&name)), ("anna _", Err(NameFault::Mark(mark))));
        }
    }

    #[test]
    fn names_that_mix_alphabets_are_known() {
        for plain in ["anna", "Zoë 7", "Łukasz", "Анна", "Άννα", "李雷", "أنا", "anna 李", "", "🦀", "Đặng"]
        {
            assert!(!looks_like_others(plain), "{plain}");
        }
        for mixed in ["аnna", "annа", "Αnna", "ａnna", "ａｎｎａ", "𝐚𝐧𝐧𝐚", "ɑnna", "ᴀnna", "ⅿax", "Ꭺnna"]
        {
            assert!(looks_like_others(mixed), "{mixed}");
        }
    }
}
