//! What the user wants done, and what has come of it: the border between [`super::app::App`] and the room.

use crate::args::values::HostPort;
use swarm_proto::chat::{PublicKey, RequestId};

/// Something to be done with the room. Carried out in order, but for offers, which may take long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Say(String),
    Call(PublicKey),
    Accept(RequestId),
    AcceptOffer {
        id: RequestId,
        files: String,
    },
    Decline(RequestId),
    HangUp(RequestId),
    Tell {
        id: RequestId,
        text: String,
    },
    /// `number` is what the user calls it by.
    Offer {
        number: u32,
        to: PublicKey,
        path: String,
    },
    /// What is read to be offered is wanted no more.
    StopReading(u32),
    Rename(String),
    Block(PublicKey),
    Unblock(PublicKey),
    Trust(PublicKey),
    Connect(HostPort),
    Quit,
}

/// What has come of an action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// A call is on its way.
    Called { to: PublicKey, id: RequestId },
    /// An offer is on its way.
    Offered { number: u32, to: PublicKey, id: RequestId, path: String },
    /// Nothing was offered: the user has stopped it, or `why` not.
    NotOffered { number: u32, to: PublicKey, path: String, why: Option<String> },
    /// A text of ours in a call is on its way.
    Told { id: RequestId, number: u64, text: String },
    /// The call does not come about; in words.
    NotCalled { to: PublicKey, why: String },
    /// What was accepted is being fetched; in words.
    Fetching { id: RequestId, text: String },
    /// A request is open no longer; in words.
    Closed { id: RequestId, text: String },
    /// It is done; in words.
    Done(String),
    /// It cannot be done; in words.
    Failed(String),
}

/// Files on their way, as the user sees them.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct TransferView {
    /// Name of the file or folder.
    pub(crate) name: String,
    pub(crate) have_bytes: u64,
    pub(crate) total_bytes: u64,
    /// What is to be said beside the bar.
    pub(crate) remark: String,
}

impl TransferView {
    /// How much of it is there: 0 to 100.
    pub(crate) fn percent(&self) -> u64 {
        percent(self.have_bytes, self.total_bytes)
    }
}

/// How much of something is there, 0 to 100; all of it if it is nothing.
pub(crate) fn percent(have_bytes: u64, total_bytes: u64) -> u64 {
    let (have, total) = (u128::from(have_bytes), u128::from(total_bytes.max(1)));
    if total_bytes == 0 { 100 } else { u64::try_from(have * 100 / total).unwrap_or(100).min(100) }
}
