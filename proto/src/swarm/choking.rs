//! Whom we serve. The decision itself is a pure function over rows ([`crate::choker`]); here the rows are made, the
//! rounds are timed, and the outcome is carried out.

use super::peer::Peer;
use super::{Profile, Swarm};
use crate::choker::{self, ChokeDecision, Mode, PeerRow, UploadSlots};
use crate::id::PeerKey;
use crate::wire::Message;
use rand::RngExt;
use std::time::{Duration, Instant};

/// Time between rounds (BEP 3: long enough for TCP to show what a peer can do).
const ROUND: Duration = Duration::from_secs(10);
/// The optimistic unchoke moves on each third round (BEP 3).
const OPTIMISTIC_ROUNDS: u32 = 3;

/// Upload slots at least: four is what BEP 3 and its first client had.
const LEAST_SLOTS: usize = 4;
/// Upload slots at most: more only shares the same uplink in smaller pieces.
const MOST_SLOTS: usize = 50;

pub(super) struct Choking {
    profile: Profile,
    slots: UploadSlots,
    next_round: Instant,
    round: u32,
}

impl Choking {
    pub(super) fn new(profile: Profile, now: Instant) -> Self {
        Self { profile, slots: UploadSlots::new(LEAST_SLOTS, MOST_SLOTS), next_round: now + ROUND, round: 0 }
    }
}

impl Swarm {
    /// Once a tick: follows the measured capacity, fills free slots, and decides anew when a round is over.
    pub(super) fn choke_round(&mut self, now: Instant) {
        self.update_slots(now);
        if now < self.choking.next_round {
            self.fill_upload_slots(now);
            return;
        }
        self.choking.next_round = now + ROUND;
        self.choking.round = self.choking.round.wrapping_add(1);
        let rotate = self.choking.round.is_multiple_of(OPTIMISTIC_ROUNDS);
        let decision = self.decide(now, rotate);
        self.carry_out(now, &decision);
    }

    fn update_slots(&mut self, now: Instant) {
        let waiting = self.peers.values().any(|peer| peer.upload.choked && peer.upload.interested);
        let idle = waiting && self.is_uplink_idle();
        let rate = self.traffic.upload_rate.rate(now);
        self.choking.slots.update(now, rate, idle);
    }

    /// Whether every request of everybody whom we serve is answered.
    pub(super) fn is_uplink_idle(&self) -> bool {
        self.nobody_is_fed_or_waits()
    }

    fn decide(&mut self, now: Instant, rotate: bool) -> ChokeDecision {
        let rows: Vec<PeerRow> = self.peers.iter().map(|(key, peer)| row(*key, peer, now)).collect();
        if self.choking.profile == Profile::Lan {
            let unchoke = rows.iter().filter(|row| row.interested).map(|row| row.key).collect();
            return ChokeDecision { unchoke, optimistic: Vec::new() };
        }
        let mode = if self.is_complete() { Mode::Seeding } else { Mode::Leeching };
        choker::decide(&rows, mode, self.choking.slots.slots(), rotate, &mut self.random)
    }

    fn carry_out(&mut self, now: Instant, decision: &ChokeDecision) {
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            let optimistic = decision.optimistic.contains(&key);
            if optimistic || decision.unchoke.contains(&key) {
                self.unchoke(now, key);
            } else {
                self.choke(now, key);
            }
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.upload.optimistic = optimistic;
            }
        }
    }

    fn unchoke(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if peer.upload.choked {
            peer.upload.choked = false;
            peer.upload.changed = now;
            peer.upload.bytes_since_unchoke = 0;
            // The peer chooses as soon as it is unchoked, so it must know by then what to take.
            self.suggest_pieces(now, key);
            self.send(now, key, Message::Unchoke);
        }
    }

    fn choke(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !peer.upload.choked {
            peer.upload.choked = true;
            peer.upload.changed = now;
            peer.upload.optimistic = false;
            self.let_finish(now, key);
            self.send(now, key, Message::Choke);
            self.drop_requests(now, key);
        }
    }

    pub(super) fn peer_interested(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if std::mem::replace(&mut peer.upload.interested, true) {
            return;
        }
        self.fill_upload_slots(now);
        self.allow_fast(now, key);
    }

    pub(super) fn peer_not_interested(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !std::mem::replace(&mut peer.upload.interested, false) {
            return;
        }
        // Its place goes to somebody who wants it, at once rather than at the end of the round.
        self.choke(now, key);
        self.fill_upload_slots(now);
    }

    /// Gives free slots to those who got least so far, without waiting for the round to end; opens one more while the
    /// uplink has nothing to do.
    pub(super) fn fill_upload_slots(&mut self, now: Instant) {
        let waiting = self.peers.iter().filter(|(_, peer)| peer.upload.choked && peer.upload.interested);
        // At random among those who got as much: neighbours must not all serve the same one.
        let mut waiting: Vec<(u64, u32, PeerKey)> =
            waiting.map(|(key, peer)| (peer.upload.bytes, self.random.random(), *key)).collect();
        if waiting.is_empty() {
            return;
        }
        let taken = self.peers.values().filter(|peer| !peer.upload.choked).count();
        if taken >= self.choking.slots.slots() && self.is_uplink_idle() {
            self.choking.slots.grow();
        }
        let free = match self.choking.profile {
            Profile::Lan => usize::MAX,
            Profile::Public => self.choking.slots.slots().saturating_sub(taken),
        };
        waiting.sort_unstable();
        for (_, _, key) in waiting.into_iter().take(free) {
            self.unchoke(now, key);
        }
    }
}

fn row(key: PeerKey, peer: &Peer, now: Instant) -> PeerRow {
    PeerRow {
        key,
        interested: peer.upload.interested,
        unchoked: !peer.upload.choked,
        optimistic: peer.upload.optimistic,
        download_rate: peer.download.rate.rate(now),
        upload_rate: peer.upload.rate.rate(now),
        uploaded_since_unchoke: peer.upload.bytes_since_unchoke,
        unchoked_for: now.duration_since(peer.upload.changed),
        choked_for: now.duration_since(peer.upload.changed),
        snubbed: peer.download.window.is_snubbed(now),
        connected_for: now.duration_since(peer.since),
    }
}
