//! Bytes from a socket as messages and blocks.
//!
//! Owns the bytes between the socket and the torrent task. The payload of a block is read straight into the buffer in
//! which it stays until it is on disk, several blocks at a time where they come fast ([`Ahead`]); headers and control
//! messages go through a small side buffer. Never holds more between two reads than one unfinished block and one
//! unfinished message, whose length [`wire::decode`] has bounded.

use super::ahead::{Ahead, MOST_AHEAD, cut};
use crate::buffer::{BlockBuffer, BlockPool};
use std::io::{self, IoSliceMut};
use std::sync::Arc;
use swarm_proto::geometry::{BLOCK_LENGTH, Block, Geometry};
use swarm_proto::swarm::PeerFault;
use swarm_proto::wire::{self, Decoded, Frame, FrameLimits, Message, PIECE_HEADER_LENGTH};

/// Bytes of the side buffer while nothing longer is under way. While nothing at all is under way there is none: most of
/// the connections of a large swarm are silent.
const SIDE_LENGTH: usize = 2_048;
/// Bytes read beyond the payload of a block: room for the next header, and little that would have to be copied.
const READ_AHEAD: usize = 64;

/// What a peer sent.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A message without payload.
    Message(Message),
    /// A block with its bytes.
    Block(Block, BlockBuffer),
}

/// The receiving half of one connection.
pub(super) struct Receiver {
    geometry: Geometry,
    limits: FrameLimits,
    pool: Arc<BlockPool>,
    side: Vec<u8>,
    start: usize,
    end: usize,
    payload: Option<Payload>,
    /// What came behind the payload; nothing while the side buffer holds anything.
    ahead: Ahead,
    /// Blocks that the next read takes beyond the one under way.
    depth: usize,
}

struct Payload {
    block: Block,
    buffer: BlockBuffer,
    filled: usize,
}

impl Receiver {
    pub(super) fn new(geometry: Geometry, pool: Arc<BlockPool>) -> Self {
        let limits = FrameLimits::new(geometry.pieces());
        Self {
            geometry,
            limits,
            pool,
            side: Vec::new(),
            start: 0,
            end: 0,
            payload: None,
            ahead: Ahead::default(),
            depth: 0,
        }
    }

    /// Bytes that the next [`Receiver::fill`] can take.
    pub(super) fn wanted(&self) -> usize {
        match &self.payload {
            Some(payload) => payload.buffer.len().saturating_sub(payload.filled) + self.room_ahead(),
            None => self.side.len().max(SIDE_LENGTH).saturating_sub(self.end),
        }
    }

    /// Lets `read` put at most `most` bytes where they belong; 0 is the end of the stream. [`Receiver::take`] must have
    /// been called since the last time.
    pub(super) fn fill(
        &mut self,
        most: usize,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.side.is_empty() {
            self.side = vec![0; SIDE_LENGTH];
        }
        let Some(payload) = &mut self.payload else {
            let room = self.side.get_mut(self.end..).unwrap_or_default();
            let room = upto(room, most);
            let got = read(&mut [IoSliceMut::new(room)])?;
            self.end += got;
            return Ok(got);
        };
        let rest = upto(payload.buffer.get_mut(payload.filled..).unwrap_or_default(), most);
        let direct = rest.len();
        if self.depth == 0 {
            let beyond = upto(self.side.as_mut_slice(), READ_AHEAD.min(most - direct));
            let got = read(&mut [IoSliceMut::new(rest), IoSliceMut::new(beyond)])?;
            payload.filled += got.min(direct);
            (self.start, self.end) = (0, got.saturating_sub(direct));
            self.depth = usize::from(got > direct);
            return Ok(got);
        }
        let mut ahead = Ahead::new(self.depth, &self.pool);
        let got = read(&mut cut(std::iter::once(rest).chain(ahead.slices()), most))?;
        payload.filled += got.min(direct);
        ahead.arrive(got.saturating_sub(direct));
        // As far as the last read got, or twice as far if that was as far as it could.
        let full = got == direct + Ahead::room(self.depth);
        self.depth = if full { MOST_AHEAD.min(2 * self.depth) } else { ahead.begun() };
        self.ahead = ahead;
        Ok(got)
    }

