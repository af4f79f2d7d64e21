use super::*;
use crate::disk::Operation;
use crate::disk::sample::Sample;
use rustix::io::Errno;
use std::path::Path;
use tempfile::TempDir;

fn records(folder: &Path, sample: &Sample) -> Records {
    let options = crate::disk::StorageOptions::new(crate::disk::Mode::Fetch);
    Records::new(Arc::new(Storage::open(folder, sample.layout(), options).unwrap()), None)
}

fn failed_sync() -> Result<(), DiskError> {
    Err(DiskError::system(Operation::Sync, "top")(Errno::IO))
}

#[tokio::test]
async fn a_failed_sync_costs_what_was_written_since_the_last_good_one() {
    let (folder, sample) = (TempDir::new().unwrap(), Sample::file(100_000, 16_384));
    let mut records = records(folder.path(), &sample);
    let geometry = sample.metainfo.geometry();
    let pieces: Vec<PieceIndex> = geometry.all_pieces().collect();
    let have = Bitfield::empty(geometry.pieces());
    let later = || super::super::now() + std::time::Duration::from_secs(60);

    records.written(pieces[0]);
    let checkpoint = records.checkpoint(later(), &have).unwrap();
    records.written(pieces[1]);
    checkpoint.await.unwrap();
    records.checkpoint_done(later(), true);

    let early = records.sync(|| panic!("it was asked for in front of a failure"));
    let failing = in_turn(Arc::clone(&records.turn), records.failures, failed_sync);
    assert!(failing.await.unwrap_err().is_failed_sync());
    assert!(matches!(early.await, Err(DiskError::Cancelled)));
    assert_eq!(records.sync_failed(), (vec![pieces[1]], false), "the first one is on the medium");
    records.sync(|| Ok(())).await.unwrap();
}

#[test]
fn the_disk_is_given_up_after_three_failures_in_a_row() {
    let (folder, sample) = (TempDir::new().unwrap(), Sample::file(100_000, 16_384));
    let mut records = records(folder.path(), &sample);
    let piece = sample.metainfo.geometry().piece(0).unwrap();
    let fail = |records: &mut Records| {
        records.written(piece);
        records.sync_failed().1
    };
    assert!(!fail(&mut records) && !fail(&mut records));
    records.checkpoint_under_way = Some(Checkpoint { begun: super::super::now(), written: 0 });
    records.checkpoint_done(super::super::now(), true);
    assert_eq!([fail(&mut records), fail(&mut records), fail(&mut records)], [false, false, true]);
    assert!(!Records::sync_failed(&mut Records { failures_in_a_row: 0, ..records }).1, "nothing was written since");
}

#[test]
fn a_checkpoint_that_failed_is_due_again() {
    let (folder, sample) = (TempDir::new().unwrap(), Sample::file(100_000, 16_384));
    let mut records = records(folder.path(), &sample);
    let have = Bitfield::empty(sample.metainfo.geometry().pieces());
    let later = super::super::now() + std::time::Duration::from_secs(60);
    records.written(sample.metainfo.geometry().piece(0).unwrap());
    for _ in 0..2 {
        assert!(records.checkpoint(later, &have).is_some());
        records.checkpoint_done(super::super::now(), false);
    }
}

#[test]
fn one_recheck_at_a_time_and_again_later_if_it_could_not_read() {
    let (folder, sample) = (TempDir::new().unwrap(), Sample::file(100_000, 16_384));
    let mut records = records(folder.path(), &sample);
    let pieces: Vec<PieceIndex> = sample.metainfo.geometry().all_pieces().collect();
    let now = super::super::now();
    let begin = |records: &mut Records, piece| records.recheck_begins(piece).map(|(suspects, _)| suspects.len());
    assert_eq!(begin(&mut records, Some(pieces[0])), Some(1));
    assert_eq!(begin(&mut records, Some(pieces[1])), None);
    assert!(records.recheck_done(now, true), "for the one that came meanwhile");
    assert_eq!(begin(&mut records, None), Some(1));
    assert!(!records.recheck_done(now, false) && !records.is_recheck_due(now));
    assert!(records.is_recheck_due(now + RECHECK_PAUSE));
    assert_eq!(begin(&mut records, None), Some(1), "the same one");
    assert!(!records.recheck_done(now, true) && !records.is_recheck_due(now + RECHECK_PAUSE));
}
