//! Who is told of what, and who is not.

use super::*;
use crate::changes::PUSHED_PEERS;
use crate::hub::Subscriber;
use crate::mailbox::Mailbox;
use crate::registry::ConnectionKey;
use std::net::SocketAddr;
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::PeerId;
use swarm_proto::native::{Decoded, Sender as Side, TrackerMessage, decode};
use swarm_tracker_core::{ChangeKind, Dialect, PeerTag, StoreAnnounce, StoreConfig};

const HASH: InfoHash = InfoHash([1; 20]);

struct Peer {
    announce: StoreAnnounce<'static>,
    subscriber: Subscriber,
    waiting: VecDeque<bytes::Bytes>,
}

fn peer_of(info_hash: InfoHash, n: u8, left: u64, queue: usize) -> Peer {
    let announce = StoreAnnounce {
        info_hash,
        peer_id: PeerId([n; 20]),
        address: SocketAddr::from(([8, 8, 8, n], 6881)),
        left,
        event: AnnounceEvent::Started,
        num_want: None,
        dialect: Dialect::Native,
        passkey: None,
    };
    let mailbox = Arc::new(Mailbox::new(queue));
    let subscriber = Subscriber {
        connection: ConnectionKey(n.into()),
        peer_id: announce.peer_id,
        mailbox,
        relay: false,
        passkey: None,
    };
    Peer { announce, subscriber, waiting: VecDeque::new() }
}

fn peer(n: u8, left: u64, queue: usize) -> Peer {
    peer_of(HASH, n, left, queue)
}

/// A store, its hub and its pusher, without the task around them.
struct World {
    store: Arc<Store>,
    hub: Arc<Hub>,
    pusher: Pusher,
    changes: Receiver<Change>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let store = Arc::new(Store::new(StoreConfig::default(), std::time::Instant::now()));
        let hub = Arc::new(Hub::new(Arc::clone(&store)));
        let pusher = Pusher::new(Arc::clone(&hub), limits, Instant::now());
        Self { changes: observe(&store), store, hub, pusher }
    }

    fn serve(&self, peer: &Peer) {
        self.hub.serve(&peer.announce, &peer.subscriber).unwrap();
    }

    fn stop(&self, peer: &Peer) {
        self.hub.stop(peer.announce.info_hash, peer.announce.address, peer.subscriber.connection);
    }

    fn announce(&self, announce: &StoreAnnounce<'_>) {
        self.store.announce(std::time::Instant::now(), announce).unwrap();
    }

    /// Pushes what is due by now, as the task does.
    async fn flush(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            self.pusher.add(&change, Instant::now());
        }
        self.pusher.push_due(Instant::now()).await;
    }
}

/// Who joined and who is gone by the next push, by the last byte of their addresses.
fn told(peer: &mut Peer) -> Option<(Vec<u8>, Vec<u8>)> {
    peer.waiting.extend(peer.subscriber.mailbox.take());
    let bytes = peer.waiting.pop_front()?;
    let Ok(Decoded::Frame(frame, _)) = decode(&bytes, Side::Tracker) else { panic!("no frame") };
    let Ok(TrackerMessage::Push(change)) = TrackerMessage::parse(&frame) else { panic!("no push") };
    let last = |peers: &[SocketAddr]| {
        let octet = |peer: &SocketAddr| match peer {
            SocketAddr::V4(v4) => v4.ip().octets()[3],
            SocketAddr::V6(_) => panic!("none here"),
        };
        let mut last: Vec<u8> = peers.iter().map(octet).collect();
        last.sort_unstable();
        last
    };
    Some((last(&change.joined.peers), last(&change.gone)))
}

