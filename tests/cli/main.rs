//! The binary `swarm` from outside: exit codes, output, files, signals.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that panics has failed")]

mod chat;
mod inherited;
mod metainfo;
mod names;
#[cfg(feature = "pictures")]
mod pictures;
mod sending;
mod shell;
mod support;
mod terminal;
mod tracker;
mod transfer;
mod usage;
mod wiretap;
