//! Whether the files, and the folder that they are in, are still what was verified.
//!
//! Owns every look at a file that asks this. Two kinds: at the open file once some of it has been read and before that
//! leaves (one system call, finds what was written or cut off), and at its name four times a second, or when [`Storage::look_round`] comes
//! by (finds what was deleted or replaced, and costs three). Never hashes anything.

use super::state::{FileState, Health, Owner};
use super::target::{Lock, Name};
use super::{Mode, Storage, find};
use crate::disk::error::{DiskError, Operation};
use crate::disk::folder::{Folder, Looks, Place, Stamp};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;
use swarm_proto::layout::{FileIndex, FileKind, LayoutForm};

/// Files by which another folder at our place is known to hold this torrent: one of the first of them is there.
const TELLING_FILES: usize = 64;

/// What a look round some files found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Round {
    /// The file with which to go on; 0 after the last one.
    pub next: usize,
    /// Whether any of them is not what it was: [`Storage::changed_files`] names all of these.
    pub changed: bool,
}

impl Storage {
    /// Looks at the folder and at the names of up to `most` files from the file number `from` on. Follows a folder that was
    /// deleted and made again: all files of it count as changed then. A folder that was unmounted is not replaced by the
    /// empty one below it.
    ///
    /// Errors: the folder is not there, or may not be looked into. Until a look finds it again nothing is read or written.
    pub fn look_round(&self, from: usize, most: usize) -> Result<Round, DiskError> {
        let mut changed = self.follow()?;
        let end = from.saturating_add(most).min(self.layout.file_count());
        for index in (from..end).filter_map(|number| self.layout.index(number)) {
            match self.look(index) {
                Ok(()) => (),
                Err(error) if error.needs_recheck() => changed = true,
                Err(error) => return Err(error),
            }
        }
        Ok(Round { next: if end < self.layout.file_count() { end } else { 0 }, changed })
    }

    /// Fails while the folder is not at its place.
    pub fn present(&self) -> Result<(), DiskError> {
        if self.absent.load(Ordering::Relaxed) { Err(self.missing()) } else { Ok(()) }
    }

    fn missing(&self) -> DiskError {
        DiskError::system(Operation::Open, self.folder())(Errno::NOENT)
    }

    /// Looks at the folder alone, and says whether another one was taken over.
    pub(super) fn follow(&self) -> Result<bool, DiskError> {
        let followed = match self.target.folder.place() {
            Ok(Place::Ours) => self.follow_root().map(|()| false),
            Ok(Place::Nothing) => Err(self.missing()),
            Ok(place) => self.take_successor(place).map(|()| true),
            Err(error) => Err(error),
        };
        self.absent.store(followed.is_err(), Ordering::Relaxed);
        followed
    }

    /// The same for the torrent's own folder: whatever was mounted there may be gone. Its files tell by their names.
    fn follow_root(&self) -> Result<(), DiskError> {
        let root = match (self.layout.form(), self.target.root(&self.layout)) {
            (LayoutForm::Folder, Some(root)) => root,
            _ => return Ok(()),
        };
        let now = match self.target.folder.open_folder(root) {
            Ok(folder) => Folder::identity(&folder)?,
            Err(error) if error.needs_recheck() => return Ok(()),
            Err(error) => return Err(error),
        };
        let ours = self.lock().identity()?;
        if now.is_same(ours) {
            return Ok(());
        }
        if !ours.is_deleted && !self.is_in(&self.target.folder) {
            return Err(DiskError::system(Operation::Open, self.target.folder.display_path(root))(Errno::NOENT));
        }
        let lock = self.take_lock()?;
        *self.lock() = lock;
        Ok(())
    }

    fn take_lock(&self) -> Result<Lock, DiskError> {
        match self.options.mode {
            Mode::Seed => self.target.lock_for_reading(&self.layout),
            Mode::Fetch => self.target.lock_for_writing(&self.layout),
        }
    }

