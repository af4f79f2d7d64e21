//! The simulated world: many [`Swarm`](swarm_proto::swarm::Swarm)s and trackers on one virtual clock.
//!
//! Everything follows from the seed of the [`World`]: the same seed gives the same run to the byte, on every machine.

mod conduct;
mod connections;
mod disk;
mod host;
mod interference;
mod link;
mod observation;
mod outputs;
mod queue;
mod tracker;
mod transfer;
mod watching;
mod world;

pub use conduct::{Conduct, Departure, Leave};
pub use disk::Disk;
pub use host::HostConfig;
pub use interference::{Action, Interference, Passed, Target};
pub use link::{Group, Link, UNLIMITED};
pub use observation::{HostObservation, Observation, Record, RecordKind};
pub use world::{HostIndex, Recorder, World};
