//! What a torrent tells its user: events as they happen, and a status that is always current.
//!
//! Never makes the engine wait for a user: a reader that is slower than the events loses the oldest of them and is told
//! how many; the status cannot be missed, since only the latest one exists.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use swarm_proto::swarm::{Event, SwarmStats};
use tokio::sync::{Notify, watch};

/// Events kept for the slowest reader: some seconds of a fast transfer.
const EVENTS: usize = 4_096;

/// What a torrent is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum State {
    /// Looking at what is on disk already.
    #[default]
    Checking,
    /// Fetching what is missing, and serving the rest.
    Downloading,
    /// Serving what is on disk, and fetching nothing: everything is there, or was added only to be served.
    Seeding,
    /// Nothing is transferred until `resume`.
    Paused,
    /// The disk refuses writes, or the folder is not there; goes on by itself when that is over.
    Blocked,
    /// Ended on request.
    Stopped,
    /// Ended by an error, which the status names.
    Failed,
    /// Ended by a fault of this program; the log has more. The other torrents of the session go on.
    Crashed,
}

impl State {
    /// Whether the torrent has ended and nothing will happen any more.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Crashed)
    }
}

/// How a torrent stands at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TorrentStatus {
    /// What it is doing.
    pub state: State,
    /// Whether every piece is on disk and right. Stays true when the torrent stops.
    pub complete: bool,
    /// Sums and rates; all zero while checking.
    pub stats: SwarmStats,
    /// Why it failed, or why it is blocked: what, which path, what to do.
    pub error: Option<String>,
}

/// Something that happened to a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TorrentEvent {
    /// What is on disk already is being looked at.
    Checking {
        /// Bytes looked at.
        done: u64,
        /// Bytes to look at.
        total: u64,
    },
    /// The torrent does something else now.
    StateChanged(State),
    /// Something happened in the swarm.
    Swarm(Event),
    /// The disk refused something; the torrent goes on as far as it can.
    DiskError {
        /// What, on which path, why, and what to do.
        text: String,
    },
    /// Every piece is on disk and right, and every file has its final name.
    Finished,
    /// The torrent has ended by an error.
    Failed {
        /// What, why, and what to do.
        text: String,
    },
    /// The reader was too slow, and so many events are lost to it.
    Missed(u64),
}

/// The events of a torrent, from the moment of the subscription on.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

impl Events {
    /// The next event; `None` when the torrent has ended and all of them were read.
    pub async fn next(&mut self) -> Option<TorrentEvent> {
        loop {
            {
                let mut waiting = self.queue.lock();
                if let Some(missed) = std::num::NonZero::new(std::mem::take(&mut waiting.missed)) {
                    return Some(TorrentEvent::Missed(missed.get()));
                }
                if let Some(event) = waiting.events.pop_front() {
                    return Some(event);
                }
                // What a burst took: thousands of torrents may be quiet for days.
                waiting.events = VecDeque::new();
                if waiting.ended {
                    return None;
                }
            }
            self.queue.filled.notified().await;
        }
    }
}

/// What one reader has not read yet. It grows with what waits, so that a quiet torrent takes next to nothing.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<TorrentEvent>,
    /// Events lost since the last one that was read.
    missed: u64,
    ended: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: TorrentEvent) {
        let mut waiting = self.lock();
        if waiting.events.len() >= EVENTS {
            waiting.events.pop_front();
            waiting.missed += 1;
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.filled.notify_one();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.filled.notify_one();
    }
}

/// The queues of all readers; those of readers that have gone are dropped with the next event.
#[derive(Debug, Default)]
struct Readers {
    queues: Mutex<Vec<Weak<Queue>>>,
}

impl Readers {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(&self) -> Events {
        let queue = Arc::new(Queue::default());
        self.lock().push(Arc::downgrade(&queue));
        Events { queue }
    }

    fn push(&self, event: TorrentEvent) {
        let mut queues = self.lock();
        queues.retain(|queue| queue.strong_count() > 0);
        let mut readers = queues.iter().filter_map(Weak::upgrade);
        let Some(first) = readers.next() else { return };
        readers.for_each(|queue| queue.push(event.clone()));
        first.push(event);
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.lock().iter().filter_map(Weak::upgrade).for_each(|queue| queue.end());
    }
}

/// The torrent's side of events and status.
pub(crate) struct Reporter {
    events: Arc<Readers>,
    status: watch::Sender<TorrentStatus>,
}

/// The user's side of events and status.
pub(crate) struct Reports {
    /// Weak, so that the events end when the torrent does.
    events: Weak<Readers>,
    /// From the first event on, for the first who asks.
    first: Mutex<Option<Events>>,
    pub(crate) status: watch::Receiver<TorrentStatus>,
}

/// Both sides.
pub(crate) fn channel() -> (Reporter, Reports) {
    let events = Arc::new(Readers::default());
    let (status, status_receiver) = watch::channel(TorrentStatus::default());
    let first = Mutex::new(Some(events.subscribe()));
    let reports = Reports { events: Arc::downgrade(&events), first, status: status_receiver };
    (Reporter { events, status }, reports)
}

