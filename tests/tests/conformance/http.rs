//! Queries over HTTP.

use crate::dialects::{Trackers, announce, query};
use crate::set;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use swarm_proto::announce::http::{parse_reply, parse_scrape};
use swarm_proto::announce::{Announce, AnnounceEvent, PeerAddress};
use swarm_proto::id::InfoHash;
use swarm_tracker_core::{Store, StoreConfig};
use swarm_tracker_http::{HttpHandle, HttpTrackerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

const HASH: &str = "info_hash=%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b%2b";
const ID: &str = "peer_id=-TR3000-abcdefghijkl";
const PORT: &str = "port=9";

/// All that an announce of the wild has.
fn parameters() -> Vec<String> {
    let rest = "uploaded=1 downloaded=2 left=3 compact=1 no_peer_id=1 numwant=80 key=0A1b event=started \
                supportcrypto=1 requirecrypto=0 corrupt=0 redundant=0 trackerid= ipv6=2001%3Adb8%3A%3A1 azudp=6881";
    [HASH, ID, PORT].into_iter().chain(rest.split(' ')).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn target(parameters: &[String]) -> String {
    format!("/announce?{}", parameters.join("&"))
}

#[tokio::test]
async fn parameters_come_in_any_order_and_may_be_missing() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    let all = parameters();
    for turn in 0..all.len() {
        let mut turned = all.clone();
        turned.rotate_left(turn);
        assert_eq!(trackers.http(target(&turned)).await.unwrap().ports, set([1]), "{turned:?}");
        turned.reverse();
        assert_eq!(trackers.http(target(&turned)).await.unwrap().ports, set([1]), "{turned:?}");
    }
    for missing in 0..all.len() {
        let mut some = all.clone();
        let gone = some.remove(missing);
        let name = gone.split('=').next().unwrap();
        match trackers.http(target(&some)).await {
            Ok(found) => assert!(missing >= 3 && found.ports == set([1]), "{gone}"),
            Err(reason) => assert_eq!((reason, missing < 3), (format!("{name} is missing"), true)),
        }
    }
    assert_eq!(trackers.store.stats().peers, 2);
}

#[tokio::test]
async fn of_duplicates_the_first_counts_and_names_are_lower_case() {
    let trackers = Trackers::start().await;
    let whole = format!("/announce?{HASH}&{ID}&{PORT}&left=0");
    for twice in ["port=10", "left=5", "info_hash=x", "peer_id=x", "port=0", "event=stopped&event=started"] {
        trackers.http(format!("{whole}&event=started&{twice}")).await.unwrap();
    }
    let stats = trackers.store.stats();
    assert_eq!((stats.peers, stats.seeds, stats.torrents), (1, 1, 1));
    for (upper, reason) in [
        (whole.replace("info_hash", "INFO_HASH"), "info_hash is missing"),
        (whole.replace("peer_id", "Peer_Id"), "peer_id is missing"),
        (whole.replace("port", "PORT"), "port is missing"),
    ] {
        assert_eq!(trackers.http(upper).await.unwrap_err(), reason);
    }
    // Upper-case escapes, and an event in capitals, which is none.
    trackers.http(whole.replace("%2b", "%2B") + "&event=STOPPED").await.unwrap();
    assert_eq!(trackers.store.stats().peers, 1);
}

#[tokio::test]
async fn what_is_too_long_or_no_value_is_unknown_or_refused() {
    let trackers = Trackers::start().await;
    let whole = format!("/announce?{HASH}&{ID}&{PORT}");
    let long = "9".repeat(2_000);
    for more in [
        format!("left={long}"),
        format!("numwant={long}"),
        format!("event={long}"),
        format!("key={long}"),
        format!("ip={long}"),
        format!("trackerid={long}"),
        format!("{long}={long}"),
        format!("compact={long}"),
        "left=-1".into(),
        "left=".into(),
        "left=1e3".into(),
        "numwant=-1".into(),
        "uploaded=-9223372036854775809".into(),
        "event=paused".into(),
        "event".into(),
        "&&&=&=&&".into(),
        "a=b=c".into(),
        "%=%".into(),
        "key=g".into(),
        "compact=2".into(),
    ] {
        let found = trackers.http(format!("{whole}&{more}")).await.unwrap_or_else(|reason| panic!("{more}: {reason}"));
        assert_eq!((found.complete, found.incomplete), (0, 1), "{more}: it is no seed");
    }
    for (wrong, reason) in [
        (whole.replace("%2b&", "&"), "info_hash is invalid"),
        (whole.replace("%2b&", "%2b%2b&"), "info_hash is invalid"),
        (whole.replace("%2b&", "%2&"), "info_hash is invalid"),
        (whole.replace(ID, "peer_id="), "peer_id is invalid"),
        (whole.replace(ID, &format!("peer_id={long}")), "peer_id is invalid"),
        (whole.replace(PORT, "port=65536"), "port is invalid"),
        (whole.replace(PORT, "port=-1"), "port is invalid"),
        (whole.replace(PORT, "port=6881.0"), "port is invalid"),
        (whole.replace(PORT, "port=%20%36"), "port is invalid"),
    ] {
        assert_eq!(trackers.http(&wrong).await.unwrap_err(), reason, "{wrong}");
    }
    let (head, _) = trackers.raw(format!("GET {whole}&x={} HTTP/1.1\r\n\r\n", "y".repeat(9_000)).as_bytes()).await;
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    assert_eq!(trackers.store.stats().peers, 1);
}

#[tokio::test]
async fn a_byte_means_the_same_escaped_or_plain() {
    let trackers = Trackers::start().await;
    for byte in 0..=u8::MAX {
        let of =
            |escaped: &str, port: u16| format!("/announce?info_hash={}&{ID}&port={port}&left=1", escaped.repeat(20));
        trackers.http(of(&format!("%{byte:02x}"), 1)).await.unwrap();
        trackers.http(of(&format!("%{byte:02X}"), 1)).await.unwrap();
        // As it is, where a request line can hold it and the query goes on behind it.
        if byte.is_ascii_graphic() && !b"&#\"<>%".contains(&byte) {
            trackers.http(of(&char::from(byte).to_string(), 1)).await.unwrap();
        }
    }
    let stats = trackers.store.stats();
    assert_eq!((stats.torrents, stats.peers), (256, 256));
}

#[tokio::test]
async fn names_and_values_mean_the_same_when_every_byte_is_escaped() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    // Values that are escaped already stay as they are.
    let value = |text: &str| if text.contains('%') { text.to_owned() } else { escape(text) };
    let all: Vec<(String, String)> = parameters()
        .iter()
        .filter_map(|part| part.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    for (names, values) in [(true, false), (false, true), (true, true)] {
        let pairs = all.iter().map(|(name, text)| {
            let name = if names { escape(name) } else { name.clone() };
            format!("{name}={}", if values { value(text) } else { text.clone() })
        });
        let found = trackers.http(format!("/announce?{}", pairs.collect::<Vec<_>>().join("&"))).await.unwrap();
        assert_eq!((found.ports, found.complete, found.incomplete), (set([1]), 1, 1), "{names}, {values}");
    }
    // The first counts, however it is written; an escaped `&` or `=` parts nothing.
    let whole = format!("/announce?{HASH}&{ID}&{PORT}&left=0");
    for behind in ["%70ort=10", "left%3D5", "%26left=5", "event%3dstopped"] {
        assert_eq!(trackers.http(format!("{whole}&{behind}")).await.unwrap().complete, 2, "{behind}");
    }
    trackers.http(format!("{whole}&%65vent=%73topped")).await.unwrap();
    assert_eq!(trackers.store.stats().peers, 1);
    let scrape = trackers.get(format!("/scrape?{}={}", escape("info_hash"), "%2b".repeat(20))).await;
    assert_eq!(parse_scrape(&scrape).unwrap()[0].1.complete, 1);
}

#[tokio::test]
async fn scrapes_are_as_odd_as_announces() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    let other = HASH.replace("%2b", "%07");
    let long = "9".repeat(1_000);
    for (query, torrents, seeds) in [
        (format!("{HASH}&{HASH}&{HASH}"), 1, 1),
        (format!("{other}&{HASH}"), 2, 1),
        (format!("x=y&{HASH}&{ID}&{PORT}&compact=0"), 1, 1),
        (format!("&&{HASH}&&=&a&"), 1, 1),
        (format!("INFO_HASH={}&{HASH}", "%07".repeat(20)), 1, 1),
        (HASH.replace("%2b", "%2B"), 1, 1),
        (HASH.replace("%2b", "+"), 1, 1),
        (format!("{long}={long}&{HASH}"), 1, 1),
    ] {
        let entries = parse_scrape(&trackers.get(format!("/scrape?{query}")).await).unwrap();
        let found: u32 = entries.iter().map(|(_, entry)| entry.complete).sum();
        assert_eq!((entries.len(), found), (torrents, seeds), "{query}");
    }
    for wrong in [
        HASH.to_uppercase().replace("%2B", "%2b"),
        format!("{HASH}&info_hash=x"),
        format!("{HASH}&info_hash={long}"),
        HASH.replace("%2b", "%2"),
    ] {
        let body = trackers.get(format!("/scrape?{wrong}")).await;
        assert!(parse_scrape(&body).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn answers_are_compact_unless_asked_otherwise() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    let asked = |more: &str| format!("/announce?{HASH}&{ID}&port=2&left=1{more}");
    for compact in ["", "&compact=1", "&compact=", "&compact=x", "&no_peer_id=1"] {
        let body = trackers.get(asked(compact)).await;
        assert!(body.ends_with(b"5:peers6:\x7f\0\0\x01\0\x01e"), "{compact}: {body:?}");
        assert!(body.windows(20).any(|bytes| bytes == b"11:external ip4:\x7f\0\0\x01"), "{body:?}");
    }
    for dictionary in ["&compact=0", "&compact=%30", "&compact=0&compact=1", "&compact=0&no_peer_id=1"] {
        let body = trackers.get(asked(dictionary)).await;
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("5:peersld2:ip9:127.0.0.1") && text.ends_with("4:porti1eeee"), "{text}");
        let reply = parse_reply(&body).unwrap();
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert!(matches!(reply.peers[..], [PeerAddress { address: found, .. }] if found == address));
    }
}

#[tokio::test]
async fn scrapes_name_one_to_seventy_four_torrents() {
    let trackers = Trackers::start().await;
    trackers.http_good(&Announce { info_hash: InfoHash([7; 20]), ..announce(1, 0) }).await;
    let hash = |n: u8| format!("info_hash={}", format!("%{n:02x}").repeat(20));
    let scrape = |count: u8| format!("/scrape?{}", (0..count).map(hash).collect::<Vec<_>>().join("&"));
    for count in [1, 2, 74] {
        let entries = parse_scrape(&trackers.get(scrape(count)).await).unwrap();
        assert_eq!(entries.len(), usize::from(count));
        let seeds: u32 = entries.iter().map(|(_, entry)| entry.complete).sum();
        assert_eq!(seeds, u32::from(count > 7));
    }
    let refused = async |target: String| match parse_scrape(&trackers.get(target).await) {
        Err(swarm_proto::announce::TrackerError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused("/scrape".into()).await, "info_hash is missing");
    assert_eq!(refused("/scrape?".into()).await, "info_hash is missing");
    assert_eq!(refused("/scrape?info_hash=".into()).await, "info_hash is invalid");
    assert_eq!(refused(scrape(75)).await, "too many hashes in one scrape");
    assert_eq!(trackers.store.stats().torrents, 1, "who is only asked for is not there");
}

#[tokio::test]
async fn events_and_counts_are_kept_as_they_come() {
    let trackers = Trackers::start().await;
    let say =
        async |event: AnnounceEvent, left: u64| trackers.http_good(&Announce { event, ..announce(1, left) }).await;
    // `completed` twice, and as a leecher.
    for (event, left) in [
        (AnnounceEvent::Started, 5),
        (AnnounceEvent::Completed, 5),
        (AnnounceEvent::Completed, 0),
        (AnnounceEvent::Completed, 0),
        (AnnounceEvent::Regular, 0),
    ] {
        say(event, left).await;
    }
    let hash = query(&announce(1, 0));
    let hash = hash.split(['?', '&']).nth(1).unwrap();
    let entries = parse_scrape(&trackers.get(format!("/scrape?{hash}")).await).unwrap();
    assert_eq!((entries[0].1.complete, entries[0].1.incomplete, entries[0].1.downloaded), (1, 0, 1));
}

#[tokio::test]
async fn both_families_come_in_one_answer() {
    let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
    let handle = HttpHandle::new(HttpTrackerConfig::default(), store);
    let ask = async |from: &str, target: String| {
        let (mut near, far) = duplex(1 << 16);
        let request = format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n");
        near.write_all(request.as_bytes()).await.unwrap();
        handle.serve_connection(far, from.parse().unwrap()).await;
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        answer.split_off(body)
    };
    ask("198.51.100.1:5000", query(&announce(1, 0))).await;
    ask("[::ffff:198.51.100.2]:5000", query(&announce(2, 0))).await;
    ask("[2001:db8::3]:5000", query(&announce(3, 0))).await;
    for from in ["198.51.100.4:5000", "[2001:db8::4]:5000"] {
        let body = ask(from, query(&announce(4, 1))).await;
        let (v4, v6) = (b"5:peers12:".as_slice(), b"6:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x03\0\x03e");
        assert!(body.windows(v4.len()).any(|bytes| bytes == v4) && body.ends_with(v6), "{body:?}");
        let reply = parse_reply(&body).unwrap();
        assert_eq!(reply.peers.len(), 3);
        assert_eq!(reply.external_ip, Some(from.parse::<SocketAddr>().unwrap().ip()));
        // One of each asks again, and is told of the others.
        ask(from, query(&Announce { event: AnnounceEvent::Stopped, ..announce(4, 1) })).await;
    }
}
