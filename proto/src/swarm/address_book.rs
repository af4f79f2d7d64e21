//! The addresses that a swarm knows: where they came from, when to dial them next, and which are shut out.
//!
//! Bounded by [`limits::KNOWN_PEERS`]; an address that the user named is never evicted and is dialled for ever.

use crate::id::PeerId;
use crate::limits;
use crate::swarm::bans::{Bans, Offender};
use crate::swarm::contract::PeerSource;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// First pause after a failed dial; doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between dials of an address that the user named.
const LONGEST_USER_PAUSE: Duration = Duration::from_secs(15);
/// Longest pause between dials of any other address.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Longest pause between dials of an address at which we have traded: a network that was cut is found whole again soon.
const LONGEST_PROVED_PAUSE: Duration = Duration::from_secs(30);
/// Failures in a row after which an address from a tracker is forgotten.
const FORGET_AFTER: u32 = 6;
/// The same, for an address at which we have traded: an hour or so.
const FORGET_PROVED_AFTER: u32 = 120;

struct Known {
    source: PeerSource,
    state: Dial,
    failures: u32,
    /// Payload has gone one way or the other here.
    proved: bool,
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
    bans: Bans,
    dialling: usize,
}

impl AddressBook {
    pub(super) fn new() -> Self {
        Self { known: BTreeMap::new(), bans: Bans::default(), dialling: 0 }
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
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return;
        }
        let banned = self.bans.of_address(now, address);
        if let Some(known) = self.known.get_mut(&address) {
            if source == PeerSource::User {
                known.source = source;
            }
            // A push says that the peer is there right now. But a tracker must not make us dial anybody as often as it likes.
            let there = matches!(source, PeerSource::User | PeerSource::Push);
            if let (Dial::At(at), None, true) = (known.state, banned, there) {
                known.state = Dial::At(at.min(now + FIRST_PAUSE));
            }
            return;
        }
        if self.known.len() >= limits::KNOWN_PEERS && !self.evict_one() && source != PeerSource::User {
            return;
        }
        let state = Dial::At(banned.unwrap_or(now));
        self.known.insert(address, Known { source, state, failures: 0, proved: false });
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
            known.proved = true;
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
        let (longest, forget_after) = match (known.source, known.proved) {
            (PeerSource::User, _) => (LONGEST_USER_PAUSE, u32::MAX),
            (PeerSource::Metainfo, false) => (LONGEST_PAUSE, u32::MAX),
            (PeerSource::Metainfo, true) => (LONGEST_PROVED_PAUSE, u32::MAX),
            (_, true) => (LONGEST_PROVED_PAUSE, FORGET_PROVED_AFTER),
            (_, false) => (LONGEST_PAUSE, FORGET_AFTER),
        };
        if known.failures >= forget_after {
            self.known.remove(&address);
            return;
        }
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

    /// Shuts a peer out. Its addresses that we know are dialled again when that is over.
    pub(super) fn ban(&mut self, now: Instant, offender: &Offender) {
        self.bans.add(now, offender);
        for (address, known) in &mut self.known {
            if let (Some(until), Dial::At(_)) = (self.bans.of_address(now, *address), known.state) {
                known.state = Dial::At(until);
            }
        }
    }

    /// The peer that was dialled is shut out: nothing until that is over.
    pub(super) fn dialled_banned(&mut self, now: Instant, address: SocketAddr, id: PeerId) {
        self.leave_dialling(address);
        let until = self.bans.of_peer(now, address, id).unwrap_or(now + LONGEST_PAUSE);
        if let Some(known) = self.known.get_mut(&address) {
            known.state = Dial::At(until);
        }
    }

    pub(super) fn is_banned(&self, now: Instant, address: SocketAddr, id: PeerId) -> bool {
        self.bans.of_peer(now, address, id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn whom_a_metainfo_names_is_dialled_now_and_then() {
        let (mut book, mut now) = (AddressBook::new(), Instant::now());
        book.add(now, address(1), PeerSource::Metainfo);
        let mut dials = 0;
        for _ in 0..3_600 {
            while let Some(due) = book.take_due(now) {
                dials += 1;
                book.failed(now, due);
            }
            book.add(now, address(1), PeerSource::Metainfo);
            now += Duration::from_secs(1);
        }
        assert!((30..=40).contains(&dials) && book.len() == 1, "{dials}");
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
    fn where_we_have_traded_is_dialled_again_soon_and_for_long() {
        let (mut book, mut now) = (AddressBook::new(), Instant::now());
        book.add(now, address(1), PeerSource::Tracker);
        book.proved(address(1));
        let (mut last, mut longest) = (now, Duration::ZERO);
        for _ in 0..1_800 {
            while let Some(due) = book.take_due(now) {
                longest = longest.max(now - last);
                last = now;
                book.failed(now, due);
            }
            now += Duration::from_secs(1);
        }
        assert_eq!((book.len(), longest), (1, LONGEST_PROVED_PAUSE));
    }

    #[test]
    fn who_is_banned_is_not_dialled_before_the_end_of_the_ban() {
        let (mut book, now) = (AddressBook::new(), Instant::now());
        book.add(now, address(1), PeerSource::User);
        let id = PeerId([7; 20]);
        let offender = Offender { address: address(1), reachable: None, id, proven: true, good_blocks: 0 };
        book.ban(now, &offender);
        book.add(now, address(1), PeerSource::Push);
        assert!(book.is_banned(now, address(1), PeerId([1; 20])));
        assert_eq!(book.take_due(now + Duration::from_secs(59)), None);
        assert_eq!(book.take_due(now + Duration::from_secs(60)), Some(address(1)));
    }
}
