//! What a tracker answers.

use super::fields::Fields;
use super::{ANNOUNCE, CONNECT, ERROR, SCRAPE};
use super::{ConnectionId, Family, TransactionId};
use crate::announce::http::{SCRAPE_HASHES, ScrapeEntry};
use crate::announce::reach::is_dialable;
use crate::announce::{AnnounceReply, PeerAddress, printable};
use crate::limits;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Bytes of peers in one reply, so that it goes as one packet on any network: 1,500 less the heads of IPv6, UDP and the
/// reply.
pub const PEERS_LENGTH: usize = 1_400;

/// A tracker's reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Here is a connection id.
    Connected(ConnectionId),
    /// The answer to an announce. Of [`AnnounceReply`] there are `interval`, `complete`, `incomplete` and `peers`.
    Announced(AnnounceReply),
    /// The counts of the torrents that were asked for, in their order.
    Scraped(Vec<ScrapeEntry>),
    /// No, and why.
    Refused(Cow<'static, str>),
}

impl Reply {
    /// Writes the reply to a request behind what is in `out`. Peers of the other family, and those beyond
    /// [`PEERS_LENGTH`], are left out.
    pub fn write(&self, transaction: TransactionId, family: Family, out: &mut Vec<u8>) {
        let mut head = |action: u32| {
            out.extend_from_slice(&action.to_be_bytes());
            out.extend_from_slice(&transaction.0.to_be_bytes());
        };
        match self {
            Self::Connected(connection) => {
                head(CONNECT);
                out.extend_from_slice(&connection.0.to_be_bytes());
            }
            Self::Announced(reply) => {
                let AnnounceReply { interval, complete, incomplete, peers, .. } = reply;
                let counts = (complete.unwrap_or_default(), incomplete.unwrap_or_default());
                write_announced(transaction, *interval, counts, &[], out);
                write_peers(peers, family, out);
            }
            Self::Scraped(entries) => {
                head(SCRAPE);
                for entry in entries.iter().take(SCRAPE_HASHES) {
                    for count in [entry.complete, entry.downloaded, entry.incomplete] {
                        out.extend_from_slice(&count.to_be_bytes());
                    }
                }
            }
            Self::Refused(reason) => {
                head(ERROR);
                out.extend_from_slice(reason.as_bytes());
            }
        }
    }

    /// Reads a reply that came over this family. `None` for what is none; the caller compares the transaction.
    ///
    /// As in the other dialects, peers that cannot be reached and those beyond [`limits::KNOWN_PEERS`] are left out,
    /// and an interval below 0 is 0. A peer or count that is cut off is none.
    pub fn read(datagram: &[u8], family: Family) -> Option<(TransactionId, Self)> {
        let mut fields = Fields(datagram);
        let (action, transaction) = (fields.u32()?, TransactionId(fields.u32()?));
        let reply = match action {
            CONNECT => Self::Connected(ConnectionId(fields.u64()?)),
            ANNOUNCE => Self::Announced(read_announced(fields, family)?),
            SCRAPE => Self::Scraped(read_scraped(fields)),
            ERROR => Self::Refused(printable(fields.0).into()),
            _ => return None,
        };
        Some((transaction, reply))
    }
}

/// Writes the reply to an announce behind what is in `out`: the numbers of seeds and of leechers, and peers of the
/// asker's family as they stand on the wire, of which those beyond [`PEERS_LENGTH`] must have been left out.
pub fn write_announced(
    transaction: TransactionId,
    interval: Duration,
    (complete, incomplete): (u32, u32),
    peers: &[u8],
    out: &mut Vec<u8>,
) {
    // As a signed number, which BEP 15 takes it for.
    let interval = i32::try_from(interval.as_secs()).unwrap_or(i32::MAX);
    for field in [ANNOUNCE, transaction.0, interval.unsigned_abs(), incomplete, complete] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(peers);
}

