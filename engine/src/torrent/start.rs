//! From a metainfo and a folder to a running swarm: what is on disk is found, checked and prepared.

use super::assembly::Assembly;
use super::chat::ChatLine;
use super::connections::Connections;
use super::disk::FileSource;
use super::files::FileProgress;
use super::pairing::Pairing;
use super::patrol::Patrol;
use super::records::Records;
use super::{BATCHES, Driver, Finishing, Inlets, PUSHED, Queues, Request, log, now};
use crate::connection::Shared;
use crate::disk::resume::ResumeStore;
use crate::disk::{DiskError, HashJob, Mode, Storage, StorageOptions, fault, verify_pieces};
use crate::listener::OpenDoor;
use crate::report::{Reporter, State};
use crate::session::{AddError, AddTorrent, Context, Order, Purpose, Verify};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use swarm_proto::bitfield::Bitfield;
use swarm_proto::metainfo::Metainfo;
use swarm_proto::swarm::{Command, PeerSource, Role, Swarm, SwarmConfig};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::interval;

/// How often the progress of a check is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// What it means that a resume record cannot be written: no reason not to transfer.
const NO_RECORD: &str = "without a resume record the next start has to check all data";
/// Requests of the user that are kept until the check is over; those behind them wait in the queue.
const WAITING: usize = 64;

/// A torrent whose files are locked for it, and nothing more.
pub(crate) struct Opened {
    context: Arc<Context>,
    torrent: AddTorrent,
    storage: Arc<Storage>,
    resume: Option<Arc<ResumeStore>>,
    door: OpenDoor,
}

/// Opens the files of a torrent.
pub(crate) async fn open(context: Arc<Context>, torrent: AddTorrent, door: OpenDoor) -> Result<Opened, AddError> {
    let files = Arc::clone(&context.files);
    let layout = torrent.metainfo.layout().clone();
    let (folder, purpose) = (torrent.folder.clone(), torrent.purpose);
    let open = move || match purpose {
        Purpose::Seed => Storage::open_seed(&folder, layout, files),
        Purpose::Fetch(how) => {
            let (foreign_files, allocation) = (how.foreign_files, how.allocation);
            let options = StorageOptions { mode: Mode::Fetch, foreign_files, allocation, files };
            Storage::open(&folder, layout, options)
        }
    };
    let (info_hash, state_folder) = (torrent.metainfo.info_hash(), context.config.state_folder.clone());
    let open = move || {
        let storage = open()?;
        let resume = state_folder.and_then(|folder| {
            let opened = ResumeStore::open(&folder, info_hash, &storage);
            opened.inspect_err(|error| tracing::warn!(%error, "{NO_RECORD}")).ok()
        });
        Ok::<_, DiskError>((Arc::new(storage), resume.map(Arc::new)))
    };
    let (storage, resume) = spawn_blocking(open).await.map_err(|_| AddError::Crashed)??;
    context.trackers.trust(&torrent.trackers);
    Ok(Opened { context, torrent, storage, resume, door })
}

/// How far a check is, and whether it must end.
#[derive(Default)]
struct Progress {
    bytes: AtomicU64,
    total: AtomicU64,
    cancel: AtomicBool,
}

/// A look at what is on disk at the start.
struct Check {
    storage: Arc<Storage>,
    resume: Option<Arc<ResumeStore>>,
    metainfo: Metainfo,
    purpose: Purpose,
    verify: Verify,
    progress: Arc<Progress>,
}

impl Check {
    /// Hashes what is not known to be right, makes the files ready, and records what was found.
    fn run(self) -> Result<Bitfield, DiskError> {
        let geometry = self.metainfo.geometry();
        let resumed = self.resume.as_ref().map(|resume| resume.load(&self.storage));
        let (mut have, suspect) = match &resumed {
            Some(resumed) if self.verify == Verify::Changed => (resumed.have.clone(), resumed.recheck.clone()),
            _ => (Bitfield::empty(geometry.pieces()), Bitfield::full(geometry.pieces())),
        };
        let length = |number| geometry.piece(number).map_or(0, |piece| u64::from(geometry.length_of(piece)));
        self.progress.total.store(suspect.iter().map(length).sum(), Ordering::Relaxed);
        let count = |bytes| {
            self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        };
        let job = HashJob::new(&count, &self.progress.cancel);
        let right = verify_pieces(&self.storage, &self.metainfo, &suspect, job)?;
        fault::visit(fault::Place::Check);
        for piece in right.iter().filter_map(|number| geometry.piece(number)) {
            have.insert(piece);
        }
        self.storage.prepare(&have, &|file| resumed.as_ref().is_some_and(|resumed| resumed.is_ours(file)))?;
        if let Err(error) = self.record(&have, suspect.count() > 0) {
            // It is tried again with the first pieces that come.
            tracing::warn!(%error, "{NO_RECORD}");
        }
        Ok(have)
    }

    /// A download needs a record in front of its first write; of other data it only saves the next check.
    fn record(&self, have: &Bitfield, checked: bool) -> Result<(), DiskError> {
        let Some(resume) = &self.resume else { return Ok(()) };
        match self.purpose {
            _ if have.is_full() && checked => resume.record_complete(&self.storage),
            Purpose::Fetch(_) if !have.is_full() => resume.checkpoint(&self.storage, have).map(drop),
            _ => Ok(()),
        }
    }
}

impl Opened {
    /// The files, to see when nobody uses them any more.
    pub(crate) fn storage(&self) -> Weak<Storage> {
        Arc::downgrade(&self.storage)
    }

