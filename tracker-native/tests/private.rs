//! A private tracker over the native protocol: who has a good key, and how much it is good for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod common;

use bytes::Bytes;
use common::{Client, HASH, Tracker, config, online, publication, serve, start_over, until};
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_proto::id::InfoHash;
use swarm_proto::native::{
    ListQuery, Online, PersonName, PersonQuery, Publication, Refusal, RefusalCode, Relayed, Request, Response, Stop,
};
use swarm_tracker_core::{Access, AccessFiles, Store, StoreConfig};
use tempfile::TempDir;

const OTHER: InfoHash = InfoHash([0x22; 20]);

/// A private tracker, and the file of its keys.
struct Private {
    tracker: Tracker,
    access: Arc<Access>,
    folder: TempDir,
}

impl Private {
    fn start(keys: &str, ping: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, keys).unwrap();
        let files = AccessFiles { keys: Some(path), ..AccessFiles::default() };
        let access = Arc::new(Access::open(files).unwrap());
        let config_of_store = StoreConfig { access: Some(Arc::clone(&access)), ..StoreConfig::default() };
        let mut config = config();
        config.deadlines.ping = ping.unwrap_or(config.deadlines.ping);
        let tracker = start_over(config, Arc::new(Store::new(config_of_store, Instant::now())));
        Self { tracker, access, folder }
    }

    /// What SIGHUP does after somebody has written these keys.
    fn reload(&self, keys: &str) {
        std::fs::write(self.folder.path().join("keys"), keys).unwrap();
        self.access.reload().unwrap();
    }

    async fn with_key(&self, port: u16, key: Option<&str>) -> Client {
        let mut client = self.tracker.connect().await;
        let Request::Online(usual) = online(port) else { panic!() };
        let asked = Online { passkey: key.map(|key| key.parse().unwrap()), ..usual };
        assert!(matches!(client.ask(Request::Online(asked)).await, Ok(Response::Online(_))));
        client
    }
}

/// All that needs a key.
fn requests() -> Vec<Request> {
    let to = "127.0.0.1:1".parse().unwrap();
    vec![
        Request::Serve(serve(HASH, 5)),
        publication("file", |metainfo| Publication { name: None, metainfo, token: None }),
        Request::Stop(Stop::Torrent(HASH)),
        Request::Peers { info_hash: Some(HASH), num_want: None },
        Request::Peers { info_hash: None, num_want: None },
        Request::File { key: swarm_proto::native::TorrentKey::InfoHash(HASH), num_want: None },
        Request::List(ListQuery::default()),
        Request::WhoIs(PersonQuery::Name(PersonName::new("ann").unwrap())),
        Request::Relay(Relayed { info_hash: HASH, peer: to, data: Bytes::from_static(b"x") }),
    ]
}

async fn refusal(client: &mut Client, request: Request) -> Refusal {
    client.ask(request).await.expect_err("a refusal")
}

#[tokio::test]
async fn without_a_good_key_nothing_is_told_and_nothing_kept() {
    let private = Private::start("sesame\n", None);
    let mut owner = private.with_key(1001, Some("sesame")).await;
    owner.serve(serve(HASH, 0)).await;
    for (key, text) in [(None, "this tracker is private"), (Some("open"), "unknown key")] {
        let mut stranger = private.with_key(1002, key).await;
        for request in requests() {
            let Refusal { code, text: told, retry_in_s } = refusal(&mut stranger, request.clone()).await;
            assert_eq!((code, retry_in_s), (RefusalCode::NotAllowed, None), "{request:?}");
            assert!(told.starts_with(text), "{told}");
        }
        assert_eq!(stranger.ask(Request::Alive).await, Ok(Response::Alive));
        assert_eq!(stranger.ask(Request::Offline).await, Ok(Response::Done));
    }
    assert_eq!((private.tracker.store.stats().peers, private.tracker.handle.names()), (1, 0));
    private.tracker.close().await;
}

