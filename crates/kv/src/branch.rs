//! A branch of the index: some neighbouring leaves, in order.
//! Never holds many: the index splits it when it is full.
//!
//! # Source
//! B+ trees (Bayer and McCreight, 1972; Comer, 1979).

use alloc::boxed::Box;

use crate::leaf::Leaf;
use crate::record::{Parts, Record, Version};
use crate::sorted::{Keyed, Sorted};

/// A branch that reaches this is full; in tests of the index, so that they see many, soon.
const LEAVES_MAX: usize = if cfg!(test) { 4 } else { 128 };

/// Some neighbouring leaves, at least one.
#[derive(Debug)]
pub(crate) struct Branch {
    /// The lowest key that it is for, unless it is the first.
    low: Box<[u8]>,
    leaves: Sorted<Leaf>,
}

impl Keyed for Branch {
    fn key(&self) -> &[u8] {
        &self.low
    }
}

impl Branch {
    /// One that has no keys yet, for those from `low` on.
    pub(crate) fn new(low: &[u8]) -> Branch {
        let mut leaves = Sorted::default();
        leaves.insert(0, Leaf::new(low));
        Branch {
            low: low.into(),
            leaves,
        }
    }

    /// It is the first, and will have others behind it: those must not be for lower keys.
    pub(crate) fn lower(&mut self) {
        self.low = self.leaves()[0].key().into();
    }

    /// The leaf that is for `key`.
    pub(crate) fn leaf(&self, key: &[u8]) -> &Leaf {
        &self.leaves()[self.leaves.search_below(key)]
    }

    /// All leaves, in order.
    pub(crate) fn leaves(&self) -> &[Leaf] {
        self.leaves.items()
    }

    /// The leaves that can hold keys from `start` on.
    pub(crate) fn leaves_from(&self, start: &[u8]) -> &[Leaf] {
        &self.leaves()[self.leaves.search_below(start)..]
    }

    /// Appends the version that `make` makes of the key's newest one; see `Index::push`. Returns
    /// the right part of the branch as well, if it has become full.
    pub(crate) fn push<'a, T>(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<Version<'_>>) -> (Record, Parts<'a>, T),
    ) -> (T, Option<Branch>) {
        let position = self.leaves.search_below(key);
        let (told, right) = self.leaves.item_mut(position).push(key, make);
        let Some(right) = right else {
            return (told, None);
        };
        // Mark: a leaf of the index is split.
        if position == 0 {
            self.leaves.rename(0, Leaf::lower);
        }
        self.leaves.insert(position + 1, right);
        (told, self.split(position + 1))
    }

    /// Lets `shrink` take something off the leaf that is for `key`. Whether anything is left.
    pub(crate) fn shrink(&mut self, key: &[u8], shrink: impl FnOnce(&mut Leaf)) -> bool {
        let position = self.leaves.search_below(key);
        let leaf = self.leaves.item_mut(position);
        let keys = leaf.histories().len();
        shrink(leaf);
        if leaf.histories().len() < keys && leaf.is_small() {
            self.merge(position);
        }
        !self.leaves().is_empty()
    }

    /// Removes a small leaf if it is empty; else joins it with its right neighbour if that is
    /// small too.
    fn merge(&mut self, position: usize) {
        let leaf = &self.leaves()[position];
        if leaf.histories().is_empty() {
            // Mark: an empty leaf of the index goes.
            self.leaves.remove(position);
            return;
        }
        let right = self.leaves().get(position + 1);
        if right.is_some_and(|right| leaf.may_take_in(right)) {
            // Mark: two small leaves of the index become one.
            let right = self.leaves.remove(position + 1);
            self.leaves.item_mut(position).take_in(right);
        }
    }

    /// The right part of a branch that is full since a leaf came to `position`.
    fn split(&mut self, position: usize) -> Option<Branch> {
        let leaves = self.leaves.split_full(LEAVES_MAX, position)?;
        Some(Branch {
            low: leaves.items()[0].key().into(),
            leaves,
        })
    }
}
