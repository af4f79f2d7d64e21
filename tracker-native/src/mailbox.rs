//! What waits to be written to one connection, unasked.
//!
//! Owns a bounded queue of frames. Whoever puts one in never waits: a frame that finds no room is not taken. Invariant: an empty
//! mailbox holds no memory but its own, since most connections have nothing waiting most of the time, and there may be many.

use bytes::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes that wait for one connection: relayed messages are larger than pushes.
const MOST_BYTES: usize = 128 * 1024;

#[derive(Debug, Default)]
struct Queue {
    frames: Vec<Bytes>,
    bytes: usize,
}

/// The frames that wait for one connection.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    filled: Notify,
    most: usize,
}

impl Mailbox {
    /// An empty one, with room for so many frames.
    pub(crate) fn new(most: usize) -> Self {
        Self { queue: Mutex::default(), filled: Notify::new(), most: most.max(1) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame in, if there is room.
    pub(crate) fn put(&self, frame: Bytes) -> bool {
        self.put_within(frame, self.most, MOST_BYTES)
    }

    /// Puts a message of another peer in, if half of the room is free: what others say must not push out what the tracker says.
    pub(crate) fn put_relayed(&self, frame: Bytes) -> bool {
        self.put_within(frame, self.most.div_ceil(2), MOST_BYTES / 2)
    }

    fn put_within(&self, frame: Bytes, frames: usize, bytes: usize) -> bool {
        let mut queue = self.queue();
        if queue.frames.len() >= frames || queue.bytes + frame.len() > bytes {
            return false;
        }
        queue.bytes += frame.len();
        queue.frames.push(frame);
        // Whoever takes takes all, so one that was not empty has been told of already.
        let first = queue.frames.len() == 1;
        drop(queue);
        if first {
            self.filled.notify_one();
        }
        true
    }

    /// Waits until there may be something. Nothing is lost when the future is dropped.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes all that is there, in its order.
    pub(crate) fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.queue()).frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_bounded_by_frames_and_bytes_and_wakes_once() {
        let mailbox = Mailbox::new(2);
        assert!(mailbox.put(Bytes::from_static(b"a")) && mailbox.put(Bytes::from_static(b"b")));
        assert!(!mailbox.put(Bytes::from_static(b"c")));
        mailbox.filled().await;
        assert_eq!(mailbox.take(), ["a", "b"]);
        assert!(mailbox.put_relayed(Bytes::from_static(b"a")) && !mailbox.put_relayed(Bytes::from_static(b"b")));
        assert_eq!(mailbox.take().len(), 1);
        assert!(!mailbox.put_relayed(Bytes::from(vec![0; MOST_BYTES / 2 + 1])));
        assert!(!mailbox.put(Bytes::from(vec![0; MOST_BYTES + 1])));
        assert!(mailbox.put(Bytes::from(vec![0; MOST_BYTES])));
        assert!(!mailbox.put(Bytes::from_static(b"d")));
        drop(tokio::time::timeout(std::time::Duration::ZERO, mailbox.filled()).await);
        assert_eq!(mailbox.take().len(), 1);
        assert_eq!(mailbox.queue().frames.capacity(), 0);
    }
}
