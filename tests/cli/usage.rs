//! Help, completions, manual pages, wrong command lines.

use crate::support::Place;

#[test]
fn help_documents_the_exit_codes() {
    let help = Place::new().run("--help").good();
    for code in [
        "0  done",
        "1  verification",
        "2  the command line",
        "3  a metainfo",
        "4  the disk",
        "5  no peers",
        "130  interrupted",
    ] {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    let place = Place::new();
    for line in ["", "fetch", "frobnicate", "fetch x --up-limit fast", "make-meta x --piece-length 100K", "tracker"] {
        let ran = place.run(line);
        assert_eq!(ran.code(), 2, "{line}");
        assert!(ran.stdout().is_empty() && !ran.stderr().is_empty(), "{line}");
    }
}

#[test]
fn completions_and_manual_pages() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.run(&format!("completions {shell}")).good().contains("make-meta"), "{shell}");
    }
    place.run("man pages/man1").good();
    for page in ["swarm.1", "swarm-fetch.1", "swarm-make-meta.1", "swarm-tracker-http.1"] {
        let text = std::fs::read_to_string(place.path("pages/man1").join(page)).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
    place.write("file", b"");
    place.run("man file").failed(4, "file");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let place = Place::new();
    let mut child = place
        .swarm("completions zsh")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
