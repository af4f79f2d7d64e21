//! Files that a tracker keeps over a restart: replaced atomically, and checked before they are believed.
//!
//! Owns the envelope (a magic text in front, the SHA-1 of everything before it at the end) and the order of syncs. Never
//! knows what is inside. A damaged file is renamed, so that the next save does not destroy it.

use sha1::{Digest, Sha1};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use swarm_proto::id::HASH_LENGTH;

/// Why a file was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system said no.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// The file is not whole. It has been renamed, and the tracker may start without it.
    #[error("{} is damaged ({reason}); kept as {}, start again to begin without it", path.display(), aside.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it is called now.
        aside: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A kind of sealed file.
#[derive(Clone, Copy, Debug)]
pub struct Sealed {
    /// Text in front, with the version.
    pub magic: &'static [u8],
    /// Bytes of the largest content that is read.
    pub largest: u64,
}

/// Takes the content of a sealed file while it is written.
pub struct Writer {
    file: BufWriter<File>,
    digest: Sha1,
}

impl Writer {
    /// Appends to the content.
    ///
    /// # Errors
    /// What the file system says.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.file.write_all(bytes)
    }
}

impl Sealed {
    /// Writes to a new file beside `path`, which then takes its place.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]; a file that was at `path` before is still there.
    pub fn write(&self, path: &Path, content: impl FnOnce(&mut Writer) -> io::Result<()>) -> Result<(), SnapshotError> {
        let failed = |operation| move |source| SnapshotError::Io { operation, path: path.to_owned(), source };
        let temporary = with_suffix(path, ".new");
        self.write_whole(&temporary, content).map_err(failed("write"))?;
        fs::rename(&temporary, path).map_err(failed("replace"))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))
    }

    fn write_whole(&self, path: &Path, content: impl FnOnce(&mut Writer) -> io::Result<()>) -> io::Result<()> {
        let mut writer = Writer { file: BufWriter::new(File::create(path)?), digest: Sha1::new() };
        writer.put(self.magic)?;
        content(&mut writer)?;
        let Writer { mut file, digest } = writer;
        file.write_all(&digest.finalize())?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    /// Reads the file at `path` and has its content decoded; nothing if there is no such file.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] if the envelope is broken or `decode` finds fault with the content; the file has been
    /// renamed then. [`SnapshotError::Io`].
    pub fn read<T>(
        &self,
        path: &Path,
        decode: impl FnOnce(&[u8]) -> Result<T, &'static str>,
    ) -> Result<Option<T>, SnapshotError> {
        let most = self.largest.saturating_add((self.magic.len() + HASH_LENGTH) as u64);
        let mut bytes = Vec::new();
        match File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SnapshotError::Io { operation: "read", path: path.to_owned(), source }),
            Ok(_) if bytes.len() as u64 > most => {
                let source = io::Error::new(io::ErrorKind::FileTooLarge, "larger than the limits allow");
                return Err(SnapshotError::Io { operation: "read", path: path.to_owned(), source });
            }
            Ok(_) => {}
        }
        let decoded = self.open(&bytes).and_then(decode);
        decoded.map(Some).map_err(|reason| set_aside(path, reason))
    }

    fn open<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let (sealed, digest) = bytes.split_last_chunk::<HASH_LENGTH>().ok_or("too short")?;
        let content = sealed.strip_prefix(self.magic).ok_or("not a file of this kind and version")?;
        if Sha1::digest(sealed).as_slice() != digest { Err("the checksum is wrong") } else { Ok(content) }
    }
}

fn set_aside(path: &Path, reason: &'static str) -> SnapshotError {
    let aside = with_suffix(path, ".damaged");
    match fs::rename(path, &aside) {
        Ok(()) => SnapshotError::Damaged { path: path.to_owned(), aside, reason },
        Err(source) => SnapshotError::Io { operation: "set aside the damaged", path: path.to_owned(), source },
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
