//! Ctrl-C, SIGTERM and SIGHUP: the first asks for a clean stop, the second ends the process at once. SIGHUP, the end of the
//! terminal, stays ignored where it was ignored at the start: that is what `nohup` asks for. To a tracker without a terminal
//! it says that its options shall be read again.

use crate::exit::{Exit, Failure, OrExit};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Knows whether the process has been asked to stop. Clones share that knowledge.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    requested: watch::Receiver<bool>,
    /// What SIGHUP means, once that is not the end.
    reload: watch::Sender<Option<u64>>,
}

impl Stop {
    /// Takes over SIGINT, SIGTERM and SIGHUP for the rest of the process. Needs a running runtime.
    pub(crate) fn install() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).or_exit_while(Exit::Other, "signal handler");
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let hang_up = if ignores_hang_up() { None } else { Some(listen(SignalKind::hangup())?) };
        let (sender, requested) = watch::channel(false);
        let reload = watch::Sender::new(None);
        tokio::spawn(watch_signals(interrupt, terminate, hang_up, sender, reload.clone()));
        Ok(Self { requested, reload })
    }

    /// From now on SIGHUP is no request to stop: it changes the number that comes out here, also where it was ignored.
    pub(crate) fn take_hang_ups(&self) -> Result<watch::Receiver<Option<u64>>, Failure> {
        let mut hang_up = signal(SignalKind::hangup()).or_exit_while(Exit::Other, "signal handler")?;
        let reload = self.reload.clone();
        reload.send_replace(Some(0));
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                reload.send_modify(|count| *count = count.map(|count| count.wrapping_add(1)));
            }
        });
        Ok(self.reload.subscribe())
    }

    /// Returns when the process is asked to stop, at once if it was already.
    pub(crate) async fn requested(&mut self) {
        if self.requested.wait_for(|&requested| requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The same request, which whoever holds the other end may make too.
    pub(crate) fn child(&self) -> (Self, Quit) {
        let (sender, requested) = watch::channel(false);
        let (quit, mut parent) = (Quit(Arc::new(sender)), self.clone());
        let passed_on = quit.clone();
        tokio::spawn(async move {
            parent.requested().await;
            passed_on.quit();
        });
        (Self { requested, reload: self.reload.clone() }, quit)
    }

    /// Runs work that cannot be told to stop; a signal abandons it.
    pub(crate) async fn abandon<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let work = tokio::task::spawn_blocking(work);
        tokio::select! {
            done = work => done.or_exit(Exit::Other),
            () = self.requested() => Err(interrupted()),
        }
    }
}

/// Asks for a stop in place of a signal.
#[derive(Clone, Debug)]
pub(crate) struct Quit(Arc<watch::Sender<bool>>);

impl Quit {
    /// Asks for it.
    pub(crate) fn quit(&self) {
        self.0.send_replace(true);
    }
}

/// The failure of a command that a signal ended before its work was done.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted")
}

/// Turns the first signal into a request and the second into the end.
async fn watch_signals(
    mut interrupt: Signal,
    mut terminate: Signal,
    mut hang_up: Option<Signal>,
    sender: watch::Sender<bool>,
    reload: watch::Sender<Option<u64>>,
) {
    loop {
        let hung_up = async {
            match &mut hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            // Who has taken these hears them by itself.
            _ = hung_up => if reload.borrow().is_some() { continue },
        }
        if sender.send_replace(true) {
            crate::chat::screen::restore();
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    }
}

/// Whether the parent asked us to outlive the terminal. Where the system does not say, it did not.
fn ignores_hang_up() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| is_ignored(&status, SignalKind::hangup()))
}

/// Whether a `/proc/PID/status` says that this signal is ignored: bit `n - 1` of `SigIgn` stands for signal `n`.
fn is_ignored(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (kind.as_raw_value() - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = |mask: &str| format!("SigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\tffff\n");
        assert!(is_ignored(&status("0000000000001001"), SignalKind::hangup()));
        assert!(!is_ignored(&status("0000000000001000"), SignalKind::hangup()));
        assert!(is_ignored(&status("0000000000004000"), SignalKind::terminate()));
        assert!(!is_ignored("", SignalKind::hangup()) && !is_ignored(&status("x"), SignalKind::hangup()));
    }
}
