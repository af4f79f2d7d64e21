//! Where tests make the operating system fail; nothing outside of tests.
//!
//! Every operation that changes a disk passes [`point`] first. A test can let the N-th of its own thread fail once, or all
//! from the N-th on, as if the process had been killed there.

#[cfg(not(test))]
pub(super) fn point() -> Result<(), rustix::io::Errno> {
    Ok(())
}

#[cfg(test)]
pub(super) use injected::point;

#[cfg(test)]
pub(super) mod injected {
    use rustix::io::Errno;
    use std::cell::Cell;

    /// What is to fail.
    #[derive(Clone, Copy)]
    pub(in crate::disk) enum Fault {
        /// The N-th operation, once.
        Once(u32, Errno),
        /// All from the N-th on.
        From(u32),
    }

    thread_local! {
        static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
        static PASSED: Cell<u32> = const { Cell::new(0) };
        static FAILED: Cell<u32> = const { Cell::new(0) };
    }

    /// Arms the fault for this thread, runs the body, and returns what it did and how often the fault was met.
    pub(in crate::disk) fn with<T>(fault: Fault, body: impl FnOnce() -> T) -> (T, u32) {
        FAULT.set(Some(fault));
        PASSED.set(0);
        FAILED.set(0);
        let result = body();
        FAULT.set(None);
        (result, FAILED.get())
    }

    pub(in crate::disk) fn point() -> Result<(), Errno> {
        let Some(fault) = FAULT.get() else { return Ok(()) };
        let passed = PASSED.get() + 1;
        PASSED.set(passed);
        let code = match fault {
            Fault::Once(number, code) if passed == number => code,
            Fault::From(number) if passed >= number => Errno::IO,
            _ => return Ok(()),
        };
        FAILED.set(FAILED.get() + 1);
        Err(code)
    }
}
