//! One node of the algorithm: the rooms put together, and who answers which message.
//! Never does I/O, reads a clock, or holds a command's bytes (rule R5).
//!
//! With messages by: OnBeat, Handle, OnMessage, OnDue, OnDeadline, EndTurn.
//!
//! # Source
//! Raft paper, Figure 2; rules R1 to R13 of ARCHITECTURE.md.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::config::Options;
use crate::durable::Durable;
use crate::effect::{Effect, Input, ReadLost, Recovered, RoleName, TransferFailed};
use crate::election::Election;
use crate::lease::Promise;
use crate::log::TermLog;
use crate::mark::Marks;
use crate::membership::Membership;
use crate::message::{AppendResult, Holding, Message};
use crate::progress::{Following, Progress};
use crate::read::FollowerReads;
use crate::repair::Repair;
use crate::replication::Follower;
use crate::role::Role;
use crate::rollback::Memory;
use crate::types::{HardState, Index, Instant, LogId, NodeId, Term};

/// One node. Feed it inputs, carry out its effects, in order.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) me: NodeId,
    pub(crate) options: Options,
    pub(crate) membership: Membership,
    pub(crate) now: Instant,
    pub(crate) hard: HardState,
    pub(crate) role: Role,
    pub(crate) leader: Option<NodeId>,
    pub(crate) log: TermLog,
    pub(crate) commit: Index,
    pub(crate) durable: Durable,
    pub(crate) election: Election,
    pub(crate) follower: Follower,
    pub(crate) reads: FollowerReads,
    pub(crate) marks: Marks,
    pub(crate) promise: Promise,
    pub(crate) memory: Memory,
    told: (Term, RoleName, Option<NodeId>),
    halted: bool,
}

impl Raft {
    /// A node as its disk remembers it: a follower that knows no leader.
    ///
    /// # Errors
    /// What the disk remembers contradicts itself.
    pub fn recover(now: Instant, options: Options, disk: Recovered) -> Result<Self, String> {
        if !disk.log.is_well_formed() {
            return Err("the recovered log's terms are out of order".to_string());
        }
        let covered = |(at, _): &&(Index, _)| *at <= disk.applied.index;
        let before = disk.log.configs.iter().rfind(covered);
        if before.is_some_and(|(_, config)| *config != disk.config) {
            return Err("the snapshot and the log name different members".to_string());
        }
        let log = TermLog::new(&disk.log);
        let last = log.last_id();
        let applied = disk.applied.index;
        if applied < log.base().index || applied > last.index {
            return Err("the snapshot and the log do not meet".to_string());
        }
        // A snapshot can outlive the write of the term it came in. It vouches for that term; a
        // vote in it cannot have been cast, since votes wait for their write.
        let mut hard = disk.hard;
        if disk.applied.term > hard.term {
            hard = HardState {
                term: disk.applied.term,
                voted_for: None,
            };
        }
        let unreadable = disk.unreadable.iter();
        let mut before = applied;
        for range in unreadable.clone() {
            if range.first <= before || range.last < range.first || range.last > last.index {
                return Err("what cannot be read is not in the log, or out of order".to_string());
            }
            before = range.last;
        }
        let repair = Repair::new(disk.unreadable, now);
        let intact = repair.intact().min(last.index);
        let promise = Promise::of_earlier_life(now, &options, hard);
        let raft = Self {
            me: disk.me,
            membership: Membership::new(disk.config, &disk.log, disk.disk),
            now,
            hard,
            role: Role::Follower,
            leader: None,
            // A hint was true once; what is committed stays so, but the log may have lost its
            // unacknowledged tail since; and what cannot be read cannot be applied.
            commit: applied.max(disk.commit_hint.min(intact)),
            durable: Durable::new(disk.next_write, last.index, repair),
            election: Election::new(promise.end(now), &options),
            follower: Follower::recovered(last, hard.term, intact),
            reads: FollowerReads::default(),
            marks: Marks::default(),
            promise,
            memory: Memory::new(hard, last.index),
            told: (hard.term, RoleName::Follower, None),
            halted: false,
            log,
            options,
        };
        raft.audit().and_then(|()| raft.audit_log())?;
        Ok(raft)
    }

