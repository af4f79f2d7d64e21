//! Any frames from anybody in any order: nothing breaks, nothing grows beyond its bound.

use super::bench::{Bench, ROOM, WALL_MS, identity, key};
use crate::chat::envelope::{Body, Envelope};
use crate::chat::frame::Frame;
use crate::chat::payload::{Kind, Payload, Reason};
use crate::chat::*;
use ::bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Frame(u64, Frame),
    Bytes(u64, Vec<u8>),
    Link(u64),
    Cut(u64),
    Wait(u64),
    Say,
    Call(usize),
    Answer(bool),
    Leave,
}

fn id() -> impl Strategy<Value = MessageId> {
    (0u8..8).prop_map(|at| MessageId([at; 16]))
}

fn payload() -> impl Strategy<Value = Payload> {
    let id = || (0u8..4).prop_map(|at| RequestId([at; 16]));
    prop_oneof![
        (id(), any::<bool>(), vec(any::<u8>(), 0..120)).prop_map(|(id, call, handshake)| {
            Payload::Request { id, kind: if call { Kind::Call } else { Kind::Offer }, handshake }
        }),
        id().prop_map(|id| Payload::Ringing { id }),
        (id(), vec(any::<u8>(), 0..60)).prop_map(|(id, handshake)| Payload::Accept { id, handshake }),
        id().prop_map(|id| Payload::Decline { id, reason: Reason::Gone }),
        (id(), any::<u64>(), vec(any::<u8>(), 0..60)).prop_map(|(id, nonce, sealed)| Payload::Sealed {
            id,
            nonce,
            sealed
        }),
    ]
}

fn message() -> impl Strategy<Value = Bytes> {
    let body = prop_oneof![
        (vec(id(), 0..4), "[a-c\u{202e}]{1,3}").prop_map(|(parents, text)| Body::Say {
            parents,
            name: text.clone(),
            text
        }),
        (any::<bool>(), "[a-c]{0,2}").prop_map(|(here, name)| Body::Presence { noise_key: [1; 32], here, name }),
        (0usize..4, payload()).prop_map(|(to, payload)| Body::Direct { to: key(to), payload: payload.encode().into() }),
    ];
    (0usize..4, 0u64..20, body, any::<bool>()).prop_map(|(at, sequence, body, genuine)| {
        let envelope = Envelope { author: key(at), sequence, time_ms: WALL_MS, body };
        envelope.seal(&ROOM, &identity(if genuine { at } else { at + 1 })).1
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        4 => (any::<u8>(), message()).prop_map(|(hops, message)| Frame::Push { hops, message }),
        2 => message().prop_map(|message| Frame::Past { message }),
        1 => (any::<u32>(), vec(id(), 0..6)).prop_map(|(age_s, ids)| Frame::Have { age_s, ids }),
        1 => vec(id(), 0..6).prop_map(Frame::Know),
        1 => vec(id(), 0..6).prop_map(Frame::Want),
        2 => (any::<u8>(), message()).prop_map(|(hops, message)| Frame::Route { hops, message }),
        1 => vec(id(), 0..6).prop_map(Frame::Given),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u64..4, frame()).prop_map(|(from, frame)| Step::Frame(from, frame)),
        2 => (0u64..4, vec(any::<u8>(), 0..40)).prop_map(|(from, bytes)| Step::Bytes(from, bytes)),
        2 => (0u64..4).prop_map(Step::Link),
        1 => (0u64..4).prop_map(Step::Cut),
        2 => (0u64..100_000).prop_map(Step::Wait),
        1 => Just(Step::Say),
        1 => (0usize..4).prop_map(Step::Call),
        1 => any::<bool>().prop_map(Step::Answer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_frames_in_any_order(steps in vec(step(), 1..60), leaves in any::<bool>()) {
        let mut bench = Bench::new(1);
        let mut shown = std::collections::BTreeSet::new();
        let mut asked = Vec::new();
        let last = steps.len();
        let leave = leaves.then_some(Step::Leave);
        for (at, step) in steps.into_iter().chain(leave).enumerate() {
            let (now, room) = (bench.now, &mut bench.rooms[0]);
            match step {
                Step::Frame(from, frame) => room.handle_payload(now, PeerKey(from), &frame.encode()),
                Step::Bytes(from, bytes) => room.handle_payload(now, PeerKey(from), &bytes.into()),
                Step::Link(to) => room.handle_connected(now, PeerKey(to)),
                Step::Cut(to) => room.handle_closed(now, PeerKey(to)),
                Step::Wait(ms) => {
                    bench.now += std::time::Duration::from_millis(ms);
                    room.handle_timeout(bench.now);
                }
                Step::Say => {
                    let _ = room.say(now, "own");
                }
                Step::Call(to) => {
                    let _ = room.call(now, key(to));
                }
                Step::Answer(yes) => {
                    if let Some(id) = asked.pop() {
                        let _ = if yes { room.accept(now, id) } else { room.decline(now, id) };
                    }
                }
                Step::Leave => {
                    room.leave(now);
                    prop_assert_eq!(room.poll_timeout(), None);
                }
            }
            bench.collect();
            for event in bench.events[0].drain(..) {
                match event {
                    ChatEvent::Message(message) => {
                        prop_assert!(shown.insert(message.id), "shown twice");
                        let turned = message.text.contains('\u{202e}') || message.name.contains('\u{202e}');
                        prop_assert!(!turned, "the direction of writing");
                    }
                    ChatEvent::CallRequested { id, .. } | ChatEvent::OfferReceived { id, .. } => asked.push(id),
                    _ => {}
                }
            }
            if at < last {
                prop_assert!(bench.rooms[0].poll_timeout().is_some());
            }
        }
    }
}
