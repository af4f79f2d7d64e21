//! The tracker's store, driven by any sequence of announces, departures, expiry and restarts, against a simple model.

use crate::input::Input;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use swarm_proto::announce::{AnnounceEvent, PeerAddress, Reach};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_tracker_core::{
    Change, ChangeKind, DEFAULT_PEERS, Dialect, MOST_PEERS, PeerTag, Rate, Rates, Store, StoreAnnounce, StoreConfig,
    StoreRefusal, StoreReply,
};

const STEPS: usize = 400;
/// A torrent without peers keeps its count of downloads, if it has one, for a day.
const EMPTY_TTL_S: u64 = 24 * 3_600;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Peer {
    peer_id: PeerId,
    seed: bool,
    seen_s: u64,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Torrent {
    peers: BTreeMap<SocketAddr, Peer>,
    downloaded: u32,
    touched_s: u64,
}

/// Peers by torrent and address, as the observers were told.
type Told = Arc<Mutex<BTreeSet<(InfoHash, SocketAddr)>>>;

struct World {
    store: Store,
    config: StoreConfig,
    told: Told,
    start: Instant,
    now_s: u64,
    /// What must be in the store; `None` where its bounds let it choose what gives way.
    model: Option<HashMap<InfoHash, Torrent>>,
}

/// Whatever is announced in whatever order, the store has the peers that it should, gives out those that it may, tells
/// each change once, and keeps its bounds.
pub fn tracker_store(bytes: &[u8]) {
    let mut input = Input(bytes);
    let kind = input.byte();
    let bounded = kind & 1 == 1;
    let mut config = StoreConfig { peer_ttl: Duration::from_secs(660), seed: kind.into(), ..StoreConfig::default() };
    if bounded {
        (config.max_torrents, config.max_peers) = (1 + input.below(6), 1 + input.below(24));
        if kind & 2 == 2 {
            let mut rate = || Rate { burst: u32::from(input.byte() % 9), per_second: u32::from(input.byte() % 3) };
            config.rates = Rates { requests: rate(), joins: rate(), creations: rate(), lists: rate() };
        }
    }
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    let (store, told) = new_store(&config, start);
    let mut world = World { store, config, told, start, now_s: 0, model: (!bounded).then(HashMap::new) };
    let mut restarts = 0;
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        match input.byte() % 16 {
            0..=8 => world.announce(&mut input),
            9 | 10 => world.remove(&mut input),
            11 => world.choose(&mut input),
            12 => world.now_s += u64::from(input.byte()),
            13 => world.now_s += 1 << (input.byte() % 18),
            14 => world.expire(),
            _ if restarts < 2 => {
                restarts += 1;
                world.restart();
            }
            _ => {}
        }
        world.check();
    }
}

fn new_store(config: &StoreConfig, start: Instant) -> (Store, Told) {
    let store = Store::new(config.clone(), start);
    let told = Told::default();
    let observed = Arc::clone(&told);
    store.observe(Box::new(move |change: &Change| {
        let mut peers = observed.lock().expect("one thread");
        let key = (change.info_hash, change.address);
        match change.kind {
            ChangeKind::Joined { .. } => assert!(peers.insert(key), "{key:?} joins twice"),
            ChangeKind::Completed => assert!(peers.contains(&key), "{key:?} completes and was never there"),
            ChangeKind::Left => assert!(peers.remove(&key), "{key:?} leaves and was never there"),
        }
    }));
    (store, told)
}

fn info_hash(input: &mut Input<'_>) -> InfoHash {
    InfoHash([input.byte() % 7; 20])
}

/// Few addresses, so that they meet: of both families and every reach, and IPv4 in IPv6 clothes.
fn address(input: &mut Input<'_>) -> SocketAddr {
    let (kind, number) = (input.byte(), input.byte() % 8);
    let ip = match kind % 8 {
        0 | 1 => IpAddr::from([192, 0, 2, number]),
        2 => IpAddr::from([10, 0, 0, number]),
        3 => IpAddr::from([127, 0, 0, 1]),
        4 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)]),
        5 => IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0200 | u16::from(number)]),
        6 => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, u16::from(number)]),
        _ => IpAddr::from([198, 51, 100, kind]),
    };
    SocketAddr::new(ip, 6_881 + u16::from(kind >> 7))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn peer_id(input: &mut Input<'_>) -> PeerId {
    PeerId([input.byte() % 12; 20])
}

