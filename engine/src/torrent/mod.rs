//! The one task that owns a torrent's swarm.
//!
//! Owns the [`Swarm`], the blocks in memory and the way to the disk; everything else talks to it through queues. Decides
//! nothing about the protocol: it carries inputs to the swarm, and does what comes out. Belongs to one task, so that it
//! needs no lock. Never waits for one thing alone, so that no peer, tracker or disk holds up the others.

mod assembly;
mod chat;
mod connections;
mod disk;
#[cfg(test)]
mod faults;
mod files;
mod inputs;
mod log;
mod outputs;
mod pairing;
mod patrol;
mod records;
mod start;

pub(crate) use start::{Opened, open};

use crate::chat::ChatPort;
use crate::connection::{Batch, Shared};
use crate::disk::{DiskError, fault};
use crate::listener::{Arrival, OpenDoor};
use crate::report::{Reporter, State, TorrentEvent};
use crate::session::{Context, Purpose};
use assembly::Assembly;
use connections::Connections;
use disk::FileSource;
use files::FileProgress;
use inputs::{Awaited, Done};
use pairing::Pairing;
use patrol::Patrol;
use records::Records;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use swarm_proto::announce::PeerAddress;
use swarm_proto::metainfo::Metainfo;
use swarm_proto::swarm::{Command, PeerSnapshot, PeerSource, Swarm};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

/// Batches of all connections together that may wait for this task.
const BATCHES: usize = 8;
/// Batches taken before what the swarm says to them is carried out.
const BATCHES_PER_ROUND: usize = 8;
/// How often the status is brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);
/// How often to ask whether the resume record should be brought up to date.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// How long a torrent waits for its trackers at its end.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Lists of peers pushed by trackers that may wait.
const PUSHED: usize = 16;

/// What a user's handle asks for.
pub(crate) enum Request {
    /// Something for the swarm.
    Command(Command),
    /// Every connection now.
    Peers(oneshot::Sender<Vec<PeerSnapshot>>),
    /// To bring the status up to date.
    Report(oneshot::Sender<()>),
    /// Host names and ports of peers.
    AddHosts(Vec<String>),
}

/// What reaches a torrent from outside.
pub(crate) struct Inlets {
    /// From handles.
    pub(crate) requests: mpsc::Receiver<Request>,
    /// From the listener.
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    /// Changes, or closes, when the session ends.
    pub(crate) shutdown: watch::Receiver<bool>,
    /// To and from the room, if there is one.
    pub(crate) chat: Option<ChatPort>,
}

/// A torrent whose swarm is running.
pub(crate) struct Driver {
    context: Arc<Context>,
    metainfo: Metainfo,
    purpose: Purpose,
    swarm: Swarm,
    shared: Arc<Shared<FileSource>>,
    connections: Connections,
    assembly: Assembly,
    pairing: Pairing,
    files: FileProgress,
    records: Records,
    patrol: Patrol,
    tasks: JoinSet<Done>,
    /// What the swarm waits for from which task, so that one that panics comes to an end like any other.
    awaited: HashMap<Id, Awaited>,
    pushed: mpsc::Sender<Vec<PeerAddress>>,
    paused: bool,
    blocked: bool,
    finishing: Finishing,
    /// When a stop gives up on the trackers.
    stop_at: Option<Instant>,
    /// Why the torrent ends, if that is an error.
    failure: Option<String>,
    door: OpenDoor,
    reporter: Arc<Reporter>,
}

/// How far the last steps of a download are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finishing {
    /// Pieces are missing.
    Incomplete,
    /// Files are being synced and renamed.
    UnderWay,
    /// That failed; it is tried again at the next checkpoint.
    Failed,
    /// Everything is on disk under its final name.
    Done,
}

/// The queues that only the task's loop reads.
struct Queues {
    inlets: Inlets,
    batches: mpsc::Receiver<Batch>,
    pushed: mpsc::Receiver<Vec<PeerAddress>>,
}

