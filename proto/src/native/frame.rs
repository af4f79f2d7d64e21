//! Framing: opcode, length, body; and the error that knows what it costs.

use super::fields::{FieldError, Fields, scan};
use super::request::RequestId;
use super::response::{Refusal, RefusalCode};
use crate::bencode::Item;
use crate::limits;

/// Bytes in front of a body: the opcode and the length of the whole frame.
pub const HEADER_LENGTH: usize = 5;

/// Who sent a frame; the same opcode means different things from each side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sender {
    /// A peer, or a client that only reads the catalogue.
    Peer,
    /// The tracker.
    Tracker,
}

/// A whole frame, not yet looked into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// One printable ASCII character.
    pub opcode: u8,
    /// A bencoded dictionary; empty stands for an empty one.
    pub body: &'a [u8],
}

impl Frame<'_> {
    pub(super) fn is_known(&self, sender: Sender) -> bool {
        let known: &[u8] = match sender {
            Sender::Peer => b"OFDXPGLARWMS",
            Sender::Tracker => b"YNFPLAWM",
        };
        known.contains(&self.opcode)
    }
}

/// What stands at the front of the received bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded<'a> {
    /// A frame, and the bytes that it took, header included.
    Frame(Frame<'a>, usize),
    /// So many bytes must be there, counted from the front, before decoding can go on. Within the opcode's bound.
    Incomplete(usize),
}

/// What follows from an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Consequence {
    /// A tracker answers with `N`; the connection goes on behind the frame.
    Answer,
    /// A tracker answers with `N`, then closes: the next frame cannot be found.
    AnswerAndClose,
    /// The other side does not speak this protocol: the connection closes without a word.
    Close,
}

/// A frame or a message that breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text}")]
pub struct NativeError {
    /// The request that it was about, if that much could be read.
    pub id: Option<RequestId>,
    /// What an `N` about it says.
    pub code: RefusalCode,
    /// The broken rule, for people.
    pub text: String,
    /// Whether it may be answered, and whether the connection must end.
    pub consequence: Consequence,
}

impl NativeError {
    pub(super) fn malformed(id: Option<RequestId>, error: &FieldError) -> Self {
        let (code, consequence) = (RefusalCode::Malformed, Consequence::Answer);
        Self { id, code, text: error.to_string(), consequence }
    }

    /// Whatever the body is: a later version may have another form for it. Its id is told if it can be read.
    pub(super) fn unknown_opcode(frame: &Frame<'_>) -> Self {
        let id = scan(frame.body).ok().and_then(|document| Fields(document.root()).request_id().ok().flatten());
        let text = format!("unknown opcode {}", char::from(frame.opcode));
        Self { id, code: RefusalCode::UnknownOpcode, text, consequence: Consequence::Answer }
    }

    /// The `N` that tells the other side, where it may be told.
    pub fn refusal(&self) -> Option<Refusal> {
        match self.consequence {
            Consequence::Close => None,
            Consequence::Answer | Consequence::AnswerAndClose => Some(Refusal::new(self.code, &self.text)),
        }
    }
}

/// Bytes that a frame with this opcode may have, header included. An unknown opcode may come from a later version, so
/// its frame is bounded and skipped.
pub fn frame_length_limit(opcode: u8, sender: Sender) -> usize {
    match (sender, opcode) {
        (Sender::Peer, b'D') => limits::NATIVE_METAINFO_LENGTH + limits::NATIVE_SHORT_FRAME_LENGTH,
        (Sender::Tracker, b'F') => limits::NATIVE_METAINFO_LENGTH + limits::NATIVE_FRAME_LENGTH,
        (_, b'M') => limits::NATIVE_RELAY_FRAME_LENGTH,
        (Sender::Peer, b'O' | b'F' | b'X' | b'P' | b'G' | b'L' | b'A' | b'R' | b'W' | b'S')
        | (Sender::Tracker, b'N' | b'A' | b'W') => limits::NATIVE_SHORT_FRAME_LENGTH,
        _ => limits::NATIVE_FRAME_LENGTH,
    }
}

/// Reads the frame at the front of `bytes`.
///
/// # Errors
/// When the opcode is no printable character ([`Consequence::Close`]), or the length is shorter than the header or over
/// the opcode's bound ([`Consequence::AnswerAndClose`]); both as soon as the header is there, before a body is waited for.
pub fn decode(bytes: &[u8], sender: Sender) -> Result<Decoded<'_>, NativeError> {
    let Some((&opcode, rest)) = bytes.split_first() else { return Ok(Decoded::Incomplete(HEADER_LENGTH)) };
    if !opcode.is_ascii_graphic() {
        let text = format!("byte {opcode:#04x} is no opcode");
        return Err(NativeError { id: None, code: RefusalCode::Malformed, text, consequence: Consequence::Close });
    }
    let Some((length, _)) = rest.split_first_chunk::<4>() else { return Ok(Decoded::Incomplete(HEADER_LENGTH)) };
    let length = u32::from_be_bytes(*length) as usize;
    let limit = frame_length_limit(opcode, sender);
    if !(HEADER_LENGTH..=limit).contains(&length) {
        let text = format!("a frame {} of {length} bytes; {HEADER_LENGTH} to {limit} are allowed", char::from(opcode));
        let consequence = Consequence::AnswerAndClose;
        return Err(NativeError { id: None, code: RefusalCode::FrameLength, text, consequence });
    }
    match bytes.get(HEADER_LENGTH..length) {
        Some(body) => Ok(Decoded::Frame(Frame { opcode, body }, length)),
        None => Ok(Decoded::Incomplete(length)),
    }
}

/// A frame's bytes. Our own messages stay within the bounds: their variable parts are bounded where they are made.
pub(super) fn encode(opcode: u8, entries: Vec<(&'static str, Item)>) -> Vec<u8> {
    let mut out = vec![opcode, 0, 0, 0, 0];
    Item::dictionary(entries).encode_to(&mut out);
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.iter_mut().skip(1).zip(length).for_each(|(to, from)| *to = from);
    out
}
