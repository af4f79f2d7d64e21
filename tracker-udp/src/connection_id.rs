//! Connection ids that nobody has to remember.
//!
//! An id is a code over the address that asked and the time, made with a secret key: who sends it back has received
//! there what was sent to that address. 62 of its bits are the code, two tell the time. Nodes with the same key and
//! clocks that agree by half a minute know each other's ids.

use siphasher::sip::SipHasher24;
use std::fmt;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use swarm_proto::announce::udp::ConnectionId;

/// Seconds for which ids are the same. They are good in this time and in the two behind it: 80 to 120 s. Clients use an
/// id for 60 s, and no id may live for more than two minutes (BEP 15).
const PERIOD: u64 = 40;
/// The low bits of an id: its period's number, modulo 4.
const TAG: u64 = 3;

/// The secret behind connection ids.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl Key {
    /// A key of its own, from the system's randomness.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// A key that several nodes share.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads 32 hexadecimal digits, either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| digits).map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A stretch of time, by its number since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Period(u64);

impl Period {
    pub(crate) fn of(now: SystemTime) -> Self {
        Self(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / PERIOD)
    }
}

/// Makes ids and recognises them.
#[derive(Clone)]
pub(crate) struct ConnectionIds {
    hasher: SipHasher24,
}

impl fmt::Debug for ConnectionIds {
    /// The hasher would show its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionIds(..)")
    }
}

impl ConnectionIds {
    pub(crate) fn new(key: &Key) -> Self {
        Self { hasher: SipHasher24::new_with_key(&key.0) }
    }

    /// The id for an address. Not for its port: some clients ask by one socket and announce by another.
    pub(crate) fn issue(&self, ip: IpAddr, Period(period): Period) -> ConnectionId {
        let octets = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let mut message = [0; 24];
        let (address, time) = message.split_at_mut(16);
        address.copy_from_slice(&octets);
        time.copy_from_slice(&period.to_be_bytes());
        ConnectionId(self.hasher.hash(&message) & !TAG | period & TAG)
    }

    /// Whether this id was given to this address in the period or in one of the two before. Also in the next one: the
    /// clock of the node that gave it may be ahead of ours.
    ///
    /// One code is made, whatever the id. Comparing it takes the same time for all.
    pub(crate) fn prove(&self, id: ConnectionId, ip: IpAddr, Period(now): Period) -> bool {
        let given = match now.wrapping_sub(id.0) & TAG {
            3 => now.wrapping_add(1),
            ago => now.wrapping_sub(ago),
        };
        self.issue(ip, Period(given)) == id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn ids() -> ConnectionIds {
        ConnectionIds::new(&Key::new([7; 16]))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_is_good_for_80_to_120_seconds() {
        let at = |seconds| Period::of(UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds));
        for given in 0..160 {
            let id = ids().issue(ip("192.0.2.1"), at(given));
            let good: Vec<u64> =
                (given..given + 1_000).filter(|&now| ids().prove(id, ip("192.0.2.1"), at(now))).collect();
            let (first, last) = (good[0], good[good.len() - 1]);
            assert!(first == given && last - first + 1 == good.len() as u64, "good without a gap");
            assert!((80..120).contains(&(last - given)), "{given}: {}", last - given);
        }
    }

    #[test]
    fn an_id_is_for_one_address_and_one_key() {
        let now = Period(45_000_000);
        let id = ids().issue(ip("192.0.2.1"), now);
        assert!(ids().prove(id, ip("::ffff:192.0.2.1"), now), "the same address");
        assert!(!ids().prove(id, ip("192.0.2.2"), now));
        let v6 = ids().issue(ip("2001:db8::1"), now);
        assert!(ids().prove(v6, ip("2001:db8::1"), now) && !ids().prove(v6, ip("2001:db8::2"), now));
        let other = ConnectionIds::new(&Key::new([8; 16]));
        assert!(!other.prove(id, ip("192.0.2.1"), now));
        let same = ConnectionIds::new(&Key::from_hex(&"07".repeat(16)).unwrap());
        assert!(same.prove(id, ip("192.0.2.1"), now), "nodes with the same key");
        assert!(same.prove(ids().issue(ip("192.0.2.1"), Period(45_000_001)), ip("192.0.2.1"), now), "a clock ahead");
        assert!(!same.prove(ids().issue(ip("192.0.2.1"), Period(45_000_002)), ip("192.0.2.1"), now));
    }

    #[test]
    fn keys_are_read_and_kept_secret() {
        assert_eq!(
            Key::from_hex("000102030405060708090a0B0C0D0E0F"),
            Some(Key::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]))
        );
        for wrong in ["", "00", "+0102030405060708090a0b0c0d0e0f1", &"0".repeat(33), &"g".repeat(32)] {
            assert_eq!(Key::from_hex(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{:?} {:?}", Key::random(), ids()), "Key(..) ConnectionIds(..)");
        assert_ne!(Key::random(), Key::random());
    }

    proptest! {
        /// All bits of an id count.
        #[test]
        fn no_bit_may_differ(bit in 0u32..64, address: u32, period in 10u64..1 << 40) {
            let ip = IpAddr::from(address.to_be_bytes());
            let id = ids().issue(ip, Period(period));
            prop_assert!(!ids().prove(ConnectionId(id.0 ^ 1 << bit), ip, Period(period)));
        }

        #[test]
        fn nobody_guesses(id: u64, address: u32, period: u64) {
            prop_assert!(!ids().prove(ConnectionId(id), IpAddr::from(address.to_be_bytes()), Period(period)));
        }
    }
}
