//! AppendEntries, both sides: the leader's log becomes the followers' log.
//! Never counts copies; commitment does. Never claims durability; the write queue knows.
//!
//! Specified by: Lead, Propose, HandleAppend, HandleAppendReply.
//! With messages by: ForgetVerified, Acknowledge, VerifyCommitted, AppendOwn, SendBeats, BeatAll,
//! Sent, TellCommit, Lead, OnAppend, OnAppendReply.
//!
//! # Source
//! Raft paper §5.3, Figure 2 (AppendEntries RPC), §8 (a leader's first entry); dissertation §3.5.

use alloc::vec::Vec;

use crate::configuration::Config;
use crate::effect::{Effect, NotTaken, Pull};
use crate::lease::Lease;
use crate::message::{AppendResult, Message};
use crate::progress::{Peers, Progress};
use crate::raft::Raft;
use crate::read::LeaderReads;
use crate::role::{Leadership, Role};
use crate::types::{Entries, Index, Instant, LogId, NodeId, Term};

/// How much of a follower's log is known to agree with its leader's.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    /// Up to here the log agrees with that of the current term's leader.
    verified: Index,
    /// The highest index acknowledged to that leader; `None` when an answer is owed.
    acknowledged: Option<Index>,
}

impl Default for Follower {
    /// Nothing was asked, so nothing is owed: an answer to no question would tell the leader that
    /// nothing agrees, and it would start from the beginning.
    fn default() -> Self {
        Self {
            verified: Index(0),
            acknowledged: Some(Index(0)),
        }
    }
}

impl Follower {
    /// A node that starts with `last` at the end of its log, in `term`. If that entry is of this
    /// very term, its leader made it, so the whole log up to it agrees with the leader's (Log
    /// Matching): a leader that has nothing more to send will not say so again. What can be read
    /// ends at `intact`: what lies behind is acknowledged anew once it has come back.
    pub(crate) fn recovered(last: LogId, term: Term, intact: Index) -> Self {
        let agrees = last.term == term;
        let verified = if agrees { last.index } else { Index(0) };
        Self {
            verified,
            acknowledged: Some(verified.min(intact)),
        }
    }

    pub(crate) fn verified(&self) -> Index {
        self.verified
    }
}

impl Raft {
    /// Takes up leadership: assume nothing of the followers, append an empty entry of the new
    /// term, so that entries of earlier terms can be committed with it (§5.4.2, §8).
    pub(crate) fn lead(&mut self, fx: &mut Vec<Effect>) {
        let last = self.log.last_id();
        let unknown = Progress::unknown(last.index, self.now);
        let peers = Peers::new(&self.config().peers_of(self.me), &unknown);
        self.role = Role::Leader(Leadership {
            peers,
            reads: LeaderReads::default(),
            lease: Lease::default(),
            first: last.index.next(),
            beat_at: self.now,
            awake_since: self.now,
            transfer: None,
        });
        self.leader = Some(self.me);
        self.tell_role(fx);
        self.append_own(None, fx);
        self.beat(fx);
    }

    /// Leader: appends an entry of its own making, with a configuration or empty.
    pub(crate) fn append_own(&mut self, config: Option<Config>, fx: &mut Vec<Effect>) -> LogId {
        let mut entry = Entries::run(self.log.last_id(), self.hard.term, 1);
        let id = entry.last_id();
        let config = config.map(|config| (id.index, config));
        entry.configs.extend(config);
        self.append_entries(&entry, fx);
        self.persist_own(entry, fx);
        id
    }

    /// Appends `count` commands to the leader's log. Their bodies stay with the caller.
    ///
    /// Returns the identity of the first; the others follow it in the same term.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing was appended.
    ///
    /// # Panics
    /// If `count` is zero.
    pub fn propose(
        &mut self,
        now: Instant,
        count: u64,
        fx: &mut Vec<Effect>,
    ) -> Result<LogId, NotTaken> {
        assert!(count > 0, "a proposal proposes something");
        self.tick(now);
        self.may_append()?;
        self.wake();
        let entries = Entries::run(self.log.last_id(), self.hard.term, count);
        let first = LogId::new(self.hard.term, entries.first());
        self.append_entries(&entries, fx);
        self.persist_entries(entries, false, fx);
        Ok(first)
    }

    /// Whether this node may append now what it is asked to; what it keeps as the leader, if so.
    pub(crate) fn may_append(&self) -> Result<&Leadership, NotTaken> {
        if self.is_halted() {
            return Err(NotTaken::Halted);
        }
        let Some(leadership) = self.role.leadership() else {
            let leader = self.leader;
            return Err(NotTaken::NotLeader { leader });
        };
        if self.disk_stalls() {
            // Mark: nothing is appended because of a slow disk.
            return Err(NotTaken::DiskSlow);
        }
        if let Some(transfer) = &leadership.transfer {
            // Mark: nothing is appended while leadership is handed over.
            // The target has to catch up with what there is.
            return Err(NotTaken::Transferring { to: transfer.to() });
        }
        Ok(leadership)
    }

