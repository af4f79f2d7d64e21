//! What a good client sees, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use common::{HASH, config, metainfo, online, ports, publication, serve, start, start_over};
use std::sync::Arc;
use std::time::Instant;
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::PeerId;
use swarm_proto::native::{
    CatalogueFile, ListQuery, Name, Publication, RefusalCode, Request, Response, Serve, Stop, Token, TorrentKey,
    TrackerMessage,
};
use swarm_tracker_core::{Dialect, StoreAnnounce};
use swarm_tracker_native::{Console, ConsoleReply, LogRing};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[tokio::test]
async fn a_session_tells_what_the_tracker_sees() {
    let tracker = start(config());
    let mut client = tracker.connect().await;
    let Ok(Response::Online(session)) = client.ask(online(7)).await else { panic!() };
    assert_eq!((session.version, session.address), (1, "127.0.0.1:7".parse().unwrap()));
    assert_eq!(u64::from(session.interval_s), tracker.store.config().interval.as_secs());
    assert_eq!(client.ask(online(7)).await.unwrap_err().code, RefusalCode::AlreadyOnline);
    assert_eq!(client.ask(Request::Alive).await, Ok(Response::Alive));
    assert_eq!(client.ask(Request::Offline).await, Ok(Response::Done));
    assert_eq!(client.hear().await, None);
}

#[tokio::test]
async fn peers_are_pushed_when_they_come_and_when_they_go() {
    let tracker = start(config());
    let (mut seed, mut leecher) = (tracker.online(1).await, tracker.online(2).await);
    assert_eq!(seed.serve(serve(HASH, 0)).await.list.peers, []);
    let serving = leecher.serve(serve(HASH, 5)).await;
    assert_eq!((serving.list.complete, serving.list.incomplete), (1, 1));
    assert_eq!(ports(&serving.list.peers), [1]);
    assert_eq!(seed.pushed().await, (vec![2], vec![]));
    let mut third = tracker.online(3).await;
    third.serve(serve(HASH, 5)).await;
    // Whether the leecher is told of the seed that it knows depends on when the changes were collected.
    let mut told = leecher.pushed().await;
    if told.0 == [1] {
        told = leecher.pushed().await;
    }
    assert_eq!(told.0.last(), Some(&3));
    assert_eq!(seed.pushed().await, (vec![3], vec![]));
    drop(third);
    assert_eq!(leecher.pushed().await, (vec![], vec![3]));
    assert_eq!(seed.pushed().await, (vec![], vec![3]));
    tracker.peers(2).await;
    assert_eq!(leecher.ask(Request::Stop(Stop::Torrent(HASH))).await, Ok(Response::Done));
    assert_eq!(seed.pushed().await, (vec![], vec![2]));
    let again = leecher.ask(Request::Stop(Stop::Torrent(HASH))).await;
    assert_eq!(again.unwrap_err().code, RefusalCode::NotFound);
}

#[tokio::test]
async fn peers_of_another_dialect_are_found_and_pushed() {
    let tracker = start(config());
    let mut native = tracker.online(1).await;
    native.serve(serve(HASH, 5)).await;
    let mut http = StoreAnnounce {
        info_hash: HASH,
        peer_id: PeerId([9; 20]),
        address: "127.0.0.1:80".parse().unwrap(),
        left: 0,
        event: AnnounceEvent::Started,
        num_want: None,
        dialect: Dialect::Http,
        passkey: None,
    };
    let reply = tracker.store.announce(Instant::now(), &http).unwrap();
    assert_eq!(reply.peers.iter().map(|peer| peer.address.port()).collect::<Vec<_>>(), [1]);
    assert_eq!(native.pushed().await, (vec![80], vec![]));
    let Ok(Response::Peers(list)) = native.ask(Request::Peers { info_hash: Some(HASH), num_want: None }).await else {
        panic!()
    };
    assert_eq!((list.complete, list.incomplete, ports(&list.peers)), (1, 1, vec![80]));
    http.event = AnnounceEvent::Stopped;
    tracker.store.announce(Instant::now(), &http).unwrap();
    assert_eq!(native.pushed().await, (vec![], vec![80]));
}

