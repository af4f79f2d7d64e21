//! A peer that does nothing but announce, for the tests of the trackers' dialects.

use std::time::Instant;
use swarm_engine::tracker::Trackers;
use swarm_proto::announce::{AnnounceReply, Announced, Announcer, AnnouncerConfig, Totals};
use swarm_proto::id::{InfoHash, PeerId};
use tokio::sync::mpsc;

/// The torrent that it takes part in.
pub const TORRENT: InfoHash = InfoHash([0x2b; 20]);
/// Who has all of it.
pub const SEED: Totals = Totals { uploaded: 0, downloaded: 0, left: 0 };
/// Who lacks something.
pub const LEECHER: Totals = Totals { uploaded: 0, downloaded: 0, left: 1 };

/// A peer of the torrent: its schedule and its client.
pub struct Peer {
    /// When it announces what to whom.
    pub announcer: Announcer,
    /// By which clients.
    pub trackers: Trackers,
    /// What it says of itself.
    pub totals: Totals,
}

impl Peer {
    /// Number `n`: its port is 7,000 more.
    pub fn new(n: u8, totals: Totals, tiers: Vec<Vec<String>>) -> Self {
        let config = AnnouncerConfig {
            tiers,
            info_hash: TORRENT,
            peer_id: PeerId::new([n; 12]),
            port: 7_000 + u16::from(n),
            key: 0,
            seed: 1,
        };
        Self { announcer: Announcer::new(config, Instant::now()), trackers: Trackers::new(), totals }
    }

    /// Makes all announces that are due now, and what follows from them at once.
    pub async fn announce(&mut self) -> Vec<Announced> {
        let (pushed, _receiver) = mpsc::channel(1);
        let mut outcomes = Vec::new();
        while let Some(job) = self.announcer.poll(Instant::now(), &self.totals, 50) {
            let outcome = self.trackers.announce(&job, &pushed).await;
            outcomes.extend(self.announcer.handle_reply(Instant::now(), job.id, outcome));
        }
        outcomes
    }

    /// As [`Peer::announce`] where one good answer is expected.
    ///
    /// # Panics
    /// When there is none.
    pub async fn reply(&mut self) -> AnnounceReply {
        match self.announce().await.pop() {
            Some(Announced::Replied { reply, .. }) => reply,
            other => panic!("{other:?}"),
        }
    }
}

/// The ports of the peers that a tracker told of, in order.
pub fn ports(reply: &AnnounceReply) -> Vec<u16> {
    let mut ports: Vec<u16> = reply.peers.iter().map(|peer| peer.address.port()).collect();
    ports.sort_unstable();
    ports
}
