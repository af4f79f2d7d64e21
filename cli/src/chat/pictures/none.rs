//! In place of the decoders in a program that was built without them.

use super::{Art, Facts, Job, Wrong};
use std::path::Path;

/// A picture made small; there is none.
#[derive(Debug)]
pub(super) enum Thumbnail {}

pub(super) fn facts(_path: &Path) -> Result<Facts, Wrong> {
    Err(Wrong::NotBuilt)
}

pub(super) fn thumbnail(_path: &Path) -> Result<Thumbnail, Wrong> {
    Err(Wrong::NotBuilt)
}

pub(super) fn paint(thumbnail: &Thumbnail, _job: &Job) -> Result<Art, Wrong> {
    match *thumbnail {}
}
