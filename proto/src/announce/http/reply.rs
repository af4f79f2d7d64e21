//! The answer to an announce, written and read.

use super::query::TRACKER_ID_LENGTH;
use super::{PeerForm, scan};
use crate::announce::reach::is_dialable;
use crate::announce::{AnnounceReply, PeerAddress, TrackerError, printable};
use crate::bencode::{Item, Value};
use crate::id::PeerId;
use crate::limits;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What a tracker means that says nothing of an interval.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Bencodes an answer; `downloaded` is the number of peers that have completed the torrent so far.
///
/// IPv6 peers stand in `peers6` (BEP 7) in the compact form, among the others in the dictionary form.
pub fn encode_reply(reply: &AnnounceReply, downloaded: Option<u32>, form: PeerForm) -> Vec<u8> {
    let mut entries: BTreeMap<Vec<u8>, Item> = BTreeMap::new();
    let mut add = |key: &str, item: Option<Item>| {
        if let Some(item) = item {
            entries.insert(key.into(), item);
        }
    };
    add("interval", Some(reply.interval.as_secs().into()));
    add("min interval", reply.min_interval.map(|interval| interval.as_secs().into()));
    add("complete", reply.complete.map(Item::from));
    add("incomplete", reply.incomplete.map(Item::from));
    add("downloaded", downloaded.map(Item::from));
    add("external ip", reply.external_ip.map(|ip| Item::Bytes(ip_bytes(ip.to_canonical()))));
    add("tracker id", reply.tracker_id.clone().map(Item::Bytes));
    add("warning message", reply.warning.as_deref().map(Item::from));
    if form == PeerForm::Compact {
        let (v4, v6): (Vec<_>, Vec<_>) =
            reply.peers.iter().partition(|peer| peer.address.ip().to_canonical().is_ipv4());
        add("peers", Some(compact(&v4)));
        add("peers6", (!v6.is_empty()).then(|| compact(&v6)));
    } else {
        let with_ids = form == PeerForm::Dictionary;
        add("peers", Some(Item::List(reply.peers.iter().map(|peer| dictionary(peer, with_ids)).collect())));
    }
    Item::Dictionary(entries).encode()
}

fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn compact(peers: &[&PeerAddress]) -> Item {
    let mut bytes = Vec::with_capacity(18 * peers.len());
    for peer in peers {
        bytes.extend(ip_bytes(peer.address.ip().to_canonical()));
        bytes.extend(peer.address.port().to_be_bytes());
    }
    Item::Bytes(bytes)
}

fn dictionary(peer: &PeerAddress, with_id: bool) -> Item {
    let ip = peer.address.ip().to_canonical().to_string();
    let mut entries = vec![("ip", Item::from(ip.as_str())), ("port", peer.address.port().into())];
    if let Some(id) = peer.peer_id.filter(|_| with_id) {
        entries.push(("peer id", Item::from(id.0.as_slice())));
    }
    Item::dictionary(entries)
}

/// Bencodes a refusal (BEP 3, BEP 31). `retry_in` is rounded up to minutes; [`Duration::MAX`] is never.
pub fn encode_failure(reason: &str, retry_in: Option<Duration>) -> Vec<u8> {
    let mut entries = vec![("failure reason", Item::from(reason))];
    match retry_in {
        None => {}
        Some(Duration::MAX) => entries.push(("retry in", Item::from("never"))),
        Some(time) => entries.push(("retry in", time.as_secs().div_ceil(60).into())),
    }
    Item::dictionary(entries).encode()
}

