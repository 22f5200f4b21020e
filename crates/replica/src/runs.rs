//! The terms of the log, run by run: enough to name any entry's neighbours without its body.
//! Never holds an entry.
//!
//! # Source
//! Raft paper §5.3 (terms never go down along a log).

use alloc::vec::Vec;
use headwater_raft::{Index, LogId, Term};

/// The last entry of a log and the runs of equal terms that lead to it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Runs {
    /// First index and term of each run that is still known.
    runs: Vec<(Index, Term)>,
    last: Index,
}

impl Runs {
    /// A log that is known only by its last entry and where that entry's run began.
    pub(crate) fn after(last: LogId, run_first: Index) -> Self {
        let mut runs = Vec::new();
        if last.index > Index(0) {
            runs.push((run_first.min(last.index), last.term));
        }
        Self {
            runs,
            last: last.index,
        }
    }

    /// The last entry; zero for an empty log from the beginning.
    pub(crate) fn last(&self) -> LogId {
        let term = self.runs.last().map_or(Term(0), |&(_, term)| term);
        LogId::new(term, self.last)
    }

    /// From here to the last entry, all entries are of its term.
    pub(crate) fn run_first(&self) -> Index {
        self.runs.last().map_or(Index(0), |&(first, _)| first)
    }

    /// Voids the entries from `from` on; `false` if what remains is not known.
    pub(crate) fn truncate(&mut self, from: Index) -> bool {
        if from > self.last {
            return true;
        }
        while self.runs.last().is_some_and(|&(first, _)| first >= from) {
            self.runs.pop();
        }
        self.last = from.prev();
        !self.runs.is_empty() || self.last == Index(0)
    }

    /// Appends the entry `id`.
    pub(crate) fn push(&mut self, id: LogId) {
        let last = self.last();
        assert_eq!(id.index, last.index.next(), "an entry that leaves a gap");
        assert!(id.term >= last.term, "an entry of a term before the last");
        if id.term != last.term {
            self.runs.push((id.index, id.term));
        }
        self.last = id.index;
    }

    /// Forgets runs that end at or before `upto`, but never the last.
    pub(crate) fn forget(&mut self, upto: Index) {
        let after = self.runs.iter().skip(1);
        let gone = after.take_while(|&&(first, _)| first <= upto).count();
        self.runs.drain(..gone);
    }
}
