//! Where a run has been: a hash for each abstract state of the cluster, so that it can be told when
//! more seeds bring nothing new.
//! Never influences a run, and never tells apart what only numbers tell apart.
//!
//! # Source
//! State coverage as fuzzers count edges; verification by abstraction of terms and indices.

use std::collections::HashSet;

use headwater_raft::Index;

use crate::application::Application;
use crate::node::Node;

/// Sets of abstract states.
#[derive(Clone, Debug, Default)]
pub struct Cover {
    states: HashSet<u64>,
}

impl Cover {
    /// How many states.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Adds a run's; how many of them are new.
    pub fn add(&mut self, other: &Self) -> usize {
        let before = self.states.len();
        self.states.extend(&other.states);
        self.states.len() - before
    }

    /// The cluster is in this state.
    pub(crate) fn see<A: Application>(&mut self, nodes: &[Node<A>]) {
        self.states.insert(abstraction(nodes));
    }
}

/// What a cluster is like, whatever its nodes are called and however far it has come: of each node
/// its role, and how its term, log, commitment and configuration stand to the most advanced.
fn abstraction<A: Application>(nodes: &[Node<A>]) -> u64 {
    let rafts = || {
        nodes
            .iter()
            .filter_map(|node| Some(node.live.as_ref()?.replica.raft()))
    };
    let term = rafts().map(|raft| raft.term()).max().unwrap_or_default();
    let last = rafts()
        .map(|raft| raft.last())
        .max_by_key(|last| (last.term, last.index));
    let commit = rafts().map(|raft| raft.commit()).max().unwrap_or_default();
    let of_node = |node: &Node<A>| {
        let Some(live) = &node.live else {
            return 1;
        };
        let raft = live.replica.raft();
        let (has, best) = (raft.last(), last.unwrap_or_default());
        let config = raft.config();
        [
            raft.role() as u64,
            u64::from(raft.term() < term),
            u64::from(has.term != best.term) + u64::from(has != best),
            u64::from(raft.commit() < commit),
            u64::from(raft.commit() < has.index),
            u64::from(raft.base().index > Index(0)),
            config.voters().len() as u64,
            u64::from(config.is_joint()),
            config.learners().len() as u64 + config.joining().len() as u64,
        ]
        .iter()
        .fold(2, |sum, part| sum * 17 + part)
    };
    // Names do not matter: a sum has no order.
    nodes.iter().map(of_node).fold(0, |sum, part| {
        sum.wrapping_add(part.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    })
}
