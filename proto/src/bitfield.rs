//! A set of pieces, one bit each, in the order of the wire (BEP 3: the high bit of the first byte is piece 0).

use crate::geometry::PieceIndex;
use crate::walk;
use bitvec::prelude::{BitVec, Msb0};

/// Which pieces somebody has. Its length is that of the torrent for ever; spare bits are always zero.
///
/// Beside the bits it knows which words of 64 pieces are not empty, and which are not full, so that the few pieces that
/// are of interest among millions are found without a walk over all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bitfield {
    bits: BitVec<u8, Msb0>,
    ones: u32,
    /// A bit for each word that has a piece, the first in the highest bit...
    some: Box<[u64]>,
    /// ...and for each that lacks one.
    lacking: Box<[u64]>,
}

impl Bitfield {
    /// No pieces of a torrent of so many.
    pub fn empty(pieces: u32) -> Self {
        Self::of(BitVec::repeat(false, pieces as usize), 0)
    }

    /// All pieces of a torrent of so many.
    pub fn full(pieces: u32) -> Self {
        let mut bits = BitVec::repeat(true, pieces as usize);
        bits.set_uninitialized(false);
        Self::of(bits, pieces)
    }

    /// A set of so many pieces.
    fn of(bits: BitVec<u8, Msb0>, ones: u32) -> Self {
        let marks = bits.len().div_ceil(64 * 64);
        let mut set = Self { bits, ones, some: vec![0; marks].into(), lacking: vec![0; marks].into() };
        (0..set.words()).for_each(|word| set.mark(word));
        set
    }

    /// Brings what is known of a word up to date.
    fn mark(&mut self, word: usize) {
        let (bits, all) = (self.word(word), self.full_word(word));
        let (index, bit) = (word / 64, 1 << (63 - word % 64));
        let put = |marks: &mut [u64], is_set: bool| {
            if let Some(mark) = marks.get_mut(index) {
                *mark = if is_set { *mark | bit } else { *mark & !bit };
            }
        };
        put(&mut self.some, bits != 0);
        put(&mut self.lacking, bits != all);
    }

    /// A word of all pieces that it may have.
    fn full_word(&self, word: usize) -> u64 {
        match self.bits.len().saturating_sub(word.saturating_mul(64)) {
            0 => 0,
            rest @ 1..64 => !(u64::MAX >> rest),
            _ => u64::MAX,
        }
    }

    /// The body of a `bitfield` message: exactly as many bytes as the pieces need and no spare bit set, or nothing.
    pub fn from_wire(bytes: &[u8], pieces: u32) -> Option<Self> {
        if bytes.len() != (pieces as usize).div_ceil(8) {
            return None;
        }
        let mut bits = BitVec::<u8, Msb0>::from_slice(bytes);
        // Not by the last bit that is set: bitvec 1.1.1 underflows when it seeks that among zeros alone.
        if bits.get(pieces as usize..).is_none_or(|spare| spare.any()) {
            return None;
        }
        bits.truncate(pieces as usize);
        let ones = u32::try_from(bits.count_ones()).ok()?;
        Some(Self::of(bits, ones))
    }

