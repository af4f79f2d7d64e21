//! The client of native trackers (`docs/native-protocol.md`): announces, pushed peers, and the catalogue.
//!
//! Owns one connection for each tracker and identity, in a task that ends with the last copy of [`NativeTracker`]. The task
//! comes back after a tracker's restart and tells it of every torrent again, so that pushes go on without an announce.
//! It never decides when to announce: that is the schedule's.

mod catalogue;
mod link;
#[cfg(test)]
mod tests;
mod wire;

pub use catalogue::{Listing, fetch_file, fetch_metainfo, list, peers, publish, unpublish};

use link::{Command, Link, Target};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use swarm_proto::announce::{AnnounceReply, PeerAddress, TrackerError};
use swarm_proto::native::NativeUrl;
use swarm_proto::swarm::AnnounceJob;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Announces that wait for one connection; more wait in their callers.
const QUEUED_COMMANDS: usize = 256;

/// The client of native trackers; copies share their connections, which end with the last of them.
#[derive(Clone, Debug, Default)]
pub struct NativeTracker {
    links: Arc<Mutex<HashMap<Target, mpsc::Sender<Command>>>>,
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
        let url = parse(&job.url)?;
        let target = Target { authority: url.authority(), peer_id: job.announce.peer_id, port: job.announce.port };
        let (answer, answered) = oneshot::channel();
        let command = Command::new(job.announce.clone(), pushed.clone(), answer);
        let link = self.link(target);
        let ask = async {
            let gone = || TrackerError::Unreachable("the connection's task has ended".into());
            link.send(command).await.map_err(|_| gone())?;
            drop(link);
            answered.await.map_err(|_| gone())?
        };
        timeout(job.timeout, ask).await.unwrap_or(Err(TrackerError::TimedOut(job.timeout)))
    }

    fn link(&self, target: Target) -> mpsc::Sender<Command> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&target).filter(|link| !link.is_closed()) {
            return link.clone();
        }
        let (link, commands) = mpsc::channel(QUEUED_COMMANDS);
        tokio::spawn(Link::new(target.clone(), commands).run());
        links.insert(target, link.clone());
        link
    }
}

/// Reads the URL of a native tracker.
fn parse(url: &str) -> Result<NativeUrl, TrackerError> {
    url.parse().map_err(|error| TrackerError::Unsupported(format!("{url}: {error}")))
}
