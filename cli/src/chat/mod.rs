//! What people see of a room, and what they type: a terminal, plain lines, or JSON.
//!
//! [`app`] is the heart: a state machine that knows no terminal. [`drive`] brings together a room of the engine, the app
//! and one of the three faces: [`screen`] with [`draw`], [`plain`], [`json`].

pub(crate) mod action;
pub(crate) mod app;
pub(crate) mod command;
pub(crate) mod complete;
pub(crate) mod draw;
pub(crate) mod drive;
mod events;
pub(crate) mod input;
pub(crate) mod json;
pub(crate) mod pane;
#[cfg(test)]
mod panics;
pub(crate) mod people;
pub(crate) mod pictures;
pub(crate) mod plain;
pub(crate) mod reading;
pub(crate) mod requests;
pub(crate) mod screen;
pub(crate) mod sending;
#[cfg(test)]
mod tests;
pub(crate) mod text;
pub(crate) mod work;
