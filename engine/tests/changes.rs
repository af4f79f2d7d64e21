//! Files that change under a seed: noticed before anything wrong leaves, checked again, and served as far as they are right.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

mod common;

use common::{PATIENCE, Sample, complete, peer, session, session_with};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::SystemTime;
use swarm_engine::{AddTorrent, Session, SessionConfig, State, Torrent};
use tempfile::TempDir;

/// Pieces of the torrent; the first half of them is the file `first`.
const PIECES: u32 = 32;
const PIECE: usize = 65_536;
const HALF: usize = PIECE * 16;

struct World {
    sample: Sample,
    folder: TempDir,
    session: Session,
    seed: Torrent,
}

impl World {
    async fn new() -> Self {
        let sample = Sample::folder(&[("first", HALF), ("second", HALF)], 65_536);
        let folder = tempfile::tempdir().unwrap();
        sample.write_to(folder.path());
        let session = session();
        let seed = session.add(AddTorrent::seed(sample.metainfo.clone(), folder.path())).await.unwrap();
        complete(&seed).await.unwrap();
        Self { sample, folder, session, seed }
    }

    fn first(&self) -> PathBuf {
        self.folder.path().join("top/first")
    }

    /// Fetches so many pieces. Deeds of `meanwhile` come when there are some.
    async fn fetch(&self, pieces: u32, meanwhile: impl FnOnce()) {
        let folder = tempfile::tempdir().unwrap();
        let config = SessionConfig { download_limit: Some(2_000_000), ..SessionConfig::default() };
        let session = session_with(config);
        let fetch = AddTorrent::fetch(self.sample.metainfo.clone(), folder.path());
        let torrent = session.add(AddTorrent { peers: peer(&self.session), ..fetch }).await.unwrap();
        until(&torrent, |pieces| pieces >= 4).await;
        meanwhile();
        until(&torrent, |have| have >= pieces).await;
        assert_eq!(torrent.status().stats.failed_pieces, 0, "nothing wrong was sent");
        if pieces == PIECES {
            complete(&torrent).await.unwrap();
            self.sample.assert_in(folder.path());
        }
        session.shutdown().await;
    }

    /// Waits until the seed has no more than the pieces that are right.
    async fn settled(&self, pieces: u32) {
        until(&self.seed, |have| have == pieces).await;
        assert_eq!(self.seed.status().state, State::Seeding, "it serves what is right");
    }
}

async fn until(torrent: &Torrent, enough: impl Fn(u32) -> bool) {
    let mut status = torrent.watch();
    let reached = status.wait_for(|status| enough(status.stats.have_pieces));
    let outcome = tokio::time::timeout(PATIENCE, reached).await;
    assert!(outcome.is_ok_and(|status| status.is_ok()), "{:?}", torrent.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_off_is_served_up_to_the_cut() {
    let world = World::new().await;
    let file = File::options().write(true).open(world.first()).unwrap();
    file.set_len(8 * PIECE as u64 + 1).unwrap();
    world.fetch(24, || ()).await;
    world.settled(24).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_costs_its_piece() {
    let world = World::new().await;
    let file = File::options().write(true).open(world.first()).unwrap();
    let right = world.sample.files[0].1[HALF - 1];
    file.write_all_at(&[right ^ 1], HALF as u64 - 1).unwrap();
    world.fetch(PIECES - 1, || ()).await;
    world.settled(PIECES - 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_leaves_the_others() {
    let world = World::new().await;
    world.fetch(16, || fs::remove_file(world.first()).unwrap()).await;
    world.settled(16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_in_its_place_is_not_served() {
    let world = World::new().await;
    let replace = || {
        let other = world.folder.path().join("other");
        fs::write(&other, vec![0; HALF]).unwrap();
        fs::rename(&other, world.first()).unwrap();
    };
    world.fetch(16, replace).await;
    world.settled(16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_time_alone_costs_nothing() {
    let world = World::new().await;
    let touch = || File::open(world.first()).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    world.fetch(PIECES, touch).await;
    world.settled(PIECES).await;
}
