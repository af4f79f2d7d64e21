use super::state::CHECK_INTERVAL;
use super::*;
use crate::disk::sample::Sample;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Instant;
use swarm_proto::bitfield::Bitfield;
use tempfile::TempDir;

mod look;

const PIECE: usize = 16_384;

fn mixed() -> Sample {
    let files = [
        ("a/first", PIECE + 100, ""),
        ("empty", 0, ""),
        ("a/b/tiny", 1, ""),
        ("run", 3 * PIECE, "x"),
        (".pad/283", 283, "p"),
        ("last ü", PIECE / 2, ""),
    ];
    Sample::folder(&files, PIECE)
}

fn fetch(folder: &Path, sample: &Sample) -> Storage {
    Storage::open(folder, sample.layout(), StorageOptions::new(Mode::Fetch)).unwrap()
}

fn overwriting() -> StorageOptions {
    StorageOptions { foreign_files: ForeignFiles::Overwrite, ..StorageOptions::new(Mode::Fetch) }
}

fn nobody(_: FileIndex) -> bool {
    false
}

fn none_of(sample: &Sample) -> Bitfield {
    Bitfield::empty(sample.metainfo.geometry().pieces())
}

/// Writes a piece in blocks, and finishes what is complete with it.
fn take(storage: &Storage, sample: &Sample, have: &mut Bitfield, number: u32) -> Result<Vec<FileIndex>, DiskError> {
    let piece = sample.metainfo.geometry().piece(number).unwrap();
    let blocks: Vec<&[u8]> = sample.piece(number).chunks(5_000).collect();
    storage.write_piece(piece, &blocks)?;
    have.insert(piece);
    storage.finish_piece(piece, have)
}

fn take_all(
    storage: &Storage,
    sample: &Sample,
    have: &mut Bitfield,
    numbers: impl IntoIterator<Item = u32>,
) -> Vec<FileIndex> {
    numbers.into_iter().flat_map(|number| take(storage, sample, have, number).unwrap()).collect()
}

fn block(sample: &Sample, piece: u32, begin: u32, length: u32) -> Block {
    sample.metainfo.geometry().wire_block(piece, begin, length).unwrap()
}

fn read(storage: &Storage, block: Block) -> Result<Vec<u8>, DiskError> {
    let mut out = vec![0xee; block.length() as usize];
    storage.read(block, &mut out).map(|()| out)
}

/// Forgets when files were last looked at, as if the interval had passed.
fn let_checks_expire(storage: &Storage) {
    for state in &storage.states {
        let mut state = state.lock().unwrap();
        state.checked = state.checked.and_then(|checked| checked.checked_sub(CHECK_INTERVAL));
    }
}

/// Gives a file another time of change for sure, whatever the granularity of the clock.
fn touch(path: &Path) {
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn pieces_in_any_order_make_the_files() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed());
    let storage = fetch(temporary.path(), &sample);
    let mut have = none_of(&sample);
    let first = storage.prepare(&have, &nobody).unwrap();
    assert_eq!(first, [sample.index(1)], "the empty file is made at once");
    let mut finished = Vec::new();
    for number in (0..have.pieces()).rev() {
        assert!(!temporary.path().join("top/a/first").exists());
        finished.extend(take(&storage, &sample, &mut have, number).unwrap());
    }
    sample.assert_complete(temporary.path());
    finished.sort();
    assert_eq!(finished, [0, 2, 3, 5].map(|number| sample.index(number)));
    assert!(!temporary.path().join("top/.pad").exists());
    let mode = |name: &str| fs::metadata(temporary.path().join("top").join(name)).unwrap().permissions().mode();
    assert_eq!((mode("run") & 0o100, mode("last ü") & 0o100), (0o100, 0));
}

