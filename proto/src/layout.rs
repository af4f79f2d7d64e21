//! Where the bytes of a torrent lie on disk.
//!
//! Owns the list of files with their safe paths and the way from a range of the torrent to ranges of files. Never opens
//! one. The files lie end to end: each starts where the one before it ends, and the last ends with the torrent.

use crate::geometry::{Block, Geometry, PieceIndex};
use crate::metainfo::Metainfo;
use crate::path::SafePath;
use std::ops::Range;
use std::sync::Arc;

/// A file that exists in its layout. Only [`Layout`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FileIndex(u32);

impl FileIndex {
    /// Place in the order of the metainfo, from 0.
    pub fn as_u32(self) -> u32 {
        self.0
    }

    /// The number for indexing a table of one entry a file.
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// What a file of a torrent is (BEP 47).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileKind {
    /// Bytes under a name.
    Regular,
    /// Zeros that bring the next file to the start of a piece: not on disk, read as zeros, never written.
    Padding,
    /// A symbolic link: has no bytes, and is never made, for it could lead out of the folder.
    Symlink,
}

/// What a metainfo says about a file apart from its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileFacts {
    pub(crate) length: u64,
    pub(crate) kind: FileKind,
    pub(crate) executable: bool,
    pub(crate) hidden: bool,
}

/// One file of a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayoutFile {
    path: Option<Box<str>>,
    original_path: Option<Box<str>>,
    renamed: bool,
    offset: u64,
    facts: FileFacts,
}

impl LayoutFile {
    /// The safe path below the target folder, elements joined by `/`; `None` for what is not on disk: padding and
    /// symbolic links. An unfinished file carries [`crate::path::PART_SUFFIX`] behind it, which collides with no other.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The elements of [`LayoutFile::path`]: folders from the outside in, then the name.
    pub fn elements(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.path.iter().flat_map(|path| path.split('/'))
    }

    /// The path as the metainfo has it, where that differs from the safe one and is harmless on Unix: where to look for
    /// data that its owner shares in place. Never make a file there.
    pub fn original_path(&self) -> Option<&str> {
        self.original_path.as_deref()
    }

    /// Whether the metainfo has another path: one that is unsafe, or that collides with another file's.
    pub fn is_renamed(&self) -> bool {
        self.renamed
    }

    /// Offset in bytes from the start of the torrent.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.facts.length
    }

    /// Offset in bytes of what follows.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.facts.length)
    }

    /// What it is.
    pub fn kind(&self) -> FileKind {
        self.facts.kind
    }

    /// BEP 47 `x`.
    pub fn is_executable(&self) -> bool {
        self.facts.executable
    }

    /// BEP 47 `h`.
    pub fn is_hidden(&self) -> bool {
        self.facts.hidden
    }
}

/// A range of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Which.
    pub file: FileIndex,
    /// Offset in bytes from the start of the file.
    pub offset: u64,
    /// Length in bytes, at least 1.
    pub length: u64,
}

/// Whether a torrent is one file or a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutForm {
    /// One file, named as the torrent.
    SingleFile,
    /// A folder, named as the torrent, and every file below it.
    Folder,
}

/// The files of a torrent. Cheap to clone: the list is shared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    geometry: Geometry,
    form: LayoutForm,
    name: Arc<str>,
    files: Arc<[LayoutFile]>,
}

impl Layout {
    /// One path for each regular file, in the order of `facts`; the lengths sum up to that of the geometry.
    pub(crate) fn new(
        geometry: Geometry,
        form: LayoutForm,
        name: &str,
        paths: Vec<SafePath>,
        facts: &[FileFacts],
    ) -> Self {
        let mut offset = 0u64;
        let mut paths = paths.into_iter();
        let place = |facts: &FileFacts| {
            let start = offset;
            offset = offset.saturating_add(facts.length);
            let safe = if facts.kind == FileKind::Regular { paths.next() } else { None };
            let renamed = safe.as_ref().is_some_and(|safe| safe.renamed);
            let (path, original) = safe.map_or((None, None), |safe| (Some(safe.path), safe.original));
            LayoutFile {
                path: path.map(String::into_boxed_str),
                original_path: original.map(String::into_boxed_str),
                renamed,
                offset: start,
                facts: *facts,
            }
        };
        let files = facts.iter().map(place).collect();
        Self { geometry, form, name: name.into(), files }
    }

    /// Pieces and blocks of the torrent.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// One file or a folder.
    pub fn form(&self) -> LayoutForm {
        self.form
    }

    /// The safe name of the single file or of the folder: the first element of every path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of files, padding and symbolic links included.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// All files in the order of the metainfo.
    pub fn files(&self) -> impl DoubleEndedIterator<Item = (FileIndex, &LayoutFile)> + ExactSizeIterator {
        self.files.iter().enumerate().map(|(index, file)| (file_index(index), file))
    }

    /// The file at this place in the order of the metainfo.
    pub fn index(&self, index: usize) -> Option<FileIndex> {
        (index < self.files.len()).then(|| file_index(index))
    }

    /// A file; `None` for an index of another, larger layout.
    pub fn file(&self, index: FileIndex) -> Option<&LayoutFile> {
        self.files.get(index.as_usize())
    }

