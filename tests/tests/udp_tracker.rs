//! Our client of UDP trackers against our UDP tracker, over loopback.

use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_engine::tracker::udp::UdpTracker as Client;
use swarm_proto::announce::{Announced, TrackerError};
use swarm_proto::id::InfoHash;
use swarm_tests::announcing::{LEECHER, Peer, SEED, TORRENT, ports};
use swarm_tests::kit::{Payload, seed, session};
use swarm_tracker_core::{Rate, Rates, Store, StoreConfig};
use swarm_tracker_udp::{UdpCounters, UdpTracker, UdpTrackerConfig};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(20);

/// A tracker that runs until it is told to stop.
struct Tracker {
    url: String,
    store: Arc<Store>,
    counters: UdpCounters,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Tracker {
    fn start(config: StoreConfig) -> Self {
        let store = Arc::new(Store::new(config, Instant::now()));
        // Both families under one name: what `localhost` resolves to differs from machine to machine.
        let listen = vec!["[::]:0".parse().unwrap()];
        let tracker = UdpTracker::bind(UdpTrackerConfig { listen, ..UdpTrackerConfig::default() }, Arc::clone(&store));
        let tracker = tracker.unwrap();
        let (url, counters) = (format!("udp://127.0.0.1:{}/announce", tracker.local_addr().port()), tracker.counters());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(tracker.serve(async { drop(stopped.await) }));
        Self { url, store, counters, stop, task }
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_come_meet_and_go_over_udp() {
    let tracker = Tracker::start(StoreConfig::default());
    let peer = |n, totals| Peer::new(n, totals, vec![vec![tracker.url.clone()]]);
    let mut seed = peer(1, SEED);
    assert!(seed.reply().await.peers.is_empty());
    assert_eq!(ports(&peer(2, LEECHER).reply().await), [7_001]);
    let mut last = peer(3, LEECHER);
    let reply = last.reply().await;
    assert_eq!((ports(&reply), reply.complete, reply.incomplete), (vec![7_001, 7_002], Some(1), Some(2)));
    last.totals = SEED;
    last.announcer.completed(Instant::now());
    let reply = last.reply().await;
    assert_eq!((ports(&reply), reply.complete), (vec![7_002], Some(2)));
    let scraped = Client::new().scrape(&tracker.url, &[TORRENT, InfoHash([9; 20])], SOON).await.unwrap();
    let counts: Vec<_> =
        scraped.iter().map(|(_, entry)| (entry.complete, entry.incomplete, entry.downloaded)).collect();
    assert_eq!(counts, [(2, 1, 1), (0, 0, 0)]);
    for peer in [&mut seed, &mut last] {
        peer.announcer.stop(Instant::now());
        assert_eq!(peer.announce().await, []);
        assert!(peer.announcer.is_idle());
    }
    assert_eq!(tracker.store.stats().peers, 1);
    // Each client asked for a connection once, whatever it said.
    assert_eq!(tracker.counters.stats().connects, 4);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_says_goodbye_over_udp() {
    let tracker = Tracker::start(StoreConfig::default());
    let payload = Payload::file("left behind", 10_000);
    let metainfo = payload.metainfo(16_384, std::slice::from_ref(&tracker.url));
    let seeder = session();
    let torrent = seed(&seeder, &payload, &metainfo).await;
    while tracker.store.stats().seeds == 0 {
        tokio::task::yield_now().await;
    }
    seeder.shutdown().await;
    drop(torrent);
    assert_eq!((tracker.store.stats().peers, tracker.store.stats().announces), (0, 2));
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_and_a_dead_tracker_gives_way_to_the_next() {
    let rates = Rates { requests: Rate { burst: 1, per_second: 1 }, ..Rates::UNLIMITED };
    let tracker = Tracker::start(StoreConfig { rates, max_torrents: 0, max_peers: 0, ..StoreConfig::default() });
    let dead = Tracker::start(StoreConfig::default());
    let dead_url = dead.url.clone();
    dead.stop().await;
    let mut peer = Peer::new(1, LEECHER, vec![vec![dead_url.clone()], vec![tracker.url.clone()]]);
    let outcomes = peer.announce().await;
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    for outcome in outcomes {
        match outcome {
            Announced::Failed { url, error: TrackerError::Unreachable(_), .. } => assert_eq!(url, dead_url),
            Announced::Failed { url, error: TrackerError::Refused { reason, .. }, .. } => {
                assert_eq!((url, reason.as_str()), (tracker.url.clone(), "the tracker is full"));
            }
            other => panic!("{other:?}"),
        }
    }
    tracker.stop().await;
}
