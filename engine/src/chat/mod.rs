//! Chat among the people of a torrent: the shell around [`swarm_proto::chat`].
//!
//! Owns one task for each torrent that chats. The task owns the [`Room`](swarm_proto::chat::Room); the torrent's task
//! carries its payloads to and from the connections, and never waits for it. All queues are bounded. Decides nothing:
//! who is heard, what is shown and what is passed on stands in `proto`.

mod book;
mod describe;
mod events;
mod hand_over;
mod handle;
mod identity;
mod meeting;
mod names;
mod offered;
mod reading;
mod relay;
mod task;
#[cfg(test)]
mod tests;
mod transfers;

pub use book::ChatBook;
pub use events::ChatEvents;
pub use handle::{ChatFailure, ChatHandle};
pub use identity::{ChatFileError, load_or_make_identity, save_identity};
pub use meeting::make_room;
pub use names::{lookup_name, register_name, release_name};
pub use reading::{ReadProgress, Reading};

pub(crate) use handle::Requests;
pub(crate) use offered::Offered;
pub(crate) use relay::RelayAs;
pub(crate) use task::{ChatInput, ChatOutput, ChatPort, Chatting, open};

use std::net::IpAddr;
use std::path::PathBuf;
use swarm_proto::chat::Identity;

/// How to chat in a torrent.
#[derive(Clone, Debug)]
pub struct ChatOptions {
    /// Who we are; see [`load_or_make_identity`].
    pub identity: Identity,
    /// How we want to be called.
    pub name: String,
    /// The file of known people (see [`ChatBook`]); without it nobody is remembered.
    pub book: Option<PathBuf>,
    /// Addresses at which others reach this machine, told to whom files are offered. The address on which the session
    /// listens need not be among them unless it listens on all.
    pub addresses: Vec<IpAddr>,
    /// Whether native trackers are asked whose the names in the room are, and a registered name of ours is renewed on the way.
    /// They learn from it how the people in the room are called.
    pub look_up_names: bool,
}

impl ChatOptions {
    /// To chat as this person, who remembers nobody.
    pub fn new(identity: Identity, name: impl Into<String>) -> Self {
        Self { identity, name: name.into(), book: None, addresses: Vec::new(), look_up_names: true }
    }
}
