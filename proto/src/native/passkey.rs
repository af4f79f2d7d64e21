//! The key by which a private tracker knows who may use it.

use crate::limits::PASSKEY_LENGTH;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The key of somebody at a private tracker: 1 to 64 letters, digits and `-_.~`, all of which stand in a URL as they are. Its
/// `Debug` shows nothing; clones share it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Passkey(Arc<str>);

/// A text is no [`Passkey`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a key is 1 to {PASSKEY_LENGTH} letters, digits and -_.~")]
pub struct PasskeyError;

impl Passkey {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes of its text.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Passkey {
    type Err = PasskeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let good = (1..=PASSKEY_LENGTH).contains(&text.len()) && text.bytes().all(usual);
        if good { Ok(Self(text.into())) } else { Err(PasskeyError) }
    }
}

impl fmt::Debug for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passkey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_urls_as_they_are_and_are_not_logged() {
        let longest = "k".repeat(64);
        for good in ["a", "5f3ac0de", "A-b_c.d~", &longest] {
            let key: Passkey = good.parse().unwrap();
            assert_eq!((key.as_str(), key.as_bytes()), (good, good.as_bytes()));
            assert_eq!(format!("{key:?}"), "Passkey(…)");
        }
        for bad in ["", "a b", "a/b", "a%20", "ä", "a\0", &"k".repeat(65)] {
            assert_eq!(bad.parse::<Passkey>(), Err(PasskeyError), "{bad}");
        }
    }
}
