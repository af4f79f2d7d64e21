//! Metainfo, the paths in it, and the layout that follows: what decides where bytes go on disk.

use crate::input::Input;
use sha1::{Digest, Sha1};
use std::collections::{HashMap, HashSet};
use swarm_proto::bencode::{Document, Item, ScanLimits};
use swarm_proto::layout::{FileKind, Layout, LayoutForm};
use swarm_proto::limits;
use swarm_proto::magnet::Magnet;
use swarm_proto::metainfo::{Metainfo, Rewrite};
use swarm_proto::path::{self, PART_SUFFIX, PathTable, clean_directory, clean_file_name};

/// A metainfo that is taken names safe paths only, covers its bytes once, hashes what stands in the file, and survives
/// being rewritten.
pub fn metainfo(bytes: &[u8]) {
    let metainfo = match Metainfo::parse(bytes.to_vec()) {
        Ok(metainfo) => metainfo,
        Err(error) => return assert!(error.to_string().len() < 1_000, "an error as long as its input"),
    };
    let document = Document::scan(bytes, &ScanLimits::METAINFO).expect("it was scanned before");
    let info = document.root().get(b"info").expect("it has an info").raw();
    assert_eq!(metainfo.info_bytes(), info);
    assert_eq!(metainfo.info_hash().0, <[u8; 20]>::from(Sha1::digest(info)));
    assert_eq!((metainfo.bytes(), metainfo.is_canonical()), (&bytes.to_vec().into(), document.is_canonical()));
    let geometry = metainfo.geometry();
    assert!(geometry.all_pieces().all(|piece| metainfo.piece_hash(piece).is_some()));
    check_layout(metainfo.layout());
    check_texts(&metainfo);
    check_rewrites(&metainfo);
    let link = Magnet::from(&metainfo).to_string();
    if link.len() <= limits::MAGNET_LENGTH {
        let magnet: Magnet = link.parse().expect("a link of our own");
        assert_eq!((magnet.info_hash, magnet.length), (metainfo.info_hash(), Some(geometry.total_length())));
    }
}

fn check_texts(metainfo: &Metainfo) {
    for text in [metainfo.comment(), metainfo.created_by(), metainfo.source()].into_iter().flatten() {
        assert!(!text.contains(|c| path::is_deceptive(c) && c != '\n' && c != '\t'), "{text:?}");
    }
    assert!(metainfo.trackers().iter().all(|tier| !tier.is_empty()));
    assert!(metainfo.trackers().iter().map(Vec::len).sum::<usize>() <= limits::TRACKERS);
    assert!(metainfo.web_seeds().len() <= limits::TRACKERS);
    assert!(metainfo.nodes().len() <= limits::METAINFO_PEERS && metainfo.peers().len() <= limits::METAINFO_PEERS);
    let urls = metainfo.trackers().iter().flatten().chain(metainfo.web_seeds());
    for url in urls {
        assert!(!url.is_empty() && url.len() <= limits::URL_LENGTH && !url.contains(char::is_control), "{url:?}");
    }
}

fn check_rewrites(metainfo: &Metainfo) {
    let same = Metainfo::parse(metainfo.rewrite(&Rewrite::default())).expect("nothing was changed");
    assert_eq!(same.layout(), metainfo.layout());
    assert_eq!((same.trackers(), same.comment()), (metainfo.trackers(), metainfo.comment()));
    assert_eq!(same.rewrite(&Rewrite::default()), *same.bytes(), "a second rewrite changes nothing");
    let changes = Rewrite {
        trackers: Some(metainfo.trackers().to_vec()),
        web_seeds: Some(metainfo.web_seeds().to_vec()),
        peers: Some(vec!["192.0.2.1:1".into()]),
        comment: Some(String::new()),
        created_by: Some("x".into()),
    };
    let changed = Metainfo::parse(metainfo.rewrite(&changes)).expect("its outside was changed");
    assert_eq!((changed.info_hash(), changed.info_bytes()), (metainfo.info_hash(), metainfo.info_bytes()));
    assert_eq!((changed.trackers(), changed.web_seeds()), (metainfo.trackers(), metainfo.web_seeds()));
    assert_eq!((changed.comment(), changed.created_by()), (None, Some("x")));
    assert_eq!(changed.peers(), ["192.0.2.1:1"]);
}

