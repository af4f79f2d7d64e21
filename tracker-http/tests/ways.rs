//! How connections go on and end: pipelines, readers that do not read, silence, threads, proxies.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy exempts only functions marked as tests")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_tracker_core::{
    Access, KeyLimits, PeerTag, Remote, RemoteHealth, RemotePeer, RemoteSwarm, Store, StoreAnnounce, StoreConfig, Wait,
};
use swarm_tracker_http::{HttpHandle, HttpTracker, HttpTrackerConfig, Proxies};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const FAR: &str = "192.0.2.7:4000";

fn store() -> Arc<Store> {
    Arc::new(Store::new(StoreConfig::default(), Instant::now()))
}

/// A connection from `far` over a pipe that holds so many bytes each way.
fn connect(config: HttpTrackerConfig, far: &str, room: usize) -> (DuplexStream, Arc<Store>, JoinHandle<()>) {
    let (store, far) = (store(), far.parse::<SocketAddr>().unwrap());
    let handle = HttpHandle::new(config, Arc::clone(&store));
    let (near, stream) = duplex(room);
    (near, store, tokio::spawn(async move { handle.serve_connection(stream, far).await }))
}

fn announce(n: u32, more: &str) -> String {
    format!(
        "GET /announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbb{n:08}&port=6881&left=1 HTTP/1.1\r\n{more}\r\n"
    )
}

/// Reads one answer; its body.
async fn answer(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    body.iter().map(|&byte| byte as char).collect()
}

