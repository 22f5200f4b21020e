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
/// Most keys have one version, and then this is that version's pointer and nothing more.
#[derive(Debug)]
pub(crate) enum History {
    /// The only version.
    One(Record),
    /// Two or more, or what compaction left of them.
    Many(Box<Versions>),
}

/// The list of several versions, apart so that [`History`] stays two words.
#[derive(Debug)]
pub(crate) struct Versions {
    list: Vec<Record>,
}

const _: () = assert!(size_of::<History>() == 16, "an index entry is two words");

impl History {
    pub(crate) fn key(&self) -> &[u8] {
        self.newest().key()
    }

    pub(crate) fn versions(&self) -> &[Record] {
        match self {
            History::One(record) => slice::from_ref(record),
            History::Many(many) => &many.list,
        }
    }

    pub(crate) fn newest(&self) -> &Record {
        self.versions().last().expect("a history has a version")
    }

    /// The newest version no later than `revision`, tombstone or not.
    pub(crate) fn at(&self, revision: i64) -> Option<&Record> {
        let versions = self.versions();
        let newest = self.newest();
        // Almost every read asks for the present.
        if newest.main() <= revision {
            return Some(newest);
        }
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

    /// Appends a version, newer than all here.
    pub(crate) fn push(&mut self, record: Record) {
        assert!(
            record.main() >= self.newest().main(),
            "a version older than the newest"
        );
        match self {
            History::One(first) => {
                let list = vec![first.clone(), record];
                *self = History::Many(Box::new(Versions { list }));
            }
            History::Many(many) => many.list.push(record),
        }
    }

    /// Takes the newest version back; false if it is the only one, which then stays.
    pub(crate) fn pop(&mut self) -> bool {
        match self {
            History::Many(many) if many.list.len() > 1 => {
                many.list.pop();
                true
            }
            _ => false,
        }
    }

    /// Drops what a compaction to `compact_revision` does not keep; false if that is everything.
    pub(crate) fn compact(&mut self, compact_revision: i64) -> bool {
        let kept = self.kept(compact_revision).len();
        if kept == 0 {
            // Mark: a compaction takes all of a key away.
            return false;
        }
        if let History::Many(many) = self {
            let dropped = many.list.len() - kept;
            many.list.drain(..dropped);
            if let [only] = many.list.as_slice() {
                *self = History::One(only.clone());
            } else if many.list.capacity() > 4 * kept {
                // Mark: the room of many versions is given back.
                many.list.shrink_to(2 * kept);
            }
        }
        true
    }
}
