//! Payloads, metainfo, trackers and sessions for swarms on the loopback.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sha1::{Digest, Sha1};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_engine::{AddTorrent, Listen, Session, SessionConfig, Torrent};
use swarm_proto::metainfo::{Content, Metainfo, MetainfoBuilder, SourceFile};
use swarm_proto::swarm::Profile;
use swarm_tracker_core::{Store, StoreConfig, Watched};
use swarm_tracker_http::{HttpTracker, HttpTrackerConfig};
use swarm_tracker_native::{Config, Handle, NativeTracker};
use swarm_tracker_udp::{UdpTracker, UdpTrackerConfig};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// No transfer of a test takes so long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A file or a folder with random content, the same for the same name and lengths.
pub struct Payload {
    folder: TempDir,
    name: String,
    files: Vec<(Vec<String>, u64)>,
}

impl Payload {
    /// One file.
    pub fn file(name: &str, length: u64) -> Self {
        Self::write(name, vec![(Vec::new(), length)])
    }

    /// A folder with these files: paths with `/`, lengths in bytes.
    pub fn folder(name: &str, files: &[(&str, u64)]) -> Self {
        let split = |path: &str| path.split('/').map(str::to_owned).collect();
        Self::write(name, files.iter().map(|(path, length)| (split(path), *length)).collect())
    }

    fn write(name: &str, files: Vec<(Vec<String>, u64)>) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut random = SmallRng::seed_from_u64(files.iter().map(|(_, length)| length).sum());
        for (path, length) in &files {
            let target = path.iter().fold(folder.path().join(name), |target, element| target.join(element));
            fs::create_dir_all(target.parent().expect("a parent")).expect("folders of the payload");
            let mut content = vec![0; usize::try_from(*length).expect("a small file")];
            random.fill(content.as_mut_slice());
            fs::write(target, content).expect("a file of the payload");
        }
        Self { folder, name: name.to_owned(), files }
    }

    /// The folder that holds the payload.
    pub fn parent(&self) -> &Path {
        self.folder.path()
    }

    /// All bytes in the order of the torrent.
    pub fn bytes(&self) -> Vec<u8> {
        let path = |elements: &[String]| elements.iter().fold(self.parent().join(&self.name), |path, it| path.join(it));
        self.files.iter().flat_map(|(elements, _)| fs::read(path(elements)).expect("the payload")).collect()
    }

    /// Its metainfo.
    pub fn metainfo(&self, piece_length: u32, trackers: &[String]) -> Metainfo {
        let single = self.files.len() == 1 && self.files[0].0.is_empty();
        let content = if single {
            Content::SingleFile { length: self.files[0].1 }
        } else {
            let file = |(path, length): &(Vec<String>, u64)| SourceFile {
                path: path.clone(),
                length: *length,
                executable: false,
            };
            Content::Folder(self.files.iter().map(file).collect())
        };
        let mut builder = MetainfoBuilder::new(self.name.clone(), content);
        builder.piece_length = piece_length;
        builder.trackers = trackers.iter().map(|tracker| vec![tracker.clone()]).collect();
        let pieces: Vec<[u8; 20]> =
            self.bytes().chunks(piece_length as usize).map(|piece| Sha1::digest(piece).into()).collect();
        Metainfo::parse(builder.build(&pieces).expect("a good torrent")).expect("what we built")
    }

    /// Asserts that `folder` holds the same content under the same names, and nothing else.
    pub fn assert_copied_to(&self, folder: &Path) {
        for (elements, _) in &self.files {
            let relative = elements.iter().fold(PathBuf::from(&self.name), |path, element| path.join(element));
            let (one, two) = (self.parent().join(&relative), folder.join(&relative));
            let copy = fs::read(&two).unwrap_or_else(|error| panic!("{}: {error}", two.display()));
            assert!(fs::read(one).expect("the payload") == copy, "{} differs", two.display());
        }
        assert_eq!(count_files(folder), self.files.len(), "files in {}", folder.display());
    }
}

fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries.map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

/// A tracker of ours that speaks all dialects over one store, on free ports.
pub struct Trackers {
    /// Announce URL of the HTTP dialect.
    pub http: String,
    /// Announce URL of the UDP dialect.
    pub udp: String,
    /// Announce URL of the native dialect.
    pub native: String,
    watched: Handle,
    stop: Vec<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Trackers {
    /// Starts on free ports.
    pub fn start() -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(free, free)
    }