impl Driver {
    /// Runs the torrent until it is stopped and everything that it has is recorded.
    async fn run(mut self, mut queues: Queues) {
        let mut status = interval(STATUS_INTERVAL);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checkpoint = interval(CHECKPOINT_INTERVAL);
        checkpoint.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Nothing has come since a report that found nothing new and nothing under way: the next one would not either.
        let mut at_rest = false;
        loop {
            self.carry_out();
            if self.has_stopped() {
                break;
            }
            let deadline = self.deadline();
            let was_at_rest = std::mem::replace(&mut at_rest, false);
            tokio::select! {
                Some(batch) = queues.batches.recv() => self.take_batches(batch, &mut queues.batches),
                Some(done) = self.tasks.join_next_with_id() => self.take_done(done, &mut queues.batches),
                Some(arrival) = queues.inlets.arrivals.recv() => self.take_socket(arrival.stream, arrival.connected),
                Some(request) = queues.inlets.requests.recv() => self.take_request(request),
                output = chat::next(&mut self.connections.chat) => self.take_chat(output),
                Some(peers) = queues.pushed.recv() => self.command(Command::AddPeers(peers, PeerSource::Push)),
                _ = queues.inlets.shutdown.changed(), if !self.is_stopping() => self.stop(),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.swarm.handle_timeout(now());
                    let due = self.pairing.take_due(now());
                    self.verify_now(due.into_iter().collect());
                    self.finish_goodbye();
                }
                _ = status.tick(), if !was_at_rest => at_rest = self.report(),
                _ = checkpoint.tick() => {
                    at_rest = was_at_rest;
                    self.checkpoint();
                    self.look_round();
                }
            }
        }
        self.end(queues.batches).await;
    }

    /// The next moment at which something must be done.
    fn deadline(&self) -> Option<Instant> {
        let swarm = self.swarm.poll_timeout().map(Instant::from_std);
        let pairing = self.pairing.deadline().map(Instant::from_std);
        swarm.into_iter().chain(pairing).chain(self.stop_at).chain(self.goodbye_at()).min()
    }

    fn command(&mut self, command: Command) {
        if command == Command::Stop && self.says_goodbye() {
            return;
        }
        log::command(self.metainfo.info_hash(), &command);
        match command {
            Command::Pause => self.paused = true,
            Command::Resume => self.paused = false,
            Command::Stop => self.stop_at = self.stop_at.or(Some(Instant::now() + STOP_DEADLINE)),
            Command::AddTrackers(ref urls) => self.context.trackers.trust(urls),
            Command::AddPeers(..) => {}
        }
        self.swarm.command(now(), command);
        self.update_state();
    }

    fn stop(&mut self) {
        self.command(Command::Stop);
    }

    /// Ends the torrent by an error.
    fn fail(&mut self, error: &DiskError) {
        self.failure.get_or_insert_with(|| error.to_string());
        self.stop();
    }

    fn has_stopped(&self) -> bool {
        self.stop_at.is_some_and(|deadline| self.swarm.is_stopped() || Instant::now() >= deadline)
    }

    /// The state as the user sees it, from what is known.
    fn update_state(&mut self) {
        let complete = self.finishing == Finishing::Done;
        let state = match () {
            () if self.stop_at.is_some() => return,
            () if self.paused => State::Paused,
            () if self.blocked || self.patrol.is_unreachable() => State::Blocked,
            () if complete || self.purpose == Purpose::Seed => State::Seeding,
            () => State::Downloading,
        };
        self.reporter.progress(state, complete);
    }

    /// Brings the status up to date. Whether it is the same as before, and stays so until something happens.
    fn report(&mut self) -> bool {
        fault::visit(fault::Place::Torrent);
        let stats = self.swarm.stats(now());
        let flows = stats.download_rate > 0 || stats.upload_rate > 0;
        !self.reporter.stats(stats) && !flows
    }

    /// Waits for the disk, records what is there, and says goodbye.
    async fn end(mut self, mut batches: mpsc::Receiver<Batch>) {
        let deadline = Instant::now() + STOP_DEADLINE;
        self.records.cancel();
        self.take_last_words(&mut batches, deadline).await;
        let waiting = self.pairing.take();
        self.verify_now(waiting.into_iter().collect());
        while self.records.is_busy()
            && let Ok(Some(done)) = timeout_at(deadline, self.tasks.join_next_with_id()).await
        {
            self.finish_disk(done);
        }
        self.tasks.shutdown().await;
        self.drain_events();
        let checkpoint = self.records.last_checkpoint(self.swarm.have().clone());
        if let Err(error) = checkpoint.await
            && !matches!(error, DiskError::Cancelled)
        {
            self.reporter.event(TorrentEvent::DiskError { text: error.to_string() });
        }
        self.report();
        drop(self.door);
        match self.failure {
            Some(failure) => self.reporter.failed(failure),
            None => self.reporter.state(State::Stopped),
        }
    }
}

/// The time as the swarm wants it; follows a paused clock in tests.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
