//! The bytes of a resume record. Pure: from values to bytes and back.
//!
//! All numbers are big endian. A **snapshot** is: `swarmres` · version (u16) · info hash (20) · generation (u64) · boot id
//! (16) · length of the root path (u16) and the path · number of pieces (u32) and their bitfield as on the wire · number of
//! files (u32) and for each: its number (u32), inode (u64), length (u64), time of change in ns since 1970 (i64) · SHA-1 of
//! all that (20).
//!
//! A **journal** is: `swarmjnl` · version (u16) · info hash (20) · generation (u64) · the first 8 bytes of the SHA-1 of that;
//! then entries of a piece (u32), a time in ns since 1970 (i64) and the first 8 bytes of the SHA-1 over the header and the
//! entry. An entry that does not match ends the journal: it was being written when the writer died.
//!
//! Whatever the input, decoding neither panics nor takes more memory than a small multiple of its length.

use crate::disk::folder::Stamp;
use sha1::{Digest, Sha1};
use swarm_proto::bitfield::Bitfield;
use swarm_proto::id::{HASH_LENGTH, InfoHash};

const SNAPSHOT_MAGIC: &[u8; 8] = b"swarmres";
const JOURNAL_MAGIC: &[u8; 8] = b"swarmjnl";
const VERSION: u16 = 1;

/// Bytes of a snapshot apart from its path, bitfield and files.
const SNAPSHOT_FIXED: usize = 8 + 2 + HASH_LENGTH + 8 + 16 + 2 + 4 + 4 + HASH_LENGTH;

/// Bytes of a file in a snapshot.
const FILE_LENGTH: usize = 4 + 8 + 8 + 8;

/// Bytes in front of a journal's entries.
pub(super) const JOURNAL_HEADER_LENGTH: usize = 8 + 2 + HASH_LENGTH + 8 + CHECK_LENGTH;

/// Bytes of a journal's entry.
pub(super) const ENTRY_LENGTH: usize = 4 + 8 + CHECK_LENGTH;

const CHECK_LENGTH: usize = 8;

/// The boot during which a record was made, if it holds no longer than that: its data was not synced.
pub(super) type BootId = [u8; 16];

/// A record that holds after any restart.
pub(super) const SYNCED: BootId = [0; 16];

/// What is known of a torrent's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Snapshot {
    pub(super) info_hash: InfoHash,
    /// Grows with each snapshot; tells which journals belong to it.
    pub(super) generation: u64,
    pub(super) boot: BootId,
    /// The path of the torrent's file or folder.
    pub(super) root: Vec<u8>,
    pub(super) have: Bitfield,
    /// The files on disk: number and stamp.
    pub(super) files: Vec<(u32, Stamp)>,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("it does not begin as one")]
    Magic,
    #[error("version {0} is not known")]
    Version(u16),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it ends in the middle, or goes on behind its end")]
    Length,
    #[error("it has more pieces than bits")]
    Bitfield,
}

