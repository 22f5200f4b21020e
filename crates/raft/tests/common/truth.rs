//! The witness: what must hold across nodes, checked at the moment it is claimed.
//! It sees disks and messages that no node sees, so it catches a lie when it is told and not
//! only when it does harm.
//!
//! # Source
//! Raft paper, Figure 3; rules R1 (durable before it counts), R4 (every send is safe), R6, R11.

use std::collections::{BTreeMap, BTreeSet};

use headwater_raft::{
    AppendResult, Config, Effect, Entries, Incarnation, Index, Instant, LogId, Message, NodeId,
    Raft, ReadId, RoleName, Term,
};

use super::cluster::Node;
use super::disk::Disk;

pub type Nodes = BTreeMap<NodeId, Node>;

/// What the witness remembers of a whole run.
#[derive(Clone, Debug)]
pub struct Truth {
    /// The terms of the committed entries, from index 1.
    pub committed: Vec<Term>,
    /// The committed configurations, by entry; the first one at zero.
    pub configs: BTreeMap<Index, Config>,
    /// The world's time, and when each entry was first committed.
    pub now: Instant,
    committed_at: Vec<Instant>,
    pub leaders: BTreeMap<Term, NodeId>,
    /// The entry before each entry ever created: Log Matching says there is one.
    before: BTreeMap<LogId, LogId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// Votes given before the disk that remembered them was lost: given all the same.
    old_votes: BTreeSet<(NodeId, Term, NodeId)>,
    /// Nodes that have lost a disk, and the promises with it; and that disk.
    pub wiped: BTreeMap<NodeId, (Incarnation, Disk)>,
    /// Reads asked and not answered: by node and life, with the least index that may answer.
    pub open_reads: BTreeMap<(NodeId, u64, ReadId), Index>,
    closed_reads: BTreeSet<(NodeId, u64, ReadId)>,
    pub reads_served: u64,
    pub truncations: u64,
    pub repairs: u64,
    /// Transfers asked for and not ended, by the node that leads: to whom.
    pub open_transfers: BTreeMap<NodeId, NodeId>,
    /// Transfers that ended in a newer term, and all others.
    pub transfers: (u64, u64),
}

impl Truth {
    /// Nothing has happened yet in a cluster that begins with `config`.
    pub fn new(config: Config) -> Self {
        Self {
            now: Instant(0),
            committed_at: Vec::new(),
            committed: Vec::new(),
            configs: BTreeMap::from([(Index(0), config)]),
            leaders: BTreeMap::new(),
            before: BTreeMap::new(),
            votes: BTreeMap::new(),
            old_votes: BTreeSet::new(),
            wiped: BTreeMap::new(),
            open_reads: BTreeMap::new(),
            closed_reads: BTreeSet::new(),
            reads_served: 0,
            truncations: 0,
            repairs: 0,
            open_transfers: BTreeMap::new(),
            transfers: (0, 0),
        }
    }

    /// The configuration that a snapshot of everything up to `index` bears.
    pub fn config_as_of(&self, index: Index) -> Config {
        let (_, config) = self.configs.range(..=index).next_back().expect("the first");
        config.clone()
    }

    /// Looks at one effect of `me`, just before it is carried out.
    pub fn see(&mut self, nodes: &Nodes, me: NodeId, effect: &Effect) {
        match effect {
            Effect::Send { to, message } => self.see_send(nodes, me, *to, message),
            Effect::Persist(write) => {
                self.truncations += u64::from(write.truncate_from().is_some());
                self.repairs +=
                    u64::from(matches!(write.log, headwater_raft::LogChange::Repair(_)));
                if let Some(append) = write.append() {
                    self.see_entries(append);
                }
            }
            Effect::Commit { upto } => self.see_commit(nodes, me, *upto),
            Effect::Read { id, result } => self.see_read(nodes, me, *id, *result),
            Effect::Role { term, role, .. } => {
                if *role == RoleName::Leader {
                    self.see_leader(nodes, me, *term);
                }
            }
            Effect::Install { .. } | Effect::Config { .. } => {}
            Effect::Transferred { to, result } => self.see_transferred(me, *to, result.is_ok()),
            Effect::Disowned { by } => {
                // Perhaps it was added again since, and `by` or the node itself has yet to learn it.
                let is_first = nodes[&me].incarnation.0.is_multiple_of(1000);
                assert!(!is_first, "{by:?} disowns {me:?}");
            }
            Effect::Refused { from, why } => panic!("{me:?} refuses {from:?}: {why}"),
            // Whoever lost its disk, or a part of what it held, is right to take no part.
            Effect::Halt { .. } if self.wiped.contains_key(&me) => {}
            Effect::Halt { why } => panic!("{me:?} halts: {why}"),
        }
    }

