//! What is to happen, in the order of time; what is due at the same moment keeps the order in which it was put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nanoseconds since the beginning of the world.
pub(crate) type Moment = u64;

/// Small, since a heap moves its entries often: what is due lies elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Moment,
    order: u64,
    place: u32,
}

/// The queue of a world.
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry>>,
    due: Vec<Option<T>>,
    free: Vec<u32>,
    order: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), due: Vec::new(), free: Vec::new(), order: 0 }
    }

    pub(crate) fn push(&mut self, at: Moment, what: T) {
        self.order += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.due.push(None);
            u32::try_from(self.due.len() - 1).expect("fewer than four billion things are due")
        });
        self.due[place as usize] = Some(what);
        self.heap.push(Reverse(Entry { at, order: self.order, place }));
    }

    /// When the next thing is due.
    pub(crate) fn next_at(&self) -> Option<Moment> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Moment, T)> {
        let Reverse(entry) = self.heap.pop()?;
        self.free.push(entry.place);
        Some((entry.at, self.due[entry.place as usize].take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_decides_and_then_the_order_of_arrival() {
        let mut queue = Queue::new();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            queue.push(at, what);
        }
        assert_eq!((queue.pop(), queue.next_at()), (Some((1, 'a')), Some(3)));
        queue.push(5, 'e');
        let rest: String = std::iter::from_fn(|| queue.pop()).map(|(_, what)| what).collect();
        assert_eq!(rest, "bcde");
    }
}
