//! One tracker on several nodes: their swarms meet in Redis or Valkey, alone or as a cluster.
//!
//! A node answers from its own [`Store`]. [`RedisStore`] stands behind it: what is announced here is written to Redis, and
//! what other nodes have written comes into the store as peers of theirs, which expire like its own.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use std::time::Instant;
//! use swarm_tracker_core::{Store, StoreConfig};
//! use swarm_tracker_redis::{Address, RedisConfig, RedisStore};
//!
//! let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
//! let address = Address::parse("redis://127.0.0.1:6379").ok_or("no such store")?;
//! let redis = RedisStore::attach(RedisConfig::new(address), &store)?;
//! println!("{:?}", redis.stats());
//! # Ok(())
//! # }
//! ```
//!
//! # An announce
//! One round trip: a pipeline that writes the peer, removes the dead that were met before, renews the time to live of the
//! swarm, and reads up to [`MOST_READ`] random peers with the counts. All of its commands name one key, so a cluster serves
//! it on one node. A swarm that was read within [`RedisConfig::fresh`] is not read again: what is known of it is the
//! answer, and the announce is written a moment later together with others of the same torrent.
//!
//! # When Redis is slow or gone
//! Nobody who announces waits for longer than [`RedisConfig::patience`]. While Redis does not answer nobody waits at all:
//! the node goes on with what it knows, says so in [`Remote::health`], and asks again twice a second. What was announced
//! meanwhile is written when its peers announce again, within one interval. Of a cluster only those torrents are concerned
//! whose slots do not answer, for each 64th of the slots together.
//!
//! # Clocks
//! Nodes tell each other the time of an announce. Their clocks must agree within a small part of the time to live of peers.

mod entry;
mod link;
mod parts;
mod queue;
mod worker;

pub use link::Address;

use crate::link::Link;
use crate::parts::Parts;
use crate::queue::{Queue, Work, Write};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use swarm_proto::announce::{AnnounceEvent, Reach};
use swarm_proto::id::InfoHash;
use swarm_tracker_core::{Figure, PeerTag, Remote, RemoteHealth, Store, StoreAnnounce, Wait, Watched};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

/// Peers of a swarm that are read at once.
pub const MOST_READ: usize = 200;

/// Where Redis is, and what it is trusted with.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Where.
    pub address: Address,
    /// For how long what was read of a swarm is the answer without being read again.
    pub fresh: Duration,
    /// How long somebody who announces waits for other nodes' peers.
    pub patience: Duration,
}

impl RedisConfig {
    /// Swarms are read twice a minute at most, and waited for a quarter of a second.
    pub fn new(address: Address) -> Self {
        Self { address, fresh: Duration::from_secs(30), patience: Duration::from_millis(250) }
    }
}

/// What has gone to Redis and back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RedisStats {
    /// Pipelines that were answered.
    pub round_trips: u64,
    /// Pipelines that were not.
    pub failures: u64,
    /// Peers written or removed.
    pub writes: u64,
    /// Swarms read.
    pub reads: u64,
    /// Bytes of the pipelines.
    pub bytes_out: u64,
    /// Bytes of the peers that came back.
    pub bytes_in: u64,
    /// Announces whose torrent found no room in the queue.
    pub dropped: u64,
}

#[derive(Default, Debug)]
pub(crate) struct Counters {
    pub(crate) round_trips: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
}

/// Why there is no store behind the store.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// What was given is no address of Redis.
    #[error("this is no address of a Redis server or cluster: {0}")]
    Address(#[from] redis::RedisError),
    /// There is no tokio runtime to work on.
    #[error("Redis can only be asked from within a tokio runtime: {0}")]
    NoRuntime(#[from] tokio::runtime::TryCurrentError),
}

/// Redis behind a [`Store`]; see the crate's front page. It works until it and the store are dropped.
#[derive(Debug)]
pub struct RedisStore {
    pub(crate) shared: Arc<Shared>,
    runtime: Handle,
    worker: AbortHandle,
}

/// What the store's threads and the tasks that talk to Redis have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: RedisConfig,
    pub(crate) link: Link,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) wake: Notify,
    pub(crate) counters: Counters,
    /// What of it does not answer.
    pub(crate) parts: Mutex<Parts>,
}

