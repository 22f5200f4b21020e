//! Linearizable reads without writing to the log: ReadIndex.
//! Never touches the state machine: it names an index; the driver waits until that is applied.
//!
//! A read is served after everything that was committed when the leader, *after* the read
//! arrived, still led. A heartbeat round proves that: rounds are named by (term, number), both
//! owned by the core, so nothing a client or an earlier life of a process made can confirm a read
//! (R6). Reads gather, the node's own and those of followers, and the end of a turn begins one
//! round for all of them.
//!
//! Two other levels ask for a round only when they must: a lease read when the leader has no
//! lease (`lease`), a bounded read when nothing recent enough is known (`mark`).
//!
//! Specified by: AskRead, HandleBeatReply, ServeRead.
//! With messages by: Answer, AnswerAll, LoseReads, BeginRound, Served, ConfirmReads, TakeRead,
//! OnBeatReply, OnReadAsk, OnReadTell.
//!
//! # Source
//! Raft paper §8; dissertation §6.4.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::effect::{Effect, ReadLevel, ReadLost};
use crate::message::Message;
use crate::progress::Progress;
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{Index, Instant, NodeId, ReadId};

/// Rounds on their way, at most: enough for one each turn over any link; when confirmations do
/// not keep up, reads gather longer instead.
const ROUNDS_MAX: usize = 64;

/// Reads of one follower that a leader keeps, at most; it is told of those beyond.
pub const READS_PER_PEER_MAX: usize = 256;

/// Who asked for a read.
#[derive(Clone, Copy, Debug)]
enum Asker {
    /// The caller of [`Raft::read`].
    Here(ReadId),
    /// A follower, in one of its lives.
    Peer { id: NodeId, read: ReadId, life: u64 },
}

/// One round of heartbeats that a majority has not answered yet.
#[derive(Clone, Debug)]
struct Round {
    number: u64,
    sent_at: Instant,
    /// Where to serve its reads: the commit index when it was sent.
    commit: Index,
    askers: Vec<Asker>,
}

/// Reads at the leader.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaderReads {
    /// The number of the latest round of this term.
    latest: u64,
    rounds: VecDeque<Round>,
    /// Reads for the next round. The first must wait until the term's first entry is committed:
    /// until then the leader does not know what is.
    gathered: Vec<Asker>,
    /// Reads of followers that have no answer yet, as `(life, name)`. A follower asks again, and
    /// what it asks twice is kept once.
    of_peers: BTreeMap<NodeId, BTreeSet<(u64, ReadId)>>,
}

impl LeaderReads {
    pub(crate) fn latest(&self) -> u64 {
        self.latest
    }

    /// Whether no read waits.
    pub(crate) fn is_idle(&self) -> bool {
        let mut under_way = self.rounds.iter();
        self.gathered.is_empty() && under_way.all(|round| round.askers.is_empty())
    }

    /// Adds a read to the next round.
    fn gather(&mut self, asker: Asker) -> Result<(), ReadLost> {
        if let Asker::Peer { id, read, life } = asker {
            let known = self.of_peers.entry(id).or_default();
            if known.contains(&(life, read)) {
                return Ok(());
            }
            if known.len() >= READS_PER_PEER_MAX {
                return Err(ReadLost::Busy);
            }
            known.insert((life, read));
        }
        self.gathered.push(asker);
        Ok(())
    }

    /// The oldest round, once a quorum has confirmed it; it leaves.
    fn take_confirmed(&mut self, confirmed: u64) -> Option<Round> {
        if self.rounds.front()?.number > confirmed {
            return None;
        }
        let round = self.rounds.pop_front()?;
        for asker in &round.askers {
            if let Asker::Peer { id, read, life } = asker
                && let Some(known) = self.of_peers.get_mut(id)
            {
                known.remove(&(*life, *read));
            }
        }
        Some(round)
    }
}

/// A read that this node has asked its leader for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    id: ReadId,
    /// Whether the leader's lease will do.
    lease: bool,
    first_at: Instant,
    /// A question may be lost without a sign, and is asked again.
    last_at: Instant,
}

/// Reads that this node has asked its leader for.
#[derive(Clone, Debug, Default)]
pub(crate) struct FollowerReads {
    asked: Vec<Asked>,
}

