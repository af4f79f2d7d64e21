//! From unfinished to finished: taking over what is there at the start, syncing, and giving files their final names.

use super::state::{Health, Owner};
use super::target::Name;
use super::{Allocation, ForeignFiles, Mode, Storage};
use crate::disk::error::{DiskError, Operation};
use crate::disk::fault;
use crate::disk::file_pool::Use;
use crate::disk::folder::{Access, Stamp, retry};
use rustix::fs::Mode as Permissions;
use std::collections::BTreeSet;
use std::path::Path;
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::PieceIndex;
use swarm_proto::layout::{FileIndex, FileKind, LayoutFile};

/// Complete files that may wait for one common sync: syncing each of 20,000 small files on its own takes minutes.
const BATCH: usize = 64;

/// From so many files on, one sync of the whole file system is cheaper than one a file.
const SYNC_FILE_SYSTEM: usize = 16;

/// What is still to be done for files on disk.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// Written to since the last sync.
    pub(super) unsynced: BTreeSet<FileIndex>,
    /// Complete, to be synced and renamed.
    complete: BTreeSet<FileIndex>,
    /// Renamed, not yet told to the caller.
    finished: Vec<FileIndex>,
    /// The data of a seed was synced.
    seed_is_synced: bool,
}

impl Storage {
    /// Makes the target ready for writing, once it is known which pieces are there. `is_ours` tells of a file whether the
    /// resume record knows it. Files that are there and not right are taken over if they are ours or may be overwritten;
    /// else this fails with [`DiskError::ForeignFile`] and nothing was touched. An unfinished file (`.part`) counts as ours
    /// if its length is right, for we make them of full length. Makes empty files, and all files if room is to be reserved.
    ///
    /// Returns the files that carry their final name now and did not before.
    pub fn prepare(&self, have: &Bitfield, is_ours: &dyn Fn(FileIndex) -> bool) -> Result<Vec<FileIndex>, DiskError> {
        if self.options.mode == Mode::Seed {
            return Ok(Vec::new());
        }
        self.claim_files(have, is_ours)?;
        for (index, file) in self.layout.files().filter(|(_, file)| file.kind() == FileKind::Regular) {
            let complete = self.is_complete(index, have);
            let name = self.state(index).and_then(|state| state.name);
            match name {
                Some(Name::Final) if complete && self.has_length(index, file) => continue,
                Some(_) => self.make_writable_at_length(index, file)?,
                None if complete || self.options.allocation == Allocation::Full => self.make_writable(index)?,
                None => continue,
            }
            if complete {
                self.unfinished().complete.insert(index);
            }
        }
        self.finish_complete(BTreeSet::new(), have.is_full())
    }

    /// First pass of `prepare`: decides whose each file is, touching nothing.
    fn claim_files(&self, have: &Bitfield, is_ours: &dyn Fn(FileIndex) -> bool) -> Result<(), DiskError> {
        for (index, file) in self.layout.files().filter(|(_, file)| file.kind() == FileKind::Regular) {
            let complete = self.is_complete(index, have);
            let Some(mut state) = self.state(index) else { continue };
            let right_length = state.stamp.length == file.length();
            if complete && file.length() > state.stamp.length {
                drop(state);
                return Err(DiskError::Changed { path: self.display_path(index) });
            }
            let known = match state.name {
                None => true,
                Some(Name::Part) => right_length || state.stamp.length == 0 || is_ours(index),
                Some(_) => (complete && right_length) || is_ours(index),
            };
            if known {
                state.owner = Owner::Us;
            } else if self.options.foreign_files == ForeignFiles::Refuse {
                drop(state);
                return Err(DiskError::ForeignFile { path: self.display_path(index) });
            }
        }
        Ok(())
    }

    /// As `make_writable`, for a file that is there: its length is set right even if it is ours already.
    fn make_writable_at_length(&self, index: FileIndex, file: &LayoutFile) -> Result<(), DiskError> {
        match self.state(index) {
            Some(mut state) => self.take_over(file, &mut state),
            None => Ok(()),
        }
    }

    fn has_length(&self, index: FileIndex, file: &LayoutFile) -> bool {
        self.state(index).is_some_and(|state| state.stamp.length == file.length())
    }

    /// To be called when a piece is written and `have` contains it. Gives the final name to the files that are complete
    /// with it, after a sync; small files of large torrents wait for each other, at the latest for [`Storage::sync`] or the
    /// last piece. Returns the files that carry their final name now and were not returned before.
    pub fn finish_piece(&self, piece: PieceIndex, have: &Bitfield) -> Result<Vec<FileIndex>, DiskError> {
        let touched = self.layout.spans_of_piece(piece).map(|span| span.file);
        self.finish(touched.filter(|&index| self.is_complete(index, have)), have.is_full())
    }

    /// As [`Storage::finish_piece`], for a caller who knows which files have become complete, while pieces of others are missing.
    pub fn finish_files(&self, files: &[FileIndex]) -> Result<Vec<FileIndex>, DiskError> {
        self.finish(files.iter().copied(), false)
    }

    fn finish(&self, files: impl Iterator<Item = FileIndex>, all: bool) -> Result<Vec<FileIndex>, DiskError> {
        let complete: Vec<FileIndex> = files.filter(|index| self.is_part(*index)).collect();
        let waiting = {
            let mut unfinished = self.unfinished();
            unfinished.complete.extend(complete);
            unfinished.complete.len()
        };
        let due = all || waiting >= BATCH || self.layout.file_count() <= BATCH;
        if due { self.finish_complete(BTreeSet::new(), all) } else { Ok(Vec::new()) }
    }

    fn is_part(&self, index: FileIndex) -> bool {
        self.state(index).is_some_and(|state| state.name == Some(Name::Part))
    }

