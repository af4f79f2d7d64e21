//! What two neighbours tell each other: the payload of one `sw_chat` message (BEP 10).
//!
//! Owns their bytes. A frame is not signed; it carries signed messages, or ids of them.
//!
//! ```text
//! 1 push:   hops left 1 | message          new; pass it on
//! 2 past:   message                        was asked for
//! 3 have:   seconds in the room 4 | id 16 each   give me what I lack
//! 4 know:   id 16 each                     I have these
//! 5 want:   id 16 each                     give me these
//! 6 route:  hops left 1 | message          for one person; pass it on to one neighbour
//! 7 given:  id 16 each                     that was all; these are older than what you get
//! ```

use super::bytes::Reader;
use super::contract::MessageId;
use crate::limits;
use bytes::Bytes;

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    Push { hops: u8, message: Bytes },
    Past { message: Bytes },
    Have { age_s: u32, ids: Vec<MessageId> },
    Know(Vec<MessageId>),
    Want(Vec<MessageId>),
    Route { hops: u8, message: Bytes },
    Given(Vec<MessageId>),
}

/// What a payload is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Decoded {
    Frame(Frame),
    /// Of a later version: ignored.
    Unknown,
    /// Of this version, and wrong.
    Malformed,
}

impl Frame {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Push { hops, message } => put(&mut out, &[1, *hops], message),
            Self::Past { message } => put(&mut out, &[2], message),
            Self::Have { age_s, ids } => {
                put(&mut out, &[3], &age_s.to_be_bytes());
                put_ids(&mut out, ids, limits::CHAT_HAVE_IDS);
            }
            Self::Know(ids) => {
                out.push(4);
                put_ids(&mut out, ids, limits::CHAT_FRAME_IDS);
            }
            Self::Want(ids) => {
                out.push(5);
                put_ids(&mut out, ids, limits::CHAT_FRAME_IDS);
            }
            Self::Route { hops, message } => put(&mut out, &[6, *hops], message),
            Self::Given(ids) => {
                out.push(7);
                put_ids(&mut out, ids, limits::CHAT_HAVE_IDS);
            }
        }
        out.into()
    }

    pub(super) fn decode(payload: &Bytes) -> Decoded {
        let mut reader = Reader::new(payload);
        let Some(kind) = reader.byte() else { return Decoded::Malformed };
        if kind == 0 || kind > 7 {
            return Decoded::Unknown;
        }
        Self::parse(kind, reader, payload).map_or(Decoded::Malformed, Decoded::Frame)
    }

    fn parse(kind: u8, mut reader: Reader<'_>, payload: &Bytes) -> Option<Self> {
        Some(match kind {
            1 => Self::Push { hops: reader.byte()?, message: payload.slice(2..) },
            2 => Self::Past { message: payload.slice(1..) },
            3 => Self::Have { age_s: reader.u32()?, ids: ids(reader, limits::CHAT_HAVE_IDS)? },
            4 => Self::Know(ids(reader, limits::CHAT_FRAME_IDS)?),
            5 => Self::Want(ids(reader, limits::CHAT_FRAME_IDS)?),
            6 => Self::Route { hops: reader.byte()?, message: payload.slice(2..) },
            7 => Self::Given(ids(reader, limits::CHAT_HAVE_IDS)?),
            _ => return None,
        })
    }
}

fn put(out: &mut Vec<u8>, head: &[u8], rest: &[u8]) {
    out.extend_from_slice(head);
    out.extend_from_slice(rest);
}

fn put_ids(out: &mut Vec<u8>, ids: &[MessageId], limit: usize) {
    ids.iter().take(limit).for_each(|id| out.extend_from_slice(&id.0));
}

fn ids(mut reader: Reader<'_>, limit: usize) -> Option<Vec<MessageId>> {
    let length = reader.rest().len();
    if !length.is_multiple_of(16) || length / 16 > limit {
        return None;
    }
    (0..length / 16).map(|_| reader.array().map(MessageId)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn round_trip_and_hex() {
        let (one, two) = (MessageId([1; 16]), MessageId([2; 16]));
        let message = Bytes::from_static(b"m");
        let (ones, both) = ("01".repeat(16), "01".repeat(16) + &"02".repeat(16));
        let cases = [
            (Frame::Push { hops: 32, message: message.clone() }, "01206d".to_owned()),
            (Frame::Past { message: message.clone() }, "026d".to_owned()),
            (Frame::Have { age_s: 258, ids: vec![one, two] }, format!("0300000102{both}")),
            (Frame::Know(vec![one]), format!("04{ones}")),
            (Frame::Want(vec![]), "05".to_owned()),
            (Frame::Route { hops: 1, message }, "06016d".to_owned()),
            (Frame::Given(vec![one, two]), format!("07{both}")),
        ];
        for (frame, hex) in cases {
            let bytes = frame.encode();
            assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hex);
            assert_eq!(Frame::decode(&bytes), Decoded::Frame(frame));
        }
    }

    #[test]
    fn what_is_wrong_and_what_is_new_are_told_apart() {
        let decode = |bytes: &[u8]| Frame::decode(&Bytes::copy_from_slice(bytes));
        for wrong in [&b""[..], &[1], &[6], &[3, 0, 0, 0], &[4, 1], &[5; 16], &[7; 40]] {
            assert_eq!(decode(wrong), Decoded::Malformed, "{wrong:?}");
        }
        assert_eq!(decode(&[&[4][..], &[0; 16 * 65]].concat()), Decoded::Malformed, "too many ids");
        assert_eq!((decode(&[0]), decode(&[8, 1, 2])), (Decoded::Unknown, Decoded::Unknown));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_frames_have_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let bytes = Bytes::from(bytes);
            if let Decoded::Frame(frame) = Frame::decode(&bytes) {
                prop_assert_eq!(frame.encode(), bytes);
            }
        }
    }
}
