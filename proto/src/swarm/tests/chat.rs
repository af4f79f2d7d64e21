//! Chat messages in a swarm: announced only where we chat, passed to whoever chats, and reason enough to stay connected.

use super::*;
use crate::announce::{AnnounceEvent, PeerAddress};

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

/// A torrent with these trackers, and what it announces at once: to whom, as which torrent, and how much is lacking.
fn announcing(have: &str, trackers: &[&str], chat: bool, private: bool) -> (Bench, Vec<AnnounceJob>) {
    let mut bench = Bench::new(have);
    let trackers = trackers.iter().map(|url| vec![(*url).to_owned()]).collect();
    let config = SwarmConfig { chat, private, trackers, ..bench.swarm.config.clone() };
    let have = bench.swarm.have().clone();
    bench.swarm = Swarm::new(config, bench.swarm.geometry, have, 1, bench.now);
    let jobs = announces(bench.outputs());
    (bench, jobs)
}

fn announces(outputs: Vec<Output>) -> Vec<AnnounceJob> {
    let job = |output| if let Output::Announce(job) = output { Some(job) } else { None };
    outputs.into_iter().filter_map(job).collect()
}

fn told(jobs: &[AnnounceJob]) -> Vec<(&str, InfoHash, u64)> {
    jobs.iter().map(|job| (job.url.as_str(), job.announce.info_hash, job.announce.left)).collect()
}

const TRACKER: &str = "http://tracker/announce";

fn reply(peer: u8) -> AnnounceReply {
    let address = SocketAddr::from(([10, 0, 0, peer], 6881));
    let peers = vec![PeerAddress { address, peer_id: None }];
    AnnounceReply { interval: Duration::from_secs(1_800), peers, ..AnnounceReply::default() }
}

#[test]
fn seeds_that_chat_meet_beside_the_torrent_and_leave_its_counts_alone() {
    let (own, meeting) = (InfoHash([1; 20]), meeting_hash(InfoHash([1; 20])));
    let (mut bench, jobs) = announcing("xxxxxxxx", &[TRACKER], true, false);
    assert_eq!(told(&jobs), [(TRACKER, own, 0), (TRACKER, meeting, 1)]);
    assert_eq!(jobs[1].announce.event, AnnounceEvent::Started);
    bench.swarm.handle_announced(bench.now, jobs[1].id, Ok(reply(7)));
    assert_eq!(bench.outputs(), [Output::Dial { address: SocketAddr::from(([10, 0, 0, 7], 6881)) }]);
    assert_eq!(bench.swarm.poll_event(), None, "the user asked for nothing of this");
    bench.swarm.handle_announced(bench.now, jobs[0].id, Ok(reply(8)));
    assert!(matches!(bench.swarm.poll_event(), Some(Event::TrackerReplied { peers: 1, .. })));
    bench.swarm.command(bench.now, Command::AddTrackers(vec!["udp://other:1".into(), TRACKER.into()]));
    let more = announces(bench.outputs());
    assert_eq!(told(&more), [("udp://other:1", own, 0), ("udp://other:1", meeting, 1)]);
    for job in more {
        bench.swarm.handle_announced(bench.now, job.id, Ok(AnnounceReply::default()));
    }
    bench.outputs();
    // Both say goodbye, and the end waits for both.
    bench.swarm.command(bench.now, Command::Stop);
    let farewells = announces(bench.outputs());
    assert_eq!(farewells.len(), 4, "{farewells:?}");
    assert!(farewells.iter().all(|job| job.announce.event == AnnounceEvent::Stopped));
    for job in &farewells {
        assert!(!bench.swarm.is_stopped());
        bench.swarm.handle_announced(bench.now, job.id, Ok(AnnounceReply::default()));
    }
    assert!(bench.swarm.is_stopped());
}

#[test]
fn nobody_meets_who_does_not_chat_lacks_something_or_is_to_be_found_by_the_tracker_alone() {
    let own = InfoHash([1; 20]);
    for (have, chat, private, left) in
        [("xxxxxxxx", false, false, 0), ("xxxxxxxx", true, true, 0), ("xxxx....", true, false, 4 * 131_072)]
    {
        let (mut bench, jobs) = announcing(have, &[TRACKER], chat, private);
        let left = if left > 0 { jobs[0].announce.left } else { 0 };
        assert_eq!(told(&jobs), [(TRACKER, own, left)], "{have} {chat} {private}");
        bench.swarm.handle_announced(bench.now, jobs[0].id, Ok(AnnounceReply::default()));
        let later = announces(bench.wait(Duration::from_secs(7_200)));
        assert!(later.iter().all(|job| job.announce.info_hash == own), "{later:?}");
    }
    // A key may be good for so many torrents: a tracker that may have given us one is told of the torrent alone.
    for keyed in [
        "native://tracker:1/5f3ac0de/",
        "NATIVE://tracker:1/5f3ac0de",
        "http://tracker/5f3ac0de/announce",
        "https://tracker/announce?passkey=5f3ac0de",
        "http://tracker?5f3ac0de",
        "udp://tracker:1/5f3ac0de/announce",
    ] {
        assert_eq!(told(&announcing("xxxxxxxx", &[keyed], true, false).1), [(keyed, own, 0)]);
    }
    for open in ["native://tracker:1", "https://tracker/announce", "udp://tracker:1", "udp://tracker:1/announce"] {
        assert_eq!(announcing("xxxxxxxx", &[open], true, false).1.len(), 2, "{open}");
    }
}

#[test]
fn a_tracker_that_does_not_want_a_meeting_is_not_asked_again() {
    let (mut bench, jobs) = announcing("xxxxxxxx", &[TRACKER], true, false);
    bench.swarm.handle_announced(bench.now, jobs[0].id, Ok(reply(8)));
    let refused = TrackerError::Refused { reason: "not tracked here".into(), retry_in: None };
    bench.swarm.handle_announced(bench.now, jobs[1].id, Err(refused));
    assert!(matches!(bench.swarm.poll_event(), Some(Event::TrackerReplied { .. })));
    assert_eq!(bench.swarm.poll_event(), None);
    let mut later = Vec::new();
    for _ in 0..4 {
        for job in announces(bench.wait(Duration::from_secs(1_900))) {
            bench.swarm.handle_announced(bench.now, job.id, Ok(reply(8)));
            later.push(job);
        }
    }
    assert!(later.len() >= 2, "the torrent goes on: {later:?}");
    assert!(later.iter().all(|job| job.announce.info_hash == InfoHash([1; 20])), "{later:?}");
}
