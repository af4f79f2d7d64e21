//! The client against a tracker that does what a test wants. The real one is met in the workspace's own tests.

use super::*;
use bytes::{Buf, BytesMut};
use std::net::SocketAddr;
use std::time::Duration;
use swarm_proto::announce::{Announce, AnnounceEvent};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::{
    Decoded, PeerChange, PeerList, PeerMessage, Refusal, RefusalCode, Request, RequestId, Response, Sender, Serving,
    Session, Stop, TrackerMessage, decode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;

const PATIENCE: Duration = Duration::from_secs(20);

struct Fake {
    listener: TcpListener,
    url: String,
}

/// The tracker's end of a connection.
struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
}

async fn fake() -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("native://{}", listener.local_addr().unwrap());
    Fake { listener, url }
}

impl Fake {
    /// The next connection, already online.
    async fn accept(&self) -> Peer {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept()).await.expect("a connection").unwrap();
        let mut peer = Peer { stream, buffer: BytesMut::new() };
        let (id, request) = peer.hear().await;
        let Request::Online(online) = request else { panic!("{request:?}") };
        assert_eq!((online.port, online.version), (6881, 1));
        let address = "192.0.2.1:6881".parse().unwrap();
        let session = Session { version: 1, address, interval_s: 300, session: 7, challenge: None };
        peer.answer(id, Response::Online(session)).await;
        peer
    }

    fn job(&self, n: u8, event: AnnounceEvent) -> AnnounceJob {
        let announce = Announce { event, ..Announce::new(InfoHash([n; 20]), PeerId([1; 20]), 6881, 5) };
        AnnounceJob { id: 1, url: self.url.clone(), announce, timeout: PATIENCE }
    }
}

impl Peer {
    async fn say(&mut self, message: TrackerMessage) {
        self.stream.write_all(&message.encode()).await.unwrap();
    }

    async fn answer(&mut self, id: RequestId, response: Response) {
        self.say(TrackerMessage::Response(id, response)).await;
    }

