//! How often one network may ask, and how many peers it may bring in.
//!
//! Owns one small entry a network that asked lately, and nothing else. Invariant: memory is bounded whatever the number
//! of askers; when there are too many to remember, the longest silent are forgotten, and that only forgives.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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

/// What one network may do. Loopback may do all: a proxy brings everybody from there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// Announces and scrapes of an IPv4 address or an IPv6 /64.
    pub requests: Rate,
    /// Peers of an IPv4 address or an IPv6 /64 that were not in their swarm before; a new torrent takes one too. Since
    /// silent peers expire, this bounds how many of the store's peers and torrents one network can hold.
    pub joins: Rate,
    /// Torrents that nobody had announced before, of an IPv4 /24 or an IPv6 /48: what a flood of made-up info hashes from
    /// a rented block of addresses comes to.
    pub creations: Rate,
    /// Torrents whose peers an IPv4 /24 or an IPv6 /48 may ask for: whoever is told of peers has joined or asked without
    /// joining, and each of both takes one. It is what collectors of addresses run into.
    pub lists: Rate,
}

impl Rates {
    /// No limits.
    pub const UNLIMITED: Self =
        Self { requests: Rate::UNLIMITED, joins: Rate::UNLIMITED, creations: Rate::UNLIMITED, lists: Rate::UNLIMITED };
}

impl Default for Rates {
    /// 50 requests and 5 joins a second, 5,000 of each at once: a box with 10,000 torrents announces all of them every
    /// 5 minutes, a class of 1,000 behind one router joins at once, and one network holds 8,300 of 2,000,000 peers. A /24
    /// or /48 creates 10 torrents and is told of the peers of 50 a second, after 10,000 and 50,000 at once.
    fn default() -> Self {
        Self {
            requests: Rate { burst: 5_000, per_second: 50 },
            joins: Rate { burst: 5_000, per_second: 5 },
            creations: Rate { burst: 10_000, per_second: 10 },
            lists: Rate { burst: 50_000, per_second: 50 },
        }
    }
}

/// Asked too often; not before this time again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooOften(pub(crate) Duration);

/// The buckets of an address.
#[derive(Clone, Copy, Default, Debug)]
struct Buckets {
    requests: u64,
    joins: u64,
}

/// The buckets of a block of addresses.
#[derive(Clone, Copy, Default, Debug)]
struct BlockBuckets {
    creations: u64,
    lists: u64,
}

/// A table of bounded size that forgets without ever looking for what to forget: a full `young` becomes `old`, and the
/// `old` goes.
#[derive(Default, Debug)]
struct Generations<B> {
    capacity: usize,
    young: HashMap<IpAddr, B>,
    old: HashMap<IpAddr, B>,
}

impl<B: Copy + Default> Generations<B> {
    fn entry(&mut self, network: IpAddr) -> &mut B {
        if self.young.len() >= self.capacity && !self.young.contains_key(&network) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(network).or_insert_with(|| old.remove(&network).unwrap_or_default())
    }
}

/// The buckets of all networks of one kind.
#[derive(Debug)]
struct Table<B> {
    shards: Vec<Mutex<Generations<B>>>,
    hasher: RandomState,
}

impl<B: Copy + Default> Table<B> {
    fn new(capacity: usize) -> Self {
        let shard = |_| Mutex::new(Generations { capacity, young: HashMap::new(), old: HashMap::new() });
        Self { shards: (0..SHARDS).map(shard).collect(), hasher: RandomState::new() }
    }

    fn with(&self, network: IpAddr, take: impl FnOnce(&mut B) -> Result<(), Duration>) -> Result<(), TooOften> {
        let index = usize::try_from(self.hasher.hash_one(network) % SHARDS as u64).unwrap_or_default();
        let Some(shard) = self.shards.get(index) else { return Ok(()) };
        take(shard.lock().unwrap_or_else(PoisonError::into_inner).entry(network)).map_err(TooOften)
    }
}

/// The buckets of all networks.
#[derive(Debug)]
pub(crate) struct Limiter {
    addresses: Table<Buckets>,
    blocks: Table<BlockBuckets>,
    start: Instant,
    rates: Rates,
}

impl Limiter {
    pub(crate) fn new(rates: Rates, start: Instant) -> Self {
        Self::with_capacity(rates, start, NETWORKS)
    }

