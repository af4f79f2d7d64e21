//! Datagrams of BEP 15, and what stands behind them (BEP 41).

use crate::dialects::{Trackers, announce};
use crate::set;
use swarm_proto::announce::udp::{Reply, TransactionId, announce_request, scrape_request};
use swarm_proto::id::InfoHash;

/// Bytes of an announce without what may stand behind it.
const LENGTH: usize = 98;
const EVENT: usize = 80;
const ADDRESS: usize = 84;
const WANTED: usize = 92;

/// An announce of port 2 with these bytes put in at an offset.
fn changed(id: swarm_proto::announce::udp::ConnectionId, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut datagram = announce_request(id, TransactionId(1), &announce(2, 1), "");
    datagram.truncate(LENGTH);
    datagram[offset..offset + bytes.len()].copy_from_slice(bytes);
    datagram
}

#[tokio::test]
async fn whatever_stands_behind_an_announce_does_not_spoil_it() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    let client = trackers.udp_client().await;
    let long = [[2, 255].as_slice(), &[b'/'; 255]].concat();
    for behind in [
        [].as_slice(),
        &[0],
        &[1],
        &[1; 50],
        &[2],
        &[2, 0],
        &[2, 9, b'/', b'a'],
        b"\x02\x09/announce",
        b"\x02\x09/announce\x00",
        b"\x02\x05/anno\x02\x04unce\x00junk",
        &[0x77, 3, 1, 2, 3],
        &[0x77],
        &[0xff; 300],
        &long,
        &[0; 1_000],
        &[2, 3, 0, 0xff, b'\n'],
    ] {
        let datagram = [changed(client.id, 0, &[]).as_slice(), behind].concat();
        assert_eq!(client.announce(&datagram).await.unwrap().ports, set([1]), "{behind:?}");
    }
    // Cut within its fields, it is told so.
    for length in 16..LENGTH {
        let reason = client.announce(&changed(client.id, 0, &[])[..length]).await.unwrap_err();
        assert_eq!(reason, "the request is cut off", "{length}");
    }
}

#[tokio::test]
async fn datagrams_come_twice_and_as_long_as_they_can_be() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    let client = trackers.udp_client().await;
    for length in [0, 400, 1_374, 1_375, 1_950, 1_951, 4_000, 9_000, 65_507 - LENGTH] {
        for option in [0, 1, 2, 0xff] {
            let datagram = [changed(client.id, 0, &[]), vec![option; length]].concat();
            for _ in 0..2 {
                let found = client.announce(&datagram).await.unwrap();
                assert_eq!((found.ports, found.incomplete), (set([1]), 1), "{length} times {option}");
            }
        }
    }
    assert_eq!(trackers.store.stats().peers, 2);
    // Options in any order, and one of them twice.
    for behind in [
        b"\x01\x01\x02\x09/announce\x77\x01x\x00".as_slice(),
        b"\x77\x01x\x02\x09/announce\x01\x00",
        b"\x02\x09/announce\x02\x09/announce",
        b"\x02\x09/ANNOUNCE",
        b"\x02\x1c/%61%6e%6e%6f%75%6e%63%65%3f",
    ] {
        let datagram = [changed(client.id, 0, &[]).as_slice(), behind].concat();
        assert_eq!(client.announce(&datagram).await.unwrap().ports, set([1]), "{behind:?}");
    }
}

#[tokio::test]
async fn counts_beyond_all_measure_are_taken_as_they_are() {
    let trackers = Trackers::start().await;
    let client = trackers.udp_client().await;
    // Downloaded, left, uploaded.
    for (left, seeds) in [(u64::MAX, 0), (0, 1), (1 << 63, 0)] {
        let counts = [u64::MAX, left, u64::MAX].map(u64::to_be_bytes).concat();
        assert_eq!(client.announce(&changed(client.id, 56, &counts)).await.unwrap().complete, seeds, "{left}");
    }
    // A key of ours and an address say nothing.
    for bytes in [[0xff; 8], [0; 8]] {
        client.announce(&changed(client.id, ADDRESS, &bytes)).await.unwrap();
    }
    assert_eq!(trackers.store.stats().peers, 1);
}

#[tokio::test]
async fn unknown_events_are_none_and_a_claimed_address_is_not_believed() {
    let trackers = Trackers::start().await;
    let client = trackers.udp_client().await;
    for event in [0, 2, 4, 5, 255, 1 << 31, u32::MAX] {
        let found = client.announce(&changed(client.id, EVENT, &event.to_be_bytes())).await.unwrap();
        assert_eq!((found.complete, found.incomplete), (0, 1), "{event}");
    }
    client.announce(&changed(client.id, ADDRESS, &[192, 0, 2, 9])).await.unwrap();
    let peers = trackers.store.peers(&announce(2, 1).info_hash, 9);
    assert_eq!(peers.iter().map(|peer| peer.address.to_string()).collect::<Vec<_>>(), ["127.0.0.1:2"]);
}

#[tokio::test]
async fn a_negative_number_of_peers_leaves_it_to_the_tracker() {
    let trackers = Trackers::start().await;
    for n in 100..200 {
        trackers.http_good(&announce(n, 1)).await;
    }
    let client = trackers.udp_client().await;
    for (wanted, expected) in [(-1_i32, 50), (i32::MIN, 50), (0, 0), (1, 1), (i32::MAX, 100)] {
        let found = client.announce(&changed(client.id, WANTED, &wanted.to_be_bytes())).await.unwrap();
        assert_eq!(found.ports.len(), expected, "{wanted}");
    }
}

#[tokio::test]
async fn scrapes_name_one_to_seventy_four_torrents() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    let client = trackers.udp_client().await;
    let hashes = |count: u8| -> Vec<InfoHash> { (0..count).map(|n| InfoHash([n; 20])).collect() };
    for count in [1, 2, 74] {
        match client.ask(&scrape_request(client.id, TransactionId(1), &hashes(count))).await {
            Reply::Scraped(entries) => {
                assert_eq!(entries.len(), usize::from(count));
                assert_eq!(entries.iter().map(|entry| entry.complete).sum::<u32>(), u32::from(count > 0x2b));
            }
            other => panic!("{other:?}"),
        }
    }
    // The same one 74 times.
    match client.ask(&scrape_request(client.id, TransactionId(1), &[announce(1, 0).info_hash; 74])).await {
        Reply::Scraped(entries) => assert!(entries.len() == 74 && entries.iter().all(|entry| entry.complete == 1)),
        other => panic!("{other:?}"),
    }
    let none = scrape_request(client.id, TransactionId(1), &[]);
    let many = [scrape_request(client.id, TransactionId(1), &hashes(74)).as_slice(), &[7; 20]].concat();
    let broken = [scrape_request(client.id, TransactionId(1), &hashes(2)).as_slice(), &[7]].concat();
    for (datagram, reason) in
        [(none, "info_hash is missing"), (many, "too many hashes in one scrape"), (broken, "the request is cut off")]
    {
        match client.ask(&datagram).await {
            Reply::Refused(text) => assert_eq!(text, reason),
            other => panic!("{other:?}"),
        }
    }
    let unknown = changed(client.id, 8, &9_u32.to_be_bytes());
    assert!(matches!(client.ask(&unknown).await, Reply::Refused(text) if text == "unknown action"));
}
