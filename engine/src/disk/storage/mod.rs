//! The files of one torrent below one folder.
//!
//! Owns which name each file carries (an unfinished one carries `.part`), what each was when it was last known to be right,
//! and the lock of the target. Never writes to a file that is not known to be ours, never gives out bytes of a file that
//! another program has changed, and never follows a symbolic link below the folder. Everything blocks.
//!
//! Order of calls for a download: [`Storage::open`]; find out which pieces are there (resume record, verification);
//! [`Storage::prepare`]; then [`Storage::write_piece`] and [`Storage::finish_piece`] for each piece, in any order and from
//! any thread; [`Storage::sync`] now and then and at the end.

mod finish;
mod look;
mod state;
mod target;
#[cfg(test)]
mod tests;

use super::error::{DiskError, Operation};
use super::fault;
use super::file_pool::{FilePool, Use};
use super::folder::{Access, Folder, Looks, Stamp};
use super::positioned::{Gather, read_at, write_all_at};
use finish::Unfinished;
pub use look::Round;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use state::{FileState, Health, Owner};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use swarm_proto::geometry::{Block, PieceIndex};
use swarm_proto::layout::{FileIndex, FileKind, Layout, LayoutFile, Span};
use target::{Lock, Name, Target};

/// What a target is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Reading what is there, beside other readers.
    Seed,
    /// Writing what is missing, alone.
    Fetch,
}

/// What to do with a file that has the name of one of ours and other content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ForeignFiles {
    /// Touch nothing and fail.
    #[default]
    Refuse,
    /// Take it over; what is right of it is kept.
    Overwrite,
}

/// How room is made for a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Allocation {
    /// As it is written.
    #[default]
    Sparse,
    /// All of it at the start.
    Full,
}

/// How to open a [`Storage`].
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// What for.
    pub mode: Mode,
    /// What to do with files in the way.
    pub foreign_files: ForeignFiles,
    /// How room is made.
    pub allocation: Allocation,
    /// The open files, shared by all torrents of the process.
    pub files: Arc<FilePool>,
}

impl StorageOptions {
    /// The usual way, with a pool of its own.
    pub fn new(mode: Mode) -> Self {
        let (foreign_files, allocation) = (ForeignFiles::default(), Allocation::default());
        Self { mode, foreign_files, allocation, files: Arc::default() }
    }
}

/// Where a part of a block is.
#[derive(Clone, Debug)]
pub struct FileSpan {
    /// The open file; nothing for padding (BEP 47), which is `length` zeros.
    pub file: Option<Arc<File>>,
    /// Which file of the torrent it is.
    pub index: FileIndex,
    /// Offset in bytes from the start of the file.
    pub offset: u64,
    /// Length in bytes, at least 1.
    pub length: u64,
}

/// What a file on disk is now, for the resume record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileOnDisk {
    /// Identity, length and time of change.
    pub stamp: Stamp,
    /// It carries its final name.
    pub is_final: bool,
}

/// A write under way, even one that panics: while there are any, the file's time of change is not compared.
struct Writing<'a> {
    storage: &'a Storage,
    number: FileIndex,
    file: &'a File,
}

impl<'a> Writing<'a> {
    fn begin(storage: &'a Storage, number: FileIndex, file: &'a File) -> Self {
        storage.change(number, |state| state.writers += 1);
        Self { storage, number, file }
    }
}

impl Drop for Writing<'_> {
    /// The last one leaves the right time behind.
    fn drop(&mut self) {
        self.storage.change(self.number, |state| {
            state.writers = state.writers.saturating_sub(1);
            let stamp = rustix::fs::fstat(self.file).ok().filter(|_| state.writers == 0);
            if let Some(stamp) = stamp {
                state.stamp.modified_ns = Stamp::from_stat(&stamp).modified_ns;
            }
        });
    }
}

/// The files of one torrent. May be used from many threads at once.
#[derive(Debug)]
pub struct Storage {
    layout: Layout,
    target: Target,
    options: StorageOptions,
    owner: u64,
    states: Box<[Mutex<FileState>]>,
    unfinished: Mutex<Unfinished>,
    lock: Mutex<Lock>,
    /// The folder was not at its place at the last look: nothing is read from it or written to it.
    absent: AtomicBool,
}

impl Storage {
    /// Opens the torrent below `folder` under its own name. For fetching, the folder is made if it is not there; data is
    /// not touched yet.
    ///
    /// Errors: [`DiskError::InUse`] if another transfer writes there, [`DiskError::NotRegular`] if something that is no
    /// file stands where one belongs.
    pub fn open(folder: &Path, layout: Layout, options: StorageOptions) -> Result<Self, DiskError> {
        let folder = match options.mode {
            Mode::Seed => Folder::open(folder)?,
            Mode::Fetch => Folder::create(folder)?,
        };
        Self::at(Target::named(folder), layout, options)
    }

