//! The tokens that prove who published a name: one small file each, readable by their owner only.
//!
//! They stand in `$XDG_STATE_HOME/swarm/tokens`, or `~/.local/state/swarm/tokens`. A file's name is the SHA-1 of the
//! tracker and the published name, since the latter may hold anything.

use crate::exit::{Exit, Failure, OrExit};
use crate::state;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use swarm_proto::native::Token;

/// Bytes of a token file at most.
const FILE_BYTES: u64 = 64 * 1024;

/// Tokens of this user.
#[derive(Debug)]
pub(crate) struct Tokens {
    folder: PathBuf,
}

/// One token on disk. The names are for people who look into the file.
#[derive(Serialize, Deserialize)]
struct Record {
    tracker: String,
    name: String,
    token: String,
}

impl Tokens {
    /// Those of this user. Nothing is made yet.
    pub(crate) fn of_user() -> Result<Self, Failure> {
        let folder = state::token_folder();
        let folder =
            folder.ok_or_else(|| Failure::new(Exit::Disk, "no place for tokens: set HOME or XDG_STATE_HOME"))?;
        Ok(Self { folder })
    }

    /// Remembers a token in place of an older one, completely or not at all.
    pub(crate) fn remember(&self, tracker: &str, name: &str, token: Token) -> Result<(), Failure> {
        let path = self.path(tracker, name);
        let record = Record { tracker: tracker.to_owned(), name: name.to_owned(), token: token.to_hex() };
        let text = serde_json::to_string(&record).or_exit(Exit::Other)?;
        self.write(&path, text.as_bytes()).or_exit_while(Exit::Disk, path.display())
    }

    /// The token of a name that was published from here.
    pub(crate) fn recall(&self, tracker: &str, name: &str) -> Result<Option<Token>, Failure> {
        let path = self.path(tracker, name);
        let failed = |reason: &str| Failure::new(Exit::Disk, format!("{}: {reason}", path.display()));
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > FILE_BYTES => return Err(failed("too large for a token")),
            _ => {}
        }
        let text = fs::read(&path).or_exit_while(Exit::Disk, path.display())?;
        let record: Record = serde_json::from_slice(&text).map_err(|_| failed("damaged; delete it"))?;
        Token::from_hex(&record.token).map(Some).ok_or_else(|| failed("damaged; delete it"))
    }

    /// Forgets a token; one that is not there is forgotten already.
    pub(crate) fn forget(&self, tracker: &str, name: &str) -> Result<(), Failure> {
        let path = self.path(tracker, name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).or_exit_while(Exit::Disk, path.display()),
            _ => Ok(()),
        }
    }

    fn path(&self, tracker: &str, name: &str) -> PathBuf {
        let digest = Sha1::new().chain_update(tracker).chain_update([0]).chain_update(name).finalize();
        self.folder.join(hex(&digest))
    }

    fn write(&self, path: &Path, text: &[u8]) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let draft = path.with_extension(std::process::id().to_string());
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    }
}

/// Two lower-case digits a byte.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn tokens_are_kept_apart_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens { folder: folder.path().join("a/b") };
        assert_eq!(tokens.recall("t:1", "n").unwrap(), None);
        let [first, second, third] = [1, 2, 3].map(|byte| Token::new([byte; 16]));
        tokens.remember("t:1", "n", first).unwrap();
        tokens.remember("t:1", "../n", second).unwrap();
        tokens.remember("t:1", "n", third).unwrap();
        assert_eq!(tokens.recall("t:1", "n").unwrap(), Some(third));
        assert_eq!(tokens.recall("t:1", "../n").unwrap(), Some(second));
        assert_eq!(tokens.recall("t:2", "n").unwrap(), None);
        let mode = fs::metadata(tokens.path("t:1", "n")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        tokens.forget("t:1", "n").unwrap();
        tokens.forget("t:1", "n").unwrap();
        assert_eq!(tokens.recall("t:1", "n").unwrap(), None);
    }

    #[test]
    fn a_damaged_token_is_said_to_be_so() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens { folder: folder.path().to_owned() };
        fs::write(tokens.path("t", "n"), "{\"tracker\":\"t\",\"name\":\"n\",\"token\":\"0x\"}").unwrap();
        assert!(tokens.recall("t", "n").is_err());
    }
}
