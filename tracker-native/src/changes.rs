//! What has become of the peers of a swarm since its subscribers were told last, and the frames that tell it.
//!
//! Never asks who is to be told. Invariant: each peer stands here once, as what it is now.

use bytes::Bytes;
use std::collections::hash_map::{Entry, HashMap};
use std::net::SocketAddr;
use swarm_proto::announce::Reach;
use swarm_proto::id::InfoHash;
use swarm_proto::native::{PeerChange, PeerList, TrackerMessage};
use swarm_tracker_core::ChangeKind;

/// Joined or gone peers in one push: as many as anybody can use at once.
pub(crate) const PUSHED_PEERS: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Now {
    Joined {
        seed: bool,
        /// It had been told of before it went, and was not yet told of as gone.
        known: bool,
    },
    Gone,
}

/// The changes of one swarm since the last push, each peer once. The order of the table is random, and so is the choice where
/// a push has no room for all.
#[derive(Debug, Default)]
pub(crate) struct SwarmChanges(HashMap<SocketAddr, Now>);

impl SwarmChanges {
    pub(crate) fn add(&mut self, address: SocketAddr, kind: ChangeKind) {
        match (kind, self.0.entry(address)) {
            (ChangeKind::Joined { seed }, entry) => {
                let known =
                    matches!(&entry, Entry::Occupied(entry) if *entry.get() != Now::Joined { seed, known: false });
                entry.insert_entry(Now::Joined { seed, known });
            }
            (ChangeKind::Completed, entry) => {
                entry.and_modify(|now| {
                    if let Now::Joined { seed, .. } = now {
                        *seed = true;
                    }
                });
            }
            // Came and went in between: nobody needs to know.
            (ChangeKind::Left, Entry::Occupied(entry)) if matches!(entry.get(), Now::Joined { known: false, .. }) => {
                entry.remove();
            }
            (ChangeKind::Left, entry) => {
                entry.insert_entry(Now::Gone);
            }
        }
    }

    /// Nothing is left to be told.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Somebody came: that is urgent. That somebody went shows at the connections to it as well.
    pub(crate) fn has_joined(&self) -> bool {
        self.0.values().any(|now| matches!(now, Now::Joined { .. }))
    }
}

/// The pushes about the changes of one swarm, each form of them written once.
pub(crate) struct Frames<'a> {
    info_hash: InfoHash,
    changes: &'a SwarmChanges,
    counts: (u32, u32),
    written: Vec<((bool, Reach), Option<Bytes>)>,
}

impl<'a> Frames<'a> {
    /// `counts` are the seeds and leechers now.
    pub(crate) fn new(info_hash: InfoHash, changes: &'a SwarmChanges, counts: (u32, u32)) -> Self {
        Self { info_hash, changes, counts, written: Vec::new() }
    }

    /// What a subscriber is told, if there is anything for it: leechers of everybody, seeds of leechers, nobody of itself, and
    /// nobody of an address that is of no use to it.
    pub(crate) fn for_subscriber(&mut self, address: SocketAddr, seed: bool) -> Option<Bytes> {
        let reach = Reach::of(address.ip());
        if self.changes.0.contains_key(&address) {
            return self.write(Some(address), seed, reach);
        }
        if let Some((_, frame)) = self.written.iter().find(|(form, _)| *form == (seed, reach)) {
            return frame.clone();
        }
        let frame = self.write(None, seed, reach);
        self.written.push(((seed, reach), frame.clone()));
        frame
    }

    fn write(&self, address: Option<SocketAddr>, seed: bool, reach: Reach) -> Option<Bytes> {
        let wanted = |peer: &SocketAddr| Some(*peer) != address && Reach::of(peer.ip()) >= reach;
        let told = |joined: bool| {
            let rows = self.changes.0.iter().filter(move |(_, now)| match now {
                Now::Joined { seed: other, .. } => joined && !(seed && *other),
                Now::Gone => !joined,
            });
            rows.map(|(peer, _)| *peer).filter(wanted).take(PUSHED_PEERS).collect::<Vec<_>>()
        };
        let (joined, gone) = (told(true), told(false));
        if joined.is_empty() && gone.is_empty() {
            return None;
        }
        let (complete, incomplete) = self.counts;
        let joined = PeerList { complete, incomplete, peers: joined };
        Some(TrackerMessage::Push(PeerChange { info_hash: self.info_hash, joined, gone }).encode().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(kinds: &[ChangeKind]) -> Vec<Now> {
        let mut changes = SwarmChanges::default();
        kinds.iter().for_each(|&kind| changes.add(([8, 8, 8, 8], 1).into(), kind));
        changes.0.into_values().collect()
    }

    #[test]
    fn a_peer_is_told_as_what_it_is_now() {
        use ChangeKind::{Completed, Joined, Left};
        let (seed, leecher) = (Joined { seed: true }, Joined { seed: false });
        assert_eq!(after(&[leecher]), [Now::Joined { seed: false, known: false }]);
        assert_eq!(after(&[leecher, Left]), []);
        assert_eq!(after(&[leecher, Completed]), [Now::Joined { seed: true, known: false }]);
        assert_eq!(after(&[Completed]), []);
        assert_eq!(after(&[Left]), [Now::Gone]);
        assert_eq!(after(&[Left, seed]), [Now::Joined { seed: true, known: true }]);
        assert_eq!(after(&[Left, seed, Left]), [Now::Gone], "who heard of it first must hear that it has gone");
        assert_eq!(after(&[leecher, Left, seed, Left]), []);
    }
}
