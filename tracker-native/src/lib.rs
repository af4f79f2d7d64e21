//! The native tracker dialect over TCP: a catalogue of named torrents, and peers that are pushed.
//!
//! The protocol is specified in `docs/native-protocol.md`; its messages are those of [`swarm_proto::native`]. Swarms live in the
//! [`swarm_tracker_core::Store`] that all dialects of a process share, so who announced over HTTP is found here and pushed to the
//! peers of this one. What this crate owns is the catalogue, the connections and the subscriptions.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use std::time::Instant;
//! use swarm_tracker_core::{Store, StoreConfig};
//! use swarm_tracker_native::{Config, NativeTracker};
//!
//! let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
//! let tracker = NativeTracker::bind(Config::new("[::]:6970".parse()?), store)?;
//! println!("native://{}", tracker.local_addr());
//! tracker.serve(async { let _ = tokio::signal::ctrl_c().await; }).await?;
//! # Ok(())
//! # }
//! ```

mod admin;
mod catalogue;
mod changes;
mod config;
mod connection;
mod console;
mod counters;
mod hub;
mod log_ring;
mod mailbox;
mod network;
mod people;
mod pusher;
mod registry;
mod server;
mod session;
mod shared;
mod snapshot;
mod social;

pub use admin::AdminToken;
pub use config::{Config, Deadlines, Limits};
pub use console::{Console, ConsoleReply};
pub use log_ring::LogRing;
pub use registry::ConnectedPeer;
pub use server::{BindError, Handle, NativeTracker};
