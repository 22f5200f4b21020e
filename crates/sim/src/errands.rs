//! What operators ask of nodes: other members, another leader; and what they do about a lost disk.
//! Never asks for what no cluster survives: a change or a loss that could leave a configuration
//! without a majority of whole disks does not come.
//!
//! # Source
//! Raft paper §6; dissertation §3.10; rules R11 and R13.

use std::collections::{BTreeMap, BTreeSet};

use headwater_raft::{Config, Instant, NodeId, NotChanged, Term, TransferRefused};
use headwater_replica::interface::{
    Input, MemberChange, Output, ReconfigureFate, RequestId, TransferFate,
};

use crate::application::Application;
use crate::check::{Violation, ensure};
use crate::fault::{Change, Heir, Nodes, Whom};
use crate::node::Crash;
use crate::schedule::Event;
use crate::witness::Watched;
use crate::world::World;

/// Errands are named from here on, clients' requests from zero.
const FIRST_ERRAND: u64 = 1 << 40;

/// What operators have asked for, and what they have to see to.
#[derive(Default)]
pub(crate) struct Errands {
    asked: u64,
    transfers: BTreeMap<u64, Transfer>,
    /// The nodes whose disk is gone, until they are members again or are not to be.
    pub(crate) losses: BTreeSet<usize>,
    /// All nodes that ever lost a disk.
    ever_lost: BTreeSet<usize>,
    /// The operator's own request that is under way, and since when.
    own: Option<u64>,
}

/// A transfer of leadership that was asked for.
struct Transfer {
    to: Option<NodeId>,
    /// The term of the node asked.
    term: Term,
    /// When that node took it in, by its clock.
    taken: Option<Instant>,
}

impl Errands {
    /// Whether a node ever lost its disk.
    pub(crate) fn has_lost_disk(&self, node: NodeId) -> bool {
        self.ever_lost.contains(&(node.0 as usize - 1))
    }

    /// A node's disk is not what it was.
    pub(crate) fn lose(&mut self, node: usize) {
        self.losses.insert(node);
        self.ever_lost.insert(node);
    }

    /// A node takes a request to hand over in, at this moment of its clock.
    pub(crate) fn on_taken(&mut self, name: u64, at: Instant) {
        if let Some(transfer) = self.transfers.get_mut(&name) {
            transfer.taken = Some(at);
        }
    }
}

impl<A: Application> World<A> {
    fn errand(&mut self, node: usize) -> Option<u64> {
        let live = self.nodes[node].live.as_mut()?;
        let name = FIRST_ERRAND + self.errands.asked;
        self.errands.asked += 1;
        live.errands.insert(name);
        Some(name)
    }

    /// An errand has its one outcome (rule R11).
    fn settle_errand(&mut self, node: usize, name: u64) -> Result<(), Violation> {
        let live = self.nodes[node].live.as_mut();
        let waited = live.is_some_and(|live| live.errands.remove(&name));
        if self.errands.own == Some(name) {
            self.errands.own = None;
        }
        ensure(waited, "outcome", || {
            format!("n{} ends errand {name} twice, or one never made", node + 1)
        })
    }

    /// A node has died: nobody hears what became of its errands.
    pub(crate) fn lose_errands(&mut self, errands: &BTreeSet<u64>) {
        if self.errands.own.is_some_and(|own| errands.contains(&own)) {
            self.errands.own = None;
        }
        for &name in errands {
            self.cluster.members.lose(name);
        }
    }

    // Members.

    /// Asks a node to change the members it knows of.
    pub(crate) fn ask_change(&mut self, node: usize, what: &Change, force: bool) {
        let Some(live) = &self.nodes[node].live else {
            return;
        };
        let believed = live.replica.raft().config().clone();
        let target = changed(&believed, what, |whom| {
            NodeId(self.whom(whom, Some(node)) as u64 + 1)
        });
        self.reconfigure(node, believed, target, force);
    }

    fn reconfigure(
        &mut self,
        node: usize,
        expect: Config,
        target: Config,
        force: bool,
    ) -> Option<u64> {
        let disks = expect.disks().iter().copied();
        let target = target.with_disks(disks);
        let is_deaf = (0..self.nodes.len()).any(|at| self.is_deaf(at, &target));
        if is_deaf || !self.survives(&target, None) {
            return None;
        }
        let name = self.errand(node)?;
        self.stats.changes_asked += 1;
        let now = self.schedule.now();
        self.trace.note(now, Some(node), || {
            format!("errand {name}: members {target:?} instead of {expect:?}")
        });
        self.cluster.members.ask(name, target.clone());
        let command = A::news(&expect, &target);
        let change = MemberChange {
            expect,
            target,
            force,
            command,
        };
        let request = RequestId(name);
        self.give(node, Input::Reconfigure { request, change });
        Some(name)
    }