impl Snapshot {
    /// Bytes that a snapshot of so many pieces and files has at most.
    pub(super) fn length_bound(pieces: u32, files: usize) -> usize {
        SNAPSHOT_FIXED + usize::from(u16::MAX) + (pieces as usize).div_ceil(8) + files.saturating_mul(FILE_LENGTH)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let bound = Self::length_bound(0, self.files.len()) + self.have.pieces() as usize / 8;
        let mut bytes = Vec::with_capacity(bound - usize::from(u16::MAX) + self.root.len() + 1);
        bytes.extend(SNAPSHOT_MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(self.info_hash.0);
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(self.boot);
        let length = u16::try_from(self.root.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend(self.root.iter().take(usize::from(length)));
        bytes.extend(self.have.pieces().to_be_bytes());
        bytes.extend(self.have.to_wire());
        bytes.extend(u32::try_from(self.files.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (number, stamp) in &self.files {
            bytes.extend(number.to_be_bytes());
            bytes.extend(stamp.inode.to_be_bytes());
            bytes.extend(stamp.length.to_be_bytes());
            bytes.extend(stamp.modified_ns.to_be_bytes());
        }
        let checksum = Sha1::digest(&bytes);
        bytes.extend(checksum);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (body, checksum) = bytes.split_last_chunk::<HASH_LENGTH>().ok_or(RecordError::Length)?;
        let mut rest = Reader(body);
        if rest.array()? != *SNAPSHOT_MAGIC {
            return Err(RecordError::Magic);
        }
        let version = u16::from_be_bytes(rest.array()?);
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        if Sha1::digest(body).as_slice() != checksum {
            return Err(RecordError::Checksum);
        }
        let info_hash = InfoHash(rest.array()?);
        let generation = u64::from_be_bytes(rest.array()?);
        let boot = rest.array()?;
        let length = u16::from_be_bytes(rest.array()?);
        let root = rest.take(usize::from(length))?.to_vec();
        let pieces = u32::from_be_bytes(rest.array()?);
        let bits = rest.take((pieces as usize).div_ceil(8))?;
        let have = Bitfield::from_wire(bits, pieces).ok_or(RecordError::Bitfield)?;
        let count = u32::from_be_bytes(rest.array()?) as usize;
        if count.checked_mul(FILE_LENGTH) != Some(rest.0.len()) {
            return Err(RecordError::Length);
        }
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let number = u32::from_be_bytes(rest.array()?);
            let inode = u64::from_be_bytes(rest.array()?);
            let length = u64::from_be_bytes(rest.array()?);
            let modified_ns = i64::from_be_bytes(rest.array()?);
            files.push((number, Stamp { inode, length, modified_ns }));
        }
        Ok(Self { info_hash, generation, boot, root, have, files })
    }
}

/// What is left to be read.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], RecordError> {
        let (now, later) = self.0.split_at_checked(length).ok_or(RecordError::Length)?;
        self.0 = later;
        Ok(now)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (now, later) = self.0.split_first_chunk::<N>().ok_or(RecordError::Length)?;
        self.0 = later;
        Ok(*now)
    }
}

/// A piece that was about to be written, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) piece: u32,
    pub(super) time_ns: i64,
}

/// A journal's identity; makes and checks its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct JournalHeader {
    pub(super) info_hash: InfoHash,
    pub(super) generation: u64,
}

impl JournalHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(JOURNAL_HEADER_LENGTH);
        bytes.extend(JOURNAL_MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(self.info_hash.0);
        bytes.extend(self.generation.to_be_bytes());
        let check = check(&[&bytes]);
        bytes.extend(check);
        bytes
    }

    pub(super) fn encode_entry(&self, entry: Entry) -> [u8; ENTRY_LENGTH] {
        let mut bytes = [0; ENTRY_LENGTH];
        let (piece, time) = (entry.piece.to_be_bytes(), entry.time_ns.to_be_bytes());
        let check = check(&[&self.encode(), &piece, &time]);
        for (to, from) in bytes.iter_mut().zip(piece.into_iter().chain(time).chain(check)) {
            *to = from;
        }
        bytes
    }

    /// The header of a journal, and its entries up to the first one that is not whole.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, Vec<Entry>), RecordError> {
        let mut rest = Reader(bytes);
        if rest.array()? != *JOURNAL_MAGIC {
            return Err(RecordError::Magic);
        }
        let version = u16::from_be_bytes(rest.array()?);
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let header = Self { info_hash: InfoHash(rest.array()?), generation: u64::from_be_bytes(rest.array()?) };
        let encoded = header.encode();
        if bytes.get(..JOURNAL_HEADER_LENGTH) != Some(encoded.as_slice()) {
            return Err(RecordError::Checksum);
        }
        rest.take(CHECK_LENGTH)?;
        let whole = rest.0.chunks_exact(ENTRY_LENGTH).map_while(|bytes| {
            let mut rest = Reader(bytes);
            let piece = u32::from_be_bytes(rest.array().ok()?);
            let entry = Entry { piece, time_ns: i64::from_be_bytes(rest.array().ok()?) };
            (header.encode_entry(entry) == bytes).then_some(entry)
        });
        Ok((header, whole.collect()))
    }
}

