//! Metainfo files (BEP 3): read, kept to the byte, rewritten and built.
//!
//! Owns the meaning of a `.torrent`. Never touches a file. The bytes of `info` stay as they were found, since their
//! SHA-1 names the torrent; a rewrite changes what stands around them and keeps every key that it does not know.

mod build;
mod outside;
mod parse;
mod rewrite;
mod types;

pub use build::{CREATED_BY, Content, MetainfoBuilder, SourceFile, automatic_piece_length};
pub(crate) use outside::plain_url;
pub use rewrite::Rewrite;
pub use types::{MetainfoError, Node};

use crate::geometry::{Geometry, PieceIndex};
use crate::id::{HASH_LENGTH, InfoHash};
use crate::layout::Layout;
use bytes::Bytes;
use std::fmt;

/// The top-level key under which addresses of peers travel: a list of strings `host:port`. An addition of ours that
/// other clients ignore.
pub const PEERS_KEY: &[u8] = b"x-peers";

/// One torrent, as its metainfo file describes it.
///
/// Holds the file once; beside it there is nothing that grows with the number of pieces.
#[derive(Clone, PartialEq, Eq)]
pub struct Metainfo {
    bytes: Bytes,
    info: Bytes,
    piece_hashes: Bytes,
    info_hash: InfoHash,
    raw_name: Bytes,
    layout: Layout,
    private: bool,
    source: Option<String>,
    canonical: bool,
    outside: Outside,
}

/// What stands outside of `info`, and so does not take part in the name of the torrent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Outside {
    trackers: Vec<Vec<String>>,
    web_seeds: Vec<String>,
    nodes: Vec<Node>,
    peers: Vec<String>,
    comment: Option<String>,
    created_by: Option<String>,
    creation_date: Option<i64>,
}

impl Metainfo {
    /// Reads a metainfo file. Tolerates what is found in the wild and does no harm: unsorted and duplicate keys (the
    /// first counts), trailing bytes, fields outside of `info` that have the wrong type.
    ///
    /// # Errors
    /// The first fault that makes the torrent unusable, with the key and the value.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, MetainfoError> {
        parse::parse(bytes.into())
    }

    /// The file, byte for byte.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The value of `info`, byte for byte.
    pub fn info_bytes(&self) -> &Bytes {
        &self.info
    }

    /// SHA-1 of [`Metainfo::info_bytes`].
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// The SHA-1 that a piece must have; `None` for a piece of another, larger torrent.
    pub fn piece_hash(&self, piece: PieceIndex) -> Option<&[u8; HASH_LENGTH]> {
        let start = piece.as_usize().checked_mul(HASH_LENGTH)?;
        self.piece_hashes.get(start..start.checked_add(HASH_LENGTH)?)?.try_into().ok()
    }

    /// The name, safe as a path element and for a terminal; the info hash if the file has none.
    pub fn name(&self) -> &str {
        self.layout.name()
    }

    /// The name as it stands in the file; not safe for anything.
    pub fn raw_name(&self) -> &Bytes {
        &self.raw_name
    }

    /// Pieces and blocks.
    pub fn geometry(&self) -> Geometry {
        self.layout.geometry()
    }

    /// The files.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// BEP 27: peers from the tracker only.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// `source` in `info`: by which private trackers tell their torrents from those of others. Printable.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Whether keys are sorted and unique, numbers minimal, and nothing follows the value.
    pub fn is_canonical(&self) -> bool {
        self.canonical
    }

    /// Announce URLs by tier (BEP 12): `announce-list` without empty tiers and duplicates, or else `announce`. The
    /// schemes are not checked.
    pub fn trackers(&self) -> &[Vec<String>] {
        &self.outside.trackers
    }

    /// URLs of web seeds (BEP 19).
    pub fn web_seeds(&self) -> &[String] {
        &self.outside.web_seeds
    }

    /// Nodes of the DHT (BEP 5).
    pub fn nodes(&self) -> &[Node] {
        &self.outside.nodes
    }

    /// Addresses of peers, `host:port` (see [`PEERS_KEY`]).
    pub fn peers(&self) -> &[String] {
        &self.outside.peers
    }

    /// For people. Printable.
    pub fn comment(&self) -> Option<&str> {
        self.outside.comment.as_deref()
    }

    /// The program that made the file. Printable.
    pub fn created_by(&self) -> Option<&str> {
        self.outside.created_by.as_deref()
    }

    /// Seconds since 1970.
    pub fn creation_date(&self) -> Option<i64> {
        self.outside.creation_date
    }
}

impl fmt::Debug for Metainfo {
    /// Which torrent it is, and not its millions of bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metainfo")
            .field("info_hash", &self.info_hash)
            .field("name", &self.name())
            .field("geometry", &self.geometry())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
