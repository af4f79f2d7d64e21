//! The way from the torrent task to one connection.
//!
//! Owns what waits to be sent and has not reached the connection's task. Bounded by bytes, so that a peer which takes
//! less than it asks for costs no more than [`QUEUE_BYTES`]. Written by hand because thousands of idle connections have one
//! each: a channel of tokio keeps 1.4 KiB, this keeps 100 bytes.

use super::send::Outbound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes that may wait to be sent to one peer, blocks and messages together; whoever takes less than it asks for has
/// the rest of it dropped, by closing.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// The torrent task's end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Line {
    shared: Arc<Shared>,
}

/// The connection's end.
#[derive(Debug)]
pub(super) struct Inbox {
    shared: Arc<Shared>,
}

/// More waits to be sent than any honest peer lets come together, or the connection is gone.
#[derive(Debug)]
pub(crate) struct LineError;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: Vec<Outbound>,
    /// Bytes that were sent here and have not been released, wherever they are.
    waiting: usize,
    /// One of the two ends is gone.
    closed: bool,
}

/// Both ends of a new line.
pub(super) fn line() -> (Line, Inbox) {
    let shared = Arc::<Shared>::default();
    (Line { shared: Arc::clone(&shared) }, Inbox { shared })
}

impl Line {
    /// Sends these in order, behind all that went before.
    pub(crate) fn send(&self, mut outbound: Vec<Outbound>) -> Result<(), LineError> {
        let bytes = outbound.iter().map(Outbound::cost).sum::<usize>();
        let mut state = self.shared.lock();
        if state.closed || state.waiting + bytes > QUEUE_BYTES {
            return Err(LineError);
        }
        state.waiting += bytes;
        if state.queue.is_empty() {
            state.queue = outbound
        } else {
            state.queue.append(&mut outbound)
        }
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }
}

impl Inbox {
    /// What was sent since the last time, in order; `None` when all of it has been taken and the torrent task has closed
    /// the line. Loses nothing when it is dropped before its end.
    pub(super) async fn receive(&self) -> Option<Vec<Outbound>> {
        loop {
            let (queue, closed) = {
                let mut state = self.shared.lock();
                (std::mem::take(&mut state.queue), state.closed)
            };
            match () {
                () if !queue.is_empty() => return Some(queue),
                () if closed => return None,
                () => self.shared.changed.notified().await,
            }
        }
    }

    /// So many bytes, as [`Outbound::cost`] measures them, wait no more.
    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.shared.lock();
        state.waiting = state.waiting.saturating_sub(bytes);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid between any two of its operations.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.queue = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use swarm_proto::wire::Message;

    fn message(length: usize) -> Vec<Outbound> {
        vec![Outbound::Message(Message::Extended(1, Bytes::from(vec![0; length])))]
    }

    #[tokio::test]
    async fn everything_arrives_in_order_and_then_the_end() {
        let (line, inbox) = line();
        line.send(vec![Outbound::Message(Message::Choke)]).unwrap();
        line.send(vec![Outbound::Message(Message::Unchoke)]).unwrap();
        let together = inbox.receive().await.unwrap();
        assert!(matches!(&together[..], [Outbound::Message(Message::Choke), Outbound::Message(Message::Unchoke)]));
        let (received, ()) = tokio::join!(inbox.receive(), async {
            tokio::task::yield_now().await;
            line.send(message(1)).unwrap();
        });
        assert_eq!(received.unwrap().len(), 1);
        line.send(message(1)).unwrap();
        drop(line);
        assert!(inbox.receive().await.is_some() && inbox.receive().await.is_none());
    }

    #[test]
    fn what_is_not_released_is_bounded_and_a_dead_end_is_noticed() {
        let (line, inbox) = line();
        line.send(message(QUEUE_BYTES / 2)).unwrap();
        assert!(line.send(message(QUEUE_BYTES / 2)).is_err());
        inbox.release(QUEUE_BYTES / 2 + 64);
        line.send(message(QUEUE_BYTES / 2)).unwrap();
        drop(inbox);
        assert!(line.send(message(1)).is_err());
    }
}
