use super::*;
use crate::disk::fault::injected::{self, Fault, Plan};
use crate::disk::power_cut::{self, Part};
use crate::disk::sample::Sample;
use crate::disk::{HashJob, Mode, StorageOptions, verify_pieces};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

const PIECE: usize = 16_384;

/// A download that can be killed and started again.
struct World {
    folder: TempDir,
    state: TempDir,
    sample: Sample,
}

/// One run of it.
struct Run {
    storage: Storage,
    store: ResumeStore,
    resumed: Resumed,
    have: Bitfield,
}

impl World {
    fn new(sample: Sample) -> Self {
        Self { folder: TempDir::new().unwrap(), state: TempDir::new().unwrap(), sample }
    }

    fn folder_of_three() -> Self {
        Self::new(Sample::folder(&[("a", 4 * PIECE, ""), ("b", 4 * PIECE, ""), ("c", 100, "")], PIECE))
    }

    fn storage(&self) -> Storage {
        let options = StorageOptions::new(Mode::Fetch);
        Storage::open(self.folder.path(), self.sample.layout(), options).unwrap()
    }

    fn store(&self, storage: &Storage) -> ResumeStore {
        ResumeStore::open(self.state.path(), self.sample.metainfo.info_hash(), storage).unwrap()
    }

    /// What the record says now, without going on.
    fn look(&self) -> Resumed {
        let storage = self.storage();
        self.store(&storage).load(&storage)
    }

    /// Opens, loads, checks what is to be checked, and makes the first checkpoint.
    fn start(&self) -> Run {
        self.try_start().unwrap()
    }

    fn try_start(&self) -> Result<Run, DiskError> {
        let options = StorageOptions::new(Mode::Fetch);
        let storage = Storage::open(self.folder.path(), self.sample.layout(), options)?;
        let store = self.store(&storage);
        let resumed = store.load(&storage);
        let cancel = AtomicBool::new(false);
        let job = HashJob::new(&|_| (), &cancel);
        let right = verify_pieces(&storage, &self.sample.metainfo, &resumed.recheck, job).unwrap();
        let mut have = resumed.have.clone();
        for number in right.iter() {
            assert!(have.insert(self.piece(number)), "what is to be checked is not trusted at once");
        }
        storage.prepare(&have, &|file| resumed.is_ours(file))?;
        store.checkpoint(&storage, &have)?;
        Ok(Run { storage, store, resumed, have })
    }

    fn piece(&self, number: u32) -> PieceIndex {
        self.sample.metainfo.geometry().piece(number).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("top").join(name)
    }

    /// The only file of the state folder that ends so.
    fn record(&self, ending: &str) -> PathBuf {
        let entries = fs::read_dir(self.state.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut found = entries.filter(|path| path.to_str().unwrap().ends_with(ending));
        (found.next().unwrap(), assert!(found.next().is_none())).0
    }
}

impl Run {
    fn take(&mut self, world: &World, number: u32) {
        self.try_take(world, number).unwrap();
    }

    fn try_take(&mut self, world: &World, number: u32) -> Result<(), DiskError> {
        let piece = world.piece(number);
        self.store.journal_piece(piece)?;
        self.storage.write_piece(piece, &[world.sample.piece(number)])?;
        self.have.insert(piece);
        self.storage.finish_piece(piece, &self.have).map(drop)
    }

