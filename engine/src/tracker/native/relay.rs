//! Messages of other peers that a tracker relays, and who listens for them.

use bytes::Bytes;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use swarm_proto::id::InfoHash;
use swarm_proto::native::Relayed;
use tokio::sync::mpsc::{self, error::TrySendError};

/// Messages that wait for whoever listens; more are dropped.
const WAITING: usize = 256;

/// A message that came over a tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayedMessage {
    /// `HOST:PORT` of the tracker.
    pub tracker: String,
    /// Where its sender takes connections, as the tracker knows it; by this it gets an answer.
    pub from: SocketAddr,
    /// Not to be trusted more than anything else that a peer says.
    pub data: Bytes,
}

/// Who listens for the messages of which torrent. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Relays(Arc<Mutex<HashMap<InfoHash, mpsc::Sender<RelayedMessage>>>>);

impl Relays {
    /// Messages of this torrent from now on; whoever listened before hears no more.
    pub(super) fn listen(&self, info_hash: InfoHash) -> mpsc::Receiver<RelayedMessage> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(info_hash, sender);
        receiver
    }

    /// Never waits; what nobody listens for, or has no room for, is dropped.
    pub(super) fn hand_on(&self, tracker: &str, message: Relayed) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listener) = listeners.get(&message.info_hash) else { return };
        let relayed = RelayedMessage { tracker: tracker.to_owned(), from: message.peer, data: message.data };
        if let Err(TrySendError::Closed(_)) = listener.try_send(relayed) {
            listeners.remove(&message.info_hash);
        }
    }
}
