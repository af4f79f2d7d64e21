//! The simulated world: many [`Swarm`](swarm_proto::swarm::Swarm)s and trackers on one virtual clock.
//!
//! Everything follows from the seed of the [`World`]: the same seed gives the same run to the byte, on every machine.

pub mod chat;
mod churn;
mod conduct;
mod connections;
mod disk;
mod fluid;
mod host;
mod interference;
mod link;
mod measures;
mod observation;
mod outputs;
mod queue;
pub mod random;
pub mod report;
pub mod scenarios;
mod shell;
pub mod sweep;
pub mod trace;
mod tracker;
mod transfer;
mod watching;
mod world;

pub use churn::{Arrivals, exponential};
pub use conduct::{Conduct, Departure, Leave};
pub use disk::Disk;
pub use fluid::{FluidHost, fluid_limit, fluid_limit_of};
pub use host::HostConfig;
pub use interference::{Action, Interference, Passed, Target};
pub use link::{Group, Link, UNLIMITED};
pub use measures::{ClassMeasures, Measures};
pub use observation::{HostObservation, Observation, Record, RecordKind};
pub use world::{HostIndex, Recorder, World};
