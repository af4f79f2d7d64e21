//! The threads that read the sockets.

use crate::batch::Batch;
use crate::counters::{UdpCounters, UdpStats};
use crate::responder::{Moment, Responder, Scratch};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pause after the system could not give us what waits.
const PAUSE: Duration = Duration::from_millis(100);

/// The running threads; they end with it.
#[derive(Debug)]
pub(crate) struct Workers {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

/// By what threads are told to end, whether they wait or work.
#[derive(Debug)]
struct Stop {
    said: AtomicBool,
    wake: OwnedFd,
}

impl Workers {
    /// Starts a thread for each socket.
    pub(crate) fn start(sockets: Vec<UdpSocket>, responder: &Responder, counters: &UdpCounters) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stop = Arc::new(Stop { said: AtomicBool::new(false), wake });
        let mut workers = Self { stop, threads: Vec::with_capacity(sockets.len()) };
        for (number, socket) in sockets.into_iter().enumerate() {
            let (responder, counters, stop) = (responder.clone(), counters.clone(), Arc::clone(&workers.stop));
            let socket = Arc::new(socket);
            let work = move || work(&socket, &responder, &counters, &stop);
            let thread = std::thread::Builder::new().name(format!("udp tracker {number}")).spawn(work)?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.said.store(true, Relaxed);
        // Nobody reads it, so it stays there for all of them.
        let woken = rustix::io::write(&self.stop.wake, &1_u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            if woken.is_ok() && thread.join().is_err() {
                tracing::error!("a thread of the UDP tracker has panicked");
            }
        }
    }
}

fn work(socket: &Arc<UdpSocket>, responder: &Responder, counters: &UdpCounters, stop: &Stop) {
    let (mut batch, mut scratch) = (Batch::new(), Scratch::new(Arc::clone(socket)));
    while !stop.said.load(Relaxed) {
        match batch.receive(socket) {
            Ok(()) => {
                // A panic costs what was received with it, and not all that comes.
                if catch_unwind(AssertUnwindSafe(|| answer(socket, (&mut batch, &mut scratch), responder, counters)))
                    .is_err()
                {
                    tracing::error!("answering datagrams failed by a fault of this program; it goes on");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(socket, stop),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot receive datagrams");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Waits until something comes or all is over.
fn wait(socket: &UdpSocket, stop: &Stop) {
    // Those who are to bring something may run first: where all cores are busy, more comes at once.
    std::thread::yield_now();
    let mut both = [PollFd::new(socket, PollFlags::IN), PollFd::new(&stop.wake, PollFlags::IN)];
    if let Err(error) = poll(&mut both, None)
        && error != rustix::io::Errno::INTR
    {
        tracing::warn!(%error, "cannot wait for datagrams");
        std::thread::sleep(PAUSE);
    }
}

fn answer(
    socket: &UdpSocket,
    (batch, scratch): (&mut Batch, &mut Scratch),
    responder: &Responder,
    counters: &UdpCounters,
) {
    let (moment, mut stats) = (Moment::now(), UdpStats::default());
    batch.respond(|from, datagram, out| stats.count(responder.respond(moment, from, datagram, scratch, out)));
    stats.unsent = batch.send(socket);
    counters.add(&stats);
}
