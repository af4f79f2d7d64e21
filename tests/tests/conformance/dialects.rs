//! The three dialects, each spoken in bytes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_proto::announce::http::{announce_url, parse_reply};
use swarm_proto::announce::udp::{ConnectionId, Family, Reply, TransactionId, announce_request, connect_request};
use swarm_proto::announce::{Announce, AnnounceReply, TrackerError};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::{
    Decoded, Online, PeerMessage, Request, RequestId, Response, Sender, Serve, TrackerMessage, decode,
};
use swarm_tracker_core::{Store, StoreConfig};
use swarm_tracker_http::{HttpTracker, HttpTrackerConfig};
use swarm_tracker_native::{Config, NativeTracker};
use swarm_tracker_udp::{UdpTracker, UdpTrackerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// All dialects over one store; they end with this.
pub(crate) struct Trackers {
    pub(crate) http: SocketAddr,
    pub(crate) udp: SocketAddr,
    native: SocketAddr,
    pub(crate) store: Arc<Store>,
    _serving: JoinSet<()>,
}

/// What an announce brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) complete: u32,
    pub(crate) incomplete: u32,
}

/// An announce of the peer that serves at port `n`.
pub(crate) fn announce(n: u16, left: u64) -> Announce {
    let mut peer_id = [b'-'; 20];
    peer_id[..2].copy_from_slice(&n.to_be_bytes());
    Announce::new(InfoHash([0x2b; 20]), PeerId(peer_id), n, left)
}

/// Path and query of an announce over HTTP.
pub(crate) fn query(announce: &Announce) -> String {
    announce_url("http://t/announce", announce).unwrap().replace("http://t", "")
}

impl From<AnnounceReply> for Found {
    fn from(reply: AnnounceReply) -> Self {
        let ports: BTreeSet<u16> = reply.peers.iter().map(|peer| peer.address.port()).collect();
        assert_eq!(ports.len(), reply.peers.len(), "nobody comes twice");
        Self { ports, complete: reply.complete.unwrap(), incomplete: reply.incomplete.unwrap() }
    }
}

impl Trackers {
    pub(crate) async fn start() -> Self {
        Self::start_with(StoreConfig::default()).await
    }

    pub(crate) async fn start_with(config: StoreConfig) -> Self {
        let store = Arc::new(Store::new(config, Instant::now()));
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let http = HttpTrackerConfig { listen: listen.clone(), ..HttpTrackerConfig::default() };
        let http = HttpTracker::bind(http, Arc::clone(&store)).unwrap();
        let udp = UdpTrackerConfig { listen, ..UdpTrackerConfig::default() };
        let udp = UdpTracker::bind(udp, Arc::clone(&store)).unwrap();
        let native = Config::new("127.0.0.1:0".parse().unwrap());
        let native = NativeTracker::bind(native, Arc::clone(&store)).unwrap();
        let addresses = (http.local_addr(), udp.local_addr(), native.local_addr());
        let mut serving = JoinSet::new();
        serving.spawn(http.serve(std::future::pending()));
        serving.spawn(async { udp.serve(std::future::pending()).await.unwrap() });
        serving.spawn(async { drop(native.serve(std::future::pending()).await) });
        Self { http: addresses.0, udp: addresses.1, native: addresses.2, store, _serving: serving }
    }

    /// Sends these bytes over HTTP and reads until the tracker closes: the head of the answer, and its body.
    pub(crate) async fn raw(&self, request: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer");
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    }

    /// The body of a GET.
    pub(crate) async fn get(&self, target: impl AsRef<[u8]>) -> Vec<u8> {
        let request = [b"GET ", target.as_ref(), b" HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"].concat();
        let (head, body) = self.raw(&request).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        body
    }

