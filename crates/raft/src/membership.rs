//! Who takes part: voters, outgoing voters during a change, learners.
//! Never changes by itself: a configuration arrives with the log's base or as an entry.
//!
//! # Source
//! Raft paper §6; dissertation §4.2.1 (learners), §4.3 (joint consensus).

use alloc::vec::Vec;

use crate::types::NodeId;

/// One configuration of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
}

impl Config {
    /// A configuration; each list is sorted and freed of doubles.
    ///
    /// `voters`: who votes and counts; `outgoing`: the voters of the configuration being left, or
    /// none; `learners`: who receives the log without counting.
    pub fn new(voters: Vec<NodeId>, outgoing: Vec<NodeId>, learners: Vec<NodeId>) -> Self {
        let tidy = |mut ids: Vec<NodeId>| {
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        Self {
            voters: tidy(voters),
            outgoing: tidy(outgoing),
            learners: tidy(learners),
        }
    }

    /// A configuration of voters only.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self::new(voters.into_iter().collect(), Vec::new(), Vec::new())
    }

    /// Who votes, sorted.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// The voters of the configuration being left, sorted; none outside a change.
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// Who learns without a vote, sorted.
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// Whether `id` has a vote, in either majority.
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.binary_search(&id).is_ok() || self.outgoing.binary_search(&id).is_ok()
    }

    /// Whether `id` takes part at all.
    pub fn is_member(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.learners.binary_search(&id).is_ok()
    }

    /// Everyone who takes part but `me`, sorted, each once.
    pub fn peers_of(&self, me: NodeId) -> Vec<NodeId> {
        let mut ids: Vec<NodeId> = self
            .voters
            .iter()
            .chain(&self.outgoing)
            .chain(&self.learners)
            .copied()
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|&id| id != me);
        ids
    }
}
