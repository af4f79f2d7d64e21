//! Who is fed when: one peer after the other as far as one of them takes what our uplink carries, and each a piece at a
//! time.
//!
//! Who feeds all at once completes nobody's piece for a long time, and what is incomplete cannot be passed on: with n
//! peers at once, a fresh swarm takes n times as long for each doubling. So the blocks of few peers are in the hands of
//! the shell; the others wait for a turn, which ends with the peer's requests, with a piece, or when everybody who waits
//! would have waited for too long. The longest wait is next, but a lone seed gives turns for the pieces that a peer is
//! to spread before all others (see [`super::spread`]). A peer that is slower than our uplink keeps nobody waiting.
//!
//! Invariant: a peer has blocks in the hands of the shell exactly while it is being fed; whoever has requests is fed or
//! waits.

use super::{Output, Swarm};
use crate::geometry::Block;
use crate::id::PeerKey;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// All who wait have had a turn after so long: less than the patience of any client...
const CYCLE: Duration = Duration::from_secs(10);
/// ...but a turn has at least so many bytes: shorter ones would complete nobody's piece.
const LEAST_TURN: u64 = 64 * 1024;
/// A turn keeps others waiting for so long at most...
const KEEPS_WAITING: Duration = Duration::from_secs(1);
/// ...and behind its first moments, in which the first blocks have to get there...
const FIRST_MOMENTS_MS: u64 = 100;
/// ...only as long as the peer takes this part of what our uplink has carried of late...
const BUSY_PART: u64 = 4;
/// ...or of so many bytes a second, if that was less: nothing may have been asked for.
const ANY_UPLINK: u64 = 250_000;
/// So long after its beginning a turn of somebody else is worth waiting for, even if it is slow (see [`super::spread`]).
const WORTH_WAITING: Duration = Duration::from_secs(2);

/// Bytes of one peer's blocks in the hands of the shell at most: a millisecond of a 10 Gbit/s socket.
const MOST_HANDED_OUT: u64 = 1024 * 1024;
/// Bytes of one peer's blocks in the hands of the shell at least: one is on its way while the next one waits.
const LEAST_HANDED_OUT: u64 = 32 * 1024;
/// Between the two, the shell holds what it sends in so many milliseconds: what it holds cannot be taken back.
const HANDED_OUT_MS: u64 = 50;

#[derive(Default)]
pub(super) struct Turns {
    fed: BTreeMap<PeerKey, Turn>,
    /// The longest wait first. May name peers that have no requests any more.
    waiting: VecDeque<PeerKey>,
}

struct Turn {
    began: Instant,
    /// Bytes that were handed to the shell.
    bytes: u64,
    /// Bytes of them that the peer's socket has taken.
    taken: u64,
}

impl Turn {
    fn age_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it is our uplink that it waits for, as far as can be told; `rate` of late in bytes a second.
    fn is_busy(&self, now: Instant, rate: u64) -> bool {
        let part = (rate.max(ANY_UPLINK) / 1000).saturating_mul(self.age_ms(now)) / BUSY_PART;
        now.saturating_duration_since(self.began) < KEEPS_WAITING
            && (self.age_ms(now) < FIRST_MOMENTS_MS || self.taken >= part)
    }

    /// Bytes that the shell may hold: what the peer takes in a short time, or all peers together.
    fn most_handed_out(&self, now: Instant, rate: u64) -> u64 {
        let burst = self.taken.saturating_mul(HANDED_OUT_MS) / self.age_ms(now).max(1);
        burst.max(rate / 1000 * HANDED_OUT_MS).clamp(LEAST_HANDED_OUT, MOST_HANDED_OUT)
    }
}

impl Turns {
    pub(super) fn peer_left(&mut self, peer: PeerKey) {
        self.fed.remove(&peer);
        self.waiting.retain(|waiting| *waiting != peer);
    }

    /// How long a turn lasts if everybody who waits is to have one in time.
    fn fair_share(&self) -> Duration {
        CYCLE / u32::try_from(self.waiting.len()).unwrap_or(u32::MAX).saturating_add(1)
    }
}

impl Swarm {
    /// The peer has requests: more blocks for it if it is its turn, or a place among those that wait.
    pub(super) fn pump_uploads(&mut self, now: Instant, key: PeerKey) {
        if self.turns.fed.contains_key(&key) {
            self.feed(now, key);
        } else {
            self.wait_for_turn(key);
        }
        self.give_turns(now);
    }

    fn wait_for_turn(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !std::mem::replace(&mut peer.upload.waits, true) {
            self.turns.waiting.push_back(key);
        }
    }

    /// A peer's socket has taken a block.
    pub(super) fn fed(&mut self, now: Instant, key: PeerKey, block: Block) {
        if let Some(turn) = self.turns.fed.get_mut(&key) {
            turn.taken += u64::from(block.length());
        }
        self.feed(now, key);
        if let Some(peer) = self.peers.get(&key).filter(|peer| peer.upload.handed == 0)
            && self.turns.fed.remove(&key).is_some()
            && !peer.upload.requests.is_empty()
        {
            self.wait_for_turn(key);
        }
        self.give_turns(now);
    }