    /// An announce over HTTP, as its path and query say; the reason if it is refused.
    pub(crate) async fn http(&self, target: impl AsRef<[u8]>) -> Result<Found, String> {
        match parse_reply(&self.get(target).await) {
            Ok(reply) => Ok(reply.into()),
            Err(TrackerError::Refused { reason, .. }) => Err(reason),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn http_good(&self, announce: &Announce) -> Found {
        self.http(query(announce)).await.unwrap()
    }

    pub(crate) async fn udp_client(&self) -> Datagrams {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.udp).await.unwrap();
        let mut client = Datagrams { socket, id: ConnectionId(0) };
        match client.ask(&connect_request(TransactionId(1))).await {
            Reply::Connected(id) => client.id = id,
            other => panic!("{other:?}"),
        }
        client
    }

    pub(crate) async fn udp(&self, announce: &Announce) -> Result<Found, String> {
        let client = self.udp_client().await;
        client.announce(&announce_request(client.id, TransactionId(1), announce, "")).await
    }

    pub(crate) async fn udp_good(&self, announce: &Announce) -> Found {
        self.udp(announce).await.unwrap()
    }

    /// A connection of the native protocol on which nothing was said yet.
    pub(crate) async fn silent(&self) -> Native {
        let stream = TcpStream::connect(self.native).await.unwrap();
        Native { stream, received: Vec::new(), next: 1 }
    }

    /// A peer of the native protocol that serves at this port, or at none.
    pub(crate) async fn native(&self, port: u16) -> Native {
        let mut native = self.silent().await;
        let peer_id = announce(port, 0).peer_id;
        assert!(matches!(native.ask(Request::Online(Online::new(peer_id, port))).await, Ok(Response::Online(_))));
        native
    }
}

/// Somebody with a connection id.
pub(crate) struct Datagrams {
    socket: UdpSocket,
    pub(crate) id: ConnectionId,
}

impl Datagrams {
    /// Sends a request with transaction 1 and waits for the reply.
    pub(crate) async fn ask(&self, datagram: &[u8]) -> Reply {
        self.socket.send(datagram).await.unwrap();
        let mut buffer = [0; 4_096];
        let length = timeout(PATIENCE, self.socket.recv(&mut buffer)).await.unwrap().unwrap();
        let (transaction, reply) = Reply::read(&buffer[..length], Family::V4).expect("a reply");
        assert_eq!(transaction, TransactionId(1));
        reply
    }

    pub(crate) async fn announce(&self, datagram: &[u8]) -> Result<Found, String> {
        match self.ask(datagram).await {
            Reply::Announced(reply) => Ok(reply.into()),
            Reply::Refused(reason) => Err(reason.into_owned()),
            other => panic!("{other:?}"),
        }
    }
}

/// A connection of the native protocol.
pub(crate) struct Native {
    stream: TcpStream,
    received: Vec<u8>,
    next: u32,
}

impl Native {
    pub(crate) async fn announce(&mut self, announce: &Announce) -> Result<Found, String> {
        let &Announce { info_hash, uploaded, downloaded, left, event, num_want, .. } = announce;
        let serve = Serve { info_hash, uploaded, downloaded, left, event, num_want, publication: None };
        match self.ask(Request::Serve(serve)).await? {
            Response::Serving(serving) => {
                let ports = serving.list.peers.iter().map(SocketAddr::port).collect();
                Ok(Found { ports, complete: serving.list.complete, incomplete: serving.list.incomplete })
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn good(&mut self, announce: &Announce) -> Found {
        self.announce(announce).await.unwrap()
    }

    /// Asks, and waits for the answer to that; what is pushed meanwhile does not matter.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<Response, String> {
        let id = RequestId(self.next);
        self.next += 1;
        self.stream.write_all(&PeerMessage::Request(id, request).encode()).await.unwrap();
        loop {
            match self.message().await {
                TrackerMessage::Response(to, response) if to == id => return Ok(response),
                TrackerMessage::Refused(Some(to), refusal) if to == id => return Err(refusal.text),
                _ => {}
            }
        }
    }

    /// Whether the tracker ends the connection, with nothing more said before.
    pub(crate) async fn ends(&mut self) -> bool {
        let mut buffer = [0; 1];
        self.received.is_empty() && timeout(PATIENCE, self.stream.read(&mut buffer)).await.unwrap().unwrap_or(0) == 0
    }

    /// Sends bytes as they are.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a frame of this opcode and body, and waits for what is said to that; pushes do not matter.
    pub(crate) async fn exchange(&mut self, opcode: u8, body: &[u8]) -> TrackerMessage {
        let length = u32::try_from(5 + body.len()).unwrap().to_be_bytes();
        self.say(&[&[opcode], length.as_slice(), body].concat()).await;
        loop {
            match self.message().await {
                TrackerMessage::Push(_) => {}
                message => return message,
            }
        }
    }

    pub(crate) async fn message(&mut self) -> TrackerMessage {
        loop {
            if let Decoded::Frame(frame, used) = decode(&self.received, Sender::Tracker).expect("a tracker's frame") {
                let message = TrackerMessage::parse(&frame).expect("a tracker's message");
                self.received.drain(..used);
                return message;
            }
            let mut buffer = [0; 4_096];
            let length = timeout(PATIENCE, self.stream.read(&mut buffer)).await.unwrap().unwrap();
            assert!(length > 0, "the tracker has closed, and there are {:?}", self.received);
            self.received.extend_from_slice(&buffer[..length]);
        }
    }
}