#[test]
fn blocks_read_back_across_files_and_padding() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed());
    sample.write_to(temporary.path());
    let storage = Storage::open(temporary.path(), sample.layout(), StorageOptions::new(Mode::Seed)).unwrap();
    let geometry = sample.metainfo.geometry();
    for piece in geometry.all_pieces() {
        for (begin, length) in [(0, geometry.length_of(piece)), (97, 1_000), (7, 1)] {
            let block = block(&sample, piece.as_u32(), begin, length);
            let from = begin as usize;
            let expected = &sample.piece(piece.as_u32())[from..from + length as usize];
            assert!(read(&storage, block).unwrap() == expected, "{block:?}");
            let spans = storage.spans(block).unwrap();
            assert_eq!(spans.iter().map(|span| span.length).sum::<u64>(), u64::from(length));
        }
    }
    assert!(matches!(storage.read(block(&sample, 0, 0, 5), &mut [0; 4]), Err(DiskError::Refused { .. })));
    let piece = geometry.piece(0).unwrap();
    assert!(matches!(storage.write_piece(piece, &[sample.piece(0)]), Err(DiskError::Refused { .. })));
}

#[test]
fn a_piece_of_the_wrong_length_is_refused() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed());
    let storage = fetch(temporary.path(), &sample);
    storage.prepare(&none_of(&sample), &nobody).unwrap();
    let piece = sample.metainfo.geometry().piece(0).unwrap();
    for bytes in [&[][..], &sample.piece(0)[1..], &[sample.piece(0), b"x"].concat()] {
        assert!(matches!(storage.write_piece(piece, &[bytes]), Err(DiskError::Refused { .. })));
    }
    let foreign = Sample::file(PIECE * 64, PIECE).metainfo.geometry().piece(60).unwrap();
    assert!(storage.write_piece(foreign, &[sample.piece(0)]).is_err());
    assert!(!temporary.path().join("top/a").exists(), "nothing was written");
}

#[test]
fn an_unfinished_download_goes_on() {
    let (temporary, sample) = (TempDir::new().unwrap(), Sample::file(4 * PIECE + 5, PIECE));
    let mut have = none_of(&sample);
    {
        let storage = fetch(temporary.path(), &sample);
        storage.prepare(&have, &nobody).unwrap();
        assert!(take(&storage, &sample, &mut have, 2).unwrap().is_empty());
    }
    let part = temporary.path().join("top.part");
    assert_eq!(fs::metadata(&part).unwrap().len(), 4 * PIECE as u64 + 5, "full length from the start");
    assert!(!temporary.path().join("top").exists());
    let storage = fetch(temporary.path(), &sample);
    storage.prepare(&have, &nobody).unwrap();
    assert!(read(&storage, block(&sample, 2, 0, 16_384)).unwrap() == sample.piece(2));
    for number in [0, 1, 3, 4] {
        take(&storage, &sample, &mut have, number).unwrap();
    }
    sample.assert_complete(temporary.path());
}

#[test]
fn a_foreign_file_is_not_touched_unless_allowed() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed());
    let foreign = temporary.path().join("top/run");
    fs::create_dir(temporary.path().join("top")).unwrap();
    fs::write(&foreign, b"precious").unwrap();
    let mut have = none_of(&sample);
    {
        let storage = fetch(temporary.path(), &sample);
        let refused = storage.prepare(&have, &nobody).unwrap_err();
        assert!(matches!(&refused, DiskError::ForeignFile { path } if *path == foreign), "{refused}");
        let write = take(&storage, &sample, &mut none_of(&sample), 2);
        assert!(matches!(write, Err(DiskError::ForeignFile { .. })), "even a write that nobody prepared: {write:?}");
    }
    assert_eq!(fs::read(&foreign).unwrap(), b"precious");
    assert!(!foreign.with_extension("part").exists());
    let storage = Storage::open(temporary.path(), sample.layout(), overwriting()).unwrap();
    storage.prepare(&have, &nobody).unwrap();
    assert!(!foreign.exists(), "it is unfinished now");
    let all = 0..have.pieces();
    take_all(&storage, &sample, &mut have, all);
    sample.assert_complete(temporary.path());
}

