//! The file of options of a tracker: whatever stands in it, it is either refused in words that a terminal can show, or means
//! what the same words would mean if they were typed, and a store can work with it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};
use swarm_cli::hostile::{TrackerOptions, tracker_options};
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_tracker_core::{Dialect, Store, StoreAnnounce, StoreConfig};

const PATH: &str = "tracker.toml";
const TYPED: &[&str] = &["swarm", "tracker", "--config", PATH];
const TYPED_MORE: &[&str] = &["swarm", "tracker", "--config", PATH, "--max-peers", "8"];
/// Bytes of a refusal at most, but for what it repeats of the file.
const LONGEST_REFUSAL: usize = 4_000;

/// What is taken is the same whoever says it, typed or written; a refusal names the file and is fit for a terminal; and the
/// tracker that comes of it keeps its peers from one announce to the next.
pub fn tracker_config(bytes: &[u8]) {
    // No text is refused where the file is read.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match (tracker_options(TYPED, PATH, text), tracker_options(TYPED_MORE, PATH, text)) {
        (Ok(asked), Ok(more)) => {
            same_but_for_the_peers(&asked, &more);
            serves(asked.store);
        }
        (Err(refusal), Err(_)) => refused_well(text, &refusal),
        // What was typed stands instead of what is written.
        (Err(refusal), Ok(_)) => assert!(refusal.contains("max-peers"), "{refusal}"),
        (Ok(_), Err(refusal)) => panic!("a good file, and an option typed: {refusal}"),
    }
}

fn same_but_for_the_peers(asked: &TrackerOptions, more: &TrackerOptions) {
    assert_eq!(more.store.max_peers, 8, "what is typed counts more");
    for (option, typed) in asked.all.iter().zip(&more.all) {
        assert!(option == typed || (option.0, typed.0) == ("max-peers", "max-peers"), "{option:?}, {typed:?}");
    }
    let both = [&asked.store, &more.store];
    let [asked, more] = both.map(|it| (it.max_torrents, it.max_bytes, it.interval, it.min_interval, it.peer_ttl));
    assert_eq!(asked, more);
}

fn refused_well(text: &str, refusal: &str) {
    assert!(refusal.starts_with(&format!("{PATH}: ")), "{refusal}");
    assert!(!refusal.chars().any(|c| c.is_control() && c != '\n'), "{refusal:?}");
    // A line of the file may come with a row of spaces below it, and a character in place of a hidden one.
    assert!(refusal.len() <= LONGEST_REFUSAL + 8 * text.len(), "{} bytes to refuse {}", refusal.len(), text.len());
}

/// A peer that announces as often as it is told is there all the time, also where these options come in the middle.
fn serves(config: StoreConfig) {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    let config = StoreConfig { seed: 1, ..config };
    let (interval, room) = (config.interval, config.max_torrents > 0 && config.max_peers > 1);
    assert!(!interval.is_zero() && config.min_interval <= interval && u32::try_from(interval.as_secs()).is_ok());
    for reloaded in [false, true] {
        let store = Store::new(if reloaded { StoreConfig::default() } else { config.clone() }, start);
        let announced = store.announce(start, &announce(1));
        assert!(announced.is_ok() || !(room || reloaded), "{announced:?}");
        if reloaded {
            store.reconfigure(config.clone());
        }
        let later = start + interval + Duration::from_secs(1);
        store.expire(later);
        store.check_invariants();
        let met = store.announce(later, &announce(2));
        if room {
            assert_eq!(met.expect("there is room").peers.len(), 1, "the first one is forgotten before it is due");
        }
    }
}

fn announce(n: u8) -> StoreAnnounce<'static> {
    StoreAnnounce {
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([n; 20]),
        address: std::net::SocketAddr::from(([192, 0, 2, n], 6881)),
        left: 1,
        event: AnnounceEvent::Started,
        num_want: None,
        dialect: Dialect::Http,
        passkey: None,
    }
}
