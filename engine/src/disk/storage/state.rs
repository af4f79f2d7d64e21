//! What is known of one file: the name it carries, and what it was when it was last known to be right.

use super::target::Name;
use crate::disk::folder::Stamp;
use std::time::{Duration, Instant};

/// How long a look at a file is good for. A change must be noticed within a second; looking costs three system calls.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// One entry a file; kept small, for there may be a million.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// The name on disk; nothing while it is not there.
    pub(super) name: Option<Name>,
    /// What it was when last looked at or written by us.
    pub(super) stamp: Stamp,
    /// When it was last compared with its stamp.
    pub(super) checked: Option<Instant>,
    /// Writes of ours under way.
    pub(super) writers: u32,
    /// No piece of the file before this number is missing, as far as known.
    pub(super) first_missing: u32,
    /// Who made it.
    pub(super) owner: Owner,
    /// What the last look found.
    pub(super) health: Health,
    /// What it was when it was opened to be checked again.
    pub(super) examined: Option<Stamp>,
}

/// Whether a file is still what was verified. What is not stays so until it is accepted as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Health {
    /// As far as known.
    #[default]
    Good,
    /// Another program has written to it or put another in its place.
    Changed,
    /// Nothing is there under its name.
    Gone,
}

/// Who made a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Owner {
    /// Not known: never to be written to.
    #[default]
    Unknown,
    /// We did, or were told to overwrite it.
    Us,
}

impl FileState {
    /// The file as it was just found on disk.
    pub(super) fn found(name: Name, stamp: Stamp) -> Self {
        Self { name: Some(name), stamp, ..Self::default() }
    }

    /// Whether `now` is the file that we know. While we write, its time of change moves by our own doing.
    pub(super) fn is_same(&self, now: &Stamp) -> bool {
        let same_file = now.inode == self.stamp.inode && now.length == self.stamp.length;
        same_file && (self.writers > 0 || now.modified_ns == self.stamp.modified_ns)
    }

    /// Whether it is time to look at the file again.
    pub(super) fn is_check_due(&self, now: Instant) -> bool {
        self.checked.is_none_or(|checked| now.saturating_duration_since(checked) >= CHECK_INTERVAL)
    }
}
