//! The open connections of a torrent, and what is to be sent on each.
//!
//! Owns the torrent's end of every connection. Collects what one round of the swarm says to each peer, so that a peer's
//! task is woken once a round and not once a message.

use super::chat::ChatLine;
use crate::connection::{Line, Outbound};
use std::collections::HashMap;
use swarm_proto::id::PeerKey;

#[derive(Default)]
pub(super) struct Connections {
    /// The way to the room, in a torrent that chats.
    pub(super) chat: Option<ChatLine>,
    slots: HashMap<PeerKey, Slot>,
    touched: Vec<PeerKey>,
}

struct Slot {
    line: Line,
    staged: Vec<Outbound>,
}

impl Connections {
    pub(super) fn new(chat: Option<ChatLine>) -> Self {
        Self { chat, ..Self::default() }
    }

    pub(super) fn insert(&mut self, peer: PeerKey, line: Line) {
        self.slots.insert(peer, Slot { line, staged: Vec::new() });
    }

    /// Closes a connection; false if it was closed already.
    pub(super) fn remove(&mut self, peer: PeerKey) -> bool {
        self.slots.remove(&peer).is_some()
    }

    pub(super) fn contains(&self, peer: PeerKey) -> bool {
        self.slots.contains_key(&peer)
    }

    /// Notes something to send, behind all that was noted before.
    pub(super) fn stage(&mut self, peer: PeerKey, outbound: Outbound) {
        if let Some(slot) = self.slots.get_mut(&peer) {
            if slot.staged.is_empty() {
                self.touched.push(peer);
            }
            slot.staged.push(outbound);
        }
    }

    /// Hands over what was noted. Returns the peers whose connections are closed by that: gone, or so slow that too much
    /// waits for them.
    pub(super) fn flush(&mut self) -> Vec<PeerKey> {
        let mut closed = Vec::new();
        for peer in self.touched.drain(..) {
            let Some(slot) = self.slots.get_mut(&peer) else { continue };
            if slot.line.send(std::mem::take(&mut slot.staged)).is_err() {
                self.slots.remove(&peer);
                closed.push(peer);
            }
        }
        closed
    }
}