    /// Opens existing data for reading: `path` is the folder that holds the torrent under its name, or the file or folder
    /// itself under any name. Symbolic links in `path` are followed, for the user named it; none below it are.
    pub fn open_seed(path: &Path, layout: Layout, files: Arc<FilePool>) -> Result<Self, DiskError> {
        let options = StorageOptions { files, ..StorageOptions::new(Mode::Seed) };
        Self::at(Target::find(path, &layout)?, layout, options)
    }

    fn at(target: Target, layout: Layout, options: StorageOptions) -> Result<Self, DiskError> {
        let lock = match options.mode {
            Mode::Seed => target.lock_for_reading(&layout)?,
            Mode::Fetch => target.lock_for_writing(&layout)?,
        };
        let mut looks = Looks::new(&target.folder);
        let look = |(_, file)| find(&target, &mut looks, file, options.mode).map(Mutex::new);
        let states = layout.files().map(look).collect::<Result<_, _>>()?;
        let owner = options.files.new_owner();
        let (unfinished, lock, absent) = (Mutex::default(), Mutex::new(lock), AtomicBool::new(false));
        Ok(Self { layout, target, options, owner, states, unfinished, lock, absent })
    }

    /// The files as the metainfo has them.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The folder in which the target was opened.
    pub fn folder(&self) -> &Path {
        self.target.folder.path()
    }

    /// The path of the torrent's file or folder itself, without symbolic links: by which its resume record is found.
    pub fn root(&self) -> PathBuf {
        let folder = std::fs::canonicalize(self.folder()).unwrap_or_else(|_| self.folder().to_owned());
        self.target.root(&self.layout).map_or(folder.clone(), |root| folder.join(root))
    }

    /// What a file is on disk as far as known; nothing if it is not there, or was found changed.
    pub fn on_disk(&self, file: FileIndex) -> Option<FileOnDisk> {
        let state = self.state(file)?;
        let name = state.name.filter(|_| state.health == Health::Good)?;
        Some(FileOnDisk { stamp: state.stamp, is_final: name != Name::Part })
    }

    /// The path of a file as it is on disk now, for messages.
    pub fn display_path(&self, file: FileIndex) -> PathBuf {
        let name = self.state(file).and_then(|state| state.name).unwrap_or(Name::Final);
        let relative = self.layout.file(file).and_then(|file| self.target.path_of(file, name));
        self.target.folder.display_path(relative.as_deref().unwrap_or(Path::new("")))
    }

    /// Writes a whole piece: one call a file that it touches. `blocks` are its bytes in order, in slices of any length.
    /// Bytes of padding are dropped. The piece is on disk for other readers when this returns; after a crash only when
    /// [`Storage::sync`] has returned too. After an error the same call may be made again.
    pub fn write_piece(&self, piece: PieceIndex, blocks: &[&[u8]]) -> Result<(), DiskError> {
        let given: u64 = blocks.iter().map(|block| block.len() as u64).sum();
        if self.options.mode == Mode::Seed {
            return Err(self.refused(Operation::Write, "it is open for reading only"));
        }
        if given == 0 || given != u64::from(self.layout.geometry().length_of(piece)) {
            return Err(self.refused(Operation::Write, "the blocks do not make up the piece"));
        }
        self.present()?;
        let mut bytes = Gather::new(blocks);
        for span in self.layout.spans_of_piece(piece) {
            let mut slices = bytes.take(span.length);
            if self.is_on_disk(span) {
                self.write_span(span, &mut slices)?;
            }
        }
        Ok(())
    }

