//! What swarms want is done, each in the way of its host's conduct.

use crate::conduct::{Conduct, Leave};
use crate::disk::Fate;
use crate::interference::{Action, Target};
use crate::link::nanos;
use crate::observation::RecordKind;
use crate::queue::Moment;
use crate::tracker::Tracker;
use crate::transfer::{EndIndex, Item};
use crate::world::{Happening, HostIndex, World};
use rand::RngExt;
use std::time::Duration;
use swarm_proto::announce::{AnnounceReply, TrackerError};
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::{Block, PieceIndex};
use swarm_proto::id::PeerKey;
use swarm_proto::swarm::{AnnounceJob, DiskDone, Event, Output, VerifyOutcome};
use swarm_proto::wire::Message;

/// Floods come in bursts, this often.
const FLOOD_INTERVAL: Moment = 100_000_000;

impl World {
    /// Does what a host's swarm wants.
    pub(crate) fn drain(&mut self, host: HostIndex) {
        if !self.hosts[host].is_here() {
            return;
        }
        let mut outputs = 0;
        while let Some(output) = self.hosts[host].swarm.poll_output() {
            outputs += 1;
            self.carry_out(host, output);
        }
        self.most_outputs = self.most_outputs.max(outputs);
        while let Some(event) = self.hosts[host].swarm.poll_event() {
            self.note(host, event);
        }
        if self.checking {
            self.hosts[host].swarm.check_invariants();
        }
        let state = &mut self.hosts[host];
        let Some(next) = state.swarm.poll_timeout() else { return };
        let at = nanos(next.saturating_duration_since(self.start)).max(self.now);
        if state.wake.is_none_or(|wake| at < wake) {
            state.wake = Some(at);
            self.queue.push(at, Happening::Wake { host });
        }
    }

    fn note(&mut self, host: HostIndex, event: Event) {
        match &event {
            Event::PieceVerified(piece) => {
                self.record(RecordKind::PieceVerified, host, None, Some(*piece), 0);
                self.gained(host, *piece);
            }
            Event::PieceFailed(piece) => self.record(RecordKind::PieceFailed, host, None, Some(*piece), 0),
            Event::PeerBanned(_) => self.record(RecordKind::Banned, host, None, None, 0),
            Event::PiecesLost(pieces) => self.lost(host, pieces),
            Event::Completed => {
                self.record(RecordKind::Completed, host, None, None, 0);
                self.completed_now(host);
            }
            _ => {}
        }
        if self.keeps_events {
            self.hosts[host].events.push((Duration::from_nanos(self.now), event));
        }
    }

    fn completed_now(&mut self, host: HostIndex) {
        if self.hosts[host].completed.is_none() {
            self.hosts[host].completed = Some(self.now);
            self.unfinished -= 1;
        }
        if let Leave::Completed { linger } = self.hosts[host].config.leave {
            self.queue.push(self.now + nanos(linger), Happening::Leave { host });
        }
    }

    pub(crate) fn after_upload(&mut self, host: HostIndex) {
        let state = &mut self.hosts[host];
        if matches!(state.config.leave, Leave::Uploaded(bytes) if state.sent_bytes >= bytes) {
            state.config.leave = Leave::Never;
            self.queue.push(self.now, Happening::Leave { host });
        }
    }

    fn carry_out(&mut self, host: HostIndex, output: Output) {
        match output {
            Output::Send { peer, message } => {
                if let Some(&end) = self.hosts[host].ends.get(&peer)
                    && !withholds(self.hosts[host].config.conduct, &message)
                {
                    self.send(end, Item::Message(message));
                }
            }
            Output::Upload { peer, block } => self.upload(host, peer, block),
            Output::Close { peer, .. } => {
                if let Some(end) = self.hosts[host].ends.remove(&peer) {
                    self.ends[end.get()].close();
                    self.send_close(end);
                }
            }
            Output::Dial { address } => self.dial(host, address),
            Output::Verify { piece, digests } => {
                if self.checking {
                    self.hosts[host].shell.verify(self.geometry, piece);
                }
                let action = self.interferences.pass(Target::Disk);
                let bytes = self.geometry.length_of(piece);
                let state = &mut self.hosts[host];
                let (at, fate) = state.disk.write(&state.config.disk, self.now, bytes, action);
                self.queue.push(at, Happening::Verified { host, piece, digests, fate });
            }
            Output::Forget { piece } => {
                self.hosts[host].wrong.remove(&piece);
                self.hosts[host].shell.forget(piece);
            }
            Output::ForgetBlock { block } => {
                if let Some(wrong) = self.hosts[host].wrong.get_mut(&block.piece()) {
                    wrong.retain(|ordinal| *ordinal != block.ordinal());
                    if wrong.is_empty() {
                        self.hosts[host].wrong.remove(&block.piece());
                    }
                }
                if self.checking {
                    self.hosts[host].shell.forget_block(block);
                }
            }
            Output::Announce(job) => self.announce(host, job),
            Output::ChatUp { .. } | Output::Chat { .. } => unreachable!("these swarms do not chat"),
        }
    }

