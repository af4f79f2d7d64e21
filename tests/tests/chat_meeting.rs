//! Two people who have all of a torrent and chat find each other through trackers, which tell seeds of leechers only.

use std::net::SocketAddr;
use std::time::Duration;
use swarm_engine::tracker::Trackers as Clients;
use swarm_engine::{AddTorrent, ChatOptions, Listen, Session, SessionConfig, Torrent};
use swarm_proto::chat::{ChatEvent, Identity};
use swarm_proto::metainfo::Metainfo;
use swarm_proto::swarm::meeting_hash;
use swarm_tests::kit::{PATIENCE, Payload, Trackers, session};

async fn chatting_seed(session: &Session, payload: &Payload, metainfo: &Metainfo, at: u8, name: &str) -> Torrent {
    let mut add = AddTorrent::seed(metainfo.clone(), payload.parent());
    add.chat = Some(ChatOptions::new(Identity::from_secret([at; 32]), name));
    session.add(add).await.expect("a seed")
}

/// Seeds and leechers of the torrent and of its meeting, as the tracker counts them.
async fn counts(url: &str, metainfo: &Metainfo) -> [(u32, u32); 2] {
    let hashes = [metainfo.info_hash(), meeting_hash(metainfo.info_hash())];
    let found = Clients::new().scrape(url, &hashes, Duration::from_secs(20)).await.expect("counts");
    hashes.map(|hash| found.iter().find(|it| it.info_hash == hash).map_or((0, 0), |it| (it.complete, it.incomplete)))
}

async fn meet_and_talk(url: &str, one: Session, two: Session, direct: bool) {
    let payload = Payload::file("film", 100_000);
    let metainfo = payload.metainfo(16_384, &[url.to_owned()]);
    let first = chatting_seed(&one, &payload, &metainfo, 1, "anna").await;
    let second = chatting_seed(&two, &payload, &metainfo, 2, "bob").await;
    let (here, there) = (first.chat().expect("a chat"), second.chat().expect("a chat"));
    let (mut joined, mut events) = (here.events(), there.events());
    let met = async {
        let known = || async { here.people().await.expect("people").iter().any(|it| it.name == "bob" && it.here) };
        while !known().await {
            joined.next().await.expect("a room that goes on");
        }
        here.say("who else has seen it?").await.expect("said");
        while !matches!(events.next().await, Some(ChatEvent::Message(it)) if it.text == "who else has seen it?") {}
    };
    tokio::time::timeout(PATIENCE, met).await.expect("in time");
    let bob = here.people().await.expect("people").into_iter().find(|person| !person.me).expect("bob");
    assert_eq!(bob.direct, direct, "whether they are connected");
    assert_eq!(counts(url, &metainfo).await, [(2, 0), (0, 2)], "two seeds and nobody who lacks anything");
    one.shutdown().await;
    two.shutdown().await;
    assert_eq!(counts(url, &metainfo).await, [(0, 0), (0, 0)], "both have said goodbye to both");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_seeds_that_chat_meet_through_a_native_tracker() {
    let trackers = Trackers::start();
    meet_and_talk(&trackers.native, session(), session(), true).await;
    trackers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_seeds_that_chat_meet_through_an_http_tracker() {
    let trackers = Trackers::start();
    meet_and_talk(&trackers.http, session(), session(), true).await;
    trackers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_seeds_that_chat_meet_through_a_udp_tracker() {
    let trackers = Trackers::start();
    meet_and_talk(&trackers.udp, session(), session(), true).await;
    trackers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_tracker_hands_on_what_seeds_say_whom_no_connection_reaches() {
    let trackers = Trackers::start();
    // All of 127/8 is this machine, but who connects to a tracker on 127.0.0.1 comes from 127.0.0.1, where nobody listens.
    let elsewhere = |at: u8| {
        let listen = Listen::Address(SocketAddr::from(([127, 0, 0, at], 0)));
        Session::new(SessionConfig { listen, ..SessionConfig::default() }).expect("a session")
    };
    meet_and_talk(&trackers.native, elsewhere(2), elsewhere(3), false).await;
    trackers.stop().await;
}
