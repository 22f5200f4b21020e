//! The tree finds what a look at all ranges would, and stays low.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

use super::{Interest, Keys, Tree, height};
use crate::watch::WatchId;

/// Panics unless every node's height and balance are true; how many nodes there are.
fn check(tree: &Tree) -> usize {
    let Some(node) = tree else { return 0 };
    let (left, right) = (height(&node.left), height(&node.right));
    assert_eq!(node.height, 1 + left.max(right));
    assert!(left.abs_diff(right) <= 1, "out of balance");
    check(&node.left) + 1 + check(&node.right)
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("{number:03}"))
}

#[test]
fn interest_is_found_as_by_looking_at_all() {
    let mut state = 7_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 33) % bound
    };
    let mut interest = Interest::default();
    let mut all: BTreeMap<WatchId, Keys> = BTreeMap::new();
    for step in 0..6_000 {
        let id = WatchId(below(300));
        if let Some(keys) = all.remove(&id) {
            interest.remove(&keys, id);
        } else {
            let start = key(below(500));
            let end = match below(8) {
                0 => Bytes::new(),
                1 => Bytes::from_static(b"\0"),
                _ => key(below(500)),
            };
            let Some(keys) = Keys::new(&start, &end) else {
                assert!(end <= start, "only a range without keys is refused");
                continue;
            };
            interest.insert(&keys, id);
            all.insert(id, keys);
        }
        let asked = key(below(520));
        let mut found = Vec::new();
        interest.find(&asked, &mut found);
        found.sort_unstable();
        let expected = all.iter().filter(|(_, keys)| keys.contains(&asked));
        let expected: Vec<WatchId> = expected.map(|(id, _)| *id).collect();
        assert_eq!(found, expected, "step {step}");
        check(&interest.by_range);
    }
    for (id, keys) in all {
        interest.remove(&keys, id);
    }
    assert!(interest.is_empty());
}

#[test]
fn ranges_that_come_in_order_make_no_high_tree() {
    let mut interest = Interest::default();
    for number in 0..10_000 {
        let start = Bytes::from(format!("{number:05}"));
        let end = Bytes::from(format!("{number:05}/"));
        let keys = Keys::new(&start, &end).expect("it holds a key");
        interest.insert(&keys, WatchId(number));
    }
    assert_eq!(check(&interest.by_range), 10_000);
    assert!(height(&interest.by_range) <= 20);
}
