//! Whether some ranges of keys, taken together, hold all of another.
//! Never knows what the ranges are for.
//!
//! # Source
//! A sweep over intervals by their starts; etcd asks its interval tree the same.

use alloc::borrow::Cow;
use bytes::Bytes;

use crate::index::{End, KeyRange};

/// The first key that is beyond a range; `None` if none is.
type Upper<'a> = Option<Cow<'a, [u8]>>;

fn upper<'a>(key: &'a [u8], range_end: &'a [u8]) -> Upper<'a> {
    match KeyRange::new(key, range_end).end {
        End::Unbounded => None,
        End::Before(end) if end > key => Some(end.into()),
        // A range without keys counts for its first: who asks for it needs some right as well.
        End::Single | End::Before(_) => Some([key, &[0]].concat().into()),
    }
}

/// Whether `granted`, in the order of their first keys, hold all of the range from `key` on.
pub(super) fn hold<'a>(
    granted: impl Iterator<Item = &'a (Bytes, Bytes)>,
    key: &'a [u8],
    range_end: &'a [u8],
) -> bool {
    let end = upper(key, range_end);
    // All from `key` up to here, and not this one, is held.
    let mut reached = Cow::from(key);
    for (first, last) in granted {
        if first[..] > reached[..] {
            // What follows begins later still.
            return false;
        }
        let Some(upto) = upper(first, last) else {
            return true;
        };
        reached = reached.max(upto);
        if end.as_ref().is_some_and(|end| reached >= *end) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    /// All keys of up to three letters of a small alphabet.
    fn keys() -> Vec<Vec<u8>> {
        let mut keys = vec![Vec::new()];
        for at in 0..40 {
            let before: Vec<u8> = keys[at].clone();
            if before.len() < 3 {
                keys.extend([0, 1, 2].map(|byte| [&before[..], &[byte]].concat()));
            }
        }
        keys.remove(0);
        keys.sort();
        keys
    }

    fn contains((key, end): &(Bytes, Bytes), asked: &[u8]) -> bool {
        match &end[..] {
            [] => asked == key,
            [0] => asked >= key,
            end => asked >= key && asked < end,
        }
    }

    /// Every key of the range is looked for by itself, among keys close enough to find each gap.
    #[test]
    fn a_range_is_held_if_and_only_if_each_of_its_keys_is() {
        let keys = keys();
        let mut random = 7_u64;
        let mut draw = |below: usize| {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (random >> 33) as usize % below
        };
        let mut held = 0;
        for _ in 0..5_000 {
            let mut range = || {
                // Ends of ranges are short keys: then only keys of the list lie between them.
                let short: Vec<_> = keys.iter().filter(|key| key.len() <= 2).collect();
                let key = Bytes::copy_from_slice(short[draw(short.len())]);
                let end = match draw(4) {
                    0 => Bytes::new(),
                    1 => Bytes::from_static(b"\0"),
                    _ => Bytes::copy_from_slice(short[draw(short.len())]),
                };
                (key, end)
            };
            let mut granted: Vec<_> = (0..4).map(|_| range()).collect();
            let asked = range();
            if !keys.iter().any(|key| contains(&asked, key)) {
                continue;
            }
            granted.retain(|(key, end)| end.is_empty() || end[..] == [0] || key < end);
            granted.sort();
            let each = keys.iter().filter(|key| contains(&asked, key));
            let all = each
                .clone()
                .all(|key| granted.iter().any(|range| contains(range, key)));
            // Beyond the list there are more keys, which only a range without an end holds.
            let is_endless = asked.1[..] == [0];
            let has_endless = granted.iter().any(|range| range.1[..] == [0]);
            let expected = all && (!is_endless || has_endless);
            held += u32::from(expected);
            assert_eq!(
                hold(granted.iter(), &asked.0, &asked.1),
                expected,
                "{asked:?} of {granted:?}"
            );
        }
        assert!(held > 100, "{held}");
    }
}
