//! Blocks that are read before their headers are known.
//!
//! Behind a block mostly comes the header of the next one, and then its 16 KiB. So one read can fill several buffers, each
//! behind a place for its header. Whether that was right shows afterwards: if something else came, its bytes are put
//! together again and read as what they are. Holds its buffers only from a read until what came has been taken.

use crate::buffer::{BlockBuffer, BlockPool};
use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::sync::Arc;
use swarm_proto::geometry::BLOCK_LENGTH;
use swarm_proto::wire::PIECE_HEADER_LENGTH;

/// Blocks at most: with the one under way, half of what a batch takes.
pub(super) const MOST_AHEAD: usize = 7;
/// What a block takes, with its header.
const STRIDE: usize = PIECE_HEADER_LENGTH + BLOCK_LENGTH as usize;

/// What was read ahead and has not been taken.
#[derive(Default)]
pub(super) struct Ahead {
    /// One more than there are buffers.
    headers: VecDeque<[u8; PIECE_HEADER_LENGTH]>,
    buffers: VecDeque<BlockBuffer>,
    /// Bytes that have arrived.
    arrived: usize,
}

impl Ahead {
    /// Room for so many blocks, and for the header of one more.
    pub(super) fn new(blocks: usize, pool: &Arc<BlockPool>) -> Self {
        Self {
            headers: std::iter::repeat_n([0; PIECE_HEADER_LENGTH], blocks + 1).collect(),
            buffers: std::iter::repeat_with(|| pool.take(BLOCK_LENGTH as usize)).take(blocks).collect(),
            arrived: 0,
        }
    }

    /// Bytes that [`Ahead::new`] with so many blocks has room for.
    pub(super) const fn room(blocks: usize) -> usize {
        blocks * STRIDE + PIECE_HEADER_LENGTH
    }

    /// The places of the bytes, in order.
    pub(super) fn slices(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let mut buffers = self.buffers.iter_mut();
        self.headers.iter_mut().flat_map(move |header| {
            std::iter::once(header.as_mut_slice()).chain(buffers.next().map(|buffer| &mut buffer[..]))
        })
    }

    /// So many bytes have come.
    pub(super) fn arrive(&mut self, count: usize) {
        self.arrived = count;
    }

    /// Blocks of which anything has come.
    pub(super) fn begun(&self) -> usize {
        self.arrived.saturating_sub(PIECE_HEADER_LENGTH).div_ceil(STRIDE)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrived == 0
    }

    /// The next header, if all of it is there, and a buffer for what follows.
    pub(super) fn header(&self) -> Option<&[u8; PIECE_HEADER_LENGTH]> {
        self.headers.front().filter(|_| self.arrived >= PIECE_HEADER_LENGTH && !self.buffers.is_empty())
    }

    /// The buffer behind the next header, and how many of its bytes are there: the header was that of a whole block.
    pub(super) fn take(&mut self) -> Option<(BlockBuffer, usize)> {
        self.headers.pop_front()?;
        let buffer = self.buffers.pop_front()?;
        let filled = self.arrived.saturating_sub(PIECE_HEADER_LENGTH).min(buffer.len());
        self.arrived = self.arrived.saturating_sub(STRIDE);
        Some((buffer, filled))
    }

    /// All that has come, end to end: it is something else.
    pub(super) fn spill(mut self) -> Vec<u8> {
        let mut left = self.arrived;
        let mut bytes = Vec::with_capacity(left);
        for slice in self.slices() {
            let count = slice.len().min(left);
            bytes.extend_from_slice(slice.get(..count).unwrap_or_default());
            left -= count;
        }
        bytes
    }
}

/// The first `most` bytes of these places.
pub(super) fn cut<'s>(slices: impl Iterator<Item = &'s mut [u8]>, most: usize) -> Vec<IoSliceMut<'s>> {
    let mut left = most;
    let cut = slices.map_while(|slice| {
        let count = slice.len().min(left);
        left -= count;
        (count > 0).then(|| IoSliceMut::new(slice.get_mut(..count).unwrap_or_default()))
    });
    cut.collect()
}
