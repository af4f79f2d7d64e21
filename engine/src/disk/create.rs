//! The files that a new torrent is made of: which they are, and the hashes of their pieces.
//!
//! Owns the rules of what is taken into a torrent. The same tree and options give the same list on every machine, whatever
//! the order in which the file system names its entries. Follows no symbolic link below the path that the user gave.

use super::error::{DiskError, Operation};
use super::folder::{Access, Folder, Stamp};
use super::hash::{Extent, HashJob, Hashed, Source, hash_pieces};
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use swarm_proto::geometry::{Geometry, PieceIndex};
use swarm_proto::id::HASH_LENGTH;
use swarm_proto::limits;
use swarm_proto::metainfo::{Content, SourceFile};

/// What to do with names that begin with a dot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HiddenFiles {
    /// Leave them out.
    #[default]
    Skip,
    /// Take them as all others.
    Include,
}

/// What to take into a torrent.
#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    /// Names that begin with a dot.
    pub hidden: HiddenFiles,
    /// What to leave out: see [`exclusions`].
    pub exclude: GlobSet,
}

/// Compiles patterns of files and folders to leave out. A pattern is compared with the name alone and with the path below
/// the torrent's folder: `*.tmp` holds at every depth, `build/**` at the top.
pub fn exclusions<P: AsRef<str>>(patterns: &[P]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern.as_ref())?);
    }
    set.build()
}

/// One file to be taken into a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedFile {
    /// Elements of the path below the folder; for a single file its name.
    pub elements: Vec<String>,
    /// Length in bytes.
    pub length: u64,
    /// Whether its owner may run it (BEP 47 `x`).
    pub is_executable: bool,
}

/// Something that was left out, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// What.
    pub path: PathBuf,
    /// Why, to be read behind the path.
    pub reason: &'static str,
}

/// The files of a torrent to be made.
#[derive(Debug)]
pub struct FileList {
    folder: Folder,
    name: String,
    is_single_file: bool,
    files: Vec<ListedFile>,
    stamps: Vec<Stamp>,
    offsets: Vec<u64>,
    skipped: Vec<Skipped>,
}

impl FileList {
    /// The name of the file or folder, for the torrent.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files in the order in which they lie in the torrent: by the bytes of their path's elements.
    pub fn files(&self) -> &[ListedFile] {
        &self.files
    }

    /// What was left out although no option says so: symbolic links, sockets and the like.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Bytes of all files.
    pub fn total_length(&self) -> u64 {
        self.files.iter().map(|file| file.length).fold(0, u64::saturating_add)
    }

    /// What identifies each file on disk, in order; for the resume record.
    pub fn stamps(&self) -> &[Stamp] {
        &self.stamps
    }

    /// For the maker of metainfo.
    pub fn content(&self) -> Content {
        if self.is_single_file {
            return Content::SingleFile { length: self.total_length() };
        }
        let source = |file: &ListedFile| SourceFile {
            path: file.elements.clone(),
            length: file.length,
            executable: file.is_executable,
        };
        Content::Folder(self.files.iter().map(source).collect())
    }

    fn new(folder: Folder, name: String, is_single_file: bool, found: Found) -> Result<Self, DiskError> {
        let Found { mut entries, mut skipped } = found;
        entries.sort_by(|(left, _), (right, _)| left.elements.cmp(&right.elements));
        skipped.sort_by(|left, right| left.path.cmp(&right.path));
        let (files, stamps): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        if files.is_empty() {
            return Err(refused(folder.path(), "it has no files to share"));
        }
        let mut end = 0u64;
        let mut offsets = Vec::with_capacity(files.len());
        for file in &files {
            offsets.push(end);
            end = end.checked_add(file.length).ok_or_else(|| refused(folder.path(), "it is too large"))?;
        }
        Ok(Self { folder, name, is_single_file, files, stamps, offsets, skipped })
    }

    /// Fails if a file is not what it was when it was listed.
    fn check(&self, number: usize, now: Option<Stamp>) -> Result<(), DiskError> {
        if now.is_some() && now.as_ref() == self.stamps.get(number) {
            return Ok(());
        }
        Err(DiskError::Changed { path: self.display_path(number) })
    }

    fn display_path(&self, number: usize) -> PathBuf {
        self.folder.display_path(&self.relative(number))
    }

    fn relative(&self, number: usize) -> PathBuf {
        self.files.get(number).map(|file| file.elements.iter().collect()).unwrap_or_default()
    }
}

