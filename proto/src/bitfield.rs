//! A set of pieces, one bit each, in the order of the wire (BEP 3: the high bit of the first byte is piece 0).

use crate::geometry::PieceIndex;
use crate::walk;
use bitvec::prelude::{BitVec, Msb0};

/// Which pieces somebody has. Its length is that of the torrent for ever.
///
/// Most peers have all pieces or none, so a set takes no memory before it is something between the two.
#[derive(Clone, Debug)]
pub struct Bitfield {
    pieces: u32,
    ones: u32,
    /// Nothing as long as the set was always empty, or always full. Once made it stays, for whoever gains and loses one
    /// piece again and again must not have it made anew each time.
    held: Option<Box<Held>>,
}

impl PartialEq for Bitfield {
    fn eq(&self, other: &Self) -> bool {
        let same_words = || (0..self.words()).all(|word| self.word(word) == other.word(word));
        (self.pieces, self.ones) == (other.pieces, other.ones) && same_words()
    }
}

impl Eq for Bitfield {}

/// The bits of a set. Beside them stands which words of 64 pieces are not empty, and which are not full, so that the few
/// pieces that are of interest among millions are found without a walk over all.
#[derive(Clone, Debug)]
struct Held {
    /// Spare bits are always zero.
    bits: BitVec<u8, Msb0>,
    /// A bit for each word that has a piece, the first in the highest bit...
    some: Box<[u64]>,
    /// ...and for each that lacks one.
    lacking: Box<[u64]>,
}

impl Held {
    fn new(bits: BitVec<u8, Msb0>) -> Self {
        let marks = bits.len().div_ceil(64 * 64);
        let mut held = Self { bits, some: vec![0; marks].into(), lacking: vec![0; marks].into() };
        (0..held.bits.len().div_ceil(64)).for_each(|word| held.mark(word));
        held
    }

    fn word(&self, word: usize) -> u64 {
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

    fn set(&mut self, piece: PieceIndex, value: bool) {
        if let Some(mut bit) = self.bits.get_mut(piece.as_usize()) {
            *bit = value;
        }
        self.mark(piece.as_usize() / 64);
    }

    /// Brings what is known of a word up to date.
    fn mark(&mut self, word: usize) {
        let (bits, all) = (self.word(word), full_word(self.bits.len(), word));
        let (index, bit) = (word / 64, 1 << (63 - word % 64));
        let put = |marks: &mut [u64], is_set: bool| {
            if let Some(mark) = marks.get_mut(index) {
                *mark = if is_set { *mark | bit } else { *mark & !bit };
            }
        };
        put(&mut self.some, bits != 0);
        put(&mut self.lacking, bits != all);
    }
}

/// A word of all pieces that it may have.
fn full_word(pieces: usize, word: usize) -> u64 {
    match pieces.saturating_sub(word.saturating_mul(64)) {
        0 => 0,
        rest @ 1..64 => !(u64::MAX >> rest),
        _ => u64::MAX,
    }
}

/// The bits of a set of none or of all.
fn uniform(pieces: u32, value: bool) -> BitVec<u8, Msb0> {
    let mut bits = BitVec::repeat(value, pieces as usize);
    bits.set_uninitialized(false);
    bits
}

impl Bitfield {
    /// No pieces of a torrent of so many.
    pub fn empty(pieces: u32) -> Self {
        Self { pieces, ones: 0, held: None }
    }

    /// All pieces of a torrent of so many.
    pub fn full(pieces: u32) -> Self {
        Self { pieces, ones: pieces, held: None }
    }

    fn of(pieces: u32, bits: BitVec<u8, Msb0>) -> Self {
        let ones = u32::try_from(bits.count_ones()).unwrap_or(u32::MAX);
        let held = (ones != 0 && ones != pieces).then(|| Box::new(Held::new(bits)));
        Self { pieces, ones, held }
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
        Some(Self::of(pieces, bits))
    }

