//! What can go wrong on a disk, by what the user can do about it.
//!
//! Owns the one error type of this room. Never loses the path: each error names the operation, the path and the cause.

use rustix::io::Errno;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What was being done when the operating system refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a file or folder.
    Open,
    /// Making a file or folder.
    Create,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Reserving room for a file, or setting its length.
    Allocate,
    /// Giving a file its final name, or taking it away.
    Rename,
    /// Waiting until data is on the medium.
    Sync,
    /// Asking for a file's length, times and identity.
    Inspect,
    /// Taking the lock of a target.
    Lock,
    /// Listing a folder.
    List,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Allocate => "allocate",
            Self::Rename => "rename",
            Self::Sync => "sync",
            Self::Inspect => "inspect",
            Self::Lock => "lock",
            Self::List => "list",
        })
    }
}

/// Why the disk did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}{}", path.display(), advice(source))]
    System {
        /// What was being done.
        operation: Operation,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that this torrent would need to replace, and that is not known to be ours.
    #[error("{} exists and is not this torrent's: move it away, or allow overwriting (--overwrite)", path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
    },
    /// Another process, or another torrent of this one, holds the lock of the target.
    #[error("{} is in use by another transfer: wait for it, or choose another folder", path.display())]
    InUse {
        /// The file or folder that is locked.
        path: PathBuf,
    },
    /// A file is no longer what was verified: its length, time of change or identity is another one.
    #[error("{} was changed by another program: its pieces need to be checked again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file ends before the data that it should hold.
    #[error("{} is too short: it ends before byte {needed}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The length in bytes that the read needed.
        needed: u64,
    },
    /// The bytes of a piece are wrong although the file looks as it did when they were right.
    #[error("{} has wrong bytes in piece {piece}, and nothing has written to it: check the disk and the memory", path.display())]
    Rotten {
        /// The file in which the piece begins.
        path: PathBuf,
        /// The piece's number.
        piece: u32,
    },
    /// Something that is not a regular file stands where one belongs.
    #[error("{} is {found}, not a regular file: move it away", path.display())]
    NotRegular {
        /// Where.
        path: PathBuf,
        /// What stands there.
        found: &'static str,
    },
    /// A path that could lead out of its folder. Nothing was touched.
    #[error("{} is not a safe path below a folder", path.display())]
    UnsafePath {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The caller's numbers do not belong to this torrent, or the target is not open for this.
    #[error("cannot {operation} {}: {reason}", path.display())]
    Refused {
        /// What was asked.
        operation: Operation,
        /// Of what.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// Stopped on request.
    #[error("cancelled")]
    Cancelled,
}

impl DiskError {
    /// For `map_err`: what the operating system said about this operation on this path.
    pub fn system<E: Into<io::Error>>(operation: Operation, path: impl AsRef<Path>) -> impl FnOnce(E) -> Self {
        move |source| Self::System { operation, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// Whether the same operation may succeed later without anybody changing the request: the disk gets space again, the
    /// file system is writable again, descriptors come free, permission is given back. Such a transfer is paused, tried
    /// again now and then, and goes on by itself. The others need a decision (another folder, overwriting, a recheck).
    pub fn is_transient(&self) -> bool {
        const LASTING: [Errno; 8] = [
            Errno::INVAL,
            Errno::NAMETOOLONG,
            Errno::LOOP,
            Errno::NOTDIR,
            Errno::ISDIR,
            Errno::FBIG,
            Errno::ILSEQ,
            Errno::OVERFLOW,
        ];
        match self {
            Self::System { source, .. } => errno(source).is_none_or(|code| !LASTING.contains(&code)),
            Self::InUse { .. } => true,
            _ => false,
        }
    }

    /// Whether the file system, or the user's share of it, has no room left.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::System { source, .. }
            if errno(source).is_some_and(|code| code == Errno::NOSPC || code == Errno::DQUOT))
    }

    /// Whether the data on disk is not what it was: the pieces of the file must be checked again before they are served.
    pub fn needs_recheck(&self) -> bool {
        match self {
            Self::Changed { .. } | Self::Truncated { .. } | Self::NotRegular { .. } => true,
            Self::System { operation: Operation::Open | Operation::Inspect, source, .. } => {
                errno(source) == Some(Errno::NOENT)
            }
            _ => false,
        }
    }

    /// Whether data that was written may not be on the medium, and never get there: after a failed sync the system may
    /// have dropped it, and reading shows it all the same.
    pub fn is_failed_sync(&self) -> bool {
        matches!(self, Self::System { operation: Operation::Sync, .. })
    }

    /// The path that it is about, if any.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::System { path, .. }
            | Self::ForeignFile { path }
            | Self::InUse { path }
            | Self::Changed { path }
            | Self::Truncated { path, .. }
            | Self::Rotten { path, .. }
            | Self::NotRegular { path, .. }
            | Self::UnsafePath { path }
            | Self::Refused { path, .. } => Some(path),
            Self::Cancelled => None,
        }
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// What the user can do, behind the system's words.
fn advice(error: &io::Error) -> &'static str {
    match errno(error) {
        Some(Errno::NOSPC) => "; free some space, a transfer under way goes on by itself",
        Some(Errno::DQUOT) => "; free some of your quota, a transfer under way goes on by itself",
        Some(Errno::ROFS) => "; make the file system writable, or choose another folder",
        Some(Errno::ACCESS | Errno::PERM) => "; check the permissions of it and of the folders above it",
        Some(Errno::MFILE | Errno::NFILE) => "; raise the limit of open files (ulimit -n)",
        Some(Errno::IO) => "; check the disk",
        Some(Errno::NOENT) => "; was it moved, deleted or unmounted?",
        Some(Errno::FBIG) => "; the file system takes no files of this length",
        Some(Errno::LOOP) => "; symbolic links are not followed here",
        Some(Errno::EXIST) => "; something of that name is in the way: move it away, or choose another folder",
        Some(Errno::NOTDIR) => "; a file or a symbolic link stands where a folder belongs",
        Some(Errno::NAMETOOLONG) => "; choose a folder with a shorter path",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(code: Errno) -> DiskError {
        DiskError::system(Operation::Write, "/data/film")(code)
    }

    #[test]
    fn a_full_disk_is_named_and_passes() {
        let error = system(Errno::NOSPC);
        assert!(error.is_transient() && error.is_full());
        let text = error.to_string();
        assert!(text.starts_with("cannot write /data/film: No space left"), "{text}");
        assert!(text.contains("goes on by itself"), "{text}");
    }

    #[test]
    fn advice_promises_nothing_that_a_start_cannot_keep() {
        let text = system(Errno::ROFS).to_string();
        assert!(text.contains("writable") && !text.contains("by itself"), "{text}");
        assert!(system(Errno::EXIST).to_string().contains("in the way"));
    }

    #[test]
    fn errors_sort_by_what_helps() {
        for code in [Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::ACCESS, Errno::MFILE, Errno::NOENT, Errno::STALE] {
            assert!(system(code).is_transient(), "{code}");
            assert!(!system(code).needs_recheck(), "{code}");
        }
        for code in [Errno::NAMETOOLONG, Errno::LOOP, Errno::ISDIR] {
            assert!(!system(code).is_transient(), "{code}");
        }
        assert!(!DiskError::ForeignFile { path: "a".into() }.is_transient());
        assert!(DiskError::Changed { path: "a".into() }.needs_recheck());
        assert!(DiskError::system(Operation::Open, "a")(Errno::NOENT).needs_recheck());
        assert_eq!(system(Errno::IO).path(), Some(Path::new("/data/film")));
    }
}
