//! Files on their way in a room: which torrents its offers need, how far those are that we fetch, and when they end.
//!
//! Owns torrents, not their files: what was fetched stays, and what was served is not touched. What is told to whom is
//! decided by the room.

use super::offered::Hold;
use super::task::Addresses;
use crate::handle::Background;
use crate::report::{State, TorrentStatus};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use swarm_proto::chat::{ChatEvent, Reach, RequestId, Room, TransferEnd, TransferState};
use swarm_proto::id::InfoHash;

/// How often it is looked how far they are.
const LOOK: Duration = Duration::from_millis(500);
/// How long torrents of which nobody talks any more go on: what we fetch, once there is no connection; what we serve, whoever
/// is connected, for the user sees nothing of it any more and could not end it.
const LINGER: Duration = Duration::from_secs(30);

/// A torrent that came by an offer.
#[derive(Clone)]
pub(super) struct Fetch {
    pub(super) torrent: Background,
    pub(super) folder: PathBuf,
}

/// All files on their way in a room.
#[derive(Default)]
pub(super) struct Transfers {
    /// What open offers of ours need.
    sending: HashMap<RequestId, Hold>,
    /// What is fetched, and reported.
    fetching: HashMap<RequestId, Background>,
    /// All that was fetched and has not ended: somebody may offer it again.
    fetched: HashMap<InfoHash, Fetch>,
    /// The other side does not talk any more, but there may be connections still; since when that time runs.
    lingering: Vec<(Lingering, Option<Instant>)>,
    look_at: Option<tokio::time::Instant>,
}

/// A torrent whose offer has broken off.
enum Lingering {
    Sent(Hold),
    Fetched(Background),
}

impl Lingering {
    fn torrent(&self) -> &Background {
        match self {
            Self::Sent(hold) => &hold.torrent,
            Self::Fetched(torrent) => torrent,
        }
    }
}

impl Transfers {
    /// When to call [`Transfers::look`].
    pub(super) fn look_at(&self) -> Option<tokio::time::Instant> {
        self.look_at
    }

    /// An offer of ours is open.
    pub(super) fn sends(&mut self, id: RequestId, hold: Hold) {
        self.sending.insert(id, hold);
    }

    /// The fetch of something that was offered has begun. An error if the offer is over meanwhile.
    pub(super) fn fetches(&mut self, room: &mut Room, now: Instant, id: RequestId, fetch: Fetch) -> bool {
        let torrent = fetch.torrent.clone();
        self.fetched.retain(|_, fetch| !fetch.torrent.has_ended());
        self.fetched.insert(torrent.info_hash(), fetch);
        if room.report(now, id, TransferState::Checking, 0).is_err() {
            torrent.stop();
            return false;
        }
        self.lingering.retain(|(other, _)| other.torrent().info_hash() != torrent.info_hash());
        self.fetching.insert(id, torrent);
        self.look_soon();
        true
    }

    /// What was fetched by an earlier offer, and is there still.
    pub(super) fn fetched(&self, info_hash: InfoHash) -> Option<Fetch> {
        self.fetched.get(&info_hash).cloned()
    }

    /// Dials whoever takes files of ours.
    pub(super) fn dial(&self, id: RequestId, addresses: &[SocketAddr]) {
        if let Some(hold) = self.sending.get(&id) {
            hold.torrent.add_peers(addresses.iter().copied());
        }
    }

    /// Something has happened in the room.
    pub(super) fn take(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::OfferDeclined { id, .. } | ChatEvent::OfferExpired { id, .. } => drop(self.sending.remove(id)),
            ChatEvent::OfferEnded { transfer, end } => self.ended(transfer.id, *end),
            _ => {}
        }
    }

    fn ended(&mut self, id: RequestId, end: TransferEnd) {
        let sent = self.sending.remove(&id).map(Lingering::Sent);
        let fetched = self.fetching.remove(&id).map(Lingering::Fetched);
        for torrent in sent.into_iter().chain(fetched) {
            match (end, &torrent) {
                (TransferEnd::Lost, _) => {
                    self.lingering.push((torrent, None));
                    self.look_soon();
                }
                (TransferEnd::GivenUp | TransferEnd::Withdrawn, Lingering::Fetched(torrent)) => {
                    if !is_fetched(&self.fetching, torrent) {
                        torrent.stop();
                    }
                }
                // Whoever else was offered it holds it, too.
                (_, Lingering::Sent(_)) | (TransferEnd::Complete, Lingering::Fetched(_)) => {}
            }
        }
    }

    fn look_soon(&mut self) {
        self.look_at.get_or_insert_with(|| tokio::time::Instant::now() + LOOK);
    }

    /// Tells the room how far everything is.
    pub(super) fn look(&mut self, room: &mut Room, now: Instant) {
        for (id, torrent) in &self.fetching {
            let status = torrent.status();
            // Fails when it is over; then the event is on its way.
            let _over = room.report(now, *id, state(&status), status.stats.have_bytes);
        }
        self.lingering.retain_mut(|(torrent, since)| {
            let status = torrent.torrent().status();
            let comes = status.stats.peers > 0 && matches!(torrent, Lingering::Fetched(_));
            let over = now.duration_since(*since.get_or_insert(now)) >= LINGER && !comes;
            if comes {
                *since = None;
            }
            if let (true, Lingering::Fetched(torrent)) = (over && !status.complete, &*torrent)
                && !is_fetched(&self.fetching, torrent)
            {
                torrent.stop();
            }
            !over && !status.state.has_ended()
        });
        self.look_at = None;
        if !self.fetching.is_empty() || !self.lingering.is_empty() {
            self.look_soon();
        }
    }
}

