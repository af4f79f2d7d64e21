//! People in rooms: a session each, what it is told, and the wait for what must come.

use crate::kit::{PATIENCE, Payload, session};
use std::net::SocketAddr;
use swarm_engine::chat::make_room;
use swarm_engine::{AddTorrent, ChatEvents, ChatHandle, ChatOptions, Session, Torrent};
use swarm_proto::chat::{ChatEvent, Identity, PublicKey, RequestId};
use swarm_proto::metainfo::Metainfo;
use tempfile::TempDir;

/// Somebody in a room without files.
pub struct Person {
    /// Where it takes connections, and what else it does.
    pub session: Session,
    /// The room, as a torrent.
    pub torrent: Torrent,
    /// The room, as something to talk in.
    pub chat: ChatHandle,
    /// What it is told, from the beginning.
    pub events: ChatEvents,
    /// Its pins (`state/people`), the room (`room`), and whatever a test puts there.
    pub folder: TempDir,
    /// The metainfo of the room.
    pub metainfo: Metainfo,
}

/// How somebody finds the others.
#[derive(Clone, Copy, Default)]
pub struct Ways<'a> {
    /// URLs.
    pub trackers: &'a [&'a str],
    /// Addresses of people who are there.
    pub peers: &'a [SocketAddr],
}

/// The identity with this number, the same each time.
pub fn identity(at: u8) -> Identity {
    Identity::from_secret([at; 32])
}

/// Its key.
pub fn key(at: u8) -> PublicKey {
    identity(at).public()
}

/// A new room without files.
pub fn room() -> Metainfo {
    let room = make_room("friends").expect("a room");
    Metainfo::parse(room.build(&[]).expect("a good torrent")).expect("what we built")
}

impl Person {
    /// Enters a room in which these are.
    pub async fn enter(metainfo: &Metainfo, at: u8, name: &str, peers: &[SocketAddr]) -> Self {
        Self::enter_with(session(), metainfo, at, name, Ways { peers, ..Ways::default() }).await
    }

    /// Enters a room, with this session and in these ways.
    pub async fn enter_with(session: Session, metainfo: &Metainfo, at: u8, name: &str, ways: Ways<'_>) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut options = ChatOptions::new(identity(at), name);
        options.book = Some(folder.path().join("state/people"));
        let mut add = AddTorrent::room(metainfo.clone(), folder.path().join("room"), options);
        add.trackers = ways.trackers.iter().map(ToString::to_string).collect();
        add.peers = ways.peers.iter().map(ToString::to_string).collect();
        let torrent = session.add(add).await.expect("a room");
        let chat = torrent.chat().expect("a chat");
        let events = chat.events();
        Self { session, torrent, chat, events, folder, metainfo: metainfo.clone() }
    }

    /// Where it takes connections.
    pub fn address(&self) -> SocketAddr {
        self.session.listen_address()
    }

    /// Waits for an event of some kind.
    pub async fn until<T>(&mut self, such: impl Fn(&ChatEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = such(&self.events.next().await.expect("a room that goes on")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("in time")
    }

    /// Waits until somebody with this name is here.
    pub async fn joined(&mut self, name: &str) {
        if self.chat.people().await.expect("people").iter().any(|person| person.name == name && person.here) {
            return;
        }
        self.until(|event| matches!(event, ChatEvent::Joined(person) if person.name == name).then_some(())).await;
    }

    /// Waits until somebody says this.
    pub async fn heard(&mut self, text: &str) {
        self.until(|event| matches!(event, ChatEvent::Message(message) if message.text == text).then_some(())).await;
    }

    /// Offers a payload to somebody, and waits until it is asked.
    pub async fn offers(&self, payload: &Payload, name: &str, to: &mut Self) -> RequestId {
        let path = payload.parent().join(name);
        let id = self.chat.offer(to.chat.key(), path).await.expect("an offer");
        to.until(|event| matches!(event, ChatEvent::OfferReceived { id: came, .. } if *came == id).then_some(())).await;
        id
    }
}