    /// All pieces that are missing, with a checkpoint now and then. An operation that fails is done again at once.
    fn try_finish(&mut self, world: &World, tries: usize) -> Result<(), DiskError> {
        let missing: Vec<u32> = (0..9).filter(|&number| !self.have.has(world.piece(number))).collect();
        for (count, number) in missing.into_iter().rev().enumerate() {
            again(tries, || self.try_take(world, number))?;
            if count % 3 == 2 {
                again(tries, || self.store.checkpoint(&self.storage, &self.have))?;
            }
        }
        again(tries, || self.store.checkpoint(&self.storage, &self.have)).map(drop)
    }
}

fn again<T>(tries: usize, mut step: impl FnMut() -> Result<T, DiskError>) -> Result<T, DiskError> {
    (1..tries).find_map(|_| step().ok()).map_or_else(step, Ok)
}

fn numbers(pieces: &Bitfield) -> Vec<u32> {
    pieces.iter().collect()
}

fn touch(path: &Path) {
    File::options().write(true).open(path).unwrap().set_modified(UNIX_EPOCH).unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

#[test]
fn after_a_clean_end_nothing_is_checked_again() {
    let world = World::folder_of_three();
    let mut run = world.start();
    assert_eq!(run.resumed.record, RecordState::Missing);
    assert!(run.resumed.recheck.is_empty());
    [1, 5, 4].iter().for_each(|&number| run.take(&world, number));
    run.store.checkpoint(&run.storage, &run.have).unwrap();
    assert_eq!(run.store.pending(), 0);
    drop(run);
    let resumed = world.look();
    assert_eq!((numbers(&resumed.have), numbers(&resumed.recheck)), (vec![1, 4, 5], vec![]));
    assert_eq!(resumed.record, RecordState::Read);
    assert!(resumed.is_ours(world.sample.index(0)) && !resumed.is_ours(world.sample.index(2)));
}

#[test]
fn after_a_kill_only_the_journal_is_checked_again() {
    let world = World::folder_of_three();
    let mut run = world.start();
    [0, 6].iter().for_each(|&number| run.take(&world, number));
    run.store.checkpoint(&run.storage, &run.have).unwrap();
    [2, 8].iter().for_each(|&number| run.take(&world, number));
    // Killed between the journal and the write.
    run.store.journal_piece(world.piece(3)).unwrap();
    drop(run);
    let resumed = world.look();
    assert_eq!((numbers(&resumed.have), numbers(&resumed.recheck)), (vec![0, 6], vec![2, 3, 8]));
    assert!(resumed.is_ours(world.sample.index(2)), "made since the snapshot, and named by the journal");
    assert_eq!(numbers(&world.start().have), [0, 2, 6, 8]);
}

#[test]
fn any_number_of_kills_loses_nothing() {
    let world = World::folder_of_three();
    let (mut written, mut checked) = (0, 0);
    for kill in 0.. {
        let mut run = world.start();
        checked += run.resumed.recheck.count();
        let missing: Vec<u32> = (0..9).filter(|&number| !run.have.has(world.piece(number))).collect();
        for &number in missing.iter().rev().take(2) {
            run.take(&world, number);
            written += 1;
            if kill % 2 == 1 {
                run.store.checkpoint(&run.storage, &run.have).unwrap();
            }
        }
        if missing.is_empty() {
            break;
        }
    }
    assert_eq!((written, checked), (9, 5), "each piece is written once; those of the last journal are checked");
    world.sample.assert_complete(world.folder.path());
}

#[test]
fn pieces_written_during_a_checkpoint_stay_in_the_journal() {
    let world = World::folder_of_three();
    let mut run = world.start();
    run.take(&world, 0);
    run.store.journal_piece(world.piece(1)).unwrap();
    run.store.checkpoint(&run.storage, &run.have).unwrap();
    assert_eq!(run.store.pending(), 1);
    run.storage.write_piece(world.piece(1), &[world.sample.piece(1)]).unwrap();
    drop(run);
    let resumed = world.look();
    assert_eq!((numbers(&resumed.have), numbers(&resumed.recheck)), (vec![0], vec![1]));
}

#[test]
fn a_crash_before_the_new_snapshot_is_in_place_leaves_the_old_one_and_both_journals() {
    let world = World::folder_of_three();
    let mut run = world.start();
    run.take(&world, 0);
    run.store.checkpoint(&run.storage, &run.have).unwrap();
    let old = fs::read(world.record(".resume")).unwrap();
    run.take(&world, 1);
    run.store.journal_piece(world.piece(2)).unwrap();
    run.store.checkpoint(&run.storage, &run.have).unwrap();
    run.take(&world, 3);
    drop(run);
    fs::write(world.record(".resume"), old).unwrap();
    let resumed = world.look();
    assert_eq!((numbers(&resumed.have), numbers(&resumed.recheck)), (vec![0], vec![1, 2, 3]));
}

#[test]
fn a_record_cut_off_or_changed_anywhere_means_a_recheck() {
    let world = World::folder_of_three();
    let mut run = world.start();
    (0..6).for_each(|number| run.take(&world, number));
    run.store.checkpoint(&run.storage, &run.have).unwrap();
    drop(run);
    let path = world.record(".resume");
    let bytes = fs::read(&path).unwrap();
    let storage = world.storage();
    let store = world.store(&storage);
    for at in 0..bytes.len() {
        for wrong in [bytes[..at].to_vec(), [&bytes[..at], &[bytes[at] ^ 1], &bytes[at + 1..]].concat()] {
            fs::write(&path, wrong).unwrap();
            let resumed = store.load(&storage);
            assert!(matches!(resumed.record, RecordState::Unreadable(_)), "{at}");
            assert!(resumed.have.is_empty());
            assert_eq!(numbers(&resumed.recheck), [0, 1, 2, 3, 4, 5, 6, 7], "what is on disk");
        }
    }
    fs::write(&path, [bytes.as_slice(), &[0; 1_000_000]].concat()).unwrap();
    assert!(store.load(&storage).have.is_empty());
    fs::write(&path, bytes).unwrap();
    assert_eq!(store.load(&storage).have.count(), 6);
}

#[test]
fn a_journal_cut_off_or_changed_anywhere_claims_nothing() {
    let world = World::folder_of_three();
    let mut run = world.start();
    run.take(&world, 0);
    run.store.checkpoint(&run.storage, &run.have).unwrap();
    [1, 2, 5].iter().for_each(|&number| run.take(&world, number));
    drop(run);
    let storage = world.storage();
    let store = world.store(&storage);
    let current = store.read_snapshot(storage.layout()).unwrap().unwrap().generation;
    let path = store.journal_path(current);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), JOURNAL_HEADER_LENGTH + 3 * ENTRY_LENGTH);
    for at in 0..bytes.len() {
        for wrong in [bytes[..at].to_vec(), [&bytes[..at], &[bytes[at] ^ 1], &bytes[at + 1..]].concat()] {
            fs::write(&path, wrong).unwrap();
            let resumed = store.load(&storage);
            assert!(resumed.have.iter().all(|number| number == 0), "{at}");
            assert!(resumed.have.has(world.piece(0)) || resumed.recheck.has(world.piece(0)), "{at}");
            let whole = at.saturating_sub(JOURNAL_HEADER_LENGTH) / ENTRY_LENGTH;
            for number in [1, 2, 5].into_iter().take(whole) {
                assert!(resumed.recheck.has(world.piece(number)), "{at}: {number}");
            }
            assert!(resumed.recheck.has(world.piece(5)), "{at}: the time of b is unexplained without its entry");
        }
    }
}