/// Whether another offer brings the same files.
fn is_fetched(fetching: &HashMap<RequestId, Background>, torrent: &Background) -> bool {
    fetching.values().any(|other| other.info_hash() == torrent.info_hash())
}

/// How far a torrent is, as the other side is told.
fn state(status: &TorrentStatus) -> TransferState {
    match status.state {
        _ if status.complete => TransferState::Complete,
        state if state.has_ended() => TransferState::GivenUp,
        State::Checking => TransferState::Checking,
        _ if status.stats.peers > 0 => TransferState::Fetching,
        _ => TransferState::Waiting,
    }
}

/// Where to connect to somebody, who may be a neighbour. What only this machine reaches is believed only of somebody on this
/// machine: of such a neighbour, and of everybody as long as `all` neighbours are.
pub(super) fn reachable(reach: &Reach, neighbour: Option<SocketAddr>, all: &Addresses) -> Vec<SocketAddr> {
    let is_here = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
    let here = neighbour.as_ref().is_some_and(is_here) || !all.is_empty() && all.values().all(is_here);
    let neighbour = neighbour.map(|address| address.ip().to_canonical());
    let told = reach.addresses.iter().map(IpAddr::to_canonical).filter(|ip| here || !ip.is_loopback());
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in neighbour.into_iter().chain(told) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses.into_iter().map(|ip| SocketAddr::new(ip, reach.port)).collect()
}

#[cfg(test)]
mod linger;

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_proto::id::PeerKey;

    #[test]
    fn only_somebody_on_this_machine_may_name_this_machine() {
        let addresses = ["127.0.0.1", "192.0.2.1", "::1", "::ffff:127.0.0.1"].map(|ip| ip.parse().unwrap()).to_vec();
        let reach = Reach { port: 5, addresses };
        let among = |neighbour: Option<&str>, all: &[&str]| {
            let neighbour = neighbour.map(|address| address.parse().unwrap());
            let all = (1..).zip(all).map(|(peer, address)| (PeerKey(peer), address.parse().unwrap())).collect();
            reachable(&reach, neighbour, &all).iter().map(SocketAddr::to_string).collect::<Vec<_>>()
        };
        let reachable = |neighbour| among(neighbour, &["127.0.0.1:9", "198.51.100.7:9"]);
        assert_eq!(reachable(None), ["192.0.2.1:5"]);
        assert_eq!(reachable(Some("198.51.100.7:9")), ["198.51.100.7:5", "192.0.2.1:5"]);
        assert_eq!(reachable(Some("127.0.0.1:9")), ["127.0.0.1:5", "192.0.2.1:5", "[::1]:5"]);
        // Rooms in which everybody is on one machine, and somebody behind others.
        assert_eq!(among(None, &["127.0.0.1:9", "[::1]:7"]), ["127.0.0.1:5", "192.0.2.1:5", "[::1]:5"]);
        assert_eq!(among(None, &[]), ["192.0.2.1:5"]);
    }

    #[test]
    fn what_the_other_side_is_told_of_a_torrent() {
        let of = |state_of, peers, complete| {
            let mut status = TorrentStatus { state: state_of, complete, ..TorrentStatus::default() };
            status.stats.peers = peers;
            state(&status)
        };
        assert_eq!(of(State::Checking, 0, false), TransferState::Checking);
        assert_eq!(of(State::Downloading, 0, false), TransferState::Waiting);
        assert_eq!(of(State::Downloading, 1, false), TransferState::Fetching);
        assert_eq!(of(State::Blocked, 0, false), TransferState::Waiting);
        assert_eq!(of(State::Seeding, 0, true), TransferState::Complete);
        assert_eq!(of(State::Stopped, 0, true), TransferState::Complete);
        assert_eq!(of(State::Failed, 0, false), TransferState::GivenUp);
    }
}
