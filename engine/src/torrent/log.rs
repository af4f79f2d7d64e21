//! What the log tells of a torrent: at debug why peers come and go, whom trackers were asked for and what they said, why pieces
//! fail; at trace each message, piece and block.
//!
//! Nothing here is computed unless somebody listens. Never tells what opens something: keys in URLs are masked, and what peers say
//! to each other in extension messages is only counted.

use crate::tracker::masked;
use std::fmt;
use swarm_proto::announce::PeerAddress;
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::PieceIndex;
use swarm_proto::id::InfoHash;
use swarm_proto::limits;
use swarm_proto::swarm::{AnnounceJob, Command, Event, PeerSource, SwarmConfig, VerifyOutcome};
use swarm_proto::wire::Message;
use tracing::{debug, trace};

/// A torrent begins with what is there.
pub(super) fn begins(config: &SwarmConfig, have: &Bitfield) {
    let torrent = config.info_hash;
    let urls = || config.trackers.iter().flatten();
    let trackers = urls().count();
    debug!(%torrent, have = have.count(), pieces = have.pieces(), trackers, private = config.private, "torrent begins");
    if trackers > limits::TRACKERS {
        debug!(%torrent, trackers, most = limits::TRACKERS, "trackers beyond these are not asked");
    }
    for url in urls().filter(|url| url.len() > limits::URL_LENGTH) {
        debug!(%torrent, length = url.len(), "a tracker is not asked: its URL is too long");
    }
}

/// What is asked of a torrent by a user, or by who pushes peers.
pub(super) fn command(torrent: InfoHash, command: &Command) {
    match command {
        Command::AddPeers(peers, source) => peers_known(torrent, peers, *source),
        Command::AddTrackers(urls) => {
            urls.iter().for_each(|url| debug!(%torrent, tracker = masked(url), "a tracker is named"));
        }
        Command::Pause => debug!(%torrent, "paused: nobody is dialled, no tracker is asked"),
        Command::Resume => debug!(%torrent, "resumed"),
        Command::Stop => debug!(%torrent, "stops"),
    }
}

fn peers_known(torrent: InfoHash, peers: &[PeerAddress], source: PeerSource) {
    debug!(%torrent, peers = peers.len(), ?source, "addresses of peers");
    peers.iter().for_each(|peer| trace!(%torrent, address = %peer.address, "address of a peer"));
}

/// A tracker is to be asked.
pub(super) fn announcing(torrent: InfoHash, job: &AnnounceJob) {
    let AnnounceJob { url, announce, .. } = job;
    debug!(%torrent, tracker = masked(url), event = ?announce.event, left = announce.left, "asking a tracker");
}

/// What became of a piece.
pub(super) fn verified(torrent: InfoHash, piece: PieceIndex, outcome: &VerifyOutcome) {
    let piece = piece.as_u32();
    match outcome {
        VerifyOutcome::Written { .. } => trace!(%torrent, piece, "a piece is verified and written"),
        VerifyOutcome::Mismatch { .. } => debug!(%torrent, piece, "the hash of a piece is wrong: it is fetched again"),
        VerifyOutcome::WriteFailed => debug!(%torrent, piece, "the disk refuses a piece: it is written later"),
        VerifyOutcome::Aborted => debug!(%torrent, piece, "a piece is lost by a fault of this program"),
    }
}

/// What the swarm tells.
pub(super) fn event(torrent: InfoHash, event: &Event) {
    match event {
        Event::PeerConnected { peer, address } => debug!(%torrent, peer = peer.0, %address, "connected"),
        Event::PeerClosed { peer, address, reason } => {
            debug!(%torrent, peer = peer.0, %address, reason = reason.map(tracing::field::display), "disconnected");
        }
        Event::PeerBanned(address) => debug!(%torrent, %address, "a peer that sent wrong data is shut out"),
        Event::PiecesLost(pieces) => debug!(%torrent, pieces = pieces.len(), "pieces that were there are gone"),
        Event::Completed => debug!(%torrent, "every piece is there"),
        Event::DiskBlocked => debug!(%torrent, "the disk refuses writes: nothing is requested"),
        Event::DiskRecovered => debug!(%torrent, "the disk takes writes again"),
        Event::TrackerReplied { url, peers, warning } => {
            debug!(%torrent, tracker = masked(url), peers, warning, "a tracker has answered");
        }
        Event::TrackerFailed { url, error, retry_in } => {
            debug!(
                %torrent,
                tracker = masked(url),
                error = error.replace(url, &masked(url)),
                retry_in_s = retry_in.map(|wait| wait.as_secs()),
                "a tracker has not answered"
            );
        }
        // Told with their outcomes.
        Event::PieceVerified(_) | Event::PieceFailed(_) => {}
    }
}

/// A message as the log tells it: in full, but for what may be long or private.
pub(super) struct Told<'m>(pub(super) &'m Message);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Message::Bitfield(bytes) => write!(f, "Bitfield of {} bytes", bytes.len()),
            Message::Extended(number, body) => write!(f, "Extended({number}) of {} bytes", body.len()),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn what_peers_say_to_each_other_is_counted_and_not_told() {
        assert_eq!(Told(&Message::Have(7)).to_string(), "Have(7)");
        assert_eq!(Told(&Message::Extended(3, Bytes::from_static(b"secret"))).to_string(), "Extended(3) of 6 bytes");
    }
}