    /// Log Matching: if two logs hold an entry with the same index and term, all before agrees.
    pub fn see_entries(&mut self, entries: &Entries) {
        let mut prev = entries.prev;
        for index in entries.first().0..=entries.last.0 {
            let index = Index(index);
            let id = LogId::new(entries.term_at(index).expect("inside"), index);
            let known = *self.before.entry(id).or_insert(prev);
            assert_eq!(known, prev, "Log Matching: {id} has two predecessors");
            prev = id;
        }
    }

    /// Election Safety and Leader Completeness, at the moment of election.
    fn see_leader(&mut self, nodes: &Nodes, me: NodeId, term: Term) {
        let first = *self.leaders.entry(term).or_insert(me);
        assert_eq!(first, me, "Election Safety: two leaders in {term:?}");
        let raft = nodes[&me].raft();
        let voted = |id: &NodeId| {
            let gave = self.votes.get(&(*id, term)) == Some(&me);
            let once_gave = self.old_votes.contains(&(*id, term, me));
            // A configuration that knows the lost disk counts on no other.
            let lost = self.wiped.get(id).map(|&(incarnation, _)| incarnation);
            let counts = lost.is_none() || raft.config().disk_of(*id) != lost;
            *id == me || once_gave || gave && counts
        };
        assert!(
            is_quorum(raft.config(), voted),
            "{me:?} leads {term:?} without a quorum of votes"
        );
        // Votes can be so late that a newer leader has committed meanwhile; this one never will.
        if self.leaders.keys().next_back() != Some(&term) {
            return;
        }
        let base = raft.base().index.0;
        for (at, &committed) in self.committed.iter().enumerate().skip(base as usize) {
            let index = Index(at as u64 + 1);
            let here = raft.term_at(index);
            assert_eq!(
                here,
                Some(committed),
                "Leader Completeness: {me:?} at {index:?}"
            );
        }
        self.see_no_lease(nodes, me, term);
    }

    /// While a leader has a lease, nobody is elected after it: checked at the election, long before
    /// a stale read could come of it.
    fn see_no_lease(&self, nodes: &Nodes, me: NodeId, term: Term) {
        for (&other, node) in nodes.iter().filter(|&(&other, _)| other != me) {
            let older = node.raft.as_ref().filter(|raft| raft.term() < term);
            if let Some(until) = older.and_then(|raft| raft.lease_until()) {
                let now = node.clock.shows(self.now);
                assert!(
                    now >= until,
                    "{me:?} is elected in {term:?} while {other:?} has a lease until {until:?}, \
                     by its clock now {now:?}"
                );
            }
        }
    }

    /// State Machine Safety, and a durable quorum at the moment of first commitment.
    fn see_commit(&mut self, nodes: &Nodes, me: NodeId, upto: Index) {
        let raft = nodes[&me].raft();
        let from = raft.base().index.0 + 1;
        for index in from..=upto.0 {
            let term = raft
                .term_at(Index(index))
                .expect("a committed entry is here");
            match self.committed.get(index as usize - 1) {
                Some(&known) => assert_eq!(term, known, "State Machine Safety at {index}"),
                None => {
                    let id = LogId::new(term, Index(index));
                    // What a node held when it said so was true then, and may be counted.
                    let held =
                        |at: &NodeId| self.wiped.get(at).is_some_and(|(_, disk)| disk.holds(id));
                    let holds = |at: &NodeId| nodes[at].disk.holds(id) || held(at);
                    assert!(
                        is_quorum(&nodes[&me].told_config, holds),
                        "{me:?} commits {id} without a quorum of durable copies"
                    );
                    self.committed.push(term);
                    self.committed_at.push(self.now);
                    if let Some(config) = raft.config_at(Index(index)) {
                        self.see_config(Index(index), config);
                    }
                }
            }
        }
    }

    /// One chain of configurations: two neighbours have the same voters, or one is joint and has
    /// the voters of both.
    fn see_config(&mut self, at: Index, config: &Config) {
        let (_, before) = self.configs.last_key_value().expect("the first");
        if before == config {
            return;
        }
        let same = before.voters() == config.voters() && before.outgoing() == config.outgoing();
        let enters = !before.is_joint() && config.outgoing() == before.voters();
        let leaves = before.is_joint() && !config.is_joint() && before.voters() == config.voters();
        assert!(
            same || enters || leaves,
            "from {before:?} to {config:?} at {at:?}"
        );
        // Who was no member and is one now comes with whatever disk it has.
        let is_new = |id: &NodeId| config.is_member(*id) && !before.is_member(*id);
        self.wiped.retain(|id, _| !is_new(id));
        self.configs.insert(at, config.clone());
    }

