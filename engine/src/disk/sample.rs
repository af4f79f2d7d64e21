//! Torrents for tests: bytes that repeat from run to run, and their metainfo.

use super::hash::hash_piece;
use std::fs;
use std::path::Path;
use swarm_proto::layout::{FileIndex, Layout};
use swarm_proto::metainfo::Metainfo;

/// A torrent and its bytes, padding included.
pub(crate) struct Sample {
    pub(crate) metainfo: Metainfo,
    pub(crate) bytes: Vec<u8>,
}

impl Sample {
    /// A folder `top` with files of `(path, length, attr of BEP 47)`.
    pub(crate) fn folder(files: &[(&str, usize, &str)], piece_length: usize) -> Self {
        let mut list = String::new();
        let mut bytes = Vec::new();
        for (path, length, attributes) in files {
            let elements: String = path.split('/').map(|name| format!("{}:{name}", name.len())).collect();
            let attributes = match attributes.len() {
                0 => String::new(),
                length => format!("4:attr{length}:{attributes}"),
            };
            list += &format!("d{attributes}6:lengthi{length}e4:pathl{elements}ee");
            let start = bytes.len();
            let fill = |at: usize| if attributes.ends_with('p') { 0 } else { noise(start + at) };
            bytes.extend((0..*length).map(fill));
        }
        Self::new(format!("5:filesl{list}e"), bytes, piece_length)
    }

    /// A single file `top`.
    pub(crate) fn file(length: usize, piece_length: usize) -> Self {
        Self::new(format!("6:lengthi{length}e"), (0..length).map(noise).collect(), piece_length)
    }

    fn new(content: String, bytes: Vec<u8>, piece_length: usize) -> Self {
        let hashes: Vec<u8> = bytes.chunks(piece_length).flat_map(|piece| hash_piece(&[piece])).collect();
        let mut info = format!("d4:infod{content}4:name3:top12:piece lengthi{piece_length}e6:pieces{}:", hashes.len())
            .into_bytes();
        info.extend(hashes);
        info.extend(b"ee");
        Self { metainfo: Metainfo::parse(info).unwrap(), bytes }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.metainfo.layout().clone()
    }

    pub(crate) fn index(&self, number: usize) -> FileIndex {
        self.metainfo.layout().index(number).unwrap()
    }

    /// The bytes of a piece.
    pub(crate) fn piece(&self, number: u32) -> &[u8] {
        let length = self.metainfo.geometry().piece_length() as usize;
        self.bytes.chunks(length).nth(number as usize).unwrap()
    }

    /// Writes all files below `folder`, under their final names.
    pub(crate) fn write_to(&self, folder: &Path) {
        for (_, file) in self.metainfo.layout().files() {
            let Some(path) = file.path() else { continue };
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let range = usize::try_from(file.offset()).unwrap()..usize::try_from(file.end()).unwrap();
            fs::write(path, &self.bytes[range]).unwrap();
        }
    }

    /// Whether exactly the right files are below `folder`, with the right bytes.
    pub(crate) fn assert_complete(&self, folder: &Path) {
        for (_, file) in self.metainfo.layout().files() {
            let Some(path) = file.path() else { continue };
            let range = usize::try_from(file.offset()).unwrap()..usize::try_from(file.end()).unwrap();
            let found = fs::read(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(found == self.bytes[range], "{path}");
            assert!(!folder.join(format!("{path}.part")).exists(), "{path}");
        }
    }
}

/// A byte that depends on its place, without a period that a piece could have.
fn noise(at: usize) -> u8 {
    ((at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).to_le_bytes()[0]
}
