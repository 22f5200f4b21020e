//! The four roles, and what exists only while one of them is held.
//! Never moves between roles; elections do.
//!
//! With messages by: NotLeading.
//!
//! # Source
//! Raft paper §5.1, Figure 4; dissertation §9.6 (pre-candidates).

use alloc::collections::BTreeMap;

use crate::configuration::Config;
use crate::effect::RoleName;
use crate::lease::Lease;
use crate::progress::{Peers, Progress};
use crate::quorum::quorum_reaches;
use crate::read::LeaderReads;
use crate::transfer::Transfer;
use crate::types::{Index, Instant, NodeId};

/// A role with its belongings: leaving it drops them.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Follower,
    PreCandidate(Tally),
    Candidate(Tally),
    Leader(Leadership),
}

impl Role {
    pub(crate) fn name(&self) -> RoleName {
        match self {
            Self::Follower => RoleName::Follower,
            Self::PreCandidate(_) => RoleName::PreCandidate,
            Self::Candidate(_) => RoleName::Candidate,
            Self::Leader(_) => RoleName::Leader,
        }
    }

    pub(crate) fn is_leader(&self) -> bool {
        matches!(self, Self::Leader(_))
    }

    /// The votes so far, to change them; `None` where no election is asked for.
    pub(crate) fn tally_mut(&mut self) -> Option<&mut Tally> {
        match self {
            Self::PreCandidate(tally) | Self::Candidate(tally) => Some(tally),
            Self::Follower | Self::Leader(_) => None,
        }
    }

    /// What a leader keeps; `None` in another role.
    pub(crate) fn leadership(&self) -> Option<&Leadership> {
        match self {
            Self::Leader(leadership) => Some(leadership),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(crate) fn leadership_mut(&mut self) -> Option<&mut Leadership> {
        match self {
            Self::Leader(leadership) => Some(leadership),
            _ => None,
        }
    }
}

/// The votes of one election or pre-election.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) votes: BTreeMap<NodeId, bool>,
    /// Whether the requests have left: not before one's own vote is durable (rule R1).
    pub(crate) announced: bool,
    /// Whether the leader asked for this election: others heed it although they hear that leader.
    pub(crate) transfer: bool,
}

impl Tally {
    pub(crate) fn granted_by(&self, id: NodeId) -> bool {
        self.votes.get(&id).copied().unwrap_or(false)
    }
}

/// What a leader keeps for its term.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    pub(crate) peers: Peers,
    pub(crate) reads: LeaderReads,
    pub(crate) lease: Lease,
    /// The term's first entry: reads wait until it is committed.
    pub(crate) first: Index,
    /// When the next heartbeat is due.
    pub(crate) beat_at: Instant,
    /// When it began to speak, after the election or after a rest.
    pub(crate) awake_since: Instant,
    /// The transfer of this leadership that is under way.
    pub(crate) transfer: Option<Transfer>,
}

impl Leadership {
    /// The largest value that a quorum of `config` reaches, as far as this leader knows. Of whom
    /// nothing is known has reached nothing.
    ///
    /// `own`: this leader and what it has reached itself; `value`: what a peer has.
    pub(crate) fn quorum_reaches<T: Ord + Copy + Default>(
        &self,
        config: &Config,
        (me, own): (NodeId, T),
        value: impl Fn(&Progress) -> T,
    ) -> T {
        quorum_reaches(config, |id| {
            if id == me {
                own
            } else {
                self.peers.get(id).map(&value).unwrap_or_default()
            }
        })
    }
}