    fn room_ahead(&self) -> usize {
        if self.depth == 0 { READ_AHEAD } else { Ahead::room(self.depth) }
    }

    /// Nothing more comes for now: gives back what memory is not needed to wait.
    pub(super) fn rest(&mut self) {
        if self.start == self.end && self.payload.is_none() {
            self.side = Vec::new();
            (self.start, self.end) = (0, 0);
        }
    }

    /// The next thing that has arrived in full, if there is one.
    ///
    /// # Errors
    /// When the peer broke a rule of the framing; nothing more can be read from it.
    pub(super) fn take(&mut self) -> Result<Option<Inbound>, PeerFault> {
        loop {
            if let Some(done) = self.take_payload() {
                return Ok(Some(done));
            }
            if self.payload.is_some() {
                return Ok(None);
            }
            if !self.ahead.is_empty() && !self.take_ahead()? {
                self.spill();
            }
            if self.payload.is_some() {
                continue;
            }
            let waiting = self.side.get(self.start..self.end).unwrap_or_default();
            match wire::decode(waiting, &self.limits).map_err(|fault| PeerFault::Length(fault.id))? {
                Decoded::Incomplete(needed) => {
                    self.make_room(needed);
                    return Ok(None);
                }
                Decoded::Frame(Frame::Message(message), used) => {
                    self.start += used;
                    return Ok(Some(Inbound::Message(message)));
                }
                Decoded::Frame(Frame::Piece { index, begin, length }, used) => {
                    self.start += used;
                    let block = self.block(index, begin, length)?;
                    let buffer = self.pool.take(block.length() as usize);
                    self.payload = Some(Payload { block, buffer, filled: 0 });
                }
            }
        }
    }

    /// The block that a header names.
    fn block(&self, index: u32, begin: u32, length: u32) -> Result<Block, PeerFault> {
        let block = self.geometry.wire_block(index, begin, length);
        let block = block.ok_or(PeerFault::NoSuchBlock(index, begin, length))?;
        // Nobody waits for its bytes: neither do we.
        if self.geometry.is_on_grid(block) { Ok(block) } else { Err(PeerFault::OddBlock) }
    }

    /// Takes the next block of those that were read ahead; `false` if it is none, or only a part of its header is there.
    fn take_ahead(&mut self) -> Result<bool, PeerFault> {
        let Some(header) = self.ahead.header() else { return Ok(false) };
        let Ok(Decoded::Frame(Frame::Piece { index, begin, length: BLOCK_LENGTH }, _)) =
            wire::decode(header, &self.limits)
        else {
            return Ok(false);
        };
        let block = self.block(index, begin, BLOCK_LENGTH)?;
        self.payload = self.ahead.take().map(|(buffer, filled)| Payload { block, buffer, filled });
        Ok(true)
    }

    /// What was read ahead is something else, and goes through the side buffer.
    fn spill(&mut self) {
        let bytes = std::mem::take(&mut self.ahead).spill();
        // A part of a header is no sign that the next blocks do not come.
        if bytes.len() > PIECE_HEADER_LENGTH {
            self.depth = 0;
        }
        (self.start, self.end) = (0, bytes.len());
        if self.side.len() < bytes.len() {
            self.side = bytes;
        } else if let Some(side) = self.side.get_mut(..bytes.len()) {
            side.copy_from_slice(&bytes);
        }
    }

    /// Moves what stands in the side buffer into the block under way; the block, if that was all of it.
    fn take_payload(&mut self) -> Option<Inbound> {
        let payload = self.payload.as_mut()?;
        let rest = payload.buffer.get_mut(payload.filled..).unwrap_or_default();
        let waiting = self.side.get(self.start..self.end).unwrap_or_default();
        let count = rest.len().min(waiting.len());
        if let (Some(to), Some(from)) = (rest.get_mut(..count), waiting.get(..count)) {
            to.copy_from_slice(from);
        }
        payload.filled += count;
        self.start += count;
        if payload.filled < payload.buffer.len() {
            return None;
        }
        self.payload.take().map(|payload| Inbound::Block(payload.block, payload.buffer))
    }

