//! How a swarm stands in Redis: one hash, whatever its size, and nothing that is shared by two swarms.
//!
//! Key `swarm:{HEX}`: in a cluster only what stands in braces says which node it is on, and hexadecimal digits hold no
//! brace. Fields: 6 or 18 bytes of address and port; the value is the second of the last announce since 1970 (4), 1 for a
//! seed or 0 (1), and the tag of the peer id (2), big endian. One field more, `d`, counts downloads. Up to 128 peers Redis
//! keeps this as one string of bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use swarm_proto::id::InfoHash;
use swarm_tracker_core::{PeerTag, RemotePeer};

/// The field that counts downloads.
pub(crate) const DOWNLOADED: &[u8] = b"d";

/// The key of a swarm.
pub(crate) fn key(info_hash: &InfoHash) -> String {
    format!("swarm:{{{info_hash}}}")
}

/// The field of a peer.
pub(crate) fn field(address: SocketAddr) -> Vec<u8> {
    let mut field = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    field.extend(address.port().to_be_bytes());
    field
}

/// The value of a peer that announces at this second.
pub(crate) fn value(second: u32, seed: bool, tag: PeerTag) -> Vec<u8> {
    let mut value = second.to_be_bytes().to_vec();
    value.push(u8::from(seed));
    value.extend(tag.bits().to_be_bytes());
    value
}

/// The peer in a field; `None` for what is none.
pub(crate) fn peer(field: &[u8], value: &[u8], now: u32) -> Option<RemotePeer> {
    let (ip, port) = field.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    let &[a, b, c, d, seed, high, low] = value else { return None };
    // A node whose clock is ahead of ours announces in our future.
    let age = now.saturating_sub(u32::from_be_bytes([a, b, c, d]));
    Some(RemotePeer {
        address: SocketAddr::new(ip, u16::from_be_bytes(*port)),
        tag: PeerTag::from_bits(u16::from_be_bytes([high, low])),
        seed: seed == 1,
        age: Duration::from_secs(age.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for address in ["192.0.2.1:6881", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:7"] {
            let address: SocketAddr = address.parse().unwrap();
            let tag = PeerTag::from_bits(0x1234);
            let read = peer(&field(address), &value(1_000, true, tag), 1_060).unwrap();
            let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
            assert_eq!(read, RemotePeer { address: canonical, tag, seed: true, age: Duration::from_secs(60) });
        }
        assert_eq!(peer(&[1; 6], &value(9, false, PeerTag::from_bits(1)), 3).unwrap().age, Duration::ZERO);
        assert_eq!(key(&InfoHash([0x7d; 20])), format!("swarm:{{{}}}", "7d".repeat(20)));
    }

    #[test]
    fn what_is_no_peer_is_none() {
        for (field, value) in [(&b"d"[..], &b"7"[..]), (b"", b""), (&[1; 7], &[1; 7]), (&[1; 6], &[1; 6])] {
            assert_eq!(peer(field, value, 9), None);
        }
    }
}
