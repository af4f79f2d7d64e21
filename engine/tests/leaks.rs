//! Torrents and sessions that come and go leave nothing behind: no task, no descriptor, no memory.
//!
//! One test alone in its process, because it counts what the process holds. `SWARM_LEAK_CYCLES` sets how often.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

mod common;

use common::{Sample, complete, peer, session};
use peak_alloc::PeakAlloc;
use std::fs;
use std::path::Path;
use std::time::Duration;
use swarm_engine::{AddTorrent, Session};
use tokio::runtime::Handle;

/// Counts the bytes that are allocated: what the system counts moves by megabytes with the allocator's slack.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// What one more torrent could leave behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Held {
    tasks: usize,
    descriptors: usize,
}

fn held() -> Held {
    Held {
        tasks: Handle::current().metrics().num_alive_tasks(),
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
    }
}

/// A seed and a leecher are added, meet, and are stopped.
async fn cycle(sample: &Sample, origin: &Session, seeded: &Path, leecher: &Session, copy: &Path) {
    let seed = origin.add(AddTorrent::seed(sample.metainfo.clone(), seeded)).await.unwrap();
    let fetch = AddTorrent { peers: peer(origin), ..AddTorrent::fetch(sample.metainfo.clone(), copy) };
    let fetch = leecher.add(fetch).await.unwrap();
    complete(&fetch).await.unwrap();
    fetch.stop().await;
    seed.stop().await;
    fetch.wait_ended().await;
    seed.wait_ended().await;
    fs::remove_file(copy.join("top")).unwrap();
}

/// The same as before, once what was dropped a moment ago is gone too.
async fn settle(expected: Held) {
    let settled = async {
        while held() != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(common::PATIENCE, settled).await;
    assert!(waited.is_ok(), "{:?} instead of {expected:?}", held());
}

#[tokio::test]
async fn torrents_that_come_and_go_leave_nothing() {
    let cycles: usize = std::env::var("SWARM_LEAK_CYCLES").map_or(200, |text| text.parse().unwrap());
    let sample = Sample::file(40_000, 16_384);
    let (seeded, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample.write_to(seeded.path());
    let (origin, leecher) = (session(), session());
    let begin = held();
    for _ in 0..50 {
        cycle(&sample, &origin, seeded.path(), &leecher, copy.path()).await;
    }
    settle(begin).await;
    let before = ALLOCATED.current_usage();
    for _ in 0..cycles {
        cycle(&sample, &origin, seeded.path(), &leecher, copy.path()).await;
    }
    settle(begin).await;
    let grown = ALLOCATED.current_usage().saturating_sub(before);
    println!("{grown} bytes more after {cycles} cycles");
    // What stands in queues and pools for a moment, however many cycles there were.
    assert!(grown < 16 * 1_024, "{grown} bytes more after {cycles} cycles");
    origin.shutdown().await;
    leecher.shutdown().await;
}
