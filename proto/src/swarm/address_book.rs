//! The addresses that a swarm knows: where they came from, when to dial them next, and which are shut out.
//!
//! Bounded by [`limits::KNOWN_PEERS`]; an address that the user named is never evicted and is dialled for ever.

use crate::announce::{Reach, network_of};
use crate::id::PeerId;
use crate::limits;
use crate::swarm::contract::PeerSource;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// First pause after a failed dial; doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between dials of an address that the user named.
const LONGEST_USER_PAUSE: Duration = Duration::from_secs(15);
/// Longest pause between dials of any other address.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Failures in a row after which an address from a tracker is forgotten.
const FORGET_AFTER: u32 = 6;
/// Bans kept; an attacker with more addresses than this meets the connection limits instead.
const BANS: usize = 10_000;

struct Known {
    source: PeerSource,
    state: Dial,
    failures: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dial {
    At(Instant),
    UnderWay,
    Connected,
    Never,
}

pub(super) struct AddressBook {
    known: BTreeMap<SocketAddr, Known>,
    banned_hosts: BTreeSet<IpAddr>,
    banned_ids: BTreeSet<PeerId>,
    banned_addresses: BTreeSet<SocketAddr>,
    dialling: usize,
}

impl AddressBook {
    pub(super) fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            banned_hosts: BTreeSet::new(),
            banned_ids: BTreeSet::new(),
            banned_addresses: BTreeSet::new(),
            dialling: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Dials that have been asked for and not answered.
    pub(super) fn dialling(&self) -> usize {
        self.dialling
    }

    /// Learns of an address. Ports of 0 and addresses that cannot be dialled are dropped.
    pub(super) fn add(&mut self, now: Instant, address: SocketAddr, source: PeerSource) {
        let ip = address.ip();
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || self.is_address_banned(address) {
            return;
        }
        if let Some(known) = self.known.get_mut(&address) {
            if source == PeerSource::User {
                known.source = source;
            }
            // A push says that the peer is there right now. But a tracker must not make us dial anybody as often as it likes.
            if let (Dial::At(at), true) = (known.state, source != PeerSource::Tracker) {
                known.state = Dial::At(at.min(now + FIRST_PAUSE));
            }
            return;
        }
        if self.known.len() >= limits::KNOWN_PEERS && !self.evict_one() && source != PeerSource::User {
            return;
        }
        self.known.insert(address, Known { source, state: Dial::At(now), failures: 0 });
    }

    fn evict_one(&mut self) -> bool {
        let evictable = |known: &Known| {
            known.source != PeerSource::User && !matches!(known.state, Dial::UnderWay | Dial::Connected)
        };
        let worst = self.known.iter().filter(|(_, known)| evictable(known)).max_by_key(|(_, known)| known.failures);
        let worst = worst.map(|(address, _)| *address);
        worst.and_then(|address| self.known.remove(&address)).is_some()
    }

    /// The next address whose time has come, now marked as being dialled.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<SocketAddr> {
        let due = |known: &Known| matches!(known.state, Dial::At(at) if at <= now);
        let candidates = self.known.iter_mut().filter(|(_, known)| due(known));
        let (address, known) =
            candidates.min_by_key(|(_, known)| (known.source != PeerSource::User, known.failures))?;
        known.state = Dial::UnderWay;
        self.dialling += 1;
        Some(*address)
    }

