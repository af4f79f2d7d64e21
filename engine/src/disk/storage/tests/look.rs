//! Looks at files and folders that change under a torrent.

use super::*;

#[test]
fn changes_behind_our_back_are_noticed() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("touched", touch),
        ("cut off", |path| fs::File::options().write(true).open(path).unwrap().set_len(5).unwrap()),
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("replaced", |path| {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            let copy = path.with_extension("copy");
            fs::write(&copy, fs::read(path).unwrap()).unwrap();
            fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();
            fs::rename(&copy, path).unwrap();
        }),
    ];
    for (name, change) in changes {
        let (temporary, sample) = (TempDir::new().unwrap(), mixed());
        sample.write_to(temporary.path());
        let storage = Storage::open(temporary.path(), sample.layout(), StorageOptions::new(Mode::Seed)).unwrap();
        let wanted = block(&sample, 2, 0, 100);
        read(&storage, wanted).unwrap();
        change(&temporary.path().join("top/run"));
        let_checks_expire(&storage);
        for _ in 0..2 {
            let error = read(&storage, wanted).unwrap_err();
            assert!(error.needs_recheck(), "{name}: {error}");
        }
        read(&storage, block(&sample, 0, 0, 100)).expect("other files are served");
        assert_eq!(storage.on_disk(sample.index(3)), None);
        storage.accept(sample.index(3)).unwrap();
        let now = read(&storage, wanted);
        assert_eq!(now.is_ok(), matches!(name, "touched" | "replaced"), "{name}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_checked_again_stays_changed() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed());
    sample.write_to(temporary.path());
    let storage = Storage::open(temporary.path(), sample.layout(), StorageOptions::new(Mode::Seed)).unwrap();
    let (wanted, run) = (block(&sample, 2, 0, 100), sample.index(3));
    touch(&temporary.path().join("top/run"));
    assert!(read(&storage, wanted).is_err());
    for changes_again in [true, false] {
        storage.open_for_hashing(run).unwrap().unwrap();
        if changes_again {
            fs::write(temporary.path().join("top/run"), b"other").unwrap();
        }
        storage.accept(run).unwrap();
        let (now, path) = (read(&storage, wanted), storage.display_path(run));
        match changes_again {
            true => assert!(matches!(now, Err(DiskError::Changed { .. })), "{now:?}"),
            false => assert!(matches!(now, Err(DiskError::Truncated { .. })), "{} as it is: {now:?}", path.display()),
        }
    }
}

#[test]
fn a_file_cut_off_between_two_looks_gives_no_bytes() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed());
    sample.write_to(temporary.path());
    let storage = Storage::open(temporary.path(), sample.layout(), StorageOptions::new(Mode::Seed)).unwrap();
    let wanted = block(&sample, 2, 0, 100);
    read(&storage, wanted).unwrap();
    fs::File::options().write(true).open(temporary.path().join("top/run")).unwrap().set_len(5).unwrap();
    for state in &storage.states {
        state.lock().unwrap().checked = Some(Instant::now());
    }
    let error = read(&storage, wanted).unwrap_err();
    assert!(matches!(error, DiskError::Changed { .. }), "the open file itself is looked at: {error}");
}

#[test]
fn a_folder_made_again_is_followed_and_a_strange_one_is_not() {
    for mode in [Mode::Seed, Mode::Fetch] {
        let (temporary, sample) = (TempDir::new().unwrap(), mixed());
        let (place, away) = (temporary.path().join("place"), temporary.path().join("away"));
        fs::create_dir(&place).unwrap();
        sample.write_to(&place);
        let storage = Storage::open(&place, sample.layout(), StorageOptions::new(mode)).unwrap();
        let wanted = block(&sample, 2, 0, 100);
        assert_eq!(storage.look_round(0, 100).unwrap(), Round { next: 0, changed: false });
        assert_eq!(storage.look_round(0, 2).unwrap().next, 2, "some files at a time");

        fs::rename(&place, &away).unwrap();
        storage.look_round(0, 100).unwrap();
        read(&storage, wanted).expect("the handle leads to a renamed folder");
        fs::create_dir(&place).unwrap();
        storage.look_round(0, 100).unwrap_err();
        assert!(
            storage.present().is_err() && read(&storage, wanted).is_err(),
            "as after umount: an empty folder below"
        );
        assert!(storage.sync(&none_of(&sample)).is_err() || mode == Mode::Seed);
        fs::remove_dir(&place).unwrap();
        fs::rename(&away, &place).unwrap();
        storage.look_round(0, 100).unwrap();
        read(&storage, wanted).expect("it is back");

        fs::remove_dir_all(&place).unwrap();
        storage.look_round(0, 100).unwrap_err();
        fs::create_dir(&place).unwrap();
        sample.write_to(&place);
        assert!(storage.look_round(0, 100).unwrap().changed);
        assert_eq!(storage.changed_files().len(), 5, "all that were there, the empty one too: {mode:?}");
        let other = Storage::open(&place, sample.layout(), StorageOptions::new(Mode::Fetch));
        assert!(matches!(other, Err(DiskError::InUse { .. })), "the new folder is locked");
        storage.changed_files().into_iter().for_each(|file| storage.accept(file).unwrap());
        assert!(read(&storage, wanted).unwrap() == sample.piece(2)[..100]);
    }
}

#[test]
fn a_seed_notices_files_that_go_and_come_back_without_being_asked() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed());
    sample.write_to(temporary.path());
    let storage = Storage::open(temporary.path(), sample.layout(), StorageOptions::new(Mode::Seed)).unwrap();
    let run = temporary.path().join("top/run");
    let bytes = fs::read(&run).unwrap();
    for _ in 0..2 {
        fs::remove_file(&run).unwrap();
        assert!(storage.look_round(0, 100).unwrap().changed);
        storage.accept(sample.index(3)).unwrap();
        assert!(!storage.look_round(0, 100).unwrap().changed, "known by now");
        fs::write(&run, &bytes).unwrap();
        assert!(storage.look_round(0, 100).unwrap().changed);
        storage.accept(sample.index(3)).unwrap();
        assert!(read(&storage, block(&sample, 2, 0, 100)).unwrap() == sample.piece(2)[..100]);
    }
}
