//! People whom no connection reaches, in a room that a native tracker holds together: two sessions that listen where the
//! tracker does not see them, and somebody who floods them through it.

use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;
use swarm_engine::tracker::Trackers as Clients;
use swarm_engine::tracker::native::RelayNews;
use swarm_engine::{Listen, Session, SessionConfig};
use swarm_proto::announce::{Announce, AnnounceEvent, TrackerError};
use swarm_proto::chat::{ChatEvent, DeliveryState, TransferEnd, TransferState};
use swarm_proto::id::PeerId;
use swarm_proto::limits::NATIVE_RELAYED_LENGTH;
use swarm_proto::metainfo::Metainfo;
use swarm_proto::native::Relayed;
use swarm_proto::swarm::AnnounceJob;
use swarm_tests::kit::{PATIENCE, Payload, Trackers};
use swarm_tests::people::{Person, Ways, key, room};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Somebody whose port is not at the address by which the tracker knows it: all of 127/8 is this machine, but who connects to a
/// tracker on 127.0.0.1 comes from 127.0.0.1, where nobody listens.
async fn enter(metainfo: &Metainfo, tracker: &str, at: u8, name: &str) -> Person {
    let listen = Listen::Address(SocketAddr::from(([127, 0, 0, 1 + at], 0)));
    let session = Session::new(SessionConfig { listen, ..SessionConfig::default() }).expect("a session");
    Person::enter_with(session, metainfo, at, name, Ways { trackers: &[tracker], ..Ways::default() }).await
}

#[tokio::test]
async fn people_whom_no_connection_reaches_talk_call_and_offer_over_the_tracker() {
    let (trackers, metainfo) = (Trackers::start(), room());
    let mut anna = enter(&metainfo, &trackers.native, 1, "anna").await;
    let mut bob = enter(&metainfo, &trackers.native, 2, "bob").await;
    anna.joined("bob").await;
    bob.joined("anna").await;
    let id = anna.chat.say("can you hear me?").await.expect("said");
    bob.heard("can you hear me?").await;
    anna.until(|event| matches!(event, ChatEvent::Heard { id: heard, .. } if *heard == id).then_some(())).await;

    let call = bob.chat.call(key(1)).await.expect("a call");
    anna.until(|event| matches!(event, ChatEvent::CallRequested { id, .. } if *id == call).then_some(())).await;
    anna.chat.accept(call).await.expect("accepted");
    bob.until(|event| matches!(event, ChatEvent::CallEstablished { .. }).then_some(())).await;
    bob.chat.tell(call, "between us").await.expect("told");
    let told = |event: &ChatEvent| match event {
        ChatEvent::DirectMessage { text, .. } => Some(text.clone()),
        _ => None,
    };
    assert_eq!(anna.until(told).await, "between us");
    let delivered = |event: &ChatEvent| match event {
        ChatEvent::DirectState { state: DeliveryState::Delivered, .. } => Some(()),
        _ => None,
    };
    bob.until(delivered).await;

    let payload = Payload::file("film", 300_000);
    let offer = anna.chat.offer(key(2), payload.parent().join("film")).await.expect("an offer");
    bob.until(|event| matches!(event, ChatEvent::OfferReceived { id, .. } if *id == offer).then_some(())).await;
    let into = TempDir::new().expect("a folder");
    // The metainfo comes over the tracker; the file itself waits for a way, and both are told so once.
    let fetch = bob.chat.accept_offer(offer, into.path()).await.expect("a fetch");
    assert_eq!(fetch.info_hash(), payload.metainfo(16_384, &[]).info_hash());
    let waiting = |event: &ChatEvent| match event {
        ChatEvent::OfferProgress { state: TransferState::Waiting, .. } => Some(()),
        _ => None,
    };
    anna.until(waiting).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(21)).await;
    tokio::time::resume();
    let stuck = |event: &ChatEvent| match event {
        ChatEvent::OfferStuck { transfer, tried } => Some((transfer.ours, transfer.with.name.clone(), tried.clone())),
        _ => None,
    };
    assert_eq!(anna.until(stuck).await, (true, "bob".to_owned(), vec![]));
    assert_eq!(bob.until(stuck).await, (false, "anna".to_owned(), vec![]));
    fetch.add_peers([anna.session.listen_address()]).await;
    tokio::time::timeout(PATIENCE, fetch.wait_complete()).await.expect("in time").expect("complete");
    let ended = |event: &ChatEvent| match event {
        ChatEvent::OfferEnded { end, .. } => Some(*end),
        ChatEvent::OfferStuck { .. } => panic!("told twice"),
        _ => None,
    };
    assert_eq!(anna.until(ended).await, TransferEnd::Complete);
    payload.assert_copied_to(into.path());

    let (stats, neighbours) = anna.chat.stats().await.expect("stats");
    assert!(neighbours == 1 && stats.relayed_packets > 3, "{stats:?}");
    assert!(anna.torrent.peers().await.is_empty(), "there is no connection");
    assert!(anna.chat.people().await.expect("people").iter().all(|person| person.me || !person.direct));
    anna.session.shutdown().await;
    let left = |event: &ChatEvent| match event {
        ChatEvent::Left { person, silent } => Some((person.name.clone(), *silent)),
        _ => None,
    };
    assert_eq!(bob.until(left).await, ("anna".to_owned(), false));
    trackers.stop().await;
}

