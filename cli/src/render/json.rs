//! The lines of `--json`: one object a line, whose `event` says what it is. `docs/json.md` lists them for users.
//!
//! Lengths and sums are in bytes, rates in bytes a second, times in seconds. `torrent` is the info hash.

use super::summary;
use serde::Serialize;
use std::net::SocketAddr;
use swarm_engine::{State, TorrentEvent};
use swarm_proto::swarm::{Event, SwarmStats};

/// One line.
#[derive(Serialize, Debug)]
pub(crate) struct Line<'a> {
    /// Whose; none for the process as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) torrent: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub(crate) what: What<'a>,
}

/// What happened.
#[derive(Serialize, Debug)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum What<'a> {
    Added { name: &'a str, total_bytes: u64, total_pieces: u32, listen_port: u16 },
    Shared { command: &'a str, url: &'a str },
    Checking { done_bytes: u64, total_bytes: u64 },
    State { state: &'static str },
    Progress(Progress),
    Piece { piece: u32 },
    PieceFailed { piece: u32 },
    PiecesLost { pieces: Vec<u32> },
    PeerConnected { peer: SocketAddr },
    PeerClosed { peer: SocketAddr, reason: Option<String> },
    PeerBanned { peer: SocketAddr },
    Tracker { url: &'a str, peers: usize, warning: Option<&'a str> },
    TrackerFailed { url: &'a str, error: &'a str, retry_in_s: Option<f64> },
    Trouble { message: &'a str },
    Completed { downloaded: u64, wasted: u64, time_s: f64, mean_rate: u64 },
    Missed { events: u64 },
    Summary { downloaded: u64, uploaded: u64, wasted: u64, time_s: f64, mean_rate: u64 },
    Error { message: String, exit_code: u8 },
}

impl<'a> What<'a> {
    /// The line for an event of the engine, if there is one.
    pub(crate) fn of(event: &'a TorrentEvent) -> Option<Self> {
        Some(match event {
            TorrentEvent::Checking { done, total } => Self::Checking { done_bytes: *done, total_bytes: *total },
            TorrentEvent::StateChanged(state) => Self::State { state: state_name(*state) },
            TorrentEvent::Swarm(event) => return Self::of_swarm(event),
            TorrentEvent::Missed(events) => Self::Missed { events: *events },
            _ => return None,
        })
    }

    fn of_swarm(event: &'a Event) -> Option<Self> {
        Some(match event {
            Event::PeerConnected { address, .. } => Self::PeerConnected { peer: *address },
            Event::PeerClosed { address, reason, .. } => {
                Self::PeerClosed { peer: *address, reason: reason.map(|reason| reason.to_string()) }
            }
            Event::PieceVerified(piece) => Self::Piece { piece: piece.as_u32() },
            Event::PieceFailed(piece) => Self::PieceFailed { piece: piece.as_u32() },
            Event::PeerBanned(peer) => Self::PeerBanned { peer: *peer },
            Event::PiecesLost(pieces) => {
                Self::PiecesLost { pieces: pieces.iter().map(|piece| piece.as_u32()).collect() }
            }
            Event::TrackerReplied { url, peers, warning } => {
                Self::Tracker { url, peers: *peers, warning: warning.as_deref() }
            }
            Event::TrackerFailed { url, error, retry_in } => {
                Self::TrackerFailed { url, error, retry_in_s: retry_in.map(|time| time.as_secs_f64()) }
            }
            // The torrent tells these as its state.
            Event::Completed | Event::DiskBlocked | Event::DiskRecovered => return None,
        })
    }
}

/// What a torrent is doing, in one word.
pub(crate) fn state_name(state: State) -> &'static str {
    match state {
        State::Checking => "checking",
        State::Downloading => "fetching",
        State::Seeding => "seeding",
        State::Paused => "paused",
        State::Blocked => "blocked",
        State::Stopped => "stopped",
        State::Failed => "failed",
        State::Crashed => "crashed",
        _ => "unknown",
    }
}

/// Where a torrent stands.
#[derive(Serialize, Clone, Copy, Debug)]
pub(crate) struct Progress {
    have_bytes: u64,
    total_bytes: u64,
    have_pieces: u32,
    total_pieces: u32,
    downloaded: u64,
    uploaded: u64,
    wasted: u64,
    download_rate: u64,
    upload_rate: u64,
    peers: u32,
    seeds: u32,
    known_peers: u32,
    failed_pieces: u32,
    banned_peers: u32,
    eta_s: Option<u64>,
    ratio: f64,
}

impl From<&SwarmStats> for Progress {
    fn from(stats: &SwarmStats) -> Self {
        Self {
            have_bytes: stats.have_bytes,
            total_bytes: stats.total_bytes,
            have_pieces: stats.have_pieces,
            total_pieces: stats.total_pieces,
            downloaded: stats.downloaded,
            uploaded: stats.uploaded,
            wasted: stats.wasted,
            download_rate: stats.download_rate,
            upload_rate: stats.upload_rate,
            peers: stats.peers,
            seeds: stats.seeds,
            known_peers: stats.known_peers,
            failed_pieces: stats.failed_pieces,
            banned_peers: stats.banned_peers,
            eta_s: summary::time_left(stats).map(|left| left.as_secs()),
            ratio: summary::ratio(stats),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn line(what: What<'_>) -> String {
        serde_json::to_string(&Line { torrent: Some("ab".to_owned()), what }).unwrap()
    }

    #[test]
    fn events_become_lines() {
        let (url, error, retry_in) = ("http://a".to_owned(), "no".to_owned(), Some(Duration::from_millis(1_500)));
        let failed = TorrentEvent::Swarm(Event::TrackerFailed { url, error, retry_in });
        assert_eq!(
            line(What::of(&failed).unwrap()),
            r#"{"torrent":"ab","event":"tracker_failed","url":"http://a","error":"no","retry_in_s":1.5}"#
        );
        let seeding = TorrentEvent::StateChanged(State::Seeding);
        assert_eq!(line(What::of(&seeding).unwrap()), r#"{"torrent":"ab","event":"state","state":"seeding"}"#);
        let progress =
            Progress::from(&SwarmStats { uploaded: 1, total_bytes: 2, download_rate: 1, ..SwarmStats::default() });
        let text = line(What::Progress(progress));
        assert!(text.starts_with(r#"{"torrent":"ab","event":"progress","have_bytes":0,"total_bytes":2"#), "{text}");
        assert!(text.ends_with(r#""eta_s":2,"ratio":0.5}"#), "{text}");
        assert!(What::of(&TorrentEvent::Swarm(Event::Completed)).is_none());
    }
}