    /// The ranges of files that hold `length` bytes of the torrent from `offset` on, in order, padding included; what
    /// lies behind the end of the torrent is left out.
    pub fn spans(&self, offset: u64, length: u64) -> impl Iterator<Item = Span> + '_ {
        let end = offset.saturating_add(length);
        let first = self.files.partition_point(|file| file.end() <= offset);
        let reached = self.files.iter().enumerate().skip(first).take_while(move |(_, file)| file.offset < end);
        reached.filter_map(move |(index, file)| {
            let from = offset.max(file.offset);
            let length = end.min(file.end()).checked_sub(from).filter(|&length| length > 0)?;
            Some(Span { file: file_index(index), offset: from - file.offset, length })
        })
    }

    /// The ranges of files that hold a piece.
    pub fn spans_of_piece(&self, piece: PieceIndex) -> impl Iterator<Item = Span> + '_ {
        self.spans(self.geometry.offset_of(piece), u64::from(self.geometry.length_of(piece)))
    }

    /// The ranges of files that hold a block.
    pub fn spans_of_block(&self, block: Block) -> impl Iterator<Item = Span> + '_ {
        self.spans(self.geometry.offset_of_block(block), u64::from(block.length()))
    }

    /// The numbers of the pieces that hold bytes of a file; none for an empty one.
    pub fn pieces_of_file(&self, index: FileIndex) -> Range<u32> {
        let piece_length = u64::from(self.geometry.piece_length());
        let number = |piece: u64| u32::try_from(piece).unwrap_or(u32::MAX).min(self.geometry.pieces());
        match self.file(index) {
            Some(file) if file.length() > 0 => {
                number(file.offset / piece_length)..number(file.end().div_ceil(piece_length))
            }
            _ => 0..0,
        }
    }
}

impl From<&Metainfo> for Layout {
    fn from(metainfo: &Metainfo) -> Self {
        metainfo.layout().clone()
    }
}

/// The metainfo bounds the number of files far below `u32`.
fn file_index(index: usize) -> FileIndex {
    FileIndex(u32::try_from(index).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(lengths: &[u64], piece_length: u64) -> Layout {
        let geometry = Geometry::new(lengths.iter().sum(), piece_length).unwrap();
        let facts: Vec<FileFacts> = lengths
            .iter()
            .map(|&length| FileFacts { length, kind: FileKind::Regular, executable: false, hidden: false })
            .collect();
        let path = |number| SafePath { path: format!("t/{number}"), original: None, renamed: false };
        Layout::new(geometry, LayoutForm::Folder, "t", (0..lengths.len()).map(path).collect(), &facts)
    }

    fn spans(layout: &Layout, offset: u64, length: u64) -> Vec<(u32, u64, u64)> {
        layout.spans(offset, length).map(|span| (span.file.as_u32(), span.offset, span.length)).collect()
    }

    #[test]
    fn a_range_reaches_over_files() {
        let layout = layout(&[0, 10, 0, 0, 1, 20, 0], 16);
        assert_eq!(spans(&layout, 0, 31), [(1, 0, 10), (4, 0, 1), (5, 0, 20)]);
        assert_eq!(spans(&layout, 9, 3), [(1, 9, 1), (4, 0, 1), (5, 0, 1)]);
        assert_eq!(spans(&layout, 10, 1), [(4, 0, 1)]);
        assert_eq!(spans(&layout, 30, u64::MAX), [(5, 19, 1)]);
        assert_eq!(spans(&layout, 31, 5), []);
        assert_eq!(spans(&layout, 5, 0), []);
        let last = layout.geometry().piece(1).unwrap();
        let of_last: Vec<_> = layout.spans_of_piece(last).collect();
        assert_eq!(of_last, [Span { file: layout.index(5).unwrap(), offset: 5, length: 15 }]);
        let block = layout.geometry().wire_block(0, 8, 4).unwrap();
        assert_eq!(layout.spans_of_block(block).count(), 3);
    }

    #[test]
    fn pieces_of_a_file() {
        let layout = layout(&[0, 10, 6, 1, 33, 0], 16);
        let pieces = |index| layout.pieces_of_file(layout.index(index).unwrap());
        assert_eq!(pieces(0), 0..0);
        assert_eq!(pieces(1), 0..1);
        assert_eq!(pieces(2), 0..1);
        assert_eq!(pieces(3), 1..2);
        assert_eq!(pieces(4), 1..4);
        assert!(pieces(5).is_empty());
        assert_eq!(layout.index(6), None);
    }

    #[test]
    fn padding_has_no_path() {
        let geometry = Geometry::new(16, 16).unwrap();
        let facts = |kind| FileFacts { length: 8, kind, executable: true, hidden: false };
        let path = SafePath { path: "t/a".into(), original: Some("t/A".into()), renamed: true };
        let facts = [facts(FileKind::Padding), facts(FileKind::Regular)];
        let layout = Layout::new(geometry, LayoutForm::Folder, "t", vec![path], &facts);
        let paths: Vec<_> = layout.files().map(|(_, file)| (file.path(), file.original_path())).collect();
        assert_eq!(paths, [(None, None), (Some("t/a"), Some("t/A"))]);
        let regular = layout.file(layout.index(1).unwrap()).unwrap();
        assert_eq!(regular.elements().collect::<Vec<_>>(), ["t", "a"]);
        assert!(regular.is_executable() && !regular.is_hidden());
    }

    proptest! {
        #[test]
        fn spans_cover_each_byte_once(
            lengths in prop::collection::vec(0u64..40, 1..30),
            piece_length in 1u64..50,
        ) {
            let layout = layout(&lengths, piece_length);
            let mut covered: Vec<u64> = vec![0; lengths.len()];
            for piece in layout.geometry().all_pieces() {
                let mut sum = 0;
                for span in layout.spans_of_piece(piece) {
                    let done = &mut covered[span.file.as_usize()];
                    prop_assert_eq!(*done, span.offset);
                    prop_assert!(layout.pieces_of_file(span.file).contains(&piece.as_u32()));
                    *done += span.length;
                    sum += span.length;
                }
                prop_assert_eq!(sum, u64::from(layout.geometry().length_of(piece)));
            }
            prop_assert_eq!(covered, lengths);
        }
    }
}
