//! The log's shape: which term each index holds. No bodies.
//! Never decides what may be truncated or forgotten; replication and snapshots do.
//!
//! # Source
//! Raft paper §5.3, Figure 7; §7 for the base.

use alloc::vec::Vec;

use crate::types::{Entries, Index, LogId, Term};

/// The identities of the entries after `base`, run-length coded: one run per leadership.
#[derive(Clone, Debug)]
pub(crate) struct TermLog {
    base: LogId,
    last: Index,
    /// `(first index, term)`: indices strictly grow, terms strictly grow.
    runs: Vec<(Index, Term)>,
}

impl TermLog {
    /// The log that holds `entries`.
    pub(crate) fn new(entries: &Entries) -> Self {
        let mut log = Self::empty_after(entries.prev);
        log.append(entries);
        log
    }

    /// A log without entries, after `base`.
    pub(crate) fn empty_after(base: LogId) -> Self {
        Self {
            base,
            last: base.index,
            runs: Vec::new(),
        }
    }

    /// The entry just before the first.
    pub(crate) fn base(&self) -> LogId {
        self.base
    }

    /// The last entry, or the base.
    pub(crate) fn last_id(&self) -> LogId {
        let term = self.runs.last().map_or(self.base.term, |&(_, term)| term);
        LogId::new(term, self.last)
    }