    /// A node's turn has ended: which of the changes it was asked for in it have begun?
    pub(crate) fn after_changes(
        &mut self,
        asked: &[u64],
        outputs: &[Output<Watched<A>>],
    ) -> Result<(), Violation> {
        let refused = |name: &&u64| {
            !outputs.iter().any(|output| {
                matches!(output, Output::Reconfigured { request, result: Err(ReconfigureFate::NotChanged(_)) }
                    if request.0 == **name)
            })
        };
        let begun: Vec<u64> = asked.iter().filter(refused).copied().collect();
        self.stats.changes_begun += begun.len() as u64;
        self.cluster.members.end_turn(&begun)
    }

    pub(crate) fn on_reconfigured(
        &mut self,
        node: usize,
        name: u64,
        result: &Result<(), ReconfigureFate>,
    ) -> Result<(), Violation> {
        let now = self.schedule.now();
        self.trace.note(now, Some(node), || {
            format!("errand {name} ends: {result:?}")
        });
        self.settle_errand(node, name)?;
        self.stats.changes_done += u64::from(result.is_ok());
        self.stats.changes_lost += u64::from(*result == Err(ReconfigureFate::Lost));
        if let Err(ReconfigureFate::NotChanged(NotChanged::Stale { .. })) = result {
            self.stats.changes_stale += 1;
        }
        let cluster = &mut self.cluster;
        let first = cluster.members.first_of(name);
        let stands = first.and_then(|first| Some(cluster.id_at(first.index)? == first));
        cluster.members.on_outcome(name, stands, result)
    }

    // Leadership.

    /// Asks a node to hand its leadership over.
    pub(crate) fn ask_transfer(&mut self, node: usize, to: Heir) {
        let Some(request) = self.errand(node) else {
            return;
        };
        self.stats.transfers_asked += 1;
        let to = match to {
            Heir::Best => None,
            Heir::Node(node) => Some(NodeId(node as u64 + 1)),
        };
        let asked = &self.nodes[node];
        let raft = asked
            .live
            .as_ref()
            .expect("it was just asked")
            .replica
            .raft();
        let transfer = Transfer {
            to,
            term: raft.term(),
            taken: None,
        };
        self.errands.transfers.insert(request, transfer);
        let request = RequestId(request);
        self.give(node, Input::Transfer { request, to });
    }

    /// No transfer outlasts an election timeout: whoever has a turn after it has said how it ended.
    pub(crate) fn check_transfers(&self, node: usize, at: Instant) -> Result<(), Violation> {
        if self.setbacks.has_halted(node) {
            return Ok(());
        }
        let live = self.nodes[node].live.as_ref();
        let open = live.into_iter().flat_map(|live| &live.errands);
        for name in open {
            let transfer = self.errands.transfers.get(name);
            let taken = transfer.and_then(|transfer| transfer.taken);
            let late = taken.is_some_and(|taken| at.since(taken) > self.plan.knobs.election_ns);
            ensure(!late, "transfer", || {
                format!("transfer {name} has no outcome after an election timeout")
            })?;
        }
        Ok(())
    }

    pub(crate) fn on_transferred(
        &mut self,
        node: usize,
        request: Option<RequestId>,
        result: Result<NodeId, TransferFate>,
    ) -> Result<(), Violation> {
        let now = self.schedule.now();
        self.trace.note(now, Some(node), || {
            format!("hands over: {result:?}, asked for by {request:?}")
        });
        let Some(RequestId(name)) = request else {
            self.stats.transfers_for_disk += 1;
            return Ok(());
        };
        self.settle_errand(node, name)?;
        self.stats.transfers_done += u64::from(result.is_ok());
        let live = self.nodes[node].live.as_ref().expect("it has just spoken");
        let raft = live.replica.raft();
        let Transfer { to, term, .. } = self.errands.transfers[&name];
        let named = |heir: NodeId| to.is_none_or(|to| to == heir);
        let holds = match result {
            Ok(heir) => raft.term() > term && named(heir) && heir != raft.me(),
            Err(TransferFate::Failed { to, .. }) => named(to),
            Err(TransferFate::Refused(TransferRefused::Itself)) => to == Some(raft.me()),
            Err(TransferFate::Refused(TransferRefused::NotVoter)) => to.is_some(),
            Err(TransferFate::Refused(TransferRefused::NobodyFit)) => to.is_none(),
            Err(TransferFate::Refused(_)) => true,
        };
        ensure(holds, "transfer", || {
            format!("transfer {name} to {to:?}, asked for in {term:?}, ends as {result:?}")
        })
    }