#[test]
fn changes_behind_our_back_are_checked_again_and_others_trusted() {
    type Change = fn(&Path);
    let changes: [(&str, bool, Change); 3] = [
        ("touched", true, touch),
        ("cut off", true, |path| File::options().write(true).open(path).unwrap().set_len(1_000).unwrap()),
        ("replaced", false, |path| {
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).unwrap();
            fs::rename(copy, path).unwrap();
        }),
    ];
    for (name, ours, change) in changes {
        let world = World::folder_of_three();
        let mut run = world.start();
        (0..7).for_each(|number| run.take(&world, number));
        run.store.checkpoint(&run.storage, &run.have).unwrap();
        drop(run);
        change(&world.file("a"));
        let resumed = world.look();
        assert_eq!(numbers(&resumed.have), [4, 5, 6], "{name}");
        assert_eq!(numbers(&resumed.recheck), [0, 1, 2, 3], "{name}");
        assert_eq!(resumed.is_ours(world.sample.index(0)), ours, "{name}");
        assert!(resumed.is_ours(world.sample.index(1)));
    }
}

#[test]
fn a_change_after_a_kill_is_noticed_and_repaired() {
    let world = World::folder_of_three();
    let mut run = world.start();
    (4..7).for_each(|number| run.take(&world, number));
    run.store.checkpoint(&run.storage, &run.have).unwrap();
    run.take(&world, 7);
    drop(run);
    flip(&world.file("b"), PIECE + 5);
    touch(&world.file("b"));
    let resumed = world.look();
    assert!(resumed.have.is_empty());
    let mut run = world.start();
    assert_eq!(numbers(&run.have), [4, 6, 7], "5 is wrong now");
    assert!(world.file("b.part").exists() && !world.file("b").exists(), "ours, and unfinished again");
    [0, 1, 2, 3, 5, 8].iter().for_each(|&number| run.take(&world, number));
    world.sample.assert_complete(world.folder.path());
}

