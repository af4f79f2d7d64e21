//! Torrents that a session serves only because they were offered to somebody.
//!
//! Owns when they end: with the last offer that needs them. Files are never touched, and what the user serves for another
//! reason is left alone.

use super::handle::ChatFailure;
use super::reading::Reading;
use crate::handle::Background;
use crate::session::{AddError, AddTorrent, Session};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use swarm_proto::id::InfoHash;
use swarm_proto::metainfo::Metainfo;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long something that is about to end may take.
pub(super) const ENDING: Duration = Duration::from_secs(20);

/// All of a session.
#[derive(Default)]
pub(crate) struct Offered {
    /// One offer after the other: none finds what another is about to add.
    served: Mutex<HashMap<InfoHash, Weak<Served>>>,
}

/// A torrent that is served for as long as somebody holds this.
struct Served(Background);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What an offer needs: while it is held, the torrent is served.
#[derive(Clone)]
pub(super) struct Hold {
    pub(super) torrent: Background,
    /// Nothing if the user serves it anyway.
    _served: Option<Arc<Served>>,
}

impl Offered {
    /// Serves what is at this path. Whoever is offered it finds it ready: returns when it was looked at, or when the user
    /// wants it no more.
    pub(super) async fn serve(
        &self,
        session: &Session,
        metainfo: Metainfo,
        path: PathBuf,
        reading: &Reading,
    ) -> Result<Hold, ChatFailure> {
        let mut served = self.served.lock().await;
        served.retain(|_, served| served.strong_count() > 0);
        let info_hash = metainfo.info_hash();
        let failed = |error| ChatFailure::Add(Box::new(error));
        loop {
            match session.add(AddTorrent::seed(metainfo.clone(), path.clone())).await {
                Ok(torrent) => {
                    let torrent = torrent.background();
                    let serving = Arc::new(Served(torrent.clone()));
                    served.insert(info_hash, Arc::downgrade(&serving));
                    checked(&torrent, reading).await?;
                    if !torrent.status().complete {
                        let changed = || ChatFailure::Changed(path.clone());
                        return Err(torrent.status().error.map_or_else(changed, ChatFailure::NotServed));
                    }
                    return Ok(Hold { torrent, _served: Some(serving) });
                }
                Err(AddError::Duplicate(_)) => {}
                Err(error) => return Err(failed(error)),
            }
            let duplicate = || failed(AddError::Duplicate(info_hash));
            let torrent = session.find(info_hash).ok_or_else(duplicate)?;
            if !torrent.is_ending() {
                checked(&torrent, reading).await?;
                let serving = served.get(&info_hash).and_then(Weak::upgrade);
                return Ok(Hold { torrent, _served: serving });
            }
            // The last offer of it has just ended.
            timeout(ENDING, torrent.wait_ended()).await.map_err(|_| duplicate())?;
        }
    }
}

/// Waits until the torrent was looked at, unless the user wants it no more.
async fn checked(torrent: &Background, reading: &Reading) -> Result<(), ChatFailure> {
    tokio::select! {
        biased;
        () = reading.stopped() => Err(ChatFailure::Stopped),
        () = torrent.wait_checked() => Ok(()),
    }
}
