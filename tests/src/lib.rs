//! The helpers that the black-box tests share.

pub mod kit;
pub mod rogue;