    /// The body of a `bitfield` message.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut bytes = self.bits();
        bytes.set_uninitialized(false);
        bytes.into_vec()
    }

    fn bits(&self) -> BitVec<u8, Msb0> {
        self.held.as_ref().map_or_else(|| uniform(self.pieces, self.ones > 0), |held| held.bits.clone())
    }

    /// Number of pieces of the torrent.
    pub fn pieces(&self) -> u32 {
        self.pieces
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
        self.ones == self.pieces
    }

    /// Whether this piece is in the set; false for a piece of another, larger torrent.
    pub fn has(&self, piece: PieceIndex) -> bool {
        match &self.held {
            Some(held) => held.bits.get(piece.as_usize()).is_some_and(|bit| *bit),
            None => self.ones > 0 && piece.as_u32() < self.pieces,
        }
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
        if piece.as_u32() >= self.pieces || self.has(piece) == value {
            return false;
        }
        self.ones = if value { self.ones + 1 } else { self.ones - 1 };
        // The first piece of an empty set comes, or the first of a full one goes.
        let held = self.held.get_or_insert_with(|| Box::new(Held::new(uniform(self.pieces, !value))));
        held.set(piece, value);
        true
    }

    /// 64 pieces from `64 * word` on, the first of them in the highest bit; 0 behind the end. For walks over many pieces.
    pub(crate) fn word(&self, word: usize) -> u64 {
        match &self.held {
            Some(held) => held.word(word),
            None if self.is_empty() => 0,
            None => full_word(self.pieces as usize, word),
        }
    }

    /// Number of [`words`](Self::word) that hold the set.
    pub(crate) fn words(&self) -> usize {
        (self.pieces as usize).div_ceil(64)
    }

    /// The pieces that are in either set; both of the same torrent.
    pub(crate) fn union(&self, other: &Self) -> Self {
        if self.is_full() || other.is_empty() {
            return self.clone();
        }
        if other.is_full() || self.is_empty() {
            return other.clone();
        }
        let mut bits = self.bits();
        bits |= &other.bits();
        Self::of(self.pieces, bits)
    }

    /// Numbers of the pieces that are in this set and not in the other, ascending.
    pub(crate) fn beyond(&self, other: &Self) -> impl Iterator<Item = u32> {
        self.beyond_from(other, 0, self.pieces)
    }

    /// As [`Bitfield::beyond`], from one piece on and up to another.
    pub(crate) fn beyond_from(&self, other: &Self, start: u32, end: u32) -> impl Iterator<Item = u32> {
        let mark = |index| self.some(index) & other.lacking(index);
        walk::marked_pieces_from(start, end, mark, |word| self.word(word) & !other.word(word))
    }

    /// A bit for each of 64 words that may have a piece.
    fn some(&self, index: usize) -> u64 {
        match &self.held {
            Some(held) => held.some.get(index).copied().unwrap_or(0),
            None => {
                if self.is_empty() {
                    0
                } else {
                    u64::MAX
                }
            }
        }
    }

    /// A bit for each of 64 words that may lack one.
    fn lacking(&self, index: usize) -> u64 {
        match &self.held {
            Some(held) => held.lacking.get(index).copied().unwrap_or(0),
            None => {
                if self.is_full() {
                    0
                } else {
                    u64::MAX
                }
            }
        }
    }

    /// Numbers of the pieces in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        walk::marked_pieces_from(0, self.pieces, |index| self.some(index), |word| self.word(word))
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
            assert!(few.held.is_none() && many.held.is_none(), "none and all take no memory");
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
            let made: *const Held = &**few.held.as_ref().unwrap();
            for number in 0..pieces {
                few.remove(geometry.piece(number).unwrap());
            }
            assert_eq!(few, Bitfield::empty(pieces));
            few.insert(geometry.piece(0).unwrap());
            assert!(std::ptr::eq(made, &**few.held.as_ref().unwrap()), "made once, not with every change");
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
