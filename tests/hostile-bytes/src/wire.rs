//! What a peer sends: the handshake, the frames behind it, the extension handshake, and numbers that become blocks.

use crate::input::Input;
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::{BLOCK_LENGTH, Geometry};
use swarm_proto::id::InfoHash;
use swarm_proto::limits;
use swarm_proto::path::is_deceptive;
use swarm_proto::wire::{
    Decoded, ExtendedHandshake, Frame, FrameLimits, HANDSHAKE_LENGTH, Handshake, Message, decode, parse_dont_have,
};

/// A handshake is read back as it was written, and refused at its first wrong byte.
pub fn handshake(bytes: &[u8]) {
    let fine = (0..=bytes.len()).take_while(|&end| Handshake::may_begin_with(&bytes[..end])).count() - 1;
    assert!(fine >= 20 || fine == bytes.len() || !Handshake::may_begin_with(bytes));
    let Some(first) = bytes.first_chunk::<HANDSHAKE_LENGTH>() else { return };
    let decoded = Handshake::decode(first);
    assert_eq!(decoded.is_ok(), fine >= 20, "what may begin is what can be read");
    let Ok(handshake) = decoded else { return };
    assert_eq!((handshake.info_hash.0.as_slice(), handshake.peer_id.0.as_slice()), (&bytes[28..48], &bytes[48..68]));
    assert!(handshake.peer_id.to_string().chars().all(|c| c.is_ascii_graphic()));
    assert_eq!(InfoHash::from_hex(&handshake.info_hash.to_string()), Some(handshake.info_hash));
    let encoded = handshake.encode();
    assert_eq!(Handshake::decode(&encoded), Ok(handshake));
    assert!(
        encoded[20..28].iter().zip(&first[20..28]).all(|(ours, theirs)| ours & !theirs == 0),
        "a bit out of nothing"
    );
}

/// A stream of frames means the same whole and in any parts, and never makes the reader wait for more than its bounds.
pub fn messages(bytes: &[u8]) {
    let mut input = Input(bytes);
    let limits = FrameLimits::new(input.u16().into());
    let steps = input.array::<4>();
    let stream = input.0;
    let whole = read_stream(stream, &limits, |_| stream.len());
    let parts = read_stream(stream, &limits, |round| usize::from(steps[round % 4]).max(1));
    let bytes_one_by_one = read_stream(stream, &limits, |_| 1);
    assert_eq!(whole, parts);
    assert_eq!(whole, bytes_one_by_one);
}

/// All frames of a stream that comes in parts, and the bytes of payload that were skipped; then the fault, if any.
fn read_stream(
    stream: &[u8],
    limits: &FrameLimits,
    mut step: impl FnMut(usize) -> usize,
) -> (Vec<Frame>, usize, Option<u8>) {
    let longest = 5 + limits::EXTENDED_LENGTH.max(limits.bitfield);
    let (mut at, mut there) = (0, 0);
    let (mut frames, mut payload) = (Vec::new(), 0);
    for round in 0.. {
        match decode(&stream[at..there], limits) {
            Ok(Decoded::Frame(frame, used)) => {
                assert!(used > 0 && used <= there - at);
                check_frame(&frame, &stream[at..at + used], limits);
                at += used;
                if let Frame::Piece { length, .. } = frame {
                    let length = (length as usize).min(stream.len() - at);
                    payload += length;
                    at += length;
                    there = there.max(at);
                }
                frames.push(frame);
            }
            Ok(Decoded::Incomplete(needed)) => {
                assert!(needed > there - at, "waits for what is there");
                assert!(needed <= longest, "waits for {needed} bytes");
                if there == stream.len() {
                    break;
                }
                there = stream.len().min(there + step(round));
            }
            Err(fault) => {
                assert!(
                    there - at >= 5 && fault.length == u32::from_be_bytes(stream[at..at + 4].try_into().expect("4"))
                );
                return (frames, payload, Some(fault.id));
            }
        }
    }
    (frames, payload, None)
}

fn check_frame(frame: &Frame, bytes: &[u8], limits: &FrameLimits) {
    match frame {
        Frame::Piece { length, .. } => assert!((1..=BLOCK_LENGTH).contains(length)),
        Frame::Message(Message::Unknown(id)) => assert_eq!(bytes[4], *id),
        Frame::Message(message) => {
            let mut encoded = Vec::new();
            message.encode_to(&mut encoded);
            assert_eq!(encoded, bytes, "{message:?}");
            if let Message::Bitfield(bits) = message {
                assert_eq!(bits.len(), limits.bitfield);
            }
        }
    }
}

