//! The reader: the scanner first, `serde_bencode` for the values that it passed, the scanner again where serde refuses
//! what is found in the wild (keys that are not UTF-8, duplicate keys, integers beyond 63 bits).

use super::Metainfo;
use super::outside::read_outside;
use super::types::{Found, MetainfoError};
use crate::bencode::{Document, Kind, ScanLimits, Value};
use crate::geometry::{Geometry, GeometryError};
use crate::id::{HASH_LENGTH, InfoHash};
use crate::layout::{FileFacts, FileKind, Layout, LayoutForm};
use crate::limits;
use crate::path::{self, PathTable};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use sha1::{Digest, Sha1};

/// Reads a metainfo file.
pub(super) fn parse(bytes: Bytes) -> Result<Metainfo, MetainfoError> {
    let document = Document::scan(&bytes, &ScanLimits::METAINFO)?;
    let root = document.root();
    expect(&root, "the outermost value", Kind::Dictionary, "a dictionary")?;
    let info = root.get(b"info").ok_or_else(|| MetainfoError::Missing("info".into()))?;
    expect(&info, "info", Kind::Dictionary, "a dictionary")?;
    let info_hash = InfoHash(Sha1::digest(info.raw()).into());

    let hashes = piece_hashes(&info)?;
    let raw_name = name(&info)?;
    let (form, files) = files(&info)?;
    let geometry = geometry(&info, &files, hashes.len())?;
    let layout = layout(geometry, form, raw_name, &files, info_hash);
    drop(files);
    Ok(Metainfo {
        info: bytes.slice_ref(info.raw()),
        piece_hashes: bytes.slice_ref(hashes),
        info_hash,
        raw_name: bytes.slice_ref(raw_name),
        layout,
        private: info.get(b"private").and_then(|flag| read::<i64>(&flag)).is_some_and(|flag| flag != 0),
        source: info.get(b"source").and_then(|text| read_text(&text)),
        canonical: document.is_canonical(),
        outside: read_outside(&root),
        bytes: bytes.clone(),
    })
}

/// A scanned value as a type of serde; `None` if it is of another shape. Recursion is bounded by the scanner.
pub(super) fn read<T: DeserializeOwned>(value: &Value<'_>) -> Option<T> {
    serde_bencode::from_bytes(value.raw()).ok()
}

/// A text for people: printable, and no longer than anybody reads.
pub(super) fn read_text(value: &Value<'_>) -> Option<String> {
    const TEXT_LENGTH: usize = 16 * 1024;
    let bytes = value.as_bytes()?;
    Some(path::printable(bytes.get(..TEXT_LENGTH).unwrap_or(bytes)))
}

fn expect(value: &Value<'_>, key: &str, kind: Kind, expected: &'static str) -> Result<(), MetainfoError> {
    if value.kind() == kind {
        return Ok(());
    }
    Err(MetainfoError::WrongKind { key: key.into(), expected, found: Found(value.kind()) })
}

/// The SHA-1 values of all pieces, end to end.
fn piece_hashes<'d>(info: &Value<'d>) -> Result<&'d [u8], MetainfoError> {
    let Some(pieces) = info.get(b"pieces") else {
        let version = info.get(b"meta version").and_then(|version| read::<i64>(&version));
        let is_version_2 = version.is_some_and(|version| version >= 2) || info.get(b"file tree").is_some();
        return Err(if is_version_2 {
            MetainfoError::Version2Only
        } else {
            MetainfoError::Missing("info.pieces".into())
        });
    };
    expect(&pieces, "info.pieces", Kind::Bytes, "a string")?;
    let hashes = pieces.as_bytes().unwrap_or_default();
    if hashes.len() % HASH_LENGTH != 0 {
        return Err(MetainfoError::PiecesLength(hashes.len()));
    }
    Ok(hashes)
}

fn name<'d>(info: &Value<'d>) -> Result<&'d [u8], MetainfoError> {
    if let Some(name) = info.get(b"name.utf-8").and_then(|name| name.as_str()).filter(|name| !name.is_empty()) {
        return Ok(name.as_bytes());
    }
    let name = info.get(b"name").ok_or_else(|| MetainfoError::Missing("info.name".into()))?;
    expect(&name, "info.name", Kind::Bytes, "a string")?;
    Ok(name.as_bytes().unwrap_or_default())
}

/// A file as the metainfo has it.
struct RawFile {
    elements: Vec<ByteBuf>,
    facts: FileFacts,
}

/// An entry of `files` in the form that nearly all have.
#[derive(Deserialize)]
struct FileEntry {
    length: u64,
    path: Vec<ByteBuf>,
    #[serde(rename = "path.utf-8")]
    path_utf8: Option<Vec<ByteBuf>>,
    attr: Option<ByteBuf>,
}

fn files(info: &Value<'_>) -> Result<(LayoutForm, Vec<RawFile>), MetainfoError> {
    match (info.get(b"length"), info.get(b"files")) {
        (Some(_), Some(_)) => Err(MetainfoError::LengthAndFiles),
        (None, None) => Err(MetainfoError::NeitherLengthNorFiles),
        (Some(length), None) => {
            let length = file_length(&length, || "info.length".into())?;
            let attributes = info.get(b"attr").and_then(|attr| attr.as_bytes()).unwrap_or_default();
            // What is all there is in a torrent is no padding, whatever it says.
            let facts = FileFacts { kind: FileKind::Regular, ..facts(length, attributes) };
            Ok((LayoutForm::SingleFile, vec![RawFile { elements: Vec::new(), facts }]))
        }
        (None, Some(list)) => {
            expect(&list, "info.files", Kind::List, "a list")?;
            let mut files = Vec::new();
            for (index, entry) in list.items().into_iter().flatten().enumerate() {
                if index >= limits::FILES {
                    return Err(MetainfoError::TooManyFiles);
                }
                files.push(file(index, &entry)?);
            }
            if files.is_empty() {
                return Err(MetainfoError::NoFiles);
            }
            Ok((LayoutForm::Folder, files))
        }
    }
}

