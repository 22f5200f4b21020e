//! Neighbours in the order of their keys, found with few waits for memory.
//! Never holds many: whoever keeps them splits them in time.
//!
//! A key lies somewhere in memory, and looking there for each step of a search would miss the cache
//! each time. So it is known how many bytes all keys begin with, and of each key the eight that
//! follow, next to each other; only keys that agree so far are looked at. The bytes that all begin
//! with are not looked at either, unless the key is not found: then one key says on which side of
//! them it is.
//!
//! # Source
//! Prefix B-trees (Bayer and Unterauer, 1977); "poor man's normalized keys" (Graefe and Larson,
//! B-Tree Indexes and CPU Caches, 2001).

use alloc::vec::Vec;
use core::cmp::Ordering;

/// So many heads lie in a line of the cache.
const LINE_HEADS: usize = 8;

/// What has a key.
pub(crate) trait Keyed {
    /// The key.
    fn key(&self) -> &[u8];
}

/// Some neighbours.
#[derive(Debug)]
pub(crate) struct Sorted<T> {
    items: Vec<T>,
    /// Of each key, what follows the bytes that all begin with, as a number that is ordered like it.
    heads: Vec<u64>,
    /// How many bytes all keys begin with.
    same: usize,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            heads: Vec::new(),
            same: 0,
        }
    }
}

impl<T: Keyed> Sorted<T> {
    /// All of them, in order.
    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }

    /// The one at `position`, whose key must stay.
    pub(crate) fn item_mut(&mut self, position: usize) -> &mut T {
        &mut self.items[position]
    }

    /// Where `key` is, or where it belongs.
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let found = key
            .get(self.same..)
            .map_or(Err(0), |rest| self.search_among(head(rest), key));
        found.map_err(|position| match self.compare_prefix(key) {
            Ordering::Less => 0,
            Ordering::Equal => position,
            Ordering::Greater => self.items.len(),
        })
    }

    /// Where `key` is if each stands for the keys from its own on, and the first for all before.
    pub(crate) fn search_below(&self, key: &[u8]) -> usize {
        self.search(key)
            .unwrap_or_else(|position| position.saturating_sub(1))
    }

    /// Puts one where [`Self::search`] says that it belongs.
    pub(crate) fn insert(&mut self, position: usize, item: T) {
        let begins_alike = self.compare_prefix(item.key()).is_eq();
        self.items.insert(position, item);
        if begins_alike && self.items.len() > 1 {
            let key = self.items[position].key();
            self.heads.insert(position, head(&key[self.same..]));
        } else {
            self.look_ahead();
        }
    }

    /// Changes the key of one, but not its place.
    pub(crate) fn rename(&mut self, position: usize, rename: impl FnOnce(&mut T)) {
        rename(&mut self.items[position]);
        self.look_ahead();
    }

    /// Takes one away.
    pub(crate) fn remove(&mut self, position: usize) -> T {
        self.heads.remove(position);
        self.items.remove(position)
    }

    /// Takes away all from `position` on.
    fn split_off(&mut self, position: usize) -> Sorted<T> {
        let mut right = Self {
            items: self.items.split_off(position),
            ..Self::default()
        };
        right.look_ahead();
        self.look_ahead();
        right
    }

    /// Takes away the right part of what is full, at `max`, since one came to `position`.
    pub(crate) fn split_full(&mut self, max: usize, position: usize) -> Option<Sorted<T>> {
        let len = self.items.len();
        if len < max {
            return None;
        }
        // Keys often come in order, and then what is cut in the middle would stay half empty.
        let at = if position == len - 1 {
            position
        } else {
            len / 2
        };
        Some(self.split_off(at))
    }

    /// Appends others, whose keys come after those here.
    pub(crate) fn append(&mut self, right: Sorted<T>) {
        self.items.extend(right.items);
        self.look_ahead();
    }

    /// What [`Self::search`] finds if `key` begins like all others; `head` is its own.
    fn search_among(&self, head: u64, key: &[u8]) -> Result<usize, usize> {
        let from = first_from(&self.heads, head);
        let alike = self.heads[from..]
            .iter()
            .take_while(|&&h| h == head)
            .count();
        let found = self.items[from..from + alike].binary_search_by(|item| item.key().cmp(key));
        found
            .map(|position| from + position)
            .map_err(|position| from + position)
    }

    /// How `key` compares to all others, going by what they begin with.
    fn compare_prefix(&self, key: &[u8]) -> Ordering {
        let Some(first) = self.items.first() else {
            return Ordering::Equal;
        };
        let prefix = &first.key()[..self.same];
        key[..key.len().min(self.same)].cmp(prefix)
    }

    /// Finds out anew how many bytes all keys begin with and what follows.
    fn look_ahead(&mut self) {
        self.heads.clear();
        let (Some(first), Some(last)) = (self.items.first(), self.items.last()) else {
            self.same = 0;
            return;
        };
        // What the lowest and the highest have in common, those between have too.
        let both = first.key().iter().zip(last.key());
        self.same = both.take_while(|(a, b)| a == b).count();
        let rests = self.items.iter().map(|item| &item.key()[self.same..]);
        self.heads.extend(rests.map(head));
    }
}