    /// Begins turns while the uplink may have room.
    pub(super) fn give_turns(&mut self, now: Instant) {
        while self.may_feed_one_more(now) {
            let Some(key) = self.next_turn(now) else { return };
            self.turns.waiting.retain(|waiting| *waiting != key);
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.upload.waits = false;
            }
            self.turns.fed.insert(key, Turn { began: now, bytes: 0, taken: 0 });
            self.feed(now, key);
        }
    }

    /// Whether those who are fed leave something of the uplink, as far as can be told. One at a time fills a slow one; of
    /// a fast one, a turn is over before its end is heard of.
    fn may_feed_one_more(&self, now: Instant) -> bool {
        let rate = self.traffic.upload_rate.rate(now);
        let busy = || self.turns.fed.values().filter(|turn| turn.is_busy(now, rate)).count() as u64;
        !self.turns.waiting.is_empty() && busy() <= rate / 1000 * HANDED_OUT_MS / MOST_HANDED_OUT
    }

    /// Whose turn it is.
    fn next_turn(&mut self, now: Instant) -> Option<PeerKey> {
        let peers = &mut self.peers;
        self.turns.waiting.retain(|key| {
            peers.get_mut(key).is_some_and(|peer| {
                peer.upload.waits = !peer.upload.requests.is_empty();
                peer.upload.waits
            })
        });
        if self.is_spreading() {
            let own = |key: &&PeerKey| self.peers.get(key).is_some_and(|peer| peer.upload.requests.has_own());
            if let Some(key) = self.turns.waiting.iter().find(own) {
                return Some(*key);
            }
            let waiting: Vec<PeerKey> = self.turns.waiting.iter().copied().collect();
            return waiting.into_iter().find(|key| !self.is_held(now, *key));
        }
        self.turns.waiting.front().copied()
    }

    /// Gives the shell as much for a peer as it may hold.
    fn feed(&mut self, now: Instant, key: PeerKey) {
        let rate = self.traffic.upload_rate.rate(now);
        let (most, share) = (u64::from(self.geometry.piece_length()), self.turns.fair_share());
        while let (Some(peer), Some(turn)) = (self.peers.get(&key), self.turns.fed.get(&key)) {
            let lasted = turn.bytes >= most || now.saturating_duration_since(turn.began) >= share;
            let over = lasted && turn.bytes >= LEAST_TURN && !self.turns.waiting.is_empty();
            let others_first = turn.bytes > 0 && !peer.upload.requests.has_own() && self.is_spreading();
            let full = peer.upload.handed >= turn.most_handed_out(now, rate);
            if full || over || others_first && self.is_held(now, key) {
                return;
            }
            let (Some(peer), Some(turn)) = (self.peers.get_mut(&key), self.turns.fed.get_mut(&key)) else { return };
            let Some(block) = peer.upload.requests.pop() else { return };
            if !self.picker.have().has(block.piece()) {
                // Lost a moment ago, and about to be withdrawn.
                self.refuse(now, key, block);
                continue;
            }
            let bytes = u64::from(block.length());
            turn.bytes += bytes;
            peer.upload.handed += bytes;
            peer.last_sent = now;
            self.outputs.push_back(Output::Upload { peer: key, block });
        }
    }

    /// Whether every request is answered.
    pub(super) fn nobody_is_fed_or_waits(&self) -> bool {
        let has_requests = |key: &PeerKey| self.peers.get(key).is_some_and(|peer| !peer.upload.requests.is_empty());
        self.turns.fed.is_empty() && !self.turns.waiting.iter().any(has_requests)
    }

    /// Whether somebody else is being fed.
    pub(super) fn others_are_fed(&self, now: Instant, key: PeerKey) -> bool {
        let fresh = |turn: &Turn| now.saturating_duration_since(turn.began) < WORTH_WAITING;
        self.turns.fed.iter().any(|(other, turn)| *other != key && fresh(turn))
    }

    /// # Panics
    /// When the invariant in the module's header does not hold.
    pub(super) fn check_turns(&self) {
        for (key, peer) in &self.peers {
            let (fed, waits) = (self.turns.fed.contains_key(key), self.turns.waiting.contains(key));
            assert_eq!(fed, peer.upload.handed > 0, "{key:?}: is fed");
            assert_eq!(waits, peer.upload.waits, "{key:?}: waits");
            assert!(peer.upload.requests.is_empty() || fed || waits, "{key:?}: has requests and no turn");
            assert!(!(fed && waits), "{key:?}: is fed and waits");
        }
        assert!(self.turns.fed.keys().all(|key| self.peers.contains_key(key)), "a peer that left is fed");
    }
}
