//! Our client of native trackers against our native tracker, alone and beside an HTTP tracker over the same store.

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use sha1::{Digest, Sha1};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_engine::source::load_metainfo;
use swarm_engine::tracker::native::RelayNews;
use swarm_engine::tracker::{Trackers, http, native};
use swarm_proto::announce::{Announce, AnnounceEvent, AnnounceReply, PeerAddress, TrackerError};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::{ListQuery, Name, NativeUrl, PersonKey, PersonName, PersonQuery, Relayed, Token};
use swarm_proto::swarm::AnnounceJob;
use swarm_tracker_core::{Access, KeyLimits, Store, StoreConfig};
use swarm_tracker_http::{HttpTracker, HttpTrackerConfig, Watching};
use swarm_tracker_native::{Config, Handle, NativeTracker};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);
const TORRENT: InfoHash = InfoHash([0x3c; 20]);
const ANYWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// A native tracker that runs until it is told to stop.
struct Tracker {
    address: SocketAddr,
    store: Arc<Store>,
    handle: Handle,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Tracker {
    fn start(address: impl Into<SocketAddr>, store: Arc<Store>) -> Self {
        let tracker = NativeTracker::bind(Config::new(address.into()), Arc::clone(&store)).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (address, handle) = (tracker.local_addr(), tracker.handle());
        let serve = tracker.serve(async { drop(stopped.await) });
        let task = tokio::spawn(async { serve.await.unwrap() });
        Self { address, store, handle, stop, task }
    }

    fn fresh() -> Self {
        Self::start(ANYWHERE, store())
    }

    fn url(&self) -> String {
        format!("native://{}", self.address)
    }

    fn entry(&self, name: &str) -> NativeUrl {
        format!("{}/{name}", self.url()).parse().unwrap()
    }

    async fn stop(self) -> Arc<Store> {
        drop(self.stop);
        self.task.await.unwrap();
        self.store
    }
}

fn store() -> Arc<Store> {
    Arc::new(Store::new(StoreConfig::default(), Instant::now()))
}

/// A peer of the torrent that says what a test wants.
struct Peer {
    port: u16,
    trackers: Trackers,
    sender: Sender<Vec<PeerAddress>>,
    pushed: Receiver<Vec<PeerAddress>>,
}

impl Peer {
    fn new(port: u16) -> Self {
        let (sender, pushed) = mpsc::channel(16);
        Self { port, trackers: Trackers::new(), sender, pushed }
    }

    fn peer_id(&self) -> PeerId {
        let mut peer_id = [b'p'; 20];
        peer_id[..2].copy_from_slice(&self.port.to_be_bytes());
        PeerId(peer_id)
    }

    async fn announce(&self, url: &str, left: u64, event: AnnounceEvent) -> Result<AnnounceReply, TrackerError> {
        let announce = Announce { event, key: 1, ..Announce::new(TORRENT, self.peer_id(), self.port, left) };
        let job = AnnounceJob { id: 1, url: url.into(), announce, timeout: PATIENCE };
        self.trackers.announce(&job, &self.sender).await
    }

    async fn start(&self, url: &str, left: u64) -> Vec<u16> {
        ports(&self.announce(url, left, AnnounceEvent::Started).await.unwrap().peers)
    }

