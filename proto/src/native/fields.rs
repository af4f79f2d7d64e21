//! The body of a frame: known keys are read strictly, unknown ones ignored.

use super::request::RequestId;
use crate::bencode::{Document, Kind, ScanLimits, Value};
use crate::id::HASH_LENGTH;
use crate::limits;
use crate::path::is_deceptive;

/// What is wrong with a body.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum FieldError {
    #[error("the body is no bencoded dictionary: {0}")]
    Body(String),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{key} is not {expected}")]
    Wrong { key: &'static str, expected: String },
}

/// Bodies without a metainfo are short; one with a metainfo is bounded by its frame.
const SCAN: ScanLimits = ScanLimits {
    bytes: limits::NATIVE_METAINFO_LENGTH + limits::NATIVE_FRAME_LENGTH,
    tokens: limits::NATIVE_TOKENS,
    depth: limits::NATIVE_DEPTH,
    trailing: false,
};

/// Checks a body; an empty one stands for an empty dictionary.
pub(super) fn scan(body: &[u8]) -> Result<Document<'_>, FieldError> {
    let body = if body.is_empty() { b"de" } else { body };
    let document = Document::scan(body, &SCAN).map_err(|error| FieldError::Body(error.to_string()))?;
    match document.root().kind() {
        Kind::Dictionary => Ok(document),
        _ => Err(FieldError::Body("another kind of value".into())),
    }
}

/// One dictionary: the body itself, or an entry of a list in it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'d>(pub(super) Value<'d>);

impl<'d> Fields<'d> {
    pub(super) fn bytes(self, key: &'static str) -> Result<Option<&'d [u8]>, FieldError> {
        self.read(key, "a string", |value| value.as_bytes())
    }

    pub(super) fn text(self, key: &'static str) -> Result<Option<&'d str>, FieldError> {
        self.read(key, "UTF-8 text", |value| value.as_str())
    }

    pub(super) fn number<T: TryFrom<u64>>(self, key: &'static str) -> Result<Option<T>, FieldError> {
        let expected = format!("an integer from 0 to {}", u64::MAX >> (64 - 8 * size_of::<T>().clamp(1, 8)));
        self.read(key, &expected, |value| value.as_u64()?.try_into().ok())
    }

    pub(super) fn array<const N: usize>(self, key: &'static str) -> Result<Option<[u8; N]>, FieldError> {
        self.read(key, &format!("a string of {N} bytes"), |value| value.as_bytes()?.try_into().ok())
    }

    pub(super) fn hash(self, key: &'static str) -> Result<Option<[u8; HASH_LENGTH]>, FieldError> {
        self.array(key)
    }

    pub(super) fn list(self, key: &'static str) -> Result<Vec<Value<'d>>, FieldError> {
        Ok(self.read(key, "a list", |value| value.items().map(Iterator::collect))?.unwrap_or_default())
    }

    pub(super) fn request_id(self) -> Result<Option<RequestId>, FieldError> {
        Ok(self.number("id")?.map(RequestId))
    }

    /// A value of a known key that `parse` does not take is an error; an absent key is not.
    pub(super) fn read<T>(
        self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(Value<'d>) -> Option<T>,
    ) -> Result<Option<T>, FieldError> {
        let Some(value) = self.0.get(key.as_bytes()) else { return Ok(None) };
        match parse(value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(FieldError::Wrong { key, expected: expected.to_owned() }),
        }
    }
}

/// An absent key that must be there is an error.
pub(super) fn required<T>(key: &'static str, value: Option<T>) -> Result<T, FieldError> {
    value.ok_or(FieldError::Missing(key))
}

/// Text from the other side: nothing in it may move a terminal's cursor or reorder a line.
pub(super) fn printable(text: &str) -> String {
    let safe = |character| if is_deceptive(character) { '.' } else { character };
    text.chars().take(limits::NATIVE_TEXT_LENGTH).map(safe).collect()
}
