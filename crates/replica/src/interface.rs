//! What goes into a node and what comes out, as plain data; and the numbers that shape it.
//! Never a callback: the world around feeds inputs and carries out outputs.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors"; rule R11 for outcomes.

use alloc::string::String;
use bytes::Bytes;
use headwater_raft::{
    Config, Incarnation, Index, LogId, NodeId, NotChanged, ReadLevel, Term, TransferFailed,
    TransferRefused, WriteId,
};

use crate::entry::LogOrder;
use crate::machine::StateMachine;
use crate::snapshot_file::{FileDone, FileOrder};

/// The caller's name for a request, echoed in its one outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// What can happen to a node.
#[derive(Debug)]
pub enum Input<M: StateMachine> {
    /// A client's command. Exactly one [`Output::Proposed`] follows, sooner or later.
    Propose {
        /// The caller's name for it.
        request: RequestId,
        /// The command.
        command: Bytes,
    },
    /// A client's question. Exactly one [`Output::Answered`] follows.
    Query {
        /// The caller's name for it.
        request: RequestId,
        /// The question.
        query: M::Query,
        /// How fresh the answer must be. `None`: whatever this node has applied; it comes at once.
        level: Option<ReadLevel>,
    },
    /// This node is to hand its leadership over. Exactly one [`Output::Transferred`] follows, within
    /// an election timeout. Commands that come meanwhile wait for whoever leads then.
    Transfer {
        /// The caller's name for it.
        request: RequestId,
        /// To whom; without a name to the voter that is best placed.
        to: Option<NodeId>,
    },
    /// A frame from a peer, whole and in the order sent on one connection.
    Frame {
        /// The peer, as the connection's handshake named it.
        from: NodeId,
        /// The frame, as the peer's [`Output::Frame`] had it.
        frame: Bytes,
    },
    /// The peer at the other end of a connection that is about to come up has this disk, as the
    /// connection's handshake said (rule R13). It comes before every frame of that connection.
    Met {
        /// The peer.
        peer: NodeId,
        /// Its disk.
        disk: Incarnation,
        /// The life of its process: its [`headwater_raft::Options::life`].
        life: u64,
    },
    /// A change of members. Exactly one [`Output::Reconfigured`] follows.
    Reconfigure {
        /// The caller's name for it.
        request: RequestId,
        /// What is to change.
        change: MemberChange,
    },
    /// A connection to a peer came up or went down.
    Link {
        /// The peer.
        peer: NodeId,
        /// Up or down; after a down, frames sent before may be lost.
        up: bool,
    },
    /// All log orders with an id up to this one are durable.
    LogDone {
        /// The highest such id.
        upto: WriteId,
    },
    /// The log's disk has no room for the next segment, or has it again.
    LogSpace {
        /// Whether it is short of room.
        short: bool,
    },
    /// The snapshot worker answers.
    FileDone(FileDone<M>),
}

/// A change of members; see [`headwater_raft::Raft::reconfigure`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberChange {
    /// The members the caller believes in: compare-and-swap.
    pub expect: Config,
    /// The members to have.
    pub target: Config,
    /// Even if fewer than a majority of the new voters answer now.
    pub force: bool,
    /// What the state machine is told with it, empty for nothing: a command that stands in the
    /// change's first entry and is applied with that.
    pub command: Bytes,
}

/// What a node wants done.
#[derive(Debug)]
pub enum Output<M: StateMachine> {
    /// Send a frame to a peer; dropping it is allowed, reordering on one connection is not.
    Frame {
        /// To whom.
        to: NodeId,
        /// The frame.
        frame: Bytes,
        /// Nobody waits for it: it may leave a little later, with another one.
        can_wait: bool,
    },
    /// Give an order to the log, in this order (rule R2).
    Log(LogOrder),
    /// Give an order to the snapshot worker, in this order.
    File(FileOrder),
    /// A proposal's outcome.
    Proposed {
        /// Which proposal.
        request: RequestId,
        /// Where it stands and the reply, or its fate.
        result: Result<(LogId, M::Reply), ProposeFate>,
    },
    /// A query's outcome.
    Answered {
        /// Which query.
        request: RequestId,
        /// The answer, or why there is none.
        result: Result<M::Answer, ReadFate>,
    },
    /// Another configuration is in force, or the one in force is committed.
    Config {
        /// The configuration in force.
        config: Config,
        /// Whether it is committed: who is not in it then needs no connection any more.
        committed: bool,
    },
    /// A change of members has its outcome: it is complete, down to the last step; or its fate.
    Reconfigured {
        /// Which change.
        request: RequestId,
        /// Its outcome.
        result: Result<(), ReconfigureFate>,
    },
    /// A transfer of leadership is over.
    Transferred {
        /// Which was asked for; none if this node began it by itself, because its disk is slow.
        request: Option<RequestId>,
        /// Who was to lead, once this node has given way to a newer term; or why it did not.
        result: Result<NodeId, TransferFate>,
    },
    /// A peer's [`note`](crate::note), for what stands beside the machine here.
    Note {
        /// The peer.
        from: NodeId,
        /// The number it bears.
        number: u64,
        /// What it says.
        bytes: Bytes,
    },
    /// A peer sent what no correct peer of this version sends; it was not heard (rule R12).
    Refused {
        /// The peer.
        from: NodeId,
        /// What was wrong, for the operator.
        why: String,
    },
    /// A peer does not hear this node, whose disk is not that of the member of its name (rule R13).
    Disowned {
        /// The peer.
        by: NodeId,
    },
    /// The node can no longer take part safely: stop it and tell the operator.
    Halt(String),
}

