//! All versions that a reader may see, leases, users and roles, as of one moment, for whoever puts them elsewhere;
//! and a store put together from such versions.
//! Never takes longer than a piece, and copies no value: commands go on between two pieces, and what
//! is handed out shares its memory with the store.
//!
//! A compaction between two pieces may have freed what is still to come: then the copy begins anew.
//!
//! # Source
//! The etcd v3 API, `Snapshot`: keys, their history from the compacted revision on, and leases.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::apply::Store;
use crate::auth::Auth;
use crate::lease::{Lease, Leases};
use crate::mvcc::{Mvcc, Restore, tombstone};
use crate::record::{Parts, Record};
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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CopyResponse {
    /// The moment that is copied.
    pub revision: i64,
    /// The last compaction before it; -1 before the first.
    pub compact_revision: i64,
    /// In the order of their keys, and of one key in the order of revisions.
    pub versions: Vec<Version>,
    /// All leases, in the order of their ids: in the first piece only.
    pub leases: Vec<CopiedLease>,
    /// Users and roles: in the first piece only.
    pub auth: Arc<Auth>,
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
    auth: &Arc<Auth>,
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
        auth: Arc::default(),
        next: None,
    };
    if after.is_none() {
        let copied = leases.iter().map(|(id, lease)| CopiedLease {
            id,
            ttl: lease.ttl,
            remaining: lease.remaining.unwrap_or(0),
        });
        response.leases = copied.collect();
        response.auth = Arc::clone(auth);
    }
    let mut kept = mvcc.kept_after(last, revision, compact_revision).peekable();
    let mut looked = None;
    // Even the smallest piece gets somewhere.
    for record in kept.by_ref().take(request.versions_max.max(1)) {
        if record.main() <= revision {
            response.versions.push(Version(record.clone()));
        }
        looked = Some(record);
    }
    if kept.peek().is_some() {
        response.next = looked.map(|last| Place {
            revision,
            compact_revision,
            last: last.clone(),
        });
    }
    Ok(response)
}

/// A store that is put together from versions of elsewhere, in whatever order they come.
#[derive(Debug)]
pub struct Import {
    revision: i64,
    compact_revision: i64,
    records: Vec<Record>,
    scratch: Vec<u8>,
}

impl Import {
    /// Begins a store at this revision; `compact_revision` is -1 if there was no compaction.
    pub fn new(revision: i64, compact_revision: i64) -> Self {
        Self {
            revision,
            compact_revision,
            records: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes in the version of a key that change `sub` of revision `main` wrote; `None`: it deleted it.
    ///
    /// # Errors
    /// No store has such a version.
    pub fn take(
        &mut self,
        (main, sub): (i64, u32),
        key: &[u8],
        kv: Option<&KeyValue>,
    ) -> Result<(), &'static str> {
        let parts = match kv {
            None => tombstone(key, main, sub),
            Some(kv) => Parts {
                key,
                main,
                sub,
                create: kv.create_revision,
                version: kv.version,
                lease: kv.lease,
                value: &kv.value,
            },
        };
        if kv.is_some_and(|kv| kv.version < 1) || !(1..=main).contains(&parts.create) {
            return Err("a version of a key that counts for none");
        }
        let record = Record::new(&parts, &mut self.scratch);
        let record = Record::parse(record.as_bytes()).ok_or("a broken version of a key")?;
        self.records.push(record);
        Ok(())
    }

    /// Puts the store together, without what the compaction hides. A key whose lease is not there
    /// stays without one. How many of those there were.
    ///
    /// # Errors
    /// The versions and leases do not make a store.
    pub fn finish(self, leases: &[CopiedLease]) -> Result<(Store, usize), &'static str> {
        let Self {
            revision,
            compact_revision,
            mut records,
            mut scratch,
        } = self;
        let mut store = Store::default();
        let (mvcc, granted) = store.parts_mut();
        for lease in leases {
            let remaining = Some(lease.remaining).filter(|left| (1..lease.ttl).contains(left));
            let lease_now = Lease {
                ttl: lease.ttl,
                granted: 0,
                remaining,
            };
            granted.restore(lease.id, lease_now)?;
        }
        records.sort_unstable_by(|a, b| (a.key(), a.position()).cmp(&(b.key(), b.position())));
        let is_hidden = |record: &Record, next: Option<&Record>| {
            let is_last = next
                .is_none_or(|next| next.key() != record.key() || next.main() > compact_revision);
            record.main() <= compact_revision && (!is_last || record.parts().is_tombstone())
        };
        let hidden = (0..records.len()).map(|at| is_hidden(&records[at], records.get(at + 1)));
        let mut hidden = hidden.collect::<Vec<_>>().into_iter();
        records.retain(|_| hidden.next() == Some(false));
        renumber(&mut records, compact_revision, &mut scratch);
        let mut orphans = 0;
        let mut restore = Restore::begin(mvcc, revision, compact_revision, (revision, 0))?;
        let mut records = records.into_iter().peekable();
        while let Some(mut record) = records.next() {
            let parts = record.parts();
            let is_newest = records.peek().is_none_or(|next| next.key() != parts.key);
            if is_newest && parts.lease != 0 && granted.get(parts.lease).is_none() {
                let parts = Parts { lease: 0, ..parts };
                record = Record::new(&parts, &mut scratch);
                orphans += 1;
            }
            restore.take_record(mvcc, record)?;
        }
        restore.finish(mvcc)?;
        Ok((store, orphans))
    }
}

/// Of the changes of the compacted revision only those are left that a key still shows: they are
/// numbered anew, without gaps.
fn renumber(records: &mut [Record], compact_revision: i64, scratch: &mut Vec<u8>) {
    let of_compacted = records.iter_mut();
    let of_compacted = of_compacted.filter(|record| record.main() == compact_revision);
    let mut of_compacted: Vec<&mut Record> = of_compacted.collect();
    of_compacted.sort_unstable_by_key(|record| record.position());
    for (sub, record) in (0..).zip(of_compacted) {
        let parts = Parts {
            sub,
            ..record.parts()
        };
        *record = Record::new(&parts, scratch);
    }
}