#[tokio::test]
async fn with_a_key_all_is_as_at_an_open_tracker() {
    let private = Private::start("sesame\nother\n", None);
    let mut seed = private.with_key(1001, Some("sesame")).await;
    seed.serve(serve(HASH, 0)).await;
    let mut leecher = private.with_key(1002, Some("other")).await;
    assert_eq!(common::ports(&leecher.serve(serve(HASH, 5)).await.list.peers), [1001]);
    assert_eq!(seed.pushed().await.0, [1002]);
    let mut reader = private.with_key(0, Some("other")).await;
    let asked = reader.ask(Request::Peers { info_hash: Some(HASH), num_want: None }).await;
    assert!(matches!(asked, Ok(Response::Peers(list)) if common::ports(&list.peers) == [1001, 1002]));
    let published = publication("file", |metainfo| Publication { name: None, metainfo, token: None });
    assert!(reader.ask(published).await.is_ok());
    let listed = reader.ask(Request::List(ListQuery::default())).await;
    assert!(matches!(listed, Ok(Response::List(page, None)) if page.len() == 1));
    private.tracker.close().await;
}

#[tokio::test]
async fn a_key_has_its_limits_and_who_leaves_makes_room() {
    let private = Private::start("small max-torrents=1 max-peers=2\n", None);
    let mut first = private.with_key(1001, Some("small")).await;
    first.serve(serve(HASH, 0)).await;
    first.serve(serve(HASH, 0)).await;
    let over = refusal(&mut first, Request::Serve(serve(OTHER, 0))).await;
    assert_eq!((over.code, over.retry_in_s.is_some()), (RefusalCode::Full, true));
    assert_eq!(over.text, "too many torrents or peers for your key");
    let mut second = private.with_key(1002, Some("small")).await;
    second.serve(serve(HASH, 5)).await;
    let mut third = private.with_key(1003, Some("small")).await;
    assert_eq!(refusal(&mut third, Request::Serve(serve(HASH, 5))).await.code, RefusalCode::Full);
    // The end of a connection is the end of its peers, and so is X.
    drop(second);
    private.tracker.peers(1).await;
    third.serve(serve(HASH, 5)).await;
    assert!(third.ask(Request::Stop(Stop::Torrent(HASH))).await.is_ok());
    assert!(first.ask(Request::Stop(Stop::Torrent(HASH))).await.is_ok());
    first.serve(serve(OTHER, 0)).await;
    private.tracker.close().await;
}

#[tokio::test]
async fn a_key_that_a_reload_takes_away_is_good_for_nothing_more() {
    let private = Private::start("kept\ntaken\n", None);
    let mut kept = private.with_key(1001, Some("kept")).await;
    kept.serve(serve(HASH, 5)).await;
    let mut taken = private.with_key(1002, Some("taken")).await;
    taken.serve(serve(HASH, 5)).await;
    taken.serve(serve(OTHER, 5)).await;
    assert_eq!(kept.pushed().await.0, [1002]);
    private.reload("kept\n");
    let refused = refusal(&mut taken, Request::Peers { info_hash: Some(HASH), num_want: None }).await;
    assert_eq!((refused.code, refused.text.as_str()), (RefusalCode::NotAllowed, "unknown key in the announce URL"));
    private.tracker.peers(1).await;
    assert_eq!(kept.pushed().await.1, [1002], "it is gone");
    assert_eq!(refusal(&mut taken, Request::Serve(serve(HASH, 5))).await.code, RefusalCode::NotAllowed);
    assert!(kept.ask(Request::Peers { info_hash: Some(HASH), num_want: None }).await.is_ok());
    private.reload("kept\ntaken\n");
    taken.serve(serve(HASH, 5)).await;
    private.tracker.close().await;
}

#[tokio::test]
async fn who_is_silent_loses_its_torrents_with_its_key_too() {
    let private = Private::start("taken\n", Some(Duration::from_millis(100)));
    let mut silent = private.with_key(1001, Some("taken")).await;
    silent.serve(serve(HASH, 5)).await;
    private.reload("");
    until(|| private.tracker.store.stats().peers == 0).await;
    private.tracker.close().await;
}