/// Somebody who speaks to a tracker and has no room.
struct Flooder {
    clients: Clients,
    url: String,
    metainfo: Metainfo,
    _pushed: mpsc::Receiver<Vec<swarm_proto::announce::PeerAddress>>,
}

impl Flooder {
    const PORT: u16 = 7;
    const PEER_ID: PeerId = PeerId([b'f'; 20]);

    async fn start(metainfo: &Metainfo, url: &str) -> (Self, mpsc::Receiver<RelayNews>) {
        let clients = Clients::new();
        let news = clients.native().relayed(metainfo.info_hash());
        let (sender, pushed) = mpsc::channel(16);
        let announce = Announce {
            info_hash: metainfo.info_hash(),
            peer_id: Self::PEER_ID,
            port: Self::PORT,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: AnnounceEvent::Started,
            num_want: None,
            key: 0,
            tracker_id: None,
        };
        let job = AnnounceJob { id: 0, url: url.to_owned(), announce, timeout: PATIENCE };
        clients.announce(&job, &sender).await.expect("an announce");
        (Self { clients, url: url.to_owned(), metainfo: metainfo.clone(), _pushed: pushed }, news)
    }

    async fn send(&self, to: SocketAddr, data: impl Into<Bytes>) -> Result<(), TrackerError> {
        let message = Relayed { info_hash: self.metainfo.info_hash(), peer: to, data: data.into() };
        self.clients.native().relay(&self.url, Self::PEER_ID, Self::PORT, message).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_through_the_tracker_neither_gets_an_echo_nor_keeps_others_from_talking() {
    let (trackers, metainfo) = (Trackers::start(), room());
    let mut anna = enter(&metainfo, &trackers.native, 1, "anna").await;
    let mut bob = enter(&metainfo, &trackers.native, 2, "bob").await;
    anna.joined("bob").await;
    let (flooder, mut news) = Flooder::start(&metainfo, &trackers.native).await;
    let to = SocketAddr::from(([127, 0, 0, 1], anna.session.listen_address().port()));
    let (mut handed_on, mut refused, mut sent) = (0, 0, 0);
    for at in 0..120u32 {
        let data = match at % 4 {
            0 => [&[1, 1][..], &at.to_be_bytes(), &[9; 4]].concat(),
            1 => [&[1, 3][..], &[9; 12], &[0x40, 0]].concat(),
            2 => vec![0xff; NATIVE_RELAYED_LENGTH],
            _ => [&[1, 3][..], &vec![1; NATIVE_RELAYED_LENGTH - 2]].concat(),
        };
        let length = data.len();
        match flooder.send(to, data).await {
            Ok(()) => (handed_on, sent) = (handed_on + 1, sent + length),
            Err(TrackerError::Refused { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    // As many as wait for somebody who takes none: 64 KiB, of which each four take a quarter.
    assert!(handed_on >= 14 && refused > 0, "{handed_on} were handed on, {refused} refused");
    bob.joined("anna").await;
    bob.chat.say("through the noise").await.expect("said");
    anna.heard("through the noise").await;
    let mut back = 0;
    while let Ok(Some(news)) = tokio::time::timeout(Duration::from_millis(100), news.recv()).await {
        if let RelayNews::Message(message) = news {
            back += message.data.len();
        }
    }
    assert!(back < sent / 100, "{back} bytes for {sent}");
    let (stats, _) = anna.chat.stats().await.expect("stats");
    assert!(stats.malformed + stats.rate_limited > 0, "{stats:?}");
    trackers.stop().await;
}