impl Raft {
    /// Asks for a read; exactly one [`Effect::Read`] with this `id` follows. One read may stand
    /// for any number of client reads of its level that arrived before it.
    ///
    /// `now`: looked up after those client reads arrived. `id`: never used before in this life of
    /// the process. How many reads wait here is the caller's affair to bound.
    pub fn read(&mut self, now: Instant, id: ReadId, level: ReadLevel, fx: &mut Vec<Effect>) {
        self.tick(now);
        let lost = Effect::Read {
            id,
            result: Err(ReadLost::NoLeader),
        };
        if self.is_halted() {
            return fx.push(lost);
        }
        if let ReadLevel::Bounded { max_lag_ns } = level
            && let Some(at) = self.mark(self.now, max_lag_ns)
        {
            // Mark: a read of a bounded age is answered without asking anyone.
            let result = Ok(at);
            return fx.push(Effect::Read { id, result });
        }
        self.wake();
        let lease = level == ReadLevel::Lease;
        match (&self.role, self.leader) {
            (Role::Leader(_), _) => self.take_read(Asker::Here(id), lease, fx),
            (Role::Follower, Some(leader)) => {
                let asked = Asked {
                    id,
                    lease,
                    first_at: self.now,
                    last_at: self.now,
                };
                self.reads.asked.push(asked);
                fx.push(self.question(leader, asked));
            }
            _ => fx.push(lost),
        }
    }

    fn question(&self, to: NodeId, asked: Asked) -> Effect {
        let (life, id, lease) = (self.options.life, asked.id, asked.lease);
        let message = Message::ReadAsk { id, life, lease };
        Effect::Send { to, message }
    }

    /// The leader was heard: asks again what it has not answered for a heartbeat. Each round of
    /// reads causes beats, so without that pause questions and beats would feed each other.
    pub(crate) fn ask_reads_again(&mut self, leader: NodeId, fx: &mut Vec<Effect>) {
        let (now, pause_ns) = (self.now, self.options.heartbeat_ns);
        let mut all = core::mem::take(&mut self.reads.asked);
        for asked in &mut all {
            if now.since(asked.last_at) >= pause_ns {
                // Mark: a follower asks again for a read.
                asked.last_at = now;
                fx.push(self.question(leader, *asked));
            }
        }
        self.reads.asked = all;
    }

    /// Leader: answers a read by the lease if that will do and there is one; else it waits for
    /// the next round.
    fn take_read(&mut self, asker: Asker, lease: bool, fx: &mut Vec<Effect>) {
        if lease && self.has_lease() {
            // Mark: a read is answered by lease.
            return fx.push(answer(asker, Ok(self.commit)));
        }
        let Some(leadership) = self.role.leadership_mut() else {
            return;
        };
        if let Err(lost) = leadership.reads.gather(asker) {
            // Mark: a leader has no room for a read.
            // Unreached: a replica asks for 64 at once, and the room is for four times as many.
            fx.push(answer(asker, Err(lost)));
        }
    }

    /// Begins a round for the reads gathered, if there are any.
    pub(crate) fn begin_gathered_round(&mut self, fx: &mut Vec<Effect>) {
        if let Some(leadership) = self.role.leadership()
            && !leadership.reads.gathered.is_empty()
            && self.begin_round()
        {
            self.send_beats(fx);
            self.confirm_reads(fx);
        }
    }

    /// A heartbeat is due anyway: it serves the reads gathered, and renews the lease.
    pub(crate) fn begin_round_with_beat(&mut self) {
        if let Some(leadership) = self.role.leadership()
            && (self.has_leases_on() || !leadership.reads.gathered.is_empty())
        {
            self.begin_round();
        }
    }

    /// Numbers a new round, which takes the reads gathered along; whether there is one. Its beats
    /// leave no earlier than now.
    fn begin_round(&mut self) -> bool {
        let (now, commit, renews) = (self.now, self.commit, self.has_leases_on());
        let Some(leadership) = self.role.leadership_mut() else {
            return false;
        };
        let reads = &mut leadership.reads;
        if commit < leadership.first || reads.rounds.len() >= ROUNDS_MAX {
            return false;
        }
        reads.latest += 1;
        reads.rounds.push_back(Round {
            number: reads.latest,
            sent_at: now,
            commit,
            askers: core::mem::take(&mut reads.gathered),
        });
        if renews {
            let number = reads.latest;
            leadership.lease.sent(number, now, self.options.election_ns);
        }
        true
    }

