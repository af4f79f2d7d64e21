//! The task that turns changes of the store into pushes.
//!
//! Owns what has not been told yet, and the allowance: a change costs a push for each subscriber of its torrent, so what a
//! crowd of joining peers could ask for grows with its square. Pushes are therefore counted; where more are due than allowed,
//! each change is told to a random part of its torrent, small torrents first. It never waits for a connection.

use crate::changes::{Frames, SwarmChanges};
use crate::config::Limits;
use crate::hub::Hub;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use swarm_proto::id::InfoHash;
use swarm_tracker_core::{Change, Store};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{Instant, timeout_at};

/// Changes that wait for the pushing task; more are dropped.
const QUEUED_CHANGES: usize = 65_536;
/// Changes that are turned into pushes in one go.
const BATCH: usize = 8_192;
/// Collected for so many times the usual while the allowance is low: fewer pushes, each with more in it.
const PATIENCE_UNDER_LOAD: u32 = 2;
/// Subscribers that are told of a change at the least, if there are so many: enough for a newcomer to be dialled by others,
/// beside those that it dials itself.
const LEAST_AUDIENCE: usize = 10;
/// Pushes behind which the connections of this thread have their turn. That takes about a millisecond, so not more often.
const IN_ONE_GO: usize = 250;
/// That somebody has gone waits for so long for somebody who comes, to be told in the same push.
const GONE_DELAY: Duration = Duration::from_millis(500);
/// Swarms of which only departures wait; with more, they wait no longer.
const WAITING_SWARMS: usize = 65_536;

/// Has the store tell its changes to the returned queue. A full queue drops them: what it would bring can be asked for.
pub(crate) fn observe(store: &Store) -> Receiver<Change> {
    let (sender, receiver) = mpsc::channel(QUEUED_CHANGES);
    store.observe(Box::new(move |change| {
        if sender.try_send(*change).is_err() {
            tracing::debug!(info_hash = %change.info_hash, "change not pushed, too many at once");
        }
    }));
    receiver
}

/// Pushes the changes of all swarms to their subscribers, collected for `delay`. Runs until it is dropped.
pub(crate) async fn push_changes(
    hub: Arc<Hub>,
    limits: Limits,
    changes: Arc<tokio::sync::Mutex<Receiver<Change>>>,
    delay: Duration,
) {
    let mut changes = changes.lock().await;
    let mut pusher = Pusher::new(hub, limits, Instant::now());
    let mut batch = Vec::new();
    loop {
        let first = match pusher.next_due() {
            Some(due) => timeout_at(due, changes.recv_many(&mut batch, BATCH)).await,
            None => Ok(changes.recv_many(&mut batch, BATCH).await),
        };
        if first == Ok(0) {
            return;
        }
        let delay = if pusher.is_pressed(Instant::now()) { delay * PATIENCE_UNDER_LOAD } else { delay };
        let deadline = Instant::now() + delay;
        while first.is_ok() && batch.len() < BATCH {
            let room = BATCH - batch.len();
            match timeout_at(deadline, changes.recv_many(&mut batch, room)).await {
                Ok(received) if received > 0 => {}
                _ => break,
            }
        }
        let now = Instant::now();
        batch.drain(..).for_each(|change| pusher.add(&change, now));
        pusher.push_due(now).await;
    }
}

/// What has not been told yet.
struct Pusher {
    hub: Arc<Hub>,
    fan_out: usize,
    waiting: HashMap<InfoHash, SwarmChanges>,
    urgent: Vec<InfoHash>,
    /// Swarms that somebody has left, and when that is to be told at the latest.
    later: VecDeque<(Instant, InfoHash)>,
    allowance: Allowance,
}

impl Pusher {
    fn new(hub: Arc<Hub>, limits: Limits, now: Instant) -> Self {
        Self {
            hub,
            fan_out: limits.push_fan_out,
            waiting: HashMap::new(),
            urgent: Vec::new(),
            later: VecDeque::new(),
            allowance: Allowance::new(limits.pushes_per_s, now),
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.later.front().map(|(due, _)| *due)
    }

    fn is_pressed(&mut self, now: Instant) -> bool {
        self.allowance.refill(now);
        self.allowance.left < self.allowance.burst / 2.0
    }

    fn add(&mut self, change: &Change, now: Instant) {
        let swarm = self.waiting.entry(change.info_hash).or_default();
        let (new, urgent) = (swarm.is_empty(), swarm.has_joined());
        swarm.add(change.address, change.kind);
        if swarm.has_joined() && !urgent {
            self.urgent.push(change.info_hash);
        } else if swarm.is_empty() {
            self.waiting.remove(&change.info_hash);
        } else if new {
            let due = if self.later.len() < WAITING_SWARMS { now + GONE_DELAY } else { now };
            self.later.push_back((due, change.info_hash));
        }
    }

    /// Pushes what is due, the swarms with the fewest subscribers first.
    async fn push_due(&mut self, now: Instant) {
        let mut due = std::mem::take(&mut self.urgent);
        while self.later.len() > WAITING_SWARMS || self.later.front().is_some_and(|(due, _)| *due <= now) {
            due.extend(self.later.pop_front().map(|(_, info_hash)| info_hash));
        }
        let changes = due.into_iter().filter_map(|info_hash| {
            let changes = self.waiting.remove(&info_hash)?;
            Some((self.hub.members(&info_hash), info_hash, changes))
        });
        let mut due: Vec<_> = changes.filter(|(members, ..)| *members > 0).collect();
        due.sort_unstable_by_key(|(members, ..)| *members);
        self.allowance.refill(now);
        let mut running = 0;
        for (done, (members, info_hash, changes)) in due.iter().enumerate() {
            let share = self.allowance.share(due.len() - done).max(LEAST_AUDIENCE);
            let told = self.push(*info_hash, changes, (*members).min(self.fan_out).min(share));
            self.allowance.left -= told as f64;
            running += told;
            if running >= IN_ONE_GO {
                running = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Tells so many subscribers of a swarm of its changes, and returns how many were told.
    fn push(&self, info_hash: InfoHash, changes: &SwarmChanges, audience: usize) -> usize {
        let mut frames = Frames::new(info_hash, changes, self.hub.counts(&info_hash));
        let (mut told, mut dropped) = (0, 0);
        for (address, subscription) in self.hub.audience(&info_hash, audience) {
            let Some(frame) = frames.for_subscriber(address, subscription.seed) else { continue };
            told += 1;
            if !subscription.subscriber.mailbox.put(frame) {
                tracing::debug!(connection = subscription.subscriber.connection.0, %info_hash, "push dropped, the peer is slow");
                dropped += 1;
            }
        }
        self.hub.counters.pushes.add(told - dropped);
        self.hub.counters.pushes_dropped.add(dropped);
        told
    }
}

/// Pushes that may be made now: so many a second, and a fifth of that at once.
#[derive(Debug)]
struct Allowance {
    per_second: f64,
    burst: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(per_second: u32, now: Instant) -> Self {
        let burst = f64::from(per_second) / 5.0;
        Self { per_second: per_second.into(), burst, left: burst, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * self.per_second).min(self.burst);
        self.at = now;
    }

    /// What each of so many swarms may have.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float that is cast saturates")]
    fn share(&self, swarms: usize) -> usize {
        (self.left / swarms as f64) as usize
    }
}

#[cfg(test)]
mod tests;