    fn write_span(&self, span: Span, slices: &mut [std::io::IoSlice<'_>]) -> Result<(), DiskError> {
        if self.state(span.file).is_some_and(|state| state.name.is_none()) {
            // What was unmounted must not be made again below its mount point.
            self.follow()?;
        }
        self.make_writable(span.file)?;
        let file = self.open_file(span.file, Use::Write)?;
        self.check(span.file)?;
        let writing = Writing::begin(self, span.file, &file);
        let result = write_all_at(&file, slices, span.offset);
        drop(writing);
        self.unfinished().unsynced.insert(span.file);
        result.map_err(|code| DiskError::system(Operation::Write, self.display_path(span.file))(code))
    }

    /// Reads a block. Fills `out`, which has the block's length, or fails: a file that has become too short, or that
    /// another program has changed, gives no bytes.
    pub fn read(&self, block: Block, out: &mut [u8]) -> Result<(), DiskError> {
        if out.len() as u64 != u64::from(block.length()) {
            return Err(self.refused(Operation::Read, "the buffer has not the length of the block"));
        }
        let mut rest = out;
        for span in self.spans(block)? {
            let length = usize::try_from(span.length).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            match &span.file {
                None => now.fill(0),
                Some(file) => {
                    let path = || self.display_path(span.index);
                    let read = read_at(file, now, span.offset);
                    self.check_open(span.index, file)?;
                    let count = read.map_err(|code| DiskError::system(Operation::Read, path())(code))?;
                    if count < now.len() {
                        return Err(DiskError::Truncated { path: path(), needed: span.offset + span.length });
                    }
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// The open files that hold a block, in order. A look at each name, at most four times a second, tells whether it is
    /// still that of what was verified: if not, the error is one of [`DiskError::needs_recheck`]. Whether what is read
    /// then may be given out, [`Storage::check_open`] tells.
    pub fn spans(&self, block: Block) -> Result<Vec<FileSpan>, DiskError> {
        let mut spans = Vec::with_capacity(1);
        for Span { file: index, offset, length } in self.layout.spans_of_block(block) {
            let file = self.open_to_read(index)?;
            spans.push(FileSpan { file, index, offset, length });
        }
        Ok(spans)
    }

    /// A file that is still what was verified, open for reading; nothing for padding.
    pub fn open_to_read(&self, index: FileIndex) -> Result<Option<Arc<File>>, DiskError> {
        if self.layout.file(index).is_none_or(|file| file.kind() != FileKind::Regular) {
            return Ok(None);
        }
        self.present()?;
        self.check(index)?;
        self.open_file(index, Use::Read).map(Some)
    }

    /// The files that were found changed or gone and are not accepted yet.
    pub fn changed_files(&self) -> Vec<FileIndex> {
        let files = self.layout.files().map(|(index, _)| index);
        files.filter(|&index| self.state(index).is_some_and(|state| state.health != Health::Good)).collect()
    }

    /// Takes a file as it is on disk now, after it was found changed or gone and its pieces were checked again
    /// ([`super::verify_pieces`]); until then nothing of it is given out. If it has changed since that check began, it stays
    /// changed: the next use of it says so.
    pub fn accept(&self, file: FileIndex) -> Result<(), DiskError> {
        let Some(facts) = self.layout.file(file) else { return Ok(()) };
        self.options.files.forget((self.owner, file.as_u32()));
        let now = find(&self.target, &mut Looks::new(&self.target.folder), facts, self.options.mode)?;
        self.change(file, |state| {
            let same = state.stamp.inode == now.stamp.inode;
            // As in `prepare`: an unfinished file of full length is ours, and so is one that was just made for its lock.
            let length = now.stamp.length;
            let ours = same || now.name == Some(Name::Part) && (length == facts.length() || length == 0);
            let owner = if ours || now.name.is_none() { state.owner } else { Owner::Unknown };
            let moved_on = state.examined.is_some_and(|examined| now.name.is_some() && examined != now.stamp);
            let health = if moved_on { Health::Changed } else { Health::Good };
            *state = FileState { owner, writers: state.writers, health, ..now };
        });
        Ok(())
    }

    /// Opens a file for hashing, beside the pool and without comparing it with anything; nothing if it is not there.
    pub(in crate::disk) fn open_for_hashing(&self, file: FileIndex) -> Result<Option<File>, DiskError> {
        let name = self.state(file).and_then(|state| state.name);
        let Some(path) = name.and_then(|name| self.target.path_of(self.layout.file(file)?, name)) else {
            return Ok(None);
        };
        let opened = self.target.folder.open_file(&path, Access::Read)?;
        if let Some(mut state) = self.state(file).filter(|state| state.health != Health::Good) {
            // The first of several threads counts: what changes behind it is noticed.
            let stamp = Stamp::of(&opened, &path)?;
            state.examined.get_or_insert(stamp);
        }
        Ok(Some(opened))
    }

    /// Whether the bytes of this span are in a file at all.
    pub(in crate::disk) fn is_on_disk(&self, span: Span) -> bool {
        self.layout.file(span.file).is_some_and(|file| file.kind() == FileKind::Regular)
    }

    /// An open file from the pool. It is the one that we know, whatever happens to its name meanwhile.
    fn open_file(&self, index: FileIndex, usage: Use) -> Result<Arc<File>, DiskError> {
        let open = || {
            let path = self.display_path(index);
            let missing = || DiskError::system(Operation::Open, &path)(Errno::NOENT);
            let (name, inode) = match self.state(index) {
                Some(state) => (state.name.ok_or_else(missing)?, state.stamp.inode),
                None => return Err(missing()),
            };
            let relative = self.layout.file(index).and_then(|file| self.target.path_of(file, name));
            let access = if usage == Use::Write { Access::Write } else { Access::Read };
            let file = self.target.folder.open_file(&relative.ok_or_else(missing)?, access)?;
            if Stamp::of(&file, &path)?.inode != inode {
                self.change(index, |state| state.health = Health::Changed);
                return Err(DiskError::Changed { path });
            }
            Ok(file)
        };
        self.options.files.file((self.owner, index.as_u32()), usage, open)
    }

    /// Makes sure that the file is there, unfinished, of full length, and ours.
    fn make_writable(&self, index: FileIndex) -> Result<(), DiskError> {
        let (Some(file), Some(mut state)) = (self.layout.file(index), self.state(index)) else { return Ok(()) };
        match state.name {
            Some(Name::Part) if state.owner == Owner::Us && state.stamp.length == file.length() => Ok(()),
            Some(_) => self.take_over(file, &mut state),
            None => self.create(file, &mut state),
        }
    }

    /// Makes a new unfinished file of full length.
    fn create(&self, file: &LayoutFile, state: &mut FileState) -> Result<(), DiskError> {
        let Some(relative) = self.target.path_of(file, Name::Part) else { return Ok(()) };
        let path = self.target.folder.display_path(&relative);
        let made = self.target.folder.open_file(&relative, Access::Create)?;
        self.set_length(&made, file.length(), &path)?;
        *state = FileState { owner: Owner::Us, ..FileState::found(Name::Part, Stamp::of(&made, &path)?) };
        Ok(())
    }

    /// Makes a file that is there ours and unfinished, or refuses.
    fn take_over(&self, file: &LayoutFile, state: &mut FileState) -> Result<(), DiskError> {
        let (Some(name), Some(part)) = (state.name, self.target.path_of(file, Name::Part)) else { return Ok(()) };
        let Some(present) = self.target.path_of(file, name) else { return Ok(()) };
        if state.owner == Owner::Unknown && self.options.foreign_files == ForeignFiles::Refuse {
            return Err(DiskError::ForeignFile { path: self.target.folder.display_path(&present) });
        }
        if name != Name::Part {
            self.target.folder.rename(&present, &part)?;
        }
        let path = self.target.folder.display_path(&part);
        *state = FileState { name: Some(Name::Part), owner: Owner::Us, ..std::mem::take(state) };
        if state.stamp.length != file.length() {
            let opened = self.target.folder.open_file(&part, Access::Write)?;
            self.set_length(&opened, file.length(), &path)?;
            state.stamp = Stamp::of(&opened, &path)?;
        }
        Ok(())
    }

    fn set_length(&self, file: &File, length: u64, path: &Path) -> Result<(), DiskError> {
        let error = DiskError::system(Operation::Allocate, path);
        if self.options.allocation == Allocation::Full && length > 0 {
            match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
                // A file system that cannot: sparse is the next best.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => (),
                Err(code) => return Err(error(code)),
            }
        }
        fault::point().and_then(|()| rustix::fs::ftruncate(file, length)).map_err(error)?;
        fault::note(&fault::Deed::Length(file, length));
        Ok(())
    }

    /// The state of a file, locked; nothing for a file of another torrent.
    fn state(&self, file: FileIndex) -> Option<MutexGuard<'_, FileState>> {
        // A panic elsewhere leaves at worst a stamp that is too old, which only costs a check.
        Some(self.states.get(file.as_usize())?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, file: FileIndex, change: impl FnOnce(&mut FileState)) {
        if let Some(mut state) = self.state(file) {
            change(&mut state);
        }
    }

    fn unfinished(&self) -> MutexGuard<'_, Unfinished> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, operation: Operation, reason: &'static str) -> DiskError {
        let path = self.target.folder.display_path(Path::new(self.layout.name()));
        DiskError::Refused { operation, path, reason }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.options.files.forget_owner(self.owner);
    }
}

/// Looks which of its names a file carries.
fn find(target: &Target, looks: &mut Looks<'_>, file: &LayoutFile, mode: Mode) -> Result<FileState, DiskError> {
    let names = match mode {
        Mode::Seed => [Name::Final, Name::Original],
        Mode::Fetch => [Name::Final, Name::Part],
    };
    for name in names {
        let Some(path) = target.path_of(file, name) else { continue };
        match looks.stamp(&path) {
            Ok(Some(stamp)) => return Ok(FileState::found(name, stamp)),
            // A seed shares what is there; whatever stands in the place of a file is as good as nothing.
            Ok(None) | Err(DiskError::NotRegular { .. }) if mode == Mode::Seed => (),
            Ok(None) => (),
            Err(error) => return Err(error),
        }
    }
    Ok(FileState::default())
}