impl Reports {
    /// A reader; the first one sees everything from the beginning, as far as it is still kept.
    pub(crate) fn events(&self) -> Events {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let events = first.or_else(|| self.events.upgrade().map(|readers| readers.subscribe()));
        events.unwrap_or_else(|| {
            // The torrent has ended.
            let queue = Arc::new(Queue::default());
            queue.end();
            Events { queue }
        })
    }
}

impl Reporter {
    /// Tells whoever listens.
    pub(crate) fn event(&self, event: TorrentEvent) {
        self.events.push(event);
    }

    /// The torrent does this now; an event if that is new.
    pub(crate) fn state(&self, state: State) {
        self.change(state, None);
    }

    /// As [`Reporter::state`], and whether everything is there, both at once.
    pub(crate) fn progress(&self, state: State, complete: bool) {
        self.change(state, Some(complete));
    }

    fn change(&self, state: State, complete: Option<bool>) {
        let mut state_changed = false;
        self.status.send_if_modified(|status| {
            state_changed = status.state != state;
            let complete = complete.unwrap_or(status.complete);
            let changed = state_changed || status.complete != complete;
            (status.state, status.complete) = (state, complete);
            if !matches!(state, State::Blocked | State::Failed | State::Crashed) {
                status.error = None;
            }
            changed
        });
        if state_changed {
            self.event(TorrentEvent::StateChanged(state));
        }
    }

    /// How the transfer stands.
    ///
    /// Returns whether that is new.
    pub(crate) fn stats(&self, stats: SwarmStats) -> bool {
        self.status.send_if_modified(|status| std::mem::replace(&mut status.stats, stats) != stats)
    }

    /// How far the check is.
    pub(crate) fn checking(&self, done: u64, total: u64) {
        self.event(TorrentEvent::Checking { done, total });
    }

    /// The disk refused something that can be done later.
    pub(crate) fn disk_error(&self, text: String) {
        self.status.send_modify(|status| status.error = Some(text.clone()));
        self.event(TorrentEvent::DiskError { text });
    }

    /// The end of the torrent by an error.
    pub(crate) fn failed(&self, text: String) {
        self.end(State::Failed, text);
    }

    /// The end of the torrent by a panic.
    pub(crate) fn crashed(&self) {
        self.end(State::Crashed, "ended by a fault of this program: please report it with the log".to_owned());
    }

    fn end(&self, state: State, text: String) {
        self.status.send_modify(|status| status.error = Some(text.clone()));
        self.state(state);
        self.event(TorrentEvent::Failed { text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reader_sees_the_beginning_and_all_see_the_end() {
        let (reporter, reports) = channel();
        reporter.state(State::Downloading);
        reporter.state(State::Downloading);
        let mut first = reports.events();
        let mut second = reports.events();
        reporter.event(TorrentEvent::Finished);
        drop(reporter);
        assert_eq!(first.next().await, Some(TorrentEvent::StateChanged(State::Downloading)));
        assert_eq!(first.next().await, Some(TorrentEvent::Finished), "the same state again is no event");
        assert_eq!(first.next().await, None);
        assert_eq!(second.next().await, Some(TorrentEvent::Finished));
        assert_eq!(second.next().await, None);
        assert_eq!(reports.events().next().await, None, "too late for anything");
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_lost() {
        let (reporter, reports) = channel();
        for _ in 0..EVENTS + 10 {
            reporter.event(TorrentEvent::Finished);
        }
        assert_eq!(reports.events().next().await, Some(TorrentEvent::Missed(10)));
    }

    #[tokio::test]
    async fn a_quiet_torrent_keeps_no_room_for_events() {
        let (reporter, reports) = channel();
        let mut first = reports.events();
        assert_eq!(first.queue.lock().events.capacity(), 0);
        (0..EVENTS).for_each(|_| reporter.event(TorrentEvent::Finished));
        for _ in 0..EVENTS {
            assert_eq!(first.next().await, Some(TorrentEvent::Finished));
        }
        reporter.state(State::Seeding);
        assert_eq!(first.next().await, Some(TorrentEvent::StateChanged(State::Seeding)));
        tokio::select! {
            biased;
            event = first.next() => panic!("{event:?}"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(first.queue.lock().events.capacity(), 0, "what the burst took is given back");
        drop(first);
        reporter.event(TorrentEvent::Finished);
        assert_eq!(reporter.events.lock().len(), 0, "readers that have gone are forgotten");
    }

    #[test]
    fn an_error_stays_as_long_as_its_state() {
        let (reporter, reports) = channel();
        reporter.disk_error("disk full".to_owned());
        reporter.state(State::Blocked);
        assert_eq!(reports.status.borrow().error.as_deref(), Some("disk full"));
        reporter.state(State::Downloading);
        assert_eq!(reports.status.borrow().error, None);
        reporter.failed("gone".to_owned());
        assert_eq!(reports.status.borrow().error.as_deref(), Some("gone"));
        reporter.crashed();
        let status = reports.status.borrow();
        assert!(status.state == State::Crashed && status.error.as_ref().is_some_and(|text| text.contains("report it")));
    }
}
