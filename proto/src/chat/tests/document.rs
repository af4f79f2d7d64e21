//! The examples of `docs/chat-protocol.md`.

use crate::chat::contract::{MessageId, Offer, Reach, RequestId, TransferState};
use crate::chat::craft::{self, Head};
use crate::chat::identity::Identity;
use crate::chat::noise::{self, Binding};
use crate::chat::payload::{Inner, Kind, Payload, Reason, encode_offer, parse_offer};
use crate::chat::relay::packet::{Packet, Part};
use crate::chat::{envelope::Envelope, frame};
use crate::id::InfoHash;
use ::bytes::Bytes;
use std::collections::BTreeMap;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The examples by name, without spaces and line feeds.
fn examples() -> BTreeMap<String, String> {
    let document = include_str!("../../../../docs/chat-protocol.md");
    let mut found = BTreeMap::new();
    for block in document.split("```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a line");
        let (digits, _) = rest.split_once("```").expect("an end");
        found.insert(name.to_owned(), digits.split_whitespace().collect());
    }
    found
}

#[test]
fn the_examples_of_the_document_are_what_is_sent() {
    let [anna, bob] = [1, 2].map(|at| Identity::from_secret([at; 32]));
    let room = InfoHash([7; 20]);
    let head = |sequence| Head { room, sequence, time_ms: 1_790_000_000_000 };
    let (id, say) = craft::say(&head(1), &anna, &[MessageId([3; 16])], "anna", "hello");
    let (_, presence) = craft::presence(&head(2), &anna, true, "anna");
    let request = RequestId([5; 16]);
    let binding = Binding { room, caller: anna.public(), callee: bob.public(), id: request, kind: Kind::Call.byte() };
    let (_, handshake) = noise::begin(&anna, bob.noise_public(), &binding, b"", [9; 32]).expect("a handshake");
    let offer = Offer {
        info_hash: InfoHash([4; 20]),
        name: "holiday".into(),
        total_length: 1_000_000,
        files: 12,
        port: 6_881,
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
    };
    let report = Inner::Report { number: 1, state: TransferState::Fetching, have: 430_000 };
    let reach = Inner::Reach { number: 0, reach: Reach { port: 6_882, addresses: vec!["192.0.2.2".parse().unwrap()] } };
    let know = craft::know(vec![id]);
    let parts = vec![
        Part { goes_on: false, more: false, bytes: know.clone() },
        Part { goes_on: false, more: true, bytes: know.slice(..1) },
        Part { goes_on: true, more: false, bytes: know.slice(1..) },
    ];
    let expected: BTreeMap<&str, Vec<u8>> = [
        ("say", say.to_vec()),
        ("presence", presence.to_vec()),
        ("push", craft::push(32, say.clone()).to_vec()),
        ("have", craft::have(258, vec![id]).to_vec()),
        ("know", craft::know(vec![id]).to_vec()),
        ("meeting", crate::swarm::meeting_hash(room).0.to_vec()),
        ("request", Payload::Request { id: request, kind: Kind::Call, handshake: handshake.clone() }.encode()),
        ("decline", Payload::Decline { id: request, reason: Reason::Declined }.encode()),
        ("offer", encode_offer(&offer)),
        ("reach", reach.encode()),
        ("report", report.encode()),
        ("hello", Packet::Hello { mine: [6; 8] }.encode().to_vec()),
        ("welcome", Packet::Welcome { yours: [6; 8], mine: [8; 8] }.encode().to_vec()),
        ("packet", Packet::Frames { yours: [8; 8], number: 0, parts }.encode().to_vec()),
    ]
    .into();
    let expected: BTreeMap<String, String> = expected.iter().map(|(name, it)| ((*name).to_owned(), hex(it))).collect();
    let found = examples();
    for (name, digits) in &expected {
        assert_eq!(found.get(name), Some(digits), "{name}");
    }
    assert_eq!(found.len(), expected.len());
    // And the other way: what the document shows is understood.
    let read = Envelope::parse(&room, &say).expect("a message");
    assert!(read.is_genuine(&room) && read.id == id);
    assert!(matches!(
        frame::Frame::decode(&craft::push(32, say)),
        frame::Decoded::Frame(frame::Frame::Push { hops: 32, .. })
    ));
    assert!(noise::receive(&bob, &binding, &handshake, [8; 32]).is_some());
    assert_eq!(parse_offer(&encode_offer(&offer)), Some(offer));
    assert_eq!(
        [&reach, &report].map(|inner| Inner::parse(&inner.encode())),
        [Some(reach.clone()), Some(report.clone())]
    );
    assert_eq!(Envelope::parse(&room, &Bytes::from_static(b"")).map(|read| read.id), None);
}
