//! Who is interested in which keys.
//! Never knows what happens to a key: it says whom that concerns.
//!
//! Watchers of one key are found by that key. Those of a range stand in a balanced tree of ranges,
//! in which each node knows how far the ranges below it reach. n watchers are found, added and
//! removed in O(log n) steps, and those that share a key are found in O(log n) each at worst.
//!
//! # Source
//! AVL trees (Adelson-Velsky and Landis, 1962); interval trees as in Cormen et al., Introduction to
//! Algorithms, "Augmenting data structures".

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;
use core::cmp::Ordering;

use super::WatchId;
use crate::index::{End, KeyRange};

/// The keys that someone watches.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    One(Bytes),
    Range(Range),
}

/// A range of keys, not empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Range {
    start: Bytes,
    upper: Upper,
}

/// Where a range ends; one that ends later is greater.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Upper {
    /// Before this key.
    Before(Bytes),
    Unbounded,
}

impl Keys {
    /// The keys that a request names; `None` if there can be none.
    pub(crate) fn new(key: &Bytes, range_end: &Bytes) -> Option<Keys> {
        let start = key.clone();
        let upper = match KeyRange::new(key, range_end).end {
            End::Single => return Some(Keys::One(start)),
            End::Before(end) if end <= &key[..] => return None,
            End::Before(_) => Upper::Before(range_end.clone()),
            End::Unbounded => Upper::Unbounded,
        };
        Some(Keys::Range(Range { start, upper }))
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match self {
            Keys::One(one) => &one[..] == key,
            Keys::Range(range) => &range.start[..] <= key && range.upper.is_after(key),
        }
    }
}

impl Upper {
    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            Upper::Before(end) => &end[..] > key,
            Upper::Unbounded => true,
        }
    }
}

/// All that is watched.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    by_key: BTreeMap<Bytes, BTreeSet<WatchId>>,
    by_range: Tree,
}

impl Interest {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty() && self.by_range.is_none()
    }

    pub(crate) fn insert(&mut self, keys: &Keys, id: WatchId) {
        match keys {
            Keys::One(key) => {
                self.by_key.entry(key.clone()).or_default().insert(id);
            }
            Keys::Range(range) => self.by_range = Some(insert(self.by_range.take(), range, id)),
        }
    }

    pub(crate) fn remove(&mut self, keys: &Keys, id: WatchId) {
        match keys {
            Keys::One(key) => {
                if let Some(ids) = self.by_key.get_mut(key) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.by_key.remove(key);
                    }
                }
            }
            Keys::Range(range) => self.by_range = remove(self.by_range.take(), range, id),
        }
    }

    /// Appends whoever watches `key`.
    pub(crate) fn find(&self, key: &[u8], found: &mut Vec<WatchId>) {
        found.extend(self.by_key.get(key).into_iter().flatten());
        find(&self.by_range, key, found);
    }
}

type Tree = Option<Box<Node>>;

/// A range that someone watches, lower ones to the left and higher ones to the right.
#[derive(Debug)]
struct Node {
    range: Range,
    ids: BTreeSet<WatchId>,
    /// The highest end of all ranges from here down.
    reach: Upper,
    height: u8,
    left: Tree,
    right: Tree,
}

fn height(tree: &Tree) -> u8 {
    tree.as_ref().map_or(0, |node| node.height)
}

fn insert(tree: Tree, range: &Range, id: WatchId) -> Box<Node> {
    let Some(mut node) = tree else {
        return Box::new(Node {
            range: range.clone(),
            ids: BTreeSet::from([id]),
            reach: range.upper.clone(),
            height: 1,
            left: None,
            right: None,
        });
    };
    match range.cmp(&node.range) {
        Ordering::Less => node.left = Some(insert(node.left.take(), range, id)),
        Ordering::Greater => node.right = Some(insert(node.right.take(), range, id)),
        Ordering::Equal => {
            node.ids.insert(id);
            return node;
        }
    }
    balanced(node)
}

fn remove(tree: Tree, range: &Range, id: WatchId) -> Tree {
    let mut node = tree?;
    match range.cmp(&node.range) {
        Ordering::Less => node.left = remove(node.left.take(), range, id),
        Ordering::Greater => node.right = remove(node.right.take(), range, id),
        Ordering::Equal => {
            node.ids.remove(&id);
            if !node.ids.is_empty() {
                return Some(node);
            }
            let Some(right) = node.right.take() else {
                return node.left;
            };
            // Mark: a watched range goes that stood above two others.
            let (mut next, right) = remove_lowest(right);
            next.left = node.left.take();
            next.right = right;
            return Some(balanced(next));
        }
    }
    Some(balanced(node))
}

/// The lowest node of a tree, and the rest.
fn remove_lowest(mut node: Box<Node>) -> (Box<Node>, Tree) {
    match node.left.take() {
        None => {
            let right = node.right.take();
            (node, right)
        }
        Some(left) => {
            let (lowest, left) = remove_lowest(left);
            node.left = left;
            (lowest, Some(balanced(node)))
        }
    }
}

/// The tree of a node whose subtrees are balanced, and differ by two in height at most.
fn balanced(mut node: Box<Node>) -> Box<Node> {
    let (left, right) = (height(&node.left), height(&node.right));
    if left > right + 1 {
        // Mark: the tree of watched ranges leans to the left.
        let child = node.left.take().expect("the higher side is not empty");
        let is_inner = height(&child.right) > height(&child.left);
        node.left = Some(if is_inner { rotate_left(child) } else { child });
        rotate_right(node)
    } else if right > left + 1 {
        // Mark: the tree of watched ranges leans to the right.
        let child = node.right.take().expect("the higher side is not empty");
        let is_inner = height(&child.left) > height(&child.right);
        node.right = Some(if is_inner { rotate_right(child) } else { child });
        rotate_left(node)
    } else {
        node.measure();
        node
    }
}

fn rotate_left(mut node: Box<Node>) -> Box<Node> {
    let mut top = node.right.take().expect("what rises exists");
    node.right = top.left.take();
    node.measure();
    top.left = Some(node);
    top.measure();
    top
}

fn rotate_right(mut node: Box<Node>) -> Box<Node> {
    let mut top = node.left.take().expect("what rises exists");
    node.left = top.right.take();
    node.measure();
    top.right = Some(node);
    top.measure();
    top
}

impl Node {
    /// Sees anew what it knows of the nodes below it.
    fn measure(&mut self) {
        let below = [&self.left, &self.right];
        let higher = below.map(height).into_iter().max();
        self.height = 1 + higher.unwrap_or(0);
        let reaches = below.into_iter().flatten().map(|node| &node.reach);
        let reach = reaches.chain([&self.range.upper]).max();
        self.reach = reach.expect("its own is among them").clone();
    }
}

fn find(tree: &Tree, key: &[u8], found: &mut Vec<WatchId>) {
    let Some(node) = tree.as_ref().filter(|node| node.reach.is_after(key)) else {
        return;
    };
    find(&node.left, key, found);
    if &node.range.start[..] <= key {
        if node.range.upper.is_after(key) {
            found.extend(&node.ids);
        }
        find(&node.right, key, found);
    }
}

#[cfg(test)]
mod tests;
