//! What is to be told to Redis and asked of it, by torrent.
//!
//! Owns the announces that wait to be written, the swarms that somebody waits for, and when each swarm was read last.
//! Invariants: all of it is bounded; of several announces of a peer only the last is written.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use swarm_proto::id::InfoHash;
use swarm_tracker_core::PeerTag;
use tokio::sync::oneshot;

/// Torrents that wait to be written or read. What comes beyond them is written when its peers announce again.
const MOST_WAITING: usize = 100_000;
/// Torrents of which is known when they were read, twice over.
const MOST_READ: usize = 1_000_000;

/// What is to be written of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    Put { second: u32, seed: bool, tag: PeerTag },
    Remove,
}

/// What is to be done about a torrent.
#[derive(Default, Debug)]
pub(crate) struct Work {
    pub(crate) writes: HashMap<SocketAddr, Write>,
    pub(crate) completed: u32,
    /// Who waits until the swarm was read; it is read if there is anybody.
    pub(crate) waiters: Vec<oneshot::Sender<()>>,
}

impl Work {
    fn merge(&mut self, other: Self) {
        self.writes.extend(other.writes);
        self.completed += other.completed;
        self.waiters.extend(other.waiters);
    }
}

/// All that waits.
#[derive(Default, Debug)]
pub(crate) struct Queue {
    /// Somebody waits for these.
    urgent: HashMap<InfoHash, Work>,
    /// These are only to be written, soon.
    later: HashMap<InfoHash, Work>,
    read: HashMap<InfoHash, Instant>,
    read_before: HashMap<InfoHash, Instant>,
    pub(crate) dropped: u64,
}

impl Queue {
    /// Whether a swarm was read within this time.
    pub(crate) fn is_fresh(&self, info_hash: &InfoHash, now: Instant, fresh: Duration) -> bool {
        let read = self.read.get(info_hash).or_else(|| self.read_before.get(info_hash));
        read.is_some_and(|read| now.saturating_duration_since(*read) < fresh)
    }

    pub(crate) fn was_read(&mut self, info_hash: InfoHash, now: Instant) {
        if self.read.len() >= MOST_READ {
            self.read_before = std::mem::take(&mut self.read);
        }
        self.read.insert(info_hash, now);
    }

    /// Adds to what is to be done about a torrent. Returns whether there was room for it.
    pub(crate) fn add(&mut self, info_hash: InfoHash, work: Work) -> bool {
        let known = self.urgent.contains_key(&info_hash) || self.later.contains_key(&info_hash);
        if !known && self.urgent.len() + self.later.len() >= MOST_WAITING {
            self.dropped += 1;
            return false;
        }
        if let Some(waiting) = self.urgent.get_mut(&info_hash) {
            waiting.merge(work);
        } else if work.waiters.is_empty() {
            self.later.entry(info_hash).or_default().merge(work);
        } else {
            let mut waiting = self.later.remove(&info_hash).unwrap_or_default();
            waiting.merge(work);
            self.urgent.insert(info_hash, waiting);
        }
        true
    }

    /// Removes peers that were found dead, unless they have announced meanwhile.
    pub(crate) fn bury(&mut self, info_hash: InfoHash, dead: HashMap<SocketAddr, Write>) {
        let waiting = self.urgent.get(&info_hash).or_else(|| self.later.get(&info_hash));
        let alive = |address: &SocketAddr| waiting.is_some_and(|work| work.writes.contains_key(address));
        let writes = dead.into_iter().filter(|(address, _)| !alive(address)).collect();
        self.add(info_hash, Work { writes, ..Work::default() });
    }

    /// What somebody waits for.
    pub(crate) fn take_urgent(&mut self) -> HashMap<InfoHash, Work> {
        std::mem::take(&mut self.urgent)
    }

    /// Everything.
    pub(crate) fn take_all(&mut self) -> HashMap<InfoHash, Work> {
        let mut all = self.take_urgent();
        for (info_hash, work) in self.later.drain() {
            all.entry(info_hash).or_default().merge(work);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: InfoHash = InfoHash([1; 20]);

    fn write(port: u16, second: u32) -> Work {
        let tag = PeerTag::from_bits(1);
        let writes = HashMap::from([(([8, 8, 8, 8], port).into(), Write::Put { second, seed: true, tag })]);
        Work { writes, ..Work::default() }
    }

    #[test]
    fn announces_of_a_torrent_are_written_together_and_the_last_of_a_peer_counts() {
        let mut queue = Queue::default();
        assert!(queue.add(HASH, write(1, 1)) && queue.add(HASH, write(2, 1)) && queue.add(HASH, write(1, 2)));
        assert!(queue.take_urgent().is_empty());
        let (waiter, _wait) = oneshot::channel();
        assert!(queue.add(HASH, Work { waiters: vec![waiter], ..write(3, 3) }));
        let mut urgent = queue.take_urgent();
        assert_eq!(urgent.remove(&HASH).map(|work| (work.writes.len(), work.waiters.len())), Some((3, 1)));
        assert!(queue.take_all().is_empty());
        assert!(queue.add(HASH, write(1, 1)) && queue.add(HASH, write(1, 9)));
        let all = queue.take_all();
        let seconds: Vec<_> = all[&HASH].writes.values().collect();
        assert!(matches!(seconds[..], [Write::Put { second: 9, .. }]));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut queue = Queue::default();
        let most = u32::try_from(MOST_WAITING).unwrap();
        for n in 0..most + 10 {
            let mut hash = [0; 20];
            hash[..4].copy_from_slice(&n.to_be_bytes());
            let taken = queue.add(InfoHash(hash), write(1, 1));
            assert_eq!(taken, n < most);
        }
        assert_eq!(queue.dropped, 10);
        assert!(queue.add(InfoHash([0; 20]), write(2, 1)), "one that waits already");
    }

    #[test]
    fn a_swarm_is_fresh_for_a_while() {
        let (mut queue, now, fresh) = (Queue::default(), Instant::now(), Duration::from_secs(30));
        assert!(!queue.is_fresh(&HASH, now, fresh));
        queue.was_read(HASH, now);
        assert!(queue.is_fresh(&HASH, now + Duration::from_secs(29), fresh));
        assert!(!queue.is_fresh(&HASH, now + Duration::from_secs(30), fresh));
    }
}