#[test]
fn a_deleted_file_costs_its_pieces() {
    let world = World::folder_of_three();
    let mut run = world.start();
    (0..9).for_each(|number| run.take(&world, number));
    run.store.checkpoint(&run.storage, &run.have).unwrap();
    drop(run);
    fs::remove_file(world.file("b")).unwrap();
    let resumed = world.look();
    assert_eq!((numbers(&resumed.have), numbers(&resumed.recheck)), (vec![0, 1, 2, 3, 8], vec![]));
}

#[test]
fn data_without_a_record_is_checked() {
    let world = World::folder_of_three();
    world.sample.write_to(world.folder.path());
    fs::remove_file(world.file("c")).unwrap();
    let resumed = world.look();
    assert_eq!((resumed.have.count(), numbers(&resumed.recheck)), (0, (0..8).collect()));
    let mut run = world.start();
    assert_eq!(run.have.count(), 8);
    run.take(&world, 8);
    world.sample.assert_complete(world.folder.path());
}

#[test]
fn a_download_that_begins_has_nothing_to_check() {
    for sample in [Sample::file(9 * PIECE, PIECE), Sample::folder(&[("a", 9 * PIECE, "")], PIECE)] {
        let world = World::new(sample);
        let mut run = world.start();
        assert!(run.resumed.have.is_empty() && run.resumed.recheck.is_empty());
        run.try_finish(&world, 1).unwrap();
        drop(run);
        world.sample.assert_complete(world.folder.path());
        assert!(world.look().have.is_full());
    }
}

#[test]
fn the_record_of_a_complete_torrent_holds_until_the_next_boot() {
    let world = World::folder_of_three();
    world.sample.write_to(world.folder.path());
    let seed = |path: &Path| Storage::open_seed(path, world.sample.layout(), Arc::default()).unwrap();
    {
        let storage = seed(&world.file(""));
        world.store(&storage).record_complete(&storage).unwrap();
    }
    let storage = seed(world.folder.path());
    let store = world.store(&storage);
    assert!(store.load(&storage).have.is_full(), "found whichever way the data was named");
    let mut snapshot = store.read_snapshot(storage.layout()).unwrap().unwrap();
    assert_eq!(Some(snapshot.boot), boot_id());
    snapshot.boot = [1; 16];
    fs::write(store.snapshot_path(), snapshot.encode()).unwrap();
    let resumed = store.load(&storage);
    assert!(resumed.have.is_empty() && resumed.recheck.is_full());
    store.checkpoint(&storage, &Bitfield::full(9)).unwrap();
    assert_eq!(store.read_snapshot(storage.layout()).unwrap().unwrap().boot, SYNCED, "a seed's checkpoint syncs");
    touch(&world.file("b"));
    let storage = seed(world.folder.path());
    assert_eq!(numbers(&world.store(&storage).load(&storage).recheck), [4, 5, 6, 7]);
    store.remove().unwrap();
    assert_eq!(store.load(&storage).record, RecordState::Missing);
}

