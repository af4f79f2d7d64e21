//! Our client of HTTP trackers against our HTTP tracker, over loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_proto::announce::{Announced, TrackerError};
use swarm_tests::announcing::{LEECHER, Peer, SEED, TORRENT, ports};
use swarm_tracker_core::{Store, StoreConfig};
use swarm_tracker_http::{HttpTracker, HttpTrackerConfig};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A tracker that runs until it is told to stop.
struct Tracker {
    address: SocketAddr,
    store: Arc<Store>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Tracker {
    fn start(address: SocketAddr, store: Store) -> Self {
        let store = Arc::new(store);
        let config = HttpTrackerConfig { listen: vec![address], ..HttpTrackerConfig::default() };
        let tracker = HttpTracker::bind(config, Arc::clone(&store)).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let address = tracker.local_addr();
        let task = tokio::spawn(tracker.serve(async { drop(stopped.await) }));
        Self { address, store, stop, task }
    }

    fn fresh() -> Self {
        Self::start(([127, 0, 0, 1], 0).into(), store())
    }

    fn url(&self) -> String {
        format!("http://{}/announce", self.address)
    }

    async fn stop(self) -> Arc<Store> {
        drop(self.stop);
        self.task.await.unwrap();
        self.store
    }
}

fn store() -> Store {
    Store::new(StoreConfig::default(), Instant::now())
}

#[tokio::test]
async fn peers_come_meet_and_go() {
    let tracker = Tracker::fresh();
    let peer = |n, totals| Peer::new(n, totals, vec![vec![tracker.url()]]);
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
    assert_eq!(tracker.store.scrape(&[TORRENT])[0].downloaded, 1);
    for peer in [&mut seed, &mut last] {
        peer.announcer.stop(Instant::now());
        assert_eq!(peer.announce().await, []);
        assert!(peer.announcer.is_idle());
    }
    assert_eq!(tracker.store.stats().peers, 1);
}

#[tokio::test]
async fn a_dead_tracker_gives_way_to_the_next() {
    let tracker = Tracker::fresh();
    let dead = Tracker::fresh();
    let dead_url = dead.url();
    dead.stop().await;
    let tiers = vec![vec![dead_url.clone()], vec![tracker.url(), dead_url.replace("/announce", "/announce2")]];
    let mut peer = Peer::new(1, LEECHER, tiers);
    let outcomes = peer.announce().await;
    let failed = outcomes.iter().find_map(|outcome| match outcome {
        Announced::Failed { url, error: TrackerError::Unreachable(_), retry_in } => {
            Some((url.clone(), retry_in.is_some()))
        }
        _ => None,
    });
    assert_eq!(failed, Some((dead_url, true)));
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Announced::Replied { url, .. } if *url == tracker.url())));
    assert_eq!(tracker.store.stats().peers, 1);
}

#[tokio::test]
async fn a_restart_forgets_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot: &Path = &folder.path().join("tracker.state");
    let tracker = Tracker::fresh();
    let address = tracker.address;
    let tiers = vec![vec![tracker.url()]];
    Peer::new(1, SEED, tiers.clone()).reply().await;
    tracker.stop().await.save(Instant::now(), snapshot).unwrap();

    let mut early = Peer::new(2, LEECHER, tiers.clone());
    let outcomes = early.announce().await;
    assert!(
        matches!(outcomes[..], [Announced::Failed { retry_in: Some(pause), .. }] if pause <= Duration::from_secs(5))
    );

    let restored = store();
    assert_eq!(restored.load(Instant::now(), snapshot).unwrap().peers, 1);
    let _tracker = Tracker::start(address, restored);
    assert_eq!(ports(&Peer::new(3, LEECHER, tiers).reply().await), [7_001]);
}
