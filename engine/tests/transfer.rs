//! Whole transfers over loopback, without any tracker.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

mod common;

use common::{Sample, complete, peer, session, session_with};
use std::fs;
use std::time::Duration;
use swarm_engine::{AddTorrent, Session, SessionConfig, State, Torrent, TorrentEvent};
use tempfile::TempDir;

/// A session that serves `sample` from a folder of its own.
async fn seeder(sample: &Sample) -> (TempDir, Session) {
    let folder = tempfile::tempdir().unwrap();
    sample.write_to(folder.path());
    let session = session();
    let seed = session.add(AddTorrent::seed(sample.metainfo.clone(), folder.path())).await.unwrap();
    complete(&seed).await.unwrap();
    assert_eq!(seed.status().state, State::Seeding);
    (folder, session)
}

/// Begins to fetch `sample` into `folder` from the peers of other sessions.
async fn fetch(session: &Session, sample: &Sample, folder: &TempDir, from: &[&Session]) -> Torrent {
    let peers = from.iter().flat_map(|session| peer(session)).collect();
    let torrent = AddTorrent { peers, ..AddTorrent::fetch(sample.metainfo.clone(), folder.path()) };
    session.add(torrent).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_goes_from_one_to_one() {
    let sample = Sample::file(3_000_001, 65_536);
    let (_origin, origin) = seeder(&sample).await;
    let (copy, leecher) = (tempfile::tempdir().unwrap(), session());
    let torrent = fetch(&leecher, &sample, &copy, &[&origin]).await;
    complete(&torrent).await.unwrap();
    sample.assert_in(copy.path());
    let status = torrent.status();
    assert_eq!((status.state, status.stats.downloaded, status.stats.wasted), (State::Seeding, 3_000_001, 0));
    leecher.shutdown().await;
    origin.shutdown().await;
    assert_eq!(torrent.status().state, State::Stopped);
    assert!(torrent.status().complete, "what was complete stays complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_odd_files_goes_whole() {
    let files =
        [("a/first", 100_000), ("a/empty", 0), ("a/b/one byte", 1), ("grüße, 世界", 33_000), ("z/last", 16_385)];
    for piece_length in [16_384, 1 << 24] {
        let sample = Sample::folder(&files, piece_length);
        let (_origin, origin) = seeder(&sample).await;
        let (copy, leecher) = (tempfile::tempdir().unwrap(), session());
        let torrent = fetch(&leecher, &sample, &copy, &[&origin]).await;
        complete(&torrent).await.unwrap();
        sample.assert_in(copy.path());
        leecher.shutdown().await;
        origin.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_leechers_serve_each_other() {
    let sample = Sample::file(4_000_000, 65_536);
    let (_origin, origin) = seeder(&sample).await;
    let sessions: Vec<Session> = (0..4).map(|_| session()).collect();
    let mut copies = Vec::new();
    for (number, session) in sessions.iter().enumerate() {
        let from: Vec<&Session> = sessions.iter().take(number).chain([&origin]).collect();
        let copy = tempfile::tempdir().unwrap();
        let torrent = fetch(session, &sample, &copy, &from).await;
        copies.push((copy, torrent));
    }
    for (copy, torrent) in &copies {
        complete(torrent).await.unwrap();
        sample.assert_in(copy.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_fetched_again() {
    let sample = Sample::file(2_000_000, 65_536);
    let (_origin, origin) = seeder(&sample).await;
    let (copy, leecher) = (tempfile::tempdir().unwrap(), session());
    let slow = session_with(SessionConfig { download_limit: Some(4_000_000), ..SessionConfig::default() });
    let torrent = fetch(&slow, &sample, &copy, &[&origin]).await;
    let mut status = torrent.watch();
    let some = status.wait_for(|status| status.stats.have_bytes > 500_000).await.unwrap().clone();
    assert!(!some.complete);
    drop((torrent, slow, status));
    // The lock of the folder is free when the dropped session has ended.
    let torrent = loop {
        let peers = peer(&origin);
        let torrent = AddTorrent { peers, ..AddTorrent::fetch(sample.metainfo.clone(), copy.path()) };
        match leecher.add(torrent).await {
            Ok(torrent) => break torrent,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
        tokio::task::yield_now().await;
    };
    complete(&torrent).await.unwrap();
    sample.assert_in(copy.path());
    assert!(torrent.status().stats.downloaded <= 2_000_000 - some.stats.have_bytes, "{:?}", torrent.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_data_is_checked_and_done_without_a_peer() {
    let sample = Sample::file(300_000, 32_768);
    let copy = tempfile::tempdir().unwrap();
    sample.write_to(copy.path());
    let leecher = session();
    let torrent = fetch(&leecher, &sample, &copy, &[]).await;
    let mut events = torrent.events();
    complete(&torrent).await.unwrap();
    leecher.shutdown().await;
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push(event);
    }
    assert!(seen.contains(&TorrentEvent::Checking { done: 300_000, total: 300_000 }), "{seen:?}");
    assert!(seen.contains(&TorrentEvent::Finished));
    assert_eq!(seen.last(), Some(&TorrentEvent::StateChanged(State::Stopped)));
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_files_stay_as_they_are() {
    let sample = Sample::file(300_000, 32_768);
    let copy = tempfile::tempdir().unwrap();
    fs::write(copy.path().join("top"), b"somebody else's").unwrap();
    let leecher = session();
    let torrent = fetch(&leecher, &sample, &copy, &[]).await;
    let error = complete(&torrent).await.unwrap_err().to_string();
    assert!(error.contains("top") && error.contains("overwriting"), "{error}");
    assert_eq!(torrent.status().state, State::Failed);
    assert_eq!(fs::read(copy.path().join("top")).unwrap(), b"somebody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torrent_is_added_once_and_again_after_its_end() {
    let sample = Sample::file(100_000, 32_768);
    let (copy, leecher) = (tempfile::tempdir().unwrap(), session());
    let torrent = fetch(&leecher, &sample, &copy, &[]).await;
    let again = || AddTorrent::fetch(sample.metainfo.clone(), copy.path());
    assert!(leecher.add(again()).await.is_err());
    torrent.stop().await;
    assert_eq!(torrent.status().state, State::Stopped);
    leecher.add(again()).await.unwrap();
}

#[test]
fn an_add_that_is_given_up_leaves_the_name_free() {
    let sample = Sample::file(100_000, 32_768);
    let folder = tempfile::tempdir().unwrap();
    sample.write_to(folder.path());
    let seed = || AddTorrent::seed(sample.metainfo.clone(), folder.path());
    // The one thread that may block is busy for as long as the sender lives.
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(1).enable_all().build().unwrap();
    let (busy, free) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || free.recv());
    runtime.block_on(async {
        let origin = session();
        for _ in 0..3 {
            assert!(tokio::time::timeout(Duration::ZERO, origin.add(seed())).await.is_err());
        }
        drop(busy);
        complete(&origin.add(seed()).await.unwrap()).await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_torrent_holds_no_connection_and_goes_on() {
    let sample = Sample::file(1_000_000, 32_768);
    let (_origin, origin) = seeder(&sample).await;
    let (copy, leecher) = (tempfile::tempdir().unwrap(), session());
    let torrent = fetch(&leecher, &sample, &copy, &[]).await;
    torrent.pause().await;
    torrent.add_hosts(peer(&origin)).await;
    let mut status = torrent.watch();
    status.wait_for(|status| status.state == State::Paused).await.unwrap();
    assert!(torrent.peers().await.is_empty());
    torrent.resume().await;
    complete(&torrent).await.unwrap();
    sample.assert_in(copy.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_off_under_a_seed_is_noticed_and_nothing_made_up_is_sent() {
    let sample = Sample::file(1_000_000, 65_536);
    let (folder, origin) = (tempfile::tempdir().unwrap(), session());
    sample.write_to(folder.path());
    let seed = origin.add(AddTorrent::seed(sample.metainfo.clone(), folder.path())).await.unwrap();
    complete(&seed).await.unwrap();
    fs::File::options().write(true).open(folder.path().join("top")).unwrap().set_len(500_000).unwrap();
    let (copy, leecher) = (tempfile::tempdir().unwrap(), session());
    let torrent = fetch(&leecher, &sample, &copy, &[&origin]).await;
    // 500,000 bytes hold 7 whole pieces; the rest of what was there is withdrawn.
    let mut status = seed.watch();
    status.wait_for(|status| !status.complete && status.stats.have_pieces <= 7).await.unwrap();
    assert_eq!(torrent.status().stats.failed_pieces, 0, "what came was right");
    leecher.shutdown().await;
    origin.shutdown().await;
}
