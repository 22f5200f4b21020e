//! A log in memory for the crate `raft`: a queue of entries whose commands are shared bytes.
//! Never copies more than a message takes, as the crate's own `MemStorage` does.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use raft::prelude::{ConfState, Entry, HardState, RaftState, Snapshot, Storage};
use raft::{Error, GetEntriesContext, StorageError};

/// What an entry weighs in a message beside its command, about.
const OVERHEAD_BYTES: u64 = 24;

/// A node's log and hard state; clones share them.
#[derive(Clone, Default)]
pub struct Log(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    /// Index and term of the entry before the first.
    base: (u64, u64),
    state: RaftState,
}

impl Log {
    /// An empty log of a cluster with these voters.
    pub fn new(voters: usize) -> Self {
        let log = Self::default();
        let mut config = ConfState::default();
        config.set_voters((1..=voters as u64).collect());
        log.set_config(config);
        log
    }

    /// Adds entries, in place of those that they contradict.
    pub fn append(&self, entries: Vec<Entry>) {
        let inner = &mut *self.0.borrow_mut();
        if let Some(first) = entries.first() {
            let keep = first.index - inner.base.0 - 1;
            inner.entries.truncate(keep as usize);
            inner.entries.extend(entries);
        }
    }

    /// Forgets the entries up to `index`, which must be here.
    pub fn forget(&self, index: u64) {
        let inner = &mut *self.0.borrow_mut();
        let count = (index - inner.base.0) as usize;
        inner.base = (index, inner.entries[count - 1].term);
        inner.entries.drain(..count);
    }

    /// How many entries lie behind the base up to `index`.
    pub fn count_upto(&self, index: u64) -> u64 {
        index - self.0.borrow().base.0
    }

    /// Remembers term, vote and commit index.
    pub fn set_hard_state(&self, state: HardState) {
        self.0.borrow_mut().state.hard_state = state;
    }

    /// Remembers a commit index.
    pub fn set_commit(&self, commit: u64) {
        self.0.borrow_mut().state.hard_state.commit = commit;
    }

    /// Remembers who takes part.
    pub fn set_config(&self, config: ConfState) {
        self.0.borrow_mut().state.conf_state = config;
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.0.borrow().state.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let inner = self.0.borrow();
        if low <= inner.base.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let (start, end) = (low - inner.base.0 - 1, high - inner.base.0 - 1);
        let range = inner.entries.range(start as usize..end as usize);
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0;
        let fits = range.clone().take_while(|entry| {
            let is_first = size == 0;
            size += entry.data.len() as u64 + OVERHEAD_BYTES;
            is_first || size <= max_size
        });
        let count = fits.count();
        Ok(range.take(count).cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let inner = self.0.borrow();
        if index == inner.base.0 {
            return Ok(inner.base.1);
        }
        let place = index.checked_sub(inner.base.0 + 1);
        let place = place.ok_or(Error::Store(StorageError::Compacted))?;
        let entry = inner.entries.get(place as usize);
        Ok(entry.ok_or(Error::Store(StorageError::Unavailable))?.term)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.0.borrow().base.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        let inner = self.0.borrow();
        Ok(inner.base.0 + inner.entries.len() as u64)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        // No node here should need one.
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
