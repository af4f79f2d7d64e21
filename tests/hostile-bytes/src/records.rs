//! What our own programs find on disk after a restart: it may be anybody's, or half written.

use crate::input::Input;
use sha1::{Digest, Sha1};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use swarm_engine::disk::resume::{RecordState, ResumeStore, Resumed};
use swarm_engine::disk::{FileOnDisk, Mode, Storage, StorageOptions};
use swarm_proto::bencode::Item;
use swarm_proto::bitfield::Bitfield;
use swarm_proto::layout::FileIndex;
use swarm_proto::metainfo::Metainfo;
use swarm_tracker_core::{SnapshotError, Store, StoreConfig, StoreStats};
use swarm_tracker_native::{BindError, Config, NativeTracker};
use tempfile::TempDir;

/// Lengths of the torrent's files; the last one is not on disk.
const LENGTHS: [u64; 5] = [40, 0, 25, 16, 31];
const PIECE_LENGTH: u64 = 16;

/// A torrent on disk, with a record that fits it.
struct Fixture {
    _folder: TempDir,
    storage: Storage,
    record: ResumeStore,
    snapshot: PathBuf,
    journals: [PathBuf; 2],
    /// A snapshot up to its number of pieces: what names the torrent and its place.
    head: Vec<u8>,
    info_hash: [u8; 20],
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |(number, length): (usize, &u64)| {
            let path = Item::List(vec![Item::from(format!("{number}").as_str())]);
            Item::dictionary([("length", Item::from(*length)), ("path", path)])
        };
        let total: u64 = LENGTHS.iter().sum();
        let hashes = vec![7; 20 * usize::try_from(total.div_ceil(PIECE_LENGTH)).expect("few")];
        let info = [
            ("files", Item::List(LENGTHS.iter().enumerate().map(file).collect())),
            ("name", "t".into()),
            ("piece length", PIECE_LENGTH.into()),
            ("pieces", Item::Bytes(hashes)),
        ];
        let metainfo =
            Metainfo::parse(Item::dictionary([("info", Item::dictionary(info))]).encode()).expect("a torrent");
        fs::create_dir(folder.path().join("t")).expect("a folder");
        for (number, length) in LENGTHS.iter().enumerate().take(LENGTHS.len() - 1) {
            fs::write(folder.path().join(format!("t/{number}")), vec![1; *length as usize]).expect("a file");
        }
        let options = StorageOptions::new(Mode::Seed);
        let storage = Storage::open(folder.path(), metainfo.layout().clone(), options).expect("a storage");
        let state = folder.path().join("state");
        let record = ResumeStore::open(&state, metainfo.info_hash(), &storage).expect("a record");
        record.record_complete(&storage).expect("a snapshot");
        let name = |extension: &str| {
            let found = fs::read_dir(&state).expect("the state").flatten().map(|entry| entry.path());
            found.into_iter().find(|path| path.to_string_lossy().ends_with(extension))
        };
        let snapshot = name(".resume").expect("a snapshot");
        let journals = ["journal0", "journal1"].map(|extension| snapshot.with_extension(extension));
        let bytes = fs::read(&snapshot).expect("a snapshot");
        let root = usize::from(u16::from_be_bytes([bytes[54], bytes[55]]));
        let head = bytes[..56 + root].to_vec();
        let info_hash = metainfo.info_hash().0;
        Self { _folder: folder, storage, record, snapshot, journals, head, info_hash }
    }

    /// A snapshot with a right checksum: the torrent, generation and place of this one, the rest by the input.
    fn write_sealed(&self, input: &mut Input<'_>) -> Vec<Option<bool>> {
        let mut bytes = self.head.clone();
        bytes[30..38].copy_from_slice(&GENERATION.to_be_bytes());
        bytes[38..54].copy_from_slice(&[0; 16]);
        let pieces = self.storage.layout().geometry().pieces();
        let kind = input.byte();
        let claimed = if kind & 3 == 3 { input.u32() } else { pieces };
        bytes.extend(claimed.to_be_bytes());
        let bits = input.slice((claimed.min(4_096) as usize).div_ceil(8)).to_vec();
        bytes.extend(if kind & 4 == 0 { Bitfield::full(pieces).to_wire() } else { bits });
        let count = u32::from(input.byte() % 12);
        bytes.extend(if kind & 8 == 0 { count } else { input.u32() }.to_be_bytes());
        let mut recorded = vec![None; LENGTHS.len()];
        for _ in 0..count {
            let number = u32::from(input.byte() % 6);
            let real = self.storage.layout().index(number as usize).and_then(|index| self.storage.on_disk(index));
            let (record, is_real) = file_record(input, real);
            if let Some(place) = recorded.get_mut(number as usize) {
                *place = Some(is_real);
            }
            bytes.extend(number.to_be_bytes());
            bytes.extend(record);
        }
        bytes.extend(input.slice(usize::from(kind >> 6)));
        bytes.extend(Sha1::digest(&bytes));
        fs::write(&self.snapshot, bytes).expect("a file");
        recorded
    }

    /// A journal whose entries check out: pieces and times by the input.
    fn write_journal(&self, input: &mut Input<'_>, path: &Path, generation: u64) -> Vec<u32> {
        let mut bytes = [b"swarmjnl".as_slice(), &[0, 1], &self.info_hash, &generation.to_be_bytes()].concat();
        bytes.extend(&Sha1::digest(&bytes)[..8]);
        let header = bytes.clone();
        let base = self
            .storage
            .layout()
            .index(0)
            .and_then(|index| self.storage.on_disk(index))
            .map_or(0, |it| it.stamp.modified_ns);
        let mut pieces = Vec::new();
        for _ in 0..input.byte() % 8 {
            let piece = if input.flag() { u32::from(input.byte() % 9) } else { input.u32() };
            let away = i64::from_be_bytes(input.length().to_be_bytes());
            let time = if input.flag() { base.saturating_add(away) } else { away };
            let entry = [piece.to_be_bytes().as_slice(), &time.to_be_bytes()].concat();
            let check = Sha1::digest([header.as_slice(), &entry].concat());
            bytes.extend(entry);
            bytes.extend(&check[..8]);
            pieces.push(piece);
        }
        bytes.extend(input.slice(usize::from(input.0.first().copied().unwrap_or(0) % 32)));
        fs::write(path, bytes).expect("a file");
        pieces
    }

    fn check(&self, resumed: &Resumed) {
        let geometry = self.storage.layout().geometry();
        assert_eq!((resumed.have.pieces(), resumed.recheck.pieces()), (geometry.pieces(), geometry.pieces()));
        let missing = self.storage.layout().index(LENGTHS.len() - 1).expect("the last file");
        for piece in geometry.all_pieces() {
            assert!(!resumed.have.has(piece) || !resumed.recheck.has(piece), "had and to be checked");
            let touches_missing = self.storage.layout().spans_of_piece(piece).any(|span| span.file == missing);
            assert!(!touches_missing || !resumed.have.has(piece), "has what is not there");
        }
        assert!(!resumed.is_ours(missing));
        if resumed.record != RecordState::Read {
            assert!(resumed.have.is_empty(), "believes what it cannot read");
        }
    }
}

