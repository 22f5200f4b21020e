//! The log's entries in memory: what peers can be served and what waits to be applied.
//! Never decides what is committed or may be forgotten.
//!
//! # Source
//! Raft paper §5.3, §7.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use headwater_raft::{Index, LogId};

use crate::entry::Entry;

/// What one entry weighs beside its body, on disk and on the wire.
pub(crate) const OVERHEAD_BYTES: u64 = 24;

/// The entries after a base, with their running weight.
#[derive(Debug)]
pub(crate) struct Bodies {
    base: Index,
    entries: VecDeque<Entry>,
    /// Of each entry, the weight of all entries ever up to and including it.
    weights: VecDeque<u64>,
    /// The weight up to the base.
    base_weight: u64,
}

impl Bodies {
    pub(crate) fn new(base: LogId, entries: Vec<Entry>) -> Self {
        let mut bodies = Self {
            base: base.index,
            entries: VecDeque::new(),
            weights: VecDeque::new(),
            base_weight: 0,
        };
        bodies.append(entries);
        bodies
    }

    fn last(&self) -> Index {
        Index(self.base.0 + self.entries.len() as u64)
    }

    fn position(&self, index: Index) -> Option<usize> {
        index.0.checked_sub(self.base.0 + 1).map(|at| at as usize)
    }

    /// Adds entries at the end.
    ///
    /// # Panics
    /// If they do not continue the log.
    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let (mut last, mut weight) = (self.last(), self.weight(self.last()));
        for entry in entries {
            assert_eq!(
                entry.id.index,
                last.next(),
                "entries do not continue the log"
            );
            last = entry.id.index;
            weight += OVERHEAD_BYTES + entry.body.len() as u64;
            self.entries.push_back(entry);
            self.weights.push_back(weight);
        }
    }

    /// Entries come back that could not be read.
    ///
    /// # Panics
    /// If they are not the ones that stand there.
    pub(crate) fn restore(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let start = self.position(first.id.index).expect("a repair in the log");
        let mut weight = self.weight(first.id.index.prev());
        for (place, entry) in (start..).zip(entries) {
            assert_eq!(
                self.entries[place].id, entry.id,
                "a repair of another entry"
            );
            self.entries[place] = entry.clone();
        }
        // What lies behind weighs more by what has come back.
        for place in start..self.entries.len() {
            weight += OVERHEAD_BYTES + self.entries[place].body.len() as u64;
            self.weights[place] = weight;
        }
    }

    /// Drops the entries from `from` on.
    pub(crate) fn truncate(&mut self, from: Index) {
        let keep = self.position(from).expect("truncating what is forgotten");
        self.entries.truncate(keep);
        self.weights.truncate(keep);
    }

    /// Forgets the entries up to and including `base`.
    pub(crate) fn compact(&mut self, base: Index) {
        self.base_weight = self.weight(base);
        let count = base.0.saturating_sub(self.base.0) as usize;
        assert!(count <= self.entries.len(), "compacting beyond the log");
        self.entries.drain(..count);
        self.weights.drain(..count);
        self.base = self.base.max(base);
    }

    /// Starts anew, empty, after `base`.
    pub(crate) fn reset(&mut self, base: LogId) {
        self.base_weight = self.weight(self.last());
        self.entries.clear();
        self.weights.clear();
        self.base = base.index;
    }

    /// The entry at `index`, if it is here.
    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.position(index)?)
    }

    /// The entries `first..=last`.
    pub(crate) fn range(&self, first: Index, last: Index) -> impl Iterator<Item = &Entry> + Clone {
        let start = self.position(first).expect("a range starts inside the log");
        let end = (last.0 - self.base.0) as usize;
        self.entries.range(start..end.max(start))
    }

    /// The weight in bytes of all entries ever up to `index`, which must be here or be the base.
    /// Only differences of weights mean anything.
    pub(crate) fn weight(&self, index: Index) -> u64 {
        match self.position(index) {
            None => self.base_weight,
            Some(at) => {
                let known = self.weights.get(at).or(self.weights.back());
                known.copied().unwrap_or(self.base_weight)
            }
        }
    }

    /// The last index of a range that starts at `first`, ends by `last`, holds at least one entry
    /// and weighs at most about `bytes`.
    pub(crate) fn fit(&self, first: Index, last: Index, bytes: u64) -> Index {
        let limit = self.weight(first.prev()) + bytes;
        if self.weight(last) <= limit {
            return last;
        }
        let start = self.position(first).expect("a range starts inside the log");
        let within = self.weights.partition_point(|&weight| weight <= limit);
        let end = Index(self.base.0 + within.max(start + 1) as u64);
        end.min(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryKind;
    use alloc::vec;
    use bytes::Bytes;
    use headwater_raft::Term;

    fn entry(index: u64, bytes: usize) -> Entry {
        let id = LogId::new(Term(1), Index(index));
        Entry::new(id, EntryKind::Command, Bytes::from(vec![0; bytes]))
    }

    #[test]
    fn a_message_takes_what_fits_but_at_least_one_entry() {
        let bodies = Bodies::new(LogId::default(), (1..=5).map(|at| entry(at, 76)).collect());
        let fit = |first, bytes| bodies.fit(Index(first), Index(5), bytes).0;
        assert_eq!(
            (fit(1, 0), fit(1, 100), fit(1, 299), fit(1, 300)),
            (1, 1, 2, 3)
        );
        assert_eq!((fit(3, 100), fit(3, 10_000), fit(5, 1)), (3, 5, 5));
    }

    #[test]
    fn weights_outlive_compaction_truncation_and_reset() {
        let mut bodies = Bodies::new(LogId::default(), (1..=5).map(|at| entry(at, 76)).collect());
        bodies.compact(Index(2));
        assert_eq!(bodies.weight(Index(4)) - bodies.weight(Index(2)), 200);
        bodies.truncate(Index(4));
        bodies.append(vec![entry(4, 0)]);
        assert_eq!(bodies.weight(Index(4)) - bodies.weight(Index(3)), 24);
        assert_eq!(bodies.range(Index(3), Index(4)).count(), 2);
        bodies.reset(LogId::new(Term(3), Index(9)));
        bodies.append(vec![entry(10, 0)]);
        assert_eq!(bodies.weight(Index(10)) - bodies.weight(Index(9)), 24);
        assert!(bodies.get(Index(9)).is_none() && bodies.get(Index(10)).is_some());
    }
}
