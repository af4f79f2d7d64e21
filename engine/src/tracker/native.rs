//! The client of native trackers (`docs/native-protocol.md`): announces, pushed peers, and the catalogue.
//!
//! Owns one connection for each tracker and identity, in a task that ends with the last copy of [`NativeTracker`]. The task
//! comes back after a tracker's restart and tells it of every torrent again, so that pushes go on without an announce.
//! It never decides when to announce: that is the schedule's.

mod catalogue;
mod link;
mod people;
mod relay;
#[cfg(test)]
mod tests;
mod wire;

pub use catalogue::{Listing, fetch_file, fetch_metainfo, list, peers, publish, scrape, unpublish};

pub(crate) use people::find_name;
pub use people::{lookup_name, register_name, release_name, shut_down};
pub use relay::{RelayNews, RelayedMessage};

use link::{Command, Link, Outgoing, Target};
use relay::Relays;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use swarm_proto::announce::{AnnounceReply, PeerAddress, TrackerError};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::{NativeUrl, Relayed};
use swarm_proto::swarm::AnnounceJob;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Announces that wait for one connection; more wait in their callers.
const QUEUED_COMMANDS: usize = 256;
/// Messages for other peers that wait for one connection; more wait in their callers.
const QUEUED_MESSAGES: usize = 64;
/// For a message to be handed on.
const RELAY_TIMEOUT: Duration = Duration::from_secs(30);

/// The client of native trackers; copies share their connections, which end with the last of them.
#[derive(Clone, Debug, Default)]
pub struct NativeTracker {
    links: Arc<Mutex<HashMap<Target, Channels>>>,
    relays: Relays,
}

/// The ways into the task of a connection.
#[derive(Clone, Debug)]
struct Channels {
    commands: mpsc::Sender<Command>,
    outgoing: mpsc::Sender<Outgoing>,
}

impl NativeTracker {
    /// A client without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts, renews or stops serving a torrent. A connection is made where there is none, at once. Peers that the tracker tells
    /// of later go to `pushed`, as far as it has room; the torrent stops when its receiver is gone.
    ///
    /// # Errors
    /// [`TrackerError`]; a torrent that the tracker had taken before stays with it, and goes on being pushed, unless the tracker
    /// refuses it.
    pub async fn announce(
        &self,
        job: &AnnounceJob,
        pushed: &mpsc::Sender<Vec<PeerAddress>>,
    ) -> Result<AnnounceReply, TrackerError> {
        let target = Target::new(&parse(&job.url)?, job.announce.peer_id, job.announce.port);
        let (answer, answered) = oneshot::channel();
        let command = Command::new(job.announce.clone(), pushed.clone(), answer);
        let link = self.link(target);
        let ask = async {
            let gone = || TrackerError::Unreachable("the connection's task has ended".into());
            link.commands.send(command).await.map_err(|_| gone())?;
            drop(link);
            answered.await.map_err(|_| gone())?
        };
        timeout(job.timeout, ask).await.unwrap_or(Err(TrackerError::TimedOut(job.timeout)))
    }

    /// Has the tracker hand a message to another peer of a torrent that is announced to it from here, by this peer id and port. That
    /// it was handed on says nothing of its arrival. A URL without a key means the tracker by whatever key it is known.
    ///
    /// # Errors
    /// [`TrackerError`]; `Refused` where the tracker has no such peer, or messages come too fast.
    pub async fn relay(&self, url: &str, peer_id: PeerId, port: u16, message: Relayed) -> Result<(), TrackerError> {
        let target = Target::new(&parse(url)?, peer_id, port);
        let gone = || TrackerError::Unreachable("nothing is announced to that tracker".into());
        let link = {
            let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            let by_any_key = || links.iter().find(|(known, _)| target.is_without_key_of(known)).map(|(_, link)| link);
            links.get(&target).or_else(by_any_key).cloned()
        };
        let (answer, answered) = oneshot::channel();
        let ask = async {
            let outgoing = link.ok_or_else(gone)?.outgoing;
            outgoing.send(Outgoing { message, answer }).await.map_err(|_| gone())?;
            drop(outgoing);
            answered.await.map_err(|_| gone())?
        };
        timeout(RELAY_TIMEOUT, ask).await.unwrap_or(Err(TrackerError::TimedOut(RELAY_TIMEOUT)))
    }

    /// The tracker at this `HOST:PORT`, with our key there if it is known by one, where something is announced to it from here by
    /// this peer id and port.
    pub(crate) fn known(&self, authority: &str, peer_id: PeerId, port: u16) -> Option<NativeUrl> {
        let url = parse(&format!("native://{authority}")).ok()?;
        let target = Target::new(&url, peer_id, port);
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let known = || links.keys().filter(|known| target == **known || target.is_without_key_of(known));
        let passkey = known().max_by_key(|known| known.passkey.is_some())?.passkey.clone();
        Some(NativeUrl { passkey, ..url })
    }

    /// Which other peers of a torrent trackers tell of, and what those say over them, from now on. One listener a torrent: the
    /// newest.
    pub fn relayed(&self, info_hash: InfoHash) -> mpsc::Receiver<RelayNews> {
        self.relays.listen(info_hash)
    }

    fn link(&self, target: Target) -> Channels {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&target).filter(|link| !link.commands.is_closed()) {
            return link.clone();
        }
        let (commands, queued) = mpsc::channel(QUEUED_COMMANDS);
        let (outgoing, messages) = mpsc::channel(QUEUED_MESSAGES);
        tokio::spawn(Link::new(target.clone(), queued, messages, self.relays.clone()).run());
        let link = Channels { commands, outgoing };
        links.insert(target, link.clone());
        link
    }
}

/// Reads the announce URL of a native tracker.
pub(super) fn parse(url: &str) -> Result<NativeUrl, TrackerError> {
    NativeUrl::tracker(url).map_err(|error| TrackerError::Unsupported(format!("{url}: {error}")))
}
