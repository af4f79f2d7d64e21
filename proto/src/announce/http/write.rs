//! Answers, written straight into a buffer: what a server does some 100,000 times a second.
//!
//! The keys stand here in their order; `encode_reply` and its like, which sort them, are the measure in the tests.

use super::PeerForm;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Bytes of a peer in the order of the network: address and port (BEP 23, BEP 7).
const V4_LENGTH: usize = 6;
const V6_LENGTH: usize = 18;

/// What an answer says beside its peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHead {
    /// Time until the next regular announce.
    pub interval: Duration,
    /// Time before which no announce may come.
    pub min_interval: Duration,
    /// Seeds in the swarm.
    pub complete: u32,
    /// Leechers in the swarm.
    pub incomplete: u32,
    /// Peers that have completed the torrent so far.
    pub downloaded: u32,
    /// Whom the tracker takes the asker for (BEP 24).
    pub external_ip: IpAddr,
}

/// Appends the bencoded answer to an announce. The peers come in the order of the network, 6 bytes each in `v4` and 18 in
/// `v6`; what is left of a broken last one is dropped. In the dictionary forms they have no ids.
pub fn write_reply(out: &mut Vec<u8>, head: &ReplyHead, v4: &[u8], v6: &[u8], form: PeerForm) {
    out.extend_from_slice(b"d8:complete");
    integer(out, head.complete.into());
    out.extend_from_slice(b"10:downloaded");
    integer(out, head.downloaded.into());
    out.extend_from_slice(b"11:external ip");
    match head.external_ip.to_canonical() {
        IpAddr::V4(ip) => string(out, &ip.octets()),
        IpAddr::V6(ip) => string(out, &ip.octets()),
    }
    out.extend_from_slice(b"10:incomplete");
    integer(out, head.incomplete.into());
    out.extend_from_slice(b"8:interval");
    integer(out, head.interval.as_secs());
    out.extend_from_slice(b"12:min interval");
    integer(out, head.min_interval.as_secs());
    out.extend_from_slice(b"5:peers");
    let (v4, v6) = (whole(v4, V4_LENGTH), whole(v6, V6_LENGTH));
    if form == PeerForm::Compact {
        string(out, v4);
        if !v6.is_empty() {
            out.extend_from_slice(b"6:peers6");
            string(out, v6);
        }
    } else {
        dictionaries(out, v4, v6);
    }
    out.push(b'e');
}

/// Appends a bencoded refusal (BEP 3, BEP 31). `retry_in` is rounded up to minutes, [`Duration::MAX`] is never; the
/// interval is for the many clients that know no `retry in`.
pub fn write_failure(out: &mut Vec<u8>, reason: &str, interval: Option<Duration>, retry_in: Option<Duration>) {
    out.extend_from_slice(b"d14:failure reason");
    string(out, reason.as_bytes());
    if let Some(interval) = interval {
        out.extend_from_slice(b"8:interval");
        integer(out, interval.as_secs());
    }
    match retry_in {
        None => {}
        Some(Duration::MAX) => out.extend_from_slice(b"8:retry in5:never"),
        Some(time) => {
            out.extend_from_slice(b"8:retry in");
            integer(out, time.as_secs().div_ceil(60));
        }
    }
    out.push(b'e');
}

fn whole(peers: &[u8], length: usize) -> &[u8] {
    peers.get(..peers.len() - peers.len() % length).unwrap_or_default()
}

/// A dictionary a peer (BEP 3), both families in one list.
fn dictionaries(out: &mut Vec<u8>, v4: &[u8], v6: &[u8]) {
    out.push(b'l');
    let v4 = v4.chunks_exact(V4_LENGTH).filter_map(|peer| {
        let (ip, port) = peer.split_last_chunk::<2>()?;
        Some((IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)), *port))
    });
    let v6 = v6.chunks_exact(V6_LENGTH).filter_map(|peer| {
        let (ip, port) = peer.split_last_chunk::<2>()?;
        Some((IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)), *port))
    });
    for (ip, port) in v4.chain(v6) {
        out.extend_from_slice(b"d2:ip");
        string(out, ip.to_string().as_bytes());
        out.extend_from_slice(b"4:port");
        integer(out, u16::from_be_bytes(port).into());
        out.push(b'e');
    }
    out.push(b'e');
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    decimal(out, bytes.len() as u64);
    out.push(b':');
    out.extend_from_slice(bytes);
}

