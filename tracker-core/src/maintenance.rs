//! The thread that keeps a store tidy and safe on disk.

use crate::store::Store;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often silent peers are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);
/// How often the store is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Expires silent peers and saves snapshots for as long as it lives; dropped, it saves once more.
#[derive(Debug)]
pub struct Maintenance {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Maintenance {
    /// Starts the thread. Without `snapshot` nothing is saved. Failed saves are logged and tried again.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(store: Arc<Store>, snapshot: Option<PathBuf>) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let work = move || {
            let mut saved = Instant::now();
            while stopped.recv_timeout(EXPIRY_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let now = Instant::now();
                expire(&store, now);
                if now.saturating_duration_since(saved) >= SAVE_INTERVAL {
                    save(&store, snapshot.as_deref());
                    saved = now;
                }
            }
            save(&store, snapshot.as_deref());
        };
        let thread = std::thread::Builder::new().name("tracker store".into()).spawn(work)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

/// A panic costs this round, and not all that come.
fn expire(store: &Store, now: Instant) {
    match catch_unwind(AssertUnwindSafe(|| store.expire(now))) {
        Ok(peers) => tracing::debug!(peers, "expired silent peers"),
        Err(_) => tracing::error!("looking for silent peers failed by a fault of this program; it goes on"),
    }
}

fn save(store: &Store, path: Option<&Path>) {
    if let Some(Err(error)) = path.map(|path| store.save(Instant::now(), path)) {
        tracing::error!(%error, "the tracker's state was not saved");
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the maintenance of the tracker's store has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, StoreAnnounce, StoreConfig};
    use std::sync::atomic::{AtomicU32, Ordering};
    use swarm_proto::announce::AnnounceEvent;
    use swarm_proto::id::{InfoHash, PeerId};

    #[test]
    fn a_panic_costs_one_round() {
        let now = Instant::now();
        let store = Store::new(StoreConfig::default(), now);
        let rounds = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&rounds);
        for n in 1..=2 {
            store.announce(now, &announce(n)).unwrap();
        }
        store.observe(Box::new(move |_| assert!(count.fetch_add(1, Ordering::Relaxed) > 0, "injected")));
        let late = now + Duration::from_secs(3_600);
        expire(&store, late);
        expire(&store, late);
        assert_eq!((store.stats().peers, rounds.load(Ordering::Relaxed) > 0), (0, true));
    }

    fn announce(n: u8) -> StoreAnnounce<'static> {
        StoreAnnounce {
            info_hash: InfoHash([n; 20]),
            peer_id: PeerId([2; 20]),
            address: "192.0.2.1:6881".parse().unwrap(),
            left: 0,
            event: AnnounceEvent::Started,
            num_want: None,
            dialect: Dialect::Http,
            passkey: None,
        }
    }

    #[test]
    fn the_end_saves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let now = Instant::now();
        let store = Arc::new(Store::new(StoreConfig::default(), now));
        let maintenance = Maintenance::start(Arc::clone(&store), Some(path.clone())).unwrap();
        store.announce(now, &announce(1)).unwrap();
        drop(maintenance);
        assert_eq!(Store::new(StoreConfig::default(), now).load(now, &path).unwrap().peers, 1);
    }
}
