//! What an embedder holds: start a node, propose, query, ask how it is, stop it.
//! Never decides anything: it passes questions to the one loop and waits for answers.
//!
//! # Source
//! Dissertation §6 (client interaction).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_raft::{
    Config, Incarnation, Index, LogId, NodeId, NotChanged, ReadLevel as CoreLevel, Term,
};
use headwater_replica::StateMachine;
use headwater_replica::framing::FRAME_BYTES_MAX;
use headwater_replica::interface::MemberChange;
use tokio::sync::{oneshot, watch};

use crate::company::Company;
use crate::counters::{Counters, TimeCounts};
use crate::event::Event;
use crate::inbox::{Inbox, Refused};
use crate::name::Names;
use crate::peer_counters::PeerCounts;
use crate::recorder::FlightRecorder;
use crate::status::StatusCell;
use crate::tls::TlsSource;

/// Where a peer listens: `host:port`, resolved anew at each attempt to connect; `tls://host:port`
/// where it speaks TLS.
pub type PeerAddress = String;

/// What a frame holds beside its largest command, at most: other entries up to the size of one
/// message, and heads.
const FRAME_BYTES_BESIDE: usize = 4 << 20;

/// The most that [`NodeConfig::command_bytes_max`] may be: a command must fit into one frame.
pub const COMMAND_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_BYTES_BESIDE;

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
    /// Whether an empty data directory is that of a node that joins a running cluster: it knows no
    /// voters, and waits to hear from a leader who is in the cluster. `members` then names those
    /// through whom it can be reached.
    pub joins: bool,
    /// What log lines call the members beside their ids; may be empty.
    pub names: Names,
    /// Where to listen for peers; none for a cluster of one.
    pub listen_peer: Vec<SocketAddr>,
    /// Where to listen for peers that speak TLS.
    pub listen_peer_tls: Vec<SocketAddr>,
    /// Certificates for TLS, if it is spoken anywhere.
    pub tls: Option<TlsSource>,
    /// The data directory; created if missing, locked while the node runs.
    pub data_dir: PathBuf,
    /// How often a leader makes itself heard.
    pub heartbeat: Duration,
    /// The least silence after which a follower asks for an election; the most is twice this.
    pub election: Duration,
    /// The age of a write under way from which the disk counts as slow: the node then takes no
    /// commands as a leader and hands over to one that keeps up, and does not stand for election.
    /// Well above what a sync takes and below `election`, of which it is half unless set;
    /// [`Duration::MAX`]: never.
    pub disk_slow: Option<Duration>,
    /// How early this node stands for election against the others: with 255 as early as it may,
    /// with 0 up to an election timeout later, so that it leads only if no other can.
    pub priority: u8,
    /// Leases: off without a number. With one, members' clocks may differ in speed by so many
    /// millionths, and none may stop while its machine sleeps. See
    /// [`headwater_raft::Options::lease_drift_ppm`] for the price, and for how to switch them off.
    pub lease_drift_ppm: Option<u32>,
    /// Bytes of log after which a snapshot is taken, if the state is smaller than the log.
    pub snapshot_log_bytes: u64,
    /// How many snapshots are kept, the newest ones; zero: all. With one, nothing stands in for it when
    /// the disk damages it.
    pub snapshots_kept: usize,
    /// Bytes a second, about, of this node's own snapshots, so that the log's syncs do not wait for
    /// them; zero: as many as the disk takes.
    pub snapshot_write_bytes_per_second: u64,
    /// Bytes a second, about, of snapshots that this node sends as a leader, to all followers together;
    /// zero: as many as the network takes. Doubled whenever a follower has installed one and lacks
    /// what the log has forgotten meanwhile.
    pub snapshot_send_bytes_per_second: u64,
    /// Bytes of one log segment.
    pub segment_bytes: u64,
    /// Bytes set aside on the disk for the snapshot that makes room when the disk is full; zero for
    /// none.
    pub disk_reserve_bytes: u64,
    /// Bytes a second of files at rest (log segments, snapshots) that are read again, for what the disk
    /// has lost of them; zero: none.
    pub scrub_bytes_per_second: u64,
    /// The largest command accepted; [`COMMAND_BYTES_MAX`] at most.
    pub command_bytes_max: usize,
    /// How long a request may wait for its outcome.
    pub request_timeout: Duration,
    /// Where a record of the node's run goes, if one is wanted. It costs a turn a write to the file,
    /// and its reader is `cargo xtask spec trace`.
    pub flight_recorder: Option<FlightRecorder>,
}