fn write_peers(peers: &[PeerAddress], family: Family, out: &mut Vec<u8>) {
    let most = PEERS_LENGTH / family.peer_length();
    let addresses = peers.iter().map(|peer| (peer.address.ip().to_canonical(), peer.address.port()));
    for (ip, port) in addresses.filter(|(ip, _)| Family::of(*ip) == family).take(most) {
        match ip {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
        out.extend_from_slice(&port.to_be_bytes());
    }
}

fn read_announced(mut fields: Fields<'_>, family: Family) -> Option<AnnounceReply> {
    let interval = i32::from_be_bytes(fields.array()?);
    let (incomplete, complete) = (fields.u32()?, fields.u32()?);
    let mut addresses = std::iter::from_fn(|| read_address(&mut fields, family));
    let peers = addresses.by_ref().filter(is_dialable).take(limits::KNOWN_PEERS);
    Some(AnnounceReply {
        interval: Duration::from_secs(u64::try_from(interval).unwrap_or_default()),
        complete: Some(complete),
        incomplete: Some(incomplete),
        peers: peers.map(|address| PeerAddress { address, peer_id: None }).collect(),
        ..AnnounceReply::default()
    })
}

fn read_address(fields: &mut Fields<'_>, family: Family) -> Option<SocketAddr> {
    let ip: IpAddr = match family {
        Family::V4 => Ipv4Addr::from(fields.array::<4>()?).into(),
        Family::V6 => Ipv6Addr::from(fields.array::<16>()?).into(),
    };
    Some(SocketAddr::new(ip.to_canonical(), fields.u16()?))
}

fn read_scraped(mut fields: Fields<'_>) -> Vec<ScrapeEntry> {
    let entry = || {
        let (complete, downloaded, incomplete) = (fields.u32()?, fields.u32()?, fields.u32()?);
        Some(ScrapeEntry { complete, incomplete, downloaded })
    };
    std::iter::from_fn(entry).take(SCRAPE_HASHES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRANSACTION: TransactionId = TransactionId(0x99aa_bbcc);

    fn written(reply: &Reply, family: Family) -> Vec<u8> {
        let mut out = Vec::new();
        reply.write(TRANSACTION, family, &mut out);
        out
    }

    fn read(datagram: &[u8], family: Family) -> Option<Reply> {
        Reply::read(datagram, family).map(|(transaction, reply)| {
            assert_eq!(transaction, TRANSACTION);
            reply
        })
    }

    fn announced(peers: &[&str]) -> Reply {
        let peer = |text: &&str| PeerAddress { address: text.parse().unwrap(), peer_id: None };
        Reply::Announced(AnnounceReply {
            interval: Duration::from_secs(1_800),
            complete: Some(2),
            incomplete: Some(3),
            peers: peers.iter().map(peer).collect(),
            ..AnnounceReply::default()
        })
    }

    #[test]
    fn replies_byte_for_byte() {
        let is = |reply: Reply, family, bytes: &[u8]| {
            assert_eq!(written(&reply, family), bytes);
            assert_eq!(read(bytes, family), Some(reply));
        };
        let connected = b"\0\0\0\0\x99\xaa\xbb\xcc\x01\x02\x03\x04\x05\x06\x07\x08";
        is(Reply::Connected(ConnectionId(0x0102_0304_0506_0708)), Family::V4, connected);
        let head = b"\0\0\0\x01\x99\xaa\xbb\xcc\0\0\x07\x08\0\0\0\x03\0\0\0\x02";
        is(announced(&["1.2.3.4:258"]), Family::V4, &[head.as_slice(), b"\x01\x02\x03\x04\x01\x02"].concat());
        let v6 = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x09";
        is(announced(&["[2001:db8::1]:9"]), Family::V6, &[head.as_slice(), v6].concat());
        let entry = ScrapeEntry { complete: 1, incomplete: 3, downloaded: 2 };
        is(Reply::Scraped(vec![entry]), Family::V4, b"\0\0\0\x02\x99\xaa\xbb\xcc\0\0\0\x01\0\0\0\x02\0\0\0\x03");
        is(Reply::Refused("no".into()), Family::V6, b"\0\0\0\x03\x99\xaa\xbb\xccno");
    }

    #[test]
    fn a_reply_holds_peers_of_one_family() {
        let mixed = announced(&["1.2.3.4:258", "[2001:db8::1]:9", "[::ffff:5.6.7.8]:9"]);
        assert_eq!(read(&written(&mixed, Family::V4), Family::V4), Some(announced(&["1.2.3.4:258", "5.6.7.8:9"])));
        assert_eq!(read(&written(&mixed, Family::V6), Family::V6), Some(announced(&["[2001:db8::1]:9"])));
    }

    #[test]
    fn a_reply_fits_a_packet() {
        for (family, peer, most) in [(Family::V4, "1.2.3.4:5", 233), (Family::V6, "[2001:db8::1]:5", 77)] {
            let many = written(&announced(&vec![peer; 1_000]), family);
            assert_eq!(many.len(), 20 + most * family.peer_length());
            assert!(40 + 8 + many.len() <= 1_500);
        }
        let scrape = written(&Reply::Scraped(vec![ScrapeEntry::default(); 100]), Family::V4);
        assert_eq!(scrape.len(), 8 + 74 * 12);
    }

    #[test]
    fn a_reply_cut_at_any_byte_is_none_or_shorter() {
        let whole = written(&announced(&["1.2.3.4:258", "5.6.7.8:9"]), Family::V4);
        for end in 0..whole.len() {
            let peers = match read(&whole[..end], Family::V4) {
                Some(Reply::Announced(reply)) => Some(reply.peers.len()),
                Some(other) => panic!("{other:?}"),
                None => None,
            };
            assert_eq!(peers, (end >= 20).then(|| (end - 20) / 6), "{end} bytes");
        }
        let connected = written(&Reply::Connected(ConnectionId(1)), Family::V4);
        assert!((0..16).all(|end| read(&connected[..end], Family::V4).is_none()));
        let scraped = written(&Reply::Scraped(vec![ScrapeEntry::default(); 2]), Family::V4);
        for end in 8..scraped.len() {
            assert_eq!(
                read(&scraped[..end], Family::V4),
                Some(Reply::Scraped(vec![ScrapeEntry::default(); (end - 8) / 12]))
            );
        }
    }

    #[test]
    fn odd_values_do_no_harm() {
        let mut negative = written(&announced(&[]), Family::V4);
        negative[8..12].copy_from_slice(&[0xff; 4]);
        let Some(Reply::Announced(reply)) = read(&negative, Family::V4) else { panic!("a reply") };
        assert_eq!(reply.interval, Duration::ZERO);
        let nobody = announced(&["0.0.0.0:1", "1.2.3.4:0", "224.0.0.1:1", "255.255.255.255:1", "1.2.3.4:5"]);
        assert_eq!(read(&written(&nobody, Family::V4), Family::V4), Some(announced(&["1.2.3.4:5"])));
        let flood = [written(&announced(&[]), Family::V4), b"\x01\x02\x03\x04\x05\x06".repeat(10_000)].concat();
        let Some(Reply::Announced(reply)) = read(&flood, Family::V4) else { panic!("a reply") };
        assert_eq!(reply.peers.len(), limits::KNOWN_PEERS);
        let rude = Reply::Refused(format!("\x1b[2J{}", "x".repeat(1_000)).into());
        let Some(Reply::Refused(reason)) = read(&written(&rude, Family::V4), Family::V4) else { panic!("a refusal") };
        assert!(reason.len() == 250 && reason.starts_with(".[2J"), "{reason}");
        assert_eq!(read(b"\0\0\0\x04\x99\xaa\xbb\xcc\0\0\0\0\0\0\0\0", Family::V4), None, "no such action");
    }

    proptest! {
        #[test]
        fn any_reply_survives(
            interval in 0u32..1 << 31, counts: [u32; 2], v4 in proptest::collection::vec((1u32..0xe000_0000, 1u16..), 0..230),
            entries in proptest::collection::vec(any::<[u32; 3]>(), 0..74), connection: u64,
        ) {
            let peer = |(ip, port)| PeerAddress { address: (Ipv4Addr::from(ip), port).into(), peer_id: None };
            let reply = Reply::Announced(AnnounceReply {
                interval: Duration::from_secs(interval.into()),
                complete: Some(counts[0]),
                incomplete: Some(counts[1]),
                peers: v4.into_iter().map(peer).collect(),
                ..AnnounceReply::default()
            });
            let entry = |[complete, incomplete, downloaded]: [u32; 3]| ScrapeEntry { complete, incomplete, downloaded };
            let scraped = Reply::Scraped(entries.into_iter().map(entry).collect());
            for reply in [reply, scraped, Reply::Connected(ConnectionId(connection))] {
                prop_assert_eq!(read(&written(&reply, Family::V4), Family::V4), Some(reply));
            }
        }

        #[test]
        fn no_datagram_panics(datagram: Vec<u8>) {
            let _ = (Reply::read(&datagram, Family::V4), Reply::read(&datagram, Family::V6));
        }
    }
}
