//! One swarm store behind every tracker dialect.
//!
//! [`Store`] knows which peers are in which torrent and answers announces and scrapes, for HTTP, UDP, native and
//! whatever comes: a peer that announced in one dialect is found in all of them. It is synchronous, in memory, shared by
//! reference, and bounded. Time is an argument. [`Maintenance`] is the thread that expires peers and saves snapshots.
//!
//! ```
//! use std::time::Instant;
//! use swarm_proto::announce::AnnounceEvent;
//! use swarm_proto::id::{InfoHash, PeerId};
//! use swarm_tracker_core::{Dialect, Store, StoreAnnounce, StoreConfig};
//!
//! let now = Instant::now();
//! let store = Store::new(StoreConfig::default(), now);
//! store.observe(Box::new(|change| println!("{change:?}")));
//! let mut announce = StoreAnnounce {
//!     info_hash: InfoHash([1; 20]),
//!     peer_id: PeerId([2; 20]),
//!     address: "192.0.2.1:6881".parse().unwrap(),
//!     left: 0,
//!     event: AnnounceEvent::Started,
//!     num_want: None,
//!     dialect: Dialect::Http,
//!     passkey: None,
//! };
//! assert!(store.announce(now, &announce).unwrap().peers.is_empty());
//! announce.address = "192.0.2.2:6881".parse().unwrap();
//! (announce.peer_id, announce.left) = (PeerId([3; 20]), 100);
//! assert_eq!(store.announce(now, &announce).unwrap().peers[0].address, "192.0.2.1:6881".parse().unwrap());
//! ```
//!
//! # Who gets whom
//! - A leecher gets seeds and leechers, a seed gets leechers only. Nobody gets itself (by address or by peer id).
//! - `num_want` 0 and `stopped` get none; without `num_want` it is [`DEFAULT_PEERS`], never more than [`MOST_PEERS`].
//! - The choice is random and without bias, and costs by the number wanted, not by the size of the swarm.
//! - IPv4 and IPv6 peers stand in one swarm, and all askers get both, but those of BEP 15: its answers have no room for
//!   the other family.
//! - Addresses go where they mean something: loopback peers to loopback askers only, private ones (RFC 1918 and their
//!   like) to loopback and private askers. A peer that announces over loopback is therefore invisible to other
//!   machines: it must announce to the address by which the others reach the tracker.
//!
//! # What a peer is
//! - Ten bytes for IPv4, 22 for IPv6: address, port, two bytes of time, and a [`PeerTag`] instead of its id. So answers hold
//!   no peer ids, whatever form they have. Of two peers at one address the later counts; that it is another one is noticed
//!   in all but one of 32,768 cases, and where it is not, a peer can be taken out by who shares its address.
//! - Swarms of up to 64 peers are runs of such records in one array a shard; larger ones have an index, and take some 25
//!   bytes a peer. A torrent takes some 55. `docs/tracker-store.md` has what was measured.
//!
//! # What happens when it is full
//! - A torrent beyond `max_torrents` takes the place of one with at most one peer: of 16 chosen at random, empty ones
//!   first, then the one longest without announce. If all 16 have two peers or more, the newcomer is refused
//!   ([`StoreRefusal::Full`]): a flood of made-up torrents cannot push out swarms that are alive.
//! - A peer beyond `max_peers` of a swarm that has [`MOST_PEERS`] or more takes the place of the longest silent of 16
//!   random peers of that swarm, so that a flood into one swarm hurts no other. In a smaller swarm it takes the place
//!   of such a torrent with its single peer, else of a peer of its own swarm, else it is refused.
//! - Where the bytes of memory reach `max_bytes`, a newcomer takes the place of others as where the peers reach
//!   `max_peers`.
//! - A network (an IPv4 address, an IPv6 /64) has its [`Rates`] of requests and of newcomers, and a block of them (a /24, a
//!   /48) those of new torrents and of torrents whose peers it is told, so that none can fill the store, keep it busy or
//!   copy it ([`StoreRefusal::TooOften`]).

mod access;
mod choice;
mod large;
mod maintenance;
mod metrics;
mod pieces;
mod pool;
mod rate;
mod record;
mod remote;
mod runs;
mod sealed;
mod shard;
mod snapshot;
mod store;
mod swarm;
mod sweep;
mod types;

pub use access::{
    Access, AccessCounts, AccessError, AccessFiles, KeyLimits, LONGEST_KEY, MOST_HASHES, MOST_KEYS, passkey_of,
};
pub use choice::CompactPeers;
pub use maintenance::Maintenance;
pub use metrics::{Exposition, Figure, FigureKind, Histogram, Watched};
pub use rate::{Rate, Rates};
pub use record::PeerTag;
pub use remote::{Remote, RemoteHealth, RemotePeer, RemoteSwarm, Wait};
pub use sealed::{Sealed, SnapshotError, Writer};
pub use snapshot::Loaded;
pub use store::{DEFAULT_PEERS, MOST_PEERS, Store, StoreConfig};
pub use types::{
    Change, ChangeKind, Dialect, Observer, StoreAnnounce, StoreRefusal, StoreReply, StoreStats, StoredPeer, SwarmCounts,
};
