//! The file with the secret key: made on first use, readable by its owner alone, never overwritten by accident.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use swarm_proto::chat::Identity;

/// Bytes of the longest file that is read as an identity: 64 digits and some space around them.
const LENGTH: u64 = 256;

/// Why a file of the chat cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChatFileError {
    /// The system refuses.
    #[error("{operation} {path}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may read the secret key.
    #[error(
        "{0} holds a secret key, and others may read it: run chmod 600 on it, and make a new identity if they have"
    )]
    Open(PathBuf),
    /// It is something else.
    #[error("{0} is no identity file: move it away, and a new identity is made")]
    NoIdentity(PathBuf),
    /// It is something else.
    #[error("{0} is no list of known people: move it away, and a new one is begun")]
    NoBook(PathBuf),
    /// There is one already.
    #[error("{0} exists: move it away first, for whoever loses a key loses the person it stands for")]
    Exists(PathBuf),
}

pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ChatFileError {
    move |source| ChatFileError::System { operation, path: path.to_owned(), source }
}

/// The identity in this file. If there is no file, one is made, with a new key that only its owner may read.
///
/// # Errors
/// When the file cannot be read or made, is none, or may be read by others.
pub fn load_or_make_identity(path: &Path) -> Result<Identity, ChatFileError> {
    match read(path) {
        Err(ChatFileError::System { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let identity = Identity::from_secret(rand::random());
            match save_identity(path, &identity) {
                // Somebody else was faster.
                Err(ChatFileError::Exists(_)) => read(path),
                saved => saved.map(|()| identity),
            }
        }
        other => other,
    }
}

/// Writes an identity to a file that must not be there yet.
///
/// # Errors
/// When there is one, or it cannot be written.
pub fn save_identity(path: &Path, identity: &Identity) -> Result<(), ChatFileError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed("cannot make the folder", folder))?;
    }
    let draft = path.with_extension(format!("{:08x}.new", rand::random::<u32>()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(format!("{}\n", identity.to_text()).as_bytes())?;
        file.sync_all()?;
        // A link never replaces what is there, and the file appears complete.
        fs::hard_link(&draft, path)
    };
    let written = write();
    let _nothing_more_to_do = fs::remove_file(&draft);
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(ChatFileError::Exists(path.to_owned())),
        other => other.map_err(failed("cannot write", path)),
    }
}

fn read(path: &Path) -> Result<Identity, ChatFileError> {
    let cannot = || failed("cannot read", path);
    let file = File::open(path).map_err(cannot())?;
    let metadata = file.metadata().map_err(cannot())?;
    if !metadata.is_file() {
        return Err(ChatFileError::NoIdentity(path.to_owned()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(ChatFileError::Open(path.to_owned()));
    }
    let mut text = String::new();
    file.take(LENGTH).read_to_string(&mut text).map_err(cannot())?;
    Identity::from_text(&text).ok_or_else(|| ChatFileError::NoIdentity(path.to_owned()))
}
