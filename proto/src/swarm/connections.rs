//! Connections come, go, are dialled, judged idle, and make room for better ones.

use super::crowding::may_be_one_peer;
use super::peer::Peer;
use super::uploads::REFUSALS_PER_S;
use super::{CloseReason, Connected, Direction, Event, Output, PeerFault, PeerSource, State, Swarm};
use crate::announce::PeerAddress;
use crate::id::PeerKey;
use crate::limits;
use crate::wire::{ExtendedHandshake, ExtensionIds, Message};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Connection attempts under way at most; the rest of the addresses wait.
const DIALLING: usize = 16;
/// A keep-alive goes out after this silence of ours (BEP 3 expects one each two minutes).
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(100);
/// A peer that is silent for so long is gone.
const IDLE_LIMIT: Duration = Duration::from_secs(150);
/// Requests of ours under way without a single block for so long: the peer never answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Peers whose address is kept after they left, in case a piece that they helped with turns out wrong.
const DEPARTED: usize = 512;
/// Of two connections between the same pair, opened within this time of each other, both sides keep the same one;
/// later ones are refused.
const SIMULTANEOUS: Duration = Duration::from_secs(10);
/// A connection that was silent for so long gives way to a new one of the same peer.
const LOST_TWIN: Duration = Duration::from_secs(20);

impl Swarm {
    /// A connection is up and both handshakes have been exchanged.
    ///
    /// # Errors
    /// When the connection is not wanted: the shell closes it and forgets it.
    pub fn handle_connected(&mut self, now: Instant, connected: Connected) -> Result<PeerKey, CloseReason> {
        if let Err(reason) = self.admit(now, &connected) {
            if connected.direction == Direction::Outgoing {
                match reason {
                    CloseReason::Myself => self.book.never_again(connected.address),
                    CloseReason::Banned => self.book.dialled_banned(now, connected.address, connected.peer_id),
                    CloseReason::Duplicate => self.note_second_address(&connected),
                    _ => self.book.failed(now, connected.address),
                }
            }
            return Err(reason);
        }
        let key = PeerKey(self.next_key);
        self.next_key += 1;
        if connected.direction == Direction::Outgoing {
            self.book.connected(connected.address);
        }
        self.peers.insert(key, Box::new(Peer::new(now, connected, self.geometry.pieces())));
        self.events.push_back(Event::PeerConnected { peer: key, address: connected.address });
        self.greet(now, key);
        self.next_tick = self.next_tick.min(now + super::TICK);
        Ok(key)
    }

    /// Whether the connection is wanted; may close another one for it.
    fn admit(&mut self, now: Instant, connected: &Connected) -> Result<(), CloseReason> {
        if self.state != State::Running {
            return Err(CloseReason::Stopped);
        }
        if connected.peer_id == self.config.peer_id {
            return Err(CloseReason::Myself);
        }
        if self.book.is_banned(now, connected.address, connected.peer_id) {
            return Err(CloseReason::Banned);
        }
        let is_twin = |peer: &Peer| {
            peer.peer_id == connected.peer_id && may_be_one_peer(peer.address.ip(), connected.address.ip())
        };
        let twin = self.peers.iter().find(|(_, peer)| is_twin(peer));
        if let Some((&twin, peer)) = twin {
            let simultaneous = now.duration_since(peer.since) < SIMULTANEOUS;
            let kept = simultaneous && self.is_kept(connected) && peer.direction != connected.direction;
            // A peer that comes again while nothing comes from it here has lost that connection: its host has another
            // address now, or the network was cut.
            let lost = now.duration_since(peer.last_received) >= LOST_TWIN;
            if !kept && !lost {
                return Err(CloseReason::Duplicate);
            }
            self.close(now, twin, CloseReason::Duplicate);
        }
        if self.peers.len() >= self.config.max_peers {
            let victim = self.gives_way(now, connected.address.ip()).ok_or(CloseReason::Crowded)?;
            self.close(now, victim, CloseReason::Crowded);
        }
        Ok(())
    }

