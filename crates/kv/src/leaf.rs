//! A leaf of the index: some neighbouring keys, in order, each with its history.
//! Never holds many: the index splits it when it is full.
//!
//! A key lies in its record, somewhere in memory, and looking there for each step of a search would
//! miss the cache each time. So a leaf knows how many bytes all its keys begin with, and of each key
//! the eight that follow, next to each other; only keys that agree so far are looked at. The bytes
//! that all begin with are not looked at either, unless the key is not found: then one record says
//! on which side of them it is.
//!
//! # Source
//! Prefix B-trees (Bayer and Unterauer, 1977); "poor man's normalized keys" (Graefe and Larson,
//! B-Tree Indexes and CPU Caches, 2001).

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::history::History;
use crate::record::{Parts, Record, Version};

/// A leaf that reaches this is full.
const KEYS_MAX: usize = 128;

/// Two neighbours that together have no more than this become one.
const MERGED_KEYS_MAX: usize = KEYS_MAX / 2;

/// So many heads lie in a line of the cache.
const LINE_HEADS: usize = 8;

/// Some neighbouring keys.
#[derive(Debug, Default)]
pub(crate) struct Leaf {
    histories: Vec<History>,
    /// Of each key, what follows the bytes that all begin with, as a number that is ordered like it.
    heads: Vec<u64>,
    /// How many bytes all keys begin with.
    same: usize,
    /// How many keys exist now.
    live: usize,
    /// No version here is newer than this.
    newest: i64,
}

impl Leaf {
    /// All histories, in the order of their keys.
    pub(crate) fn histories(&self) -> &[History] {
        &self.histories
    }