    fn with_capacity(rates: Rates, start: Instant, capacity: usize) -> Self {
        Self { addresses: Table::new(capacity), blocks: Table::new(capacity), start, rates }
    }

    /// Counts so many requests of `ip`.
    pub(crate) fn request(&self, now: Instant, ip: IpAddr, cost: u32) -> Result<(), TooOften> {
        if self.is_free(ip) {
            return Ok(());
        }
        self.addresses.with(network_of(ip), |buckets| {
            buckets.requests = self.rates.requests.take(buckets.requests, self.micros(now), cost)?;
            Ok(())
        })
    }

    /// Counts a peer at `ip` that was not there before, and the torrent with it if that was not there either.
    ///
    /// The address pays first, and pays even if its block has nothing left: so no address can empty its block's buckets
    /// faster than its own.
    pub(crate) fn join(&self, now: Instant, ip: IpAddr, new_torrent: bool) -> Result<(), TooOften> {
        if self.is_free(ip) {
            return Ok(());
        }
        let (micros, cost) = (self.micros(now), 1 + u32::from(new_torrent));
        self.addresses.with(network_of(ip), |buckets| {
            buckets.joins = self.rates.joins.take(buckets.joins, micros, cost)?;
            Ok(())
        })?;
        self.blocks.with(block_of(ip), |buckets| {
            let lists = self.rates.lists.take(buckets.lists, micros, 1)?;
            if new_torrent {
                buckets.creations = self.rates.creations.take(buckets.creations, micros, 1)?;
            }
            buckets.lists = lists;
            Ok(())
        })
    }

    /// Counts a question for the peers of a torrent by somebody who does not join it.
    pub(crate) fn list(&self, now: Instant, ip: IpAddr) -> Result<(), TooOften> {
        if self.is_free(ip) {
            return Ok(());
        }
        self.blocks.with(block_of(ip), |buckets| {
            buckets.lists = self.rates.lists.take(buckets.lists, self.micros(now), 1)?;
            Ok(())
        })
    }

    fn is_free(&self, ip: IpAddr) -> bool {
        self.rates == Rates::UNLIMITED || ip.to_canonical().is_loopback()
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }
}

/// The block that an address belongs to: an IPv4 /24 or an IPv6 /48, which is what one customer rents.
fn block_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !0xff).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        requests: Rate { burst: 3, per_second: 2 },
        joins: Rate { burst: 1, per_second: 1 },
        ..Rates::UNLIMITED
    };

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
        assert!(limiter.join(now, ip("2001:db8::1"), false).is_ok(), "another bucket");
        assert!(limiter.join(now, ip("2001:db8::1"), false).is_err());
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
        let kept = |shard: &Mutex<Generations<Buckets>>| {
            let table = shard.lock().unwrap();
            table.young.len() + table.old.len()
        };
        let kept: usize = limiter.addresses.shards.iter().map(kept).sum();
        assert!((SHARDS * capacity / 2..=2 * SHARDS * capacity).contains(&kept), "{kept}");
    }
    #[test]
    fn a_block_of_addresses_creates_and_lists_so_many_torrents() {
        let now = Instant::now();
        let rates = Rates {
            creations: Rate { burst: 10, per_second: 1 },
            lists: Rate { burst: 15, per_second: 1 },
            ..Rates::UNLIMITED
        };
        let limiter = Limiter::new(rates, now);
        let join = |n: u32, new| limiter.join(now, Ipv4Addr::from(0x0b00_0000 + n).into(), new).is_ok();
        assert_eq!((0..256).filter(|&n| join(n, true)).count(), 10, "one /24");
        assert_eq!((0..256).filter(|&n| join(n, false)).count(), 5, "what is left of the lists");
        assert!(join(256, true), "the next /24");
        assert!((0..10).all(|n| limiter.join(now, ip(&format!("2001:db8:0:{n}::1")), true).is_ok()));
        assert!(limiter.join(now, ip("2001:db8:0:ffff::1"), true).is_err(), "one /48");
        assert!(limiter.join(now, ip("2001:db8:1::1"), true).is_ok(), "the next /48");
        assert!(limiter.list(now, ip("2001:db8:1::2")).is_ok());
        let asked = (0..100).filter(|_| limiter.list(now, ip("2001:db8:1::2")).is_ok()).count();
        assert_eq!(asked, 13, "15 of which one was spent by joining and one before");
    }
}