    /// Starts on these addresses, and on a free port for UDP.
    pub fn start_at(http: SocketAddr, native: SocketAddr) -> Self {
        let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
        let config = HttpTrackerConfig { listen: vec![http], ..HttpTrackerConfig::default() };
        let http = HttpTracker::bind(config, Arc::clone(&store)).expect("an HTTP tracker");
        let udp = UdpTracker::bind(UdpTrackerConfig::default(), Arc::clone(&store)).expect("a UDP tracker");
        let config = Config::new(native);
        let native = NativeTracker::bind(config, store).expect("a native tracker");
        let watched = native.handle();
        let urls = [
            format!("http://{}/announce", http.local_addr()),
            format!("udp://{}/announce", udp.local_addr()),
            format!("native://{}", native.local_addr()),
        ];
        let (stop_http, http_stopped) = oneshot::channel::<()>();
        let (stop_udp, udp_stopped) = oneshot::channel::<()>();
        let (stop_native, native_stopped) = oneshot::channel::<()>();
        let tasks = vec![
            tokio::spawn(http.serve(async { drop(http_stopped.await) })),
            tokio::spawn(async { udp.serve(async { drop(udp_stopped.await) }).await.expect("threads") }),
            tokio::spawn(async { native.serve(async { drop(native_stopped.await) }).await.expect("a clean end") }),
        ];
        let [http, udp, native] = urls;
        Self { http, udp, native, watched, stop: vec![stop_http, stop_udp, stop_native], tasks }
    }

    /// How often somebody has asked whose a name is.
    pub fn name_lookups(&self) -> u64 {
        let figures = self.watched.figures();
        figures.iter().find(|figure| figure.name == "native_name_lookups").expect("that figure").value
    }

    /// Ends it and waits until the ports are free.
    pub async fn stop(self) {
        drop(self.stop);
        for task in self.tasks {
            task.await.expect("no panic in a tracker");
        }
    }
}

/// A session on a free loopback port.
pub fn session() -> Session {
    session_with(SessionConfig { profile: Profile::Lan, ..SessionConfig::default() })
}

/// A session of this kind on a free loopback port.
pub fn session_with(config: SessionConfig) -> Session {
    let listen = Listen::Address(SocketAddr::from(([127, 0, 0, 1], 0)));
    Session::new(SessionConfig { listen, ..config }).expect("a session")
}

/// A session that sends no more than so many bytes a second.
pub fn slow_session(bytes_per_s: u64) -> Session {
    session_with(SessionConfig { upload_limit: Some(bytes_per_s), ..SessionConfig::default() })
}

/// A leecher: its session, its torrent and the folder it fetches into.
pub struct Leecher {
    /// The session.
    pub session: Session,
    /// The torrent.
    pub torrent: Torrent,
    /// Where it fetches to.
    pub folder: TempDir,
}

impl Leecher {
    /// Starts fetching, with these peers to begin with.
    pub async fn start(metainfo: &Metainfo, peers: &[SocketAddr]) -> Self {
        Self::start_in(session(), metainfo, peers).await
    }

    /// Starts fetching in this session.
    pub async fn start_in(session: Session, metainfo: &Metainfo, peers: &[SocketAddr]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut add = AddTorrent::fetch(metainfo.clone(), folder.path());
        add.peers = peers.iter().map(SocketAddr::to_string).collect();
        let torrent = session.add(add).await.expect("a torrent to fetch");
        Self { session, torrent, folder }
    }

    /// Waits until it has everything, and compares it.
    pub async fn finish(&self, payload: &Payload) {
        let complete = tokio::time::timeout(PATIENCE, self.torrent.wait_complete()).await;
        let status = self.torrent.status();
        complete.unwrap_or_else(|_| panic!("not complete in time: {status:?}")).expect("a complete torrent");
        payload.assert_copied_to(self.folder.path());
    }

    /// Waits until it has so many bytes.
    pub async fn wait_for_bytes(&self, bytes: u64) {
        let mut status = self.torrent.watch();
        let there = status.wait_for(|status| status.stats.have_bytes >= bytes);
        tokio::time::timeout(PATIENCE, there).await.expect("bytes in time").expect("a running torrent");
    }
}

/// Serves a payload, and waits until it does.
pub async fn seed(session: &Session, payload: &Payload, metainfo: &Metainfo) -> Torrent {
    let torrent = session.add(AddTorrent::seed(metainfo.clone(), payload.parent())).await.expect("a seed");
    tokio::time::timeout(PATIENCE, torrent.wait_complete()).await.expect("checked in time").expect("a good seed");
    torrent
}
