//! Runs of equal terms in a range of entries.
//! Never judges them: [`crate::types::Entries::is_well_formed`] does.
//!
//! # Source
//! Raft paper §5.3: terms never go down along a log, so few runs tell all of them.

use alloc::vec::Vec;

use crate::types::{Index, Term};

/// The first index of a run, and the term of its entries.
pub type Run = (Index, Term);

/// Runs, in order. Nearly every range has one, so the first needs no memory of its own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Runs {
    first: Option<Run>,
    rest: Vec<Run>,
}

impl Runs {
    /// Adds a run at the end.
    pub fn push(&mut self, run: Run) {
        if self.first.is_none() {
            self.first = Some(run);
        } else {
            self.rest.push(run);
        }
    }

    /// All runs, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Run> + Clone {
        self.first.iter().chain(&self.rest)
    }

    /// The last run.
    pub fn last(&self) -> Option<&Run> {
        self.rest.last().or(self.first.as_ref())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl FromIterator<Run> for Runs {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Self {
        let mut all = Self::default();
        for run in runs {
            all.push(run);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_those_that_were_pushed() {
        for count in 0..4 {
            let pushed: Vec<Run> = (1..=count).map(|at| (Index(at), Term(at))).collect();
            let runs: Runs = pushed.iter().copied().collect();
            assert_eq!(runs.iter().copied().collect::<Vec<_>>(), pushed);
            assert_eq!(runs.last(), pushed.last());
            assert_eq!(runs.is_empty(), count == 0);
        }
    }
}
