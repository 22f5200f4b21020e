//! One core alone, among peers that the test plays itself. No witness: peers may lie here.

use headwater_raft::{
    AppendResult, Config, Effect, Entries, HardState, Index, Input, Instant, LogId, Message,
    NodeId, NotChanged, Options, Pace, Pull, Raft, ReadId, ReadLevel, Recovered, Term, Unreadable,
    WriteId,
};

/// One core, node 1 of some voters, and what it has issued.
pub struct Solo {
    pub raft: Raft,
    pub now: Instant,
    issued: WriteId,
}

impl Solo {
    /// Node 1 of `voters`, in `term`, with a log of these terms.
    pub fn new(voters: u64, term: u64, log: &[u64]) -> Self {
        Self::voted(voters, term, None, log)
    }

    /// The same, having voted.
    pub fn voted(voters: u64, term: u64, vote: Option<u64>, log: &[u64]) -> Self {
        Self::with(Options::default(), voters, term, vote, log)
    }

    /// The same, with these options.
    pub fn with(options: Options, voters: u64, term: u64, vote: Option<u64>, log: &[u64]) -> Self {
        Self::recovered(options, Self::disk(voters, term, vote, log))
    }

    fn disk(voters: u64, term: u64, vote: Option<u64>, log: &[u64]) -> Recovered {
        Recovered {
            me: NodeId(1),
            hard: HardState {
                term: Term(term),
                voted_for: vote.map(NodeId),
            },
            log: super::entries(LogId::default(), log),
            applied: LogId::default(),
            config: Config::of_voters((1..=voters).map(NodeId)),
            disk: None,
            unreadable: Vec::new(),
            commit_hint: Index(0),
            next_write: WriteId(1),
        }
    }

    /// A node that cannot read some of its log.
    pub fn lacking(
        options: Options,
        voters: u64,
        term: u64,
        log: &[u64],
        lost: Unreadable,
    ) -> Self {
        let disk = Self::disk(voters, term, None, log);
        let unreadable = vec![lost];
        Self::recovered(options, Recovered { unreadable, ..disk })
    }

    /// A node with these options and this disk.
    pub fn recovered(options: Options, disk: Recovered) -> Self {
        let raft = Raft::recover(Instant(0), options, disk).expect("a sane disk");
        Self {
            raft,
            now: Instant(0),
            issued: WriteId(0),
        }
    }

    /// Node 1 as the leader of `term + 1`, its first entry durable, its effects forgotten.
    pub fn leading(voters: u64, term: u64, log: &[u64]) -> Self {
        Self::new(voters, term, log).elected()
    }

    /// The node stands and is elected, its first entry durable, its effects forgotten.
    pub fn elected(self) -> Self {
        let mut solo = self;
        let (voters, term) = (solo.raft.config().voters().len() as u64, solo.raft.term().0);
        solo.stand();
        for peer in 2..=voters / 2 + 1 {
            let term = Term(term + 1);
            solo.hear(peer, vote_reply(term, false, true));
        }
        solo.persist();
        assert_eq!(solo.raft.role().as_str(), "leader");
        solo
    }

