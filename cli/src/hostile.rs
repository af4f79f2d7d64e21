//! What the fuzzers call (`tests/hostile-bytes`); nothing for other programs.

use crate::commands::tracker;
use crate::render::{output, text};
use std::ffi::OsString;
use std::path::Path;
use swarm_tracker_core::StoreConfig;

/// The options of a tracker that has some of them from a file.
#[derive(Debug)]
pub struct TrackerOptions {
    /// Every option that can stand in a file, or those that belong together, and what was said of it, as text to compare.
    pub all: Vec<(&'static str, String)>,
    /// What they mean to the store.
    pub store: StoreConfig,
}

/// The options of `swarm tracker` where this was typed and `text` stands in the file at `path`.
///
/// # Errors
/// What is told on the terminal if one of the two has a fault.
pub fn tracker_options(typed: &[&str], path: &str, text: &str) -> Result<TrackerOptions, String> {
    let typed: Vec<OsString> = typed.iter().map(OsString::from).collect();
    match tracker::options(&typed, Path::new(path), text) {
        Ok((all, store)) => Ok(TrackerOptions { all, store }),
        Err(failure) => Err(text::printable_lines(&output::causes(&failure.error))),
    }
}
