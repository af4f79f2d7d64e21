//! The peers of one family in all swarms of a shard.
//!
//! A swarm of up to [`SMALL`] peers is a run of records in memory that all of them share, without a byte between them:
//! to look for a peer is to look at all. Larger ones are [`Large`]. A run that grows moves behind all others; what it
//! leaves behind is dropped when that has become an eighth, and everything moved together. That costs no more than the
//! shard is small.
//!
//! Invariant: in every list the seeds stand in front, so that a random choice among either is one among a range of
//! numbers.

use crate::large::Large;
use crate::record::Record;
use crate::runs::Runs;
use std::hash::RandomState;

/// Peers of a swarm that are looked through one by one.
pub(crate) const SMALL: usize = 64;
/// A large swarm with so few left is a small one again.
const SMALL_AGAIN: usize = 32;
/// Length of a list that says: it is a large one.
const LARGE: u8 = u8::MAX;

/// Where the peers of a swarm are, in six bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct List {
    /// Number of its first record, or of the large one; in two halves for the sake of alignment.
    at: [u16; 2],
    len: u8,
    seeds: u8,
}

impl List {
    fn at(self) -> usize {
        let [high, low] = self.at;
        usize::from(high) << 16 | usize::from(low)
    }

    fn set_at(&mut self, at: usize) {
        let [.., a, b, c, d] = at.to_be_bytes();
        self.at = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    }

    pub(crate) fn is_large(self) -> bool {
        self.len == LARGE
    }
}

/// Records for which a run of so many has room: some are set aside, so that not every newcomer moves it.
fn room_of(len: usize) -> usize {
    let step = match len {
        0..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        _ => 8,
    };
    len.next_multiple_of(step)
}

/// All peers of one family in a shard.
#[derive(Debug)]
pub(crate) struct Pool<const L: usize> {
    runs: Runs<L>,
    large: Vec<Option<Box<Large<L>>>>,
    /// Numbers in `large` that no list owns.
    free: Vec<u32>,
    /// Peers in `large`.
    large_peers: usize,
}

/// The peers of one list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peers<'a, const L: usize> {
    Small(&'a [Record<L>], usize),
    Large(&'a Large<L>),
}

impl<'a, const L: usize> Peers<'a, L> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Small(records, _) => records.len(),
            Self::Large(large) => large.len(),
        }
    }

    pub(crate) fn seeds(self) -> usize {
        match self {
            Self::Small(_, seeds) => seeds,
            Self::Large(large) => large.seeds,
        }
    }

    #[inline]
    pub(crate) fn get(self, index: usize) -> Option<&'a Record<L>> {
        match self {
            Self::Small(records, _) => records.get(index),
            Self::Large(large) => large.get(index),
        }
    }
}

impl<const L: usize> Pool<L> {
    pub(crate) const fn new() -> Self {
        Self { runs: Runs::new(), large: Vec::new(), free: Vec::new(), large_peers: 0 }
    }