    /// When the next address is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let at = |known: &Known| if let Dial::At(at) = known.state { Some(at) } else { None };
        self.known.values().filter_map(at).min()
    }

    /// A connection stands at this address.
    pub(super) fn connected(&mut self, address: SocketAddr) {
        self.leave_dialling(address);
        if let Some(known) = self.known.get_mut(&address) {
            known.state = Dial::Connected;
        }
    }

    /// Whether a connection stands at this address.
    pub(super) fn is_connected(&self, address: SocketAddr) -> bool {
        self.known.get(&address).is_some_and(|known| known.state == Dial::Connected)
    }

    /// A connection to this address is useful: earlier failures are forgiven.
    pub(super) fn proved(&mut self, address: SocketAddr) {
        if let Some(known) = self.known.get_mut(&address) {
            known.failures = 0;
        }
    }

    /// No connection, or no longer one.
    pub(super) fn failed(&mut self, now: Instant, address: SocketAddr) {
        self.leave_dialling(address);
        let Some(known) = self.known.get_mut(&address) else { return };
        if known.state == Dial::Never {
            return;
        }
        known.failures += 1;
        if known.source != PeerSource::User && known.failures >= FORGET_AFTER {
            self.known.remove(&address);
            return;
        }
        let longest = if known.source == PeerSource::User { LONGEST_USER_PAUSE } else { LONGEST_PAUSE };
        let pause = FIRST_PAUSE.saturating_mul(1 << (known.failures - 1).min(10)).min(longest);
        known.state = Dial::At(now + pause);
    }

    /// There is no point in dialling this address again (ourselves, both seeds).
    pub(super) fn never_again(&mut self, address: SocketAddr) {
        self.leave_dialling(address);
        if let Some(known) = self.known.get_mut(&address) {
            known.state = Dial::Never;
        }
    }

    /// What was pointless may have a point again: we lack pieces now.
    pub(super) fn reconsider(&mut self, now: Instant) {
        for known in self.known.values_mut().filter(|known| known.state == Dial::Never) {
            known.state = Dial::At(now);
        }
    }

    fn leave_dialling(&mut self, address: SocketAddr) {
        if self.known.get(&address).is_some_and(|known| known.state == Dial::UnderWay) {
            self.dialling -= 1;
        }
    }

    /// Shuts a peer out for as long as the swarm lives. Machines behind one address are one machine to us, except on
    /// the loopback, where every test swarm and many a proxy lives: there the id and the listening address stand for it.
    pub(super) fn ban(&mut self, address: SocketAddr, listens: Option<SocketAddr>, id: PeerId) {
        if self.banned_ids.len() + self.banned_addresses.len() >= BANS {
            return;
        }
        if address.ip().to_canonical().is_loopback() {
            self.banned_ids.insert(id);
            self.banned_addresses.extend([Some(address), listens].into_iter().flatten());
        }
        self.ban_host(address.ip());
    }

    /// Shuts out whoever comes from this address, unless it is the loopback.
    pub(super) fn ban_host(&mut self, ip: IpAddr) {
        let host = host_of(ip);
        if !host.is_loopback() && self.banned_hosts.len() < BANS {
            self.banned_hosts.insert(host);
        }
        let banned: Vec<_> = self.known.keys().copied().filter(|known| self.is_address_banned(*known)).collect();
        for known in banned {
            self.never_again(known);
        }
    }

    fn is_address_banned(&self, address: SocketAddr) -> bool {
        self.banned_hosts.contains(&host_of(address.ip())) || self.banned_addresses.contains(&address)
    }

    pub(super) fn is_banned(&self, address: SocketAddr, id: PeerId) -> bool {
        self.is_address_banned(address) || self.banned_ids.contains(&id)
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

    #[test]
    fn a_ban_of_an_ipv6_address_holds_for_its_network() {
        let mut book = AddressBook::new();
        let id = PeerId([7; 20]);
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 6881);
        book.ban(at("2001:db8::1"), None, id);
        book.ban(at("fd00::1"), None, id);
        let banned = |ip: &str| book.is_banned(at(ip), PeerId([1; 20]));
        assert!(banned("2001:db8::ffff:2") && !banned("2001:db8:0:1::1"));
        assert!(banned("fd00::1") && !banned("fd00::2"), "neighbours are other machines");
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6881))
    }

    #[test]
    fn what_cannot_be_dialled_is_not_known() {
        let (mut book, now) = (AddressBook::new(), Instant::now());
        for bad in ["10.0.0.1:0", "0.0.0.0:80", "224.0.0.1:80", "[::]:80"] {
            book.add(now, bad.parse().unwrap(), PeerSource::User);
        }
        assert_eq!((book.len(), book.take_due(now)), (0, None));
    }

    #[test]
    fn the_user_is_dialled_for_ever_a_tracker_is_forgotten() {
        let (mut book, mut now) = (AddressBook::new(), Instant::now());
        book.add(now, address(1), PeerSource::User);
        book.add(now, address(2), PeerSource::Tracker);
        let mut dials = [0, 0];
        for _ in 0..600 {
            while let Some(due) = book.take_due(now) {
                dials[usize::from(due == address(2))] += 1;
                book.failed(now, due);
            }
            now += Duration::from_secs(1);
        }
        assert_eq!((dials[1], book.len(), book.dialling()), (FORGET_AFTER, 1, 0));
        assert!((40..=60).contains(&dials[0]), "{dials:?}");
    }

    #[test]
    fn the_book_is_bounded_and_keeps_what_the_user_named() {
        let (mut book, now) = (AddressBook::new(), Instant::now());
        book.add(now, address(1), PeerSource::User);
        for n in 0..10_000u32 {
            let ip = std::net::Ipv4Addr::from(0x0b00_0000 + n);
            book.add(now, (ip, 1).into(), PeerSource::Tracker);
        }
        assert_eq!(book.len(), limits::KNOWN_PEERS);
        assert_eq!(book.take_due(now), Some(address(1)));
    }

    #[test]
    fn a_ban_holds_for_the_host_but_on_loopback_for_the_peer() {
        let (mut book, now) = (AddressBook::new(), Instant::now());
        let id = PeerId([7; 20]);
        book.add(now, address(1), PeerSource::User);
        book.ban(address(1), None, id);
        assert!(book.is_banned(SocketAddr::from(([10, 0, 0, 1], 9)), PeerId([1; 20])));
        assert_eq!(book.take_due(now), None);
        let local = SocketAddr::from(([127, 0, 0, 1], 5));
        book.ban(local, None, id);
        assert!(book.is_banned(SocketAddr::from(([127, 0, 0, 1], 6)), id));
        assert!(!book.is_banned(SocketAddr::from(([127, 0, 0, 1], 6)), PeerId([1; 20])));
    }
}
