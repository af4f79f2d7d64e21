use super::*;
use crate::bencode::{BencodeError, Item};
use crate::layout::{FileKind, Layout, LayoutForm};
use crate::limits;
use sha1::{Digest, Sha1};

/// A dictionary of a single file of 20,000 bytes, with entries of `info` put in or replaced.
fn info(changes: &[(&str, Option<Item>)]) -> Item {
    let mut entries: std::collections::BTreeMap<Vec<u8>, Item> = [
        ("length", Item::from(20_000u32)),
        ("name", Item::from("cow.txt")),
        ("piece length", Item::from(16_384u32)),
        ("pieces", Item::Bytes((0..40).collect())),
    ]
    .map(|(key, item)| (key.as_bytes().to_vec(), item))
    .into();
    for (key, item) in changes {
        match item {
            Some(item) => entries.insert(key.as_bytes().to_vec(), item.clone()),
            None => entries.remove(key.as_bytes()),
        };
    }
    Item::Dictionary(entries)
}

fn with(changes: &[(&str, Option<Item>)]) -> Result<Metainfo, MetainfoError> {
    Metainfo::parse(Item::dictionary([("info", info(changes))]).encode())
}

fn file(length: u64, path: &[&str]) -> Item {
    let path = path.iter().map(|name| Item::from(*name)).collect::<Vec<_>>();
    Item::dictionary([("length", Item::from(length)), ("path", Item::List(path))])
}

#[test]
fn single_file() {
    let metainfo = with(&[]).unwrap();
    assert_eq!(metainfo.name(), "cow.txt");
    assert_eq!(metainfo.geometry().pieces(), 2);
    assert_eq!(metainfo.layout().form(), LayoutForm::SingleFile);
    let paths: Vec<_> = metainfo.layout().files().map(|(_, file)| (file.path().unwrap(), file.length())).collect();
    assert_eq!(paths, [("cow.txt", 20_000)]);
    let last = metainfo.geometry().piece(1).unwrap();
    assert_eq!(metainfo.piece_hash(last).unwrap()[0], 20);
    assert!(metainfo.is_canonical());
    assert_eq!(metainfo.info_bytes().as_ref(), info(&[]).encode());
}

#[test]
fn folder_with_padding_and_link() {
    let padding = Item::dictionary([
        ("attr", Item::from("p")),
        ("length", Item::from(9_000u32)),
        ("path", Item::List(vec![Item::from(".pad"), Item::from("9000")])),
    ]);
    let link = Item::dictionary([("attr", Item::from("l")), ("path", Item::List(vec![Item::from("link")]))]);
    let files = vec![file(1_000, &["a", "b"]), padding, link, file(0, &["empty"]), file(10_000, &["c"])];
    let metainfo = with(&[("length", None), ("files", Some(Item::List(files)))]).unwrap();
    let layout = Layout::from(&metainfo);
    let kinds: Vec<_> = layout.files().map(|(_, file)| (file.kind(), file.path())).collect();
    assert_eq!(
        kinds,
        [
            (FileKind::Regular, Some("cow.txt/a/b")),
            (FileKind::Padding, None),
            (FileKind::Symlink, None),
            (FileKind::Regular, Some("cow.txt/empty")),
            (FileKind::Regular, Some("cow.txt/c")),
        ]
    );
}

macro_rules! fixture {
    ($name:literal) => {
        Metainfo::parse(include_bytes!(concat!("../../../fixtures/metainfo/", $name, ".torrent")).as_slice())
    };
}

#[test]
fn damaged_files_are_refused() {
    let bencode = |fault| Err(MetainfoError::Bencode(fault));
    assert_eq!(fixture!("truncated"), bencode(BencodeError::Truncated(112)));
    assert_eq!(fixture!("web-page"), bencode(BencodeError::Unexpected(0)));
    assert_eq!(
        fixture!("a-list").unwrap_err().to_string(),
        "`the outermost value` must be a dictionary, but is a list"
    );
    let deep = [b"d4:info".as_slice(), &vec![b'l'; 100_000]].concat();
    assert_eq!(Metainfo::parse(deep), bencode(BencodeError::TooDeep { at: 106, limit: 100 }));
    assert_eq!(
        Metainfo::parse(b"d4:infod6:pieces99000000000:x".as_slice()),
        bencode(BencodeError::StringTooLong { at: 16, claimed: 99_000_000_000, left: 1 })
    );
    assert!(matches!(Metainfo::parse(b"".as_slice()), Err(MetainfoError::Bencode(BencodeError::Truncated(0)))));
}

