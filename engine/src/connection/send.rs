//! Messages and blocks as bytes to a socket.
//!
//! Owns the order of everything that goes to one peer. Control messages between two blocks leave in one write, together
//! with the header of the next block; the payload follows from the page cache with `sendfile`, so that it never passes
//! through this process. Never sends a byte that the file did not hold: when a file fails behind a header that is out
//! already, the connection is lost.
//!
//! The price of `sendfile`: what waits in a socket are the file's own pages. A program that overwrites a file in place, or
//! cuts it off within a page, changes these too. So the open file is looked at in front of each block and again behind it,
//! before the block counts as sent; the connection of a file that has changed is reset, so that the rest does not leave.

use crate::disk::Stamp;
use crate::limiter::RateLimiter;
use rustix::net::{SendFlags, send, sockopt::set_tcp_cork};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_proto::geometry::{BLOCK_LENGTH, Block};
use swarm_proto::wire::Message;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes of control messages that are put together before they are written.
const CONTROL_LENGTH: usize = 16 * 1024;
/// Capacity that the control buffer keeps while there is more to send.
const CONTROL_KEPT_LENGTH: usize = 1_024;
/// What a message without a body counts for when a queue is measured: about its size in memory.
const MESSAGE_BYTES: usize = 64;
/// Blocks in one go; then it is the receiving half's turn.
const BLOCKS_PER_TURN: usize = 64;
static ZEROS: [u8; BLOCK_LENGTH as usize] = [0; BLOCK_LENGTH as usize];

/// What a connection is told to send.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// A message without payload.
    Message(Message),
    /// A `piece` message with its payload.
    Block(Block),
}

impl Outbound {
    /// Bytes that it counts for while it waits.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Message(message) => message_cost(message),
            Self::Block(block) => block.length() as usize,
        }
    }
}

/// Bytes that a message counts for in queues and batches.
pub(super) fn message_cost(message: &Message) -> usize {
    let body = match message {
        Message::Bitfield(body) | Message::Extended(_, body) => body.len(),
        _ => 0,
    };
    MESSAGE_BYTES + body
}

/// Where some bytes of a block come from.
#[derive(Clone, Debug)]
pub(crate) enum Span {
    /// From a file, at an offset in it.
    File {
        /// Open for reading.
        file: Arc<File>,
        /// What it was when it was found right.
        stamp: Stamp,
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

/// Where the bytes of uploads come from.
pub(crate) trait Source {
    /// The places of a block's bytes in order, checked to be there; `None` if they can't be had.
    fn spans(&self, block: Block) -> Option<Vec<Span>>;
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Nothing is left to send.
    Idle,
    /// There is more, and the socket may take it.
    More,
    /// The socket takes no more for now.
    Full,
    /// The rate limit says to wait.
    Limited(Duration),
}

/// Why nothing can be sent any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The connection broke.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The file failed in the middle of this block.
    #[error("the file failed in the middle of a block: {1}")]
    Unreadable(Block, io::Error),
}

/// The sending half of one connection.
#[derive(Default)]
pub(super) struct Sender {
    queue: VecDeque<Outbound>,
    control: Vec<u8>,
    control_sent: usize,
    upload: Option<Upload>,
    corked: bool,
    /// Blocks at the front of the queue that the system knows of.
    announced: usize,
    /// What has left the queue and has not been asked for with [`Sender::released`].
    released: usize,
}

struct Upload {
    block: Block,
    spans: VecDeque<Span>,
}

impl Sender {
    pub(super) fn push(&mut self, outbound: impl IntoIterator<Item = Outbound>) {
        self.queue.extend(outbound);
    }

    /// Whether there is anything to send.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.upload.is_none() && self.control.is_empty()
    }

