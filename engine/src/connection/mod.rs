//! One connection: a socket turned into messages and blocks, and nothing else.
//!
//! Owns the socket. Decides nothing about the protocol: what came goes to the torrent task in batches, what the torrent
//! task says goes out in order. Never waits for the torrent task while it could send: when the torrent's queue is full,
//! it only stops reading, and TCP tells the peer.

mod ahead;
pub(crate) mod handshake;
mod line;
mod receive;
mod run;
mod send;

pub(crate) use line::Line;
pub(crate) use run::Span;
pub(crate) use send::{Outbound, Source};

use crate::buffer::{BlockBuffer, BlockPool};
use crate::limiter::RateLimiter;
use line::Inbox;
use receive::{Inbound, Receiver};
use run::Run;
use send::{Means, SendError, Sender, Sent, Turn, message_cost};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use swarm_proto::geometry::{Block, Geometry};
use swarm_proto::id::PeerKey;
use swarm_proto::swarm::PeerFault;
use swarm_proto::wire::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

/// Bytes that a batch may hold before it must be handed over.
const BATCH_BYTES: usize = 256 * 1024;
/// Entries that a batch may hold before it must be handed over.
const BATCH_ENTRIES: usize = 256;

/// Something that happened on a connection.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message came.
    Message(Message),
    /// A block came.
    Block(Block, BlockBuffer),
    /// The peer broke the framing; the connection is at its end.
    Fault(PeerFault),
    /// A block is out.
    Uploaded(Block),
    /// The connection has ended in the middle of a block, of which so many bytes are out.
    CutShort(usize),
    /// A block could not be read from disk.
    Unreadable(Block),
}

/// What happened on one connection, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Whose connection.
    pub(crate) peer: PeerKey,
    /// What.
    pub(crate) received: Vec<Received>,
}

/// What all connections of a torrent share.
pub(crate) struct Shared<S> {
    /// The shape of the torrent.
    pub(crate) geometry: Geometry,
    /// Memory for blocks.
    pub(crate) pool: Arc<BlockPool>,
    /// Where uploads come from.
    pub(crate) source: S,
    /// The session's limit of what goes out.
    pub(crate) upload_limit: Arc<RateLimiter>,
    /// The session's limit of what comes in.
    pub(crate) download_limit: Arc<RateLimiter>,
    /// To the torrent task.
    pub(crate) batches: mpsc::Sender<Batch>,
}

/// A run that somebody read for us, or the block at which that failed.
type Read = (Run, Result<(), (Block, io::Error)>);

/// The connection's own side.
pub(crate) struct Connection<S> {
    stream: TcpStream,
    peer: PeerKey,
    shared: Arc<Shared<S>>,
    inbox: Inbox,
    receiver: Receiver,
    sender: Sender,
    /// A run of blocks that comes from a disk.
    reading: Option<JoinHandle<Read>>,
    batch: Vec<Received>,
    batch_bytes: usize,
    read_pause: Option<Instant>,
    write_pause: Option<Instant>,
    ending: bool,
}

/// Why a connection ended by itself; for the log.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("closed by the peer")]
    Closed,
    #[error("closed by us")]
    Dropped,
}

impl<S: Source> Connection<S> {
    /// A connection behind its handshake, and the end of it that the torrent task holds. In a box, because a future that
    /// is handed from task to task reserves room for each of its owners.
    pub(crate) fn new(stream: TcpStream, peer: PeerKey, shared: Arc<Shared<S>>) -> (Box<Self>, Line) {
        let (line, inbox) = line::line();
        let receiver = Receiver::new(shared.geometry, Arc::clone(&shared.pool));
        let connection = Self {
            stream,
            peer,
            shared,
            inbox,
            receiver,
            sender: Sender::default(),
            reading: None,
            batch: Vec::new(),
            batch_bytes: 0,
            read_pause: None,
            write_pause: None,
            ending: false,
        };
        (Box::new(connection), line)
    }

    /// Runs until either side closes. Everything that came before has been handed over when this returns.
    pub(crate) async fn run(mut self: Box<Self>) {
        let batches = self.shared.batches.clone();
        let end = loop {
            if let Err(end) = self.step(&batches).await {
                break end;
            }
        };
        tracing::debug!(peer = self.peer.0, %end, "connection ended");
        let received = self.last_words(&end);
        if !received.is_empty() {
            // Fails only when the torrent has ended, and then nobody wants to know.
            let _ = batches.send(Batch { peer: self.peer, received }).await;
        }
    }

    /// What has not been handed over. If the torrent has closed the connection, only what concerns what we sent.
    fn last_words(&mut self, end: &End) -> Vec<Received> {
        let mut received = std::mem::take(&mut self.batch);
        if matches!(end, End::Dropped) {
            received.retain(|received| matches!(received, Received::Uploaded(_) | Received::Unreadable(_)));
        }
        let cut_short = Some(self.sender.payload_cut_short()).filter(|bytes| *bytes > 0);
        received.extend(cut_short.map(Received::CutShort));
        received
    }

