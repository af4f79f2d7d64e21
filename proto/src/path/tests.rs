use super::*;
use proptest::prelude::*;

fn directory(raw: impl AsRef<[u8]>) -> Option<String> {
    clean_directory(raw.as_ref())
}

/// The safe paths of files below a folder `t`, each given with `/` between its elements.
fn safe(files: &[&str]) -> Vec<String> {
    let mut table = PathTable::for_folder("t", b"t");
    files.iter().for_each(|file| table.push(&file.split('/').collect::<Vec<_>>()));
    let inside = |file: SafePath| file.path.strip_prefix("t/").unwrap().to_owned();
    table.finish().into_iter().map(inside).collect()
}

#[test]
fn elements_that_say_nothing_are_left_out() {
    assert_eq!(directory(""), None);
    assert_eq!(directory("."), None);
}

#[test]
fn each_rule_has_its_effect() {
    for (raw, expected) in [
        ("..", "_"),
        ("...", "_"),
        ("   ", "_"),
        ("a. .", "a"),
        (".hidden", ".hidden"),
        ("/etc/passwd", "_etc_passwd"),
        ("..\\..\\x", ".._.._x"),
        ("a\0b\nc\x1b[2J\u{7f}\u{85}", "a_b_c_[2J__"),
        ("gpj.\u{202e}exe", "gpj._exe"),
        ("\u{2066}\u{200f}\u{feff}\u{61c}", "____"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Com1 .tar.gz", "_Com1 .tar.gz"),
        ("lpt\u{b2}", "_lpt\u{b2}"),
        ("conin$", "_conin$"),
        ("COM10", "COM10"),
        ("console", "console"),
        ("aux. .", "_aux"),
        ("file:stream", "file_stream"),
        ("a<b>c\"d|e?f*g", "a_b_c_d_e_f_g"),
        ("smørrebrød 🍞", "smørrebrød 🍞"),
    ] {
        assert_eq!(directory(raw).as_deref(), Some(expected), "{raw:?}");
    }
    assert_eq!(directory(b"caf\xe9").as_deref(), Some("caf_"));
    assert_eq!(directory(b"\xff\xfe").as_deref(), Some("__"));
}

#[test]
fn long_names_are_cut_at_a_character_and_keep_their_extension() {
    let cut = clean_file_name(format!("{}.flac", "ä".repeat(200)).as_bytes()).unwrap();
    assert_eq!(cut, format!("{}.flac", "ä".repeat(122)));
    assert_eq!(clean_file_name(format!("CON{}x.txt", " ".repeat(300)).as_bytes()).unwrap(), "_CON.txt");
    assert_eq!(clean_file_name(format!("NUL.{}", "x".repeat(246)).as_bytes()).unwrap().len(), 250);
    assert_eq!(clean_file_name("x".repeat(300).as_bytes()).unwrap().len(), 250);
    assert_eq!(clean_directory("x".repeat(300).as_bytes()).unwrap().len(), 255);
    let dots = clean_file_name(format!("a{}{}", ".".repeat(300), "b".repeat(20)).as_bytes()).unwrap();
    assert_eq!(dots, "a");
    assert_eq!(clean_file_name(format!("{}.c", " ".repeat(300)).as_bytes()).unwrap(), "_.c");
}

#[test]
fn files_on_one_path_are_set_apart() {
    assert_eq!(safe(&["a", "a", "a"]), ["a", "a (2)", "a (3)"]);
    assert_eq!(safe(&["a.txt", "A.TXT", "a (2).txt"]), ["a.txt", "A (3).TXT", "a (2).txt"]);
    assert_eq!(safe(&["D/x", "d/X", "d/y"]), ["D/x", "d/X (2)", "d/y"]);
    assert_eq!(safe(&["STRASSE", "straße"]), ["STRASSE", "straße (2)"]);
    assert_eq!(safe(&["a:b", "a_b", "a?b"]), ["a_b", "a_b (2)", "a_b (3)"]);
    assert_eq!(safe(&["", ".", ".."]), ["_", "_ (2)", "_ (3)"]);
    assert_eq!(safe(&["../../x", "./x", "x"]), ["_/_/x", "x", "x (2)"]);
}

#[test]
fn a_folder_keeps_its_name_before_a_file() {
    assert_eq!(safe(&["a", "a/b"]), ["a (2)", "a/b"]);
    assert_eq!(safe(&["a/b", "A"]), ["a/b", "A (2)"]);
    assert_eq!(safe(&["a", "a/a", "a/a/a"]), ["a (2)", "a/a (2)", "a/a/a"]);
}

#[test]
fn unfinished_names_are_nobody_elses() {
    assert_eq!(safe(&["x", "x.part"]), ["x", "x (2).part"]);
    assert_eq!(safe(&["X.PART", "x"]), ["X.PART", "x (2)"]);
    assert_eq!(safe(&["x", "x.part/y"]), ["x (2)", "x.part/y"]);
}

#[test]
fn what_is_too_deep_or_too_long_moves_up() {
    let deep = vec!["d"; 200].join("/");
    assert_eq!(safe(&[&deep])[0].split('/').count(), limits::PATH_DEPTH - 1);
    let long = vec!["x".repeat(255); 40].join("/");
    let path = &safe(&[&long, &long])[1];
    assert!(path.len() <= limits::PATH_LENGTH && path.ends_with(" (2)"), "{}", path.len());
}

#[test]
fn originals_are_kept_where_they_are_harmless() {
    let originals = |files: &[&[&[u8]]]| -> Vec<Option<String>> {
        let mut table = PathTable::for_folder("t", b"t");
        files.iter().for_each(|file| table.push(file));
        table.finish().into_iter().map(|file| file.original).collect()
    };
    assert_eq!(originals(&[&[b"plain"], &[b"12:30", b"aux.c"]]), [None, Some("t/12:30/aux.c".into())]);
    assert_eq!(originals(&[&[b".."], &[b"a/b"], &[b"\xff"], &[b""], &[]]), vec![None; 5]);
    assert_eq!(originals(&[&[b"x"], &[b"x"], &[b"X"], &[b"x.part"]]), [None, None, Some("t/X".into()), None]);
}

#[test]
fn every_changed_path_is_told() {
    let mut table = PathTable::for_folder("t", b"t");
    let files: [&[&[u8]]; 6] = [&[b"plain"], &[b"a", b"b"], &[b"..", b"x"], &[b"plain"], &[b"nul"], &[b"a:b"]];
    files.iter().for_each(|file| table.push(file));
    let renamed: Vec<bool> = table.finish().into_iter().map(|file| file.renamed).collect();
    assert_eq!(renamed, [false, false, true, true, true, true]);
    let mut table = PathTable::for_folder("_", b"..");
    table.push(&[b"x"]);
    assert!(table.finish()[0].renamed, "the name of the torrent counts");
}

#[test]
fn many_equal_names_cost_a_step_each() {
    let count = 20_000;
    let mut table = PathTable::for_folder("t", b"t");
    let long = "l".repeat(249);
    for number in 0..count {
        table.push(&["same.txt".to_owned()]);
        table.push(&[format!("same ({number}).txt")]);
        // Distinct names that are cut to one stem when they are numbered.
        table.push(&[format!("{long}{}", char::from(b'a' + u8::try_from(number % 26).unwrap()))]);
    }
    let paths = table.finish();
    let unique: HashSet<&str> = paths.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(unique.len(), 3 * count);
}

/// What no file system may be given, whatever a stranger wrote.
fn is_plain(element: &str) -> bool {
    !element.is_empty()
        && element.len() <= limits::PATH_ELEMENT_LENGTH
        && !element.ends_with(['.', ' '])
        && !element.contains(is_forbidden)
        && !is_reserved(element)
}

fn raw_elements() -> impl Strategy<Value = Vec<u8>> {
    let nasty = prop::sample::select(vec![
        "", ".", "..", "/", "\\", "\0", "a", "A", "a.part", "con", "NUL.txt", "com1.", " ", "a. ", "\u{202e}", ":",
        "ß", "SS", "a (2)", "ı", "I",
    ]);
    prop_oneof![
        4 => nasty.prop_map(|text| text.as_bytes().to_vec()),
        2 => prop::collection::vec(any::<u8>(), 0..12),
        1 => ("con|aux", 200usize..300).prop_map(|(text, spaces)| format!("{text}{:spaces$}x.txt", "").into_bytes()),
        1 => ("\\PC{1,6}", 30usize..200).prop_map(|(text, times)| text.repeat(times).into_bytes()),
    ]
}

proptest! {
    #[test]
    fn nothing_gets_through(
        name in raw_elements(),
        files in prop::collection::vec(prop::collection::vec(raw_elements(), 0..6), 0..40),
    ) {
        let root = clean_directory(&name).unwrap_or_else(|| "hash".into());
        let paths = || {
            let mut table = PathTable::for_folder(&root, &name);
            files.iter().for_each(|file| table.push(file));
            table.finish()
        };
        let safe = paths();
        prop_assert_eq!(&safe, &paths());
        prop_assert_eq!(safe.len(), files.len());

        let mut on_disk = HashSet::new();
        let mut folders = HashSet::new();
        for file in &safe {
            let elements: Vec<&str> = file.path.split('/').collect();
            prop_assert!(elements.iter().all(|element| is_plain(element)), "{:?}", file);
            prop_assert!(elements.len() >= 2 && elements.len() <= limits::PATH_DEPTH);
            prop_assert!(file.path.len() <= limits::PATH_LENGTH);
            prop_assert_eq!(elements[0], root.as_str());
            let name = elements.last().unwrap();
            prop_assert!(name.len() + PART_SUFFIX.len() <= limits::PATH_ELEMENT_LENGTH);
            prop_assert!(on_disk.insert(fold(&file.path)), "{:?}", file);
            prop_assert!(on_disk.insert(fold(&format!("{}{PART_SUFFIX}", file.path))), "{:?}", file);
            folders.extend((1..elements.len()).map(|depth| fold(&elements[..depth].join("/"))));
            if let Some(original) = &file.original {
                prop_assert!(original.split('/').all(|element| harmless(element.as_bytes()).is_some()));
            }
        }
        prop_assert!(folders.is_disjoint(&on_disk));
    }
}
