//! Frames of the native protocol where what clients do in the other dialects applies to it.

use crate::dialects::{Native, Trackers, announce};
use crate::set;
use swarm_proto::announce::{Announce, AnnounceEvent};
use swarm_proto::native::{PeerMessage, RefusalCode, Request, RequestId, Response, TrackerMessage};

/// What a peer says of itself at port 2, and of a torrent, key by key in the order in which it should be.
const ONLINE: [&str; 4] = ["2:idi1e", "7:peer_id20:-SW0100-abcdefghijkl", "4:porti2e", "7:versioni1e"];
const SERVE: [&str; 7] = [
    "10:downloadedi0e",
    "5:event7:started",
    "2:idi1e",
    "9:info_hash20:++++++++++++++++++++",
    "4:lefti1e",
    "8:num_wanti9e",
    "8:uploadedi0e",
];

/// The key in front of a value.
fn key(part: &str) -> &str {
    let (length, _) = part.split_once(':').unwrap();
    &part[..length.len() + 1 + length.parse::<usize>().unwrap()]
}

/// A dictionary of these.
fn body(parts: &[&str]) -> Vec<u8> {
    format!("d{}e", parts.concat()).into_bytes()
}

/// The ports that an announce in these words brought; the reason if it is refused.
async fn serve(native: &mut Native, parts: &[&str]) -> Result<Vec<u16>, (RefusalCode, String)> {
    match native.exchange(b'D', &body(parts)).await {
        TrackerMessage::Response(RequestId(1), Response::Serving(serving)) => {
            Ok(serving.list.peers.iter().map(std::net::SocketAddr::port).collect())
        }
        TrackerMessage::Refused(_, refusal) => Err((refusal.code, refusal.text)),
        other => panic!("{other:?}"),
    }
}

/// Somebody online at port 2, for whom there is a seed at port 1.
async fn newcomer(trackers: &Trackers) -> Native {
    trackers.http_good(&announce(1, 0)).await;
    let mut native = trackers.silent().await;
    let online = native.exchange(b'O', &body(&ONLINE)).await;
    assert!(matches!(online, TrackerMessage::Response(RequestId(1), Response::Online(_))), "{online:?}");
    native
}

#[tokio::test]
async fn keys_come_in_any_order_and_may_be_missing() {
    let trackers = Trackers::start().await;
    let mut native = newcomer(&trackers).await;
    for turn in 0..SERVE.len() {
        let mut turned = SERVE;
        turned.rotate_left(turn);
        assert_eq!(serve(&mut native, &turned).await, Ok(vec![1]), "{turned:?}");
        turned.reverse();
        assert_eq!(serve(&mut native, &turned).await, Ok(vec![1]), "{turned:?}");
    }
    for missing in SERVE {
        let some: Vec<&str> = SERVE.into_iter().filter(|part| *part != missing).collect();
        let needed = ["2:idi1e", SERVE[3], SERVE[4]].contains(&missing);
        match serve(&mut native, &some).await {
            Ok(ports) => assert!(!needed && ports == [1], "{missing}"),
            Err((code, text)) => {
                assert!(needed && code == RefusalCode::Malformed && text.ends_with(" is missing"), "{missing}: {text}");
            }
        }
    }
    for turn in 0..ONLINE.len() {
        let mut turned = ONLINE;
        turned.rotate_left(turn);
        let mut other = trackers.silent().await;
        let answer = other.exchange(b'O', &body(&turned)).await;
        assert!(matches!(answer, TrackerMessage::Response(..)), "{answer:?}");
        let mut other = trackers.silent().await;
        match other.exchange(b'O', &body(&turned[1..])).await {
            TrackerMessage::Refused(_, refusal) => assert_eq!(refusal.code, RefusalCode::Malformed),
            answer => panic!("{answer:?} without {}", turned[0]),
        }
    }
    assert_eq!(trackers.store.stats().peers, 2);
}

