//! Names of people, relayed messages, and the end that an admin asks for.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use bytes::Bytes;
use common::{Client, HASH, Tracker, config, online, serve, start, start_over};
use ed25519_dalek::{Signer, SigningKey};
use std::net::SocketAddr;
use swarm_proto::native::{
    Challenge, Claim, Online, PersonKey, PersonName, PersonQuery, RefusalCode, Registration, Relayed, Request,
    Response, TrackerMessage, shutdown_proof,
};
use swarm_tracker_native::AdminToken;

fn person(text: &str) -> PersonName {
    PersonName::new(text).unwrap()
}

fn key_of(secret: &SigningKey) -> PersonKey {
    PersonKey(secret.verifying_key().to_bytes())
}

fn signed(claim: Claim, secret: &SigningKey, challenge: Challenge, name: &str) -> Request {
    let (person, key) = (person(name), key_of(secret));
    let signature = secret.sign(&claim.text(&challenge, &key, &person)).to_bytes();
    Request::Register(Registration { person, key, signature, release: claim == Claim::Release })
}

/// A client that is online, with a challenge, and takes messages if that is wanted.
async fn challenged(tracker: &Tracker, port: u16, relay: bool) -> (Client, Challenge) {
    let mut client = tracker.connect().await;
    let Request::Online(usual) = online(port) else { panic!() };
    let asked = Request::Online(Online { challenge: true, relay, ..usual });
    let Ok(Response::Online(session)) = client.ask(asked).await else { panic!() };
    (client, session.challenge.unwrap())
}

#[tokio::test]
async fn a_name_is_registered_by_proof_and_outlives_the_tracker() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.people_file = Some(folder.path().join("people"));
    let tracker = start(config.clone());
    let [ann, bob] = [7, 8].map(|byte| SigningKey::from_bytes(&[byte; 32]));
    let (mut first, challenge) = challenged(&tracker, 0, false).await;
    let registered = Ok(Response::Registered { lifetime_days: 180 });
    assert_eq!(first.ask(signed(Claim::Register, &ann, challenge, "Ann")).await, registered);
    assert_eq!(first.ask(signed(Claim::Register, &ann, challenge, "Ann")).await, registered, "again");

    let (mut second, other) = challenged(&tracker, 0, false).await;
    assert_ne!(challenge, other);
    let replayed = second.ask(signed(Claim::Register, &ann, challenge, "Ann")).await.unwrap_err();
    assert_eq!(replayed.code, RefusalCode::BadProof, "what was signed for another connection");
    let taken = second.ask(signed(Claim::Register, &bob, other, "aNN")).await.unwrap_err();
    assert_eq!(taken.code, RefusalCode::NotOwner);
    let taken = second.ask(signed(Claim::Release, &bob, other, "Ann")).await.unwrap_err();
    assert_eq!(taken.code, RefusalCode::NotOwner);
    drop((first, second));
    let store = std::sync::Arc::clone(&tracker.store);
    tracker.close().await;

    let tracker = start_over(config, store);
    let (mut third, challenge) = challenged(&tracker, 0, false).await;
    for query in [PersonQuery::Name(person("ANN")), PersonQuery::Key(key_of(&ann))] {
        let Ok(Response::Person(found)) = third.ask(Request::WhoIs(query)).await else { panic!() };
        assert_eq!((found.person, found.key, found.idle_days), (person("Ann"), key_of(&ann), 0));
    }
    assert_eq!(third.ask(signed(Claim::Release, &ann, challenge, "Ann")).await, Ok(Response::Done));
    let gone = third.ask(Request::WhoIs(PersonQuery::Name(person("Ann")))).await.unwrap_err();
    assert_eq!(gone.code, RefusalCode::NotFound);
    let mut unasked = tracker.online(0).await;
    let refusal = unasked.ask(signed(Claim::Register, &ann, challenge, "Ann")).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::BadProof, "no challenge was asked for");
}

fn message(to: SocketAddr, data: &'static [u8]) -> Request {
    Request::Relay(Relayed { info_hash: HASH, peer: to, data: Bytes::from_static(data) })
}

#[tokio::test]
async fn messages_go_between_peers_of_a_torrent_who_want_them() {
    let tracker = start(config());
    let (mut ann, _) = challenged(&tracker, 1, true).await;
    let (mut bob, _) = challenged(&tracker, 2, true).await;
    let mut deaf = tracker.online(3).await;
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let outside = ann.ask(message(address(2), b"hi")).await.unwrap_err();
    assert_eq!(outside.code, RefusalCode::NotFound, "who does not serve the torrent has no say in it");
    for client in [&mut ann, &mut deaf, &mut bob] {
        client.serve(serve(HASH, 5)).await;
    }
    assert_eq!(ann.ask(message(address(2), b"hi")).await, Ok(Response::Done));
    let relayed = loop {
        match bob.hear().await.unwrap() {
            TrackerMessage::Push(_) => {}
            other => break other,
        }
    };
    let expected = Relayed { info_hash: HASH, peer: address(1), data: Bytes::from_static(b"hi") };
    assert_eq!(relayed, TrackerMessage::Relayed(expected));
    for nobody in [address(3), address(4), address(1)] {
        assert_eq!(ann.ask(message(nobody, b"hi")).await.unwrap_err().code, RefusalCode::NotFound, "{nobody}");
    }
    // Bob reads nothing: in the end the one who writes is too fast.
    let mut refusal = None;
    for _ in 0..64 {
        refusal = ann.ask(message(address(2), b"hi")).await.err().or(refusal);
    }
    let refusal = refusal.unwrap();
    assert_eq!((refusal.code, refusal.retry_in_s), (RefusalCode::Full, Some(1)));
}

#[tokio::test]
async fn an_admin_closes_the_tracker_and_nobody_else_does() {
    let plain = start(config());
    let (mut client, challenge) = challenged(&plain, 0, false).await;
    let proof = shutdown_proof(&challenge, b"0123456789abcdef");
    assert_eq!(client.ask(Request::Shutdown { proof }).await.unwrap_err().code, RefusalCode::NotAllowed);

    let mut config = config();
    config.admin_token = AdminToken::new(b"0123456789abcdef");
    let tracker = start(config);
    let mut unasked = tracker.online(0).await;
    assert_eq!(unasked.ask(Request::Shutdown { proof }).await.unwrap_err().code, RefusalCode::BadProof);
    let (mut client, challenge) = challenged(&tracker, 0, false).await;
    assert_eq!(
        client.ask(Request::Shutdown { proof }).await.unwrap_err().code,
        RefusalCode::BadProof,
        "of another one"
    );
    let proof = shutdown_proof(&challenge, b"0123456789abcdef");
    assert_eq!(client.ask(Request::Shutdown { proof }).await, Ok(Response::Done));
    tracker.ended().await;
}