/// Whatever elements a metainfo names: what comes out is safe, unique, and the same again.
pub fn paths(bytes: &[u8]) {
    let mut input = Input(bytes);
    let root = input.short();
    let single = input.flag();
    let mut files: Vec<Vec<&[u8]>> = Vec::new();
    while !input.is_empty() {
        let depth = input.byte();
        // Depth is cheap to claim: one byte in the input, so many empty or repeated elements.
        let count = if depth & 0x80 == 0 { depth & 7 } else { depth & 0x7f };
        let shared = (depth & 0x80 != 0).then(|| input.short());
        files.push((0..count).map(|_| shared.unwrap_or_else(|| input.short())).collect());
    }
    let unique: HashSet<&[u8]> = files.iter().flatten().copied().chain([root]).collect();
    unique.into_iter().for_each(check_cleaning);
    let run = || {
        let mut table = match clean_directory(root) {
            Some(name) if !single => PathTable::for_folder(&name, root),
            _ => PathTable::for_single_file(),
        };
        files.iter().for_each(|elements| table.push(elements));
        table.finish()
    };
    let paths = run();
    assert_eq!(paths, run(), "the same again");
    assert_eq!(paths.len(), files.len(), "a file was dropped");
    let safe: Vec<&str> = paths.iter().map(|file| file.path.as_str()).collect();
    check_paths(&safe);
    for file in &paths {
        assert!(file.renamed || file.original.is_none());
        let Some(original) = &file.original else { continue };
        assert!(!safe.contains(&original.as_str()), "{original:?} is another file's");
        assert!(original.split('/').all(|name| !matches!(name, "" | "." | "..") && !name.contains('\0')));
    }
}

fn check_cleaning(raw: &[u8]) {
    let says_nothing = raw.is_empty() || raw == b".";
    for (clean, most) in [(clean_directory(raw), 255), (clean_file_name(raw), 255 - PART_SUFFIX.len())] {
        assert_eq!(clean.is_none(), says_nothing);
        if let Some(name) = clean {
            check_element(&name, most);
        }
    }
}

/// One element: safe on every file system of today.
fn check_element(name: &str, most: usize) {
    assert!(!name.is_empty() && name.len() <= most, "{} bytes: {name:?}", name.len());
    assert!(!matches!(name, "." | "..") && !name.ends_with(['.', ' ']), "{name:?}");
    let forbidden = |c: char| path::is_deceptive(c) || r#"/\:*?"<>|"#.contains(c);
    assert!(!name.contains(forbidden), "{name:?}");
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let device = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"].contains(&stem.as_str());
    let port = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    let port =
        port.is_some_and(|rest| rest.chars().count() == 1 && rest.contains(|c: char| "0123456789¹²³".contains(c)));
    assert!(!device && !port, "{name:?} is a device");
}

/// All paths of a torrent: each safe, no two on one place by any case, no file where a folder or an unfinished file is.
fn check_paths(paths: &[&str]) {
    let fold = |path: &str| path.to_uppercase().to_lowercase();
    let mut files: HashMap<String, &str> = HashMap::new();
    for path in paths {
        assert!(path.len() <= limits::PATH_LENGTH, "{} bytes", path.len());
        let elements: Vec<&str> = path.split('/').collect();
        assert!(elements.len() <= limits::PATH_DEPTH, "{} elements", elements.len());
        let (name, folders) = elements.split_last().expect("an element");
        folders.iter().for_each(|folder| check_element(folder, limits::PATH_ELEMENT_LENGTH));
        check_element(name, limits::PATH_ELEMENT_LENGTH - PART_SUFFIX.len());
        let before = files.insert(fold(path), path);
        assert!(before.is_none(), "{path:?} and {before:?} are one file");
    }
    for path in paths {
        assert!(!files.contains_key(&fold(&format!("{path}{PART_SUFFIX}"))), "{path:?} unfinished is another file");
        let mut folder = *path;
        while let Some((parent, _)) = folder.rsplit_once('/') {
            folder = parent;
            assert!(!files.contains_key(&fold(folder)), "{folder:?} is a file and a folder");
            let unfinished = files.get(fold(folder).strip_suffix(PART_SUFFIX).unwrap_or_default());
            assert!(unfinished.is_none(), "{folder:?} is a folder and an unfinished file");
        }
    }
}

