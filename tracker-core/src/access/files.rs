//! The text files behind the lists: one entry a line, `#` begins a comment, empty lines do not count.

use super::{KeyLimits, LONGEST_KEY, MOST_HASHES, MOST_KEYS};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use swarm_proto::id::InfoHash;

/// Bytes of a file: a million entries with a comment of 80 characters each.
const LONGEST_FILE: u64 = 128 << 20;

/// Why a list was not read.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file system said no.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// A line makes no sense.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

pub(super) fn read_hashes(path: &Path) -> Result<HashSet<InfoHash>, AccessError> {
    let mut hashes = HashSet::new();
    read_lines(path, |entry| {
        let hash = InfoHash::from_hex(entry).ok_or("an info hash is 40 hexadecimal digits")?;
        hashes.insert(hash);
        if hashes.len() > MOST_HASHES { Err("more info hashes than a list may have") } else { Ok(()) }
    })?;
    Ok(hashes)
}

pub(super) fn read_keys(path: &Path) -> Result<HashMap<Box<[u8]>, KeyLimits>, AccessError> {
    let mut keys = HashMap::new();
    read_lines(path, |entry| {
        let mut words = entry.split_ascii_whitespace();
        let key = words.next().unwrap_or_default();
        if key.len() > LONGEST_KEY || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)) {
            return Err("a key is up to 64 letters, digits and -_.~");
        }
        let mut limits = KeyLimits::default();
        for word in words {
            let (name, number) = word.split_once('=').ok_or("behind a key there are only NAME=NUMBER")?;
            let number = Some(number.parse().map_err(|_| "a limit is a number")?);
            match name {
                "max-torrents" => limits.max_torrents = number,
                "max-peers" => limits.max_peers = number,
                _ => return Err("the limits of a key are max-torrents and max-peers"),
            }
        }
        if keys.insert(key.as_bytes().into(), limits).is_some() {
            return Err("the key is there twice");
        }
        if keys.len() > MOST_KEYS { Err("more keys than a tracker may have") } else { Ok(()) }
    })?;
    Ok(keys)
}

fn read_lines(path: &Path, mut take: impl FnMut(&str) -> Result<(), &'static str>) -> Result<(), AccessError> {
    let failed = |source| AccessError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_string(&mut text)).map_err(failed)?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than the limits allow")));
    }
    for (number, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if !entry.is_empty() {
            let problem = |problem| AccessError::Line { path: path.to_owned(), line: number + 1, problem };
            take(entry).map_err(problem)?;
        }
    }
    Ok(())
}
