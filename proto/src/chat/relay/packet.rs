//! What two peers say to each other over a tracker: the `data` of one relayed message.
//!
//! Owns the bytes. A tracker takes few messages but large ones, and loses some: so several frames travel in one packet, a
//! long one in several, and packets are counted.
//!
//! ```text
//! 1 1 | my id 8                                     hello: may I?
//! 1 2 | your id 8 | my id 8                         welcome: yes
//! 1 3 | your id 8 | number 4 | parts                frames
//! 1 4 | id 8, yours or mine                         end: no, or no longer
//!
//! part: 1 bit goes on from the part before, 1 bit more follows, 14 bits length | bytes
//! ```

use crate::chat::bytes::Reader;
use crate::limits;
use bytes::Bytes;

/// Of this use of relayed messages; others may have others.
const VERSION: u8 = 1;
/// A packet of frames before its first part.
pub(in crate::chat) const HEAD: usize = 14;
/// A part before its bytes.
pub(in crate::chat) const PART: usize = 2;
const GOES_ON: u16 = 0x8000;
const MORE: u16 = 0x4000;
const LENGTH: u16 = 0x3fff;

/// How one side names its end of a link: random, so that nobody who did not get it can send into the link.
pub(in crate::chat) type LinkId = [u8; 8];

/// One packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::chat) enum Packet {
    Hello { mine: LinkId },
    Welcome { yours: LinkId, mine: LinkId },
    Frames { yours: LinkId, number: u32, parts: Vec<Part> },
    End { id: LinkId },
}

/// A frame or a piece of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::chat) struct Part {
    pub(in crate::chat) goes_on: bool,
    pub(in crate::chat) more: bool,
    pub(in crate::chat) bytes: Bytes,
}

impl Packet {
    pub(in crate::chat) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        match self {
            Self::Hello { mine } => put(&mut out, 1, &[mine]),
            Self::Welcome { yours, mine } => put(&mut out, 2, &[yours, mine]),
            Self::Frames { yours, number, parts } => {
                put(&mut out, 3, &[yours, &number.to_be_bytes()]);
                for part in parts {
                    let length = u16::try_from(part.bytes.len()).unwrap_or(LENGTH) & LENGTH;
                    let flags = (u16::from(part.goes_on) * GOES_ON) | (u16::from(part.more) * MORE);
                    out.extend_from_slice(&(flags | length).to_be_bytes());
                    out.extend_from_slice(&part.bytes);
                }
            }
            Self::End { id } => put(&mut out, 4, &[id]),
        }
        out.into()
    }

    /// `None` for what is none, or of a later version.
    pub(in crate::chat) fn decode(data: &Bytes) -> Option<Self> {
        let mut reader = Reader::new(data);
        if data.len() > limits::NATIVE_RELAYED_LENGTH || reader.byte()? != VERSION {
            return None;
        }
        let kind = reader.byte()?;
        let packet = match kind {
            1 => Self::Hello { mine: reader.array()? },
            2 => Self::Welcome { yours: reader.array()?, mine: reader.array()? },
            3 => {
                let (yours, number) = (reader.array()?, reader.u32()?);
                return Some(Self::Frames { yours, number, parts: parts(reader, data)? });
            }
            4 => Self::End { id: reader.array()? },
            _ => return None,
        };
        reader.end()?;
        Some(packet)
    }
}

fn put(out: &mut Vec<u8>, kind: u8, fields: &[&[u8]]) {
    out.push(kind);
    fields.iter().for_each(|field| out.extend_from_slice(field));
}

fn parts(mut reader: Reader<'_>, data: &Bytes) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    while !reader.rest().is_empty() {
        let head = reader.u16()?;
        let bytes = data.slice_ref(reader.slice(usize::from(head & LENGTH))?);
        parts.push(Part { goes_on: head & GOES_ON != 0, more: head & MORE != 0, bytes });
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(goes_on: bool, more: bool, bytes: &'static [u8]) -> Part {
        Part { goes_on, more, bytes: Bytes::from_static(bytes) }
    }

    #[test]
    fn round_trip_and_hex() {
        let (one, two) = ([1; 8], [2; 8]);
        let (ones, twos) = ("01".repeat(8), "02".repeat(8));
        let parts = vec![part(false, false, b"ab"), part(false, true, b"c"), part(true, false, b"")];
        let cases = [
            (Packet::Hello { mine: one }, format!("0101{ones}")),
            (Packet::Welcome { yours: one, mine: two }, format!("0102{ones}{twos}")),
            (Packet::Frames { yours: two, number: 258, parts }, format!("0103{twos}00000102000261624001638000")),
            (Packet::Frames { yours: two, number: 0, parts: vec![] }, format!("0103{twos}00000000")),
            (Packet::End { id: one }, format!("0104{ones}")),
        ];
        for (packet, hex) in cases {
            let bytes = packet.encode();
            assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hex);
            assert_eq!(Packet::decode(&bytes), Some(packet));
            for cut in 0..bytes.len() {
                let cut = Packet::decode(&bytes.slice(..cut));
                assert!(cut.is_none() || matches!(cut, Some(Packet::Frames { .. })), "half of one is none");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_packets_have_one_encoding(kind in 0u8..6, rest in prop::collection::vec(any::<u8>(), 0..60)) {
            let bytes = Bytes::from([&[VERSION, kind], &rest[..]].concat());
            if let Some(packet) = Packet::decode(&bytes) {
                prop_assert_eq!(packet.encode(), bytes);
            }
        }
    }
}
