//! The listener, and the tasks beside it: pushing, and keeping the catalogue on disk.

use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::connection::Connection;
use crate::mailbox::Mailbox;
use crate::people::{self, People, PeopleLimits, today};
use crate::pusher::{observe, push_changes};
use crate::registry::ConnectedPeer;
use crate::session::{FULL_RETRY_S, PeerSession};
use crate::shared::Shared;
use crate::snapshot;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use swarm_proto::native::{CatalogueEntry, Name, Refusal, RefusalCode, TrackerMessage};
use swarm_tracker_core::{Change, SnapshotError, Store, StoreStats};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1_024;
/// Pause when no connection can be accepted, for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Changes of the catalogue are collected for so long before they are saved.
const SAVE_DELAY: Duration = Duration::from_secs(1);
/// A large catalogue takes long to write, all of it each time: so many times as long pass before it is written again.
const SAVED_PART: u32 = 20;
/// Pause after a save that failed: a full disk does not empty itself in a second.
const SAVE_PAUSE: Duration = Duration::from_secs(30);
/// Time that connections get to end when the tracker closes.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// Why a tracker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}: {source}; choose another address or port")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What came of it.
        source: io::Error,
    },
    /// The catalogue of an earlier run could not be read.
    #[error(transparent)]
    Catalogue(#[from] SnapshotError),
}

/// A native tracker that listens, and serves once [`NativeTracker::serve`] runs.
#[derive(Debug)]
pub struct NativeTracker {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    changes: Receiver<Change>,
}

/// A view into a running tracker, for consoles and pages. Clones share it.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl NativeTracker {
    /// Listens, takes over the catalogue of an earlier run, and has the store tell its changes.
    ///
    /// # Errors
    /// [`BindError`]. A damaged catalogue has been renamed: bound again, the tracker starts with an empty one.
    pub fn bind(config: Config, store: Arc<Store>) -> Result<Self, BindError> {
        let address = config.listen;
        let listener = listen(address).map_err(|source| BindError::Listen { address, source })?;
        Self::start(config, listener, store)
    }

    /// The same with a listener that somebody else has opened; [`Config::listen`] does not count.
    ///
    /// # Errors
    /// As [`NativeTracker::bind`].
    pub fn bind_to(config: Config, open: std::net::TcpListener, store: Arc<Store>) -> Result<Self, BindError> {
        let address = config.listen;
        let taken = open.set_nonblocking(true).and_then(|()| TcpListener::from_std(open));
        let listener = taken.map_err(|source| BindError::Listen { address, source })?;
        Self::start(config, listener, store)
    }

    fn start(config: Config, listener: TcpListener, store: Arc<Store>) -> Result<Self, BindError> {
        let address = config.listen;
        let failed = |source| BindError::Listen { address, source };
        let local_addr = listener.local_addr().map_err(failed)?;
        let catalogue = match &config.catalogue_file {
            Some(path) => snapshot::load(path, config.limits)?,
            None => Catalogue::new(config.limits),
        };
        let limits = PeopleLimits { people: config.limits.people, of_network: config.limits.people_per_network };
        let people = match &config.people_file {
            Some(path) => People::load(path, limits, today())?,
            None => People::new(limits),
        };
        let changes = observe(&store);
        Ok(Self { listener, local_addr, shared: Arc::new(Shared::new(config, store, catalogue, people)), changes })
    }

    /// Where the tracker listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// A view into the tracker that may outlive it.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until `shutdown` is ready or the admin asks for the end, tells the peers, and saves the catalogue. The swarms stay in the store.
    ///
    /// # Errors
    /// The catalogue could not be saved at the end. Saves that fail before are logged and tried again.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), SnapshotError> {
        let Self { listener, local_addr, shared, changes } = self;
        tracing::info!(address = %local_addr, names = shared.catalogue().len(), "native tracker listens");
        let (close, closing) = watch::channel(false);
        let mut background = JoinSet::new();
        let (hub, changes) = (Arc::clone(&shared.hub), Arc::new(Mutex::new(changes)));
        let (limits, delay) = (shared.config.limits, shared.config.push_delay);
        let push = move || push_changes(Arc::clone(&hub), limits, Arc::clone(&changes), delay);
        background.spawn(keep_running("pushing", push));
        let kept = Arc::clone(&shared);
        background.spawn(keep_running("saving the catalogue", move || keep_saved(Arc::clone(&kept))));
        let kept = Arc::clone(&shared);
        background.spawn(keep_running("saving the people", move || keep_people(Arc::clone(&kept))));
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                () = shared.shutdown.notified() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, remote)) => accept(stream, remote, &shared, &closing, &mut connections),
                    Err(error) => pause_unless_aborted(&error).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        let _ = close.send(true);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(CLOSING_TIME, all).await.is_err() {
            connections.shutdown().await;
        }
        background.shutdown().await;
        tracing::info!(address = %local_addr, "native tracker has closed");
        save_people(&shared).await?;
        save(&shared).await
    }
}

