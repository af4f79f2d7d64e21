//! Where tests make the operating system, or this program, fail, and write down what was done; nothing outside of tests.
//!
//! Every operation that changes a disk passes [`point`] first, and says with [`note`] that it worked. A test can let the
//! N-th operation fail once, or all from the N-th on, as if the process had been killed there; let the N-th write be a
//! short one; or let the N-th visit to a place panic. A fault belongs to a thread, and to those that adopt it.

use rustix::io::Errno;
use std::fs::File;
use std::io::IoSlice;
use std::path::Path;

/// What was done to a disk.
#[cfg_attr(not(test), allow(dead_code, reason = "only tests read it"))]
pub(super) enum Deed<'a> {
    /// A file was made, or is there.
    Made(&'a File, &'a Path),
    /// Bytes were written, at the end without an offset.
    Written(&'a File, &'a [IoSlice<'a>], Option<u64>),
    /// The length was set.
    Length(&'a File, u64),
    /// A file was synced.
    Synced(&'a File),
    /// A folder was synced: the names in it are on the medium.
    SyncedFolder(&'a Path),
    /// The whole file system was synced.
    SyncedAll,
    /// A file got another name, from the first to the second.
    Renamed(&'a Path, &'a Path),
}

/// Where this program may be made to fail by a fault of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests read it"))]
pub(crate) enum Place {
    /// In front of an operation of a disk.
    Disk,
    /// Behind the look at what is on disk at the start.
    Check,
    /// In the task of a connection, in front of a block.
    Connection,
    /// In the task of a torrent.
    Torrent,
    /// In a task that dials a peer.
    Dial,
    /// In a task that asks a tracker.
    Announce,
    /// In the task that takes connections.
    Listener,
}

#[cfg(not(test))]
mod none {
    use super::*;

    pub(in crate::disk) fn point() -> Result<(), Errno> {
        Ok(())
    }

    pub(in crate::disk) fn note(_: &Deed<'_>) {}

    pub(in crate::disk) fn shortened<'s>(_: &'s [IoSlice<'_>]) -> Option<&'s [u8]> {
        None
    }

    pub(crate) fn visit(_: Place) {}
}

#[cfg(not(test))]
pub(crate) use none::visit;
#[cfg(not(test))]
pub(super) use none::{note, point, shortened};

#[cfg(test)]
pub(crate) use injected::visit;
#[cfg(test)]
pub(super) use injected::{note, point, shortened};

#[cfg(test)]
pub(crate) mod injected {
    use super::super::power_cut::Log;
    use super::*;
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    /// What is to fail.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Fault {
        /// Nothing: what is done is written down.
        Nothing,
        /// The N-th operation, once.
        Once(u32, Errno),
        /// All from the N-th on.
        From(u32),
        /// The N-th write takes only a part.
        Short(u32),
        /// The N-th visit to a place.
        Panic(Place, u32),
    }

    /// A fault, and what became of it.
    pub(crate) struct Plan {
        fault: Fault,
        passed: AtomicU32,
        met: AtomicU32,
        pub(crate) log: Mutex<Log>,
    }

    thread_local! {
        static PLAN: RefCell<Option<Arc<Plan>>> = const { RefCell::new(None) };
    }

    impl Plan {
        pub(crate) fn new(fault: Fault) -> Arc<Self> {
            Arc::new(Self { fault, passed: AtomicU32::new(0), met: AtomicU32::new(0), log: Mutex::default() })
        }

        /// How often the fault was met.
        pub(crate) fn met(&self) -> u32 {
            self.met.load(Ordering::Relaxed)
        }

        /// Makes it the plan of this thread too.
        pub(crate) fn adopt(self: &Arc<Self>) {
            PLAN.set(Some(Arc::clone(self)));
        }

        fn is_now(&self, number: u32) -> bool {
            self.passed.fetch_add(1, Ordering::Relaxed) + 1 == number && self.meet()
        }

        fn meet(&self) -> bool {
            self.met.fetch_add(1, Ordering::Relaxed);
            true
        }
    }

    fn plan() -> Option<Arc<Plan>> {
        PLAN.with_borrow(Clone::clone)
    }

    /// Arms the fault for this thread, runs the body, and returns what it did and how often the fault was met.
    pub(in crate::disk) fn with<T>(fault: Fault, body: impl FnOnce() -> T) -> (T, u32) {
        let plan = Plan::new(fault);
        plan.adopt();
        let result = body();
        PLAN.set(None);
        (result, plan.met())
    }

    pub(in crate::disk) fn point() -> Result<(), Errno> {
        visit(Place::Disk);
        let Some(plan) = plan() else { return Ok(()) };
        match plan.fault {
            Fault::Once(number, code) if plan.is_now(number) => Err(code),
            Fault::From(number) if plan.passed.fetch_add(1, Ordering::Relaxed) + 1 >= number && plan.meet() => {
                Err(Errno::IO)
            }
            _ => Ok(()),
        }
    }

    pub(in crate::disk) fn shortened<'s>(slices: &'s [IoSlice<'_>]) -> Option<&'s [u8]> {
        let plan = plan()?;
        let first = slices.first()?;
        match plan.fault {
            Fault::Short(number) if plan.is_now(number) => Some(&first[..first.len().div_ceil(2)]),
            _ => None,
        }
    }

    pub(crate) fn visit(place: Place) {
        let Some(plan) = plan() else { return };
        if let Fault::Panic(wanted, number) = plan.fault
            && wanted == place
            && plan.is_now(number)
        {
            panic!("injected at {place:?} {number}");
        }
    }

    pub(in crate::disk) fn note(deed: &Deed<'_>) {
        if let Some(plan) = plan()
            && matches!(plan.fault, Fault::Nothing)
        {
            plan.log.lock().unwrap().note(deed);
        }
    }
}
