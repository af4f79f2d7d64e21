//! The datagram announce dialect (BEP 15) over UDP sockets.
//!
//! A thin translation onto a [`Store`](swarm_tracker_core::Store), which other dialects may share. This crate owns
//! sockets, the threads that read them, and connection ids; it decides nothing about peers.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use std::sync::Arc;
//! use std::time::Instant;
//! use swarm_tracker_core::{Maintenance, Store, StoreConfig};
//! use swarm_tracker_udp::{UdpTracker, UdpTrackerConfig};
//!
//! let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
//! let _maintenance = Maintenance::start(Arc::clone(&store), None)?;
//! let listen = vec!["[::]:6969".parse().unwrap()];
//! let tracker = UdpTracker::bind(UdpTrackerConfig { listen, ..UdpTrackerConfig::default() }, store)?;
//! println!("udp://localhost:{}/announce", tracker.local_addr().port());
//! tracker.serve(async { drop(tokio::signal::ctrl_c().await) }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it answers
//! - A request for a connection id: to anybody, with as many bytes as were asked with, and without remembering it.
//! - Announces and scrapes (of 1 to 74 torrents) with a connection id that was given to the address which they come
//!   from, within the last two minutes; what is wrong with one is said in an error reply. An answer fits one packet.
//! - Nothing else: what is no request, or comes with a wrong connection id, may have a false source address. So nobody
//!   can have this tracker send to somebody else what is more than was sent to it.
//!
//! # Whom it believes
//! A peer's address is that which its datagrams come from, and the port that it names. The address in the announce is
//! ignored. What stands behind it (BEP 41) counts on a private tracker only: there the path holds the key, as in
//! `udp://tracker.example:6969/KEY/announce`. A scrape has no room for one, and is refused there.
//!
//! # Threads
//! One a core for each address, each with a socket of its own on the same port (`SO_REUSEPORT`): the kernel spreads the
//! askers over them. A thread takes what waits, up to 64 datagrams by one system call, and sends the answers by another.

mod batch;
mod connection_id;
mod counters;
mod keyed;
mod responder;
mod server;
mod worker;

pub use connection_id::Key;
pub use counters::{UdpCounters, UdpStats};
pub use server::{UdpTracker, UdpTrackerConfig};
