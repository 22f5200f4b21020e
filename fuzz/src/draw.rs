//! From the fuzzer's bytes to numbers, messages and entries.
//! Never fails: when the bytes are used up, everything is zero.
//!
//! # Source
//! The crate arbitrary; Raft paper, Figure 2, for the messages.

use arbitrary::Unstructured;
use headwater_raft::{
    AppendResult, Config, Entries, Holding, Incarnation, Index, LogId, Message, NodeId, Pace,
    ReadId, ReadLevel, ReadLost, Term,
};

/// The bytes of one input.
pub struct Draw<'a>(Unstructured<'a>);

impl<'a> Draw<'a> {
    /// Draws from these bytes.
    pub fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    /// Whether the bytes are used up.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Yes or no.
    pub fn coin(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `bound`, which is at most 256.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.byte()) % bound
    }

    /// Mostly small; now and then any number, the largest included.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX - self.below(3),
            254 => self.0.arbitrary().unwrap_or_default(),
            253 => 1 << self.below(64),
            small => u64::from(small % 16),
        }
    }

    /// Some bytes.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = usize::from(self.byte()).min(most);
        let len = len.min(self.0.len());
        self.0.bytes(len).map(<[u8]>::to_vec).unwrap_or_default()
    }

    /// A node, member or not.
    pub fn node(&mut self) -> NodeId {
        NodeId(self.below(6))
    }

    /// A place in a log.
    pub fn place(&mut self) -> LogId {
        LogId::new(Term(self.number()), Index(self.number()))
    }

    /// A range of entries, mostly one that a peer could send.
    pub fn range(&mut self) -> Entries {
        let prev = self.place();
        if self.below(8) == 0 {
            let runs = (0..self.below(4))
                .map(|_| (Index(self.number()), Term(self.number())))
                .collect();
            let last = Index(self.number());
            let configs = (0..self.below(2))
                .map(|_| (Index(self.number()), self.config()))
                .collect();
            return Entries {
                prev,
                last,
                runs,
                configs,
            };
        }
        let mut entries = Entries::none(prev);
        for _ in 0..self.below(4) {
            let run = (self.below(3), self.below(4));
            let term = Term(entries.last_id().term.0.saturating_add(run.0).max(1));
            let first = Index(entries.last.0.saturating_add(1));
            entries.runs.push((first, term));
            entries.last = Index(first.0.saturating_add(run.1));
            if self.below(8) == 0 {
                entries.configs.push((entries.last, self.config()));
            }
        }
        entries
    }

    /// Some nodes, mostly those there are.
    pub fn config(&mut self) -> Config {
        let mut set = || {
            let bits = self.byte();
            let ids = (0..6).filter(|at| bits & 1 << at != 0);
            ids.map(NodeId).collect::<Vec<NodeId>>()
        };
        let voters = set();
        match voters.len() % 2 {
            0 => Config::of_voters(voters)
                .with_outgoing(set())
                .with_joining(set()),
            _ => Config::of_voters(voters),
        }
    }

    /// Any level of reads.
    pub fn level(&mut self) -> ReadLevel {
        match self.below(4) {
            0 => ReadLevel::Lease,
            1 => ReadLevel::Bounded {
                max_lag_ns: self.number(),
            },
            _ => ReadLevel::Linearizable,
        }
    }

    /// Any message.
    pub fn message(&mut self) -> Message {
        let term = Term(self.number());
        match self.below(14) {
            0 => Message::Vote {
                term,
                pre: self.coin(),
                transfer: self.coin(),
                last: self.place(),
                admitted: self.coin(),
            },
            1 => Message::VoteReply {
                term,
                pre: self.coin(),
                granted: self.coin(),
            },
            2 => Message::Append {
                term,
                entries: self.range(),
                commit: Index(self.number()),
            },
            3 => Message::AppendReply {
                term,
                result: AppendResult::Durable(Index(self.number())),
            },
            4 => Message::AppendReply {
                term,
                result: AppendResult::Conflict {
                    prev: Index(self.number()),
                    hint: self.place(),
                },
            },
            5 => Message::Beat {
                term,
                commit: Index(self.number()),
                round: self.number(),
                durable: Index(self.number()),
                knows: self.coin(),
            },
            6 => Message::BeatReply {
                term,
                round: self.number(),
                disk: [Pace::Quick, Pace::Late, Pace::Stalled][self.below(3) as usize],
                promise_ns: self.number(),
            },
            7 => Message::Commit {
                term,
                commit: Index(self.number()),
                durable: Index(self.number()),
            },
            8 => Message::Snapshot {
                term,
                base: self.place(),
            },
            9 => Message::TimeoutNow { term },
            10 => Message::Rest {
                term,
                last: self.place(),
            },
            11 => Message::RepairTell {
                term,
                holding: self.holding(),
            },
            _ => self.termless_message(),
        }
    }

    fn holding(&mut self) -> Holding {
        match self.below(3) {
            0 => Holding::Has(self.range()),
            1 => Holding::Lacks(self.place()),
            _ => Holding::Unreadable(self.place()),
        }
    }

    /// Any message that does not bear its sender's term.
    fn termless_message(&mut self) -> Message {
        match self.below(5) {
            4 => Message::RepairAsk {
                first: self.place(),
                last: Index(self.number()),
            },
            0 => Message::ReadAsk {
                id: ReadId(self.number()),
                life: self.number(),
                lease: self.coin(),
            },
            1 => Message::ReadTell {
                id: ReadId(self.number()),
                life: self.below(2),
                at: match self.below(4) {
                    0 => Err(ReadLost::NoLeader),
                    1 => Err(ReadLost::Busy),
                    _ => Ok(Index(self.number())),
                },
            },
            2 => Message::Disowned {
                disk: Incarnation(self.below(2).into()),
            },
            _ => Message::Heard {
                disk: Incarnation(self.below(2).into()),
                life: self.below(3),
                term: Term(self.number()),
                voted: self.coin(),
                durable: Index(self.number()),
            },
        }
    }
}