#[test]
fn a_foreign_part_file_is_told_by_its_length() {
    let (temporary, sample) = (TempDir::new().unwrap(), Sample::file(4 * PIECE, PIECE));
    let part = temporary.path().join("top.part");
    fs::write(&part, b"of a browser").unwrap();
    let refused = fetch(temporary.path(), &sample).prepare(&none_of(&sample), &nobody);
    assert!(matches!(refused, Err(DiskError::ForeignFile { .. })), "{refused:?}");
    assert_eq!(fs::read(&part).unwrap(), b"of a browser");
    fetch(temporary.path(), &sample).prepare(&none_of(&sample), &|_| true).unwrap();
    assert_eq!(fs::metadata(&part).unwrap().len(), 4 * PIECE as u64, "the record knew it");
}

#[test]
fn complete_data_is_done_at_once_and_too_long_a_file_is_not_complete() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed());
    sample.write_to(temporary.path());
    let full = Bitfield::full(sample.metainfo.geometry().pieces());
    assert!(fetch(temporary.path(), &sample).prepare(&full, &nobody).unwrap().is_empty());
    sample.assert_complete(temporary.path());
    let run = temporary.path().join("top/run");
    fs::write(&run, [fs::read(&run).unwrap(), b"tail".to_vec()].concat()).unwrap();
    let refused = fetch(temporary.path(), &sample).prepare(&full, &nobody);
    assert!(matches!(refused, Err(DiskError::ForeignFile { .. })), "{refused:?}");
    let storage = Storage::open(temporary.path(), sample.layout(), overwriting()).unwrap();
    assert_eq!(storage.prepare(&full, &nobody).unwrap(), [sample.index(3)]);
    sample.assert_complete(temporary.path());
}

#[test]
fn a_record_that_claims_too_much_makes_no_empty_file() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed());
    let full = Bitfield::full(sample.metainfo.geometry().pieces());
    let refused = fetch(temporary.path(), &sample).prepare(&full, &|_| true);
    assert!(matches!(refused, Err(DiskError::Changed { .. })), "{refused:?}");
    assert_eq!(fs::read_dir(temporary.path().join("top")).unwrap().count(), 0);
}

#[test]
fn what_is_in_the_way_is_named() {
    let sample = mixed();
    let open = |prepare: &dyn Fn(&Path)| {
        let temporary = TempDir::new().unwrap();
        prepare(temporary.path());
        Storage::open(temporary.path(), sample.layout(), StorageOptions::new(Mode::Fetch)).map(|_| ())
    };
    let folder = open(&|path| fs::create_dir_all(path.join("top/run")).unwrap());
    assert!(matches!(folder, Err(DiskError::NotRegular { found: "a folder", .. })), "{folder:?}");
    let file = open(&|path| fs::write(path.join("top"), b"x").unwrap());
    assert!(file.as_ref().unwrap_err().to_string().contains("stands where a folder belongs"), "{file:?}");
    let link = open(&|path| symlink("/tmp", path.join("top")).unwrap());
    assert!(link.as_ref().unwrap_err().to_string().contains("a symbolic link stands where"), "{link:?}");
    let target = tempfile::NamedTempFile::new().unwrap();
    let not_a_folder = Storage::open(target.path(), sample.layout(), StorageOptions::new(Mode::Fetch));
    assert!(not_a_folder.is_err());
    let fifo = open(&|path| {
        fs::create_dir(path.join("top")).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, path.join("top/run.part"), kind, mode, 0).unwrap();
    });
    assert!(matches!(fifo, Err(DiskError::NotRegular { found: "a FIFO", .. })), "{fifo:?}");
}

