use super::*;
use crate::{Dialect, Store, StoreConfig};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use swarm_proto::id::PeerId;
use tempfile::TempDir;

const ONE: InfoHash = InfoHash([0x11; 20]);
const TWO: InfoHash = InfoHash([0xab; 20]);

fn hex(byte: &str) -> String {
    byte.repeat(20)
}

fn write(folder: &TempDir, name: &str, text: &str) -> Option<PathBuf> {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    Some(path)
}

fn announce(info_hash: InfoHash, peer: u8, passkey: Option<&[u8]>) -> StoreAnnounce<'_> {
    StoreAnnounce {
        info_hash,
        peer_id: PeerId([peer; 20]),
        address: ([192, 0, 2, peer], 6881).into(),
        left: 1,
        event: AnnounceEvent::Started,
        num_want: None,
        dialect: Dialect::Http,
        passkey,
    }
}

fn store(access: Arc<Access>) -> (Store, Instant) {
    let now = Instant::now();
    (Store::new(StoreConfig { access: Some(access), ..StoreConfig::default() }, now), now)
}

#[test]
fn only_what_is_allowed_and_not_denied_is_tracked() {
    let folder = tempfile::tempdir().unwrap();
    let allow = format!("# ours\n\n  {}  # the first\n{}\n", hex("11"), hex("AB"));
    let files = AccessFiles {
        allow: write(&folder, "allow", &allow),
        deny: write(&folder, "deny", &format!("{}\n", hex("ab"))),
        keys: None,
    };
    let access = Arc::new(Access::open(files).unwrap());
    assert_eq!(access.counts(), AccessCounts { allowed: Some(2), denied: 1, keys: None });
    let (store, now) = store(Arc::clone(&access));
    let ask = |hash| store.announce(now, &announce(hash, 1, None)).map(drop);
    assert_eq!(ask(ONE), Ok(()));
    assert_eq!(ask(TWO), Err(StoreRefusal::NotTracked));
    assert_eq!(ask(InfoHash([3; 20])), Err(StoreRefusal::NotTracked));
    assert_eq!((store.stats().denied, store.stats().torrents), (2, 1));
    // By the interface, and back by a reload.
    assert!(access.set_denied(TWO, false) && !access.set_denied(TWO, false));
    assert!(access.set_allowed(InfoHash([3; 20]), true) && access.set_allowed(ONE, false));
    assert_eq!((ask(TWO), ask(InfoHash([3; 20])), ask(ONE)), (Ok(()), Ok(()), Err(StoreRefusal::NotTracked)));
    let asked = store.choose(&ONE, ([192, 0, 2, 9], 1).into(), &PeerId([9; 20]), None, None);
    assert_eq!((asked.peers.len(), asked.incomplete), (0, 0), "nobody is told of what is not tracked");
    access.reload().unwrap();
    assert_eq!((ask(ONE), ask(TWO)), (Ok(()), Err(StoreRefusal::NotTracked)));
}

#[test]
fn a_file_with_a_fault_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = AccessFiles { deny: write(&folder, "deny", &hex("11")), ..AccessFiles::default() };
    let access = Access::open(files).unwrap();
    let path = folder.path().join("deny");
    for (text, line) in [("\nnonsense", 2), (&*format!("{}\n{}1", hex("ab"), hex("ab")), 2), (&*hex("1g"), 1)] {
        fs::write(&path, text).unwrap();
        let error = access.reload().unwrap_err().to_string();
        let wanted = format!("{}, line {line}: an info hash is 40 hexadecimal digits", path.display());
        assert_eq!(error, wanted);
        assert_eq!(access.check(&ONE, None), Err(StoreRefusal::NotTracked));
    }
    fs::remove_file(&path).unwrap();
    assert!(access.reload().unwrap_err().to_string().starts_with(&format!("cannot read {}", path.display())));
    assert_eq!(access.counts().denied, 1);
}

#[test]
fn lines_of_keys_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| read_keys(Path::new(&write(&folder, "keys", text).unwrap()));
    let keys = read("abc\nd-e_f.1~ max-peers=3 # a comment\nx max-torrents=1 max-peers=2\n").unwrap();
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[b"x".as_slice()], KeyLimits { max_torrents: Some(1), max_peers: Some(2) });
    assert_eq!(keys[b"d-e_f.1~".as_slice()], KeyLimits { max_torrents: None, max_peers: Some(3) });
    for bad in ["a/b", "a x", "a max-peers=", "a max-peers=-1", "a max=3", "a\na", &"k".repeat(65)] {
        assert!(matches!(read(bad), Err(AccessError::Line { .. })), "{bad}");
    }
}

