//! Bytes on their way to a socket: messages, headers and blocks in order, put together before any of them leaves.
//!
//! Owns the payload between the file and the socket. A row of blocks is read with one call, and leaves with one: both copy
//! once, and still cost less than `sendfile` of single blocks, whose pages the kernel has to look up and count one by one
//! on both sides. What has been read is ours: whatever happens to the file afterwards, what leaves is what was verified.
//! Never holds more than it is told, and never makes up a byte: blocks that could not be read are taken off again.

use crate::buffer::{BlockBuffer, BlockPool};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::sync::Arc;
use swarm_proto::geometry::Block;
use swarm_proto::layout::FileIndex;
use swarm_proto::wire::{Message, PIECE_HEADER_LENGTH};

/// Slices that one system call takes here: two a block, or more where blocks lie in small files.
const SLICES: usize = 64;

/// Where some bytes of a block come from.
#[derive(Clone, Debug)]
pub(crate) enum Span {
    /// From a file, at an offset in it.
    File {
        /// Open for reading.
        file: Arc<File>,
        /// Which of the torrent's files it is.
        index: FileIndex,
        /// Where.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// From nowhere: padding (BEP 47).
    Zeros {
        /// How many.
        length: u64,
    },
}

/// How a run was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// All of it is there.
    Complete,
    /// Something has to come from the disk first.
    Cold,
}

/// Bytes in the order of the wire.
#[derive(Debug, Default)]
pub(super) struct Run {
    parts: VecDeque<Part>,
    /// Messages and headers, end to end.
    control: Vec<u8>,
    /// Bytes of the first part that are out.
    sent: usize,
    blocks: usize,
}

#[derive(Debug)]
enum Part {
    /// A range of the messages and headers.
    Control(Range<usize>),
    /// Its header is the end of the part before it.
    Payload { block: Block, spans: Vec<Span>, bytes: BlockBuffer },
}

impl Run {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Blocks in it that are not out.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes of messages and headers since it was empty.
    pub(super) fn control_length(&self) -> usize {
        self.control.len()
    }

    /// Appends messages.
    pub(super) fn push_control(&mut self, bytes: &[u8]) {
        let start = self.control.len();
        self.control.extend_from_slice(bytes);
        let end = self.control.len();
        match self.parts.back_mut() {
            Some(Part::Control(range)) => range.end = end,
            _ => self.parts.push_back(Part::Control(start..end)),
        }
    }

    /// Appends a block, whose bytes come with [`Run::read`].
    pub(super) fn push_block(&mut self, block: Block, spans: Vec<Span>, pool: &Arc<BlockPool>) {
        self.push_control(&Message::piece_header(block));
        let bytes = pool.take(block.length() as usize);
        self.parts.push_back(Part::Payload { block, spans, bytes });
        self.blocks += 1;
    }

    /// The files that its blocks come from.
    pub(super) fn files(&self) -> Vec<(FileIndex, Arc<File>)> {
        let mut files: Vec<(FileIndex, Arc<File>)> = Vec::new();
        for part in &self.parts {
            let Part::Payload { spans, .. } = part else { continue };
            for span in spans {
                if let Span::File { index, file, .. } = span
                    && !files.iter().any(|(known, _)| known == index)
                {
                    files.push((*index, Arc::clone(file)));
                }
            }
        }
        files
    }

    /// Reads all blocks; without `wait`, only as far as that takes no disk.
    ///
    /// # Errors
    /// The first block that cannot be had, and why; everything from that block on is taken off.
    pub(super) fn read(&mut self, wait: bool) -> Result<Reading, (Block, io::Error)> {
        match self.read_rows(wait) {
            Ok(reading) => Ok(reading),
            Err(_) => self.read_singly(),
        }
    }

    /// Row by row: what is contiguous in a file is one call.
    fn read_rows(&mut self, wait: bool) -> io::Result<Reading> {
        for row in rows(&mut self.parts) {
            if read_row(row, wait)? == Reading::Cold {
                return Ok(Reading::Cold);
            }
        }
        Ok(Reading::Complete)
    }

    /// Block by block, to find the one that fails.
    fn read_singly(&mut self) -> Result<Reading, (Block, io::Error)> {
        let failed = self.parts.iter_mut().enumerate().find_map(|(number, part)| {
            let block = part.block()?;
            let result = rows(std::iter::once(part)).into_iter().try_for_each(|row| read_row(row, true).map(|_| ()));
            result.err().map(|error| (number, block, error))
        });
        let Some((number, block, error)) = failed else { return Ok(Reading::Complete) };
        self.cut(number);
        Err((block, error))
    }

    /// Takes off the first block that comes from this file and everything behind it.
    pub(super) fn cut_from_file(&mut self, file: FileIndex) -> Option<Block> {
        let is_from = |span: &Span| matches!(span, Span::File { index, .. } if *index == file);
        let found = self.parts.iter().enumerate().find_map(|(number, part)| match part {
            Part::Payload { spans, block, .. } if spans.iter().any(is_from) => Some((number, *block)),
            _ => None,
        });
        let (number, block) = found?;
        self.cut(number);
        Some(block)
    }