    /// What has left the queue since the last call, as [`Outbound::cost`] measures it.
    pub(super) fn released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }

    /// Sends until the socket is full, the limit is reached, nothing is left, or others should have their turn. What
    /// became of each block is put into `sent`.
    pub(super) fn send(
        &mut self,
        stream: &TcpStream,
        source: &dyn Source,
        limiter: &RateLimiter,
        sent: &mut Vec<Sent>,
    ) -> Result<Turn, SendError> {
        for _ in 0..BLOCKS_PER_TURN {
            self.stage(source, sent);
            if self.is_idle() {
                self.uncork(stream)?;
                (self.queue, self.control) = (VecDeque::new(), Vec::new());
                return Ok(Turn::Idle);
            }
            if !self.corked && self.upload.is_some() && matches!(self.queue.front(), Some(Outbound::Block(_))) {
                set_tcp_cork(stream, true).map_err(io::Error::from)?;
                self.corked = true;
            }
            if !self.send_control(stream)? {
                return Ok(Turn::Full);
            }
            match self.send_payload(stream, source, limiter)? {
                Turn::Idle => sent.extend(self.upload.take().map(|upload| Sent::Done(upload.block))),
                turn => {
                    // What is in the socket must not wait for the next token.
                    if matches!(turn, Turn::Limited(_)) {
                        self.uncork(stream)?;
                    }
                    return Ok(turn);
                }
            }
        }
        Ok(Turn::More)
    }

    /// Moves messages from the queue into the control buffer, up to and with the header of the next block.
    fn stage(&mut self, source: &dyn Source, sent: &mut Vec<Sent>) {
        while self.upload.is_none() && self.control.len() < CONTROL_LENGTH {
            let Some(outbound) = self.queue.pop_front() else { return };
            self.released += outbound.cost();
            match outbound {
                Outbound::Message(message) => message.encode_to(&mut self.control),
                Outbound::Block(block) => {
                    self.read_ahead(block, source);
                    let Some(spans) = source.spans(block) else {
                        sent.push(Sent::Unreadable(block));
                        continue;
                    };
                    self.control.extend_from_slice(&Message::piece_header(block));
                    self.upload = Some(Upload { block, spans: spans.into() });
                }
            }
        }
    }

    /// Announces the blocks that wait in a row, all at once and each only once.
    fn read_ahead(&mut self, first: Block, source: &dyn Source) {
        if self.announced > 0 {
            self.announced -= 1;
            return;
        }
        let waiting = self.queue.iter().map_while(|outbound| match outbound {
            Outbound::Block(block) => Some(*block),
            Outbound::Message(_) => None,
        });
        let mut blocks = std::iter::once(first).chain(waiting.take(BLOCKS_PER_TURN)).inspect(|_| self.announced += 1);
        source.will_need(&mut blocks);
        drop(blocks);
        self.announced = self.announced.saturating_sub(1);
    }

    /// Writes the control buffer; false if the socket is full before its end.
    fn send_control(&mut self, stream: &TcpStream) -> io::Result<bool> {
        let flags = if self.upload.is_some() { SendFlags::MORE | SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL };
        while let Some(rest) = self.control.get(self.control_sent..).filter(|rest| !rest.is_empty()) {
            match stream.try_io(Interest::WRITABLE, || Ok(send(stream, rest, flags)?)) {
                Ok(count) => self.control_sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.control.clear();
        self.control.shrink_to(CONTROL_KEPT_LENGTH);
        self.control_sent = 0;
        Ok(true)
    }

    /// Sends the rest of the block under way; [`Turn::Idle`] when it is out, or when there is none.
    fn send_payload(
        &mut self,
        stream: &TcpStream,
        source: &dyn Source,
        limiter: &RateLimiter,
    ) -> Result<Turn, SendError> {
        let Some(upload) = &mut self.upload else { return Ok(Turn::Idle) };
        while let Some(span) = upload.spans.front_mut() {
            let left = span.length();
            if left == 0 {
                let has_changed = span.has_changed();
                upload.spans.pop_front();
                // We may have written to it ourselves: the source knows.
                if has_changed && source.spans(upload.block).is_none() {
                    return Err(SendError::Unreadable(upload.block, io::Error::other("the file has changed")));
                }
                continue;
            }
            let granted = match limiter.take(Instant::now(), usize::try_from(left).unwrap_or(usize::MAX)) {
                Ok(granted) => granted,
                Err(wait) => return Ok(Turn::Limited(wait)),
            };
            let result = stream.try_io(Interest::WRITABLE, || span.send(stream, granted));
            limiter.give_back(granted - result.as_ref().map_or(0, |count| *count));
            match result {
                Ok(0) => return Err(SendError::Unreadable(upload.block, io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => span.skip(count as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Turn::Full),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_of_socket(&error) => return Err(error.into()),
                Err(error) => return Err(SendError::Unreadable(upload.block, error)),
            }
        }
        Ok(Turn::Idle)
    }

    fn uncork(&mut self, stream: &TcpStream) -> io::Result<()> {
        if std::mem::take(&mut self.corked) {
            set_tcp_cork(stream, false)?;
        }
        Ok(())
    }
}

/// Whether the connection failed, and not the file.
fn is_of_socket(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut)
}

impl Span {
    fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } | Self::Zeros { length } => *length,
        }
    }

    /// Whether the file is not what it was in front of the block.
    fn has_changed(&self) -> bool {
        match self {
            Self::File { file, stamp, .. } => Stamp::of(file, Path::new("")).ok().as_ref() != Some(stamp),
            Self::Zeros { .. } => false,
        }
    }

    fn skip(&mut self, count: u64) {
        match self {
            Self::File { offset, length, .. } => {
                *offset += count;
                *length = length.saturating_sub(count);
            }
            Self::Zeros { length } => *length = length.saturating_sub(count),
        }
    }

    /// Sends up to `most` bytes; 0 is the end of the file.
    fn send(&self, stream: &TcpStream, most: usize) -> io::Result<usize> {
        match self {
            Self::File { file, offset, .. } => {
                let mut from = *offset;
                match rustix::fs::sendfile(stream, file, Some(&mut from), most) {
                    Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => copy(file, *offset, stream, most),
                    result => Ok(result?),
                }
            }
            Self::Zeros { .. } => {
                Ok(send(stream, ZEROS.get(..most.min(ZEROS.len())).unwrap_or_default(), SendFlags::NOSIGNAL)?)
            }
        }
    }
}

/// For file systems without `sendfile`.
fn copy(file: &File, offset: u64, stream: &TcpStream, most: usize) -> io::Result<usize> {
    let mut bytes = vec![0; most.min(BLOCK_LENGTH as usize)];
    let got = file.read_at(&mut bytes, offset)?;
    if got == 0 {
        return Ok(0);
    }
    Ok(send(stream, bytes.get(..got).unwrap_or_default(), SendFlags::NOSIGNAL)?)
}
