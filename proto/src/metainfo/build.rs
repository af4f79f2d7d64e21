//! The maker of metainfo: from names, lengths and hashes to the bytes of a file. Reads no file and no clock, so equal
//! input gives equal bytes.

use super::rewrite::{Entries, Rewrite};
use super::types::MetainfoError;
use crate::bencode::Item;
use crate::geometry::{Geometry, GeometryError};
use crate::id::HASH_LENGTH;
use crate::limits;

/// What stands as `created by` in metainfo of this version.
pub const CREATED_BY: &str = concat!("swarm/", env!("CARGO_PKG_VERSION"));

/// Bytes of the smallest piece that is chosen by itself: one block.
const AUTOMATIC_PIECE_LENGTH_MIN: u32 = 16 * 1024;

/// Bytes of the largest piece that is chosen by itself.
const AUTOMATIC_PIECE_LENGTH_MAX: u32 = 16 * 1024 * 1024;

/// Pieces that are aimed at, at most: the hashes of so many are 40 KB, and one is half a per mille of the whole.
const AUTOMATIC_PIECES: u64 = 2_000;

/// The piece length for so many bytes: the power of two from 16 KiB to 16 MiB that makes 1,000 to 2,000 pieces, as far as
/// there is one.
pub fn automatic_piece_length(total_length: u64) -> u32 {
    let mut length = AUTOMATIC_PIECE_LENGTH_MIN;
    while length < AUTOMATIC_PIECE_LENGTH_MAX && total_length.div_ceil(u64::from(length)) > AUTOMATIC_PIECES {
        length *= 2;
    }
    length
}

/// One file of a folder that a torrent is made of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SourceFile {
    /// Elements of the path below the folder.
    pub path: Vec<String>,
    /// Length in bytes.
    pub length: u64,
    /// Whether it may be executed (BEP 47 `x`).
    pub executable: bool,
}

/// What a torrent is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// One file of so many bytes.
    SingleFile {
        /// Length in bytes.
        length: u64,
    },
    /// A folder with these files, in the order in which they lie in the torrent.
    Folder(Vec<SourceFile>),
}

/// A torrent to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetainfoBuilder {
    /// Name of the file or folder.
    pub name: String,
    /// Files and lengths.
    pub content: Content,
    /// Bytes of a piece; see [`automatic_piece_length`].
    pub piece_length: u32,
    /// BEP 27: peers from the tracker only.
    pub private: bool,
    /// `source` in `info`: sets apart torrents of the same files.
    pub source: Option<String>,
    /// Announce URLs by tier (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// URLs of web seeds (BEP 19).
    pub web_seeds: Vec<String>,
    /// Addresses of peers, `host:port` (see [`super::PEERS_KEY`]).
    pub peers: Vec<String>,
    /// For people.
    pub comment: Option<String>,
    /// `creation date`: seconds since 1970; `None` for the same bytes every time.
    pub creation_date: Option<u64>,
}

impl MetainfoBuilder {
    /// A public torrent without trackers, and with a piece length that suits it.
    pub fn new(name: impl Into<String>, content: Content) -> Self {
        let piece_length = automatic_piece_length(content.total_length().unwrap_or(u64::MAX));
        Self {
            name: name.into(),
            content,
            piece_length,
            private: false,
            source: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            peers: Vec::new(),
            comment: None,
            creation_date: None,
        }
    }

    /// The pieces that must be hashed, files end to end.
    ///
    /// # Errors
    /// Lengths beyond 64 bits, a bad piece length, too many pieces, no files or too many.
    pub fn geometry(&self) -> Result<Geometry, MetainfoError> {
        if let Content::Folder(files) = &self.content {
            if files.is_empty() {
                return Err(MetainfoError::NoFiles);
            }
            if files.len() > limits::FILES {
                return Err(MetainfoError::TooManyFiles);
            }
        }
        let total = self.content.total_length().ok_or(MetainfoError::TotalLength)?;
        Geometry::new(total, u64::from(self.piece_length)).map_err(|error| match error {
            GeometryError::PieceLength(length) => MetainfoError::PieceLength(length.to_string()),
            GeometryError::TooManyPieces(pieces) => MetainfoError::TooManyPieces(pieces),
        })
    }