    /// Waits until everything written so far is on the medium, then gives complete files their final names. Returns as
    /// [`Storage::finish_piece`] does.
    ///
    /// After an error that [`DiskError::is_failed_sync`] the system may have dropped what it could not write, and a second
    /// try would succeed without it: the pieces written since the last sync that worked must be written again. Reading
    /// them proves nothing, for it shows what is in memory.
    pub fn sync(&self, have: &Bitfield) -> Result<Vec<FileIndex>, DiskError> {
        if self.options.mode == Mode::Seed {
            return self.sync_seed().map(|()| Vec::new());
        }
        self.present()?;
        let unsynced = std::mem::take(&mut self.unfinished().unsynced);
        self.finish_complete(unsynced, have.is_full())
    }

    fn finish_complete(&self, unsynced: BTreeSet<FileIndex>, all: bool) -> Result<Vec<FileIndex>, DiskError> {
        let mut complete = std::mem::take(&mut self.unfinished().complete);
        if all {
            // A task that failed by a fault of ours may have taken some with it.
            complete.extend(self.layout.files().map(|(index, _)| index).filter(|index| self.is_part(*index)));
        }
        let to_sync = &unsynced | &complete;
        let mut failure = self.sync_files(&to_sync).err();
        if failure.is_some() {
            let mut unfinished = self.unfinished();
            unfinished.unsynced.extend(to_sync);
            unfinished.complete.extend(complete);
        } else {
            for index in complete {
                match self.finish_file(index) {
                    Ok(()) => self.unfinished().finished.push(index),
                    // Its pieces are lost; it becomes complete again with the last of them.
                    Err(error) if error.needs_recheck() => failure = Some(error),
                    Err(error) => {
                        self.unfinished().complete.insert(index);
                        failure = Some(error);
                    }
                }
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        if all {
            self.lock().share();
        }
        Ok(std::mem::take(&mut self.unfinished().finished))
    }

    /// What others wrote is synced once; nothing is written here.
    fn sync_seed(&self) -> Result<(), DiskError> {
        if std::mem::replace(&mut self.unfinished().seed_is_synced, true) {
            return Ok(());
        }
        let files = self.layout.files().map(|(index, _)| index);
        let files = files.filter(|&index| self.on_disk(index).is_some()).collect();
        let synced = match self.sync_files(&files) {
            // Nothing can be waiting to be written there.
            Err(DiskError::System { source, .. }) if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => Ok(()),
            other => other,
        };
        self.unfinished().seed_is_synced = synced.is_ok();
        synced
    }

    fn sync_files(&self, files: &BTreeSet<FileIndex>) -> Result<(), DiskError> {
        if files.len() >= SYNC_FILE_SYSTEM {
            let folder = self.target.folder.open_folder(Path::new(""))?;
            let synced = retry(|| fault::point().and_then(|()| rustix::fs::syncfs(&folder)));
            synced.map_err(DiskError::system(Operation::Sync, self.folder()))?;
            fault::note(&fault::Deed::SyncedAll);
            return Ok(());
        }
        for &index in files {
            let file = match self.open_file(index, Use::Read) {
                // Found changed or gone: nothing of it counts any more.
                Err(error) if error.needs_recheck() => continue,
                other => other?,
            };
            // A signal is no failure: nothing is lost, and the next try waits for the same data.
            let synced = retry(|| fault::point().and_then(|()| rustix::fs::fdatasync(&*file)));
            synced.map_err(DiskError::system(Operation::Sync, self.display_path(index)))?;
            fault::note(&fault::Deed::Synced(&file));
        }
        Ok(())
    }

    /// Gives a synced file its permissions and its final name.
    fn finish_file(&self, index: FileIndex) -> Result<(), DiskError> {
        let Some(file) = self.layout.file(index) else { return Ok(()) };
        let Some(mut state) = self.state(index).filter(|state| state.name == Some(Name::Part)) else { return Ok(()) };
        let (Some(part), Some(whole)) = (self.target.path_of(file, Name::Part), self.target.path_of(file, Name::Final))
        else {
            return Ok(());
        };
        let path = self.target.folder.display_path(&part);
        let opened = self.target.folder.open_file(&part, Access::Read).inspect_err(|error| {
            if error.needs_recheck() {
                state.health = Health::Gone;
            }
        })?;
        if Stamp::of(&opened, &path)?.inode != state.stamp.inode {
            state.health = Health::Changed;
            return Err(DiskError::Changed { path });
        }
        if file.is_executable() {
            let mode = rustix::fs::fstat(&opened).map_err(DiskError::system(Operation::Inspect, &path))?.st_mode;
            // Whoever may read it may run it (BEP 47).
            let permissions = Permissions::from_raw_mode((mode & 0o7777) | ((mode & 0o444) >> 2));
            rustix::fs::fchmod(&opened, permissions).map_err(DiskError::system(Operation::Create, &path))?;
        }
        self.target.folder.rename(&part, &whole)?;
        state.name = Some(Name::Final);
        Ok(())
    }

    /// Whether every piece of a file is there. Over all calls together this looks at each piece about once.
    fn is_complete(&self, index: FileIndex, have: &Bitfield) -> bool {
        let pieces = self.layout.pieces_of_file(index);
        let Some(mut state) = self.state(index) else { return false };
        let geometry = self.layout.geometry();
        let is_missing = |number: &u32| !geometry.piece(*number).is_some_and(|piece| have.has(piece));
        let from = state.first_missing.max(pieces.start);
        let mut missing = (from..pieces.end).find(is_missing);
        if missing.is_none() && from > pieces.start {
            // Pieces may have been lost since they were seen.
            missing = pieces.clone().find(is_missing);
        }
        state.first_missing = missing.unwrap_or(pieces.start);
        missing.is_none()
    }
}
