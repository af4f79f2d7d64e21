//! A folder by its handle, and the only way to anything below it.
//!
//! Owns the rule that no path leads out: every path is checked to be relative and free of `.` and `..`, and the kernel
//! resolves it below the handle without following any symbolic link (`openat2`; where that is missing, element by element
//! with `O_NOFOLLOW`). So even a wrong sanitizer elsewhere writes nothing outside. Never blocks on a FIFO or device.

use super::error::{DiskError, Operation};
use super::fault;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A folder that was open when this was made; renaming it does not lead astray.
#[derive(Debug)]
pub struct Folder {
    handle: RwLock<Arc<OwnedFd>>,
    path: PathBuf,
    /// `path` from the root, so that it means the same as long as the process lives.
    place: PathBuf,
    /// Cleared when the kernel, or a filter in front of it, does not know `openat2`.
    has_openat2: AtomicBool,
}

/// Which folder or file an open one is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    /// No name leads to it any more.
    pub(super) is_deleted: bool,
}

impl Identity {
    fn from_stat(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino, is_deleted: stat.st_nlink == 0 }
    }

    pub(super) fn is_same(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// What is now at the place at which a folder was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The folder; or it was renamed, and the handle leads to it.
    Ours,
    /// Nothing, and the folder is deleted.
    Nothing,
    /// Another folder, and ours is deleted.
    Successor,
    /// Another folder, while ours lives on: it was unmounted, mounted over, or moved away.
    Stranger,
}

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// For reading.
    Read,
    /// For reading and writing, what is there already.
    Write,
    /// For reading and writing; made empty, with its folders, if it is not there.
    Create,
}

/// Identity, length and time of change of a file: what tells whether it is still the one that was verified.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stamp {
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub length: u64,
    /// Time of the last change in nanoseconds since 1970.
    pub modified_ns: i64,
}

impl Stamp {
    /// The stamp of an open file.
    pub fn of(file: &File, path: &Path) -> Result<Self, DiskError> {
        Ok(Self::from_stat(&rustix::fs::fstat(file).map_err(DiskError::system(Operation::Inspect, path))?))
    }

    pub(super) fn from_stat(stat: &Stat) -> Self {
        let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Self {
            inode: stat.st_ino,
            length: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
        }
    }
}