#[tokio::test]
async fn a_pipeline_is_answered_in_its_order_and_with_one_write() {
    let (mut near, store, task) = connect(HttpTrackerConfig::default(), FAR, 1 << 20);
    let many: String = (0..50).map(|n| announce(n, "")).collect();
    near.write_all((many + "GET /scrape HTTP/1.1\r\nConnection: close\r\n\r\n" + &announce(99, "")).as_bytes())
        .await
        .unwrap();
    let mut first = vec![0; 1 << 20];
    let mut length = near.read(&mut first).await.unwrap();
    // What fits one reading of requests comes back at once.
    assert!(first[..length].windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count() > 50, "{length}");
    length += near.read(&mut first[length..]).await.unwrap();
    let text = String::from_utf8_lossy(&first[..length]);
    assert_eq!(text.matches("d8:complete").count(), 50, "nothing is answered behind the end");
    assert!(text.ends_with("20:info_hash is missing8:intervali300e8:retry in5:nevere"), "{text}");
    assert_eq!(store.stats().announces, 50);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_do_not_pile_up_and_end_the_connection() {
    let (mut near, store, task) = connect(HttpTrackerConfig::default(), FAR, 4_096);
    let start = tokio::time::Instant::now();
    let mut sent = 0;
    // Nothing is read, until nothing more is taken.
    while let Ok(written) =
        tokio::time::timeout(Duration::from_secs(1), near.write_all(announce(sent, "").as_bytes())).await
    {
        written.unwrap();
        sent += 1;
        assert!(sent < 2_000, "it takes all");
    }
    let answered = store.stats().announces;
    assert!(answered < 500, "{answered} answers wait");
    task.await.unwrap();
    assert!((9..=12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(store.stats().announces, answered);
}

#[tokio::test(start_paused = true)]
async fn a_connection_lives_while_it_asks_but_not_for_ever() {
    let (mut near, store, task) = connect(HttpTrackerConfig::default(), FAR, 1 << 16);
    let start = tokio::time::Instant::now();
    let mut asked = 0;
    while near.write_all(announce(asked, "").as_bytes()).await.is_ok() {
        let mut byte = [0];
        if near.read(&mut byte).await.unwrap() == 0 {
            break;
        }
        asked += 1;
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert!(start.elapsed() < Duration::from_secs(400));
        // The rest of the answer is read late, and that does not matter.
        let mut rest = vec![0; 4_096];
        drop(tokio::time::timeout(Duration::ZERO, near.read(&mut rest)).await);
    }
    task.await.unwrap();
    assert_eq!((u64::from(asked), start.elapsed().as_secs()), (store.stats().announces, 304), "five minutes");
    let (_near, _, task) = connect(HttpTrackerConfig::default(), FAR, 64);
    let start = tokio::time::Instant::now();
    task.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 10, "silence");
}

#[tokio::test(start_paused = true)]
async fn a_head_in_drops_is_not_waited_for_longer_than_one_in_a_piece() {
    let (mut near, store, task) = connect(HttpTrackerConfig::default(), FAR, 64);
    let start = tokio::time::Instant::now();
    for byte in announce(1, "").bytes() {
        if near.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    task.await.unwrap();
    // The next drop finds it closed.
    assert_eq!((start.elapsed().as_secs(), store.stats().announces), (11, 0));
}

#[tokio::test]
async fn a_trusted_proxy_says_who_asks_and_nobody_else_does() {
    let proxies = Proxies { trusted: vec!["10.0.0.0/8".parse().unwrap()], header: "x-forwarded-FOR".into() };
    let config = HttpTrackerConfig { proxies, ..HttpTrackerConfig::default() };
    for fast_path in [true, false] {
        let config = HttpTrackerConfig { fast_path, ..config.clone() };
        let stored = async |far: &str, headers: &str| {
            let (mut near, store, _task) = connect(config.clone(), far, 1 << 16);
            near.write_all(announce(1, headers).as_bytes()).await.unwrap();
            let body = answer(&mut near).await;
            let peers = store.peers(&swarm_proto::id::InfoHash([b'a'; 20]), 9);
            (peers.first().map(|peer| peer.address.ip().to_string()), body)
        };
        let named = async |far: &str, headers: &str| stored(far, headers).await.0;
        let hop = "X-Forwarded-For: 203.0.113.1, 198.51.100.4\r\n";
        assert_eq!(named("10.0.0.1:80", hop).await.as_deref(), Some("198.51.100.4"));
        assert_eq!(named("[::ffff:10.0.0.1]:80", hop).await.as_deref(), Some("198.51.100.4"), "in the clothes of IPv6");
        assert_eq!(named(FAR, hop).await.as_deref(), Some("192.0.2.7"), "anybody can say that");
        assert_eq!(
            named("10.0.0.1:80", "X-Real-IP: 1.2.3.4\r\nx-forwarded-for: 2001:db8::1\r\n").await.as_deref(),
            Some("2001:db8::1")
        );
        for (headers, reason) in [
            ("", "27:the proxy does not say who"),
            ("X-Real-IP: 1.2.3.4\r\n", "27:the proxy does not say who"),
            ("X-Forwarded-For: unknown\r\n", "41:what the proxy says of who asks is garbled"),
            ("X-Forwarded-For:\r\n", "41:what the proxy says of who asks is garbled"),
            ("X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: \u{e4}\r\n", "garbled"),
        ] {
            let (peer, body) = stored("10.0.0.1:80", headers).await;
            let reason = reason.split_once(':').map_or(reason, |(_, text)| text);
            assert!(
                peer.is_none() && body.starts_with("d14:failure reason") && body.contains(reason),
                "{headers}: {body}"
            );
            assert!(body.contains("8:intervali300e8:retry ini5e"), "{body}");
        }
        // The proxy itself may ask whether the tracker lives.
        let (mut near, ..) = connect(config.clone(), "10.0.0.1:80", 1 << 16);
        near.write_all(b"GET /health HTTP/1.1\r\nHost: nas\r\n\r\n").await.unwrap();
        assert_eq!(answer(&mut near).await, "ok\n");
    }
}

#[tokio::test]
async fn threads_share_a_port_and_give_it_back() {
    let threads = NonZeroUsize::new(3);
    let listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let config = HttpTrackerConfig { threads, listen, ..HttpTrackerConfig::default() };
    let tracker = HttpTracker::bind(config.clone(), store()).unwrap();
    let addresses = tracker.local_addrs().to_vec();
    let again = HttpTrackerConfig { listen: addresses.clone(), ..config };
    assert!(HttpTracker::bind(again.clone(), store()).is_err(), "nobody else gets a part of the connections");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(tracker.serve(async { drop(stopped.await) }));
    let mut idle = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(addresses[n % 2]).await.unwrap();
        stream.write_all(b"GET /scrape HTTP/1.1\r\n\r\n").await.unwrap();
        let mut first = [0; 15];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        idle.push(stream);
    }
    drop(stop);
    serving.await.unwrap();
    for mut stream in idle {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
    }
    HttpTracker::bind(again, store()).unwrap();
}

#[tokio::test]
async fn a_private_tracker_asks_for_a_key() {
    for fast_path in [true, false] {
        let access = Arc::new(Access::default());
        assert!(access.set_key(b"k3y", KeyLimits::default()));
        let store = StoreConfig { access: Some(access), ..StoreConfig::default() };
        let store = Arc::new(Store::new(store, Instant::now()));
        let handle =
            HttpHandle::new(HttpTrackerConfig { fast_path, ..HttpTrackerConfig::default() }, Arc::clone(&store));
        let ask = async |path: &str| {
            let (mut near, far) = duplex(1 << 16);
            let request = announce(1, "Connection: close\r\n").replace("/announce", path);
            near.write_all(request.as_bytes()).await.unwrap();
            handle.serve_connection(far, FAR.parse().unwrap()).await;
            answer(&mut near).await
        };
        let refused = |text: &str| format!("d14:failure reason{}:{text}8:intervali300e8:retry in5:nevere", text.len());
        let (none, wrong) =
            ("this tracker is private: the announce URL needs your key", "unknown key in the announce URL");
        for verb in ["announce", "scrape"] {
            assert_eq!(ask(&format!("/{verb}")).await, refused(none), "{verb}");
            assert_eq!(ask(&format!("/other/{verb}")).await, refused(wrong), "{verb}");
            assert_eq!(store.stats().peers, 0);
        }
        for path in ["/k3y/announce", "/announce/k3y", "/k%33y/announce"] {
            assert!(ask(path).await.starts_with("d8:completei0e"), "{path}");
        }
        assert!(ask("/k3y/scrape").await.starts_with("d5:filesd20:"));
        assert_eq!(store.stats().peers, 1);
    }
}

/// Other nodes, who know of one peer after a second.
#[derive(Debug)]
struct Others(Weak<Store>);

impl Remote for Others {
    fn announced(&self, request: &StoreAnnounce<'_>) -> Option<Wait> {
        let (info_hash, store) = (request.info_hash, self.0.clone());
        let peer = RemotePeer {
            address: "203.0.113.5:5".parse().unwrap(),
            tag: PeerTag::of(&PeerId([5; 20])),
            seed: true,
            age: Duration::ZERO,
        };
        let swarm = RemoteSwarm { info_hash, peers: vec![peer], downloaded: 0, is_whole: true };
        (request.peer_id.0[19] == b'1').then(|| {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                store.upgrade().unwrap().import(Instant::now(), &swarm);
            }) as Wait
        })
    }

    fn removed(&self, _: &InfoHash, _: SocketAddr) {}

    fn spawn(&self, work: Wait) {
        tokio::spawn(work);
    }

    fn health(&self) -> RemoteHealth {
        RemoteHealth { up: true, text: String::new() }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_other_nodes_and_those_behind_it_for_their_turn() {
    for fast_path in [true, false] {
        let store = store();
        store.set_remote(Arc::new(Others(Arc::downgrade(&store))));
        let handle =
            HttpHandle::new(HttpTrackerConfig { fast_path, ..HttpTrackerConfig::default() }, Arc::clone(&store));
        let (mut near, far) = duplex(1 << 16);
        let start = tokio::time::Instant::now();
        let last = announce(11, "Connection: close\r\n");
        // The first and the third are asked of others, the second is not.
        near.write_all((announce(1, "") + &announce(2, "").replace("6881", "6882") + &last).as_bytes()).await.unwrap();
        handle.serve_connection(far, FAR.parse().unwrap()).await;
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(answer(&mut near).await);
        }
        assert_eq!(start.elapsed().as_secs(), 2, "each waits once");
        for (answer, peers) in answers.iter().zip([1, 2, 2]) {
            assert!(answer.contains(&format!("5:peers{}:", 6 * peers)), "{answers:?}");
            assert!(answer.contains("\u{cb}\0q\u{5}\0\u{5}"), "{answers:?}");
        }
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    }
}