    /// Whatever is said must be true of the disk already (rule R4).
    fn see_send(&mut self, nodes: &Nodes, me: NodeId, to: NodeId, message: &Message) {
        let disk = &nodes[&me].disk;
        let said = match *message {
            Message::Vote { pre: true, .. } => return,
            Message::VoteReply {
                pre: true,
                granted: true,
                ..
            } => return,
            Message::RepairAsk { .. }
            | Message::ReadAsk { .. }
            | Message::ReadTell { .. }
            | Message::Heard { .. }
            | Message::Disowned { .. } => return,
            Message::Vote { term, .. }
            | Message::VoteReply { term, .. }
            | Message::Append { term, .. }
            | Message::AppendReply { term, .. }
            | Message::Beat { term, .. }
            | Message::BeatReply { term, .. }
            | Message::Commit { term, .. }
            | Message::Rest { term, .. }
            | Message::TimeoutNow { term }
            | Message::Snapshot { term, .. }
            | Message::RepairTell { term, .. } => term,
        };
        assert!(
            disk.term() >= said,
            "{me:?} says {message:?} before the term is durable"
        );
        match *message {
            Message::Vote { term, .. } => self.see_vote(nodes, me, term, me),
            Message::VoteReply {
                term,
                granted: true,
                ..
            } => self.see_vote(nodes, me, term, to),
            Message::AppendReply {
                term,
                result: AppendResult::Durable(upto),
            } => {
                self.see_acknowledgement(nodes, me, to, LogId::new(term, upto));
            }
            Message::Append { term, .. }
            | Message::Beat { term, .. }
            | Message::Rest { term, .. }
            | Message::TimeoutNow { term } => {
                assert_eq!(
                    self.leaders.get(&term),
                    Some(&me),
                    "{me:?} speaks as leader"
                );
            }
            _ => {}
        }
    }

    /// A vote is durable when it leaves, and there is one a term.
    fn see_vote(&mut self, nodes: &Nodes, me: NodeId, term: Term, candidate: NodeId) {
        let hard = nodes[&me].disk.safe.hard;
        assert_eq!(
            (hard.term, hard.voted_for),
            (term, Some(candidate)),
            "{me:?} speaks of a vote that is not durable"
        );
        let known = *self.votes.entry((me, term)).or_insert(candidate);
        assert_eq!(known, candidate, "{me:?} votes twice in {term:?}");
    }

    /// What is acknowledged is durable, and is what the leader has there.
    fn see_acknowledgement(&self, nodes: &Nodes, me: NodeId, to: NodeId, said: LogId) {
        let node = &nodes[&me];
        let (term, upto) = (said.term, said.index);
        if upto == Index(0) || node.disk.snapshot.index >= upto {
            return;
        }
        let safe = node.disk.safe.term_at(upto);
        assert!(
            safe.is_some(),
            "{me:?} acknowledges {upto:?} before it is durable"
        );
        let lost = &node.disk.safe.unreadable;
        let lost = lost.range(node.disk.snapshot.index.next()..=upto).next();
        assert_eq!(lost, None, "{me:?} acknowledges what it cannot read");
        // One that has crashed may have again what it gave up before it led.
        let leads = |raft: &&Raft| raft.term() == term && raft.role() == RoleName::Leader;
        let leader = nodes[&to].raft.as_ref().filter(leads);
        if let Some(here) = leader.and_then(|raft| raft.term_at(upto)) {
            assert_eq!(
                safe,
                Some(here),
                "{me:?} acknowledges another entry at {upto:?}"
            );
        }
    }

    /// `me` asks for a read: it must see everything that anyone has committed by now, or that was
    /// committed `before` a moment of the past.
    pub fn see_asked(&mut self, me: NodeId, life: u64, id: ReadId, before: Option<Instant>) {
        let committed = match before {
            None => self.committed.len(),
            Some(before) => self.committed_at.partition_point(|&at| at < before),
        };
        let least = Index(committed as u64);
        let fresh = self.open_reads.insert((me, life, id), least).is_none();
        assert!(fresh, "the harness reused a read id");
    }

