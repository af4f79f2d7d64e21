//! What the documents say about the code is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// The texts of all files below a folder of the project that end like this.
fn sources(folder: &Path, ending: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&entry, ending, found);
        } else if name.ends_with(ending) {
            found.push(fs::read_to_string(&entry).expect("text"));
        }
    }
}

/// The functions behind `#[test]` and its kin.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root(), ".rs", &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let mut is_test = false;
        for line in file.lines().map(str::trim) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if let Some(rest) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn "))
                && std::mem::take(&mut is_test)
            {
                names.insert(rest.split('(').next().unwrap_or_default().to_owned());
            }
        }
    }
    names
}

/// What stands between two of these marks, in lines of tables and lists.
fn between(text: &str, mark: char) -> Vec<&str> {
    text.lines().flat_map(|line| line.split(mark).skip(1).step_by(2)).collect()
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let text = fs::read_to_string(root().join("SECURITY.md")).expect("SECURITY.md");
    let tests = tests();
    let is_name =
        |name: &&str| name.contains('_') && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let named: Vec<&str> = between(&text, '`').into_iter().filter(is_name).collect();
    assert!(named.len() > 100, "{} names", named.len());
    let missing: Vec<_> = named.into_iter().filter(|name| !tests.contains(*name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");

    let mut cases = Vec::new();
    sources(&root().join("tests/faults"), ".py", &mut cases);
    let cases = cases.concat();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains('\''));
    let mut quoted = 0;
    for row in rows {
        for name in row.split('|').nth(3).map(|cell| between(cell, '\'')).unwrap_or_default() {
            quoted += 1;
            assert!(cases.contains(&format!("@case('{name}'")), "no case '{name}' in tests/faults");
        }
    }
    assert!(quoted >= 20, "{quoted} cases");
}