fn integer(out: &mut Vec<u8>, number: u64) {
    out.push(b'i');
    decimal(out, number);
    out.push(b'e');
}

/// Appends a number in decimal digits, as they stand in bencoding and in the length of a body.
pub fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789".get((number % 10) as usize).copied().unwrap_or(b'0');
        number /= 10;
        first -= 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::super::{encode_failure, encode_reply};
    use super::*;
    use crate::announce::{AnnounceReply, PeerAddress};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    fn bytes_of(peers: &[SocketAddr]) -> (Vec<u8>, Vec<u8>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for peer in peers {
            match peer.ip() {
                IpAddr::V4(ip) => v4.extend(ip.octets().into_iter().chain(peer.port().to_be_bytes())),
                IpAddr::V6(ip) => v6.extend(ip.octets().into_iter().chain(peer.port().to_be_bytes())),
            }
        }
        (v4, v6)
    }

    #[test]
    fn refusals_say_when_to_come_again_in_both_ways() {
        let written = |interval, retry_in| {
            let mut out = Vec::new();
            write_failure(&mut out, "no", interval, retry_in);
            String::from_utf8(out).unwrap()
        };
        let minutes = |n: u64| Some(Duration::from_secs(60 * n));
        assert_eq!(
            written(minutes(5), Some(Duration::from_secs(61))),
            "d14:failure reason2:no8:intervali300e8:retry ini2ee"
        );
        assert_eq!(written(minutes(5), Some(Duration::MAX)), "d14:failure reason2:no8:intervali300e8:retry in5:nevere");
        for retry_in in [None, minutes(0), minutes(7), Some(Duration::MAX)] {
            assert_eq!(written(None, retry_in).as_bytes(), encode_failure("no", retry_in));
        }
    }

    #[test]
    fn what_is_left_of_a_peer_is_dropped() {
        let head = ReplyHead {
            interval: Duration::ZERO,
            min_interval: Duration::ZERO,
            complete: 0,
            incomplete: 0,
            downloaded: 0,
            external_ip: [192, 0, 2, 1].into(),
        };
        let mut out = Vec::new();
        write_reply(&mut out, &head, &[1; 11], &[2; 17], PeerForm::Compact);
        assert!(out.ends_with(b"5:peers6:\x01\x01\x01\x01\x01\x01e"), "{out:?}");
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_elsewhere(number: u64, shift in 0_u32..64) {
            let mut out = Vec::new();
            decimal(&mut out, number >> shift);
            prop_assert_eq!(out, (number >> shift).to_string().into_bytes());
        }

        /// Byte for byte what comes of sorting the keys.
        #[test]
        fn an_answer_is_the_one_that_is_sorted(
            v4 in prop::collection::vec(any::<([u8; 4], u16)>(), 0..40),
            v6 in prop::collection::vec(any::<([u8; 16], u16)>().prop_filter("IPv6", |(ip, _)| !ip.starts_with(&[0; 10])), 0..5),
            counts: (u32, u32, u32), times: (u64, u64), ip: std::net::IpAddr,
        ) {
            let (interval, min_interval) = (Duration::from_secs(times.0), Duration::from_secs(times.1));
            let (complete, incomplete, downloaded) = counts;
            let head = ReplyHead { interval, min_interval, complete, incomplete, downloaded, external_ip: ip };
            let peers: Vec<SocketAddr> =
                v4.into_iter().map(SocketAddr::from).chain(v6.into_iter().map(SocketAddr::from)).collect();
            let reply = AnnounceReply {
                interval,
                min_interval: Some(min_interval),
                complete: Some(complete),
                incomplete: Some(incomplete),
                peers: peers.iter().map(|&address| PeerAddress { address, peer_id: None }).collect(),
                external_ip: Some(ip),
                tracker_id: None,
                warning: None,
            };
            let (v4, v6) = bytes_of(&peers);
            for form in [PeerForm::Compact, PeerForm::Dictionary, PeerForm::DictionaryWithoutIds] {
                let mut out = Vec::new();
                write_reply(&mut out, &head, &v4, &v6, form);
                prop_assert_eq!(&out, &encode_reply(&reply, Some(downloaded), form));
            }
        }
    }
}
