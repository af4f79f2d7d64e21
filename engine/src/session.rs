//! A session: one listening port, one peer id, and any number of torrents.
//!
//! Owns what its torrents share: the listener, rate limits, memory for blocks, open files, clients of trackers. There are
//! no globals, so a process may have several. It ends with [`Session::shutdown`], or when the last handle of it and of
//! its torrents is dropped; then everything ends by itself.

use crate::buffer::BlockPool;
use crate::chat::{self, ChatFailure, ChatOptions, Chatting, Offered, RelayAs};
use crate::disk::{Allocation, DiskError, FilePool, ForeignFiles, descriptor_limit};
use crate::handle::{Background, Torrent};
use crate::limiter::RateLimiter;
use crate::listener::{self, Doors, Listen};
use crate::report::{self, Reporter};
use crate::supervise::caught;
use crate::torrent::{self, Inlets, Opened};
use crate::tracker::Trackers;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use swarm_proto::geometry::BLOCK_LENGTH;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::metainfo::Metainfo;
use swarm_proto::swarm::Profile;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Outgoing connections that may be opened at the same time; each costs a descriptor.
const DIALS: usize = 64;
/// Handshakes under way at most; each costs a descriptor and a small task.
const HALF_OPEN: usize = 512;
/// Free memory that is kept for blocks to come, in bytes.
const FREE_BLOCK_BYTES: usize = 8 * 1024 * 1024;
/// Descriptors for all that is neither a payload file nor a connection: the runtime, locks, trackers, newcomers.
const SPARE_DESCRIPTORS: usize = 24;
/// How long a torrent that has crashed may hold its files: a hash or a write under way then goes to its end.
const CRASH_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const CRASH_LOOK: Duration = Duration::from_millis(5);
/// Requests of users and new connections that may wait for a torrent.
const INLET: usize = 64;

/// How a session behaves.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Where to take connections.
    pub listen: Listen,
    /// Connections of one torrent at most, in both directions together; fewer if the process may not open so many
    /// descriptors, so that a newcomer can take the place of an idle peer instead of finding the door shut.
    pub max_peers: usize,
    /// Bytes a second that all torrents together may send; `None` for no limit.
    pub upload_limit: Option<u64>,
    /// Bytes a second that all torrents together may receive; `None` for no limit.
    pub download_limit: Option<u64>,
    /// Bytes of payload of one torrent that may be requested or received but not yet on disk.
    pub buffer_bytes: u64,
    /// Whom to serve.
    pub profile: Profile,
    /// Where resume records are kept. Without it, nothing is remembered and every start checks all data.
    pub state_folder: Option<PathBuf>,
    /// Name and version, as peers see it.
    pub client: String,
}

impl Default for SessionConfig {
    /// As a guest in public swarms: 80 peers, no rate limits, 64 MiB of buffers, nothing remembered.
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            max_peers: 80,
            upload_limit: None,
            download_limit: None,
            buffer_bytes: 64 * 1024 * 1024,
            profile: Profile::default(),
            state_folder: None,
            client: concat!("swarm ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// What a torrent is added for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Serving data that is there already. Nothing is ever written to it.
    Seed,
    /// Fetching what is missing, and serving it to others meanwhile.
    Fetch(FetchOptions),
}

/// How to fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FetchOptions {
    /// What to do with files in the way that are not the torrent's own.
    pub foreign_files: ForeignFiles,
    /// How room is made on disk.
    pub allocation: Allocation,
    /// In which order to fetch.
    pub order: Order,
}

/// In which order pieces are fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// The rarest first: best for everybody.
    #[default]
    RarestFirst,
    /// From the beginning to the end.
    Sequential,
}

/// What of the data on disk is hashed before a torrent starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verify {
    /// What the resume record does not vouch for.
    #[default]
    Changed,
    /// All of it.
    Everything,
}

/// A torrent to add to a session.
#[derive(Clone, Debug)]
pub struct AddTorrent {
    /// What it is.
    pub metainfo: Metainfo,
    /// The folder below which the torrent's file or folder is, or will be. For a seed it may also be the path of that
    /// file or folder itself, under any name.
    pub folder: PathBuf,
    /// What for.
    pub purpose: Purpose,
    /// What to hash first.
    pub verify: Verify,
    /// Announce URLs besides those of the metainfo, each a tier of its own. They must be the user's: unlike those of a
    /// metainfo they may lead to anything on this machine.
    pub trackers: Vec<String>,
    /// Peers besides those of the metainfo, as `host:port`.
    pub peers: Vec<String>,
    /// To chat with those of its peers that do. Without it nothing of this is announced to anybody.
    pub chat: Option<ChatOptions>,
}

impl AddTorrent {
    /// To fetch it below `folder`.
    pub fn fetch(metainfo: Metainfo, folder: impl Into<PathBuf>) -> Self {
        Self::new(metainfo, folder.into(), Purpose::Fetch(FetchOptions::default()))
    }

    /// To serve what is at or below `path`.
    pub fn seed(metainfo: Metainfo, path: impl Into<PathBuf>) -> Self {
        Self::new(metainfo, path.into(), Purpose::Seed)
    }