#[test]
fn a_symbolic_link_below_the_folder_leads_nowhere() {
    let (temporary, outside, sample) = (TempDir::new().unwrap(), TempDir::new().unwrap(), mixed());
    let storage = fetch(temporary.path(), &sample);
    symlink(outside.path(), temporary.path().join("top/a")).unwrap();
    let mut have = none_of(&sample);
    storage.prepare(&have, &nobody).unwrap();
    assert!(take(&storage, &sample, &mut have, 0).is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_final_name_taken_meanwhile_is_not_replaced() {
    let (temporary, sample) = (TempDir::new().unwrap(), Sample::file(PIECE, PIECE));
    let storage = fetch(temporary.path(), &sample);
    let mut have = none_of(&sample);
    storage.prepare(&have, &nobody).unwrap();
    fs::write(temporary.path().join("top"), b"precious").unwrap();
    let refused = take(&storage, &sample, &mut have, 0);
    assert!(matches!(refused, Err(DiskError::ForeignFile { .. })), "{refused:?}");
    assert_eq!(fs::read(temporary.path().join("top")).unwrap(), b"precious");
    fs::remove_file(temporary.path().join("top")).unwrap();
    assert_eq!(storage.sync(&have).unwrap(), [sample.index(0)], "it goes on when the way is free");
    sample.assert_complete(temporary.path());
}

#[test]
fn two_writers_are_kept_apart_and_readers_share() {
    for sample in [mixed(), Sample::file(3 * PIECE, PIECE)] {
        let temporary = TempDir::new().unwrap();
        let open = |mode| Storage::open(temporary.path(), sample.layout(), StorageOptions::new(mode));
        let first = open(Mode::Fetch).unwrap();
        let second = open(Mode::Fetch);
        assert!(matches!(second, Err(DiskError::InUse { .. })), "{second:?}");
        let mut have = none_of(&sample);
        first.prepare(&have, &nobody).unwrap();
        let all = 0..have.pieces();
        take_all(&first, &sample, &mut have, all);
        let reader = open(Mode::Seed).expect("nothing is left to write");
        assert!(matches!(open(Mode::Fetch), Err(DiskError::InUse { .. })));
        drop(first);
        let another = open(Mode::Seed).unwrap();
        drop((reader, another));
        open(Mode::Fetch).unwrap();
    }
}

#[test]
fn our_own_writes_are_no_change_but_others_are() {
    let (temporary, sample) = (TempDir::new().unwrap(), Sample::file(4 * PIECE, PIECE));
    let storage = fetch(temporary.path(), &sample);
    let mut have = none_of(&sample);
    storage.prepare(&have, &nobody).unwrap();
    for number in [3, 0] {
        take(&storage, &sample, &mut have, number).unwrap();
        let_checks_expire(&storage);
        read(&storage, block(&sample, 3, 0, 16_384)).unwrap();
    }
    touch(&temporary.path().join("top.part"));
    let_checks_expire(&storage);
    assert!(matches!(take(&storage, &sample, &mut have, 1), Err(DiskError::Changed { .. })));
    storage.accept(sample.index(0)).unwrap();
    take_all(&storage, &sample, &mut have, [1, 2]);
    sample.assert_complete(temporary.path());
}

#[test]
fn a_deleted_file_is_made_again() {
    let (temporary, sample) = (TempDir::new().unwrap(), Sample::file(4 * PIECE, PIECE));
    let storage = fetch(temporary.path(), &sample);
    let mut have = none_of(&sample);
    storage.prepare(&have, &nobody).unwrap();
    take(&storage, &sample, &mut have, 1).unwrap();
    fs::remove_file(temporary.path().join("top.part")).unwrap();
    let_checks_expire(&storage);
    assert!(take(&storage, &sample, &mut have, 2).unwrap_err().needs_recheck());
    storage.sync(&have).unwrap();
    storage.accept(sample.index(0)).unwrap();
    assert!(read(&storage, block(&sample, 1, 0, 1)).is_err());
    have = none_of(&sample);
    take_all(&storage, &sample, &mut have, 0..4);
    sample.assert_complete(temporary.path());
}

#[test]
fn lost_pieces_of_a_finished_file_are_written_again() {
    let (temporary, sample) = (TempDir::new().unwrap(), Sample::file(4 * PIECE, PIECE));
    let storage = fetch(temporary.path(), &sample);
    let mut have = none_of(&sample);
    storage.prepare(&have, &nobody).unwrap();
    take_all(&storage, &sample, &mut have, 0..4);
    fs::File::options().write(true).open(temporary.path().join("top")).unwrap().set_len(PIECE as u64).unwrap();
    let_checks_expire(&storage);
    assert!(read(&storage, block(&sample, 0, 0, 1)).is_err());
    storage.accept(sample.index(0)).unwrap();
    for number in 1..4 {
        have.remove(sample.metainfo.geometry().piece(number).unwrap());
    }
    take(&storage, &sample, &mut have, 2).unwrap();
    assert!(temporary.path().join("top.part").exists(), "it is unfinished again");
    take_all(&storage, &sample, &mut have, [1, 3]);
    sample.assert_complete(temporary.path());
}

#[test]
fn a_seed_is_found_under_any_name() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed());
    sample.write_to(temporary.path());
    let open = |path: &Path, sample: &Sample| Storage::open_seed(path, sample.layout(), Arc::default());
    let check = |storage: Storage, sample: &Sample| {
        assert!(read(&storage, block(sample, 0, 0, 16_384)).unwrap() == sample.piece(0));
    };
    check(open(temporary.path(), &sample).unwrap(), &sample);
    check(open(&temporary.path().join("top"), &sample).unwrap(), &sample);
    fs::rename(temporary.path().join("top"), temporary.path().join("other")).unwrap();
    check(open(&temporary.path().join("other"), &sample).unwrap(), &sample);
    symlink("other", temporary.path().join("link")).unwrap();
    check(open(&temporary.path().join("link"), &sample).unwrap(), &sample);
    let single = Sample::file(2 * PIECE, PIECE);
    fs::write(temporary.path().join("renamed.iso"), &single.bytes).unwrap();
    check(open(&temporary.path().join("renamed.iso"), &single).unwrap(), &single);
    assert!(open(temporary.path(), &single).is_err(), "no such file");
    assert!(open(&temporary.path().join("renamed.iso"), &sample).is_err(), "a folder is needed");
    assert!(open(&temporary.path().join("none"), &sample).is_err());
}