#[test]
fn missing_keys_are_named() {
    let missing = |key: &str| Err(MetainfoError::Missing(key.into()));
    assert_eq!(fixture!("info-missing"), missing("info"));
    assert_eq!(fixture!("name-missing"), missing("info.name"));
    assert_eq!(fixture!("pieces-missing"), missing("info.pieces"));
    assert_eq!(fixture!("file-without-path"), missing("info.files[0].path"));
    assert_eq!(with(&[("piece length", None)]), missing("info.piece length"));
    assert_eq!(
        fixture!("path-of-integers").unwrap_err().to_string(),
        "`info.files[0].path[0]` must be a string, but is an integer"
    );
}

#[test]
fn numbers_that_make_no_torrent_are_named() {
    let piece_count =
        |found| Err(MetainfoError::PieceCount { found, expected: 2, total: 20_000, piece_length: 16_384 });
    assert_eq!(fixture!("pieces-not-a-multiple-of-20"), Err(MetainfoError::PiecesLength(39)));
    assert_eq!(fixture!("pieces-too-few"), piece_count(1));
    assert_eq!(fixture!("pieces-too-many"), piece_count(3));
    assert_eq!(fixture!("piece-length-zero"), Err(MetainfoError::PieceLength("0".into())));
    assert_eq!(fixture!("piece-length-negative"), Err(MetainfoError::PieceLength("-16384".into())));
    assert_eq!(fixture!("piece-length-huge"), Err(MetainfoError::PieceLength("1073741824".into())));
    assert_eq!(fixture!("piece-count-huge"), Err(MetainfoError::TooManyPieces(1 << 48)));
    assert_eq!(fixture!("lengths-sum-beyond-64-bits"), Err(MetainfoError::TotalLength));
    let length = |key: &str, value: &str| Err(MetainfoError::Length { key: key.into(), value: value.into() });
    assert_eq!(fixture!("length-negative"), length("info.length", "-1"));
    assert_eq!(fixture!("file-length-negative"), length("info.files[1].length", "-1"));
    assert_eq!(fixture!("length-beyond-64-bits"), length("info.length", "18446744073709551616"));
}

#[test]
fn content_that_is_none_is_named() {
    assert_eq!(fixture!("no-files"), Err(MetainfoError::NoFiles));
    assert_eq!(fixture!("neither-length-nor-files"), Err(MetainfoError::NeitherLengthNorFiles));
    assert_eq!(fixture!("both-length-and-files"), Err(MetainfoError::LengthAndFiles));
    assert_eq!(fixture!("version-2-only"), Err(MetainfoError::Version2Only));
    assert_eq!(fixture!("libtorrent-v2"), Err(MetainfoError::Version2Only));
}

#[test]
fn hostile_paths_stay_inside() {
    let metainfo = fixture!("paths").unwrap();
    assert_eq!(metainfo.name(), "_");
    assert_eq!(metainfo.raw_name().as_ref(), b"..");
    let paths: Vec<_> = metainfo.layout().files().map(|(_, file)| file.path().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "_/_/_/escape",
            "_/_etc_passwd",
            "_/C__Windows_system.ini",
            "_/_ (2)",
            "_/below-nothing",
            "_/here",
            "_/_CON",
            "_/folder/_nul.txt",
            "_/trailing",
            "_/name_stream",
            "_/line_feed_[31m",
            "_/gpj._exe",
            "_/null_byte",
            "_/latin-1 _",
            "_/ReadMe",
            "_/README (2)",
            "_/readme (3)",
            "_/folder (2)",
            "_/film.mkv",
            "_/film.mkv (2).part",
            "_/same",
            "_/same (2)",
        ]
    );
    assert!(metainfo.layout().files().all(|(_, file)| file.original_path().is_none()));
    let absolute = fixture!("name-absolute").unwrap();
    assert_eq!((absolute.name(), only_path(&absolute)), ("_tmp_evil", "_tmp_evil".into()));
    let empty = fixture!("name-empty").unwrap();
    assert_eq!((empty.name(), only_path(&empty)), ("782a0aab1b9e03e94d50c12332093614fbd8da89", empty.name().into()));
}

fn only_path(metainfo: &Metainfo) -> String {
    let paths: Vec<_> = metainfo.layout().files().map(|(_, file)| file.path().unwrap().to_owned()).collect();
    assert_eq!(paths.len(), 1);
    paths.concat()
}

