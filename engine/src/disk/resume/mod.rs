//! What is known about a torrent's data after a restart, a crash or a power cut.
//!
//! Owns the record of a torrent in a state folder: a snapshot and two journals in turn (`record` has their bytes).
//!
//! - The **snapshot** names the pieces that were verified *and synced* when it was made, and the files as they were then.
//!   It is written whole beside the old one, synced and renamed, so there is the old one or the new.
//! - The **journal** names each piece just before it is written, with the time. It need not survive a power cut.
//!
//! A piece of the snapshot is trusted if each of its files is the same (inode and length) and its time of change is either
//! that of the snapshot or is explained by the journal: within 0.1 s before and 2 s behind the time of an entry that touches
//! this file. So after `kill -9` in the middle of a transfer all that is checked again are the pieces of the journal; the
//! price is that a change by another program is missed if it keeps the length and happens within 2 s of our own last write
//! in front of the crash. Pieces of a file that is not explained are all checked again, as is everything on disk if there is
//! no snapshot, or one that cannot be read. A piece that is neither in the snapshot nor in the journal is missing. After a
//! power cut the journal may have lost its end: then a file's time is unexplained, or is that of the snapshot and nothing
//! later reached the disk that counts.
//!
//! A record made of data that others wrote ([`ResumeStore::record_complete`]) is not synced and holds until the next boot.

mod policy;
mod record;
#[cfg(test)]
mod tests;

use super::error::{DiskError, Operation};
use super::fault::{self, Deed};
use super::folder::Stamp;
use super::storage::Storage;
use record::{BootId, ENTRY_LENGTH, Entry, JOURNAL_HEADER_LENGTH, JournalHeader, SYNCED, Snapshot};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{IoSlice, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::PieceIndex;
use swarm_proto::id::InfoHash;
use swarm_proto::layout::{FileIndex, FileKind, Layout};
use swarm_proto::metainfo::Metainfo;

pub use policy::CheckpointPolicy;

/// Entries of a journal at most; more are not recorded, which costs a recheck of the file.
const JOURNAL_ENTRIES: usize = 1 << 20;

/// How far a file's time may lie in front of our clock: the kernel's moves in steps.
const CLOCK_STEP_NS: i64 = 100_000_000;

/// How long after its entry in the journal a piece may be written.
const WRITE_DELAY_NS: i64 = 2_000_000_000;

/// The record of one torrent at one place.
#[derive(Debug)]
pub struct ResumeStore {
    folder: PathBuf,
    name: String,
    info_hash: InfoHash,
    root: Vec<u8>,
    journal: Mutex<Journal>,
}

#[derive(Debug, Default)]
struct Journal {
    /// Of the snapshot on disk; 0 for none.
    generation: u64,
    file: Option<(JournalHeader, File)>,
    /// Entries since the last snapshot whose pieces it does not have.
    entries: Vec<Entry>,
}

/// How much a record was worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordState {
    /// There is none.
    Missing,
    /// It was read.
    Read,
    /// It is there and of no use, for this reason.
    Unreadable(String),
}

/// What is known of the pieces after a start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resumed {
    /// Verified, synced and untouched since.
    pub have: Bitfield,
    /// On disk perhaps: to be verified ([`super::verify_pieces`]). None of them is in `have`; all others are missing.
    pub recheck: Bitfield,
    /// What became of the record.
    pub record: RecordState,
    ours: HashSet<FileIndex>,
}

impl Resumed {
    /// Whether the record knows this very file as one of ours: for [`Storage::prepare`].
    pub fn is_ours(&self, file: FileIndex) -> bool {
        self.ours.contains(&file)
    }
}

/// Where records are kept: `$XDG_STATE_HOME/swarm`, else `~/.local/state/swarm`. Nothing if there is no home: then a folder
/// `.swarm` beside the data will do.
pub fn default_state_folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    state.map(|state| state.join("swarm"))
}

/// [`default_state_folder`], or `.swarm` beside the data.
pub fn state_folder(beside: &Path) -> PathBuf {
    default_state_folder().unwrap_or_else(|| beside.join(".swarm"))
}

/// Records in this folder that all data at `path` has just been hashed, so that a seed starts at once. `stamps` are those of the
/// files when they were hashed; nothing is recorded if one is another now.
///
/// # Errors
/// When the data or the record cannot be opened or written; then a seed hashes once more.
pub fn remember_hashed(
    state_folder: &Path,
    path: &Path,
    metainfo: &Metainfo,
    stamps: &[Stamp],
) -> Result<(), DiskError> {
    let storage = Storage::open_seed(path, metainfo.layout().clone(), Arc::default())?;
    let regular = storage.layout().files().filter(|(_, file)| file.kind() == FileKind::Regular);
    let found: Option<Vec<Stamp>> = regular.map(|(index, _)| Some(storage.on_disk(index)?.stamp)).collect();
    if found.as_deref() != Some(stamps) {
        return Ok(());
    }
    ResumeStore::open(state_folder, metainfo.info_hash(), &storage)?.record_complete(&storage)
}

