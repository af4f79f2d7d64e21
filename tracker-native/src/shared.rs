//! What all connections of a tracker share.

use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::hub::Hub;
use crate::registry::Registry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use swarm_proto::native::{CatalogueEntry, Name};
use swarm_tracker_core::Store;
use tokio::sync::{Notify, Semaphore};

/// Metainfos that are read at the same time; reading one may take twenty times its size.
const METAINFO_READERS: usize = 2;
/// Unit of the budget for large frames, in bytes.
pub(crate) const BUDGET_UNIT: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) registry: Arc<Registry>,
    catalogue: Mutex<Catalogue>,
    pub(crate) catalogue_changed: Notify,
    /// Held while the catalogue's file is written: a save that was given up still runs to its end.
    pub(crate) saving: Mutex<()>,
    pub(crate) metainfo_readers: Semaphore,
    /// In units of [`BUDGET_UNIT`].
    pub(crate) large_frames: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(config: Config, store: Arc<Store>, catalogue: Catalogue) -> Self {
        let limits = config.limits;
        let budget = (limits.large_frame_bytes / BUDGET_UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            hub: Arc::new(Hub::new(Arc::clone(&store))),
            registry: Arc::new(Registry::new(limits)),
            catalogue: Mutex::new(catalogue),
            catalogue_changed: Notify::new(),
            saving: Mutex::default(),
            metainfo_readers: Semaphore::new(METAINFO_READERS),
            large_frames: Arc::new(Semaphore::new(budget)),
            store,
            config,
        }
    }

    pub(crate) fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        self.catalogue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interval of the store, in whole seconds.
    pub(crate) fn interval_s(&self) -> u32 {
        u32::try_from(self.store.config().interval.as_secs()).unwrap_or(u32::MAX)
    }

    /// A page of the catalogue with the counts of the swarms, and whether there is more.
    pub(crate) fn page(&self, prefix: &str, after: Option<&Name>, limit: usize) -> (Vec<CatalogueEntry>, bool) {
        let entry = |(name, entry): (&Name, &crate::catalogue::Entry)| CatalogueEntry {
            name: name.clone(),
            size: entry.size,
            info_hash: entry.info_hash,
            complete: 0,
            incomplete: 0,
        };
        let (mut page, more) = {
            let catalogue = self.catalogue();
            let (page, more) = catalogue.page(prefix, after, limit);
            (page.into_iter().map(entry).collect::<Vec<_>>(), more)
        };
        for entry in &mut page {
            let counts = self.store.scrape(&[entry.info_hash]).first().copied().unwrap_or_default();
            (entry.complete, entry.incomplete) = (counts.complete, counts.incomplete);
        }
        (page, more)
    }
}
