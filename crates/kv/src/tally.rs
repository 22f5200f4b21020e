//! How often what was done to the keys, for metrics. Never read by any decision, and in no snapshot.
//!
//! # Source
//! etcd's counters of its key-value store.

use core::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows, while others read.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub(crate) fn add(&self, n: u64) {
        // One thread at a time works on a store, so nothing is lost between the two; together they
        // cost a fraction of an addition that is atomic.
        self.0.store(self.value() + n, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The store's own counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) puts: Count,
    pub(crate) put_bytes: Count,
    pub(crate) deletes: Count,
    pub(crate) ranges: Count,
    pub(crate) txns: Count,
    pub(crate) leases_granted: Count,
    pub(crate) leases_revoked: Count,
}

/// What was done to the keys on this member since it began, what its log repeats included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tallied {
    /// Puts, each key of a transaction for itself.
    pub puts: u64,
    /// Bytes of their keys and values.
    pub put_bytes: u64,
    /// Deletions of ranges, whatever each found, and of keys whose lease ended.
    pub deletes: u64,
    /// Reads of ranges, those of comparisons included.
    pub ranges: u64,
    /// Requests that came to more than one of these.
    pub txns: u64,
    /// Leases granted.
    pub leases_granted: u64,
    /// Leases revoked, those that ended included.
    pub leases_revoked: u64,
}

impl Tally {
    /// The counts now.
    pub(crate) fn now(&self) -> Tallied {
        Tallied {
            puts: self.puts.value(),
            put_bytes: self.put_bytes.value(),
            deletes: self.deletes.value(),
            ranges: self.ranges.value(),
            txns: self.txns.value(),
            leases_granted: self.leases_granted.value(),
            leases_revoked: self.leases_revoked.value(),
        }
    }

    /// Operations on keys so far.
    pub(crate) fn operations(&self) -> u64 {
        self.puts.value() + self.deletes.value() + self.ranges.value()
    }

    /// Counts a request that began after `before` operations, if it came to more than one.
    pub(crate) fn end_request(&self, before: u64) {
        if self.operations() > before + 1 {
            self.txns.add(1);
        }
    }
}