    /// Takes off the block with this number among the parts, its header, and everything behind it.
    fn cut(&mut self, number: usize) {
        let removed = self.parts.drain(number..).filter(|part| part.block().is_some()).count();
        self.blocks = self.blocks.saturating_sub(removed);
        if let Some(Part::Control(range)) = self.parts.back_mut() {
            range.end = range.end.saturating_sub(PIECE_HEADER_LENGTH).max(range.start);
            if range.start == range.end {
                self.parts.pop_back();
            }
        }
    }

    /// Lets `send` take bytes from the front, `most` at most, and puts blocks that are out into `done`.
    pub(super) fn send(
        &mut self,
        most: usize,
        send: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
        done: &mut Vec<Block>,
    ) -> io::Result<usize> {
        let mut slices = Vec::with_capacity(SLICES.min(self.parts.len()));
        let (mut skip, mut left) = (self.sent, most);
        for part in self.parts.iter().take(SLICES) {
            let bytes = part.bytes(&self.control).get(skip..).unwrap_or_default();
            let bytes = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            left -= bytes.len();
            skip = 0;
            slices.push(IoSlice::new(bytes));
            if left == 0 {
                break;
            }
        }
        let count = send(&slices)?;
        drop(slices);
        self.skip(count, done);
        Ok(count)
    }

    fn skip(&mut self, count: usize, done: &mut Vec<Block>) {
        self.sent += count;
        while let Some(part) = self.parts.front() {
            let length = part.bytes(&self.control).len();
            if self.sent < length {
                return;
            }
            self.sent -= length;
            if let Some(Part::Payload { block, .. }) = self.parts.pop_front() {
                self.blocks = self.blocks.saturating_sub(1);
                done.push(block);
            }
        }
        self.sent = 0;
        self.control.clear();
    }

    /// Bytes of payload that are out of a block of which others are not.
    pub(super) fn payload_cut_short(&self) -> usize {
        match self.parts.front() {
            Some(Part::Payload { .. }) => self.sent,
            Some(Part::Control(_)) | None => 0,
        }
    }

    /// Bytes that are not out.
    pub(super) fn length(&self) -> usize {
        self.parts.iter().map(|part| part.bytes(&self.control).len()).sum::<usize>().saturating_sub(self.sent)
    }
}

impl Part {
    fn bytes<'b>(&'b self, control: &'b [u8]) -> &'b [u8] {
        match self {
            Self::Control(range) => control.get(range.clone()).unwrap_or_default(),
            Self::Payload { bytes, .. } => bytes,
        }
    }

    fn block(&self) -> Option<Block> {
        match self {
            Self::Control(_) => None,
            Self::Payload { block, .. } => Some(*block),
        }
    }
}

/// Bytes that lie in a row in a file, and where they are to go.
struct Row<'r> {
    file: &'r File,
    offset: u64,
    end: u64,
    slices: Vec<IoSliceMut<'r>>,
}

/// What the parts need from files, in rows; padding is filled in at once.
fn rows<'r>(parts: impl IntoIterator<Item = &'r mut Part>) -> Vec<Row<'r>> {
    let mut rows: Vec<Row<'r>> = Vec::new();
    for part in parts {
        let Part::Payload { spans, bytes, .. } = part else { continue };
        let mut rest: &mut [u8] = bytes;
        for span in spans.iter() {
            let length = usize::try_from(span.length()).unwrap_or(usize::MAX).min(rest.len());
            let (slice, behind) = rest.split_at_mut(length);
            rest = behind;
            let Span::File { file, offset, length, .. } = span else {
                slice.fill(0);
                continue;
            };
            let file: &File = file;
            let end = offset + length;
            match rows.last_mut() {
                Some(row) if std::ptr::eq(row.file, file) && row.end == *offset && row.slices.len() < SLICES => {
                    row.slices.push(IoSliceMut::new(slice));
                    row.end = end;
                }
                _ => rows.push(Row { file, offset: *offset, end, slices: vec![IoSliceMut::new(slice)] }),
            }
        }
    }
    rows
}

fn read_row(row: Row<'_>, wait: bool) -> io::Result<Reading> {
    let Row { file, mut offset, end, mut slices } = row;
    let mut slices = slices.as_mut_slice();
    let mut flags = if wait { ReadWriteFlags::empty() } else { ReadWriteFlags::NOWAIT };
    while offset < end {
        match preadv2(file, slices, offset, flags) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                offset += count as u64;
                IoSliceMut::advance_slices(&mut slices, count);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if !wait => return Ok(Reading::Cold),
            // A file system in memory, or one that cannot tell.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if !wait && !flags.is_empty() => flags = ReadWriteFlags::empty(),
            Err(code) => return Err(code.into()),
        }
    }
    Ok(Reading::Complete)
}

impl Span {
    fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } | Self::Zeros { length } => *length,
        }
    }
}