    fn upload(&mut self, host: HostIndex, peer: PeerKey, block: Block) {
        let has = !self.checking || self.hosts[host].swarm.have().has(block.piece());
        assert!(has, "host {host} serves {block:?}, which it does not have");
        if matches!(self.hosts[host].config.conduct, Conduct::Stall | Conduct::FreeRide) {
            return;
        }
        let action = self.interferences.pass(Target::Read);
        let state = &mut self.hosts[host];
        if state.disk.read(&state.config.disk, action) {
            if let Some(&end) = state.ends.get(&peer) {
                self.send(end, Item::Block(block));
            }
        } else {
            self.queue.push(self.now, Happening::ReadFailed { host, peer, block });
        }
    }

    pub(crate) fn verified(&mut self, host: HostIndex, piece: PieceIndex, digests: bool, fate: Fate) {
        if !self.hosts[host].is_here() {
            return;
        }
        self.record(RecordKind::Disk, host, None, Some(piece), 0);
        let outcome = match fate {
            // The hash is looked at before the disk is asked.
            Fate::Refused if !self.hosts[host].wrong.contains_key(&piece) => VerifyOutcome::WriteFailed,
            Fate::Lost => {
                self.hosts[host].wrong.remove(&piece);
                VerifyOutcome::Aborted
            }
            _ => self.hashed(host, piece, digests, fate == Fate::Corrupted),
        };
        if outcome != VerifyOutcome::WriteFailed {
            self.hosts[host].shell.forget(piece);
        }
        let (swarm, now) = self.swarm_now(host);
        swarm.handle_disk(now, DiskDone::Verified { piece, outcome });
        self.drain(host);
    }

    fn hashed(&mut self, host: HostIndex, piece: PieceIndex, digests: bool, corrupted: bool) -> VerifyOutcome {
        let mut wrong = self.hosts[host].wrong.remove(&piece).unwrap_or_default();
        let blocks = self.geometry.blocks_of(piece);
        if corrupted {
            wrong.push(self.random.random_range(0..blocks));
        }
        let digest = |ordinal: usize| [u8::from(wrong.contains(&ordinal)); 20];
        let all = || (0..blocks).map(digest).collect();
        if wrong.is_empty() {
            VerifyOutcome::Written { digests: if digests { all() } else { Vec::new() } }
        } else {
            VerifyOutcome::Mismatch { digests: all() }
        }
    }

    /// The request takes its time to the tracker, the answer the same time back.
    fn announce(&mut self, host: HostIndex, job: AnnounceJob) {
        let action = self.interferences.pass(Target::Announce);
        let Some(tracker) = Tracker::number(&job.url).filter(|&number| number < self.trackers.len()) else { return };
        let at = self.now + nanos(self.network.latency + self.hosts[host].config.link.latency);
        self.queue.push(at, Happening::Announce { host, tracker, action, job: Box::new(job) });
    }

    pub(crate) fn announced(&mut self, host: HostIndex, number: usize, action: Option<Action>, job: &AnnounceJob) {
        self.record(RecordKind::Announce, host, None, None, 0);
        let delay = nanos(self.network.latency + self.hosts[host].config.link.latency);
        let (address, now) = (self.hosts[host].address, self.instant());
        let tracker = &mut self.trackers[number];
        let (mut at, id) = (self.now + delay, job.id);
        let answer = match action {
            Some(Action::Drop) => return,
            Some(Action::Fail) => Err(TrackerError::Refused { reason: "interference".into(), retry_in: None }),
            _ if tracker.is_down(self.now) => Err(TrackerError::Unreachable("down".into())),
            _ => tracker.announce(now, address, &job.announce),
        };
        if let Some(Action::Delay(late)) = action {
            at += nanos(late);
        }
        if action == Some(Action::Duplicate) {
            self.queue.push(at, Happening::Announced { host, id, answer: Box::new(answer.clone()) });
        }
        self.queue.push(at, Happening::Announced { host, id, answer: Box::new(answer) });
    }