    pub(crate) fn peers(&self, list: List) -> Peers<'_, L> {
        match self.large(list) {
            Some(large) => Peers::Large(large),
            None => Peers::Small(self.run(list), list.seeds.into()),
        }
    }

    pub(crate) fn len(&self, list: List) -> usize {
        self.large(list).map_or(list.len.into(), Large::len)
    }

    pub(crate) fn seeds(&self, list: List) -> usize {
        self.large(list).map_or(list.seeds.into(), |large| large.seeds)
    }

    pub(crate) fn find(&self, list: List, address: &[u8; L], hasher: &RandomState) -> Option<usize> {
        match self.large(list) {
            Some(large) => large.find(address, hasher),
            None => self.run(list).iter().position(|record| record.address == *address),
        }
    }

    pub(crate) fn record_mut(&mut self, list: List, index: usize) -> Option<&mut Record<L>> {
        if list.is_large() {
            return self.large.get_mut(list.at())?.as_deref_mut()?.get_mut(index);
        }
        self.run_mut(list).get_mut(index)
    }

    /// Whether one more record in this list is reason to move all together by [`Pool::make_room`] first.
    pub(crate) fn lacks_room(&self, list: List) -> bool {
        let len = usize::from(list.len);
        let grows = !list.is_large() && len < SMALL && room_of(len + 1) > room_of(len);
        grows && self.runs.is_full(room_of(len + 1)) && !self.runs.is_tight()
    }

    /// Moves all runs together. `lists` are all lists of the shard.
    pub(crate) fn make_room<'a>(&mut self, lists: impl Iterator<Item = &'a mut List>) {
        let mut runs = Runs::new();
        for list in lists.filter(|list| !list.is_large() && list.len > 0) {
            let run = self.runs.get(list.at(), room_of(list.len.into()));
            if let Some(last) = run.last() {
                list.set_at(runs.put(run, *last, run.len()));
            }
        }
        self.runs = runs;
    }

    /// Whether [`Pool::make_room`] would give much memory back.
    pub(crate) fn is_loose(&self) -> bool {
        self.runs.is_loose()
    }

    /// Puts a new peer into a list.
    pub(crate) fn add(&mut self, list: &mut List, record: Record<L>, seed: bool, hasher: &RandomState) {
        let index = self.len(*list);
        self.push(list, record, hasher);
        if seed {
            self.make_seed(list, index, hasher);
        }
    }

    /// Makes a leecher a seed.
    pub(crate) fn make_seed(&mut self, list: &mut List, index: usize, hasher: &RandomState) {
        let seeds = self.seeds(*list);
        self.swap(*list, index, seeds, hasher);
        self.set_seeds(list, seeds + 1);
    }

    /// Makes a seed a leecher.
    pub(crate) fn make_leecher(&mut self, list: &mut List, index: usize, hasher: &RandomState) {
        let Some(seeds) = self.seeds(*list).checked_sub(1) else { return };
        self.set_seeds(list, seeds);
        self.swap(*list, index, seeds, hasher);
    }

    /// Removes a peer; the last one takes its place.
    pub(crate) fn remove(&mut self, list: &mut List, mut index: usize, hasher: &RandomState) -> Option<Record<L>> {
        let seeds = self.seeds(*list);
        if index < seeds {
            self.make_leecher(list, index, hasher);
            index = seeds - 1;
        }
        let last = self.len(*list).checked_sub(1)?;
        self.swap(*list, index, last, hasher);
        self.pop(list, hasher)
    }

    /// Forgets all peers of a list.
    pub(crate) fn clear(&mut self, list: &mut List) {
        if list.is_large() {
            let large = self.large.get_mut(list.at()).and_then(Option::take);
            self.large_peers -= large.map_or(0, |large| large.len());
            self.free.extend(u32::try_from(list.at()));
        } else {
            self.runs.free(room_of(list.len.into()));
        }
        *list = List::default();
    }

    /// Keeps the ages of all records from wrapping around.
    pub(crate) fn saturate(&mut self, before: u32, now: u32) {
        let large = self.large.iter_mut().flatten().flat_map(|large| large.iter_mut());
        self.runs.iter_mut().chain(large).for_each(|record| record.saturate(before, now));
    }

    /// Bytes allocated, those of large swarms by estimate.
    pub(crate) fn memory(&self) -> usize {
        let lists = (self.large.len() - self.free.len()) * (size_of::<Large<L>>() + 256);
        let large = self.large_peers * (size_of::<Record<L>>() + Large::<L>::INDEX_BYTES) + lists;
        self.runs.memory() + self.large.capacity() * 8 + self.free.capacity() * 4 + large
    }

    fn large(&self, list: List) -> Option<&Large<L>> {
        if list.is_large() { self.large.get(list.at())?.as_deref() } else { None }
    }

    fn run(&self, list: List) -> &[Record<L>] {
        self.runs.get(list.at(), list.len.into())
    }

    fn run_mut(&mut self, list: List) -> &mut [Record<L>] {
        self.runs.get_mut(list.at(), list.len.into())
    }

    fn set_seeds(&mut self, list: &mut List, seeds: usize) {
        match self.large.get_mut(list.at()).filter(|_| list.is_large()) {
            Some(Some(large)) => large.seeds = seeds,
            _ => list.seeds = u8::try_from(seeds).unwrap_or(u8::MAX),
        }
    }

    fn swap(&mut self, list: List, one: usize, other: usize, hasher: &RandomState) {
        match self.large.get_mut(list.at()).filter(|_| list.is_large()) {
            Some(Some(large)) => large.swap(one, other, hasher),
            _ => {
                let run = self.run_mut(list);
                if one < run.len() && other < run.len() {
                    run.swap(one, other);
                }
            }
        }
    }

    fn push(&mut self, list: &mut List, record: Record<L>, hasher: &RandomState) {
        if !list.is_large() && usize::from(list.len) == SMALL {
            self.enlarge(list, hasher);
        }
        if list.is_large() {
            if let Some(Some(large)) = self.large.get_mut(list.at()) {
                large.push(record, hasher);
                self.large_peers += 1;
            }
            return;
        }
        let len = usize::from(list.len);
        if room_of(len + 1) > room_of(len) {
            self.grow(list, record);
        } else if let Some(place) = self.runs.get_mut(list.at(), len + 1).last_mut() {
            *place = record;
        }
        list.len += 1;
    }

    /// Gets room for one more record, and fills it with that.
    fn grow(&mut self, list: &mut List, record: Record<L>) {
        let len = usize::from(list.len);
        let (room, more) = (room_of(len), room_of(len + 1));
        if len > 0 && self.runs.extend(list.at(), room, more, record) {
            return;
        }
        let mut copy = [record; SMALL];
        let run = copy.get_mut(..len).unwrap_or_default();
        run.copy_from_slice(self.runs.get(list.at(), len));
        list.set_at(self.runs.put(run, record, more));
        self.runs.free(room);
    }

    fn enlarge(&mut self, list: &mut List, hasher: &RandomState) {
        let large = Box::new(Large::new(self.run(*list), list.seeds.into(), hasher));
        self.large_peers += large.len();
        self.runs.free(room_of(list.len.into()));
        let number = match self.free.pop() {
            Some(number) => number as usize,
            None => {
                self.large.push(None);
                self.large.len() - 1
            }
        };
        if let Some(place) = self.large.get_mut(number) {
            *place = Some(large);
        }
        *list = List { len: LARGE, ..List::default() };
        list.set_at(number);
    }

    fn pop(&mut self, list: &mut List, hasher: &RandomState) -> Option<Record<L>> {
        if list.is_large() {
            let large = self.large.get_mut(list.at())?.as_deref_mut()?;
            let record = large.pop(hasher);
            self.large_peers -= usize::from(record.is_some());
            if large.len() <= SMALL_AGAIN {
                self.lessen(list);
            }
            return record;
        }
        let record = self.run(*list).last().copied()?;
        let len = usize::from(list.len);
        self.runs.free(room_of(len) - room_of(len - 1));
        list.len -= 1;
        Some(record)
    }

    fn lessen(&mut self, list: &mut List) {
        let Some(large) = self.large.get_mut(list.at()).and_then(Option::take) else { return };
        self.large_peers -= large.len();
        self.free.extend(u32::try_from(list.at()));
        let run: Vec<_> = large.iter().copied().collect();
        let byte = |number: usize| u8::try_from(number).unwrap_or_default();
        *list = List { len: byte(run.len()), seeds: byte(large.seeds), ..List::default() };
        if let Some(last) = run.last() {
            list.set_at(self.runs.put(&run, *last, room_of(run.len())));
        }
    }

    /// # Panics
    /// When lists overlap, or records are lost or counted wrongly. `lists` are all lists of the shard.
    pub(crate) fn check_invariants(&self, lists: &[List], hasher: &RandomState) {
        let mut runs: Vec<_> = lists.iter().filter(|list| !list.is_large() && list.len > 0).collect();
        runs.sort_by_key(|list| list.at());
        let ends = runs.iter().map(|list| list.at() + room_of(list.len.into()));
        assert!(ends.zip(runs.iter().skip(1)).all(|(end, next)| end <= next.at()), "runs overlap");
        assert!(runs.iter().all(|list| self.run(**list).len() == usize::from(list.len)), "a run that is nowhere");
        let live: usize = runs.iter().map(|list| room_of(list.len.into())).sum();
        assert_eq!(live, self.runs.live(), "records without an owner");
        let large = lists.iter().filter(|list| list.is_large());
        assert_eq!(large.count(), self.large.iter().flatten().count(), "large swarms without an owner");
        assert_eq!(
            self.large.iter().flatten().map(|large| large.len()).sum::<usize>(),
            self.large_peers,
            "large peers"
        );
        assert_eq!(self.large.iter().filter(|large| large.is_none()).count(), self.free.len(), "free places");
        self.large.iter().flatten().for_each(|large| large.check_invariants(hasher));
        for list in lists {
            assert!(self.seeds(*list) <= self.len(*list), "more seeds than peers");
        }
    }
}

#[cfg(test)]
mod tests;
