//! What a user holds of a torrent.
//!
//! Owns nothing of the torrent: dropping the handle leaves it running for as long as its session lives, and a session
//! lives as long as any handle of it or of its torrents.

use crate::chat::{ChatHandle, Requests};
use crate::report::{Events, Reports, State, TorrentStatus};
use crate::session::Inner;
use crate::torrent::Request;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use swarm_proto::announce::PeerAddress;
use swarm_proto::id::InfoHash;
use swarm_proto::swarm::{Command, PeerSnapshot, PeerSource};
use tokio::sync::{mpsc, oneshot, watch};

/// A torrent of a session. Made by [`crate::Session::add`]; cheap to clone.
#[derive(Clone)]
pub struct Torrent {
    shared: Arc<Shared>,
}

struct Shared {
    info_hash: InfoHash,
    requests: mpsc::Sender<Request>,
    reports: Arc<Reports>,
    chat: Option<Requests>,
    /// It was told to stop.
    stopping: Arc<AtomicBool>,
    /// Keeps the session alive.
    session: Arc<Inner>,
}

/// Why a torrent will never be complete.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TorrentError {
    /// It was stopped before it was complete.
    #[error("the torrent was stopped before it was complete")]
    Stopped,
    /// It ended by an error.
    #[error("{0}")]
    Failed(String),
}

impl Torrent {
    pub(crate) fn new(
        info_hash: InfoHash,
        requests: mpsc::Sender<Request>,
        reports: Reports,
        chat: Option<Requests>,
        session: Arc<Inner>,
    ) -> Self {
        let (reports, stopping) = (Arc::new(reports), Arc::default());
        Self { shared: Arc::new(Shared { info_hash, requests, reports, chat, stopping, session }) }
    }

    /// The same torrent, for those that must not keep its session alive.
    pub(crate) fn background(&self) -> Background {
        let Shared { info_hash, requests, reports, chat, stopping, session } = &*self.shared;
        Background {
            info_hash: *info_hash,
            requests: requests.clone(),
            reports: Arc::clone(reports),
            chat: chat.clone(),
            stopping: Arc::clone(stopping),
            session: Arc::downgrade(session),
        }
    }

    /// The name of the torrent in the protocol.
    pub fn info_hash(&self) -> InfoHash {
        self.shared.info_hash
    }

    /// The room of this torrent, if it was added with [`crate::AddTorrent::chat`].
    pub fn chat(&self) -> Option<ChatHandle> {
        let requests = self.shared.chat.clone()?;
        Some(ChatHandle::new(requests, Arc::clone(&self.shared.session)))
    }

    /// Everything that happens from now on. The first one who asks also gets what has happened since the start, as far
    /// as it is kept. A reader that falls more than 4,096 events behind loses the oldest ones
    /// ([`crate::TorrentEvent::Missed`]); the engine never waits for it.
    pub fn events(&self) -> Events {
        self.shared.reports.events()
    }

    /// How the torrent stands now; brought up to date four times a second.
    pub fn status(&self) -> TorrentStatus {
        self.shared.reports.status.borrow().clone()
    }

    /// As [`Torrent::status`], brought up to date now.
    pub async fn status_now(&self) -> TorrentStatus {
        let (answer, answered) = oneshot::channel();
        self.request(Request::Report(answer)).await;
        // No answer comes while the torrent is being checked, and when it has ended: then the status is up to date.
        let _ = answered.await;
        self.status()
    }

    /// As [`Torrent::status`], to wait for changes of.
    pub fn watch(&self) -> watch::Receiver<TorrentStatus> {
        self.shared.reports.status.clone()
    }

    /// Every connection now; none if the torrent is still being checked, or has ended.
    pub async fn peers(&self) -> Vec<PeerSnapshot> {
        let (answer, peers) = oneshot::channel();
        self.request(Request::Peers(answer)).await;
        peers.await.unwrap_or_default()
    }

    /// Closes all connections and tells the trackers; what is on disk stays.
    pub async fn pause(&self) {
        self.request(Request::Command(Command::Pause)).await;
    }

    /// Goes on after [`Torrent::pause`].
    pub async fn resume(&self) {
        self.request(Request::Command(Command::Resume)).await;
    }

