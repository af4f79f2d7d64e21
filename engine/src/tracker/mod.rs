//! Clients of trackers, one a dialect, behind one call. The scheme of the announce URL picks the dialect.

pub mod http;
pub mod native;
pub mod udp;

use http::HttpTracker;
use native::NativeTracker;
use swarm_proto::announce::{AnnounceReply, PeerAddress, TrackerError};
use swarm_proto::swarm::AnnounceJob;
use tokio::sync::mpsc::Sender;
use udp::UdpTracker;

/// The clients of all dialects; cheap to copy. Connections that a dialect keeps end with the last copy.
#[derive(Clone, Debug, Default)]
pub struct Trackers {
    http: HttpTracker,
    native: NativeTracker,
    udp: UdpTracker,
}

impl Trackers {
    /// Clients; nothing is opened before the first announce.
    pub fn new() -> Self {
        Self::default()
    }

    /// The client of native trackers, for what they do beside announces.
    pub fn native(&self) -> &NativeTracker {
        &self.native
    }

    /// Makes one announce. Peers that a tracker tells of later, unasked, come over `pushed`.
    ///
    /// # Errors
    /// [`TrackerError`]; `Unsupported` for a URL whose scheme belongs to no dialect.
    pub async fn announce(
        &self,
        job: &AnnounceJob,
        pushed: &Sender<Vec<PeerAddress>>,
    ) -> Result<AnnounceReply, TrackerError> {
        match job.url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
            Some("http" | "https") => self.http.announce(&job.url, &job.announce, job.timeout).await,
            Some("udp") => self.udp.announce(&job.url, &job.announce, job.timeout).await,
            Some("native") => self.native.announce(job, pushed).await,
            _ => Err(TrackerError::Unsupported(job.url.clone())),
        }
    }
}
