//! The bencoded HTTP announce dialect (BEP 3, 7, 23, 24, 31, 48) over hyper.
//!
//! A thin translation onto a [`Store`](swarm_tracker_core::Store), which other dialects may share. This crate owns
//! sockets, HTTP and the few pages for people; it decides nothing about peers.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use std::sync::Arc;
//! use std::time::Instant;
//! use swarm_tracker_core::{Maintenance, Store, StoreConfig};
//! use swarm_tracker_http::{HttpTracker, HttpTrackerConfig};
//!
//! let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
//! let _maintenance = Maintenance::start(Arc::clone(&store), None)?;
//! let listen = vec!["[::]:6969".parse().unwrap()];
//! let tracker = HttpTracker::bind(HttpTrackerConfig { listen, ..HttpTrackerConfig::default() }, store)?;
//! println!("http://localhost:{}/announce", tracker.local_addr().port());
//! tracker.serve(async { drop(tokio::signal::ctrl_c().await) }).await;
//! # Ok(())
//! # }
//! ```
//!
//! # What it answers
//! - `/announce` and `/scrape` (of named torrents, 74 at most). What is wrong with a query is said as `failure reason`
//!   with status 200, as clients expect it.
//! - `/health` (`ok`), `/stats` (JSON), `/` (a page for people), and the pages of [`HttpTrackerConfig::pages`], which
//!   may also replace `/`.
//! - Methods other than GET and HEAD get 405, other paths 404.
//!
//! # Whom it believes
//! A peer's address is that of its socket. The parameter `ip` counts only from loopback askers: there it lets a peer or
//! a proxy on the tracker's own machine name the address by which others reach it. Forwarding headers are ignored.

mod browser;
mod places;
mod routes;
mod server;

pub use routes::Page;
pub use server::{HttpTracker, HttpTrackerConfig};
