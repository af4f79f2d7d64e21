//! The tracker on real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; clippy exempts only functions marked as tests"
)]

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use swarm_proto::announce::udp::{
    ConnectionId, Family, Reply, TransactionId, announce_request, connect_request, scrape_request,
};
use swarm_proto::announce::{Announce, AnnounceEvent, AnnounceReply};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_tracker_core::{
    Dialect, PeerTag, Remote, RemoteHealth, RemotePeer, RemoteSwarm, Store, StoreAnnounce, StoreConfig, Wait,
};
use swarm_tracker_udp::{Key, UdpCounters, UdpStats, UdpTracker, UdpTrackerConfig};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    addresses: Vec<SocketAddr>,
    store: Arc<Store>,
    counters: UdpCounters,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

fn start(config: UdpTrackerConfig) -> Running {
    let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
    let tracker = UdpTracker::bind(config, Arc::clone(&store)).unwrap();
    let (addresses, counters) = (tracker.local_addrs().to_vec(), tracker.counters());
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(tracker.serve(async { drop(stopped.await) }));
    Running { addresses, store, counters, stop, task }
}

fn listening(addresses: &[&str]) -> UdpTrackerConfig {
    let listen = addresses.iter().map(|address| address.parse().unwrap()).collect();
    UdpTrackerConfig { listen, ..UdpTrackerConfig::default() }
}

impl Running {
    /// Ends it; the counts are whole then.
    async fn stop(self) -> UdpStats {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
        self.counters.stats()
    }
}

/// A client on a port of its own. It waits in its thread, as the tracker's threads do not need the runtime's.
struct Client {
    socket: UdpSocket,
    transaction: u32,
}

