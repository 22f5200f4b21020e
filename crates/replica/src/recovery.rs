//! From a data directory to a node: identity, newest whole snapshot, log.
//! Never guesses: what is neither whole nor torn is an error that names the place.
//!
//! # Source
//! Raft paper §7; docs/format.md, "Recovery".

use alloc::vec::Vec;
use headwater_raft::{Config, HardState, Index, LogId, WriteId};

use crate::entry::{Entry, Identity};

/// A node as its disk remembers it.
#[derive(Debug)]
pub struct Recovered<M> {
    /// Whose directory it is.
    pub identity: Identity,
    /// Term and vote.
    pub hard: HardState,
    /// The last entry that the newest snapshot covers; zero without a snapshot.
    pub base: LogId,
    /// The configuration as of `base`.
    pub config: Config,
    /// The state machine as of `base`.
    pub machine: M,
    /// The entry just before the first of `entries`; at or before `base`.
    pub log_base: LogId,
    /// The log after `log_base`, contiguous; it may start before `base` and may end before it
    /// (then it is void).
    pub entries: Vec<Entry>,
    /// A commit index that was true once; never more than a hint.
    pub commit: Index,
    /// The next write's place in the queue.
    pub next_write: WriteId,
    /// Bytes of an unfinished, never acknowledged write that were dropped.
    pub torn_bytes: u64,
}