impl NodeConfig {
    /// A cluster of one, with the usual timings and sizes; change what is different.
    pub fn new(cluster: u64, node: NodeId, data_dir: PathBuf) -> Self {
        Self {
            cluster,
            node,
            members: BTreeMap::from([(node, String::new())]),
            joins: false,
            names: Names::default(),
            listen_peer: Vec::new(),
            listen_peer_tls: Vec::new(),
            tls: None,
            data_dir,
            heartbeat: Duration::from_millis(100),
            election: Duration::from_millis(1000),
            disk_slow: None,
            priority: u8::MAX,
            lease_drift_ppm: None,
            snapshot_log_bytes: 128 << 20,
            snapshots_kept: 2,
            snapshot_write_bytes_per_second: 32 << 20,
            snapshot_send_bytes_per_second: 64 << 20,
            segment_bytes: 64 << 20,
            disk_reserve_bytes: 0,
            scrub_bytes_per_second: 1 << 20,
            command_bytes_max: 2 << 20,
            request_timeout: Duration::from_secs(7),
            flight_recorder: None,
        }
    }
}

/// A running node. Cheap to clone; the node stops when [`Handle::shutdown`] is called, or when the
/// last handle is dropped.
pub struct Handle<M: StateMachine> {
    node: Arc<Owned<M>>,
}

/// What all handles of a node share.
struct Owned<M: StateMachine> {
    shared: Shared<M>,
}

/// The loop's side of a handle.
pub(crate) struct Shared<M: StateMachine> {
    pub(crate) node: NodeId,
    pub(crate) cluster: u64,
    pub(crate) disk: Incarnation,
    pub(crate) command_bytes_max: usize,
    pub(crate) inbox: Arc<Inbox<Event<M>>>,
    pub(crate) status: Arc<StatusCell>,
    pub(crate) members: watch::Receiver<Config>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stopped: watch::Receiver<Option<StopReason>>,
}

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
        }
    }
}

