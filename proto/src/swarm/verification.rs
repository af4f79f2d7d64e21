//! Pieces go to the disk, come back right, wrong or refused, and get lost.
//!
//! A piece is *have* only once every write returned and the hash matched. While the disk refuses, nothing is requested;
//! the refused pieces are tried again until they are written.

use super::bans::Mark;
use super::{CloseReason, DiskDone, Event, Output, Swarm, VerifyOutcome};
use crate::geometry::{BLOCK_LENGTH, PieceIndex};
use crate::id::{HASH_LENGTH, PeerKey};
use crate::smart_ban::{Sender, SmartBan};
use crate::wire::{self, Message};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// First pause before a refused write is tried again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between tries: a disk that has room again is noticed within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Bytes of complete pieces that may wait for the disk before requests do: what comes while a thread is woken. What was
/// requested before comes as well.
const BACKLOG: u64 = 4 * 1024 * 1024;
/// A peer is forgiven one wrong piece for the blocks of so many right ones: a noisy link is no malice, and what it spoils
/// is little beside what it brings.
const GOOD_PIECES_PER_STRIKE: u32 = 8;

pub(super) struct Verification {
    smart_ban: SmartBan,
    refused: Vec<PieceIndex>,
    /// Bytes of the pieces that the shell is hashing and writing.
    under_way: u64,
    retry_at: Instant,
    pause: Duration,
    blocked: bool,
}

impl Verification {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            smart_ban: SmartBan::new(),
            refused: Vec::new(),
            under_way: 0,
            retry_at: now,
            pause: FIRST_PAUSE,
            blocked: false,
        }
    }

    /// Whether the disk has refused a write and has not taken one since.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether more has come than is hashed and written: requests wait, or all memory would fill with what waits.
    pub(super) fn is_behind(&self, piece_length: u32) -> bool {
        self.under_way >= BACKLOG.max(2 * u64::from(piece_length))
    }
}

impl Swarm {
    /// All blocks of a piece are there.
    pub(super) fn verify(&mut self, piece: PieceIndex) {
        let digests = self.verification.smart_ban.remembers(piece);
        self.verification.under_way += u64::from(self.geometry.length_of(piece));
        self.outputs.push_back(Output::Verify { piece, digests });
    }

    /// What the disk did.
    pub fn handle_disk(&mut self, now: Instant, done: DiskDone) {
        match done {
            DiskDone::Verified { piece, outcome } => self.verified(now, piece, outcome),
            DiskDone::ReadFailed { peer, block } => self.read_failed(now, peer, block.piece()),
            DiskDone::Lost { pieces } => self.lost(now, pieces),
        }
    }

    fn verified(&mut self, now: Instant, piece: PieceIndex, outcome: VerifyOutcome) {
        let length = u64::from(self.geometry.length_of(piece));
        let held_up = self.verification.is_behind(self.geometry.piece_length()) || !self.picker.has_room();
        self.verification.under_way = self.verification.under_way.saturating_sub(length);
        match outcome {
            VerifyOutcome::Written { digests } => self.written(now, piece, &digests, held_up),
            VerifyOutcome::Mismatch { digests } => self.mismatch(now, piece, &digests),
            VerifyOutcome::WriteFailed => self.write_failed(now, piece),
            VerifyOutcome::Aborted => {
                self.traffic.wasted += length;
                self.picker.piece_failed(piece);
                self.nothing_to_write(now);
            }
        }
    }

    /// `held_up` says that peers may have been waiting for the disk.
    fn written(&mut self, now: Instant, piece: PieceIndex, digests: &[[u8; HASH_LENGTH]], held_up: bool) {
        let senders = self.picker.contributors(piece);
        self.disk_recovered(now);
        if self.picker.have().has(piece) {
            return;
        }
        self.picker.piece_verified(piece);
        self.credit(&senders);
        self.acquit(&senders);
        self.events.push_back(Event::PieceVerified(piece));
        for culprit in self.verification.smart_ban.convict(piece, digests) {
            self.strike(now, culprit);
        }
        self.announce_have(now, piece);
        if self.is_complete() {
            self.completed(now);
        }
        if held_up {
            self.request_from_all(now);
        } else {
            // They may have proved themselves with it.
            let senders: BTreeSet<PeerKey> = senders.into_iter().flatten().collect();
            senders.into_iter().for_each(|key| self.request_from(now, key));
        }
    }

