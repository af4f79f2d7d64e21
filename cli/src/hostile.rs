//! What the fuzzers call (`tests/hostile-bytes`); nothing for other programs.

#[cfg(feature = "pictures")]
use crate::chat::pictures::{self, Bounds};
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

/// What becomes of a picture that somebody has handed over.
#[cfg(feature = "pictures")]
#[derive(Debug)]
pub struct Picture {
    /// Width and height, as they are told.
    pub size: (u32, u32),
    /// Pixels that are kept, in each direction.
    pub kept: (u32, u32),
    /// What a terminal with kitty's protocol, iTerm2's and Sixel would be sent; `None` where it is not painted.
    pub sent: [Option<Vec<u8>>; 3],
}

/// Pixels of a side that are kept at most.
#[cfg(feature = "pictures")]
pub const PICTURE_SIDE: u32 = pictures::SMALL;

/// Reads a picture of at most so many pixels with so many bytes of decoded ones, and paints it into so many cells of so many
/// pixels. `None` if it is refused.
#[cfg(feature = "pictures")]
pub fn picture(bytes: &[u8], pixels: u64, decoded: u64, room: (u16, u16), cell: (u16, u16)) -> Option<Picture> {
    let shown = pictures::shown(bytes, Bounds { pixels, decoded }, room, cell)?;
    Some(Picture { size: shown.size, kept: shown.kept, sent: shown.sent })
}
