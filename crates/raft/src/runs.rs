//! Runs of equal terms in a range of entries.
//! Never judges them: [`crate::types::Entries::is_well_formed`] does.
//!
//! # Source
//! Raft paper §5.3: terms never go down along a log, so few runs tell all of them.

use alloc::vec::Vec;
use core::ops::Deref;
use core::slice;

use crate::types::{Index, Term};

/// The first index of a run, and the term of its entries.
pub type Run = (Index, Term);

/// Runs, in order. Nearly every range has one, which needs no memory of its own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Runs {
    /// Of a range without entries.
    #[default]
    None,
    /// All entries are of one term.
    One(Run),
    /// Two runs or more.
    Many(Vec<Run>),
}

impl Runs {
    /// Adds a run at the end.
    pub fn push(&mut self, run: Run) {
        match self {
            Self::None => *self = Self::One(run),
            Self::One(first) => *self = Self::Many([*first, run].into()),
            Self::Many(runs) => runs.push(run),
        }
    }
}

impl Deref for Runs {
    type Target = [Run];

    fn deref(&self) -> &[Run] {
        match self {
            Self::None => &[],
            Self::One(run) => slice::from_ref(run),
            Self::Many(runs) => runs,
        }
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
