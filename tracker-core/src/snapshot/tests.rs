use super::*;
use crate::{Dialect, StoreAnnounce, StoreConfig};
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::PeerId;

fn filled(now: Instant) -> Store {
    let store = Store::new(StoreConfig::default(), now);
    for n in 0..50u8 {
        let address = if n % 2 == 0 {
            SocketAddr::from(([192, 0, 2, n], 1_000))
        } else {
            SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)], 2_000))
        };
        let announce = StoreAnnounce {
            info_hash: InfoHash([n % 5; 20]),
            peer_id: PeerId([n; 20]),
            address,
            left: u64::from(n % 3),
            event: AnnounceEvent::Completed,
            num_want: None,
            dialect: Dialect::Http,
            passkey: None,
        };
        store.announce(now, &announce).unwrap();
    }
    store
}

fn everything(store: &Store) -> Vec<String> {
    let mut lines: Vec<_> =
        (0..5).flat_map(|n| store.peers(&InfoHash([n; 20]), 100)).map(|peer| format!("{peer:?}")).collect();
    lines.sort();
    lines
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let now = Instant::now();
    let store = filled(now);
    store.save(now + Duration::from_secs(600), &path).unwrap();
    store.save(now + Duration::from_secs(600), &path).unwrap();
    let copy = Store::new(StoreConfig::default(), now);
    assert_eq!(copy.load(now, &path).unwrap(), Loaded { torrents: 5, peers: 50 });
    assert_eq!(everything(&copy), everything(&store));
    let hashes: Vec<_> = (0..5).map(|n| InfoHash([n; 20])).collect();
    assert_eq!(copy.scrape(&hashes), store.scrape(&hashes));
    let (copied, original) = (copy.stats(), store.stats());
    assert_eq!((copied.peers, copied.seeds, copied.torrents), (original.peers, original.seeds, original.torrents));
    assert_eq!(copy.expire(now + Duration::from_secs(61)), 50, "they were 600 s old, of 660 s");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn no_file_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let now = Instant::now();
    let store = Store::new(StoreConfig::default(), now);
    assert_eq!(store.load(now, &folder.path().join("none")).unwrap(), Loaded::default());
    let path = folder.path().join("none/state");
    let error = store.save(now, &path).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot write {}: ", path.display())), "{error}");
}

#[test]
fn damage_is_noticed_and_the_file_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let now = Instant::now();
    filled(now).save(now, &path).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    let mut newer = whole.clone();
    newer[SNAPSHOT.magic.len() - 1] += 1;
    for damaged in [&whole[..whole.len() - 1], &whole[..10], b"", &flipped, &newer] {
        fs::write(&path, damaged).unwrap();
        let store = Store::new(StoreConfig::default(), now);
        let Err(SnapshotError::Damaged { aside, .. }) = store.load(now, &path) else { panic!("not noticed") };
        assert_eq!(store.stats().peers, 0);
        assert!(!path.exists());
        assert_eq!(fs::read(aside).unwrap(), damaged);
    }
}

#[test]
fn counts_that_lie_are_damage() {
    let mut content = SNAPSHOT.magic.to_vec();
    content.extend([1; 20]);
    content.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(check(&content[SNAPSHOT.magic.len()..]), Err("a torrent in it is cut short"));
}

#[test]
fn the_bounds_hold_for_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let now = Instant::now();
    filled(now).save(now, &path).unwrap();
    let small = Store::new(StoreConfig { max_torrents: 3, max_peers: 25, ..StoreConfig::default() }, now);
    assert_eq!(small.load(now, &path).unwrap(), Loaded { torrents: 2, peers: 20 }, "whole torrents of 10 peers");
}
