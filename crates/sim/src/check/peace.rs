//! Nobody disturbs a leader whom a quorum follows: who was cut off asks before it stands, and who was
//! removed gets no answer.
//! Never judges while faults last who should lead, only whether it asked; and in the calm only a
//! leader whom all voters have come to follow.
//!
//! # Source
//! Raft paper §6 (the third problem); dissertation §4.2.3 (disruptive servers), §9.6 (pre-vote).

use std::collections::{BTreeMap, BTreeSet};

use headwater_raft::{Config, Message, NodeId, RoleName, Term};

use super::members::is_quorum;
use super::{Violation, ensure};
use crate::application::Application;
use crate::world::World;

/// What is known of elections asked for, and of the leader in office.
#[derive(Default)]
pub(crate) struct Peace {
    /// Who would vote for whom in a term.
    willing: BTreeMap<(Term, NodeId), BTreeSet<NodeId>>,
    /// The last term whose leader told another to stand.
    handed_over: Option<Term>,
    office: Option<Office>,
    /// When the cluster had settled after the faults.
    settled_at: Option<u64>,
}

/// A leader whom all voters follow.
struct Office {
    leader: usize,
    term: Term,
    config: Config,
    since: u64,
}

impl<A: Application> World<A> {
    /// Looks at a message that leaves `from` for `to`.
    pub(crate) fn peace_after_message(
        &mut self,
        from: usize,
        to: NodeId,
        message: &Message,
    ) -> Result<(), Violation> {
        let (me, peace) = (self.nodes[from].id, &mut self.peace);
        match *message {
            Message::VoteReply {
                term,
                pre: true,
                granted: true,
            } => {
                peace.willing.entry((term, to)).or_default().insert(me);
            }
            Message::TimeoutNow { term } => {
                peace.handed_over = peace.handed_over.max(Some(term));
                peace.office = None;
            }
            Message::Vote {
                term,
                pre: false,
                transfer: false,
                ..
            } => return self.check_asked(from, term),
            _ => {}
        }
        Ok(())
    }

    /// Who stands unasked was told by a quorum that it could win: a node that is cut off does not
    /// come back with a term that deposes everyone.
    fn check_asked(&self, node: usize, term: Term) -> Result<(), Violation> {
        let Some(live) = &self.nodes[node].live else {
            return Ok(());
        };
        let (raft, me) = (live.replica.raft(), self.nodes[node].id);
        // What became of it in the same turn may have brought it other members.
        if raft.role() != RoleName::Candidate || raft.term() != term {
            return Ok(());
        }
        let willing = self.peace.willing.get(&(term, me));
        let has = |id| id == me || willing.is_some_and(|all| all.contains(&id));
        ensure(is_quorum(raft.config(), has), "peace", || {
            format!("{me:?} stands in {term:?}, for which only {willing:?} would vote")
        })
    }

    /// In the calm a leader whom all voters follow stays, and nobody's term passes its.
    pub(crate) fn check_peace(&mut self) -> Result<(), Violation> {
        if self.calm_at.is_none() {
            return Ok(());
        }
        let is_over = |office: &Office| {
            self.cluster.members.current() != &office.config || !self.errands.losses.is_empty()
        };
        if self.peace.office.as_ref().is_some_and(is_over) {
            self.peace.office = None;
        }
        let Some(office) = &self.peace.office else {
            self.peace.office = self.office();
            return Ok(());
        };
        let raft = self.raft_of(office.leader);
        let leads = raft.is_some_and(|raft| raft.role() == RoleName::Leader);
        let ahead = self.may_disturb().find(|&(_, term)| term > office.term);
        if leads && ahead.is_none() {
            return Ok(());
        }
        // What it had not heard for long when all came to follow it may still unseat it.
        let age_ns = self.schedule.now() - office.since;
        ensure(age_ns <= self.plan.knobs.election_ns, "peace", || {
            let (leader, term) = (office.leader + 1, office.term);
            let whom = ahead.map_or(String::new(), |(id, term)| {
                format!("; {id:?} is in {term:?}")
            });
            format!("n{leader}, whom all have followed in {term:?} for long, is disturbed{whom}")
        })?;
        self.peace.office = None;
        Ok(())
    }

    /// The leader whom all voters follow, if nothing that it or they have still to do could part
    /// them: no slow frame, no slow write, no other members, no transfer, no newer term anywhere.
    fn office(&self) -> Option<Office> {
        let (leader, config) = (self.leader()?, self.cluster.members.current());
        let (id, term) = (self.nodes[leader].id, self.raft_of(leader)?.term());
        let follows = |at: usize| {
            let is_idle = self.nodes[at].issued.is_empty();
            self.raft_of(at).is_some_and(|raft| {
                let agrees = raft.leader() == Some(id) && raft.term() == term;
                agrees && is_idle && raft.config() == config
            })
        };
        let mut voters = config.voters().iter().map(|id| id.0 as usize - 1);
        let stands = self.network.is_calm(self.schedule.now())
            && !config.is_joint()
            && config.is_voter(id)
            && voters.all(follows)
            && self.errands.losses.is_empty()
            && self.nodes.iter().all(|node| node.live.is_some())
            && self.may_disturb().all(|(_, other)| other <= term)
            && self.peace.handed_over < Some(term);
        stands.then(|| Office {
            leader,
            term,
            config: config.clone(),
            since: self.schedule.now(),
        })
    }

    /// The nodes that owe the leader peace, and their terms: not those outside whose disks were
    /// lost, which may be a cluster among themselves.
    fn may_disturb(&self) -> impl Iterator<Item = (NodeId, Term)> {
        let config = self.cluster.members.current();
        self.nodes.iter().filter_map(move |node| {
            let is_member = config.members().contains(&node.id);
            let raft = node.live.as_ref()?.replica.raft();
            (is_member || node.lost.is_empty()).then_some((node.id, raft.term()))
        })
    }

    fn raft_of(&self, at: usize) -> Option<&headwater_raft::Raft> {
        Some(self.nodes[at].live.as_ref()?.replica.raft())
    }

    /// Whether those outside, if there are any, have had the time to lose their patience since the
    /// cluster settled: then it has been seen that nobody minds.
    pub(crate) fn is_quiet_long_enough(&mut self) -> bool {
        let (now, config) = (self.schedule.now(), self.cluster.members.current());
        let members = config.members();
        if self.nodes.iter().all(|node| members.contains(&node.id)) {
            return true;
        }
        let patience_ns = 3 * self.plan.knobs.election_ns;
        let settled_at = *self.peace.settled_at.get_or_insert(now);
        if now - settled_at < patience_ns {
            return false;
        }
        let office = self.peace.office.as_ref();
        let is_seen = office.is_some_and(|office| office.since <= settled_at);
        self.stats.peaces += u64::from(is_seen);
        true
    }
}