fn check(parts: &[&[u8]]) -> [u8; CHECK_LENGTH] {
    let mut digest = Sha1::new();
    parts.iter().for_each(|part| digest.update(part));
    let digest: [u8; HASH_LENGTH] = digest.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot() -> Snapshot {
        let mut have = Bitfield::empty(11);
        for piece in [0, 3, 10] {
            have.insert(swarm_proto::geometry::Geometry::new(11, 1).unwrap().piece(piece).unwrap());
        }
        let stamp = Stamp { inode: u64::MAX - 1, length: 1 << 40, modified_ns: -5 };
        Snapshot {
            info_hash: InfoHash([7; 20]),
            generation: 1 << 50,
            boot: [9; 16],
            root: b"/data/\xff\xfe film".to_vec(),
            have,
            files: vec![(0, stamp), (4, Stamp::default())],
        }
    }

    #[test]
    fn a_snapshot_round_trips_and_every_wrong_bit_is_noticed() {
        let snapshot = snapshot();
        let bytes = snapshot.encode();
        assert!(bytes.len() <= Snapshot::length_bound(11, 2));
        assert_eq!(Snapshot::decode(&bytes), Ok(snapshot));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                assert!(Snapshot::decode(&wrong).is_err(), "byte {at} bit {bit}");
            }
            assert!(Snapshot::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(Snapshot::decode(&[bytes.as_slice(), b"\0"].concat()).is_err());
    }

    #[test]
    fn lengths_that_lie_behind_a_right_checksum_are_refused() {
        let bytes = snapshot().encode();
        let body = &bytes[..bytes.len() - HASH_LENGTH];
        for at in 10..body.len() {
            let mut lie = body.to_vec();
            lie[at] = 0xff;
            lie.extend(Sha1::digest(&lie));
            if let Ok(decoded) = Snapshot::decode(&lie) {
                assert_eq!(decoded.encode(), lie, "byte {at}");
            }
        }
    }

    #[test]
    fn a_journal_ends_at_its_torn_tail() {
        let header = JournalHeader { info_hash: InfoHash([7; 20]), generation: 3 };
        let entries: Vec<Entry> = (0..5).map(|piece| Entry { piece, time_ns: 1_000 - i64::from(piece) }).collect();
        let mut bytes = header.encode();
        entries.iter().for_each(|&entry| bytes.extend(header.encode_entry(entry)));
        assert_eq!(JournalHeader::decode(&bytes), Ok((header, entries.clone())));
        for cut in 0..bytes.len() {
            let decoded = JournalHeader::decode(&bytes[..cut]);
            match cut.checked_sub(JOURNAL_HEADER_LENGTH) {
                None => assert!(decoded.is_err(), "{cut}"),
                Some(rest) => assert_eq!(decoded.unwrap().1, entries[..rest / ENTRY_LENGTH]),
            }
            let mut wrong = bytes.clone();
            wrong[cut] ^= 0x10;
            match cut.checked_sub(JOURNAL_HEADER_LENGTH) {
                None => assert!(JournalHeader::decode(&wrong).is_err(), "{cut}"),
                Some(at) => assert_eq!(JournalHeader::decode(&wrong).unwrap().1, entries[..at / ENTRY_LENGTH]),
            }
        }
    }

    #[test]
    fn an_entry_of_another_journal_does_not_count() {
        let header = JournalHeader { info_hash: InfoHash([7; 20]), generation: 3 };
        let other = JournalHeader { generation: 4, ..header };
        let bytes = [header.encode(), other.encode_entry(Entry { piece: 1, time_ns: 1 }).to_vec()].concat();
        assert_eq!(JournalHeader::decode(&bytes), Ok((header, Vec::new())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Snapshot::decode(&bytes).is_err());
            prop_assert!(JournalHeader::decode(&bytes).is_err());
        }
    }
}
