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
//! # What happens when it is full
//! - A torrent beyond `max_torrents` takes the place of one with at most one peer: of 16 chosen at random, empty ones
//!   first, then the one longest without announce. If all 16 have two peers or more, the newcomer is refused
//!   ([`StoreRefusal::Full`]): a flood of made-up torrents cannot push out swarms that are alive.
//! - A peer beyond `max_peers` of a swarm that has [`MOST_PEERS`] or more takes the place of the longest silent of 16
//!   random peers of that swarm, so that a flood into one swarm hurts no other. In a smaller swarm it takes the place
//!   of such a torrent with its single peer, else of a peer of its own swarm, else it is refused.
//! - A network (an IPv4 address, an IPv6 /64) has its [`Rates`] of requests and of newcomers, so that no single one can
//!   fill the store or keep it busy ([`StoreRefusal::TooOften`]).

mod address;
mod maintenance;
mod metrics;
mod rate;
mod sealed;
mod shard;
mod snapshot;
mod store;
mod swarm;

pub use maintenance::Maintenance;
pub use metrics::{Exposition, Figure, FigureKind, Histogram, Watched};
pub use rate::{Rate, Rates};
pub use sealed::{Sealed, SnapshotError, Writer};
pub use snapshot::Loaded;
pub use store::{Change, ChangeKind, Dialect, Observer, Store, StoreConfig, StoreStats, StoredPeer};
pub use store::{DEFAULT_PEERS, MOST_PEERS, StoreAnnounce, StoreRefusal, StoreReply};
