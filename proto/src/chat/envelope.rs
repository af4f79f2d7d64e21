//! What people say, signed: the messages that travel from neighbour to neighbour unchanged.
//!
//! Owns their bytes. Each meaning has one encoding, so that a message has one id. What is not in [`Envelope`] cannot be
//! said; what does not parse to the last byte is nobody's message.
//!
//! ```text
//! version 1 | kind 1 | author 32 | sequence 8 | time 8 | body | signature 64
//! say:      parents 1 | parent 16 each | name length 1 | name | text
//! presence: key 32 | here 1 | name length 1 | name
//! direct:   recipient 32 | what only the two understand
//! ```

use super::bytes::{Reader, prefix, put_short_text};
use super::contract::MessageId;
use super::identity::{Identity, PublicKey};
use crate::id::InfoHash;
use crate::limits;
use bytes::Bytes;
use sha2::{Digest, Sha256};

const VERSION: u8 = 1;
const SIGNATURE_LENGTH: usize = 64;
/// What stands in front of the signed bytes, before the room: a signature made for this serves for nothing else.
const SIGNATURE_DOMAIN: &[u8] = b"swarm chat message 1\0";
const ID_DOMAIN: &[u8] = b"swarm chat id 1\0";

/// One signed message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Envelope {
    pub(super) author: PublicKey,
    /// Grows with each message of an author.
    pub(super) sequence: u64,
    /// The author's clock: milliseconds since 1970.
    pub(super) time_ms: u64,
    pub(super) body: Body,
}

/// What a message is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// To everybody.
    Say { parents: Vec<MessageId>, name: String, text: String },
    /// Who is there, by which name, and with which key to encrypt for.
    Presence { noise_key: [u8; 32], here: bool, name: String },
    /// To one person.
    Direct { to: PublicKey, payload: Bytes },
}

/// A message whose signature has not been looked at.
#[derive(Clone, Debug)]
pub(super) struct Unverified {
    pub(super) envelope: Envelope,
    pub(super) id: MessageId,
    pub(super) bytes: Bytes,
}

impl Envelope {
    /// Signs it. The bytes to send, and their id.
    pub(super) fn seal(&self, room: &InfoHash, identity: &Identity) -> (MessageId, Bytes) {
        let mut bytes = vec![VERSION, self.body.kind()];
        bytes.extend_from_slice(&self.author.0);
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.time_ms.to_be_bytes());
        self.body.encode_to(&mut bytes);
        let id = id_of(room, &bytes);
        let signature = identity.sign(&signed(room, &bytes));
        bytes.extend_from_slice(&signature);
        (id, bytes.into())
    }

    /// Reads a message. `None` if it is none.
    pub(super) fn parse(room: &InfoHash, bytes: &Bytes) -> Option<Unverified> {
        if bytes.len() > limits::CHAT_MESSAGE_LENGTH {
            return None;
        }
        let content = bytes.get(..bytes.len().checked_sub(SIGNATURE_LENGTH)?)?;
        let mut reader = Reader::new(content);
        if reader.byte()? != VERSION {
            return None;
        }
        let kind = reader.byte()?;
        let author = PublicKey(reader.array()?);
        let (sequence, time_ms) = (reader.u64()?, reader.u64()?);
        let body = Body::parse(kind, reader)?;
        let envelope = Self { author, sequence, time_ms, body };
        Some(Unverified { envelope, id: id_of(room, content), bytes: bytes.clone() })
    }
}

impl Unverified {
    /// Whether its author has signed it, for this room.
    pub(super) fn is_genuine(&self, room: &InfoHash) -> bool {
        let Some((content, signature)) = self.bytes.split_last_chunk::<SIGNATURE_LENGTH>() else { return false };
        self.envelope.author.verifies(&signed(room, content), signature)
    }
}

impl Body {
    fn kind(&self) -> u8 {
        match self {
            Self::Say { .. } => 1,
            Self::Presence { .. } => 2,
            Self::Direct { .. } => 3,
        }
    }

    fn encode_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Say { parents, name, text } => {
                let parents = parents.get(..limits::CHAT_PARENTS).unwrap_or(parents);
                out.push(u8::try_from(parents.len()).unwrap_or(u8::MAX));
                parents.iter().for_each(|parent| out.extend_from_slice(&parent.0));
                put_short_text(out, prefix(name, limits::CHAT_NAME_LENGTH));
                out.extend_from_slice(prefix(text, limits::CHAT_TEXT_LENGTH).as_bytes());
            }
            Self::Presence { noise_key, here, name } => {
                out.extend_from_slice(noise_key);
                out.push(u8::from(*here));
                put_short_text(out, prefix(name, limits::CHAT_NAME_LENGTH));
            }
            Self::Direct { to, payload } => {
                out.extend_from_slice(&to.0);
                out.extend_from_slice(payload);
            }
        }
    }

    fn parse(kind: u8, mut reader: Reader<'_>) -> Option<Self> {
        match kind {
            1 => {
                let count = usize::from(reader.byte()?);
                if count > limits::CHAT_PARENTS {
                    return None;
                }
                let parents = (0..count).map(|_| reader.array().map(MessageId)).collect::<Option<_>>()?;
                let name = name(&mut reader)?;
                let text = reader.rest();
                if text.is_empty() || text.len() > limits::CHAT_TEXT_LENGTH {
                    return None;
                }
                Some(Self::Say { parents, name, text: std::str::from_utf8(text).ok()?.to_owned() })
            }
            2 => {
                let noise_key = reader.array()?;
                let here = match reader.byte()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                let name = name(&mut reader)?;
                reader.end()?;
                Some(Self::Presence { noise_key, here, name })
            }
            3 => {
                let to = PublicKey(reader.array()?);
                Some(Self::Direct { to, payload: Bytes::copy_from_slice(reader.rest()) })
            }
            _ => None,
        }
    }
}