impl<M: StateMachine> Output<M> {
    /// A frame that somebody waits for.
    pub(crate) fn urgent(to: NodeId, frame: Bytes) -> Self {
        Self::Frame {
            to,
            frame,
            can_wait: false,
        }
    }
}

/// What became of a proposal that was not applied here (rule R11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProposeFate {
    /// No leader took it in time: none was known, or it was handing over; surely not taken.
    NoLeader,
    /// The leader's disk did not keep up in time, and nobody else could lead; surely not taken.
    DiskSlow,
    /// Too many bytes wait to commit; surely not taken.
    Busy,
    /// Larger than the limit; surely not taken.
    TooLarge,
    /// A disk is full, this node's or the leader's, and the command can make the state larger; surely
    /// not taken.
    NoSpace,
    /// Another leader's entry was committed in its place: surely never applied.
    Lost,
    /// It may have been applied or may yet be: time ran out, or the link to the leader broke.
    Unknown,
}

/// What became of a change of members that is not known to be complete (rule R11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReconfigureFate {
    /// It did not begin; the reason says what to do.
    NotChanged(NotChanged),
    /// Another leader's entry was committed in its place: it surely never happens.
    Lost,
    /// It may have happened or may yet happen: time ran out. Look at the configuration.
    Unknown,
}

/// Why a transfer of leadership did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferFate {
    /// It was not begun.
    Refused(TransferRefused),
    /// It was begun, and failed.
    Failed {
        /// Who was to lead.
        to: NodeId,
        /// Why it does not, as far as this node knows.
        why: TransferFailed,
    },
}

/// Why a query has no answer; asking again is always safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadFate {
    /// No leader is known.
    NoLeader,
    /// The leader changed, or could not confirm that it leads.
    LeaderChanged,
    /// Too many queries wait.
    Busy,
    /// Time ran out.
    Timeout,
}

/// Numbers that shape a node. Durations in nanoseconds, sizes in bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The core's. A replica is one group, which does not rest.
    pub core: headwater_raft::Options,
    /// How long a request may wait for its outcome.
    pub request_timeout_ns: u64,
    /// The largest command.
    pub command_bytes_max: usize,
    /// Bytes of commands that wait here for a leader or its answer, and of entries not yet
    /// committed; beyond it proposals are refused as busy.
    pub uncommitted_bytes_max: u64,
    /// Queries that wait for a read, at most; beyond it they are refused as busy.
    pub queries_max: usize,
    /// Bytes of entries in one message to a peer, about.
    pub message_bytes_max: usize,
    /// Bytes sent to a peer but not yet acknowledged; beyond it no further message leaves.
    pub window_bytes_max: u64,
    /// Bytes of log since the last snapshot that make a new one worth it, if the state is smaller.
    pub snapshot_log_bytes: u64,
    /// Bytes of log kept behind a snapshot, so that a follower a little behind needs no snapshot.
    pub log_keep_bytes: u64,
    /// Bytes at the log's end that stay in memory, about; what is older, applied and durable is read back
    /// from the disk for a peer that needs it.
    pub log_memory_bytes: u64,
    /// Bytes of one snapshot chunk.
    pub chunk_bytes: usize,
    /// Bytes of its own snapshots that a node writes in a second, about; zero for no bound. Where the
    /// disk is full or a file damaged there is none.
    pub snapshot_write_bytes_per_second: u64,
    /// Bytes of snapshots that a leader sends in a second to all its followers together, about; zero
    /// for no bound. Doubled whenever the log has outrun a snapshot before that was installed.
    pub snapshot_send_bytes_per_second: u64,
    /// Bytes set aside on the disk for a snapshot that finds no other room; zero for none.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        const MILLISECOND: u64 = 1_000_000;
        const MIB: u64 = 1 << 20;
        Self {
            core: headwater_raft::Options::default(),
            request_timeout_ns: 7000 * MILLISECOND,
            command_bytes_max: 2 << 20,
            uncommitted_bytes_max: 64 * MIB,
            queries_max: 65_536,
            message_bytes_max: 1 << 20,
            window_bytes_max: 8 * MIB,
            snapshot_log_bytes: 128 * MIB,
            log_keep_bytes: 8 * MIB,
            log_memory_bytes: 16 * MIB,
            chunk_bytes: 256 << 10,
            snapshot_write_bytes_per_second: 32 * MIB,
            snapshot_send_bytes_per_second: 64 * MIB,
            reserve_bytes: 0,
        }
    }
}

/// How a node is, with counters since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its term.
    pub term: Term,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
    /// `leader`, `follower`, `candidate` or `pre-candidate`.
    pub role: &'static str,
    /// The last entry in the log.
    pub last: LogId,
    /// The commit index.
    pub commit: Index,
    /// The last entry applied.
    pub applied: Index,
    /// The last entry that the newest snapshot covers.
    pub snapshot: LogId,
    /// How many entries of the log this node's disk cannot give back, until others have.
    pub unreadable: u64,
    /// How many it has got back from others in this life.
    pub repaired: u64,
    /// Clients' proposals accepted since the start, each counted once.
    pub proposals: u64,
    /// Proposals that ended otherwise than applied.
    pub proposals_failed: u64,
    /// Proposals without an outcome yet.
    pub proposals_pending: u64,
    /// Leader changes seen.
    pub leader_changes: u64,
    /// Whether its disk has no room: it refuses what can make the state larger.
    pub short_of_space: bool,
}