impl Handle {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// A page of the catalogue: entries with their counts, and whether there are more.
    pub fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> (Vec<CatalogueEntry>, bool) {
        self.shared.page(prefix, after, limit)
    }

    /// Names in the catalogue.
    pub fn names(&self) -> usize {
        self.shared.catalogue().len()
    }

    /// The peers that are online.
    pub fn peers(&self) -> Vec<ConnectedPeer> {
        self.shared.registry.peers()
    }

    /// Connections, those included that are not online yet.
    pub fn connections(&self) -> usize {
        self.shared.registry.connections()
    }

    /// Counts over all swarms of the store, whichever dialect they came by.
    pub fn stats(&self) -> StoreStats {
        self.shared.store.stats()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn accept(
    stream: TcpStream,
    remote: SocketAddr,
    shared: &Arc<Shared>,
    closing: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) {
    let Some(registration) = shared.registry.register(remote) else {
        tracing::debug!(%remote, "connection refused, too many");
        shared.counters().turned_away.add(1);
        return turn_away(stream);
    };
    shared.counters().accepted.add(1);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "answers may be delayed");
    }
    let mailbox = Arc::new(Mailbox::new(shared.config.limits.queued_pushes));
    let session = PeerSession::new(Arc::clone(shared), registration, remote, Arc::clone(&mailbox));
    let connection = Connection::new(stream, Arc::clone(shared), session, mailbox);
    let closing = closing.clone();
    connections.spawn(async move {
        let end = connection.run(closing).await;
        tracing::debug!(%remote, %end, "connection ended");
    });
}

/// One connection too many is told so, as far as that is possible without waiting for it.
fn turn_away(stream: TcpStream) {
    let refusal = Refusal::new(RefusalCode::Full, "too many connections").retry_in(FULL_RETRY_S);
    let frame = TrackerMessage::Refused(None, refusal).encode();
    let written = stream.into_std().and_then(|mut stream| stream.write(&frame));
    if let Err(error) = written {
        tracing::trace!(%error, "could not be told");
    }
}

/// A connection that its peer gave up before it was accepted is nothing; lack of descriptors needs time.
async fn pause_unless_aborted(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::warn!(%error, "cannot accept connections for now");
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Does this beside the connections, and again whenever it panics: what one torrent does to it must not end it for all.
async fn keep_running<F: Future<Output = ()> + Send + 'static>(what: &'static str, work: impl Fn() -> F) {
    let mut running = JoinSet::new();
    loop {
        running.spawn(work());
        match running.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(what, "failed by a fault of this program; it goes on");
                sleep(ACCEPT_PAUSE).await;
            }
            _ => return,
        }
    }
}

async fn keep_saved(shared: Arc<Shared>) {
    let mut pause = SAVE_DELAY;
    loop {
        shared.catalogue_changed.notified().await;
        sleep(pause).await;
        let began = Instant::now();
        if let Err(error) = save(&shared).await {
            tracing::error!(%error, "the catalogue was not saved; it is tried again");
            sleep(SAVE_PAUSE).await;
            shared.catalogue_changed.notify_one();
        }
        pause = SAVE_DELAY.max(began.elapsed() * SAVED_PART);
    }
}

async fn keep_people(shared: Arc<Shared>) {
    loop {
        shared.people_changed.notified().await;
        sleep(SAVE_DELAY).await;
        if let Err(error) = save_people(&shared).await {
            tracing::error!(%error, "the names of people were not saved; it is tried again");
            sleep(SAVE_PAUSE).await;
            shared.people_changed.notify_one();
        }
    }
}

/// Saves the names of people, if they have a file.
async fn save_people(shared: &Arc<Shared>) -> Result<(), SnapshotError> {
    let Some(path) = shared.config.people_file.clone() else { return Ok(()) };
    let (to, shared) = (path.clone(), Arc::clone(shared));
    let saved = tokio::task::spawn_blocking(move || {
        let _alone = shared.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let encoded = shared.people().encoded();
        people::save(&encoded, &to)
    });
    saved
        .await
        .unwrap_or_else(|error| Err(SnapshotError::Io { operation: "write the people", path, source: error.into() }))
}

/// Saves the catalogue as it is when its turn comes, if it has a file.
async fn save(shared: &Arc<Shared>) -> Result<(), SnapshotError> {
    let Some(path) = shared.config.catalogue_file.clone() else { return Ok(()) };
    let (to, shared) = (path.clone(), Arc::clone(shared));
    let saved = tokio::task::spawn_blocking(move || {
        let _alone = shared.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = snapshot::rows(|| shared.catalogue());
        snapshot::save(&rows, &to)
    });
    saved
        .await
        .unwrap_or_else(|error| Err(SnapshotError::Io { operation: "write the catalogue", path, source: error.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn what_panics_is_done_again_and_what_ends_is_not() {
        let begun = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&begun);
        let work = move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move { assert!(number >= 2, "injected") }
        };
        keep_running("a test", work).await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }
}
