//! What an embedder holds: start a node, propose, query, ask how it is, stop it.
//! Never decides anything: it passes questions to the one loop and waits for answers.
//!
//! # Source
//! Dissertation §6 (client interaction).

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use headwater_raft::{Index, LogId, NodeId, Term};
use headwater_replica::StateMachine;

/// Where a peer listens: `host:port`, resolved anew at each attempt to connect.
pub type PeerAddress = String;

/// What one node needs to know to start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The cluster's id: equal on all members, checked on every connection and file.
    pub cluster: u64,
    /// This node.
    pub node: NodeId,
    /// The voters of a new cluster, this node among them, and where each listens for peers.
    /// Used when the data directory is empty; afterwards only the addresses matter.
    pub members: BTreeMap<NodeId, PeerAddress>,
    /// Where to listen for peers; none for a cluster of one.
    pub listen_peer: Vec<SocketAddr>,
    /// The data directory; created if missing, locked while the node runs.
    pub data_dir: PathBuf,
    /// How often a leader makes itself heard.
    pub heartbeat: Duration,
    /// The least silence after which a follower asks for an election; the most is twice this.
    pub election: Duration,
    /// Bytes of log after which a snapshot is taken, if the state is smaller than the log.
    pub snapshot_log_bytes: u64,
    /// Bytes of one log segment.
    pub segment_bytes: u64,
    /// The largest command accepted.
    pub command_bytes_max: usize,
    /// How long a request may wait for its outcome.
    pub request_timeout: Duration,
}

/// A running node. Cheap to clone; the node stops when [`Handle::shutdown`] is called.
pub struct Handle<M: StateMachine> {
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self {
            machine: PhantomData,
        }
    }
}

/// A command's place in the log, and what the state machine said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied<R> {
    /// Where it stands.
    pub at: LogId,
    /// The state machine's reply.
    pub reply: R,
}

/// How fresh a query's answer must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadLevel {
    /// As if all clients shared one machine.
    Linearizable,
    /// Whatever this node has applied; may be stale.
    Local,
}

/// How a node is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: u64,
    /// Its term.
    pub term: Term,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
    /// Its role, in a word: `leader`, `follower`, `candidate`, `pre-candidate`.
    pub role: &'static str,
    /// The last entry in its log.
    pub last: LogId,
    /// The last entry it knows to be committed.
    pub commit: Index,
    /// The last entry it has applied.
    pub applied: Index,
    /// Counters since the start, by name, for metrics.
    pub counters: BTreeMap<&'static str, u64>,
}

/// Why a node did not start; nothing was changed that a second try would trip over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another process uses the data directory.
    #[error("data directory {0} is in use by another process")]
    Locked(PathBuf),
    /// The data directory is not this node's.
    #[error("{0}")]
    ForeignData(String),
    /// The data directory cannot be used.
    #[error("{0}")]
    Disk(String),
    /// The log or a snapshot is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The peer address is taken or not ours.
    #[error("cannot listen for peers on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(String),
}

/// Why a proposal has no outcome.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// No leader is known; the command was surely not taken.
    #[error("no leader")]
    NoLeader,
    /// Too much waits already; the command was surely not taken.
    #[error("too many requests")]
    Busy,
    /// The command is larger than the limit; it was surely not taken.
    #[error("command of {0} bytes is too large")]
    TooLarge(usize),
    /// The command's entry was replaced by another leader's: it was surely not and never will be
    /// applied.
    #[error("lost to a newer leader")]
    Lost,
    /// The outcome is not known: it may have been applied, or may yet be.
    #[error("outcome unknown: {0}")]
    Unknown(&'static str),
    /// The node is stopping.
    #[error("node stopped")]
    Stopped,
}

/// Why a query has no answer; asking again is always safe.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// The leader changed while the query waited.
    #[error("leader changed")]
    LeaderChanged,
    /// Too much waits already.
    #[error("too many requests")]
    Busy,
    /// The leader could not be confirmed in time.
    #[error("timed out")]
    Timeout,
    /// The node is stopping.
    #[error("node stopped")]
    Stopped,
}

/// Why a node no longer runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// It was asked to.
    Shutdown,
    /// It could not go on safely: what happened, for the operator.
    Halted(String),
}

impl<M: StateMachine> Handle<M> {
    /// Opens the data directory, recovers, and runs the node on the current tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`]; the text names the directory or address and what to do.
    pub async fn start(_config: NodeConfig) -> Result<Self, StartError> {
        unimplemented!()
    }

    /// Proposes a command; from a follower it is forwarded. Returns once the command is committed
    /// and applied here.
    ///
    /// # Errors
    /// See [`ProposeError`]: only `Unknown` leaves the outcome open.
    pub async fn propose(&self, _command: Bytes) -> Result<Applied<M::Reply>, ProposeError> {
        unimplemented!()
    }

    /// Answers a query at the asked level.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn query(&self, _query: M::Query, _level: ReadLevel) -> Result<M::Answer, ReadError> {
        unimplemented!()
    }

    /// How the node was at the end of its last turn; never waits.
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// Stops taking requests, finishes what is being written, closes the files.
    pub async fn shutdown(&self) {
        unimplemented!()
    }

    /// Waits until the node has stopped, and says why.
    pub async fn stopped(&self) -> StopReason {
        unimplemented!()
    }
}
