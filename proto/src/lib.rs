//! What BitTorrent peers, trackers and swarms say and decide.
//!
//! Pure: no sockets, files, clocks, threads or randomness of the operating system. Time and seeds are arguments, so a
//! swarm of any size runs on a virtual clock and repeats to the byte.

pub mod announce;
pub mod bencode;
pub mod bitfield;
pub mod chat;
pub mod choker;
pub mod geometry;
pub mod id;
pub mod layout;
pub mod likeness;
pub mod limits;
pub mod magnet;
pub mod metainfo;
pub mod native;
pub mod path;
pub mod picker;
pub mod rate;
pub mod request_window;
pub mod smart_ban;
pub mod swarm;
mod walk;
pub mod wire;
