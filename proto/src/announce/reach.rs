//! How far an address reaches.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// From where an address means anything, the narrowest first.
///
/// A tracker hands out only peers that reach at least as far as their asker; a client follows no redirect to where only
/// itself or its own network is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reach {
    /// This machine: loopback and the unspecified address, which connects to it.
    Loopback,
    /// One network: RFC 1918, link-local, carrier NAT (RFC 6598), unique local (RFC 4193).
    Private,
    /// Everywhere.
    Global,
}

impl Reach {
    /// The reach of an address; one that is mapped into IPv6 counts as the IPv4 address that it is.
    pub fn of(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let private = match ip {
            IpAddr::V4(ip) => {
                let [first, second, ..] = ip.octets();
                let carrier = first == 100 && second & 0xc0 == 64;
                ip.is_private() || ip.is_link_local() || carrier
            }
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        match (ip.is_loopback() || ip.is_unspecified(), private) {
            (true, _) => Self::Loopback,
            (false, true) => Self::Private,
            (false, false) => Self::Global,
        }
    }
}

/// Whom to count for one: an IPv4 address, or the IPv6 /64 that one customer has to himself, as its lowest address.
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Whether a connection to this address can lead to one peer.
pub(super) fn is_dialable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_customer_is_one_network() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn reach_is_known() {
        let reach = |ip: &str| Reach::of(ip.parse().unwrap());
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"] {
            assert_eq!(reach(ip), Reach::Loopback, "{ip}");
        }
        for ip in ["10.97.0.1", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "fd00::1", "fe80::1"] {
            assert_eq!(reach(ip), Reach::Private, "{ip}");
        }
        for ip in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1"] {
            assert_eq!(reach(ip), Reach::Global, "{ip}");
        }
        assert!(Reach::Loopback < Reach::Private && Reach::Private < Reach::Global);
    }
}
