//! Swarms of real sessions on the loopback: publish, seed, fetch, over either tracker and over none, whatever goes wrong.

use std::net::SocketAddr;
use swarm_engine::{AddTorrent, Session, SessionConfig, TorrentEvent};
use swarm_proto::swarm::Event;
use swarm_tests::kit::{Leecher, PATIENCE, Payload, Trackers, seed, session, session_with, slow_session};
use swarm_tests::rogue::{Rogue, Vice};

const KIB: u32 = 1024;
const MIB: u64 = 1024 * 1024;

fn address(session: &Session) -> SocketAddr {
    session.listen_address()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_to_one_without_any_tracker() {
    let payload = Payload::file("movie.bin", 3 * MIB + 17);
    let metainfo = payload.metainfo(256 * KIB, &[]);
    let seeder = session();
    let source = seed(&seeder, &payload, &metainfo).await;
    let leecher = Leecher::start(&metainfo, &[address(&seeder)]).await;
    leecher.finish(&payload).await;
    let stats = leecher.torrent.status().stats;
    assert_eq!((stats.downloaded, stats.wasted), (3 * MIB + 17, 0));
    leecher.session.shutdown().await;
    drop(source);
    seeder.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_to_eight_over_the_http_tracker() {
    let trackers = Trackers::start();
    let payload = Payload::file("image.iso", 4 * MIB + 1);
    let metainfo = payload.metainfo(64 * KIB, std::slice::from_ref(&trackers.http));
    let seeder = session_with(SessionConfig::default());
    let _source = seed(&seeder, &payload, &metainfo).await;
    let mut leechers = Vec::new();
    for _ in 0..8 {
        leechers.push(Leecher::start_in(session_with(SessionConfig::default()), &metainfo, &[]).await);
    }
    for leecher in &leechers {
        leecher.finish(&payload).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_to_four_over_the_udp_tracker() {
    let trackers = Trackers::start();
    let payload = Payload::file("image.iso", 4 * MIB + 1);
    let metainfo = payload.metainfo(64 * KIB, std::slice::from_ref(&trackers.udp));
    let seeder = session_with(SessionConfig::default());
    let _source = seed(&seeder, &payload, &metainfo).await;
    let mut leechers = Vec::new();
    for _ in 0..4 {
        leechers.push(Leecher::start_in(session_with(SessionConfig::default()), &metainfo, &[]).await);
    }
    for leecher in &leechers {
        leecher.finish(&payload).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_seeds_five_leechers_and_a_seed_killed_half_way() {
    let trackers = Trackers::start();
    let payload = Payload::file("data", 4 * MIB);
    let metainfo = payload.metainfo(128 * KIB, std::slice::from_ref(&trackers.native));
    let mut seeders = Vec::new();
    for _ in 0..3 {
        let seeder = slow_session(MIB);
        let torrent = seed(&seeder, &payload, &metainfo).await;
        seeders.push((seeder, torrent));
    }
    let mut leechers = Vec::new();
    for _ in 0..5 {
        leechers.push(Leecher::start(&metainfo, &[]).await);
    }
    leechers[0].wait_for_bytes(MIB).await;
    let killed = seeders.pop().expect("three seeds");
    drop(killed);
    for leecher in &leechers {
        leecher.finish(&payload).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_awkward_files() {
    let payload = Payload::folder(
        "Ordner",
        &[
            ("a.txt", 1),
            ("empty", 0),
            ("nested/deeper/still/b.bin", 200_001),
            ("nested/größe 文件.dat", 65_537),
            ("nested/one", 1),
            ("z-last", 99_999),
        ],
    );
    // Pieces straddle files, and the last is short.
    let metainfo = payload.metainfo(32 * KIB, &[]);
    let seeder = session();
    let _source = seed(&seeder, &payload, &metainfo).await;
    let leecher = Leecher::start(&metainfo, &[address(&seeder)]).await;
    leecher.finish(&payload).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_and_the_largest_pieces() {
    for (piece_length, total) in [(16 * KIB, MIB + 5), (16 * 1024 * KIB, 20 * MIB + 3)] {
        let payload = Payload::file("pieces", total);
        let metainfo = payload.metainfo(piece_length, &[]);
        let seeder = session();
        let _source = seed(&seeder, &payload, &metainfo).await;
        let leecher = Leecher::start(&metainfo, &[address(&seeder)]).await;
        leecher.finish(&payload).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_swarms_in_one_session() {
    let payloads = [Payload::file("first", MIB), Payload::file("second", 2 * MIB)];
    let seeder = session();
    let leecher = session();
    let mut fetching = Vec::new();
    for payload in &payloads {
        let metainfo = payload.metainfo(64 * KIB, &[]);
        let source = seed(&seeder, payload, &metainfo).await;
        fetching.push((source, Leecher::start_in(leecher.clone(), &metainfo, &[address(&seeder)]).await));
    }
    for (payload, (_, leecher)) in payloads.iter().zip(&fetching) {
        leecher.finish(payload).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_on_different_trackers_of_one_store_meet() {
    let trackers = Trackers::start();
    let payload = Payload::file("mixed", 2 * MIB);
    let over_http = payload.metainfo(64 * KIB, std::slice::from_ref(&trackers.http));
    let over_native = payload.metainfo(64 * KIB, std::slice::from_ref(&trackers.native));
    assert_eq!(over_http.info_hash(), over_native.info_hash());
    let over_udp = payload.metainfo(64 * KIB, std::slice::from_ref(&trackers.udp));
    // The leecher that waits on the native tracker is told when the seed comes elsewhere; elsewhere the seed is told.
    let [http, udp, native] = [&over_http, &over_udp, &over_native];
    for (first, second) in [(native, http), (native, udp), (http, native), (udp, native), (http, udp), (udp, http)] {
        let waiting = Leecher::start(first, &[]).await;
        let seeder = session();
        let _source = seed(&seeder, &payload, second).await;
        waiting.finish(&payload).await;
        waiting.session.shutdown().await;
        seeder.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_tracker_that_restarts_half_way_is_found_again() {
    let trackers = Trackers::start();
    let native: SocketAddr = trackers.native.trim_start_matches("native://").parse().expect("an address");
    let http: SocketAddr =
        trackers.http.trim_start_matches("http://").trim_end_matches("/announce").parse().expect("one");
    let payload = Payload::file("restart", 2 * MIB);
    let metainfo = payload.metainfo(64 * KIB, std::slice::from_ref(&trackers.native));
    let seeder = slow_session(MIB);
    let _source = seed(&seeder, &payload, &metainfo).await;
    let before = Leecher::start(&metainfo, &[]).await;
    before.wait_for_bytes(MIB / 2).await;
    trackers.stop().await;
    let trackers = Trackers::start_at(http, native);
    // A newcomer knows nobody but the new tracker, which knows only who has come back to it.
    let after = Leecher::start(&metainfo, &[]).await;
    before.finish(&payload).await;
    after.finish(&payload).await;
    trackers.stop().await;
}

async fn fetch_beside(vice: Vice) -> (Leecher, Vec<Event>) {
    let payload = Payload::file("honest", 2 * MIB);
    let metainfo = payload.metainfo(128 * KIB, &[]);
    let seeder = slow_session(2 * MIB);
    let _source = seed(&seeder, &payload, &metainfo).await;
    let rogue = Rogue::start(metainfo.info_hash(), metainfo.geometry().pieces(), vice).await;
    let leecher = Leecher::start(&metainfo, &[rogue.address, address(&seeder)]).await;
    let mut events = leecher.torrent.events();
    leecher.finish(&payload).await;
    let mut seen = Vec::new();
    let all = async {
        while let Some(event) = events.next().await {
            match event {
                TorrentEvent::Finished => break,
                TorrentEvent::Swarm(event) => seen.push(event),
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the end of the events");
    (leecher, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_corrupt_blocks_is_banned() {
    let (leecher, events) = fetch_beside(Vice::Corrupt).await;
    assert_eq!(events.iter().filter(|event| matches!(event, Event::PeerBanned(_))).count(), 1, "{events:?}");
    assert!((1..=2).contains(&leecher.torrent.status().stats.failed_pieces));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stalls_is_worked_around() {
    let (leecher, _) = fetch_beside(Vice::Stall).await;
    assert_eq!(leecher.torrent.status().stats.failed_pieces, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_speak_garbage_are_hung_up_on() {
    let (_, events) = fetch_beside(Vice::Garbage).await;
    let faults = events.iter().filter(|event| matches!(event, Event::PeerClosed { reason: Some(_), .. }));
    assert!(faults.count() >= 1, "{events:?}");
    fetch_beside(Vice::NoHandshake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_where_it_was_stopped() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let payload = Payload::file("resumed", 4 * MIB);
    let metainfo = payload.metainfo(64 * KIB, &[]);
    let seeder = slow_session(4 * MIB);
    let _source = seed(&seeder, &payload, &metainfo).await;
    let config = || SessionConfig { state_folder: Some(state.path().to_path_buf()), ..SessionConfig::default() };
    let first = Leecher::start_in(session_with(config()), &metainfo, &[address(&seeder)]).await;
    first.wait_for_bytes(MIB).await;
    let Leecher { session, torrent, folder } = first;
    torrent.stop().await;
    let had = torrent.status().stats.have_bytes;
    session.shutdown().await;
    assert!((MIB..4 * MIB).contains(&had), "{had}");

    let session = session_with(config());
    let mut add = AddTorrent::fetch(metainfo.clone(), folder.path());
    add.peers = vec![address(&seeder).to_string()];
    let torrent = session.add(add).await.expect("a torrent to fetch");
    let second = Leecher { session, torrent, folder };
    second.finish(&payload).await;
    let stats = second.torrent.status().stats;
    assert!(stats.downloaded <= 4 * MIB - had + 64 * u64::from(KIB), "{} of {}", stats.downloaded, 4 * MIB - had);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_there_already_is_checked_and_done() {
    let payload = Payload::folder("there", &[("a", 100_000), ("b", 50_000)]);
    let metainfo = payload.metainfo(16 * KIB, &[]);
    let session = session();
    let torrent = session.add(AddTorrent::fetch(metainfo, payload.parent())).await.expect("a torrent");
    tokio::time::timeout(PATIENCE, torrent.wait_complete()).await.expect("in time").expect("complete");
    assert_eq!(torrent.status().stats.downloaded, 0);
}