#[tokio::test]
async fn of_equal_keys_the_first_counts_and_unknown_ones_do_not() {
    let trackers = Trackers::start().await;
    let mut native = newcomer(&trackers).await;
    let long = format!("4:long4000:{}", "9".repeat(4_000));
    for more in [
        "4:lefti0e",
        "4:left4:junk",
        "9:info_hash20:xxxxxxxxxxxxxxxxxxxx",
        "9:info_hash1:x",
        "5:event7:stopped",
        "8:num_wanti0e",
        "9:INFO_HASH20:xxxxxxxxxxxxxxxxxxxx",
        "4:LEFTi0e",
        "5:Event7:stopped",
        "4:porti0e",
        "2:ip9:192.0.2.9",
        "0:0:",
        "3:\u{fffd}lld1:ai-1eeee",
        &long,
    ] {
        let parts: Vec<&str> = SERVE.into_iter().chain([more]).collect();
        assert_eq!(serve(&mut native, &parts).await, Ok(vec![1]), "{more}");
        let stats = trackers.store.stats();
        assert_eq!((stats.peers, stats.seeds, stats.torrents), (2, 1, 1), "{more}");
    }
    let named: Vec<String> = SERVE.iter().map(|part| part.replace("left", "LEFT")).collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    assert_eq!(serve(&mut native, &named).await, Err((RefusalCode::Malformed, "left is missing".into())));
}

#[tokio::test]
async fn values_that_are_none_are_refused_and_change_nothing() {
    let trackers = Trackers::start().await;
    let long = format!("20000:{}", "x".repeat(20_000));
    let wrong = [
        (1, "5:event6:paused"),
        (1, "5:event7:STARTED"),
        (1, "5:event7:stopped"),
        (1, "5:event0:"),
        (1, "5:eventi2e"),
        (3, "9:info_hash19:+++++++++++++++++++"),
        (3, "9:info_hash21:+++++++++++++++++++++"),
        (3, "9:info_hash60:%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b"),
        (3, "9:info_hash0:"),
        (4, "4:lefti-1e"),
        (4, "4:lefti18446744073709551616e"),
        (4, "4:left1:1"),
        (4, "4:lefti1"),
        (5, "8:num_wanti-1e"),
        (5, "8:num_wanti4294967296e"),
        (6, "8:uploadedle"),
    ];
    for (at, value) in wrong {
        // So many refusals that one connection would not have them all.
        let mut native = newcomer(&trackers).await;
        let mut parts = SERVE;
        parts[at] = value;
        assert_eq!(
            serve(&mut native, &parts).await.map_err(|refusal| refusal.0),
            Err(RefusalCode::Malformed),
            "{value}"
        );
        parts[at] = SERVE[at];
        let stretched = format!("{}{long}", key(SERVE[at]));
        parts[at] = &stretched;
        assert!(serve(&mut native, &parts).await.is_err(), "{value}");
        assert_eq!(trackers.store.stats().peers, 1, "{value}");
        assert_eq!(serve(&mut native, &SERVE).await, Ok(vec![1]), "the connection goes on");
        native.exchange(b'X', &body(&[SERVE[2], SERVE[3]])).await;
    }
    for (at, value) in
        [(2, "4:porti65536e"), (2, "4:porti-1e"), (2, "4:port4:6881"), (1, "7:peer_id0:"), (3, "7:versioni0e")]
    {
        let mut parts = ONLINE;
        parts[at] = value;
        let mut native = trackers.silent().await;
        let answer = native.exchange(b'O', &body(&parts)).await;
        assert!(matches!(answer, TrackerMessage::Refused(..)), "{value}: {answer:?}");
    }
}

#[tokio::test]
async fn every_byte_may_stand_in_a_hash_as_it_is() {
    let trackers = Trackers::start().await;
    let mut native = newcomer(&trackers).await;
    for byte in 0..=u8::MAX {
        let hash = [byte; 20];
        let parts = [b"d2:idi1e9:info_hash20:".as_slice(), &hash, b"4:lefti1ee"].concat();
        let answer = native.exchange(b'D', &parts).await;
        assert!(matches!(answer, TrackerMessage::Response(_, Response::Serving(_))), "{byte}: {answer:?}");
    }
    let stats = trackers.store.stats();
    // The torrent of the seed is one of them.
    assert_eq!((stats.torrents, stats.peers), (256, 257));
}

