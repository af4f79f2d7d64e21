//! The walls of the house: which crate may use which, and what the protocol crate must not know.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each crate of the workspace and those of the workspace that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("swarm-proto", &[]),
    ("swarm-hash", &[]),
    ("swarm-engine", &["swarm-proto", "swarm-hash"]),
    ("swarm-tracker-core", &["swarm-proto"]),
    ("swarm-tracker-http", &["swarm-proto", "swarm-tracker-core"]),
    ("swarm-tracker-udp", &["swarm-proto", "swarm-tracker-core"]),
    ("swarm-tracker-native", &["swarm-proto", "swarm-tracker-core"]),
    ("swarm-tracker-redis", &["swarm-proto", "swarm-tracker-core"]),
    ("swarm-sim", &["swarm-proto", "swarm-tracker-core"]),
    (
        "swarm",
        &[
            "swarm-proto",
            "swarm-engine",
            "swarm-tracker-core",
            "swarm-tracker-http",
            "swarm-tracker-udp",
            "swarm-tracker-native",
            "swarm-tracker-redis",
        ],
    ),
];
/// Text that no file of the protocol crate may hold: clocks, sockets, files, threads, randomness of the system.
const IMPURE: &[&str] = &[
    "tokio",
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::thread",
    "net::Tcp",
    "net::Udp",
    "TcpStream",
    "UdpSocket",
    "rand::rng()",
    "OsRng",
    "ThreadRng",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

#[test]
fn crates_use_only_what_the_plan_allows() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_string()])
        .exec()
        .expect("cargo metadata");
    let ours: BTreeSet<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let mut seen = 0;
    for package in &metadata.packages {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name.as_str()) else {
            let tests = ["swarm-tests", "swarm-bench", "swarm-hostile"];
            assert!(tests.contains(&package.name.as_str()), "{}: a crate that the plan does not know", package.name);
            continue;
        };
        seen += 1;
        let normal = package.dependencies.iter().filter(|it| it.kind == cargo_metadata::DependencyKind::Normal);
        for dependency in normal.filter(|it| ours.contains(&it.name)) {
            assert!(allowed.contains(&dependency.name.as_str()), "{} must not use {}", package.name, dependency.name);
        }
    }
    assert_eq!(seen, ALLOWED.len());
}

#[test]
fn the_protocol_crate_is_pure() {
    let mut open = vec![root().join("proto/src")];
    let mut files = 0;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the crate").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files += 1;
                check_purity(&path);
            }
        }
    }
    assert!(files > 20, "only {files} files found");
}

/// Tests of the crate may read the clock once for a starting point; the code may not.
fn check_purity(path: &Path) {
    let text = std::fs::read_to_string(path).expect("source text");
    let is_test = path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
    let code = if is_test { "" } else { text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default() };
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for word in IMPURE {
            assert!(!line.contains(word), "{}: {}", path.display(), line.trim());
        }
    }
}
