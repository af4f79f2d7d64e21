//! What the reader of metainfo says: errors and small values.

use crate::bencode::{BencodeError, Kind};
use crate::limits;
use std::fmt;

/// A node of the DHT (BEP 5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Name or address.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

/// Why a metainfo file describes no torrent that can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MetainfoError {
    /// Not bencoded, cut off, or too large.
    #[error("not a metainfo file, or a damaged one: {0}")]
    Bencode(#[from] BencodeError),
    /// A key that must be there is not.
    #[error("`{0}` is missing")]
    Missing(String),
    /// A value of the wrong kind.
    #[error("`{key}` must be {expected}, but is {found}")]
    WrongKind {
        /// Path of keys.
        key: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: Found,
    },
    /// BEP 52 without the v1 half.
    #[error("a torrent of BitTorrent v2 only (BEP 52), which is not supported; ask for a v1 or hybrid one")]
    Version2Only,
    /// Zero, negative or beyond [`limits::PIECE_LENGTH`].
    #[error("`info.piece length` is {0}, but must be between 1 and {max} bytes", max = limits::PIECE_LENGTH)]
    PieceLength(String),
    /// The hashes are cut.
    #[error("`info.pieces` has {0} bytes, which is no multiple of 20")]
    PiecesLength(usize),
    /// More or fewer hashes than pieces.
    #[error(
        "`info.pieces` has {found} hashes, but {expected} are needed for {total} bytes in pieces of {piece_length}"
    )]
    PieceCount {
        /// Hashes in the file.
        found: usize,
        /// Pieces that follow from the lengths.
        expected: u32,
        /// Bytes of the torrent.
        total: u64,
        /// Bytes of a piece.
        piece_length: u32,
    },
    /// More than [`limits::PIECES`].
    #[error("{0} pieces are more than {max}; a larger piece length is needed", max = limits::PIECES)]
    TooManyPieces(u64),
    /// An empty list of files.
    #[error("`info.files` is empty: a torrent needs at least one file")]
    NoFiles,
    /// More than [`limits::FILES`].
    #[error("more than {max} files in `info.files`", max = limits::FILES)]
    TooManyFiles,
    /// Neither a file nor a folder.
    #[error("`info` has neither `length` nor `files`")]
    NeitherLengthNorFiles,
    /// A file and a folder at once.
    #[error("`info` has both `length` and `files`")]
    LengthAndFiles,
    /// A length that is negative or beyond 64 bits.
    #[error("`{key}` is {value}, which is no length in bytes")]
    Length {
        /// Path of keys.
        key: String,
        /// The digits, cut if there are many.
        value: String,
    },
    /// The lengths of all files together are beyond 64 bits.
    #[error("the lengths in `info.files` sum up to more than 64 bits hold")]
    TotalLength,
}

/// What stands in a file in place of something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found(pub Kind);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Integer => "an integer",
            Kind::Bytes => "a string",
            Kind::List => "a list",
            Kind::Dictionary => "a dictionary",
        })
    }
}
