//! The tracker as a client sees it: bytes over loopback sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy exempts only functions marked as tests")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;
use swarm_proto::announce::http::{announce_url, parse_reply, parse_scrape, scrape_url};
use swarm_proto::announce::{Announce, AnnounceEvent, AnnounceReply, TrackerError};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_tracker_core::{Figure, Rate, Rates, Store, StoreConfig, Watched};
use swarm_tracker_http::{HttpTracker, HttpTrackerConfig, IpParameter, Page, Watching};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Running {
    address: SocketAddr,
    store: Arc<Store>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

fn start(config: HttpTrackerConfig) -> Running {
    start_over(config, Arc::new(Store::new(StoreConfig::default(), Instant::now())))
}

fn start_over(config: HttpTrackerConfig, store: Arc<Store>) -> Running {
    let tracker = HttpTracker::bind(config, Arc::clone(&store)).unwrap();
    let address = tracker.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(tracker.serve(async { drop(stopped.await) }));
    Running { address, store, stop: Some(stop), task }
}

impl Running {
    /// Sends these bytes and reads until the tracker closes the connection.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer.iter().map(|&byte| byte as char).collect()
    }

    /// The status line and the body of a GET.
    async fn get(&self, target: &str) -> (String, Vec<u8>) {
        let answer =
            self.raw(format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.lines().next().unwrap().to_owned();
        (status, body.chars().map(|c| u8::try_from(c as u32).unwrap()).collect())
    }

    async fn announce(&self, announce: &Announce, more: &str) -> Result<AnnounceReply, TrackerError> {
        let url = announce_url("http://t/announce", announce).unwrap();
        let (status, body) = self.get(&format!("{}{more}", url.strip_prefix("http://t").unwrap())).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        parse_reply(&body)
    }
}

fn announce(n: u8, left: u64) -> Announce {
    Announce::new(InfoHash([7; 20]), PeerId([n; 20]), 6_000 + u16::from(n), left)
}

#[tokio::test]
async fn peers_find_each_other() {
    let tracker = start(HttpTrackerConfig::default());
    let first = tracker.announce(&announce(1, 0), "").await.unwrap();
    assert_eq!((first.complete, first.incomplete, first.peers.len()), (Some(1), Some(0), 0));
    assert_eq!(first.external_ip, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(first.interval, tracker.store.config().interval);
    let second = tracker.announce(&announce(2, 9), "").await.unwrap();
    assert_eq!(second.peers[0].address, "127.0.0.1:6001".parse().unwrap());
    assert_eq!(second.peers[0].peer_id, None);
    let with_ids = tracker.announce(&announce(3, 0), "&compact=1&x=y").await.unwrap();
    assert_eq!(with_ids.peers[0].address, "127.0.0.1:6002".parse().unwrap());
    let stopped = Announce { event: AnnounceEvent::Stopped, ..announce(2, 9) };
    assert_eq!(tracker.announce(&stopped, "").await.unwrap().peers, []);
    let url = scrape_url("http://t/announce", &[InfoHash([7; 20])]).unwrap();
    let (_, body) = tracker.get(url.strip_prefix("http://t").unwrap()).await;
    let scraped = parse_scrape(&body).unwrap();
    assert_eq!((scraped[0].1.complete, scraped[0].1.incomplete), (2, 0));
}

fn naming() -> HttpTrackerConfig {
    HttpTrackerConfig { ip_parameter: IpParameter::Private, ..HttpTrackerConfig::default() }
}

#[tokio::test]
async fn an_asker_of_a_private_network_may_name_its_address_there_if_the_operator_says_so() {
    let named = async |config, ip: &str| {
        let tracker = start(config);
        let reply = tracker.announce(&announce(1, 0), &format!("&ip={ip}")).await.unwrap();
        let stored = tracker.store.peers(&InfoHash([7; 20]), 9);
        assert_eq!(Some(stored[0].address.ip()), reply.external_ip);
        stored[0].address.to_string()
    };
    assert_eq!(named(naming(), "10.97.0.5").await, "10.97.0.5:6001");
    assert_eq!(named(naming(), "fd00::5").await, "[fd00::5]:6001");
    assert_eq!(named(HttpTrackerConfig::default(), "10.97.0.5").await, "127.0.0.1:6001", "nobody has allowed it");
    for elsewhere in ["192.0.2.9", "2001:db8::9", "127.0.0.2", "0.0.0.0", "localhost", "10.97.0.5x", ""] {
        assert_eq!(named(naming(), elsewhere).await, "127.0.0.1:6001", "{elsewhere}");
    }
}

/// The announce of a peer that names another address, as a GET with these headers.
fn announce_with(headers: &str) -> String {
    let url = announce_url("http://t/announce", &announce(1, 0)).unwrap();
    let target = url.strip_prefix("http://t").unwrap();
    format!("GET {target}&ip=10.97.0.5 HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
}

#[tokio::test]
async fn a_web_page_cannot_announce() {
    let tracker = start(naming());
    for headers in [
        "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
        "Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n",
        "Host: evil.example\r\nSec-Fetch-Site: same-origin\r\n",
    ] {
        let answer = tracker.raw(announce_with(headers).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    assert_eq!(tracker.store.stats().announces, 0);
    // By a name of its own that leads here, an old browser asks as a client does: it gets no address but its own.
    let answer = tracker.raw(announce_with("Host: evil.example:80\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(tracker.store.peers(&InfoHash([7; 20]), 9)[0].address, "127.0.0.1:6001".parse().unwrap());
    tracker.raw(announce_with("Host: 127.0.0.1\r\n").as_bytes()).await;
    assert_eq!(tracker.store.stats().peers, 2);
}

#[tokio::test]
async fn pages_are_served_under_expected_names_only() {
    let page = Page { content_type: "application/x-bittorrent".parse().unwrap(), body: "d4:infodee".into() };
    let pages = HashMap::from([("/a.meta".to_owned(), page)]);
    let names = Some(vec!["files.example".to_owned()]);
    let tracker = start(HttpTrackerConfig { pages, names, ..HttpTrackerConfig::default() });
    let get = async |path: &str, host: &str| {
        tracker.raw(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await
    };
    for host in ["192.168.1.5:6969", "localhost", "files.example", "nas"] {
        assert!(get("/a.meta", host).await.ends_with("d4:infodee"), "{host}");
    }
    for path in ["/a.meta", "/", "/stats", "/none"] {
        let answer = get(path, "rebound.example").await;
        assert!(answer.starts_with("HTTP/1.1 421 ") && !answer.contains("info"), "{answer}");
    }
}

#[tokio::test]
async fn one_network_asks_so_often_and_no_more() {
    let requests = Rate { burst: 2, per_second: 1 };
    let rates = Rates { requests, ..Rates::UNLIMITED };
    let store = Arc::new(Store::new(StoreConfig { rates, ..StoreConfig::default() }, Instant::now()));
    let tracker = start_over(naming(), store);
    let ask = async |ip: &str| tracker.announce(&announce(1, 0), &format!("&ip={ip}")).await;
    for _ in 0..2 {
        ask("10.0.2.1").await.unwrap();
    }
    let Err(TrackerError::Refused { reason, retry_in }) = ask("10.0.2.1").await else { panic!() };
    assert_eq!(retry_in, Some(std::time::Duration::from_secs(60)));
    assert_eq!(reason, "your network asks too often, or brings in too many peers");
    ask("10.0.2.2").await.unwrap();
    assert_eq!(tracker.store.stats().limited, 1);
}

#[tokio::test]
async fn what_a_peer_says_is_bytes_and_never_structure() {
    let tracker = start(HttpTrackerConfig::default());
    let peer_id = PeerId(*b"20:d8:intervali0e5:p");
    tracker.announce(&Announce { peer_id, ..announce(1, 0) }, "").await.unwrap();
    let query = "&compact=0";
    let url = announce_url("http://t/announce", &announce(2, 9)).unwrap().replace("&compact=1", query);
    let (_, body) = tracker.get(url.strip_prefix("http://t").unwrap()).await;
    let reply = parse_reply(&body).unwrap();
    assert_eq!((reply.peers.len(), reply.peers[0].peer_id), (1, None));
    let text = String::from_utf8_lossy(&body);
    assert!(!text.contains("20:d8:"), "what the peer called itself is not repeated: {text}");
    assert_eq!(reply.interval, tracker.store.config().interval);
    // What is refused is not repeated.
    let (_, body) = tracker.get("/announce?info_hash=e4:eviledie").await;
    assert_eq!(body, b"d14:failure reason20:info_hash is invalid8:intervali300e8:retry in5:nevere");
}

#[tokio::test]
async fn a_connection_that_panics_takes_nothing_with_it() {
    let tracker = start(HttpTrackerConfig { max_connections: 1, ..HttpTrackerConfig::default() });
    // Who observes the store runs in the task of the connection that changes it.
    let cursed = InfoHash([13; 20]);
    tracker.store.observe(Box::new(move |change| assert_ne!(change.info_hash, cursed, "injected")));
    for n in 10..13 {
        let url = announce_url("http://t/announce", &Announce { info_hash: cursed, ..announce(n, 0) }).unwrap();
        let target = url.strip_prefix("http://t").unwrap();
        assert_eq!(tracker.raw(format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes()).await, "", "no answer");
        // Its place is free, and no lock is left shut.
        tracker.announce(&announce(2, 9), "").await.unwrap();
    }
    assert_eq!(tracker.announce(&announce(3, 9), "").await.unwrap().peers.len(), 1);
}

#[tokio::test]
async fn ipv6_and_ipv4_share_a_socket() {
    let tracker = start(HttpTrackerConfig { listen: vec!["[::]:0".parse().unwrap()], ..HttpTrackerConfig::default() });
    let port = tracker.address.port();
    for (n, host) in [(1, "127.0.0.1"), (2, "[::1]")] {
        let reachable = Running {
            address: format!("{host}:{port}").parse().unwrap(),
            store: Arc::clone(&tracker.store),
            stop: None,
            task: tokio::spawn(async {}),
        };
        reachable.announce(&announce(n, 1), "").await.unwrap();
    }
    let mut found: Vec<_> =
        tracker.store.peers(&InfoHash([7; 20]), 9).iter().map(|peer| peer.address.to_string()).collect();
    found.sort();
    assert_eq!(found, ["127.0.0.1:6001", "[::1]:6002"]);
}

#[tokio::test]
async fn malformed_queries_get_a_reason() {
    let tracker = start(HttpTrackerConfig::default());
    let reason = |target: String| {
        let tracker = &tracker;
        async move {
            let (status, body) = tracker.get(&target).await;
            assert_eq!(status, "HTTP/1.1 200 OK");
            String::from_utf8(body).unwrap()
        }
    };
    let hash = "a".repeat(20);
    // With the interval, for the clients that know no `retry in` and would come again at once.
    let failure = |text: &str| format!("d14:failure reason{}:{text}8:intervali300e8:retry in5:nevere", text.len());
    assert_eq!(reason("/announce".into()).await, failure("info_hash is missing"));
    assert_eq!(reason("/announce?info_hash=%".into()).await, failure("info_hash is invalid"));
    assert_eq!(reason(format!("/announce?info_hash={hash}&peer_id={hash}&port=0")).await, failure("port is invalid"));
    assert_eq!(reason("/scrape".into()).await, failure("info_hash is missing"));
    assert_eq!(tracker.store.stats().peers, 0);
    let (_, stats) = tracker.get("/stats").await;
    assert!(String::from_utf8(stats).unwrap().contains("\"http_malformed\":4"));
}

/// A part of a tracker that may have a problem.
struct Part(AtomicBool);

impl Watched for Part {
    fn figures(&self) -> Vec<Figure> {
        vec![Figure::counter("part_counted", "Counted.", 7)]
    }

    fn problem(&self) -> Option<String> {
        self.0.load(Relaxed).then(|| "<it> is gone".to_owned())
    }
}

#[tokio::test]
async fn people_and_programs_are_served() {
    let page = Page { content_type: "application/x-bittorrent".parse().unwrap(), body: "d4:infodee".into() };
    let pages = HashMap::from([("/größe 1.meta".to_owned(), page)]);
    let part = Arc::new(Part(AtomicBool::new(false)));
    let watching = Watching(vec![Arc::clone(&part) as Arc<dyn Watched>]);
    let tracker = start(HttpTrackerConfig { pages, watching, ..HttpTrackerConfig::default() });
    tracker.announce(&announce(1, 0), "").await.unwrap();
    assert_eq!(tracker.get("/health").await, ("HTTP/1.1 200 OK".into(), b"ok\n".to_vec()));
    part.0.store(true, Relaxed);
    let degraded = b"degraded: <it> is gone\n".to_vec();
    assert_eq!(tracker.get("/health").await, ("HTTP/1.1 200 OK".into(), degraded));
    let front = String::from_utf8(tracker.get("/").await.1).unwrap();
    assert!(front.contains("<strong>&lt;it> is gone</strong>"), "{front}");
    let (_, stats) = tracker.get("/stats").await;
    let stats = String::from_utf8(stats).unwrap();
    for number in ["\"torrents\":1,", "\"peers\":1,", "\"seeds\":1,", "\"leechers\":0,", "\"part_counted\":7"] {
        assert!(stats.contains(number), "{stats}");
    }
    let front = tracker.raw(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(front.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{front}");
    assert!(front.contains("<th align=\"left\">seeds</th><td align=\"right\" id=\"seeds\">1</td></tr>"), "{front}");
    // One script, of our own, in a file of its own: nothing within the page may run.
    assert_eq!(front.matches("<script").count(), 1, "{front}");
    assert!(front.contains("<script src=\"live.js\" defer></script>"), "{front}");
    assert!(tracker.get("/live.js").await.1.starts_with(b"'use strict';"));
    let metrics = String::from_utf8(tracker.get("/metrics").await.1).unwrap();
    for line in [
        "swarm_tracker_peers 1",
        "# TYPE swarm_tracker_announces_total counter",
        "swarm_tracker_announces_total 1",
        "swarm_tracker_part_counted_total 7",
        "swarm_tracker_http_announce_seconds_count 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert_eq!(tracker.get("/ready").await, ("HTTP/1.1 200 OK".into(), b"ready\n".to_vec()));
    let (status, body) = tracker.get("/gr%C3%B6%c3%9fe%201.meta").await;
    assert_eq!((status.as_str(), body.as_slice()), ("HTTP/1.1 200 OK", b"d4:infodee".as_slice()));
    assert_eq!(tracker.get("/etc/passwd").await.0, "HTTP/1.1 404 Not Found");
    let head = tracker.raw(b"HEAD /health HTTP/1.1\r\nhost: t\r\nCONNECTION: close\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"), "{head}");
    let posted =
        tracker.raw(b"POST /announce HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc").await;
    assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("allow: GET, HEAD"), "{posted}");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let tracker = start(HttpTrackerConfig::default());
    let answer = tracker
        .raw(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\nGET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
}

#[tokio::test]
async fn what_is_no_http_gets_an_answer_too() {
    let tracker = start(HttpTrackerConfig::default());
    for garbage in [
        b"\x13BitTorrent protocol\r\n\r\n".to_vec(),
        b"GET /announce?info_hash=\xff\x00 HTTP/1.1\r\n\r\n".to_vec(),
        [b"GET /announce?".as_slice(), &[b'a'; 9_000], b" HTTP/1.1\r\nConnection: close\r\n\r\n"].concat(),
        [b"GET / HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(100), b"\r\n"].concat(),
    ] {
        let answer = tracker.raw(&garbage).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(tracker.get("/health").await.0, "HTTP/1.1 200 OK", "it lives");
}

#[tokio::test]
async fn a_slow_head_is_cut_off_and_frees_its_place() {
    let tracker = start(HttpTrackerConfig { max_connections: 1, ..HttpTrackerConfig::default() });
    let mut slow = TcpStream::connect(tracker.address).await.unwrap();
    slow.write_all(b"GET /hea").await.unwrap();
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    // The only place is taken until the slow one's time is over.
    assert_eq!(tracker.get("/health").await.0, "HTTP/1.1 200 OK");
    assert!((5..=15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn a_shutdown_ends_connections_and_frees_the_port() {
    let mut tracker = start(HttpTrackerConfig::default());
    let mut idle = TcpStream::connect(tracker.address).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    drop(tracker.stop.take());
    tracker.task.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    let again = HttpTrackerConfig { listen: vec![tracker.address], ..HttpTrackerConfig::default() };
    let _again = HttpTracker::bind(again.clone(), Arc::clone(&tracker.store)).unwrap();
    let error = HttpTracker::bind(again, tracker.store).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {}", tracker.address)), "{error}");
}
