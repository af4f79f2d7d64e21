//! Names of files from strangers, made safe for every file system.
//!
//! Owns the rules by which a path of a metainfo becomes a path on disk. Never touches a disk, never drops a file. What
//! comes out is the same on every machine, and each element of it is a plain name: not empty, neither `.` nor `..`, free
//! of separators, control and bidirectional characters, and not reserved on Windows. No two files of one torrent end on
//! one path, with or without regard to case, and none ends where another is kept while it is unfinished.

use crate::limits;
use std::collections::{HashMap, HashSet};

/// What stands behind the name of a file on disk until it is complete.
pub const PART_SUFFIX: &str = ".part";

/// Bytes of a file's own name: room for [`PART_SUFFIX`] is kept.
const FILE_NAME_LENGTH: usize = limits::PATH_ELEMENT_LENGTH - PART_SUFFIX.len();

/// Bytes of the longest ` (N)` that sets equal names apart.
const NUMBER_LENGTH: usize = 12;

/// Bytes of an extension that survives a cut; a longer one is no extension.
const EXTENSION_LENGTH: usize = 16;

/// Stands for every character that may not be there.
const REPLACEMENT: char = '_';

/// A path of a torrent, made safe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SafePath {
    /// Elements joined by `/`, unique in the torrent.
    pub path: String,
    /// The path as the metainfo has it, where that differs, is harmless on Unix and is no other file's safe path. Only
    /// for finding data that exists already, never for making a file: on some file systems it may be another file's.
    pub original: Option<String>,
    /// Whether the metainfo has another path, harmless or not.
    pub renamed: bool,
}

/// Makes one element safe: a directory, or the name of a torrent that is a folder.
///
/// `None` for an element that says nothing: empty or `.`.
pub fn clean_directory(raw: &[u8]) -> Option<String> {
    clean_element(raw, limits::PATH_ELEMENT_LENGTH)
}

/// Makes one element safe: the name of a file, which leaves room for [`PART_SUFFIX`].
///
/// `None` for an element that says nothing: empty or `.`.
pub fn clean_file_name(raw: &[u8]) -> Option<String> {
    clean_element(raw, FILE_NAME_LENGTH)
}

/// A text from a stranger, fit for a terminal: no control characters but line feed and tab, none that turn the direction.
pub fn printable(raw: &[u8]) -> String {
    let shown = |c: char| if is_deceptive(c) && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(raw).chars().map(shown).collect()
}

fn clean_element(raw: &[u8], limit: usize) -> Option<String> {
    if raw.is_empty() || raw == b"." {
        return None;
    }
    let replaced: String =
        String::from_utf8_lossy(raw).chars().map(|c| if is_forbidden(c) { REPLACEMENT } else { c }).collect();
    let trimmed = replaced.trim_end_matches(['.', ' ']);
    let name = cut(if trimmed.is_empty() { "_" } else { trimmed }, limit);
    // Only now: a cut can lay a reserved name bare.
    Some(if is_reserved(&name) { cut(&format!("{REPLACEMENT}{name}"), limit) } else { name })
}

/// Characters that some file system refuses, that separate, or that deceive.
fn is_forbidden(c: char) -> bool {
    matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' | char::REPLACEMENT_CHARACTER) || is_deceptive(c)
}

/// Control characters, line and paragraph separators, and those that are invisible or turn the direction of writing.
pub fn is_deceptive(c: char) -> bool {
    let invisible = matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}');
    let turning = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}');
    c.is_control() || invisible || turning
}

/// Device names of Windows, with any extension.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let numbered = |prefix: &str| {
        let digit = stem.strip_prefix(prefix).and_then(|rest| {
            let mut characters = rest.chars();
            characters.next().filter(|_| characters.next().is_none())
        });
        digit.is_some_and(|c| c.is_ascii_digit() || matches!(c, '¹' | '²' | '³'))
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$")
        || numbered("COM")
        || numbered("LPT")
}

/// Cuts a name to so many bytes at a character, in front of its extension.
fn cut(name: &str, limit: usize) -> String {
    if name.len() <= limit {
        return name.to_owned();
    }
    let (stem, extension) = split_extension(name);
    let stem = prefix(stem, limit.saturating_sub(extension.len())).trim_end_matches(['.', ' ']);
    let stem = if stem.is_empty() { "_" } else { stem };
    format!("{stem}{extension}")
}

/// The longest start of at most `limit` bytes.
fn prefix(text: &str, limit: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|&end| end <= limit).last().unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// The name and its extension, dot included; a leading dot starts none.
fn split_extension(name: &str) -> (&str, &str) {
    let dot = name.rfind('.').filter(|&dot| dot > 0 && name.len() - dot <= EXTENSION_LENGTH);
    dot.and_then(|dot| name.split_at_checked(dot)).unwrap_or((name, ""))
}

/// A form in which names are equal if any known file system takes them for equal by case.
fn fold(name: &str) -> Box<str> {
    if name.is_ascii() {
        return name.to_ascii_lowercase().into_boxed_str();
    }
    let folded: String = name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    folded.into_boxed_str()
}

