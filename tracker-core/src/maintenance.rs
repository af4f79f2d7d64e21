//! The thread that keeps a store tidy and safe on disk.

use crate::store::Store;
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
                let peers = store.expire(now);
                tracing::debug!(peers, "expired silent peers");
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
    use swarm_proto::announce::AnnounceEvent;
    use swarm_proto::id::{InfoHash, PeerId};

    #[test]
    fn the_end_saves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let now = Instant::now();
        let store = Arc::new(Store::new(StoreConfig::default(), now));
        let maintenance = Maintenance::start(Arc::clone(&store), Some(path.clone())).unwrap();
        let announce = StoreAnnounce {
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
            address: "192.0.2.1:6881".parse().unwrap(),
            left: 0,
            event: AnnounceEvent::Started,
            num_want: None,
            dialect: Dialect::Http,
        };
        store.announce(now, &announce).unwrap();
        drop(maintenance);
        assert_eq!(Store::new(StoreConfig::default(), now).load(now, &path).unwrap().peers, 1);
    }
}