    /// Takes in one event; `fx` receives what is to be done, in order.
    pub fn step(&mut self, now: Instant, input: Input, fx: &mut Vec<Effect>) {
        if self.halted {
            return;
        }
        self.tick(now);
        let (before, start) = (self.before(), fx.len());
        self.wake_for(&input);
        match input {
            Input::Deadline => self.on_deadline(fx),
            Input::Receive { from, message } => self.on_message(from, message, fx),
            Input::Persisted { upto } => self.on_persisted(upto, fx),
            Input::Compacted { base } => self.on_compacted(base, fx),
            Input::Installed { base, config } => self.on_installed(base, config, fx),
            Input::Met { peer, disk, life } => {
                self.remind(peer, (disk, life), fx);
                self.on_met(peer, disk, fx);
            }
            Input::Link { peer, up } => {
                if !up && self.leader == Some(peer) {
                    self.lose_reads(fx);
                }
                self.on_link(peer, up, fx);
            }
        }
        if self.halted {
            return;
        }
        self.mind_transfer(fx);
        if let Err(why) = self.audit().and_then(|()| self.audit_step(&before)) {
            // Nothing that follows from a broken state may be written, sent or served.
            let broken = fx.split_off(start);
            self.halt(&why, fx);
            for effect in broken {
                match effect {
                    Effect::Read { id, .. } => {
                        let result = Err(ReadLost::NoLeader);
                        fx.push(Effect::Read { id, result });
                    }
                    Effect::Transferred { to, .. } => {
                        let result = Err(TransferFailed::LeadershipLost);
                        fx.push(Effect::Transferred { to, result });
                    }
                    _ => {}
                }
            }
        }
    }

    /// Ends a turn, after the caller has pulled what there is to send: begins a round for the
    /// reads that came in it, and tells of what was committed.
    pub fn end_turn(&mut self, fx: &mut Vec<Effect>) {
        if !self.halted {
            self.begin_gathered_round(fx);
            self.tell_commit(fx);
        }
    }

    /// The time it was last told.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When [`Input::Deadline`] is due.
    pub fn next_deadline(&self) -> Instant {
        if self.halted {
            return Instant::NEVER;
        }
        let Some(leadership) = self.role.leadership() else {
            return self.election.deadline().min(self.durable.repair.asks_at());
        };
        // A disk that hangs causes no event: its lateness is one.
        let leave_at = self.disk_leave_at().filter(|&at| at > self.now);
        let until = leadership.transfer.as_ref().map(|t| t.until());
        let more = leave_at.into_iter().chain(until);
        more.fold(leadership.beat_at, Instant::min)
    }

    fn on_deadline(&mut self, fx: &mut Vec<Effect>) {
        self.ask_for_repair(fx);
        match &self.role {
            Role::Leader(leadership) if self.now >= leadership.beat_at => {
                self.dismiss();
                self.advance_membership(fx);
                if !self.rest(fx) {
                    self.beat(fx);
                    self.check_quorum(fx);
                }
            }
            Role::Leader(_) => {}
            _ if self.now < self.election.deadline() => {}
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => self.pre_campaign(fx),
        }
    }

    /// Figure 2, rules for all servers: terms first, then the message by its kind.
    fn on_message(&mut self, from: NodeId, message: Message, fx: &mut Vec<Effect>) {
        if from == self.me {
            let why = "is this node itself";
            return fx.push(Effect::Refused { from, why });
        }
        if !self.hears(from, &message) {
            return;
        }
        if is_malformed(&message) {
            let why = "sent a malformed message";
            return fx.push(Effect::Refused { from, why });
        }
        self.remember(from, &message);
        if !self.settle_term(from, &message, fx) {
            return;
        }
        let now = self.now;
        if answers_leader(&message)
            && let Some(progress) = self.progress_mut(from)
        {
            progress.heard(now);
        }
        match message {
            Message::Vote {
                term,
                pre,
                last,
                transfer,
                ..
            } => self.on_vote(from, (term, pre, transfer), last, fx),
            Message::VoteReply { term, pre, granted } => {
                self.on_vote_reply(from, (term, pre), granted, fx);
            }
            Message::Append {
                entries, commit, ..
            } => self.on_append(from, entries, commit, fx),
            Message::AppendReply { result, .. } => self.on_append_reply(from, result, fx),
            Message::Beat { commit, round, .. } => self.on_beat(from, commit, round, fx),
            Message::BeatReply {
                round,
                disk,
                promise_ns,
                ..
            } => {
                if let Some(progress) = self.progress_mut(from) {
                    progress.told_disk(disk);
                }
                self.on_beat_reply(from, round, promise_ns, fx);
            }
            Message::TimeoutNow { .. } => self.on_timeout_now(from, fx),
            Message::Commit { commit, .. } => {
                self.heard_leader(from, fx);
                self.learn_commit(commit, fx);
            }
            Message::Rest { last, .. } => self.on_rest(from, last, fx),
            Message::Snapshot { base, .. } => self.on_snapshot(from, base, fx),
            Message::RepairAsk { first, last } => self.on_repair_ask(from, first, last, fx),
            Message::RepairTell { holding, .. } => self.on_repair_tell(from, holding, fx),
            Message::ReadAsk { id, life, lease } => self.on_read_ask(from, (id, life), lease, fx),
            Message::ReadTell { id, life, at } => self.on_read_tell((id, life), at, fx),
            Message::Heard { .. } => self.on_heard(from, &message, fx),
            Message::Disowned { disk } => self.on_disowned(from, disk, fx),
        }
    }