impl Folder {
    /// Opens a folder that exists. Symbolic links in `path` itself are followed: the user named it.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let place = std::path::absolute(path).map_err(DiskError::system(Operation::Open, path))?;
        let handle = RwLock::new(Arc::new(Self::handle_of(path)?));
        Ok(Self { handle, path: path.to_owned(), place, has_openat2: AtomicBool::new(true) })
    }

    fn handle_of(path: &Path) -> Result<OwnedFd, DiskError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map_err(DiskError::system(Operation::Open, path))
    }

    fn handle(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.handle.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is now at the place at which this was opened. An error of the file system itself is one here too.
    pub(super) fn place(&self) -> Result<Place, DiskError> {
        let error = || DiskError::system::<Errno>(Operation::Open, &self.path);
        let ours = Identity::from_stat(&rustix::fs::fstat(&*self.handle()).map_err(error())?);
        match rustix::fs::stat(&self.place).map(|stat| Identity::from_stat(&stat)) {
            Ok(now) if !now.is_same(ours) => Ok(if ours.is_deleted { Place::Successor } else { Place::Stranger }),
            Ok(_) if !ours.is_deleted => Ok(Place::Ours),
            Ok(_) => Ok(Place::Nothing),
            Err(Errno::NOENT | Errno::NOTDIR) if ours.is_deleted => Ok(Place::Nothing),
            // Who may not look at the way to it may still use the handle.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(Place::Ours),
            Err(code) => Err(error()(code)),
        }
    }

    /// Which one an open file or folder is.
    pub(super) fn identity(open: &File) -> Result<Identity, DiskError> {
        let stat = rustix::fs::fstat(open).map_err(DiskError::system(Operation::Inspect, Path::new("")))?;
        Ok(Identity::from_stat(&stat))
    }

    /// What is at the place of this folder now, as a folder of its own.
    pub(super) fn successor(&self) -> Result<Self, DiskError> {
        Ok(Self { path: self.path.clone(), ..Self::open(&self.place)? })
    }

    /// Goes over to another folder, and leaves its own to that one.
    pub(super) fn exchange(&self, other: &Self) {
        let theirs = other.handle();
        let ours = std::mem::replace(&mut *self.handle.write().unwrap_or_else(PoisonError::into_inner), theirs);
        *other.handle.write().unwrap_or_else(PoisonError::into_inner) = ours;
    }

    /// Opens a folder, made first with the folders above it if it is not there.
    pub fn create(path: &Path) -> Result<Self, DiskError> {
        std::fs::create_dir_all(path).map_err(DiskError::system(Operation::Create, path))?;
        Self::open(path)
    }

    /// The path by which it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `relative` as a user would name it; for messages only.
    pub fn display_path(&self, relative: &Path) -> PathBuf {
        self.path.join(relative)
    }

    /// Opens a regular file. Anything else in its place is an error, and opening never waits for it.
    pub fn open_file(&self, relative: &Path, access: Access) -> Result<File, DiskError> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
            Access::Create => OFlags::RDWR | OFlags::CREATE,
        };
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut opened = self.resolve(relative, flags);
        if access == Access::Create && matches!(opened, Err(Errno::NOENT)) {
            self.create_folders_of(relative)?;
            opened = self.resolve(relative, flags);
        }
        let operation = if access == Access::Create { Operation::Create } else { Operation::Open };
        let handle = opened.map_err(|code| self.explain(operation, relative, code))?;
        let path = self.display_path(relative);
        let stat = rustix::fs::fstat(&handle).map_err(DiskError::system(Operation::Inspect, &path))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let file = File::from(handle);
                if access == Access::Create {
                    fault::note(&fault::Deed::Made(&file, &path));
                }
                Ok(file)
            }
            other => Err(DiskError::NotRegular { path, found: name_of(other) }),
        }
    }

    /// Opens a folder below this one for reading (its handle can be locked and synced).
    pub fn open_folder(&self, relative: &Path) -> Result<File, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = if relative.as_os_str().is_empty() {
            rustix::fs::openat(&*self.handle(), c".", flags, Mode::empty())
        } else {
            self.resolve(relative, flags)
        };
        Ok(File::from(opened.map_err(|code| self.explain(Operation::Open, relative, code))?))
    }

    /// Makes the folder `relative` and those above it, as far as they are not there.
    pub fn create_folders(&self, relative: &Path) -> Result<(), DiskError> {
        let names = self.names(relative)?;
        let mut made = PathBuf::new();
        for name in names {
            let result = self.below_parent(&made, |parent| {
                fault::point()?;
                rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777))
            });
            made.push(name);
            match result {
                Ok(()) | Err(Errno::EXIST) => (),
                Err(code) => return Err(self.explain(Operation::Create, &made, code)),
            }
        }
        Ok(())
    }

    fn create_folders_of(&self, relative: &Path) -> Result<(), DiskError> {
        match relative.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.create_folders(parent),
            _ => Ok(()),
        }
    }

    /// The stamp of the regular file at `relative`; nothing if nothing is there, an error if something else is.
    pub fn stamp(&self, relative: &Path) -> Result<Option<Stamp>, DiskError> {
        let (parent, name) = self.split(relative)?;
        let look = |parent: BorrowedFd<'_>| rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        self.stamp_from(relative, self.below_parent(parent, look))
    }

    fn stamp_from(&self, relative: &Path, looked: Result<Stat, Errno>) -> Result<Option<Stamp>, DiskError> {
        match looked {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Ok(Some(Stamp::from_stat(&stat))),
                other => Err(DiskError::NotRegular { path: self.display_path(relative), found: name_of(other) }),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(code) => Err(self.explain(Operation::Inspect, relative, code)),
        }
    }

    /// Renames a file within its folder. Never replaces anything: what stands at `to` makes it fail with `EEXIST`.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let (parent, from_name) = self.split(from)?;
        let (to_parent, to_name) = self.split(to)?;
        if parent != to_parent {
            return Err(DiskError::UnsafePath { path: self.display_path(to) });
        }
        let result = self.below_parent(parent, |parent| {
            retry(|| {
                fault::point()?;
                rename_new(parent, from_name, to_name)
            })
        });
        result.map_err(|code| match code {
            Errno::EXIST => DiskError::ForeignFile { path: self.display_path(to) },
            code => self.explain(Operation::Rename, from, code),
        })?;
        fault::note(&fault::Deed::Renamed(&self.display_path(from), &self.display_path(to)));
        Ok(())
    }

    /// Runs a system call below the handle of the folder `relative` (empty: this one).
    fn below_parent<T>(
        &self,
        relative: &Path,
        call: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if relative.as_os_str().is_empty() {
            return call(self.handle().as_fd());
        }
        call(self.parent(relative)?.as_fd())
    }

    fn parent(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        self.resolve(relative, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC)
    }

    /// The one place where a path becomes a descriptor.
    fn resolve(&self, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        if !is_safe(relative) {
            return Err(Errno::XDEV);
        }
        if flags.intersects(OFlags::CREATE | OFlags::RDWR) {
            fault::point()?;
        }
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        let handle = self.handle();
        if self.has_openat2.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match retry(|| rustix::fs::openat2(&*handle, relative, flags, mode, resolve)) {
                // A filter may answer EPERM for what it does not know; the walk below meets the same EPERM if it is real.
                Err(Errno::NOSYS | Errno::PERM) => (),
                other => return other,
            }
            if probe_is_refused(&handle) {
                self.has_openat2.store(false, Ordering::Relaxed);
            }
        }
        Self::walk(&handle, relative, flags, mode)
    }

    /// `resolve` for kernels without `openat2`: one element at a time, none of them a symbolic link.
    fn walk(handle: &OwnedFd, relative: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = relative.file_name().ok_or(Errno::INVAL)?;
        let mut current: Option<OwnedFd> = None;
        for element in relative.parent().into_iter().flat_map(Path::components) {
            let above = current.as_ref().map_or(handle.as_fd(), OwnedFd::as_fd);
            current = Some(retry(|| rustix::fs::openat(above, element.as_os_str(), step, Mode::empty()))?);
        }
        let above = current.as_ref().map_or(handle.as_fd(), OwnedFd::as_fd);
        retry(|| rustix::fs::openat(above, name, flags | OFlags::NOFOLLOW, mode))
    }

    fn names<'p>(&self, relative: &'p Path) -> Result<Vec<&'p OsStr>, DiskError> {
        if !is_safe(relative) {
            return Err(DiskError::UnsafePath { path: relative.to_owned() });
        }
        Ok(relative.components().map(|element| element.as_os_str()).collect())
    }

    fn split<'p>(&self, relative: &'p Path) -> Result<(&'p Path, &'p OsStr), DiskError> {
        let unsafe_path = || DiskError::UnsafePath { path: relative.to_owned() };
        if !is_safe(relative) {
            return Err(unsafe_path());
        }
        Ok((relative.parent().unwrap_or(Path::new("")), relative.file_name().ok_or_else(unsafe_path)?))
    }

    fn explain(&self, operation: Operation, relative: &Path, code: Errno) -> DiskError {
        if !is_safe(relative) {
            return DiskError::UnsafePath { path: relative.to_owned() };
        }
        let path = self.display_path(relative);
        match code {
            Errno::ISDIR => DiskError::NotRegular { path, found: "a folder" },
            Errno::NXIO => DiskError::NotRegular { path, found: "a FIFO, socket or device" },
            code => DiskError::system(operation, path)(code),
        }
    }
}