impl RedisStore {
    /// Puts Redis behind this store. Whether Redis is there shows later, in [`Remote::health`].
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(config: RedisConfig, store: &Arc<Store>) -> Result<Arc<Self>, AttachError> {
        let runtime = Handle::try_current()?;
        let link = Link::new(&config.address)?;
        let parts = Mutex::new(Parts::new(matches!(config.address, Address::Cluster(_))));
        let shared = Arc::new(Shared {
            config,
            link,
            queue: Mutex::default(),
            wake: Notify::new(),
            counters: Counters::default(),
            parts,
        });
        let worker = runtime.spawn(worker::work(Arc::clone(&shared), Arc::downgrade(store))).abort_handle();
        let redis = Arc::new(Self { shared, runtime, worker });
        store.set_remote(Arc::clone(&redis) as Arc<dyn Remote>);
        Ok(redis)
    }

    /// What has gone to Redis and back.
    pub fn stats(&self) -> RedisStats {
        let Counters { round_trips, failures, writes, reads, bytes_out, bytes_in } = &self.shared.counters;
        RedisStats {
            round_trips: round_trips.load(Relaxed),
            failures: failures.load(Relaxed),
            writes: writes.load(Relaxed),
            reads: reads.load(Relaxed),
            bytes_out: bytes_out.load(Relaxed),
            bytes_in: bytes_in.load(Relaxed),
            dropped: self.shared.queue().dropped,
        }
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Remote for RedisStore {
    fn announced(&self, request: &StoreAnnounce<'_>) -> Option<Wait> {
        // Who announces over loopback is nothing to other machines.
        let is_ours = Reach::of(request.address.ip()) == Reach::Loopback;
        let tag = PeerTag::of(&request.peer_id);
        let write = match request.event {
            AnnounceEvent::Stopped => Write::Remove,
            _ => Write::Put { second: unix_second(), seed: request.left == 0, tag },
        };
        let mut work = Work { completed: u32::from(request.event == AnnounceEvent::Completed), ..Work::default() };
        if !is_ours {
            work.writes.insert(canonical(request.address), write);
        }
        let mut queue = self.shared.queue();
        let now = Instant::now();
        let wants = request.event != AnnounceEvent::Stopped && request.num_want != Some(0);
        let asks = wants
            && !queue.is_fresh(&request.info_hash, now, self.shared.config.fresh)
            && self.shared.parts().is_up(&request.info_hash, now);
        if !asks {
            queue.add(request.info_hash, work);
            return None;
        }
        let (waiter, ready) = oneshot::channel();
        work.waiters.push(waiter);
        if !queue.add(request.info_hash, work) {
            return None;
        }
        drop(queue);
        self.shared.wake.notify_one();
        let patience = self.shared.config.patience;
        Some(Box::pin(async move {
            // Read, not read, or not in time: the answer is what is known by then.
            let _ = tokio::time::timeout(patience, ready).await;
        }))
    }

    fn removed(&self, info_hash: &InfoHash, address: SocketAddr) {
        let writes = HashMap::from([(canonical(address), Write::Remove)]);
        self.shared.queue().add(*info_hash, Work { writes, ..Work::default() });
    }

    fn spawn(&self, task: Wait) {
        self.runtime.spawn(task);
    }

    fn health(&self) -> RemoteHealth {
        match self.shared.parts().problem(Instant::now()) {
            None => RemoteHealth { up: true, text: "Redis answers".into() },
            Some(text) => RemoteHealth { up: false, text },
        }
    }
}

impl Watched for RedisStore {
    fn figures(&self) -> Vec<Figure> {
        let RedisStats { round_trips, failures, writes, reads, bytes_out, bytes_in, dropped } = self.stats();
        vec![
            Figure::counter("redis_round_trips", "Pipelines that Redis has answered.", round_trips),
            Figure::counter("redis_failures", "Pipelines that Redis has not answered.", failures),
            Figure::counter("redis_writes", "Peers written to Redis or removed from it.", writes),
            Figure::counter("redis_reads", "Swarms read from Redis.", reads),
            Figure::counter("redis_sent_bytes", "Bytes of pipelines sent to Redis.", bytes_out),
            Figure::counter("redis_received_bytes", "Bytes of peers received from Redis.", bytes_in),
            Figure::counter("redis_dropped", "Announces that were not written, because too many waited.", dropped),
        ]
    }

    fn problem(&self) -> Option<String> {
        Some(self.health()).filter(|health| !health.up).map(|health| health.text)
    }
}

impl Shared {
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub(crate) fn unix_second() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
