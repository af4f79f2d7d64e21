//! What an operator can set, and the timings of the protocol.

use crate::admin::AdminToken;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a native tracker. The defaults serve a swarm of thousands from a small machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 for any free one. An IPv6 wildcard address takes IPv4 connections too.
    pub listen: SocketAddr,
    /// File that keeps the catalogue over a restart; `None` keeps it in memory only.
    pub catalogue_file: Option<PathBuf>,
    /// File that keeps the names of people over a restart; `None` keeps them in memory only.
    pub people_file: Option<PathBuf>,
    /// Whoever knows it may close the tracker; without one nobody may.
    pub admin_token: Option<AdminToken>,
    /// How long changes of a swarm are collected before they are pushed; at most 20 ms by the protocol.
    pub push_delay: Duration,
    /// What the tracker takes before it says that it is full.
    pub limits: Limits,
    /// When the tracker loses patience.
    pub deadlines: Deadlines,
}

/// Bounds of memory and work.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one IPv4 address or one IPv6 /64 network: a class behind one router fits.
    pub connections_per_network: usize,
    /// Torrents that one connection serves.
    pub torrents_per_connection: usize,
    /// Names in the catalogue.
    pub names: usize,
    /// Names published from one IPv4 address or one IPv6 /64 network.
    pub names_per_network: usize,
    /// Bytes of metainfo in the catalogue.
    pub catalogue_bytes: u64,
    /// People with a name, and those of them who registered from one IPv4 address or one IPv6 /64 network.
    pub people: usize,
    /// See above.
    pub people_per_network: usize,
    /// Bytes of frames over 64 KiB that are received or sent at the same time.
    pub large_frame_bytes: usize,
    /// Pushes that wait for one connection; more are dropped.
    pub queued_pushes: usize,
    /// Subscribers of one torrent that are told of one change; a random part of more.
    pub push_fan_out: usize,
    /// Pushes a second, to all connections together, and a fifth of that at once. Where more are due, each change is told to a
    /// random part of its torrent's subscribers. One takes some 10 µs of processor time.
    pub pushes_per_s: u32,
    /// Malformed or unknown requests after which a connection is closed.
    pub broken_requests: u32,
}

/// The timings of `docs/native-protocol.md`.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For `O`, from the connection on.
    pub online: Duration,
    /// For a whole frame after its first byte; one second more for every 64 KiB of its length.
    pub frame: Duration,
    /// Silence after which the tracker asks.
    pub ping: Duration,
    /// Silence after which it closes.
    pub idle: Duration,
    /// For the peer to take some bytes of what is written to it.
    pub write: Duration,
}

impl Config {
    /// The defaults, at this address.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            catalogue_file: None,
            people_file: None,
            admin_token: None,
            push_delay: Duration::from_millis(5),
            limits: Limits::default(),
            deadlines: Deadlines::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_network: 1_024,
            torrents_per_connection: 10_000,
            names: 100_000,
            names_per_network: 10_000,
            catalogue_bytes: 256 * 1024 * 1024,
            people: 100_000,
            people_per_network: 1_000,
            large_frame_bytes: 128 * 1024 * 1024,
            queued_pushes: 64,
            push_fan_out: 1_000,
            pushes_per_s: 25_000,
            broken_requests: 32,
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            online: Duration::from_secs(10),
            frame: Duration::from_secs(30),
            ping: Duration::from_secs(60),
            idle: Duration::from_secs(180),
            write: Duration::from_secs(30),
        }
    }
}