    // Lost disks.

    /// Whether every majority of `config`, whoever of its joining learners comes to vote, can be
    /// found among nodes whose disks are whole; `more`: and this one's is gone too.
    fn survives(&self, config: &Config, more: Option<usize>) -> bool {
        let is_lost = |id: &NodeId| {
            let at = id.0 as usize - 1;
            let node = &self.nodes[at];
            let is_blank = node.incarnation.is_none() || node.is_impostor(config);
            let gone = more == Some(at) || node.is_doubtful() || node.has_gaps();
            gone || self.is_deaf(at, config) || self.errands.losses.contains(&at) && is_blank
        };
        let joining = config.joining().iter().filter(|id| is_lost(id)).count();
        let whole = |ids: &[NodeId]| {
            let lost = ids.iter().filter(|id| is_lost(id)).count() + joining;
            ids.is_empty() || (ids.len() - lost.min(ids.len())) * 2 > ids.len() + joining
        };
        whole(config.voters()) && whole(config.outgoing())
    }

    /// Whether a voter that `config` knows no disk of would not hear another of its voters as a
    /// candidate: it knows of earlier members alone, or by earlier disks (docs/divergence.md).
    fn is_deaf(&self, at: usize, config: &Config) -> bool {
        let id = NodeId(at as u64 + 1);
        let node = &self.nodes[at];
        let own = self.cluster.members.in_force(node, &node.durable);
        let is_strange = |other: &NodeId| {
            let disk = self.nodes[other.0 as usize - 1].incarnation;
            let known = own.disk_of(*other);
            !own.is_member(*other) || known.is_some() && known != disk
        };
        let mut others = config.voters().iter().chain(config.outgoing());
        config.is_voter(id)
            && config.disk_of(id).is_none()
            && !own.voters().is_empty()
            && others.any(|other| *other != id && is_strange(other))
    }

    /// Whether a node's disk may be lost now: every configuration that may come into force keeps
    /// a majority, and whoever has the node for a voter knows for good which disk it had.
    pub(crate) fn may_lose_disk(&self, node: usize) -> bool {
        let members = &self.cluster.members;
        let id = NodeId(node as u64 + 1);
        let knows = |config: &Config| !config.is_voter(id) || config.disk_of(id).is_some();
        let all_know = self.nodes.iter().all(|other| {
            let commit = self.cluster.commit();
            let mut log = other.durable.before(commit.next());
            log.configs.retain(|(at, config)| members.at(*at) == config);
            knows(members.in_force(other, &log)) && knows(members.in_force(other, &other.durable))
        });
        let survived = members
            .possible()
            .all(|config| self.survives(config, Some(node)));
        let is_member = members.current().is_member(id);
        let known = members.current().disk_of(id) == self.nodes[node].incarnation;
        let whole = !self.errands.losses.contains(&node) && !self.nodes[node].is_doubtful();
        all_know && survived && is_member && known && whole
    }

    /// A node dies, and its disk with it; it comes back with a blank one.
    pub(crate) fn strike_wipe(
        &mut self,
        node: usize,
        crash: Crash,
        (founds, at_once): (bool, bool),
    ) -> Result<(), Violation> {
        if !self.may_lose_disk(node) {
            return Ok(());
        }
        self.crash(node, crash)?;
        self.lose_disk(node, founds);
        if at_once {
            self.schedule
                .after(self.plan.knobs.election_ns, Event::Operator);
        }
        Ok(())
    }