#[tokio::test]
async fn a_second_connection_of_a_peer_takes_over() {
    let tracker = start(config());
    let mut old = tracker.online(1).await;
    old.serve(serve(HASH, 5)).await;
    let mut new = tracker.online(1).await;
    new.serve(serve(HASH, 5)).await;
    let mut watcher = tracker.online(2).await;
    assert_eq!(ports(&watcher.serve(serve(HASH, 5)).await.list.peers), [1]);
    assert_eq!(new.pushed().await, (vec![2], vec![]));
    assert_eq!(old.ask(Request::Offline).await, Ok(Response::Done));
    assert_eq!(old.hear().await, None);
    assert_eq!(tracker.store.stats().peers, 2);
    drop(new);
    tracker.peers(1).await;
}

#[tokio::test]
async fn names_are_published_listed_fetched_and_owned() {
    let tracker = start(config());
    let mut publisher = tracker.online(0).await;
    let publish = |file: &str, token| publication(file, |metainfo| Publication { name: None, metainfo, token });
    let Ok(Response::Serving(serving)) = publisher.ask(publish("a.iso", None)).await else { panic!() };
    let token = serving.token.unwrap();
    assert_eq!(tracker.store.stats().peers, 0, "a peer without a port serves nothing");
    let mine = Some(Token::new([5; 16]));
    let Ok(Response::Serving(serving)) = publisher.ask(publish("b.iso", mine)).await else { panic!() };
    assert_eq!(serving.token, mine);

    let mut other = tracker.online(2).await;
    let refusal = other.ask(publish("a.iso", None)).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::NotOwner);
    let key = |text| TorrentKey::Name(name(text));
    let Ok(Response::File(file)) = other.ask(Request::File { key: key("a.iso"), num_want: None }).await else {
        panic!()
    };
    let (expected, hash) = metainfo("a.iso", 5);
    assert_eq!((&file.metainfo, file.entry.info_hash, file.entry.size), (&expected, hash, 5));
    let by_hash = Request::File { key: TorrentKey::InfoHash(hash), num_want: None };
    assert_eq!(other.ask(by_hash).await, Ok(Response::File(file)));
    let none = other.ask(Request::File { key: key("c"), num_want: None }).await.unwrap_err();
    assert_eq!(none.code, RefusalCode::NotFound);

    other.serve(serve(hash, 5)).await;
    let list = Request::List(ListQuery { limit: Some(1), ..ListQuery::default() });
    let Ok(Response::List(page, Some(next))) = other.ask(list).await else { panic!() };
    assert_eq!((page[0].name.as_str(), page[0].incomplete), ("a.iso", 1));
    let list = Request::List(ListQuery { after: Some(next), ..ListQuery::default() });
    let Ok(Response::List(page, None)) = other.ask(list).await else { panic!() };
    assert_eq!(page[0].name.as_str(), "b.iso");

    for (contains, found) in [("A.I", Some("a.iso")), (".ISO", Some("a.iso")), ("x", None)] {
        let search = ListQuery { contains: contains.into(), limit: Some(1), ..ListQuery::default() };
        let Ok(Response::List(page, next)) = other.ask(Request::List(search)).await else { panic!() };
        assert_eq!(page.first().map(|entry| (entry.name.as_str(), entry.incomplete)), found.map(|name| (name, 1)));
        assert_eq!(next.is_some(), contains == ".ISO", "another has it too");
    }

    let guess = Request::Stop(Stop::Name(name("a.iso"), Token::new([0; 16])));
    assert_eq!(other.ask(guess).await.unwrap_err().code, RefusalCode::NotOwner);
    let stop = Request::Stop(Stop::Name(name("a.iso"), token));
    assert_eq!(other.ask(stop.clone()).await, Ok(Response::Done), "over another connection");
    assert_eq!(other.ask(stop).await.unwrap_err().code, RefusalCode::NotFound);
}

