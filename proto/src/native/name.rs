//! Names in the catalogue, and the tokens that own them.

use crate::limits;
use crate::path::is_deceptive;
use std::fmt;

/// A name in the catalogue: 1 to 255 bytes of UTF-8 that are safe to show and could be the name of one file.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Name(String);

/// Why a text is no name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// Empty, or over 255 bytes.
    #[error("a name has 1 to {} bytes", limits::NATIVE_NAME_LENGTH)]
    Length,
    /// A control character, a separator of paths, or a character that is invisible or changes the direction of text.
    #[error("a name has no {0:?} in it")]
    Character(char),
    /// `.` or `..`.
    #[error("a name is not . or ..")]
    Dots,
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > limits::NATIVE_NAME_LENGTH {
            return Err(NameError::Length);
        }
        if let Some(wrong) = text.chars().find(|&wrong| is_deceptive(wrong) || matches!(wrong, '/' | '\\')) {
            return Err(NameError::Character(wrong));
        }
        if matches!(text, "." | "..") {
            return Err(NameError::Dots);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What proves that a name is one's own: 16 bytes, a secret between publisher and tracker.
///
/// Its equality takes the same time whatever the bytes are, so that a guess learns nothing; its `Debug` shows nothing.
#[derive(Clone, Copy)]
pub struct Token([u8; Token::LENGTH]);

impl Token {
    /// Bytes of a token.
    pub const LENGTH: usize = 16;

    /// A token of these bytes; they should come from the randomness of the operating system.
    pub const fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be sent or stored; not to be logged.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// Reads 32 hexadecimal digits, as [`Token::to_hex`] writes them.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * Self::LENGTH || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|value| Self(value.to_be_bytes()))
    }

    /// 32 lower-case hexadecimal digits, to be kept by the user.
    pub fn to_hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |seen, (one, two)| seen | (one ^ two));
        std::hint::black_box(difference) == 0
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_to_show_and_to_store() {
        for good in ["a", "Übung 1.iso", "...", "-rf", " ", &"x".repeat(255)] {
            assert_eq!(Name::new(good).as_ref().map(Name::as_str), Ok(good));
        }
        assert_eq!(Name::new(""), Err(NameError::Length));
        assert_eq!(Name::new(&"ü".repeat(128)), Err(NameError::Length));
        assert_eq!(Name::new(".."), Err(NameError::Dots));
        for bad in ['/', '\\', '\0', '\n', '\x1b', '\x7f', '\u{85}', '\u{202e}', '\u{2066}', '\u{2029}', '\u{200b}'] {
            assert_eq!(Name::new(&format!("a{bad}b")), Err(NameError::Character(bad)));
        }
    }

    #[test]
    fn tokens_compare_by_every_byte_and_stay_secret() {
        let token = Token::new(*b"0123456789abcdef");
        assert_eq!(Token::from_hex(&token.to_hex()), Some(token));
        for at in 0..Token::LENGTH {
            let mut other = *token.as_bytes();
            other[at] ^= 0x80;
            assert!(token != Token::new(other), "byte {at}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(Token::from_hex("+1"), None);
        assert_eq!(Token::from_hex(&"+1".repeat(16)), None);
    }
}
