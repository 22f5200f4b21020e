//! Linearizable reads without writing to the log: ReadIndex.
//! Never touches the state machine: it names an index; the driver waits until that is applied.
//!
//! A read is served after everything that was committed when the leader, *after* the read
//! arrived, still led. A heartbeat round proves that: reads are named by (term, round), both owned
//! by the core, so nothing a client or an earlier life of a process made can confirm a read (R6).
//!
//! # Source
//! Raft paper §8; dissertation §6.4.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::effect::{Effect, ReadLost};
use crate::message::Message;
use crate::quorum::quorum_reaches;
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{Index, Instant, NodeId, ReadId};

/// Who asked for a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asker {
    /// The caller of [`Raft::read`].
    Here(ReadId),
    /// A follower, in one of its lives.
    Peer { id: NodeId, read: ReadId, life: u64 },
}

/// Reads at the leader that wait for their heartbeat round.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaderReads {
    /// The latest round begun in this term.
    round: u64,
    /// `(round that confirms it, where to serve it, who asked)`, by round.
    waiting: VecDeque<(u64, Index, Asker)>,
    /// Reads that came before the term's first entry was committed: until then the leader does
    /// not know what is.
    early: Vec<Asker>,
}

impl LeaderReads {
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Whether no read waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.early.is_empty()
    }
}

/// Reads that this node has asked its leader for.
#[derive(Clone, Debug, Default)]
pub(crate) struct FollowerReads {
    /// With the moment of asking: a question may be lost without a sign, and is asked again.
    asked: Vec<(ReadId, Instant)>,
}

impl Raft {
    /// Asks for a linearizable read; exactly one [`Effect::Read`] with this `id` follows. One
    /// read may stand for any number of client reads that arrived before it.
    ///
    /// `id`: never used before in this life of the process.
    pub fn read(&mut self, now: Instant, id: ReadId, fx: &mut Vec<Effect>) {
        self.tick(now);
        let lost = Effect::Read {
            id,
            result: Err(ReadLost::NoLeader),
        };
        if self.is_halted() {
            return fx.push(lost);
        }
        self.wake();
        match (&self.role, self.leader) {
            (Role::Leader(_), _) => self.begin_read(Asker::Here(id), fx),
            (Role::Follower, Some(leader)) => {
                self.reads.asked.push((id, self.now));
                self.ask_leader(leader, id, fx);
            }
            _ => fx.push(lost),
        }
    }

    fn ask_leader(&self, leader: NodeId, id: ReadId, fx: &mut Vec<Effect>) {
        let life = self.options.life;
        let message = Message::ReadAsk { id, life };
        fx.push(Effect::Send {
            to: leader,
            message,
        });
    }

    /// The leader was heard: asks again what it has not answered for a heartbeat. Each round of
    /// reads causes beats, so without that pause questions and beats would feed each other.
    pub(crate) fn ask_reads_again(&mut self, leader: NodeId, fx: &mut Vec<Effect>) {
        let (now, pause_ns) = (self.now, self.options.heartbeat_ns);
        let mut asked = core::mem::take(&mut self.reads.asked);
        for (id, at) in &mut asked {
            if now.since(*at) >= pause_ns {
                *at = now;
                self.ask_leader(leader, *id, fx);
            }
        }
        self.reads.asked = asked;
    }

    fn begin_read(&mut self, asker: Asker, fx: &mut Vec<Effect>) {
        let (term, commit) = (self.hard.term, self.commit);
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        if commit < leadership.first {
            // Who has no answer asks again, for as long as it takes.
            let early = &mut leadership.reads.early;
            return if !early.contains(&asker) {
                early.push(asker)
            };
        }
        leadership.reads.round += 1;
        let round = leadership.reads.round;
        leadership.reads.waiting.push_back((round, commit, asker));
        for (&to, progress) in &mut leadership.peers {
            if self.membership.is_impostor(to) {
                continue;
            }
            progress.told_commit(commit);
            fx.push(Effect::Send {
                to,
                message: Message::Beat {
                    term,
                    commit,
                    round,
                },
            });
        }
        self.confirm_reads(fx);
    }

    /// The term's first entry is committed: reads that waited for that begin.
    pub(crate) fn begin_early_reads(&mut self, fx: &mut Vec<Effect>) {
        let commit = self.commit;
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        if commit >= leadership.first {
            for asker in core::mem::take(&mut leadership.reads.early) {
                self.begin_read(asker, fx);
            }
        }
    }

    /// Answers the reads whose round a quorum has confirmed.
    fn confirm_reads(&mut self, fx: &mut Vec<Effect>) {
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        let (me, peers) = (self.me, &leadership.peers);
        let own = leadership.reads.round;
        let confirmed = quorum_reaches(self.membership.current(), |id| {
            if id == me { own } else { peers[&id].round() }
        });
        while let Some(&(round, at, asker)) = leadership.reads.waiting.front() {
            if round > confirmed {
                break;
            }
            leadership.reads.waiting.pop_front();
            fx.push(answer(asker, Ok(at)));
        }
    }

    /// A heartbeat was answered in this term.
    pub(crate) fn on_beat_reply(&mut self, from: NodeId, round: u64, fx: &mut Vec<Effect>) {
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        if round > leadership.reads.round {
            // Believed, it would confirm reads that are still to come.
            let why = "confirms a round never begun";
            return fx.push(Effect::Refused { from, why });
        }
        if let Some(progress) = leadership.peers.get_mut(&from) {
            progress.confirm(round);
            self.confirm_reads(fx);
        }
    }

    /// A follower asks for a read.
    pub(crate) fn on_read_ask(
        &mut self,
        from: NodeId,
        read: ReadId,
        life: u64,
        fx: &mut Vec<Effect>,
    ) {
        let asker = Asker::Peer {
            id: from,
            read,
            life,
        };
        if matches!(self.role, Role::Leader(_)) {
            self.begin_read(asker, fx);
        } else {
            fx.push(answer(asker, Err(ReadLost::LeaderChanged)));
        }
    }

    /// The leader answers a read that this node asked for, in this life or an earlier one.
    pub(crate) fn on_read_tell(
        &mut self,
        id: ReadId,
        life: u64,
        at: Option<Index>,
        fx: &mut Vec<Effect>,
    ) {
        let asked = &mut self.reads.asked;
        let place = asked.iter().position(|&(other, _)| other == id);
        let Some(place) = place.filter(|_| life == self.options.life) else {
            return;
        };
        asked.remove(place);
        fx.push(Effect::Read {
            id,
            result: at.ok_or(ReadLost::LeaderChanged),
        });
    }

    /// Leadership was lost, or the leader is another or unreachable: reads that wait get their
    /// one outcome.
    pub(crate) fn lose_reads(&mut self, fx: &mut Vec<Effect>) {
        for (id, _) in core::mem::take(&mut self.reads.asked) {
            fx.push(answer(Asker::Here(id), Err(ReadLost::LeaderChanged)));
        }
        if let Role::Leader(leadership) = &mut self.role {
            let reads = core::mem::take(&mut leadership.reads);
            let waiting = reads.waiting.into_iter().map(|(_, _, asker)| asker);
            for asker in waiting.chain(reads.early) {
                fx.push(answer(asker, Err(ReadLost::LeaderChanged)));
            }
        }
    }
}

fn answer(asker: Asker, result: Result<Index, ReadLost>) -> Effect {
    match asker {
        Asker::Here(id) => Effect::Read { id, result },
        Asker::Peer { id: to, read, life } => {
            let message = Message::ReadTell {
                id: read,
                life,
                at: result.ok(),
            };
            Effect::Send { to, message }
        }
    }
}
