//! Chat messages in a swarm: announced only where we chat, passed to whoever chats, and reason enough to stay connected.

use super::*;

fn chatting(have: &str) -> Bench {
    let mut bench = Bench::new(have);
    let config = SwarmConfig { chat: true, ..bench.swarm.config.clone() };
    let have = bench.swarm.have().clone();
    bench.swarm = Swarm::new(config, bench.swarm.geometry, have, 1, bench.now);
    bench
}

/// The handshake of somebody who takes chat messages under this number, if at all.
fn hello(chat: Option<u8>) -> Message {
    let ids = ExtensionIds { dont_have: None, chat };
    Message::Extended(0, ExtendedHandshake { ids, ..ExtendedHandshake::default() }.encode().into())
}

fn greeting(bench: &mut Bench, peer: u8) -> (PeerKey, ExtensionIds) {
    let key = bench.connect(peer, ALL);
    let greeting = sent(&bench.outputs());
    let handshake = greeting.iter().find_map(|message| match message {
        Message::Extended(0, payload) => ExtendedHandshake::parse(payload),
        _ => None,
    });
    (key, handshake.expect("a handshake").ids)
}

#[test]
fn chat_is_announced_and_taken_only_where_we_chat() {
    let (mut plain, mut bench) = (Bench::new("xxxxxxxx"), chatting("xxxxxxxx"));
    let (peer, ids) = greeting(&mut plain, 1);
    assert_eq!(ids.chat, None);
    assert_eq!(plain.say(peer, hello(Some(5))), []);
    assert_eq!(plain.say(peer, Message::Extended(2, "x".into())), [], "a number that we never gave out");
    plain.swarm.send_chat(plain.now, peer, "x".into());
    assert_eq!(plain.outputs(), []);

    let (peer, ids) = greeting(&mut bench, 1);
    assert_eq!(ids.chat, Some(2));
    bench.swarm.send_chat(bench.now, peer, "too early".into());
    assert_eq!(bench.outputs(), []);
    let address = SocketAddr::from(([10, 0, 0, 1], 6881));
    assert_eq!(bench.say(peer, hello(Some(5))), [Output::ChatUp { peer, address, reachable: None }]);
    assert_eq!(bench.say(peer, hello(Some(6))), [], "once is enough");
    assert_eq!(bench.say(peer, Message::Extended(2, "hi".into())), [Output::Chat { peer, payload: "hi".into() }]);
    bench.swarm.send_chat(bench.now, peer, "hi yourself".into());
    assert_eq!(sent(&bench.outputs()), [Message::Extended(6, "hi yourself".into())]);
}

#[test]
fn seeds_that_chat_have_something_for_each_other() {
    let mut bench = chatting("xxxxxxxx");
    let (friend, stranger) = (bench.connect(1, ALL), bench.connect(2, ALL));
    for peer in [friend, stranger] {
        bench.say(peer, Message::HaveAll);
    }
    // Who chats says so right behind the handshake, but perhaps not within the first second.
    assert_eq!(closed(&bench.wait(Duration::from_secs(3))), None);
    bench.say(friend, hello(Some(2)));
    bench.say(stranger, hello(None));
    let outputs = bench.wait(Duration::from_secs(60));
    let gone = |peer| outputs.contains(&Output::Close { peer, reason: CloseReason::NothingToTrade });
    assert!(gone(stranger) && !gone(friend), "{outputs:?}");
    let silent = bench.connect(3, ALL);
    bench.say(silent, Message::HaveAll);
    let outputs = bench.wait(Duration::from_secs(12));
    assert!(outputs.contains(&Output::Close { peer: silent, reason: CloseReason::NothingToTrade }));
}

#[test]
fn who_floods_the_chat_is_closed_and_the_rule_named() {
    let mut bench = chatting("xxxx....");
    let peer = bench.connect(1, ALL);
    bench.say(peer, hello(Some(2)));
    bench.swarm.handle_fault(bench.now, peer, PeerFault::Chat);
    assert_eq!(closed(&bench.outputs()), Some(CloseReason::Fault(PeerFault::Chat)));
}
