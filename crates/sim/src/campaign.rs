//! Many seeds on several threads, and what they add up to.
//! Never lets the threads show: reports come in the order of the seeds.
//!
//! # Source
//! Swarm testing in practice: many short worlds, each by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::cover::Cover;
use crate::run::Report;
use crate::trace::Stats;

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many.
    pub runs: u64,
    /// How many failed.
    pub failures: u64,
    /// What they were made of.
    pub stats: Stats,
    /// Equal seeds give equal hashes, on any machine, with any number of threads.
    pub hash: u64,
    /// The abstract states that all of them together went through.
    pub cover: Cover,
    /// How many states were known after each run.
    known: Vec<usize>,
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.failures += u64::from(report.violation.is_some());
        self.stats.add(&report.stats);
        self.hash = self.hash.rotate_left(1) ^ report.hash;
        self.cover.add(&report.cover);
        self.known.push(self.cover.len());
    }

    /// How many states the last tenth of the runs was the first to see.
    pub fn new_in_last_tenth(&self) -> usize {
        let before = self.known.len() - self.known.len().div_ceil(10);
        let known = before.checked_sub(1).map_or(0, |at| self.known[at]);
        self.cover.len() - known
    }
}

/// Runs seeds from `first` on while `is_wanted` says so, on so many threads. `each` gets the
/// reports in order, and ends it by false; `meanwhile` is called now and then.
pub fn run_all(
    first: u64,
    jobs: usize,
    is_wanted: impl Fn(u64) -> bool + Sync,
    run: impl Fn(u64) -> Report + Sync,
    mut each: impl FnMut(Report) -> bool,
    mut meanwhile: impl FnMut(),
) {
    let next = AtomicU64::new(first);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(4 * jobs);
        for _ in 0..jobs {
            let sender = sender.clone();
            let (next, is_over, is_wanted, run) = (&next, &is_over, &is_wanted, &run);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !is_wanted(seed) || sender.send((seed, run(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = first;
        loop {
            meanwhile();
            match receiver.recv_timeout(Duration::from_millis(200)) {
                Ok((seed, report)) => early.insert(seed, report),
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            while let Some(report) = early.remove(&due) {
                due += 1;
                if !each(report) {
                    is_over.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    });
}