    /// To meet in the room of this torrent: nothing is fetched but a file that is empty, which is put into `folder`.
    pub fn room(metainfo: Metainfo, folder: impl Into<PathBuf>, chat: ChatOptions) -> Self {
        Self { chat: Some(chat), ..Self::fetch(metainfo, folder) }
    }

    fn new(metainfo: Metainfo, folder: PathBuf, purpose: Purpose) -> Self {
        let (verify, trackers, peers) = (Verify::default(), Vec::new(), Vec::new());
        Self { metainfo, folder, purpose, verify, trackers, peers, chat: None }
    }
}

/// Why a session can't start.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The port can't be had.
    #[error("cannot listen on {where_to}: {source}; choose another port, or 0 for any")]
    Listen {
        /// The address or the range of ports.
        where_to: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Why a torrent can't be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It is in this session already.
    #[error("torrent {0} is running already")]
    Duplicate(InfoHash),
    /// The folder or the files in it.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The room of the torrent.
    #[error(transparent)]
    Chat(#[from] ChatFailure),
    /// A fault of this program.
    #[error("a fault of this program: please report it with the log")]
    Crashed,
    /// The session is over.
    #[error("the session has ended")]
    Ended,
}

/// What all torrents of a session share.
pub(crate) struct Context {
    pub(crate) config: SessionConfig,
    pub(crate) peer_id: PeerId,
    pub(crate) port: u16,
    pub(crate) doors: Arc<Doors>,
    pub(crate) pool: Arc<BlockPool>,
    pub(crate) upload_limit: Arc<RateLimiter>,
    pub(crate) download_limit: Arc<RateLimiter>,
    /// Permits to open connections.
    pub(crate) dials: Arc<Semaphore>,
    /// Permits to hash and write pieces: more than one a core would only use more memory.
    pub(crate) disk: Arc<Semaphore>,
    /// The turn of the torrents in hashing again what they have served.
    pub(crate) scrub: Arc<Semaphore>,
    pub(crate) files: Arc<FilePool>,
    pub(crate) trackers: Trackers,
}

/// What every handle keeps alive.
pub(crate) struct Inner {
    context: Arc<Context>,
    shutdown: watch::Sender<bool>,
    listener: AbortHandle,
    torrents: Mutex<JoinSet<()>>,
    /// Those that have not ended.
    known: Mutex<HashMap<InfoHash, Background>>,
    /// What is served only because it was offered to somebody.
    offered: Offered,
    address: SocketAddr,
}

/// A session. Cheap to clone. Must be made and used inside a tokio runtime.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

impl Session {
    /// Opens the listening port.
    ///
    /// # Errors
    /// When the port can't be had.
    pub fn new(config: SessionConfig) -> Result<Self, SessionError> {
        let failed = |source| {
            let where_to = match &config.listen {
                Listen::Address(address) => address.to_string(),
                Listen::Ports(ports) => format!("any port from {} to {}", ports.start(), ports.end()),
            };
            SessionError::Listen { where_to, source }
        };
        let listener = listener::bind(&config.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let now = Instant::now();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let doors = Arc::new(Doors::default());
        let files = Arc::<FilePool>::default();
        let descriptors = usize::try_from(descriptor_limit()).unwrap_or(usize::MAX);
        let room = Room::among(descriptors, files.capacity());
        let task = tokio::spawn(listener::serve(listener, Arc::clone(&doors), room.half_open));
        let config = SessionConfig { max_peers: config.max_peers.min(room.peers), ..config };
        let context = Context {
            peer_id: PeerId::new(random_suffix()),
            port: address.port(),
            doors,
            pool: BlockPool::new(FREE_BLOCK_BYTES / BLOCK_LENGTH as usize),
            upload_limit: Arc::new(RateLimiter::new(config.upload_limit, now)),
            download_limit: Arc::new(RateLimiter::new(config.download_limit, now)),
            dials: Arc::new(Semaphore::new(room.dials)),
            disk: Arc::new(Semaphore::new(cores)),
            scrub: Arc::new(Semaphore::new(1)),
            files,
            trackers: Trackers::new(),
            config,
        };
        let inner = Inner {
            context: Arc::new(context),
            shutdown: watch::Sender::new(false),
            listener: task.abort_handle(),
            torrents: Mutex::default(),
            known: Mutex::default(),
            offered: Offered::default(),
            address,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How this session calls itself.
    pub fn peer_id(&self) -> PeerId {
        self.inner.context.peer_id
    }

    /// The address on which it takes connections.
    pub fn listen_address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Starts a torrent. What is on disk already is looked at in the background; the torrent joins its swarm after that.
    ///
    /// # Errors
    /// When the torrent is there already, or its folder or files can't be used.
    pub async fn add(&self, torrent: AddTorrent) -> Result<Torrent, AddError> {
        if *self.inner.shutdown.borrow() {
            return Err(AddError::Ended);
        }
        let info_hash = torrent.metainfo.info_hash();
        let (requests, request_queue) = mpsc::channel(INLET);
        let (arrivals, arrival_queue) = mpsc::channel(INLET);
        let ours = crate::connection::handshake::ours(info_hash, self.peer_id());
        let door = self.inner.context.doors.open(ours, arrivals).ok_or(AddError::Duplicate(info_hash))?;
        let shutdown = self.inner.shutdown.subscribe();
        let chatting = match &torrent.chat {
            Some(options) => Some(chat::open(info_hash, options, self.relay_as()).await?),
            None => None,
        };
        let (chat, room, handle) = chatting
            .map_or((None, None, None), |Chatting { port, requests, task }| (Some(port), Some(task), Some(requests)));
        let inlets = Inlets { requests: request_queue, arrivals: arrival_queue, shutdown, chat };
        let opened = torrent::open(Arc::clone(&self.inner.context), torrent, door).await?;
        let (reporter, reports) = report::channel();
        let mut torrents = self.inner.torrents();
        while torrents.try_join_next().is_some() {}
        torrents.spawn(run(opened, inlets, reporter));
        if let Some(room) = room {
            torrents.spawn(async move {
                // A fault in it ends the room; the torrent goes on.
                let _ = caught(room.run()).await;
            });
        }
        drop(torrents);
        let torrent = Torrent::new(info_hash, requests, reports, handle, Arc::clone(&self.inner));
        let mut known = self.inner.known();
        known.retain(|_, torrent| !torrent.has_ended());
        known.insert(info_hash, torrent.background());
        drop(known);
        Ok(torrent)
    }

    /// Where resume records are kept.
    pub(crate) fn state_folder(&self) -> Option<&Path> {
        self.inner.context.config.state_folder.as_deref()
    }

    /// A torrent that is there.
    pub(crate) fn find(&self, info_hash: InfoHash) -> Option<Background> {
        self.inner.known().get(&info_hash).cloned()
    }

    /// What is served only because it was offered to somebody.
    pub(crate) fn offered(&self) -> &Offered {
        &self.inner.offered
    }

    /// As whom the session's torrents are announced to native trackers.
    fn relay_as(&self) -> RelayAs {
        let context = &self.inner.context;
        RelayAs { native: context.trackers.native().clone(), peer_id: context.peer_id, port: context.port }
    }

    /// The session that a handle keeps alive.
    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Stops all torrents and waits until their trackers know (5 s at most) and everything verified is recorded.
    pub async fn shutdown(self) {
        self.inner.shutdown.send_replace(true);
        self.inner.listener.abort();
        let mut torrents = std::mem::take(&mut *self.inner.torrents());
        while torrents.join_next().await.is_some() {}
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.inner.address).finish()
    }
}

impl Inner {
    fn torrents(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.torrents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<InfoHash, Background>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    /// The torrents notice that `shutdown` is gone and end by themselves.
    fn drop(&mut self) {
        self.listener.abort();
        self.torrents().detach_all();
    }
}

/// Runs a torrent. One that panics ends like any other that fails: its door is closed, its connections too, and its files
/// are free for the next one before anybody hears of it.
async fn run(opened: Opened, inlets: Inlets, reporter: Reporter) {
    let (reporter, storage) = (Arc::new(reporter), opened.storage());
    if caught(opened.run(inlets, Arc::clone(&reporter))).await.is_err() {
        let free = async {
            while storage.strong_count() > 0 {
                tokio::time::sleep(CRASH_LOOK).await;
            }
        };
        if tokio::time::timeout(CRASH_PATIENCE, free).await.is_err() {
            tracing::error!("a torrent that has crashed still holds its files");
        }
        reporter.crashed();
    }
}

/// How the descriptors of the process are shared out, so that no crowd at the door takes those of files, records and
/// trackers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Room {
    peers: usize,
    half_open: usize,
    dials: usize,
}

impl Room {
    /// Beside so many open files; at least a few of each.
    fn among(descriptors: usize, files: usize) -> Self {
        let half_open = (descriptors / 8).clamp(4, HALF_OPEN);
        let dials = (descriptors / 16).clamp(2, DIALS);
        let peers = descriptors.saturating_sub(files + half_open + dials + SPARE_DESCRIPTORS).max(4);
        Self { peers, half_open, dials }
    }
}

/// Letters and digits, as other clients have them.
fn random_suffix() -> [u8; 12] {
    const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-";
    rand::random::<[u8; 12]>().map(|byte| ALPHABET.get(usize::from(byte % 64)).copied().unwrap_or(b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_files_and_newcomers() {
        let room = |descriptors, files| {
            let Room { peers, half_open, dials } = Room::among(descriptors, files);
            (peers, half_open, dials)
        };
        assert_eq!(room(64, 16), (12, 8, 4));
        assert_eq!(room(256, 64), (120, 32, 16));
        assert_eq!(room(1_024, 128), (680, 128, 64));
        assert_eq!(room(20_000, 128), (19_272, 512, 64));
        assert_eq!(room(20, 5), (4, 4, 2));
    }
}
