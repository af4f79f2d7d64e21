//! One connection: bytes in, bytes out, and the clock.
//!
//! Owns the socket, its buffers and deadlines. What is answered is decided in [`crate::session`]. It waits for its own peer
//! only: while an answer cannot be written nothing is read, and pushes that find no room are dropped by whoever has them.
//! Invariant: memory grows with the bytes that have arrived, never with a length that was told; a connection that waits for
//! its peer holds no buffer at all.

use crate::mailbox::Mailbox;
use crate::session::{After, FULL_RETRY_S, PeerSession};
use crate::shared::{BUDGET_UNIT, Shared};
use bytes::{Buf, BytesMut};
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use swarm_proto::limits::NATIVE_FRAME_LENGTH;
use swarm_proto::native::{
    Consequence, Decoded, NativeError, PeerMessage, Refusal, RefusalCode, Sender, TrackerMessage, decode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Bytes for which the buffer has room before each read. It grows with what comes.
const READ_LENGTH: usize = 1_024;
/// Time and bytes for which a closing connection still reads, so that the last answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_LENGTH: usize = 1024 * 1024;

/// Why a connection ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the peer has closed")]
    Closed,
    #[error("went offline")]
    Offline,
    #[error("{0}")]
    Broken(String),
    #[error("{0}")]
    Refused(String),
    #[error("the tracker closes")]
    Closing,
    #[error("the peer takes nothing")]
    Stalled,
}

