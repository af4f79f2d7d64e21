//! Who is shut out, and until when.
//!
//! A ban ends: a noisy link, or the next owner of an address, is not to suffer for ever. Each further one of the same
//! peer lasts twice as long. Bounded by [`BANS`].

use crate::announce::{Reach, network_of};
use crate::id::PeerId;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// The first ban of a peer from which right pieces have come: its link may be noisy.
const FIRST_BAN_OF_PROVEN: Duration = Duration::from_secs(60);
/// The first ban of a peer from which nothing right has ever come.
const FIRST_BAN: Duration = Duration::from_secs(600);
/// The longest ban. A peer that always lies then costs a piece or two a day.
const LONGEST_BAN: Duration = Duration::from_secs(24 * 3_600);
/// Bans remembered; those that end first make room. Who has more addresses than this meets the limits of connections.
const BANS: usize = 10_000;

/// What a peer is known by. Machines behind one address are one machine to us, except on the loopback, where every test
/// swarm and many a proxy lives: there the id and the listening address stand for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Mark {
    Host(IpAddr),
    Id(PeerId),
    Address(SocketAddr),
}

impl Mark {
    /// What stands for a peer whose port may change.
    pub(super) fn of(address: SocketAddr, id: PeerId) -> Self {
        let host = host_of(address.ip());
        if host.is_loopback() { Self::Id(id) } else { Self::Host(host) }
    }
}

#[derive(Clone, Copy)]
struct Ban {
    until: Instant,
    length: Duration,
}

/// A peer that is to be shut out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offender {
    /// The other end of its socket.
    pub(super) address: SocketAddr,
    /// Where others reach it, as far as we know.
    pub(super) reachable: Option<SocketAddr>,
    /// How it calls itself.
    pub(super) id: PeerId,
    /// Whether a right piece has come from it on this connection.
    pub(super) proven: bool,
    /// Its blocks in right pieces, less what wrong ones have cost it.
    pub(super) good_blocks: u32,
}

#[derive(Default)]
pub(super) struct Bans {
    bans: BTreeMap<Mark, Ban>,
}

impl Bans {
    /// Shuts a peer out.
    pub(super) fn add(&mut self, now: Instant, offender: &Offender) {
        let Offender { address, reachable, id, proven, .. } = *offender;
        let host = host_of(address.ip());
        if host.is_loopback() {
            self.mark(now, Mark::Id(id), proven);
            let addresses = [Some(address), reachable.filter(|reachable| *reachable != address)];
            addresses.into_iter().flatten().for_each(|address| self.mark(now, Mark::Address(address), proven));
        } else {
            self.mark(now, Mark::Host(host), proven);
        }
    }

    fn mark(&mut self, now: Instant, mark: Mark, proven: bool) {
        let first = if proven { FIRST_BAN_OF_PROVEN } else { FIRST_BAN };
        let length = self.bans.get(&mark).map_or(first, |ban| first.max(ban.length * 2)).min(LONGEST_BAN);
        if self.bans.len() >= BANS && !self.bans.contains_key(&mark) {
            let next = self.bans.iter().min_by_key(|(_, ban)| ban.until).map(|(mark, _)| *mark);
            next.map(|mark| self.bans.remove(&mark));
        }
        self.bans.insert(mark, Ban { until: now + length, length });
    }

    /// Until when the address is shut out, if it is.
    pub(super) fn of_address(&self, now: Instant, address: SocketAddr) -> Option<Instant> {
        self.latest(now, [Mark::Host(host_of(address.ip())), Mark::Address(address)])
    }

    /// Until when the peer is shut out, if it is.
    pub(super) fn of_peer(&self, now: Instant, address: SocketAddr, id: PeerId) -> Option<Instant> {
        self.of_address(now, address).max(self.latest(now, [Mark::Id(id)]))
    }

    fn latest<const N: usize>(&self, now: Instant, marks: [Mark; N]) -> Option<Instant> {
        let bans = marks.iter().filter_map(|mark| self.bans.get(mark));
        bans.map(|ban| ban.until).filter(|until| *until > now).max()
    }
}

/// What a ban shuts out: whoever has one IPv6 address of the internet has the whole /64. In a network of one's own each
/// address is another machine.
fn host_of(ip: IpAddr) -> IpAddr {
    if Reach::of(ip) == Reach::Global { network_of(ip) } else { ip.to_canonical() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offender(address: &str, id: u8, proven: bool) -> Offender {
        Offender { address: address.parse().unwrap(), reachable: None, id: PeerId([id; 20]), proven, good_blocks: 0 }
    }

    #[test]
    fn a_ban_holds_for_the_host_but_on_loopback_for_the_peer() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        bans.add(now, &offender("10.0.0.1:1", 7, false));
        assert!(bans.of_peer(now, "10.0.0.1:9".parse().unwrap(), PeerId([1; 20])).is_some());
        assert!(bans.of_peer(now, "10.0.0.2:1".parse().unwrap(), PeerId([7; 20])).is_none());
        bans.add(now, &offender("127.0.0.1:5", 8, false));
        let neighbour = "127.0.0.1:6".parse().unwrap();
        assert!(bans.of_peer(now, neighbour, PeerId([8; 20])).is_some());
        assert!(bans.of_peer(now, neighbour, PeerId([1; 20])).is_none());
        assert!(bans.of_address(now, "127.0.0.1:5".parse().unwrap()).is_some());
    }

    #[test]
    fn a_ban_of_an_ipv6_address_holds_for_its_network() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        bans.add(now, &offender("[2001:db8::1]:1", 7, false));
        bans.add(now, &offender("[fd00::1]:1", 7, false));
        let banned = |address: &str| bans.of_address(now, address.parse().unwrap()).is_some();
        assert!(banned("[2001:db8::ffff:2]:9") && !banned("[2001:db8:0:1::1]:9"));
        assert!(banned("[fd00::1]:9") && !banned("[fd00::2]:9"), "neighbours are other machines");
    }

    #[test]
    fn a_ban_ends_and_the_next_is_twice_as_long() {
        let (mut bans, mut now) = (Bans::default(), Instant::now());
        let address = "10.0.0.1:1";
        for (proven, minutes) in [(true, 1), (true, 2), (true, 4), (false, 10), (false, 20), (true, 40)] {
            bans.add(now, &offender(address, 1, proven));
            let length = Duration::from_secs(minutes * 60);
            assert_eq!(bans.of_address(now, address.parse().unwrap()), Some(now + length));
            now += length;
            assert_eq!(bans.of_address(now, address.parse().unwrap()), None);
        }
        for _ in 0..20 {
            bans.add(now, &offender(address, 1, false));
        }
        assert_eq!(bans.of_address(now, address.parse().unwrap()), Some(now + LONGEST_BAN));
    }

    #[test]
    fn bans_are_bounded_and_the_longest_stay() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        bans.add(now, &offender("10.0.0.1:1", 1, false));
        for number in 0..2 * u32::try_from(BANS).unwrap() {
            let ip = std::net::Ipv4Addr::from(0x0b00_0000 + number);
            let offender = Offender { address: (ip, 1).into(), ..offender("192.0.2.1:1", 1, true) };
            bans.add(now, &offender);
        }
        assert_eq!(bans.bans.len(), BANS);
        assert!(bans.of_address(now, "10.0.0.1:1".parse().unwrap()).is_some());
    }
}
