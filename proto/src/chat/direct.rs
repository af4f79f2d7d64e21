//! Messages between two people, on their way through others.
//!
//! A message goes to the neighbour from whom the newest of its recipient came first. What gets no answer is sent again to
//! several neighbours at once, so nobody on the way can keep two people apart as long as there is another way.

use super::Room;
use super::envelope::{Body, Unverified};
use super::flood::Way;
use super::frame::Frame;
use super::identity::PublicKey;
use super::payload::Payload;
use super::people::Kind;
use crate::id::PeerKey;
use crate::limits;
use bytes::Bytes;
use std::time::Instant;

impl Room {
    /// Sends something to one person; `again` if it was sent before and got no answer.
    pub(super) fn send_direct(&mut self, now: Instant, to: PublicKey, payload: &Payload, again: bool) {
        let read = self.seal(now, Body::Direct { to, payload: payload.encode().into() });
        self.note_seen(&read, Kind::Direct);
        self.pass_on(&to, &read, None, limits::CHAT_HOPS, again);
    }

    pub(super) fn take_direct(&mut self, now: Instant, from: PeerKey, read: Unverified, way: Way, hops: u8) {
        self.note_seen(&read, Kind::Direct);
        let Body::Direct { to, payload } = &read.envelope.body else { return };
        let author = read.envelope.author;
        if *to == self.me.key {
            if author != self.me.key {
                match Payload::parse(payload) {
                    Some(payload) => self.take_payload(now, author, payload),
                    None => self.stats.malformed += 1,
                }
            }
            return;
        }
        if self.people.is_blocked(to) {
            self.stats.blocked += 1;
            return;
        }
        self.stats.relayed_direct += 1;
        self.pass_on(to, &read, Some(from), hops.saturating_sub(1), matches!(way, Way::Push(_)));
    }

    /// Passes a message on to its recipient: one way, or several.
    fn pass_on(&mut self, to: &PublicKey, read: &Unverified, from: Option<PeerKey>, hops: u8, flood: bool) {
        if hops == 0 {
            return;
        }
        let message: Bytes = read.bytes.clone();
        let is_other = |key: &PeerKey| Some(*key) != from && self.neighbours.contains_key(key);
        let itself = self.neighbours.iter().find(|(_, state)| state.key == Some(*to)).map(|(key, _)| *key);
        let route = self.people.author(to).and_then(|author| author.route);
        match itself.filter(is_other).or(route.filter(is_other)) {
            Some(next) if !flood => self.send_message(next, read.id, Frame::Route { hops, message }),
            _ => {
                let mut lacking = self.lacking(&read.id, from);
                let mut chosen = self.choose(&mut lacking);
                // The recipient itself, whomever chance has chosen.
                chosen.extend(itself.filter(|key| lacking.contains(key)));
                for next in chosen {
                    self.send_message(next, read.id, Frame::Push { hops, message: message.clone() });
                }
            }
        }
    }
}
