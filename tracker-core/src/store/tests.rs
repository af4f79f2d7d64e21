use super::*;
use crate::ChangeKind;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const HASH: InfoHash = InfoHash([1; 20]);

/// A store, and the instant at which it was made.
fn store(config: StoreConfig) -> (Store, Instant) {
    let now = Instant::now();
    (Store::new(config, now), now)
}

fn announce(n: u16, left: u64) -> StoreAnnounce<'static> {
    let [high, low] = n.to_be_bytes();
    let mut id = [0; 20];
    id[..2].copy_from_slice(&[high, low]);
    StoreAnnounce {
        info_hash: HASH,
        peer_id: PeerId(id),
        address: SocketAddr::from(([8, 8, high, low], 6881)),
        left,
        event: AnnounceEvent::Started,
        num_want: Some(200),
        dialect: Dialect::Http,
        passkey: None,
    }
}

fn torrent(n: u16) -> InfoHash {
    let mut hash = [0; 20];
    hash[..2].copy_from_slice(&n.to_be_bytes());
    InfoHash(hash)
}

fn addresses(reply: &StoreReply) -> HashSet<SocketAddr> {
    reply.peers.iter().map(|peer| peer.address).collect()
}

#[test]
fn leechers_get_all_and_seeds_get_leechers() {
    let (store, now) = store(StoreConfig::default());
    let [seed, other_seed, leecher, other_leecher] =
        [(1, 0), (2, 0), (3, 9), (4, 9)].map(|(n, left)| announce(n, left));
    for peer in [seed, other_seed, leecher] {
        store.announce(now, &peer).unwrap();
    }
    let reply = store.announce(now, &other_leecher).unwrap();
    assert_eq!((reply.complete, reply.incomplete, reply.downloaded), (2, 2, 0));
    assert_eq!(addresses(&reply), HashSet::from([seed.address, other_seed.address, leecher.address]));
    let reply = store.announce(now, &seed).unwrap();
    assert_eq!(addresses(&reply), HashSet::from([leecher.address, other_leecher.address]));
    assert_eq!(reply.peers[0].peer_id, None, "ids are not kept");
}

#[test]
fn over_udp_peers_of_the_same_family_are_found_however_few_they_are() {
    let (store, now) = store(StoreConfig::default());
    let at = |n: u16, address: &str| StoreAnnounce { address: address.parse().unwrap(), ..announce(n, 9) };
    for n in 0..400 {
        store.announce(now, &announce(n, 9)).unwrap();
    }
    let few: HashSet<SocketAddr> = (1..=9)
        .map(|n| at(500 + n, &format!("[2001:db8::{n}]:1")))
        .map(|peer| {
            store.announce(now, &peer).unwrap();
            peer.address
        })
        .collect();
    let asker = |dialect| StoreAnnounce { dialect, num_want: Some(30), ..at(600, "[2001:db8::a]:1") };
    let reply = store.announce(now, &asker(Dialect::Udp)).unwrap();
    assert_eq!((addresses(&reply), reply.incomplete), (few, 410), "all of them, and all are counted");
    let both = store.announce(now, &asker(Dialect::Http)).unwrap();
    assert!(both.peers.iter().any(|peer| peer.address.is_ipv4()));
    let v4 = StoreAnnounce { dialect: Dialect::Udp, num_want: None, ..announce(700, 9) };
    let reply = store.announce(now, &v4).unwrap();
    assert!(reply.peers.len() == DEFAULT_PEERS && reply.peers.iter().all(|peer| peer.address.is_ipv4()));
}

#[test]
fn nobody_gets_themselves() {
    let (store, now) = store(StoreConfig::default());
    let here = announce(1, 5);
    let elsewhere = StoreAnnounce { address: "[2001:db8::1]:6881".parse().unwrap(), ..here };
    store.announce(now, &here).unwrap();
    assert_eq!(store.announce(now, &here).unwrap().peers, []);
    let reply = store.announce(now, &elsewhere).unwrap();
    assert_eq!((reply.peers, reply.incomplete), (Vec::new(), 2), "the same peer at another address");
    let restarted = StoreAnnounce { peer_id: PeerId([9; 20]), ..here };
    let reply = store.announce(now, &restarted).unwrap();
    assert_eq!((addresses(&reply), reply.incomplete), (HashSet::from([elsewhere.address]), 2));
}

