//! What happens to a torrent, for the log of `-v`.

use super::json::state_name;
use super::text;
use swarm_engine::TorrentEvent;
use swarm_engine::tracker::masked;
use swarm_proto::swarm::Event;

/// The event in words; none for what happens all the time.
pub(crate) fn line(event: &TorrentEvent) -> Option<String> {
    match event {
        TorrentEvent::StateChanged(state) => Some(state_name(*state).to_owned()),
        TorrentEvent::DiskError { text } | TorrentEvent::Failed { text } => Some(text.clone()),
        TorrentEvent::Finished => Some("everything is verified and on disk".to_owned()),
        TorrentEvent::Swarm(event) => of_swarm(event),
        _ => None,
    }
}

fn of_swarm(event: &Event) -> Option<String> {
    Some(match event {
        Event::PeerConnected { address, .. } => format!("{address} connected"),
        Event::PeerClosed { address, reason: Some(reason), .. } => format!("{address} closed by us: {reason}"),
        Event::PeerClosed { address, reason: None, .. } => format!("{address} is gone"),
        Event::PieceFailed(piece) => format!("piece {} is wrong and is fetched again", piece.as_u32()),
        Event::PeerBanned(address) => format!("{address} sent wrong data and is shut out"),
        Event::PiecesLost(pieces) => format!("{} lost", text::count(pieces.len() as u64, "piece")),
        Event::TrackerReplied { url, peers, .. } => {
            format!("{} knows {}", masked(url), text::count(*peers as u64, "peer"))
        }
        Event::TrackerFailed { url, error, .. } => {
            let tracker = masked(url);
            format!("{tracker}: {}", error.replace(url, &tracker))
        }
        Event::PieceVerified(_) | Event::Completed | Event::DiskBlocked | Event::DiskRecovered => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_engine::State;
    use swarm_proto::id::PeerKey;
    use swarm_proto::swarm::CloseReason;

    #[test]
    fn a_closed_connection_names_the_reason() {
        let address = "192.0.2.1:6881".parse().unwrap();
        let closed = |reason| TorrentEvent::Swarm(Event::PeerClosed { peer: PeerKey(1), address, reason });
        assert_eq!(line(&closed(None)).unwrap(), "192.0.2.1:6881 is gone");
        assert_eq!(line(&closed(Some(CloseReason::Banned))).unwrap(), "192.0.2.1:6881 closed by us: banned");
        assert_eq!(line(&TorrentEvent::StateChanged(State::Downloading)).unwrap(), "fetching");
        let (url, error) = ("http://h/KEY/announce".to_owned(), "http://h/KEY/announce: no".to_owned());
        let failed = TorrentEvent::Swarm(Event::TrackerFailed { url, error, retry_in: None });
        assert_eq!(line(&failed).unwrap(), "http://h/***/announce: http://h/***/announce: no");
        assert_eq!(line(&TorrentEvent::Checking { done: 1, total: 2 }), None);
    }
}
