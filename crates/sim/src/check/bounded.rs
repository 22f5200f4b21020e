//! Reads of a bounded age cover everything committed until so long before they were asked, by the
//! clock of the node asked.
//! Never asks for more: a younger answer is always right.
//!
//! # Source
//! `ReadLevel::Bounded` of the core; Terry, "Replicated Data Consistency Explained Through
//! Baseball", CACM'13 (bounded staleness).

use std::collections::BTreeMap;

use headwater_raft::Index;

use super::{Violation, ensure};
use crate::application::Application;
use crate::world::World;

/// What was committed when, and the reads that wait.
#[derive(Default)]
pub(crate) struct Bounds {
    /// Moments of the world and what was committed by then.
    commits: Vec<(u64, Index)>,
    /// The last command that each read must see.
    floors: BTreeMap<u64, Index>,
}

impl<A: Application> World<A> {
    /// Takes note of what is committed now.
    pub(crate) fn note_commit(&mut self) {
        let (now, commit) = (self.schedule.now(), self.cluster.commit());
        let commits = &mut self.bounds.commits;
        if commits.last().is_none_or(|&(_, last)| last < commit) {
            commits.push((now, commit));
        }
    }

    /// A node is asked for a read that may be so old.
    pub(crate) fn bound_read(&mut self, op: u64, node: usize, max_lag_ns: u64) {
        let (now, asked) = (self.schedule.now(), &self.nodes[node]);
        // What its clock showed in an earlier life bounds nothing.
        let then = asked
            .clock
            .before(now, max_lag_ns)
            .filter(|&then| then >= asked.born_at);
        let commits = &self.bounds.commits;
        let place = then.map_or(0, |then| commits.partition_point(|&(at, _)| at < then));
        let index = commits[..place]
            .last()
            .map_or(Index(0), |&(_, commit)| commit);
        let floor = self.cluster.command_at(index);
        self.bounds.floors.insert(op, floor);
    }

    /// A read has its answer.
    pub(crate) fn check_bound(&mut self, op: u64, at: Index) -> Result<(), Violation> {
        let Some(floor) = self.bounds.floors.remove(&op) else {
            return Ok(());
        };
        self.stats.bounded_reads += 1;
        ensure(at >= floor, "bounded read", || {
            format!("read {op} saw {at}, older than the {floor} it must cover")
        })
    }
}