    /// Makes the side buffer start with what is unread and hold `needed` bytes.
    fn make_room(&mut self, needed: usize) {
        self.side.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let length = needed.max(SIDE_LENGTH);
        if length > self.side.len() {
            self.side.resize(length, 0);
        } else if self.side.len() > SIDE_LENGTH && self.end <= SIDE_LENGTH && needed <= SIDE_LENGTH {
            self.side = self.side.get(..SIDE_LENGTH).unwrap_or_default().to_vec();
        }
    }
}

fn upto(bytes: &mut [u8], most: usize) -> &mut [u8] {
    let most = bytes.len().min(most);
    bytes.get_mut(..most).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn receiver() -> Receiver {
        Receiver::new(Geometry::new(1 << 20, 1 << 18).unwrap(), BlockPool::new(4))
    }

    /// Reads `bytes` in steps of at most `step` and shows what came out.
    fn run(bytes: &[u8], step: usize) -> (Vec<Inbound>, Option<PeerFault>) {
        let mut receiver = receiver();
        let (mut rest, mut out) = (bytes, Vec::new());
        loop {
            match receiver.take() {
                Ok(Some(inbound)) => out.push(inbound),
                Err(fault) => return (out, Some(fault)),
                Ok(None) if rest.is_empty() => return (out, None),
                Ok(None) => {
                    assert!(receiver.wanted() > 0);
                    let got = receiver.fill(step, |slices| io::Read::read_vectored(&mut rest, slices)).unwrap();
                    assert!(got > 0 && got <= step);
                }
            }
        }
    }

    fn stream() -> (Vec<u8>, Block, Vec<u8>) {
        let geometry = Geometry::new(1 << 20, 1 << 18).unwrap();
        let block = geometry.block(geometry.piece(1).unwrap(), 3).unwrap();
        let payload: Vec<u8> = (0..BLOCK_LENGTH).map(|n| (n % 251) as u8).collect();
        let mut bytes = Vec::new();
        Message::Have(3).encode_to(&mut bytes);
        for _ in 0..3 {
            bytes.extend_from_slice(&Message::piece_header(block));
            bytes.extend_from_slice(&payload);
        }
        Message::Unchoke.encode_to(&mut bytes);
        Message::Extended(7, Bytes::from(vec![5; 60_000])).encode_to(&mut bytes);
        Message::KeepAlive.encode_to(&mut bytes);
        (bytes, block, payload)
    }

    #[test]
    fn any_split_gives_the_same() {
        let (bytes, block, payload) = stream();
        for step in [1, 2, 3, 12, 13, 14, 63, 64, 65, 1_000, 16_397, 20_000, usize::MAX] {
            let (out, fault) = run(&bytes, step);
            assert_eq!(fault, None);
            let [first, blocks @ .., unchoke, extended, last] = &out[..] else { panic!("{out:?}") };
            assert!(matches!(first, Inbound::Message(Message::Have(3))));
            assert_eq!(blocks.len(), 3);
            for inbound in blocks {
                let Inbound::Block(got, buffer) = inbound else { panic!("{inbound:?}") };
                assert!(*got == block && **buffer == *payload, "step {step}");
            }
            assert!(matches!(unchoke, Inbound::Message(Message::Unchoke)));
            assert!(matches!(extended, Inbound::Message(Message::Extended(7, body)) if body.len() == 60_000));
            assert!(matches!(last, Inbound::Message(Message::KeepAlive)));
        }
    }

    #[test]
    fn whatever_stands_between_blocks_is_found() {
        // The last piece ends with a block of 100 bytes.
        let geometry = Geometry::new((1 << 20) + 100, 1 << 18).unwrap();
        let blocks: Vec<Block> = geometry.all_pieces().flat_map(|piece| geometry.blocks(piece)).collect();
        for every in [1, 2, 3, 7, 8, 9, 30, 100] {
            let mut bytes = Vec::new();
            let mut haves = 0;
            for (number, block) in blocks.iter().enumerate() {
                bytes.extend_from_slice(&Message::piece_header(*block));
                bytes.extend((0..block.length() as usize).map(|n| (n * 7 + number).to_le_bytes()[0]));
                if number % every == every - 1 {
                    Message::Have(3).encode_to(&mut bytes);
                    haves += 1;
                }
            }
            for step in [1_000, 16_397, 50_000, 131_176, 131_177, 300_000, usize::MAX] {
                let mut receiver = Receiver::new(geometry, BlockPool::new(4));
                let (mut rest, mut reads) = (&bytes[..], 0);
                let (mut found, mut messages) = (Vec::new(), 0);
                while !rest.is_empty() {
                    receiver.fill(step, |slices| io::Read::read_vectored(&mut rest, slices)).unwrap();
                    reads += 1;
                    while let Some(inbound) = receiver.take().unwrap() {
                        match inbound {
                            Inbound::Block(block, buffer) => {
                                let number = found.len();
                                assert!(
                                    buffer
                                        .iter()
                                        .enumerate()
                                        .all(|(n, byte)| *byte == (n * 7 + number).to_le_bytes()[0])
                                );
                                found.push(block);
                            }
                            Inbound::Message(message) => {
                                assert_eq!(message, Message::Have(3));
                                messages += 1;
                            }
                        }
                    }
                    assert!(receiver.ahead.is_empty());
                }
                assert_eq!((&found, messages), (&blocks, haves), "every {every}, step {step}");
                assert!(every < 100 || step < 300_000 || reads <= 14, "{reads} reads for {} blocks", blocks.len());
            }
        }
    }

    #[test]
    fn the_side_buffer_shrinks_again() {
        let mut receiver = receiver();
        let mut bytes = Vec::new();
        Message::Extended(1, Bytes::from(vec![5; 60_000])).encode_to(&mut bytes);
        let mut rest = &bytes[..];
        let mut largest = 0;
        while !rest.is_empty() || receiver.start < receiver.end {
            if receiver.take().unwrap().is_none() && !rest.is_empty() {
                largest = largest.max(receiver.side.len());
                receiver.fill(usize::MAX, |slices| io::Read::read_vectored(&mut rest, slices)).unwrap();
            }
        }
        assert!(receiver.take().unwrap().is_none());
        assert!(largest > 60_000);
        assert_eq!(receiver.side.capacity(), SIDE_LENGTH);
        receiver.rest();
        assert_eq!(receiver.side.capacity(), 0);
    }

    #[test]
    fn a_rest_loses_nothing() {
        let (bytes, _, payload) = stream();
        for step in [1, 13, 1_000, 16_397] {
            let mut receiver = receiver();
            let (mut rest, mut out) = (&bytes[..], Vec::new());
            while !rest.is_empty() {
                receiver.rest();
                receiver.fill(step, |slices| io::Read::read_vectored(&mut rest, slices)).unwrap();
                while let Some(inbound) = receiver.take().unwrap() {
                    out.push(inbound);
                }
            }
            assert_eq!(out.len(), 7, "step {step}");
            assert!(out.iter().all(|inbound| !matches!(inbound, Inbound::Block(_, buffer) if **buffer != *payload)));
        }
    }

    #[test]
    fn broken_framing_is_named_before_its_body_comes() {
        assert_eq!(run(&[0xff, 0xff, 0xff, 0xff, 7], 5).1, Some(PeerFault::Length(7)));
        let mut header = vec![0, 0, 0x40, 9, 7];
        header.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(run(&header, 64).1, Some(PeerFault::NoSuchBlock(4, 0, 0x4000)));
        for (begin, length) in [(0u32, 0x3fff), (1, 0x3fff), (1, 0x4000), (0x4000, 1)] {
            let mut header = (length + 9u32).to_be_bytes().to_vec();
            header.extend_from_slice(&[7, 0, 0, 0, 1]);
            header.extend_from_slice(&begin.to_be_bytes());
            assert_eq!(run(&header, 64).1, Some(PeerFault::OddBlock), "{begin}+{length}");
        }
    }
}
