//! The same tracker behind TLS: who speaks it, who does not, and what happens when the certificate changes.
//!
//! The certificates are for `localhost`, and made for these tests (`openssl req -x509 …`, see `tests/tls`).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; clippy exempts only functions marked as tests"
)]

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, crypto::ring};
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_tracker_core::{Store, StoreConfig};
use swarm_tracker_http::{HttpHandle, HttpTracker, HttpTrackerConfig, TlsConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const ANNOUNCE: &str =
    "GET /announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&left=1 HTTP/1.1\r\n\r\n";

struct Tracker {
    address: SocketAddr,
    store: Arc<Store>,
    handle: HttpHandle,
    folder: TempDir,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

fn copy(folder: &Path, name: &str) {
    fs::copy(file(&format!("{name}.pem")), folder.join("certificate")).unwrap();
    fs::copy(file(&format!("{name}.key")), folder.join("key")).unwrap();
}

fn files(folder: &Path) -> TlsConfig {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    TlsConfig { listen, certificate: folder.join("certificate"), key: folder.join("key") }
}

fn start(threads: Option<NonZeroUsize>) -> Tracker {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path(), "one");
    let config = HttpTrackerConfig {
        listen: Vec::new(),
        tls: Some(files(folder.path())),
        threads,
        max_connections: 2,
        ..HttpTrackerConfig::default()
    };
    let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
    let tracker = HttpTracker::bind(config, Arc::clone(&store)).unwrap();
    let (address, handle) = (tracker.tls_addrs()[0], tracker.handle());
    assert_eq!((tracker.local_addrs(), tracker.local_addr()), ([].as_slice(), address));
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(tracker.serve(async { drop(stopped.await) }));
    Tracker { address, store, handle, folder, stop, task }
}

/// A client that trusts one of our certificates.
fn client(name: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file(&format!("{name}.pem"))).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    TlsConnector::from(Arc::new(config.with_no_client_auth()))
}

impl Tracker {
    async fn connect(&self, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        client.connect(ServerName::try_from("localhost").unwrap(), stream).await
    }
}

/// Asks and reads until so many answers have come.
async fn ask(stream: &mut TlsStream<TcpStream>, requests: &str, answers: usize) -> String {
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut text = String::new();
    while text.matches("5:peers").count() < answers {
        let mut buffer = [0; 4_096];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "{text}");
        text.extend(buffer[..length].iter().map(|&byte| byte as char));
    }
    text
}

#[tokio::test]
async fn announces_come_over_tls_on_both_ways() {
    for threads in [None, NonZeroUsize::new(2)] {
        let tracker = start(threads);
        let mut stream = tracker.connect(&client("one")).await.unwrap();
        let text = ask(&mut stream, &ANNOUNCE.repeat(3), 3).await;
        assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 3);
        // From here on it is hyper's.
        let odd = ANNOUNCE.replace("\r\n\r\n", "\r\nExpect: x\r\nConnection: close\r\n\r\n");
        ask(&mut stream, &odd, 1).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "a proper end");
        let mut stream = tracker.connect(&client("one")).await.unwrap();
        ask(&mut stream, &ANNOUNCE.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"), 1).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "a proper end");
        assert_eq!(tracker.store.stats().announces, 5);
        drop(tracker.stop);
        tracker.task.await.unwrap();
    }
}

#[tokio::test]
async fn a_new_certificate_is_for_those_that_come_and_a_broken_one_for_nobody() {
    let tracker = start(None);
    let mut old = tracker.connect(&client("one")).await.unwrap();
    ask(&mut old, ANNOUNCE, 1).await;
    fs::write(tracker.folder.path().join("certificate"), "nothing").unwrap();
    let error = tracker.handle.reload_certificates().unwrap_err().to_string();
    assert!(error.starts_with("cannot speak TLS with ") && error.contains("certificate"), "{error}");
    tracker.connect(&client("one")).await.unwrap();
    copy(tracker.folder.path(), "two");
    fs::copy(file("one.key"), tracker.folder.path().join("key")).unwrap();
    let error = tracker.handle.reload_certificates().unwrap_err().to_string();
    assert!(error.contains("/key: "), "the key of another certificate: {error}");
    tracker.connect(&client("one")).await.unwrap();
    copy(tracker.folder.path(), "two");
    tracker.handle.reload_certificates().unwrap();
    tracker.connect(&client("one")).await.unwrap_err();
    tracker.connect(&client("two")).await.unwrap();
    ask(&mut old, ANNOUNCE, 1).await;
}

#[tokio::test]
async fn who_comes_back_with_a_ticket_needs_no_second_handshake() {
    let tracker = start(NonZeroUsize::new(2));
    let client = client("one");
    let mut kinds = Vec::new();
    for round in 0..3 {
        let mut stream = tracker.connect(&client).await.unwrap();
        // The ticket comes with the first answer.
        ask(&mut stream, ANNOUNCE, 1).await;
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        if round == 1 {
            tracker.handle.reload_certificates().unwrap();
        }
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn who_speaks_no_tls_or_nothing_frees_the_place() {
    let tracker = start(None);
    for garbage in [ANNOUNCE.as_bytes(), b"\x16\x03\x01\xff\xff", &[0xff; 20_000], b"\x13BitTorrent protocol"] {
        let mut stream = TcpStream::connect(tracker.address).await.unwrap();
        drop(stream.write_all(garbage).await);
        drop(stream.shutdown().await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "nothing goes out in the clear");
    }
    // Both places are taken by those who say nothing, until their time is over.
    let silent =
        [TcpStream::connect(tracker.address).await.unwrap(), TcpStream::connect(tracker.address).await.unwrap()];
    tokio::task::yield_now().await;
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let mut stream = tracker.connect(&client("one")).await.unwrap();
    ask(&mut stream, ANNOUNCE, 1).await;
    assert!((9..=11).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(11));
    drop(silent);
}

#[test]
fn files_that_are_no_good_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let bind = || {
        let config = HttpTrackerConfig { tls: Some(files(folder.path())), ..HttpTrackerConfig::default() };
        let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
        HttpTracker::bind(config, store).map(drop).unwrap_err().to_string()
    };
    let path = folder.path().display().to_string();
    assert!(bind().starts_with(&format!("cannot speak TLS with {path}/certificate: ")), "{}", bind());
    copy(folder.path(), "one");
    fs::write(folder.path().join("certificate"), "no certificate").unwrap();
    assert_eq!(bind(), format!("cannot speak TLS with {path}/certificate: no certificate in PEM is in it"));
    copy(folder.path(), "one");
    fs::copy(file("one.pem"), folder.path().join("key")).unwrap();
    assert!(bind().starts_with(&format!("cannot speak TLS with {path}/key: ")), "{}", bind());
}