#[test]
fn only_the_same_peer_can_leave() {
    let (store, now) = store(StoreConfig::default());
    let peer = announce(1, 5);
    store.announce(now, &peer).unwrap();
    let other = StoreAnnounce { peer_id: PeerId([9; 20]), event: AnnounceEvent::Stopped, ..peer };
    assert_eq!(store.announce(now, &other).unwrap().incomplete, 1);
    assert!(!store.remove(now, HASH, peer.address, &other.peer_id, Dialect::Native));
    assert!(store.remove(now, HASH, peer.address, &peer.peer_id, Dialect::Native));
    assert_eq!(store.stats().peers, 0);
}

#[test]
fn num_want_is_bounded() {
    let (store, now) = store(StoreConfig::default());
    (0..500).for_each(|n| drop(store.announce(now, &announce(n, 0)).unwrap()));
    let wanting = |num_want, event| {
        let request = StoreAnnounce { num_want, event, ..announce(1_000, 1) };
        store.announce(now, &request).unwrap().peers.len()
    };
    assert_eq!(wanting(None, AnnounceEvent::Started), DEFAULT_PEERS);
    assert_eq!(wanting(Some(0), AnnounceEvent::Started), 0);
    assert_eq!(wanting(Some(1), AnnounceEvent::Started), 1);
    assert_eq!(wanting(Some(u32::MAX), AnnounceEvent::Started), MOST_PEERS);
    assert_eq!(wanting(Some(50), AnnounceEvent::Stopped), 0);
    assert_eq!(store.stats().peers, 500);
}

#[test]
fn the_choice_is_random_without_bias() {
    let (store, now) = store(StoreConfig::default());
    (0..100).for_each(|n| drop(store.announce(now, &announce(n, u64::from(n % 2))).unwrap()));
    let asker = StoreAnnounce { num_want: Some(10), ..announce(1_000, 1) };
    let mut times: HashMap<SocketAddr, u32> = HashMap::new();
    for _ in 0..2_000 {
        let reply = store.announce(now, &asker).unwrap();
        assert_eq!(addresses(&reply).len(), 10, "no peer twice");
        reply.peers.iter().for_each(|peer| *times.entry(peer.address).or_default() += 1);
    }
    assert_eq!(times.len(), 100);
    // 200 expected, with a deviation of some 13.
    assert!(times.values().all(|times| (130..270).contains(times)), "{times:?}");
}

/// Pearson's sum over how often each of these was told of in so many rounds, and the number of degrees of freedom.
fn chi_squared(times: &HashMap<SocketAddr, u32>, peers: usize, rounds: u32) -> (f64, f64) {
    let likely = f64::from(times.values().sum::<u32>()) / peers as f64 / f64::from(rounds);
    let (expected, variance) = (f64::from(rounds) * likely, f64::from(rounds) * likely * (1.0 - likely));
    let told = times.values().map(|times| (f64::from(*times) - expected).powi(2) / variance).sum::<f64>();
    (told + (peers - times.len()) as f64 * expected * expected / variance, (peers - 1) as f64)
}

#[test]
fn in_swarms_of_all_sizes_everybody_is_as_likely_and_each_pair_too() {
    // Few and many, so that swarms are held and drawn from in every way there is; seeds and both families among them.
    for (peers, wanted) in [(7, 3), (40, 39), (64, 20), (65, 5), (300, 200), (1_000, 50), (3_000, 100)] {
        let (store, now) = store(StoreConfig { seed: 7, rates: Rates::UNLIMITED, ..StoreConfig::default() });
        for n in 0..peers {
            let peer = announce(n, u64::from(n % 3));
            let v6 = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n + 1], 6881));
            let address = if n % 4 == 0 { v6 } else { peer.address };
            store.announce(now, &StoreAnnounce { address, ..peer }).unwrap();
        }
        let asker = announce(20_000, 1);
        let (mut times, mut together) = (HashMap::new(), 0_u32);
        let mut out = CompactPeers::default();
        let rounds = 150 * u32::from(peers) / wanted;
        for _ in 0..rounds {
            let request = StoreAnnounce { num_want: Some(wanted), ..asker };
            store.answer_into(&request, &mut out);
            let told: HashSet<_> = out.iter().collect();
            assert_eq!((told.len(), out.len()), (wanted as usize, wanted as usize), "nobody twice");
            let two = [announce(1, 0).address, announce(2, 0).address];
            together += u32::from(two.iter().all(|one| told.contains(one)));
            told.into_iter().for_each(|peer| *times.entry(peer).or_default() += 1);
        }
        let (sum, freedom) = chi_squared(&times, peers.into(), rounds);
        // Six standard deviations.
        assert!((sum - freedom).abs() < 6.0 * (2.0 * freedom).sqrt(), "{peers} peers, {wanted} wanted: {sum}");
        let (n, k) = (f64::from(peers), f64::from(wanted));
        let expected = f64::from(rounds) * k * (k - 1.0) / n / (n - 1.0);
        assert!((f64::from(together) - expected).abs() < 6.0 * expected.sqrt() + 1.0, "{together} for {expected}");
    }
}

