//! What a tracker's store costs: bytes a torrent and a peer, announces a second on one core, and how long the longest
//! announce and the longest slice of an expiry take.
//!
//! `store_load [TORRENTS] [PEERS-PER-TORRENT] [PEERS-OF-ONE-LARGE-SWARM]`: 2,000,000, 6 and 1,000,000 if not told. Memory is
//! what the process has resident (`/proc/self/statm`), times are of the processor (`CLOCK_THREAD_CPUTIME_ID`), so that other
//! programs on the machine do not count; the last lines are of the clock on the wall.

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_tracker_core::{CompactPeers, Dialect, Rates, Store, StoreAnnounce, StoreConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Announces that are timed one by one, each kind.
const SAMPLE: u32 = 2_000_000;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let mut number = |usual: u32| arguments.next().unwrap_or(Ok(usual)).context("not a number");
    let (torrents, peers, large) = (number(2_000_000)?, number(6)?, number(1_000_000)?);
    let now = Instant::now();
    let config = StoreConfig {
        max_torrents: torrents as usize + 10,
        max_peers: (torrents as usize) * (peers as usize) + large as usize + 10,
        rates: Rates::UNLIMITED,
        seed: 1,
        ..StoreConfig::default()
    };
    let before = resident()?;
    let store = Store::new(config, now);
    println!(
        "store of {torrents} torrents with {peers} IPv4 peers each, {} KB when empty",
        (resident()? - before) / 1_000
    );
    fill(&store, now, torrents, peers);
    memory(&store, before, torrents, peers)?;
    again(&store, now, torrents, peers);
    if large > 0 {
        one_large(&store, now, large)?;
    }
    expiry(&store, now, torrents, peers)
}

/// Everybody joins, in an order that mixes the swarms.
fn fill(store: &Store, now: Instant, torrents: u32, peers: u32) {
    let mut out = CompactPeers::default();
    let mut times = Times::default();
    for peer in 0..peers {
        for torrent in 0..torrents {
            let request = StoreAnnounce { num_want: Some(0), ..announce(torrent, peer) };
            times.time(|| store.announce_into(now, &request, &mut out).expect("room"));
        }
    }
    times.print("join");
}

fn memory(store: &Store, before: u64, torrents: u32, peers: u32) -> Result<()> {
    let taken = resident()? - before;
    let each = taken as f64 / f64::from(torrents);
    let goal = 100 + 10 * peers;
    println!(
        "resident {} MB: {each:.1} B a torrent with its {peers} peers (goal {goal}); that is {:.1} B a torrent beside 10 B a \
         peer; counted by the store: {} MB",
        taken / 1_000_000,
        each - 10.0 * f64::from(peers),
        store.stats().bytes / 1_000_000,
    );
    Ok(())
}

/// Peers that are known announce again and get the others, in random order.
fn again(store: &Store, now: Instant, torrents: u32, peers: u32) {
    let (mut out, mut times) = (CompactPeers::default(), Times::default());
    let count = SAMPLE.min(torrents * peers);
    let request = |n: u32| announce(mixed(n) % torrents, n % peers);
    let start = processor();
    for n in 0..count {
        store.announce_into(now, &request(n), &mut out).expect("known");
    }
    let each = (processor() - start).as_nanos() as f64 / f64::from(count);
    println!("announce again, at random: {each:.0} ns, {:.0}/s on one core", 1e9 / each);
    for n in 0..count {
        times.time(|| store.announce_into(now, &request(n), &mut out).expect("known"));
    }
    times.print("announce again");
}

/// One swarm of very many.
fn one_large(store: &Store, now: Instant, peers: u32) -> Result<()> {
    let (mut out, mut times) = (CompactPeers::default(), Times::default());
    let before = resident()?;
    let hash = u32::MAX;
    for peer in 0..peers {
        let request = StoreAnnounce { num_want: Some(0), ..announce(hash, peer) };
        times.time(|| store.announce_into(now, &request, &mut out).expect("room"));
    }
    println!("one swarm of {peers}: {:.1} B a peer", (resident()? - before) as f64 / f64::from(peers));
    times.print("join the large swarm");
    let (count, start) = (200_000, processor());
    for n in 0..count {
        let request = StoreAnnounce { num_want: Some(50), ..announce(hash, mixed(n) % peers) };
        store.announce_into(now, &request, &mut out).expect("known");
    }
    let each = (processor() - start).as_nanos() as f64 / f64::from(count);
    println!("50 peers of the large swarm: {each:.0} ns");
    Ok(())
}

