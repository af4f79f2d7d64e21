//! Who is known: names, the keys to which they belong, whom the user trusts and whom not. One text file for all rooms.
//!
//! Each change is applied to what the file holds at that moment, and the file is replaced in one step, so several rooms
//! and programs may use it.

use super::identity::{ChatFileError, failed};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use swarm_proto::chat::{BookEntry, Pinned, PublicKey};
use swarm_proto::limits;

/// The first line: what the file is, and its version.
const HEAD: &str = "swarm people 1";
/// Bytes of the longest file that is read: twice of what we write.
const LENGTH: u64 = 2 * 1024 * 1024;

/// The known people.
#[derive(Clone, Debug)]
pub struct ChatBook {
    path: PathBuf,
    entries: BTreeMap<PublicKey, BookEntry>,
}

/// Something to be changed in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Remember(BookEntry),
    Forget(PublicKey),
}

impl ChatBook {
    /// Reads the file; if there is none, nobody is known yet.
    ///
    /// # Errors
    /// When it cannot be read, or is something else. Single lines that are damaged are left out.
    pub fn open(path: &Path) -> Result<Self, ChatFileError> {
        let mut text = String::new();
        match File::open(path) {
            Ok(file) => {
                file.take(LENGTH).read_to_string(&mut text).map_err(failed("cannot read", path))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("cannot read", path)(error)),
        }
        let mut lines = text.lines();
        if !text.is_empty() && lines.next() != Some(HEAD) {
            return Err(ChatFileError::NoBook(path.to_owned()));
        }
        let entries = lines.filter_map(parse_line).take(limits::CHAT_PINS).map(|entry| (entry.key, entry)).collect();
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Everybody, by key.
    pub fn entries(&self) -> Vec<BookEntry> {
        self.entries.values().cloned().collect()
    }

    /// What is known of a key.
    pub fn entry(&self, key: &PublicKey) -> Option<&BookEntry> {
        self.entries.get(key)
    }

    /// The user has compared the key. A key that nobody knew yet gets its fingerprint for a name.
    pub fn trust(&mut self, key: PublicKey) {
        self.judge(key, Pinned::Trusted);
    }

    /// The user wants to hear nothing of the key.
    pub fn block(&mut self, key: PublicKey) {
        self.judge(key, Pinned::Blocked);
    }

    /// The key is neither trusted nor blocked any more.
    pub fn unblock(&mut self, key: PublicKey) {
        self.judge(key, Pinned::FirstSeen);
    }

    /// The key is not known any more, and its name is free.
    pub fn forget(&mut self, key: &PublicKey) -> bool {
        self.entries.remove(key).is_some()
    }

    fn judge(&mut self, key: PublicKey, trust: Pinned) {
        let new = || BookEntry { key, name: key.fingerprint(), trust };
        self.entries.entry(key).or_insert_with(new).trust = trust;
    }

    /// Writes the file, in one step.
    ///
    /// # Errors
    /// When it cannot be written; it is as it was then.
    pub fn save(&self) -> Result<(), ChatFileError> {
        let mut text = format!("{HEAD}\n");
        for entry in self.entries.values() {
            let trust = match entry.trust {
                Pinned::FirstSeen => "first-seen",
                Pinned::Trusted => "trusted",
                Pinned::Blocked => "blocked",
            };
            text.push_str(&format!("{} {trust} {}\n", entry.key, entry.name));
        }
        replace(&self.path, text.as_bytes()).map_err(failed("cannot write", &self.path))
    }

    /// Applies changes to what the file holds now.
    pub(crate) fn apply(path: &Path, changes: Vec<Change>) -> Result<(), ChatFileError> {
        let mut book = Self::open(path)?;
        for change in changes {
            match change {
                Change::Remember(entry) => drop(book.entries.insert(entry.key, entry)),
                Change::Forget(key) => drop(book.entries.remove(&key)),
            }
        }
        book.save()
    }
}

fn parse_line(line: &str) -> Option<BookEntry> {
    let (key, rest) = line.split_once(' ')?;
    let (trust, name) = rest.split_once(' ')?;
    let trust = match trust {
        "first-seen" => Pinned::FirstSeen,
        "trusted" => Pinned::Trusted,
        "blocked" => Pinned::Blocked,
        _ => return None,
    };
    let deceptive = name.chars().any(swarm_proto::path::is_deceptive);
    if name.is_empty() || name.len() > 2 * limits::CHAT_NAME_LENGTH || deceptive {
        return None;
    }
    Some(BookEntry { key: PublicKey::from_hex(key)?, name: name.to_owned(), trust })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("{:08x}.new", rand::random::<u32>()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().inspect_err(|_| {
        let _nothing_more_to_do = fs::remove_file(&draft);
    })
}