#[test]
fn seeds_are_told_of_leechers_only_in_swarms_of_all_sizes() {
    for peers in [3, 64, 65, 2_000] {
        let (store, now) = store(StoreConfig::default());
        let leecher = |n: u16| !n.is_multiple_of(3);
        (0..peers).for_each(|n| drop(store.announce(now, &announce(n, u64::from(n % 3))).unwrap()));
        let all: HashSet<_> = (0..peers).filter(|n| leecher(*n)).map(|n| announce(n, 0).address).collect();
        let mut out = CompactPeers::default();
        let counts = store.announce_into(now, &announce(0, 0), &mut out).unwrap();
        assert_eq!((counts.complete, counts.incomplete as usize), (u32::from(peers.div_ceil(3)), all.len()));
        assert_eq!(out.len(), all.len().min(MOST_PEERS));
        assert!(out.iter().all(|peer| all.contains(&peer)));
    }
}

#[test]
fn the_compact_answer_is_in_the_order_of_the_network() {
    let (store, now) = store(StoreConfig::default());
    let v6 = StoreAnnounce { address: "[2001:db8::1]:258".parse().unwrap(), ..announce(2, 0) };
    store.announce(now, &announce(0x0102, 1)).unwrap();
    store.announce(now, &v6).unwrap();
    let mut out = CompactPeers::default();
    for _ in 0..2 {
        store.announce_into(now, &announce(3, 5), &mut out).unwrap();
        assert_eq!(out.v4, [8, 8, 1, 2, 0x1a, 0xe1]);
        assert_eq!(out.v6, [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2]);
    }
    let stopped = StoreAnnounce { event: AnnounceEvent::Stopped, ..announce(3, 5) };
    store.announce_into(now, &stopped, &mut out).unwrap();
    assert!(out.is_empty(), "what was in the buffer is no answer");
}

#[test]
fn the_bytes_of_memory_are_bounded() {
    let most = 4 << 20;
    let (store, now) = store(StoreConfig { max_bytes: most, rates: Rates::UNLIMITED, ..StoreConfig::default() });
    let mut refused = 0;
    for n in 0..100_000_u32 {
        let [.., a, b, c] = n.to_be_bytes();
        let hash = {
            let mut hash = [0; 20];
            hash[..3].copy_from_slice(&[a, b, c]);
            InfoHash(hash)
        };
        let address = SocketAddr::from(([11, a, b, c], 6881));
        refused +=
            u32::from(store.announce(now, &StoreAnnounce { info_hash: hash, address, ..announce(1, 1) }).is_err());
    }
    let stats = store.stats();
    assert!(stats.bytes < most as u64 * 5 / 4 && stats.bytes > most as u64 * 3 / 4, "{stats:?}");
    assert!(stats.evicted_torrents > 20_000 && stats.torrents > 20_000 && refused < 100, "{refused} {stats:?}");
    store.check_invariants();
    store.expire(now + Duration::from_secs(3_600));
    let left = store.stats();
    assert!((left.torrents, left.peers) == (0, 0) && left.bytes < stats.bytes / 4, "{left:?}");
}

#[test]
fn who_is_silent_for_days_is_not_taken_for_new() {
    let (store, now) = store(StoreConfig { peer_ttl: Duration::from_secs(3_600), ..StoreConfig::default() });
    (0..100).for_each(|n| drop(store.announce(now, &announce(n, 1)).unwrap()));
    for hours in 1..=80 {
        let at = now + Duration::from_secs(hours * 3_600);
        store.announce(at, &announce(1_000, 1)).unwrap();
    }
    // Records tell the time modulo 18 hours.
    assert_eq!(store.expire(now + Duration::from_secs(80 * 3_600)), 100);
    assert_eq!(store.expire(now + Duration::from_secs(80 * 3_600 + 2 * 65_536)), 1, "a leap of whole turns");
}

