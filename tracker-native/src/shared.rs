//! What all connections of a tracker share.

use crate::catalogue::{Catalogue, Entry};
use crate::config::Config;
use crate::counters::Counters;
use crate::hub::Hub;
use crate::people::People;
use crate::registry::Registry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use swarm_proto::limits;
use swarm_proto::native::{CatalogueEntry, ListQuery, Name, fold};
use swarm_tracker_core::Store;
use tokio::sync::{Notify, Semaphore};

/// Metainfos that are read at the same time; reading one may take twenty times its size.
const METAINFO_READERS: usize = 2;
/// Names that a search looks at under one hold of the catalogue: some 50 µs.
const SEARCH_SLICE: usize = 500;
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
    people: Mutex<People>,
    pub(crate) people_changed: Notify,
    /// The admin has asked for the end.
    pub(crate) shutdown: Notify,
    /// Held while the catalogue's file is written: a save that was given up still runs to its end.
    pub(crate) saving: Mutex<()>,
    pub(crate) metainfo_readers: Semaphore,
    /// In units of [`BUDGET_UNIT`].
    pub(crate) large_frames: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(config: Config, store: Arc<Store>, catalogue: Catalogue, people: People) -> Self {
        let limits = config.limits;
        let budget = (limits.large_frame_bytes / BUDGET_UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            hub: Arc::new(Hub::new(Arc::clone(&store))),
            registry: Arc::new(Registry::new(limits)),
            catalogue: Mutex::new(catalogue),
            catalogue_changed: Notify::new(),
            people: Mutex::new(people),
            people_changed: Notify::new(),
            shutdown: Notify::new(),
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

    pub(crate) fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.hub.counters
    }

    /// The interval of the store, in whole seconds.
    pub(crate) fn interval_s(&self) -> u32 {
        u32::try_from(self.store.config().interval.as_secs()).unwrap_or(u32::MAX)
    }

    /// A page of the names that match a query with `contains`, and behind which name to go on. The names that a request looks at
    /// are bounded, and the catalogue is given back every few of them, so that a search costs others next to nothing.
    pub(crate) async fn search(&self, query: &ListQuery, limit: usize) -> (Vec<CatalogueEntry>, Option<Name>) {
        let (wanted, mut after) = (fold(&query.contains), query.after.clone());
        let mut page = Vec::new();
        for _ in 0..limits::NATIVE_SEARCHED_NAMES / SEARCH_SLICE {
            let (found, seen) = {
                let catalogue = self.catalogue();
                let (rows, seen) =
                    catalogue.search(&query.prefix, &wanted, after.as_ref(), limit - page.len(), SEARCH_SLICE);
                (rows.into_iter().map(listed).collect::<Vec<_>>(), seen.cloned())
            };
            page.extend(found);
            after = seen;
            if after.is_none() || page.len() >= limit {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.count(&mut page);
        (page, after)
    }

    /// A page of the catalogue with the counts of the swarms, and whether there is more.
    pub(crate) fn page(&self, prefix: &str, after: Option<&Name>, limit: usize) -> (Vec<CatalogueEntry>, bool) {
        let (mut page, more) = {
            let catalogue = self.catalogue();
            let (page, more) = catalogue.page(prefix, after, limit);
            (page.into_iter().map(listed).collect::<Vec<_>>(), more)
        };
        self.count(&mut page);
        (page, more)
    }

    /// Writes the counts of the swarms into a page.
    fn count(&self, page: &mut [CatalogueEntry]) {
        for entry in page {
            let counts = self.store.scrape(&[entry.info_hash]).first().copied().unwrap_or_default();
            (entry.complete, entry.incomplete) = (counts.complete, counts.incomplete);
        }
    }
}

/// An entry as it is listed, without counts.
fn listed((name, entry): (&Name, &Entry)) -> CatalogueEntry {
    CatalogueEntry { name: name.clone(), size: entry.size, info_hash: entry.info_hash, complete: 0, incomplete: 0 }
}