    /// The metainfo file, canonical. `pieces` has the SHA-1 of every piece in order.
    ///
    /// # Errors
    /// As [`MetainfoBuilder::geometry`], and another number of hashes than of pieces.
    pub fn build(&self, pieces: &[[u8; HASH_LENGTH]]) -> Result<Vec<u8>, MetainfoError> {
        let geometry = self.geometry()?;
        if pieces.len() as u64 != u64::from(geometry.pieces()) {
            return Err(MetainfoError::PieceCount {
                found: pieces.len(),
                expected: geometry.pieces(),
                total: geometry.total_length(),
                piece_length: geometry.piece_length(),
            });
        }
        let mut entries = Entries::new();
        entries.insert(b"info".to_vec(), self.info(pieces));
        if let Some(date) = self.creation_date {
            entries.insert(b"creation date".to_vec(), Item::from(date));
        }
        let outside = Rewrite {
            trackers: Some(self.trackers.clone()),
            web_seeds: Some(self.web_seeds.clone()),
            peers: Some(self.peers.clone()),
            comment: self.comment.clone(),
            created_by: Some(CREATED_BY.to_owned()),
        };
        outside.apply(&mut entries);
        Ok(Item::Dictionary(entries).encode())
    }

    fn info(&self, pieces: &[[u8; HASH_LENGTH]]) -> Item {
        let content = match &self.content {
            Content::SingleFile { length } => ("length", Item::from(*length)),
            Content::Folder(files) => ("files", Item::List(files.iter().map(SourceFile::entry).collect())),
        };
        let entries = [
            Some(content),
            Some(("name", Item::from(self.name.as_str()))),
            Some(("piece length", Item::from(self.piece_length))),
            Some(("pieces", Item::Bytes(pieces.concat()))),
            self.private.then(|| ("private", Item::from(1u8))),
            self.source.as_deref().map(|source| ("source", Item::from(source))),
        ];
        Item::dictionary(entries.into_iter().flatten())
    }
}

impl Content {
    /// Bytes of all files; `None` beyond 64 bits.
    pub fn total_length(&self) -> Option<u64> {
        match self {
            Self::SingleFile { length } => Some(*length),
            Self::Folder(files) => files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.length)),
        }
    }
}