#[test]
fn many_files_need_few_descriptors() {
    let names: Vec<String> = (0..1_000).map(|number| format!("{}/{number}", number % 7)).collect();
    let files: Vec<(&str, usize, &str)> = names.iter().map(|name| (name.as_str(), 100, "")).collect();
    let (temporary, sample) = (TempDir::new().unwrap(), Sample::folder(&files, PIECE));
    let pool = Arc::new(FilePool::new(8));
    let options = StorageOptions { files: Arc::clone(&pool), ..StorageOptions::new(Mode::Fetch) };
    let storage = Storage::open(temporary.path(), sample.layout(), options).unwrap();
    let mut have = none_of(&sample);
    storage.prepare(&have, &nobody).unwrap();
    let mut finished = 0;
    for number in 0..have.pieces() {
        finished += take(&storage, &sample, &mut have, number).unwrap().len();
        assert!(pool.len() <= 8);
    }
    assert_eq!(finished, 1_000);
    sample.assert_complete(temporary.path());
    drop(storage);
    assert!(pool.is_empty());
}

#[test]
fn room_is_reserved_on_request() {
    use std::os::unix::fs::MetadataExt;
    let (temporary, sample) = (TempDir::new().unwrap(), Sample::file(64 * PIECE, PIECE));
    let options = StorageOptions { allocation: Allocation::Full, ..StorageOptions::new(Mode::Fetch) };
    let storage = Storage::open(temporary.path(), sample.layout(), options).unwrap();
    storage.prepare(&none_of(&sample), &nobody).unwrap();
    let metadata = fs::metadata(temporary.path().join("top.part")).unwrap();
    assert_eq!(metadata.len(), 64 * PIECE as u64);
    assert!(metadata.blocks() * 512 >= 64 * PIECE as u64, "{}", metadata.blocks());
}

