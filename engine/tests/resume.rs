//! What is known after a restart is neither fetched nor hashed again.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

mod common;

use common::{Sample, complete, peer, session, session_with};
use std::path::Path;
use swarm_engine::{AddError, AddTorrent, Session, SessionConfig, Torrent, TorrentEvent, Verify};

fn remembering(state: &Path, download_limit: Option<u64>) -> Session {
    session_with(SessionConfig { state_folder: Some(state.to_owned()), download_limit, ..SessionConfig::default() })
}

/// Adds a torrent as soon as the lock of its folder is free: a session that was dropped ends in the background.
async fn add(session: &Session, torrent: &AddTorrent) -> Torrent {
    loop {
        match session.add(torrent.clone()).await {
            Ok(torrent) => return torrent,
            Err(AddError::Disk(error)) if error.is_transient() => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Bytes that a torrent hashes before it starts.
async fn checked(torrent: &Torrent) -> u64 {
    let mut events = torrent.events();
    let mut last = 0;
    loop {
        match events.next().await.unwrap() {
            TorrentEvent::Checking { done, .. } => last = done,
            TorrentEvent::StateChanged(_) => return last,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_is_hashed_once() {
    let sample = Sample::file(2_000_000, 65_536);
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample.write_to(folder.path());
    let seed = AddTorrent::seed(sample.metainfo.clone(), folder.path());
    for (verify, bytes) in [(Verify::Changed, 2_000_000), (Verify::Changed, 0), (Verify::Everything, 2_000_000)] {
        let session = remembering(state.path(), None);
        let torrent = add(&session, &AddTorrent { verify, ..seed.clone() }).await;
        assert_eq!(checked(&torrent).await, bytes, "{verify:?}");
        complete(&torrent).await.unwrap();
        session.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_download_goes_on_where_it_was() {
    let sample = Sample::file(4_000_000, 65_536);
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let origin_folder = tempfile::tempdir().unwrap();
    sample.write_to(origin_folder.path());
    let origin = session();
    let seed = origin.add(AddTorrent::seed(sample.metainfo.clone(), origin_folder.path())).await.unwrap();
    complete(&seed).await.unwrap();
    let peers = peer(&origin);
    let fetch = AddTorrent { peers, ..AddTorrent::fetch(sample.metainfo.clone(), folder.path()) };

    let slow = remembering(state.path(), Some(4_000_000));
    let torrent = add(&slow, &fetch).await;
    let mut status = torrent.watch();
    status.wait_for(|status| status.stats.have_bytes > 1_000_000).await.unwrap();
    slow.shutdown().await;
    let had = torrent.status().stats.have_bytes;
    assert!(had < 4_000_000);

    let session = remembering(state.path(), None);
    let torrent = add(&session, &fetch).await;
    assert_eq!(checked(&torrent).await, 0, "all that was there was recorded at the end");
    complete(&torrent).await.unwrap();
    assert_eq!(torrent.status().stats.downloaded, 4_000_000 - had);
    sample.assert_in(folder.path());
    session.shutdown().await;

    let session = remembering(state.path(), None);
    let torrent = add(&session, &fetch).await;
    assert_eq!(checked(&torrent).await, 0, "and what was complete too");
    complete(&torrent).await.unwrap();
}