    /// What `peer` should be sent next. The caller decides how much fits its link, and when.
    pub fn pull(&self, peer: NodeId) -> Pull {
        let Some(progress) = self.progress(peer) else {
            return Pull::Nothing;
        };
        if self.is_impostor(peer) {
            return Pull::Nothing;
        }
        let (next, last) = (progress.next(), self.log.last_id().index);
        if next <= self.log.base().index {
            // Mark: a peer needs a snapshot.
            return Pull::Snapshot;
        }
        if !progress.may_send(self.options.inflight_max) || !progress.wants(last) {
            return Pull::Nothing;
        }
        Pull::Append { first: next, last }
    }

    /// The caller sends `peer` the entries that [`Raft::pull`] named, up to `upto`: the header to
    /// send before their bodies.
    ///
    /// # Panics
    /// If [`Raft::pull`] would not have named them.
    pub fn sent(&mut self, now: Instant, peer: NodeId, upto: Index) -> Message {
        self.tick(now);
        let Pull::Append { first, last } = self.pull(peer) else {
            panic!("nothing was to be sent to {peer:?}");
        };
        assert!(
            upto >= first.prev() && upto <= last,
            "more was sent than there is"
        );
        let (term, commit) = (self.hard.term, self.commit);
        let entries = self.entries(first, upto);
        if let Some(progress) = self.progress_mut(peer) {
            progress.sent(upto, commit, now);
        }
        Message::Append {
            term,
            entries,
            commit,
        }
    }

    /// Heartbeats to everyone; unanswered appends are tried again.
    pub(crate) fn beat(&mut self, fx: &mut Vec<Effect>) {
        let now = self.now;
        let (heartbeat_ns, patience_ns) = (self.options.heartbeat_ns, self.options.election_ns);
        let Some(leadership) = self.role.leadership_mut() else {
            return;
        };
        leadership.beat_at = now.after(heartbeat_ns);
        for (to, progress) in leadership.peers.iter_mut() {
            if self.membership.is_impostor(to) {
                continue;
            }
            let patience = if progress.is_replicating() {
                patience_ns
            } else {
                heartbeat_ns
            };
            progress.check(now, patience);
        }
        self.begin_round_with_beat();
        self.send_beats(fx);
        self.confirm_reads(fx);
    }

    /// Heartbeats of the latest read round to everyone.
    pub(crate) fn send_beats(&mut self, fx: &mut Vec<Effect>) {
        let (term, commit, durable) = (self.hard.term, self.commit, self.durable.index());
        let Some(leadership) = self.role.leadership_mut() else {
            return;
        };
        let round = leadership.reads.latest();
        for (to, progress) in leadership.peers.iter_mut() {
            if self.membership.is_impostor(to) {
                continue;
            }
            progress.told_commit(commit);
            let knows = self.membership.knows(to);
            fx.push(Effect::Send {
                to,
                message: Message::Beat {
                    term,
                    commit,
                    round,
                    durable,
                    knows,
                },
            });
        }
        self.urge_target(fx);
    }

    /// Tells followers of a commit index that no append has carried to them.
    pub(crate) fn tell_commit(&mut self, fx: &mut Vec<Effect>) {
        let (term, commit, durable) = (self.hard.term, self.commit, self.durable.index());
        let Some(leadership) = self.role.leadership_mut() else {
            return;
        };
        for (to, progress) in leadership.peers.iter_mut() {
            if progress.is_replicating() && progress.commit_sent() < commit {
                progress.told_commit(commit);
                fx.push(Effect::Send {
                    to,
                    message: Message::Commit {
                        term,
                        commit,
                        durable,
                    },
                });
            }
        }
    }

    /// AppendEntries, receiver's side (Figure 2, steps 2 to 5); the term has been dealt with.
    pub(crate) fn on_append(
        &mut self,
        from: NodeId,
        entries: Entries,
        commit: Index,
        fx: &mut Vec<Effect>,
    ) {
        self.heard_leader(from, fx);
        let Some(entries) = self.without_committed(entries, fx) else {
            return;
        };
        if !self.log.has(entries.prev) {
            // Mark: an append does not fit the log.
            let prev = entries.prev.index;
            let hint = self.log.common_ground(entries.prev);
            let result = AppendResult::Conflict { prev, hint };
            let reply = Message::AppendReply {
                term: self.hard.term,
                result,
            };
            return self.send_when_safe(from, reply, fx);
        }
        let last = entries.last;
        let difference = self.log.first_difference(&entries);
        if !self.durable.repair.is_whole() {
            let same = difference.map_or(last, Index::prev);
            self.repair_entries(&entries.upto(same), fx);
        }
        if let Some(first_new) = difference {
            if first_new <= self.follower.verified {
                // Believed, it would leave less of the log than this leader has vouched for.
                let why = "contradicts what it sent in the same term";
                return fx.push(Effect::Refused { from, why });
            }
            self.replace(first_new, entries, fx);
        }
        self.follower.verified = self.follower.verified.max(last);
        self.learn_commit(commit, fx);
        // Everything asked about may be safe already (a probe, or an append that came twice):
        // then the leader waits for this answer, and no write will cause it.
        if self.durable.index() >= last {
            // Mark: everything that is asked about is safe already.
            self.follower.acknowledged = None;
        }
        self.acknowledge(fx);
    }

