//! Messages behind the handshake (BEP 3, 5, 6, 10) and their framing.

use crate::bitfield::Bitfield;
use crate::geometry::{BLOCK_LENGTH, Block, PieceIndex};
use crate::limits;
use bytes::Bytes;

/// Bytes in front of the payload of a `piece` message: length, id, index, begin.
pub const PIECE_HEADER_LENGTH: usize = 13;

/// A message without payload bytes. Numbers are as the wire has them; the swarm checks them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// No content; keeps the connection open.
    KeepAlive,
    /// The sender will not serve requests.
    Choke,
    /// The sender serves requests.
    Unchoke,
    /// The sender wants something that we have.
    Interested,
    /// The sender wants nothing of us.
    NotInterested,
    /// The sender has this piece now.
    Have(u32),
    /// The pieces that the sender has.
    Bitfield(Bytes),
    /// Please send this: index, begin, length.
    Request(u32, u32, u32),
    /// Please do not send this any more.
    Cancel(u32, u32, u32),
    /// The sender's DHT port (BEP 5).
    Port(u16),
    /// BEP 6: this piece would be cheap to send.
    Suggest(u32),
    /// BEP 6: the sender has every piece.
    HaveAll,
    /// BEP 6: the sender has no piece.
    HaveNone,
    /// BEP 6: this request will not be served.
    Reject(u32, u32, u32),
    /// BEP 6: this piece may be requested while choked.
    AllowedFast(u32),
    /// BEP 10: an extension message under the number that its receiver gave it.
    Extended(u8, Bytes),
    /// A message id that we do not know; to be ignored.
    Unknown(u8),
}

/// What stands at the front of the received bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// A whole message.
    Message(Message),
    /// The header of a `piece` message; `length` bytes of payload follow.
    Piece {
        /// Number of the piece.
        index: u32,
        /// Offset in the piece.
        begin: u32,
        /// Bytes of payload that follow the header.
        length: u32,
    },
}

/// What [`decode`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// A frame, and the bytes that it took.
    Frame(Frame, usize),
    /// So many bytes must be there, counted from the front, before decoding can go on.
    Incomplete(usize),
}

/// How long each message may be; known once the torrent is.
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits {
    /// Bytes of a `bitfield` body.
    pub bitfield: usize,
}

impl FrameLimits {
    /// For a torrent of so many pieces.
    pub fn new(pieces: u32) -> Self {
        Self { bitfield: (pieces as usize).div_ceil(8) }
    }
}

/// A message whose length cannot be right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("message {id} of {length} bytes")]
pub struct BadLength {
    /// The message id.
    pub id: u8,
    /// Its length prefix, in bytes.
    pub length: u32,
}

/// Reads the frame at the front of `bytes`.
///
/// # Errors
/// When the length of the message is impossible for its id, as soon as both are known and before its body is waited for.
pub fn decode(bytes: &[u8], limits: &FrameLimits) -> Result<Decoded, BadLength> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else { return Ok(Decoded::Incomplete(4)) };
    let length = u32::from_be_bytes(*prefix);
    if length == 0 {
        return Ok(Decoded::Frame(Frame::Message(Message::KeepAlive), 4));
    }
    let Some((&id, rest)) = rest.split_first() else { return Ok(Decoded::Incomplete(5)) };
    let body_length = length as usize - 1;
    if !may_be(id, body_length, limits) {
        return Err(BadLength { id, length });
    }
    if id == 7 {
        let Some([index, begin]) = numbers(rest) else { return Ok(Decoded::Incomplete(PIECE_HEADER_LENGTH)) };
        return Ok(Decoded::Frame(Frame::Piece { index, begin, length: length - 9 }, PIECE_HEADER_LENGTH));
    }
    let Some(body) = rest.get(..body_length) else { return Ok(Decoded::Incomplete(5 + body_length)) };
    let message = parse(id, body).ok_or(BadLength { id, length })?;
    Ok(Decoded::Frame(Frame::Message(message), 5 + body_length))
}

