//! What happens in a room, for anybody who wants to know. A slow reader loses the oldest and is told how many.

use swarm_proto::chat::ChatEvent;
use tokio::sync::broadcast;

/// Events kept for the slowest reader: a whole history, and what a busy room says while somebody draws it.
const EVENTS: usize = 2_048;

/// The events of a room, from the moment of the subscription on.
#[derive(Debug)]
pub struct ChatEvents {
    receiver: broadcast::Receiver<ChatEvent>,
}

impl ChatEvents {
    pub(super) fn new(receiver: broadcast::Receiver<ChatEvent>) -> Self {
        Self { receiver }
    }

    /// The next event; `None` when the room has ended and all of them were read. May be dropped at any time without
    /// losing an event.
    pub async fn next(&mut self) -> Option<ChatEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(ChatEvent::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

pub(super) fn channel() -> broadcast::Sender<ChatEvent> {
    broadcast::Sender::new(EVENTS)
}
