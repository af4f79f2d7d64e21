//! What a torrent tells its user: events as they happen, and a status that is always current.
//!
//! Never makes the engine wait for a user: a reader that is slower than the events loses the oldest of them and is told
//! how many; the status cannot be missed, since only the latest one exists.

use swarm_proto::swarm::{Event, SwarmStats};
use tokio::sync::{broadcast, watch};

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
    receiver: broadcast::Receiver<TorrentEvent>,
}

impl Events {
    /// The next event; `None` when the torrent has ended and all of them were read.
    pub async fn next(&mut self) -> Option<TorrentEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(TorrentEvent::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The torrent's side of events and status.
pub(crate) struct Reporter {
    events: broadcast::Sender<TorrentEvent>,
    status: watch::Sender<TorrentStatus>,
}

/// The user's side of events and status.
pub(crate) struct Reports {
    /// Weak, so that the events end when the torrent does.
    events: broadcast::WeakSender<TorrentEvent>,
    /// From the first event on, for the first who asks.
    first: std::sync::Mutex<Option<broadcast::Receiver<TorrentEvent>>>,
    pub(crate) status: watch::Receiver<TorrentStatus>,
}

/// Both sides.
pub(crate) fn channel() -> (Reporter, Reports) {
    let (events, first) = broadcast::channel(EVENTS);
    let (status, status_receiver) = watch::channel(TorrentStatus::default());
    let first = std::sync::Mutex::new(Some(first));
    let reports = Reports { events: events.downgrade(), first, status: status_receiver };
    (Reporter { events, status }, reports)
}

impl Reports {
    /// A reader; the first one sees everything from the beginning, as far as it is still kept.
    pub(crate) fn events(&self) -> Events {
        let mut first = self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let receiver = first.take().or_else(|| self.events.upgrade().map(|sender| sender.subscribe()));
        // The torrent has ended: a channel without a sender ends at once.
        let receiver = receiver.unwrap_or_else(|| broadcast::channel(1).1);
        Events { receiver }
    }
}

impl Reporter {
    /// Tells whoever listens.
    pub(crate) fn event(&self, event: TorrentEvent) {
        // Fails only when nobody listens.
        let _ = self.events.send(event);
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
    pub(crate) fn stats(&self, stats: SwarmStats) {
        self.status.send_if_modified(|status| std::mem::replace(&mut status.stats, stats) != stats);
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