    /// Steps up to a newer term, answers an older one; whether the message is to be heard at all.
    fn settle_term(&mut self, from: NodeId, message: &Message, fx: &mut Vec<Effect>) -> bool {
        let (term, from_leader) = match *message {
            // Pre-votes change nothing, so their terms move nobody (dissertation §9.6).
            Message::Vote { pre: true, .. } => return true,
            Message::VoteReply {
                pre: true,
                granted: true,
                ..
            } => return true,
            Message::RepairAsk { .. }
            | Message::ReadAsk { .. }
            | Message::ReadTell { .. }
            | Message::Heard { .. }
            | Message::Disowned { .. } => return true,
            // An entry is what it is in any term.
            Message::RepairTell {
                term,
                holding: Holding::Has(_),
            } if term <= self.hard.term => return true,
            Message::Vote { term, transfer, .. } => {
                if term > self.hard.term && self.is_content() && !transfer {
                    // A leader is heard: the candidate is disturbed, not the cluster (§4.2.3).
                    // Unless that very leader asked for the election.
                    return false;
                }
                (term, false)
            }
            Message::Append { term, .. }
            | Message::Beat { term, .. }
            | Message::Commit { term, .. }
            | Message::Rest { term, .. }
            | Message::TimeoutNow { term }
            | Message::Snapshot { term, .. } => (term, true),
            Message::VoteReply { term, .. }
            | Message::AppendReply { term, .. }
            | Message::BeatReply { term, .. }
            | Message::RepairTell { term, .. } => (term, false),
        };
        if term > self.hard.term {
            self.follow(term, from_leader.then_some(from), fx);
        }
        if from_leader && term < self.hard.term {
            // A deposed leader learns of the newer term and steps down.
            let reply = Message::BeatReply {
                term: self.hard.term,
                round: 0,
                disk: self.disk_pace(),
                promise_ns: 0,
            };
            self.send_when_safe(from, reply, fx);
            return false;
        }
        if from_leader && self.role.is_leader() {
            self.halt("two leaders in one term (Election Safety)", fx);
            return false;
        }
        // Old requests for votes are answered with the newer term; old answers are nothing.
        term == self.hard.term || matches!(message, Message::Vote { .. })
    }

    fn on_beat(&mut self, from: NodeId, commit: Index, round: u64, fx: &mut Vec<Effect>) {
        self.heard_leader(from, fx);
        self.learn_commit(commit, fx);
        let reply = Message::BeatReply {
            term: self.hard.term,
            round,
            disk: self.disk_pace(),
            promise_ns: self.promise_ns(),
        };
        self.send_when_safe(from, reply, fx);
        self.ask_reads_again(from, fx);
    }

    /// Tells of a change of term, role or leader, once.
    pub(crate) fn tell_role(&mut self, fx: &mut Vec<Effect>) {
        let now = (self.hard.term, self.role.name(), self.leader);
        if now != self.told {
            self.told = now;
            fx.push(Effect::Role {
                term: now.0,
                role: now.1,
                leader: now.2,
            });
        }
    }

