//! The keys that exist now, by the lease they are attached to.
//! Never says which leases there are: a key is in at most one, as its newest version says.
//!
//! # Source
//! etcd's lessor, which keeps a set of keys with each lease.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

/// The index: lease to keys. A key without a lease costs nothing here.
#[derive(Debug, Default)]
pub(crate) struct Attached(BTreeMap<i64, BTreeSet<Box<[u8]>>>);

impl Attached {
    /// Takes `key` from one lease to another; zero is none.
    pub(crate) fn move_key(&mut self, key: &[u8], from: i64, to: i64) {
        if from == to {
            return;
        }
        if from != 0 {
            let keys = self.0.get_mut(&from).expect("the key was attached to it");
            assert!(keys.remove(key), "the key was attached to it");
            if keys.is_empty() {
                self.0.remove(&from);
            }
        }
        if to != 0 {
            self.0.entry(to).or_default().insert(key.into());
        }
    }

    /// The keys of a lease, in order.
    pub(crate) fn keys(&self, lease: i64) -> impl Iterator<Item = &[u8]> {
        self.0.get(&lease).into_iter().flatten().map(AsRef::as_ref)
    }

    /// The leases that have keys.
    pub(crate) fn leases(&self) -> impl Iterator<Item = i64> {
        self.0.keys().copied()
    }
}
