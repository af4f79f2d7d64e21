//! What peers request of us: queued, bounded, refused where they must be.
//!
//! Whose requests are served next is decided in [`super::turns`].

use super::peer::Upload;
use super::{PeerFault, Swarm};
use crate::announce::Reach;
use crate::geometry::{BLOCK_LENGTH, Block, PieceIndex};
use crate::id::PeerKey;
use crate::limits;
use crate::wire::Message;
use sha1::{Digest, Sha1};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// Requests that are refused one by one before the connection is closed: a peer that asks again at once whatever is
/// refused would keep both sides busy for ever...
const REFUSALS: u32 = 10_000;
/// ...and how many more each second: an honest peer's requests cross our chokes.
pub(super) const REFUSALS_PER_S: u32 = 100;
/// BEP 6: pieces that a peer may take while choked.
const ALLOWED_FAST: usize = 10;
/// Hosts that were allowed some, and are not allowed any again: the last so many.
const ALLOWED_HOSTS: usize = 1_024;
/// BEP 6: a peer that has more pieces than this needs no help to start.
const ALLOWED_FAST_UP_TO: u32 = 10;

impl Swarm {
    /// The peer asks for a block.
    pub(super) fn requested(&mut self, now: Instant, key: PeerKey, block: (u32, u32, u32)) -> Result<(), PeerFault> {
        let block = self.wire_block(block)?;
        let have = self.picker.have().has(block.piece());
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        let upload = &mut peer.upload;
        let full = upload.requests.len() >= limits::INCOMING_REQUESTS;
        if !have || full || upload.choked && !take_allowance(&mut upload.allowed, block) {
            upload.refused += 1;
            if upload.refused > REFUSALS {
                return Err(PeerFault::RequestFlood);
            }
            self.refuse(now, key, block);
            return Ok(());
        }
        self.piece_begun(now, key, block.piece());
        let own = self.spread.is_own(key, block.piece());
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.upload.requests.push(block, own);
        }
        self.pump_uploads(now, key);
        Ok(())
    }

    fn wire_block(&self, (index, begin, length): (u32, u32, u32)) -> Result<Block, PeerFault> {
        self.geometry.wire_block(index, begin, length).ok_or(PeerFault::NoSuchBlock(index, begin, length))
    }

    /// BEP 6 says no aloud; without it a request is dropped in silence.
    pub(super) fn refuse(&mut self, now: Instant, key: PeerKey, block: Block) {
        if self.peers.get(&key).is_some_and(|peer| peer.reserved.fast) {
            let message = Message::Reject(block.piece().as_u32(), block.begin(), block.length());
            self.send(now, key, message);
        }
    }

    /// The peer no longer wants a block. With BEP 6 every request gets an answer: this one a reject, unless the block
    /// is on its way.
    pub(super) fn cancelled(&mut self, now: Instant, key: PeerKey, block: (u32, u32, u32)) -> Result<(), PeerFault> {
        let block = self.wire_block(block)?;
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if peer.upload.requests.remove(block) {
            self.refuse(now, key, block);
        }
        Ok(())
    }

    /// The shell has given a block's bytes to the socket.
    pub fn handle_uploaded(&mut self, now: Instant, peer: PeerKey, block: Block) {
        let length = u64::from(block.length());
        self.traffic.uploaded += length;
        self.traffic.upload_rate.record(now, length);
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.last_sent = now;
        state.upload.handed = state.upload.handed.saturating_sub(length);
        state.upload.bytes += length;
        state.upload.bytes_since_unchoke += length;
        state.upload.rate.record(now, length);
        self.fed(now, peer, block);
        if self.is_uplink_idle() {
            self.fill_upload_slots(now);
        }
    }

    /// A connection has ended in the middle of a block of which the shell had given so many bytes to the socket.
    pub fn handle_cut_short(&mut self, now: Instant, bytes: u64) {
        self.traffic.uploaded += bytes;
        self.traffic.upload_rate.record(now, bytes);
    }

    /// Empties the queue of a peer that is being choked: with BEP 6 all but the allowed pieces are rejected.
    pub(super) fn drop_requests(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let Upload { requests, allowed, .. } = &mut peer.upload;
        for block in requests.take_unless(|block| take_allowance(allowed, block)) {
            self.refuse(now, key, block);
        }
    }

    /// BEP 6: lets a choked beginner take a few pieces, so that it has something to trade. Once a host: whoever comes again
    /// and again would be served without ever being unchoked.
    pub(super) fn allow_fast(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get(&key) else { return };
        let beginner = peer.reserved.fast && peer.upload.choked && peer.has.count() <= ALLOWED_FAST_UP_TO;
        // Neighbours are allowed the same pieces: just what a lone seed must not send.
        if !beginner || !peer.upload.allowed.is_empty() || self.is_spreading() {
            return;
        }
        let numbers = allowed_fast_set(peer.address, &self.config.info_hash.0, self.geometry.pieces());
        let wanted = |piece: &PieceIndex| self.picker.have().has(*piece) && !peer.has.has(*piece);
        let host = peer.address.ip();
        let pieces: Vec<PieceIndex> =
            numbers.into_iter().filter_map(|number| self.geometry.piece(number)).filter(wanted).collect();
        // On loopback all are one host.
        if !pieces.is_empty() && Reach::of(host) > Reach::Loopback {
            if self.allowed_hosts.contains(&host) {
                return;
            }
            if self.allowed_hosts.len() == ALLOWED_HOSTS {
                self.allowed_hosts.pop_front();
            }
            self.allowed_hosts.push_back(host);
        }
        for piece in pieces {
            // Each block once, and a second time for what got lost on the way.
            let budget = u32::try_from(self.geometry.blocks_of(piece) * 2).unwrap_or(u32::MAX);
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.upload.allowed.push((piece, budget));
            }
            self.send(now, key, Message::AllowedFast(piece.as_u32()));
        }
    }
}

