//! Addresses, small in memory.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4};
use swarm_proto::announce::Reach;

/// Where a peer takes connections. Never an IPv4 address mapped into IPv6. IPv4 takes no allocation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Address {
    V4(SocketAddrV4),
    V6(Box<(Ipv6Addr, u16)>),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Self::V4(SocketAddrV4::new(ip, address.port())),
            IpAddr::V6(ip) => Self::V6(Box::new((ip, address.port()))),
        }
    }
}

impl Address {
    pub(crate) fn socket(&self) -> SocketAddr {
        match self {
            Self::V4(address) => (*address).into(),
            Self::V6(address) => SocketAddr::new(address.0.into(), address.1),
        }
    }

    pub(crate) fn is_v4(&self) -> bool {
        matches!(self, Self::V4(_))
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
        assert_eq!(address("[2001:db8::1%7]:5").socket(), "[2001:db8::1]:5".parse().unwrap());
        assert!(size_of::<Address>() <= 16);
    }
}
