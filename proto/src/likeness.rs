//! Which names look alike.
//!
//! Owns what makes two names one for whoever reads them: the skeletons of Unicode's technical standard 39 and, since
//! case tells no two names apart, one skeleton in small letters and one in capitals. The tables are those of
//! `unicode-security`. What comes out is compared and never stored: with tables of a newer Unicode it may be another one.

use crate::limits;
use sha2::{Digest, Sha256};
use std::fmt;
use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

/// Bytes of a name that are looked at: twice of what a name may have, for names that were made safe may be longer. Each
/// byte costs well below a microsecond, each name a few.
const LOOKED_AT: usize = 2 * limits::CHAT_NAME_LENGTH;

/// How a name looks, in one of two ways. A hash, for some characters look like 18 others, and a tracker keeps many
/// names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Look([u8; 16]);

impl fmt::Debug for Look {
    /// 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How a name looks. Two names look alike if one of their [`looks`](Self::looks) is the same; then somebody may take one
/// for the other. Names that are equal but for case always do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Likeness {
    small: Look,
    capital: Look,
}

impl Likeness {
    /// How this name looks.
    pub fn of(name: &str) -> Self {
        let (small, capital) = shapes(name);
        Self { small: look(b"small\0", &small), capital: look(b"capital\0", &capital) }
    }

    /// What to look names up by.
    pub fn looks(&self) -> [Look; 2] {
        [self.small, self.capital]
    }

    /// Whether a name of this likeness may be taken for one of the other.
    pub fn is_like(&self, other: &Self) -> bool {
        self.small == other.small || self.capital == other.capital
    }
}

/// Whether one of two names may be taken for the other.
pub fn look_alike(one: &str, other: &str) -> bool {
    Likeness::of(one).is_like(&Likeness::of(other))
}

/// The name as it looks in small letters, and in capitals. Both are needed: `рау` in Cyrillic is `pay` in either, `ВОВА`
/// is `BOBA` only in capitals, and the Greek `ν` is a `v` only in small letters.
fn shapes(name: &str) -> (String, String) {
    let end = (0..=LOOKED_AT.min(name.len())).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    let plain = name.get(..end).unwrap_or_default().nfkc();
    // Once down and up: `ß`, `ẞ` and `SS` are one then, and so are `σ`, `ς` and `Σ`.
    let capital: String = plain.flat_map(char::to_lowercase).flat_map(char::to_uppercase).collect();
    let small: String = capital.chars().flat_map(char::to_lowercase).collect();
    (shape(&small), shape(&capital))
}

/// A capital `I` and `1` look like `l`, and case tells no names apart, so `i` is one of them too; `0` is `O` and `o` alike.
fn shape(name: &str) -> String {
    let bare: String = skeleton(name).flat_map(char::to_lowercase).collect();
    let shape: String = skeleton(&bare).map(|c| if c == 'i' { 'l' } else { c }).collect();
    shape.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn look(way: &[u8], shape: &str) -> Look {
    let digest = Sha256::new().chain_update(way).chain_update(shape).finalize();
    let mut look = [0; 16];
    look.iter_mut().zip(digest).for_each(|(to, byte)| *to = byte);
    Look(look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_are_known_whatever_their_alphabet_case_and_encoding() {
        let alike = [
            ("anna", "ANNA"),
            ("Änna", "A\u{308}nna"),
            ("pay", "рау"),
            ("Pay", "РАУ"),
            ("alice", "аӏісе"),
            ("AHHA", "АННА"),
            ("Boba", "Вова"),
            ("van", "νan"),
            ("paul", "pauI"),
            ("paul", "PAU1"),
            ("root", "r00t"),
            ("modern", "rnodem"),
            ("anna", "ａｎｎａ"),
            ("anna", "𝐚𝐧𝐧𝐚"),
            ("office", "oﬀice"),
            ("Straße", "STRASSE"),
            ("Οδός", "ΟΔΌΣ"),
            ("an na", "an \u{a0} na "),
            ("anna", "an\u{ad}na\u{fe0f}"),
            ("Đặng", "D\u{335}a\u{323}\u{306}ng"),
            ("ⅿax", "max"),
        ];
        for (one, other) in alike {
            assert!(look_alike(one, other) && look_alike(other, one), "{:?}", (shapes(one), shapes(other)));
        }
    }

    #[test]
    fn names_that_look_different_are_different() {
        let others = [
            ("anna", "anne"),
            ("anna", "an na"),
            ("Jose", "José"),
            ("Анна", "Anna"),
            ("Анна", "Алла"),
            ("van", "nan"),
            ("uma", "yma"),
            ("李雷", "李雪"),
            ("さくら", "ざくら"),
            ("bo", "bob"),
            ("", "a"),
        ];
        for (one, other) in others {
            assert!(!look_alike(one, other), "{one} {other}: {:?}", (shapes(one), shapes(other)));
        }
    }

    #[test]
    fn case_and_encoding_change_no_likeness_of_any_character() {
        let mut compared = 0;
        for c in '\0'..='\u{1ffff}' {
            let text = String::from(c);
            let others = [text.to_lowercase(), text.to_uppercase(), text.nfc().collect(), text.nfkd().collect()];
            for other in others.iter().filter(|other| **other != text) {
                compared += 1;
                assert_eq!(shapes(&text), shapes(other), "{c:?} {other:?}");
            }
        }
        assert!(compared > 15_000, "{compared} pairs");
    }

    #[test]
    fn no_name_costs_much() {
        let longest = ('\0'..='\u{1ffff}').map(|c| shapes(&String::from(c)).1.len() * LOOKED_AT / c.len_utf8()).max();
        assert!(longest < Some(2_000), "{longest:?} bytes");
        for (text, times) in [("\u{fdfa}", 1_000), ("\u{300}", 1_000), ("a\u{316}\u{300}", 10_000), ("ﬃ", 1_000_000)]
        {
            let (small, capital) = shapes(&text.repeat(times));
            assert!(small.len().max(capital.len()) <= 2_000, "{text}: {} {}", small.len(), capital.len());
        }
        assert_eq!(Likeness::of(&"x".repeat(LOOKED_AT)), Likeness::of(&"x".repeat(10 * LOOKED_AT)));
        assert_ne!(Likeness::of(&"x".repeat(LOOKED_AT)), Likeness::of(&"x".repeat(LOOKED_AT - 1)));
    }
}