/// Reads the answer to an announce.
///
/// Peers that cannot be reached (port 0 or beyond 65,535, no unicast address, a host name) are left out, as are those
/// beyond [`limits::KNOWN_PEERS`].
///
/// # Errors
/// [`TrackerError::Refused`] for a `failure reason`, [`TrackerError::Malformed`] for what is no answer.
pub fn parse_reply(body: &[u8]) -> Result<AnnounceReply, TrackerError> {
    let document = scan(body)?;
    let root = document.root();
    check_refusal(root)?;
    let time = |key| root.get(key).map(seconds);
    let count = |key| root.get(key).and_then(|value: Value<'_>| u32::try_from(value.as_u64()?).ok());
    let mut peers = Vec::new();
    for key in [b"peers".as_slice(), b"peers6"] {
        if let Some(value) = root.get(key) {
            read_peers(value, key == b"peers6", &mut peers)?;
        }
    }
    Ok(AnnounceReply {
        interval: time(b"interval").unwrap_or(DEFAULT_INTERVAL),
        min_interval: time(b"min interval"),
        complete: count(b"complete"),
        incomplete: count(b"incomplete"),
        peers,
        external_ip: root.get(b"external ip").and_then(|value| ip_from(value.as_bytes()?)),
        tracker_id: root
            .get(b"tracker id")
            .and_then(|value| value.as_bytes())
            .filter(|id| id.len() <= TRACKER_ID_LENGTH)
            .map(<[u8]>::to_vec),
        warning: root.get(b"warning message").and_then(|value| value.as_bytes()).map(printable),
    })
}

/// `failure reason` (BEP 3) and `retry in` (BEP 31).
pub(super) fn check_refusal(root: Value<'_>) -> Result<(), TrackerError> {
    let Some(reason) = root.get(b"failure reason") else { return Ok(()) };
    let minutes = |minutes: u64| Duration::from_secs(minutes.saturating_mul(60));
    let retry_in = root.get(b"retry in").and_then(|value| match (value.as_u64(), value.as_str()) {
        (Some(number), _) => Some(minutes(number)),
        (None, Some("never")) => Some(Duration::MAX),
        (None, Some(text)) => text.parse().ok().map(minutes),
        (None, None) => None,
    });
    Err(TrackerError::Refused { reason: printable(reason.as_bytes().unwrap_or_default()), retry_in })
}

/// Negative numbers are 0, numbers beyond 64 bits the largest one: the schedule clamps both.
fn seconds(value: Value<'_>) -> Duration {
    let digits = value.raw().get(1..).unwrap_or_default();
    let overflow = if digits.starts_with(b"-") { 0 } else { u64::MAX };
    Duration::from_secs(value.as_u64().unwrap_or(overflow))
}

fn read_peers(value: Value<'_>, v6: bool, peers: &mut Vec<PeerAddress>) -> Result<(), TrackerError> {
    let room = limits::KNOWN_PEERS.saturating_sub(peers.len());
    if let Some(bytes) = value.as_bytes() {
        // What is left of a broken last entry is dropped.
        let entries = bytes.chunks_exact(if v6 { 18 } else { 6 });
        let addresses = entries.filter_map(compact_address).filter(is_dialable);
        peers.extend(addresses.take(room).map(|address| PeerAddress { address, peer_id: None }));
    } else if let Some(items) = value.items() {
        peers.extend(items.filter_map(dictionary_peer).filter(|peer| is_dialable(&peer.address)).take(room));
    } else {
        return Err(TrackerError::Malformed("its peers are neither a string nor a list".into()));
    }
    Ok(())
}

fn ip_from(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::from(Ipv6Addr::from(octets)).to_canonical()),
        _ => None,
    }
}

fn compact_address(entry: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = entry.split_last_chunk::<2>()?;
    Some(SocketAddr::new(ip_from(ip)?, u16::from_be_bytes(*port)))
}