impl Client {
    fn new(tracker: SocketAddr) -> Self {
        let any = if tracker.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(tracker).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, transaction: 0 }
    }

    fn transaction(&mut self) -> TransactionId {
        self.transaction += 1;
        TransactionId(self.transaction)
    }

    /// The next answer, which must be to the last request: silence is shown by an answer to what comes behind.
    fn hear(&self) -> Reply {
        let mut datagram = [0; 2_048];
        let length = self.socket.recv(&mut datagram).unwrap();
        let (transaction, reply) =
            Reply::read(&datagram[..length], Family::of(self.socket.peer_addr().unwrap().ip())).unwrap();
        assert_eq!(transaction, TransactionId(self.transaction));
        reply
    }

    fn connect(&mut self) -> ConnectionId {
        let request = connect_request(self.transaction());
        self.socket.send(&request).unwrap();
        match self.hear() {
            Reply::Connected(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn announce(&mut self, announce: &Announce) -> AnnounceReply {
        let id = self.connect();
        let request = announce_request(id, self.transaction(), announce, "/announce");
        self.socket.send(&request).unwrap();
        match self.hear() {
            Reply::Announced(reply) => reply,
            other => panic!("{other:?}"),
        }
    }
}

fn announce(n: u8, left: u64) -> Announce {
    Announce::new(InfoHash([7; 20]), PeerId([n; 20]), 6_000 + u16::from(n), left)
}

fn told(reply: &AnnounceReply) -> Vec<String> {
    let mut told: Vec<String> = reply.peers.iter().map(|peer| peer.address.to_string()).collect();
    told.sort();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_meet_scrape_and_go() {
    let tracker = start(UdpTrackerConfig::default());
    let mut client = Client::new(tracker.addresses[0]);
    assert!(client.announce(&announce(1, 0)).peers.is_empty());
    let reply = client.announce(&announce(2, 5));
    assert_eq!((told(&reply), reply.complete, reply.incomplete), (vec!["127.0.0.1:6001".into()], Some(1), Some(1)));
    let id = client.connect();
    let request = scrape_request(id, client.transaction(), &[InfoHash([7; 20]), InfoHash([8; 20])]);
    client.socket.send(&request).unwrap();
    let Reply::Scraped(entries) = client.hear() else { panic!("counts") };
    assert_eq!((entries[0].complete, entries[0].incomplete, entries[1].complete), (1, 1, 0));
    client.announce(&Announce { event: AnnounceEvent::Stopped, ..announce(1, 0) });
    assert_eq!(tracker.store.stats().peers, 1);
    let stats = tracker.stop().await;
    assert_eq!((stats.connects, stats.announces, stats.scrapes, stats.unsent), (4, 3, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_other_dialects_are_found() {
    let tracker = start(UdpTrackerConfig::default());
    let request = StoreAnnounce {
        info_hash: InfoHash([7; 20]),
        peer_id: PeerId([9; 20]),
        address: "127.0.0.1:9".parse().unwrap(),
        left: 0,
        event: AnnounceEvent::Started,
        num_want: None,
        dialect: Dialect::Http,
        passkey: None,
    };
    tracker.store.announce(Instant::now(), &request).unwrap();
    let mut client = Client::new(tracker.addresses[0]);
    assert_eq!(told(&client.announce(&announce(1, 5))), ["127.0.0.1:9"]);
    let other = StoreAnnounce { peer_id: PeerId([8; 20]), address: "127.0.0.1:8".parse().unwrap(), left: 1, ..request };
    let reply = tracker.store.announce(Instant::now(), &other).unwrap();
    assert!(reply.peers.iter().any(|peer| peer.address.port() == 6_001));
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_met_with_silence() {
    let tracker = start(UdpTrackerConfig::default());
    let mut client = Client::new(tracker.addresses[0]);
    let id = client.connect();
    let transaction = client.transaction();
    let good = announce_request(id, transaction, &announce(1, 5), "");
    let mut wrong = good.clone();
    wrong[3] ^= 1;
    for datagram in [wrong.as_slice(), b"", b"GET / HTTP/1.1\r\n\r\n", &good[..15], &[0xff; 3_000], &[0; 16]] {
        client.socket.send(datagram).unwrap();
    }
    client.socket.send(&good).unwrap();
    assert!(matches!(client.hear(), Reply::Announced(_)), "the first answer is that to the last datagram");
    let stats = tracker.stop().await;
    assert_eq!((stats.unproven, stats.malformed, stats.refused, stats.announces), (3, 3, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_families_are_served_by_one_socket_or_two() {
    let tracker = start(listening(&["[::]:0"]));
    let port = tracker.addresses[0].port();
    let v4 = SocketAddr::from(([127, 0, 0, 1], port));
    let v6 = SocketAddr::new("::1".parse().unwrap(), port);
    for (n, address) in [(1, v4), (2, v6)] {
        assert!(Client::new(address).announce(&announce(n, 5)).peers.is_empty());
    }
    assert_eq!(told(&Client::new(v4).announce(&announce(3, 5))), ["127.0.0.1:6001"]);
    assert_eq!(told(&Client::new(v6).announce(&announce(4, 5))), ["[::1]:6002"]);
    tracker.stop().await;
    let tracker = start(listening(&["127.0.0.1:0", "[::1]:0"]));
    for (n, address) in [(1, tracker.addresses[0]), (2, tracker.addresses[1])] {
        assert!(Client::new(address).announce(&announce(n, 5)).peers.is_empty());
    }
    assert_eq!(tracker.store.stats().peers, 2);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_threads_share_the_port_and_know_each_others_ids() {
    let workers = NonZeroUsize::new(4);
    let tracker = start(UdpTrackerConfig { workers, ..UdpTrackerConfig::default() });
    let address = tracker.addresses[0];
    let id = Client::new(address).connect();
    for n in 0..64 {
        // Each by a port of its own, so that the kernel spreads them.
        let mut client = Client::new(address);
        let request = announce_request(id, client.transaction(), &announce(n, 5), "");
        client.socket.send(&request).unwrap();
        assert!(matches!(client.hear(), Reply::Announced(_)));
    }
    assert_eq!(tracker.store.stats().peers, 64);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_one_key_know_each_others_ids() {
    let config = || UdpTrackerConfig { key: Some(Key::new([3; 16])), ..UdpTrackerConfig::default() };
    let (one, two, stranger) = (start(config()), start(config()), start(UdpTrackerConfig::default()));
    let id = Client::new(one.addresses[0]).connect();
    let mut client = Client::new(two.addresses[0]);
    let request = announce_request(id, client.transaction(), &announce(1, 5), "");
    client.socket.send(&request).unwrap();
    assert!(matches!(client.hear(), Reply::Announced(_)));
    let mut client = Client::new(stranger.addresses[0]);
    let request = announce_request(id, client.transaction(), &announce(1, 5), "");
    client.socket.send(&request).unwrap();
    client.connect();
    let unproven = [one.stop().await, two.stop().await, stranger.stop().await].map(|stats| stats.unproven);
    assert_eq!(unproven, [0, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told_and_free_after_the_end() {
    let tracker = start(UdpTrackerConfig::default());
    let address = tracker.addresses[0];
    let config = UdpTrackerConfig { listen: vec![address], ..UdpTrackerConfig::default() };
    let store = || Arc::new(Store::new(StoreConfig::default(), Instant::now()));
    let error = UdpTracker::bind(config.clone(), store()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    tracker.stop().await;
    drop(UdpTracker::bind(config, store()).unwrap());
    let nowhere = UdpTracker::bind(UdpTrackerConfig { listen: Vec::new(), ..UdpTrackerConfig::default() }, store());
    assert!(nowhere.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_ours_costs_no_more_than_the_datagrams_it_came_with() {
    let tracker = start(UdpTrackerConfig { workers: NonZeroUsize::new(1), ..UdpTrackerConfig::default() });
    let rounds = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&rounds);
    tracker.store.observe(Box::new(move |_| assert!(count.fetch_add(1, Ordering::Relaxed) > 0, "injected")));
    let mut client = Client::new(tracker.addresses[0]);
    let id = client.connect();
    let request = announce_request(id, client.transaction(), &announce(1, 5), "");
    client.socket.send(&request).unwrap();
    while rounds.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(told(&client.announce(&announce(2, 5))), ["127.0.0.1:6001"], "the answer was lost, the peer was not");
    tracker.stop().await;
}

/// Another node that knows one more peer of each torrent, and says so when it is let.
#[derive(Debug)]
struct Elsewhere {
    store: std::sync::Weak<Store>,
    runtime: tokio::runtime::Handle,
    let_go: Arc<tokio::sync::Semaphore>,
}

impl Remote for Elsewhere {
    fn announced(&self, request: &StoreAnnounce<'_>) -> Option<Wait> {
        let (store, let_go, info_hash) = (self.store.clone(), Arc::clone(&self.let_go), request.info_hash);
        Some(Box::pin(async move {
            let_go.acquire().await.unwrap().forget();
            let (address, tag) = ("127.0.0.7:7".parse().unwrap(), PeerTag::from_bits(7));
            let peers = vec![RemotePeer { address, tag, seed: true, age: Duration::ZERO }];
            let swarm = RemoteSwarm { info_hash, peers, downloaded: 0, is_whole: true };
            store.upgrade().unwrap().import(Instant::now(), &swarm);
        }))
    }

    fn removed(&self, _: &InfoHash, _: SocketAddr) {}

    fn spawn(&self, task: Wait) {
        self.runtime.spawn(task);
    }

    fn health(&self) -> RemoteHealth {
        RemoteHealth { up: true, text: String::new() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_waits_for_another_node_holds_up_nobody() {
    let workers = std::num::NonZeroUsize::new(1);
    let tracker = start(UdpTrackerConfig { workers, ..listening(&["127.0.0.1:0"]) });
    let let_go = Arc::new(tokio::sync::Semaphore::new(0));
    let store = Arc::downgrade(&tracker.store);
    let runtime = tokio::runtime::Handle::current();
    tracker.store.set_remote(Arc::new(Elsewhere { store, runtime, let_go: Arc::clone(&let_go) }));
    let mut waits = Client::new(tracker.addresses[0]);
    let id = waits.connect();
    let request = announce_request(id, waits.transaction(), &announce(1, 9), "");
    waits.socket.send(&request).unwrap();
    // The only thread answers others meanwhile.
    Client::new(tracker.addresses[0]).connect();
    let_go.add_permits(1);
    let Reply::Announced(reply) = waits.hear() else { panic!("no answer to the announce") };
    assert_eq!((told(&reply), reply.complete), (vec!["127.0.0.7:7".to_string()], Some(1)));
    tracker.stop().await;
}