    /// Both sides keep the connection that the one with the larger id opened.
    fn is_kept(&self, connected: &Connected) -> bool {
        match connected.direction {
            Direction::Outgoing => self.config.peer_id > connected.peer_id,
            Direction::Incoming => self.config.peer_id < connected.peer_id,
        }
    }

    /// The first messages: what we have (BEP 3, BEP 6), then who we are (BEP 10).
    fn greet(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get(&key) else { return };
        let (reserved, address) = (peer.reserved, peer.address);
        let have = self.picker.have();
        let first = match (reserved.fast, have.is_full(), have.is_empty()) {
            (true, true, _) => Some(Message::HaveAll),
            (true, _, true) => Some(Message::HaveNone),
            (false, _, true) => None,
            _ => Some(Message::bitfield(have)),
        };
        if let Some(message) = first {
            self.send(now, key, message);
        }
        if reserved.extended {
            let handshake = ExtendedHandshake {
                ids: if self.config.chat { ExtensionIds::OURS_WITH_CHAT } else { ExtensionIds::OURS },
                client: Some(self.config.client.clone()),
                listen_port: Some(self.config.listen_port).filter(|&port| port != 0),
                request_queue: u32::try_from(limits::INCOMING_REQUESTS).ok(),
                your_ip: Some(address.ip().to_canonical()),
                metadata_size: Some(self.config.metadata_size).filter(|&size| size != 0),
                upload_only: self.wants_nothing(),
            };
            self.send(now, key, Message::Extended(crate::wire::EXTENDED_HANDSHAKE_ID, handshake.encode().into()));
        }
    }

    /// Sends a chat message to a peer that takes them; others get none.
    pub fn send_chat(&mut self, now: Instant, key: PeerKey, payload: bytes::Bytes) {
        let chats = self.peers.get(&key).filter(|peer| peer.extension.chats);
        if let Some(id) = chats.and_then(|peer| peer.extension.ids.chat) {
            self.send(now, key, Message::Extended(id, payload));
        }
    }

    /// A dial brought no connection.
    pub fn handle_connect_failed(&mut self, now: Instant, address: SocketAddr) {
        self.book.failed(now, address);
        self.dial_due(now);
    }

    /// The connection is gone; not to be called for one that [`Output::Close`] named.
    pub fn handle_closed(&mut self, now: Instant, peer: PeerKey) {
        self.forget_peer(now, peer, None);
    }

    /// The connection task met bytes that break a rule.
    pub fn handle_fault(&mut self, now: Instant, peer: PeerKey, fault: PeerFault) {
        self.close(now, peer, CloseReason::Fault(fault));
    }

    /// Shuts a peer out, and closes its connection if there is one.
    pub(super) fn ban(&mut self, now: Instant, key: PeerKey) {
        let Some(offender) = self.who(key) else { return };
        self.close(now, key, CloseReason::Fault(PeerFault::CorruptData));
        self.disown_all_of(&offender);
        if self.book.is_banned(now, offender.address, offender.id) {
            return;
        }
        self.book.ban(now, &offender);
        self.traffic.banned_peers += 1;
        self.events.push_back(Event::PeerBanned(offender.address));
        // It may have come back since.
        let one_peer =
            |peer: &Peer| peer.peer_id == offender.id && may_be_one_peer(peer.address.ip(), offender.address.ip());
        let same = self.peers.iter().filter(|(_, peer)| one_peer(peer));
        let same: Vec<PeerKey> = same.map(|(key, _)| *key).collect();
        for key in same {
            self.close(now, key, CloseReason::Banned);
        }
    }

    /// Closes a connection.
    pub(super) fn close(&mut self, now: Instant, key: PeerKey, reason: CloseReason) {
        if self.peers.contains_key(&key) {
            self.outputs.push_back(Output::Close { peer: key, reason });
            self.forget_peer(now, key, Some(reason));
        }
    }