#[test]
fn what_was_complete_at_the_start_and_is_written_again_is_in_the_journal() {
    let world = World::folder_of_three();
    let mut run = world.start();
    run.try_finish(&world, 1).unwrap();
    drop(run);
    let storage = world.storage();
    let store = world.store(&storage);
    assert!(store.load(&storage).have.is_full());
    storage.prepare(&Bitfield::full(9), &|_| true).unwrap();
    store.journal_piece(world.piece(5)).unwrap();
    storage.write_piece(world.piece(5), &[world.sample.piece(5)]).unwrap();
    drop((storage, store));
    assert_eq!(numbers(&world.look().recheck), [5], "and the rest of its file is trusted");
}

#[test]
fn records_of_another_torrent_or_place_do_not_count() {
    let world = World::folder_of_three();
    world.start();
    let path = world.record(".resume");
    let storage = world.storage();
    let store = world.store(&storage);
    let mut snapshot = store.read_snapshot(storage.layout()).unwrap().unwrap();
    snapshot.have = Bitfield::full(9);
    snapshot.info_hash = InfoHash([1; 20]);
    fs::write(&path, snapshot.encode()).unwrap();
    assert!(matches!(store.load(&storage).record, RecordState::Unreadable(_)));
    snapshot.info_hash = world.sample.metainfo.info_hash();
    snapshot.root.push(b'x');
    fs::write(&path, snapshot.encode()).unwrap();
    assert!(matches!(store.load(&storage).record, RecordState::Unreadable(_)));
    snapshot.root.pop();
    snapshot.have = Bitfield::full(10);
    fs::write(&path, snapshot.encode()).unwrap();
    assert!(matches!(store.load(&storage).record, RecordState::Unreadable(_)));
    drop(storage);
    let elsewhere = World { folder: TempDir::new().unwrap(), ..world };
    assert_eq!(elsewhere.look().record, RecordState::Missing);
}

#[test]
fn the_journal_needs_a_snapshot_and_is_bounded() {
    let world = World::folder_of_three();
    let storage = world.storage();
    let store = world.store(&storage);
    assert!(matches!(store.journal_piece(world.piece(0)), Err(DiskError::Refused { .. })));
    store.checkpoint(&storage, &Bitfield::empty(9)).unwrap();
    assert_eq!(store.pending(), 1, "it is carried over");
    store.journal().entries.resize(JOURNAL_ENTRIES, Entry { piece: 0, time_ns: 0 });
    store.journal_piece(world.piece(1)).unwrap();
    assert_eq!(store.pending(), JOURNAL_ENTRIES);
}

#[test]
fn the_state_folder_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::folder_of_three();
    let storage = world.storage();
    let state = world.state.path().join("new/swarm");
    ResumeStore::open(&state, world.sample.metainfo.info_hash(), &storage).unwrap();
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    let file = world.state.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(ResumeStore::open(&file, world.sample.metainfo.info_hash(), &storage).is_err());
}

/// Lets the files of the snapshot be the ones that were built for them.
fn renumber(world: &World, inodes: &HashMap<u64, u64>) {
    for path in fs::read_dir(world.state.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|ending| ending == "resume")
            && let Ok(mut snapshot) = Snapshot::decode(&fs::read(&path).unwrap())
        {
            // Another number for what is not there, so that it is not taken for something else.
            snapshot.files.iter_mut().for_each(|(_, stamp)| stamp.inode = *inodes.get(&stamp.inode).unwrap_or(&0));
            fs::write(&path, snapshot.encode()).unwrap();
        }
    }
}

