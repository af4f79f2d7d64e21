//! A bounded set of open files, shared by all torrents of a process.
//!
//! Owns the open descriptors of payload files. Never holds more than its capacity (files that a caller still uses live on
//! until that caller is done), and never the lock of a target: eviction must not give that up.

use super::error::DiskError;
use rustix::io::Errno;
use rustix::process::Resource;
use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Open files that are enough for any rate: more only cost descriptors.
const DEFAULT_CAPACITY: u64 = 128;

/// Which file: the torrent's key, from [`FilePool::new_owner`], and the file's number in it.
pub type FileKey = (u64, u32);

/// The pool. The file used longest ago makes room for a new one.
#[derive(Debug)]
pub struct FilePool {
    capacity: usize,
    owners: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<FileKey, Entry>,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    file: Arc<File>,
    writable: bool,
    used: u64,
}

/// What a file must be open for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Reading is enough.
    Read,
    /// Writing too.
    Write,
}

impl FilePool {
    /// At most `capacity` open files, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), owners: AtomicU64::new(0), open: Mutex::default() }
    }

    /// Open files at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// A key for a torrent, never given twice.
    pub fn new_owner(&self) -> u64 {
        self.owners.fetch_add(1, Ordering::Relaxed)
    }

    /// Number of open files.
    pub fn len(&self) -> usize {
        self.lock().files.len()
    }

    /// Whether no file is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file of this key if it is open for this use, else what `open` opens. When the process is out of descriptors,
    /// half of the pool is closed and `open` gets a second chance.
    pub fn file(
        &self,
        key: FileKey,
        usage: Use,
        open: impl Fn() -> Result<File, DiskError>,
    ) -> Result<Arc<File>, DiskError> {
        if let Some(file) = self.lock().find(key, usage) {
            return Ok(file);
        }
        let file = match open() {
            Err(error) if is_out_of_descriptors(&error) => {
                self.lock().shrink(self.capacity / 2);
                open()?
            }
            other => other?,
        };
        let file = Arc::new(file);
        let mut pool = self.lock();
        pool.shrink(self.capacity - 1);
        pool.clock += 1;
        let used = pool.clock;
        pool.files.insert(key, Entry { file: Arc::clone(&file), writable: usage == Use::Write, used });
        Ok(file)
    }

    /// Closes this file: its name leads to another one now, or to nothing.
    pub fn forget(&self, key: FileKey) {
        self.lock().files.remove(&key);
    }

    /// Closes all files of a torrent.
    pub fn forget_owner(&self, owner: u64) {
        self.lock().files.retain(|key, _| key.0 != owner);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Every change is one step, so a panic elsewhere leaves nothing half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the process open as many descriptors as it may give itself: each connection takes one, and the usual limit of
/// 1,024 is there for programs that use `select`. To be called before the first session. A limit that cannot be raised is
/// lived with.
pub fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
        if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of descriptors stays");
        }
    }
}

/// Descriptors that the process may have open.
pub(crate) fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

impl Default for FilePool {
    /// 128 files, or a quarter of what the process may open if that is less.
    fn default() -> Self {
        let limit = descriptor_limit();
        Self::new(usize::try_from(DEFAULT_CAPACITY.min(limit / 4)).unwrap_or(1))
    }
}

impl Open {
    fn find(&mut self, key: FileKey, usage: Use) -> Option<Arc<File>> {
        self.clock += 1;
        let used = self.clock;
        let entry = self.files.get_mut(&key).filter(|entry| entry.writable || usage == Use::Read)?;
        entry.used = used;
        Some(Arc::clone(&entry.file))
    }

    fn shrink(&mut self, capacity: usize) {
        while self.files.len() > capacity {
            let oldest = self.files.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            self.files.remove(&oldest);
        }
    }
}

/// Whether it failed because this process, or the system, has all the files open that it may.
pub(super) fn is_out_of_descriptors(error: &DiskError) -> bool {
    let DiskError::System { source, .. } = error else { return false };
    matches!(source.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::super::error::Operation;
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_file_used_longest_ago_makes_room() {
        let pool = FilePool::new(2);
        let opened = Cell::new(0);
        let file = |number| {
            let open = || {
                opened.set(opened.get() + 1);
                Ok(tempfile::tempfile().unwrap())
            };
            pool.file((0, number), Use::Read, open).unwrap()
        };
        for number in [1, 2, 1] {
            file(number);
        }
        assert_eq!(opened.get(), 2);
        for number in [3, 1] {
            file(number);
        }
        assert_eq!((opened.get(), pool.len()), (3, 2), "2 went, 1 stayed");
        file(2);
        assert_eq!((opened.get(), pool.len()), (4, 2));
        pool.forget_owner(0);
        assert!(pool.is_empty());
    }

    #[test]
    fn a_file_open_for_reading_is_opened_again_for_writing() {
        let pool = FilePool::new(4);
        let open = || Ok(tempfile::tempfile().unwrap());
        let reader = pool.file((0, 0), Use::Read, open).unwrap();
        let writer = pool.file((0, 0), Use::Write, open).unwrap();
        assert!(!Arc::ptr_eq(&reader, &writer));
        assert!(Arc::ptr_eq(&writer, &pool.file((0, 0), Use::Read, open).unwrap()));
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn running_out_of_descriptors_closes_half_and_tries_again() {
        let pool = FilePool::new(4);
        for number in 0..4 {
            pool.file((0, number), Use::Read, || Ok(tempfile::tempfile().unwrap())).unwrap();
        }
        let refuse_when_full = || match pool.len() {
            4 => Err(DiskError::system(Operation::Open, "x")(Errno::MFILE)),
            _ => Ok(tempfile::tempfile().unwrap()),
        };
        pool.file((0, 9), Use::Read, refuse_when_full).unwrap();
        assert_eq!(pool.len(), 3);
    }
}
