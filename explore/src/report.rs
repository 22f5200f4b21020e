//! Runs the checker over a cluster, and says what it found.
//! Never decides whether that is good: the caller does.
//!
//! # Source
//! stateright, the checker.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::bounds::Bounds;
use crate::model::Cluster;

/// What an exploration found.
#[derive(Debug)]
pub struct Report {
    /// Transitions taken.
    pub transitions: usize,
    /// States that differ by more than names.
    pub states: usize,
    /// States, had names counted.
    pub orbits: u64,
    /// States that single nodes were in, and messages sent.
    pub sizes: (usize, usize),
    /// The longest way to a state.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// Whether all states were visited, but for those behind something broken.
    pub is_whole: bool,
    /// What must not happen and did.
    pub broken: Option<Finding>,
    /// What must happen and did not.
    pub missing: Vec<&'static str>,
    /// Whether all states could be written down, if that was asked for.
    pub listed: Result<(), String>,
}

/// A way to a state in which a property does not hold.
#[derive(Debug)]
pub struct Finding {
    /// The property.
    pub property: &'static str,
    /// How it is broken.
    pub how: String,
    /// What happens, in order.
    pub way: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (locals, letters) = self.sizes;
        write!(
            f,
            "{} states ({} with names), {} steps, depth {}; {locals} states of a node, {letters} \
             messages; {:.1} s",
            self.states,
            self.orbits,
            self.transitions,
            self.depth,
            self.time.as_secs_f64()
        )?;
        f.write_str(if self.is_whole { "" } else { ", NOT COMPLETE" })
    }
}

/// Explores all of it, or up to the first thing that is broken, with this many threads.
pub fn explore(bounds: Bounds, threads: usize, seed: u64) -> Report {
    let most = Duration::from_secs(86_400);
    explore_for(Cluster::new(bounds, seed), threads, most)
}

/// The same, but no longer than this: then `is_whole` tells whether that was enough.
pub fn explore_for(cluster: Cluster, threads: usize, most: Duration) -> Report {
    let begin = Instant::now();
    let checker = cluster
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .timeout(most)
        .spawn_bfs()
        .join();
    let time = begin.elapsed();
    let model = checker.model();
    let discoveries = checker.discoveries();
    let listing = model.listing.as_ref().map(Mutex::lock);
    let mut report = Report {
        transitions: checker.state_count(),
        states: checker.unique_state_count(),
        orbits: model.seen.orbits.load(Relaxed),
        sizes: model.world.sizes(),
        depth: checker.max_depth(),
        time,
        is_whole: time < most,
        broken: None,
        missing: Vec::new(),
        listed: listing.map_or(Ok(()), |listing| {
            listing.unwrap_or_else(PoisonError::into_inner).end()
        }),
    };
    for property in model.properties() {
        let found = discoveries.get(property.name);
        match (property.expectation.discovery_is_failure(), found) {
            (true, Some(path)) => {
                let steps = path.clone().into_vec();
                let last = steps.last().and_then(|(s, _)| s.witness.broken.clone());
                let how = last.map_or(String::new(), |(_, how)| how);
                let way = steps.iter().filter_map(|(_, action)| action.as_ref());
                let way = way.map(|action| model.describe(action)).collect();
                report.broken = Some(Finding {
                    property: property.name,
                    how,
                    way,
                });
            }
            (false, None) => report.missing.push(property.name),
            _ => {}
        }
    }
    report
}
