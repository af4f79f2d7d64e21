//! The address of this machine that others on its network can reach.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The address to print for other machines, and why it may be the wrong one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reachable {
    /// To be printed.
    pub(crate) address: IpAddr,
    /// Other addresses might do as well, or none may.
    pub(crate) doubtful: bool,
}

/// Chooses the address that other machines can reach a listener at. A listener on one address is reached there; one
/// on every address through the interface of the default route, or else the best of the others.
pub(crate) fn reachable(listening_on: IpAddr) -> Reachable {
    if !listening_on.is_unspecified() {
        return Reachable { address: listening_on, doubtful: listening_on.is_loopback() };
    }
    let candidates: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|address| listening_on.is_ipv6() || address.is_ipv4())
        .collect();
    choose(default_route(), &candidates)
}

/// The address of the default route if it is one of ours, or the most public of the others; IPv4 before IPv6, since
/// everybody can type it.
fn choose(default_route: Option<IpAddr>, candidates: &[IpAddr]) -> Reachable {
    if let Some(address) = default_route.filter(|address| candidates.contains(address) && rank(address).is_some()) {
        return Reachable { address, doubtful: false };
    }
    let best = candidates.iter().filter_map(|address| Some((rank(address)?, *address))).min();
    match best {
        Some((_, address)) => Reachable { address, doubtful: candidates.len() > 2 },
        None => Reachable { address: IpAddr::V4(Ipv4Addr::LOCALHOST), doubtful: true },
    }
}

/// How good an address is for other machines, lower is better; none for one that they cannot use.
fn rank(address: &IpAddr) -> Option<u8> {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_unspecified() || v4.is_link_local() => None,
        IpAddr::V4(v4) if v4.is_private() => Some(0),
        IpAddr::V4(_) => Some(1),
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() => None,
        IpAddr::V6(_) => Some(2),
    }
}

/// The address that the system would send from. Connecting a UDP socket asks the routing table and sends nothing; the
/// destination is an address reserved for documentation.
fn default_route() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9))).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// An address as it stands in a URL: IPv6 in brackets.
pub(crate) fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// A listener's address as others reach it, as it stands in a URL.
pub(crate) fn announce_address(listener: SocketAddr) -> String {
    format!("{}:{}", in_url(reachable(listener.ip()).address), listener.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_default_route_wins_if_it_is_ours() {
        let ours = addresses(&["127.0.0.1", "10.0.0.5", "192.168.1.5"]);
        let chosen = choose(Some(ours[2]), &ours);
        assert_eq!(chosen, Reachable { address: ours[2], doubtful: false });
        assert_eq!(choose(Some("1.2.3.4".parse().unwrap()), &ours).address, ours[1]);
    }

    #[test]
    fn unusable_addresses_are_the_last_resort() {
        let chosen = choose(None, &addresses(&["127.0.0.1", "::1", "169.254.1.1", "fe80::1"]));
        assert_eq!(chosen, Reachable { address: IpAddr::V4(Ipv4Addr::LOCALHOST), doubtful: true });
        assert_eq!(choose(None, &addresses(&["::1", "2001:db8::1"])).address.to_string(), "2001:db8::1");
    }

    #[test]
    fn one_address_to_listen_on_is_the_one_to_print() {
        let one = "127.0.0.2".parse().unwrap();
        assert_eq!(reachable(one), Reachable { address: one, doubtful: true });
        assert_eq!(in_url("::1".parse().unwrap()), "[::1]");
    }
}
