//! What is left of the rates of those whose connections are gone, so that nobody gets fresh ones by coming again.
//!
//! Nobody proves who it is before it is a neighbour, so what counts is where a connection comes from. Who comes from where
//! another one left a while ago gets what that one left: people behind one address share no more than that, for whoever
//! was no flood has left nearly everything. Invariant: at most [`KEPT`] are kept, for [`FOR`] at most.

use super::neighbour::Rates;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How many are kept: as many as a room has neighbours in the largest rooms, some times over. The oldest make room.
pub(super) const KEPT: usize = 256;
/// For how long: after that each rate is full again.
pub(super) const FOR: Duration = Duration::from_secs(1_300);
/// What one household has of IPv6.
const NETWORK: u128 = !0 << 64;

/// Where a neighbour comes from, and whether over a tracker, where other rates hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    network: IpAddr,
    relayed: bool,
}

impl Origin {
    pub(super) fn new(address: IpAddr, relayed: bool) -> Self {
        let network = match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
            v4 @ IpAddr::V4(_) => v4,
        };
        Self { network, relayed }
    }
}

/// All that are kept, the oldest first.
#[derive(Default)]
pub(super) struct Returning {
    left: VecDeque<(Instant, Origin, Rates)>,
}

impl Returning {
    /// A neighbour from there is gone.
    pub(super) fn keep(&mut self, now: Instant, from: Origin, rates: Rates) {
        self.forget(now);
        if self.left.len() >= KEPT {
            self.left.pop_front();
        }
        self.left.push_back((now, from, rates));
    }

    /// What the first who left from there has left, if it was not long ago. Each is given once.
    pub(super) fn take(&mut self, now: Instant, from: Origin) -> Option<Rates> {
        self.forget(now);
        let at = self.left.iter().position(|(_, origin, _)| *origin == from)?;
        self.left.remove(at).map(|(_, _, rates)| rates)
    }

    fn forget(&mut self, now: Instant) {
        while self.left.front().is_some_and(|(left, ..)| now.saturating_duration_since(*left) >= FOR) {
            self.left.pop_front();
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.left.len()
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.left.len() <= KEPT, "{} rates of who is gone", self.left.len());
    }
}