/// An element that stays inside its folder on Unix, though it may be refused or misread elsewhere.
fn harmless(raw: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(raw).ok()?;
    let plain = !matches!(text, "" | "." | "..") && text.len() <= limits::PATH_ELEMENT_LENGTH;
    (plain && !text.contains(['/', '\0'])).then_some(text)
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// A folder (by number; 0 is the root of the torrent) and a folded name in it.
type Key = (u32, Box<str>);

/// A path on its way: its elements are safe, but it may collide.
struct Pending {
    folder: u32,
    folder_path: String,
    name: String,
    original: Option<String>,
}

/// Collects the paths of one torrent in order and sets apart those that collide, in time linear in their size.
pub struct PathTable {
    root: String,
    original_root: Option<String>,
    folders: HashMap<Key, u32>,
    pending: Vec<Pending>,
}

impl PathTable {
    /// For a torrent that is a single file: its path has no folder.
    pub fn for_single_file() -> Self {
        Self { root: String::new(), original_root: Some(String::new()), folders: HashMap::new(), pending: Vec::new() }
    }

    /// For a torrent that is a folder: `root` is its name made safe, `raw_root` the name in the metainfo.
    pub fn for_folder(root: &str, raw_root: &[u8]) -> Self {
        let original_root = harmless(raw_root).map(str::to_owned);
        Self { root: root.to_owned(), original_root, ..Self::for_single_file() }
    }

    /// Takes the elements of the next file's path, as they are in the metainfo.
    pub fn push<E: AsRef<[u8]>>(&mut self, elements: &[E]) {
        let original = self.original(elements);
        let last = elements.last().map_or(b"".as_slice(), AsRef::as_ref);
        let folders = elements.get(..elements.len().saturating_sub(1)).unwrap_or_default();
        let name = clean_file_name(last).unwrap_or_else(|| REPLACEMENT.to_string());
        let mut left = limits::PATH_LENGTH.saturating_sub(self.root.len() + name.len() + NUMBER_LENGTH);
        let mut folder = 0;
        let mut folder_path = self.root.clone();
        // The file's name and the folder of the torrent are elements too. What is too deep moves up.
        for element in folders.iter().filter_map(|raw| clean_directory(raw.as_ref())).take(limits::PATH_DEPTH - 2) {
            let Some(rest) = left.checked_sub(element.len() + 1) else { break };
            left = rest;
            folder = self.folder(folder, &element);
            if !folder_path.is_empty() {
                folder_path.push('/');
            }
            folder_path.push_str(&element);
        }
        self.pending.push(Pending { folder, folder_path, name, original });
    }

    /// The paths, in the order in which they came. Of those that collide the first keeps its name, and a folder keeps it
    /// before any file; the others are called `name (2).extension` and so on.
    pub fn finish(self) -> Vec<SafePath> {
        let mut taken = Taken { folders: self.folders, files: HashSet::new(), next_number: HashMap::new() };
        let free: Vec<bool> = self.pending.iter().map(|file| taken.claim(file.folder, &file.name)).collect();
        let mut paths = Vec::with_capacity(self.pending.len());
        for (file, free) in self.pending.into_iter().zip(free) {
            let name = if free { file.name } else { taken.numbered(file.folder, &file.name) };
            let path = joined(&file.folder_path, &name);
            let renamed = file.original.as_ref() != Some(&path);
            let original = file.original.filter(|_| renamed);
            paths.push(SafePath { path, original, renamed });
        }
        forget_shared_originals(&mut paths);
        paths
    }

    fn folder(&mut self, parent: u32, name: &str) -> u32 {
        let next = u32::try_from(self.folders.len()).unwrap_or(u32::MAX).saturating_add(1);
        *self.folders.entry((parent, fold(name))).or_insert(next)
    }

    fn original<E: AsRef<[u8]>>(&self, elements: &[E]) -> Option<String> {
        let mut path = self.original_root.clone()?;
        for element in elements {
            if path.len() > limits::PATH_LENGTH {
                return None;
            }
            path = joined(&path, harmless(element.as_ref())?);
        }
        (!elements.is_empty()).then_some(path)
    }
}

/// An original path that leads to another file, or to its unfinished form, is none.
fn forget_shared_originals(paths: &mut [SafePath]) {
    if paths.iter().all(|file| file.original.is_none()) {
        return;
    }
    let safe: HashSet<String> = paths.iter().map(|file| file.path.clone()).collect();
    for file in paths {
        file.original = file.original.take().filter(|original| {
            let finished = original.strip_suffix(PART_SUFFIX).unwrap_or(original);
            !safe.contains(original.as_str()) && !safe.contains(finished)
        });
    }
}

/// The names that are given away already.
struct Taken {
    folders: HashMap<Key, u32>,
    files: HashSet<Key>,
    next_number: HashMap<Key, u32>,
}

impl Taken {
    /// Takes a name and its unfinished form, if both are free.
    fn claim(&mut self, folder: u32, name: &str) -> bool {
        let folded = fold(name);
        let unfinished = (folder, format!("{folded}{PART_SUFFIX}").into_boxed_str());
        let finished = (folder, folded);
        let is_taken = |key: &Key| self.folders.contains_key(key) || self.files.contains(key);
        if is_taken(&finished) || is_taken(&unfinished) {
            return false;
        }
        self.files.insert(finished);
        self.files.insert(unfinished);
        true
    }

    /// The first free name of the form `stem (N).extension`. Each number is tried once a stem, so that a million equal
    /// names cost a million steps: names that are cut to the same stem count together.
    fn numbered(&mut self, folder: u32, name: &str) -> String {
        let base = cut(name, FILE_NAME_LENGTH - NUMBER_LENGTH);
        let (stem, extension) = split_extension(&base);
        let key = (folder, fold(&base));
        let mut number = self.next_number.get(&key).copied().unwrap_or(2);
        loop {
            let candidate = format!("{stem} ({number}){extension}");
            number = number.saturating_add(1);
            if self.claim(folder, &candidate) {
                self.next_number.insert(key, number);
                return candidate;
            }
        }
    }
}

#[cfg(test)]
mod tests;