#[derive(Default)]
struct Found {
    entries: Vec<(ListedFile, Stamp)>,
    skipped: Vec<Skipped>,
}

/// Lists the file, or the files below the folder, at `path`. Symbolic links in `path` itself are followed.
///
/// Errors: nothing there, nothing in it, a name that is not UTF-8 (no torrent can carry it), too many files.
pub fn scan(path: &Path, options: &ScanOptions) -> Result<FileList, DiskError> {
    scan_unless(path, options, &AtomicBool::new(false))
}

/// [`scan`] that ends with [`DiskError::Cancelled`] soon after `cancel` is set.
pub(crate) fn scan_unless(path: &Path, options: &ScanOptions, cancel: &AtomicBool) -> Result<FileList, DiskError> {
    let real = std::fs::canonicalize(path).map_err(DiskError::system(Operation::Open, path))?;
    let name = path.file_name().or_else(|| real.file_name()).ok_or_else(|| refused(path, "it has no name"))?;
    let name = utf8(name.to_owned(), path)?;
    let metadata = std::fs::metadata(&real).map_err(DiskError::system(Operation::Inspect, path))?;
    let mut found = Found::default();
    if metadata.is_dir() {
        let folder = Folder::open(&real)?;
        scan_folder(&folder, options, cancel, &mut found)?;
        return FileList::new(folder, name, false, found);
    }
    let (Some(parent), Some(real_name)) = (real.parent(), real.file_name()) else {
        return Err(refused(path, "it has no name"));
    };
    let folder = Folder::open(parent)?;
    let element = utf8(real_name.to_owned(), path)?;
    let stamp = folder.stamp(Path::new(&element))?;
    let stamp = stamp.ok_or_else(|| DiskError::Changed { path: path.to_owned() })?;
    found.entries.push((ListedFile { elements: vec![element], length: stamp.length, is_executable: false }, stamp));
    FileList::new(folder, name, true, found)
}

fn scan_folder(
    folder: &Folder,
    options: &ScanOptions,
    cancel: &AtomicBool,
    found: &mut Found,
) -> Result<(), DiskError> {
    let mut folders: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(elements) = folders.pop() {
        let relative: PathBuf = elements.iter().collect();
        let path = folder.display_path(&relative);
        let error = || DiskError::system::<std::io::Error>(Operation::List, &path);
        for entry in std::fs::read_dir(&path).map_err(error())? {
            if cancel.load(Ordering::Relaxed) {
                return Err(DiskError::Cancelled);
            }
            let entry = entry.map_err(error())?;
            let name = entry.file_name();
            let below = relative.join(&name);
            let hidden = name.as_encoded_bytes().starts_with(b".") && options.hidden == HiddenFiles::Skip;
            if hidden || options.exclude.is_match(&name) || options.exclude.is_match(&below) {
                continue;
            }
            let kind = entry.file_type().map_err(error())?;
            let mut elements = elements.clone();
            elements.push(utf8(name, &entry.path())?);
            if kind.is_file() {
                scan_file(folder, &below, elements, found)?;
            } else if kind.is_dir() && elements.len() + 2 <= limits::PATH_DEPTH {
                folders.push(elements);
            } else {
                let reason = match (kind.is_symlink(), kind.is_dir()) {
                    (true, _) => "is a symbolic link; they are not followed",
                    (_, true) => "is nested too deeply",
                    _ => "is not a regular file",
                };
                found.skipped.push(Skipped { path: entry.path(), reason });
            }
        }
    }
    Ok(())
}

fn scan_file(folder: &Folder, relative: &Path, elements: Vec<String>, found: &mut Found) -> Result<(), DiskError> {
    if found.entries.len() >= limits::FILES {
        return Err(refused(folder.path(), "it has too many files"));
    }
    let path = folder.display_path(relative);
    let stamp = folder.stamp(relative)?.ok_or_else(|| DiskError::Changed { path: path.clone() })?;
    let metadata = std::fs::symlink_metadata(&path).map_err(DiskError::system(Operation::Inspect, &path))?;
    let is_executable = metadata.permissions().mode() & 0o100 != 0;
    found.entries.push((ListedFile { elements, length: stamp.length, is_executable }, stamp));
    Ok(())
}

fn utf8(name: OsString, path: &Path) -> Result<String, DiskError> {
    name.into_string().map_err(|_| refused(path, "its name is not UTF-8: rename it or leave it out"))
}