    /// Waits until this peer has been pushed.
    async fn hears_of(&mut self, port: u16) {
        let heard = async { while !ports(&self.pushed.recv().await.unwrap()).contains(&port) {} };
        tokio::time::timeout(PATIENCE, heard).await.expect("a push");
    }
}

fn ports(peers: &[PeerAddress]) -> Vec<u16> {
    peers.iter().map(|peer| peer.address.port()).collect()
}

async fn until(mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("what was waited for");
}

#[tokio::test]
async fn peers_meet_by_push_and_leave_with_their_connection() {
    let tracker = Tracker::fresh();
    let (mut seed, leecher) = (Peer::new(1001), Peer::new(1002));
    assert!(seed.start(&tracker.url(), 0).await.is_empty());
    assert_eq!(leecher.start(&tracker.url(), 5).await, [1001]);
    seed.hears_of(1002).await;
    drop(leecher);
    until(|| tracker.store.stats().peers == 1).await;
    assert!(seed.announce(&tracker.url(), 0, AnnounceEvent::Stopped).await.is_ok());
    until(|| tracker.store.stats().peers == 0).await;
    tracker.stop().await;
}

#[tokio::test]
async fn two_dialects_are_one_swarm() {
    let tracker = Tracker::fresh();
    let config = HttpTrackerConfig { listen: vec![ANYWHERE.into()], ..HttpTrackerConfig::default() };
    let http = HttpTracker::bind(config, Arc::clone(&tracker.store)).unwrap();
    let http_url = format!("http://{}/announce", http.local_addr());
    let _http = tokio::spawn(http.serve(std::future::pending()));
    let (mut native, http) = (Peer::new(1001), Peer::new(1002));
    native.start(&tracker.url(), 5).await;
    assert_eq!(http.start(&http_url, 0).await, [1001]);
    native.hears_of(1002).await;
    let third = Peer::new(1003);
    let mut met = third.start(&tracker.url(), 5).await;
    met.sort_unstable();
    assert_eq!(met, [1001, 1002]);
    tracker.stop().await;
}

#[tokio::test]
async fn pushes_go_on_after_a_restart_without_an_announce() {
    let tracker = Tracker::fresh();
    let (url, address) = (tracker.url(), tracker.address);
    let mut seed = Peer::new(1001);
    seed.start(&url, 0).await;
    tracker.stop().await;
    // A tracker that has forgotten everything.
    let tracker = Tracker::start(address, store());
    until(|| tracker.store.stats().seeds == 1).await;
    let leecher = Peer::new(1002);
    assert_eq!(leecher.start(&url, 5).await, [1001]);
    seed.hears_of(1002).await;
    tracker.stop().await;
}

/// A metainfo of one file, and its info hash.
fn query(prefix: &str, after: Option<Name>, limit: Option<u32>) -> ListQuery {
    ListQuery { prefix: prefix.into(), after, limit, ..ListQuery::default() }
}

fn metainfo(name: &str, pieces: usize) -> (Bytes, InfoHash) {
    let length = pieces * 16_384;
    let hashes = "H".repeat(20 * pieces);
    let info = format!(
        "d6:lengthi{length}e4:name{}:{name}12:piece lengthi16384e6:pieces{}:{hashes}e",
        name.len(),
        hashes.len()
    );
    let hash = InfoHash(Sha1::digest(info.as_bytes()).into());
    (format!("d4:info{info}e").into(), hash)
}

#[tokio::test]
async fn names_are_published_listed_fetched_and_taken_back() {
    let tracker = Tracker::fresh();
    // The second one is a large frame: 2 MB of piece hashes.
    let published = [("b", 2, None), ("a", 100_000, Some(Token::new([7; 16])))];
    let mut tokens = Vec::new();
    for (name, pieces, token) in published {
        let (bytes, _) = metainfo("file", pieces);
        tokens.push(native::publish(&tracker.entry(name), bytes, token).await.unwrap());
    }
    assert_eq!(tokens[1], Token::new([7; 16]));
    let (small, small_hash) = metainfo("file", 2);
    let own_name = tracker.url().parse().unwrap();
    native::publish(&own_name, small.clone(), None).await.unwrap();

    let (page, next) = native::list(&own_name, query("", None, Some(2))).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((page[1].info_hash, page[1].size), (small_hash, 2 * 16_384));
    let (page, next) = native::list(&own_name, query("", next, None)).await.unwrap();
    assert_eq!((page.len(), page[0].name.as_str(), next), (1, "file", None));

    let search = ListQuery { contains: "IL".into(), ..ListQuery::default() };
    let mut listing = native::Listing::open(&own_name, search).await.unwrap();
    let page = listing.next().await.unwrap().unwrap();
    assert_eq!(page.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["file"]);
    assert_eq!(listing.next().await, Ok(None));

    let large = load_metainfo(&format!("{}/a", tracker.url())).await.unwrap();
    assert_eq!(large, metainfo("file", 100_000).0);
    let missing = load_metainfo(&format!("{}/c", tracker.url())).await.unwrap_err().to_string();
    assert!(missing.contains("/c: the tracker refuses: nothing of that name"), "{missing}");

    let squatted = native::publish(&tracker.entry("a"), small.clone(), None).await;
    assert!(matches!(squatted, Err(TrackerError::Refused { .. })));
    let replaced = native::publish(&tracker.entry("a"), small, Some(tokens[1])).await;
    assert_eq!(replaced, Ok(tokens[1]));
    assert_eq!(native::fetch_file(&tracker.entry("a")).await.unwrap().entry.info_hash, small_hash);
    assert!(native::unpublish(&tracker.entry("a"), tokens[0]).await.is_err());
    assert_eq!(native::unpublish(&tracker.entry("a"), tokens[1]).await, Ok(()));
    assert_eq!(native::list(&own_name, query("a", None, None)).await, Ok((Vec::new(), None)));

    let seed = Peer::new(1001);
    seed.start(&tracker.url(), 0).await;
    for asked in [None, Some(TORRENT)] {
        let list = native::peers(&own_name, asked).await.unwrap();
        assert_eq!(list.peers.iter().map(SocketAddr::port).collect::<Vec<_>>(), [1001]);
        assert_eq!((list.complete, list.incomplete), (1, 0));
    }
    let garbage = native::publish(&tracker.entry("x"), Bytes::from_static(b"garbage"), None).await;
    assert!(matches!(garbage, Err(TrackerError::Malformed(_))));
    tracker.stop().await;
}

#[tokio::test]
async fn two_hundred_peers_meet() {
    let tracker = Tracker::fresh();
    let peers: Vec<_> = (0..200).map(|n| Peer::new(2_000 + n)).collect();
    for peer in &peers {
        assert!(peer.announce(&tracker.url(), 5, AnnounceEvent::Started).await.is_ok());
    }
    assert_eq!(tracker.store.stats().peers, 200);
    let late = Peer::new(1001);
    assert_eq!(late.start(&tracker.url(), 5).await.len(), 50);
    let mut last = peers.into_iter().next_back().unwrap();
    last.hears_of(1001).await;
    until(|| tracker.store.stats().peers == 2).await;
    tracker.stop().await;
}

#[tokio::test]
async fn names_of_people_are_registered_looked_up_and_given_back() {
    let tracker = Tracker::fresh();
    let url: NativeUrl = tracker.url().parse().unwrap();
    let secret = SigningKey::from_bytes(&[7; 32]);
    let key = PersonKey(secret.verifying_key().to_bytes());
    let sign = |text: &[u8]| secret.sign(text).to_bytes();
    let ann = PersonName::new("Ann").unwrap();
    let lifetime = native::register_name(&url, &ann, key, sign).await.unwrap();
    assert_eq!(lifetime, Duration::from_secs(180 * 86_400));
    let found = native::lookup_name(&url, PersonQuery::Name(PersonName::new("ANN").unwrap())).await.unwrap();
    assert_eq!((&found.person, found.key), (&ann, key));
    let forged = native::register_name(&url, &ann, PersonKey([9; 32]), sign).await;
    assert!(matches!(forged, Err(TrackerError::Refused { .. })), "{forged:?}");
    native::release_name(&url, &ann, key, sign).await.unwrap();
    let gone = native::lookup_name(&url, PersonQuery::Key(key)).await;
    assert!(matches!(gone, Err(TrackerError::Refused { .. })), "{gone:?}");
    let closed = native::shut_down(&url, b"0123456789abcdef").await;
    assert!(matches!(closed, Err(TrackerError::Refused { .. })), "{closed:?}");
}

#[tokio::test]
async fn peers_that_cannot_reach_each_other_talk_over_the_tracker() {
    let tracker = Tracker::fresh();
    let (ann, bob) = (Peer::new(1001), Peer::new(1002));
    let mut heard = bob.trackers.native().relayed(TORRENT);
    ann.start(&tracker.url(), 5).await;
    let message = |port| Relayed {
        info_hash: TORRENT,
        peer: SocketAddr::from((ANYWHERE.0, port)),
        data: Bytes::from_static(b"hello"),
    };
    let ann_url = tracker.url();
    let say = |port| ann.trackers.native().relay(&ann_url, ann.peer_id(), ann.port, message(port));
    assert!(matches!(say(1002).await, Err(TrackerError::Refused { .. })), "bob is not there yet");
    bob.start(&tracker.url(), 5).await;
    assert_eq!(say(1002).await, Ok(()));
    let mut next = async || tokio::time::timeout(PATIENCE, heard.recv()).await.expect("news").unwrap();
    let RelayNews::Peers { tracker: of, peers } = next().await else { panic!("a message before its sender") };
    assert_eq!((&of[..], peers), (&tracker.address.to_string()[..], vec![SocketAddr::from((ANYWHERE.0, 1001))]));
    let RelayNews::Message(relayed) = next().await else { panic!("no message") };
    assert_eq!((relayed.from.port(), &relayed.data[..]), (1001, &b"hello"[..]));
    assert_eq!(relayed.tracker, of);
    let elsewhere = ann.trackers.native().relay("native://127.0.0.1:1", ann.peer_id(), ann.port, message(1002)).await;
    assert!(matches!(elsewhere, Err(TrackerError::Unreachable(_))), "{elsewhere:?}");
}

#[tokio::test]
async fn a_private_tracker_is_asked_by_the_key_in_its_url() {
    let access = Arc::new(Access::default());
    assert!(access.set_key(b"sesame", KeyLimits::default()) && access.set_key(b"other", KeyLimits::default()));
    let config = StoreConfig { access: Some(Arc::clone(&access)), ..StoreConfig::default() };
    let tracker = Tracker::start(ANYWHERE, Arc::new(Store::new(config, Instant::now())));
    let (mut seed, leecher) = (Peer::new(1001), Peer::new(1002));
    for wrong in ["", "/guess"] {
        let refused = seed.announce(&format!("{}{wrong}", tracker.url()), 0, AnnounceEvent::Started).await;
        assert!(matches!(refused, Err(TrackerError::Refused { retry_in: None, .. })), "{refused:?}");
    }
    assert!(seed.start(&format!("{}/sesame", tracker.url()), 0).await.is_empty());
    assert_eq!(leecher.start(&format!("{}/other/", tracker.url()), 5).await, [1001]);
    seed.hears_of(1002).await;
    // Whoever answers a message knows the tracker by its address.
    let message =
        Relayed { info_hash: TORRENT, peer: SocketAddr::from((ANYWHERE.0, 1001)), data: Bytes::from_static(b"hello") };
    let mut heard = seed.trackers.native().relayed(TORRENT);
    leecher.trackers.native().relay(&tracker.url(), leecher.peer_id(), 1002, message).await.unwrap();
    assert!(tokio::time::timeout(PATIENCE, heard.recv()).await.expect("a message").is_some());

    let (bytes, _) = metainfo("file", 2);
    let refused = native::publish(&tracker.entry("a"), bytes.clone(), None).await;
    assert!(matches!(refused, Err(TrackerError::Refused { .. })), "{refused:?}");
    native::publish(&tracker.entry("sesame/a"), bytes.clone(), None).await.unwrap();
    assert_eq!(load_metainfo(&format!("{}/other/a", tracker.url())).await.unwrap(), bytes);
    assert!(load_metainfo(&format!("{}/a", tracker.url())).await.is_err());
    let counts = seed.trackers.scrape(&format!("{}/other", tracker.url()), &[TORRENT], PATIENCE).await.unwrap();
    assert_eq!((counts[0].complete, counts[0].incomplete), (1, 1));
    assert!(seed.trackers.scrape(&tracker.url(), &[TORRENT], PATIENCE).await.is_err());
    tracker.stop().await;
}

/// The value of each metric that has no labels.
fn metrics(page: &str) -> HashMap<&str, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.strip_prefix("swarm_tracker_")?.split_once(' '))
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn what_comes_over_the_native_protocol_is_counted() {
    let tracker = Tracker::fresh();
    let watching = Watching(vec![Arc::new(tracker.handle.clone())]);
    let config = HttpTrackerConfig { listen: vec![ANYWHERE.into()], watching, ..HttpTrackerConfig::default() };
    let http = HttpTracker::bind(config, Arc::clone(&tracker.store)).unwrap();
    let pages = format!("http://{}/announce", http.local_addr());
    let _http = tokio::spawn(http.serve(std::future::pending()));

    let (mut seed, leecher) = (Peer::new(1001), Peer::new(1002));
    seed.start(&tracker.url(), 0).await;
    seed.announce(&tracker.url(), 0, AnnounceEvent::Regular).await.unwrap();
    leecher.start(&tracker.url(), 5).await;
    seed.hears_of(1002).await;
    let data = Bytes::from_static(b"hello");
    let message = Relayed { info_hash: TORRENT, peer: SocketAddr::from((ANYWHERE.0, 1001)), data };
    leecher.trackers.native().relay(&tracker.url(), leecher.peer_id(), 1002, message).await.unwrap();
    let (bytes, _) = metainfo("file", 2);
    native::publish(&tracker.entry("a"), bytes.clone(), None).await.unwrap();
    native::publish(&tracker.entry("a"), bytes.clone(), None).await.unwrap_err();
    let search = ListQuery { contains: "A".into(), ..ListQuery::default() };
    native::list(&tracker.url().parse().unwrap(), search).await.unwrap();
    native::list(&tracker.url().parse().unwrap(), ListQuery::default()).await.unwrap();
    until(|| tracker.handle.connections() == 2).await;

    let page = http::HttpTracker::new().page(&pages, "/metrics", PATIENCE).await.unwrap();
    let page = String::from_utf8(page).unwrap();
    let found = metrics(&page);
    for (name, value) in [
        ("native_connections", 2.0),
        ("native_accepted_total", 6.0),
        ("native_turned_away_total", 0.0),
        // Six times O, three announces, two publications, a message, two lists.
        ("native_requests_total", 14.0),
        ("native_request_seconds_count", 14.0),
        ("native_announces_total", 3.0),
        ("native_joins_total", 2.0),
        ("native_pushes_dropped_total", 0.0),
        ("native_lists_total", 2.0),
        ("native_searches_total", 1.0),
        ("native_relayed_total", 1.0),
        ("native_refused_total", 1.0),
        ("native_malformed_total", 0.0),
        ("native_names", 1.0),
        ("native_catalogue_bytes", bytes.len() as f64),
        ("native_people", 0.0),
        ("native_name_lookups_total", 0.0),
    ] {
        assert_eq!(found.get(name), Some(&value), "{name} in\n{page}");
    }
    // One or two pushes, by whether both peers joined within the time for which changes are collected.
    for name in ["pushes", "relayed_bytes", "received_bytes", "sent_bytes"] {
        assert!(found[&*format!("native_{name}_total")] > 0.0, "{name} in\n{page}");
    }
    let stats = http::HttpTracker::new().page(&pages, "/stats", PATIENCE).await.unwrap();
    let stats: HashMap<String, u64> = serde_json::from_slice(&stats).unwrap();
    assert_eq!((stats["native_joins"], stats["native_names"]), (2, 1));
}