/// The position of the first number that is not below `head`.
///
/// A binary search would wait for memory at each of its steps. This first looks at one number of each
/// line of the cache, and none of these looks waits for another.
fn first_from(heads: &[u64], head: u64) -> usize {
    let lines = heads.chunks_exact(LINE_HEADS);
    let below = lines.filter(|line| line[LINE_HEADS - 1] < head).count() * LINE_HEADS;
    let line = heads[below..].iter().take(LINE_HEADS);
    below + line.filter(|&&other| other < head).count()
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    impl Keyed for Vec<u8> {
        fn key(&self) -> &[u8] {
            self
        }
    }

    /// All keys of up to `len` letters that follow a common beginning, and the parts of that.
    fn keys(beginning: &[u8], len: usize) -> BTreeSet<Vec<u8>> {
        let mut keys: BTreeSet<Vec<u8>> = BTreeSet::from([beginning.to_vec()]);
        for _ in 0..len {
            let longer = |key: &Vec<u8>| [0, b'a', 0xff].map(|last| [&key[..], &[last]].concat());
            let all: Vec<Vec<u8>> = keys.iter().flat_map(longer).collect();
            keys.extend(all);
        }
        keys.extend((0..beginning.len()).map(|until| beginning[..until].to_vec()));
        keys
    }

    fn is_same(sorted: &Sorted<Vec<u8>>, plain: &[Vec<u8>], asked: &BTreeSet<Vec<u8>>) {
        assert_eq!(sorted.items(), plain);
        for key in asked {
            assert_eq!(sorted.search(key), plain.binary_search(key), "{key:?}");
            let below = plain.partition_point(|other| other <= key);
            assert_eq!(sorted.search_below(key), below.saturating_sub(1));
        }
    }

    #[test]
    fn a_search_finds_what_a_binary_search_finds() {
        for beginning in [&b""[..], b"k", b"a longer beginning"] {
            let all = keys(beginning, 4);
            for step in [1, 2, 7, 11, 40] {
                let (mut sorted, mut plain) = (Sorted::default(), Vec::new());
                let some: Vec<Vec<u8>> = all.iter().step_by(step).cloned().collect();
                // In an order that is none.
                for number in 0..some.len() {
                    let key = some[number * 37 % some.len()].clone();
                    if let Err(position) = plain.binary_search(&key) {
                        plain.insert(position, key.clone());
                        sorted.insert(position, key);
                    }
                }
                is_same(&sorted, &plain, &all);
                let (at, gone) = (plain.len() / 3, plain.len() / 2);
                let right = sorted.split_off(at);
                is_same(&sorted, &plain[..at], &all);
                is_same(&right, &plain[at..], &all);
                sorted.append(right);
                is_same(&sorted, &plain, &all);
                assert_eq!(sorted.remove(gone), plain.remove(gone));
                is_same(&sorted, &plain, &all);
            }
        }
    }

    #[test]
    fn one_that_is_renamed_is_found_by_its_new_name() {
        let mut sorted = Sorted::default();
        let names: [&[u8]; 3] = [b"key5", b"key7", b"key9"];
        for (position, name) in names.into_iter().enumerate() {
            sorted.insert(position, name.to_vec());
        }
        sorted.rename(0, |first| *first = b"a".to_vec());
        assert_eq!(sorted.search(b"a"), Ok(0));
        assert_eq!(sorted.search(b"key5"), Err(1));
        assert_eq!(sorted.search(b"key9"), Ok(2));
    }
}