#[test]
fn a_power_cut_at_any_moment_leaves_no_piece_recorded_that_is_not_there() {
    let world = World::folder_of_three();
    let plan = Plan::new(Fault::Nothing);
    plan.adopt();
    world.start().try_finish(&world, 1).unwrap();
    let log = std::mem::take(&mut *plan.log.lock().unwrap());
    assert!(log.len() > 60 && log.syncs() > 6, "{} deeds, {} syncs", log.len(), log.syncs());
    Plan::new(Fault::Once(0, Errno::IO)).adopt();
    let mut random = 1_u64;
    let (mut cuts, mut trusted, mut checked) = (0, 0, 0);
    for length in 0..=log.len() {
        for policy in 0..8 {
            [world.folder.path(), world.state.path()].into_iter().for_each(power_cut::clear);
            let inodes = log.build(length, |part| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                match (policy, part) {
                    (0, _) => false,
                    (1, _) => true,
                    // The worst for us: the record's files with the record's times, and not their bytes.
                    (2..=4, Part::Name | Part::Time) => true,
                    (2, Part::Data) => false,
                    _ => random >> 63 == 1,
                }
            });
            renumber(&world, &inodes);
            let storage = world.storage();
            let resumed = world.store(&storage).load(&storage);
            let cancel = AtomicBool::new(false);
            let job = HashJob { threads: 1, ..HashJob::new(&|_| (), &cancel) };
            let right = verify_pieces(&storage, &world.sample.metainfo, &resumed.have, job).unwrap();
            assert_eq!(numbers(&right), numbers(&resumed.have), "after {length} deeds, policy {policy}");
            (cuts, trusted, checked) = (cuts + 1, trusted + resumed.have.count(), checked + resumed.recheck.count());
            drop(storage);
            if length % 7 == 0 {
                world.start().try_finish(&world, 1).unwrap();
                world.sample.assert_complete(world.folder.path());
            }
        }
    }
    println!("{cuts} cuts: {trusted} pieces trusted, all of them right, and {checked} to be checked");
    assert!(trusted > 300 && checked > 100, "{cuts} cuts: {trusted} pieces trusted, {checked} to be checked");
}

#[test]
fn any_operation_may_fail_once_and_nothing_is_lost() {
    let faults: [fn(u32) -> Fault; 3] =
        [|number| Fault::Once(number, Errno::NOSPC), |number| Fault::Once(number, Errno::INTR), Fault::Short];
    for fault in faults {
        for number in 1.. {
            let world = World::folder_of_three();
            let ((), met) = injected::with(fault(number), || {
                let mut run = again(2, || world.try_start()).unwrap();
                run.try_finish(&world, 2).unwrap_or_else(|error| panic!("operation {number}: {error}"));
            });
            world.sample.assert_complete(world.folder.path());
            assert!(world.look().have.is_full(), "operation {number}");
            assert!(met <= 1);
            if met == 0 {
                let least = if matches!(fault(1), Fault::Short(_)) { 9 } else { 40 };
                assert!(number > least, "the sweep met only {number} operations");
                break;
            }
        }
    }
}

#[test]
fn a_kill_at_any_operation_leaves_a_record_that_claims_only_what_is_there() {
    for number in 1.. {
        let world = World::folder_of_three();
        let (ended, met) = injected::with(Fault::From(number), || {
            let mut run = world.try_start()?;
            run.try_finish(&world, 1)
        });
        assert_eq!(ended.is_err(), met > 0, "operation {number}");
        let storage = world.storage();
        let resumed = world.store(&storage).load(&storage);
        let cancel = AtomicBool::new(false);
        let job = HashJob::new(&|_| (), &cancel);
        let right = verify_pieces(&storage, &world.sample.metainfo, &Bitfield::full(9), job).unwrap();
        for piece in right.iter() {
            let known = resumed.have.has(world.piece(piece)) || resumed.recheck.has(world.piece(piece));
            assert!(known, "operation {number}: piece {piece} would be fetched again");
        }
        assert!(resumed.have.iter().all(|piece| right.has(world.piece(piece))), "operation {number}");
        drop(storage);
        world.start().try_finish(&world, 1).unwrap();
        world.sample.assert_complete(world.folder.path());
        if met == 0 {
            assert!(number > 40, "the sweep met only {number} operations");
            break;
        }
    }
}