    pub(crate) fn answered(&mut self, host: HostIndex, id: u64, answer: Result<AnnounceReply, TrackerError>) {
        if self.hosts[host].is_here() {
            self.record(RecordKind::Announced, host, None, None, 0);
            let (swarm, now) = self.swarm_now(host);
            swarm.handle_announced(now, id, answer);
            self.drain(host);
        }
    }

    /// What a host says first on a connection, by its conduct.
    pub(crate) fn greet(&mut self, host: HostIndex, end: EndIndex) {
        match self.hosts[host].config.conduct {
            Conduct::Lie => self.claim_everything(host, end),
            Conduct::RejectAll => {
                self.claim_everything(host, end);
                self.send(end, Item::Message(Message::Unchoke));
            }
            Conduct::Flood { .. } => self.queue.push(self.now + FLOOD_INTERVAL, Happening::Flood { end }),
            Conduct::Honest | Conduct::Corrupt { .. } | Conduct::Stall | Conduct::FreeRide => {}
        }
    }

    fn claim_everything(&mut self, host: HostIndex, end: EndIndex) {
        let peer = self.ends[end.other().get()].host;
        let fast = self.hosts[host].config.reserved.fast && self.hosts[peer].config.reserved.fast;
        let full = || Message::bitfield(&Bitfield::full(self.geometry.pieces()));
        let claim = if fast { Message::HaveAll } else { full() };
        self.send(end, Item::Message(claim));
    }

    /// A burst of messages without sense.
    pub(crate) fn flood(&mut self, end: EndIndex) {
        let Conduct::Flood { per_second } = self.hosts[self.ends[end.get()].host].config.conduct else { return };
        if !self.ends[end.get()].open || self.geometry.pieces() == 0 {
            return;
        }
        for _ in 0..(per_second / 10).max(1) {
            let piece = self.random.random_range(0..self.geometry.pieces());
            let message = match self.random.random_range(0..6) {
                0 => Message::Interested,
                1 => Message::NotInterested,
                2 => Message::KeepAlive,
                3 => Message::Have(piece),
                4 => Message::Cancel(piece, 0, 1),
                _ => Message::Request(piece, 0, 1),
            };
            self.send(end, Item::Message(message));
        }
        self.queue.push(self.now + FLOOD_INTERVAL, Happening::Flood { end });
    }

    /// A message has come. One whose host rejects everything never sees a request.
    pub(crate) fn message(&mut self, to: EndIndex, message: Message) {
        let end = &self.ends[to.get()];
        let (host, Some(key)) = (end.host, end.key.filter(|_| end.open)) else { return };
        let peer = self.ends[to.other().get()].host;
        self.record_message(host, peer, &message);
        if self.hosts[host].config.conduct == Conduct::RejectAll
            && let Message::Request(index, begin, length) = message
        {
            let [a, b] = [host, peer].map(|host| self.hosts[host].config.reserved.fast);
            if a && b {
                self.send(to, Item::Message(Message::Reject(index, begin, length)));
            }
            return;
        }
        let (swarm, now) = self.swarm_now(host);
        swarm.handle_message(now, key, message);
        self.drain(host);
    }
}

/// Whether a host of this conduct keeps a message of its swarm to itself.
fn withholds(conduct: Conduct, message: &Message) -> bool {
    let claims = matches!(message, Message::HaveAll | Message::HaveNone | Message::Bitfield(_) | Message::Have(_));
    match conduct {
        Conduct::FreeRide => matches!(message, Message::Unchoke | Message::AllowedFast(_)),
        Conduct::Lie => claims,
        Conduct::RejectAll => claims || matches!(message, Message::Choke | Message::Unchoke),
        Conduct::Honest | Conduct::Corrupt { .. } | Conduct::Stall | Conduct::Flood { .. } => false,
    }
}