    /// Runs the torrent to its end.
    pub(crate) async fn run(self, mut inlets: Inlets, reporter: Arc<Reporter>) {
        let mut waiting = Vec::new();
        match self.prepare(&mut inlets, &mut waiting, &reporter).await {
            Ok(have) => {
                let (mut driver, queues) = self.start(have, inlets, reporter);
                waiting.into_iter().for_each(|request| driver.take_request(request));
                driver.run(queues).await;
            }
            Err(error) => {
                // Who waits for the end may use the name and the files then.
                drop(self);
                match error {
                    DiskError::Cancelled => reporter.state(State::Stopped),
                    error => reporter.failed(error.to_string()),
                }
            }
        }
    }

    /// Finds out which pieces are there, and makes the files ready for the others. Whatever the user asks for meanwhile
    /// is kept in `waiting`, except for an end, which comes at once.
    async fn prepare(
        &self,
        inlets: &mut Inlets,
        waiting: &mut Vec<Request>,
        reporter: &Reporter,
    ) -> Result<Bitfield, DiskError> {
        let progress = Arc::new(Progress::default());
        let check = Check {
            storage: Arc::clone(&self.storage),
            resume: self.resume.clone(),
            metainfo: self.torrent.metainfo.clone(),
            purpose: self.torrent.purpose,
            verify: self.torrent.verify,
            progress: Arc::clone(&progress),
        };
        let work = spawn_blocking(move || check.run());
        tokio::pin!(work);
        let mut tick = interval(PROGRESS_INTERVAL);
        let report = || {
            let [done, total] = [&progress.bytes, &progress.total].map(|bytes| bytes.load(Ordering::Relaxed));
            reporter.checking(done, total);
        };
        loop {
            let cancelled = progress.cancel.load(Ordering::Relaxed);
            tokio::select! {
                result = &mut work => {
                    report();
                    // An end that was asked for too late for the check still is one.
                    return if cancelled { Err(DiskError::Cancelled) } else { result.unwrap_or_else(panic_on) };
                }
                _ = tick.tick() => report(),
                Some(request) = inlets.requests.recv(), if waiting.len() < WAITING => match request {
                    Request::Command(Command::Stop) => progress.cancel.store(true, Ordering::Relaxed),
                    // Dropping the answer's channel says that there are no peers, and nothing new.
                    Request::Peers(_) | Request::Report(_) => {}
                    other => waiting.push(other),
                },
                _ = inlets.shutdown.changed(), if !cancelled => progress.cancel.store(true, Ordering::Relaxed),
            }
        }
    }

    fn start(self, have: Bitfield, mut inlets: Inlets, reporter: Arc<Reporter>) -> (Driver, Queues) {
        let config = swarm_config(&self.context, &self.torrent);
        log::begins(&config, &have);
        let Self { context, torrent, storage, resume, door } = self;
        let AddTorrent { metainfo, peers, purpose, .. } = torrent;
        let geometry = metainfo.geometry();
        let (batches, batch_queue) = mpsc::channel(BATCHES);
        let (pushed, pushed_queue) = mpsc::channel(PUSHED);
        let shared = Shared {
            geometry,
            pool: Arc::clone(&context.pool),
            source: FileSource { storage: Arc::clone(&storage) },
            upload_limit: Arc::clone(&context.upload_limit),
            download_limit: Arc::clone(&context.download_limit),
            batches,
        };
        let mut driver = Driver {
            files: FileProgress::new(metainfo.layout().clone(), &have),
            finishing: if have.is_full() { Finishing::Done } else { Finishing::Incomplete },
            swarm: Swarm::new(config, geometry, have, rand::random(), now()),
            shared: Arc::new(shared),
            connections: Connections::new(inlets.chat.take().map(ChatLine::new)),
            pairing: Pairing::default(),
            assembly: Assembly::new(geometry),
            records: Records::new(storage, resume),
            patrol: Patrol::new(geometry, now()),
            reporter,
            tasks: JoinSet::new(),
            awaited: HashMap::new(),
            pushed,
            paused: false,
            blocked: false,
            stop_at: None,
            failure: None,
            metainfo,
            purpose,
            context,
            door,
        };
        // BEP 27: a private torrent takes peers from its trackers, and from the user, but not from whoever edited the file.
        let named = if driver.metainfo.is_private() { &[] } else { driver.metainfo.peers() };
        driver.resolve(PeerSource::Metainfo, named.to_vec());
        driver.resolve(PeerSource::User, peers);
        driver.report();
        driver.update_state();
        if driver.finishing == Finishing::Done {
            driver.reporter.event(crate::report::TorrentEvent::Finished);
        }
        (driver, Queues { inlets, batches: batch_queue, pushed: pushed_queue })
    }
}

/// The panic of a task goes on in the one that waited for it.
fn panic_on<T>(error: JoinError) -> Result<T, DiskError> {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(DiskError::Cancelled),
    }
}

fn swarm_config(context: &Context, torrent: &AddTorrent) -> SwarmConfig {
    let metainfo = &torrent.metainfo;
    let added = torrent.trackers.iter().map(|url| vec![url.clone()]);
    SwarmConfig {
        info_hash: metainfo.info_hash(),
        peer_id: context.peer_id,
        listen_port: context.port,
        trackers: metainfo.trackers().iter().cloned().chain(added).collect(),
        private: metainfo.is_private(),
        metadata_size: u32::try_from(metainfo.info_bytes().len()).unwrap_or(0),
        max_peers: context.config.max_peers,
        buffer_bytes: context.config.buffer_bytes,
        profile: context.config.profile,
        role: if torrent.purpose == Purpose::Seed { Role::Seed } else { Role::Fetch },
        sequential: matches!(torrent.purpose, Purpose::Fetch(how) if how.order == Order::Sequential),
        client: context.config.client.clone(),
        chat: torrent.chat.is_some(),
    }
}