impl<M: StateMachine> Drop for Owned<M> {
    fn drop(&mut self) {
        // Nobody could ever stop it after this.
        self.shared.inbox.put(Event::Shutdown);
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
    /// The same, so long as the members' clocks keep within [`NodeConfig::lease_drift_ppm`]: a
    /// leader with a lease answers without asking the others. Linearizable when leases are off.
    Lease,
    /// As of some moment that is no further back, by this node's own clock, and never older than
    /// what a query of this level here saw before. Needs no leader if something so recent is known
    /// here.
    Bounded {
        /// How far back.
        max_lag: Duration,
    },
    /// Whatever this node has applied; may be stale.
    Local,
}

impl ReadLevel {
    /// What the core calls it; of what is local it knows nothing.
    pub(crate) fn core(self) -> Option<CoreLevel> {
        match self {
            ReadLevel::Linearizable => Some(CoreLevel::Linearizable),
            ReadLevel::Lease => Some(CoreLevel::Lease),
            ReadLevel::Bounded { max_lag } => {
                let max_lag_ns = u64::try_from(max_lag.as_nanos()).unwrap_or(u64::MAX);
                Some(CoreLevel::Bounded { max_lag_ns })
            }
            ReadLevel::Local => None,
        }
    }
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
    /// Its role, in a word: `leader`, `follower`, `candidate`, `pre-candidate`, or `stopped`.
    pub role: &'static str,
    /// The last entry in its log.
    pub last: LogId,
    /// The last entry it knows to be committed.
    pub commit: Index,
    /// The last entry it has applied.
    pub applied: Index,
    /// Whether its disk has no room: it refuses commands that can make the state larger.
    pub short_of_space: bool,
    /// Counters since the start, by name, for metrics.
    pub counters: BTreeMap<&'static str, u64>,
    /// How long things took since then, by name.
    pub times: BTreeMap<&'static str, TimeCounts>,
    /// What is counted of each node that was a peer since then.
    pub peers: BTreeMap<NodeId, PeerCounts>,
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
    /// The data directory is none, or holds files of somebody else.
    #[error("{0}")]
    Occupied(String),
    /// The data directory cannot be used.
    #[error("{0}")]
    Disk(String),
    /// The log or a snapshot is damaged.
    #[error("{0}")]
    Damaged(String),
    /// A later version of this program wrote the data directory.
    #[error("{0}")]
    NewerFormat(String),
    /// The peer address is taken or not ours.
    #[error("cannot listen for peers on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// There can be no record of the run.
    #[error("cannot write the flight recorder's file {0}: {1}")]
    Record(PathBuf, std::io::Error),
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(String),
}

/// Why a proposal has no outcome.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// No leader took the command in time: none was known, or it was handing over. It was surely
    /// not taken.
    #[error("no leader")]
    NoLeader,
    /// The leader's disk does not keep up and no other node could lead; the command was surely not
    /// taken.
    #[error("the leader's disk is slow")]
    DiskSlow,
    /// Too much waits already; the command was surely not taken.
    #[error("too many requests")]
    Busy,
    /// A disk is full, this node's or the leader's, and the command can make the state larger; it was
    /// surely not taken.
    #[error("no space left on the disk")]
    NoSpace,
    /// The command, of so many bytes, is larger than [`NodeConfig::command_bytes_max`]; it was surely not
    /// taken.
    #[error("command of {0} bytes is too large: NodeConfig::command_bytes_max is the limit")]
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

/// Why leadership was not handed over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Another node leads, or none: ask there.
    #[error("not the leader")]
    NotLeader(Option<NodeId>),
    /// The target has no vote in this cluster.
    #[error("no voter of this cluster")]
    NotVoter,
    /// The target is this node, which leads already.
    #[error("leads already")]
    Itself,
    /// Another transfer is under way, to this node.
    #[error("a transfer to node {0:x} is under way")]
    UnderWay(u64),
    /// No other voter is heard and has a disk that keeps up.
    #[error("no other node is fit to lead")]
    NobodyFit,
    /// The target did not take over within an election timeout, or may no longer: this node leads
    /// on. The target may still win an election it was asked for.
    #[error("the target did not take over")]
    TimedOut,
    /// This node lost its leadership meanwhile, to nobody it knows of.
    #[error("leadership lost")]
    LeadershipLost,
    /// Too much waits already.
    #[error("too many requests")]
    Busy,
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

/// Why a change of members is not known to be complete.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconfigureError {
    /// It did not begin: the reason says what to do.
    #[error("nothing was changed: {0}")]
    NotChanged(NotChanged),
    /// It gave way to a newer leader's entry: it surely never happens.
    #[error("lost to a newer leader")]
    Lost,
    /// It may have happened, or may yet: look at [`Handle::members`].
    #[error("outcome unknown: time ran out")]
    Unknown,
    /// Too much waits already; nothing was changed.
    #[error("too many requests")]
    Busy,
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
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        Self::start_with(config, Box::new(())).await
    }

    /// The same, with company beside the machine.
    ///
    /// # Errors
    /// As [`Handle::start`].
    pub async fn start_with(
        config: NodeConfig,
        company: Box<dyn Company<M>>,
    ) -> Result<Self, StartError> {
        let shared = crate::start::start(config, company).await?;
        Ok(Self {
            node: Arc::new(Owned { shared }),
        })
    }

    /// Proposes a command; from a follower it is forwarded. Returns once the command is committed
    /// and applied here. Dropping the future before that leaves the outcome open.
    ///
    /// # Errors
    /// See [`ProposeError`]: only `Unknown` leaves the outcome open.
    pub async fn propose(&self, command: Bytes) -> Result<Applied<M::Reply>, ProposeError> {
        let shared = &self.node.shared;
        if command.len() > shared.command_bytes_max {
            return Err(ProposeError::TooLarge(command.len()));
        }
        let (outcome, answer) = oneshot::channel();
        shared
            .inbox
            .offer(Event::Propose(command, outcome))
            .map_err(|(refused, _)| match refused {
                Refused::Full => ProposeError::Busy,
                Refused::Closed => ProposeError::Stopped,
            })?;
        answer
            .await
            .unwrap_or(Err(ProposeError::Unknown("the node stopped")))
    }

    /// Answers a query at the asked level. It is asked at once; the future is for the answer alone, and
    /// so no larger where queries are.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn query(
        &self,
        query: M::Query,
        level: ReadLevel,
    ) -> impl Future<Output = Result<M::Answer, ReadError>> + use<M> {
        let (outcome, answer) = oneshot::channel();
        let inbox = &self.node.shared.inbox;
        let asked = inbox.offer(Event::Query(query, level.core(), outcome));
        let asked = asked.map_err(|(refused, _)| match refused {
            Refused::Full => ReadError::Busy,
            Refused::Closed => ReadError::Stopped,
        });
        async move {
            asked?;
            answer.await.unwrap_or(Err(ReadError::Stopped))
        }
    }

    /// The incarnation of the data directory.
    pub fn disk(&self) -> Incarnation {
        self.node.shared.disk
    }

    /// The configuration in force here, as of the last turn. A node that does not find itself in it
    /// has been removed and can be shut down; its requests find no leader. One that has just been
    /// started to join finds nobody until it has heard a leader.
    pub fn members(&self) -> Config {
        self.node.shared.members.borrow().clone()
    }

    /// Changes who takes part; only the leader can. Returns once `target` is in force and committed.
    /// Nodes that are *joining* in it learn by then and vote later, once they have caught up: look at
    /// [`Handle::members`].
    ///
    /// `expect`: the members the caller believes in, as [`Handle::members`] has them;
    /// `target`: the members to have; `force`: even if fewer than a majority of the new voters
    /// answer now.
    ///
    /// A node that is new and a voter at once, rather than by way of joining, has no disk that the configuration
    /// names until it has acknowledged that; until then nobody who has missed the change hears it, and if others
    /// are lost meanwhile it may be the only one fit to lead.
    ///
    /// Before a node is added, every member must know where it listens: see
    /// [`Handle::set_peer_address`]. To replace a node that still works, add the new one first and
    /// remove the old one once the new one votes: until then the cluster has a voter less, and of
    /// three the two that are left must both live.
    ///
    /// # Errors
    /// See [`ReconfigureError`].
    pub async fn reconfigure(
        &self,
        expect: Config,
        target: Config,
        force: bool,
    ) -> Result<(), ReconfigureError> {
        self.reconfigure_telling(expect, target, force, Bytes::new())
            .await
    }

    /// The same, with a command for the state machine in the entry that begins the change: both
    /// happen or neither does. What the machine replies to it is lost.
    ///
    /// # Errors
    /// See [`ReconfigureError`].
    pub async fn reconfigure_telling(
        &self,
        expect: Config,
        target: Config,
        force: bool,
        command: Bytes,
    ) -> Result<(), ReconfigureError> {
        let (outcome, answer) = oneshot::channel();
        let change = MemberChange {
            expect,
            target,
            force,
            command,
        };
        self.node
            .shared
            .inbox
            .offer(Event::Reconfigure(change, outcome))
            .map_err(|(refused, _)| match refused {
                Refused::Full => ReconfigureError::Busy,
                Refused::Closed => ReconfigureError::Stopped,
            })?;
        answer.await.unwrap_or(Err(ReconfigureError::Stopped))
    }

    /// Tells this node where a peer listens, or a node that is to become one.
    pub fn set_peer_address(&self, peer: NodeId, address: PeerAddress) {
        let inbox = &self.node.shared.inbox;
        inbox.put(Event::PeerAddress(peer, address));
    }

    /// Hands leadership over to `to`, or without a name to the voter that is best placed: heard,
    /// its disk quick, and with the most of the log. Only the leader can; returns the target once
    /// this node has given way to a newer term, most likely the target's, and within an election
    /// timeout in any case. Commands that come meanwhile wait for the next leader.
    ///
    /// Before maintenance: call it on the node to be stopped, then [`Handle::shutdown`].
    ///
    /// # Errors
    /// See [`TransferError`]: but for `LeadershipLost` and `Stopped`, this node then leads on, or
    /// never led.
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let (outcome, answer) = oneshot::channel();
        self.node
            .shared
            .inbox
            .offer(Event::Transfer(to, outcome))
            .map_err(|(refused, _)| match refused {
                Refused::Full => TransferError::Busy,
                Refused::Closed => TransferError::Stopped,
            })?;
        answer.await.unwrap_or(Err(TransferError::Stopped))
    }

    /// Has the loop make a turn, although nothing arrived: the company has been called.
    pub fn wake(&self) {
        self.node.shared.inbox.wake();
    }

    /// Says something to the company of a peer, if there is a connection: it is lost with that. Its
    /// number and its bytes mean what the companies agree on.
    ///
    /// # Panics
    /// If there are more bytes than [`COMMAND_BYTES_MAX`]: a note must fit into a frame.
    pub fn note(&self, to: NodeId, number: u64, bytes: Bytes) {
        assert!(bytes.len() <= COMMAND_BYTES_MAX, "a note is too long");
        let inbox = &self.node.shared.inbox;
        inbox.put(Event::Note(to, number, bytes));
    }

    /// How the node was at the end of its last turn; never waits.
    pub fn status(&self) -> Status {
        let shared = &self.node.shared;
        let replica = shared.status.read();
        let mut counters = shared.counters.by_name();
        counters.extend([
            ("proposals", replica.proposals),
            ("proposals_failed", replica.proposals_failed),
            ("proposals_pending", replica.proposals_pending),
            ("leader_changes", replica.leader_changes),
            ("snapshot_index", replica.snapshot.index.0),
            ("unreadable", replica.unreadable),
            ("repaired", replica.repaired),
            ("short_of_space", replica.short_of_space.into()),
        ]);
        Status {
            node: shared.node,
            cluster: shared.cluster,
            term: replica.term,
            leader: replica.leader,
            role: replica.role,
            last: replica.last,
            commit: replica.commit,
            applied: replica.applied,
            short_of_space: replica.short_of_space,
            counters,
            times: shared.counters.times(),
            peers: shared.counters.peers.now(),
        }
    }

    /// The term of [`Handle::status`], without the cost of the counters.
    pub fn term(&self) -> Term {
        self.node.shared.status.read().term
    }

    /// The leader of [`Handle::status`], without the cost of the counters.
    pub fn leader(&self) -> Option<NodeId> {
        self.node.shared.status.read().leader
    }

    /// Stops taking requests, finishes what is being written, closes the files; returns when all
    /// that is done. The data directory can then be opened again.
    pub async fn shutdown(&self) {
        self.node.shared.inbox.put(Event::Shutdown);
        self.stopped().await;
    }

    /// Waits until the node has stopped, and says why.
    pub async fn stopped(&self) -> StopReason {
        let mut stopped = self.node.shared.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().expect("waited for it"),
            Err(_) => StopReason::Halted("the tokio runtime that ran the node is gone".into()),
        }
    }
}
