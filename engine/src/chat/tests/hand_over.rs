//! Files between two people of whom only one can be reached.

use crate::chat::{ChatOptions, make_room};
use crate::{
    AddTorrent, ChatEvents, ChatFailure, ChatHandle, Listen, ReadProgress, Reading, Session, SessionConfig,
    TorrentEvent,
};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;
use swarm_proto::chat::{ChatError, ChatEvent, Identity, PublicKey, Reach, TransferEnd};
use swarm_proto::metainfo::Metainfo;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

struct Person {
    session: Session,
    chat: ChatHandle,
    events: ChatEvents,
    folder: TempDir,
}

fn key(at: u8) -> PublicKey {
    Identity::from_secret([at; 32]).public()
}

async fn enter(room: &Metainfo, at: u8, peers: &[SocketAddr]) -> Person {
    let folder = TempDir::new().unwrap();
    let listen = Listen::Address(SocketAddr::from(([127, 0, 0, 1], 0)));
    let state_folder = Some(folder.path().join("state"));
    let session = Session::new(SessionConfig { listen, state_folder, ..SessionConfig::default() }).unwrap();
    let options = ChatOptions::new(Identity::from_secret([at; 32]), format!("p{at}"));
    let mut add = AddTorrent::room(room.clone(), folder.path().join("room"), options);
    add.peers = peers.iter().map(SocketAddr::to_string).collect();
    let chat = session.add(add).await.unwrap().chat().unwrap();
    let events = chat.events();
    Person { session, chat, events, folder }
}

