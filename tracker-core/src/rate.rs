//! How often one network may ask, and how many peers it may bring in.
//!
//! Owns one small entry a network that asked lately, and nothing else. Invariant: memory is bounded whatever the number
//! of askers; when there are too many to remember, the longest silent are forgotten, and that only forgives.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use swarm_proto::announce::network_of;

/// Locks: as many as the store has.
const SHARDS: usize = 64;
/// Networks that one shard remembers twice over (see [`Generations`]): 524,288 in all, of some 50 bytes each.
const NETWORKS: usize = 4_096;

/// A bucket of tokens: `burst` at once, and then `per_second`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// What may come at once after a long silence.
    pub burst: u32,
    /// What may come for ever; 0 for no limit at all.
    pub per_second: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { burst: 0, per_second: 0 };

    /// The bucket's new state with `cost` taken out of it, or how long to wait for that.
    ///
    /// The state is the time in microseconds at which the bucket is full again (the generic cell rate algorithm).
    fn take(self, full_at: u64, now: u64, cost: u32) -> Result<u64, Duration> {
        let Some(each) = 1_000_000_u64.checked_div(self.per_second.into()) else { return Ok(full_at) };
        let full_at = full_at.max(now) + each * u64::from(cost);
        match (full_at - now).checked_sub(each * u64::from(self.burst)) {
            None | Some(0) => Ok(full_at),
            Some(wait) => Err(Duration::from_micros(wait)),
        }
    }
}

/// What one network (an IPv4 address, an IPv6 /64) may do. Loopback may do all: a proxy brings everybody from there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// Announces and scrapes.
    pub requests: Rate,
    /// Peers that were not in their swarm before; a new torrent takes one too. Since silent peers expire, this bounds
    /// how many of the store's peers and torrents one network can hold.
    pub joins: Rate,
}

impl Rates {
    /// No limits.
    pub const UNLIMITED: Self = Self { requests: Rate::UNLIMITED, joins: Rate::UNLIMITED };
}

impl Default for Rates {
    /// 50 requests and 5 joins a second, 5,000 of each at once: a box with 10,000 torrents announces all of them every
    /// 5 minutes, a class of 1,000 behind one router joins at once, and one network holds 8,300 of 2,000,000 peers.
    fn default() -> Self {
        Self { requests: Rate { burst: 5_000, per_second: 50 }, joins: Rate { burst: 5_000, per_second: 5 } }
    }
}

/// Asked too often; not before this time again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooOften(pub(crate) Duration);

#[derive(Clone, Copy, Default, Debug)]
struct Buckets {
    requests: u64,
    joins: u64,
}

/// A table of bounded size that forgets without ever looking for what to forget: a full `young` becomes `old`, and the
/// `old` goes.
#[derive(Default, Debug)]
struct Generations {
    capacity: usize,
    young: HashMap<IpAddr, Buckets>,
    old: HashMap<IpAddr, Buckets>,
}

impl Generations {
    fn entry(&mut self, network: IpAddr) -> &mut Buckets {
        if self.young.len() >= self.capacity && !self.young.contains_key(&network) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(network).or_insert_with(|| old.remove(&network).unwrap_or_default())
    }
}

/// The buckets of all networks.
#[derive(Debug)]
pub(crate) struct Limiter {
    shards: Vec<Mutex<Generations>>,
    hasher: RandomState,
    start: Instant,
    rates: Rates,
}

impl Limiter {
    pub(crate) fn new(rates: Rates, start: Instant) -> Self {
        Self::with_capacity(rates, start, NETWORKS)
    }

    fn with_capacity(rates: Rates, start: Instant, capacity: usize) -> Self {
        let shard = |_| Mutex::new(Generations { capacity, ..Generations::default() });
        Self { shards: (0..SHARDS).map(shard).collect(), hasher: RandomState::new(), start, rates }
    }

