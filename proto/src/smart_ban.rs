//! Who sent the bad block of a piece that did not match its hash.
//!
//! Owns the digests of the blocks of failed pieces and who sent each, until the piece passes and the digests of the
//! right blocks show who lied. Never closes or bans anybody: it names culprits. Never grows beyond [`BLOCKS`] records.

use crate::geometry::PieceIndex;
use crate::id::{HASH_LENGTH, PeerKey};
use std::collections::VecDeque;
use std::net::IpAddr;

/// Blocks of failed pieces that are remembered; the oldest pieces make room. Less than 5 MiB, and one failure of a
/// piece of the largest size.
pub const BLOCKS: usize = 65_536;

/// SHA-1 of a block.
pub type BlockDigest = [u8; HASH_LENGTH];

/// Who sent a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Sender {
    /// The connection, which may be gone.
    pub peer: PeerKey,
    /// Where it came from.
    pub address: IpAddr,
}

/// One bad or innocent block of a failed piece.
struct Record {
    ordinal: u32,
    digest: BlockDigest,
    sender: Sender,
}

/// All that is known of one failed piece.
struct Failed {
    piece: PieceIndex,
    records: Vec<Record>,
}

/// The failed pieces that have not passed yet, the one that failed last at the end.
#[derive(Default)]
pub struct SmartBan {
    failed: VecDeque<Failed>,
    blocks: usize,
}

impl SmartBan {
    /// Nothing has failed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the digests of the piece's blocks are wanted when it passes.
    pub fn remembers(&self, piece: PieceIndex) -> bool {
        self.failed.iter().any(|failed| failed.piece == piece)
    }

    /// Blocks that are remembered.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Takes note of a piece that did not match its hash. `digests` and `senders` are those of its blocks in order; a
    /// block without a sender came from our own disk.
    ///
    /// Whoever sent all of it is guilty at once and returned; then nothing is remembered.
    pub fn piece_failed(
        &mut self,
        piece: PieceIndex,
        digests: &[BlockDigest],
        senders: &[Option<Sender>],
    ) -> Option<Sender> {
        if let Some(culprit) = sole_sender(senders) {
            return Some(culprit);
        }
        let mut records = self.forget(piece);
        for (ordinal, (&digest, sender)) in digests.iter().zip(senders).enumerate() {
            let (Some(sender), Ok(ordinal)) = (*sender, u32::try_from(ordinal)) else { continue };
            records.push(Record { ordinal, digest, sender });
        }
        // The same block from the same peer, as bad or good as before, says nothing new.
        records.sort_unstable_by_key(|record| (record.ordinal, record.digest, record.sender));
        records.dedup_by_key(|record| (record.ordinal, record.digest, record.sender));
        records.truncate(BLOCKS);
        self.blocks += records.len();
        self.failed.push_back(Failed { piece, records });
        while self.blocks > BLOCKS {
            self.blocks -= self.failed.pop_front().map_or(self.blocks, |oldest| oldest.records.len());
        }
        None
    }

    /// The piece has passed with these blocks: everybody who sent another one before, each once, in order of the keys.
    pub fn convict(&mut self, piece: PieceIndex, good_digests: &[BlockDigest]) -> Vec<Sender> {
        let bad = |record: &Record| {
            let good = good_digests.get(record.ordinal as usize);
            good.is_some_and(|good| *good != record.digest).then_some(record.sender)
        };
        let mut culprits: Vec<Sender> = self.forget(piece).iter().filter_map(bad).collect();
        culprits.sort_unstable();
        culprits.dedup();
        culprits
    }

    /// Drops what is known of the piece and returns it.
    fn forget(&mut self, piece: PieceIndex) -> Vec<Record> {
        let at = self.failed.iter().position(|failed| failed.piece == piece);
        let records = at.and_then(|at| self.failed.remove(at)).map_or_else(Vec::new, |failed| failed.records);
        self.blocks -= records.len();
        records
    }
}

fn sole_sender(senders: &[Option<Sender>]) -> Option<Sender> {
    let first = (*senders.first()?)?;
    senders.iter().all(|sender| sender.is_some_and(|sender| sender.peer == first.peer)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Geometry;
    use std::net::Ipv4Addr;

    fn sender(number: u8) -> Sender {
        Sender { peer: PeerKey(number.into()), address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)) }
    }

    /// Blocks whose contents are told by one character each, and who sent them by one digit each.
    fn blocks(contents: &str, senders: &str) -> (Vec<BlockDigest>, Vec<Option<Sender>>) {
        let digests = contents.bytes().map(|content| [content; HASH_LENGTH]).collect();
        let senders = senders.chars().map(|digit| Some(sender(u8::try_from(digit.to_digit(10)?).ok()?))).collect();
        (digests, senders)
    }

    fn piece(index: u32) -> PieceIndex {
        Geometry::new(1 << 24, 1).unwrap().piece(index).unwrap()
    }

    fn fail(ban: &mut SmartBan, index: u32, contents: &str, senders: &str) -> Option<Sender> {
        let (digests, senders) = blocks(contents, senders);
        ban.piece_failed(piece(index), &digests, &senders)
    }

    fn pass(ban: &mut SmartBan, index: u32, contents: &str) -> Vec<Sender> {
        ban.convict(piece(index), &blocks(contents, "").0)
    }

    #[test]
    fn who_sent_all_of_it_is_guilty_at_once() {
        let mut ban = SmartBan::new();
        assert_eq!(fail(&mut ban, 0, "aXcd", "1111"), Some(sender(1)));
        assert!(!ban.remembers(piece(0)));
        assert_eq!(fail(&mut ban, 0, "aXcd", "111-"), None, "one block was our own");
        assert_eq!(fail(&mut ban, 0, "", ""), None);
    }

    #[test]
    fn the_blocks_that_differ_convict_and_no_others() {
        let mut ban = SmartBan::new();
        assert_eq!(fail(&mut ban, 0, "aXcd", "1213"), None);
        assert_eq!(fail(&mut ban, 0, "YXcd", "4213"), None, "failed again");
        assert!(ban.remembers(piece(0)));
        assert_eq!(pass(&mut ban, 1, "abcd"), []);
        assert_eq!(pass(&mut ban, 0, "abcd"), [sender(2), sender(4)]);
        assert_eq!(pass(&mut ban, 0, "abcd"), [], "judged once");
        assert_eq!(ban.blocks(), 0);
    }

    #[test]
    fn short_lists_do_no_harm() {
        let mut ban = SmartBan::new();
        assert_eq!(fail(&mut ban, 0, "aX", "12345"), None);
        assert_eq!(pass(&mut ban, 0, "a"), []);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_makes_room() {
        let mut ban = SmartBan::new();
        let senders: String = "12".repeat(500);
        for index in 0..100 {
            fail(&mut ban, index, &"x".repeat(1_000), &senders);
        }
        assert!(ban.blocks() <= BLOCKS && ban.blocks() > BLOCKS - 1_000);
        assert!(!ban.remembers(piece(0)) && ban.remembers(piece(99)));
        fail(&mut ban, 99, &"x".repeat(BLOCKS + 7), &"12".repeat(BLOCKS));
        assert_eq!(ban.blocks(), BLOCKS);
        for _ in 0..100 {
            fail(&mut ban, 5, "yz", "12");
        }
        assert_eq!((ban.blocks(), ban.remembers(piece(5))), (2, true), "the same again takes no room");
    }
}
