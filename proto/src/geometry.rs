//! The shape of a torrent: how its bytes divide into pieces and blocks.
//!
//! Owns the only way by which a number from the wire becomes an index: [`Geometry`] checks it, and a [`PieceIndex`] or
//! a [`Block`] that exists is in range for the geometry that made it. Never holds payload.

use crate::limits;

/// Bytes of a block, the unit of a request (BEP 3 in practice): 16 KiB; the last block of a torrent may be shorter.
pub const BLOCK_LENGTH: u32 = 16 * 1024;

/// A piece that exists in its torrent. Only [`Geometry`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The number as the wire has it.
    pub fn as_u32(self) -> u32 {
        self.0
    }

    /// The number for indexing a table of one entry a piece.
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// A range of bytes inside one piece. Only [`Geometry`] makes one, so `begin + length` lies within the piece.
///
/// A block that this engine requests starts at a multiple of [`BLOCK_LENGTH`]; one that a peer requests may start
/// anywhere and be up to [`limits::REQUEST_LENGTH`] long.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Block {
    piece: PieceIndex,
    begin: u32,
    length: u32,
}

impl Block {
    /// The piece that the block lies in.
    pub fn piece(self) -> PieceIndex {
        self.piece
    }

    /// Offset in bytes from the start of the piece.
    pub fn begin(self) -> u32 {
        self.begin
    }

    /// Length in bytes, at least 1.
    pub fn length(self) -> u32 {
        self.length
    }

    /// Ordinal of the block within its piece, in units of [`BLOCK_LENGTH`].
    pub fn ordinal(self) -> usize {
        (self.begin / BLOCK_LENGTH) as usize
    }
}

/// Why three numbers do not make a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GeometryError {
    /// No bytes per piece, or more than [`limits::PIECE_LENGTH`].
    #[error("piece length {0} is not between 1 and {max}", max = limits::PIECE_LENGTH)]
    PieceLength(u64),
    /// More pieces than [`limits::PIECES`].
    #[error("{0} pieces are more than {max}", max = limits::PIECES)]
    TooManyPieces(u64),
}

/// The total length and the piece length of a torrent, and every number that follows from them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    total_length: u64,
    piece_length: u32,
    pieces: u32,
}

impl Geometry {
    /// `total_length` and `piece_length` in bytes. A torrent of no bytes has no pieces.
    pub fn new(total_length: u64, piece_length: u64) -> Result<Self, GeometryError> {
        let checked = u32::try_from(piece_length).ok().filter(|&length| length > 0 && length <= limits::PIECE_LENGTH);
        let piece_length = checked.ok_or(GeometryError::PieceLength(piece_length))?;
        let count = total_length.div_ceil(u64::from(piece_length));
        let checked = u32::try_from(count).ok().filter(|&pieces| pieces <= limits::PIECES);
        let pieces = checked.ok_or(GeometryError::TooManyPieces(count))?;
        Ok(Self { total_length, piece_length, pieces })
    }

    /// Bytes of the torrent, padding files included.
    pub fn total_length(&self) -> u64 {
        self.total_length
    }

    /// Bytes of every piece but the last.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Number of pieces.
    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// The piece of this number, if the torrent has it.
    pub fn piece(&self, index: u32) -> Option<PieceIndex> {
        (index < self.pieces).then_some(PieceIndex(index))
    }

    /// All pieces in order.
    pub fn all_pieces(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + ExactSizeIterator + use<> {
        (0..self.pieces).map(PieceIndex)
    }

    /// Bytes of this piece; 0 for a piece of another, larger torrent.
    pub fn length_of(&self, piece: PieceIndex) -> u32 {
        let rest = self.total_length.saturating_sub(self.offset_of(piece));
        u32::try_from(rest).map_or(self.piece_length, |rest| rest.min(self.piece_length))
    }

    /// Offset in bytes of this piece from the start of the torrent.
    pub fn offset_of(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_length)
    }

    /// Offset in bytes of this block from the start of the torrent.
    pub fn offset_of_block(&self, block: Block) -> u64 {
        self.offset_of(block.piece) + u64::from(block.begin)
    }

    /// Number of blocks of this piece.
    pub fn blocks_of(&self, piece: PieceIndex) -> usize {
        self.length_of(piece).div_ceil(BLOCK_LENGTH) as usize
    }

    /// The block that stands at this place in the sequence of the piece's blocks.
    pub fn block(&self, piece: PieceIndex, ordinal: usize) -> Option<Block> {
        let begin = u32::try_from(ordinal).ok()?.checked_mul(BLOCK_LENGTH)?;
        let rest = self.length_of(piece).checked_sub(begin).filter(|&rest| rest > 0)?;
        Some(Block { piece, begin, length: rest.min(BLOCK_LENGTH) })
    }

    /// The blocks of a piece in order.
    pub fn blocks(&self, piece: PieceIndex) -> impl Iterator<Item = Block> + use<> {
        let geometry = *self;
        (0..self.blocks_of(piece)).filter_map(move |ordinal| geometry.block(piece, ordinal))
    }

    /// Three numbers from the wire as a block: inside its piece, not empty, at most [`limits::REQUEST_LENGTH`] long.
    pub fn wire_block(&self, index: u32, begin: u32, length: u32) -> Option<Block> {
        let piece = self.piece(index)?;
        let end = begin.checked_add(length)?;
        let fits = length > 0 && length <= limits::REQUEST_LENGTH && end <= self.length_of(piece);
        fits.then_some(Block { piece, begin, length })
    }

    /// Whether the block is one of those that a piece is asked for in: 16 KiB each, the last one what is left.
    pub fn is_on_grid(&self, block: Block) -> bool {
        block.begin().is_multiple_of(BLOCK_LENGTH) && self.block(block.piece(), block.ordinal()) == Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_piece_and_last_block_are_short() {
        let geometry = Geometry::new(100_000, 65_536).unwrap();
        assert_eq!(geometry.pieces(), 2);
        let last = geometry.piece(1).unwrap();
        assert_eq!(geometry.length_of(last), 34_464);
        assert_eq!(geometry.blocks_of(last), 3);
        assert_eq!(geometry.block(last, 2).unwrap().length(), 1_696);
        assert_eq!(geometry.block(last, 3), None);
        assert_eq!(geometry.blocks(last).map(|block| block.length()).sum::<u32>(), 34_464);
    }

    #[test]
    fn one_past_the_end_is_refused() {
        let geometry = Geometry::new(65_536 * 3, 65_536).unwrap();
        assert!(geometry.piece(2).is_some());
        assert_eq!(geometry.piece(3), None);
        assert!(geometry.wire_block(2, 65_535, 1).is_some());
        assert_eq!(geometry.wire_block(2, 65_536, 1), None);
        assert_eq!(geometry.wire_block(2, 65_535, 2), None);
        assert_eq!(geometry.wire_block(2, 0, 0), None);
        assert_eq!(geometry.wire_block(2, u32::MAX, 2), None);
        let large = Geometry::new(1 << 24, 1 << 24).unwrap();
        assert!(large.wire_block(0, 5, limits::REQUEST_LENGTH).is_some());
        assert_eq!(large.wire_block(0, 0, limits::REQUEST_LENGTH + 1), None);
    }

    #[test]
    fn impossible_shapes_are_refused() {
        assert_eq!(Geometry::new(1, 0), Err(GeometryError::PieceLength(0)));
        assert!(Geometry::new(u64::MAX, 16_384).is_err());
        assert!(Geometry::new(1, u64::MAX).is_err());
        assert_eq!(Geometry::new(0, 16_384).unwrap().pieces(), 0);
    }
}