/// Whether a body of so many bytes is possible for this message.
fn may_be(id: u8, body: usize, limits: &FrameLimits) -> bool {
    match id {
        0..=3 | 14 | 15 => body == 0,
        4 | 13 | 17 => body == 4,
        5 => body == limits.bitfield,
        6 | 8 | 16 => body == 12,
        // Nobody is asked for more than a block, so nothing longer is waited for.
        7 => body > 8 && body <= 8 + BLOCK_LENGTH as usize,
        9 => body == 2,
        20 => (1..=limits::EXTENDED_LENGTH).contains(&body),
        _ => body <= limits::EXTENDED_LENGTH,
    }
}

fn numbers<const N: usize>(bytes: &[u8]) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    let mut words = bytes.chunks_exact(4);
    for number in &mut numbers {
        *number = u32::from_be_bytes(words.next()?.try_into().ok()?);
    }
    Some(numbers)
}

fn parse(id: u8, body: &[u8]) -> Option<Message> {
    let one = || numbers::<1>(body).map(|[number]| number);
    let three = || numbers::<3>(body);
    Some(match id {
        0 => Message::Choke,
        1 => Message::Unchoke,
        2 => Message::Interested,
        3 => Message::NotInterested,
        4 => Message::Have(one()?),
        5 => Message::Bitfield(Bytes::copy_from_slice(body)),
        6 => three().map(|[index, begin, length]| Message::Request(index, begin, length))?,
        8 => three().map(|[index, begin, length]| Message::Cancel(index, begin, length))?,
        9 => Message::Port(u16::from_be_bytes(body.try_into().ok()?)),
        13 => Message::Suggest(one()?),
        14 => Message::HaveAll,
        15 => Message::HaveNone,
        16 => three().map(|[index, begin, length]| Message::Reject(index, begin, length))?,
        17 => Message::AllowedFast(one()?),
        20 => body.split_first().map(|(&id, payload)| Message::Extended(id, Bytes::copy_from_slice(payload)))?,
        unknown => Message::Unknown(unknown),
    })
}

impl Message {
    /// Asks for a block.
    pub fn request(block: Block) -> Self {
        Self::Request(block.piece().as_u32(), block.begin(), block.length())
    }

    /// Takes a request back.
    pub fn cancel(block: Block) -> Self {
        Self::Cancel(block.piece().as_u32(), block.begin(), block.length())
    }

    /// Tells of a piece.
    pub fn have(piece: PieceIndex) -> Self {
        Self::Have(piece.as_u32())
    }

    /// Tells of all pieces.
    pub fn bitfield(have: &Bitfield) -> Self {
        Self::Bitfield(have.to_wire().into())
    }

    /// Appends the bytes of the message.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::KeepAlive => out.extend_from_slice(&[0; 4]),
            Self::Choke => frame(out, 0, &[]),
            Self::Unchoke => frame(out, 1, &[]),
            Self::Interested => frame(out, 2, &[]),
            Self::NotInterested => frame(out, 3, &[]),
            Self::Have(piece) => frame(out, 4, &[&piece.to_be_bytes()]),
            Self::Bitfield(bits) => frame(out, 5, &[bits]),
            Self::Request(index, begin, length) => triple(out, 6, [*index, *begin, *length]),
            Self::Cancel(index, begin, length) => triple(out, 8, [*index, *begin, *length]),
            Self::Port(port) => frame(out, 9, &[&port.to_be_bytes()]),
            Self::Suggest(piece) => frame(out, 13, &[&piece.to_be_bytes()]),
            Self::HaveAll => frame(out, 14, &[]),
            Self::HaveNone => frame(out, 15, &[]),
            Self::Reject(index, begin, length) => triple(out, 16, [*index, *begin, *length]),
            Self::AllowedFast(piece) => frame(out, 17, &[&piece.to_be_bytes()]),
            Self::Extended(id, payload) => frame(out, 20, &[&[*id], payload]),
            Self::Unknown(id) => frame(out, *id, &[]),
        }
    }

    /// The 13 bytes in front of a block's payload.
    pub fn piece_header(block: Block) -> [u8; PIECE_HEADER_LENGTH] {
        let mut header = [0; PIECE_HEADER_LENGTH];
        let length = (block.length() + 9).to_be_bytes();
        let (index, begin) = (block.piece().as_u32().to_be_bytes(), block.begin().to_be_bytes());
        let parts = length.iter().chain(&[7]).chain(&index).chain(&begin);
        header.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        header
    }
}