fn name(reader: &mut Reader<'_>) -> Option<String> {
    let name = reader.short_text()?;
    (name.len() <= limits::CHAT_NAME_LENGTH).then(|| name.to_owned())
}

/// The bytes that are signed.
fn signed(room: &InfoHash, content: &[u8]) -> Vec<u8> {
    [SIGNATURE_DOMAIN, &room.0, content].concat()
}

/// The first 16 bytes of SHA-256 over room and content. The signature is not part of it: who could sign twice would have
/// two messages of one.
fn id_of(room: &InfoHash, content: &[u8]) -> MessageId {
    let digest = Sha256::new().chain_update(ID_DOMAIN).chain_update(room.0).chain_update(content).finalize();
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    MessageId(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: InfoHash = InfoHash([7; 20]);

    fn bodies() -> Vec<Body> {
        vec![
            Body::Say { parents: vec![], name: String::new(), text: "x".into() },
            Body::Say {
                parents: vec![MessageId([3; 16]); limits::CHAT_PARENTS],
                name: "ü".repeat(limits::CHAT_NAME_LENGTH / 2),
                text: "y".repeat(limits::CHAT_TEXT_LENGTH),
            },
            Body::Presence { noise_key: [5; 32], here: true, name: "anna".into() },
            Body::Presence { noise_key: [5; 32], here: false, name: String::new() },
            Body::Direct { to: PublicKey([6; 32]), payload: Bytes::from_static(b"sealed") },
        ]
    }

    fn envelope(identity: &Identity, body: Body) -> Envelope {
        Envelope { author: identity.public(), sequence: u64::MAX, time_ms: 1_790_000_000_000, body }
    }

    #[test]
    fn round_trip_and_no_other_bytes_mean_the_same() {
        let identity = Identity::from_secret([1; 32]);
        for body in bodies() {
            let envelope = envelope(&identity, body);
            let (id, bytes) = envelope.seal(&ROOM, &identity);
            assert!(bytes.len() <= limits::CHAT_MESSAGE_LENGTH, "{} bytes", bytes.len());
            let read = Envelope::parse(&ROOM, &bytes).expect("our own");
            assert_eq!((&read.envelope, read.id), (&envelope, id));
            assert!(read.is_genuine(&ROOM));
            let elsewhere = Envelope::parse(&InfoHash([8; 20]), &bytes).expect("the same bytes");
            assert!(!elsewhere.is_genuine(&InfoHash([8; 20])) && elsewhere.id != id, "a message of another room");
            assert_eq!(read.envelope.seal(&ROOM, &identity), (id, bytes));
        }
    }

    #[test]
    fn no_bit_can_be_changed_and_no_byte_be_missing() {
        let identity = Identity::from_secret([1; 32]);
        let body = Body::Say { parents: vec![MessageId([3; 16])], name: "anna".into(), text: "hello".into() };
        let (_, bytes) = envelope(&identity, body).seal(&ROOM, &identity);
        for at in 0..bytes.len() * 8 {
            let mut bent = bytes.to_vec();
            bent[at / 8] ^= 1 << (at % 8);
            let read = Envelope::parse(&ROOM, &bent.into());
            assert!(read.is_none_or(|read| !read.is_genuine(&ROOM)), "bit {at}");
        }
        for end in 0..bytes.len() {
            let read = Envelope::parse(&ROOM, &bytes.slice(..end));
            assert!(read.is_none_or(|read| !read.is_genuine(&ROOM)), "{end} bytes");
        }
    }

    #[test]
    fn what_is_too_much_is_no_message() {
        let identity = Identity::from_secret([1; 32]);
        let parses = |body: Vec<u8>, kind: u8| {
            let head = [&[VERSION, kind], &identity.public().0[..], &[0; 16]].concat();
            Envelope::parse(&ROOM, &[head, body, vec![0; 64]].concat().into()).is_some()
        };
        assert!(parses(b"\0\0x".to_vec(), 1));
        assert!(!parses(b"\0\0".to_vec(), 1), "no text");
        assert!(!parses(b"\0\0\xff".to_vec(), 1), "not UTF-8");
        assert!(!parses(b"\0\x01\xffx".to_vec(), 1), "a name that is not UTF-8");
        assert!(!parses(b"\x01\0x".to_vec(), 1), "a parent that is not there");
        assert!(!parses([vec![200], vec![0; 200 * 16], b"\0x".to_vec()].concat(), 1), "too many parents");
        assert!(!parses([vec![0, 200], vec![b'n'; 200], b"x".to_vec()].concat(), 1), "a long name");
        assert!(!parses([vec![0, 0], vec![b'x'; limits::CHAT_TEXT_LENGTH + 1]].concat(), 1), "a long text");
        assert!(parses([vec![0; 32], vec![1, 0]].concat(), 2));
        assert!(!parses([vec![0; 32], vec![2, 0]].concat(), 2), "neither here nor away");
        assert!(!parses([vec![0; 32], vec![1, 0, 0]].concat(), 2), "a byte behind the end");
        assert!(!parses(vec![0; 31], 3), "half a recipient");
        assert!(!parses(vec![0; 4_096], 3), "too long");
        assert!(!parses(vec![0; 40], 4) && !parses(vec![0; 40], 0), "no such kind");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..5) {
            let head = [&[VERSION, kind][..], &bytes].concat();
            for bytes in [bytes, head] {
                if let Some(read) = Envelope::parse(&ROOM, &bytes.into()) {
                    prop_assert!(!read.is_genuine(&ROOM));
                }
            }
        }
    }
}
