//! How hosts behave: what they do to the messages of an honest swarm before these leave, and when they go.

use std::time::Duration;

/// How a host behaves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Conduct {
    /// Follows the protocol.
    #[default]
    Honest,
    /// Sends wrong bytes in one block out of so many, chosen at random.
    Corrupt {
        /// 1 for every block.
        one_in: u32,
    },
    /// Takes requests and sends nothing.
    Stall,
    /// Says that it has every piece, whatever it has.
    Lie,
    /// Sends messages without sense to everybody, as often as this each second and connection.
    Flood {
        /// Messages a second to each peer.
        per_second: u32,
    },
    /// Takes what it gets and never serves anybody.
    FreeRide,
    /// Says that it serves everybody, and rejects every request.
    RejectAll,
}

impl Conduct {
    /// Sends wrong bytes in every block.
    pub const CORRUPT: Self = Self::Corrupt { one_in: 1 };

    /// Whether such a host ever sends a block that is right.
    pub fn gives(self) -> bool {
        match self {
            Self::Honest | Self::Lie | Self::Flood { .. } => true,
            Self::Corrupt { one_in } => one_in > 1,
            Self::Stall | Self::FreeRide | Self::RejectAll => false,
        }
    }

    /// One word for tables and traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::Corrupt { .. } => "corrupt",
            Self::Stall => "stall",
            Self::Lie => "lie",
            Self::Flood { .. } => "flood",
            Self::FreeRide => "free-ride",
            Self::RejectAll => "reject-all",
        }
    }
}

/// When a host goes by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Leave {
    /// It stays.
    #[default]
    Never,
    /// So long after it came.
    After(Duration),
    /// So long after it had every piece.
    Completed {
        /// The time as a seed.
        linger: Duration,
    },
    /// Once it has sent so many bytes of payload.
    Uploaded(u64),
}

/// How a host goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Departure {
    /// Closes its connections and tells the tracker.
    #[default]
    Goodbye,
    /// The process dies: its connections break at once, the tracker is not told.
    Crash,
    /// The machine is gone: nobody is told anything; dials and requests to it stay without an answer.
    Vanish,
}
