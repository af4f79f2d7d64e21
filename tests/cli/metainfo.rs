//! `make-meta`, `show` and `verify`.

use crate::support::{Place, noise};
use serde_json::Value;
use std::path::Path;

/// A folder with nested, empty, unicode-named and 1-byte files.
fn folder(place: &Place) {
    place.write("in/a/b/deep.bin", &noise(1, 100_000));
    place.write("in/empty", b"");
    place.write("in/one", b"1");
    place.write("in/ünï – 漢字.txt", &noise(2, 40_000));
    place.write("in/.hidden", b"secret");
    place.write("in/skip.tmp", b"temporary");
}

fn show(place: &Place, meta: &str) -> Value {
    serde_json::from_str(&place.run(&format!("show {meta} --json")).good()).unwrap()
}

fn paths(shown: &Value) -> Vec<&str> {
    shown["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect()
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let place = Place::new();
    folder(&place);
    let options =
        "--no-date --tracker http://a/announce --tier http://b/x,native://c:1 --comment C --source S --private";
    place.run(&format!("make-meta in -o 1.meta {options}")).good();
    place.run(&format!("make-meta ./in/ -o 2.meta {options}")).good();
    let bytes = std::fs::read(place.path("1.meta")).unwrap();
    assert_eq!(bytes, std::fs::read(place.path("2.meta")).unwrap());
    assert!(!bytes.windows(13).any(|window| window == b"creation date"));
}

#[test]
fn everything_that_was_asked_for_is_in_it() {
    let place = Place::new();
    folder(&place);
    let options = "--tracker http://a/announce --tier http://b/x,native://c:1 --comment C --source S --private";
    place
        .run(&format!("make-meta in {options} --piece-length 32K --web-seed http://w/ --peer box:1 --exclude *.tmp"))
        .good();
    let shown = show(&place, "in.meta");
    assert_eq!(shown["name"], "in");
    assert_eq!(shown["trackers"], serde_json::json!([["http://a/announce"], ["http://b/x", "native://c:1"]]));
    assert_eq!((&shown["comment"], &shown["source"], &shown["private"]), (&"C".into(), &"S".into(), &true.into()));
    assert_eq!((&shown["piece_length"], &shown["pieces"]), (&32_768.into(), &5.into()));
    assert_eq!((&shown["web_seeds"][0], &shown["peers"][0]), (&"http://w/".into(), &"box:1".into()));
    assert_eq!(paths(&shown), ["in/a/b/deep.bin", "in/empty", "in/one", "in/ünï – 漢字.txt"]);
    assert!(shown["creation_date"].as_i64().unwrap() > 1_700_000_000);
    assert!(shown["magnet"].as_str().unwrap().contains(shown["info_hash"].as_str().unwrap()));
    let text = place.run("show in.meta").good();
    assert!(text.contains("Tracker 2    native://c:1") && text.contains("in/a/b/deep.bin"), "{text}");
}

#[test]
fn hidden_files_on_request() {
    let place = Place::new();
    folder(&place);
    place.run("make-meta in --hidden").good();
    assert!(paths(&show(&place, "in.meta")).contains(&"in/.hidden"));
}

#[test]
fn a_single_file_keeps_its_name() {
    let place = Place::new();
    place.write("a b.bin", &noise(3, 20_000));
    crate::support::Ran(place.swarm_with(&["make-meta", "a b.bin", "-o", "x.meta"]).output().unwrap()).good();
    let shown = show(&place, "x.meta");
    assert_eq!((&shown["name"], &shown["folder"], &shown["pieces"]), (&"a b.bin".into(), &false.into(), &2.into()));
}

#[test]
fn another_metainfo_file_is_not_overwritten() {
    let place = Place::new();
    place.write("x", b"one");
    place.write("x.meta", b"precious");
    place.run("make-meta x").failed(4, "--force");
    assert_eq!(std::fs::read(place.path("x.meta")).unwrap(), b"precious");
    place.run("make-meta x --force").good();
    place.run("make-meta x").good();
    place.write("x", b"two");
    place.run("make-meta x").failed(4, "--force");
}

#[test]
fn what_cannot_be_described() {
    let place = Place::new();
    place.run("make-meta missing").failed(4, "missing");
    std::fs::create_dir(place.path("void")).unwrap();
    let ran = place.run("make-meta void");
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr().contains("file"), "{}", ran.stderr());
    place.write("x", b"one");
    place.run("make-meta x -o no/such/folder/x.meta").failed(4, "no/such/folder");
}

