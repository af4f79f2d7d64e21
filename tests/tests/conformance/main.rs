//! What clients in the wild send, at every dialect of a tracker: odd, broken and hostile requests, byte by byte.
//!
//! One store behind all three dialects: what one of them takes in, the others give out.

mod dialects;
mod http;
mod native;
mod udp;

use dialects::{Trackers, announce};
use std::collections::BTreeSet;
use std::sync::Arc;
use swarm_proto::announce::udp::{TransactionId, announce_request};
use swarm_proto::announce::{Announce, AnnounceEvent};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_tracker_core::{Access, AccessFiles, StoreConfig};

/// Ports in order.
fn set<const N: usize>(ports: [u16; N]) -> BTreeSet<u16> {
    BTreeSet::from(ports)
}

#[tokio::test]
async fn seeds_and_leechers_meet_over_all_dialects() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    trackers.udp_good(&announce(2, 5)).await;
    let mut third = trackers.native(3).await;
    let found = third.good(&announce(3, 0)).await;
    assert_eq!((found.ports, found.complete, found.incomplete), (set([2]), 2, 1), "a seed needs no seeds");
    for found in [trackers.http_good(&announce(4, 9)).await, trackers.udp_good(&announce(4, 9)).await] {
        assert_eq!((found.ports, found.complete, found.incomplete), (set([1, 2, 3]), 2, 2));
    }
    assert_eq!(third.good(&announce(3, 9)).await.ports, set([1, 2, 4]), "nobody gets itself");
}

#[tokio::test]
async fn the_number_wanted_is_honoured_by_all() {
    let trackers = Trackers::start().await;
    for n in 1..=250 {
        trackers.http_good(&announce(n, 1)).await;
    }
    let mut asker = trackers.native(1_000).await;
    for (wanted, expected) in [(Some(0), 0), (Some(1), 1), (Some(7), 7), (None, 50), (Some(u32::MAX), 200)] {
        let announce = Announce { num_want: wanted, ..announce(1_000, 1) };
        assert_eq!(trackers.http_good(&announce).await.ports.len(), expected, "HTTP, {wanted:?}");
        assert_eq!(trackers.udp_good(&announce).await.ports.len(), expected, "UDP, {wanted:?}");
        assert_eq!(asker.good(&announce).await.ports.len(), expected, "native, {wanted:?}");
    }
}

#[tokio::test]
async fn who_stops_is_gone_and_gets_nobody() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    for n in [2, 3] {
        trackers.http_good(&announce(n, 1)).await;
    }
    let stopped = |n| Announce { event: AnnounceEvent::Stopped, ..announce(n, 1) };
    for found in [trackers.http_good(&stopped(2)).await, trackers.udp_good(&stopped(3)).await] {
        assert_eq!(found.ports, set([]));
    }
    // Twice, and who was never there.
    trackers.http_good(&stopped(2)).await;
    trackers.udp_good(&stopped(77)).await;
    assert_eq!(trackers.store.stats().peers, 1);
    // Another one cannot stop it.
    let mut other = stopped(1);
    other.peer_id.0[19] ^= 1;
    trackers.http_good(&other).await;
    trackers.udp_good(&other).await;
    assert_eq!(trackers.store.stats().peers, 1);
}

#[tokio::test]
async fn any_twenty_bytes_name_a_torrent_in_all_dialects() {
    let trackers = Trackers::start().await;
    let mut native = trackers.native(3).await;
    for byte in 0..=u8::MAX {
        let of = |n| Announce { info_hash: InfoHash([byte; 20]), ..announce(n, 1) };
        trackers.http_good(&of(1)).await;
        assert_eq!(trackers.udp_good(&of(2)).await.ports, set([1]), "{byte}");
        assert_eq!(native.good(&of(3)).await.ports, set([1, 2]), "{byte}");
    }
    assert_eq!(trackers.store.stats().torrents, 256);
}

#[tokio::test]
async fn any_twenty_bytes_name_a_peer_in_all_dialects() {
    let trackers = Trackers::start().await;
    for byte in 0..=u8::MAX {
        let stopped = AnnounceEvent::Stopped;
        let of = |n| Announce { peer_id: PeerId([byte; 20]), ..announce(n, 1) };
        trackers.http_good(&of(1)).await;
        trackers.udp_good(&of(2)).await;
        let other = PeerId([byte ^ 1; 20]);
        for n in [1, 2] {
            // Another id is another peer, which takes nobody out.
            trackers.http_good(&Announce { event: stopped, peer_id: other, ..of(n) }).await;
            trackers.udp_good(&Announce { event: stopped, peer_id: other, ..of(n) }).await;
        }
        assert_eq!(trackers.store.stats().peers, 2, "{byte}");
        // Each by the other dialect.
        trackers.udp_good(&Announce { event: stopped, ..of(1) }).await;
        trackers.http_good(&Announce { event: stopped, ..of(2) }).await;
        assert_eq!(trackers.store.stats().peers, 0, "{byte}");
    }
}

