//! Chat over real sockets on the loopback: three sessions in a line, words, a call, a file that is handed over; and seeds
//! that do not know of it.

use swarm_engine::chat::ChatBook;
use swarm_engine::{AddError, AddTorrent, ChatOptions, Session, SessionConfig, State, Torrent, TorrentEvent};
use swarm_proto::chat::{ChatEvent, DeliveryState, Pinned, Transfer, TransferEnd, TransferState, Trust};
use swarm_proto::metainfo::Metainfo;
use swarm_proto::swarm::Event;
use swarm_tests::kit::{PATIENCE, Payload, seed, session, session_with, slow_session};
use swarm_tests::people::{Person, Ways, identity, room};
use tempfile::TempDir;

/// Three people, of whom only neighbours are connected.
async fn three(metainfo: &Metainfo) -> [Person; 3] {
    let mut anna = Person::enter(metainfo, 1, "anna", &[]).await;
    let mut bob = Person::enter(metainfo, 2, "bob", &[anna.address()]).await;
    bob.joined("anna").await;
    let mut carl = Person::enter(metainfo, 3, "carl", &[bob.address()]).await;
    carl.joined("anna").await;
    anna.joined("carl").await;
    [anna, bob, carl]
}

#[tokio::test(flavor = "multi_thread")]
async fn three_people_in_a_line_talk_call_and_say_goodbye() {
    let metainfo = room();
    let [mut anna, mut bob, mut carl] = three(&metainfo).await;
    let id = anna.chat.say("hello\u{202e} all").await.expect("said");
    carl.heard("hello\u{fffd} all").await;
    bob.heard("hello\u{fffd} all").await;
    anna.until(|event| matches!(event, ChatEvent::Heard { id: heard, .. } if *heard == id).then_some(())).await;

    let call = anna.chat.call(identity(3).public()).await.expect("a call");
    let requested = |event: &ChatEvent| if let ChatEvent::CallRequested { id, .. } = event { Some(*id) } else { None };
    assert_eq!(carl.until(requested).await, call);
    carl.chat.accept(call).await.expect("accepted");
    anna.until(|event| matches!(event, ChatEvent::CallEstablished { .. }).then_some(())).await;
    let number = anna.chat.tell(call, "between us").await.expect("told");
    let told =
        |event: &ChatEvent| if let ChatEvent::DirectMessage { text, .. } = event { Some(text.clone()) } else { None };
    assert_eq!(carl.until(told).await, "between us");
    let delivered = |event: &ChatEvent| match event {
        ChatEvent::DirectState { number, state: DeliveryState::Delivered, .. } => Some(*number),
        _ => None,
    };
    assert_eq!(anna.until(delivered).await, number);
    carl.chat.hang_up(call).await.expect("hung up");
    anna.until(|event| matches!(event, ChatEvent::CallEnded { .. }).then_some(())).await;
    assert!(bob.chat.stats().await.expect("stats").0.relayed_direct > 0, "it went through others' hands");

    // Whoever leaves says so, although nobody waits for it.
    anna.session.shutdown().await;
    let left = |event: &ChatEvent| match event {
        ChatEvent::Left { person, silent } => Some((person.name.clone(), *silent)),
        _ => None,
    };
    assert_eq!(carl.until(left).await, ("anna".to_owned(), false));
    // A newcomer gets what was said.
    let late = Person::enter(&metainfo, 4, "late", &[carl.address()]).await;
    let mut late = late;
    late.heard("hello\u{fffd} all").await;
    // Who was met is remembered.
    let book = carl.folder.path().join("state/people");
    carl.torrent.stop().await;
    carl.session.shutdown().await;
    let known: Vec<_> =
        ChatBook::open(&book).expect("a book").entries().into_iter().map(|it| (it.name, it.trust)).collect();
    for name in ["anna", "bob", "late"] {
        assert!(known.contains(&(name.to_owned(), Pinned::FirstSeen)), "{name} in {known:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_handed_over_directly_from_who_offers_it() {
    let metainfo = room();
    let [mut anna, bob, mut carl] = three(&metainfo).await;
    let payload = Payload::folder("holiday", &[("a/1.jpg", 300_000), ("b.txt", 17)]);
    let path = payload.parent().join("holiday");
    let id = anna.chat.offer(identity(3).public(), path).await.expect("an offer");
    let offered = |event: &ChatEvent| match event {
        ChatEvent::OfferReceived { id, offer, .. } => Some((*id, offer.name.clone(), offer.files, offer.total_length)),
        _ => None,
    };
    assert_eq!(carl.until(offered).await, (id, "holiday".to_owned(), 2, 300_017));
    // The two are not connected in the room.
    let into = TempDir::new().expect("a folder");
    let torrent = carl.chat.accept_offer(id, into.path()).await.expect("a fetch");
    tokio::time::timeout(PATIENCE, torrent.wait_complete()).await.expect("in time").expect("complete");
    payload.assert_copied_to(into.path());
    anna.until(|event| matches!(event, ChatEvent::OfferAccepted { .. }).then_some(())).await;
    let (transfer, end) = anna.until(ended).await;
    assert_eq!((transfer.have_bytes, transfer.total_bytes, end), (300_017, 300_017, TransferEnd::Complete));
    assert_eq!((transfer.name.as_str(), transfer.with.name.as_str(), transfer.ours), ("holiday", "carl", true));
    assert!(carl.chat.accept_offer(id, into.path()).await.is_err(), "an answer is worth one request");
    let declined = anna.chat.offer(identity(2).public(), payload.parent().join("holiday")).await.expect("again");
    let mut bob = bob;
    bob.until(|event| matches!(event, ChatEvent::OfferReceived { .. }).then_some(())).await;
    bob.chat.decline(declined).await.expect("declined");
    anna.until(|event| matches!(event, ChatEvent::OfferDeclined { .. }).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_that_chat_stay_connected_and_others_go_as_ever() {
    let payload = Payload::file("film", 100_000);
    let metainfo = payload.metainfo(16_384, &[]);
    let (one, two, plain) = (session(), session(), session());
    let chatting = |at: u8, name: &str| {
        let mut add = AddTorrent::seed(metainfo.clone(), payload.parent());
        add.chat = Some(ChatOptions::new(identity(at), name));
        add
    };
    let first = one.add(chatting(1, "anna")).await.expect("a seed");
    let mut add = chatting(2, "bob");
    add.peers = vec![one.listen_address().to_string()];
    let second = two.add(add).await.expect("a seed");
    let (here, there) = (first.chat().expect("a chat"), second.chat().expect("a chat"));
    let mut events = there.events();
    let other = seed(&plain, &payload, &metainfo).await;
    let mut partings = other.events();
    other.add_peers([one.listen_address()]).await;
    let met = async {
        while there.people().await.expect("people").len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.expect("in time");
    // Whoever finds that neither has anything for the other has found so by then.
    let parted =
        async { while !matches!(partings.next().await, Some(TorrentEvent::Swarm(Event::PeerClosed { .. }))) {} };
    tokio::time::timeout(PATIENCE, parted).await.expect("in time");
    here.say("still here?").await.expect("said");
    let heard = async {
        while !matches!(events.next().await.expect("a room"), ChatEvent::Message(it) if it.text == "still here?") {}
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("in time");
    assert!(other.chat().is_none());
    assert_eq!(here.people().await.expect("people").len(), 2, "who does not chat is not there");
    let person = there.people().await.expect("people").into_iter().find(|person| !person.me).expect("anna");
    assert_eq!((person.name.as_str(), person.trust, person.direct), ("anna", Trust::FirstSeen, true));
    let peers = first.peers().await;
    assert!(peers.iter().all(|peer| peer.peer_id != plain.peer_id()), "seeds that have nothing for each other part");
}

/// Two neighbours, of whom the first sends no more than so many bytes a second.
async fn pair(bytes_per_s: u64, receiver: Session) -> (Person, Person) {
    let metainfo = room();
    let mut anna = Person::enter_with(slow_session(bytes_per_s), &metainfo, 1, "anna", Ways::default()).await;
    let mut bob =
        Person::enter_with(receiver, &metainfo, 2, "bob", Ways { peers: &[anna.address()], ..Ways::default() }).await;
    anna.joined("bob").await;
    bob.joined("anna").await;
    (anna, bob)
}

fn ended(event: &ChatEvent) -> Option<(Transfer, TransferEnd)> {
    match event {
        ChatEvent::OfferEnded { transfer, end } => Some((transfer.clone(), *end)),
        _ => None,
    }
}

/// Waits until a torrent has no place in somebody's session any more.
async fn until_free(person: &Person, metainfo: &Metainfo, payload: &Payload) {
    let free = async {
        loop {
            match person.session.add(AddTorrent::seed(metainfo.clone(), payload.parent())).await {
                Ok(torrent) => return torrent.stop().await,
                Err(AddError::Duplicate(_)) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("in time");
}

async fn has(torrent: &Torrent, bytes: u64) {
    let mut status = torrent.watch();
    let there = status.wait_for(|status| status.stats.have_bytes >= bytes);
    tokio::time::timeout(PATIENCE, there).await.expect("in time").expect("a torrent that runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_ends_a_transfer_and_what_is_there_stays() {
    let payload = Payload::file("film", 3_000_000);
    let metainfo = payload.metainfo(16_384, &[]);
    for by_sender in [false, true] {
        let (mut anna, mut bob) = pair(400_000, session()).await;
        let id = anna.offers(&payload, "film", &mut bob).await;
        let into = TempDir::new().expect("a folder");
        let torrent = bob.chat.accept_offer(id, into.path()).await.expect("a fetch");
        has(&torrent, 300_000).await;
        let seen = |event: &ChatEvent| match event {
            ChatEvent::OfferProgress { transfer, state: TransferState::Fetching } => Some(transfer.clone()),
            _ => None,
        };
        assert_eq!(anna.until(seen).await.total_bytes, 3_000_000);
        let (who, end) = if by_sender { (&anna, TransferEnd::Withdrawn) } else { (&bob, TransferEnd::GivenUp) };
        who.chat.hang_up(id).await.expect("hung up");
        for person in [&mut anna, &mut bob] {
            let (transfer, how) = person.until(ended).await;
            assert!(how == end && transfer.have_bytes < 3_000_000, "{transfer:?} {how:?}");
        }
        tokio::time::timeout(PATIENCE, torrent.wait_ended()).await.expect("in time");
        assert_eq!(torrent.status().state, State::Stopped);
        let there = std::fs::read_dir(into.path()).expect("a folder").count();
        assert_eq!(there, 1, "what was fetched stays");
        until_free(&anna, &metainfo, &payload).await;
        assert!(payload.parent().join("film").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_served_no_longer_but_for_what_was_served_anyway() {
    let payload = Payload::file("film", 100_000);
    let metainfo = payload.metainfo(16_384, &[]);
    let (mut anna, mut bob) = pair(10_000_000, session()).await;
    // Of two offers one may end.
    let first = anna.offers(&payload, "film", &mut bob).await;
    let second = anna.offers(&payload, "film", &mut bob).await;
    bob.chat.decline(first).await.expect("declined");
    anna.until(|event| matches!(event, ChatEvent::OfferDeclined { .. }).then_some(())).await;
    let again = anna.session.add(AddTorrent::seed(metainfo.clone(), payload.parent())).await;
    assert!(matches!(again, Err(AddError::Duplicate(_))), "the second offer needs it");
    anna.chat.hang_up(second).await.expect("taken back");
    until_free(&anna, &metainfo, &payload).await;
    // What the user serves stays.
    let own = seed(&anna.session, &payload, &metainfo).await;
    let third = anna.offers(&payload, "film", &mut bob).await;
    bob.chat.decline(third).await.expect("declined");
    anna.until(|event| matches!(event, ChatEvent::OfferDeclined { .. }).then_some(())).await;
    let into = TempDir::new().expect("a folder");
    let fourth = anna.offers(&payload, "film", &mut bob).await;
    let torrent = bob.chat.accept_offer(fourth, into.path()).await.expect("a fetch");
    tokio::time::timeout(PATIENCE, torrent.wait_complete()).await.expect("in time").expect("complete");
    payload.assert_copied_to(into.path());
    assert_eq!(anna.until(ended).await.1, TransferEnd::Complete);
    assert!(own.status().state == State::Seeding);
    // What is there already is there at once, also into another folder.
    let fifth = anna.offers(&payload, "film", &mut bob).await;
    let same = bob.chat.accept_offer(fifth, into.path()).await.expect("what is there");
    assert!(same.status().complete);
    assert_eq!(anna.until(ended).await.1, TransferEnd::Complete);
    let other = TempDir::new().expect("a folder");
    let sixth = anna.offers(&payload, "film", &mut bob).await;
    let torrent = bob.chat.accept_offer(sixth, other.path()).await.expect("a fetch");
    tokio::time::timeout(PATIENCE, torrent.wait_complete()).await.expect("in time").expect("complete");
    payload.assert_copied_to(other.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_broke_off_goes_on_where_it_was() {
    let payload = Payload::file("film", 1_500_000);
    let (into, state) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let receiver = || {
        let state_folder = Some(state.path().to_owned());
        session_with(SessionConfig { state_folder, ..SessionConfig::default() })
    };
    let (mut anna, mut bob) = pair(500_000, receiver()).await;
    let served = seed(&anna.session, &payload, &payload.metainfo(16_384, &[])).await;
    let id = anna.offers(&payload, "film", &mut bob).await;
    let torrent = bob.chat.accept_offer(id, into.path()).await.expect("a fetch");
    has(&torrent, 1_000_000).await;
    // Gone without a word of its own.
    drop((torrent, bob));
    let (transfer, end) = anna.until(ended).await;
    assert!(end == TransferEnd::Lost && transfer.have_bytes < 1_500_000, "{transfer:?} {end:?}");
    let mut bob =
        Person::enter_with(receiver(), &anna.metainfo, 2, "bob", Ways { peers: &[anna.address()], ..Ways::default() })
            .await;
    anna.until(|event| matches!(event, ChatEvent::Joined(_)).then_some(())).await;
    bob.joined("anna").await;
    let id = anna.offers(&payload, "film", &mut bob).await;
    let torrent = bob.chat.accept_offer(id, into.path()).await.expect("a fetch");
    tokio::time::timeout(PATIENCE, torrent.wait_complete()).await.expect("in time").expect("complete");
    payload.assert_copied_to(into.path());
    assert_eq!(anna.until(ended).await.1, TransferEnd::Complete);
    let uploaded = served.status().stats.uploaded;
    assert!(uploaded < 1_900_000, "two thirds were there already, and {uploaded} bytes were sent in all");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_in_the_way_is_overwritten() {
    let payload = Payload::file("film", 100_000);
    let (mut anna, mut bob) = pair(10_000_000, session()).await;
    let into = TempDir::new().expect("a folder");
    std::fs::write(into.path().join("film"), b"something else, and dear").expect("a file");
    let id = anna.offers(&payload, "film", &mut bob).await;
    let text = match bob.chat.accept_offer(id, into.path()).await {
        Err(error) => error.to_string(),
        Ok(torrent) => {
            tokio::time::timeout(PATIENCE, torrent.wait_ended()).await.expect("in time");
            torrent.status().error.expect("a reason")
        }
    };
    assert!(text.contains("film") && text.contains("exists"), "{text}");
    assert_eq!(anna.until(ended).await.1, TransferEnd::GivenUp);
    assert_eq!(std::fs::read(into.path().join("film")).expect("a file"), b"something else, and dear");
    assert_eq!(std::fs::read_dir(into.path()).expect("a folder").count(), 1);
}