const GENERATION: u64 = 1_000;

/// Inode, length and time of a file, and whether they are what is on disk.
fn file_record(input: &mut Input<'_>, real: Option<FileOnDisk>) -> (Vec<u8>, bool) {
    let kind = input.byte();
    let real = real.map(|found| found.stamp);
    let stamp = real.unwrap_or_default();
    let numbers = [
        if kind & 1 == 0 { stamp.inode } else { input.u64() },
        if kind & 2 == 0 { stamp.length } else { input.length() },
        if kind & 4 == 0 { u64::from_be_bytes(stamp.modified_ns.to_be_bytes()) } else { input.u64() },
    ];
    let found = [stamp.inode, stamp.length, u64::from_be_bytes(stamp.modified_ns.to_be_bytes())];
    (numbers.iter().flat_map(|number| number.to_be_bytes()).collect(), real.is_some() && numbers == found)
}

/// Whatever a resume record says, no piece is believed whose files are not those of the record, or that a journal names.
pub fn resume_record(bytes: &[u8]) {
    thread_local! {
        static FIXTURE: Fixture = Fixture::new();
    }
    FIXTURE.with(|fixture| check_record(fixture, bytes));
}

fn check_record(fixture: &Fixture, bytes: &[u8]) {
    let mut input = Input(bytes);
    let kind = input.byte();
    let mut recorded = None;
    match kind & 3 {
        0 => {
            let raw = input.slice(usize::from(input.0.first().copied().unwrap_or(0)) * 4);
            fs::write(&fixture.snapshot, raw).expect("a file");
        }
        _ => recorded = Some(fixture.write_sealed(&mut input)),
    }
    let mut journaled = Vec::new();
    for (at, path) in fixture.journals.iter().enumerate() {
        match kind >> (2 + 2 * at) & 3 {
            0 => drop(fs::remove_file(path)),
            1 => fs::write(path, input.short()).expect("a file"),
            _ => journaled.extend(fixture.write_journal(&mut input, path, GENERATION + at as u64)),
        }
    }
    let resumed = fixture.record.load(&fixture.storage);
    fixture.check(&resumed);
    assert_eq!(resumed, fixture.record.load(&fixture.storage), "the same again");
    if let (RecordState::Read, Some(recorded)) = (&resumed.record, recorded) {
        check_trust(fixture, &resumed, &recorded, &journaled);
    }
}