pub(crate) struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    session: PeerSession,
    mailbox: Arc<Mailbox>,
    buffer: BytesMut,
    output: Vec<u8>,
    /// The beginning of the frame that is not whole yet, and the bytes that it will have.
    partial: Option<(Instant, usize)>,
    /// Held while a large frame arrives and is answered.
    budget: Option<OwnedSemaphorePermit>,
    connected: Instant,
    last_heard: Instant,
    ping: u32,
    asked: bool,
    broken: u32,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        shared: Arc<Shared>,
        session: PeerSession,
        mailbox: Arc<Mailbox>,
    ) -> Box<Self> {
        let now = Instant::now();
        Box::new(Self {
            stream,
            shared,
            session,
            mailbox,
            buffer: BytesMut::new(),
            output: Vec::new(),
            partial: None,
            budget: None,
            connected: now,
            last_heard: now,
            ping: 0,
            asked: false,
            broken: 0,
        })
    }

    /// Serves the peer until either side closes. The peer's torrents stop before the socket is waited for a last time.
    pub(crate) async fn run(mut self: Box<Self>, mut closing: watch::Receiver<bool>) -> End {
        let end = match self.talk(&mut closing).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let mut stream = self.leave(&end);
        if !matches!(end, End::Closed | End::Broken(_) | End::Stalled) {
            let _ = timeout(LINGER, Box::pin(linger(&mut stream))).await;
        }
        end
    }

    /// Gives up everything but the socket.
    fn leave(mut self, end: &End) -> TcpStream {
        if *end == End::Closing {
            self.session.leave_in_place();
        }
        self.stream
    }

    async fn talk(&mut self, closing: &mut watch::Receiver<bool>) -> Result<std::convert::Infallible, End> {
        let mailbox = Arc::clone(&self.mailbox);
        let mut closed = pin!(closed(closing));
        let mut alarm = pin!(sleep_until(self.deadline()));
        loop {
            tokio::select! {
                ready = self.stream.readable() => {
                    ready.map_err(|error| End::Broken(error.to_string()))?;
                    self.read().await?;
                }
                () = mailbox.filled() => {
                    mailbox.take().iter().for_each(|frame| self.output.extend_from_slice(frame));
                    self.flush().await?;
                }
                () = &mut alarm => {
                    if self.deadline() <= Instant::now() {
                        Box::pin(self.handle_deadline()).await?;
                    }
                    alarm.as_mut().reset(self.deadline());
                }
                () = &mut closed => {
                    self.say(&TrackerMessage::Refused(None, Refusal::new(RefusalCode::Closing, "the tracker closes")));
                    self.flush().await?;
                    return Err(End::Closing);
                }
            }
            // Most deadlines move back with every message: the alarm finds that out when it rings.
            let deadline = self.deadline();
            if deadline < alarm.deadline() {
                alarm.as_mut().reset(deadline);
            }
        }
    }

    /// Takes in what the socket has, and answers what is whole. The buffer goes when nothing is left in it.
    async fn read(&mut self) -> Result<(), End> {
        self.buffer.reserve(READ_LENGTH);
        match self.stream.try_read_buf(&mut self.buffer) {
            Ok(0) => return Err(End::Closed),
            Ok(read) => {
                self.shared.counters().received_bytes.add(read);
                self.handle_frames().await?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(End::Broken(error.to_string())),
        }
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    /// Answers all frames that are whole.
    async fn handle_frames(&mut self) -> Result<(), End> {
        loop {
            let (message, used) = match decode(&self.buffer, Sender::Peer) {
                Ok(Decoded::Frame(frame, used)) => (PeerMessage::parse(&frame), used),
                Ok(Decoded::Incomplete(need)) => {
                    self.note_partial(need).await?;
                    return self.flush().await;
                }
                Err(error) => return Err(Box::pin(self.refuse_frame(&error)).await),
            };
            self.forget_frame(used);
            match message {
                Ok(PeerMessage::Acknowledge(_)) => {}
                Ok(PeerMessage::Request(id, request)) => {
                    let began = std::time::Instant::now();
                    let (answer, after) = Box::pin(self.session.answer(request)).await;
                    self.shared.counters().requests.add(1);
                    self.shared.counters().latency.record(began.elapsed());
                    self.say(&match answer {
                        Ok(response) => TrackerMessage::Response(id, response),
                        Err(refusal) => TrackerMessage::Refused(Some(id), refusal),
                    });
                    if after == After::Close {
                        self.flush().await?;
                        return Err(End::Offline);
                    }
                }
                Err(error) => Box::pin(self.refuse(&error)).await?,
            }
            self.budget = None;
            if self.output.len() > NATIVE_FRAME_LENGTH {
                self.flush().await?;
            }
            // A pipeline of requests must not keep the other connections of this thread waiting.
            tokio::task::yield_now().await;
        }
    }

    fn forget_frame(&mut self, used: usize) {
        self.buffer.advance(used);
        if used > NATIVE_FRAME_LENGTH {
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        self.partial = None;
        self.last_heard = Instant::now();
        self.asked = false;
    }

    /// Starts the clock of a frame at its first byte, and takes its share of the budget if it is a large one.
    async fn note_partial(&mut self, need: usize) -> Result<(), End> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let since = self.partial.map_or_else(Instant::now, |(since, _)| since);
        self.partial = Some((since, need));
        if need <= NATIVE_FRAME_LENGTH || self.budget.is_some() {
            return Ok(());
        }
        if !self.session.is_online() {
            return Err(Box::pin(self.close_with(Refusal::new(RefusalCode::NotOnline, "O comes first"))).await);
        }
        let share = u32::try_from(need.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX);
        match Arc::clone(&self.shared.large_frames).try_acquire_many_owned(share) {
            Ok(permit) => self.budget = Some(permit),
            Err(_) => {
                let refusal = Refusal::new(RefusalCode::Full, "too many large frames at once");
                return Err(Box::pin(self.close_with(refusal.retry_in(FULL_RETRY_S))).await);
            }
        }
        Ok(())
    }

    /// A frame that could be skipped is refused, and so is, in the end, a peer that sends nothing else.
    async fn refuse(&mut self, error: &NativeError) -> Result<(), End> {
        self.broken += 1;
        self.shared.counters().malformed.add(1);
        tracing::debug!(%error, "request refused");
        if let Some(refusal) = error.refusal() {
            self.say(&TrackerMessage::Refused(error.id, refusal));
        }
        if self.broken >= self.shared.config.limits.broken_requests {
            self.flush().await?;
            return Err(End::Refused("too many broken requests".into()));
        }
        Ok(())
    }

    /// Behind this frame the next one cannot be found.
    async fn refuse_frame(&mut self, error: &NativeError) -> End {
        self.shared.counters().malformed.add(1);
        match (error.consequence, error.refusal()) {
            (Consequence::Close, _) | (_, None) => End::Broken(error.to_string()),
            (_, Some(refusal)) => self.close_with(refusal).await,
        }
    }

    async fn close_with(&mut self, refusal: Refusal) -> End {
        let text = refusal.text.clone();
        self.say(&TrackerMessage::Refused(None, refusal));
        match self.flush().await {
            Ok(()) => End::Refused(text),
            Err(end) => end,
        }
    }

    /// The next moment at which something is to be done although nothing came.
    fn deadline(&self) -> Instant {
        let deadlines = &self.shared.config.deadlines;
        let frame = self
            .partial
            .map(|(since, need)| since + deadlines.frame + Duration::from_secs((need / NATIVE_FRAME_LENGTH) as u64));
        if !self.session.is_online() {
            let online = self.connected + deadlines.online;
            return frame.map_or(online, |frame| frame.min(online));
        }
        frame.unwrap_or(self.last_heard + if self.asked { deadlines.idle } else { deadlines.ping })
    }

    async fn handle_deadline(&mut self) -> Result<(), End> {
        let text = match (self.session.is_online(), self.partial, self.asked) {
            (false, ..) => "no O in time",
            (_, Some(_), _) => "no whole frame in time",
            (.., true) => "nothing was heard for too long",
            (true, None, false) => {
                self.asked = true;
                // Who is silent would be told of peers by a key that is good no longer until the torrents are renewed.
                let _ = self.session.check_key();
                self.ping = self.ping.wrapping_add(1);
                self.say(&TrackerMessage::Ping(self.ping));
                return self.flush().await;
            }
        };
        Err(self.close_with(Refusal::new(RefusalCode::Deadline, text)).await)
    }

    fn say(&mut self, message: &TrackerMessage) {
        if matches!(message, TrackerMessage::Refused(..)) {
            self.shared.counters().refused.add(1);
        }
        let frame = message.encode();
        if self.output.is_empty() { self.output = frame } else { self.output.extend_from_slice(&frame) }
    }

    /// Writes what there is to be said, as long as the peer takes some of it in time.
    async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        // Nearly always the kernel takes all of it at once.
        let written = match self.stream.try_write(&output) {
            Ok(written) => {
                self.shared.counters().sent_bytes.add(written);
                if written == output.len() {
                    return Ok(());
                }
                written
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(End::Broken(error.to_string())),
        };
        Box::pin(self.write_rest(&output, written)).await
    }

    /// Writes what the kernel had no room for.
    async fn write_rest(&mut self, output: &[u8], written: usize) -> Result<(), End> {
        let patience = self.shared.config.deadlines.write;
        // An answer stays in memory until it is written: large ones share the budget, and wait for it.
        let _share = if output.len() > 2 * NATIVE_FRAME_LENGTH && self.budget.is_none() {
            let share = u32::try_from(output.len().div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX);
            let permit = timeout(patience, Arc::clone(&self.shared.large_frames).acquire_many_owned(share)).await;
            Some(permit.map_err(|_| End::Stalled)?)
        } else {
            None
        };
        let mut rest = output.get(written..).unwrap_or_default();
        while !rest.is_empty() {
            match timeout(patience, self.stream.write(rest)).await {
                Ok(Ok(written)) if written > 0 => {
                    self.shared.counters().sent_bytes.add(written);
                    rest = rest.get(written..).unwrap_or_default();
                }
                Ok(Ok(_)) => return Err(End::Closed),
                Ok(Err(error)) => return Err(End::Broken(error.to_string())),
                Err(_) => return Err(End::Stalled),
            }
        }
        Ok(())
    }
}

/// Waits until the tracker closes.
async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Closes our direction and reads what is under way: a socket closed with bytes unread would reset the connection, and the
/// peer would lose the last answer.
async fn linger(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut waste = [0; 4_096];
    let mut total = 0;
    while total < LINGER_LENGTH {
        match stream.read(&mut waste).await? {
            0 => break,
            read => total += read,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::config::{Config, Limits};
    use crate::people::{People, PeopleLimits};
    use swarm_tracker_core::{Store, StoreConfig};
    use tokio::net::TcpListener;

    /// There may be many thousands of them, most of which wait for their peers.
    #[tokio::test]
    async fn a_connection_is_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let store = Arc::new(Store::new(StoreConfig::default(), std::time::Instant::now()));
        let catalogue = Catalogue::new(Limits::default());
        let people = People::new(PeopleLimits { people: 1, of_network: 1 });
        let shared = Arc::new(Shared::new(Config::new(address), store, catalogue, people));
        let registration = shared.registry.register(address).unwrap();
        let mailbox = Arc::new(Mailbox::new(1));
        let session = PeerSession::new(Arc::clone(&shared), registration, address, Arc::clone(&mailbox));
        let connection = Connection::new(stream, shared, session, mailbox);
        let size = size_of_val(&*connection);
        let (_close, closing) = watch::channel(false);
        let task = size_of_val(&connection.run(closing));
        assert!(size <= 512 && task <= 1_024, "{size} bytes, and {task} with its task");
    }
}
