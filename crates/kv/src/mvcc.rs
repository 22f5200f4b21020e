//! All versions of all keys, by key, by revision and by lease, and the store's arithmetic.
//! Never judges a request: the rooms above do, before they write.
//!
//! A transaction writes at the revision after the current one, one sub revision per change, and
//! then either commits (the revision moves, if anything was written) or rolls back.
//!
//! Garbage is counted when it arises: the change that supersedes a version, and the tombstone
//! itself, are what a compaction past them frees. A running total over the change log therefore
//! says at once what any compaction frees, and removing it from memory can wait for a good moment
//! without anyone being able to tell.
//!
//! # Source
//! etcd's `mvcc` package: main and sub revisions, tombstones, compaction.

mod restore;

use alloc::vec::Vec;

pub(crate) use restore::Restore;

use headwater_replica::checksum::crc32c;

use crate::agreement::Sum;
use crate::attached::Attached;
use crate::changes::{Change, Changes};
use crate::index::{End, Index, KeyRange};
use crate::record::{Parts, Record};
use crate::request::StoreStatus;
use crate::tally::Tally;

/// What looking at one version costs of a piece's bytes, of whatever is done piece by piece, even if it
/// is not shown: a piece is a bound on work as well.
pub(crate) const LOOK_BYTES: usize = 16;

/// Before the first compaction, as etcd reports it.
const NEVER_COMPACTED: i64 = -1;

/// The versions and their accounts.
#[derive(Debug)]
pub(crate) struct Mvcc {
    index: Index,
    changes: Changes,
    attached: Attached,
    /// The last committed revision.
    revision: i64,
    compact_revision: i64,
    /// Changes written at `revision + 1` and not committed yet.
    open: u32,
    /// Keys that exist now.
    keys: u64,
    /// The cost of all versions that a reader may see.
    size_bytes: u64,
    /// The cost of all versions ever superseded, and of all tombstones.
    freed_bytes: u64,
    /// As much of it as compactions have taken off `size_bytes`.
    freed_compacted_bytes: u64,
    /// The revision at which this store began, and the checksums of all versions written since.
    since: i64,
    sum: u64,
    /// Where versions are put together.
    scratch: Vec<u8>,
    tally: Tally,
}

/// What a put writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) lease: i64,
    /// Whether the key is wanted as it was.
    pub(crate) wants_previous: bool,
}

/// What a change supersedes, as far as the accounts go.
#[derive(Clone, Copy, Debug)]
struct Superseded {
    lease: i64,
    cost_bytes: u64,
}

impl Superseded {
    fn new(parts: &Parts<'_>) -> Superseded {
        Superseded {
            lease: parts.lease,
            cost_bytes: parts.cost_bytes(),
        }
    }
}

impl Default for Mvcc {
    fn default() -> Mvcc {
        Mvcc {
            index: Index::default(),
            changes: Changes::default(),
            attached: Attached::default(),
            revision: 1,
            compact_revision: NEVER_COMPACTED,
            open: 0,
            keys: 0,
            size_bytes: 0,
            freed_bytes: 0,
            freed_compacted_bytes: 0,
            since: 1,
            sum: 0,
            scratch: Vec::new(),
            tally: Tally::default(),
        }
    }
}

impl Mvcc {
    /// What is counted.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The last committed revision.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision a read sees: within a transaction that has written, that transaction's.
    pub(crate) fn read_revision(&self) -> i64 {
        self.revision + i64::from(self.open > 0)
    }

    pub(crate) fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// The sum over all that was written since this store began.
    pub(crate) fn sum(&self) -> Sum {
        Sum {
            since: self.since,
            revision: self.revision,
            sum: self.sum,
        }
    }

    pub(crate) fn status(&self) -> StoreStatus {
        StoreStatus {
            revision: self.revision,
            compact_revision: self.compact_revision,
            keys: self.keys,
            size_bytes: self.size_bytes,
            size_in_use_bytes: self.size_bytes - self.garbage_bytes(),
        }
    }

    /// The key as it is now, within a transaction as that has left it.
    pub(crate) fn current(&self, key: &[u8]) -> Option<&Record> {
        self.index.find(key)?.live_at(self.read_revision())
    }

    /// The key as it was at `revision`, if it existed then.
    pub(crate) fn live_at(&self, key: &[u8], revision: i64) -> Option<&Record> {
        self.index.find(key)?.live_at(revision)
    }

