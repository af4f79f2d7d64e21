//! What two people say to each other: the bytes within a `direct` message, and those within the encryption.
//!
//! ```text
//! request: 1 | id 16 | kind 1 | first message of the handshake
//! ringing: 2 | id 16
//! accept:  3 | id 16 | second message of the handshake
//! decline: 4 | id 16 | reason 1
//! sealed:  5 | id 16 | number 8 | encrypted
//!
//! encrypted: text    1 | number 8 | time 8 | text
//!            ack     2 | next number that is expected 8
//!            hang up 3 | number 8
//!            data    4 | number 8 | last 1 | bytes
//!            report  5 | number 8 | state 1 | bytes that are there 8
//!            reach   6 | number 8 | port 2 | addresses
//! ```

use super::bytes::{Reader, prefix, put_short_text};
use super::contract::{Offer, Reach, RequestId, TransferState};
use super::text::shown_name;
use crate::id::InfoHash;
use crate::limits;
use std::net::IpAddr;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Call,
    Offer,
}

/// Why there is no channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    /// Somebody said no.
    Declined,
    /// Too much is going on.
    Busy,
    /// The caller takes it back, or has waited for too long.
    TakenBack,
    /// There is no such call any more.
    Gone,
}

/// What a `direct` message carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Payload {
    Request { id: RequestId, kind: Kind, handshake: Vec<u8> },
    Ringing { id: RequestId },
    Accept { id: RequestId, handshake: Vec<u8> },
    Decline { id: RequestId, reason: Reason },
    Sealed { id: RequestId, nonce: u64, sealed: Vec<u8> },
}

/// What is encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Inner {
    Text { number: u64, time_ms: u64, text: String },
    Ack { expected: u64 },
    HangUp { number: u64 },
    Data { number: u64, last: bool, bytes: Vec<u8> },
    Report { number: u64, state: TransferState, have: u64 },
    Reach { number: u64, reach: Reach },
}

impl Kind {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Call => 1,
            Self::Offer => 2,
        }
    }
}

