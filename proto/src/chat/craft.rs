//! Bytes that another program could send: for tests, fuzzing and those who write another implementation.
//!
//! A [`Room`](super::Room) makes its own. Nothing here checks what it is asked for, so that wrong bytes can be made too.

use super::contract::MessageId;
use super::envelope::{Body, Envelope};
use super::frame::{Decoded, Frame};
use super::identity::{Identity, PublicKey};
use super::payload::Payload;
use crate::id::InfoHash;
use bytes::Bytes;

/// What a signed message says of itself.
#[derive(Clone, Debug)]
pub struct Head {
    /// For which room.
    pub room: InfoHash,
    /// Grows with each message of an author.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub time_ms: u64,
}

/// A message to the room.
pub fn say(head: &Head, author: &Identity, parents: &[MessageId], name: &str, text: &str) -> (MessageId, Bytes) {
    seal(head, author, Body::Say { parents: parents.to_vec(), name: name.to_owned(), text: text.to_owned() })
}

/// A notice of presence, with the author's own key for encryption.
pub fn presence(head: &Head, author: &Identity, here: bool, name: &str) -> (MessageId, Bytes) {
    seal(head, author, Body::Presence { noise_key: *author.noise_public(), here, name: name.to_owned() })
}

/// A message to one person, with any payload.
pub fn direct(head: &Head, author: &Identity, to: PublicKey, payload: Bytes) -> (MessageId, Bytes) {
    seal(head, author, Body::Direct { to, payload })
}

fn seal(head: &Head, author: &Identity, body: Body) -> (MessageId, Bytes) {
    let envelope = Envelope { author: author.public(), sequence: head.sequence, time_ms: head.time_ms, body };
    envelope.seal(&head.room, author)
}

/// The payload of `sw_chat` that brings a message as news.
pub fn push(hops: u8, message: Bytes) -> Bytes {
    Frame::Push { hops, message }.encode()
}

/// The payload of `sw_chat` that brings a message that was asked for.
pub fn past(message: Bytes) -> Bytes {
    Frame::Past { message }.encode()
}

/// The payload of `sw_chat` that asks for what one lacks.
pub fn have(age_s: u32, ids: Vec<MessageId>) -> Bytes {
    Frame::Have { age_s, ids }.encode()
}

/// The payload of `sw_chat` that tells of messages.
pub fn know(ids: Vec<MessageId>) -> Bytes {
    Frame::Know(ids).encode()
}

/// The payload of `sw_chat` that asks for messages.
pub fn want(ids: Vec<MessageId>) -> Bytes {
    Frame::Want(ids).encode()
}

/// The payload of `sw_chat` that brings a message for one person.
pub fn route(hops: u8, message: Bytes) -> Bytes {
    Frame::Route { hops, message }.encode()
}

/// The payload of `sw_chat` that says that this was all, and what is older.
pub fn given(ids: Vec<MessageId>) -> Bytes {
    Frame::Given(ids).encode()
}

/// What a payload of `sw_chat` was understood as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Understood {
    /// The frame, written again.
    pub payload: Bytes,
    /// The message in it, if there is one that is none of a later version.
    pub message: Option<UnderstoodMessage>,
}

/// What a message was understood as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnderstoodMessage {
    /// Its id.
    pub id: MessageId,
    /// Who is said to have written it.
    pub author: PublicKey,
    /// Whether that is so.
    pub genuine: bool,
    /// All but the signature, written again.
    pub content: Bytes,
    /// What it brings to one person, written again, if that is understood.
    pub direct: Option<Vec<u8>>,
}

/// Reads a payload as a room does. `None` if it is malformed or of a later version.
pub fn understand(room: &InfoHash, payload: &Bytes) -> Option<Understood> {
    let Decoded::Frame(frame) = Frame::decode(payload) else { return None };
    let message = match &frame {
        Frame::Push { message, .. } | Frame::Past { message } | Frame::Route { message, .. } => Some(message),
        Frame::Have { .. } | Frame::Know(_) | Frame::Want(_) | Frame::Given(_) => None,
    };
    let message = message.and_then(|message| Envelope::parse(room, message)).map(|read| {
        // Whoever signs it again signs other bytes behind the same content.
        let (_, again) = read.envelope.seal(room, &Identity::from_secret([0; 32]));
        let direct = match &read.envelope.body {
            Body::Direct { payload, .. } => Payload::parse(payload).map(|payload| payload.encode()),
            Body::Say { .. } | Body::Presence { .. } => None,
        };
        UnderstoodMessage {
            id: read.id,
            author: read.envelope.author,
            genuine: read.is_genuine(room),
            content: again.slice(..again.len() - 64),
            direct,
        }
    });
    Some(Understood { payload: frame.encode(), message })
}