#[test]
fn expiry_goes_through_large_swarms_in_slices() {
    let (store, now) = store(StoreConfig { rates: Rates::UNLIMITED, ..StoreConfig::default() });
    (0..10_000).for_each(|n| drop(store.announce(now, &announce(n, u64::from(n % 2))).unwrap()));
    let later = now + Duration::from_secs(600);
    (0..10_000).step_by(10).for_each(|n| drop(store.announce(later, &announce(n, u64::from(n % 2))).unwrap()));
    assert_eq!(store.expire(now + Duration::from_secs(700)), 9_000);
    store.check_invariants();
    assert_eq!((store.stats().peers, store.stats().seeds), (1_000, 1_000));
}

#[test]
fn both_families_stand_in_one_swarm() {
    let (store, now) = store(StoreConfig::default());
    let v4 = announce(1, 0);
    let v6 = StoreAnnounce { address: "[2001:db8::1]:1".parse().unwrap(), ..announce(2, 0) };
    let mapped = StoreAnnounce { address: "[::ffff:8.8.0.3]:6881".parse().unwrap(), ..announce(3, 5) };
    store.announce(now, &v4).unwrap();
    store.announce(now, &v6).unwrap();
    let reply = store.announce(now, &mapped).unwrap();
    assert_eq!(addresses(&reply), HashSet::from([v4.address, v6.address]));
    let stored: Vec<_> = store.peers(&HASH, 10).into_iter().map(|peer| (peer.address, peer.seed)).collect();
    assert!(stored.contains(&("8.8.0.3:6881".parse().unwrap(), false)));
}

#[test]
fn addresses_go_where_they_mean_something() {
    let (store, now) = store(StoreConfig::default());
    let peer = |n, ip: &str| StoreAnnounce { address: SocketAddr::new(ip.parse().unwrap(), 1), ..announce(n, 0) };
    for (n, ip) in [(1, "127.0.0.1"), (2, "10.97.0.1"), (3, "8.8.8.8"), (4, "fd00::1")] {
        store.announce(now, &peer(n, ip)).unwrap();
    }
    let seen = |ip: &str| store.announce(now, &StoreAnnounce { left: 1, ..peer(9, ip) }).unwrap().peers.len();
    assert_eq!(seen("127.0.0.2"), 4);
    assert_eq!(seen("192.168.0.1"), 3);
    assert_eq!(seen("8.8.4.4"), 1);
}

#[test]
fn completions_are_counted_once() {
    let (store, now) = store(StoreConfig::default());
    let completed = StoreAnnounce { event: AnnounceEvent::Completed, ..announce(1, 0) };
    store.announce(now, &announce(1, 5)).unwrap();
    assert_eq!(store.announce(now, &completed).unwrap().downloaded, 1);
    assert_eq!(store.announce(now, &completed).unwrap().downloaded, 1);
    store.announce(now, &announce(2, 0)).unwrap();
    let scraped = store.scrape(&[HASH, InfoHash([9; 20])]);
    assert_eq!(scraped, [ScrapeEntry { complete: 2, incomplete: 0, downloaded: 1 }, ScrapeEntry::default()]);
    assert_eq!(store.stats().seeds, 2);
}

#[test]
fn silent_peers_expire_and_empty_torrents_too() {
    let (store, now) = store(StoreConfig::default());
    let ttl = store.config().peer_ttl;
    for n in 0..1_000 {
        let event = if n % 2 == 0 { AnnounceEvent::Completed } else { AnnounceEvent::Started };
        store.announce(now, &StoreAnnounce { info_hash: torrent(n % 500), event, ..announce(n, 0) }).unwrap();
    }
    let later = now + ttl;
    store.announce(later, &StoreAnnounce { info_hash: torrent(0), ..announce(0, 0) }).unwrap();
    assert_eq!(store.expire(later), 0, "not yet");
    assert_eq!(store.expire(later + Duration::from_secs(1)), 999);
    let stats = store.stats();
    assert_eq!((stats.torrents, stats.peers, stats.seeds), (250, 1, 1), "those with downloads are kept for a day");
    store.expire(now + Duration::from_secs(24 * 3_600 + 100));
    let stats = store.stats();
    assert_eq!((stats.torrents, stats.peers, stats.seeds), (1, 0, 0), "the one that was renewed is younger");
}