fn refused(path: &Path, reason: &'static str) -> DiskError {
    DiskError::Refused { operation: Operation::List, path: path.to_owned(), reason }
}

/// The SHA-1 of every piece in order. `geometry` is that of the torrent to be made, so of the list's total length.
///
/// Errors: [`DiskError::Changed`] if a file is not what it was when it was listed, before or after its hashing.
pub fn hash(list: &FileList, geometry: Geometry, job: HashJob<'_>) -> Result<Vec<[u8; HASH_LENGTH]>, DiskError> {
    if geometry.total_length() != list.total_length() {
        return Err(refused(list.folder.path(), "the pieces are not of these files"));
    }
    let pieces: Vec<PieceIndex> = geometry.all_pieces().collect();
    let hashes = Mutex::new(vec![None; pieces.len()]);
    let done = |outcomes: &[Hashed]| {
        let mut hashes = hashes.lock().unwrap_or_else(PoisonError::into_inner);
        for (piece, hash) in outcomes {
            if let Some(place) = hashes.get_mut(piece.as_usize()) {
                *place = *hash;
            }
        }
    };
    let files = List { list, geometry };
    hash_pieces(&files, geometry, &pieces, job, &done)?;
    for number in 0..list.files.len() {
        list.check(number, list.folder.stamp(&list.relative(number))?)?;
    }
    let hashes = hashes.into_inner().unwrap_or_else(PoisonError::into_inner);
    hashes.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| refused(list.folder.path(), "it cannot be read"))
}

/// A list as pieces of a length.
struct List<'l> {
    list: &'l FileList,
    geometry: Geometry,
}

