//! The bencoded HTTP announce dialect (BEP 3, 7, 23, 24, 31, 48) over TCP.
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
//! A peer's address is that of its socket, or what a trusted proxy says of it ([`Proxies`]); anybody else's forwarding
//! headers mean nothing. The parameter `ip` is ignored, or counts within private networks ([`IpParameter`]).
//!
//! # Two ways in
//! The usual request, a GET of an announce or a scrape without anything else that could matter to HTTP, is answered
//! without a framework. From the first other request of a connection on, all of it is served by hyper, with the same
//! answers.

mod accept;
mod answer;
mod browser;
mod config;
mod connection;
mod fast;
mod head;
mod listen;
mod path;
mod places;
mod proxy;
mod rewind;
mod routes;
mod server;
mod tls;
mod watch;

pub use config::{HttpTrackerConfig, IpParameter, Watching};
pub use proxy::{IpNetwork, NetworkError, Proxies};
pub use routes::Page;
pub use server::{HttpHandle, HttpTracker};
pub use tls::TlsConfig;