fn check_trust(fixture: &Fixture, resumed: &Resumed, recorded: &[Option<bool>], journaled: &[u32]) {
    let layout = fixture.storage.layout();
    let unchanged = |file: FileIndex| recorded[file.as_usize()] == Some(true);
    for piece in layout.geometry().all_pieces().filter(|piece| resumed.have.has(*piece)) {
        assert!(!journaled.contains(&piece.as_u32()), "{piece:?} was being written");
        // A journal can explain a change.
        if journaled.is_empty() {
            assert!(layout.spans_of_piece(piece).all(|span| unchanged(span.file)), "{piece:?} of a file that changed");
        }
    }
}

/// The files of a tracker: whatever stands in them, it is read whole or set aside whole, and within the bounds.
pub fn state_files(bytes: &[u8]) {
    thread_local! {
        static FOLDER: TempDir = tempfile::tempdir().expect("a folder");
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    }
    let mut input = Input(bytes);
    let kind = input.byte();
    let magic: &[u8] = match kind & 5 {
        0 => b"swarm tracker snapshot\x02",
        1 => b"swarm catalogue\x01",
        _ => b"swarm people\x01",
    };
    let mut file = input.0.to_vec();
    if kind & 2 == 0 {
        file = [magic, input.0].concat();
        file.extend(Sha1::digest(&file));
    }
    FOLDER.with(|folder| {
        let path = folder.path().join("state");
        fs::write(&path, &file).expect("a file");
        match kind & 5 {
            0 => check_snapshot(&path, &file),
            1 => RUNTIME.with(|runtime| runtime.block_on(check_catalogue(&path, &file))),
            _ => RUNTIME.with(|runtime| runtime.block_on(check_people(&path, &file))),
        }
    });
}

fn check_snapshot(path: &Path, file: &[u8]) {
    let now = Instant::now();
    let config = StoreConfig { max_torrents: 5, max_peers: 9, ..StoreConfig::default() };
    let store = Store::new(config.clone(), now);
    let loaded = store.load(now, path);
    store.check_invariants();
    let stats = store.stats();
    assert!(stats.torrents <= 5 && stats.peers <= 9, "{stats:?}");
    if let Err(error) = loaded {
        assert_eq!((stats.torrents, stats.peers), (0, 0), "half a file");
        return check_set_aside(&error, file);
    }
    store.save(now, path).expect("a folder of our own");
    let again = Store::new(config, now);
    again.load(now, path).expect("what was just written");
    // How much memory a number of peers takes goes by the order in which they came.
    let counts = |stats| StoreStats { bytes: 0, ..stats };
    assert_eq!(counts(again.stats()), counts(stats));
}

fn check_set_aside(error: &SnapshotError, file: &[u8]) {
    let SnapshotError::Damaged { path, aside, .. } = error else { panic!("{error}") };
    assert!(!path.exists() && fs::read(aside).is_ok_and(|kept| kept == file), "the damaged file is kept");
}

async fn check_catalogue(path: &Path, file: &[u8]) {
    let bind = || {
        let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.catalogue_file = Some(path.to_owned());
        NativeTracker::bind(config, Arc::new(Store::new(StoreConfig::default(), Instant::now())))
    };
    let tracker = match bind() {
        Ok(tracker) => tracker,
        Err(BindError::Catalogue(error)) => return check_set_aside(&error, file),
        Err(error) => panic!("{error}"),
    };
    let (entries, _) = tracker.handle().list("", None, usize::MAX);
    assert_eq!(entries.len(), tracker.handle().names());
    assert!(entries.is_sorted_by(|one, other| one.name < other.name), "a name twice, or out of order");
    tracker.serve(async {}).await.expect("a folder of our own");
    let (again, _) = bind().expect("what was just written").handle().list("", None, usize::MAX);
    assert_eq!(again, entries);
}

/// What is read of the people is written, and is the same from then on.
async fn check_people(path: &Path, file: &[u8]) {
    let mut written = Vec::new();
    for _ in 0..2 {
        let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.people_file = Some(path.to_owned());
        let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
        match NativeTracker::bind(config, store) {
            Ok(tracker) => tracker.serve(async {}).await.expect("a folder of our own"),
            Err(BindError::Catalogue(error)) if written.is_empty() => return check_set_aside(&error, file),
            Err(error) => panic!("{error}"),
        }
        written.push(fs::read(path).expect("what was just written"));
    }
    assert_eq!(written[0], written[1]);
}
