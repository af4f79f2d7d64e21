//! What a power cut leaves: the deeds of a run are written down, and for each prefix of them the disk is built as it may
//! look then.
//!
//! The model is what POSIX promises and no more: bytes and lengths are on the medium once their file was synced behind
//! them, names once their folder was; of everything else any part may be there, names in the order in which they were
//! given. A time of change may be that of any write to the file.

use super::fault::Deed;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// One thing done to a file, by a number of our own: inodes are used again.
#[derive(Clone)]
enum Change {
    Bytes(usize, Vec<u8>, u64, SystemTime),
    Length(usize, u64, SystemTime),
    Sync(usize),
    Name(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    SyncFolder(PathBuf),
    SyncAll,
}

/// What of a deed that was not synced may be there all the same, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// A file's name.
    Name,
    /// Its bytes or its length.
    Data,
    /// The time of the change, which may be there without the bytes.
    Time,
}

/// What was done, in order.
#[derive(Default)]
pub(crate) struct Log {
    changes: Vec<Change>,
    /// The inode of each file, by its number here.
    inodes: Vec<u64>,
    numbers: HashMap<u64, usize>,
    names: HashMap<PathBuf, usize>,
}

impl Log {
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Syncs among them.
    pub(super) fn syncs(&self) -> usize {
        self.changes.iter().filter(|change| matches!(change, Change::Sync(_) | Change::SyncAll)).count()
    }

    pub(super) fn note(&mut self, deed: &Deed<'_>) {
        let change = match deed {
            Deed::Made(file, path) => {
                let inode = file.metadata().unwrap().ino();
                if self.names.get(*path).is_some_and(|number| self.inodes[*number] == inode) {
                    return;
                }
                let number = self.inodes.len();
                self.inodes.push(inode);
                self.numbers.insert(inode, number);
                self.names.insert(path.to_path_buf(), number);
                Change::Name(path.to_path_buf(), number)
            }
            Deed::Written(file, slices, offset) => {
                let metadata = file.metadata().unwrap();
                let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                let offset = offset.unwrap_or(metadata.len() - bytes.len() as u64);
                Change::Bytes(self.number(file), bytes, offset, metadata.modified().unwrap())
            }
            Deed::Length(file, length) => {
                Change::Length(self.number(file), *length, file.metadata().unwrap().modified().unwrap())
            }
            Deed::Synced(file) => Change::Sync(self.number(file)),
            Deed::SyncedFolder(path) => Change::SyncFolder(path.to_path_buf()),
            Deed::SyncedAll => Change::SyncAll,
            Deed::Renamed(from, to) => {
                if let Some(number) = self.names.remove(*from) {
                    self.names.insert(to.to_path_buf(), number);
                }
                Change::Rename(from.to_path_buf(), to.to_path_buf())
            }
        };
        self.changes.push(change);
    }

    fn number(&self, file: &File) -> usize {
        self.numbers[&file.metadata().unwrap().ino()]
    }

    /// Builds the disk after the first `length` deeds, in the same folders, which must be empty. Of what was not synced,
    /// `keeps` says what is there all the same. Returns which new inode stands for which old one.
    pub(super) fn build(&self, length: usize, mut keeps: impl FnMut(Part) -> bool) -> HashMap<u64, u64> {
        let done = &self.changes[..length];
        let synced_behind = |at: usize, number: usize| {
            done[at..]
                .iter()
                .any(|change| matches!(change, Change::SyncAll) || matches!(change, Change::Sync(n) if *n == number))
        };
        let mut names: BTreeMap<PathBuf, usize> = BTreeMap::new();
        // A folder's names are there up to some moment.
        let mut ended: Vec<PathBuf> = Vec::new();
        for (at, change) in done.iter().enumerate() {
            let (Change::Name(path, _) | Change::Rename(_, path)) = change else { continue };
            let folder = path.parent().unwrap().to_path_buf();
            let synced = done[at..].iter().any(|change| {
                matches!(change, Change::SyncAll) || matches!(change, Change::SyncFolder(path) if *path == folder)
            });
            if ended.contains(&folder) || !synced && !keeps(Part::Name) {
                ended.push(folder);
                continue;
            }
            match change {
                Change::Name(path, number) => {
                    names.insert(path.clone(), *number);
                }
                Change::Rename(from, to) => {
                    if let Some(number) = names.remove(from) {
                        names.insert(to.clone(), number);
                    }
                }
                _ => unreachable!(),
            }
        }
        let mut inodes = HashMap::new();
        for (path, &number) in &names {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(path).unwrap();
            let mut modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
            for (at, change) in done.iter().enumerate() {
                let (of, time) = match change {
                    Change::Bytes(of, _, _, time) | Change::Length(of, _, time) => (*of, *time),
                    _ => continue,
                };
                let synced = synced_behind(at, number);
                if of != number {
                    continue;
                }
                if synced || keeps(Part::Time) {
                    modified = time;
                }
                if !synced && !keeps(Part::Data) {
                    continue;
                }
                match change {
                    Change::Bytes(_, bytes, offset, _) => file.write_all_at(bytes, *offset).unwrap(),
                    Change::Length(_, length, _) => file.set_len(*length).unwrap(),
                    _ => unreachable!(),
                }
            }
            file.set_modified(modified).unwrap();
            inodes.insert(self.inodes[number], file.metadata().unwrap().ino());
        }
        inodes
    }
}

/// Empties a folder.
pub(super) fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { fs::remove_dir_all(entry).unwrap() } else { fs::remove_file(entry).unwrap() }
    }
}
