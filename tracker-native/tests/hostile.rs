//! What bad clients get: an answer or the door, and nobody else notices.

mod common;

use common::{HASH, config, online, publication, serve, start, until};
use std::time::Duration;
use swarm_proto::id::InfoHash;
use swarm_proto::native::{ListQuery, Publication, RefusalCode, Request, Response, Stop, Token, TrackerMessage};
use swarm_tracker_core::ChangeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn nothing_goes_before_online() {
    let tracker = start(config());
    let mut client = tracker.connect().await;
    assert_eq!(client.ask(Request::Alive).await.unwrap_err().code, RefusalCode::NotOnline);
    assert_eq!(client.ask(Request::Serve(serve(HASH, 5))).await.unwrap_err().code, RefusalCode::NotOnline);
    assert!(client.ask(online(1)).await.is_ok(), "the connection goes on");
    let mut large = tracker.connect().await;
    large.send(b"D\x00\xff\x00\x00d").await;
    assert_eq!(large.refused().await, (None, RefusalCode::NotOnline));
    assert_eq!(large.hear().await, None, "a large frame is not waited for");
}

#[tokio::test]
async fn a_connection_that_panics_takes_nothing_with_it() {
    let tracker = start(config());
    // Who observes the store runs in the task of the connection that changes it.
    let cursed = InfoHash([13; 20]);
    tracker.store.observe(Box::new(move |change| {
        assert!(change.info_hash != cursed || change.kind == ChangeKind::Left, "injected");
    }));
    let mut bystander = tracker.online(1).await;
    bystander.serve(serve(HASH, 5)).await;
    for port in 10..13 {
        let mut client = tracker.online(port).await;
        client.serve(serve(HASH, 5)).await;
        assert_eq!(bystander.pushed().await, (vec![port], vec![]));
        client.say(Request::Serve(serve(cursed, 5))).await;
        while client.hear().await.is_some() {}
        // Its place is free, its peer is gone, and whoever listens is told: no lock is left shut.
        assert_eq!(bystander.pushed().await, (vec![], vec![port]));
        until(|| tracker.handle.connections() == 1).await;
    }
    tracker.close().await;
}