    /// The clock never goes back.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Takes no part from here on (rule R12).
    pub(crate) fn halt(&mut self, why: &str, fx: &mut Vec<Effect>) {
        self.lose_reads(fx);
        self.end_transfer(Err(TransferFailed::LeadershipLost), fx);
        self.halted = true;
        fx.push(Effect::Halt {
            why: why.to_string(),
        });
    }

    /// Whether the node takes no part any more.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Term and vote.
    pub fn hard_state(&self) -> HardState {
        self.hard
    }

    /// The current term.
    pub fn term(&self) -> Term {
        self.hard.term
    }

    /// The role, by name.
    pub fn role(&self) -> RoleName {
        self.role.name()
    }

    /// The leader this node knows of in its term.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The commit index.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The last entry of the log, durable or not.
    pub fn last(&self) -> LogId {
        self.log.last_id()
    }

    /// The entry just before the first that the log holds.
    pub fn base(&self) -> LogId {
        self.log.base()
    }

    /// The end of the log that is safe on this node's disk.
    pub fn durable(&self) -> Index {
        self.durable.index()
    }

    /// The entries on their way to `peer` begin after this index: what it is known to hold, once
    /// common ground is found. `None` before, and unless this node leads: a probe is alone on its
    /// way.
    pub fn flowing_after(&self, peer: NodeId) -> Option<Index> {
        let progress = self.progress(peer)?;
        progress.is_replicating().then(|| progress.matched())
    }

    /// Up to here the log is known to agree with that of the current term's leader.
    pub fn verified(&self) -> Index {
        self.follower.verified()
    }

    /// What this node knows of a peer's log; `None` unless it leads.
    pub fn following(&self, peer: NodeId) -> Option<Following> {
        self.progress(peer).map(Progress::following)
    }

    /// Up to where the leader knows a peer to hold its log; `None` unless this node leads.
    pub fn matched(&self, peer: NodeId) -> Option<Index> {
        self.progress(peer).map(Progress::matched)
    }
}

/// Whether a message is a follower's answer to its leader.
fn answers_leader(message: &Message) -> bool {
    matches!(
        message,
        Message::AppendReply { .. } | Message::BeatReply { .. }
    )
}

/// No cluster lives to see this term or index: below it, arithmetic cannot overflow.
const NUMBER_MAX: u64 = 1 << 62;

/// Whether a message holds what no correct peer sends (rule R12).
fn is_malformed(message: &Message) -> bool {
    let highest = |term: Term, id: LogId| term.max(id.term).0.max(id.index.0);
    let only = |term: Term| highest(term, LogId::default());
    let number = match *message {
        Message::Vote { term, last, .. } => highest(term, last),
        Message::Append {
            term, ref entries, ..
        } if !entries.is_well_formed() || entries.last_id().term > term => NUMBER_MAX,
        Message::Append {
            term, ref entries, ..
        } => highest(term, entries.last_id()),
        Message::Rest { term, last: base } | Message::Snapshot { term, base }
            if base.term > term =>
        {
            NUMBER_MAX
        }
        Message::Rest { term, last } => highest(term, last),
        Message::Snapshot { term, base } => highest(term, base),
        Message::RepairAsk { first, last } if first.index == Index(0) || last < first.index => {
            NUMBER_MAX
        }
        Message::RepairAsk { first, last } => highest(first.term, first).max(last.0),
        Message::RepairTell { term, ref holding } => match holding {
            Holding::Has(entries) if !entries.is_well_formed() => NUMBER_MAX,
            Holding::Has(entries) => highest(term, entries.last_id()),
            Holding::Lacks(first) | Holding::Unreadable(first) => highest(term, *first),
        },
        Message::AppendReply {
            term,
            result: AppendResult::Conflict { prev, hint },
        } => highest(term, hint).max(prev.0),
        Message::VoteReply { term, .. }
        | Message::AppendReply { term, .. }
        | Message::BeatReply { term, .. }
        | Message::TimeoutNow { term } => only(term),
        Message::Beat { term, durable, .. }
        | Message::Commit { term, durable, .. }
        | Message::Heard { term, durable, .. } => highest(term, LogId::new(term, durable)),
        Message::ReadAsk { .. } | Message::ReadTell { .. } | Message::Disowned { .. } => 0,
    };
    number >= NUMBER_MAX
}
