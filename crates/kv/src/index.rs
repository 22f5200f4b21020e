//! The keys in order, each with its history.
//! Never looks at values, and never forgets a version by itself.
//!
//! Three levels: leaves of about a hundred keys, branches of about a hundred leaves, and all branches.
//! A leaf knows how many of its keys exist now and when it last changed, so counting a range of many
//! keys (as each page of a paged listing does) need not visit them.
//!
//! # Source
//! B+ trees (Bayer and McCreight, 1972; Comer, 1979), with three levels instead of any number.

use core::ops::Bound;

use crate::branch::Branch;
use crate::history::History;
use crate::leaf::Leaf;
use crate::record::{Parts, Record, Version};
use crate::sorted::Sorted;

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
    branches: Sorted<Branch>,
}

impl Index {
    pub(crate) fn find(&self, key: &[u8]) -> Option<&History> {
        let branch = self.branches.items().get(self.branches.search_below(key))?;
        branch.leaf(key).find(key)
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
        if self.branches.items().is_empty() {
            self.branches.insert(0, Branch::new(key));
        }
        let position = self.branches.search_below(key);
        let (told, right) = self.branches.item_mut(position).push(key, make);
        if let Some(right) = right {
            if position == 0 {
                self.branches.rename(0, Branch::lower);
            }
            self.branches.insert(position + 1, right);
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
        let branches = &self.branches.items()[self.branches.search_below(start)..];
        let (first, others) = branches.split_at(branches.len().min(1));
        let first = first.iter().flat_map(|branch| branch.leaves_from(start));
        first.chain(others.iter().flat_map(Branch::leaves))
    }

    /// Lets `shrink` take something off the leaf that is for `key`, if there is one.
    fn shrink(&mut self, key: &[u8], shrink: impl FnOnce(&mut Leaf)) {
        let position = self.branches.search_below(key);
        if position < self.branches.items().len()
            && !self.branches.item_mut(position).shrink(key, shrink)
        {
            self.branches.remove(position);
        }
    }
}

/// The bounds of all keys up to `key`, itself included.
pub(crate) fn up_to(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}

#[cfg(test)]
mod tests;
