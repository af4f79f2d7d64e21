//! The tokio shell around `swarm-proto`: connections, disk, tracker clients, sessions.
//!
//! A [`Session`] listens on one port and runs any number of torrents; [`Session::add`] starts one and gives a
//! [`Torrent`], the handle by which to watch and to steer it. There are no globals: a process may have several sessions.
//! Dropping the last handle ends everything; [`Session::shutdown`] does so too and waits for it.
//!
//! ```no_run
//! use swarm_engine::{AddTorrent, Session, SessionConfig, TorrentEvent};
//! use swarm_proto::metainfo::Metainfo;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let metainfo = Metainfo::parse(std::fs::read("debian.meta")?)?;
//!     let session = Session::new(SessionConfig::default())?;
//!     let torrent = session.add(AddTorrent::fetch(metainfo, "downloads")).await?;
//!     let mut events = torrent.events();
//!     while let Some(event) = events.next().await {
//!         match event {
//!             TorrentEvent::Finished => break,
//!             event => println!("{event:?}, {} bytes so far", torrent.status().stats.have_bytes),
//!         }
//!     }
//!     session.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! How a block travels: its bytes go from the socket straight into the buffer in which they stay (`connection`), to the
//! one task that owns the torrent's state machine (`torrent`), are hashed and written by a thread that may block
//! ([`disk`]), and leave from the page cache a run of blocks at a time. The state machine has no lock. What connections
//! share (free buffers, open files, rate limits, what is known of each file) is locked for moments, at the longest for one
//! look at a file's times four times a second. Every queue is bounded.

mod buffer;
pub mod chat;
mod connection;
pub mod disk;
mod handle;
mod limiter;
mod listener;
mod report;
mod session;
pub mod source;
mod supervise;
mod torrent;
pub mod tracker;
mod web;

pub use chat::{ChatBook, ChatEvents, ChatFailure, ChatHandle, ChatOptions, ReadProgress, Reading};
pub use handle::{Torrent, TorrentError};
pub use listener::{DEFAULT_PORTS, Listen};
pub use report::{Events, State, TorrentEvent, TorrentStatus};
pub use session::{AddError, AddTorrent, FetchOptions, Order, Purpose, Session, SessionConfig, SessionError, Verify};