impl ResumeStore {
    /// The record of the torrent that `storage` has open, in this folder (made for its user alone if it is not there).
    pub fn open(state_folder: &Path, info_hash: InfoHash, storage: &Storage) -> Result<Self, DiskError> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(state_folder);
        made.map_err(DiskError::system(Operation::Create, state_folder))?;
        let root = storage.root().as_os_str().as_bytes().to_vec();
        let place = super::hash::hash_piece(&[&root]);
        let place: String = place.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{info_hash}-{place}");
        Ok(Self { folder: state_folder.to_owned(), name, info_hash, root, journal: Mutex::default() })
    }

    /// Compares the record with what is on disk.
    pub fn load(&self, storage: &Storage) -> Resumed {
        let layout = storage.layout();
        match self.read_snapshot(layout) {
            Ok(Some(snapshot)) => {
                self.journal().generation = snapshot.generation;
                let entries = self.read_journals(snapshot.generation);
                compare(storage, &snapshot, &entries)
            }
            Ok(None) => recheck_everything(storage, RecordState::Missing),
            Err(reason) => {
                tracing::warn!(path = %self.snapshot_path().display(), %reason, "the resume record is of no use");
                recheck_everything(storage, RecordState::Unreadable(reason))
            }
        }
    }

    /// To be called in front of each [`Storage::write_piece`], after the first [`ResumeStore::checkpoint`]. An error costs
    /// nothing but a longer recheck after a crash.
    pub fn journal_piece(&self, piece: PieceIndex) -> Result<(), DiskError> {
        self.journal_at(Entry { piece: piece.as_u32(), time_ns: now_ns() })
    }

    fn journal_at(&self, entry: Entry) -> Result<(), DiskError> {
        let mut journal = self.journal();
        if journal.entries.len() >= JOURNAL_ENTRIES {
            return Ok(());
        }
        journal.entries.push(entry);
        if journal.file.is_none() && journal.generation != 0 {
            // Pieces of what was complete at the start were lost: the snapshot on disk has had no journal since.
            let header = JournalHeader { info_hash: self.info_hash, generation: journal.generation };
            journal.file = Some((header, self.new_journal(header.generation, &header.encode())?));
        }
        let Some((header, file)) = &journal.file else {
            let path = self.snapshot_path();
            return Err(DiskError::Refused { operation: Operation::Write, path, reason: "there is no snapshot yet" });
        };
        // One short write: whole, or a torn tail, which is not read.
        let (mut file, bytes): (&File, _) = (file, header.encode_entry(entry));
        let written = fault::point().map_err(Into::into).and_then(|()| file.write_all(&bytes));
        written.map_err(DiskError::system(Operation::Write, self.journal_path(header.generation)))?;
        fault::note(&Deed::Written(file, &[IoSlice::new(&bytes)], None));
        Ok(())
    }

    /// Number of pieces journaled that no snapshot has: see [`CheckpointPolicy`].
    pub fn pending(&self) -> usize {
        self.journal().entries.len()
    }

    /// Syncs the data, then writes a snapshot. `have` are pieces that are verified and whose writes have returned. To be
    /// called once before the first write, then as [`CheckpointPolicy`] says, and at the end; one call at a time.
    ///
    /// Returns the files that got their final names, as [`Storage::sync`] does; `pending` tells what is still unrecorded.
    pub fn checkpoint(&self, storage: &Storage, have: &Bitfield) -> Result<Vec<FileIndex>, DiskError> {
        let finished = storage.sync(have)?;
        self.record(storage, have, SYNCED)?;
        Ok(finished)
    }

    /// Records data that was just verified whole, or hashed to make the torrent, so that a seed need not hash it again. It is
    /// not synced, for that may take long: the record holds until the next boot.
    pub fn record_complete(&self, storage: &Storage) -> Result<(), DiskError> {
        let have = Bitfield::full(storage.layout().geometry().pieces());
        match boot_id() {
            Some(boot) => self.record(storage, &have, boot),
            None => self.checkpoint(storage, &have).map(drop),
        }
    }

    /// Takes the record away.
    pub fn remove(&self) -> Result<(), DiskError> {
        *self.journal() = Journal::default();
        for path in [self.snapshot_path(), self.journal_path(0), self.journal_path(1)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(DiskError::system(Operation::Write, path)(error));
                }
                _ => (),
            }
        }
        Ok(())
    }

    fn record(&self, storage: &Storage, have: &Bitfield, boot: BootId) -> Result<(), DiskError> {
        let generation = self.start_journal(have, storage.layout())?;
        let files = storage.layout().files().map(|(index, _)| index);
        let known = files.filter_map(|index| Some((index.as_u32(), storage.on_disk(index)?.stamp)));
        let snapshot = Snapshot {
            info_hash: self.info_hash,
            generation,
            boot,
            root: self.root.clone(),
            have: have.clone(),
            files: known.collect(),
        };
        self.write_whole(&self.snapshot_path(), &snapshot.encode(), Durability::Synced)?;
        self.journal().generation = generation;
        Ok(())
    }

    /// Goes over to the journal of the next snapshot, which begins with what that will not have. Until the snapshot is
    /// there, both journals count.
    fn start_journal(&self, have: &Bitfield, layout: &Layout) -> Result<u64, DiskError> {
        let mut journal = self.journal();
        let generation = match journal.generation {
            // Nothing left over from an earlier life may look as if it belonged to this one.
            0 => u64::try_from(now_ns()).unwrap_or(1).max(1),
            last => last.wrapping_add(1),
        };
        let has = |number| layout.geometry().piece(number).is_some_and(|piece| have.has(piece));
        journal.entries.retain(|entry| !has(entry.piece));
        let header = JournalHeader { info_hash: self.info_hash, generation };
        let mut bytes = header.encode();
        journal.entries.iter().for_each(|&entry| bytes.extend(header.encode_entry(entry)));
        journal.file = Some((header, self.new_journal(generation, &bytes)?));
        Ok(generation)
    }

    fn new_journal(&self, generation: u64, bytes: &[u8]) -> Result<File, DiskError> {
        let path = self.journal_path(generation);
        self.write_whole(&path, bytes, Durability::Cached)?;
        File::options().append(true).open(&path).map_err(DiskError::system(Operation::Open, &path))
    }

    /// Writes a file beside its place and puts it there in one step.
    fn write_whole(&self, path: &Path, bytes: &[u8], durability: Durability) -> Result<(), DiskError> {
        let temporary = path.with_extension(format!("{}.new", std::process::id()));
        let write = || -> std::io::Result<()> {
            fault::point()?;
            let mut file = File::create(&temporary)?;
            fault::note(&Deed::Made(&file, &temporary));
            fault::point()?;
            file.write_all(bytes)?;
            fault::note(&Deed::Written(&file, &[IoSlice::new(bytes)], Some(0)));
            if durability == Durability::Synced {
                fault::point()?;
                file.sync_all()?;
                fault::note(&Deed::Synced(&file));
            }
            fault::point()?;
            fs::rename(&temporary, path)?;
            fault::note(&Deed::Renamed(&temporary, path));
            if durability == Durability::Synced {
                fault::point()?;
                File::open(&self.folder)?.sync_all()?;
                fault::note(&Deed::SyncedFolder(&self.folder));
            }
            Ok(())
        };
        write().map_err(|error| {
            // Nothing depends on it being gone.
            let _ = fs::remove_file(&temporary);
            DiskError::system(Operation::Write, path)(error)
        })
    }

    fn read_snapshot(&self, layout: &Layout) -> Result<Option<Snapshot>, String> {
        let pieces = layout.geometry().pieces();
        let bound = Snapshot::length_bound(pieces, layout.file_count());
        let Some(bytes) = read_bounded(&self.snapshot_path(), bound).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let snapshot = Snapshot::decode(&bytes).map_err(|error| error.to_string())?;
        if snapshot.info_hash != self.info_hash || snapshot.root != self.root {
            return Err("it is of another torrent or place".to_owned());
        }
        if snapshot.have.pieces() != pieces {
            return Err("it has another number of pieces".to_owned());
        }
        if snapshot.boot != SYNCED && Some(snapshot.boot) != boot_id() {
            return Err("the machine was restarted since".to_owned());
        }
        Ok(Some(snapshot))
    }

    /// The entries of the snapshot's own journal and of the one that was begun for the next.
    fn read_journals(&self, generation: u64) -> Vec<Entry> {
        let bound = JOURNAL_HEADER_LENGTH + JOURNAL_ENTRIES.saturating_mul(ENTRY_LENGTH).saturating_mul(2);
        let mut entries = Vec::new();
        for generation in [generation, generation.wrapping_add(1)] {
            let Ok(Some(bytes)) = read_bounded(&self.journal_path(generation), bound) else { continue };
            let Ok((header, found)) = JournalHeader::decode(&bytes) else { continue };
            if header == (JournalHeader { info_hash: self.info_hash, generation }) {
                entries.extend(found);
            }
        }
        entries
    }

    fn snapshot_path(&self) -> PathBuf {
        self.folder.join(format!("{}.resume", self.name))
    }

    fn journal_path(&self, generation: u64) -> PathBuf {
        self.folder.join(format!("{}.journal{}", self.name, generation % 2))
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        // At worst an entry is missing, which costs a recheck.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// Survives the process.
    Cached,
    /// Survives a power cut.
    Synced,
}

