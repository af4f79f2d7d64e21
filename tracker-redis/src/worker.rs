//! The tasks that talk to Redis.

use crate::entry::{self, DOWNLOADED};
use crate::queue::{Work, Write};
use crate::{MOST_READ, Shared, unix_second};
use redis::{Pipeline, RedisError};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use swarm_proto::id::InfoHash;
use swarm_tracker_core::{RemoteSwarm, Store};
use tokio::sync::Semaphore;

/// How long announces that nobody waits for are collected.
const COLLECT: Duration = Duration::from_millis(50);
/// Pipelines on their way at a time.
const MOST_UNDER_WAY: usize = 1_024;
/// A swarm that nobody announces to is forgotten by Redis itself, this much after its last peer has expired.
const SPARE_TTL: Duration = Duration::from_secs(60);

/// Fields and values of a swarm, their number, and the downloads.
type Read = (Vec<(Vec<u8>, Vec<u8>)>, usize, Option<u32>);

/// Does what waits, until the store is gone.
pub(crate) async fn work(shared: Arc<Shared>, store: Weak<Store>) {
    let places = Arc::new(Semaphore::new(MOST_UNDER_WAY));
    let mut collected = tokio::time::interval(COLLECT);
    collected.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut all = tokio::select! {
            () = shared.wake.notified() => shared.queue().take_urgent(),
            _ = collected.tick() => shared.queue().take_all(),
        };
        if store.strong_count() == 0 {
            return;
        }
        if !all.is_empty() {
            // Of what does not answer, one torrent finds out whether it does again; others are written when their peers announce
            // again.
            let (now, mut parts) = (Instant::now(), shared.parts());
            all.retain(|info_hash, _| parts.may_try(info_hash, now));
        }
        for (info_hash, work) in all {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (shared, store) = (Arc::clone(&shared), Weak::clone(&store));
            tokio::spawn(async move {
                exchange(&shared, &store, info_hash, work).await;
                drop(place);
            });
        }
    }
}

/// One round trip about one torrent. Dropping the work at its end wakes those who wait.
async fn exchange(shared: &Shared, store: &Weak<Store>, info_hash: InfoHash, work: Work) {
    let Some(ttl) = store.upgrade().map(|store| store.config().forgotten_after()) else { return };
    let reads = !work.waiters.is_empty();
    let commands = pipeline(&info_hash, &work, ttl);
    let counters = &shared.counters;
    let outcome = if reads {
        shared.link.exchange::<Read>(&commands).await.map(Some)
    } else {
        shared.link.exchange::<()>(&commands).await.map(|()| None)
    };
    match outcome {
        Ok(read) => {
            counters.round_trips.fetch_add(1, Relaxed);
            counters.writes.fetch_add(work.writes.len() as u64, Relaxed);
            counters.bytes_out.fetch_add(commands.get_packed_pipeline().len() as u64, Relaxed);
            if shared.parts().answered(&info_hash, Instant::now()) {
                tracing::info!("all of Redis answers again");
            }
            if let (Some(read), Some(store)) = (read, store.upgrade()) {
                take_over(shared, &store, info_hash, (read, ttl));
            }
        }
        Err(error) => failed(shared, &info_hash, &error),
    }
}

fn failed(shared: &Shared, info_hash: &InfoHash, error: &RedisError) {
    shared.counters.failures.fetch_add(1, Relaxed);
    if shared.parts().failed(info_hash, Instant::now(), &error.to_string()) {
        tracing::warn!(%error, "Redis does not answer; the node goes on with what it knows");
    }
}

fn pipeline(info_hash: &InfoHash, work: &Work, ttl: Duration) -> Pipeline {
    let key = entry::key(info_hash);
    let mut commands = redis::pipe();
    let (mut put, mut remove) = (redis::cmd("HSET"), redis::cmd("HDEL"));
    put.arg(&key);
    remove.arg(&key);
    let (mut puts, mut removes) = (false, false);
    for (address, write) in &work.writes {
        match write {
            Write::Put { second, seed, tag } => {
                put.arg(entry::field(*address)).arg(entry::value(*second, *seed, *tag));
                puts = true;
            }
            Write::Remove => {
                remove.arg(entry::field(*address));
                removes = true;
            }
        }
    }
    if removes {
        commands.add_command(remove).ignore();
    }
    if puts {
        commands.add_command(put).ignore();
    }
    if work.completed > 0 {
        commands.cmd("HINCRBY").arg(&key).arg(DOWNLOADED).arg(work.completed).ignore();
    }
    commands.cmd("EXPIRE").arg(&key).arg((ttl + SPARE_TTL).as_secs()).ignore();
    if !work.waiters.is_empty() {
        // The field that counts downloads may be among them.
        commands.cmd("HRANDFIELD").arg(&key).arg(MOST_READ + 1).arg("WITHVALUES");
        commands.cmd("HLEN").arg(&key);
        commands.cmd("HGET").arg(&key).arg(DOWNLOADED);
    }
    commands
}

fn take_over(shared: &Shared, store: &Store, info_hash: InfoHash, (read, ttl): (Read, Duration)) {
    let (fields, count, downloaded) = read;
    let (now, instant) = (unix_second(), Instant::now());
    let bytes: usize = fields.iter().map(|(field, value)| field.len() + value.len()).sum();
    shared.counters.bytes_in.fetch_add(bytes as u64, Relaxed);
    shared.counters.reads.fetch_add(1, Relaxed);
    let is_whole = fields.len() >= count;
    let peers: Vec<_> = fields.iter().filter_map(|(field, value)| entry::peer(field, value, now)).collect();
    let dead = peers.iter().filter(|peer| peer.age > ttl).map(|peer| (peer.address, Write::Remove));
    let dead: HashMap<SocketAddr, Write> = dead.collect();
    let swarm = RemoteSwarm { info_hash, peers, downloaded: downloaded.unwrap_or_default(), is_whole };
    store.import(instant, &swarm);
    let mut queue = shared.queue();
    queue.was_read(info_hash, instant);
    if !dead.is_empty() {
        queue.bury(info_hash, dead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_tracker_core::StoreConfig;

    #[test]
    fn a_swarm_lives_a_little_longer_than_its_last_peer_whatever_the_configuration() {
        for (peer_ttl, seconds) in [(Duration::from_secs(660), "720"), (Duration::MAX, "32827"), (Duration::ZERO, "60")]
        {
            let config = StoreConfig { peer_ttl, ..StoreConfig::default() };
            let commands = pipeline(&InfoHash([7; 20]), &Work::default(), config.forgotten_after());
            let text = String::from_utf8(commands.get_packed_pipeline()).unwrap();
            assert!(text.contains("EXPIRE") && text.ends_with(&format!("\r\n{seconds}\r\n")), "{text:?}");
        }
    }
}