#[test]
fn what_is_odd_but_usable_is_read() {
    let metainfo = fixture!("odd-but-usable").unwrap();
    assert!(!metainfo.is_canonical());
    assert_eq!(metainfo.name(), "latin-1 _");
    let files: Vec<_> = metainfo.layout().files().map(|(_, file)| (file.path().unwrap(), file.length())).collect();
    assert_eq!(files, [("latin-1 _/rïght", 10_000), ("latin-1 _/twice", 10_000), ("latin-1 _/empty", 0)]);
    let (_, empty) = metainfo.layout().files().last().unwrap();
    assert!(empty.is_executable() && empty.is_hidden());
    assert!(metainfo.is_private());
    assert_eq!(metainfo.source(), Some("S\u{fffd}[2J"));
    assert_eq!(metainfo.comment(), Some("caf\u{fffd}\u{fffd}[0m"));
    assert_eq!(metainfo.creation_date(), Some(1_700_000_000));
    let tiers: [&[&str]; 2] = [&["http://A.example/x", "http://a.example/X"], &["udp://alone:1"]];
    assert_eq!(metainfo.trackers(), tiers);
    assert_eq!(metainfo.web_seeds(), ["http://web/"]);
    assert_eq!(metainfo.nodes(), [Node { host: "node.example".into(), port: 6881 }]);
    assert_eq!(metainfo.peers(), ["10.0.0.1:6881", "[::1]:7"]);
}

