//! Names that are registered at a native tracker, and rooms that know it.

use std::net::SocketAddr;
use swarm_engine::chat::{lookup_name, make_room, register_name, release_name};
use swarm_engine::{AddTorrent, ChatEvents, ChatHandle, ChatOptions, Session};
use swarm_proto::announce::TrackerError;
use swarm_proto::chat::{ChatEvent, Identity, Trust};
use swarm_proto::metainfo::Metainfo;
use swarm_proto::native::{NativeUrl, PersonName, PersonQuery};
use swarm_tests::kit::{PATIENCE, Trackers, session};
use tempfile::TempDir;

struct Person {
    session: Session,
    chat: ChatHandle,
    events: ChatEvents,
    _folder: TempDir,
}

fn identity(at: u8) -> Identity {
    Identity::from_secret([at; 32])
}

impl Person {
    async fn enter(metainfo: &Metainfo, tracker: &str, at: u8, name: &str, peers: &[SocketAddr]) -> Self {
        Self::enter_as(metainfo, tracker, ChatOptions::new(identity(at), name), peers).await
    }

    async fn enter_as(metainfo: &Metainfo, tracker: &str, options: ChatOptions, peers: &[SocketAddr]) -> Self {
        let (folder, session) = (TempDir::new().expect("a temporary folder"), session());
        let mut add = AddTorrent::room(metainfo.clone(), folder.path(), options);
        add.trackers = vec![tracker.to_owned()];
        add.peers = peers.iter().map(SocketAddr::to_string).collect();
        let chat = session.add(add).await.expect("a room").chat().expect("a chat");
        let events = chat.events();
        Self { session, chat, events, _folder: folder }
    }

    async fn until<T>(&mut self, such: impl Fn(&ChatEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = such(&self.events.next().await.expect("a room that goes on")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("in time")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_shows_whose_a_registered_name_is() {
    let trackers = Trackers::start();
    let url: NativeUrl = trackers.native.parse().expect("a tracker");
    let anna = PersonName::new("anna").expect("a name");
    register_name(&url, &anna, &identity(1)).await.expect("registered");
    let taken = register_name(&url, &anna, &identity(3)).await;
    assert!(matches!(taken, Err(TrackerError::Refused { .. })), "{taken:?}");
    let pay = |text: &str| PersonName::new(text).expect("a name");
    register_name(&url, &pay("Pay"), &identity(1)).await.expect("registered");
    let Err(TrackerError::Refused { reason, .. }) = register_name(&url, &pay("рау"), &identity(3)).await else {
        panic!()
    };
    assert_eq!(reason, "it looks like Pay, and that name is somebody else's");
    let found = lookup_name(&url, PersonQuery::Name(pay("рау"))).await.expect("whose it is");
    assert_eq!((found.person, found.key.0), (pay("Pay"), identity(1).public().0));
    let metainfo = Metainfo::parse(make_room("friends").unwrap().build(&[]).unwrap()).expect("a room");

    let mut first = Person::enter(&metainfo, &trackers.native, 1, "anna", &[]).await;
    let me = |event: &ChatEvent| match event {
        ChatEvent::NameRegistered { person, .. } => Some((person.me, person.registered)),
        _ => None,
    };
    assert_eq!(first.until(me).await, (true, true));
    let mut bob = Person::enter(&metainfo, &trackers.native, 2, "bob", &[first.session.listen_address()]).await;
    let proven = |event: &ChatEvent| match event {
        ChatEvent::NameRegistered { person, tracker } => Some((person.name.clone(), tracker.to_string())),
        _ => None,
    };
    assert_eq!(bob.until(proven).await, ("anna".to_owned(), url.authority()));

    // Somebody else with her name is shown as such, to others and to itself; also where she was never met.
    let near = [bob.session.listen_address()];
    let mut mallory = Person::enter(&metainfo, &trackers.native, 3, "Anna", &near).await;
    let other = |event: &ChatEvent| match event {
        ChatEvent::NameOfAnother { person, name, owner, .. } => Some((name.clone(), *owner, person.key)),
        _ => None,
    };
    let expected = ("Anna".to_owned(), identity(1).public(), identity(3).public());
    assert_eq!(bob.until(other).await, expected);
    assert_eq!(mallory.until(other).await, expected);
    let people = bob.chat.people().await.expect("people");
    let of = |at: u8| people.iter().find(|person| person.key == identity(at).public()).expect("somebody");
    assert_eq!((of(1).trust, of(1).registered), (Trust::FirstSeen, true));
    assert_eq!((of(3).trust, of(3).registered), (Trust::NameConflict, false));
    assert!(of(3).name.starts_with("Anna#") && !of(2).registered);
    for person in [first, bob, mallory] {
        person.session.shutdown().await;
    }

    release_name(&url, &anna, &identity(1)).await.expect("released");
    let gone = lookup_name(&url, PersonQuery::Name(anna)).await;
    assert!(matches!(gone, Err(TrackerError::Refused { retry_in: None, .. })), "{gone:?}");
    trackers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_does_not_want_it_asks_a_tracker_for_names() {
    let trackers = Trackers::start();
    let url: NativeUrl = trackers.native.parse().expect("a tracker");
    register_name(&url, &PersonName::new("anna").expect("a name"), &identity(1)).await.expect("registered");
    let metainfo = Metainfo::parse(make_room("friends").unwrap().build(&[]).unwrap()).expect("a room");
    let silent = |at, name: &str| ChatOptions { look_up_names: false, ..ChatOptions::new(identity(at), name) };
    let joined = |event: &ChatEvent| match event {
        ChatEvent::Joined(person) if !person.me => Some((person.name.clone(), person.registered)),
        _ => None,
    };
    // They find each other through the tracker, so both have reached it.
    let mut anna = Person::enter_as(&metainfo, &trackers.native, silent(1, "anna"), &[]).await;
    let mut bob = Person::enter_as(&metainfo, &trackers.native, silent(2, "bob"), &[]).await;
    assert_eq!(anna.until(joined).await, ("bob".to_owned(), false));
    assert_eq!(bob.until(joined).await, ("anna".to_owned(), false));
    // Somebody who does ask has his answers, and all that is asked is what he asks: his name, and those of two others.
    let near = [bob.session.listen_address()];
    let mut carl = Person::enter(&metainfo, &trackers.native, 3, "carl", &near).await;
    let proven = |event: &ChatEvent| match event {
        ChatEvent::NameRegistered { person, .. } => Some(person.name.clone()),
        _ => None,
    };
    assert_eq!(carl.until(proven).await, "anna");
    assert_eq!(bob.until(joined).await, ("carl".to_owned(), false));
    let lookups = trackers.name_lookups();
    assert!((2..=3).contains(&lookups), "{lookups} questions");
    for person in [anna, bob, carl] {
        person.session.shutdown().await;
    }
    trackers.stop().await;
}
