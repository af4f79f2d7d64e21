//! How results look: text for people, JSON for programs, bars for those who wait.
//!
//! Standard output carries results only. Bars, logs, errors and the closing summary go to standard error. Whatever
//! comes from a metainfo, a peer or a tracker passes [`text::printable`] before it reaches a terminal.

pub(crate) mod bars;
pub(crate) mod json;
pub(crate) mod output;
pub(crate) mod story;
pub(crate) mod summary;
pub(crate) mod text;
