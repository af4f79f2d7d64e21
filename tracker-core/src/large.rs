//! The peers of one family in a swarm of many.
//!
//! The records stand densely in pieces, so that growing copies nothing and a random choice is one look; an
//! index says where an address stands. The index grows by splitting one small table at a time (linear hashing), so that no
//! announce pays for all peers.

use crate::pieces::Pieces;
use crate::record::Record;
use crate::runs::PIECE;
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// Addresses of a table on average, before one is split.
const TABLE: usize = 448;
/// Where no record stands.
const NOWHERE: usize = u32::MAX as usize;

/// Many peers; the first `seeds` are the seeds.
#[derive(Debug)]
pub(crate) struct Large<const L: usize> {
    records: Pieces<Record<L>, PIECE>,
    pub(crate) seeds: usize,
    tables: Vec<HashTable<u32>>,
}

impl<const L: usize> Large<L> {
    /// What the index takes for a peer: five bytes a bucket, of which a half are in use.
    pub(crate) const INDEX_BYTES: usize = 10;

    pub(crate) fn new(records: &[Record<L>], seeds: usize, hasher: &RandomState) -> Self {
        let mut large = Self { records: Pieces::new(), seeds, tables: vec![HashTable::new()] };
        records.iter().for_each(|record| large.push(*record, hasher));
        large
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Record<L>> {
        self.records.get(index)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Record<L>> {
        self.records.get_mut(index)
    }

    pub(crate) fn find(&self, address: &[u8; L], hasher: &RandomState) -> Option<usize> {
        let hash = hasher.hash_one(address);
        let table = self.tables.get(table_of(hash, self.tables.len()))?;
        table
            .find(hash, |&at| self.get(at as usize).is_some_and(|record| record.address == *address))
            .map(|at| *at as usize)
    }

    pub(crate) fn push(&mut self, record: Record<L>, hasher: &RandomState) {
        let at = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.records.push(record);
        let hash = hasher.hash_one(record.address);
        let table = table_of(hash, self.tables.len());
        self.insert(table, hash, at, hasher);
        if self.len() > TABLE * self.tables.len() {
            self.split(hasher);
        }
    }

    /// Removes the last one.
    pub(crate) fn pop(&mut self, hasher: &RandomState) -> Option<Record<L>> {
        let record = self.records.pop()?;
        self.entry(&record.address, self.len(), hasher, |entry| {
            entry.remove();
        });
        if self.tables.len() > 1 && self.len() < TABLE / 4 * self.tables.len() {
            self.merge(hasher);
        }
        Some(record)
    }

    pub(crate) fn swap(&mut self, one: usize, other: usize, hasher: &RandomState) {
        let (Some(&first), Some(&second)) = (self.get(one), self.get(other)) else { return };
        if one == other {
            return;
        }
        // An entry is found by where its record stands, so no two may say the same meanwhile.
        let to = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        self.entry(&first.address, one, hasher, |mut entry| *entry.get_mut() = u32::MAX);
        self.entry(&second.address, other, hasher, |mut entry| *entry.get_mut() = to(one));
        self.entry(&first.address, NOWHERE, hasher, |mut entry| *entry.get_mut() = to(other));
        if let Some(record) = self.get_mut(one) {
            *record = second;
        }
        if let Some(record) = self.get_mut(other) {
            *record = first;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record<L>> {
        self.records.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Record<L>> {
        self.records.iter_mut()
    }

    fn entry(
        &mut self,
        address: &[u8; L],
        at: usize,
        hasher: &RandomState,
        work: impl FnOnce(hashbrown::hash_table::OccupiedEntry<'_, u32>),
    ) {
        let hash = hasher.hash_one(address);
        let table = table_of(hash, self.tables.len());
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        if let Some(Ok(entry)) = self.tables.get_mut(table).map(|table| table.find_entry(hash, |&other| other == at)) {
            work(entry);
        }
    }

    fn insert(&mut self, table: usize, hash: u64, at: u32, hasher: &RandomState) {
        let Self { tables, records, .. } = self;
        if let Some(table) = tables.get_mut(table) {
            table.insert_unique(hash, at, |&at| hash_at(records, at, hasher));
        }
    }

    /// Takes the entries that belong there out of one table into a new one.
    fn split(&mut self, hasher: &RandomState) {
        let partner = partner(self.tables.len());
        let half = self.tables.get(partner).map_or(0, HashTable::len) / 2 + 16;
        self.tables.push(HashTable::with_capacity(half));
        self.move_entries(partner, hasher);
    }

    /// Takes the entries of the last table back into that which it was split from.
    fn merge(&mut self, hasher: &RandomState) {
        let Some(last) = self.tables.pop() else { return };
        let target = partner(self.tables.len());
        for at in last {
            let hash = hash_at(&self.records, at, hasher);
            self.insert(target, hash, at, hasher);
        }
    }

    fn move_entries(&mut self, from: usize, hasher: &RandomState) {
        let Some(table) = self.tables.get_mut(from) else { return };
        let entries = std::mem::replace(table, HashTable::with_capacity(table.len() / 2 + 16));
        for at in entries {
            let hash = hash_at(&self.records, at, hasher);
            self.insert(table_of(hash, self.tables.len()), hash, at, hasher);
        }
    }

    /// # Panics
    /// When the index and the records do not agree.
    pub(crate) fn check_invariants(&self, hasher: &RandomState) {
        assert_eq!(self.tables.iter().map(HashTable::len).sum::<usize>(), self.len(), "records in the index");
        for (at, record) in self.iter().enumerate() {
            assert_eq!(self.find(&record.address, hasher), Some(at), "the index leads elsewhere");
        }
    }
}

fn hash_at<const L: usize>(records: &Pieces<Record<L>, PIECE>, at: u32, hasher: &RandomState) -> u64 {
    records.get(at as usize).map_or(0, |record| hasher.hash_one(record.address))
}

/// In which of so many tables an address belongs.
fn table_of(hash: u64, tables: usize) -> usize {
    // The tables themselves use the lowest and the highest bits.
    let hash = usize::try_from(hash >> 20 & 0xffff_ffff).unwrap_or_default();
    let round = tables.next_power_of_two();
    let place = hash & (round - 1);
    if place < tables { place } else { place - round / 2 }
}

/// The table out of which the one with this number was split.
fn partner(number: usize) -> usize {
    number - (number + 1).next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_split_from_its_partner_and_no_other_entry_moves() {
        for tables in 1..200 {
            for hash in (0..5_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
                let (before, after) = (table_of(hash, tables), table_of(hash, tables + 1));
                assert!(
                    before == after || (after == tables && before == partner(tables)),
                    "{before} {after} of {tables}"
                );
            }
        }
    }
}
