//! Runs of records, one behind the other, in pieces of memory of one size.
//!
//! All pieces of all shards have the same size, so the memory of one that is given back serves any other, and growing
//! copies nothing.

use crate::record::Record;

/// Records of a piece: of 1,280 bytes for IPv4.
pub(crate) const PIECE: usize = 128;

/// Where runs of up to [`PIECE`] records are kept.
#[derive(Debug, Default)]
pub(crate) struct Runs<const L: usize> {
    pieces: Vec<Vec<Record<L>>>,
    /// Records that no list owns.
    dead: usize,
}

impl<const L: usize> Runs<L> {
    pub(crate) const fn new() -> Self {
        Self { pieces: Vec::new(), dead: 0 }
    }

    pub(crate) fn get(&self, at: usize, len: usize) -> &[Record<L>] {
        let start = at % PIECE;
        self.pieces.get(at / PIECE).and_then(|piece| piece.get(start..start + len)).unwrap_or_default()
    }

    pub(crate) fn get_mut(&mut self, at: usize, len: usize) -> &mut [Record<L>] {
        let start = at % PIECE;
        self.pieces.get_mut(at / PIECE).and_then(|piece| piece.get_mut(start..start + len)).unwrap_or_default()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Record<L>> {
        self.pieces.iter_mut().flatten()
    }

    /// Writes a run of `room` records: those of `run`, and `last` behind them up to its end. Returns where it is.
    pub(crate) fn put(&mut self, run: &[Record<L>], last: Record<L>, room: usize) -> usize {
        if self.is_full(room) {
            // What is left of a piece is nobody's.
            self.dead += self.pieces.last().map_or(0, |piece| PIECE - piece.len());
            if self.pieces.len() == self.pieces.capacity() {
                self.pieces.reserve_exact(self.pieces.len() / 4 + 1);
            }
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let number = self.pieces.len().saturating_sub(1);
        let Some(piece) = self.pieces.last_mut() else { return 0 };
        let start = piece.len();
        piece.extend_from_slice(run);
        piece.resize(start + room, last);
        number * PIECE + start
    }

    /// Gives a run of `room` records room for more, if nothing stands behind it. Returns whether it could.
    pub(crate) fn extend(&mut self, at: usize, room: usize, more: usize, last: Record<L>) -> bool {
        let (number, start) = (at / PIECE, at % PIECE);
        let is_last = number + 1 == self.pieces.len();
        let Some(piece) = self.pieces.last_mut().filter(|_| is_last) else { return false };
        let fits = start + room == piece.len() && start + more <= PIECE;
        if fits {
            piece.resize(start + more, last);
        }
        fits
    }

    /// So many records are nobody's from now on.
    pub(crate) fn free(&mut self, records: usize) {
        self.dead += records;
    }

    /// Whether a run of so many records takes a new piece.
    pub(crate) fn is_full(&self, room: usize) -> bool {
        self.pieces.last().is_none_or(|piece| piece.len() + room > PIECE)
    }

    /// Whether so little is nobody's that a new piece is better than to move everything together.
    pub(crate) fn is_tight(&self) -> bool {
        self.dead <= self.live() / 8 + PIECE / 4
    }

    /// Whether to move everything together would give much back.
    pub(crate) fn is_loose(&self) -> bool {
        self.dead > PIECE && self.dead > self.live()
    }

    /// Records that somebody owns.
    pub(crate) fn live(&self) -> usize {
        let all = self.pieces.len().saturating_sub(1) * PIECE + self.pieces.last().map_or(0, Vec::len);
        all - self.dead
    }

    pub(crate) fn memory(&self) -> usize {
        self.pieces.len() * PIECE * size_of::<Record<L>>() + self.pieces.capacity() * size_of::<Vec<Record<L>>>()
    }
}
