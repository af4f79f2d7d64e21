//! The files of the chat: what is made, what is refused, what is kept.

mod hand_over;

use super::book::Change;
use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use swarm_proto::chat::{BookEntry, Pinned, PublicKey};

#[test]
fn an_identity_is_made_once_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/identity");
    let made = load_or_make_identity(&path).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(load_or_make_identity(&path).unwrap().public(), made.public());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no drafts are left");
    assert!(matches!(save_identity(&path, &made), Err(ChatFileError::Exists(_))));
    let other = folder.path().join("other");
    assert_ne!(load_or_make_identity(&other).unwrap().public(), made.public());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(load_or_make_identity(&path), Err(ChatFileError::Open(_))));
    for damaged in ["", "0123", &"z".repeat(64), &"0".repeat(10_000)] {
        fs::write(&other, damaged).unwrap();
        assert!(matches!(load_or_make_identity(&other), Err(ChatFileError::NoIdentity(_))), "{damaged:.10}");
        assert_eq!(fs::read_to_string(&other).unwrap(), damaged, "nothing is overwritten");
    }
    assert!(matches!(load_or_make_identity(folder.path()), Err(ChatFileError::NoIdentity(_))));
}

fn entry(at: u8, name: &str, trust: Pinned) -> BookEntry {
    BookEntry { key: PublicKey([at; 32]), name: name.into(), trust }
}

#[test]
fn who_is_known_is_kept_and_damage_costs_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people");
    let mut book = ChatBook::open(&path).unwrap();
    assert!(book.entries().is_empty() && !path.exists());
    let known =
        [entry(1, "Anna B.", Pinned::FirstSeen), entry(2, "bob", Pinned::Trusted), entry(3, "eve", Pinned::Blocked)];
    let changes = known.iter().cloned().map(Change::Remember).chain([Change::Forget(PublicKey([9; 32]))]);
    ChatBook::apply(&path, changes.collect()).unwrap();
    assert_eq!(ChatBook::open(&path).unwrap().entries(), known);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Somebody else changes the file meanwhile: nothing of it is lost.
    book.block(PublicKey([4; 32]));
    book.save().unwrap();
    ChatBook::apply(&path, vec![Change::Remember(known[0].clone())]).unwrap();
    assert_eq!(ChatBook::open(&path).unwrap().entries().len(), 2);
    let text = fs::read_to_string(&path).unwrap();
    let hostile =
        format!("{text}{} trusted a\u{202e}b\nnonsense\n{} loved c\n", PublicKey([7; 32]), PublicKey([8; 32]));
    fs::write(&path, hostile).unwrap();
    assert_eq!(ChatBook::open(&path).unwrap().entries().len(), 2);
    fs::write(&path, "something else\n").unwrap();
    assert!(matches!(ChatBook::open(&path), Err(ChatFileError::NoBook(_))));
    assert!(ChatBook::apply(&path, Vec::new()).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "something else\n");
}

#[test]
fn a_room_is_a_metainfo_of_its_own() {
    let (one, two) = (make_room("Friends").unwrap(), make_room("Friends").unwrap());
    let parse = |builder: swarm_proto::metainfo::MetainfoBuilder| {
        swarm_proto::metainfo::Metainfo::parse(builder.build(&[]).unwrap()).unwrap()
    };
    let (one, two) = (parse(one), parse(two));
    assert_ne!(one.info_hash(), two.info_hash(), "two rooms of one name are two rooms");
    assert_eq!((one.name(), one.geometry().total_length()), ("Friends", 0));
}
