//! What happened: a hash that tells two runs apart, a table for people, JSON lines for programs,
//! and counts.
//! Never influences a run.
//!
//! # Source
//! TigerBeetle's VOPR (one line an event).

use std::collections::VecDeque;
use std::io::Write;

use headwater_replica::telling::Object;

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

/// How a run is watched.
pub struct Watch {
    /// In words, for people.
    pub words: Verbosity,
    /// As JSON lines, for programs (docs/trace.md).
    pub lines: Option<Box<dyn Write + Send>>,
}

impl From<Verbosity> for Watch {
    fn from(words: Verbosity) -> Self {
        let lines = None;
        Self { words, lines }
    }
}

/// The record of a run.
pub(crate) struct Trace {
    hash: u64,
    verbosity: Verbosity,
    lines: VecDeque<String>,
    /// Where JSON lines go, and what kept one from going there.
    file: Option<Box<dyn Write + Send>>,
    error: Option<std::io::Error>,
}

impl Trace {
    pub(crate) fn new(watch: Watch) -> Self {
        Self {
            hash: 0,
            verbosity: watch.words,
            lines: VecDeque::new(),
            file: watch.lines,
            error: None,
        }
    }

    /// Whether anyone wants JSON lines.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Adds a JSON line, if anyone wants one.
    pub(crate) fn tell(
        &mut self,
        now: u64,
        node: Option<usize>,
        kind: &str,
        fill: impl FnOnce(Object) -> Object,
    ) {
        let Some(file) = &mut self.file else {
            return;
        };
        let object = Object::new().number("t", now);
        let object = match node {
            Some(node) => object.number("node", node as u64 + 1),
            None => object,
        };
        let line = fill(object.text("kind", kind)).end();
        if let Err(error) = writeln!(file, "{line}") {
            self.error = Some(error);
            self.file = None;
        }
    }

    /// The file is complete, or it could not be written.
    pub(crate) fn finish(&mut self) -> Option<std::io::Error> {
        let flushed = self.file.take().map(|mut file| file.flush());
        self.error.take().or_else(|| flushed?.err())
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
            crate::say::say!("{line}");
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
