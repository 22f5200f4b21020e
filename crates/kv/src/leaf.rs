//! A leaf of the index: some neighbouring keys, in order, each with its history.
//! Never holds many: the index splits it when it is full.
//!
//! # Source
//! B+ trees (Bayer and McCreight, 1972; Comer, 1979).

use alloc::boxed::Box;

use crate::history::History;
use crate::record::{Parts, Record, Version};
use crate::sorted::{Keyed, Sorted};

/// A leaf that reaches this is full.
const KEYS_MAX: usize = 128;

/// Two neighbours that together have no more than this become one.
const MERGED_KEYS_MAX: usize = KEYS_MAX / 2;

/// Some neighbouring keys.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// The lowest key that it is for, unless it is the first.
    low: Box<[u8]>,
    histories: Sorted<History>,
    /// How many keys exist now.
    live: usize,
    /// No version here is newer than this.
    newest: i64,
}

impl Keyed for Leaf {
    fn key(&self) -> &[u8] {
        &self.low
    }
}

impl Keyed for History {
    fn key(&self) -> &[u8] {
        History::key(self)
    }
}

impl Leaf {
    /// One that has no keys yet, for those from `low` on.
    pub(crate) fn new(low: &[u8]) -> Leaf {
        Leaf {
            low: low.into(),
            histories: Sorted::default(),
            live: 0,
            newest: 0,
        }
    }

    /// It is the first, and will have others behind it: those must not be for lower keys.
    pub(crate) fn lower(&mut self) {
        self.low = self.histories()[0].key().into();
    }

    /// All histories, in the order of their keys.
    pub(crate) fn histories(&self) -> &[History] {
        self.histories.items()
    }

    /// How many keys existed at `revision`, if that can be told without looking at each.
    pub(crate) fn count_at(&self, revision: i64) -> Option<usize> {
        (self.newest <= revision).then_some(self.live)
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<&History> {
        let position = self.histories.search(key).ok()?;
        Some(&self.histories()[position])
    }

    /// The histories of the keys from `start` on.
    pub(crate) fn from(&self, start: &[u8]) -> &[History] {
        let histories = self.histories();
        // All leaves of a scan but the first.
        if histories.first().is_none_or(|first| first.key() >= start) {
            return histories;
        }
        let position = self.histories.search(start);
        &histories[position.unwrap_or_else(|position| position)..]
    }

    /// Appends the version that `make` makes of the key's newest one; see `Index::push`. Returns
    /// the right part of the leaf as well, if it has become full.
    pub(crate) fn push<'a, T>(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<Version<'_>>) -> (Record, Parts<'a>, T),
    ) -> (T, Option<Leaf>) {
        let found = self.histories.search(key);
        let newest = found
            .ok()
            .map(|position| self.histories()[position].newest());
        let newest = newest.map(|record| (record, record.parts()));
        let before = newest.map_or(i64::MIN, |(_, parts)| parts.main);
        let was_live = newest.is_some_and(|(_, parts)| !parts.is_tombstone());
        let (record, parts, told) = make(newest);
        assert_eq!(parts.key, key, "a version of another key");
        assert!(parts.main >= before, "a version older than the newest");
        let is_live = !parts.is_tombstone();
        self.newest = self.newest.max(parts.main);
        self.live = self.live + usize::from(is_live) - usize::from(was_live);
        match found {
            Ok(position) => {
                self.histories.item_mut(position).push(record);
                (told, None)
            }
            Err(position) => {
                self.histories.insert(position, record.into());
                (told, self.split(position))
            }
        }
    }

    /// Takes the newest version of `key` back, which must be here.
    pub(crate) fn pop(&mut self, key: &[u8]) {
        let position = self.histories.search(key);
        let position = position.expect("only what was written is taken back");
        let history = self.histories.item_mut(position);
        let was_live = !history.newest().parts().is_tombstone();
        let has_more = history.pop();
        let is_live = has_more && !history.newest().parts().is_tombstone();
        self.live = self.live + usize::from(is_live) - usize::from(was_live);
        if !has_more {
            self.histories.remove(position);
        }
    }

    /// Drops of `key` what a compaction to `compact_revision` does not keep.
    pub(crate) fn compact(&mut self, key: &[u8], compact_revision: i64) {
        if let Ok(position) = self.histories.search(key)
            && !self.histories.item_mut(position).compact(compact_revision)
        {
            self.histories.remove(position);
        }
    }

    /// Whether it is so small that a neighbour might take it in.
    pub(crate) fn is_small(&self) -> bool {
        self.histories().len() <= MERGED_KEYS_MAX / 2
    }

    /// Whether it and `right` should be one.
    pub(crate) fn may_take_in(&self, right: &Leaf) -> bool {
        self.histories().len() + right.histories().len() <= MERGED_KEYS_MAX
    }

    /// Appends all of `right`, whose keys come after those here.
    pub(crate) fn take_in(&mut self, right: Leaf) {
        self.histories.append(right.histories);
        self.live += right.live;
        self.newest = self.newest.max(right.newest);
    }

    /// The right part of a leaf that is full since a key came to `position`.
    fn split(&mut self, position: usize) -> Option<Leaf> {
        let histories = self.histories.split_full(KEYS_MAX, position)?;
        let is_live = |history: &&History| !history.newest().parts().is_tombstone();
        let live = histories.items().iter().filter(is_live).count();
        self.live -= live;
        Some(Leaf {
            low: histories.items()[0].key().into(),
            histories,
            live,
            newest: self.newest,
        })
    }
}
