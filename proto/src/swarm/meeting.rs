//! How those who have everything and chat find each other.
//!
//! Trackers tell seeds of leechers only, since seeds have nothing for each other; but people who chat have. So a complete
//! torrent that chats is announced a second time, under an info hash made of its own, in whose swarm nobody has anything, as
//! in a room without files. What is counted of the torrent itself stays true, and whoever does not chat notices nothing.
//!
//! Owns that second schedule. Invariants: private torrents (BEP 27) have none; trackers that may know us by a key are not asked,
//! for a key may be good for so many torrents; and a tracker that says no is not asked again.

use super::{PEERS_WANTED, PeerSource, State, Swarm};
use crate::announce::{AnnounceReply, Announced, Announcer, AnnouncerConfig, Totals, TrackerError};
use crate::id::InfoHash;
use crate::limits::TRACKERS;
use crate::native::NativeUrl;
use crate::swarm::{AnnounceJob, Output};
use rand::RngExt;
use sha1::{Digest, Sha1};
use std::time::{Duration, Instant};

/// What stands in front of an info hash when that of its meeting is taken.
const DOMAIN: &[u8] = b"swarm chat meeting 1\0";
/// Jobs of a meeting have this bit.
const MEETING: u64 = 1 << 63;
/// One byte that nobody has.
const TOTALS: Totals = Totals { uploaded: 0, downloaded: 0, left: 1 };

/// Under which info hash those meet who chat in this torrent and have all of it. No torrent has it.
pub fn meeting_hash(info_hash: InfoHash) -> InfoHash {
    InfoHash(Sha1::new().chain_update(DOMAIN).chain_update(info_hash.0).finalize().into())
}

/// Whether an announce is one of a meeting.
pub(super) fn is_meeting(job: u64) -> bool {
    job & MEETING != 0
}

impl Swarm {
    /// Makes the schedule once there is a reason, and hands out what is due of it.
    pub(super) fn poll_meeting(&mut self, now: Instant) {
        if self.meeting.is_none() && self.state == State::Running && self.should_meet() {
            self.meeting = Some(self.new_meeting(now));
        }
        let wanted = if self.peers.len() < self.config.max_peers { PEERS_WANTED } else { 0 };
        let Some(meeting) = &mut self.meeting else { return };
        while let Some(job) = meeting.poll(now, &TOTALS, wanted) {
            self.outputs.push_back(Output::Announce(AnnounceJob { id: job.id | MEETING, ..job }));
        }
    }

    /// In a room without files nobody is announced as a seed.
    fn should_meet(&self) -> bool {
        self.config.chat && !self.config.private && self.is_complete() && self.geometry.total_length() > 0
    }

    /// The user knows one more tracker.
    pub(super) fn add_to_meeting(&mut self, now: Instant, url: String) {
        if self.config.trackers.iter().flatten().any(|known| *known == url) {
            return;
        }
        if let Some(meeting) = self.meeting.as_mut().filter(|_| !knows_us_by_key(&url)) {
            meeting.add_tracker(now, url.clone());
        }
        if self.config.trackers.len() < TRACKERS {
            self.config.trackers.push(vec![url]);
        }
    }

    fn new_meeting(&mut self, now: Instant) -> Announcer {
        let asked = |tier: &Vec<String>| tier.iter().filter(|url| !knows_us_by_key(url)).cloned().collect();
        let tiers = self.config.trackers.iter().map(asked);
        let config = AnnouncerConfig {
            tiers: tiers.collect(),
            info_hash: meeting_hash(self.config.info_hash),
            peer_id: self.config.peer_id,
            port: self.config.listen_port,
            key: self.random.random(),
            seed: self.random.random(),
        };
        Announcer::new(config, now)
    }

    /// The answer to an announce of a meeting. The user is told nothing: it is not the torrent's.
    pub(super) fn handle_met(&mut self, now: Instant, id: u64, reply: Result<AnnounceReply, TrackerError>) {
        let Some(meeting) = &mut self.meeting else { return };
        let reply = reply.map_err(|error| match error {
            TrackerError::Refused { reason, retry_in: None } => {
                TrackerError::Refused { reason, retry_in: Some(Duration::MAX) }
            }
            error => error,
        });
        if let Some(Announced::Replied { reply, .. }) = meeting.handle_reply(now, id & !MEETING, reply) {
            for peer in reply.peers {
                self.learn(now, peer, PeerSource::Tracker);
            }
        }
    }
}

/// Whether a tracker may know us by a key in its URL. Over HTTP that stands in the path or behind it.
fn knows_us_by_key(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    if scheme.eq_ignore_ascii_case("native") {
        return NativeUrl::tracker(url).is_ok_and(|url| url.passkey.is_some());
    }
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    rest.contains('?') || !matches!(path, "" | "announce")
}