fn num_want(input: &mut Input<'_>) -> Option<u32> {
    match input.byte() {
        0..=127 => None,
        255 => Some(u32::MAX),
        wanted => Some(u32::from(wanted - 128)),
    }
}

impl World {
    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.now_s)
    }

    fn announce(&mut self, input: &mut Input<'_>) {
        use AnnounceEvent::{Completed, Regular, Started, Stopped};
        let kind = input.byte();
        let request = StoreAnnounce {
            info_hash: info_hash(input),
            peer_id: peer_id(input),
            address: address(input),
            left: u64::from(kind & 4 == 0),
            event: [Regular, Started, Completed, Stopped][usize::from(kind & 3)],
            num_want: num_want(input),
            dialect: [Dialect::Http, Dialect::Udp, Dialect::Native, Dialect::Native][usize::from(kind >> 3 & 3)],
            passkey: None,
        };
        let before = self.store.stats();
        let reply = self.store.announce(self.now(), &request);
        if let Err(StoreRefusal::TooOften { retry_in }) = reply {
            assert!(request.event != Stopped && !retry_in.is_zero(), "a departure is refused");
            assert_eq!(self.store.stats().limited, before.limited + 1);
        }
        let Some(model) = &mut self.model else {
            if let Ok(reply) = reply {
                check_reply(&request, &reply);
            }
            return;
        };
        let (address, seed) = (canonical(request.address), request.left == 0);
        if request.event == Stopped {
            if let Some(torrent) = model.get_mut(&request.info_hash)
                && torrent.peers.get(&address).is_some_and(|peer| peer.peer_id == request.peer_id)
            {
                torrent.peers.remove(&address);
            }
        } else {
            let torrent = model.entry(request.info_hash).or_default();
            torrent.touched_s = self.now_s;
            let peer = Peer { peer_id: request.peer_id, seed, seen_s: self.now_s };
            let before = torrent.peers.insert(address, peer);
            let newly = seed && before.is_none_or(|before| !before.seed);
            torrent.downloaded += u32::from(newly && request.event == Completed);
        }
        let reply = reply.expect("there is room");
        check_reply(&request, &reply);
        let torrent = model.get(&request.info_hash).cloned().unwrap_or_default();
        let seeds = torrent.peers.values().filter(|peer| peer.seed).count();
        let counts = (reply.complete as usize, reply.incomplete as usize, reply.downloaded);
        assert_eq!(counts, (seeds, torrent.peers.len() - seeds, torrent.downloaded));
        check_choice(&request, &reply.peers, &torrent, seed);
    }

    fn remove(&mut self, input: &mut Input<'_>) {
        let (hash, address, id) = (info_hash(input), address(input), peer_id(input));
        let removed = self.store.remove(self.now(), hash, address, &id, Dialect::Native);
        if let Some(model) = &mut self.model {
            let peers = model.get_mut(&hash).map(|torrent| &mut torrent.peers);
            let there = peers.filter(|peers| peers.get(&canonical(address)).is_some_and(|peer| peer.peer_id == id));
            assert_eq!(removed, there.is_some());
            there.map(|peers| peers.remove(&canonical(address)));
        }
    }

    fn choose(&mut self, input: &mut Input<'_>) {
        let (info_hash, address, peer_id, num_want) =
            (info_hash(input), address(input), peer_id(input), num_want(input));
        let before = self.store.stats();
        let reply = self.store.choose(&info_hash, address, &peer_id, num_want, None);
        assert_eq!(self.store.stats(), before, "a look changes nothing");
        let event = AnnounceEvent::Regular;
        let dialect = Dialect::Native;
        let request = StoreAnnounce { info_hash, peer_id, address, left: 1, event, num_want, dialect, passkey: None };
        check_reply(&request, &reply);
        if let Some(torrent) = self.model.as_ref().and_then(|model| model.get(&info_hash)) {
            check_choice(&request, &reply.peers, torrent, false);
        }
    }

    fn expire(&mut self) {
        let before = self.store.stats().peers;
        let expired = self.store.expire(self.now()) as u64;
        assert_eq!(before - expired, self.store.stats().peers);
        let (now_s, ttl_s) = (self.now_s, self.config.peer_ttl.as_secs());
        if let Some(model) = &mut self.model {
            model.values_mut().for_each(|torrent| torrent.peers.retain(|_, peer| peer.seen_s + ttl_s >= now_s));
            let kept_s = |torrent: &Torrent| if torrent.downloaded == 0 { ttl_s } else { EMPTY_TTL_S.max(ttl_s) };
            model.retain(|_, torrent| !torrent.peers.is_empty() || torrent.touched_s + kept_s(torrent) >= now_s);
        }
    }

    /// The tracker is stopped and started again.
    fn restart(&mut self) {
        let path = state_path();
        self.store.save(self.now(), &path).expect("a folder of our own");
        let (store, told) = new_store(&self.config, self.now());
        let loaded = store.load(self.now(), &path).expect("what was just written");
        let (before, after) = (self.store.stats(), store.stats());
        assert_eq!((before.torrents, before.peers, before.seeds), (after.torrents, after.peers, after.seeds));
        assert_eq!((loaded.torrents as u64, loaded.peers as u64), (after.torrents, after.peers));
        // Observers are not told of what is loaded.
        *told.lock().expect("one thread") = std::mem::take(&mut *self.told.lock().expect("one thread"));
        (self.store, self.told) = (store, told);
        self.start = self.now() - Duration::from_secs(self.now_s);
    }

    fn check(&self) {
        self.store.check_invariants();
        let stats = self.store.stats();
        assert!(stats.torrents <= self.config.max_torrents as u64 && stats.peers <= self.config.max_peers as u64);
        let told = self.told.lock().expect("one thread");
        assert_eq!(stats.peers, told.len() as u64, "observers know other peers");
        let Some(model) = &self.model else { return };
        assert_eq!(stats.torrents, model.len() as u64);
        for (hash, torrent) in model {
            let stored = self.store.peers(hash, usize::MAX);
            let stored: BTreeMap<_, _> = stored.into_iter().map(|peer| (peer.address, (peer.tag, peer.seed))).collect();
            let wanted: BTreeMap<_, _> = torrent
                .peers
                .iter()
                .map(|(address, peer)| (*address, (PeerTag::of(&peer.peer_id), peer.seed)))
                .collect();
            assert_eq!(stored, wanted);
            assert!(wanted.keys().all(|address| told.contains(&(*hash, *address))));
            let scraped = self.store.scrape(&[*hash])[0];
            assert_eq!(scraped.downloaded, torrent.downloaded);
        }
    }
}

