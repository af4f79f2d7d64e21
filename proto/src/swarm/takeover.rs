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

impl Swarm {
    /// Takes up to `count` blocks back from the peer that has kept us waiting for longest, of those that this peer has;
    /// whether there were any.
    pub(super) fn take_over(&mut self, now: Instant, key: PeerKey, count: usize) -> bool {
        let Some(idle) = self.peers.get(&key) else { return false };
        let wanted = |block: Block| idle.has.has(block.piece()) && self.picker.may_join(key, block.piece());
        let busy = self.peers.iter().filter_map(|(other, peer)| {
            let since = peer.download.waiting_since.filter(|since| now.duration_since(*since) >= patience(peer))?;
            (*other != key && peer.download.requests.iter().any(|pending| wanted(pending.block)))
                .then_some((since, *other))
        });
        let Some((_, busy)) = busy.min() else { return false };
        let Some(peer) = self.peers.get(&busy) else { return false };
        let waited = peer.download.requests.iter().rev().map(|pending| pending.block);
        // The last requests first: they would be answered last.
        let blocks: Vec<Block> = waited.filter(|block| wanted(*block)).take(count).collect();
        for block in blocks {
            self.cancel(now, busy, block);
        }
        true
    }
}

fn patience(peer: &Peer) -> Duration {
    let blocks = PATIENCE_BLOCKS * u64::from(BLOCK_LENGTH) * 1_000;
    let slow = blocks.checked_div(peer.download.window.rate()).map_or(Duration::ZERO, Duration::from_millis);
    slow.clamp(PATIENCE, MOST_PATIENCE)
}