/// The whole file; nothing if it is not there, an error if it is longer than it can be.
fn read_bounded(path: &Path, bound: usize) -> std::io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(bound as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bound {
        return Err(std::io::Error::other("it is longer than it can be"));
    }
    Ok(Some(bytes))
}

/// What a file is, compared with the record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// As recorded, or as our own writes since explain.
    Known,
    /// There, and not explained.
    Changed,
    /// Not there, or empty although it should not be.
    Gone,
}

fn compare(storage: &Storage, snapshot: &Snapshot, entries: &[Entry]) -> Resumed {
    let layout = storage.layout();
    let explained = explained(storage, entries);
    let mut resumed = Resumed {
        have: snapshot.have.clone(),
        recheck: Bitfield::empty(snapshot.have.pieces()),
        record: RecordState::Read,
        ours: HashSet::new(),
    };
    for piece in entries.iter().filter_map(|entry| layout.geometry().piece(entry.piece)) {
        resumed.have.remove(piece);
        resumed.recheck.insert(piece);
    }
    let mut recorded = vec![None; layout.file_count()];
    for (number, stamp) in &snapshot.files {
        if let Some(place) = recorded.get_mut(*number as usize) {
            *place = Some(*stamp);
        }
    }
    let mut findings = Vec::new();
    for (index, file) in layout.files().filter(|(_, file)| file.kind() == FileKind::Regular) {
        let then = recorded.get(index.as_usize()).copied().flatten();
        let finding = match (storage.on_disk(index).map(|found| found.stamp), then) {
            (None, _) => Finding::Gone,
            (Some(now), _) if now.length == 0 && file.length() > 0 => Finding::Gone,
            (Some(now), Some(then)) if now == then => Finding::Known,
            (Some(now), Some(then)) if (now.inode, now.length) != (then.inode, then.length) => Finding::Changed,
            (Some(now), None) if now.length != file.length() => Finding::Changed,
            _ if explained.contains(&index) => Finding::Known,
            _ => Finding::Changed,
        };
        let same = then.is_some_and(|then| storage.on_disk(index).is_some_and(|now| now.stamp.inode == then.inode));
        if finding == Finding::Known || same {
            resumed.ours.insert(index);
        }
        findings.push((index, finding));
    }
    apply(&mut resumed, layout, &findings);
    resumed
}