fn file(index: usize, entry: &Value<'_>) -> Result<RawFile, MetainfoError> {
    let Some(read) = read::<FileEntry>(entry) else { return scanned_file(index, entry) };
    let is_text = |path: &Vec<ByteBuf>| !path.is_empty() && path.iter().all(|name| std::str::from_utf8(name).is_ok());
    let elements = read.path_utf8.filter(is_text).unwrap_or(read.path);
    Ok(RawFile { elements, facts: facts(read.length, read.attr.as_deref().map_or(b"", Vec::as_slice)) })
}

/// The way around serde: for keys that are not UTF-8, duplicate keys, a missing length, and to name what is wrong.
fn scanned_file(index: usize, entry: &Value<'_>) -> Result<RawFile, MetainfoError> {
    let key = |name: &str| format!("info.files[{index}]{name}");
    expect(entry, &key(""), Kind::Dictionary, "a dictionary")?;
    let attributes = entry.get(b"attr").and_then(|attr| attr.as_bytes()).unwrap_or_default();
    let length = match entry.get(b"length") {
        Some(length) => file_length(&length, || key(".length"))?,
        None if attributes.contains(&b'l') => 0,
        None => return Err(MetainfoError::Missing(key(".length"))),
    };
    let text_path =
        entry.get(b"path.utf-8").filter(|path| read::<Vec<String>>(path).is_some_and(|path| !path.is_empty()));
    let path = text_path.or_else(|| entry.get(b"path")).ok_or_else(|| MetainfoError::Missing(key(".path")))?;
    expect(&path, &key(".path"), Kind::List, "a list of strings")?;
    let mut elements = Vec::new();
    for (depth, element) in path.items().into_iter().flatten().enumerate() {
        expect(&element, &key(&format!(".path[{depth}]")), Kind::Bytes, "a string")?;
        elements.push(ByteBuf::from(element.as_bytes().unwrap_or_default()));
    }
    Ok(RawFile { elements, facts: facts(length, attributes) })
}

fn file_length(value: &Value<'_>, key: impl Fn() -> String) -> Result<u64, MetainfoError> {
    expect(value, &key(), Kind::Integer, "an integer")?;
    value.as_u64().ok_or_else(|| MetainfoError::Length { key: key(), value: digits(value) })
}

/// The digits of an integer, for an error.
fn digits(value: &Value<'_>) -> String {
    let raw = value.raw();
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    String::from_utf8_lossy(inner).into_owned()
}

/// BEP 47. A link that claims to have bytes is taken for the file that has them.
fn facts(length: u64, attributes: &[u8]) -> FileFacts {
    let has = |flag: u8| attributes.contains(&flag);
    let kind = match (has(b'p'), has(b'l') && length == 0) {
        (true, _) => FileKind::Padding,
        (_, true) => FileKind::Symlink,
        _ => FileKind::Regular,
    };
    FileFacts { length, kind, executable: has(b'x'), hidden: has(b'h') }
}

fn geometry(info: &Value<'_>, files: &[RawFile], hashes_length: usize) -> Result<Geometry, MetainfoError> {
    let value = info.get(b"piece length").ok_or_else(|| MetainfoError::Missing("info.piece length".into()))?;
    expect(&value, "info.piece length", Kind::Integer, "an integer")?;
    let piece_length = value.as_u64().ok_or_else(|| MetainfoError::PieceLength(digits(&value)))?;
    let total = files
        .iter()
        .try_fold(0u64, |sum, file| sum.checked_add(file.facts.length))
        .ok_or(MetainfoError::TotalLength)?;
    let geometry = Geometry::new(total, piece_length).map_err(|error| match error {
        GeometryError::PieceLength(_) => MetainfoError::PieceLength(digits(&value)),
        GeometryError::TooManyPieces(pieces) => MetainfoError::TooManyPieces(pieces),
    })?;
    let found = hashes_length / HASH_LENGTH;
    if found as u64 != u64::from(geometry.pieces()) {
        let piece_length = geometry.piece_length();
        return Err(MetainfoError::PieceCount { found, expected: geometry.pieces(), total, piece_length });
    }
    Ok(geometry)
}

fn layout(geometry: Geometry, form: LayoutForm, raw_name: &[u8], files: &[RawFile], info_hash: InfoHash) -> Layout {
    let clean = match form {
        LayoutForm::SingleFile => path::clean_file_name(raw_name),
        LayoutForm::Folder => path::clean_directory(raw_name),
    };
    let fallback = info_hash.to_string();
    let mut table = match (form, &clean) {
        (LayoutForm::SingleFile, _) => PathTable::for_single_file(),
        (LayoutForm::Folder, clean) => PathTable::for_folder(clean.as_deref().unwrap_or(&fallback), raw_name),
    };
    match form {
        LayoutForm::SingleFile if clean.is_some() => table.push(&[raw_name]),
        LayoutForm::SingleFile => table.push(&[fallback.as_bytes()]),
        LayoutForm::Folder => {
            let on_disk = files.iter().filter(|file| file.facts.kind == FileKind::Regular);
            on_disk.for_each(|file| table.push(&file.elements));
        }
    }
    let name = clean.unwrap_or(fallback);
    let facts: Vec<FileFacts> = files.iter().map(|file| file.facts).collect();
    Layout::new(geometry, form, &name, table.finish(), &facts)
}
