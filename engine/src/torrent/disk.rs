//! What a torrent does with its files: pieces verified and written, files finished, uploads found.
//!
//! Owns nothing but the way to the storage. Every function here blocks, except [`Source::spans`], which opens a file now
//! and then.

use crate::buffer::BlockBuffer;
use crate::connection::{Source, Span};
use crate::disk::fault;
use crate::disk::resume::ResumeStore;
use crate::disk::{DiskError, HashJob, Storage, block_digests, hash_pieces_in_memory, verify_pieces};
use crate::session::Purpose;
use rustix::fs::Advice;
use std::collections::BTreeSet;
use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::{Block, PieceIndex};
use swarm_proto::id::HASH_LENGTH;
use swarm_proto::layout::FileIndex;
use swarm_proto::metainfo::Metainfo;
use swarm_proto::swarm::VerifyOutcome;

/// Files about which the system is told in one go: of smaller ones there is little to read ahead.
const ADVISED_FILES: usize = 16;

/// A piece to hash and to write.
pub(super) struct Verification {
    pub(super) piece: PieceIndex,
    pub(super) hash: [u8; HASH_LENGTH],
    pub(super) blocks: Vec<BlockBuffer>,
    /// Whether the hash of each block is wanted even if the piece is right.
    pub(super) digests: bool,
}

/// How that went.
pub(super) struct Verified {
    pub(super) outcome: VerifyOutcome,
    /// Why the outcome is a refusal, and the blocks for another try.
    pub(super) refused: Option<(DiskError, Vec<BlockBuffer>)>,
}

/// Hashes pieces together, and writes those that are right. The answers are in their order.
pub(super) fn verify(works: Vec<Verification>, storage: &Storage, resume: Option<&ResumeStore>) -> Vec<Verified> {
    let slices: Vec<Vec<&[u8]>> = works.iter().map(|work| work.blocks.iter().map(AsRef::as_ref).collect()).collect();
    let hashes = hash_pieces_in_memory(&slices);
    drop(slices);
    works.into_iter().zip(hashes).map(|(work, hash)| work.finish(hash, storage, resume)).collect()
}

impl Verification {
    /// Writes the piece if this is its hash.
    fn finish(self, found: [u8; HASH_LENGTH], storage: &Storage, resume: Option<&ResumeStore>) -> Verified {
        let Self { piece, hash, blocks, digests } = self;
        let slices: Vec<&[u8]> = blocks.iter().map(AsRef::as_ref).collect();
        if found != hash {
            let digests = block_digests(&slices);
            return Verified { outcome: VerifyOutcome::Mismatch { digests }, refused: None };
        }
        if let Some(Err(error)) = resume.map(|resume| resume.journal_piece(piece)) {
            // One line a piece; the checkpoint that fails for the same reason is told to the user.
            tracing::debug!(%error, "a crash now would cost a longer check");
        }
        match storage.write_piece(piece, &slices) {
            Ok(()) => {
                let digests = if digests { block_digests(&slices) } else { Vec::new() };
                Verified { outcome: VerifyOutcome::Written { digests }, refused: None }
            }
            Err(error) => Verified { outcome: VerifyOutcome::WriteFailed, refused: Some((error, blocks)) },
        }
    }
}

/// Uploads come from the files of a torrent.
pub(crate) struct FileSource {
    pub(super) storage: Arc<Storage>,
}

impl Source for FileSource {
    fn spans(&self, block: Block) -> Option<Vec<Span>> {
        fault::visit(fault::Place::Connection);
        let spans = match self.storage.spans(block) {
            Ok(spans) => spans,
            Err(error) => {
                tracing::warn!(%error, "cannot serve a block");
                return None;
            }
        };
        let span = |span: crate::disk::FileSpan| match span.file {
            Some(file) => Span::File { file, index: span.index, offset: span.offset, length: span.length },
            None => Span::Zeros { length: span.length },
        };
        Some(spans.into_iter().map(span).collect())
    }

    fn is_unchanged(&self, index: FileIndex, file: &File) -> bool {
        let checked = self.storage.check_open(index, file);
        if let Err(error) = &checked {
            tracing::warn!(%error, "cannot serve what was read");
        }
        checked.is_ok()
    }

