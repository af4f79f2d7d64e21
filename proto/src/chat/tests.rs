//! Rooms on a virtual clock: who hears what, in which order, from whom; and what liars achieve.

mod bench;
mod bounds;
mod calls;
mod cost;
mod document;
mod hostile;
mod names;
mod people;
mod relay;
mod returning;
mod signs;
mod soak;
mod storms;
mod talk;
mod transfers;
