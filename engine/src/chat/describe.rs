//! What is said of files before anybody has asked for them: a metainfo that a chat can carry.

use super::handle::ChatFailure;
use super::reading::Reading;
use crate::disk::HashJob;
use crate::disk::create::{self, ScanOptions};
use crate::disk::resume::remember_hashed;
use std::path::Path;
use std::sync::atomic::Ordering;
use swarm_proto::chat::ChatError;
use swarm_proto::id::HASH_LENGTH;
use swarm_proto::limits;
use swarm_proto::metainfo::{Content, Metainfo, MetainfoBuilder, MetainfoError};

/// Files, described.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) metainfo: Metainfo,
    pub(super) files: u32,
    pub(super) total_length: u64,
}

/// Reads all of it, and records in the folder that this was done, so that it need not be read once more to be served.
/// Whoever stops it finds no such record.
pub(super) fn describe(path: &Path, state_folder: Option<&Path>, reading: &Reading) -> Result<Described, ChatFailure> {
    let list = create::scan_unless(path, &ScanOptions::default(), reading.flag())?;
    let content = list.content();
    let files = if let Content::Folder(files) = &content { files.len() } else { 1 };
    // Known before the hashing, which may take long.
    let builder = fitting(MetainfoBuilder::new(list.name(), content), limits::CHAT_METAINFO_LENGTH)?;
    let geometry = builder.geometry()?;
    reading.listed(geometry.total_length());
    let count = |bytes: u64| reading.advance(bytes);
    let hashes = create::hash(&list, geometry, HashJob::new(&count, reading.flag()))?;
    let metainfo = Metainfo::parse(builder.build(&hashes)?)?;
    if reading.flag().load(Ordering::Relaxed) {
        return Err(ChatFailure::Stopped);
    }
    if let Some(folder) = state_folder
        && let Err(error) = remember_hashed(folder, path, &metainfo, list.stamps())
    {
        tracing::info!(%error, "what is offered is read once more");
    }
    let files = u32::try_from(files).unwrap_or(u32::MAX);
    Ok(Described { metainfo, files, total_length: geometry.total_length() })
}

/// Longer pieces until all fits into so many bytes: what the names of many files take is saved on hashes.
fn fitting(mut builder: MetainfoBuilder, length: usize) -> Result<MetainfoBuilder, ChatFailure> {
    loop {
        let pieces = match builder.geometry() {
            Ok(geometry) => geometry.pieces() as usize,
            Err(MetainfoError::TooManyPieces(_)) => usize::MAX,
            Err(error) => return Err(error.into()),
        };
        let hashes = pieces.saturating_mul(HASH_LENGTH);
        if hashes <= length && builder.build(&vec![[0; HASH_LENGTH]; pieces])?.len() <= length {
            return Ok(builder);
        }
        let longer = builder.piece_length.saturating_mul(2);
        if longer > limits::PIECE_LENGTH || pieces <= 1 {
            return Err(ChatError::MetainfoTooLong.into());
        }
        builder.piece_length = longer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_proto::metainfo::SourceFile;

    const GB: u64 = 1_000_000_000;

    /// The piece length and the number of pieces for such content.
    fn pieces(content: Content) -> Option<(u32, u32)> {
        let builder = fitting(MetainfoBuilder::new("holiday", content), limits::CHAT_METAINFO_LENGTH).ok()?;
        let geometry = builder.geometry().unwrap();
        let metainfo = builder.build(&vec![[0; HASH_LENGTH]; geometry.pieces() as usize]).unwrap();
        assert!(metainfo.len() <= limits::CHAT_METAINFO_LENGTH, "{}", metainfo.len());
        Some((builder.piece_length, geometry.pieces()))
    }

    fn folder(files: usize, length: u64) -> Content {
        let file = |at| {
            let path = vec!["pictures of 2026".to_owned(), format!("IMG_{at:06}.jpeg")];
            SourceFile { path, length, executable: false }
        };
        Content::Folder((0..files).map(file).collect())
    }

    #[test]
    fn the_pieces_are_as_long_as_it_takes() {
        let single = |length| pieces(Content::SingleFile { length });
        assert_eq!(single(0), Some((16 << 10, 0)));
        assert_eq!(single(GB), Some((512 << 10, 1_908)));
        assert_eq!(single(100 * GB), Some((16 << 20, 5_961)));
        assert_eq!(single(400 * GB), Some((16 << 20, 23_842)));
        assert_eq!(single(500 * GB), Some((32 << 20, 14_902)));
        assert_eq!(single(10_000 * GB), Some((512 << 20, 18_627)));
        assert_eq!(single(20_000 * GB), None);
        assert_eq!(single(u64::MAX / 2), None);
        // Names leave less for hashes.
        assert_eq!(pieces(folder(1_000, 100_000_000)).unwrap().0, 16 << 20);
        assert_eq!(pieces(folder(5_000, 20_000_000)).unwrap(), (16 << 20, 5_961));
        assert_eq!(pieces(folder(6_000, 20_000_000)).unwrap().0, 32 << 20);
        assert_eq!(pieces(folder(20_000, 1)), None);
    }

    #[test]
    fn what_is_too_large_is_not_read_first() {
        let (folder, reading) = (tempfile::tempdir().unwrap(), Reading::default());
        for name in ["first half", "second half"] {
            std::fs::File::create(folder.path().join(name)).unwrap().set_len(10_000 * GB).unwrap();
        }
        let error = describe(folder.path(), None, &reading).unwrap_err().to_string();
        assert!(error.contains("one archive"), "{error}");
        assert_eq!(reading.progress(), None);
    }

    #[test]
    fn what_does_not_fit_says_what_helps() {
        let folder = tempfile::tempdir().unwrap();
        let name = "x".repeat(200);
        for at in 0..2_600 {
            std::fs::write(folder.path().join(format!("{name}{at}")), b"").unwrap();
        }
        let error = describe(folder.path(), None, &Reading::default()).unwrap_err().to_string();
        assert!(error.contains("one archive") && error.contains("metainfo"), "{error}");
    }
}