/// Any list of files whose lengths are decided by the input: pieces and files cover each other exactly once.
pub fn layout(bytes: &[u8]) {
    let mut input = Input(bytes);
    let piece_length = input.length();
    let single = input.flag();
    let mut lengths = Vec::new();
    let mut files = Vec::new();
    while !input.is_empty() && files.len() < 200 {
        let length = input.length();
        let attributes = ["", "p", "x", "h", "l", "pl", "xh", "z"][input.below(8)];
        lengths.push(length);
        let path = Item::List(vec![Item::from(["a", "b", "A", "a.part", ""][input.below(5)])]);
        files.push(Item::dictionary([("length", length.into()), ("attr", attributes.into()), ("path", path)]));
        if single {
            break;
        }
    }
    let total = lengths.iter().try_fold(0u64, |sum, &length| sum.checked_add(length));
    let pieces = total
        .and_then(|total| total.checked_div(piece_length).map(|whole| whole + u64::from(total % piece_length > 0)));
    // More hashes than that would only cost time.
    let hashes = vec![7; 20 * usize::try_from(pieces.unwrap_or(0).min(4_096)).expect("a small number")];
    let content = match (single, lengths.first()) {
        (true, Some(&length)) => ("length", Item::from(length)),
        _ => ("files", Item::List(files)),
    };
    let info = [content, ("name", "t".into()), ("piece length", piece_length.into()), ("pieces", Item::Bytes(hashes))];
    let parsed = Metainfo::parse(Item::dictionary([("info", Item::dictionary(info))]).encode());
    let fine = pieces.is_some_and(|pieces| pieces <= 4_096)
        && !lengths.is_empty()
        && (1..=u64::from(limits::PIECE_LENGTH)).contains(&piece_length);
    assert_eq!(parsed.is_ok(), fine, "{lengths:?} in pieces of {piece_length}: {parsed:?}");
    if let Ok(metainfo) = parsed {
        assert_eq!(Some(metainfo.geometry().total_length()), total);
        check_layout(metainfo.layout());
    }
}

fn check_layout(layout: &Layout) {
    let geometry = layout.geometry();
    let mut end = 0;
    let mut paths = Vec::new();
    for (_, file) in layout.files() {
        assert_eq!(file.offset(), end, "a gap or an overlap");
        end = file.end();
        assert_eq!(file.path().is_some(), file.kind() == FileKind::Regular);
        paths.extend(file.path());
    }
    assert_eq!(end, geometry.total_length());
    check_paths(&paths);
    let root = if layout.form() == LayoutForm::Folder { Some(layout.name()) } else { None };
    assert!(root.is_none_or(|root| paths.iter().all(|path| path.split('/').next() == Some(root))));
    let mut covered: Vec<u64> = vec![0; layout.file_count()];
    for piece in geometry.all_pieces() {
        let mut left = u64::from(geometry.length_of(piece));
        assert!(left > 0);
        for span in layout.spans_of_piece(piece) {
            assert_eq!(covered[span.file.as_usize()], span.offset, "a byte twice, or never");
            assert!(span.length > 0 && layout.pieces_of_file(span.file).contains(&piece.as_u32()));
            covered[span.file.as_usize()] += span.length;
            left -= span.length;
        }
        assert_eq!(left, 0, "piece {piece:?}");
    }
    for (index, file) in layout.files() {
        assert_eq!(covered[index.as_usize()], file.length());
    }
}
