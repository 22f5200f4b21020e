//! The index against a plain ordered map.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::{End, Index, KeyRange};
use crate::history::History;
use crate::record::{Parts, Record};

/// Of each key, (revision, whether it is a tombstone), in order.
type Plain = BTreeMap<Vec<u8>, Vec<(i64, bool)>>;

struct Both {
    index: Index,
    plain: Plain,
    revision: i64,
    scratch: Vec<u8>,
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// Keys with long common beginnings, zeroes at their ends, and some with neither.
    fn key(&mut self) -> Vec<u8> {
        let beginnings: [&[u8]; 5] = [
            b"",
            b"/registry/pods/default/",
            b"/registry/",
            b"\xff",
            b"\0",
        ];
        let mut key = beginnings[self.below(5) as usize].to_vec();
        if self.below(2) == 0 {
            key.extend(format!("{:05}", self.below(3_000)).into_bytes());
        } else {
            let len = 1 + self.below(12);
            key.extend((0..len).map(|_| [0, b'a', b'b', 0xff][self.below(4) as usize]));
        }
        key
    }
}

impl Both {
    fn new() -> Both {
        Both {
            index: Index::default(),
            plain: Plain::new(),
            revision: 1,
            scratch: Vec::new(),
        }
    }

    fn push(&mut self, key: &[u8], is_tombstone: bool) {
        self.revision += 1;
        let main = self.revision;
        let version = i64::from(!is_tombstone);
        let parts = Parts {
            key,
            main,
            sub: 0,
            create: main,
            version,
            lease: 0,
            value: &[],
        };
        let record = Record::new(&parts, &mut self.scratch);
        let newest = self.index.push(key, |newest| {
            (record, parts, newest.map(|(_, parts)| parts.main))
        });
        let versions = self.plain.entry(key.to_vec()).or_default();
        assert_eq!(newest, versions.last().map(|version| version.0));
        versions.push((main, is_tombstone));
    }

    fn pop(&mut self, key: &[u8]) {
        let versions = self.plain.get_mut(key).expect("the key is there");
        versions.pop();
        if versions.is_empty() {
            self.plain.remove(key);
        }
        self.index.pop(key);
    }

    fn compact(&mut self, key: &[u8], revision: i64) {
        self.index.compact(key, revision);
        let Some(versions) = self.plain.get_mut(key) else {
            return;
        };
        let newest = versions
            .iter()
            .rev()
            .find(|version| version.0 <= revision)
            .copied();
        versions.retain(|version| version.0 > revision || (Some(*version) == newest && !version.1));
        if versions.is_empty() {
            self.plain.remove(key);
        }
    }

    fn is_same(&self, dice: &mut Dice) {
        let (start, end) = (dice.key(), dice.key());
        let revision = self.revision - dice.below(self.revision as u64) as i64;
        for (end, range_end) in [
            (End::Single, None),
            (End::Before(&end), Some(&end)),
            (End::Unbounded, None),
        ] {
            let range = KeyRange { start: &start, end };
            let is_in = |key: &[u8]| match end {
                End::Single => key == start,
                _ => key >= &start[..] && range_end.is_none_or(|end| key < &end[..]),
            };
            for revision in [revision, self.revision] {
                let expected: Vec<&[u8]> = self
                    .plain
                    .iter()
                    .filter(|(key, versions)| {
                        let newest = versions.iter().rev().find(|version| version.0 <= revision);
                        is_in(key) && newest.is_some_and(|newest| !newest.1)
                    })
                    .map(|(key, _)| &key[..])
                    .collect();
                let found: Vec<&[u8]> = self
                    .index
                    .visible(range, revision)
                    .map(Record::key)
                    .collect();
                assert_eq!(found, expected);
                assert_eq!(self.index.count(range, revision), expected.len());
            }
            let all: Vec<&[u8]> = self.index.histories(range).map(History::key).collect();
            let keys = self.plain.keys().map(|key| &key[..]);
            assert_eq!(all, keys.filter(|key| is_in(key)).collect::<Vec<_>>());
        }
        let found = self
            .index
            .find(&start)
            .map(|history| history.versions().len());
        assert_eq!(found, self.plain.get(&start).map(Vec::len));
    }
}

#[test]
fn the_index_is_an_ordered_map_while_it_grows_and_shrinks() {
    for seed in 0..3 {
        let mut dice = Dice(seed);
        let mut both = Both::new();
        // Grows, then shrinks to nothing, then grows again: leaves split and merge.
        for step in 0..9_000_u64 {
            let is_shrinking = (4_000..7_500).contains(&step);
            let key = dice.key();
            let some = both
                .plain
                .range(key.clone()..)
                .next()
                .map(|(key, _)| key.clone());
            match (some, dice.below(10)) {
                (Some(some), 0..=6) if is_shrinking => both.compact_away(&some),
                (Some(some), 0) => both.push(&some, true),
                (Some(some), 1) => both.pop(&some),
                (Some(some), 2) => {
                    let revision = both.revision - dice.below(20) as i64;
                    both.compact(&some, revision);
                }
                _ if !is_shrinking => both.push(&key, false),
                _ => {}
            }
            if step % 60 == 0 {
                both.is_same(&mut dice);
            }
        }
        let keys: Vec<Vec<u8>> = both.plain.keys().cloned().collect();
        for key in keys {
            both.compact_away(&key);
        }
        both.is_same(&mut dice);
        assert_eq!(both.leaves(), 0, "an empty index has no leaf");
    }
}

#[test]
fn keys_that_come_in_order_fill_their_leaves() {
    let mut both = Both::new();
    for number in 0..10_000 {
        both.push(format!("key{number:08}").as_bytes(), false);
    }
    assert!(both.leaves() < 10_000 / 120, "{} leaves", both.leaves());
    both.is_same(&mut Dice(1));
}

impl Both {
    fn leaves(&self) -> usize {
        let branches = self.index.branches.items();
        branches.iter().map(|branch| branch.leaves().len()).sum()
    }

    /// Deletes a key and forgets it.
    fn compact_away(&mut self, key: &[u8]) {
        self.push(key, true);
        self.compact(key, self.revision);
    }
}

#[test]
fn a_leaf_that_takes_in_a_newer_one_still_counts_the_past_right() {
    let mut both = Both::new();
    let key = |number: u64| format!("key{number:03}").into_bytes();
    (0..200).for_each(|number| both.push(&key(number), false));
    (0..190).for_each(|number| both.push(&key(number), true));
    let past = both.revision;
    both.push(&key(500), false);
    assert_eq!(both.leaves(), 2);
    (0..190)
        .rev()
        .for_each(|number| both.compact(&key(number), past));
    assert_eq!(both.leaves(), 1, "the leaves have become one");
    let all = KeyRange {
        start: b"\0",
        end: End::Unbounded,
    };
    assert_eq!(both.index.count(all, past), 10);
    assert_eq!(both.index.count(all, past + 1), 11);
}