    /// How many keys existed at `revision`, if that can be told without looking at each.
    pub(crate) fn count_at(&self, revision: i64) -> Option<usize> {
        (self.newest <= revision).then_some(self.live)
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<&History> {
        self.search(key)
            .ok()
            .map(|position| &self.histories[position])
    }

    /// The histories of the keys from `start` on.
    pub(crate) fn from(&self, start: &[u8]) -> &[History] {
        // All leaves of a scan but the first.
        if self
            .histories
            .first()
            .is_none_or(|first| first.key() >= start)
        {
            return &self.histories;
        }
        let position = self.search(start).unwrap_or_else(|position| position);
        &self.histories[position..]
    }

    /// Appends the version that `make` makes of the key's newest one; see `Index::push`. Returns
    /// the right part of the leaf as well, if it has become full.
    pub(crate) fn push<'a, T>(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<Version<'_>>) -> (Record, Parts<'a>, T),
    ) -> (T, Option<Leaf>) {
        let found = self.search(key);
        let newest = found.ok().map(|position| self.histories[position].newest());
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
                self.histories[position].push(record);
                (told, None)
            }
            Err(position) => {
                self.insert(position, key, record.into());
                (told, self.split(position))
            }
        }
    }

    /// Takes the newest version of `key` back, which must be here.
    pub(crate) fn pop(&mut self, key: &[u8]) {
        let position = self
            .search(key)
            .expect("only what was written is taken back");
        let history = &mut self.histories[position];
        let was_live = !history.newest().parts().is_tombstone();
        let has_more = history.pop();
        let is_live = has_more && !history.newest().parts().is_tombstone();
        self.live = self.live + usize::from(is_live) - usize::from(was_live);
        if !has_more {
            self.remove(position);
        }
    }

    /// Drops of `key` what a compaction to `compact_revision` does not keep.
    pub(crate) fn compact(&mut self, key: &[u8], compact_revision: i64) {
        if let Ok(position) = self.search(key)
            && !self.histories[position].compact(compact_revision)
        {
            self.remove(position);
        }
    }

    /// Whether it is so small that a neighbour might take it in.
    pub(crate) fn is_small(&self) -> bool {
        self.histories.len() <= MERGED_KEYS_MAX / 2
    }

    /// Whether it and `right` should be one.
    pub(crate) fn may_take_in(&self, right: &Leaf) -> bool {
        self.histories.len() + right.histories.len() <= MERGED_KEYS_MAX
    }

    /// Appends all of `right`, whose keys come after those here.
    pub(crate) fn take_in(&mut self, right: Leaf) {
        self.histories.extend(right.histories);
        self.live += right.live;
        self.newest = self.newest.max(right.newest);
        self.look_ahead();
    }

    /// Where `key` is, or where it belongs.
    fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let found = key
            .get(self.same..)
            .map_or(Err(0), |rest| self.search_among(head(rest), key));
        found.map_err(|position| match self.compare_prefix(key) {
            Ordering::Less => 0,
            Ordering::Equal => position,
            Ordering::Greater => self.histories.len(),
        })
    }

    /// The same, if `key` begins like all others; its head is known.
    fn search_among(&self, head: u64, key: &[u8]) -> Result<usize, usize> {
        let from = first_from(&self.heads, head);
        let alike = self.heads[from..]
            .iter()
            .take_while(|&&other| other == head)
            .count();
        let found =
            self.histories[from..from + alike].binary_search_by(|history| history.key().cmp(key));
        found
            .map(|position| from + position)
            .map_err(|position| from + position)
    }

    /// How `key` compares to all the keys, going by what they begin with.
    fn compare_prefix(&self, key: &[u8]) -> Ordering {
        let Some(first) = self.histories.first() else {
            return Ordering::Equal;
        };
        let prefix = &first.key()[..self.same];
        key[..key.len().min(self.same)].cmp(prefix)
    }

    fn insert(&mut self, position: usize, key: &[u8], history: History) {
        let begins_alike = self.compare_prefix(key).is_eq();
        self.histories.insert(position, history);
        if begins_alike && self.histories.len() > 1 {
            self.heads.insert(position, head(&key[self.same..]));
        } else {
            self.look_ahead();
        }
    }

    fn remove(&mut self, position: usize) {
        self.histories.remove(position);
        self.heads.remove(position);
    }

    /// The right part of a leaf that is full since a key came to `position`.
    fn split(&mut self, position: usize) -> Option<Leaf> {
        let len = self.histories.len();
        if len < KEYS_MAX {
            return None;
        }
        // Keys often come in order, and then a leaf cut in the middle would stay half empty.
        let at = if position == len - 1 {
            position
        } else {
            len / 2
        };
        let histories = self.histories.split_off(at);
        let is_live = |history: &&History| !history.newest().parts().is_tombstone();
        let live = histories.iter().filter(is_live).count();
        self.live -= live;
        let mut right = Leaf {
            histories,
            live,
            newest: self.newest,
            ..Leaf::default()
        };
        right.look_ahead();
        self.look_ahead();
        Some(right)
    }

    /// Finds out anew how many bytes all keys begin with and what follows.
    fn look_ahead(&mut self) {
        self.heads.clear();
        let (Some(first), Some(last)) = (self.histories.first(), self.histories.last()) else {
            self.same = 0;
            return;
        };
        // What the lowest and the highest have in common, those between have too.
        let both = first.key().iter().zip(last.key());
        self.same = both.take_while(|(a, b)| a == b).count();
        let rests = self
            .histories
            .iter()
            .map(|history| &history.key()[self.same..]);
        self.heads.extend(rests.map(head));
    }
}

/// The position of the first number that is not below `head`.
///
/// A binary search would wait for the memory at each of its steps. This first looks at one number of
/// each line of the cache, and none of these looks waits for another.
fn first_from(heads: &[u64], head: u64) -> usize {
    let is_below = |other: &&u64| **other < head;
    let lines = heads.chunks_exact(LINE_HEADS);
    let below = lines.filter(|line| line[LINE_HEADS - 1] < head).count() * LINE_HEADS;
    let line = heads[below..].iter().take(LINE_HEADS);
    below + line.filter(is_below).count()
}

/// The first eight bytes as a number, missing ones as zero. A lower number means a lower key; the
/// same number means nothing.
fn head(rest: &[u8]) -> u64 {
    if let Some(whole) = rest.first_chunk() {
        return u64::from_be_bytes(*whole);
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}