#[test]
fn concurrent_writers_and_readers_agree() {
    let (temporary, sample) = (TempDir::new().unwrap(), mixed_large());
    let storage = fetch(temporary.path(), &sample);
    storage.prepare(&none_of(&sample), &nobody).unwrap();
    let have = Mutex::new(none_of(&sample));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (storage, sample, have) = (&storage, &sample, &have);
            scope.spawn(move || {
                let geometry = sample.metainfo.geometry();
                for piece in geometry.all_pieces().filter(|piece| piece.as_u32() % 4 == thread) {
                    storage.write_piece(piece, &[sample.piece(piece.as_u32())]).unwrap();
                    let have = {
                        let mut have = have.lock().unwrap();
                        have.insert(piece);
                        have.clone()
                    };
                    storage.finish_piece(piece, &have).unwrap();
                    let block = geometry.block(piece, 0).unwrap();
                    let_checks_expire(storage);
                    let expected = &sample.piece(piece.as_u32())[..block.length() as usize];
                    assert!(read(storage, block).unwrap() == expected);
                }
            });
        }
    });
    storage.sync(&have.into_inner().unwrap()).unwrap();
    sample.assert_complete(temporary.path());
}

fn mixed_large() -> Sample {
    let names: Vec<String> = (0..40).map(|number| format!("d{}/{number}", number % 3)).collect();
    let files: Vec<_> = names.iter().enumerate().map(|(number, name)| (name.as_str(), 9_000 * number, "")).collect();
    Sample::folder(&files, PIECE)
}

/// Files of up to three pieces, some of them padding or empty, and an order in which the pieces come.
fn torrents() -> impl Strategy<Value = (Vec<(usize, bool)>, Vec<prop::sample::Index>, usize)> {
    let file = (prop_oneof![Just(0), 1..64usize, Just(1_000), 0..3_000usize], prop::bool::weighted(0.2));
    (prop::collection::vec(file, 1..12), prop::collection::vec(any::<prop::sample::Index>(), 64), 1..8usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_torrent_is_finished_in_any_order_over_any_restarts((files, order, lives) in torrents()) {
        let names: Vec<String> = (0..files.len()).map(|number| format!("{}/{number}", number % 3)).collect();
        let list: Vec<(&str, usize, &str)> = names
            .iter()
            .zip(&files)
            .map(|(name, &(length, padding))| (name.as_str(), length, if padding { "p" } else { "" }))
            .collect();
        let sample = Sample::folder(&list, 1_000);
        let temporary = TempDir::new().unwrap();
        let mut have = none_of(&sample);
        let mut missing: Vec<u32> = (0..have.pieces()).collect();
        let mut order = order.iter();
        loop {
            let storage = fetch(temporary.path(), &sample);
            storage.prepare(&have, &nobody).unwrap();
            for _ in 0..lives {
                if let Some(index) = order.next().filter(|_| !missing.is_empty()) {
                    let number = missing.swap_remove(index.index(missing.len()));
                    take(&storage, &sample, &mut have, number).unwrap();
                    let piece = sample.metainfo.geometry().piece(number).unwrap();
                    for block in sample.metainfo.geometry().blocks(piece) {
                        prop_assert!(read(&storage, block).unwrap() == sample.piece(number));
                    }
                }
            }
            for (index, file) in sample.layout().files().filter(|(_, file)| file.kind() == FileKind::Regular) {
                let complete = sample.layout().pieces_of_file(index).all(|number| !missing.contains(&number));
                let path = temporary.path().join(file.path().unwrap());
                prop_assert_eq!(path.exists(), complete, "{:?}", path);
            }
            if missing.is_empty() {
                break;
            }
        }
        sample.assert_complete(temporary.path());
    }
}
