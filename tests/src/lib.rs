//! The helpers that the black-box tests share.

pub mod announcing;
pub mod kit;
pub mod people;
pub mod rogue;
