//! Every input of the checked-in corpora, and the corpora themselves: small, and one for each target.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use swarm_hostile::{TARGETS, Target};

/// Files and bytes of one corpus at most.
const FILES: usize = 50;
const BYTES: u64 = 64 * 1024;

fn fuzz(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn names(folder: &str) -> BTreeSet<String> {
    files(&fuzz(folder)).iter().map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

#[test]
fn each_target_has_a_fuzzer_and_a_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len());
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
}

#[test]
fn every_input_of_the_corpora_keeps_the_promises() {
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let inputs = files(&fuzz("corpus").join(name));
        let bytes: u64 = inputs.iter().map(|path| fs::metadata(path).expect("a file").len()).sum();
        assert!((1..=FILES).contains(&inputs.len()) && bytes <= BYTES, "{name}: {} files, {bytes} bytes", inputs.len());
        failed.extend(inputs.into_iter().filter(|path| !holds(*target, path)));
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// A panic fails its own input, and the others are tried all the same.
fn holds(target: Target, path: &Path) -> bool {
    let bytes = fs::read(path).expect("an input");
    std::panic::catch_unwind(|| target(&bytes)).is_ok()
}
