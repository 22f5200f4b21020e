//! Who takes part: one configuration of the cluster, as data.
//! Never changes by itself; membership replaces it.
//!
//! # Source
//! Raft paper §6; dissertation §4.2.1 (learners), §4.3 (joint consensus).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::types::{Incarnation, NodeId};

/// One configuration of the cluster. Copies share its lists: they are many and never change, and
/// what carries one, such as an input or an effect, stays small.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Config(Arc<Lists>);

/// Who takes part. Every list is sorted and holds each node once.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Lists {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
    joining: Vec<NodeId>,
    /// The disks of the members that have been met, by node (rule R13).
    disks: Vec<(NodeId, Incarnation)>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut config = f.debug_struct("Config");
        config.field("voters", &self.0.voters);
        config.field("outgoing", &self.0.outgoing);
        config.field("learners", &self.0.learners);
        config.field("joining", &self.0.joining);
        config.field("disks", &self.0.disks).finish()
    }
}

impl Config {
    /// A configuration of voters only.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self(Arc::new(Lists {
            voters: tidy(voters),
            ..Lists::default()
        }))
    }

    /// The same with these learners: they receive the log and do not count.
    #[must_use]
    pub fn with_learners(mut self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        self.change().learners = tidy(learners);
        self
    }

    /// The same with these learners, whom the leader makes voters once they have caught up.
    #[must_use]
    pub fn with_joining(mut self, joining: impl IntoIterator<Item = NodeId>) -> Self {
        self.change().joining = tidy(joining);
        self
    }

    /// The same with these outgoing voters: a joint configuration.
    #[must_use]
    pub fn with_outgoing(mut self, outgoing: impl IntoIterator<Item = NodeId>) -> Self {
        self.change().outgoing = tidy(outgoing);
        self
    }

    fn change(&mut self) -> &mut Lists {
        Arc::make_mut(&mut self.0)
    }

    /// Who votes.
    pub fn voters(&self) -> &[NodeId] {
        &self.0.voters
    }

    /// The voters of the configuration being left; none outside a change.
    pub fn outgoing(&self) -> &[NodeId] {
        &self.0.outgoing
    }

    /// Who learns without a vote, until somebody changes that.
    pub fn learners(&self) -> &[NodeId] {
        &self.0.learners
    }

    /// Who learns without a vote, until it has caught up.
    pub fn joining(&self) -> &[NodeId] {
        &self.0.joining
    }

    /// Whether a change of voters is under way: both majorities must agree to everything.
    pub fn is_joint(&self) -> bool {
        !self.0.outgoing.is_empty()
    }

    /// Whether `id` has a vote, in either majority.
    pub fn is_voter(&self, id: NodeId) -> bool {
        contains(&self.0.voters, id) || contains(&self.0.outgoing, id)
    }

    /// Whether `id` takes part at all.
    pub fn is_member(&self, id: NodeId) -> bool {
        self.is_voter(id) || contains(&self.0.learners, id) || contains(&self.0.joining, id)
    }

    /// Everyone who takes part, sorted, each once.
    pub fn members(&self) -> Vec<NodeId> {
        tidy(self.ids())
    }

    /// Everyone who takes part; some perhaps twice.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> {
        let lists = [
            &self.0.voters,
            &self.0.outgoing,
            &self.0.learners,
            &self.0.joining,
        ];
        lists.into_iter().flatten().copied()
    }

    /// Everyone who takes part but `me`, sorted, each once.
    pub fn peers_of(&self, me: NodeId) -> Vec<NodeId> {
        let mut ids = self.members();
        ids.retain(|&id| id != me);
        ids
    }

    /// The same, with the disks of its members: which incarnation of each is the member. Of nodes
    /// that are no members, and of further disks of one member, nothing is kept.
    #[must_use]
    pub fn with_disks(mut self, disks: impl IntoIterator<Item = (NodeId, Incarnation)>) -> Self {
        let mut disks: Vec<_> = disks.into_iter().collect();
        disks.retain(|&(id, _)| self.is_member(id));
        disks.sort_by_key(|&(id, _)| id);
        disks.dedup_by_key(|&mut (id, _)| id);
        self.change().disks = disks;
        self
    }

    /// The disks of the members that have been met.
    pub fn disks(&self) -> &[(NodeId, Incarnation)] {
        &self.0.disks
    }

    /// Which incarnation of `id` is the member; `None` if it has not been met yet.
    pub fn disk_of(&self, id: NodeId) -> Option<Incarnation> {
        let place = self.0.disks.binary_search_by_key(&id, |&(node, _)| node);
        place.ok().map(|place| self.0.disks[place].1)
    }

    /// Whether `other` has the same members in the same roles, whatever is known of their disks.
    pub fn has_same_members(&self, other: &Self) -> bool {
        let roles = |config: &Self| config.clone().with_disks([]);
        roles(self) == roles(other)
    }

    /// Why this cannot be the configuration of a cluster; `None` if it can.
    ///
    /// Lists that are not sorted cannot be made; what else can be wrong is found here.
    pub fn fault(&self) -> Option<&'static str> {
        let learns =
            |id: &NodeId| contains(&self.0.learners, *id) || contains(&self.0.joining, *id);
        if self.0.voters.is_empty() {
            Some("a cluster without voters")
        } else if self.members().contains(&NodeId(0)) {
            Some("0 is no node")
        } else if self.0.voters.iter().any(learns) {
            Some("a node both votes and learns")
        } else if self
            .0
            .joining
            .iter()
            .any(|&id| contains(&self.0.learners, id))
        {
            Some("a learner both joins and stays")
        } else if self.0.outgoing == self.0.voters {
            Some("a change of voters that changes none")
        } else {
            None
        }
    }

    /// The configuration that a change to `target` goes through first: its voters and learners at
    /// once, and beside them the majority of the voters so far. None if the voters stay the same.
    pub(crate) fn joint_with(&self, target: &Self) -> Option<Self> {
        let joint = || {
            let disks = target.0.disks.iter().chain(&self.0.disks).copied();
            let outgoing = self.0.voters.iter().copied();
            target.clone().with_outgoing(outgoing).with_disks(disks)
        };
        (self.0.voters != target.0.voters).then(joint)
    }

    /// The configuration that a joint one leads to.
    pub(crate) fn without_outgoing(&self) -> Self {
        let disks = self.0.disks.iter().copied();
        self.clone().with_outgoing([]).with_disks(disks)
    }

    /// The same with `ready`, who were joining, as voters.
    pub(crate) fn promoting(&self, ready: &[NodeId]) -> Self {
        let mut target = self.clone();
        target.change().joining.retain(|id| !ready.contains(id));
        target.change().voters = tidy(self.0.voters.iter().chain(ready).copied());
        target
    }
}

fn tidy(ids: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn contains(sorted: &[NodeId], id: NodeId) -> bool {
    sorted.binary_search(&id).is_ok()
}