    /// The body of a `bitfield` message.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut bytes = self.bits.clone();
        bytes.set_uninitialized(false);
        bytes.into_vec()
    }

    /// Number of pieces of the torrent.
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.bits.len()).unwrap_or(u32::MAX)
    }

    /// Number of pieces in the set.
    pub fn count(&self) -> u32 {
        self.ones
    }

    /// Whether no piece is in the set.
    pub fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// Whether every piece is in the set.
    pub fn is_full(&self) -> bool {
        self.ones == self.pieces()
    }

    /// Whether this piece is in the set; false for a piece of another, larger torrent.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.bits.get(piece.as_usize()).is_some_and(|bit| *bit)
    }

    /// Puts a piece in; true if it was not there before.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        self.set(piece, true)
    }

    /// Takes a piece out; true if it was there before.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        self.set(piece, false)
    }

    fn set(&mut self, piece: PieceIndex, value: bool) -> bool {
        let Some(mut bit) = self.bits.get_mut(piece.as_usize()) else { return false };
        let changed = *bit != value;
        *bit = value;
        drop(bit);
        if changed {
            self.ones = if value { self.ones + 1 } else { self.ones - 1 };
            self.mark(piece.as_usize() / 64);
        }
        changed
    }

    /// 64 pieces from `64 * word` on, the first of them in the highest bit; 0 behind the end. For walks over many pieces.
    pub(crate) fn word(&self, word: usize) -> u64 {
        let bytes = self.bits.as_raw_slice();
        let start = word.saturating_mul(8);
        if let Some(chunk) = bytes.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
            return u64::from_be_bytes(*chunk);
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(bytes.iter().skip(start)) {
            *to = *from;
        }
        u64::from_be_bytes(last)
    }

    /// Number of [`words`](Self::word) that hold the set.
    pub(crate) fn words(&self) -> usize {
        self.bits.len().div_ceil(64)
    }

    /// The pieces that are in either set; both of the same torrent.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut bits = self.bits.clone();
        bits |= &other.bits;
        let ones = u32::try_from(bits.count_ones()).unwrap_or(u32::MAX);
        Self::of(bits, ones)
    }

    /// Numbers of the pieces that are in this set and not in the other, ascending.
    pub(crate) fn beyond(&self, other: &Self) -> impl Iterator<Item = u32> {
        self.beyond_from(other, 0, self.pieces())
    }

    /// As [`Bitfield::beyond`], from one piece on and up to another.
    pub(crate) fn beyond_from(&self, other: &Self, start: u32, end: u32) -> impl Iterator<Item = u32> {
        let marks = |marks: &[u64], index: usize| marks.get(index).copied().unwrap_or(0);
        let mark = move |index| marks(&self.some, index) & marks(&other.lacking, index);
        walk::marked_pieces_from(start, end, mark, |word| self.word(word) & !other.word(word))
    }

    /// Numbers of the pieces in the set, ascending. From one end only: see [`Bitfield::from_wire`] for what bitvec does at
    /// the other.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.bits.iter_ones().filter_map(|index| u32::try_from(index).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Geometry;

    #[test]
    fn wire_form_is_exact() {
        assert_eq!(Bitfield::from_wire(&[0b1010_0000], 3).unwrap().iter().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(Bitfield::from_wire(&[0b1011_0000], 3), None, "a spare bit");
        assert_eq!(Bitfield::from_wire(&[0, 0], 3), None, "a spare byte");
        assert_eq!(Bitfield::from_wire(&[], 3), None);
        for pieces in 0..80 {
            let empty = Bitfield::empty(pieces);
            assert_eq!(Bitfield::from_wire(&empty.to_wire(), pieces), Some(empty), "{pieces} pieces, none of them had");
        }
        assert_eq!(Bitfield::full(11).to_wire(), [0xff, 0xe0]);
        let full = Bitfield::full(11);
        assert_eq!(Bitfield::from_wire(&full.to_wire(), 11), Some(full));
    }

    #[test]
    fn words_hold_the_pieces_from_the_high_bit_and_nothing_behind_the_end() {
        for full in [Bitfield::full(70), Bitfield::from_wire(&Bitfield::full(70).to_wire(), 70).unwrap()] {
            assert_eq!((full.words(), full.word(0), full.word(1), full.word(2)), (2, u64::MAX, 0xfc00 << 48, 0));
        }
    }

    #[test]
    fn the_marks_follow_every_change() {
        for pieces in [1, 63, 64, 65, 4_095, 4_096, 4_097, 10_000] {
            let geometry = Geometry::new(u64::from(pieces), 1).unwrap();
            let (mut few, mut many) = (Bitfield::empty(pieces), Bitfield::full(pieces));
            assert!(few.some.iter().all(|marks| *marks == 0) && many.lacking.iter().all(|marks| *marks == 0));
            for number in [0, pieces / 2, pieces - 1] {
                let piece = geometry.piece(number).unwrap();
                few.insert(piece);
                many.remove(piece);
                assert_eq!(few, Bitfield::from_wire(&few.to_wire(), pieces).unwrap(), "{pieces} pieces, with {number}");
                assert_eq!(
                    many,
                    Bitfield::from_wire(&many.to_wire(), pieces).unwrap(),
                    "{pieces} pieces, without {number}"
                );
            }
            let wanted: Vec<u32> = few.iter().collect();
            assert_eq!(few.beyond(&many).collect::<Vec<_>>(), wanted);
            assert_eq!(Bitfield::full(pieces).beyond(&many).collect::<Vec<_>>(), wanted);
            assert_eq!(many.beyond(&few).count(), pieces as usize - wanted.len());
            for number in 0..pieces {
                few.insert(geometry.piece(number).unwrap());
            }
            assert_eq!(few, Bitfield::full(pieces));
        }
    }

    #[test]
    fn the_count_follows_every_change() {
        let geometry = Geometry::new(10, 1).unwrap();
        let mut set = Bitfield::empty(9);
        let piece = geometry.piece(4).unwrap();
        assert!(set.insert(piece) && !set.insert(piece));
        assert_eq!(set.count(), 1);
        assert!(set.remove(piece) && !set.remove(piece));
        assert!(set.is_empty());
        assert!(!set.insert(geometry.piece(9).unwrap()), "a piece of another torrent");
    }
}
