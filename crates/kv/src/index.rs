//! The keys in order, each with its history.
//! Never looks at values, and never forgets a version by itself.
//!
//! Two levels: sorted leaves of about a hundred keys, and an ordered map from each leaf's lowest
//! possible key to the leaf. A leaf knows how many of its keys exist now and when it
//! last changed, so counting a range of many keys (as each page of a paged listing does) need not
//! visit them.
//!
//! # Source
//! B+ trees (Bayer and McCreight, 1972; Comer, 1979), with two levels instead of many.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ops::Bound;

use crate::history::History;
use crate::leaf::Leaf;
use crate::record::{Parts, Record, Version};

/// A range of keys: from `start` on, up to but without `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeyRange<'a> {
    pub(crate) start: &'a [u8],
    pub(crate) end: End<'a>,
}

/// Where a range ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End<'a> {
    /// With its first key.
    Single,
    /// Before this key.
    Before(&'a [u8]),
    /// Nowhere.
    Unbounded,
}

impl<'a> KeyRange<'a> {
    /// The range a request names; see [`RangeRequest`](crate::request::RangeRequest).
    pub(crate) fn new(key: &'a [u8], range_end: &'a [u8]) -> KeyRange<'a> {
        let end = match range_end {
            [] => End::Single,
            [0] => End::Unbounded,
            end => End::Before(end),
        };
        KeyRange { start: key, end }
    }

    /// Whether `key`, which is not before the start, is beyond the end.
    fn is_beyond(&self, key: &[u8]) -> bool {
        match self.end {
            End::Single => key != self.start,
            End::Before(end) => key >= end,
            End::Unbounded => false,
        }
    }
}

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By lowest possible key; the first leaf's is the empty one.
    leaves: BTreeMap<Box<[u8]>, Leaf>,
}

impl Index {
    pub(crate) fn find(&self, key: &[u8]) -> Option<&History> {
        let (_, leaf) = self.leaves.range::<[u8], _>(up_to(key)).next_back()?;
        leaf.find(key)
    }

    /// Appends the version that `make` makes of the key's newest one.
    ///
    /// `make` gets `None` if the key has no version at all; it returns what to append, that one's
    /// fields, and something for the caller.
    pub(crate) fn push<'a, T>(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<Version<'_>>) -> (Record, Parts<'a>, T),
    ) -> T {
        assert!(!key.is_empty(), "an empty key");
        if self.leaves.is_empty() {
            self.leaves.insert(Box::default(), Leaf::default());
        }
        let (_, leaf) = self
            .leaves
            .range_mut::<[u8], _>(up_to(key))
            .next_back()
            .expect("the first leaf is for the lowest keys");
        let (told, right) = leaf.push(key, make);
        if let Some(right) = right {
            // Mark: a leaf of the index is split.
            self.leaves.insert(right.histories()[0].key().into(), right);
        }
        told
    }

    /// Takes the newest version of `key` back.
    pub(crate) fn pop(&mut self, key: &[u8]) {
        self.shrink(key, |leaf| leaf.pop(key));
    }

    /// Drops of `key` what a compaction to `compact_revision` does not keep.
    pub(crate) fn compact(&mut self, key: &[u8], compact_revision: i64) {
        self.shrink(key, |leaf| leaf.compact(key, compact_revision));
    }

    /// The keys of a range that existed at `revision`, in order, as they were.
    pub(crate) fn visible(
        &self,
        range: KeyRange<'_>,
        revision: i64,
    ) -> impl Iterator<Item = &Record> {
        self.histories(range)
            .filter_map(move |history| history.live_at(revision))
    }

    /// The histories of a range's keys, in order.
    pub(crate) fn histories(&self, range: KeyRange<'_>) -> impl Iterator<Item = &History> {
        self.leaves_from(range.start)
            .flat_map(move |leaf| leaf.from(range.start))
            .take_while(move |history| !range.is_beyond(history.key()))
    }

    /// How many keys of a range existed at `revision`.
    pub(crate) fn count(&self, range: KeyRange<'_>, revision: i64) -> usize {
        let mut count = 0;
        for leaf in self.leaves_from(range.start) {
            let histories = leaf.from(range.start);
            let is_cut = histories
                .last()
                .is_some_and(|last| range.is_beyond(last.key()));
            let is_whole = !is_cut && histories.len() == leaf.histories().len();
            if let Some(known) = leaf.count_at(revision).filter(|_| is_whole) {
                count += known;
                continue;
            }
            count += histories
                .iter()
                .take_while(|history| !range.is_beyond(history.key()))
                .filter(|history| history.live_at(revision).is_some())
                .count();
            if is_cut {
                break;
            }
        }
        count
    }

    /// The leaves that can hold keys from `start` on.
    fn leaves_from(&self, start: &[u8]) -> impl Iterator<Item = &Leaf> {
        let first = self.leaves.range::<[u8], _>(up_to(start)).next_back();
        let others = self
            .leaves
            .range::<[u8], _>((Bound::Excluded(start), Bound::Unbounded));
        first.into_iter().chain(others).map(|(_, leaf)| leaf)
    }

    /// Lets `shrink` take something off the leaf that holds `key`, if there is one.
    fn shrink(&mut self, key: &[u8], shrink: impl FnOnce(&mut Leaf)) {
        let Some((low, leaf)) = self.leaves.range_mut::<[u8], _>(up_to(key)).next_back() else {
            return;
        };
        let keys = leaf.histories().len();
        shrink(leaf);
        if leaf.histories().len() < keys && leaf.is_small() {
            let low = low.clone();
            self.merge(&low);
        }
    }

    /// Removes a small leaf if it is empty; else joins it with its right neighbour if that is
    /// small too.
    fn merge(&mut self, low: &[u8]) {
        let mut following = self
            .leaves
            .range::<[u8], _>((Bound::Included(low), Bound::Unbounded));
        let (_, leaf) = following.next().expect("the leaf just changed");
        // The first leaf stays before others even if empty: the lowest keys need a place.
        if leaf.histories().is_empty() && (!low.is_empty() || self.leaves.len() == 1) {
            // Mark: an empty leaf of the index goes.
            self.leaves.remove(low);
            return;
        }
        let Some((right_low, right)) = following.next() else {
            return;
        };
        if !leaf.may_take_in(right) {
            return;
        }
        // Mark: two small leaves of the index become one.
        let right_low = right_low.clone();
        let right = self.leaves.remove(&right_low).expect("it was just seen");
        let leaf = self.leaves.get_mut(low).expect("it was just seen");
        leaf.take_in(right);
    }
}

/// The bounds of all keys up to `key`, itself included.
pub(crate) fn up_to(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}

#[cfg(test)]
mod tests;