#[test]
fn files_of_other_programs() {
    let hybrid = fixture!("libtorrent-hybrid").unwrap();
    assert_eq!(hybrid.info_hash().to_string(), "313705e04ebbfcbb4248345deb0a306538acbfda");
    assert_eq!((hybrid.geometry().pieces(), hybrid.geometry().total_length()), (23, 376_832));
    let padding = hybrid.layout().files().filter(|(_, file)| file.kind() == FileKind::Padding);
    assert_eq!(padding.map(|(_, file)| file.length()).sum::<u64>(), 74_031);

    let links = fixture!("libtorrent-links").unwrap();
    assert_eq!(links.info_hash().to_string(), "50c497ae9ac5674c5418a4ff0063851776d9de28");
    assert_eq!(links.layout().files().filter(|(_, file)| file.kind() == FileKind::Symlink).count(), 1);

    let transmission = fixture!("transmission").unwrap();
    assert_eq!(transmission.info_hash().to_string(), "ea9b20d497243c2944ad263b9f56d6eec26f4e01");
    assert!(transmission.is_private());
    assert_eq!(transmission.comment(), Some("kömment"));

    let mktorrent = fixture!("mktorrent").unwrap();
    assert_eq!(mktorrent.info_hash().to_string(), "4fe4ae52eed31e06fa9a59301708aef88e4b72b2");
    assert_eq!(mktorrent.name(), "Grüße 世界");
    assert_eq!(mktorrent.trackers().iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(mktorrent.layout().files().nth(6).unwrap().1.path(), Some("Grüße 世界/sub/ünter/日本.txt"));
}

#[test]
fn a_rewrite_keeps_what_it_does_not_know() {
    let metainfo = fixture!("odd-but-usable").unwrap();
    let changes = Rewrite {
        trackers: Some(vec![vec!["http://new/announce".into()]]),
        comment: Some("new".into()),
        peers: Some(vec![]),
        ..Rewrite::default()
    };
    let rewritten = Metainfo::parse(metainfo.rewrite(&changes)).unwrap();
    assert_eq!(rewritten.info_bytes(), metainfo.info_bytes());
    assert_eq!(rewritten.info_hash(), metainfo.info_hash());
    assert_eq!(rewritten.trackers(), [["http://new/announce"]]);
    assert_eq!(rewritten.comment(), Some("new"));
    assert!(rewritten.peers().is_empty());
    assert_eq!(rewritten.web_seeds(), metainfo.web_seeds());
    let bytes = rewritten.bytes();
    let contains = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(contains(b"3:zzzli1e4:kepte") && contains(b"1:\xffi73786976294838206464e"));
    assert!(!contains(b"announce-list") && bytes.ends_with(b"e"));
}

#[test]
fn a_rewrite_of_nothing_changes_nothing() {
    for metainfo in [fixture!("libtorrent-hybrid"), fixture!("transmission"), fixture!("mktorrent")] {
        let metainfo = metainfo.unwrap();
        assert_eq!(metainfo.rewrite(&Rewrite::default()), metainfo.bytes().to_vec());
    }
}

#[test]
fn a_torrent_of_empty_files_has_no_pieces() {
    let files = Item::List(vec![file(0, &["a"]), file(0, &["b"])]);
    let none = Item::Bytes(Vec::new());
    let metainfo = with(&[("length", None), ("files", Some(files)), ("pieces", Some(none))]).unwrap();
    assert_eq!((metainfo.geometry().pieces(), metainfo.layout().file_count()), (0, 2));
}

#[test]
fn a_tracker_that_looks_like_another_is_told_apart() {
    // The fourth character is Cyrillic.
    let look_alike = "http://tr\u{430}cker.example/announce";
    let trackers = Item::List(vec![Item::List(vec![Item::from(look_alike), Item::from("udp://tr\u{430}cker:1")])]);
    let file = Item::dictionary([("announce-list", trackers), ("info", info(&[]))]);
    let metainfo = Metainfo::parse(file.encode()).unwrap();
    assert_eq!(metainfo.trackers(), [["http://xn--trcker-4nf.example/announce", "udp://tr%D0%B0cker:1"]]);
    let hash = metainfo.info_hash();
    let magnet: crate::magnet::Magnet = format!("magnet:?xt=urn:btih:{hash}&tr={look_alike}").parse().unwrap();
    assert_eq!(magnet.trackers, ["http://xn--trcker-4nf.example/announce"]);
}

#[test]
fn a_file_behind_a_link_of_the_torrent_stays_inside() {
    let link = Item::dictionary([
        ("attr", Item::from("l")),
        ("length", Item::from(0u32)),
        ("path", Item::List(vec![Item::from("out")])),
        ("symlink path", Item::List(vec![Item::from(".."), Item::from(".."), Item::from("etc")])),
    ]);
    let files = Item::List(vec![link, file(20_000, &["out", "passwd"])]);
    let metainfo = with(&[("length", None), ("files", Some(files))]).unwrap();
    let paths: Vec<_> = metainfo.layout().files().map(|(_, file)| (file.kind(), file.path())).collect();
    // The link is never made, so its name is that of a plain folder.
    assert_eq!(paths, [(FileKind::Symlink, None), (FileKind::Regular, Some("cow.txt/out/passwd"))]);
}

#[test]
fn the_hash_is_of_the_bytes_as_they_came() {
    let pieces = [b"6:pieces20:".as_slice(), &[1; 20]].concat();
    for head in [
        // As it should be; keys out of order; a length with a leading zero; a negative zero; an integer with one; a key twice.
        "d6:lengthi5e4:name1:a12:piece lengthi16384e",
        "d4:name1:a6:lengthi5e12:piece lengthi16384e",
        "d6:lengthi5e04:name01:a12:piece lengthi16384e",
        "d1:ai-0e6:lengthi5e4:name1:a12:piece lengthi16384e",
        "d6:lengthi05e4:name1:a12:piece lengthi16384e",
        "d6:lengthi5e6:lengthi7e4:name1:a12:piece lengthi16384e",
    ] {
        let info = [head.as_bytes(), &pieces, b"e"].concat();
        let metainfo = Metainfo::parse([b"d4:info".as_slice(), &info, b"e"].concat()).unwrap();
        assert_eq!(metainfo.info_hash().0, <[u8; 20]>::from(Sha1::digest(&info)), "{head}");
        assert_eq!(metainfo.geometry().total_length(), 5, "{head}");
        let rewritten = Metainfo::parse(metainfo.rewrite(&Rewrite::default())).unwrap();
        assert_eq!(rewritten.info_hash(), metainfo.info_hash(), "{head}");
    }
}

#[test]
fn sizes_beyond_the_bounds_are_refused() {
    let bencode = |fault| Err(MetainfoError::Bencode(fault));
    let limit = limits::METAINFO_LENGTH;
    assert_eq!(Metainfo::parse(vec![b'd'; limit + 1]), bencode(BencodeError::TooLarge { length: limit + 1, limit }));
    let values = [b"d4:infol".as_slice(), &b"0:".repeat(limits::METAINFO_TOKENS)].concat();
    let many = Metainfo::parse(values);
    assert!(matches!(many, Err(MetainfoError::Bencode(BencodeError::TooManyTokens { .. }))), "{many:?}");
    let files = b"d6:lengthi0e4:pathl1:aee".repeat(limits::FILES + 1);
    let folder = [b"d4:infod5:filesl".as_slice(), &files, b"e4:name1:a12:piece lengthi16384e6:pieces0:ee"].concat();
    assert_eq!(Metainfo::parse(folder), Err(MetainfoError::TooManyFiles));
}

proptest::proptest! {
    #[test]
    fn no_change_of_a_byte_panics(at: proptest::sample::Index, byte: u8, cut: bool) {
        for original in [
            include_bytes!("../../../fixtures/metainfo/odd-but-usable.torrent").as_slice(),
            include_bytes!("../../../fixtures/metainfo/libtorrent-links.torrent").as_slice(),
        ] {
            let mut bytes = original.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(if cut { at + 1 } else { original.len() });
            if let Ok(metainfo) = Metainfo::parse(bytes) {
                let geometry = metainfo.geometry();
                let covered: u64 = geometry
                    .all_pieces()
                    .flat_map(|piece| metainfo.layout().spans_of_piece(piece).collect::<Vec<_>>())
                    .map(|span| span.length)
                    .sum();
                proptest::prop_assert_eq!(covered, geometry.total_length());
                proptest::prop_assert!(geometry.all_pieces().all(|piece| metainfo.piece_hash(piece).is_some()));
                let rewritten = Metainfo::parse(metainfo.rewrite(&Rewrite::default())).unwrap();
                proptest::prop_assert_eq!(rewritten.info_hash(), metainfo.info_hash());
            }
        }
    }
}