/// A look at many files, one after the other. A folder that several of them in a row are in is found only once, so it
/// must not last longer than one pass over them.
pub(super) struct Looks<'f> {
    folder: &'f Folder,
    /// The folder of the last file, or why it is not to be had.
    parent: Option<(PathBuf, Result<OwnedFd, Errno>)>,
    /// Folders that were looked for so far.
    pub(super) resolved: usize,
}

impl<'f> Looks<'f> {
    pub(super) fn new(folder: &'f Folder) -> Self {
        Self { folder, parent: None, resolved: 0 }
    }

    /// As [`Folder::stamp`].
    pub(super) fn stamp(&mut self, relative: &Path) -> Result<Option<Stamp>, DiskError> {
        let (parent, name) = self.folder.split(relative)?;
        if parent.as_os_str().is_empty() {
            return self.folder.stamp(relative);
        }
        let handle = match &self.parent {
            Some((known, handle)) if known.as_os_str() == parent.as_os_str() => handle,
            _ => {
                self.resolved += 1;
                &self.parent.insert((parent.to_owned(), self.folder.parent(parent))).1
            }
        };
        let look = |parent: &OwnedFd| rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        self.folder.stamp_from(relative, handle.as_ref().map_err(|code| *code).and_then(look))
    }
}

/// Relative, not empty, nothing but names.
fn is_safe(relative: &Path) -> bool {
    let mut components = relative.components().peekable();
    // `components` drops `.` and doubled separators, which a path made of clean elements does not have.
    let length = relative.components().map(|element| element.as_os_str().len() + 1).sum::<usize>();
    components.peek().is_some()
        && components.all(|element| matches!(element, Component::Normal(_)))
        && length == relative.as_os_str().len() + 1
}