#[test]
fn verify_names_what_is_wrong() {
    let place = Place::new();
    folder(&place);
    place.run("make-meta in --piece-length 16K").good();
    place.run("verify in.meta in").good();
    place.run("verify in.meta .").good();
    let right: Value = serde_json::from_str(&place.run("verify in.meta . --json").good()).unwrap();
    assert_eq!(right["ok"], true);

    let path = place.path("in/a/b/deep.bin");
    let mut content = std::fs::read(&path).unwrap();
    content[20_000] ^= 1;
    std::fs::write(&path, content).unwrap();
    std::fs::remove_file(place.path("in/one")).unwrap();
    let ran = place.run("verify in.meta in --json");
    assert_eq!(ran.code(), 1);
    let wrong: Value = serde_json::from_str(&ran.stdout()).unwrap();
    assert_eq!(wrong["ok"], false);
    let bad: Vec<u64> = wrong["bad_pieces"].as_array().unwrap().iter().map(|piece| piece.as_u64().unwrap()).collect();
    assert_eq!(bad, [1, 6]);
    let files: Vec<&str> =
        wrong["bad_files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert!(files.contains(&"in/a/b/deep.bin") && files.contains(&"in/one"), "{files:?}");
    let ran = place.run("verify in.meta in");
    assert_eq!(ran.code(), 1);
    assert!(ran.stdout().contains("in/one") && ran.stdout().contains("in/a/b/deep.bin"), "{}", ran.stdout());
}

#[test]
fn verify_without_anything_there() {
    let place = Place::new();
    place.write("x", b"one");
    place.run("make-meta x").good();
    place.run("verify x.meta nowhere").failed(4, "nowhere");
}

/// Fields of `info` between the name and `pieces`, and the text that the error must hold.
const BAD_INFO: [(&str, &str); 9] = [
    ("6:lengthi40000e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa", "pieces"),
    ("6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces19:aaaaaaaaaaaaaaaaaaa", "multiple of 20"),
    ("6:lengthi5e4:name1:x12:piece lengthi0e6:pieces20:aaaaaaaaaaaaaaaaaaaa", "piece length"),
    ("6:lengthi5e4:name1:x12:piece lengthi-1e6:pieces20:aaaaaaaaaaaaaaaaaaaa", "piece length"),
    ("6:lengthi-5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa", "length"),
    ("5:filesle4:name1:x12:piece lengthi16384e6:pieces0:", "file"),
    ("4:name1:x12:piece lengthi16384e6:pieces0:", "length"),
    ("6:lengthi9223372036854775807e4:name1:x12:piece lengthi16384e6:pieces0:", "pieces"),
    ("6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces99000000000:", "99000000000"),
];

#[test]
fn bad_metainfo_is_3_with_a_reason() {
    let place = Place::new();
    for (number, (info, reason)) in BAD_INFO.into_iter().enumerate() {
        let name = format!("{number}.meta");
        place.write(&name, format!("d4:infod{info}ee").as_bytes());
        for command in ["show", "fetch --quiet", "seed --quiet"] {
            place.run(&format!("{command} {name}")).failed(3, reason);
        }
    }
    let nested = [b"d4:info".to_vec(), vec![b'l'; 100_000]].concat();
    let cases: [(&[u8], &str); 5] = [
        (b"", "empty"),
        (b"<!DOCTYPE html>", ""),
        (b"d4:infod6:lengthi5e", ""),
        (&nested, "deep"),
        (b"d99999999999:x", ""),
    ];
    for (content, _) in cases {
        let meta = place.write("bad.meta", content);
        place.run("show bad.meta").failed(3, "bad.meta");
        place.run("verify bad.meta .").failed(3, "bad.meta");
        assert!(meta.exists());
    }
    place.run("show missing.meta").failed(3, "missing.meta");
    place.run("show .").failed(3, ".");
}

#[test]
fn foreign_paths_stay_inside_and_apart() {
    let place = Place::new();
    let paths = ["2:..4:evil", "1:/3:etc", "3:con5:a.txt", "1:A", "1:a", "0:1:b", "4:a\x1b[2"];
    let files: String = paths.iter().map(|path| format!("d6:lengthi0e4:pathl{path}ee")).collect();
    place.write("x.meta", format!("d4:infod5:filesl{files}e4:name4:../x12:piece lengthi16384e6:pieces0:ee").as_bytes());
    let shown = show(&place, "x.meta");
    let mut seen = std::collections::HashSet::new();
    for path in paths_of(&shown) {
        assert!(
            !path.starts_with('/') && !path.contains('\x1b') && path.split('/').all(|element| element != ".."),
            "{path}"
        );
        assert!(seen.insert(path.to_lowercase()), "{path}");
    }
    assert_eq!(seen.len(), paths.len());
    assert!(!place.run("show x.meta").good().contains('\x1b'));
}

#[test]
fn show_tells_which_names_were_changed() {
    let place = Place::new();
    let files = "d6:lengthi0e4:pathl1:Aeed6:lengthi0e4:pathl1:aee";
    place.write("x.meta", format!("d4:infod5:filesl{files}e4:name1:x12:piece lengthi16384e6:pieces0:ee").as_bytes());
    let shown = show(&place, "x.meta");
    assert_eq!(paths(&shown), ["x/A", "x/a (2)"]);
    assert!(shown["files"][0].get("original_path").is_none(), "{shown}");
    assert_eq!(shown["files"][1]["original_path"], "x/a");
    assert!(place.run("show x.meta").good().contains("x/a (2)  (in the metainfo: x/a)"));

    let files = "d6:lengthi0e4:pathl2:..4:evileed6:lengthi0e4:pathl4:goodee";
    place.write("y.meta", format!("d4:infod5:filesl{files}e4:name1:y12:piece lengthi16384e6:pieces0:ee").as_bytes());
    let shown = show(&place, "y.meta");
    assert_eq!((&shown["files"][0]["renamed"], shown["files"][1].get("renamed")), (&Value::Bool(true), None));
    assert!(place.run("show y.meta").good().contains("y/_/evil  (unsafe in the metainfo, or taken: renamed)"));
}

fn paths_of(shown: &Value) -> Vec<String> {
    paths(shown).into_iter().map(|path| Path::new(path).to_string_lossy().into_owned()).collect()
}