    /// Adds peers by name or address with port, like `host:6881` or `[2001:db8::1]:6881`. Names that are not found are
    /// logged.
    pub async fn add_hosts(&self, hosts: Vec<String>) {
        self.request(Request::AddHosts(hosts)).await;
    }

    /// Adds peers by address.
    pub async fn add_peers(&self, addresses: impl IntoIterator<Item = std::net::SocketAddr>) {
        let peers = addresses.into_iter().map(|address| PeerAddress { address, peer_id: None }).collect();
        self.request(Request::Command(Command::AddPeers(peers, PeerSource::User))).await;
    }

    /// Adds trackers that the user has named by announce URL, each a tier of its own behind the others.
    pub async fn add_trackers(&self, urls: Vec<String>) {
        self.request(Request::Command(Command::AddTrackers(urls))).await;
    }

    /// Stops the torrent for ever, and waits until the trackers know (5 s at most) and all that was verified is
    /// recorded.
    pub async fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.request(Request::Command(Command::Stop)).await;
        self.wait_ended().await;
    }

    /// Waits until every piece is on disk and right, and every file has its final name.
    ///
    /// # Errors
    /// When the torrent ends before that.
    pub async fn wait_complete(&self) -> Result<(), TorrentError> {
        let mut status = self.watch();
        let last = status.wait_for(|status| status.complete || status.state.has_ended()).await;
        match last.as_deref() {
            Ok(TorrentStatus { complete: true, .. }) => Ok(()),
            Ok(TorrentStatus { error: Some(text), .. }) => Err(TorrentError::Failed(text.clone())),
            _ => Err(TorrentError::Stopped),
        }
    }

    /// Waits until the torrent has ended, for whatever reason.
    pub async fn wait_ended(&self) {
        let mut status = self.watch();
        // The status is closed when the task has ended, even by a fault of ours.
        while status.changed().await.is_ok() {}
    }

    async fn request(&self, request: Request) {
        // Fails only when the torrent has ended, and then there is nothing left to ask.
        let _ = self.shared.requests.send(request).await;
    }
}

impl fmt::Debug for Torrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Torrent").field(&self.shared.info_hash).finish()
    }
}

/// A torrent, as its session and the rooms of that know it: a handle that keeps nothing alive.
#[derive(Clone)]
pub(crate) struct Background {
    info_hash: InfoHash,
    requests: mpsc::Sender<Request>,
    reports: Arc<Reports>,
    chat: Option<Requests>,
    stopping: Arc<AtomicBool>,
    session: Weak<Inner>,
}

impl Background {
    pub(crate) fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// A handle for users, as long as there is a session.
    pub(crate) fn upgrade(&self) -> Option<Torrent> {
        let Self { info_hash, requests, reports, chat, stopping, session } = self.clone();
        let session = session.upgrade()?;
        Some(Torrent { shared: Arc::new(Shared { info_hash, requests, reports, chat, stopping, session }) })
    }

    pub(crate) fn status(&self) -> TorrentStatus {
        self.reports.status.borrow().clone()
    }

    /// Whether it has ended, or is about to.
    pub(crate) fn is_ending(&self) -> bool {
        self.stopping.load(Ordering::Relaxed) || self.has_ended()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.requests.is_closed() || self.reports.status.borrow().state.has_ended()
    }

    /// Waits until what is on disk was looked at, or the torrent has ended.
    pub(crate) async fn wait_checked(&self) {
        let mut status = self.reports.status.clone();
        // Fails when it has ended.
        let _ = status.wait_for(|status| status.state != State::Checking).await;
    }

    /// Waits until its files are free and its place in the session too.
    pub(crate) async fn wait_ended(&self) {
        let mut status = self.reports.status.clone();
        while status.changed().await.is_ok() {}
    }

    /// Stops it for ever, some time soon.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.send(Request::Command(Command::Stop));
    }

    pub(crate) fn add_peers(&self, addresses: impl IntoIterator<Item = std::net::SocketAddr>) {
        let peers = addresses.into_iter().map(|address| PeerAddress { address, peer_id: None }).collect();
        self.send(Request::Command(Command::AddPeers(peers, PeerSource::User)));
    }

    /// Without waiting, unless the torrent is slow; then behind whoever waits already.
    fn send(&self, request: Request) {
        let Err(mpsc::error::TrySendError::Full(request)) = self.requests.try_send(request) else { return };
        let requests = self.requests.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { requests.send(request).await });
        }
    }
}