impl Person {
    async fn until<T>(&mut self, such: impl Fn(&ChatEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = such(&self.events.next().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("in time")
    }

    async fn joined(&mut self, who: PublicKey) {
        if !self.chat.people().await.unwrap().iter().any(|person| person.key == who && person.here) {
            self.until(|event| matches!(event, ChatEvent::Joined(person) if person.key == who).then_some(())).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_reached_dials_whom_its_offer_was_accepted_by() {
    let room = Metainfo::parse(make_room("den").unwrap().build(&[]).unwrap()).unwrap();
    let mut anna = enter(&room, 1, &[]).await;
    let mut carl = enter(&room, 2, &[anna.session.listen_address()]).await;
    anna.joined(key(2)).await;
    carl.joined(key(1)).await;
    // Nobody listens there any more, as behind a router that lets nothing in.
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let content: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
    let path = anna.folder.path().join("film");
    fs::write(&path, &content).unwrap();
    let reach = Reach { port: nowhere, addresses: Vec::new() };
    let id = anna.chat.offer_at(key(2), path, reach, Reading::default()).await.unwrap();
    let port = carl
        .until(|event| match event {
            ChatEvent::OfferReceived { id: offered, offer, .. } if *offered == id => Some(offer.port),
            _ => None,
        })
        .await;
    assert_eq!(port, nowhere);
    let into = TempDir::new().unwrap();
    let torrent = carl.chat.accept_offer(id, into.path()).await.unwrap();
    tokio::time::timeout(PATIENCE, torrent.wait_complete()).await.expect("in time").unwrap();
    assert_eq!(fs::read(into.path().join("film")).unwrap(), content);
    let ended = |event: &ChatEvent| match event {
        ChatEvent::OfferEnded { transfer, end } => Some((transfer.have_bytes, *end)),
        _ => None,
    };
    assert_eq!(anna.until(ended).await, (200_000, TransferEnd::Complete));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_offered_is_read_once_and_ready_when_it_is_offered() {
    let room = Metainfo::parse(make_room("den").unwrap().build(&[]).unwrap()).unwrap();
    let mut anna = enter(&room, 1, &[]).await;
    let mut carl = enter(&room, 2, &[anna.session.listen_address()]).await;
    anna.joined(key(2)).await;
    let path = anna.folder.path().join("film");
    fs::write(&path, vec![7; 500_000]).unwrap();
    anna.chat.offer(key(2), &path).await.unwrap();
    let info_hash = carl
        .until(|event| match event {
            ChatEvent::OfferReceived { offer, .. } => Some(offer.info_hash),
            _ => None,
        })
        .await;
    let served = anna.session.find(info_hash).unwrap().upgrade().unwrap();
    assert!(served.status().complete);
    let mut events = served.events();
    let mut looks = 0;
    loop {
        match events.next().await.unwrap() {
            TorrentEvent::Checking { total, .. } => {
                assert_eq!(total, 0, "it was hashed a moment ago");
                looks += 1;
            }
            TorrentEvent::Finished => break,
            _ => {}
        }
    }
    assert!(looks > 0);
    let nothing = anna.chat.offer(key(2), anna.folder.path().join("nothing")).await;
    assert!(matches!(nothing, Err(ChatFailure::Disk(_))), "{nothing:?}");
}

/// Two people who know of each other.
async fn two() -> (Person, Person) {
    let room = Metainfo::parse(make_room("den").unwrap().build(&[]).unwrap()).unwrap();
    let mut anna = enter(&room, 1, &[]).await;
    let mut carl = enter(&room, 2, &[anna.session.listen_address()]).await;
    anna.joined(key(2)).await;
    carl.joined(key(1)).await;
    (anna, carl)
}

/// A file that takes minutes to read, and no room.
fn long_file(person: &Person) -> PathBuf {
    let path = person.folder.path().join("long");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    path
}

/// Files below a folder that are records of torrents.
fn records(person: &Person) -> usize {
    fs::read_dir(person.folder.path().join("state")).map_or(0, |folder| folder.count())
}

async fn begun(reading: &Reading) -> ReadProgress {
    let begun = async {
        loop {
            if let Some(progress) = reading.progress().filter(|progress| progress.done_bytes > 0) {
                return progress;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_to_be_offered_is_seen_and_stopped_while_the_talk_goes_on() {
    let (anna, mut carl) = two().await;
    let (path, before) = (long_file(&anna), records(&anna));
    for by_dropping in [false, true] {
        let reading = Reading::default();
        assert_eq!(reading.progress(), None);
        let offer = tokio::spawn({
            let (chat, path, reading) = (anna.chat.clone(), path.clone(), reading.clone());
            async move { chat.offer_watched(key(2), path, reading).await }
        });
        let progress = begun(&reading).await;
        assert!(progress.total_bytes == 1 << 40 && progress.done_bytes < 1 << 40, "{progress:?}");
        let text = format!("it takes a while: {by_dropping}");
        anna.chat.say(&text).await.unwrap();
        carl.until(|event| matches!(event, ChatEvent::Message(it) if it.text == text).then_some(())).await;
        if by_dropping {
            offer.abort();
            assert!(offer.await.unwrap_err().is_cancelled());
        } else {
            reading.stop();
            let stopped = tokio::time::timeout(PATIENCE, offer).await.expect("in time").unwrap();
            assert!(matches!(stopped, Err(ChatFailure::Stopped)), "{stopped:?}");
        }
        // The threads that read have a part in it.
        let ended = async {
            while reading.holders() > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("in time");
        assert!(reading.progress().unwrap().done_bytes < 1 << 40);
    }
    assert_eq!(records(&anna), before, "nothing is remembered of it");
    anna.chat.say("over").await.unwrap();
    let offered = carl.until(|event| match event {
        ChatEvent::OfferReceived { .. } => Some(true),
        ChatEvent::Message(message) if message.text == "over" => Some(false),
        _ => None,
    });
    assert!(!offered.await, "nothing was offered");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_before_it_began_is_not_read_and_nobody_in_particular_is_offered_nothing() {
    let (anna, _carl) = two().await;
    let path = long_file(&anna);
    let reading = Reading::default();
    reading.stop();
    let stopped = anna.chat.offer_watched(key(2), &path, reading.clone()).await;
    assert!(matches!(stopped, Err(ChatFailure::Stopped)), "{stopped:?}");
    let reading = Reading::default();
    for (nobody, why) in [(key(9), ChatError::Unknown), (key(1), ChatError::Myself)] {
        let refused = anna.chat.offer_watched(nobody, &path, reading.clone()).await;
        assert!(matches!(&refused, Err(ChatFailure::Chat(error)) if *error == why), "{refused:?}");
    }
    assert_eq!(reading.progress(), None, "what nobody is offered is not read");
}