#[tokio::test(start_paused = true)]
async fn leechers_hear_of_all_and_seeds_of_leechers() {
    let mut world = World::new(Limits::default());
    let (mut seed, mut leecher) = (peer(1, 0, 9), peer(2, 5, 9));
    world.serve(&seed);
    world.serve(&leecher);
    world.flush().await;
    assert_eq!(told(&mut seed), Some((vec![2], vec![])));
    assert_eq!(told(&mut leecher), Some((vec![1], vec![])), "not of itself");
    world.announce(&StoreAnnounce { dialect: Dialect::Http, ..peer(3, 0, 1).announce });
    world.flush().await;
    assert_eq!((told(&mut seed), told(&mut leecher)), (None, Some((vec![3], vec![]))));
    world.stop(&leecher);
    world.flush().await;
    assert_eq!(told(&mut seed), None, "that somebody has gone is not urgent");
    tokio::time::advance(GONE_DELAY).await;
    world.flush().await;
    assert_eq!((told(&mut seed), told(&mut leecher)), (Some((vec![], vec![2])), None));
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_is_told_with_the_next_who_comes() {
    let mut world = World::new(Limits::default());
    let (mut first, second) = (peer(1, 5, 9), peer(2, 5, 9));
    world.serve(&first);
    world.serve(&second);
    world.flush().await;
    assert_eq!(told(&mut first), Some((vec![2], vec![])));
    world.stop(&second);
    world.serve(&peer(3, 5, 9));
    world.flush().await;
    assert_eq!(told(&mut first), Some((vec![3], vec![2])));
    tokio::time::advance(GONE_DELAY).await;
    world.flush().await;
    assert_eq!(told(&mut first), None, "and not again");
    assert_eq!((world.pusher.waiting.len(), world.pusher.later.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_and_goes_in_between_is_not_told() {
    let mut world = World::new(Limits::default());
    let mut leecher = peer(1, 5, 9);
    world.serve(&leecher);
    world.flush().await;
    let short = peer(2, 5, 1);
    world.serve(&short);
    world.stop(&short);
    world.flush().await;
    tokio::time::advance(GONE_DELAY).await;
    world.flush().await;
    assert_eq!(told(&mut leecher), None);
    assert!(world.pusher.waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_misses_pushes_and_holds_up_nobody() {
    let mut world = World::new(Limits::default());
    let (mut slow, mut fast) = (peer(1, 5, 1), peer(2, 5, 9));
    world.serve(&slow);
    world.serve(&fast);
    world.flush().await;
    for n in 3..6 {
        world.announce(&peer(n, 5, 1).announce);
        world.flush().await;
    }
    assert_eq!((told(&mut slow), told(&mut slow)), (Some((vec![2], vec![])), None));
    assert_eq!(std::iter::from_fn(|| told(&mut fast)).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_large_audience_is_sampled() {
    let mut world = World::new(Limits { push_fan_out: 100, ..Limits::default() });
    let peers: Vec<_> = (1..=200).map(|n| peer(n, 5, 9)).collect();
    peers.iter().for_each(|peer| world.serve(peer));
    world.flush().await;
    let told = peers.into_iter().filter_map(|mut peer| told(&mut peer)).collect::<Vec<_>>();
    assert_eq!(told.len(), 100);
    assert!(told.iter().all(|(joined, _)| joined.len() == PUSHED_PEERS));
}

#[tokio::test(start_paused = true)]
async fn more_than_allowed_is_told_to_a_part_and_small_torrents_first() {
    // 100 at once, then 500 a second.
    let mut world = World::new(Limits { pushes_per_s: 500, ..Limits::default() });
    let small: Vec<_> = (1..=10).map(|n| peer_of(InfoHash([2; 20]), n, 5, 9)).collect();
    let large: Vec<_> = (1..=200).map(|n| peer_of(InfoHash([3; 20]), n, 5, 9)).collect();
    small.iter().chain(&large).for_each(|peer| world.serve(peer));
    world.flush().await;
    let count = |peers: Vec<Peer>| peers.into_iter().filter_map(|mut peer| told(&mut peer)).count();
    assert_eq!(count(small), 10);
    assert_eq!(count(large), 90);
    let more: Vec<_> = (1..=200).map(|n| peer_of(InfoHash([4; 20]), n, 5, 9)).collect();
    more.iter().for_each(|peer| world.serve(peer));
    world.flush().await;
    assert_eq!(count(more), LEAST_AUDIENCE, "however much was told before");
}

#[tokio::test(start_paused = true)]
async fn departures_that_wait_are_bounded() {
    let mut world = World::new(Limits::default());
    for n in 0..=WAITING_SWARMS as u64 {
        let mut hash = [0; 20];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        let change = Change {
            info_hash: InfoHash(hash),
            address: ([8, 8, 8, 8], 1).into(),
            tag: PeerTag::from_bits(1),
            kind: ChangeKind::Left,
            dialect: None,
        };
        world.pusher.add(&change, Instant::now());
    }
    world.pusher.push_due(Instant::now()).await;
    assert!(world.pusher.waiting.len() <= WAITING_SWARMS);
    tokio::time::advance(GONE_DELAY).await;
    world.pusher.push_due(Instant::now()).await;
    assert_eq!((world.pusher.waiting.len(), world.pusher.later.len()), (0, 0));
}
