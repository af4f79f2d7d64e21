//! The last lines of the log, for the console.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Characters of a line that are kept.
const LINE_LENGTH: usize = 1_000;

/// A bounded ring of log lines. Clones share it: the log writes, the console reads.
#[derive(Clone, Debug)]
pub struct LogRing {
    lines: Arc<Mutex<VecDeque<String>>>,
    capacity: usize,
}

impl LogRing {
    /// Keeps so many lines, at least one; older ones make room.
    pub fn new(capacity: usize) -> Self {
        Self { lines: Arc::default(), capacity: capacity.max(1) }
    }

    /// Adds a line without its line break; what is longer than 1,000 characters is cut.
    pub fn push(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= self.capacity {
            lines.pop_front();
        }
        lines.push_back(line.chars().take(LINE_LENGTH).collect());
    }

    /// The last `count` lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_lines_and_cuts_long_ones() {
        let ring = LogRing::new(3);
        let writer = ring.clone();
        assert!(ring.last(5).is_empty());
        (0..5).for_each(|line| writer.push(&line.to_string()));
        assert_eq!(ring.last(2), ["3", "4"]);
        assert_eq!(ring.last(9), ["2", "3", "4"]);
        writer.push(&"ü".repeat(5_000));
        assert_eq!(ring.last(1).concat().chars().count(), LINE_LENGTH);
    }
}
