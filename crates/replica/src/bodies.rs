//! The log's entries in memory: what peers can be served and what waits to be applied. What is old and
//! settled leaves it, and is on the disk alone; its weight stays.
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

/// The room for so many entries is never given back.
const ROOM_MIN: usize = 1024;

/// The entries after a base, with their running weight.
#[derive(Debug)]
pub(crate) struct Bodies {
    base: Index,
    /// The last ones of them: those that are in memory.
    entries: VecDeque<Entry>,
    /// Of each entry, the weight of all entries ever up to and including it.
    weights: VecDeque<u64>,
    /// The weight up to the base.
    base_weight: u64,
}

impl Bodies {
    pub(crate) fn new(base: LogId, entries: Vec<Entry>) -> Self {
        let mut weight = 0;
        let weights = entries.iter().map(|entry| {
            weight += weight_of(entry);
            weight
        });
        Self {
            base: base.index,
            weights: weights.collect(),
            entries: entries.into(),
            base_weight: 0,
        }
    }

    fn last(&self) -> Index {
        Index(self.base.0 + self.weights.len() as u64)
    }

    fn position(&self, index: Index) -> Option<usize> {
        index.0.checked_sub(self.base.0 + 1).map(|at| at as usize)
    }

    /// How many entries after the base are not in memory.
    fn gone(&self) -> usize {
        self.weights.len() - self.entries.len()
    }

    /// The entries up to here, and only they, are not in memory.
    pub(crate) fn on_disk(&self) -> Index {
        Index(self.base.0 + self.gone() as u64)
    }

    /// The entries up to `settled` leave memory, but for what lies in the last `keep_bytes` of the log.
    /// What is settled is on the disk, durable, and never changes.
    pub(crate) fn settle(&mut self, settled: Index, keep_bytes: u64) {
        let Some(&last) = self.weights.back() else {
            return;
        };
        let before = self.gone();
        let old = |&weight: &u64| weight.saturating_add(keep_bytes) <= last;
        while self.on_disk() < settled && self.weights.get(self.gone()).is_some_and(old) {
            self.entries.pop_front();
        }
        let (count, room) = (self.entries.len(), self.entries.capacity());
        if before < self.gone() && room / 4 > count.max(ROOM_MIN) {
            self.entries.shrink_to(2 * count);
        }
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
            weight += weight_of(&entry);
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
        let gone = self.gone();
        let start = self.position(first.id.index).expect("a repair in the log");
        let start = start.checked_sub(gone).expect("what is settled is whole");
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
            weight += weight_of(&self.entries[place]);
            self.weights[gone + place] = weight;
        }
    }

    /// Drops the entries from `from` on.
    pub(crate) fn truncate(&mut self, from: Index) {
        let gone = self.gone();
        let keep = self.position(from).expect("truncating what is forgotten");
        self.entries
            .truncate(keep.checked_sub(gone).expect("what is settled stays"));
        self.weights.truncate(keep);
    }

    /// Forgets the entries up to and including `base`.
    pub(crate) fn compact(&mut self, base: Index) {
        self.base_weight = self.weight(base);
        let count = base.0.saturating_sub(self.base.0) as usize;
        assert!(count <= self.weights.len(), "compacting beyond the log");
        self.entries.drain(..count.saturating_sub(self.gone()));
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

    /// The entry at `index`, if it is in memory.
    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        let place = self.position(index)?.checked_sub(self.gone())?;
        self.entries.get(place)
    }

    /// The entries `first..=last`, which must be in memory.
    pub(crate) fn range(&self, first: Index, last: Index) -> impl Iterator<Item = &Entry> + Clone {
        let from = self.on_disk().0;
        let start = first.0.checked_sub(from + 1);
        let start = start.expect("a range starts in memory") as usize;
        let end = (last.0 - from) as usize;
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

fn weight_of(entry: &Entry) -> u64 {
    OVERHEAD_BYTES + entry.body.len() as u64
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

    #[test]
    fn what_is_settled_leaves_memory_but_for_the_end_of_the_log_and_weighs_as_before() {
        let whole = Bodies::new(LogId::default(), (1..=9).map(|at| entry(at, 76)).collect());
        // Of nine entries of 100 bytes.
        for (settled, keep_bytes, on_disk) in [
            (9, 0, 9),
            (9, 299, 6),
            (9, 300, 6),
            (9, 301, 5),
            (4, 0, 4),
            (0, 0, 0),
        ] {
            let mut bodies =
                Bodies::new(LogId::default(), (1..=9).map(|at| entry(at, 76)).collect());
            bodies.settle(Index(settled), keep_bytes);
            assert_eq!(bodies.on_disk(), Index(on_disk), "{settled} {keep_bytes}");
            for index in (1..=9).map(Index) {
                assert_eq!(bodies.get(index).is_some(), index > Index(on_disk));
                assert_eq!(bodies.weight(index), whole.weight(index));
                assert_eq!(
                    bodies.fit(index, Index(9), 250),
                    whole.fit(index, Index(9), 250)
                );
            }
            let left = bodies.range(Index(on_disk + 1), Index(9));
            assert!(left.map(|entry| entry.id.index.0).eq(on_disk + 1..=9));
        }
    }

    #[test]
    fn a_log_of_which_a_part_is_on_disk_alone_grows_is_cut_repaired_and_compacted() {
        let mut bodies = Bodies::new(LogId::default(), (1..=9).map(|at| entry(at, 76)).collect());
        bodies.settle(Index(5), 0);
        bodies.truncate(Index(8));
        bodies.append(vec![entry(8, 176)]);
        let weight = |bodies: &Bodies, index| bodies.weight(Index(index));
        assert_eq!((weight(&bodies, 7), weight(&bodies, 8)), (700, 900));
        bodies.restore(&[entry(6, 276)]);
        assert_eq!(
            (weight(&bodies, 5), weight(&bodies, 6), weight(&bodies, 8)),
            (500, 800, 1100)
        );
        assert_eq!(bodies.range(Index(6), Index(8)).count(), 3);
        bodies.compact(Index(3));
        assert_eq!((bodies.on_disk(), bodies.entries.len()), (Index(5), 3));
        bodies.compact(Index(7));
        assert_eq!((bodies.on_disk(), bodies.entries.len()), (Index(7), 1));
        assert_eq!(weight(&bodies, 8) - weight(&bodies, 7), 200);
        bodies.settle(Index(8), 0);
        bodies.append(vec![entry(9, 0)]);
        assert_eq!((bodies.on_disk(), weight(&bodies, 9)), (Index(8), 1124));
    }

    #[test]
    fn the_room_of_what_has_left_is_given_back() {
        let mut bodies = Bodies::new(
            LogId::default(),
            (1..=100_000).map(|at| entry(at, 0)).collect(),
        );
        bodies.settle(Index(100_000), 0);
        assert!(bodies.entries.capacity() <= 4 * ROOM_MIN);
    }
}
