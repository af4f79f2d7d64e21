//! Ctrl-C and SIGTERM: the first asks for a clean stop, the second ends the process at once.

use crate::exit::{Exit, Failure, OrExit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Knows whether the process has been asked to stop. Clones share that knowledge.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    requested: watch::Receiver<bool>,
}

impl Stop {
    /// Takes over SIGINT, SIGTERM and SIGHUP for the rest of the process. Needs a running runtime.
    pub(crate) fn install() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).or_exit_while(Exit::Other, "signal handler");
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let hang_up = listen(SignalKind::hangup())?;
        let (sender, requested) = watch::channel(false);
        tokio::spawn(watch_signals(interrupt, terminate, hang_up, sender));
        Ok(Self { requested })
    }

    /// Returns when the process is asked to stop, at once if it was already.
    pub(crate) async fn requested(&mut self) {
        if self.requested.wait_for(|&requested| requested).await.is_err() {
            std::future::pending::<()>().await;
        }
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

/// The failure of a command that a signal ended before its work was done.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted")
}

/// Turns the first signal into a request and the second into the end.
async fn watch_signals(mut interrupt: Signal, mut terminate: Signal, mut hang_up: Signal, sender: watch::Sender<bool>) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        if sender.send_replace(true) {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    }
}