    /// Waits for whatever can go on, and does it. Reading comes before handing over, so that a batch grows as long as
    /// the socket has more; a full batch stops the reading.
    async fn step(&mut self, batches: &mpsc::Sender<Batch>) -> Result<(), End> {
        let batch_full = self.batch.len() >= BATCH_ENTRIES || self.batch_bytes >= BATCH_BYTES;
        let may_read = !self.ending && !batch_full && self.read_pause.is_none();
        let may_write = !self.sender.is_idle() && self.write_pause.is_none();
        let pause = [self.read_pause, self.write_pause].into_iter().flatten().min();
        tokio::select! {
            biased;
            outbound = self.inbox.receive() => self.sender.push(outbound.ok_or(End::Dropped)?),
            ready = self.stream.readable(), if may_read => {
                ready?;
                self.read()?;
            }
            ready = self.stream.writable(), if may_write => {
                ready?;
                self.write()?;
            }
            (run, result) = finished(&mut self.reading) => {
                self.reading = None;
                self.sender.resume(run, result, &self.shared.source);
            }
            permit = batches.reserve(), if !self.batch.is_empty() => {
                let received = std::mem::take(&mut self.batch);
                self.batch_bytes = 0;
                permit.map_err(|_| End::Dropped)?.send(Batch { peer: self.peer, received });
                if self.ending {
                    return Err(End::Closed);
                }
            }
            () = sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => {
                let now = Instant::now();
                self.read_pause = self.read_pause.filter(|&until| until > now);
                self.write_pause = self.write_pause.filter(|&until| until > now);
            }
        }
        Ok(())
    }

    /// Reads until the socket is empty, the batch full, or the rate limit reached.
    fn read(&mut self) -> Result<(), End> {
        while self.batch.len() < BATCH_ENTRIES && self.batch_bytes < BATCH_BYTES {
            let now = Instant::now();
            let limiter = &self.shared.download_limit;
            let granted = match limiter.take(now.into_std(), self.receiver.wanted()) {
                Ok(granted) => granted,
                Err(wait) => {
                    self.read_pause = Some(later(now, wait));
                    return Ok(());
                }
            };
            let stream = &self.stream;
            let result = self.receiver.fill(granted, |slices| stream.try_read_vectored(slices));
            limiter.give_back(granted - result.as_ref().map_or(0, |count| *count));
            match result {
                Ok(0) => return Err(End::Closed),
                Ok(_) => {
                    if let Err(fault) = self.decode() {
                        self.batch.push(Received::Fault(fault));
                        self.ending = true;
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.receiver.rest();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Puts what has arrived in full into the batch.
    fn decode(&mut self) -> Result<(), PeerFault> {
        while let Some(inbound) = self.receiver.take()? {
            self.batch_bytes += match &inbound {
                Inbound::Message(message) => message_cost(message),
                Inbound::Block(_, buffer) => buffer.len(),
            };
            self.batch.push(match inbound {
                Inbound::Message(message) => Received::Message(message),
                Inbound::Block(block, buffer) => Received::Block(block, buffer),
            });
        }
        Ok(())
    }

    /// Sends one turn, and notes what became of the blocks in it.
    fn write(&mut self) -> Result<(), End> {
        let mut sent = Vec::new();
        let Shared { source, pool, upload_limit: limiter, .. } = &*self.shared;
        let turn = self.sender.send(&self.stream, &Means { source, pool, limiter }, &mut sent);
        self.batch.extend(sent.into_iter().map(|sent| match sent {
            Sent::Done(block) => Received::Uploaded(block),
            Sent::Unreadable(block) => Received::Unreadable(block),
        }));
        self.inbox.release(self.sender.released());
        match turn {
            Ok(Turn::Limited(wait)) => self.write_pause = Some(later(Instant::now(), wait)),
            Ok(Turn::Cold(run)) => self.reading = Some(spawn_blocking(move || read(run))),
            Ok(Turn::Idle | Turn::More | Turn::Full) => {}
            Err(error) => {
                if let SendError::Unreadable(block, _) = &error {
                    self.batch.push(Received::Unreadable(*block));
                }
                return Err(error.into());
            }
        }
        Ok(())
    }
}

fn read(mut run: Run) -> Read {
    let result = run.read(true).map(|_| ());
    (run, result)
}

/// The run that somebody reads for us; never, if nobody does.
async fn finished(reading: &mut Option<JoinHandle<Read>>) -> Read {
    match reading {
        Some(task) => match task.await {
            Ok(read) => read,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down, and we with it.
                Err(_) => std::future::pending().await,
            },
        },
        None => std::future::pending().await,
    }
}

/// A moment that exists, however slow the limit is.
fn later(now: Instant, wait: Duration) -> Instant {
    now + wait.min(Duration::from_secs(3_600))
}

#[cfg(test)]
mod tests;
