//! An ordered set of pairs, of which those with the same first half are found at once.

use std::collections::BTreeSet;

/// What has a least value.
pub(super) trait Least: Copy + Ord {
    /// Nothing is less.
    const LEAST: Self;
}

/// The pairs.
pub(super) struct Pairs<A, B>(BTreeSet<(A, B)>);

impl<A, B> Default for Pairs<A, B> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<A: Copy + Ord, B: Least> Pairs<A, B> {
    /// Whether it is new.
    pub(super) fn insert(&mut self, first: A, second: B) -> bool {
        self.0.insert((first, second))
    }

    pub(super) fn remove(&mut self, first: A, second: B) {
        self.0.remove(&(first, second));
    }

    pub(super) fn contains(&self, first: A, second: B) -> bool {
        self.0.contains(&(first, second))
    }

    /// The second halves beside this first half, in order.
    pub(super) fn beside(&self, first: A) -> impl Iterator<Item = B> {
        let pairs = self.0.range((first, B::LEAST)..).take_while(move |(other, _)| *other == first);
        pairs.map(|(_, second)| *second)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (A, B)> {
        self.0.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
