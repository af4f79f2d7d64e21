//! Files: where a torrent's bytes are, whether they are right, and what is known about them after a restart.
//!
//! Everything here blocks and knows no runtime: the shell calls it from threads that may block. Nothing here leaves the
//! folder that it was given, follows a symbolic link below it, or replaces a file that is not the torrent's own.

pub mod create;
mod error;
pub(crate) mod fault;
mod file_pool;
mod folder;
mod hash;
mod positioned;
#[cfg(test)]
mod power_cut;
pub mod resume;
#[cfg(test)]
pub(crate) mod sample;
mod storage;
mod verify;

pub use error::{DiskError, Operation};
pub(crate) use file_pool::descriptor_limit;
pub use file_pool::{FileKey, FilePool, Use, raise_descriptor_limit};
pub use folder::{Access, Folder, Stamp};
pub(crate) use hash::hash_pieces_in_memory;
pub use hash::{HashJob, block_digests, hash_piece};
pub use storage::{Allocation, FileOnDisk, FileSpan, ForeignFiles, Mode, Round, Storage, StorageOptions};
pub use verify::{VerifyReport, verify, verify_pieces};
