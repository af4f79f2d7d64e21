//! Files between two people of whom only one can be reached.

use crate::chat::{ChatOptions, make_room};
use crate::{AddTorrent, ChatEvents, ChatHandle, Listen, Session, SessionConfig};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use swarm_proto::chat::{ChatEvent, Identity, PublicKey, Reach, TransferEnd};
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
    let session = Session::new(SessionConfig { listen, ..SessionConfig::default() }).unwrap();
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
    let id = anna.chat.offer_at(key(2), path, reach).await.unwrap();
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