/// Half of all peers are too old, the others are not; a thread announces meanwhile.
fn expiry(store: &Store, now: Instant, torrents: u32, peers: u32) -> Result<()> {
    let mut out = CompactPeers::default();
    let later = now + Duration::from_secs(600);
    for torrent in 0..torrents {
        for peer in (0..peers).step_by(2) {
            let request = StoreAnnounce { num_want: Some(0), ..announce(torrent, peer) };
            store.announce_into(later, &request, &mut out).expect("known");
        }
    }
    let noise = walls(store, later, torrents, peers, || std::thread::sleep(Duration::from_secs(5)));
    let mut slices = Times::default();
    let mut expired = 0;
    let walls = walls(store, later, torrents, peers, || {
        let mut begun = processor();
        expired = store.expire_in_slices(now + Duration::from_secs(1_000), || {
            slices.add(processor() - begun);
            begun = processor();
        });
    });
    println!("expired {expired} peers");
    slices.print("slice of an expiry");
    noise.print("announce on the wall, without an expiry");
    walls.print("announce on the wall, during the expiry");
    store.check_invariants();
    Ok(())
}

/// How long announces take while something else is done.
fn walls(store: &Store, now: Instant, torrents: u32, peers: u32, work: impl FnOnce()) -> Times {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let announcer = scope.spawn(|| {
            let (mut out, mut times, mut n) = (CompactPeers::default(), Times::default(), 0);
            while !over.load(Relaxed) {
                n += 1;
                let start = Instant::now();
                store.announce_into(now, &announce(mixed(n) % torrents, 2 * n % peers), &mut out).expect("known");
                times.add(start.elapsed());
            }
            times
        });
        work();
        over.store(true, Relaxed);
        announcer.join().expect("no panic")
    })
}

/// Durations, by their count in each eighth of a power of two.
#[derive(Default)]
struct Times {
    counts: std::collections::BTreeMap<u64, u64>,
    longest: Duration,
    count: u64,
}

impl Times {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = processor();
        let outcome = work();
        self.add(processor() - start);
        outcome
    }

    fn add(&mut self, time: Duration) {
        let nanos = time.as_nanos() as u64;
        let unit = (nanos.max(8).ilog2() - 3).max(1);
        *self.counts.entry(nanos >> unit << unit).or_default() += 1;
        self.longest = self.longest.max(time);
        self.count += 1;
    }

    fn part(&self, part: f64) -> f64 {
        let mut left = (self.count as f64 * part) as u64;
        let found = self.counts.iter().find(|(_, count)| {
            let within = left < **count;
            left = left.saturating_sub(**count);
            within
        });
        found.map_or(0.0, |(nanos, _)| *nanos as f64 / 1e3)
    }

    fn print(&self, what: &str) {
        let (half, most, nearly_all) = (self.part(0.5), self.part(0.99), self.part(0.9999));
        let longest = self.longest.as_nanos() as f64 / 1e3;
        let late = self.counts.range(1_000_000..).map(|(_, count)| count).sum::<u64>();
        println!(
            "{what}: {} times; µs: p50 {half:.2}, p99 {most:.2}, p99.99 {nearly_all:.1}, longest {longest:.0}; over 1 ms: {late}",
            self.count
        );
    }
}

fn processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split_whitespace().nth(1).context("no such field")?.parse()?;
    Ok(pages * 4_096)
}

/// A permutation of the numbers that looks random.
fn mixed(n: u32) -> u32 {
    let n = (n ^ n >> 16).wrapping_mul(0x7feb_352d);
    let n = (n ^ n >> 15).wrapping_mul(0x846c_a68b);
    n ^ n >> 16
}

fn announce(torrent: u32, peer: u32) -> StoreAnnounce<'static> {
    let mut hash = [0; 20];
    for (at, chunk) in hash.chunks_exact_mut(4).enumerate() {
        chunk.copy_from_slice(&mixed(torrent ^ at as u32).to_be_bytes());
    }
    let mut id = *b"-XX0000-000000000000";
    id[16..].copy_from_slice(&mixed(peer ^ torrent).to_be_bytes());
    let [a, b, c, d] = mixed(peer.wrapping_mul(2_000_003).wrapping_add(torrent)).to_be_bytes();
    StoreAnnounce {
        info_hash: InfoHash(hash),
        peer_id: PeerId(id),
        address: SocketAddr::from(([11 + a % 80, b, c, d], 1_024 + (a as u16) * 7)),
        left: u64::from(peer % 3),
        event: AnnounceEvent::Regular,
        num_want: Some(50),
        dialect: Dialect::Http,
        passkey: None,
    }
}
