//! The UDP dialect (BEP 15, with the options of BEP 41) in pure form: datagrams, URLs and the way of a question, for
//! clients and servers.
//!
//! Owns the translation between [`Announce`](super::Announce), [`AnnounceReply`](super::AnnounceReply) and datagrams,
//! and, in [`Dialogue`], what a client sends when. Never sends anything itself. What comes from the other side is
//! untrusted: a datagram is read without regard to what it claims of its length, lists have bounds, and what is no
//! message of this protocol is nothing.
//!
//! All numbers are big-endian. Requests begin with a connection id (64 bits), an action and a transaction id (32 bits
//! each), replies with the last two.

mod dialogue;
mod fields;
mod options;
mod reply;
mod request;
mod url;

pub use dialogue::{Answer, Dialogue, Question, Subject};
pub use options::Options;
pub use reply::{PEERS_LENGTH, Reply, write_announced};
pub use request::{Claimed, Fault, Query, Request, announce_request, connect_request, scrape_request};
pub use url::UdpUrl;

use std::net::IpAddr;

/// What a request for a connection carries in place of a connection id (BEP 15).
const PROTOCOL_ID: u64 = 0x0417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;
/// Bytes of a request's head, which is all of a request for a connection.
pub const HEAD_LENGTH: usize = 16;
/// Bytes of an announce without options.
pub const ANNOUNCE_LENGTH: usize = 98;

/// What a tracker gives to whoever asks, and only whoever can receive at the address that asked will know: by sending
/// it back a client proves its address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// The client's number for a request; the reply repeats it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TransactionId(pub u32);

/// The family of addresses that a datagram travels by, and so of all peers in an announce's reply: BEP 15 has no field
/// for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// Peers take 6 bytes.
    V4,
    /// Peers take 18 bytes.
    V6,
}

impl Family {
    /// The family of an address; IPv4 mapped into IPv6 is IPv4.
    pub fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Bytes of a peer in a reply.
    pub fn peer_length(self) -> usize {
        match self {
            Self::V4 => 6,
            Self::V6 => 18,
        }
    }
}
