//! What is to happen, in the order of time; what is due at the same moment keeps the order in which it was put in.
//!
//! Most of what is put in is due as far ahead as what was put in before it: a latency, a block's time on the wire. So
//! there are a few lanes, each in order by itself, and only what fits behind none of them goes into a heap. A lane is
//! read and written in a row, where a heap of half a million entries waits for the memory at each step.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Nanoseconds since the beginning of the world.
pub(crate) type Moment = u64;

/// Lanes at most: all of their fronts are looked at for each thing that happens.
const LANES: usize = 8;

/// What is due first; the order of arrival decides among equals.
type Due = (Moment, u64);

/// In a heap, which moves its entries often: what is due lies elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    due: Due,
    place: u32,
}

/// The queue of a world.
pub(crate) struct Queue<T> {
    lanes: [VecDeque<(Due, T)>; LANES],
    /// The first of each lane; far away where there is none.
    fronts: [Due; LANES],
    heap: BinaryHeap<Reverse<Entry>>,
    due: Vec<Option<T>>,
    free: Vec<u32>,
    order: u64,
}

/// Behind everything.
const NEVER: Due = (Moment::MAX, u64::MAX);

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let lanes = std::array::from_fn(|_| VecDeque::new());
        let (heap, due, free) = (BinaryHeap::new(), Vec::new(), Vec::new());
        Self { lanes, fronts: [NEVER; LANES], heap, due, free, order: 0 }
    }

    pub(crate) fn push(&mut self, at: Moment, what: T) {
        self.order += 1;
        let due = (at, self.order);
        if let Some(lane) = self.lane_for(at) {
            if self.lanes[lane].is_empty() {
                self.fronts[lane] = due;
            }
            return self.lanes[lane].push_back((due, what));
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.due.push(None);
            u32::try_from(self.due.len() - 1).expect("fewer than four billion things are due")
        });
        self.due[place as usize] = Some(what);
        self.heap.push(Reverse(Entry { due, place }));
    }

    /// The lane whose last entry is due latest before this moment, so that others stay open for what is due earlier.
    fn lane_for(&self, at: Moment) -> Option<usize> {
        let last = |lane: &VecDeque<(Due, T)>| lane.back().map_or(0, |((at, _), _)| *at);
        let fitting = self.lanes.iter().enumerate().filter(|(_, lane)| last(lane) <= at);
        fitting.max_by_key(|(_, lane)| last(lane)).map(|(number, _)| number)
    }

    fn first_lane(&self) -> usize {
        (1..LANES).fold(0, |first, lane| if self.fronts[lane] < self.fronts[first] { lane } else { first })
    }

    /// When the next thing is due.
    pub(crate) fn next_at(&self) -> Option<Moment> {
        let heap = self.heap.peek().map_or(NEVER, |Reverse(entry)| entry.due);
        Some(heap.min(self.fronts[self.first_lane()])).filter(|due| *due < NEVER).map(|(at, _)| at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Moment, T)> {
        let lane = self.first_lane();
        if let Some(Reverse(entry)) = self.heap.peek().copied().filter(|Reverse(entry)| entry.due < self.fronts[lane]) {
            self.heap.pop();
            self.free.push(entry.place);
            return Some((entry.due.0, self.due[entry.place as usize].take()?));
        }
        let ((at, _), what) = self.lanes[lane].pop_front()?;
        self.fronts[lane] = self.lanes[lane].front().map_or(NEVER, |(due, _)| *due);
        Some((at, what))
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

    #[test]
    fn lanes_and_heap_are_one_order() {
        let mut queue = Queue::new();
        let mut state = 1u64;
        let mut expected = Vec::new();
        for order in 0..5_000u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = order / 3 + (state >> 33) % [1, 20, 1_000][order as usize % 3];
            queue.push(at, order);
            expected.push((at, order));
        }
        assert!(!queue.heap.is_empty(), "nothing went into the heap");
        expected.sort_unstable();
        let got: Vec<(Moment, u64)> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(got, expected);
        assert_eq!(queue.next_at(), None);
    }
}
