//! Which pieces may be begun, the rarest first.
//!
//! Owns the number of peers that have each piece and an array of the *open* pieces (neither had nor begun) sorted by
//! that number, random among equals. One more or one less is a swap or two, whatever the size of the torrent.
//! Never knows peers or blocks.
//!
//! Invariant: `order` is sorted by `counts`, `ends` holds where each count's bucket ends in it, and `places` is the
//! inverse of `order`.

use crate::bitfield::Bitfield;
use crate::walk;
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use std::collections::VecDeque;

/// Where a piece stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Untouched; its index in the order.
    Open(usize),
    /// Some of its blocks are requested or received; the slot of its block states.
    Begun(usize),
    /// Verified.
    Have,
}

/// Set in a place that is a slot of a begun piece. Torrents have fewer than 2^24 pieces.
const BEGUN: u32 = 1 << 31;
/// The place of a verified piece.
const HAVE: u32 = u32::MAX;

impl Place {
    fn from_raw(raw: u32) -> Self {
        match raw {
            HAVE => Self::Have,
            raw if raw & BEGUN != 0 => Self::Begun((raw & !BEGUN) as usize),
            raw => Self::Open(raw as usize),
        }
    }

    fn to_raw(self) -> u32 {
        match self {
            Self::Have => HAVE,
            Self::Begun(slot) => BEGUN | narrow(slot),
            Self::Open(index) => narrow(index),
        }
    }
}

/// Indices here are numbers of pieces and slots, at most 2^24.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(!BEGUN) & !BEGUN
}

/// The availability of every piece and the open ones in its order: 12 bytes a piece.
pub(super) struct Rarity {
    /// Availability of each piece less `common`; may be negative.
    counts: Vec<i32>,
    /// What every piece's availability has in common. A set with more than half of all pieces is counted here, and
    /// what it lacks is taken off the counts; so a seed costs nothing, and any set may grow or shrink between its
    /// coming and its going: the sum is exact all the time.
    common: i64,
    places: Vec<u32>,
    order: Vec<u32>,
    /// End in `order` of the bucket of each count from `lowest` on; never empty, the last is the length of `order`.
    ends: VecDeque<u32>,
    lowest: i32,
}

impl Rarity {
    /// Nobody there yet; the pieces of `have` are not open.
    pub(super) fn new(pieces: u32, have: &Bitfield, rng: &mut SmallRng) -> Self {
        let mut order: Vec<u32> = walk::pieces_of(pieces, |word| !have.word(word)).collect();
        order.shuffle(rng);
        let mut places = vec![HAVE; pieces as usize];
        for (index, &piece) in order.iter().enumerate() {
            if let Some(place) = places.get_mut(piece as usize) {
                *place = narrow(index);
            }
        }
        let ends = VecDeque::from([narrow(order.len())]);
        Self { counts: vec![0; pieces as usize], common: 0, places, order, ends, lowest: 0 }
    }

    /// Number of peers that have the piece.
    pub(super) fn availability(&self, piece: u32) -> u32 {
        u32::try_from(self.common + i64::from(self.count(piece))).unwrap_or(0)
    }

    pub(super) fn place(&self, piece: u32) -> Place {
        Place::from_raw(self.places.get(piece as usize).copied().unwrap_or(HAVE))
    }

    /// The open pieces, the rarest first.
    pub(super) fn open(&self) -> &[u32] {
        &self.order
    }

    /// Number of open pieces that somebody has.
    pub(super) fn open_and_available(&self) -> usize {
        let nobodys = i32::try_from(-self.common).unwrap_or(i32::MIN);
        self.order.len() - self.bucket_end(self.bucket(nobodys))
    }

    /// Counts a set in (`by` = 1) or out (`by` = -1).
    pub(super) fn count_set(&mut self, has: &Bitfield, by: i32, rng: &mut SmallRng) {
        let pieces = narrow(self.counts.len());
        let dense = has.count() > pieces / 2;
        let (flip, by) = if dense { (u64::MAX, -by) } else { (0, by) };
        self.common -= if dense { i64::from(by) } else { 0 };
        if has.is_full() || has.is_empty() {
            return;
        }
        for piece in walk::pieces_of(pieces, |word| has.word(word) ^ flip) {
            self.count_piece(piece, by, rng);
        }
    }

    /// Counts one piece of a peer in (`by` = 1) or out (`by` = -1).
    pub(super) fn count_piece(&mut self, piece: u32, by: i32, rng: &mut SmallRng) {
        let Some(count) = self.counts.get_mut(piece as usize) else { return };
        let old = *count;
        *count = old.saturating_add(by);
        let Place::Open(from) = self.place(piece) else { return };
        self.reach(old.saturating_add(by));
        let bucket = self.bucket(old);
        if by > 0 {
            let end = self.bucket_end(bucket).saturating_sub(1);
            self.swap(from, end);
            self.set_end(bucket, end);
            self.mix(end, end, self.bucket_end(bucket + 1), rng);
        } else {
            let start = self.bucket_start(bucket);
            self.swap(from, start);
            self.set_end(bucket - 1, start + 1);
            self.mix(start, self.bucket_start(bucket - 1), start + 1, rng);
        }
        self.trim();
    }

