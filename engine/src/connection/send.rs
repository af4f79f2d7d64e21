//! Messages and blocks as bytes to a socket.
//!
//! Owns the order of everything that goes to one peer. What leaves together is put together first (see [`Run`]): messages,
//! headers and blocks are one write. Never sends a byte that is not what was verified: a file is looked at once a run has
//! been read from it and before any of it leaves.

use super::line::Entry;
use super::run::{Reading, Run, Span};
use crate::buffer::BlockPool;
use crate::limiter::RateLimiter;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_proto::geometry::Block;
use swarm_proto::layout::FileIndex;
use swarm_proto::wire::Message;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes of control messages that are put together before they are written.
const CONTROL_LENGTH: usize = 16 * 1024;
/// What a message without a body counts for when a batch is measured: about its size in memory.
const MESSAGE_BYTES: usize = 64;
/// Blocks of a run at most: what a core keeps near itself between the copy from the file and the one to the socket.
const MOST_BLOCKS: usize = 16;
/// Blocks of the first run, and of each while the socket does not take what it is given: a slow peer holds little memory.
const FEWEST_BLOCKS: usize = 2;
/// Runs in one go; then it is the receiving half's turn.
const RUNS_PER_TURN: usize = 4;

/// What a connection is told to send.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// A message without payload.
    Message(Message),
    /// A `piece` message with its payload.
    Block(Block),
}

impl Outbound {
    /// Bytes that it counts for at most while it waits: with a header, and as an entry of its own.
    pub(super) fn most_bytes(&self) -> usize {
        match self {
            Self::Message(message) => MESSAGE_BYTES + message_cost(message),
            Self::Block(block) => block.length() as usize,
        }
    }
}

/// Bytes that a message counts for in batches.
pub(super) fn message_cost(message: &Message) -> usize {
    let body = match message {
        Message::Bitfield(body) | Message::Extended(_, body) => body.len(),
        _ => 0,
    };
    MESSAGE_BYTES + body
}

/// Where the bytes of uploads come from.
pub(crate) trait Source {
    /// The places of a block's bytes in order; `None` if they can't be had.
    fn spans(&self, block: Block) -> Option<Vec<Span>>;
    /// Whether a file is still what was verified. Asked when it has been read, and before any of that leaves.
    fn is_unchanged(&self, index: FileIndex, file: &File) -> bool;
    /// Tells the system that these blocks will be read soon.
    fn will_need(&self, blocks: &mut dyn Iterator<Item = Block>);
}

/// What became of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// All of it is with the system.
    Done(Block),
    /// It could not be read; nothing of it was sent.
    Unreadable(Block),
}

/// Why a turn ended.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nothing is left to send.
    Idle,
    /// There is more, and the socket may take it.
    More,
    /// The socket takes no more for now.
    Full,
    /// The rate limit says to wait.
    Limited(Duration),
    /// This has to come from the disk: to be read where one may wait, and given to [`Sender::resume`].
    Cold(Run),
}

/// Why nothing can be sent any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The connection broke.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// This block, and what was to follow it, could not be read.
    #[error("the file failed in the middle of a run: {1}")]
    Unreadable(Block, io::Error),
}

/// The sending half of one connection.
#[derive(Default)]
pub(super) struct Sender {
    queue: VecDeque<Entry>,
    run: Run,
    /// The block behind the run that could not be read; nothing follows it.
    failed: Option<(Block, io::Error)>,
    /// Blocks that the next run may have.
    blocks: usize,
    /// Somebody else is reading the run.
    away: bool,
    /// What has left the queue and has not been asked for with [`Sender::released`].
    released: usize,
}

/// What a run is made from.
pub(super) struct Means<'m, S> {
    pub(super) source: &'m S,
    pub(super) pool: &'m Arc<BlockPool>,
    pub(super) limiter: &'m RateLimiter,
}

impl Sender {
    pub(super) fn push(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.queue.extend(entries);
    }

    /// Whether there is nothing that could be sent now.
    pub(super) fn is_idle(&self) -> bool {
        self.away || self.queue.is_empty() && self.run.is_empty() && self.failed.is_none()
    }

    /// Bytes of payload that the socket has taken of a block of which it has not taken all.
    pub(super) fn payload_cut_short(&self) -> usize {
        self.run.payload_cut_short()
    }

