//! Whole transfers between two sessions while the N-th operation of the disk, or this program itself, fails.

use crate::disk::fault::Place;
use crate::disk::fault::injected::{Fault, Plan};
use crate::disk::sample::Sample;
use crate::{AddTorrent, Listen, Session, SessionConfig, State, Torrent, TorrentEvent};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use swarm_proto::swarm::{Event, Profile};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const PIECE: usize = 16_384;
/// Transfers at the same time: they mostly wait for the pause in front of a second try.
const AT_ONCE: usize = 16;
/// Longer than any of them takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime whose threads, those for the disk too, have this fault.
fn runtime(plan: &Arc<Plan>) -> Runtime {
    let plan = Arc::clone(plan);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().on_thread_start(move || plan.adopt()).build().unwrap()
}

fn sample() -> Sample {
    Sample::folder(&[("a", 4 * PIECE, ""), ("b", 4 * PIECE, ""), ("c", 100, "")], PIECE)
}

fn session(state: Option<&Path>) -> Session {
    let listen = Listen::Address((Ipv4Addr::LOCALHOST, 0).into());
    let state_folder = state.map(Path::to_owned);
    Session::new(SessionConfig { listen, state_folder, profile: Profile::Lan, ..SessionConfig::default() }).unwrap()
}

async fn seed(sample: &Sample, folder: &Path) -> (Session, Torrent) {
    let session = session(None);
    let torrent = session.add(AddTorrent::seed(sample.metainfo.clone(), folder)).await.unwrap();
    torrent.wait_complete().await.unwrap();
    (session, torrent)
}

/// Fetches from a good seed under this fault, started again when the fetch ends; returns how often the fault was met.
fn transfer(fault: Fault) -> u32 {
    let (sample, origin) = (sample(), TempDir::new().unwrap());
    let (folder, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    sample.write_to(origin.path());
    let (good, bad) = (Plan::new(Fault::Once(0, Errno::IO)), Plan::new(fault));
    let (seeding, fetching) = (runtime(&good), runtime(&bad));
    let (origin_session, _seed) = seeding.block_on(fetch_guard(seed(&sample, origin.path())));
    let peers = vec![origin_session.listen_address().to_string()];
    fetching.block_on(fetch_guard(async {
        let session = session(Some(state.path()));
        let add = AddTorrent { peers, ..AddTorrent::fetch(sample.metainfo.clone(), folder.path()) };
        loop {
            // Refused, or ended by an error: whoever runs it starts it again.
            let Ok(torrent) = session.add(add.clone()).await else { continue };
            if torrent.wait_complete().await.is_ok() {
                break;
            }
            torrent.wait_ended().await;
        }
        session.shutdown().await;
    }));
    sample.assert_complete(folder.path());
    bad.met()
}

async fn fetch_guard<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

/// Lets the N-th operation fail, for every N until a transfer gets through without it; returns how many N there are.
fn sweep(fault: impl Fn(u32) -> Fault + Sync) -> u32 {
    let (next, reached) = (AtomicU32::new(1), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if transfer(fault(number)) == 0 {
                        return;
                    }
                    reached.fetch_max(number, Ordering::Relaxed);
                }
            });
        }
    });
    reached.into_inner()
}

#[test]
fn whatever_operation_fails_the_copy_is_right() {
    assert!(sweep(|number| Fault::Once(number, Errno::IO)) > 40);
}

#[test]
fn whatever_write_is_short_the_copy_is_right() {
    assert!(sweep(Fault::Short) >= 9);
}

#[test]
fn whatever_job_of_the_disk_panics_the_copy_is_right() {
    assert!(sweep(|number| Fault::Panic(Place::Disk, number)) > 40);
}

