//! What trackers tell of other peers to whoever relays messages: who is there, and what they have sent.

use bytes::Bytes;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use swarm_proto::id::InfoHash;
use swarm_proto::native::Relayed;
use swarm_proto::swarm::meeting_hash;
use tokio::sync::mpsc::{self, error::TrySendError};

/// News that wait for whoever listens; more are dropped.
const WAITING: usize = 256;

/// A message that came over a tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayedMessage {
    /// `HOST:PORT` of the tracker.
    pub tracker: Arc<str>,
    /// Where its sender takes connections, as the tracker knows it; by this it gets an answer.
    pub from: SocketAddr,
    /// Not to be trusted more than anything else that a peer says.
    pub data: Bytes,
}

/// What a tracker says of a torrent's other peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RelayNews {
    /// These are there, or were some time ago; perhaps none. Not all of them need take messages.
    Peers {
        /// `HOST:PORT` of the tracker.
        tracker: Arc<str>,
        /// By these they get messages.
        peers: Vec<SocketAddr>,
    },
    /// One of them has sent this.
    Message(RelayedMessage),
}

/// Who listens for the news of which torrent. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Relays(Arc<Mutex<HashMap<InfoHash, mpsc::Sender<RelayNews>>>>);

impl Relays {
    /// News of this torrent from now on, and of those who chat in it and have all of it; whoever listened before hears no more.
    pub(super) fn listen(&self, info_hash: InfoHash) -> mpsc::Receiver<RelayNews> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.insert(meeting_hash(info_hash), sender.clone());
        listeners.insert(info_hash, sender);
        receiver
    }

    /// A message came.
    pub(super) fn hand_on(&self, tracker: &str, message: Relayed) {
        let relayed = RelayedMessage { tracker: tracker.into(), from: message.peer, data: message.data };
        self.tell(message.info_hash, || RelayNews::Message(relayed));
    }

    /// A tracker has told of peers.
    pub(super) fn told(&self, tracker: &str, info_hash: InfoHash, peers: &[SocketAddr]) {
        self.tell(info_hash, || RelayNews::Peers { tracker: tracker.into(), peers: peers.to_vec() });
    }

    /// Never waits; what nobody listens for, or has no room for, is dropped.
    fn tell(&self, info_hash: InfoHash, news: impl FnOnce() -> RelayNews) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listener) = listeners.get(&info_hash) else { return };
        if let Err(TrySendError::Closed(_)) = listener.try_send(news()) {
            listeners.remove(&info_hash);
        }
    }
}
