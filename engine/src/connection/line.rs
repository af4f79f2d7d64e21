//! The way from the torrent task to one connection.
//!
//! Owns what waits to be sent and has not reached the connection's task. Messages wait as the bytes that they are on the
//! wire, so that a peer which makes us say much and takes nothing costs what is said. Bounded by bytes, so that it costs
//! no more than [`QUEUE_BYTES`], or twice that while a buffer grows. Written by hand because thousands of idle connections
//! have one each: a channel of tokio keeps 1.4 KiB, this keeps 100 bytes.

use super::send::Outbound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use swarm_proto::geometry::Block;
use tokio::sync::Notify;

/// Bytes that may wait to be sent to one peer, blocks and messages together; whoever takes less than it asks for has
/// the rest of it dropped, by closing.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of messages in one entry, about.
const ENTRY_LENGTH: usize = 16 * 1024;
/// What an entry takes beside its bytes.
const ENTRY_BYTES: usize = 64;

/// What waits to be sent.
#[derive(Debug)]
pub(super) enum Entry {
    /// Messages without payload, encoded.
    Control(Vec<u8>),
    /// A `piece` message with its payload.
    Block(Block),
}

impl Entry {
    /// Bytes that it counts for while it waits.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Control(bytes) => ENTRY_BYTES + bytes.len(),
            Self::Block(block) => block.length() as usize,
        }
    }
}

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
    queue: Vec<Entry>,
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
    pub(crate) fn send(&self, outbound: Vec<Outbound>) -> Result<(), LineError> {
        let most = outbound.iter().map(Outbound::most_bytes).sum::<usize>();
        let mut state = self.shared.lock();
        if state.closed || state.waiting + most > QUEUE_BYTES {
            return Err(LineError);
        }
        outbound.into_iter().for_each(|outbound| state.push(outbound));
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }
}

impl State {
    fn push(&mut self, outbound: Outbound) {
        let message = match outbound {
            Outbound::Message(message) => message,
            Outbound::Block(block) => {
                self.waiting += block.length() as usize;
                return self.queue.push(Entry::Block(block));
            }
        };
        if let Some(Entry::Control(bytes)) = self.queue.last_mut().filter(|entry| entry.cost() < ENTRY_LENGTH) {
            let before = bytes.len();
            message.encode_to(bytes);
            self.waiting += bytes.len() - before;
            return;
        }
        let mut bytes = Vec::new();
        message.encode_to(&mut bytes);
        self.waiting += ENTRY_BYTES + bytes.len();
        self.queue.push(Entry::Control(bytes));
    }
}

impl Inbox {
    /// What was sent since the last time, in order; `None` when all of it has been taken and the torrent task has closed
    /// the line. Loses nothing when it is dropped before its end.
    pub(super) async fn receive(&self) -> Option<Vec<Entry>> {
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

    /// So many bytes, as [`Entry::cost`] measures them, wait no more.
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
        assert!(matches!(&together[..], [Entry::Control(bytes)] if bytes == &[0, 0, 0, 1, 0, 0, 0, 0, 1, 1]));
        let (received, ()) = tokio::join!(inbox.receive(), async {
            tokio::task::yield_now().await;
            line.send(message(1)).unwrap();
        });
        assert_eq!(received.unwrap().len(), 1);
        line.send(message(1)).unwrap();
        drop(line);
        assert!(inbox.receive().await.is_some() && inbox.receive().await.is_none());
    }

    #[tokio::test]
    async fn what_is_not_released_is_bounded_and_a_dead_end_is_noticed() {
        let (line, inbox) = line();
        line.send(message(QUEUE_BYTES / 2)).unwrap();
        assert!(line.send(message(QUEUE_BYTES / 2)).is_err());
        let taken = inbox.receive().await.unwrap();
        assert!(line.send(message(QUEUE_BYTES / 2)).is_err(), "what was taken is not yet sent");
        inbox.release(taken.iter().map(Entry::cost).sum());
        line.send(message(QUEUE_BYTES / 2)).unwrap();
        drop(inbox);
        assert!(line.send(message(1)).is_err());
    }

    #[tokio::test]
    async fn messages_cost_about_what_they_are_on_the_wire() {
        let (line, inbox) = line();
        let toggles =
            || (0..1_000).map(|n| Outbound::Message(if n % 2 == 0 { Message::Choke } else { Message::Unchoke }));
        let accepted = (0..1_000_000).take_while(|_| line.send(toggles().collect()).is_ok()).count();
        let queue = inbox.receive().await.unwrap();
        let held: usize = queue
            .iter()
            .map(|entry| match entry {
                Entry::Control(bytes) => bytes.capacity() + size_of::<Entry>(),
                Entry::Block(_) => 0,
            })
            .sum();
        assert!(held <= 2 * QUEUE_BYTES, "{held} bytes for {accepted},000 messages");
        assert!(accepted >= 1_000, "an honest peer was cut off after {accepted},000 messages");
        let before = inbox.shared.lock().waiting;
        inbox.release(queue.iter().map(Entry::cost).sum());
        assert_eq!((inbox.shared.lock().waiting, before <= QUEUE_BYTES), (0, true));
    }
}