/// Whether `openat2` fails even for the folder itself.
fn probe_is_refused(handle: &OwnedFd) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    matches!(
        rustix::fs::openat2(handle, c".", flags, Mode::empty(), ResolveFlags::BENEATH),
        Err(Errno::NOSYS | Errno::PERM)
    )
}

/// Again while a signal or a racing rename interrupts.
pub(super) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    const RACES: usize = 64;
    for _ in 0..RACES {
        match call() {
            Err(Errno::INTR | Errno::AGAIN) => (),
            other => return other,
        }
    }
    call()
}

/// `renameat2(RENAME_NOREPLACE)`; where the file system does not know it, a hard link and an unlink, which do not
/// replace either; where it knows no links, a look and a plain rename.
fn rename_new(parent: BorrowedFd<'_>, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    match rustix::fs::renameat_with(parent, from, parent, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_by_link(parent, from, to),
        other => other,
    }
}

fn rename_by_link(parent: BorrowedFd<'_>, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    match rustix::fs::linkat(parent, from, parent, to, AtFlags::empty()) {
        Ok(()) => rustix::fs::unlinkat(parent, from, AtFlags::empty()),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
            match rustix::fs::statat(parent, to, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => rustix::fs::renameat(parent, from, parent, to),
                Err(code) => Err(code),
            }
        }
        Err(code) => Err(code),
    }
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folders() -> (tempfile::TempDir, Vec<Folder>) {
        let temporary = tempfile::tempdir().unwrap();
        let inside = temporary.path().join("inside");
        let modern = Folder::create(&inside).unwrap();
        let old = Folder::open(&inside).unwrap();
        old.has_openat2.store(false, Ordering::Relaxed);
        (temporary, vec![modern, old])
    }

    #[test]
    fn a_pass_over_many_files_finds_each_folder_once() {
        let (_temporary, folders) = folders();
        for folder in folders {
            for name in ["a/b/1", "a/b/2", "a/c/3", "4"] {
                folder.open_file(Path::new(name), Access::Create).unwrap();
            }
            symlink("b", folder.path().join("a/link")).ok();
            let mut looks = Looks::new(&folder);
            let names = ["a/b/1", "a/b/2", "a/b/none", "4", "a/b/1", "a/c/3", "no/1", "no/2", "a/link/1", "a/link/2"];
            for path in names.map(Path::new) {
                let (once, each) = (looks.stamp(path), folder.stamp(path));
                assert_eq!(
                    once.map_err(|error| error.to_string()),
                    each.map_err(|error| error.to_string()),
                    "{path:?}"
                );
            }
            assert_eq!(looks.resolved, 4, "a/b, a/c, no and a/link");
            assert!(matches!(looks.stamp(Path::new("../x")), Err(DiskError::UnsafePath { .. })));
        }
    }

    #[test]
    fn unsafe_paths_are_refused_before_any_system_call() {
        let (temporary, folders) = folders();
        for folder in &folders {
            for path in ["", ".", "..", "../x", "a/../x", "/etc/x", "a/../../x", "./a", "a/./b", "a//b", "a/"] {
                let path = Path::new(path);
                let opened = folder.open_file(path, Access::Create);
                assert!(matches!(opened, Err(DiskError::UnsafePath { .. })), "{path:?}: {opened:?}");
                assert!(matches!(folder.create_folders(path), Err(DiskError::UnsafePath { .. })), "{path:?}");
                assert!(matches!(folder.stamp(path), Err(DiskError::UnsafePath { .. })), "{path:?}");
                assert!(matches!(folder.rename(path, path), Err(DiskError::UnsafePath { .. })), "{path:?}");
            }
            assert!(folder.open_file(Path::new("nul\0"), Access::Create).is_err());
        }
        assert!(!temporary.path().join("x").exists());
        assert_eq!(std::fs::read_dir(temporary.path().join("inside")).unwrap().count(), 0);
    }

    #[test]
    fn the_kernel_alone_keeps_us_inside() {
        // `is_safe` is bypassed here: this is what stands behind it.
        let (_temporary, folders) = folders();
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let escaped =
            rustix::fs::openat2(&*folders[0].handle(), "../x", OFlags::CREATE | OFlags::RDWR, Mode::RUSR, resolve);
        assert!(matches!(escaped, Err(Errno::XDEV | Errno::NOSYS | Errno::PERM)));
    }

    #[test]
    fn symbolic_links_are_not_followed_anywhere() {
        let (temporary, folders) = folders();
        let (outside, inside) = (temporary.path().join("outside"), temporary.path().join("inside"));
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), b"secret").unwrap();
        symlink(&outside, inside.join("folder")).unwrap();
        symlink(outside.join("secret"), inside.join("file")).unwrap();
        symlink(outside.join("new"), inside.join("dangling")).unwrap();
        for folder in &folders {
            for path in ["folder/secret", "folder/new", "file", "dangling"] {
                for access in [Access::Read, Access::Write, Access::Create] {
                    assert!(folder.open_file(Path::new(path), access).is_err(), "{path} {access:?}");
                }
            }
            assert!(folder.create_folders(Path::new("folder/sub")).is_err());
            assert!(folder.open_folder(Path::new("folder")).is_err());
            assert!(folder.stamp(Path::new("file")).is_err());
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"secret");
    }

    #[test]
    fn other_kinds_are_refused_without_waiting() {
        let (temporary, folders) = folders();
        let inside = temporary.path().join("inside");
        rustix::fs::mknodat(rustix::fs::CWD, inside.join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::fs::create_dir(inside.join("folder")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(inside.join("socket")).unwrap();
        for folder in &folders {
            for path in ["fifo", "folder", "socket"] {
                for access in [Access::Read, Access::Write, Access::Create] {
                    let opened = folder.open_file(Path::new(path), access);
                    assert!(matches!(opened, Err(DiskError::NotRegular { .. })), "{path} {access:?}: {opened:?}");
                }
                assert!(matches!(folder.stamp(Path::new(path)), Err(DiskError::NotRegular { .. })), "{path}");
            }
        }
    }

    #[test]
    fn a_rename_never_replaces() {
        let (temporary, folders) = folders();
        let inside = temporary.path().join("inside");
        for folder in &folders {
            std::fs::write(inside.join("new.part"), b"new").unwrap();
            std::fs::write(inside.join("new"), b"foreign").unwrap();
            let (from, to) = (Path::new("new.part"), Path::new("new"));
            assert!(matches!(folder.rename(from, to), Err(DiskError::ForeignFile { .. })));
            let handle = folder.handle();
            let handle = handle.as_fd();
            assert_eq!(rename_by_link(handle, from.as_os_str(), to.as_os_str()), Err(Errno::EXIST));
            assert_eq!(std::fs::read(inside.join("new")).unwrap(), b"foreign");
            std::fs::remove_file(inside.join("new")).unwrap();
            folder.rename(from, to).unwrap();
            assert_eq!(std::fs::read(inside.join("new")).unwrap(), b"new");
            rename_by_link(handle, to.as_os_str(), from.as_os_str()).unwrap();
            assert!(!inside.join("new").exists() && inside.join("new.part").exists());
        }
    }

    #[test]
    fn folders_are_made_on_the_way() {
        let (temporary, folders) = folders();
        for (folder, top) in folders.iter().zip(["a", "b"]) {
            let path = PathBuf::from(top).join("deep/er/file");
            folder.open_file(&path, Access::Create).unwrap();
            folder.open_file(&path, Access::Create).unwrap();
            assert!(temporary.path().join("inside").join(&path).is_file());
            assert_eq!(folder.stamp(&path).unwrap().unwrap().length, 0);
            assert_eq!(folder.stamp(&path.with_file_name("none")).unwrap(), None);
            assert_eq!(folder.stamp(Path::new("no/folder/none")).unwrap(), None);
            let through_file = folder.open_file(&path.join("x"), Access::Create);
            assert!(matches!(through_file, Err(DiskError::System { .. })), "{through_file:?}");
        }
    }
}
