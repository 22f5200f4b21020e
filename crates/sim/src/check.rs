//! The oracles: what must be true of the whole cluster, looked at after every event.
//! Never influences a run: it sees, and says what is wrong.
//!
//! # Source
//! Raft paper, Figure 3; Herlihy and Wing, TOPLAS'90 (linearizability).

pub(crate) mod bounded;
pub(crate) mod history;
pub(crate) mod lease;
pub(crate) mod members;
pub(crate) mod peace;
pub(crate) mod promise;
pub(crate) mod raft;
pub(crate) mod remains;

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which oracle saw it.
    pub oracle: &'static str,
    /// What it saw.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(oracle: &'static str, what: impl Into<String>) -> Self {
        Self {
            oracle,
            what: what.into(),
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.oracle, self.what)
    }
}

/// An oracle's finding, if `holds` is false.
pub(crate) fn ensure(
    holds: bool,
    oracle: &'static str,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation::new(oracle, what()))
    }
}
