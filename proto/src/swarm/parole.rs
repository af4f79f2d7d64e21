//! Who may have spoiled a piece.
//!
//! When a piece turns out wrong and its blocks came from several peers, each of them is a suspect: until it has sent a
//! right piece alone, or for [`LENGTH`], it gets whole pieces of its own, one after the other. So the next wrong piece
//! has one sender, and a liar spoils no more pieces of others. While pieces turn out wrong, that goes for strangers too.
//! Owns the list and nothing else. Bounded by [`SUSPECTS`].

use super::Swarm;
use super::bans::{Mark, Offender};
use super::contract::Output;
use super::peer::Peer;
use crate::id::PeerKey;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// So long a suspicion lasts, and so long behind each wrong piece we are wary of strangers.
const LENGTH: Duration = Duration::from_secs(60);
/// Suspects remembered; those whose time ends first make room.
const SUSPECTS: usize = 1_024;

#[derive(Default)]
pub(super) struct Parole {
    until: BTreeMap<Mark, Instant>,
    wary_until: Option<Instant>,
}

impl Parole {
    pub(super) fn suspect(&mut self, now: Instant, mark: Mark) {
        self.until.retain(|_, until| *until > now);
        if self.until.len() >= SUSPECTS && !self.until.contains_key(&mark) {
            let next = self.until.iter().min_by_key(|(_, until)| **until).map(|(mark, _)| *mark);
            next.map(|mark| self.until.remove(&mark));
        }
        self.until.insert(mark, now + LENGTH);
    }

    pub(super) fn acquit(&mut self, mark: Mark) {
        self.until.remove(&mark);
    }

    pub(super) fn holds(&self, now: Instant, mark: Mark) -> bool {
        self.until.get(&mark).is_some_and(|until| *until > now)
    }

    /// A piece was wrong.
    pub(super) fn be_wary(&mut self, now: Instant) {
        self.wary_until = Some(now + LENGTH);
    }

    fn is_wary(&self, now: Instant) -> bool {
        self.wary_until.is_some_and(|until| now < until)
    }

    fn is_empty(&self) -> bool {
        self.until.is_empty()
    }
}

impl Swarm {
    /// Who it is or was, if it is here or has left lately.
    pub(super) fn who(&self, key: PeerKey) -> Option<Offender> {
        let there = self.peers.get(&key).map(|peer| peer.as_offender());
        there.or_else(|| self.departed.iter().find(|(gone, _)| *gone == key).map(|(_, offender)| *offender))
    }

    /// Whether the peer is to have its pieces for itself.
    pub(super) fn is_on_parole(&self, now: Instant, key: PeerKey) -> bool {
        if !self.parole.is_wary(now) {
            return false;
        }
        self.peers.get(&key).is_some_and(|peer| peer.good_pieces == 0 || self.is_suspect(now, peer))
    }

    /// Whether it may have sent a wrong block.
    pub(super) fn is_suspect(&self, now: Instant, peer: &Peer) -> bool {
        !self.parole.is_empty() && self.parole.holds(now, Mark::of(peer.address, peer.peer_id))
    }

    /// Nobody goes on with what a suspect began and left: its blocks are fetched again.
    pub(super) fn disown_departed(&mut self, now: Instant) {
        if self.parole.is_empty() {
            return;
        }
        let suspect = |who: &Offender| self.parole.holds(now, Mark::of(who.address, who.id));
        let gone: Vec<PeerKey> = self.departed.iter().filter(|(_, who)| suspect(who)).map(|(key, _)| *key).collect();
        self.disown(&gone);
    }

    /// Nothing of a liar is kept, whichever connection it came by.
    pub(super) fn disown_all_of(&mut self, offender: &Offender) {
        let mark = Mark::of(offender.address, offender.id);
        let left = self.departed.iter().filter(|(_, who)| Mark::of(who.address, who.id) == mark);
        let left: Vec<PeerKey> = left.map(|(key, _)| *key).collect();
        self.disown(&left);
    }

    /// Only where the shell carries out what is said before it hears of another block: not while a connection's messages
    /// are taken.
    fn disown(&mut self, keys: &[PeerKey]) {
        if keys.is_empty() {
            return;
        }
        for block in self.picker.disown(keys) {
            self.waste(block);
            self.outputs.push_back(Output::ForgetBlock { block });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerId;

    fn mark(number: u32) -> Mark {
        Mark::of((std::net::Ipv4Addr::from(0x0a00_0000 + number), 1).into(), PeerId([1; 20]))
    }

    #[test]
    fn parole_ends_and_the_list_is_bounded() {
        let (mut parole, now) = (Parole::default(), Instant::now());
        parole.suspect(now, mark(0));
        assert!(parole.holds(now, mark(0)) && !parole.holds(now + LENGTH, mark(0)) && !parole.holds(now, mark(1)));
        parole.acquit(mark(0));
        assert!(!parole.holds(now, mark(0)));
        for number in 0..3_000 {
            parole.suspect(now + Duration::from_millis(u64::from(number)), mark(number));
        }
        assert_eq!(parole.until.len(), SUSPECTS);
        assert!(parole.holds(now + LENGTH, mark(2_999)) && !parole.holds(now + LENGTH, mark(1)));
        parole.suspect(now + 2 * LENGTH, mark(1));
        assert_eq!(parole.until.len(), 1, "what has ended is forgotten");
    }
}
