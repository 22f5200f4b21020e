//! The remote procedure calls of Figure 2 as plain data.
//! Never carries payload: the driver sends entries' bodies beside the header.
//!
//! # Source
//! Raft paper, Figures 2 and 13; dissertation §9.6 (pre-vote), §6.4 (reads), §3.10 (transfer).

use crate::effect::ReadLost;
use crate::types::{Entries, Incarnation, Index, LogId, ReadId, Term};

/// One message between two nodes. Each carries the sender's term but for the read pair,
/// [`Message::RepairAsk`], [`Message::Heard`] and [`Message::Disowned`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// RequestVote, or with `pre` the question whether such a request could succeed.
    Vote {
        /// The candidate's term; of a pre-vote, the term it *would* campaign in.
        term: Term,
        /// Only asking: no state changes on either side.
        pre: bool,
        /// The leader has asked for this election: it is heeded although that leader was heard
        /// just now (dissertation §3.10, §4.2.3).
        transfer: bool,
        /// The identity of the candidate's last entry.
        last: LogId,
        /// The configuration in force at the candidate names its disk, and knows the receiver: whoever
        /// has another disk in mind for it, or none, has missed that it was added (rule R13).
        admitted: bool,
    },
    /// The answer to [`Message::Vote`].
    VoteReply {
        /// The voter's term; of a granted pre-vote, the term that was asked about.
        term: Term,
        /// Which kind of vote is answered.
        pre: bool,
        /// The vote.
        granted: bool,
    },
    /// AppendEntries with entries, or a probe without.
    Append {
        /// The leader's term.
        term: Term,
        /// The identities of the entries; their bodies travel beside.
        entries: Entries,
        /// The leader's commit index.
        commit: Index,
    },
    /// The answer to [`Message::Append`].
    AppendReply {
        /// The follower's term.
        term: Term,
        /// What became of the append.
        result: AppendResult,
    },
    /// A heartbeat. It claims nothing about the log (rule R9).
    Beat {
        /// The leader's term.
        term: Term,
        /// The leader's commit index.
        commit: Index,
        /// The latest read round the leader has begun.
        round: u64,
        /// The end of the leader's log that is safe on its own disk.
        durable: Index,
        /// The configuration in force at the leader knows the receiver, by its disk or as a learner:
        /// the leader is of the receiver's own cluster (rule R13).
        knows: bool,
    },
    /// The answer to [`Message::Beat`].
    BeatReply {
        /// The follower's term.
        term: Term,
        /// The read round of the heartbeat answered.
        round: u64,
        /// How the follower's disk keeps up (rule R10).
        disk: Pace,
        /// For how long since it heard that heartbeat the sender elects nobody: nothing without
        /// leases.
        promise_ns: u64,
    },
    /// The leader asks a follower that holds its whole log to stand for election at once.
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// The leader falls silent because nothing happens: it is to be taken for alive until it speaks
    /// again or the connection breaks. Not answered.
    Rest {
        /// The leader's term.
        term: Term,
        /// The last entry of the leader's log, which is committed.
        last: LogId,
    },
    /// The leader's commit index, by itself; not answered.
    Commit {
        /// The leader's term.
        term: Term,
        /// The leader's commit index.
        commit: Index,
        /// The end of the leader's log that is safe on its own disk.
        durable: Index,
    },
    /// The header of a piece of the leader's snapshot; the driver moves the bytes. Once installed
    /// it is acknowledged as an append that ends at `base`.
    Snapshot {
        /// The leader's term.
        term: Term,
        /// The last entry that the snapshot covers.
        base: LogId,
    },
    /// What the receiver was heard to say in an earlier life (rule R13): that it was in this term,
    /// with its log durable up to here. Not answered.
    Heard {
        /// The disk that it had.
        disk: Incarnation,
        /// The life that said so.
        life: u64,
        /// The term.
        term: Term,
        /// Whether it voted in that term.
        voted: bool,
        /// The end of the log.
        durable: Index,
    },
    /// The receiver's disk is not that of the member of its name (rule R13): it is not heard. Not
    /// answered.
    Disowned {
        /// The disk that it has.
        disk: Incarnation,
    },
    /// The sender's disk cannot give back entries of its log: does the receiver have them?
    RepairAsk {
        /// The first of them.
        first: LogId,
        /// The last index for which the sender cannot read what it has.
        last: Index,
    },
    /// The answer to [`Message::RepairAsk`], of a node that does not lead: a leader sends the entries
    /// anew.
    RepairTell {
        /// The sender's term.
        term: Term,
        /// What it knows of the first of them.
        holding: Holding,
    },
    /// A follower asks where a read may be served.
    ReadAsk {
        /// The asker's name for the read.
        id: ReadId,
        /// The asker's process life: an answer to an earlier life is not an answer (rule R6).
        life: u64,
        /// Whether the leader's lease will do.
        lease: bool,
    },
    /// The leader's answer: serve after applying `at`.
    ReadTell {
        /// The asker's name for the read.
        id: ReadId,
        /// The asker's process life, echoed.
        life: u64,
        /// The read index, or why there is none.
        at: Result<Index, ReadLost>,
    },
}

/// What a node knows of an entry that another cannot read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holding {
    /// It has it, and these after it; their bodies travel beside.
    Has(Entries),
    /// It does not have it, and has never had it unless it was told by a leader to drop it.
    Lacks(LogId),
    /// It has it too, and cannot read it either.
    Unreadable(LogId),
}

/// How a node's disk keeps up with its writes (rule R10).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pace {
    /// As it should.
    #[default]
    Quick,
    /// It has answered late a while ago: the node can vote, but others are better to lead.
    Late,
    /// A write is under way for too long: the node may never speak of it.
    Stalled,
}

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendResult {
    /// Everything up to here agrees with the leader's log and is durable.
    Durable(Index),
    /// The entry before the range is missing or of another term.
    Conflict {
        /// The index the leader took for common ground.
        prev: Index,
        /// The highest entry of the follower that could be common ground: at or before `prev`,
        /// of a term no higher than the leader's there (dissertation §3.5's back-up, by terms).
        hint: LogId,
    },
}