#[test]
fn the_number_of_torrents_is_bounded() {
    let (store, now) = store(StoreConfig { max_torrents: 200, ..StoreConfig::default() });
    // Every fourth torrent lives.
    for n in 0..100 {
        store.announce(now, &StoreAnnounce { info_hash: torrent(n), ..announce(1, 0) }).unwrap();
        if n % 4 == 0 {
            store.announce(now, &StoreAnnounce { info_hash: torrent(n), ..announce(2, 0) }).unwrap();
        }
    }
    for n in 1_000..20_000 {
        let flood = StoreAnnounce { info_hash: torrent(n), ..announce(n, 0) };
        let _ = store.announce(now + Duration::from_secs(1), &flood);
        assert!(store.stats().torrents <= 200);
    }
    assert!((0..100).step_by(4).all(|n| store.peers(&torrent(n), 9).len() == 2), "a flood pushed out the living");
    assert!(store.stats().evicted_torrents > 10_000);
}

#[test]
fn the_number_of_peers_is_bounded() {
    let (store, now) = store(StoreConfig { max_peers: 100, ..StoreConfig::default() });
    for n in 0..5_000 {
        store.announce(now + Duration::from_secs(u64::from(n)), &announce(n, u64::from(n % 2))).unwrap();
    }
    let stats = store.stats();
    assert_eq!((stats.peers, stats.evicted_peers), (100, 4_900));
    assert_eq!(store.peers(&HASH, 1_000).iter().filter(|peer| peer.seed).count() as u64, stats.seeds);
    let number = |peer: StoredPeer| match peer.address.ip() {
        IpAddr::V4(ip) => u16::from_be_bytes([ip.octets()[2], ip.octets()[3]]),
        IpAddr::V6(_) => panic!("no such peer"),
    };
    let numbers = store.peers(&HASH, 1_000).into_iter().map(number);
    assert!(numbers.filter(|number| *number < 4_000).count() < 10, "the silent go first");
    let other = StoreAnnounce { info_hash: torrent(7), ..announce(1, 0) };
    let refused = store.announce(now, &other);
    assert!(refused == Err(StoreRefusal::Full) || store.stats().peers <= 100);
}

#[test]
fn a_flood_into_one_swarm_hurts_no_other() {
    let (store, now) = store(StoreConfig { max_peers: 1_000, ..StoreConfig::default() });
    // Lone seeds, announced long before the flood.
    (1..=500).for_each(|n| drop(store.announce(now, &StoreAnnounce { info_hash: torrent(n), ..announce(1, 0) })));
    let later = now + Duration::from_secs(60);
    (0..20_000).for_each(|n| drop(store.announce(later, &announce(n, 1)).unwrap()));
    assert_eq!(store.stats().peers, 1_000);
    assert!((1..=500).all(|n| store.peers(&torrent(n), 1).len() == 1));
}

#[test]
fn observers_hear_of_every_change() {
    let (store, now) = store(StoreConfig::default());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    store.observe(Box::new(move |change| ears.lock().unwrap().push((change.kind, change.dialect))));
    let peer = announce(1, 5);
    store.announce(now, &peer).unwrap();
    store.announce(now, &StoreAnnounce { event: AnnounceEvent::Regular, ..peer }).unwrap();
    store.announce(now, &StoreAnnounce { left: 0, ..peer }).unwrap();
    store.announce(now, &StoreAnnounce { event: AnnounceEvent::Stopped, peer_id: PeerId([7; 20]), ..peer }).unwrap();
    store.announce(now, &StoreAnnounce { event: AnnounceEvent::Stopped, ..peer }).unwrap();
    let native = StoreAnnounce { dialect: Dialect::Native, ..announce(2, 0) };
    store.announce(now, &native).unwrap();
    assert!(store.remove(now, HASH, native.address, &native.peer_id, Dialect::Native));
    assert!(!store.remove(now, HASH, native.address, &native.peer_id, Dialect::Native));
    store.announce(now, &peer).unwrap();
    store.expire(now + Duration::from_secs(3_600));
    let (http, native) = (Some(Dialect::Http), Some(Dialect::Native));
    let expected = [
        (ChangeKind::Joined { seed: false }, http),
        (ChangeKind::Completed, http),
        (ChangeKind::Left, http),
        (ChangeKind::Joined { seed: true }, native),
        (ChangeKind::Left, native),
        (ChangeKind::Joined { seed: false }, http),
        (ChangeKind::Left, None),
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn many_threads_agree() {
    let (store, now) = store(StoreConfig::default());
    std::thread::scope(|scope| {
        for thread in 0..4u16 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..1_000 {
                    let request =
                        StoreAnnounce { info_hash: torrent(n % 7), ..announce(4 * n + thread, u64::from(n % 3)) };
                    store.announce(now, &request).unwrap();
                    if n % 2 == 0 {
                        store.announce(now, &StoreAnnounce { event: AnnounceEvent::Stopped, ..request }).unwrap();
                    }
                }
            });
        }
    });
    let hashes: Vec<_> = (0..7).map(torrent).collect();
    let scraped = store.scrape(&hashes);
    let stats = store.stats();
    assert_eq!(stats.peers, 2_000);
    assert_eq!(scraped.iter().map(|entry| u64::from(entry.complete + entry.incomplete)).sum::<u64>(), 2_000);
    assert_eq!(scraped.iter().map(|entry| u64::from(entry.complete)).sum::<u64>(), stats.seeds);
}

