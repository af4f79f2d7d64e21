//! Where a torrent lies, and the lock that keeps two writers apart.

use crate::disk::error::{DiskError, Operation};
use crate::disk::folder::{Access, Folder, Identity, Stamp};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use swarm_proto::layout::{Layout, LayoutFile, LayoutForm};
use swarm_proto::path::PART_SUFFIX;

/// A folder, and how the paths of the layout lie below it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) folder: Folder,
    naming: Naming,
}

#[derive(Debug)]
enum Naming {
    /// As the layout says, the name of the torrent first.
    AsNamed,
    /// The folder is the torrent itself, under whatever name.
    FolderItself,
    /// The single file, under another name.
    File(PathBuf),
}

/// Which of its names a file carries on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Name {
    /// The safe one: the file is complete, or foreign.
    Final,
    /// The safe one with [`PART_SUFFIX`].
    Part,
    /// The one of the metainfo, for data that its owner shares in place.
    Original,
}

impl Target {
    /// The torrent below `folder` under its own name.
    pub(super) fn named(folder: Folder) -> Self {
        Self { folder, naming: Naming::AsNamed }
    }

    /// For a seed: `path` is the folder that holds the torrent, or the torrent itself under any name.
    pub(super) fn find(path: &Path, layout: &Layout) -> Result<Self, DiskError> {
        let path = std::fs::canonicalize(path).map_err(DiskError::system(Operation::Open, path))?;
        if path.is_dir() {
            let original = layout.files().find_map(|(_, file)| file.original_path()?.split('/').next());
            let named = [Some(layout.name()), original].into_iter().flatten();
            if layout.form() == LayoutForm::SingleFile || named.clone().any(|name| path.join(name).is_dir()) {
                return Ok(Self::named(Folder::open(&path)?));
            }
            return Ok(Self { folder: Folder::open(&path)?, naming: Naming::FolderItself });
        }
        match (layout.form(), path.parent(), path.file_name()) {
            (LayoutForm::SingleFile, Some(parent), Some(name)) => {
                Ok(Self { folder: Folder::open(parent)?, naming: Naming::File(name.into()) })
            }
            _ => Err(DiskError::system(Operation::Open, &path)(Errno::NOTDIR)),
        }
    }

    /// The path of a file below the folder; nothing for what is not on disk.
    pub(super) fn path_of<'l>(&'l self, file: &'l LayoutFile, name: Name) -> Option<Cow<'l, Path>> {
        let path = match name {
            Name::Original => file.original_path()?,
            Name::Final | Name::Part => file.path()?,
        };
        let path = match &self.naming {
            Naming::AsNamed => Path::new(path),
            Naming::FolderItself => Path::new(path.split_once('/').map_or(path, |(_, below)| below)),
            Naming::File(name) => name.as_path(),
        };
        if name != Name::Part {
            return Some(Cow::Borrowed(path));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(PART_SUFFIX);
        Some(Cow::Owned(part.into()))
    }

    /// The torrent's file or folder, below the handle; nothing if it is the handle's own folder.
    pub(super) fn root<'l>(&'l self, layout: &'l Layout) -> Option<&'l Path> {
        match &self.naming {
            Naming::AsNamed => Some(Path::new(layout.name())),
            Naming::FolderItself => None,
            Naming::File(name) => Some(name),
        }
    }

    /// Takes the lock: on the folder of the torrent, or on its single file, which is made unfinished if it is not there.
    pub(super) fn lock_for_writing(&self, layout: &Layout) -> Result<Lock, DiskError> {
        if layout.form() == LayoutForm::Folder {
            self.folder.create_folders(Path::new(layout.name()))?;
        }
        self.lock(layout, Access::Create, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock beside other readers.
    pub(super) fn lock_for_reading(&self, layout: &Layout) -> Result<Lock, DiskError> {
        self.lock(layout, Access::Read, FlockOperation::NonBlockingLockShared)
    }

    fn lock(&self, layout: &Layout, access: Access, operation: FlockOperation) -> Result<Lock, DiskError> {
        if layout.form() == LayoutForm::Folder {
            let root = self.root(layout).unwrap_or(Path::new(""));
            return Lock::take(self.folder.open_folder(root)?, self.folder.display_path(root), operation);
        }
        const RACES: usize = 8;
        let (_, file) = layout.files().next().ok_or_else(|| self.nothing(layout))?;
        for _ in 0..RACES {
            let (path, access) = self.present(file, access)?;
            let opened = self.folder.open_file(&path, access)?;
            let lock = Lock::take(opened, self.folder.display_path(&path), operation)?;
            // Between opening and locking, the former owner may have renamed or replaced it.
            let now = self.folder.stamp(&path)?.map(|stamp| stamp.inode);
            if now == Some(Stamp::of(&lock.file, &lock.path)?.inode) {
                return Ok(lock);
            }
        }
        Err(DiskError::InUse { path: self.folder.display_path(Path::new(layout.name())) })
    }

    /// The name that the single file has now, or the one under which to make it; to be locked, reading it is enough.
    fn present(&self, file: &LayoutFile, access: Access) -> Result<(PathBuf, Access), DiskError> {
        let names = match access {
            Access::Read => [Name::Final, Name::Original],
            Access::Write | Access::Create => [Name::Final, Name::Part],
        };
        for path in names.into_iter().filter_map(|name| self.path_of(file, name)) {
            if self.folder.stamp(&path)?.is_some() {
                return Ok((path.into_owned(), Access::Read));
            }
        }
        let fallback = if access == Access::Read { Name::Final } else { Name::Part };
        let path = self.path_of(file, fallback).map(Cow::into_owned);
        let missing = || DiskError::system(Operation::Open, self.folder.path())(Errno::NOENT);
        Ok((path.ok_or_else(missing)?, access))
    }

    fn nothing(&self, layout: &Layout) -> DiskError {
        let path = self.folder.display_path(Path::new(layout.name()));
        DiskError::Refused { operation: Operation::Lock, path, reason: "the torrent has no files" }
    }
}

/// The lock of a target, held for as long as this lives: by the kernel, so a crash gives it up.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn take(file: File, path: PathBuf, operation: FlockOperation) -> Result<Self, DiskError> {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Self { file, path }),
            Err(Errno::AGAIN | Errno::ACCESS) => Err(DiskError::InUse { path }),
            // File systems without locks (some network ones): better unguarded than unusable.
            Err(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::BADF | Errno::INVAL) => {
                tracing::debug!(path = %path.display(), "the file system has no locks");
                Ok(Self { file, path })
            }
            Err(code) => Err(DiskError::system(Operation::Lock, &path)(code)),
        }
    }

    /// Which file or folder is locked.
    pub(super) fn identity(&self) -> Result<Identity, DiskError> {
        Folder::identity(&self.file)
    }

    /// Lets readers in: nothing is left to write. Best effort, for nothing depends on it.
    pub(super) fn share(&self) {
        if let Err(code) = rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockShared) {
            tracing::debug!(path = %self.path.display(), %code, "the lock stays exclusive");
        }
    }
}
