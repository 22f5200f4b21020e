//! Elections: who may lead, and when to ask.
//! Never touches the log; a new leader's first entry is replication's affair.
//!
//! Specified by: Campaign, UpdateTerm, HandleVote, HandleVoteReply, CheckQuorum.
//! With messages by: Follow, HeardLeader, AskForVotes, Campaign, CountVotes, PreCampaign,
//! AnnounceCandidacy, OnVote, OnVoteReply, OnTimeoutNow, OnLink.
//!
//! # Source
//! Raft paper §5.2, §5.4.1; dissertation §3.4, §4.2.3 (disruptive servers), §6.2 (a leader that
//! lost its quorum), §9.6 (pre-vote), §3.10 (an election that the leader asked for); rule R10 for
//! slow disks. Priorities are ours.

use alloc::vec::Vec;

use crate::config::Options;
use crate::effect::{Effect, TransferFailed};
use crate::message::Message;
use crate::progress::Progress;
use crate::quorum::quorum_reaches;
use crate::raft::Raft;
use crate::random::Dice;
use crate::role::{Role, Tally};
use crate::types::{Instant, LogId, NodeId, Term};

/// A node's patience.
#[derive(Clone, Debug)]
pub(crate) struct Election {
    dice: Dice,
    /// When to ask for an election, unless a leader is heard before.
    deadline: Instant,
    /// When the leader of the current term was last heard.
    heard_at: Option<Instant>,
    /// When this node last began to stand, and how long its own vote took to be durable.
    stood_at: Instant,
    vote_took_ns: u64,
}