    /// Cuts off entries that are committed here: they agree already, since a leader holds every
    /// committed entry (Leader Completeness), and the log may have forgotten their terms.
    fn without_committed(&mut self, entries: Entries, fx: &mut Vec<Effect>) -> Option<Entries> {
        if entries.prev.index >= self.commit {
            return Some(entries);
        }
        let at = LogId::new(self.log.term_at(self.commit)?, self.commit);
        if entries.last <= self.commit {
            // Mark: an append is of entries long committed.
            return Some(Entries::none(at));
        }
        if entries.term_at(at.index) != Some(at.term) {
            self.halt("a leader's log lacks an entry that is committed here", fx);
            return None;
        }
        Some(entries.after(at.index))
    }

    /// Replaces everything from `first_new` on by the entries from there on (steps 3 and 4).
    fn replace(&mut self, first_new: Index, entries: Entries, fx: &mut Vec<Effect>) {
        let replaces = first_new <= self.log.last_id().index;
        if replaces {
            if first_new <= self.commit {
                return self.halt("a leader's log contradicts an entry committed here", fx);
            }
            // Mark: a follower's log is cut.
            self.truncate_entries(first_new, fx);
        }
        let fresh = if first_new == entries.first() {
            entries
        } else {
            entries.after(first_new.prev())
        };
        self.append_entries(&fresh, fx);
        self.persist_entries(fresh, replaces, fx);
    }

    /// Tells the leader how far the log agrees with its own *and* is durable. An acknowledgement
    /// is a state, not an event: late completions of overwritten entries cannot be mistaken for
    /// their replacements (rule R3).
    pub(crate) fn acknowledge(&mut self, fx: &mut Vec<Effect>) {
        let Some(leader) = self.leader else { return };
        if !matches!(self.role, Role::Follower) || !self.durable.hard_is_safe() {
            return;
        }
        let safe = self.follower.verified.min(self.durable.index());
        if Some(safe) > self.follower.acknowledged {
            self.follower.acknowledged = Some(safe);
            let result = AppendResult::Durable(safe);
            let message = Message::AppendReply {
                term: self.hard.term,
                result,
            };
            fx.push(Effect::Send {
                to: leader,
                message,
            });
        }
    }

    /// Everything committed agrees with any later leader's log; and the leader is owed an answer.
    pub(crate) fn verify_committed(&mut self, fx: &mut Vec<Effect>) {
        self.follower.verified = self.follower.verified.max(self.commit);
        self.follower.acknowledged = None;
        self.acknowledge(fx);
    }

    /// A new term: its leader has verified nothing yet.
    pub(crate) fn forget_verified(&mut self) {
        self.follower = Follower::default();
    }

    /// AppendEntries, leader's side.
    pub(crate) fn on_append_reply(
        &mut self,
        from: NodeId,
        result: AppendResult,
        fx: &mut Vec<Effect>,
    ) {
        // A leader that crashed may get answers to what it has since forgotten.
        if !self.role.is_leader() {
            // Mark: an acknowledgement comes to one who does not lead.
            return;
        }
        let last = self.log.last_id().index;
        match result {
            AppendResult::Durable(upto) if upto > last => {
                fx.push(Effect::Refused {
                    from,
                    why: "acknowledges entries never sent",
                });
            }
            AppendResult::Durable(upto) => {
                if let Some(progress) = self.progress_mut(from) {
                    progress.acknowledged(upto);
                    self.advance_commit(fx);
                    self.on_caught_up(from, fx);
                }
            }
            AppendResult::Conflict { prev, hint } => {
                let retry = self.log.common_ground(hint).index.next();
                if let Some(progress) = self.progress_mut(from) {
                    // Mark: a leader learns where a follower's log differs.
                    progress.conflicted(prev, retry.min(prev));
                }
            }
        }
    }

    /// The leader's view of a peer; none unless this node leads.
    pub(crate) fn progress(&self, peer: NodeId) -> Option<&Progress> {
        self.role.leadership()?.peers.get(peer)
    }

    /// The same, to change it.
    pub(crate) fn progress_mut(&mut self, peer: NodeId) -> Option<&mut Progress> {
        self.role.leadership_mut()?.peers.get_mut(peer)
    }

    /// The term of the entry at `index`, if the log holds it.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }
}