    /// Node 1 becomes a candidate whose own vote is durable: what it does then.
    pub fn stand(&mut self) -> Vec<Effect> {
        self.deadline();
        let term = self.raft.term().next();
        for peer in 2..=self.raft.config().voters().len() as u64 / 2 + 1 {
            self.hear(peer, vote_reply(term, true, true));
        }
        self.persist()
    }

    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut fx = Vec::new();
        self.raft.step(self.now, input, &mut fx);
        self.note(&fx);
        fx
    }

    fn note(&mut self, fx: &[Effect]) {
        for effect in fx {
            if let Effect::Persist(write) = effect {
                self.issued = write.id;
            }
        }
    }

    pub fn hear(&mut self, from: u64, message: Message) -> Vec<Effect> {
        let from = NodeId(from);
        self.step(Input::Receive { from, message })
    }

    /// Everything issued is durable.
    pub fn persist(&mut self) -> Vec<Effect> {
        let upto = self.issued;
        self.step(Input::Persisted { upto })
    }

    pub fn deadline(&mut self) -> Vec<Effect> {
        self.now = self.now.max(self.raft.next_deadline());
        self.step(Input::Deadline)
    }

    pub fn propose(&mut self, count: u64) -> (LogId, Vec<Effect>) {
        let mut fx = Vec::new();
        let first = self.raft.propose(self.now, count, &mut fx).expect("leads");
        self.note(&fx);
        (first, fx)
    }

    /// Asks for a read, and ends the turn: what is done then.
    pub fn read(&mut self, id: u64, level: ReadLevel) -> Vec<Effect> {
        let mut fx = Vec::new();
        self.raft.read(self.now, ReadId(id), level, &mut fx);
        self.raft.end_turn(&mut fx);
        fx
    }

    /// Asks for other members, believing in those there are.
    pub fn change(&mut self, target: &Config) -> Result<LogId, NotChanged> {
        let expect = self.raft.config().clone();
        let (now, mut fx) = (self.now, Vec::new());
        let taken = self.raft.reconfigure(now, &expect, target, false, &mut fx);
        self.note(&fx);
        taken
    }

    /// A follower is sent what it lacks, and says that it holds everything.
    pub fn holds_all(&mut self, peer: u64) -> Vec<Effect> {
        let last = self.raft.last();
        while let Pull::Append { last, .. } = self.raft.pull(NodeId(peer)) {
            let now = self.now;
            self.raft.sent(now, NodeId(peer), last);
        }
        self.hear(peer, durable(last.term.0, last.index.0))
    }

    /// Hears a message and makes what it caused durable: what was sent, before and after.
    pub fn answer(&mut self, from: u64, message: Message) -> Vec<Message> {
        let mut fx = self.hear(from, message);
        fx.extend(self.persist());
        sent_to(&fx, from)
    }

    pub fn terms(&self) -> Vec<u64> {
        let all = 1..=self.raft.last().index.0;
        all.map(|index| self.raft.term_at(Index(index)).map_or(0, |term| term.0))
            .collect()
    }
}

pub fn sent_to(fx: &[Effect], peer: u64) -> Vec<Message> {
    let to_peer = |effect: &Effect| match effect {
        Effect::Send { to, message } if *to == NodeId(peer) => Some(message.clone()),
        _ => None,
    };
    fx.iter().filter_map(to_peer).collect()
}

pub fn commits(fx: &[Effect]) -> Vec<u64> {
    let commit = |effect: &Effect| match effect {
        Effect::Commit { upto } => Some(upto.0),
        _ => None,
    };
    fx.iter().filter_map(commit).collect()
}

pub fn vote(term: u64, last: LogId) -> Message {
    asks_vote(term, (false, false), last)
}

pub fn pre_vote(term: u64, last: LogId) -> Message {
    asks_vote(term, (true, false), last)
}

/// A request for a vote in an election that the leader asked for.
pub fn transfer_vote(term: u64, last: LogId) -> Message {
    asks_vote(term, (false, true), last)
}

fn asks_vote(term: u64, (pre, transfer): (bool, bool), last: LogId) -> Message {
    Message::Vote {
        term: Term(term),
        pre,
        transfer,
        last,
        admitted: false,
    }
}

pub fn timeout_now(term: u64) -> Message {
    Message::TimeoutNow { term: Term(term) }
}

pub fn vote_reply(term: Term, pre: bool, granted: bool) -> Message {
    Message::VoteReply { term, pre, granted }
}

pub fn append(term: u64, prev: LogId, terms: &[u64], commit: u64) -> Message {
    let entries: Entries = super::entries(prev, terms);
    Message::Append {
        term: Term(term),
        entries,
        commit: Index(commit),
    }
}

pub fn beat(term: u64, commit: u64, round: u64) -> Message {
    Message::Beat {
        term: Term(term),
        commit: Index(commit),
        round,
        durable: Index(commit),
        knows: false,
    }
}

pub fn commit(term: u64, commit: u64) -> Message {
    Message::Commit {
        term: Term(term),
        commit: Index(commit),
        durable: Index(commit),
    }
}

pub fn beat_reply(term: u64, round: u64) -> Message {
    promising_reply(term, round, 0)
}

pub fn promising_reply(term: u64, round: u64, promise_ns: u64) -> Message {
    let term = Term(term);
    Message::BeatReply {
        term,
        round,
        disk: Pace::Quick,
        promise_ns,
    }
}

pub fn read_ask(id: u64, life: u64) -> Message {
    Message::ReadAsk {
        id: ReadId(id),
        life,
        lease: false,
    }
}

pub fn durable(term: u64, upto: u64) -> Message {
    Message::AppendReply {
        term: Term(term),
        result: AppendResult::Durable(Index(upto)),
    }
}

pub fn conflict(term: u64, prev: u64, hint: LogId) -> Message {
    let prev = Index(prev);
    Message::AppendReply {
        term: Term(term),
        result: AppendResult::Conflict { prev, hint },
    }
}