impl Source for List<'_> {
    fn extents(&self, piece: PieceIndex) -> Vec<Extent> {
        let start = self.geometry.offset_of(piece);
        let end = start + u64::from(self.geometry.length_of(piece));
        let first = self.list.offsets.partition_point(|&offset| offset <= start).saturating_sub(1);
        let files = self.list.files.iter().zip(&self.list.offsets).enumerate().skip(first);
        let reached = files.take_while(|(_, (_, offset))| **offset < end);
        let part = reached.filter_map(|(number, (file, offset))| {
            let from = start.max(*offset);
            let length = end.min(offset + file.length).checked_sub(from).filter(|&length| length > 0)?;
            Some(Extent { file: Some(number), offset: from - offset, length })
        });
        part.collect()
    }

    fn open(&self, file: usize) -> Result<Option<File>, DiskError> {
        let opened = self.list.folder.open_file(&self.list.relative(file), Access::Read)?;
        self.list.check(file, Some(Stamp::of(&opened, &self.list.display_path(file))?))?;
        Ok(Some(opened))
    }

    fn path(&self, file: usize) -> PathBuf {
        self.list.display_path(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;
    use swarm_proto::metainfo::{Metainfo, MetainfoBuilder};
    use tempfile::TempDir;

    fn tree() -> TempDir {
        let temporary = TempDir::new().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = temporary.path().join("top").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("b/2", &[2; 40_000]);
        write("b/1", &[1; 40_000]);
        write("b.c", b"before b/ by bytes of the path, behind it by elements");
        write("a", b"");
        write("ü", b"unicode");
        write(".hidden/x", b"hidden");
        write("build/junk.tmp", b"junk");
        write("keep/junk.tmp", b"junk");
        symlink("/etc/passwd", temporary.path().join("top/link")).unwrap();
        temporary
    }

    fn names(list: &FileList) -> Vec<String> {
        list.files().iter().map(|file| file.elements.join("/")).collect()
    }

    fn hashes(list: &FileList, piece_length: u64, threads: usize) -> Result<Vec<[u8; 20]>, DiskError> {
        let cancel = AtomicBool::new(false);
        let geometry = Geometry::new(list.total_length(), piece_length).unwrap();
        hash(list, geometry, HashJob { threads, ..HashJob::new(&|_| (), &cancel) })
    }

    #[test]
    fn a_tree_is_listed_in_one_order_without_what_is_left_out() {
        let tree = tree();
        let top = tree.path().join("top");
        let list = scan(&top, &ScanOptions::default()).unwrap();
        assert_eq!(names(&list), ["a", "b/1", "b/2", "b.c", "build/junk.tmp", "keep/junk.tmp", "ü"]);
        assert_eq!(list.name(), "top");
        assert_eq!(list.skipped().len(), 1);
        assert!(list.skipped()[0].path.ends_with("link"));
        let exclude = exclusions(&["*.tmp", "b/1"]).unwrap();
        let hidden = HiddenFiles::Include;
        let list = scan(&top, &ScanOptions { hidden, exclude }).unwrap();
        assert_eq!(names(&list), [".hidden/x", "a", "b/2", "b.c", "ü"]);
        let list = scan(&top, &ScanOptions { exclude: exclusions(&["b"]).unwrap(), ..Default::default() }).unwrap();
        assert!(!names(&list).iter().any(|name| name.starts_with("b/")), "a folder goes with all below it");
        assert!(exclusions(&["[x"]).is_err());
    }

    #[test]
    fn hashes_are_those_of_the_concatenation() {
        let tree = tree();
        let list = scan(&tree.path().join("top"), &ScanOptions::default()).unwrap();
        let all: Vec<u8> =
            names(&list).iter().flat_map(|name| fs::read(tree.path().join("top").join(name)).unwrap()).collect();
        for piece_length in [16_384, 1_000, 100_000] {
            let expected: Vec<_> =
                all.chunks(piece_length).map(|piece| super::super::hash::hash_piece(&[piece])).collect();
            for threads in [1, 3] {
                assert_eq!(hashes(&list, piece_length as u64, threads).unwrap(), expected);
            }
        }
    }

    #[test]
    fn what_is_made_verifies() {
        let tree = tree();
        let list = scan(&tree.path().join("top"), &ScanOptions::default()).unwrap();
        let builder = MetainfoBuilder { piece_length: 16_384, ..MetainfoBuilder::new(list.name(), list.content()) };
        let cancel = AtomicBool::new(false);
        let job = HashJob::new(&|_| (), &cancel);
        let pieces = hash(&list, builder.geometry().unwrap(), job).unwrap();
        let metainfo = Metainfo::parse(builder.build(&pieces).unwrap()).unwrap();
        let layout = metainfo.layout().clone();
        let storage = super::super::Storage::open_seed(tree.path(), layout, std::sync::Arc::default()).unwrap();
        assert!(super::super::verify(&storage, &metainfo, job).unwrap().is_complete());
    }

    #[test]
    fn a_file_that_changes_is_an_error() {
        let tree = tree();
        let path = tree.path().join("top/b/1");
        let list = scan(&tree.path().join("top"), &ScanOptions::default()).unwrap();
        fs::write(&path, [1; 39_999]).unwrap();
        let shorter = hashes(&list, 16_384, 2).unwrap_err();
        assert!(matches!(&shorter, DiskError::Changed { path: found } if *found == path), "{shorter}");
        let list = scan(&tree.path().join("top"), &ScanOptions::default()).unwrap();
        let cancel = AtomicBool::new(false);
        let progress = |_| {
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        let geometry = Geometry::new(list.total_length(), 1 << 20).unwrap();
        let during = hash(&list, geometry, HashJob { threads: 1, ..HashJob::new(&progress, &cancel) });
        assert!(matches!(during, Err(DiskError::Changed { .. })), "{during:?}");
    }

    #[test]
    fn a_single_file_and_what_is_none() {
        let tree = tree();
        let top = tree.path().join("top");
        let list = scan(&top.join("b/2"), &ScanOptions::default()).unwrap();
        assert_eq!((list.name(), list.content()), ("2", Content::SingleFile { length: 40_000 }));
        assert_eq!(hashes(&list, 16_384, 2).unwrap().len(), 3);
        symlink("top/b/1", tree.path().join("alias")).unwrap();
        let list = scan(&tree.path().join("alias"), &ScanOptions::default()).unwrap();
        assert_eq!((list.name(), list.total_length()), ("alias", 40_000));
        assert!(hashes(&list, 16_384, 2).is_ok());
        assert!(scan(&tree.path().join("none"), &ScanOptions::default()).is_err());
        fs::create_dir(top.join("hollow")).unwrap();
        let hollow = scan(&top.join("hollow"), &ScanOptions::default()).unwrap_err();
        assert!(hollow.to_string().contains("no files"), "{hollow}");
        assert!(scan(Path::new("/dev/null"), &ScanOptions::default()).is_err());
        fs::write(top.join(OsString::from_vec(b"bad\xff".to_vec())), b"").unwrap();
        let name = scan(&top, &ScanOptions::default()).unwrap_err();
        assert!(name.to_string().contains("UTF-8"), "{name}");
    }
}
