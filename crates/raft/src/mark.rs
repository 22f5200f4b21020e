//! Bounded-staleness reads: what is known to have been committed, and as of when.
//! Never asks anyone, and never needs another node's clock.
//!
//! A read that was asked at some moment and confirmed at an index is a mark: everything committed
//! by that moment lies at or below that index. The moment is of this node's own clock, and of the
//! *question*; the answer may have travelled long. A mark stays true whatever happens to the
//! leader, the term or the link, so it is never dropped, only surpassed.
//!
//! A bounded read therefore sees everything that was committed `max_lag_ns` before it was asked,
//! and no bounded read of a node sees less than one before it in the same life.
//!
//! # Source
//! Dissertation §6.4 (the read index); its step 3 says what a confirmed index covers.

use crate::raft::Raft;
use crate::types::{Index, Instant};

/// The newest mark: the best moment and the best index of all that were learnt. They need not
/// come from one read: what covers the later moment is covered by the higher index too.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks {
    asked_at: Option<Instant>,
    index: Index,
}

impl Marks {
    /// A read asked at `asked_at` was confirmed at `index`.
    pub(crate) fn learn(&mut self, asked_at: Instant, index: Index) {
        self.asked_at = self.asked_at.max(Some(asked_at));
        self.index = self.index.max(index);
    }
}

impl Raft {
    /// Where a bounded read asked `now` is served at once: an index that covers everything
    /// committed up to `max_lag_ns` ago. `None` if nothing so recent is known here.
    pub fn mark(&self, now: Instant, max_lag_ns: u64) -> Option<Index> {
        let asked_at = self.marks.asked_at?;
        (now.since(asked_at) <= max_lag_ns).then_some(self.marks.index)
    }
}