#[tokio::test]
async fn versions_that_do_not_meet_end_the_connection() {
    let tracker = start(config());
    let Request::Online(ours) = online(1) else { panic!() };
    for (version, lowest_version, good) in [(0, 0, false), (9, 2, false), (9, 1, true), (1, 0, true)] {
        let mut client = tracker.connect().await;
        let mut theirs = ours.clone();
        (theirs.version, theirs.lowest_version) = (version, lowest_version);
        match client.ask(Request::Online(theirs)).await {
            Ok(Response::Online(session)) => assert!(good && session.version == 1),
            Err(refusal) => {
                assert!(!good && refusal.code == RefusalCode::Version);
                assert_eq!(client.hear().await, None);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn unknown_opcodes_and_bad_bodies_are_answered_and_the_connection_goes_on() {
    let tracker = start(config());
    let mut client = tracker.online(1).await;
    client.send(b"Q\x00\x00\x00\x0ed2:idi7ee").await;
    assert_eq!(client.refused().await, (Some(7), RefusalCode::UnknownOpcode));
    client.send(b"~\x00\x00\x00\x06!").await;
    assert_eq!(client.refused().await, (None, RefusalCode::UnknownOpcode));
    client.send(b"X\x00\x00\x00\x0ed2:idi8ee").await;
    assert_eq!(client.refused().await, (Some(8), RefusalCode::Malformed));
    assert_eq!(client.ask(Request::Alive).await, Ok(Response::Alive));
    for refused in 4..=32 {
        client.send(b"Q\x00\x00\x00\x05").await;
        assert_eq!(client.refused().await.1, RefusalCode::UnknownOpcode, "{refused}");
    }
    assert_eq!(client.hear().await, None, "the 32nd is the last");
}

#[tokio::test]
async fn impossible_lengths_and_other_protocols_end_the_connection() {
    let tracker = start(config());
    let mut bystander = tracker.online(1).await;
    for bytes in [&b"L\xff\xff\xff\xff"[..], b"D\x01\x00\x10\x01", b"A\x00\x00\x00\x04", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut client = tracker.online(2).await;
        client.send(bytes).await;
        assert_eq!(client.refused().await, (None, RefusalCode::FrameLength));
        assert_eq!(client.hear().await, None);
    }
    for bytes in [&b"\x16\x03\x01\x02\x00"[..], b"\x13BitTorrent protocol", &[0; 4_096]] {
        let mut client = tracker.connect().await;
        client.send(bytes).await;
        // Closed without a word; the kernel may make that a reset, since not all was read.
        assert_eq!(client.stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
    assert_eq!(bystander.ask(Request::Alive).await, Ok(Response::Alive));
}

#[tokio::test]
async fn deadlines_end_what_does_not_go_on() {
    let mut impatient = config();
    impatient.deadlines.online = Duration::from_millis(50);
    let tracker = start(impatient);
    let mut silent = tracker.connect().await;
    assert_eq!(silent.refused().await, (None, RefusalCode::Deadline));
    assert_eq!(silent.hear().await, None);

    let mut impatient = config();
    impatient.deadlines.frame = Duration::from_millis(50);
    let tracker = start(impatient);
    let mut half = tracker.online(1).await;
    half.serve(serve(HASH, 5)).await;
    half.send(b"L\x00\x00\x00\x20d").await;
    assert_eq!(half.refused().await, (None, RefusalCode::Deadline));
    assert_eq!(half.hear().await, None);
    tracker.peers(0).await;
}

#[tokio::test]
async fn a_silent_peer_is_asked_and_then_dropped() {
    let mut config = config();
    config.deadlines.ping = Duration::from_millis(30);
    config.deadlines.idle = Duration::from_secs(1);
    let tracker = start(config);
    let mut client = tracker.online(1).await;
    client.serve(serve(HASH, 5)).await;
    for _ in 0..3 {
        let Some(TrackerMessage::Ping(ping)) = client.hear().await else { panic!() };
        client.send(&swarm_proto::native::PeerMessage::Acknowledge(ping).encode()).await;
    }
    assert!(matches!(client.hear().await, Some(TrackerMessage::Ping(4))));
    assert_eq!(client.refused().await, (None, RefusalCode::Deadline));
    assert_eq!(client.hear().await, None);
    tracker.peers(0).await;
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_dropped_and_holds_up_nobody() {
    let mut config = config();
    config.deadlines.write = Duration::from_millis(50);
    let tracker = start(config);
    let mut publisher = tracker.online(0).await;
    let token = Some(Token::new([1; 16]));
    for n in 0..100 {
        let name = format!("{n:03}{}", "x".repeat(200));
        let request = publication(&name, |metainfo| Publication { name: None, metainfo, token });
        publisher.ask(request).await.unwrap();
    }
    let stalled = tracker.online(2).await;
    let (reader, mut writer) = stalled.stream.into_split();
    let list = Request::List(ListQuery::default());
    let frame = swarm_proto::native::PeerMessage::Request(swarm_proto::native::RequestId(1), list).encode();
    // Asks for more than any socket buffer holds, until the tracker has had enough.
    while writer.write_all(&frame).await.is_ok() {}
    until(|| tracker.handle.connections() == 1).await;
    drop(reader);
    assert_eq!(publisher.ask(Request::Alive).await, Ok(Response::Alive));
}

#[tokio::test]
async fn connections_are_bounded_and_a_thousand_of_them_leave_nothing_behind() {
    let mut config = config();
    config.limits.connections_per_network = 3;
    let tracker = start(config);
    let mut first = tracker.online(1).await;
    let (_second, third) = (tracker.online(2).await, tracker.online(3).await);
    let mut fourth = tracker.connect().await;
    assert_eq!(fourth.refused().await, (None, RefusalCode::Full));
    assert_eq!(fourth.stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    drop(third);
    until(|| tracker.handle.connections() == 2).await;
    for _ in 0..1_000 {
        drop(tracker.connect().await);
    }
    until(|| tracker.handle.connections() == 2).await;
    assert_eq!(first.ask(Request::Alive).await, Ok(Response::Alive));
    let mut last = tracker.online(4).await;
    assert_eq!(last.ask(Request::Alive).await, Ok(Response::Alive));
}

#[tokio::test]
async fn torrents_names_and_large_frames_are_bounded() {
    let mut config = config();
    config.limits.torrents_per_connection = 1;
    config.limits.names_per_network = 1;
    config.limits.large_frame_bytes = 1024 * 1024;
    let tracker = start(config);
    let mut client = tracker.online(1).await;
    client.serve(serve(HASH, 5)).await;
    client.serve(serve(HASH, 4)).await;
    let other = swarm_proto::id::InfoHash([2; 20]);
    assert_eq!(client.ask(Request::Serve(serve(other, 5))).await.unwrap_err().code, RefusalCode::Full);

    let mut squatter = tracker.online(0).await;
    let publish = |name| publication(name, |metainfo| Publication { name: None, metainfo, token: None });
    assert!(squatter.ask(publish("a")).await.is_ok());
    assert_eq!(squatter.ask(publish("b")).await.unwrap_err().code, RefusalCode::Full);
    for guess in 0..20u8 {
        let name = swarm_proto::native::Name::new("a").unwrap();
        let refusal = client.ask(Request::Stop(Stop::Name(name, Token::new([guess; 16])))).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::NotOwner);
    }

    let mut large = tracker.online(3).await;
    large.send(b"D\x00\x20\x00\x00d").await;
    assert_eq!(large.refused().await, (None, RefusalCode::Full), "2 MiB of 1 MiB");
    assert_eq!(large.hear().await, None);
    assert_eq!(client.ask(Request::Alive).await, Ok(Response::Alive));
}

#[tokio::test]
async fn a_peer_without_a_port_cannot_serve() {
    let tracker = start(config());
    let mut client = tracker.online(0).await;
    assert_eq!(client.ask(Request::Serve(serve(HASH, 5))).await.unwrap_err().code, RefusalCode::NoPort);
    assert_eq!(tracker.store.stats().peers, 0);
}