#[tokio::test]
async fn a_bad_publication_changes_nothing() {
    let tracker = start(config());
    let mut client = tracker.online(1).await;
    let publication = |metainfo| Some(Publication { name: None, metainfo, token: None });
    let (other, hash) = metainfo("x", 5);
    for (metainfo, told) in [(other, HASH), (bytes::Bytes::from_static(b"garbage"), hash)] {
        let request = Request::Serve(Serve { publication: publication(metainfo), ..serve(told, 0) });
        assert_eq!(client.ask(request).await.unwrap_err().code, RefusalCode::BadMetainfo);
    }
    assert_eq!((tracker.store.stats().peers, tracker.handle.names()), (0, 0));
}

#[tokio::test]
async fn catalogue_and_swarms_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = || {
        let mut config = config();
        config.catalogue_file = Some(folder.path().join("catalogue"));
        config
    };
    let tracker = start(config());
    let store = Arc::clone(&tracker.store);
    let mut seed = tracker.online(1).await;
    let token = Token::new([3; 16]);
    let request = publication("a", |metainfo| Publication { name: None, metainfo, token: Some(token) });
    assert!(seed.ask(request).await.is_ok());
    tracker.close().await;
    assert_eq!(seed.refused().await, (None, RefusalCode::Closing));
    assert_eq!(seed.hear().await, None);

    let tracker = start_over(config(), store);
    let mut reader = tracker.online(0).await;
    let get = Request::File { key: TorrentKey::Name(name("a")), num_want: None };
    let Ok(Response::File(CatalogueFile { peers, .. })) = reader.ask(get).await else { panic!() };
    assert_eq!(ports(&peers), [1], "the swarm is still there");
    let stop = |token| Request::Stop(Stop::Name(name("a"), token));
    assert!(reader.ask(stop(Token::new([4; 16]))).await.is_err());
    assert!(reader.ask(stop(token)).await.is_ok());
    tracker.close().await;
}

#[tokio::test]
async fn requests_may_be_pipelined_and_come_in_any_pieces() {
    let tracker = start(config());
    let mut client = tracker.connect().await;
    let requests = [online(1), Request::Serve(serve(HASH, 5)), Request::Peers { info_hash: None, num_want: None }];
    let mut bytes = Vec::new();
    for (id, request) in (1..).zip(requests) {
        let id = swarm_proto::native::RequestId(id);
        bytes.extend(swarm_proto::native::PeerMessage::Request(id, request).encode());
    }
    client.stream.set_nodelay(true).unwrap();
    for byte in bytes {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    for expected in 1..=3 {
        let Some(TrackerMessage::Response(id, _)) = client.hear().await else { panic!() };
        assert_eq!(id.0, expected);
    }
}

#[tokio::test]
async fn the_console_shows_what_is_there() {
    let tracker = start(config());
    let log = LogRing::new(10);
    let console = Console::new(tracker.handle.clone(), log.clone());
    let run = |line: &str| match console.run(line) {
        ConsoleReply::Text(text) => text,
        ConsoleReply::Exit => panic!("exit"),
    };
    let mut client = tracker.online(1).await;
    let request = publication("a file", |metainfo| Publication { name: None, metainfo, token: None });
    client.ask(request).await.unwrap();
    let (_, hash) = metainfo("a file", 5);
    assert_eq!(run("flist"), format!("a file               5     1     0  {hash}\n1 name\n"));
    assert_eq!(run(" flist  b "), "1 name\n");
    assert!(run("plist").contains("127.0.0.1:1 "));
    assert!(run("plist").ends_with("1 peer online, 1 in all swarms, of them 1 seed\n"));
    log.push("one");
    log.push("two");
    assert_eq!((run("cat 1"), run("cat")), ("two\n".into(), "one\ntwo\n".into()));
    assert!(run("cat x").contains("number") && run("nonsense").contains("help") && run("help").contains("exitnow"));
    assert_eq!(run("  "), "");
    assert_eq!(console.run("exitnow"), ConsoleReply::Exit);
}
