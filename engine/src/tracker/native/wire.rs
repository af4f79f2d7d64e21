//! Frames over a socket, from the client's side.

use bytes::{Buf, BytesMut};
use std::time::Duration;
use swarm_proto::announce::{Reach, TrackerError};
use swarm_proto::id::PeerId;
use swarm_proto::native::{
    Decoded, NativeUrl, Online, PeerMessage, Refusal, RefusalCode, Request, RequestId, Response, Sender, Session,
    TrackerMessage, VERSION, decode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For the connection, and again for the session.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For the tracker to take one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// For the tracker to take a message with a metainfo of the largest size.
const LARGE_WRITE_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes from which on a message is a large one.
const LARGE: usize = 64 * 1024;
/// Bytes for which the buffer has room before each read.
const READ_LENGTH: usize = 8 * 1024;

/// A connection to a tracker. Received bytes are bounded by the frame that is expected, and memory by what has arrived.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
    longest: usize,
    reach: Reach,
}

impl Wire {
    /// Connects to `host:port`; frames from there may have `longest` bytes.
    pub(super) async fn connect(authority: &str, longest: usize) -> Result<Self, TrackerError> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(authority)).await;
        let stream = connected.map_err(|_| TrackerError::TimedOut(CONNECT_TIMEOUT))?.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let reach = Reach::of(stream.peer_addr().map_err(broken)?.ip());
        Ok(Self { stream, buffer: BytesMut::new(), longest, reach })
    }

    /// Connects to a tracker and goes online there as a reader, who takes no connections.
    pub(super) async fn open(tracker: &NativeUrl, longest: usize) -> Result<Self, TrackerError> {
        let mut wire = Self::connect(&tracker.authority(), longest).await?;
        wire.introduce(Self::reader(tracker)).await?;
        Ok(wire)
    }

    /// What somebody says who takes no connections.
    pub(super) fn reader(tracker: &NativeUrl) -> Online {
        Online { passkey: tracker.passkey.clone(), ..Online::new(PeerId::new(rand::random()), 0) }
    }

    /// Says who we are, with request id 0, and the name of the program.
    pub(super) async fn introduce(&mut self, online: Online) -> Result<Session, TrackerError> {
        let client = Some(concat!("swarm ", env!("CARGO_PKG_VERSION")).to_owned());
        let online = Online { client, ..online };
        self.send(&PeerMessage::Request(RequestId(0), Request::Online(online))).await?;
        let answer = timeout(CONNECT_TIMEOUT, self.receive()).await;
        match answer.map_err(|_| TrackerError::TimedOut(CONNECT_TIMEOUT))?? {
            TrackerMessage::Response(RequestId(0), Response::Online(session)) if session.version == VERSION => {
                Ok(session)
            }
            TrackerMessage::Refused(_, refusal) => Err(refused(refusal)),
            _ => Err(TrackerError::Malformed("no session in answer to O".into())),
        }
    }

    /// From where the tracker can be reached.
    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// Sends a message.
    pub(super) async fn send(&mut self, message: &PeerMessage) -> Result<(), TrackerError> {
        let bytes = message.encode();
        let patience = if bytes.len() > LARGE { LARGE_WRITE_TIMEOUT } else { WRITE_TIMEOUT };
        let written = timeout(patience, self.stream.write_all(&bytes)).await;
        written.map_err(|_| TrackerError::TimedOut(patience))?.map_err(broken)
    }

    /// The next message that we know. Nothing is lost when the future is dropped.
    pub(super) async fn receive(&mut self) -> Result<TrackerMessage, TrackerError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            self.buffer.reserve(READ_LENGTH);
            if self.stream.read_buf(&mut self.buffer).await.map_err(broken)? == 0 {
                return Err(TrackerError::Unreachable("the tracker has closed the connection".into()));
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<TrackerMessage>, TrackerError> {
        let malformed = |text: String| TrackerError::Malformed(text);
        loop {
            let (message, used) = match decode(&self.buffer, Sender::Tracker) {
                Ok(Decoded::Frame(frame, used)) => (TrackerMessage::parse(&frame), used),
                Ok(Decoded::Incomplete(need)) if need > self.longest => {
                    return Err(malformed(format!("a frame of {need} bytes, unasked")));
                }
                Ok(Decoded::Incomplete(_)) => return Ok(None),
                Err(error) => return Err(malformed(error.text)),
            };
            self.buffer.advance(used);
            match message {
                // From a later version: to be passed over.
                Err(error) if error.code == RefusalCode::UnknownOpcode => {}
                Err(error) => return Err(malformed(error.text)),
                Ok(message) => return Ok(Some(message)),
            }
        }
    }
}

/// A refusal in the form that all dialects share.
pub(super) fn refused(refusal: Refusal) -> TrackerError {
    let retry_in = refusal.retry_in_s.map(|seconds| Duration::from_secs(seconds.into()));
    TrackerError::Refused { reason: refusal.text, retry_in }
}

fn broken(error: std::io::Error) -> TrackerError {
    TrackerError::Unreachable(error.to_string())
}
