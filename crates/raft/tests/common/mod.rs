//! A cluster of cores in one process, with pretend disks, a manual clock, and a witness that
//! checks every step.
//!
//! # Source
//! Raft paper, Figure 3; rules R1 to R4 and R11.
#![allow(
    dead_code,
    reason = "each test binary uses its own part of the harness"
)]

pub mod clock;
pub mod cluster;
pub mod disk;
pub mod solo;
pub mod truth;
pub mod words;

#[allow(unused_imports, reason = "each test binary uses its own part")]
pub use clock::Clock;
#[allow(unused_imports, reason = "each test binary uses its own part")]
pub use cluster::{Cluster, Parcel};
pub use headwater_raft::*;

/// Shorthand for tests.
pub fn n(id: u64) -> NodeId {
    NodeId(id)
}

/// Shorthand for tests.
pub fn id(term: u64, index: u64) -> LogId {
    LogId::new(Term(term), Index(index))
}

/// One millisecond of the manual clock.
pub const MS: u64 = 1_000_000;

/// The identities of entries with these terms, after `prev`.
pub fn entries(prev: LogId, terms: &[u64]) -> Entries {
    let mut all = Entries::none(prev);
    for &term in terms {
        let next = all.last.next();
        if all.last_id().term != Term(term) || all.is_empty() {
            all.runs.push((next, Term(term)));
        }
        all.last = next;
    }
    all
}