fn triple(out: &mut Vec<u8>, id: u8, numbers: [u32; 3]) {
    let [index, begin, length] = numbers.map(u32::to_be_bytes);
    frame(out, id, &[&index, &begin, &length]);
}

fn frame(out: &mut Vec<u8>, id: u8, parts: &[&[u8]]) {
    let body: usize = parts.iter().map(|part| part.len()).sum();
    // Our own messages are bounded by the largest bitfield, 2 MiB.
    let length = u32::try_from(body + 1).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.push(id);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: FrameLimits = FrameLimits { bitfield: 3 };

    fn every_message() -> Vec<Message> {
        vec![
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::Have(7),
            Message::Bitfield(Bytes::from_static(&[1, 2, 3])),
            Message::Request(1, 2, 3),
            Message::Cancel(u32::MAX, 2, 3),
            Message::Port(6881),
            Message::Suggest(9),
            Message::HaveAll,
            Message::HaveNone,
            Message::Reject(4, 5, 6),
            Message::AllowedFast(1),
            Message::Extended(3, Bytes::from_static(b"de")),
            Message::Unknown(99),
        ]
    }

    #[test]
    fn round_trip_split_at_every_byte() {
        for message in every_message() {
            let mut bytes = Vec::new();
            message.encode_to(&mut bytes);
            for end in 0..bytes.len() {
                let Ok(Decoded::Incomplete(need)) = decode(&bytes[..end], &LIMITS) else { panic!("{message:?} {end}") };
                assert!(need > end && need <= bytes.len().max(5), "{message:?}: {need} at {end}");
            }
            let whole = bytes.len();
            bytes.push(0xff);
            assert_eq!(decode(&bytes, &LIMITS), Ok(Decoded::Frame(Frame::Message(message), whole)));
        }
    }

    #[test]
    fn wire_bytes_are_those_of_the_specification() {
        let mut bytes = Vec::new();
        Message::Request(1, 0x4000, 0x4000).encode_to(&mut bytes);
        assert_eq!(bytes, [0, 0, 0, 13, 6, 0, 0, 0, 1, 0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        let header = [0, 0, 0x40, 9, 7, 0, 0, 0, 2, 0, 0, 0x40, 0];
        let frame = Frame::Piece { index: 2, begin: 0x4000, length: 0x4000 };
        assert_eq!(decode(&header, &LIMITS), Ok(Decoded::Frame(frame, 13)));
        assert_eq!(decode(&header[..12], &LIMITS), Ok(Decoded::Incomplete(13)));
    }

    #[test]
    fn impossible_lengths_are_refused_before_the_body_comes() {
        let refused = |length: u32, id: u8| {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.push(id);
            decode(&bytes, &LIMITS) == Err(BadLength { id, length })
        };
        assert!(refused(u32::MAX, 7) && refused(u32::MAX, 20) && refused(u32::MAX, 200));
        assert!(refused(9, 7), "a block of no bytes");
        assert!(refused(9 + 16_385, 7) && !refused(9 + 16_384, 7));
        assert!(refused(3, 5) && refused(5, 5) && !refused(4, 5));
        assert!(refused(2, 0) && refused(4, 4) && refused(14, 6) && refused(1, 20));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Decoded::Frame(_, used)) = decode(&bytes, &LIMITS) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
