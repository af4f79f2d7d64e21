//! What options mean to the store.

use crate::args::tracker::ServiceArguments;
use crate::exit::{Exit, Failure, OrExit};
use std::path::Path;
use std::sync::Arc;
use swarm_tracker_core::{Access, AccessFiles, StoreConfig};

/// Bounds and times as the options say. Peers are forgotten when they have missed two announces.
pub(super) fn store(service: &ServiceArguments) -> StoreConfig {
    let usual = StoreConfig::default();
    let interval = service.interval.unwrap_or(usual.interval);
    StoreConfig {
        max_torrents: service.max_torrents.unwrap_or(usual.max_torrents),
        max_peers: service.max_peers.unwrap_or(usual.max_peers),
        interval,
        min_interval: usual.min_interval.min(interval),
        peer_ttl: usual.peer_ttl.max(interval.saturating_mul(2)),
        seed: rand::random(),
        ..usual
    }
}

/// The lists of who is tracked, and for whom; nothing if there are none.
///
/// # Errors
/// A list cannot be read, or has a fault, which is told with file and line.
pub(super) fn access(service: &ServiceArguments) -> Result<Option<Arc<Access>>, Failure> {
    let ServiceArguments { allow, deny, keys, .. } = service;
    let files = AccessFiles { allow: allow.clone(), deny: deny.clone(), keys: keys.clone() };
    let any = files != AccessFiles::default();
    any.then(|| Access::open(files).map(Arc::new).or_exit(Exit::Disk)).transpose()
}

/// The state is saved much later: that its folder is not there is better told at once.
pub(super) fn require_folder(state: &Path) -> Result<(), Failure> {
    let folder = state.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let problem = || format!("cannot keep state in {}: no such folder; make it first", folder.display());
    if folder.is_dir() { Ok(()) } else { Err(Failure::new(Exit::Disk, problem())) }
}