#[test]
fn a_private_tracker_wants_a_key_and_keeps_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    let keys = "free\nfew max-torrents=2 max-peers=3\n";
    let files = AccessFiles { keys: write(&folder, "keys", keys), ..AccessFiles::default() };
    let access = Arc::new(Access::open(files).unwrap());
    let (store, now) = store(Arc::clone(&access));
    let torrent = |n| InfoHash([n; 20]);
    let ask = |at, n, peer, key: &'static [u8]| store.announce(at, &announce(torrent(n), peer, Some(key))).map(drop);
    assert_eq!(store.announce(now, &announce(ONE, 1, None)).map(drop), Err(StoreRefusal::NoKey));
    assert_eq!(ask(now, 1, 1, b"fre"), Err(StoreRefusal::UnknownKey));
    assert!((0..50).all(|n| ask(now, n, 1, b"free").is_ok()));
    assert_eq!((ask(now, 1, 2, b"few"), ask(now, 2, 2, b"few")), (Ok(()), Ok(())));
    assert_eq!(ask(now, 3, 2, b"few"), Err(StoreRefusal::KeyLimit), "a third torrent");
    assert_eq!((ask(now, 2, 3, b"few"), ask(now, 2, 3, b"few")), (Ok(()), Ok(())), "again is not another");
    assert_eq!(ask(now, 2, 4, b"few"), Err(StoreRefusal::KeyLimit), "a fourth peer");
    access.reload().unwrap();
    assert_eq!(ask(now, 2, 4, b"few"), Err(StoreRefusal::KeyLimit), "a reload forgives nothing");
    let stopped = StoreAnnounce { event: AnnounceEvent::Stopped, ..announce(torrent(2), 3, Some(b"few")) };
    store.announce(now, &stopped).unwrap();
    assert_eq!(ask(now, 2, 4, b"few"), Ok(()));
    assert_eq!(ask(now, 2, 3, b"few"), Err(StoreRefusal::KeyLimit));
    let gone = announce(torrent(2), 4, None).address;
    store.release_key(&torrent(2), gone, b"free");
    assert_eq!(ask(now, 2, 3, b"few"), Err(StoreRefusal::KeyLimit), "it was not that key's");
    store.release_key(&torrent(2), gone, b"few");
    assert_eq!(ask(now, 2, 3, b"few"), Ok(()));
    let asked =
        |key: Option<&[u8]>| store.choose(&torrent(2), ([192, 0, 2, 99], 1).into(), &PeerId([99; 20]), None, key);
    assert!(asked(None).peers.is_empty() && asked(Some(b"fre")).peers.is_empty());
    assert!(!asked(Some(b"few")).peers.is_empty());
    let later = now + store.config().peer_ttl + Duration::from_secs(1);
    assert_eq!((ask(later, 8, 2, b"few"), ask(later, 9, 2, b"few")), (Ok(()), Ok(())), "the silent do not count");
    assert!(access.set_key(b"new", KeyLimits { max_peers: Some(0), ..KeyLimits::default() }));
    assert_eq!(ask(now, 1, 1, b"new"), Err(StoreRefusal::KeyLimit));
    assert!(access.remove_key(b"new") && !access.remove_key(b"new"));
    assert_eq!(ask(now, 1, 1, b"new"), Err(StoreRefusal::UnknownKey));
    assert_eq!((store.check_key(Some(b"free")), store.check_key(None)), (Ok(()), Err(StoreRefusal::NoKey)));
}

#[test]
fn keys_stand_in_paths() {
    let found = |path: &str| passkey_of(path.as_bytes()).map(|key| String::from_utf8_lossy(key).into_owned());
    for path in ["/secret/announce", "/announce/secret", "/secret/scrape", "/secret/announce?x=/a/b"] {
        assert_eq!(found(path).as_deref(), Some("secret"), "{path}");
    }
    for path in
        ["/announce", "/", "", "secret/announce", "/a/b/announce", "//announce", "/announce/", "/announce/announce"]
    {
        assert_eq!(found(path), None, "{path}");
    }
    assert_eq!(found(&format!("/{}/announce", "k".repeat(65))), None);
}