    /// What has left the queue since the last call, as [`Entry::cost`] measures it.
    pub(super) fn released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }

    /// Sends until the socket is full, the limit is reached, nothing is left, or others should have their turn. What
    /// became of each block is put into `sent`.
    pub(super) fn send<S: Source>(
        &mut self,
        stream: &TcpStream,
        means: &Means<'_, S>,
        sent: &mut Vec<Sent>,
    ) -> Result<Turn, SendError> {
        for _ in 0..RUNS_PER_TURN {
            if self.run.is_empty() && self.failed.is_none() && self.stage(means, sent) == Reading::Cold {
                self.away = true;
                return Ok(Turn::Cold(std::mem::take(&mut self.run)));
            }
            if let Some(turn) = self.send_run(stream, means.limiter, sent)? {
                return Ok(turn);
            }
            if let Some((block, error)) = self.failed.take() {
                return Err(SendError::Unreadable(block, error));
            }
            if self.queue.is_empty() {
                (self.queue, self.run) = (VecDeque::new(), Run::default());
                return Ok(Turn::Idle);
            }
        }
        Ok(Turn::More)
    }

    /// Takes a run back that was read elsewhere.
    pub(super) fn resume<S: Source>(&mut self, run: Run, result: Result<(), (Block, io::Error)>, source: &S) {
        (self.run, self.away) = (run, false);
        self.failed = result.err();
        self.check(source);
    }

    /// Puts the next run together, and reads what needs no waiting for a disk.
    fn stage<S: Source>(&mut self, means: &Means<'_, S>, sent: &mut Vec<Sent>) -> Reading {
        self.blocks = self.blocks.clamp(FEWEST_BLOCKS, MOST_BLOCKS);
        while self.run.blocks() < self.blocks && self.run.control_length() < CONTROL_LENGTH {
            let Some(entry) = self.queue.pop_front() else { break };
            let cost = entry.cost();
            match entry {
                Entry::Control(bytes) => self.run.push_control(&bytes),
                Entry::Block(block) => match means.source.spans(block) {
                    Some(spans) => self.run.push_block(block, spans, means.pool),
                    // What became of a block is told in order: those before it have to be out.
                    None if self.run.blocks() > 0 => {
                        self.queue.push_front(entry);
                        break;
                    }
                    None => sent.push(Sent::Unreadable(block)),
                },
            }
            self.released += cost;
        }
        if self.run.blocks() == 0 {
            return Reading::Complete;
        }
        match self.run.read(false) {
            Ok(Reading::Cold) => {
                let waiting = self.queue.iter().filter_map(|entry| match entry {
                    Entry::Block(block) => Some(*block),
                    Entry::Control(_) => None,
                });
                means.source.will_need(&mut waiting.take(MOST_BLOCKS));
                return Reading::Cold;
            }
            Ok(Reading::Complete) => {}
            Err(failed) => self.failed = Some(failed),
        }
        self.check(means.source);
        Reading::Complete
    }

    /// Nothing of a file leaves that has changed before it was read to the end.
    fn check<S: Source>(&mut self, source: &S) {
        for (index, file) in self.run.files() {
            if !source.is_unchanged(index, &file)
                && let Some(block) = self.run.cut_from_file(index)
            {
                self.failed = Some((block, io::Error::other("the file has changed")));
            }
        }
    }

    /// Sends the run to its end; a turn if that cannot be reached now.
    fn send_run(
        &mut self,
        stream: &TcpStream,
        limiter: &RateLimiter,
        sent: &mut Vec<Sent>,
    ) -> Result<Option<Turn>, SendError> {
        let mut done = Vec::new();
        let mut turn = None;
        while !self.run.is_empty() {
            let wanted = self.run.length();
            // Only payload is limited: what we say must not wait for it.
            let granted = match self.run.blocks() {
                0 => wanted,
                _ => match limiter.take(Instant::now(), wanted) {
                    Ok(granted) => granted,
                    Err(wait) => {
                        turn = Some(Turn::Limited(wait));
                        break;
                    }
                },
            };
            let limited = self.run.blocks() > 0;
            let write = |slices: &[io::IoSlice<'_>]| {
                let nothing = &mut SendAncillaryBuffer::default();
                let send = || Ok(sendmsg(stream, slices, nothing, SendFlags::NOSIGNAL)?);
                stream.try_io(Interest::WRITABLE, send)
            };
            let result = self.run.send(granted, write, &mut done);
            if limited {
                limiter.give_back(granted - result.as_ref().map_or(0, |count| *count));
            }
            match result {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocks /= 2;
                    turn = Some(Turn::Full);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    sent.extend(done.into_iter().map(Sent::Done));
                    return Err(error.into());
                }
            }
        }
        if turn.is_none() {
            self.blocks *= 2;
        }
        sent.extend(done.into_iter().map(Sent::Done));
        Ok(turn)
    }
}
