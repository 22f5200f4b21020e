//! What goes in and what comes out: the whole interface of the core, as plain data.
//! Never a callback: a run of a node is the list of its inputs.
//!
//! # Source
//! Rules R2, R4, R5 and R11 of ARCHITECTURE.md.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::configuration::Config;
use crate::message::Message;
use crate::types::{
    Entries, HardState, Incarnation, Index, LogId, NodeId, ReadId, Term, Unreadable, WriteId,
};

/// What can happen to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The moment that [`crate::Raft::next_deadline`] named has come.
    Deadline,
    /// A message arrived.
    Receive {
        /// Who sent it.
        from: NodeId,
        /// The message.
        message: Message,
    },
    /// Every write up to and including this one is durable.
    Persisted {
        /// The highest such write.
        upto: WriteId,
    },
    /// A durable snapshot covers everything up to `base`: the log may forget it.
    Compacted {
        /// The last entry to forget.
        base: LogId,
    },
    /// A leader's snapshot is durable here and loaded into the state machine.
    Installed {
        /// The last entry it covers.
        base: LogId,
        /// The configuration as of `base`.
        config: Config,
    },
    /// The peer at the other end of a connection that is about to come up has this disk. It comes
    /// before every message of that connection, and after it none comes that another disk of the
    /// peer has sent; nor does what was said to another disk reach this one. Only for drivers that
    /// tell disks apart (rule R13).
    Met {
        /// The peer.
        peer: NodeId,
        /// Its disk.
        disk: Incarnation,
        /// The life of its process: its [`crate::Options::life`].
        life: u64,
    },
    /// A connection to a peer came up or went down; messages sent before may be lost.
    Link {
        /// The peer.
        peer: NodeId,
        /// Up or down.
        up: bool,
    },
}

/// What a node wants done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send this; it is safe to send at once, to lose, to delay and to double (rule R4).
    Send {
        /// To whom.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// Make this durable, after all writes before it; answer with [`Input::Persisted`].
    Persist(Write),
    /// Entries up to here are committed: apply them in order.
    Commit {
        /// The commit index.
        upto: Index,
    },
    /// A read asked for with [`crate::Raft::read`] has its outcome; exactly one per read.
    Read {
        /// The caller's name for it.
        id: ReadId,
        /// Serve it once everything up to here is applied; or why it cannot be served.
        result: Result<Index, ReadLost>,
    },
    /// The leader's snapshot is newer than what is here: take in the piece that came with this
    /// message.
    Install {
        /// The leader.
        from: NodeId,
        /// What the snapshot covers.
        base: LogId,
    },
    /// Another configuration is in force, or the one in force is committed. Whoever is not in it
    /// any more needs no connection once it is committed.
    Config {
        /// The configuration in force.
        config: Config,
        /// Whether it is committed; before, it can still give way to the one before it.
        committed: bool,
    },
    /// A peer does not hear this node, whose disk is not that of the member of its name (rule R13):
    /// it lost that one. It takes part again once it was removed and added again.
    Disowned {
        /// The peer.
        by: NodeId,
    },
    /// Role, term or known leader changed.
    Role {
        /// The term.
        term: Term,
        /// The role.
        role: RoleName,
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// A transfer of leadership is over; exactly one for each that [`crate::Raft::transfer`] took,
    /// and for each that a leader began because its disk is slow.
    Transferred {
        /// Who was to lead.
        to: NodeId,
        /// This node gave way to a newer term, most likely `to`'s; or why it did not.
        result: Result<(), TransferFailed>,
    },
    /// A peer sent what no correct peer sends; it was ignored (rule R12).
    Refused {
        /// The peer.
        from: NodeId,
        /// What was wrong.
        why: &'static str,
    },
    /// An invariant is broken: the node takes no part from here on (rule R12).
    Halt {
        /// Which, and how.
        why: String,
    },
}

/// One durable change: all of it or nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Its place in the queue of writes.
    pub id: WriteId,
    /// Term and vote in force with this write.
    pub hard: HardState,
    /// What becomes of the log.
    pub log: LogChange,
}

/// What a write does to the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogChange {
    /// Nothing: term or vote change.
    Same,
    /// It starts anew, empty, after this entry of an installed snapshot.
    Reset(LogId),
    /// These, which are in it and could not be read, are written again in their places. Their bodies
    /// are among those of the message received.
    Repair(Entries),
    /// It ends with these entries, or, if there are none, with the entry before them.
    Append {
        /// Their bodies are those of the call that caused this effect: the tail of the message
        /// received, or of the batch proposed; or none, see `internal`.
        entries: Entries,
        /// Whatever stood from the first of them on is void.
        replaces: bool,
        /// The one entry is of the leader's own making: the configuration in it, or, if it has
        /// none, the empty first entry of its term.
        internal: bool,
    },
}

impl Write {
    /// The new entries, if there are any.
    pub fn append(&self) -> Option<&Entries> {
        match &self.log {
            LogChange::Append { entries, .. } => Some(entries),
            _ => None,
        }
    }

    /// Entries from this index on are void, before the new ones are appended.
    pub fn truncate_from(&self) -> Option<Index> {
        match &self.log {
            LogChange::Append {
                entries,
                replaces: true,
                ..
            } => Some(entries.first()),
            _ => None,
        }
    }

    /// Whether the new entry is of the leader's own making.
    pub fn is_internal(&self) -> bool {
        matches!(self.log, LogChange::Append { internal: true, .. })
    }
}

