//! The simulated world and the helpers that the black-box tests share.

pub mod kit;
pub mod rogue;
pub mod world;