    /// The term at `index`; `None` before the base and after the last entry.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last {
            return None;
        }
        // Nearly always it is the last run that is asked about.
        match self.runs.last() {
            Some(&(first, term)) if first <= index => Some(term),
            _ => {
                let run = self.runs.partition_point(|&(first, _)| first <= index);
                Some(self.runs[run - 1].1)
            }
        }
    }

    /// Whether this very entry is here.
    pub(crate) fn has(&self, id: LogId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// Adds `entries` at the end.
    ///
    /// # Panics
    /// If they do not continue the log: the caller has checked.
    pub(crate) fn append(&mut self, entries: &Entries) {
        assert_eq!(
            entries.prev,
            self.last_id(),
            "entries do not continue the log"
        );
        for &(first, term) in &*entries.runs {
            if self.last_id().term != term || self.runs.is_empty() {
                self.runs.push((first, term));
            }
        }
        self.last = entries.last;
    }

    /// Drops the entries from `from` on.
    ///
    /// # Panics
    /// If that would reach into the base.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(
            from > self.base.index,
            "truncating what the log has forgotten"
        );
        self.runs.retain(|&(first, _)| first < from);
        self.last = self.last.min(from.prev());
    }

    /// Forgets the entries up to and including `base`, which must be here.
    pub(crate) fn compact(&mut self, base: LogId) {
        assert!(self.has(base), "compacting to an entry that is not here");
        let kept = self
            .runs
            .partition_point(|&(first, _)| first <= base.index.next());
        if kept > 0 {
            self.runs.drain(..kept - 1);
            self.runs[0].0 = self.runs[0].0.max(base.index.next());
        }
        if base.index == self.last {
            self.runs.clear();
        }
        self.base = base;
    }

    /// The identities of `first..=last`, all of which must be here, without configurations: those
    /// are membership's.
    pub(crate) fn entries(&self, first: Index, last: Index) -> Entries {
        let prev_index = first.prev();
        let prev_term = self
            .term_at(prev_index)
            .expect("a range starts inside the log");
        assert!(last <= self.last, "a range ends inside the log");
        let mut entries = Entries::none(LogId::new(prev_term, prev_index));
        if last < first {
            return entries;
        }
        let start = self.runs.partition_point(|&(at, _)| at <= first) - 1;
        for &(at, term) in &self.runs[start..] {
            if at > last {
                break;
            }
            entries.runs.push((at.max(first), term));
        }
        entries.last = last;
        entries
    }

    /// The first index at which `entries` and this log differ or this log ends; `None` if all of
    /// `entries` are here. `entries.prev` must be here.
    pub(crate) fn first_difference(&self, entries: &Entries) -> Option<Index> {
        if entries.is_empty() {
            return None;
        }
        // Terms change only where a run begins, on one side or the other.
        let theirs = entries.runs.iter().map(|&(first, _)| first);
        let ours = self.runs.iter().map(|&(first, _)| first);
        let differs = |&at: &Index| {
            at >= entries.first()
                && at <= entries.last
                && at <= self.last
                && self.term_at(at) != entries.term_at(at)
        };
        let first = theirs.chain(ours).filter(differs).min();
        first.or_else(|| (entries.last > self.last).then(|| self.last.next()))
    }

    /// The highest entry at or before `near.index` whose term is no higher than `near.term`: the
    /// best common ground that a node with `near` in its log can hope for. At worst the base.
    ///
    /// # Source
    /// Raft paper §5.3, the optimization at the end; each round skips whole terms on both sides.
    pub(crate) fn common_ground(&self, near: LogId) -> LogId {
        let index = near.index.min(self.last).max(self.base.index);
        let upto = self
            .runs
            .partition_point(|&(first, term)| first <= index && term <= near.term);
        // Runs are ordered in both coordinates, so all beyond `upto` are too late or too new.
        match self.runs[..upto].last() {
            None => self.base,
            Some(&(_, term)) => {
                let end = self
                    .runs
                    .get(upto)
                    .map_or(self.last, |&(first, _)| first.prev());
                LogId::new(term, index.min(end))
            }
        }
    }

    /// Whether runs are in order and inside the log; for [`crate::invariant`].
    pub(crate) fn is_well_formed(&self) -> bool {
        let entries = Entries {
            prev: self.base,
            last: self.last,
            runs: self.runs.iter().copied().collect(),
            configs: Vec::new(),
        };
        entries.is_well_formed() && self.runs.windows(2).all(|pair| pair[0].1 < pair[1].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// A log with the given terms, from index 1.
    fn log(terms: &[u64]) -> TermLog {
        let mut log = TermLog::empty_after(LogId::default());
        for &term in terms {
            log.append(&Entries::run(log.last_id(), Term(term), 1));
        }
        log
    }

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(Term(term), Index(index))
    }

    #[test]
    fn a_log_knows_the_term_of_every_index() {
        let log = log(&[1, 1, 4, 4, 5]);
        let terms: Vec<_> = (0..7).map(|at| log.term_at(Index(at))).collect();
        let some = |term| Some(Term(term));
        assert_eq!(
            terms,
            vec![some(0), some(1), some(1), some(4), some(4), some(5), None]
        );
        assert_eq!(log.last_id(), id(5, 5));
    }

    #[test]
    fn ranges_survive_compaction_and_truncation() {
        for base in 0..=5 {
            for from in base + 1..=6 {
                let mut log = log(&[1, 1, 4, 4, 5]);
                let whole = log.entries(Index(1), Index(5));
                let at = LogId::new(whole.term_at(Index(base)).expect("inside"), Index(base));
                log.compact(at);
                log.truncate(Index(from));
                assert!(log.is_well_formed(), "base {base} from {from}: {log:?}");
                for index in base..from {
                    assert_eq!(log.term_at(Index(index)), whole.term_at(Index(index)));
                }
                let kept = log.entries(Index(base + 1), Index(from - 1));
                assert!(kept.is_well_formed() && kept.count() == from - 1 - base);
                assert_eq!(log.term_at(Index(from)), None);
            }
        }
    }

    #[test]
    fn a_difference_is_found_where_terms_first_differ() {
        let ours = log(&[1, 1, 2, 2, 5]);
        let check = |theirs: &[u64], expected: Option<u64>| {
            let entries = log(theirs).entries(Index(1), Index(theirs.len() as u64));
            assert_eq!(
                ours.first_difference(&entries),
                expected.map(Index),
                "{theirs:?}"
            );
        };
        check(&[1, 1, 2, 2, 5], None);
        check(&[1, 1, 2], None);
        check(&[1, 1, 2, 2, 5, 5], Some(6));
        check(&[1, 1, 2, 3, 3], Some(4));
        check(&[1, 2, 2, 2], Some(2));
        check(&[1, 1, 1, 2], Some(3));
    }

    #[test]
    fn common_ground_equals_the_naive_search() {
        // All logs of four entries over three terms, against every question.
        for code in 0..81_u32 {
            let mut terms: Vec<u64> = (0..4)
                .map(|digit| u64::from(code / 3_u32.pow(digit) % 3) + 1)
                .collect();
            terms.sort_unstable();
            let log = log(&terms);
            for index in 0..7 {
                for term in 0..5 {
                    let naive = (0..=index.min(4))
                        .rev()
                        .map(Index)
                        .find(|&at| log.term_at(at).expect("inside") <= Term(term))
                        .expect("the base has term zero");
                    assert_eq!(log.common_ground(id(term, index)).index, naive);
                }
            }
        }
    }
}