#[tokio::test]
async fn nobody_serves_at_port_0() {
    let trackers = Trackers::start().await;
    for event in [AnnounceEvent::Started, AnnounceEvent::Regular, AnnounceEvent::Completed, AnnounceEvent::Stopped] {
        let nowhere = Announce { event, ..announce(0, 1) };
        assert_eq!(trackers.http(&dialects::query(&nowhere)).await.unwrap_err(), "port is invalid");
        assert_eq!(trackers.udp(&nowhere).await.unwrap_err(), "port is invalid");
    }
    let mut native = trackers.native(0).await;
    assert!(native.announce(&announce(0, 1)).await.is_err());
    assert_eq!(trackers.store.stats().peers, 0);
}

#[tokio::test]
async fn a_key_is_the_same_in_both_dialects_that_have_a_path() {
    const KEY: &str = "aB3-_.~9";
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("{KEY} max-peers=1000\n")).unwrap();
    let access = Access::open(AccessFiles { keys: Some(keys), ..AccessFiles::default() }).unwrap();
    let trackers = Trackers::start_with(StoreConfig { access: Some(Arc::new(access)), ..StoreConfig::default() }).await;
    let escaped = |escape: fn(u8) -> String| KEY.bytes().map(escape).collect::<String>();
    let paths = [
        (format!("/{KEY}/announce"), true),
        (format!("/announce/{KEY}"), true),
        (format!("/{}/announce", escaped(|byte| format!("%{byte:02x}"))), true),
        (format!("/announce/{}", escaped(|byte| format!("%{byte:02X}"))), true),
        (format!("/{}/announce", KEY.replace('~', "%7E")), true),
        (format!("/{KEY}/%61nnounce"), true),
        (format!("/{KEY}/announce?x=y&key=z"), true),
        (format!("/{}/announce", KEY.to_uppercase()), false),
        (format!("/{}/announce", escaped(|byte| format!("%25{byte:02x}"))), false),
        (format!("/{}/announce", KEY.replace('~', "%7")), false),
        (format!("/{KEY}%00/announce"), false),
        ("/announce".into(), false),
        (String::new(), false),
    ];
    for (n, (path, welcome)) in (1..).zip(&paths) {
        let http = announce(2 * n, 1);
        let query = dialects::query(&http).replace("/announce?", "");
        let joint = if path.contains('?') { '&' } else { '?' };
        let target = if path.is_empty() { "/announce" } else { path };
        let over_http = trackers.http(format!("{target}{joint}{query}")).await;
        let client = trackers.udp_client().await;
        let datagram = announce_request(client.id, TransactionId(1), &announce(2 * n + 1, 1), path);
        let over_udp = client.announce(&datagram).await;
        assert_eq!((over_http.is_ok(), over_udp.is_ok()), (*welcome, *welcome), "{path}: {over_http:?}, {over_udp:?}");
        assert!(*welcome || over_http == over_udp, "{path}: {over_http:?}, {over_udp:?}");
    }
    // Longer than any key, it is no announce over HTTP.
    let long = format!("/{}/announce", "x".repeat(300));
    let (head, _) =
        trackers.raw(format!("GET {long} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes()).await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let client = trackers.udp_client().await;
    let datagram = announce_request(client.id, TransactionId(1), &announce(1_000, 1), &long);
    assert!(client.announce(&datagram).await.is_err());
    let mut native = trackers.native(1_000).await;
    assert!(native.announce(&announce(1_000, 1)).await.is_err(), "there is no place for a key");
    assert_eq!(trackers.store.stats().peers, 2 * paths.iter().filter(|(_, welcome)| *welcome).count() as u64);
}

#[tokio::test]
async fn who_says_the_same_twice_is_there_once() {
    let trackers = Trackers::start().await;
    let mut native = trackers.native(3).await;
    for _ in 0..3 {
        trackers.http_good(&announce(1, 0)).await;
        trackers.udp_good(&announce(2, 1)).await;
        native.good(&announce(3, 1)).await;
        // One that is there already, by another dialect.
        trackers.udp_good(&announce(1, 0)).await;
    }
    let found = trackers.http_good(&announce(4, 1)).await;
    assert_eq!((found.ports, found.complete, found.incomplete), (set([1, 2, 3]), 1, 3));
    let downloaded = async |left, event| {
        trackers.udp_good(&Announce { event, ..announce(2, left) }).await;
        trackers.store.scrape(&[announce(2, 0).info_hash])[0].downloaded
    };
    for (left, event, count) in [
        (0, AnnounceEvent::Completed, 1),
        (0, AnnounceEvent::Completed, 1),
        (0, AnnounceEvent::Regular, 1),
        (0, AnnounceEvent::Started, 1),
    ] {
        assert_eq!(downloaded(left, event).await, count, "{event:?}");
    }
}
