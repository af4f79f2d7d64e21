//! Memory for blocks on their way from a socket to the disk.
//!
//! Owns a bounded list of free buffers, so that a fast transfer runs in memory that is already mapped and warm. Never
//! limits how many buffers are in use: that is the swarm's budget (`SwarmConfig::buffer_bytes`). A buffer goes back to
//! its pool when it is dropped, wherever that happens.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use swarm_proto::geometry::BLOCK_LENGTH;

const POOLED_LENGTH: usize = BLOCK_LENGTH as usize;

/// Free buffers of 16 KiB.
pub(crate) struct BlockPool {
    free: Mutex<Vec<Box<[u8]>>>,
    most: usize,
}

/// The bytes of one block. Its contents are arbitrary until they are written.
pub(crate) struct BlockBuffer {
    bytes: Box<[u8]>,
    length: usize,
    pool: Arc<BlockPool>,
}

impl BlockPool {
    /// A pool that keeps at most `most` free buffers.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(Vec::new()), most })
    }

    /// A buffer of `length` bytes. Only lengths near 16 KiB are pooled: a peer that sends blocks of one byte must not
    /// make each of them cost 16 KiB, and larger ones are rare.
    pub(crate) fn take(self: &Arc<Self>, length: usize) -> BlockBuffer {
        let pooled = (POOLED_LENGTH / 2..=POOLED_LENGTH).contains(&length);
        let reused = if pooled { self.list().pop() } else { None };
        let size = if pooled { POOLED_LENGTH } else { length };
        let bytes = reused.unwrap_or_else(|| vec![0; size].into_boxed_slice());
        BlockBuffer { bytes, length, pool: Arc::clone(self) }
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Box<[u8]>>> {
        // The list is valid between any two of its operations.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for BlockBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl DerefMut for BlockBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }
}

impl AsRef<[u8]> for BlockBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for BlockBuffer {
    fn drop(&mut self) {
        if self.bytes.len() != POOLED_LENGTH {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let mut free = self.pool.list();
        if free.len() < self.pool.most {
            free.push(bytes);
        }
    }
}

impl fmt::Debug for BlockBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockBuffer({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_the_list_is_bounded() {
        let pool = BlockPool::new(2);
        let buffers: Vec<_> = (0..3).map(|_| pool.take(POOLED_LENGTH)).collect();
        let address = buffers[1].as_ptr();
        drop(buffers);
        assert_eq!(pool.list().len(), 2);
        assert_eq!(pool.take(POOLED_LENGTH - 1).as_ptr(), address, "the last one kept is the first one reused");
    }

    #[test]
    fn lengths_are_exact_and_odd_ones_are_not_pooled() {
        let pool = BlockPool::new(8);
        for length in [1, 100, POOLED_LENGTH / 2, POOLED_LENGTH, POOLED_LENGTH + 1, 131_072] {
            assert_eq!(pool.take(length).len(), length);
        }
        assert_eq!(pool.list().len(), 1);
        assert_eq!(pool.take(1).bytes.len(), 1, "one byte costs one byte");
    }
}