#[tokio::test]
async fn many_torrents_and_none_are_asked_for_without_being_served() {
    let trackers = Trackers::start().await;
    let mut native = newcomer(&trackers).await;
    let ask = |n: u8| [b"d2:idi1e9:info_hash20:".as_slice(), &[n; 20], b"8:num_wanti0ee"].concat();
    // Without waiting for an answer.
    for n in 0..74 {
        let (ask, length) = (ask(n), u32::try_from(5 + ask(n).len()).unwrap().to_be_bytes());
        native.say(&[b"P", length.as_slice(), &ask].concat()).await;
    }
    let mut seeds = 0;
    for n in 0..74 {
        match native.message().await {
            TrackerMessage::Response(_, Response::Peers(list)) => {
                assert!(list.peers.is_empty(), "{n}");
                seeds += list.complete;
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(seeds, 1);
    match native.exchange(b'P', b"d2:idi1ee").await {
        TrackerMessage::Response(_, Response::Peers(list)) => assert_eq!((list.complete, list.incomplete), (1, 0)),
        other => panic!("{other:?}"),
    }
    assert_eq!(trackers.store.stats().torrents, 1, "who is only asked for is not there");
}

#[tokio::test]
async fn counts_beyond_all_measure_are_taken_as_they_are() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    let mut native = trackers.native(2).await;
    for (left, seeds) in [(u64::MAX, 1), (0, 2), (1, 1)] {
        let announce =
            Announce { uploaded: u64::MAX, downloaded: u64::MAX, event: AnnounceEvent::Completed, ..announce(2, left) };
        assert_eq!(native.good(&announce).await.complete, seeds);
    }
    assert_eq!(trackers.udp_good(&announce(3, 1)).await.ports, set([1, 2]));
}

#[tokio::test]
async fn a_frame_in_drops_is_a_frame_and_one_that_cannot_be_read_spoils_no_other() {
    let trackers = Trackers::start().await;
    let mut native = trackers.native(2).await;
    let frame = PeerMessage::Request(RequestId(70), Request::Alive).encode();
    for byte in &frame {
        native.say(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(matches!(native.message().await, TrackerMessage::Response(RequestId(70), Response::Alive)));
    let both = PeerMessage::Request(RequestId(71), Request::Alive).encode();
    let broken = b"A\0\0\0\x0bd2:ide";
    let unknown = b"z\0\0\0\x07de";
    native.say(&[frame.as_slice(), broken, unknown, &both].concat()).await;
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(match native.message().await {
            TrackerMessage::Response(RequestId(id), Response::Alive) => Ok(id),
            TrackerMessage::Refused(None, refusal) => Err(refusal.code),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(heard, [Ok(70), Err(RefusalCode::Malformed), Err(RefusalCode::UnknownOpcode), Ok(71)]);
    // A body within which the frame ends: every shorter one is refused for itself.
    let whole = body(&SERVE);
    for length in [0, 1, 2, 9, 40, whole.len() - 1] {
        let answer = native.exchange(b'D', &whole[..length]).await;
        assert!(matches!(answer, TrackerMessage::Refused(..)), "{length}: {answer:?}");
    }
    assert_eq!(serve(&mut native, &SERVE).await.map(|_| ()), Ok(()));
    // Lengths that no frame has end the connection.
    for length in [0_u32, 4, u32::MAX] {
        let mut native = trackers.native(2).await;
        native.say(&[b"D".as_slice(), &length.to_be_bytes()].concat()).await;
        let answer = native.message().await;
        assert!(matches!(answer, TrackerMessage::Refused(None, refusal) if refusal.code == RefusalCode::FrameLength));
        assert!(native.ends().await, "{length}");
    }
}