    /// A node's disk is gone. `founds`: whoever starts it on the blank one says that the cluster
    /// is new, as on the first day; else that it is to join.
    pub(crate) fn lose_disk(&mut self, node: usize, founds: bool) {
        self.lose_content(node);
        // Of several founders with blank disks there could be a cluster beside the cluster.
        let founders = self.plan.knobs.nodes as usize;
        let alone = self.errands.ever_lost.len() * 2 < founders;
        let first = if founds && alone && node < founders {
            self.first_config()
        } else {
            Config::default()
        };
        let now = self.schedule.now();
        self.trace.note(now, Some(node), || "loses its disk".into());
        self.nodes[node].lose_disk(first);
    }

    /// What a node's disk holds is lost.
    pub(crate) fn lose_content(&mut self, node: usize) {
        self.stats.lost_disks += 1;
        self.errands.lose(node);
        self.nodes[node].lose_content();
        self.network.forget(node);
    }

    /// The members of the first day.
    pub(crate) fn first_config(&self) -> Config {
        Config::of_voters((1..=self.plan.knobs.nodes).map(NodeId))
    }

    /// An operator looks after the nodes that have lost their disks: removes them, and adds them
    /// again, one step at a time.
    pub(crate) fn on_operator(&mut self) {
        self.errands.losses.retain(|&node| {
            let (id, config) = (NodeId(node as u64 + 1), self.cluster.members.current());
            let disk = self.nodes[node].incarnation;
            let doubtful = self.nodes[node].is_doubtful();
            doubtful || disk.is_none() || !config.is_member(id) || config.disk_of(id) != disk
        });
        let Some(&node) = self.errands.losses.first() else {
            return;
        };
        let every = self.plan.knobs.election_ns / 2;
        self.schedule.after(every, Event::Operator);
        let Some(leader) = self.leader().filter(|_| self.errands.own.is_none()) else {
            return;
        };
        let live = self.nodes[leader].live.as_ref().expect("it leads");
        let config = live.replica.raft().config().clone();
        let id = NodeId(node as u64 + 1);
        let what = if self.nodes[node].is_impostor(&config) {
            Change::Remove(Whom::Node(node))
        } else if !config.is_member(id) {
            Change::Join(node)
        } else {
            return;
        };
        let target = changed(&config, &what, |_| id);
        self.errands.own = self.reconfigure(leader, config, target, false);
    }
}

/// The members after a change to those of `config`.
fn changed(config: &Config, what: &Change, who: impl Fn(Whom) -> NodeId) -> Config {
    let id = |node: usize| NodeId(node as u64 + 1);
    let but = |ids: &[NodeId], gone: NodeId| -> Vec<NodeId> {
        ids.iter().copied().filter(|&id| id != gone).collect()
    };
    let without = |gone: NodeId| {
        Config::of_voters(but(config.voters(), gone))
            .with_learners(but(config.learners(), gone))
            .with_joining(but(config.joining(), gone))
    };
    let and = |ids: &[NodeId], more: NodeId| -> Vec<NodeId> {
        ids.iter().copied().chain([more]).collect()
    };
    let join = |config: Config, more: NodeId| {
        let joining = and(config.joining(), more);
        config.with_joining(joining)
    };
    match *what {
        Change::Join(node) => join(without(id(node)), id(node)),
        Change::Vote(node) => {
            let rest = without(id(node));
            Config::of_voters(and(rest.voters(), id(node)))
                .with_learners(rest.learners().iter().copied())
                .with_joining(rest.joining().iter().copied())
        }
        Change::Learn(node) => {
            let rest = without(id(node));
            let learners = and(rest.learners(), id(node));
            rest.with_learners(learners)
        }
        Change::Remove(whom) => without(who(whom)),
        Change::Replace(whom, node) => {
            let rest = without(who(whom));
            let rest = if rest.is_member(id(node)) {
                return rest;
            } else {
                rest
            };
            join(rest, id(node))
        }
        Change::Roles(voters, learners, joining) => {
            let ids = |nodes: Nodes| (0..64).filter(move |&at| nodes.has(at)).map(id);
            Config::of_voters(ids(voters))
                .with_learners(ids(learners))
                .with_joining(ids(joining))
        }
    }
}

/// What is still to be seen of the members before a cluster is whole.
pub(crate) fn unfinished(config: &Config, losses: &BTreeSet<usize>) -> Option<String> {
    if config.is_joint() || !config.joining().is_empty() {
        return Some(format!("the change to {config:?} is not complete"));
    }
    let first = losses.first()?;
    Some(format!(
        "n{} has not got back what its disk lost",
        first + 1
    ))
}