fn dictionary_peer(value: Value<'_>) -> Option<PeerAddress> {
    let ip: IpAddr = value.get(b"ip")?.as_str()?.parse().ok()?;
    let port = u16::try_from(value.get(b"port")?.as_u64()?).ok()?;
    let peer_id = value.get(b"peer id").and_then(|id| PeerId::from_slice(id.as_bytes()?));
    Some(PeerAddress { address: SocketAddr::new(ip.to_canonical(), port), peer_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(address: &str, id: Option<[u8; 20]>) -> PeerAddress {
        PeerAddress { address: address.parse().unwrap(), peer_id: id.map(PeerId) }
    }

    fn reply() -> AnnounceReply {
        AnnounceReply {
            interval: Duration::from_secs(1_800),
            min_interval: Some(Duration::from_secs(60)),
            complete: Some(3),
            incomplete: Some(4),
            peers: vec![peer("10.0.0.1:6881", Some([65; 20])), peer("[2001:db8::1]:1", Some([66; 20]))],
            external_ip: Some("192.0.2.7".parse().unwrap()),
            tracker_id: Some(b"id".to_vec()),
            warning: Some("careful".into()),
        }
    }

    fn malformed(body: &[u8]) -> String {
        match parse_reply(body) {
            Err(TrackerError::Malformed(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_compact_form_byte_for_byte() {
        let simple = AnnounceReply {
            interval: Duration::from_secs(60),
            peers: vec![peer("1.2.3.4:258", None), peer("[::ffff:5.6.7.8]:9", None), peer("[::2]:3", None)],
            ..AnnounceReply::default()
        };
        let expected = [
            b"d8:intervali60e5:peers12:\x01\x02\x03\x04\x01\x02\x05\x06\x07\x08\x00\x096:peers618:".as_slice(),
            &[0; 15],
            b"\x02\x00\x03e",
        ];
        assert_eq!(encode_reply(&simple, None, PeerForm::Compact), expected.concat());
        let none = AnnounceReply { peers: Vec::new(), ..simple };
        assert_eq!(encode_reply(&none, Some(5), PeerForm::Compact), b"d10:downloadedi5e8:intervali60e5:peers0:e");
    }

    #[test]
    fn all_forms_are_read_again() {
        let without_ids = AnnounceReply {
            peers: reply().peers.into_iter().map(|peer| PeerAddress { peer_id: None, ..peer }).collect(),
            ..reply()
        };
        assert_eq!(parse_reply(&encode_reply(&reply(), Some(1), PeerForm::Dictionary)).unwrap(), reply());
        assert_eq!(parse_reply(&encode_reply(&reply(), None, PeerForm::DictionaryWithoutIds)).unwrap(), without_ids);
        assert_eq!(parse_reply(&encode_reply(&reply(), None, PeerForm::Compact)).unwrap(), without_ids);
    }

    #[test]
    fn refusals_carry_their_time() {
        let refused = |retry_in| Err(TrackerError::Refused { reason: "go away".into(), retry_in });
        let hour = Some(Duration::from_secs(3_600));
        assert_eq!(parse_reply(&encode_failure("go away", None)), refused(None));
        assert_eq!(parse_reply(&encode_failure("go away", hour)), refused(hour));
        assert_eq!(parse_reply(&encode_failure("go away", Some(Duration::MAX))), refused(Some(Duration::MAX)));
        assert_eq!(parse_reply(b"d14:failure reason7:go away8:retry in2:60e"), refused(hour));
        assert_eq!(parse_reply(b"d14:failure reason7:go away8:retry ini-1ee"), refused(None));
    }

    #[test]
    fn what_is_printed_is_safe_and_short() {
        let reason = [b"\x1b[2J<b>\xe2\x80\xae\n".as_slice(), &[b'x'; 400_000]].concat();
        let Err(TrackerError::Refused { reason, .. }) =
            parse_reply(&Item::dictionary([("failure reason", Item::Bytes(reason))]).encode())
        else {
            panic!("not refused")
        };
        assert!(reason.starts_with(".[2J<b>..xxx"), "{reason}");
        assert_eq!(reason.chars().count(), 250);
    }

    #[test]
    fn answers_that_are_none_are_named() {
        assert_eq!(malformed(b"\r\n<!doctype html>"), "it is HTML, not bencoding; is this the announce URL?");
        assert_eq!(malformed(b""), "it is empty");
        assert_eq!(malformed(b" \n"), "it is empty");
        assert_eq!(malformed(b"Not found"), "it is not a bencoded dictionary");
        assert_eq!(malformed(b"d8:interval"), "ends too early, at byte 11");
        assert_eq!(malformed(b"d5:peersi1ee"), "its peers are neither a string nor a list");
        assert!(malformed(&[b'd'; limits::TRACKER_REPLY_LENGTH + 1]).contains("allowed"));
        let whole = encode_reply(&reply(), Some(1), PeerForm::Dictionary);
        for end in 0..whole.len() {
            assert!(parse_reply(&whole[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn odd_values_do_no_harm() {
        let interval = |text: &str| parse_reply(format!("d8:interval{text}e").as_bytes()).unwrap().interval;
        assert_eq!(interval("i-1e"), Duration::ZERO);
        assert_eq!(interval("i9223372036854775808e"), Duration::from_secs(1 << 63));
        assert_eq!(interval("i99999999999999999999e"), Duration::from_secs(u64::MAX));
        assert_eq!(parse_reply(b"de\r\n").unwrap().interval, DEFAULT_INTERVAL);
        assert_eq!(parse_reply(b"d8:completei-5e10:incompletei4294967296ee").unwrap().complete, None);
        assert_eq!(parse_reply(b"d11:external ip3:abce").unwrap().external_ip, None);
    }

    #[test]
    fn unreachable_peers_are_left_out() {
        let good = peer("1.2.3.4:5", None);
        assert_eq!(parse_reply(b"d5:peers7:\x01\x02\x03\x04\x00\x05\x01e").unwrap().peers, [good]);
        assert_eq!(
            parse_reply(b"d5:peers18:\x01\x02\x03\x04\x00\x00\x00\x00\x00\x00\x00\x01\xe0\x00\x00\x01\x00\x01e")
                .unwrap()
                .peers,
            []
        );
        let body = b"d5:peersl\
            d2:ip7:1.2.3.44:porti5ee\
            d2:ip7:1.2.3.44:porti70000ee\
            d2:ip7:1.2.3.44:porti-5ee\
            d2:ip11:example.com4:porti5ee\
            d2:ip7:1.2.3.4e\
            i5e2:abee";
        assert_eq!(parse_reply(body).unwrap().peers, [good]);
    }

    #[test]
    fn a_million_peers_are_cut() {
        let peers = [1, 2, 3, 4, 0, 5].repeat(300_000);
        let body = Item::dictionary([("peers", Item::Bytes(peers.clone())), ("peers6", Item::Bytes(peers))]).encode();
        assert!(parse_reply(&body[..]).is_err(), "beyond the limit of bytes");
        let peers = [1, 2, 3, 4, 0, 5].repeat(40_000);
        let body = Item::dictionary([("peers", Item::Bytes(peers.clone())), ("peers6", Item::Bytes(peers))]).encode();
        assert_eq!(parse_reply(&body).unwrap().peers.len(), limits::KNOWN_PEERS);
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse_reply(&[b"d5:peers".as_slice(), &bytes].concat());
            let _ = parse_reply(&bytes);
        }
    }
}
