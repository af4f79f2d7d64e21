//! What can be seen of a world at one moment, and of each thing that happens in it.

use crate::conduct::Conduct;
use crate::world::HostIndex;
use std::time::Duration;

/// A world at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    /// Time since the beginning.
    pub at: Duration,
    /// Every host that there ever was, by number.
    pub hosts: Vec<HostObservation>,
    /// For each piece, the hosts that are there and have it.
    pub availability: Vec<u32>,
}

/// A host at one moment. Sums in bytes of payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostObservation {
    /// Its number.
    pub host: HostIndex,
    /// To which row of a table it belongs.
    pub class: &'static str,
    /// Whether it began with every piece.
    pub seed: bool,
    /// How it behaves.
    pub conduct: Conduct,
    /// Whether it ever sends a block that is right.
    pub gives: bool,
    /// Bytes a second that can leave it.
    pub uplink: u64,
    /// Bytes a second that can come to it.
    pub downlink: u64,
    /// Whether it has come and not gone.
    pub present: bool,
    /// When it came, or will come.
    pub arrived: Duration,
    /// When it had every piece.
    pub completed: Option<Duration>,
    /// When it went.
    pub left: Option<Duration>,
    /// Pieces that it has.
    pub have: u32,
    /// Payload received.
    pub downloaded: u64,
    /// Payload sent.
    pub uploaded: u64,
    /// Payload received that was of no use.
    pub wasted: u64,
    /// Connections.
    pub connections: u32,
}

/// One thing that happened, for traces and digests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Time since the beginning.
    pub at: Duration,
    /// What.
    pub kind: RecordKind,
    /// To whom.
    pub host: HostIndex,
    /// By whom, where there is another side.
    pub peer: Option<HostIndex>,
    /// Which piece, where it is about one.
    pub piece: Option<u32>,
    /// Bytes of payload.
    pub bytes: u32,
}

/// Kinds of [`Record`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RecordKind {
    /// The host comes up.
    Arrived,
    /// The host goes.
    Left,
    /// The host has another address.
    Moved,
    /// A timeout of its swarm.
    Timeout,
    /// A dial reached it.
    Dialled,
    /// A dial of its own failed.
    DialFailed,
    /// A connection of its own stands.
    Connected,
    /// A connection ended.
    Closed,
    /// A control message came.
    Message,
    /// A block left.
    BlockSent,
    /// A block came.
    Block,
    /// The disk is done with a piece.
    Disk,
    /// An announce reached the tracker.
    Announce,
    /// The tracker's answer came.
    Announced,
    /// A piece is verified.
    PieceVerified,
    /// A piece failed its hash.
    PieceFailed,
    /// A peer was banned.
    Banned,
    /// The host has every piece.
    Completed,
}

impl RecordKind {
    /// One word for traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Left => "left",
            Self::Moved => "moved",
            Self::Timeout => "timeout",
            Self::Dialled => "dialled",
            Self::DialFailed => "dial-failed",
            Self::Connected => "connected",
            Self::Closed => "closed",
            Self::Message => "message",
            Self::BlockSent => "block-sent",
            Self::Block => "block",
            Self::Disk => "disk",
            Self::Announce => "announce",
            Self::Announced => "announced",
            Self::PieceVerified => "piece-verified",
            Self::PieceFailed => "piece-failed",
            Self::Banned => "banned",
            Self::Completed => "completed",
        }
    }
}

/// A hash over everything that happened, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn add(&mut self, number: u64) {
        // Multiplication and rotation: every bit of every number moves every later state.
        self.0 = (self.0 ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29) ^ (number >> 32);
    }

    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    pub(crate) fn value(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    }
}
