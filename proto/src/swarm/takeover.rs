//! A peer with nothing to do for us takes over what another one keeps us waiting for.
//!
//! In a large swarm most of what a peer has is requested already, from peers that have many others to serve. Without
//! this, idle uplinks would look on while ours and everybody's requests wait in the queues of busy ones; with it the
//! request moves: it is cancelled there and made here, so that nothing comes twice but what was on its way.

use super::Swarm;
use super::peer::Peer;
use crate::geometry::{BLOCK_LENGTH, Block};
use crate::id::PeerKey;
use std::time::{Duration, Instant};

/// A peer that has answered nothing for so long is busy with others...
const PATIENCE: Duration = Duration::from_millis(300);
/// ...unless it is so slow that so many blocks take it longer...
const PATIENCE_BLOCKS: u64 = 4;
/// ...but no longer than this.
const MOST_PATIENCE: Duration = Duration::from_secs(5);
/// Where nothing was found to take over, nothing is looked for again for so long: a search looks at all requests.
const PAUSE: Duration = PATIENCE;

impl Swarm {
    /// Takes up to `count` blocks back from the peer that has kept us waiting for longest, of those that this peer has;
    /// whether there were any.
    pub(super) fn take_over(&mut self, now: Instant, key: PeerKey, count: usize) -> bool {
        let Some(idle) = self.peers.get(&key) else { return false };
        if idle.download.found_nothing_at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            return false;
        }
        let found = self.kept_waiting_for(now, key, idle, count);
        if let Some((busy, blocks)) = found {
            blocks.into_iter().for_each(|block| self.cancel(now, busy, block));
            return true;
        }
        if let Some(idle) = self.peers.get_mut(&key) {
            idle.download.found_nothing_at = Some(now);
        }
        false
    }

    /// Whom to take blocks from, and which, the last requests first: they would be answered last.
    fn kept_waiting_for(&self, now: Instant, key: PeerKey, idle: &Peer, count: usize) -> Option<(PeerKey, Vec<Block>)> {
        let busy = self.peers.iter().filter_map(|(other, peer)| {
            let since = peer.download.waiting_since.filter(|since| now.duration_since(*since) >= patience(peer))?;
            (*other != key).then_some((since, *other))
        });
        let mut busy: Vec<(Instant, PeerKey)> = busy.collect();
        busy.sort_unstable();
        let wanted = |block: &Block| idle.has.has(block.piece()) && self.picker.may_join(key, block.piece());
        busy.into_iter().find_map(|(_, busy)| {
            let waited = self.peers.get(&busy)?.download.requests.iter().rev().map(|pending| pending.block);
            let blocks: Vec<Block> = waited.filter(wanted).take(count).collect();
            (!blocks.is_empty()).then_some((busy, blocks))
        })
    }
}

fn patience(peer: &Peer) -> Duration {
    let blocks = PATIENCE_BLOCKS * u64::from(BLOCK_LENGTH) * 1_000;
    let slow = blocks.checked_div(peer.download.window.rate()).map_or(Duration::ZERO, Duration::from_millis);
    slow.clamp(PATIENCE, MOST_PATIENCE)
}
