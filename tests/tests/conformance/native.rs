//! Frames of the native protocol where what clients do in the other dialects applies to it.

use crate::dialects::{Trackers, announce};
use crate::set;
use swarm_proto::announce::{Announce, AnnounceEvent};
use swarm_proto::native::{PeerMessage, Request, RequestId, Response, TrackerMessage};

#[tokio::test]
async fn counts_beyond_all_measure_are_taken_as_they_are() {
    let trackers = Trackers::start().await;
    trackers.http_good(&announce(1, 0)).await;
    let mut native = trackers.native(2).await;
    for (left, seeds) in [(u64::MAX, 1), (0, 2), (1, 1)] {
        let announce =
            Announce { uploaded: u64::MAX, downloaded: u64::MAX, event: AnnounceEvent::Completed, ..announce(2, left) };
        assert_eq!(native.good(&announce).await.complete, seeds);
    }
    assert_eq!(trackers.udp_good(&announce(3, 1)).await.ports, set([1, 2]));
}

#[tokio::test]
async fn a_frame_in_drops_is_a_frame_and_one_that_cannot_be_read_spoils_no_other() {
    let trackers = Trackers::start().await;
    let mut native = trackers.native(2).await;
    let frame = PeerMessage::Request(RequestId(70), Request::Alive).encode();
    for byte in &frame {
        native.say(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(matches!(native.message().await, TrackerMessage::Response(RequestId(70), Response::Alive)));
    let both = PeerMessage::Request(RequestId(71), Request::Alive).encode();
    native.say(&[frame.clone(), both].concat()).await;
    for id in [70, 71] {
        assert!(matches!(native.message().await, TrackerMessage::Response(to, Response::Alive) if to == RequestId(id)));
    }
}