impl Payload {
    pub(super) fn encode(&self) -> Vec<u8> {
        let head = |kind: u8, id: &RequestId| [&[kind], &id.0[..]].concat();
        match self {
            Self::Request { id, kind, handshake } => [head(1, id), vec![kind.byte()], handshake.clone()].concat(),
            Self::Ringing { id } => head(2, id),
            Self::Accept { id, handshake } => [head(3, id), handshake.clone()].concat(),
            Self::Decline { id, reason } => {
                let reason = match reason {
                    Reason::Declined => 0,
                    Reason::Busy => 1,
                    Reason::TakenBack => 2,
                    Reason::Gone => 3,
                };
                [head(4, id), vec![reason]].concat()
            }
            Self::Sealed { id, nonce, sealed } => [head(5, id), nonce.to_be_bytes().to_vec(), sealed.clone()].concat(),
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let kind = reader.byte()?;
        let id = RequestId(reader.array()?);
        Some(match kind {
            1 => {
                let kind = match reader.byte()? {
                    1 => Kind::Call,
                    2 => Kind::Offer,
                    _ => return None,
                };
                Self::Request { id, kind, handshake: reader.rest().to_vec() }
            }
            2 => {
                reader.end()?;
                Self::Ringing { id }
            }
            3 => Self::Accept { id, handshake: reader.rest().to_vec() },
            4 => {
                let reason = match reader.byte()? {
                    0 => Reason::Declined,
                    1 => Reason::Busy,
                    2 => Reason::TakenBack,
                    3 => Reason::Gone,
                    _ => return None,
                };
                reader.end()?;
                Self::Decline { id, reason }
            }
            5 => Self::Sealed { id, nonce: reader.u64()?, sealed: reader.rest().to_vec() },
            _ => return None,
        })
    }
}

impl Inner {
    pub(super) fn encode(&self) -> Vec<u8> {
        let head = |kind: u8, number: &u64| [&[kind], &number.to_be_bytes()[..]].concat();
        match self {
            Self::Text { number, time_ms, text } => {
                [head(1, number), time_ms.to_be_bytes().to_vec(), text.as_bytes().to_vec()].concat()
            }
            Self::Ack { expected } => head(2, expected),
            Self::HangUp { number } => head(3, number),
            Self::Data { number, last, bytes } => [head(4, number), vec![u8::from(*last)], bytes.clone()].concat(),
            Self::Report { number, state, have } => {
                let state = match state {
                    TransferState::Checking => 0,
                    TransferState::Waiting => 1,
                    TransferState::Fetching => 2,
                    TransferState::Complete => 3,
                    TransferState::GivenUp => 4,
                };
                [head(5, number), vec![state], have.to_be_bytes().to_vec()].concat()
            }
            Self::Reach { number, reach } => {
                let mut out = [head(6, number), reach.port.to_be_bytes().to_vec()].concat();
                put_addresses(&mut out, &reach.addresses);
                out
            }
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let kind = reader.byte()?;
        let number = reader.u64()?;
        Some(match kind {
            1 => {
                let time_ms = reader.u64()?;
                let text = std::str::from_utf8(reader.rest()).ok()?;
                if text.is_empty() || text.len() > limits::CHAT_TEXT_LENGTH {
                    return None;
                }
                Self::Text { number, time_ms, text: text.to_owned() }
            }
            2 => {
                reader.end()?;
                Self::Ack { expected: number }
            }
            3 => {
                reader.end()?;
                Self::HangUp { number }
            }
            4 => {
                let last = match reader.byte()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Self::Data { number, last, bytes: reader.rest().to_vec() }
            }
            5 => {
                let state = match reader.byte()? {
                    0 => TransferState::Checking,
                    1 => TransferState::Waiting,
                    2 => TransferState::Fetching,
                    3 => TransferState::Complete,
                    4 => TransferState::GivenUp,
                    _ => return None,
                };
                let have = reader.u64()?;
                reader.end()?;
                Self::Report { number, state, have }
            }
            6 => {
                let port = reader.u16().filter(|&port| port != 0)?;
                let addresses = read_addresses(&mut reader)?;
                // One encoding: what nobody would be told is not told.
                if addresses.iter().any(|ip| !can_be_told(ip)) {
                    return None;
                }
                Self::Reach { number, reach: Reach { port, addresses } }
            }
            _ => return None,
        })
    }
}

/// Addresses that somebody may have.
fn can_be_told(ip: &IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && ip.to_canonical() == *ip
}

fn put_addresses(out: &mut Vec<u8>, addresses: &[IpAddr]) {
    for address in addresses.iter().map(IpAddr::to_canonical).filter(can_be_told).take(limits::CHAT_ADDRESSES) {
        match address {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
    }
}

/// The addresses up to the end: not too many, and each of a known family.
fn read_addresses(reader: &mut Reader<'_>) -> Option<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    while !reader.rest().is_empty() && addresses.len() < limits::CHAT_ADDRESSES {
        addresses.push(match reader.byte()? {
            4 => IpAddr::from(reader.array::<4>()?),
            6 => IpAddr::from(reader.array::<16>()?),
            _ => return None,
        });
    }
    reader.end()?;
    Some(addresses)
}

/// The bytes of an offer.
pub(super) fn encode_offer(offer: &Offer) -> Vec<u8> {
    let mut out = offer.info_hash.0.to_vec();
    out.extend_from_slice(&offer.total_length.to_be_bytes());
    out.extend_from_slice(&offer.files.to_be_bytes());
    out.extend_from_slice(&offer.port.to_be_bytes());
    put_short_text(&mut out, prefix(&offer.name, limits::PATH_ELEMENT_LENGTH));
    put_addresses(&mut out, &offer.addresses);
    out
}

/// Reads an offer; its name is made safe.
pub(super) fn parse_offer(bytes: &[u8]) -> Option<Offer> {
    let mut reader = Reader::new(bytes);
    let info_hash = InfoHash(reader.array()?);
    let (total_length, files) = (reader.u64()?, reader.u32()?);
    let port = reader.u16().filter(|&port| port != 0)?;
    let name = shown_name(reader.short_text()?);
    let mut addresses = read_addresses(&mut reader)?;
    addresses.retain(|ip| !ip.is_unspecified() && !ip.is_multicast());
    Some(Offer { info_hash, name, total_length, files, port, addresses })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn payloads_round_trip() {
        let id = RequestId([3; 16]);
        let handshake = vec![1, 2, 3];
        let reasons = [Reason::Declined, Reason::Busy, Reason::TakenBack, Reason::Gone];
        let mut payloads: Vec<Payload> = reasons.iter().map(|&reason| Payload::Decline { id, reason }).collect();
        for kind in [Kind::Call, Kind::Offer] {
            payloads.push(Payload::Request { id, kind, handshake: handshake.clone() });
        }
        payloads.push(Payload::Ringing { id });
        payloads.push(Payload::Accept { id, handshake: handshake.clone() });
        payloads.push(Payload::Sealed { id, nonce: u64::MAX, sealed: handshake });
        for payload in payloads {
            let bytes = payload.encode();
            assert_eq!(Payload::parse(&bytes), Some(payload));
            for end in 0..17 {
                assert_eq!(Payload::parse(&bytes[..end]), None);
            }
        }
    }

    #[test]
    fn what_is_encrypted_round_trips() {
        let text = "ü\n".to_owned();
        let inner = [
            Inner::Text { number: 1, time_ms: 2, text },
            Inner::Ack { expected: u64::MAX },
            Inner::HangUp { number: 9 },
            Inner::Data { number: 0, last: true, bytes: vec![0; 3] },
            Inner::Report { number: 7, state: TransferState::Fetching, have: u64::MAX },
            Inner::Report { number: 8, state: TransferState::GivenUp, have: 0 },
            Inner::Reach { number: 9, reach: Reach { port: 1, addresses: Vec::new() } },
            Inner::Reach {
                number: 10,
                reach: Reach {
                    port: 6_881,
                    addresses: ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).into(),
                },
            },
        ];
        for inner in inner {
            assert_eq!(Inner::parse(&inner.encode()), Some(inner));
        }
        assert_eq!(Inner::parse(&[&[1][..], &[0; 16]].concat()), None, "no text");
        assert_eq!(Inner::parse(&[&[2][..], &[0; 9]].concat()), None, "a byte behind the end");
        assert_eq!(Inner::parse(&[&[5][..], &[0; 8], &[5], &[0; 8]].concat()), None, "no such state");
        assert_eq!(Inner::parse(&[&[5][..], &[0; 18]].concat()), None, "a byte behind the end");
        assert_eq!(Inner::parse(&[&[6][..], &[0; 10]].concat()), None, "port 0");
        let reach = |addresses: &[u8]| Inner::parse(&[&[6][..], &[0; 8], &[0, 9], addresses].concat());
        assert!(reach(&[4, 192, 0, 2, 1].repeat(8)).is_some() && reach(&[4, 192, 0, 2, 1].repeat(9)).is_none());
        assert_eq!(reach(&[4, 0, 0, 0, 0]), None, "nobody's address");
        assert_eq!(reach(&[5, 0, 0, 0, 0]), None, "a family that is none");
        assert_eq!(reach(&[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1]), None, "IPv4 in other clothes");
    }

