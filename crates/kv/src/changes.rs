//! Every change since the last compaction, in the order of revisions.
//! Never forgets by itself: compaction trims it.
//!
//! Compaction walks it to find what has become garbage, and a watcher of the past can be told from
//! it what happened since.
//!
//! # Source
//! etcd's backend, which is keyed by (main, sub) revision.

use alloc::collections::VecDeque;

use crate::record::Record;

/// How many changes one block holds: growing must never copy the whole log.
const BLOCK_CHANGES: usize = 1024;

/// One change: the version it made, and how much had been freed before it.
#[derive(Debug)]
pub(crate) struct Change {
    /// The version written.
    pub(crate) record: Record,
    /// The running total of freed bytes (see `Mvcc`) before this change.
    pub(crate) freed_before_bytes: u64,
}

/// The log of changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// All blocks but the first and the last are full; none is empty.
    blocks: VecDeque<VecDeque<Change>>,
}

impl Changes {
    pub(crate) fn push(&mut self, change: Change) {
        if self
            .blocks
            .back()
            .is_none_or(|block| block.len() == BLOCK_CHANGES)
        {
            self.blocks.push_back(VecDeque::new());
        }
        let block = self.blocks.back_mut().expect("a block was just made");
        block.push_back(change);
    }

    pub(crate) fn pop_back(&mut self) -> Option<Change> {
        let block = self.blocks.back_mut()?;
        let change = block.pop_back();
        if block.is_empty() {
            self.blocks.pop_back();
        }
        change
    }

    pub(crate) fn pop_front(&mut self) -> Option<Change> {
        let block = self.blocks.front_mut()?;
        let change = block.pop_front();
        if block.is_empty() {
            self.blocks.pop_front();
        }
        change
    }

    pub(crate) fn front(&self) -> Option<&Change> {
        self.blocks.front()?.front()
    }

    /// The changes from (main, sub) or later on.
    pub(crate) fn since(&self, main: i64, sub: u32) -> impl Iterator<Item = &Change> {
        let is_before = |change: &Change| {
            let parts = change.record.parts();
            (parts.main, parts.sub) < (main, sub)
        };
        let whole = self
            .blocks
            .partition_point(|block| block.back().is_some_and(is_before));
        let within = self
            .blocks
            .get(whole)
            .map_or(0, |block| block.partition_point(is_before));
        self.blocks.range(whole..).flatten().skip(within)
    }
}