impl Election {
    /// The first election after a start comes early: with pre-vote it disturbs nobody, and a
    /// cluster that starts together need not wait out a full timeout.
    pub(crate) fn new(now: Instant, options: &Options) -> Self {
        let mut dice = Dice::new(options.seed);
        let (least, spread) = (options.election_ns / 10, options.election_ns / 5);
        let wait = least + dice.below(spread) + handicap(options.priority, spread);
        let deadline = now.after(wait);
        Self {
            dice,
            deadline,
            heard_at: None,
            stood_at: now,
            vote_took_ns: 0,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The leader is taken for alive until the driver or the leader says otherwise.
    pub(crate) fn stop(&mut self) {
        self.deadline = Instant::NEVER;
    }
}

/// How much longer a node of this priority waits where others wait up to `span_ns`: none at the
/// highest, as much again at the lowest. It is bounded, so priority never costs liveness.
fn handicap(priority: u8, span_ns: u64) -> u64 {
    let highest = u64::from(u8::MAX);
    span_ns / highest * (highest - u64::from(priority))
}

impl Raft {
    /// Waits for a leader anew: between one and two election timeouts from now, and longer with a
    /// low priority.
    pub(crate) fn be_patient(&mut self) {
        let election_ns = self.options.election_ns;
        let extra = self.election.dice.below(election_ns);
        let wait = election_ns + extra + handicap(self.options.priority, election_ns);
        // Who has to mend its log first lets the others go before.
        let mends = if self.durable.repair.is_whole() {
            0
        } else {
            election_ns
        };
        self.election.deadline = self.now.after(wait + mends);
    }

    /// The rightful leader of the current term was heard.
    pub(crate) fn heard_leader(&mut self, leader: NodeId, fx: &mut Vec<Effect>) {
        if self.leader != Some(leader) || !matches!(self.role, Role::Follower) {
            // Mark: a leader is met.
            self.follow(self.hard.term, Some(leader), fx);
            self.durable.repair.hurry(self.now);
        }
        self.election.heard_at = Some(self.now);
        self.promise();
        self.be_patient();
    }

    /// Whether a leader was heard within the least election timeout: then an election now would
    /// only disturb (dissertation §4.2.3), or break a promise.
    pub(crate) fn is_content(&self) -> bool {
        let heard = |at| self.now.since(at) < self.options.election_ns;
        match self.role {
            Role::Leader(_) => true,
            _ if self.election.deadline == Instant::NEVER => true,
            _ => self.is_promised() || self.election.heard_at.is_some_and(heard),
        }
    }

    /// Becomes or stays a follower; a higher term is made durable and its vote is free.
    pub(crate) fn follow(&mut self, term: Term, leader: Option<NodeId>, fx: &mut Vec<Effect>) {
        assert!(term >= self.hard.term, "terms never decrease");
        self.lose_reads(fx);
        let gave_way = term > self.hard.term;
        let outcome = if gave_way {
            Ok(())
        } else {
            Err(TransferFailed::LeadershipLost)
        };
        self.end_transfer(outcome, fx);
        if term > self.hard.term {
            self.hard.term = term;
            self.hard.voted_for = None;
            self.forget_verified();
            self.election.heard_at = None;
            self.persist_hard(fx);
        }
        let stood = !matches!(self.role, Role::Follower);
        self.role = Role::Follower;
        // Whoever rested trusted a leader of the term that is over.
        if stood || (gave_way && self.is_resting()) {
            // Mark: one who stood, or rested, gives way.
            self.be_patient();
        }
        self.leader = leader;
        self.tell_role(fx);
    }

    /// The deadline passed without a leader: ask whether an election could be won.
    pub(crate) fn pre_campaign(&mut self, fx: &mut Vec<Effect>) {
        self.be_patient();
        self.lose_reads(fx);
        // A node that cannot make its own vote durable could only stand in others' way; and one that
        // does not know who votes must not count votes.
        let hides_config = self.durable.repair.hides_config(self.membership.position());
        if !self.may_stand() || self.disk_stalls() || hides_config {
            // Mark: the timer ends where no election may begin.
            return;
        }
        let mut tally = Tally {
            announced: true,
            ..Tally::default()
        };
        tally.votes.insert(self.me, true);
        self.role = Role::PreCandidate(tally);
        self.leader = None;
        self.election.heard_at = None;
        self.tell_role(fx);
        self.ask_for_votes(None, fx);
        self.count_votes(fx);
    }

    /// Stands for election in the next term. Nothing leaves before term and own vote are durable.
    ///
    /// `transfer`: the leader asked for it.
    fn campaign(&mut self, transfer: bool, fx: &mut Vec<Effect>) {
        if self.disk_stalls() {
            // Mark: a candidacy is put off by a slow disk.
            return;
        }
        self.hard.term = self.hard.term.next();
        self.hard.voted_for = Some(self.me);
        self.role = Role::Candidate(Tally {
            transfer,
            ..Tally::default()
        });
        self.leader = None;
        self.election.heard_at = None;
        self.election.stood_at = self.now;
        self.durable.repair.forget_words();
        self.forget_verified();
        self.be_patient();
        self.persist_hard(fx);
        self.tell_role(fx);
    }

    /// The leader asks this node to lead in its place (dissertation §3.10). It knows that the whole
    /// log is here; there is no need to ask whether an election could be won.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId, fx: &mut Vec<Effect>) {
        let follows = matches!(self.role, Role::Follower) && self.leader == Some(from);
        let is_fit = !self.disk_stalls() && self.durable.repair.is_whole();
        if follows && self.may_stand() && is_fit {
            // Mark: a node stands because the leader asks it to.
            self.lose_reads(fx);
            self.campaign(true, fx);
        }
    }

    /// A candidate's own vote has become durable: count it and ask for the others' (rule R1).
    pub(crate) fn announce_candidacy(&mut self, fx: &mut Vec<Effect>) {
        let safe = self.durable.hard_is_safe();
        match &mut self.role {
            Role::Candidate(tally) if safe && !tally.announced => {
                tally.announced = true;
                tally.votes.insert(self.me, true);
            }
            _ => return,
        }
        // The voters' disks may be as slow as this one was; asking anew each time before they
        // have answered would elect nobody, ever.
        let took_ns = self.now.since(self.election.stood_at);
        self.election.vote_took_ns = took_ns;
        let least = self.now.after(took_ns.saturating_mul(2));
        self.election.deadline = self.election.deadline.max(least);
        self.ask_for_votes(None, fx);
        self.count_votes(fx);
    }

    /// Asks `only` this voter, or all who have not answered yet.
    fn ask_for_votes(&mut self, only: Option<NodeId>, fx: &mut Vec<Effect>) {
        let (pre, tally) = match &self.role {
            Role::PreCandidate(tally) => (true, tally),
            Role::Candidate(tally) if tally.announced => (false, tally),
            _ => return,
        };
        let term = if pre {
            self.hard.term.next()
        } else {
            self.hard.term
        };
        let (last, transfer) = (self.log.last_id(), tally.transfer);
        let config = self.membership.current();
        let admitted = self.membership.is_admitted(self.me);
        for to in config.peers_of(self.me) {
            let asked = only.is_none_or(|id| id == to);
            if asked && config.is_voter(to) && !tally.votes.contains_key(&to) {
                let admitted = admitted && self.membership.knows(to);
                fx.push(Effect::Send {
                    to,
                    message: Message::Vote {
                        term,
                        pre,
                        transfer,
                        last,
                        admitted,
                    },
                });
            }
        }
    }

    /// RequestVote, receiver's side. A pre-vote changes nothing here. `transfer`: the leader asked
    /// for this election, and has given up what was promised to it.
    pub(crate) fn on_vote(
        &mut self,
        from: NodeId,
        (term, pre, transfer): (Term, bool, bool),
        last: LogId,
        fx: &mut Vec<Effect>,
    ) {
        // A longer log of an older term can lack committed entries, so terms compare first.
        let up_to_date = last >= self.log.last_id();
        if pre {
            let granted = term > self.hard.term && up_to_date && !self.is_content();
            let term = if granted { term } else { self.hard.term };
            let reply = Message::VoteReply { term, pre, granted };
            // Who rests takes its leader for alive, and denies. But somebody does not hear that
            // leader: from now on it has to be heard here too, or the next question is granted.
            self.wake();
            return self.send_when_safe(from, reply, fx);
        }
        let current = term == self.hard.term;
        let free = self.hard.voted_for.is_none_or(|id| id == from);
        let may = self.leader.is_none() && (transfer || !self.is_promised());
        let granted = current && free && up_to_date && may;
        if granted {
            if self.hard.voted_for.is_none() {
                // Mark: a vote is given.
                self.hard.voted_for = Some(from);
                self.persist_hard(fx);
            }
            self.be_patient();
        }
        let reply = Message::VoteReply {
            term: self.hard.term,
            pre,
            granted,
        };
        self.send_when_safe(from, reply, fx);
    }

    /// RequestVote, candidate's side.
    pub(crate) fn on_vote_reply(
        &mut self,
        from: NodeId,
        (term, pre): (Term, bool),
        granted: bool,
        fx: &mut Vec<Effect>,
    ) {
        let tally = match (&mut self.role, pre) {
            (Role::PreCandidate(tally), true) if !granted || term == self.hard.term.next() => tally,
            (Role::Candidate(tally), false) if term == self.hard.term => tally,
            _ => return,
        };
        tally.votes.insert(from, granted);
        if !pre && !granted {
            // Mark: a vote is refused.
            // Most likely the vote is split: nobody will lead this term, and waiting out a whole
            // timeout helps nobody. Dice part the candidates as well as they do with long waits.
            // But votes from further away may still come, while they could yet decide it.
            let tenth = self.options.election_ns / 10;
            let hope = |id| tally.votes.get(&id).copied().unwrap_or(true);
            let least = if quorum_reaches(self.membership.current(), hope) {
                tenth
            } else {
                0
            };
            // To be parted, candidates must stand further apart than their votes take.
            let spread = tenth.max(self.election.vote_took_ns.saturating_mul(4));
            let soon = least + self.election.dice.below(spread);
            self.election.deadline = self.election.deadline.min(self.now.after(soon));
        }
        self.count_votes(fx);
    }

    /// Goes on as far as the votes allow. An elected node whose log cannot be read mends it first.
    pub(crate) fn count_votes(&mut self, fx: &mut Vec<Effect>) {
        let (pre, tally) = match &self.role {
            Role::PreCandidate(tally) => (true, tally),
            Role::Candidate(tally) => (false, tally),
            _ => return,
        };
        if !quorum_reaches(self.membership.current(), |id| tally.granted_by(id)) {
            return;
        }
        if pre {
            self.campaign(false, fx)
        } else if self.durable.repair.is_whole() {
            self.lead(fx)
        } else {
            // Mark: an elected node cannot read its log.
            self.durable.repair.hurry(self.now);
        }
    }

    /// A leader that has not heard a quorum within an election timeout steps down (rule R10).
    pub(crate) fn check_quorum(&mut self, fx: &mut Vec<Effect>) {
        let Some(leadership) = self.role.leadership() else {
            return;
        };
        let own = (self.me, self.now);
        let heard = leadership.quorum_reaches(self.config(), own, Progress::heard_at);
        if self.now.since(heard) >= self.options.election_ns {
            // Mark: a leader without a quorum steps down.
            self.follow(self.hard.term, None, fx);
        }
    }

    /// A connection came up or went down. A leader whose process dies resets its connections at
    /// once, so its followers need not wait out the timer: elections may start at any time, and
    /// pre-vote keeps a merely broken link from disturbing a leader whom others still hear. With
    /// leases they wait until the promise to that leader has ended.
    pub(crate) fn on_link(&mut self, peer: NodeId, up: bool, fx: &mut Vec<Effect>) {
        if let Some(leadership) = self.role.leadership_mut() {
            if let Some(progress) = leadership.peers.get_mut(peer) {
                progress.restart();
                if !up {
                    // Mark: a leader's link to a peer breaks.
                    progress.cut_off();
                }
            }
        } else if up {
            self.durable.repair.hurry(self.now);
            // Mark: a voter is asked when its link comes up.
            self.ask_for_votes(Some(peer), fx);
        } else if self.leader == Some(peer) {
            // Mark: a follower's link to its leader breaks.
            self.election.heard_at = None;
            let spread = self.options.election_ns / 20;
            let soon = self.election.dice.below(spread) + handicap(self.options.priority, spread);
            self.election.deadline = self.promise.end(self.now).after(soon);
        }
    }
}
