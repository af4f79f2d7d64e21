//! The usual requests of one connection: read, answered and written without a framework.
//!
//! Owns the bytes of a connection that are not yet understood, and those that are not yet sent. Invariants: while anything is
//! unsent nothing more is read or answered, so an answer that nobody reads holds up no more than [`OUTPUT_LENGTH`]; what is
//! not usual is handed on with all bytes from its first one, once everything before it is answered.
//!
//! Buffers for reading and writing are one pair a thread, and used only while a connection is polled: a connection that
//! is silent has none.

use crate::answer::{Asker, Origin, Waiting};
use crate::head::{self, Front, Head};
use crate::routes::Routes;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use swarm_proto::announce::http::decimal;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

/// Bytes that are read at a time: a few pipelined requests.
const INPUT_LENGTH: usize = 16 * 1024;
/// No more requests are answered before the answers to the last ones are sent when those take so many bytes.
const OUTPUT_LENGTH: usize = 64 * 1024;
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-content-type-options: nosniff\r\ncontent-length: ";
const CLOSE: &[u8] = b"\r\nconnection: close";

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; INPUT_LENGTH].into_boxed_slice(),
        output: Vec::with_capacity(OUTPUT_LENGTH),
        body: Vec::with_capacity(INPUT_LENGTH),
    });
}

struct Scratch {
    input: Box<[u8]>,
    output: Vec<u8>,
    body: Vec<u8>,
}

/// How the fast path of a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The other end has closed its side, or wanted it so.
    Closed,
    /// What comes now is for hyper.
    Unusual,
}

/// What is done when all is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Read,
    /// There may be whole requests among what is pending.
    Answer,
    /// Other nodes are asked, and what is pending waits with the announce that is for them.
    Wait,
    End(End),
}

/// A connection of usual requests.
#[derive(Debug)]
pub(crate) struct Fast<S> {
    stream: S,
    origin: Origin,
    routes: Arc<Routes>,
    /// The silence after a request, or before the first, that ends the connection.
    patience: Duration,
    deadline: Instant,
    pending: Vec<u8>,
    unsent: Vec<u8>,
    sent: usize,
    flushed: bool,
    next: Next,
    /// The announce that waits, and whether it is the last of the connection.
    waiting: Option<(Box<Waiting>, bool)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Fast<S> {
    pub(crate) fn new(stream: S, origin: Origin, routes: Arc<Routes>, patience: Duration) -> Self {
        Self {
            stream,
            origin,
            routes,
            patience,
            deadline: Instant::now() + patience,
            pending: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            flushed: true,
            next: Next::Read,
            waiting: None,
        }
    }

    /// When a request must have come, or its answer been taken.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The connection, with what has been read of it and not answered.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.pending)
    }

    /// Says that nothing more will come.
    pub(crate) async fn close(&mut self) {
        // Who is gone does not hear it.
        let _ = self.stream.shutdown().await;
    }

    /// Answers what comes, until the connection ends or something unusual comes.
    pub(crate) fn poll_serve(&mut self, context: &mut Context<'_>) -> Poll<io::Result<End>> {
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                ready!(self.poll_send(context))?;
                match self.next {
                    Next::End(end) => return Poll::Ready(Ok(end)),
                    Next::Answer => {
                        let pending = std::mem::take(&mut self.pending);
                        self.answer(&pending, &mut scratch.output, &mut scratch.body);
                    }
                    Next::Wait => ready!(self.poll_waiting(context, &mut scratch.output, &mut scratch.body)),
                    Next::Read => {
                        let mut input = ReadBuf::new(&mut scratch.input);
                        ready!(Pin::new(&mut self.stream).poll_read(context, &mut input))?;
                        let input = input.filled();
                        if input.is_empty() {
                            return Poll::Ready(Ok(End::Closed));
                        }
                        if self.pending.is_empty() {
                            self.answer(input, &mut scratch.output, &mut scratch.body);
                        } else {
                            let mut pending = std::mem::take(&mut self.pending);
                            pending.extend_from_slice(input);
                            self.answer(&pending, &mut scratch.output, &mut scratch.body);
                        }
                    }
                }
                self.start_sending(context, &scratch.output)?;
            }
        })
    }

    /// Sends what is left of the answers.
    pub(crate) fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        if self.sent > 0 {
            (self.unsent, self.sent) = (Vec::new(), 0);
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends answers at once as far as they go; the rest is kept.
    fn start_sending(&mut self, context: &mut Context<'_>, output: &[u8]) -> io::Result<()> {
        if output.is_empty() {
            return Ok(());
        }
        let sent = match Pin::new(&mut self.stream).poll_write(context, output) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        self.unsent.extend_from_slice(output.get(sent..).unwrap_or_default());
        self.flushed = false;
        Ok(())
    }

    /// Writes the answer to the announce that waits, once it has.
    fn poll_waiting(&mut self, context: &mut Context<'_>, output: &mut Vec<u8>, body: &mut Vec<u8>) -> Poll<()> {
        output.clear();
        body.clear();
        if let Some((waiting, _)) = &mut self.waiting {
            ready!(waiting.wait.as_mut().poll(context));
        }
        self.next = Next::Answer;
        if let Some((waiting, close)) = self.waiting.take() {
            self.routes.answers.answer_waiting(&waiting, body);
            write_answer(output, body, close);
            if close {
                self.next = Next::End(End::Closed);
            }
        }
        Poll::Ready(())
    }

    /// Writes the answers to all whole requests of `input` to `output`, and keeps what is left.
    fn answer(&mut self, input: &[u8], output: &mut Vec<u8>, body: &mut Vec<u8>) {
        output.clear();
        let mut now = None;
        let mut rest = input;
        self.next = loop {
            if output.len() >= OUTPUT_LENGTH {
                break Next::Answer;
            }
            if rest.is_empty() {
                break Next::Read;
            }
            let mut room = head::room();
            let head = match head::read(rest, &mut room) {
                Front::Incomplete => break Next::Read,
                Front::Unusual => break Next::End(End::Unusual),
                Front::Usual(head) => head,
            };
            let now = *now.get_or_insert_with(Instant::now);
            self.deadline = now + self.patience;
            body.clear();
            let waiting = self.answer_one(now.into_std(), &head, body);
            rest = rest.get(head.length..).unwrap_or_default();
            if let Some(waiting) = waiting {
                self.waiting = Some((waiting, head.close));
                break Next::Wait;
            }
            write_answer(output, body, head.close);
            if head.close {
                break Next::End(End::Closed);
            }
        };
        self.pending.extend_from_slice(rest);
    }

    fn answer_one(&self, now: std::time::Instant, head: &Head<'_, '_>, body: &mut Vec<u8>) -> Option<Box<Waiting>> {
        self.routes.watch.count();
        let answers = &self.routes.answers;
        let named = head.headers.iter().filter(|header| answers.proxies.is_header(header.name));
        match answers.asker(self.origin, named.map(|header| header.value)) {
            Ok(ip) => {
                let asker = Asker { ip, host: head.host, passkey: head.passkey };
                self.routes.track(now, head.target, (&asker, head.query), body)
            }
            Err(fault) => {
                answers.unknown(fault, body);
                None
            }
        }
    }
}

fn write_answer(output: &mut Vec<u8>, body: &[u8], close: bool) {
    output.extend_from_slice(ANSWER);
    decimal(output, body.len() as u64);
    if close {
        output.extend_from_slice(CLOSE);
    }
    output.extend_from_slice(b"\r\n\r\n");
    output.extend_from_slice(body);
}