    fn take_successor(&self, place: Place) -> Result<(), DiskError> {
        let folder = self.target.folder.successor()?;
        if place == Place::Stranger && !self.is_in(&folder) {
            return Err(self.missing());
        }
        self.target.folder.exchange(&folder);
        let lock = self.take_lock().inspect_err(|_| self.target.folder.exchange(&folder))?;
        *self.lock() = lock;
        self.options.files.forget_owner(self.owner);
        let mut looks = Looks::new(&self.target.folder);
        for (index, file) in self.layout.files().filter(|(_, file)| file.kind() == FileKind::Regular) {
            let found = find(&self.target, &mut looks, file, self.options.mode).unwrap_or_default();
            // As in `prepare`; an empty one was just made for its lock.
            let ours = found.name == Some(Name::Part) && [0, file.length()].contains(&found.stamp.length);
            let owner = if ours { Owner::Us } else { Owner::Unknown };
            self.change(index, |state| match found.name {
                Some(_) => *state = FileState { health: Health::Changed, owner, writers: state.writers, ..found },
                None if state.name.is_some() => state.health = Health::Gone,
                None => (),
            });
        }
        Ok(())
    }

    /// Whether a folder holds a file of this torrent.
    fn is_in(&self, folder: &Folder) -> bool {
        let regular = self.layout.files().filter(|(_, file)| file.kind() == FileKind::Regular);
        regular.take(TELLING_FILES).any(|(_, file)| {
            let paths = [Name::Final, Name::Part, Name::Original].map(|name| self.target.path_of(file, name));
            paths.into_iter().flatten().any(|path| matches!(folder.stamp(&path), Ok(Some(_))))
        })
    }

    /// A look at the name of one file: an error if it is not what it was. For a seed, one that has come back has changed.
    pub fn look(&self, index: FileIndex) -> Result<(), DiskError> {
        let Some(file) = self.layout.file(index).filter(|file| file.kind() == FileKind::Regular) else { return Ok(()) };
        let Some(mut state) = self.state(index) else { return Ok(()) };
        if state.name.is_some() {
            state.checked = None;
            drop(state);
            return self.check(index);
        }
        if self.options.mode == Mode::Seed {
            let found = find(&self.target, &mut Looks::new(&self.target.folder), file, self.options.mode)?;
            if found.name.is_some() {
                *state = FileState { health: Health::Changed, ..found };
                drop(state);
                return Err(DiskError::Changed { path: self.display_path(index) });
            }
        }
        Ok(())
    }

    /// Fails if the file is not what it was. Looks at its name if the last look is too long ago.
    pub(super) fn check(&self, index: FileIndex) -> Result<(), DiskError> {
        let now = Instant::now();
        let Some(mut state) = self.state(index) else { return Ok(()) };
        if state.health == Health::Good && state.is_check_due(now) {
            state.checked = Some(now);
            let path = state.name.and_then(|name| self.target.path_of(self.layout.file(index)?, name));
            let found = path.map_or(Ok(None), |path| self.target.folder.stamp(&path));
            match found {
                Ok(Some(found)) if state.is_same(&found) => (),
                Ok(None) => state.health = Health::Gone,
                Err(error) if error.is_transient() => {
                    state.checked = None;
                    return Err(error);
                }
                Ok(Some(_)) | Err(_) => state.health = Health::Changed,
            }
        }
        let health = state.health;
        drop(state);
        self.verdict(index, health)
    }

    /// Fails if an open file is not what was verified; what has been read from it may not be given out then.
    pub fn check_open(&self, index: FileIndex, file: &File) -> Result<(), DiskError> {
        let Some(mut state) = self.state(index) else { return Ok(()) };
        // Under the lock, so that no write of ours moves the time of change meanwhile.
        let now = Stamp::of(file, Path::new("")).unwrap_or_default();
        let health = match state.health {
            // Opened before the file was accepted as it is now: only the handle is of no use.
            Health::Good if now.inode != state.stamp.inode => Health::Changed,
            Health::Good if !state.is_same(&now) => {
                state.health = Health::Changed;
                Health::Changed
            }
            health => health,
        };
        drop(state);
        self.verdict(index, health)
    }

    fn verdict(&self, index: FileIndex, health: Health) -> Result<(), DiskError> {
        if health == Health::Good {
            return Ok(());
        }
        self.options.files.forget((self.owner, index.as_u32()));
        let path = self.display_path(index);
        Err(match health {
            Health::Gone => DiskError::system(Operation::Open, path)(Errno::NOENT),
            Health::Good | Health::Changed => DiskError::Changed { path },
        })
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Lock> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