/// What every answer keeps to, whatever is in the store.
fn check_reply(request: &StoreAnnounce<'_>, reply: &StoreReply) {
    let wanted = request.num_want.map_or(DEFAULT_PEERS, |wanted| MOST_PEERS.min(wanted as usize));
    assert!(reply.peers.len() <= wanted);
    assert!(request.event != AnnounceEvent::Stopped || reply.peers.is_empty());
    let unique: BTreeSet<SocketAddr> = reply.peers.iter().map(|peer| peer.address).collect();
    assert_eq!(unique.len(), reply.peers.len(), "a peer twice");
    assert!(unique.len() <= (reply.complete + reply.incomplete) as usize);
    let asker = canonical(request.address);
    for peer in &reply.peers {
        assert!(peer.address != asker && peer.peer_id.is_none(), "one's own address");
        assert!(Reach::of(peer.address.ip()) >= Reach::of(asker.ip()), "{} is of no use to {asker}", peer.address);
    }
}

/// The choice is among the right ones, and complete where there are few.
fn check_choice(request: &StoreAnnounce<'_>, chosen: &[PeerAddress], torrent: &Torrent, seed: bool) {
    let asker = canonical(request.address);
    let range = torrent.peers.values().filter(|peer| !seed || !peer.seed).count();
    let fits = |(address, peer): &(&SocketAddr, &Peer)| {
        (!seed || !peer.seed)
            && **address != asker
            && peer.peer_id != request.peer_id
            && Reach::of(address.ip()) >= Reach::of(asker.ip())
            && (request.dialect != Dialect::Udp || address.is_ipv4() == asker.is_ipv4())
    };
    let fitting: BTreeSet<SocketAddr> = torrent.peers.iter().filter(fits).map(|(address, _)| *address).collect();
    assert!(chosen.iter().all(|peer| fitting.contains(&peer.address)), "who may not be told");
    let wanted = request.num_want.map_or(DEFAULT_PEERS, |wanted| MOST_PEERS.min(wanted as usize));
    if request.event != AnnounceEvent::Stopped && range <= 2 * wanted + 8 {
        assert_eq!(chosen.len(), fitting.len().min(wanted), "somebody was forgotten");
    }
}

/// One file a thread.
fn state_path() -> PathBuf {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
    }
    FOLDER.with(|folder| folder.path().join("state"))
}
