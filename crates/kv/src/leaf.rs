//! A leaf of the index: some neighbouring keys, in order, each with its history.
//! Never holds many: the index splits it when it is full.
//!
//! A key lies in its record, somewhere in memory, and looking there for each step of a search would
//! miss the cache each time. So a leaf knows what all its keys begin with, and of each key the
//! eight bytes that follow, next to each other; only keys that agree so far are looked at.
//!
//! # Source
//! Prefix B-trees (Bayer and Unterauer, 1977); "poor man's normalized keys" (Graefe and Larson,
//! B-Tree Indexes and CPU Caches, 2001).

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::history::History;
use crate::record::Record;

/// A leaf that reaches this is full.
const KEYS_MAX: usize = 128;

/// Two neighbours that together have no more than this become one.
const MERGED_KEYS_MAX: usize = KEYS_MAX / 2;

/// Some neighbouring keys.
#[derive(Debug, Default)]
pub(crate) struct Leaf {
    histories: Vec<History>,
    /// Of each key, the bytes after the prefix as a number that is ordered like them.
    heads: Vec<u64>,
    /// What all keys begin with.
    prefix: Box<[u8]>,
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
    pub(crate) fn push<T>(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<&Record>) -> (Record, T),
    ) -> (T, Option<Leaf>) {
        let found = self.search(key);
        let previous = found.ok().map(|position| self.histories[position].newest());
        let was_live = previous.is_some_and(|record| !record.parts().is_tombstone());
        let (record, told) = make(previous);
        let parts = record.parts();
        assert_eq!(parts.key, key, "a version of another key");
        let is_live = !parts.is_tombstone();
        self.newest = self.newest.max(parts.main);
        self.live = self.live + usize::from(is_live) - usize::from(was_live);
        match found {
            Ok(position) => {
                self.histories[position].push(record);
                (told, None)
            }
            Err(position) => {
                self.insert(position, key, History::One(record));
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
        let Some(rest) = key.strip_prefix(&self.prefix[..]) else {
            let is_before = key < &self.prefix[..];
            return Err(if is_before { 0 } else { self.histories.len() });
        };
        let head = head(rest);
        let from = self.heads.partition_point(|&other| other < head);
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

    fn insert(&mut self, position: usize, key: &[u8], history: History) {
        self.histories.insert(position, history);
        if key.starts_with(&self.prefix) && self.histories.len() > 1 {
            self.heads.insert(position, head(&key[self.prefix.len()..]));
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

    /// Finds out anew what all keys begin with and what follows.
    fn look_ahead(&mut self) {
        self.heads.clear();
        let [first, .., last] = self.histories.as_slice() else {
            self.prefix = self
                .histories
                .first()
                .map_or(Box::default(), |only| only.key().into());
            self.heads.resize(self.histories.len(), head(&[]));
            return;
        };
        // What the lowest and the highest have in common, those between have too.
        let same = first
            .key()
            .iter()
            .zip(last.key())
            .take_while(|(a, b)| a == b)
            .count();
        self.prefix = first.key()[..same].into();
        self.heads.extend(
            self.histories
                .iter()
                .map(|history| head(&history.key()[same..])),
        );
    }
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