impl SourceFile {
    fn entry(&self) -> Item {
        let path = self.path.iter().map(|element| Item::from(element.as_str())).collect();
        let entries = [
            self.executable.then(|| ("attr", Item::from("x"))),
            Some(("length", Item::from(self.length))),
            Some(("path", Item::List(path))),
        ];
        Item::dictionary(entries.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::Metainfo;
    use proptest::prelude::*;

    #[test]
    fn piece_length_follows_the_size() {
        for (total, expected) in [
            (0, 16 << 10),
            (2_000 * (16 << 10), 16 << 10),
            (2_000 * (16 << 10) + 1, 32 << 10),
            (1 << 30, 1 << 20),
            (1 << 40, 16 << 20),
            (u64::MAX, 16 << 20),
        ] {
            assert_eq!(automatic_piece_length(total), expected, "{total}");
        }
        for total in (0..25).map(|shift| (33u64 << 20) + (997 << shift)) {
            let pieces = total.div_ceil(u64::from(automatic_piece_length(total)));
            assert!((1_000..=2_000).contains(&pieces), "{total}: {pieces}");
        }
    }

    #[test]
    fn bytes_are_those_of_a_torrent() {
        let builder = MetainfoBuilder {
            trackers: vec![vec!["http://a/announce".into()], vec![], vec!["http://b/announce".into()]],
            private: true,
            source: Some("S".into()),
            comment: Some("C".into()),
            creation_date: Some(7),
            ..MetainfoBuilder::new("cow", Content::SingleFile { length: 3 })
        };
        let bytes = builder.build(&[*b"01234567890123456789"]).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "d8:announce17:http://a/announce13:announce-listll17:http://a/announceel17:http://b/announceee7:comment1:C\
             10:created by11:swarm/0.1.013:creation datei7e4:infod6:lengthi3e4:name3:cow12:piece lengthi16384e\
             6:pieces20:012345678901234567897:privatei1e6:source1:See"
        );
    }

    #[test]
    fn what_cannot_be_parsed_is_not_built() {
        let single = MetainfoBuilder::new("cow", Content::SingleFile { length: 3 });
        assert!(matches!(single.build(&[]), Err(MetainfoError::PieceCount { found: 0, expected: 1, .. })));
        let none = MetainfoBuilder::new("cow", Content::Folder(vec![]));
        assert_eq!(none.build(&[]), Err(MetainfoError::NoFiles));
        let large = SourceFile { length: u64::MAX, ..SourceFile::default() };
        let sum = MetainfoBuilder::new("cow", Content::Folder(vec![large.clone(), large]));
        assert_eq!(sum.build(&[]), Err(MetainfoError::TotalLength));
        let zero = MetainfoBuilder { piece_length: 0, ..single };
        assert_eq!(zero.build(&[]), Err(MetainfoError::PieceLength("0".into())));
    }

    fn contents() -> impl Strategy<Value = Content> {
        let file = (prop::collection::vec("[a-zäöü0-9]{1,8}", 1..4), 0u64..100_000, any::<bool>());
        let file = file.prop_map(|(path, length, executable)| SourceFile { path, length, executable });
        prop_oneof![
            (0u64..1_000_000).prop_map(|length| Content::SingleFile { length }),
            prop::collection::vec(file, 1..20).prop_map(Content::Folder),
        ]
    }

    proptest! {
        #[test]
        fn round_trips(
            content in contents(),
            name in "[a-z]{1,12}",
            trackers in prop::collection::vec(prop::collection::vec("http://[a-z]{8}/[a-z]{6}", 1..3), 0..3),
            peers in prop::collection::vec("[a-z]{1,9}:[1-9][0-9]{0,3}", 0..3),
            private: bool,
            comment in prop::option::of("[ -~]{1,20}"),
        ) {
            let builder = MetainfoBuilder {
                trackers, peers, private, comment, ..MetainfoBuilder::new(name, content)
            };
            let hashes: Vec<[u8; 20]> =
                builder.geometry().unwrap().all_pieces().map(|piece| [u8::try_from(piece.as_u32() % 251).unwrap(); 20]).collect();
            let bytes = builder.build(&hashes).unwrap();
            prop_assert_eq!(&bytes, &builder.build(&hashes).unwrap());
            let parsed = Metainfo::parse(bytes).unwrap();
            prop_assert!(parsed.is_canonical());
            // The safe name may be another one: `prn` is reserved on Windows.
            prop_assert_eq!(parsed.raw_name(), builder.name.as_bytes());
            prop_assert_eq!(parsed.geometry(), builder.geometry().unwrap());
            prop_assert_eq!(parsed.is_private(), builder.private);
            prop_assert_eq!(parsed.comment(), builder.comment.as_deref());
            prop_assert_eq!(parsed.created_by(), Some(CREATED_BY));
            prop_assert_eq!(parsed.peers(), &builder.peers);
            prop_assert_eq!(parsed.trackers(), &builder.trackers);
            for piece in parsed.geometry().all_pieces() {
                prop_assert_eq!(parsed.piece_hash(piece), hashes.get(piece.as_usize()));
            }
            let lengths: Vec<u64> = parsed.layout().files().map(|(_, file)| file.length()).collect();
            match &builder.content {
                Content::SingleFile { length } => prop_assert_eq!(lengths, vec![*length]),
                Content::Folder(files) => {
                    prop_assert_eq!(lengths, files.iter().map(|file| file.length).collect::<Vec<_>>());
                }
            }
        }
    }
}
