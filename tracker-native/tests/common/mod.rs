//! A tracker on a free port, and a client that says exactly what a test wants.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this one")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

use bytes::{Buf, Bytes, BytesMut};
use sha1::{Digest, Sha1};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::{
    Decoded, Online, PeerMessage, Publication, Refusal, RefusalCode, Request, RequestId, Response, Sender, Serve,
    Serving, TrackerMessage, decode,
};
use swarm_tracker_core::SnapshotError;
use swarm_tracker_core::{Store, StoreConfig};
use swarm_tracker_native::{Config, Handle, NativeTracker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Nothing here takes so long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const HASH: InfoHash = InfoHash([0x11; 20]);

/// A running tracker.
pub(crate) struct Tracker {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<Store>,
    pub(crate) handle: Handle,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), SnapshotError>>,
}

pub(crate) fn config() -> Config {
    Config::new("127.0.0.1:0".parse().unwrap())
}

pub(crate) fn start(config: Config) -> Tracker {
    start_over(config, Arc::new(Store::new(StoreConfig::default(), Instant::now())))
}

pub(crate) fn start_over(config: Config, store: Arc<Store>) -> Tracker {
    let tracker = NativeTracker::bind(config, Arc::clone(&store)).unwrap();
    let (address, handle) = (tracker.local_addr(), tracker.handle());
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(tracker.serve(async {
        let _ = stopped.await;
    }));
    Tracker { address, store, handle, stop, served }
}

impl Tracker {
    pub(crate) async fn close(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
    }

    /// Waits until it has closed by itself.
    pub(crate) async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.served).await.expect("the end").unwrap().unwrap();
    }

    pub(crate) async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), buffer: BytesMut::new(), next: 1 }
    }

    /// A client that is online, listening on this port as it says.
    pub(crate) async fn online(&self, port: u16) -> Client {
        let mut client = self.connect().await;
        assert!(matches!(client.ask(online(port)).await, Ok(Response::Online(_))));
        client
    }

    /// Waits until the store has so many peers.
    pub(crate) async fn peers(&self, count: u64) {
        until(|| self.store.stats().peers == count).await;
    }
}

/// Waits for something that other tasks bring about.
pub(crate) async fn until(mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("what was waited for");
}

pub(crate) fn online(port: u16) -> Request {
    let mut id = [b'x'; 20];
    id[..2].copy_from_slice(&port.to_be_bytes());
    Request::Online(Online::new(PeerId(id), port))
}

pub(crate) fn serve(info_hash: InfoHash, left: u64) -> Serve {
    Serve {
        info_hash,
        uploaded: 0,
        downloaded: 0,
        left,
        event: AnnounceEvent::Started,
        num_want: None,
        publication: None,
    }
}

/// A metainfo of one small file, and its info hash.
pub(crate) fn metainfo(name: &str, length: u32) -> (Bytes, InfoHash) {
    let info =
        format!("d6:lengthi{length}e4:name{}:{name}12:piece lengthi16384e6:pieces20:ABCDEFGHIJKLMNOPQRSTe", name.len());
    let hash = InfoHash(Sha1::digest(info.as_bytes()).into());
    (format!("d4:info{info}e").into(), hash)
}

pub(crate) fn publication(file: &str, publication: impl FnOnce(Bytes) -> Publication) -> Request {
    let (metainfo, hash) = metainfo(file, 5);
    Request::Serve(Serve { publication: Some(publication(metainfo)), ..serve(hash, 0) })
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
    next: u32,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn say(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        self.send(&PeerMessage::Request(id, request).encode()).await;
        id
    }

    /// The next frame; `None` when the tracker has closed.
    pub(crate) async fn hear(&mut self) -> Option<TrackerMessage> {
        loop {
            if let Decoded::Frame(frame, used) = decode(&self.buffer, Sender::Tracker).unwrap() {
                let message = TrackerMessage::parse(&frame).unwrap();
                self.buffer.advance(used);
                return Some(message);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            if tokio::time::timeout(PATIENCE, read).await.expect("an answer").unwrap() == 0 {
                return None;
            }
        }
    }

    /// Asks, and passes over what is pushed meanwhile.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<Response, Refusal> {
        let asked = self.say(request).await;
        loop {
            match self.hear().await.expect("an answer") {
                TrackerMessage::Response(id, response) if id == asked => return Ok(response),
                TrackerMessage::Refused(id, refusal) if id == Some(asked) => return Err(refusal),
                TrackerMessage::Push(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn serve(&mut self, serve: Serve) -> Serving {
        match self.ask(Request::Serve(serve)).await {
            Ok(Response::Serving(serving)) => serving,
            other => panic!("{other:?}"),
        }
    }

    /// Ports of the peers in the next push: those that joined, those that went.
    pub(crate) async fn pushed(&mut self) -> (Vec<u16>, Vec<u16>) {
        match self.hear().await {
            Some(TrackerMessage::Push(change)) => (ports(&change.joined.peers), ports(&change.gone)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn refused(&mut self) -> (Option<u32>, RefusalCode) {
        match self.hear().await {
            Some(TrackerMessage::Refused(id, refusal)) => (id.map(|id| id.0), refusal.code),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn ports(peers: &[SocketAddr]) -> Vec<u16> {
    let mut ports: Vec<_> = peers.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports
}
