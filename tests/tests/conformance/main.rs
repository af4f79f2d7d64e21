//! What clients in the wild send, at every dialect of a tracker: odd, broken and hostile requests, byte by byte.
//!
//! One store behind all three dialects: what one of them takes in, the others give out.

mod dialects;
mod http;
mod native;
mod udp;

use dialects::{Trackers, announce};
use std::collections::BTreeSet;
use swarm_proto::announce::{Announce, AnnounceEvent};
use swarm_proto::id::InfoHash;

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
async fn nobody_serves_at_port_0() {
    let trackers = Trackers::start().await;
    let nowhere = announce(0, 1);
    assert_eq!(trackers.http(&dialects::query(&nowhere)).await.unwrap_err(), "port is invalid");
    assert_eq!(trackers.udp(&nowhere).await.unwrap_err(), "port is invalid");
    let mut native = trackers.native(0).await;
    assert!(native.announce(&nowhere).await.is_err());
    assert_eq!(trackers.store.stats().peers, 0);
}