    /// The keys of a range that existed at `revision`, in order, as they were.
    pub(crate) fn visible(
        &self,
        range: KeyRange<'_>,
        revision: i64,
    ) -> impl Iterator<Item = &Record> {
        self.index.visible(range, revision)
    }

    /// How many keys of a range existed at `revision`.
    pub(crate) fn count(&self, range: KeyRange<'_>, revision: i64) -> usize {
        self.index.count(range, revision)
    }

    /// The versions after `last` that a compaction to `compact_revision` keeps, in order of key,
    /// then revision. Of each key one that is later than `revision` may be among them, so that
    /// whoever walks bit by bit counts that look, too; none of the key of a `last` that is later.
    pub(crate) fn kept_after<'a>(
        &'a self,
        last: Option<&'a Record>,
        revision: i64,
        compact_revision: i64,
    ) -> impl Iterator<Item = &'a Record> {
        let range = KeyRange {
            start: last.map_or(&[], Record::key),
            end: End::Unbounded,
        };
        self.index.histories(range).flat_map(move |history| {
            let kept = history.kept(compact_revision);
            let seen = last.filter(|last| last.key() == history.key());
            let from = seen.map_or(0, |seen| {
                kept.partition_point(|record| record.position() <= seen.position())
            });
            let unseen = &kept[from..];
            let until = unseen.partition_point(|record| record.main() <= revision);
            // Or a key that is written between any two bits would never be passed.
            let looks = usize::from(seen.is_none_or(|seen| seen.main() <= revision));
            &unseen[..unseen.len().min(until + looks)]
        })
    }

    /// The changes from (main, sub) on; complete from the compacted revision on.
    pub(crate) fn changes_since(&self, main: i64, sub: u32) -> impl Iterator<Item = &Record> {
        self.changes.since(main, sub).map(|change| &change.record)
    }

    /// The newest version of `key` no later than `revision`.
    pub(crate) fn version_at(&self, key: &[u8], revision: i64) -> Option<&Record> {
        self.index.find(key)?.at(revision)
    }

    /// The keys attached to a lease, in order; within a transaction as that has left them.
    pub(crate) fn attached(&self, lease: i64) -> impl Iterator<Item = &[u8]> {
        self.attached.keys(lease)
    }

    /// The leases that keys are attached to.
    pub(crate) fn attached_leases(&self) -> impl Iterator<Item = i64> {
        self.attached.leases()
    }

    /// Writes a key in the open transaction; returns it as it was, if that is wanted.
    pub(crate) fn put(&mut self, put: Put<'_>) -> Option<Record> {
        let (main, sub) = (self.revision + 1, self.open);
        let scratch = &mut self.scratch;
        let (change, superseded, previous) = self.index.push(put.key, |newest| {
            let previous = newest.filter(|(_, parts)| !parts.is_tombstone());
            let (create, version) =
                previous.map_or((main, 1), |(_, parts)| (parts.create, parts.version + 1));
            let parts = Parts {
                key: put.key,
                main,
                sub,
                create,
                version,
                lease: put.lease,
                value: put.value,
            };
            let record = Record::new(&parts, scratch);
            let superseded = previous.map(|(_, parts)| Superseded::new(&parts));
            let wanted = previous.filter(|_| put.wants_previous);
            let wanted = wanted.map(|(record, _)| record.clone());
            let change = (record.clone(), parts);
            (record, parts, (change, superseded, wanted))
        });
        self.enter(change, superseded);
        previous
    }

    /// Deletes a key that exists, in the open transaction.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        let (main, sub) = (self.revision + 1, self.open);
        let scratch = &mut self.scratch;
        let (change, superseded) = self.index.push(key, |newest| {
            let (_, previous) = newest.expect("only a key that exists is deleted");
            assert!(
                !previous.is_tombstone(),
                "only a key that exists is deleted"
            );
            let parts = tombstone(key, main, sub);
            let record = Record::new(&parts, scratch);
            let change = (record.clone(), parts);
            (record, parts, (change, Superseded::new(&previous)))
        });
        self.enter(change, Some(superseded));
    }

    /// Ends a transaction and keeps what it wrote.
    pub(crate) fn commit(&mut self) {
        if self.open > 0 {
            self.revision += 1;
            self.open = 0;
        }
    }

    /// Ends a transaction as if it had written nothing.
    pub(crate) fn roll_back(&mut self) {
        while self.open > 0 {
            // Mark: a transaction takes back what it wrote.
            let change = self
                .changes
                .pop_back()
                .expect("every open change is in the log");
            let record = change.record;
            assert_eq!(
                record.main(),
                self.revision + 1,
                "only open changes are taken back"
            );
            self.index.pop(record.key());
            let previous = self.current(record.key());
            let previous = previous.map(|previous| Superseded::new(&previous.parts()));
            let (has_previous, lease) = (previous.is_some(), lease_of(previous));
            self.attached
                .move_key(record.key(), record.parts().lease, lease);
            self.size_bytes -= record.cost_bytes();
            self.freed_bytes = change.freed_before_bytes;
            self.sum = self.sum.wrapping_sub(summand(&record));
            self.open -= 1;
            self.keys =
                self.keys + u64::from(has_previous) - u64::from(!record.parts().is_tombstone());
        }
    }

    /// Makes all before `revision` unreadable, at once; [`Self::purge`] frees it.
    pub(crate) fn compact(&mut self, revision: i64) {
        assert!(self.open == 0, "a compaction within a transaction");
        assert!(revision > self.compact_revision, "compacted twice");
        assert!(revision <= self.revision, "compacted the future");
        let mut later = self.changes.since(revision + 1, 0);
        let freed = later
            .next()
            .map_or(self.freed_bytes, |change| change.freed_before_bytes);
        let dropped = freed - self.freed_compacted_bytes;
        assert!(
            dropped <= self.size_bytes,
            "compaction frees more than there is"
        );
        self.size_bytes -= dropped;
        self.freed_compacted_bytes = freed;
        self.compact_revision = revision;
    }

    /// Frees memory of what a compaction to `floor` dropped, looking at up to `changes_max` changes;
    /// whether there are more.
    ///
    /// Changes of `floor` itself stay in the log, for watchers from there on; their garbage goes
    /// with the next compaction.
    pub(crate) fn purge(&mut self, floor: i64, changes_max: usize) -> bool {
        assert!(floor <= self.compact_revision, "purged what can be read");
        let is_past = |change: &Change| change.record.main() < floor;
        for _ in 0..changes_max {
            if !self.changes.front().is_some_and(is_past) {
                return false;
            }
            let change = self.changes.pop_front().expect("it was just seen");
            // A creation makes no garbage: what was deleted before it went with its deletion.
            if change.record.parts().version != 1 {
                self.index.compact(change.record.key(), floor);
            }
        }
        self.changes.front().is_some_and(is_past)
    }

    /// Puts a new version into the log and the accounts.
    fn enter(&mut self, (record, parts): (Record, Parts<'_>), previous: Option<Superseded>) {
        self.attached
            .move_key(parts.key, lease_of(previous), parts.lease);
        let freed_before_bytes = self.freed_bytes;
        self.freed_bytes += freed_by(&parts, previous);
        self.size_bytes += parts.cost_bytes();
        self.sum = self.sum.wrapping_add(summand(&record));
        self.keys = self.keys + u64::from(!parts.is_tombstone()) - u64::from(previous.is_some());
        self.open = self
            .open
            .checked_add(1)
            .expect("a transaction is far smaller");
        self.changes.push(Change {
            record,
            freed_before_bytes,
        });
    }

    /// What a compaction to the current revision would take off the size.
    fn garbage_bytes(&self) -> u64 {
        self.freed_bytes - self.freed_compacted_bytes
    }
}

/// What a compaction frees when it goes past a change: what that superseded, and a tombstone.
fn freed_by(change: &Parts<'_>, previous: Option<Superseded>) -> u64 {
    let own = if change.is_tombstone() {
        change.cost_bytes()
    } else {
        0
    };
    own + previous.map_or(0, |previous| previous.cost_bytes)
}

/// What a version adds to the sum: it says where in the order of all it stands, so the order of the
/// summands need not count.
fn summand(record: &Record) -> u64 {
    u64::from(crc32c(record.as_bytes()))
}

/// The lease of a key; zero for none.
fn lease_of(version: Option<Superseded>) -> i64 {
    version.map_or(0, |version| version.lease)
}

pub(crate) fn tombstone(key: &[u8], main: i64, sub: u32) -> Parts<'_> {
    Parts {
        key,
        main,
        sub,
        create: main,
        version: 0,
        lease: 0,
        value: &[],
    }
}