    /// Takes an open piece out of the order and marks it as begun or had.
    pub(super) fn close(&mut self, piece: u32, as_place: Place) {
        if let Place::Open(mut index) = self.place(piece) {
            let mut bucket = self.bucket(self.count(piece));
            while bucket < self.buckets() {
                let end = self.bucket_end(bucket).saturating_sub(1);
                self.swap(index, end);
                self.set_end(bucket, end);
                index = end;
                bucket += 1;
            }
            self.order.pop();
            self.trim();
        }
        self.set_place(piece, as_place);
    }

    /// Puts a piece that was begun or had back into the order.
    pub(super) fn reopen(&mut self, piece: u32, rng: &mut SmallRng) {
        if matches!(self.place(piece), Place::Open(_)) || piece as usize >= self.places.len() {
            return;
        }
        let count = self.count(piece);
        if self.order.is_empty() {
            self.lowest = count;
            self.ends = VecDeque::from([0]);
        }
        self.reach(count);
        let mut index = self.order.len();
        self.order.push(piece);
        self.set_place(piece, Place::Open(index));
        let target = self.bucket(count);
        let mut bucket = self.buckets() - 1;
        loop {
            let end = self.bucket_end(bucket);
            self.set_end(bucket, end + 1);
            if bucket <= target {
                break;
            }
            let start = self.bucket_start(bucket);
            self.swap(index, start);
            index = start;
            bucket -= 1;
        }
        self.mix(index, self.bucket_start(target), index + 1, rng);
    }

    fn count(&self, piece: u32) -> i32 {
        self.counts.get(piece as usize).copied().unwrap_or(0)
    }

    fn buckets(&self) -> isize {
        isize::try_from(self.ends.len()).unwrap_or(isize::MAX)
    }

    /// Index into `ends` for this count; may lie outside.
    fn bucket(&self, count: i32) -> isize {
        isize::try_from(i64::from(count) - i64::from(self.lowest)).unwrap_or(0)
    }

    fn bucket_end(&self, bucket: isize) -> usize {
        let end = usize::try_from(bucket).ok().and_then(|bucket| self.ends.get(bucket.min(self.ends.len() - 1)));
        end.map_or(0, |&end| end as usize)
    }

    fn bucket_start(&self, bucket: isize) -> usize {
        self.bucket_end(bucket - 1)
    }

    fn set_end(&mut self, bucket: isize, end: usize) {
        if let Some(slot) = usize::try_from(bucket).ok().and_then(|bucket| self.ends.get_mut(bucket)) {
            *slot = narrow(end);
        }
    }

    /// Makes sure that a bucket for this count exists. Availabilities lie between 0 and the number of peers, so no
    /// more buckets than peers are ever made.
    fn reach(&mut self, count: i32) {
        while count < self.lowest {
            self.ends.push_front(0);
            self.lowest -= 1;
        }
        while self.bucket(count) >= self.buckets() {
            self.ends.push_back(narrow(self.order.len()));
        }
    }

    /// Drops empty buckets at both ends.
    fn trim(&mut self) {
        while self.ends.len() > 1 && self.ends.front() == Some(&0) {
            self.ends.pop_front();
            self.lowest += 1;
        }
        while self.ends.len() > 1 && self.bucket_start(self.buckets() - 1) == self.order.len() {
            self.ends.pop_back();
        }
    }

    /// Swaps the piece at `index` with a random one of its bucket, so that equals stand in random order.
    fn mix(&mut self, index: usize, start: usize, end: usize, rng: &mut SmallRng) {
        if end > start + 1 {
            self.swap(index, rng.random_range(start..end));
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        let (Some(&first), Some(&second)) = (self.order.get(a), self.order.get(b)) else { return };
        self.order.swap(a, b);
        self.set_place(first, Place::Open(b));
        self.set_place(second, Place::Open(a));
    }

    fn set_place(&mut self, piece: u32, place: Place) {
        if let Some(slot) = self.places.get_mut(piece as usize) {
            *slot = place.to_raw();
        }
    }

    /// Panics if the invariant in the module's header does not hold.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.ends.back().map(|&end| end as usize), Some(self.order.len()), "the last bucket ends the order");
        assert!(self.ends.iter().is_sorted(), "buckets follow each other");
        for (index, &piece) in self.order.iter().enumerate() {
            assert_eq!(self.place(piece), Place::Open(index), "the place of piece {piece}");
            let bucket = self.bucket(self.count(piece));
            let range = self.bucket_start(bucket)..self.bucket_end(bucket);
            assert!(bucket >= 0 && bucket < self.buckets() && range.contains(&index), "the bucket of piece {piece}");
        }
        let open = (0..narrow(self.places.len())).filter(|&piece| matches!(self.place(piece), Place::Open(_))).count();
        assert_eq!(open, self.order.len(), "every open piece is in the order once");
    }
}
