//! What an announce costs the store, by the number of torrents and of peers in one swarm. It may grow with neither, but
//! for what a larger table costs the cache.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use divan::Bencher;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_tracker_core::{Dialect, Rates, Store, StoreAnnounce, StoreConfig};

fn main() {
    divan::main();
}

fn wide<const LENGTH: usize>(number: u32) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn announce(torrent: u32, peer: u32) -> StoreAnnounce<'static> {
    StoreAnnounce {
        info_hash: InfoHash(wide(torrent)),
        peer_id: PeerId(wide(peer)),
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x2d00_0000 + peer)), 6_881),
        left: u64::from(peer % 2),
        event: AnnounceEvent::Regular,
        num_want: Some(50),
        dialect: Dialect::Http,
        passkey: None,
    }
}

/// A store of so many torrents with so many peers each.
fn store(torrents: u32, peers: u32) -> (Store, Instant) {
    let config = StoreConfig { rates: Rates::UNLIMITED, ..StoreConfig::default() };
    let now = Instant::now();
    let store = Store::new(config, now);
    for torrent in 0..torrents {
        for peer in 0..peers {
            store.announce(now, &announce(torrent, peer)).unwrap();
        }
    }
    (store, now)
}

/// Peers that are known announce again, and get fifty others.
#[divan::bench(args = [(1, 100), (1, 100_000), (1_000, 100), (100_000, 3)])]
fn announce_again(bencher: Bencher, (torrents, peers): (u32, u32)) {
    let (store, now) = store(torrents, peers);
    let mut random = SmallRng::seed_from_u64(1);
    bencher.bench_local(|| {
        let request = announce(random.random_range(0..torrents), random.random_range(0..peers));
        store.announce(now + Duration::from_secs(1), &request).unwrap()
    });
}

/// A peer comes and goes.
#[divan::bench(args = [100, 100_000])]
fn join_and_leave(bencher: Bencher, peers: u32) {
    let (store, now) = store(1, peers);
    let mut next = peers;
    bencher.bench_local(|| {
        next += 1;
        let come = announce(0, next);
        store.announce(now, &come).unwrap();
        store.announce(now, &StoreAnnounce { event: AnnounceEvent::Stopped, ..come }).unwrap();
    });
}