    #[test]
    fn offers_round_trip_and_hostile_ones_do_no_harm() {
        let addresses = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let (info_hash, name) = (InfoHash([4; 20]), "photos".to_owned());
        let offer = Offer { info_hash, name, total_length: u64::MAX, files: 3, port: 6_881, addresses };
        assert_eq!(parse_offer(&encode_offer(&offer)), Some(offer.clone()));
        let hostile = ["0.0.0.0", "224.0.0.1", "::", "ff02::1"];
        let addresses = hostile.iter().map(|address| address.parse().unwrap()).collect();
        let hostile = Offer { name: "a\u{202e}\x1b[2Jb".into(), addresses, ..offer.clone() };
        let read = parse_offer(&encode_offer(&hostile)).unwrap();
        assert_eq!((read.name.as_str(), read.addresses.len()), ("a\u{fffd}\u{fffd}[2Jb", 0));
        let many = Offer { addresses: vec!["192.0.2.1".parse().unwrap(); 99], ..offer.clone() };
        assert_eq!(parse_offer(&encode_offer(&many)).unwrap().addresses.len(), limits::CHAT_ADDRESSES);
        assert_eq!(parse_offer(&encode_offer(&Offer { port: 0, ..offer })), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_each_meaning_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(payload) = Payload::parse(&bytes) {
                prop_assert_eq!(payload.encode(), bytes.clone());
            }
            if let Some(inner) = Inner::parse(&bytes) {
                prop_assert_eq!(inner.encode(), bytes.clone());
            }
            let _ = parse_offer(&bytes);
        }
    }
}
