//! What each message of a peer means. The match dispatches; each rule stands in the function that it calls.

use super::{CloseReason, PeerFault, Role, Swarm};
use crate::bitfield::Bitfield;
use crate::geometry::PieceIndex;
use crate::id::PeerKey;
use crate::wire::{self, ExtendedHandshake, ExtensionIds, Message};
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Instant;

/// Pieces that a peer may suggest or allow at a time; more are ignored (BEP 6 leaves it open).
const HINTS: usize = 16;
/// New pieces with which a bitfield is worth its length.
const BITFIELD_NEWS: u32 = 16;
/// Bitfields with less news than that which one peer may send at once; one more for each second since.
const IDLE_BITFIELDS: u32 = 16;

impl Swarm {
    /// A message without payload has come from a peer. Messages of connections that are closed already are ignored.
    pub fn handle_message(&mut self, now: Instant, peer: PeerKey, message: Message) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.last_received = now;
        if let Err(fault) = self.obey(now, peer, message) {
            self.close(now, peer, CloseReason::Fault(fault));
        }
    }

    fn obey(&mut self, now: Instant, peer: PeerKey, message: Message) -> Result<(), PeerFault> {
        match message {
            Message::KeepAlive | Message::Port(_) | Message::Unknown(_) => {}
            Message::Choke => self.choked(now, peer),
            Message::Unchoke => self.unchoked(now, peer),
            Message::Interested => self.peer_interested(now, peer),
            Message::NotInterested => self.peer_not_interested(now, peer),
            Message::Have(index) => self.peer_has(now, peer, index)?,
            Message::Bitfield(bits) => self.peer_bitfield(now, peer, &bits)?,
            Message::HaveAll | Message::HaveNone => self.peer_has_all_or_none(now, peer, &message)?,
            Message::Request(index, begin, length) => self.requested(now, peer, (index, begin, length))?,
            Message::Cancel(index, begin, length) => self.cancelled(now, peer, (index, begin, length))?,
            Message::Reject(index, begin, length) => self.rejected(now, peer, (index, begin, length))?,
            Message::Suggest(index) => self.suggested(now, peer, index)?,
            Message::AllowedFast(index) => self.allowed_fast(now, peer, index)?,
            Message::Extended(id, payload) => self.extended(now, peer, id, &payload)?,
        }
        Ok(())
    }

    fn piece(&self, index: u32) -> Result<PieceIndex, PeerFault> {
        self.geometry.piece(index).ok_or(PeerFault::NoSuchPiece(index))
    }

    /// Whether the peer may send the messages of BEP 6.
    pub(super) fn require_fast(&self, peer: PeerKey) -> Result<(), PeerFault> {
        let fast = self.peers.get(&peer).is_some_and(|peer| peer.reserved.fast);
        if fast { Ok(()) } else { Err(PeerFault::FastNotNegotiated) }
    }

    fn peer_has(&mut self, now: Instant, key: PeerKey, index: u32) -> Result<(), PeerFault> {
        let piece = self.piece(index)?;
        let lacking = !self.picker.have().has(piece);
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if peer.has.insert(piece) {
            self.picker.peer_gained(piece);
            if lacking {
                peer.useful += 1;
            }
            self.seen_elsewhere(piece);
            self.update_interest(now, key);
            self.request_from(now, key);
        }
        Ok(())
    }

    fn peer_bitfield(&mut self, now: Instant, key: PeerKey, bits: &Bytes) -> Result<(), PeerFault> {
        let has = Bitfield::from_wire(bits, self.geometry.pieces()).ok_or(PeerFault::Bitfield)?;
        self.add_to_has(now, key, has)
    }

    fn peer_has_all_or_none(&mut self, now: Instant, key: PeerKey, message: &Message) -> Result<(), PeerFault> {
        self.require_fast(key)?;
        let pieces = self.geometry.pieces();
        let all = *message == Message::HaveAll;
        self.add_to_has(now, key, if all { Bitfield::full(pieces) } else { Bitfield::empty(pieces) })
    }

    /// BEP 3 allows one bitfield, and in front of everything else. Real clients (aria2) send a late one instead of 20
    /// `have` messages, many a second on a fast link. So each that brings as much news is taken; of those that don't, a
    /// few, and then one a second, because each is as long as the torrent has pieces.
    fn add_to_has(&mut self, now: Instant, key: PeerKey, has: Bitfield) -> Result<(), PeerFault> {
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        // A late one may be older than a `have` that overtook it: only `lt_donthave` takes pieces away (BEP 54).
        let before = std::mem::replace(&mut peer.has, Bitfield::empty(0));
        let union = before.union(&has);
        let news = union.count().saturating_sub(before.count());
        peer.has = union;
        if news < BITFIELD_NEWS {
            peer.idle_bitfields += 1;
            if peer.idle_bitfields > IDLE_BITFIELDS {
                peer.has = before;
                return Err(PeerFault::TooManyBitfields);
            }
        }
        if news == 0 {
            return Ok(());
        }
        let mut useful = 0;
        if before.is_empty() {
            self.picker.peer_joined(&has);
        }
        let geometry = self.geometry;
        for piece in has.beyond(&before).filter_map(|index| geometry.piece(index)) {
            if !before.is_empty() {
                self.picker.peer_gained(piece);
            }
            useful += u32::from(!self.picker.have().has(piece));
            self.seen_elsewhere(piece);
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.useful += useful;
        }
        self.update_interest(now, key);
        self.request_from(now, key);
        Ok(())
    }

    /// We are interested exactly while the peer has something that we lack (BEP 3).
    pub(super) fn update_interest(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let interested = peer.useful > 0 && self.config.role == Role::Fetch;
        if peer.download.interested != interested {
            peer.download.interested = interested;
            self.send(now, key, if interested { Message::Interested } else { Message::NotInterested });
        }
    }

    fn suggested(&mut self, now: Instant, key: PeerKey, index: u32) -> Result<(), PeerFault> {
        self.require_fast(key)?;
        let piece = self.piece(index)?;
        let lacking = !self.picker.have().has(piece);
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if lacking && peer.has.has(piece) && !peer.download.suggested.contains(&piece) {
            // The newest are the best: the peer knows more now than when it sent the others.
            if peer.download.suggested.len() >= HINTS {
                peer.download.suggested.pop_front();
            }
            peer.download.suggested.push_back(piece);
            peer.download.suggested_at = Some(now);
            self.request_from(now, key);
        }
        Ok(())
    }

    fn allowed_fast(&mut self, now: Instant, key: PeerKey, index: u32) -> Result<(), PeerFault> {
        self.require_fast(key)?;
        // A piece of another torrent is a fault; one that the peer lacks is allowed in advance (BEP 6).
        let piece = self.piece(index)?;
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if peer.download.allowed.len() < HINTS && !peer.download.allowed.contains(&piece) {
            peer.download.allowed.push(piece);
            self.request_from(now, key);
        }
        Ok(())
    }

    fn extended(&mut self, now: Instant, key: PeerKey, id: u8, payload: &Bytes) -> Result<(), PeerFault> {
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if !peer.reserved.extended {
            return Err(PeerFault::ExtensionsNotNegotiated);
        }
        if id == wire::EXTENDED_HANDSHAKE_ID {
            let handshake = ExtendedHandshake::parse(payload).ok_or(PeerFault::Extension)?;
            self.extended_handshake(key, handshake);
            return Ok(());
        }
        if Some(id) == ExtensionIds::OURS.dont_have {
            let index = wire::parse_dont_have(payload).ok_or(PeerFault::Extension)?;
            return self.peer_lost(now, key, index);
        }
        if self.config.chat && Some(id) == ExtensionIds::OURS_WITH_CHAT.chat {
            self.outputs.push_back(super::Output::Chat { peer: key, payload: payload.clone() });
            return Ok(());
        }
        // Numbers that we never gave out: BEP 10 says nothing; others ignore them too.
        Ok(())
    }

    /// May come again at any time (BEP 10); `m` and `upload_only` are as it says last, the rest as it was last mentioned.
    fn extended_handshake(&mut self, key: PeerKey, handshake: ExtendedHandshake) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if let Some(queue) = handshake.request_queue {
            peer.download.window.set_reqq(usize::try_from(queue).unwrap_or(usize::MAX));
        }
        if let Some(port) = handshake.listen_port {
            peer.extension.listens = Some(SocketAddr::new(peer.address.ip(), port));
        }
        let before = std::mem::replace(&mut peer.extension.ids, handshake.ids);
        peer.extension.told = true;
        if self.config.chat && before.chat.is_none() && handshake.ids.chat.is_some() && !peer.extension.chats {
            peer.extension.chats = true;
            let (address, reachable) = (peer.address, peer.reachable_at());
            self.outputs.push_back(super::Output::ChatUp { peer: key, address, reachable });
        }
        peer.extension.upload_only = handshake.upload_only;
        if handshake.client.is_some() {
            peer.extension.client = handshake.client;
        }
    }

    /// BEP 54: the peer no longer has a piece.
    fn peer_lost(&mut self, now: Instant, key: PeerKey, index: u32) -> Result<(), PeerFault> {
        let piece = self.piece(index)?;
        let lacking = !self.picker.have().has(piece);
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if peer.has.remove(piece) {
            self.picker.peer_lost(piece);
            if lacking {
                peer.useful -= 1;
            }
            self.update_interest(now, key);
        }
        Ok(())
    }
}
