//! What outlives the process: resume records, tokens and the identity of the chat, below one folder of the user.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use swarm_engine::disk::resume::{self, ResumeStore, default_state_folder};
use swarm_engine::disk::{DiskError, Stamp, Storage};
use swarm_proto::metainfo::Metainfo;

/// The folder of resume records; none without a home. Nothing is made yet.
pub(crate) fn resume_folder() -> Option<PathBuf> {
    default_state_folder().map(|folder| folder.join("resume"))
}

/// The folder of tokens; none without a home. Nothing is made yet.
pub(crate) fn token_folder() -> Option<PathBuf> {
    default_state_folder().map(|folder| folder.join("tokens"))
}

/// The file of what was typed in the shell, in a folder that is there; none without a home.
pub(crate) fn history_file() -> Option<PathBuf> {
    let folder = default_state_folder()?;
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    Some(folder.join("shell-history"))
}

/// The folder of the chat: the secret key, and who is known; none without a home. Nothing is made yet.
pub(crate) fn chat_folder() -> Option<PathBuf> {
    default_state_folder().map(|folder| folder.join("chat"))
}

/// Records that all data at `path` has just been hashed, so that a seed starts at once. `stamps` are those of the files
/// when they were hashed; nothing is recorded if one is another now.
pub(crate) fn remember_hashed(path: &Path, metainfo: &Metainfo, stamps: &[Stamp]) -> Result<(), DiskError> {
    match resume_folder() {
        Some(folder) => resume::remember_hashed(&folder, path, metainfo, stamps),
        None => Ok(()),
    }
}

/// Records that all data of an open storage has just been verified.
pub(crate) fn remember_verified(storage: &Storage, metainfo: &Metainfo) -> Result<(), DiskError> {
    match resume_folder() {
        Some(folder) => ResumeStore::open(&folder, metainfo.info_hash(), storage)?.record_complete(storage),
        None => Ok(()),
    }
}