/// The four roles by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RoleName {
    /// Follows a leader or waits for one.
    #[default]
    Follower,
    /// Asks whether an election could be won.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

impl RoleName {
    /// The role in a word, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        }
    }
}

/// Why a proposal was not taken; nothing was appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotTaken {
    /// Another node leads, or none: retry there.
    NotLeader {
        /// That node, once one is known.
        leader: Option<NodeId>,
    },
    /// This node is handing its leadership over: retry there, or here if that fails.
    Transferring {
        /// Who is to lead.
        to: NodeId,
    },
    /// This node leads, but its disk does not keep up: retry once another leads or it answers.
    DiskSlow,
    /// The node has halted.
    Halted,
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: None } => write!(f, "no leader is known here"),
            Self::NotLeader { leader: Some(id) } => write!(f, "node {:x} leads: ask there", id.0),
            Self::Transferring { to } => write!(f, "node {:x} is to lead: ask there soon", to.0),
            Self::DiskSlow => write!(f, "the leader's disk is slow: ask again soon"),
            Self::Halted => write!(f, "the node has halted"),
        }
    }
}

/// Why a change of members did not begin; nothing was appended.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotChanged {
    /// No entry is taken here now, so no configuration either.
    NotTaken(NotTaken),
    /// The leader has not committed an entry of its term yet: retry soon.
    TooEarly,
    /// Another change is under way: retry when it is done.
    InProgress,
    /// The configuration in force is not the one expected: look again, then decide.
    Stale {
        /// The configuration in force.
        current: Config,
    },
    /// No cluster can be like that, or it is like that already.
    Invalid(&'static str),
    /// Fewer than a majority of the new voters answer now: nothing could be committed any more.
    LosesQuorum,
}

impl fmt::Display for NotChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTaken(why) => write!(f, "{why}"),
            Self::TooEarly => write!(f, "the leader is new: ask again soon"),
            Self::InProgress => write!(f, "another change is under way"),
            Self::Stale { .. } => write!(f, "the members are not the ones expected"),
            Self::Invalid(why) => write!(f, "{why}"),
            Self::LosesQuorum => write!(f, "fewer than a majority of the new voters answer now"),
        }
    }
}

/// Why a transfer of leadership was not begun; nothing changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TransferRefused {
    /// Another node leads, or none: ask there.
    NotLeader {
        /// That node, once one is known.
        leader: Option<NodeId>,
    },
    /// The target has no vote in the configuration in force, or is not known at all.
    NotVoter,
    /// The target leads already: it is this node.
    Itself,
    /// Another transfer is under way.
    UnderWay {
        /// Who is to lead.
        to: NodeId,
    },
    /// There is no other voter that is heard and whose disk keeps up.
    NobodyFit,
    /// The node has halted.
    Halted,
}

/// Why a transfer of leadership that was begun has failed. But for `LeadershipLost`, this node
/// leads on and takes proposals again, unless its disk stalls; the target may still win an election
/// it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TransferFailed {
    /// The target did not take over within an election timeout.
    TimedOut,
    /// The node stopped leading without having heard of a newer term.
    LeadershipLost,
    /// The transfer was begun because of a slow disk, and the target's has become slow too, or it
    /// has fallen silent.
    TargetUnfit,
    /// The slow disk because of which the transfer was begun has answered.
    Needless,
}

/// How fresh a read must be, and what that may rest on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ReadLevel {
    /// Covers everything committed before it was asked. The leader confirms that it still leads.
    Linearizable,
    /// The same if clocks keep within [`crate::Options::lease_drift_ppm`]: a leader with a lease
    /// answers at once. Without leases it is a linearizable read.
    Lease,
    /// Covers everything committed until so long before it was asked, by this node's own clock.
    /// Answered at once, by any node and without a leader, if something so recent is known here;
    /// else it is a linearizable read.
    Bounded {
        /// How far behind the answer may be.
        max_lag_ns: u64,
    },
}

/// Why a read has no index; asking again is always safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReadLost {
    /// No leader is known here.
    NoLeader,
    /// The leader changed before it could confirm that it leads.
    LeaderChanged,
    /// Too many reads of this node wait at the leader.
    Busy,
}

/// What to send a peer next; see [`crate::Raft::pull`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pull {
    /// Nothing now.
    Nothing,
    /// Entries `first..=last`, as many from the front as fit; `last < first` asks for a header
    /// without entries. Then call [`crate::Raft::sent`].
    Append {
        /// The first entry to send.
        first: Index,
        /// The last one there is.
        last: Index,
    },
    /// The peer needs entries that the log has forgotten: send it a snapshot.
    Snapshot,
}

/// What the disk remembers of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// This node.
    pub me: NodeId,
    /// Term and vote.
    pub hard: HardState,
    /// The identities of the log's entries; `log.prev` is the log's base.
    pub log: Entries,
    /// The last entry that the loaded state machine covers: at or after the log's base.
    pub applied: LogId,
    /// The configuration as of `applied`; those of later entries are in `log`. Without voters: a
    /// node that is to join a cluster and learns from its leader who is in it.
    pub config: Config,
    /// This life of the node's disk; `None` if the driver does not tell disks apart.
    pub disk: Option<Incarnation>,
    /// What of the log cannot be read: disjoint ranges in order, none of which `applied` covers.
    pub unreadable: Vec<Unreadable>,
    /// A commit index that was true once, or zero.
    pub commit_hint: Index,
    /// The next write's place in the queue.
    pub next_write: WriteId,
}