/// Without a record: all that could be there is to be checked.
fn recheck_everything(storage: &Storage, record: RecordState) -> Resumed {
    let layout = storage.layout();
    let pieces = layout.geometry().pieces();
    let (have, recheck) = (Bitfield::empty(pieces), Bitfield::empty(pieces));
    let mut resumed = Resumed { have, recheck, record, ours: HashSet::new() };
    let regular = layout.files().filter(|(_, file)| file.kind() == FileKind::Regular);
    // A single file that is not there yet is made empty to be locked.
    let has_bytes = |index| storage.on_disk(index).is_some_and(|found| found.stamp.length > 0);
    let finding = |index| if has_bytes(index) { Finding::Changed } else { Finding::Gone };
    let findings: Vec<_> = regular.map(|(index, _)| (index, finding(index))).collect();
    apply(&mut resumed, layout, &findings);
    resumed
}

/// Pieces of changed files are to be checked; pieces of which a part is gone cannot be right.
fn apply(resumed: &mut Resumed, layout: &Layout, findings: &[(FileIndex, Finding)]) {
    for wanted in [Finding::Changed, Finding::Gone] {
        for (index, _) in findings.iter().filter(|(_, finding)| *finding == wanted) {
            for piece in layout.pieces_of_file(*index).filter_map(|number| layout.geometry().piece(number)) {
                resumed.have.remove(piece);
                match wanted {
                    Finding::Gone => resumed.recheck.remove(piece),
                    Finding::Changed | Finding::Known => resumed.recheck.insert(piece),
                };
            }
        }
    }
}

/// The files whose time of change is that of a write that the journal names.
fn explained(storage: &Storage, entries: &[Entry]) -> HashSet<FileIndex> {
    let layout = storage.layout();
    let mut files = HashSet::new();
    for entry in entries {
        let Some(piece) = layout.geometry().piece(entry.piece) else { continue };
        for index in layout.spans_of_piece(piece).map(|span| span.file) {
            let Some(found) = storage.on_disk(index) else { continue };
            let earliest = entry.time_ns.saturating_sub(CLOCK_STEP_NS);
            let latest = entry.time_ns.saturating_add(WRITE_DELAY_NS);
            if (earliest..=latest).contains(&found.stamp.modified_ns) {
                files.insert(index);
            }
        }
    }
    files
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Differs from boot to boot.
fn boot_id() -> Option<BootId> {
    let text = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    super::hash::hash_piece(&[&text]).first_chunk().copied()
}