/// An extension handshake brings printable, bounded values, and is read back as it was written.
pub fn extended(bytes: &[u8]) {
    assert_eq!(parse_dont_have(bytes).is_some(), bytes.len() == 4);
    let Some(parsed) = ExtendedHandshake::parse(bytes) else { return };
    assert!(parsed.listen_port != Some(0) && parsed.ids.dont_have != Some(0));
    if let Some(client) = &parsed.client {
        assert!(client.chars().count() <= 64);
        assert!(!client.contains(is_deceptive), "{client:?} would deceive on a terminal");
    }
    assert_eq!(ExtendedHandshake::parse(&parsed.encode()), Some(parsed));
}

/// Numbers from the wire become pieces and blocks that lie in the torrent, or nothing.
pub fn geometry(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (total, piece_length) = (input.length(), input.length());
    let Ok(geometry) = Geometry::new(total, piece_length) else {
        let fits = (1..=u64::from(limits::PIECE_LENGTH)).contains(&piece_length);
        return assert!(!fits || total.div_ceil(piece_length) > u64::from(limits::PIECES));
    };
    assert_eq!(u64::from(geometry.pieces()), total.div_ceil(piece_length));
    while !input.is_empty() {
        let last = geometry.pieces().wrapping_sub(1);
        let index = [input.u32(), last, last.wrapping_add(1), 0][input.below(4)];
        let number = |input: &mut Input<'_>| u32::try_from(input.length()).unwrap_or(u32::MAX);
        check_block(&geometry, index, number(&mut input), number(&mut input));
    }
    check_bitfield(bytes, geometry.pieces());
}

fn check_block(geometry: &Geometry, index: u32, begin: u32, length: u32) {
    let Some(piece) = geometry.piece(index) else {
        assert!(index >= geometry.pieces() && geometry.wire_block(index, begin, length).is_none());
        return;
    };
    assert!(index < geometry.pieces());
    let piece_length = geometry.length_of(piece);
    assert!(piece_length > 0 && piece_length <= geometry.piece_length());
    assert!(geometry.offset_of(piece) + u64::from(piece_length) <= geometry.total_length());
    let fits = length > 0
        && length <= limits::REQUEST_LENGTH
        && u64::from(begin) + u64::from(length) <= u64::from(piece_length);
    let block = geometry.wire_block(index, begin, length);
    assert_eq!(block.is_some(), fits, "{begin}+{length} of {piece_length}");
    if let Some(block) = block {
        assert_eq!((block.piece(), block.begin(), block.length()), (piece, begin, length));
        assert!(geometry.offset_of_block(block) + u64::from(length) <= geometry.total_length());
        let header = Message::piece_header(block);
        let decoded = decode(&header, &FrameLimits::new(geometry.pieces()));
        // We send what peers ask for, but ask for no more than a block at a time.
        let frame = Ok(Decoded::Frame(Frame::Piece { index, begin, length }, 13));
        assert_eq!(decoded == frame, length <= BLOCK_LENGTH, "{decoded:?}");
    }
    let blocks = geometry.blocks_of(piece);
    assert_eq!(blocks, piece_length.div_ceil(BLOCK_LENGTH) as usize);
    assert!(geometry.block(piece, blocks).is_none());
    let last = geometry.block(piece, blocks - 1).expect("the last block");
    assert_eq!(last.begin() + last.length(), piece_length);
}

fn check_bitfield(bytes: &[u8], pieces: u32) {
    let pieces = pieces % 4_096;
    let length = (pieces as usize).div_ceil(8);
    for wire in [bytes, &bytes[..length.min(bytes.len())]] {
        let Some(bits) = Bitfield::from_wire(wire, pieces) else { continue };
        assert_eq!((bits.to_wire().as_slice(), bits.pieces()), (wire, pieces));
        let ones: u32 = wire.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!((bits.count(), bits.is_full(), bits.is_empty()), (ones, ones == pieces, ones == 0));
        assert_eq!(bits.iter().collect::<Vec<_>>().len(), ones as usize);
    }
}