    /// Counts so many requests of `ip`.
    pub(crate) fn request(&self, now: Instant, ip: IpAddr, cost: u32) -> Result<(), TooOften> {
        self.with(ip, |buckets| {
            buckets.requests = self.rates.requests.take(buckets.requests, self.micros(now), cost)?;
            Ok(())
        })
    }

    /// Counts a peer at `ip` that was not there before, and the torrent with it if that was not there either.
    pub(crate) fn join(&self, now: Instant, ip: IpAddr, cost: u32) -> Result<(), TooOften> {
        self.with(ip, |buckets| {
            buckets.joins = self.rates.joins.take(buckets.joins, self.micros(now), cost)?;
            Ok(())
        })
    }

    fn with(&self, ip: IpAddr, take: impl FnOnce(&mut Buckets) -> Result<(), Duration>) -> Result<(), TooOften> {
        if ip.to_canonical().is_loopback() || self.rates == Rates::UNLIMITED {
            return Ok(());
        }
        let network = network_of(ip);
        let index = usize::try_from(self.hasher.hash_one(network) % SHARDS as u64).unwrap_or_default();
        let Some(shard) = self.shards.get(index) else { return Ok(()) };
        take(shard.lock().unwrap_or_else(PoisonError::into_inner).entry(network)).map_err(TooOften)
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const RATES: Rates = Rates { requests: Rate { burst: 3, per_second: 2 }, joins: Rate { burst: 1, per_second: 1 } };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let now = Instant::now();
        let limiter = Limiter::new(RATES, now);
        let ask = |at| limiter.request(now + Duration::from_millis(at), ip("192.0.2.1"), 1);
        assert_eq!([ask(0), ask(0), ask(0)], [Ok(()); 3]);
        assert_eq!(ask(0), Err(TooOften(Duration::from_millis(500))), "a refusal takes nothing");
        assert_eq!(ask(400), Err(TooOften(Duration::from_millis(100))));
        assert_eq!((ask(500), ask(500).is_err()), (Ok(()), true));
        let answered = (10_000..20_000).filter(|&at| ask(at).is_ok()).count();
        assert_eq!(answered, 3 + 2 * 10 - 1);
    }

    #[test]
    fn networks_do_not_pay_for_each_other_and_one_customer_is_one() {
        let now = Instant::now();
        let limiter = Limiter::new(RATES, now);
        assert!(limiter.request(now, ip("2001:db8::1"), 3).is_ok());
        assert!(limiter.request(now, ip("2001:db8::ffff:2"), 1).is_err(), "the same /64");
        assert!(limiter.request(now, ip("2001:db8:0:1::1"), 3).is_ok(), "the next /64");
        assert!(limiter.join(now, ip("2001:db8::1"), 1).is_ok(), "another bucket");
        assert!(limiter.join(now, ip("2001:db8::1"), 1).is_err());
        for _ in 0..1_000 {
            assert!(limiter.request(now, ip("::ffff:127.0.0.1"), 1).is_ok(), "a proxy");
        }
    }

    #[test]
    fn any_number_of_networks_takes_bounded_memory_and_the_busy_are_remembered() {
        let now = Instant::now();
        let capacity = 64;
        let limiter = Limiter::with_capacity(RATES, now, capacity);
        for n in 0..50_000_u32 {
            let _ = limiter.request(now, Ipv4Addr::from(0x0b00_0000 + n).into(), 1);
            if n % 500 == 0 {
                let busy = limiter.request(now, ip("192.0.2.1"), 1);
                assert_eq!(busy.is_ok(), n < 1_500, "{n}");
            }
        }
        let kept = |shard: &Mutex<Generations>| {
            let table = shard.lock().unwrap();
            table.young.len() + table.old.len()
        };
        let kept: usize = limiter.shards.iter().map(kept).sum();
        assert!((SHARDS * capacity / 2..=2 * SHARDS * capacity).contains(&kept), "{kept}");
    }
}
