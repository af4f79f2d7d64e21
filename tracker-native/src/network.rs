//! Whom a limit counts as one: an IPv4 address, or an IPv6 /64, which is what one customer has.

use std::net::IpAddr;
use swarm_proto::announce::network_of;

/// An IPv4 address or an IPv6 /64 network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Network(IpAddr);

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(network_of(address))
    }

    pub(crate) fn address(self) -> IpAddr {
        self.0
    }
}