#[test]
fn asking_without_announcing_brings_peers_and_leaves_no_trace() {
    let (store, now) = store(StoreConfig::default());
    let (seed, leecher) = (announce(1, 0), announce(2, 5));
    store.announce(now, &seed).unwrap();
    store.announce(now, &leecher).unwrap();
    let reader = announce(3, 0);
    let reply = store.choose(&HASH, reader.address, &reader.peer_id, None, None);
    assert_eq!(addresses(&reply), HashSet::from([seed.address, leecher.address]));
    assert_eq!((reply.complete, reply.incomplete), (1, 1));
    assert_eq!(
        addresses(&store.choose(&HASH, seed.address, &seed.peer_id, None, None)),
        HashSet::from([leecher.address])
    );
    assert!(store.choose(&HASH, reader.address, &reader.peer_id, Some(0), None).peers.is_empty());
    assert_eq!(store.choose(&torrent(9), reader.address, &reader.peer_id, None, None).complete, 0);
    assert_eq!((store.stats().peers, store.stats().torrents), (2, 1));
}

#[test]
fn one_network_holds_a_bounded_part_of_the_store() {
    let (store, now) = store(StoreConfig::default());
    // An hour of ten made-up peers a second, in one swarm and in many, from one address and from one /64.
    for n in 0..36_000_u32 {
        let at = now + Duration::from_millis(u64::from(n) * 100);
        let [.., a, b, c] = n.to_be_bytes();
        let port = u16::from_be_bytes([b, c]).max(1);
        let v6 = SocketAddr::from(([0x2001, 0xdb8, 0, 0, u16::from(a), u16::from(b), u16::from(c), 1], port));
        let address = SocketAddr::from(([192, 0, 2, 1], port));
        let made_up = StoreAnnounce { address, num_want: Some(0), ..announce(1, 9) };
        let _ = store.announce(at, &made_up);
        let _ = store
            .announce(at, &StoreAnnounce { address: v6, info_hash: torrent(u16::from_be_bytes([b, c])), ..made_up });
        if n % 1_000 == 0 {
            store.expire(at);
            assert!(store.stats().peers <= 2 * (5_000 + 5 * 770), "{:?}", store.stats());
        }
    }
    let stats = store.stats();
    assert!(stats.limited > 20_000 && stats.torrents < 8_400, "{stats:?}");
    let end = now + Duration::from_secs(3_600);
    assert!(store.announce(end, &announce(7, 0)).is_ok(), "others are served");
}

#[test]
fn a_flood_from_one_address_is_refused_and_may_still_leave() {
    let (store, now) = store(StoreConfig::default());
    let flooder = announce(1, 9);
    let flooder = StoreAnnounce { num_want: Some(0), ..flooder };
    let answered = (0..10_000).filter(|_| store.announce(now, &flooder).is_ok()).count();
    assert_eq!(answered, 5_000);
    let refusal = store.announce(now, &flooder).unwrap_err();
    assert_eq!(refusal, StoreRefusal::TooOften { retry_in: Duration::from_millis(20) });
    assert!(store.admit(now, flooder.address.ip(), 74).is_err(), "scrapes count too");
    store.announce(now, &StoreAnnounce { event: AnnounceEvent::Stopped, ..flooder }).unwrap();
    assert_eq!(store.stats().peers, 0);
    assert!(store.announce(now + Duration::from_secs(1), &flooder).is_ok());
}
