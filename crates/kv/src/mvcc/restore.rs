//! Putting the versions together again from a snapshot.
//! Never believes it: whatever does not fit together is refused.
//!
//! # Source
//! Raft paper §7; the rules are those of `mvcc` itself.

use alloc::vec::Vec;

use super::{Mvcc, Superseded, freed_by, lease_of};
use crate::changes::Change;
use crate::record::{Parts, Record};

/// A store being restored.
#[derive(Debug)]
pub(crate) struct Restore {
    /// The last version taken in.
    last: Option<Record>,
    /// The changes from the compacted revision on.
    changes: Vec<Found>,
}

/// A change that was found among the versions of its key.
#[derive(Debug)]
struct Found {
    record: Record,
    /// The record's, which is a wait for memory away: all are put in order by it.
    position: (i64, u32),
    freed_bytes: u64,
}

impl Restore {
    /// Begins to fill a fresh store.
    pub(crate) fn begin(
        mvcc: &mut Mvcc,
        revision: i64,
        compact_revision: i64,
        (since, sum): (i64, u64),
    ) -> Result<Restore, &'static str> {
        if mvcc.revision != 1 || mvcc.size_bytes != 0 {
            return Err("the store is not fresh");
        }
        let is_possible = (1..i64::MAX).contains(&revision);
        let is_possible = is_possible && (1..=revision).contains(&since);
        if !is_possible || !(-1..=revision).contains(&compact_revision) {
            return Err("impossible revisions");
        }
        mvcc.revision = revision;
        (mvcc.since, mvcc.sum) = (since, sum);
        mvcc.compact_revision = compact_revision;
        Ok(Restore {
            last: None,
            changes: Vec::new(),
        })
    }

    /// Takes in the next version of the last key, or the first one of a later key.
    pub(crate) fn take_record(
        &mut self,
        mvcc: &mut Mvcc,
        record: Record,
    ) -> Result<(), &'static str> {
        let parts = record.parts();
        let last = self.last.take();
        let before = last.as_ref().filter(|last| last.key() == parts.key);
        if before.is_none() && last.as_ref().is_some_and(|last| last.key() > parts.key) {
            return Err("keys out of order");
        }
        if parts.main > mvcc.revision {
            return Err("a version of the future");
        }
        if !follows(&parts, before, mvcc.compact_revision) {
            return Err("a version that does not follow the one before it");
        }
        let previous = before.map(Record::parts);
        let previous = previous.filter(|before| !before.is_tombstone());
        let previous = previous.as_ref().map(Superseded::new);
        if parts.main >= mvcc.compact_revision {
            self.changes.push(Found {
                record: record.clone(),
                position: (parts.main, parts.sub),
                freed_bytes: freed_by(&parts, previous),
            });
        }
        mvcc.size_bytes += parts.cost_bytes();
        mvcc.keys = mvcc.keys + u64::from(!parts.is_tombstone()) - u64::from(previous.is_some());
        mvcc.attached
            .move_key(parts.key, lease_of(previous), parts.lease);
        mvcc.index.push(parts.key, |_| (record.clone(), parts, ()));
        self.last = Some(record);
        Ok(())
    }

    /// Takes in a change of the compacted revision that is part of the log only.
    pub(crate) fn take_change(&mut self, mvcc: &Mvcc, record: Record) -> Result<(), &'static str> {
        let position = record.position();
        if position.0 != mvcc.compact_revision {
            return Err("a change of another revision than the compacted one");
        }
        self.changes.push(Found {
            record,
            position,
            freed_bytes: 0,
        });
        Ok(())
    }

    /// Rebuilds the log of changes, which must be without gaps.
    pub(crate) fn finish(mut self, mvcc: &mut Mvcc) -> Result<(), &'static str> {
        self.changes.sort_unstable_by_key(|change| change.position);
        // Nothing was ever written at the first revision.
        let first = mvcc.compact_revision.max(2);
        let mut expected = (first, 0);
        for change in self.changes {
            let position = change.position;
            // Of the compacted revision, no change may be left: a store of elsewhere forgets deletions.
            let may_be_over = expected.1 > 0 || expected.0 == mvcc.compact_revision;
            let is_next_revision = may_be_over && position == (expected.0 + 1, 0);
            if position != expected && !is_next_revision {
                return Err("changes are missing");
            }
            expected = (position.0, position.1 + 1);
            let freed_before_bytes = mvcc.freed_bytes;
            mvcc.freed_bytes += change.freed_bytes;
            mvcc.changes.push(Change {
                record: change.record,
                freed_before_bytes,
            });
        }
        let is_empty = expected == (first, 0);
        let last = if is_empty { first - 1 } else { expected.0 };
        let may_be_empty = [1, mvcc.compact_revision].contains(&mvcc.revision);
        if last != mvcc.revision && !(is_empty && may_be_empty) {
            return Err("the last changes are missing");
        }
        Ok(())
    }
}

/// Whether a version can come after `before`, the one kept before it of the same key.
fn follows(parts: &Parts<'_>, before: Option<&Record>, compact_revision: i64) -> bool {
    let Some(before) = before else {
        // What went before may be compacted away, but not a deletion's subject.
        let is_new = parts.version == 1 && parts.create == parts.main;
        return !parts.is_tombstone() && (is_new || parts.main <= compact_revision);
    };
    let before = before.parts();
    let is_later =
        parts.main > compact_revision && (parts.main, parts.sub) > (before.main, before.sub);
    let is_next = match (before.is_tombstone(), parts.is_tombstone()) {
        (true, true) => false,
        (false, true) => parts.create == parts.main && parts.lease == 0,
        (true, false) => parts.version == 1 && parts.create == parts.main,
        (false, false) => parts.version - 1 == before.version && parts.create == before.create,
    };
    is_later && is_next
}