    fn forget_peer(&mut self, now: Instant, key: PeerKey, reason: Option<CloseReason>) {
        let Some(mut peer) = self.peers.remove(&key) else { return };
        for block in peer.download.take_all() {
            self.picker.release(block, key);
        }
        if self.is_suspect(now, &peer) {
            self.picker.withhold(key);
        }
        self.picker.peer_left(&peer.has);
        self.spread.peer_left(key);
        self.turns.peer_left(key);
        self.dial_again_later(now, &peer, reason);
        if self.departed.len() >= DEPARTED {
            self.departed.pop_front();
        }
        self.departed.push_back((key, peer.as_offender()));
        self.events.push_back(Event::PeerClosed { peer: key, address: peer.address, reason });
        if self.state == State::Running {
            self.request_from_all(now);
            self.fill_upload_slots(now);
            self.give_turns(now);
        }
    }

    /// The peer that we dialled is connected already: its address is in use as long as that connection stands.
    fn note_second_address(&mut self, connected: &Connected) {
        self.book.connected(connected.address);
        let twin = self.peers.values_mut().find(|peer| peer.peer_id == connected.peer_id);
        if let Some(twin) = twin.filter(|twin| twin.direction == Direction::Incoming) {
            twin.extension.listens = Some(connected.address);
        }
    }

    /// A connection has ended: whether and when its address is dialled again.
    fn dial_again_later(&mut self, now: Instant, peer: &Peer, reason: Option<CloseReason>) {
        let known = |address: &SocketAddr| peer.direction == Direction::Outgoing || self.book.is_connected(*address);
        let Some(address) = peer.reachable_at().filter(known) else { return };
        match reason {
            Some(CloseReason::NothingToTrade | CloseReason::Myself) => {
                self.book.never_again(address);
                return;
            }
            // Whoever breaks rules is dialled less and less, whatever else came from it.
            Some(CloseReason::Fault(_) | CloseReason::Banned) => {}
            _ if peer.download.bytes > 0 || peer.upload.bytes > 0 => self.book.proved(address),
            _ => {}
        }
        self.book.failed(now, address);
    }

    /// Learns of an address. Of a private torrent (BEP 27) only trackers and the user may name any; whoever passes on what
    /// the metainfo names sees to that.
    pub(super) fn learn(&mut self, now: Instant, peer: PeerAddress, source: PeerSource) {
        if peer.peer_id == Some(self.config.peer_id) {
            return;
        }
        self.book.add(now, peer.address, source);
    }

    /// Dials what is due while there is room.
    pub(super) fn dial_due(&mut self, now: Instant) {
        if self.state != State::Running {
            return;
        }
        while self.book.dialling() < DIALLING && self.peers.len() + self.book.dialling() < self.config.max_peers {
            let Some(address) = self.book.take_due(now) else { break };
            self.outputs.push_back(Output::Dial { address });
        }
    }

    /// Looks after every connection once a tick: silence, keep-alives, requests that get no answer.
    pub(super) fn check_peers(&mut self, now: Instant) {
        let mut closing = Vec::new();
        let mut silent = Vec::new();
        let wants_nothing = self.wants_nothing();
        for (&key, peer) in &mut self.peers {
            peer.idle_bitfields = peer.idle_bitfields.saturating_sub(1);
            peer.download.unrequested = peer.download.unrequested.saturating_sub(1);
            peer.upload.refused = peer.upload.refused.saturating_sub(REFUSALS_PER_S);
            let unanswered = peer.download.waiting_since.is_some_and(|since| now.duration_since(since) >= ANSWER_LIMIT);
            if now.duration_since(peer.last_received) >= IDLE_LIMIT {
                closing.push((key, CloseReason::Idle));
            } else if unanswered {
                closing.push((key, CloseReason::Fault(PeerFault::NeverAnswers)));
            } else if wants_nothing
                && (peer.is_seed() || peer.extension.upload_only)
                && !peer.may_chat(now, self.config.chat)
            {
                closing.push((key, CloseReason::NothingToTrade));
            } else if now.duration_since(peer.last_sent) >= KEEP_ALIVE_AFTER {
                silent.push(key);
            }
        }
        for (key, reason) in closing {
            self.close(now, key, reason);
        }
        for key in silent {
            self.send(now, key, Message::KeepAlive);
        }
        self.expire_requests(now);
    }
}
