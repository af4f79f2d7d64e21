//! One peer in memory: where it is, when it was last heard, and a tag of its id.
//!
//! Peer ids are not kept: twenty bytes would be two thirds of a peer, and nobody dials by id. The tag still tells whether
//! another peer has taken over an address, and keeps a peer that is known under two addresses from getting itself.
//! Times are seconds modulo 2^16. Invariant, kept by the shard: no peer in it is silent for longer than
//! [`OLDEST`] by its record, so that an age is never ambiguous.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use swarm_proto::announce::Reach;
use swarm_proto::id::PeerId;

/// Bytes of an IPv4 address and port.
pub(crate) const V4: usize = 6;
/// Bytes of an IPv6 address and port.
pub(crate) const V6: usize = 18;

/// The greatest age that a record tells, in seconds: some nine hours. Whoever is silent for longer looks as old.
pub(crate) const OLDEST: u16 = 1 << 15;
/// Ages from here on are those of peers that another thread has seen a moment later than this one has.
const FUTURE: u16 = u16::MAX - 1_024;
/// Marks a peer that another node told of.
const IMPORTED: u16 = 1 << 15;

/// Fifteen bits of a peer id: two ids have the same in one of 32,768 cases.
///
/// It is the same in every process, so that snapshots and nodes agree on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PeerTag(pub(crate) u16);

impl PeerTag {
    /// The tag of an id (FNV-1a, folded).
    pub fn of(id: &PeerId) -> Self {
        let hash =
            id.0.iter()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        Self::from_bits(low_half(hash ^ hash >> 16 ^ hash >> 32 ^ hash >> 48))
    }

    /// The tag of these bits; the highest one does not count.
    pub fn from_bits(bits: u16) -> Self {
        Self(bits & !IMPORTED)
    }

    /// The tag as a number below 32,768.
    pub fn bits(self) -> u16 {
        self.0
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
const fn low_half(number: u64) -> u16 {
    number as u16
}

/// Where a peer takes connections, as it stands in a record: in the order of the network, never IPv4 mapped into IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Address {
    V4([u8; V4]),
    V6([u8; V6]),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let [high, low] = address.port().to_be_bytes();
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                Self::V4([a, b, c, d, high, low])
            }
            IpAddr::V6(ip) => {
                let mut bytes = [0; V6];
                let (address, port) = bytes.split_at_mut(V6 - 2);
                address.copy_from_slice(&ip.octets());
                port.copy_from_slice(&[high, low]);
                Self::V6(bytes)
            }
        }
    }
}

impl Address {
    pub(crate) fn socket(&self) -> SocketAddr {
        match self {
            Self::V4(bytes) => socket(bytes),
            Self::V6(bytes) => socket(bytes),
        }
    }

    pub(crate) fn is_v4(&self) -> bool {
        matches!(self, Self::V4(_))
    }
}

/// The address in 6 or 18 bytes of a record.
pub(crate) fn socket(bytes: &[u8]) -> SocketAddr {
    match *bytes {
        [a, b, c, d, high, low] => (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into(),
        [ref ip @ .., high, low] => {
            let ip = Ipv6Addr::from(<[u8; 16]>::try_from(ip).unwrap_or_default());
            (ip, u16::from_be_bytes([high, low])).into()
        }
        _ => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A peer: ten bytes for IPv4, 22 for IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record<const L: usize> {
    pub(crate) address: [u8; L],
    seen: u16,
    tag: u16,
}

impl<const L: usize> Record<L> {
    /// A peer that was heard `age` seconds before `now`.
    pub(crate) fn new(address: [u8; L], tag: PeerTag, now: u32, age: u32) -> Self {
        let age = u32::from(OLDEST).min(age);
        Self { address, seen: low_half(now.wrapping_sub(age).into()), tag: tag.0 }
    }

    pub(crate) fn tag(&self) -> PeerTag {
        PeerTag::from_bits(self.tag)
    }

    /// Another node told of it, and nobody here has heard it itself.
    pub(crate) fn is_imported(&self) -> bool {
        self.tag & IMPORTED != 0
    }

    pub(crate) fn imported(mut self) -> Self {
        self.tag |= IMPORTED;
        self
    }

    /// Seconds since it was heard.
    pub(crate) fn age(&self, now: u32) -> u16 {
        let age = low_half(now.into()).wrapping_sub(self.seen);
        if age > FUTURE { 0 } else { age }
    }

    /// Keeps an age that grows beyond [`OLDEST`] from wrapping around; at `before` it had not.
    pub(crate) fn saturate(&mut self, before: u32, now: u32) {
        let age = u32::from(self.age(before)).saturating_add(now.saturating_sub(before));
        self.seen = low_half(now.wrapping_sub(age.min(OLDEST.into())).into());
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        socket(&self.address)
    }

    pub(crate) fn reach(&self) -> Reach {
        Reach::of(self.socket().ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_plain_ones() {
        let address = |text: &str| Address::from(text.parse::<SocketAddr>().unwrap());
        assert_eq!(address("[::ffff:1.2.3.4]:5"), address("1.2.3.4:5"));
        assert_eq!(address("1.2.3.4:5").socket(), "1.2.3.4:5".parse().unwrap());
        assert_eq!(address("[2001:db8::1%7]:5").socket(), "[2001:db8::1]:5".parse().unwrap());
    }

    #[test]
    fn a_peer_is_ten_bytes() {
        assert_eq!((size_of::<Record<V4>>(), size_of::<Record<V6>>()), (10, 22));
    }

    #[test]
    fn ages_are_right_up_to_their_bound_and_stay_there() {
        let born = (1 << 30) - 7;
        let mut peer = Record::new([0; V4], PeerTag(7), born, 0);
        for age in [0_u16, 1, 300, 16_383, OLDEST, OLDEST + 16_384] {
            assert_eq!(peer.age(born + u32::from(age)), age);
        }
        assert_eq!(peer.age(born - 3), 0, "a thread whose clock is a moment behind");
        let mut now = born;
        for _ in 0..40 {
            peer.saturate(now, now + 16_384);
            now += 16_384;
        }
        assert_eq!(peer.age(now), OLDEST);
        let mut peer = Record::new([0; V4], PeerTag(7), now, 5);
        peer.saturate(now, now + 2 * 65_536);
        assert_eq!(peer.age(now + 2 * 65_536), OLDEST, "a leap of whole turns");
        assert_eq!(Record::new([0; V4], PeerTag(7), now, u32::MAX).age(now), OLDEST);
    }

    #[test]
    fn tags_differ_and_carry_no_mark() {
        let tags: std::collections::HashSet<_> = (0..1_000_u16)
            .map(|n| {
                let mut id = *b"-XX0000-000000000000";
                id[18..].copy_from_slice(&n.to_be_bytes());
                PeerTag::of(&PeerId(id))
            })
            .collect();
        assert!(tags.len() > 950, "{}", tags.len());
        assert!(tags.iter().all(|tag| tag.bits() < 1 << 15));
        let peer = Record::new([0; V4], PeerTag::from_bits(u16::MAX), 9, 0);
        assert!(!peer.is_imported() && peer.imported().is_imported());
        assert_eq!(peer.imported().tag(), peer.tag());
    }
}
