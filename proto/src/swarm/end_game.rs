//! When a block is requested a second time.
//!
//! The end game asks whoever is idle for what others were asked for. A small torrent is in it before the first answer has come: all
//! of it fits into the first windows of a few peers, and would be fetched two or three times. So there it waits until somebody has
//! been asked for a while.

use super::Swarm;
use crate::geometry::BLOCK_LENGTH;
use crate::id::PeerKey;
use std::time::{Duration, Instant};

/// A torrent is small up to so many bytes: twice what fits into the first windows of the 60 or so peers of a usual swarm.
const SMALL: u64 = 1_024 * BLOCK_LENGTH as u64;
/// In a small torrent, a request is left to the peer that has it for so long: some round trips, and half as long as it takes until
/// requests are taken over.
const PATIENCE: Duration = Duration::from_millis(150);

impl Swarm {
    /// Whether this peer may be asked for what others were asked for. If it may only later, all are looked at again then.
    pub(super) fn may_ask_again(&mut self, now: Instant, key: PeerKey) -> bool {
        if self.geometry.total_length() > SMALL || !self.picker.in_end_game() {
            return true;
        }
        let others = self.peers.iter().filter(|(other, _)| **other != key);
        let oldest = others.filter_map(|(_, peer)| peer.download.requests.front()).map(|pending| pending.at).min();
        let Some(due) = oldest.map(|at| at + PATIENCE).filter(|due| now < *due) else { return true };
        self.ask_again_at = Some(self.ask_again_at.map_or(due, |at| at.min(due)));
        false
    }

    /// Somebody may be asked for what others have not sent.
    pub(super) fn ask_again(&mut self, now: Instant) {
        if self.ask_again_at.take_if(|at| now >= *at).is_some() {
            self.request_from_all(now);
        }
    }
}
