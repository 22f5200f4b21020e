//! The words of the algorithm: who, when, where in the log.
//! Never holds behaviour beyond arithmetic on one number.
//!
//! # Source
//! Raft paper, Figure 2; dissertation §3.3.

use core::fmt;

use crate::configuration::Config;
use crate::runs::{Run, Runs};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $short:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($short, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number! {
    /// A node: one participant in Raft. Zero is no node.
    NodeId, "n"
}
number! {
    /// A term: Raft's logical clock. Zero precedes the first election.
    Term, "t"
}
number! {
    /// A place in the log. The first entry has index 1; zero is the place before it.
    Index, "i"
}
number! {
    /// A place in the one queue of durable writes (rule R2); ids grow by one.
    WriteId, "w"
}
number! {
    /// The caller's name for one read, echoed in its outcome.
    ReadId, "r"
}
number! {
    /// A moment on the caller's monotonic clock, in nanoseconds since a moment of its choosing.
    Instant, "@"
}

/// One life of a node's disk: drawn at random when its directory is formatted, so that a wiped
/// disk is not taken for the member it once was (rule R13).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u128);

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{:x}", self.0)
    }
}

impl Term {
    /// The term after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Index {
    /// The place after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place before this one; the place before the first is zero.
    pub fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl WriteId {
    /// The write after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Instant {
    /// A moment that does not come.
    pub const NEVER: Self = Self(u64::MAX);

    /// This moment and `ns` nanoseconds more.
    pub fn after(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds since `earlier`; zero if `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The identity of one log entry: no two entries of a cluster share one (Log Matching).
///
/// Ordered as logs are compared for elections: by term, then by index (paper §5.4.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogId {
    /// The term in which a leader created the entry.
    pub term: Term,
    /// Its place.
    pub index: Index,
}

impl LogId {
    /// The identity of the entry of `term` at `index`.
    pub fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@t{}", self.index, self.term)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@t{}", self.index, self.term)
    }
}

/// Entries that lie on this node's disk and cannot be read: their identities are known, their bodies
/// are not (rule R12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// The first of them.
    pub first: Index,
    /// The last of them.
    pub last: Index,
    /// Whether a configuration may be among them.
    pub may_hold_config: bool,
}

/// What must survive a crash besides the log: written as one record, never in two.
///
/// # Source
/// Raft paper, Figure 2, persistent state on all servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// Whom this node voted for in that term.
    pub voted_for: Option<NodeId>,
}

/// The identities of a contiguous range of entries, run-length coded by term, and the
/// configurations among them. No payload.
///
/// An empty range (`last == prev.index`) is a pure consistency check or a probe.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entries {
    /// The entry just before the range.
    pub prev: LogId,
    /// The last index of the range.
    pub last: Index,
    /// `(first index of the run, its term)`, in order; the first run starts at `prev.index + 1`.
    pub runs: Runs,
    /// The entries of the range that are configurations, in order.
    pub configs: alloc::vec::Vec<(Index, Config)>,
}

impl Entries {
    /// No entries, after `prev`.
    pub fn none(prev: LogId) -> Self {
        Self {
            prev,
            last: prev.index,
            runs: Runs::default(),
            configs: alloc::vec::Vec::new(),
        }
    }

    /// `count` entries of one `term`, after `prev`.
    pub fn run(prev: LogId, term: Term, count: u64) -> Self {
        let mut entries = Self::none(prev);
        if count > 0 {
            entries.runs.push((prev.index.next(), term));
            entries.last = Index(prev.index.0 + count);
        }
        entries
    }

    /// The first index of the range, were it not empty.
    pub fn first(&self) -> Index {
        self.prev.index.next()
    }

    /// How many entries.
    pub fn count(&self) -> u64 {
        self.last.0 - self.prev.index.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.last == self.prev.index
    }

    /// The identity of the last entry, or of `prev` when there are none.
    pub fn last_id(&self) -> LogId {
        match self.runs.last() {
            Some(&(_, term)) if !self.is_empty() => LogId::new(term, self.last),
            _ => self.prev,
        }
    }

    /// The term at `index`, which must lie in the range or be `prev`.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.prev.index {
            return Some(self.prev.term);
        }
        if index < self.prev.index || index > self.last {
            return None;
        }
        self.runs
            .iter()
            .rev()
            .find(|(first, _)| *first <= index)
            .map(|&(_, term)| term)
    }

    /// The part of the range behind `index`, which must lie in the range or be `prev`.
    ///
    /// # Panics
    /// If it does not.
    pub fn after(&self, index: Index) -> Self {
        let term = self.term_at(index).expect("a range is cut inside itself");
        let mut rest = Self::none(LogId::new(term, index));
        for (at, &(first, term)) in self.runs.iter().enumerate() {
            let following = self.runs.get(at + 1);
            let end = following.map_or(self.last, |&(next, _)| next.prev());
            if end > index {
                rest.runs.push((first.max(index.next()), term));
            }
        }
        rest.last = self.last;
        let behind = |(at, _): &&(Index, Config)| *at > index;
        rest.configs = self.configs.iter().filter(behind).cloned().collect();
        rest
    }

    /// The part of the range up to `index`, which must lie in the range or be `prev`.
    pub fn upto(&self, index: Index) -> Self {
        let mut part = self.clone();
        let starts_by = |&(first, _): &Run| first <= index;
        part.runs = self.runs.iter().copied().filter(starts_by).collect();
        part.configs.retain(|(at, _)| *at <= index);
        part.last = index;
        part
    }

    /// This range and, directly behind it, `more`.
    pub(crate) fn followed_by(&self, more: &Self) -> Self {
        let mut all = self.clone();
        for &(first, term) in &*more.runs {
            if all.runs.last().is_none_or(|&(_, last)| last != term) {
                all.runs.push((first, term));
            }
        }
        all.configs.extend(more.configs.iter().cloned());
        all.last = more.last;
        all
    }

    /// Whether the runs are in order, inside the range, and of non-decreasing, non-zero terms, and
    /// the configurations are possible ones, in order, inside the range: what a peer's message
    /// must satisfy before the core looks at it (rule R12).
    pub fn is_well_formed(&self) -> bool {
        self.has_ordered_runs() && self.has_ordered_configs()
    }

    fn has_ordered_configs(&self) -> bool {
        let mut before = self.prev.index;
        self.configs.iter().all(|(at, config)| {
            let in_order = *at > before && *at <= self.last;
            before = *at;
            in_order && config.fault().is_none()
        })
    }

    fn has_ordered_runs(&self) -> bool {
        if self.last < self.prev.index || self.runs.is_empty() != self.is_empty() {
            return false;
        }
        let mut before = (self.prev.index, self.prev.term);
        for (at, &(first, term)) in self.runs.iter().enumerate() {
            let in_order = if at == 0 {
                first == self.first()
            } else {
                first > before.0
            };
            if !in_order || first > self.last || term < before.1 || term == Term(0) {
                return false;
            }
            before = (first, term);
        }
        true
    }
}