    /// Answers the reads whose round a quorum has confirmed.
    pub(crate) fn confirm_reads(&mut self, fx: &mut Vec<Effect>) {
        let Some(leadership) = self.role.leadership_mut() else {
            return;
        };
        if leadership.reads.rounds.is_empty() {
            return;
        }
        let own = (self.me, leadership.reads.latest);
        let config = self.membership.current();
        let confirmed = leadership.quorum_reaches(config, own, Progress::round);
        while let Some(round) = leadership.reads.take_confirmed(confirmed) {
            self.marks.learn(round.sent_at, round.commit);
            let answers = round.askers.into_iter();
            fx.extend(answers.map(|asker| answer(asker, Ok(round.commit))));
        }
    }

    /// A heartbeat was answered in this term.
    pub(crate) fn on_beat_reply(
        &mut self,
        from: NodeId,
        round: u64,
        promise_ns: u64,
        fx: &mut Vec<Effect>,
    ) {
        let Some(leadership) = self.role.leadership_mut() else {
            return;
        };
        if round > leadership.reads.latest {
            // Believed, it would confirm reads that are still to come.
            let why = "confirms a round never begun";
            return fx.push(Effect::Refused { from, why });
        }
        if let Some(progress) = leadership.peers.get_mut(from) {
            progress.confirm(round);
            self.on_promise(from, round, promise_ns);
            self.confirm_reads(fx);
        }
    }

    /// A follower asks for a read.
    pub(crate) fn on_read_ask(
        &mut self,
        from: NodeId,
        (read, life): (ReadId, u64),
        lease: bool,
        fx: &mut Vec<Effect>,
    ) {
        let id = from;
        let asker = Asker::Peer { id, read, life };
        if self.role.is_leader() {
            self.take_read(asker, lease, fx);
        } else {
            // Mark: a read is asked of one who does not lead.
            fx.push(answer(asker, Err(ReadLost::LeaderChanged)));
        }
    }

    /// The leader answers a read that this node asked for, in this life or an earlier one.
    pub(crate) fn on_read_tell(
        &mut self,
        (id, life): (ReadId, u64),
        result: Result<Index, ReadLost>,
        fx: &mut Vec<Effect>,
    ) {
        let place = self.reads.asked.iter().position(|asked| asked.id == id);
        let Some(place) = place.filter(|_| life == self.options.life) else {
            // Mark: an answer comes to a read of another life, or a second one.
            return;
        };
        let asked = self.reads.asked.remove(place);
        // What a lease says is true if clocks are; a mark is true in any case.
        if let (Ok(at), false) = (result, asked.lease) {
            self.marks.learn(asked.first_at, at);
        }
        fx.push(Effect::Read { id, result });
    }

    /// Leadership was lost, or the leader is another or unreachable: reads that wait get their
    /// one outcome.
    pub(crate) fn lose_reads(&mut self, fx: &mut Vec<Effect>) {
        let lost = Err(ReadLost::LeaderChanged);
        for asked in core::mem::take(&mut self.reads.asked) {
            fx.push(answer(Asker::Here(asked.id), lost));
        }
        if let Some(leadership) = self.role.leadership_mut() {
            // Mark: a leader that gives way loses its reads.
            let reads = core::mem::take(&mut leadership.reads);
            let waiting = reads.rounds.into_iter().flat_map(|round| round.askers);
            let all = waiting.chain(reads.gathered);
            fx.extend(all.map(|asker| answer(asker, lost)));
        }
    }
}

fn answer(asker: Asker, at: Result<Index, ReadLost>) -> Effect {
    match asker {
        Asker::Here(id) => Effect::Read { id, result: at },
        Asker::Peer { id: to, read, life } => {
            let message = Message::ReadTell { id: read, life, at };
            Effect::Send { to, message }
        }
    }
}
