//! The way of a room over native trackers, to those whom no connection reaches.
//!
//! Owns no decision: tells the room which peers the trackers know and what they have handed on, and has them hand on what
//! the room wants, in order and one after the other.

use super::names;
use crate::tracker::native::{NativeTracker, RelayNews};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use swarm_proto::announce::TrackerError;
use swarm_proto::chat::{Identity, NameOutcome, RelayOutcome, RelayPeer, Room};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::{PersonName, Relayed};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// As whom a torrent is announced to its trackers.
#[derive(Clone, Debug)]
pub(crate) struct RelayAs {
    pub(crate) native: NativeTracker,
    pub(crate) peer_id: PeerId,
    pub(crate) port: u16,
}

/// What is to be done with the room.
pub(super) enum Step {
    News(RelayNews),
    Done(RelayOutcome),
    Name(NameOutcome),
}

/// The trackers' end of a room.
pub(super) struct RelayWay {
    own: RelayAs,
    room: InfoHash,
    news: mpsc::Receiver<RelayNews>,
    /// Goodbyes, which come several at once.
    waiting: VecDeque<(RelayPeer, Bytes)>,
    sending: JoinSet<RelayOutcome>,
    looking_up: JoinSet<NameOutcome>,
    identity: Identity,
}

impl RelayWay {
    pub(super) fn new(own: RelayAs, room: InfoHash, identity: Identity) -> Self {
        let news = own.native.relayed(room);
        let (waiting, sending, looking_up) = (VecDeque::new(), JoinSet::new(), JoinSet::new());
        Self { own, room, news, waiting, sending, looking_up, identity }
    }

    /// The next thing that happens; never, where there is no native tracker. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Step {
        tokio::select! {
            Some(outcome) = self.sending.join_next() => {
                self.send_next();
                Step::Done(outcome.unwrap_or(RelayOutcome::Failed))
            }
            Some(outcome) = self.looking_up.join_next() => Step::Name(outcome.unwrap_or(NameOutcome::Failed)),
            Some(news) = self.news.recv() => Step::News(news),
            else => std::future::pending().await,
        }
    }

    pub(super) fn look_up(&mut self, tracker: &str, name: PersonName) {
        let (known, identity) =
            (self.own.native.known(tracker, self.own.peer_id, self.own.port), self.identity.clone());
        self.looking_up.spawn(async move {
            let Some(tracker) = known else { return NameOutcome::Failed };
            names::look_up(tracker, name, identity).await
        });
    }

    pub(super) fn send(&mut self, to: RelayPeer, data: Bytes) {
        self.waiting.push_back((to, data));
        self.send_next();
    }

    /// One at a time: trackers keep the order of what they are given, tasks do not.
    fn send_next(&mut self) {
        if !self.sending.is_empty() {
            return;
        }
        let Some((to, data)) = self.waiting.pop_front() else { return };
        let (RelayAs { native, peer_id, port }, info_hash) = (self.own.clone(), self.room);
        self.sending.spawn(async move {
            let url = format!("native://{}", to.tracker);
            let message = Relayed { info_hash, peer: to.address, data };
            outcome(native.relay(&url, peer_id, port, message).await)
        });
    }
}

impl Step {
    pub(super) fn tell(self, room: &mut Room, now: Instant) {
        match self {
            Self::News(RelayNews::Peers { tracker, peers }) => room.handle_peers(now, &tracker, &peers),
            Self::News(RelayNews::Message(message)) => {
                let from = RelayPeer { tracker: message.tracker, address: message.from };
                room.handle_relayed(now, &from, &message.data);
            }
            Self::Done(outcome) => room.handle_relay_done(now, outcome),
            Self::Name(outcome) => room.handle_name(now, outcome),
        }
    }
}

fn outcome(result: Result<(), TrackerError>) -> RelayOutcome {
    match result {
        Ok(()) => RelayOutcome::HandedOn,
        Err(TrackerError::Refused { retry_in: Some(wait), .. }) if wait != Duration::MAX => {
            RelayOutcome::TooFast { wait }
        }
        Err(TrackerError::Refused { .. } | TrackerError::Unsupported(_)) => RelayOutcome::NoSuchPeer,
        Err(_) => RelayOutcome::Failed,
    }
}