    async fn message(&mut self) -> Option<PeerMessage> {
        loop {
            if let Decoded::Frame(frame, used) = decode(&self.buffer, Sender::Peer).unwrap() {
                let message = PeerMessage::parse(&frame).unwrap();
                self.buffer.advance(used);
                return Some(message);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            if tokio::time::timeout(PATIENCE, read).await.expect("a message").unwrap() == 0 {
                return None;
            }
        }
    }

    async fn hear(&mut self) -> (RequestId, Request) {
        match self.message().await {
            Some(PeerMessage::Request(id, request)) => (id, request),
            other => panic!("{other:?}"),
        }
    }

    /// Takes a `D` for torrent `n`, and answers with these peers.
    async fn serve(&mut self, n: u8, peers: &[u16]) {
        let (id, request) = self.hear().await;
        let Request::Serve(serve) = request else { panic!("{request:?}") };
        assert_eq!(serve.info_hash, InfoHash([n; 20]));
        let serving = Serving { interval_s: 300, list: list(peers), token: None };
        self.answer(id, Response::Serving(serving)).await;
    }

    async fn push(&mut self, n: u8, peers: &[u16]) {
        let change = PeerChange { info_hash: InfoHash([n; 20]), joined: list(peers), gone: Vec::new() };
        self.say(TrackerMessage::Push(change)).await;
    }
}

fn list(ports: &[u16]) -> PeerList {
    let peers = ports.iter().map(|&port| SocketAddr::from(([192, 0, 2, 9], port))).collect();
    PeerList { complete: 3, incomplete: 4, peers }
}

fn ports(peers: &[PeerAddress]) -> Vec<u16> {
    peers.iter().map(|peer| peer.address.port()).collect()
}

async fn pushed(from: &mut Receiver<Vec<PeerAddress>>) -> Vec<u16> {
    ports(&tokio::time::timeout(PATIENCE, from.recv()).await.expect("a push").unwrap())
}

#[tokio::test]
async fn torrents_share_a_connection_and_are_pushed_apart() {
    let (fake, client) = (fake().await, NativeTracker::new());
    let (first, mut from_first) = mpsc::channel(4);
    let (second, mut from_second) = mpsc::channel(4);
    let one = fake.job(1, AnnounceEvent::Started);
    let (answer, mut tracker) = tokio::join!(client.announce(&one, &first), async {
        let mut tracker = fake.accept().await;
        tracker.serve(1, &[10, 11]).await;
        tracker
    });
    let reply = answer.unwrap();
    assert_eq!((reply.complete, reply.incomplete, ports(&reply.peers)), (Some(3), Some(4), vec![10, 11]));
    assert_eq!((reply.interval.as_secs(), reply.external_ip), (300, Some([192, 0, 2, 1].into())));
    let two = fake.job(2, AnnounceEvent::Regular);
    let (answer, ()) = tokio::join!(client.announce(&two, &second), tracker.serve(2, &[]));
    assert!(answer.is_ok());
    tracker.push(2, &[20]).await;
    tracker.push(1, &[12]).await;
    tracker.push(9, &[90]).await;
    assert_eq!((pushed(&mut from_first).await, pushed(&mut from_second).await), (vec![12], vec![20]));
    tracker.say(TrackerMessage::Ping(77)).await;
    assert_eq!(tracker.message().await, Some(PeerMessage::Acknowledge(77)));
    drop(client);
    assert_eq!(tracker.message().await, None, "the connection ends with the client");
}

#[tokio::test]
async fn stopping_the_last_torrent_ends_the_connection() {
    let (fake, client) = (fake().await, NativeTracker::new());
    let (sender, _receiver) = mpsc::channel(4);
    let start = fake.job(1, AnnounceEvent::Started);
    let stop = fake.job(1, AnnounceEvent::Stopped);
    let script = async {
        let mut tracker = fake.accept().await;
        tracker.serve(1, &[]).await;
        let (id, request) = tracker.hear().await;
        assert_eq!(request, Request::Stop(Stop::Torrent(InfoHash([1; 20]))));
        tracker.answer(id, Response::Done).await;
        assert_eq!(tracker.hear().await.1, Request::Offline);
        assert_eq!(tracker.message().await, None);
    };
    let announce = async {
        client.announce(&start, &sender).await.unwrap();
        client.announce(&stop, &sender).await.unwrap();
        client.announce(&stop, &sender).await.unwrap();
    };
    tokio::join!(script, announce);
    let script = async { fake.accept().await.serve(1, &[]).await };
    assert!(tokio::join!(client.announce(&start, &sender), script).0.is_ok(), "and it may start again");
}

#[tokio::test]
async fn pushes_go_on_by_themselves_after_a_break() {
    let (fake, client) = (fake().await, NativeTracker::new());
    let (sender, mut receiver) = mpsc::channel(4);
    let start = fake.job(1, AnnounceEvent::Started);
    let script = async {
        let mut tracker = fake.accept().await;
        tracker.serve(1, &[]).await;
        tracker.say(TrackerMessage::Refused(None, Refusal::new(RefusalCode::Closing, "bye"))).await;
        drop(tracker);
        let mut tracker = fake.accept().await;
        tracker.serve(1, &[30]).await;
        tracker.push(1, &[31]).await;
        tracker
    };
    let (answer, _tracker) = tokio::join!(client.announce(&start, &sender), script);
    assert!(answer.is_ok());
    assert_eq!((pushed(&mut receiver).await, pushed(&mut receiver).await), (vec![30], vec![31]));
}

#[tokio::test]
async fn an_announce_over_a_dead_connection_gets_a_new_one_at_once() {
    let (fake, client) = (fake().await, NativeTracker::new());
    let (sender, _receiver) = mpsc::channel(4);
    let regular = fake.job(1, AnnounceEvent::Regular);
    let (answer, first) = tokio::join!(client.announce(&regular, &sender), async {
        let mut tracker = fake.accept().await;
        tracker.serve(1, &[]).await;
        tracker
    });
    assert!(answer.is_ok());
    // It reads the request and dies over it, and so does the next one: the announce has had its two connections.
    let script = async {
        let mut first = first;
        first.hear().await;
        drop(first);
        let mut second = fake.accept().await;
        second.hear().await;
        drop(second);
    };
    let (answer, ()) = tokio::join!(client.announce(&regular, &sender), script);
    assert!(matches!(answer, Err(TrackerError::Unreachable(_))), "{answer:?}");
    let script = async {
        fake.accept().await.serve(1, &[40]).await;
    };
    let (answer, ()) = tokio::join!(client.announce(&regular, &sender), script);
    assert_eq!(ports(&answer.unwrap().peers), [40]);
}

#[tokio::test]
async fn a_torrent_that_nobody_listens_for_is_stopped() {
    let (fake, client) = (fake().await, NativeTracker::new());
    let (sender, receiver) = mpsc::channel(4);
    let start = fake.job(1, AnnounceEvent::Started);
    let (answer, mut tracker) = tokio::join!(client.announce(&start, &sender), async {
        let mut tracker = fake.accept().await;
        tracker.serve(1, &[]).await;
        tracker
    });
    assert!(answer.is_ok());
    drop(receiver);
    tracker.push(1, &[50]).await;
    assert_eq!(tracker.hear().await.1, Request::Stop(Stop::Torrent(InfoHash([1; 20]))));
}

#[tokio::test]
async fn refusals_garbage_and_silence_are_told_apart() {
    let (fake, client) = (fake().await, NativeTracker::new());
    let (sender, _receiver) = mpsc::channel(4);
    let start = fake.job(1, AnnounceEvent::Started);
    let script = async {
        let mut tracker = fake.accept().await;
        let (id, _) = tracker.hear().await;
        let refusal = Refusal::new(RefusalCode::Full, "full").retry_in(60);
        tracker.say(TrackerMessage::Refused(Some(id), refusal)).await;
    };
    let (answer, ()) = tokio::join!(client.announce(&start, &sender), script);
    let retry_in = Some(Duration::from_secs(60));
    assert_eq!(answer, Err(TrackerError::Refused { reason: "full".into(), retry_in }));

    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"F\x00\xff\xff\xff", b"Y\x00\x00\x00\x05"] {
        let client = NativeTracker::new();
        let script = async {
            for _ in 0..2 {
                let mut tracker = fake.accept().await;
                tracker.hear().await;
                tracker.stream.write_all(garbage).await.unwrap();
            }
        };
        let (answer, ()) = tokio::join!(client.announce(&start, &sender), script);
        assert!(matches!(answer, Err(TrackerError::Malformed(_))), "{answer:?}");
    }