/// Whether a choked peer may still take this block; counts it, and one that is larger than others as several.
fn take_allowance(allowed: &mut [(PieceIndex, u32)], block: Block) -> bool {
    let cost = block.length().div_ceil(BLOCK_LENGTH);
    let budget = allowed.iter_mut().find(|(piece, left)| *piece == block.piece() && *left >= cost);
    budget.is_some_and(|(_, left)| {
        *left -= cost;
        true
    })
}

/// BEP 6: the pieces that every peer of the swarm would allow to this address, so that it gains nothing by asking many.
/// Defined for IPv4 only.
fn allowed_fast_set(address: SocketAddr, info_hash: &[u8; 20], pieces: u32) -> Vec<u32> {
    let IpAddr::V4(ip) = address.ip().to_canonical() else { return Vec::new() };
    if pieces == 0 {
        return Vec::new();
    }
    let wanted = ALLOWED_FAST.min(pieces as usize);
    let mut set = Vec::with_capacity(wanted);
    let masked = u32::from(ip) & 0xffff_ff00;
    let mut seed = [masked.to_be_bytes().as_slice(), info_hash].concat();
    while set.len() < wanted {
        seed = Sha1::digest(&seed).to_vec();
        for word in seed.chunks_exact(4) {
            let number = word.try_into().map_or(0, u32::from_be_bytes) % pieces;
            if set.len() < wanted && !set.contains(&number) {
                set.push(number);
            }
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowed_fast_set_is_that_of_the_specification() {
        // The example of BEP 6: 80.4.4.200, an info hash of 0xaa bytes, 1,313 pieces.
        let address = SocketAddr::from(([80, 4, 4, 200], 1));
        let expected = [1059, 431, 808, 1217, 287, 376, 1188, 353, 508, 1246];
        assert_eq!(allowed_fast_set(address, &[0xaa; 20], 1_313), expected);
        assert_eq!(allowed_fast_set(address, &[0xaa; 20], 3).len(), 3);
        assert!(allowed_fast_set(address, &[0xaa; 20], 0).is_empty());
        assert!(allowed_fast_set("[2001:db8::1]:1".parse().unwrap(), &[0xaa; 20], 9).is_empty());
    }
}