    /// Counts a right piece for those who sent its blocks.
    fn credit(&mut self, senders: &[Option<PeerKey>]) {
        let mut keys: Vec<PeerKey> = senders.iter().copied().flatten().collect();
        keys.sort_unstable();
        for run in keys.chunk_by(|one, other| one == other) {
            let peer = run.first().and_then(|key| self.peers.get_mut(key));
            if let Some(peer) = peer {
                peer.good_pieces += 1;
                peer.good_blocks = peer.good_blocks.saturating_add(u32::try_from(run.len()).unwrap_or(u32::MAX));
            }
        }
    }

    /// Who has sent a right piece alone is no suspect any more.
    fn acquit(&mut self, senders: &[Option<PeerKey>]) {
        let alone = senders.first().copied().flatten().filter(|first| senders.iter().all(|it| *it == Some(*first)));
        if let Some(who) = alone.and_then(|key| self.who(key)) {
            self.parole.acquit(Mark::of(who.address, who.id));
        }
    }

    fn announce_have(&mut self, now: Instant, piece: PieceIndex) {
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            if peer.has.has(piece) {
                peer.useful = peer.useful.saturating_sub(1);
                self.update_interest(now, key);
            } else {
                self.send(now, key, Message::have(piece));
            }
        }
    }

    fn completed(&mut self, now: Instant) {
        self.events.push_back(Event::Completed);
        self.announcer.completed(now);
        let chat = self.config.chat;
        let idle = self.peers.iter().filter(|(_, peer)| !peer.may_chat(now, chat));
        let seeds = idle.filter(|(_, peer)| peer.is_seed() || peer.extension.upload_only);
        let seeds: Vec<PeerKey> = seeds.map(|(key, _)| *key).collect();
        for key in seeds {
            self.close(now, key, CloseReason::NothingToTrade);
        }
        self.poll_announcer(now);
    }

    fn mismatch(&mut self, now: Instant, piece: PieceIndex, digests: &[[u8; HASH_LENGTH]]) {
        self.traffic.failed_pieces += 1;
        self.parole.be_wary(now);
        self.traffic.wasted += u64::from(self.geometry.length_of(piece));
        self.events.push_back(Event::PieceFailed(piece));
        let keys = self.picker.contributors(piece);
        let sender = |key: PeerKey| self.who(key).map(|who| Sender { peer: key, address: who.address.ip() });
        let senders: Vec<Option<Sender>> = keys.iter().map(|key| key.and_then(sender)).collect();
        match self.verification.smart_ban.piece_failed(piece, digests, &senders) {
            Some(culprit) => {
                self.picker.piece_failed(piece);
                self.strike(now, culprit);
            }
            None => {
                self.picker.piece_spoiled(piece);
                self.suspect(now, keys);
            }
        }
        self.nothing_to_write(now);
    }

    /// One of these has sent a wrong block.
    fn suspect(&mut self, now: Instant, keys: Vec<Option<PeerKey>>) {
        let keys: BTreeSet<PeerKey> = keys.into_iter().flatten().collect();
        for who in keys.into_iter().filter_map(|key| self.who(key)).collect::<Vec<_>>() {
            self.parole.suspect(now, Mark::of(who.address, who.id));
        }
        self.disown_departed(now);
    }

    /// A peer is convicted of a wrong block: it is shut out, unless its many right pieces speak for a noisy link.
    fn strike(&mut self, now: Instant, culprit: Sender) {
        let cost = GOOD_PIECES_PER_STRIKE.saturating_mul(self.geometry.piece_length().div_ceil(BLOCK_LENGTH));
        // Also of one that has left since: a noisy link loses connections as well.
        let left = self.departed.iter_mut().find(|(key, _)| *key == culprit.peer).map(|(_, who)| &mut who.good_blocks);
        let credit = self.peers.get_mut(&culprit.peer).map(|peer| &mut peer.good_blocks).or(left);
        match credit.filter(|credit| **credit >= cost) {
            Some(credit) => *credit -= cost,
            None => self.ban(now, culprit.peer),
        }
    }

    fn write_failed(&mut self, now: Instant, piece: PieceIndex) {
        if !self.verification.refused.contains(&piece) {
            self.verification.refused.push(piece);
        }
        if !self.verification.blocked {
            self.verification.blocked = true;
            self.verification.pause = FIRST_PAUSE;
            self.verification.retry_at = now + FIRST_PAUSE;
            self.events.push_back(Event::DiskBlocked);
        }
        self.next_tick = self.next_tick.min(now + super::TICK);
    }

    /// Tries refused writes again once their pause is over.
    pub(super) fn retry_writes(&mut self, now: Instant) {
        if !self.verification.blocked || now < self.verification.retry_at {
            return;
        }
        self.verification.pause = (self.verification.pause * 2).min(LONGEST_PAUSE);
        self.verification.retry_at = now + self.verification.pause;
        for piece in std::mem::take(&mut self.verification.refused) {
            self.verify(piece);
        }
    }

    /// A write succeeded: requests go on, and what was refused is tried at once.
    fn disk_recovered(&mut self, now: Instant) {
        if !self.verification.blocked {
            return;
        }
        self.verification.blocked = false;
        self.events.push_back(Event::DiskRecovered);
        for piece in std::mem::take(&mut self.verification.refused) {
            self.verify(piece);
        }
        self.request_from_all(now);
    }

    /// A piece is fetched again instead of being written. If it was the last one that the disk had refused, only the next
    /// piece can tell whether the disk takes writes.
    fn nothing_to_write(&mut self, now: Instant) {
        if self.verification.refused.is_empty() {
            self.disk_recovered(now);
        }
        self.request_from_all(now);
    }

    fn read_failed(&mut self, now: Instant, key: PeerKey, piece: PieceIndex) {
        // First the piece, or whoever is served next might be served from it.
        self.lost(now, vec![piece]);
        // Its header may be on the wire already, so the connection cannot be saved.
        self.close(now, key, CloseReason::Stopped);
    }

    /// Pieces that we had are gone: withdrawn (BEP 54) and fetched again.
    fn lost(&mut self, now: Instant, pieces: Vec<PieceIndex>) {
        let mut had: Vec<PieceIndex> = pieces.into_iter().filter(|piece| self.picker.have().has(*piece)).collect();
        had.sort_unstable();
        had.dedup();
        if had.is_empty() {
            return;
        }
        for &piece in &had {
            self.picker.piece_lost(piece);
        }
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.withdraw(now, key, &had);
        }
        self.book.reconsider(now);
        self.events.push_back(Event::PiecesLost(had));
        self.dial_due(now);
        self.request_from_all(now);
    }

    fn withdraw(&mut self, now: Instant, key: PeerKey, pieces: &[PieceIndex]) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let regained = pieces.iter().filter(|piece| peer.has.has(**piece)).count();
        peer.useful += u32::try_from(regained).unwrap_or(0);
        let dont_have = peer.extension.ids.dont_have;
        let have = self.picker.have();
        for block in peer.upload.requests.take_unless(|block| have.has(block.piece())) {
            self.refuse(now, key, block);
        }
        if let Some(id) = dont_have {
            for piece in pieces {
                let payload = wire::dont_have_payload(*piece).to_vec().into();
                self.send(now, key, Message::Extended(id, payload));
            }
        }
        self.update_interest(now, key);
    }
}