    fn will_need(&self, blocks: &mut dyn Iterator<Item = Block>) {
        let geometry = self.storage.layout().geometry();
        // Blocks mostly come in a row: one piece of advice for each row.
        let mut row = 0..0;
        for block in blocks {
            let begin = geometry.offset_of_block(block);
            if begin != row.end {
                self.advise(std::mem::replace(&mut row, begin..begin));
            }
            row.end = begin + u64::from(block.length());
        }
        self.advise(row);
    }
}

impl FileSource {
    /// Tells the system that this range of the torrent will be read soon, in every file that it touches.
    fn advise(&self, range: Range<u64>) {
        let length = range.end.saturating_sub(range.start);
        for span in self.storage.layout().spans(range.start, length).take(ADVISED_FILES) {
            let Ok(Some(file)) = self.storage.open_to_read(span.file) else { continue };
            // Only advice: an error changes nothing.
            let _ = rustix::fs::fadvise(&file, span.offset, NonZeroU64::new(span.length), Advice::WillNeed);
        }
    }
}

/// What a second look at some pieces found.
pub(super) struct Rechecked {
    /// Pieces of ours that are gone.
    pub(super) lost: Vec<PieceIndex>,
    /// Pieces that are right after all, and may have counted as lost.
    pub(super) right: Vec<PieceIndex>,
}

/// Looks again at all files that were found changed, and takes them as they are now; and at the pieces that could not be
/// read. Who only serves may find that pieces have come back; who fetches gets them again anyway.
pub(super) fn recheck(
    storage: &Storage,
    metainfo: &Metainfo,
    suspects: &BTreeSet<PieceIndex>,
    (purpose, have): (Purpose, &Bitfield),
    cancel: &AtomicBool,
) -> Result<Rechecked, DiskError> {
    storage.present()?;
    let layout = storage.layout();
    let changed = storage.changed_files();
    let pieces = changed.iter().flat_map(|file| layout.pieces_of_file(*file));
    let pieces = pieces.filter_map(|index| layout.geometry().piece(index));
    let pieces = pieces.filter(|piece| purpose == Purpose::Seed || have.has(*piece));
    let mut wanted = Bitfield::empty(have.pieces());
    pieces.chain(suspects.iter().copied()).for_each(|piece| {
        wanted.insert(piece);
    });
    // Nothing of these files is given out before they are accepted.
    let right = verify_pieces(storage, metainfo, &wanted, HashJob { threads: 1, progress: &|_| (), cancel })?;
    for file in changed {
        storage.accept(file)?;
    }
    let (right, wrong): (Vec<_>, Vec<_>) =
        wanted.iter().filter_map(|index| layout.geometry().piece(index)).partition(|piece| right.has(*piece));
    let may_be_new = |piece: &PieceIndex| suspects.contains(piece) || !have.has(*piece);
    Ok(Rechecked { lost: wrong, right: right.into_iter().filter(may_be_new).collect() })
}

/// Hashes pieces again that were served, and returns those that are wrong, each with its first file. A file that another
/// program has changed is an error instead: all of it must be checked.
pub(super) fn scrub(
    storage: &Storage,
    metainfo: &Metainfo,
    pieces: &[PieceIndex],
    cancel: &AtomicBool,
) -> Result<Vec<(PieceIndex, PathBuf)>, DiskError> {
    let mut wanted = Bitfield::empty(metainfo.geometry().pieces());
    pieces.iter().for_each(|piece| {
        wanted.insert(*piece);
    });
    let right = verify_pieces(storage, metainfo, &wanted, HashJob { threads: 1, progress: &|_| (), cancel })?;
    let mut wrong = Vec::new();
    for &piece in pieces.iter().filter(|piece| !right.has(**piece)) {
        let mut first = None;
        for span in storage.layout().spans_of_piece(piece) {
            storage.look(span.file)?;
            first = first.or(Some(span.file));
        }
        wrong.push((piece, first.map(|file| storage.display_path(file)).unwrap_or_default()));
    }
    Ok(wrong)
}
