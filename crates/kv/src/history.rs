//! All versions of one key, oldest first.
//! Never knows what the current revision is: whoever asks says at which.
//!
//! # Source
//! etcd's key index: generations of versions, each closed by a tombstone.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::slice;

use crate::record::Record;

/// The versions of one key, at least one, in growing order of (main, sub).
///
/// The newest one stands here, since almost everyone looks for that. Most keys have no other.
#[derive(Debug)]
pub(crate) struct History {
    newest: Record,
    /// All of them, the newest as well, if there are two or more, or were until one was taken back.
    all: Option<Box<Versions>>,
}

/// The list of several versions, apart so that [`History`] stays two words.
#[derive(Debug)]
struct Versions {
    list: Vec<Record>,
}

const _: () = assert!(size_of::<History>() == 16, "an index entry is two words");

impl From<Record> for History {
    /// Of one version.
    fn from(newest: Record) -> History {
        History { newest, all: None }
    }
}

impl History {
    pub(crate) fn key(&self) -> &[u8] {
        self.newest.key()
    }

    pub(crate) fn versions(&self) -> &[Record] {
        match &self.all {
            None => slice::from_ref(&self.newest),
            Some(all) => &all.list,
        }
    }

    pub(crate) fn newest(&self) -> &Record {
        &self.newest
    }

    /// The newest version no later than `revision`, tombstone or not.
    pub(crate) fn at(&self, revision: i64) -> Option<&Record> {
        // Almost every read asks for the present.
        if self.newest.main() <= revision {
            return Some(&self.newest);
        }
        let versions = self.versions();
        let until = versions.partition_point(|version| version.main() <= revision);
        until.checked_sub(1).map(|last| &versions[last])
    }

    /// The key as it was at `revision`, if it existed then.
    pub(crate) fn live_at(&self, revision: i64) -> Option<&Record> {
        self.at(revision)
            .filter(|record| !record.parts().is_tombstone())
    }

    /// What a compaction to `compact_revision` keeps.
    pub(crate) fn kept(&self, compact_revision: i64) -> &[Record] {
        let versions = self.versions();
        let until = versions.partition_point(|version| version.main() <= compact_revision);
        match until.checked_sub(1) {
            None => versions,
            Some(last) if versions[last].parts().is_tombstone() => &versions[until..],
            Some(last) => &versions[last..],
        }
    }

    /// Appends a version, newer than all here, which the caller has seen.
    pub(crate) fn push(&mut self, record: Record) {
        match &mut self.all {
            None => {
                let list = vec![self.newest.clone(), record.clone()];
                self.all = Some(Box::new(Versions { list }));
            }
            Some(all) => all.list.push(record.clone()),
        }
        self.newest = record;
    }

    /// Takes the newest version back; false if it is the only one, which then stays.
    pub(crate) fn pop(&mut self) -> bool {
        let Some(all) = &mut self.all else {
            return false;
        };
        let [.., before, _] = all.list.as_slice() else {
            return false;
        };
        self.newest = before.clone();
        all.list.pop();
        true
    }

    /// Drops what a compaction to `compact_revision` does not keep; false if that is everything.
    pub(crate) fn compact(&mut self, compact_revision: i64) -> bool {
        let kept = self.kept(compact_revision).len();
        if kept == 0 {
            // Mark: a compaction takes all of a key away.
            return false;
        }
        if kept == 1 {
            // Whatever else goes, the newest stays.
            self.all = None;
        } else if let Some(all) = &mut self.all {
            let dropped = all.list.len() - kept;
            all.list.drain(..dropped);
            if all.list.capacity() > 4 * kept {
                // Mark: the room of many versions is given back.
                all.list.shrink_to(2 * kept);
            }
        }
        true
    }
}