    fn see_read<E>(&mut self, nodes: &Nodes, me: NodeId, id: ReadId, result: Result<Index, E>) {
        let key = (me, nodes[&me].life, id);
        let least = self.open_reads.remove(&key);
        assert!(self.closed_reads.insert(key), "{me:?} answers {id:?} twice");
        let least = least.unwrap_or_else(|| panic!("{me:?} answers {id:?}, never asked"));
        if let Ok(at) = result {
            self.reads_served += 1;
            assert!(
                at >= least,
                "a stale read at {me:?}: {at:?}, committed {least:?}"
            );
            assert!(
                at.0 <= self.committed.len() as u64,
                "a read of what is not committed"
            );
        }
    }

    /// A node lost its disk: until it is a member again its word counts for nothing.
    pub fn see_wipe(&mut self, me: NodeId, lost: (Incarnation, Disk)) {
        self.wiped.insert(me, lost);
        self.votes.retain(|&(node, term), &mut candidate| {
            if node == me {
                self.old_votes.insert((node, term, candidate));
            }
            node != me
        });
    }

    /// `me` began a transfer that was asked for.
    pub fn see_transfer(&mut self, me: NodeId, to: NodeId) {
        let open = self.open_transfers.insert(me, to);
        assert_eq!(open, None, "{me:?} begins a transfer during another");
    }

    /// A transfer has ended: the one asked for, or one that `me` began by itself.
    fn see_transferred(&mut self, me: NodeId, to: NodeId, ok: bool) {
        if let Some(asked) = self.open_transfers.remove(&me) {
            assert_eq!(asked, to, "{me:?} ends a transfer that was not begun");
        }
        self.transfers.0 += u64::from(ok);
        self.transfers.1 += u64::from(!ok);
    }

    /// A crash takes its open reads along: nobody is left to hear the outcome.
    pub fn see_crash(&mut self, me: NodeId) {
        self.open_transfers.remove(&me);
        self.open_reads.retain(|&(node, _, _), _| node != me);
    }

    /// After each step of `me`: what it takes for committed is, and its own checks pass.
    pub fn check(&self, nodes: &Nodes, me: NodeId) {
        let node = &nodes[&me];
        let Some(raft) = &node.raft else { return };
        raft.audit()
            .and_then(|()| raft.audit_log())
            .unwrap_or_else(|why| panic!("{me:?}: {why}"));
        let commit = raft.commit();
        assert!(
            commit.0 <= self.committed.len() as u64,
            "{me:?} knows a false commit {commit:?}"
        );
        if let Some(here) = raft.term_at(commit).filter(|_| commit > raft.base().index) {
            assert_eq!(
                here,
                self.committed[commit.0 as usize - 1],
                "{me:?} at {commit:?}"
            );
        }
        let others = nodes.iter().filter(|&(&peer, _)| peer != me);
        for (&peer, other) in others.filter(|(id, _)| !self.wiped.contains_key(id)) {
            if let Some(matched) = raft.matched(peer).filter(|m| *m > raft.base().index) {
                let held = LogId::new(raft.term_at(matched).expect("inside"), matched);
                // Only while nobody has a newer term is a deposed leader's knowledge still true.
                let newest = self.leaders.keys().next_back() == Some(&raft.term());
                let holds = other.disk.holds(held);
                assert!(
                    !newest || holds,
                    "{me:?} believes {peer:?} holds {held} durably"
                );
            }
        }
    }

    /// The log in memory is the log that its writes spell; costs a pass over the log.
    pub fn check_writes(&self, nodes: &Nodes, me: NodeId) {
        let node = &nodes[&me];
        let Some(raft) = &node.raft else { return };
        let spelled = node.disk.eventually();
        assert_eq!(
            spelled.last(),
            raft.last(),
            "{me:?}: the writes spell another log"
        );
        for index in raft.base().index.0 + 1..=raft.last().index.0 {
            let index = Index(index);
            assert_eq!(
                spelled.term_at(index),
                raft.term_at(index),
                "{me:?} at {index:?}"
            );
        }
        // A snapshot that outlived its term's write stands for that term.
        let vouched = node.disk.snapshot.term > spelled.hard.term;
        let same = spelled.hard == raft.hard_state();
        assert!(
            vouched || same,
            "{me:?}: the writes spell another term or vote"
        );
    }
}

/// Majorities, counted the slow way: not the core's own arithmetic.
fn is_quorum(config: &Config, yes: impl Fn(&NodeId) -> bool) -> bool {
    let majority = |ids: &[NodeId]| {
        let count = ids.iter().filter(|id| yes(id)).count();
        count * 2 > ids.len() || ids.is_empty()
    };
    majority(config.voters()) && majority(config.outgoing())
}
