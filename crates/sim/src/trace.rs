//! What happened: a hash that tells two runs apart, a table for people, and counts.
//! Never influences a run.
//!
//! # Source
//! TigerBeetle's VOPR (one line an event).

use std::collections::VecDeque;

pub use crate::stats::Stats;

/// Lines kept for the report of a violation.
const LINES_KEPT: usize = 60;

/// How much of a run is put into words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verbosity {
    /// Nothing: the fastest.
    Silent,
    /// The last lines, for a report.
    Last,
    /// All of it, to standard output.
    All,
}

/// The record of a run.
pub(crate) struct Trace {
    hash: u64,
    verbosity: Verbosity,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        Self {
            hash: 0,
            verbosity,
            lines: VecDeque::new(),
        }
    }

    /// Adds a number to the hash.
    pub(crate) fn mix(&mut self, part: u64) {
        let mixed = (self.hash ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = mixed ^ (mixed >> 32);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Adds a line, if anyone wants one.
    pub(crate) fn note(&mut self, now: u64, node: Option<usize>, text: impl FnOnce() -> String) {
        if self.verbosity == Verbosity::Silent {
            return;
        }
        let who = node.map_or_else(|| "-".to_string(), |node| format!("n{}", node + 1));
        let micros = now / 1000;
        let line = format!(
            "{:>6}.{:03} ms  {who:<3} {}",
            micros / 1000,
            micros % 1000,
            text()
        );
        if self.verbosity == Verbosity::All {
            println!("{line}");
        }
        self.lines.push_back(line);
        if self.lines.len() > LINES_KEPT {
            self.lines.pop_front();
        }
    }

    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
