//! All versions that a reader may see, and the leases, as of one moment: for whoever puts them elsewhere.
//! Never takes longer than a piece, and copies no value: commands go on between two pieces, and what
//! is handed out shares its memory with the store.
//!
//! A compaction between two pieces may have freed what is still to come: then the copy begins anew.
//!
//! # Source
//! The etcd v3 API, `Snapshot`: keys, their history from the compacted revision on, and leases.

use alloc::vec::Vec;

use crate::lease::Leases;
use crate::mvcc::Mvcc;
use crate::record::Record;
use crate::request::{KeyValue, KvError};

/// Ask for one piece.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CopyRequest {
    /// Where the piece before ended; `None` for the first one.
    pub after: Option<Place>,
    /// How many versions are looked at.
    pub versions_max: usize,
}

/// Where a piece ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    revision: i64,
    compact_revision: i64,
    last: Record,
}

/// One piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyResponse {
    /// The moment that is copied.
    pub revision: i64,
    /// The last compaction before it; -1 before the first.
    pub compact_revision: i64,
    /// In the order of their keys, and of one key in the order of revisions.
    pub versions: Vec<Version>,
    /// All leases, in the order of their ids: in the first piece only.
    pub leases: Vec<CopiedLease>,
    /// Where the next piece begins; `None` after the last one.
    pub next: Option<Place>,
}

/// One version of one key, or its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version(Record);

impl Version {
    /// The revision that wrote it, and the number of the change within that revision.
    pub fn position(&self) -> (i64, u32) {
        self.0.position()
    }

    /// Whether it says that the key was deleted.
    pub fn is_tombstone(&self) -> bool {
        self.0.parts().is_tombstone()
    }

    /// What clients see of it. Its bytes are shared, not copied.
    pub fn to_kv(&self) -> KeyValue {
        self.0.to_kv(false)
    }
}

/// A lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopiedLease {
    /// Its id.
    pub id: i64,
    /// The time to live that was granted, in seconds.
    pub ttl: i64,
    /// What the last checkpoint left of it, in seconds; zero for all.
    pub remaining: i64,
}

/// Copies one piece.
pub(crate) fn copy(
    mvcc: &Mvcc,
    leases: &Leases,
    request: &CopyRequest,
) -> Result<CopyResponse, KvError> {
    let compact_revision = mvcc.compact_revision();
    let after = request.after.as_ref();
    if after.is_some_and(|after| after.compact_revision != compact_revision) {
        return Err(KvError::Compacted);
    }
    let revision = after.map_or(mvcc.revision(), |after| after.revision);
    let last = after.map(|after| &after.last);
    let mut response = CopyResponse {
        revision,
        compact_revision,
        versions: Vec::new(),
        leases: Vec::new(),
        next: None,
    };
    if after.is_none() {
        let copied = leases.iter().map(|(id, lease)| CopiedLease {
            id,
            ttl: lease.ttl,
            remaining: lease.remaining.unwrap_or(0),
        });
        response.leases = copied.collect();
    }
    let mut kept = mvcc.kept_after(last, revision, compact_revision);
    // Even the smallest piece gets somewhere.
    for record in kept.by_ref().take(request.versions_max.max(1)) {
        if record.main() <= revision {
            response.versions.push(Version(record.clone()));
        }
        response.next = Some(Place {
            revision,
            compact_revision,
            last: record.clone(),
        });
    }
    if kept.next().is_none() {
        response.next = None;
    }
    Ok(response)
}