/// Two torrents in one session of seeds, and two fetches of which so many must be complete. The fault is in the session of
/// the seeds. A seed that ended is started again, at once, and both fetches are complete then. Returns how the seeds stood
/// before that.
fn two_torrents(fault: Fault, enough: usize) -> Vec<State> {
    let samples = [sample(), Sample::file(40 * PIECE, PIECE)];
    let (origin, plan) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], Plan::new(fault));
    let (seeding, fetching) = (runtime(&plan), runtime(&Plan::new(Fault::Once(0, Errno::IO))));
    let again: Vec<_> = samples
        .iter()
        .zip(&origin)
        .map(|(sample, folder)| {
            sample.write_to(folder.path());
            AddTorrent::seed(sample.metainfo.clone(), folder.path())
        })
        .collect();
    let (session_of_seeds, seeds) = seeding.block_on(async {
        let session = session(None);
        let mut seeds = Vec::new();
        for add in &again {
            seeds.push(session.add(add.clone()).await.unwrap());
        }
        (session, seeds)
    });
    let peers = vec![session_of_seeds.listen_address().to_string()];
    fetching.block_on(fetch_guard(async {
        let session = session(None);
        let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let mut fetches = Vec::new();
        for (sample, folder) in samples.iter().zip(&folders) {
            let add = AddTorrent { peers: peers.clone(), ..AddTorrent::fetch(sample.metainfo.clone(), folder.path()) };
            fetches.push(session.add(add).await.unwrap());
        }
        let mut done = tokio::task::JoinSet::new();
        fetches.iter().cloned().for_each(|torrent| drop(done.spawn(async move { torrent.wait_complete().await })));
        for _ in 0..enough {
            done.join_next().await.unwrap().unwrap().unwrap();
        }
        assert_eq!(plan.met(), 1, "the fault was met");
        if enough < 2 {
            tokio::select! {
                () = seeds[0].wait_ended() => {}
                () = seeds[1].wait_ended() => {}
            }
        }
        let mut states = Vec::new();
        for (seed, add) in seeds.iter().zip(&again) {
            if seed.status().state.has_ended() {
                // Its name, its door and the lock of its files are free.
                seeding.spawn({
                    let (session, add) = (session_of_seeds.clone(), add.clone());
                    async move { session.add(add).await.unwrap().wait_ended().await }
                });
            }
            states.push(seed.status().state);
        }
        while let Some(complete) = done.join_next().await {
            complete.unwrap().unwrap();
        }
        for (sample, folder) in samples.iter().zip(&folders) {
            sample.assert_complete(folder.path());
        }
        states
    }))
}

#[test]
fn a_connection_that_panics_is_closed_and_comes_again() {
    for number in 1..6 {
        assert_eq!(two_torrents(Fault::Panic(Place::Connection, number), 2), [State::Seeding, State::Seeding]);
    }
}

#[test]
fn a_torrent_that_panics_says_so_and_leaves_the_others_alone() {
    for number in 1..4 {
        let mut states = two_torrents(Fault::Panic(Place::Torrent, number), 1);
        states.sort_by_key(|state| *state == State::Crashed);
        assert_eq!(states, [State::Seeding, State::Crashed]);
    }
}

#[test]
fn a_check_that_panics_is_told_and_can_be_begun_again() {
    let mut states = two_torrents(Fault::Panic(Place::Check, 1), 1);
    states.sort_by_key(|state| *state == State::Crashed);
    assert_eq!(states, [State::Seeding, State::Crashed]);
}

#[test]
fn a_listener_that_panics_goes_on() {
    for number in 1..3 {
        assert_eq!(two_torrents(Fault::Panic(Place::Listener, number), 2), [State::Seeding, State::Seeding]);
    }
}

/// Fetches under this fault, until all is there and such an event was told.
async fn fetch_until(fetch: AddTorrent, told: impl Fn(&TorrentEvent) -> bool) {
    let torrent = session(None).add(fetch).await.unwrap();
    let mut events = torrent.events();
    while !told(&events.next().await.expect("an event")) {}
    torrent.wait_complete().await.unwrap();
}

#[test]
fn a_dial_or_an_announce_that_panics_has_failed_and_is_done_again() {
    let (sample, origin) = (sample(), TempDir::new().unwrap());
    sample.write_to(origin.path());
    let seeding = runtime(&Plan::new(Fault::Once(0, Errno::IO)));
    let (seeds, _seed) = seeding.block_on(fetch_guard(seed(&sample, origin.path())));
    for place in [Place::Announce, Place::Dial] {
        let told = |event: &TorrentEvent| match event {
            TorrentEvent::Swarm(Event::TrackerFailed { error, .. }) => error.contains("fault of this program"),
            TorrentEvent::Swarm(Event::PeerConnected { .. }) => place == Place::Dial,
            _ => false,
        };
        let (plan, folder) = (Plan::new(Fault::Panic(place, 1)), TempDir::new().unwrap());
        let fetch = AddTorrent {
            peers: vec![seeds.listen_address().to_string()],
            trackers: vec!["http://127.0.0.1:1/announce".to_owned()],
            ..AddTorrent::fetch(sample.metainfo.clone(), folder.path())
        };
        runtime(&plan).block_on(fetch_guard(fetch_until(fetch, told)));
        sample.assert_complete(folder.path());
        assert_eq!(plan.met(), 1, "{place:?}");
    }
}