    let mut hurried = fake.job(1, AnnounceEvent::Started);
    hurried.timeout = Duration::from_millis(20);
    let answer = NativeTracker::new().announce(&hurried, &sender).await;
    assert_eq!(answer, Err(TrackerError::TimedOut(hurried.timeout)));
    hurried.url = "native://".into();
    assert!(matches!(client.announce(&hurried, &sender).await, Err(TrackerError::Unsupported(_))));
    drop(fake);
    let answer = client.announce(&start, &sender).await;
    assert!(matches!(answer, Err(TrackerError::Unreachable(_))), "{answer:?}");
}

#[tokio::test]
async fn another_service_hears_nothing_that_a_stranger_wrote() {
    // An announce URL may lead to any port. What is sent there before it answers as a tracker does must not be of use.
    let (fake, client) = (fake().await, NativeTracker::new());
    let (sender, _receiver) = mpsc::channel(4);
    let mut job = fake.job(1, AnnounceEvent::Started);
    job.announce.info_hash = InfoHash(*b"\r\nFLUSHALL\r\nQUIT\r\n\r\n");
    let service = async {
        let (mut stream, _) = fake.listener.accept().await.unwrap();
        let mut heard = vec![0; 4_096];
        let read = stream.read(&mut heard).await.unwrap();
        heard.truncate(read);
        stream.write_all(b"-ERR unknown command\r\n").await.unwrap();
        // A reset instead of an end says as well that nothing more came.
        let _ = stream.read_to_end(&mut heard).await;
        drop(fake);
        heard
    };
    let (answer, heard) = tokio::join!(client.announce(&job, &sender), service);
    assert!(answer.is_err(), "{answer:?}");
    assert!(heard.starts_with(b"O") && heard.len() < 200, "{heard:?}");
    assert!(!heard.windows(5).any(|part| part == b"FLUSH"), "{heard:?}");
}
