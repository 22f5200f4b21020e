//! What can come into the loop, from clients, peers, disks and whoever stops it.
//! Never says in what order: that is the inbox's.
//!
//! # Source
//! ARCHITECTURE.md, "The driver and its three doors".

use bytes::Bytes;
use headwater_raft::{NodeId, ReadLevel, WriteId};
use headwater_replica::StateMachine;
use headwater_replica::interface::MemberChange;
use headwater_replica::snapshot_file::FileDone;

use crate::handle::PeerAddress;
use crate::link::PeerEvent;
use crate::outcome::{ProposalOutcome, QueryOutcome, ReconfigureOutcome, TransferOutcome};

/// Clients' requests that may wait for the loop; more are refused as busy.
pub const REQUESTS_QUEUED_MAX: usize = 64 << 10;

/// Requests that may wait for their outcome; more are refused as busy.
pub const REQUESTS_PENDING_MAX: usize = 256 << 10;

/// What can come into the loop.
pub enum Event<M: StateMachine> {
    /// A client's command.
    Propose(Bytes, ProposalOutcome<M::Reply>),
    /// A client's question, and how fresh its answer must be.
    Query(M::Query, Option<ReadLevel>, QueryOutcome<M::Answer>),
    /// A client's change of members.
    Reconfigure(MemberChange, ReconfigureOutcome),
    /// Where a node listens that is or will be a peer.
    PeerAddress(NodeId, PeerAddress),
    /// A node that was a peer may not connect any more.
    Refuse(NodeId),
    /// What is told to whoever asks who is here.
    Card(Bytes),
    /// This node is to hand its leadership over, to this one or to the best.
    Transfer(Option<NodeId>, TransferOutcome),
    /// A note to the company of a peer.
    Note(NodeId, u64, Bytes),
    /// News of a peer.
    Peer(PeerEvent),
    /// The log is durable up to here.
    LogDone(WriteId),
    /// The log's disk has no room for the next segment, or has it again.
    LogSpace(bool),
    /// The snapshot worker answers.
    FileDone(FileDone<M>),
    /// A disk thread has given up.
    WorkerFailed(String),
    /// The node is to stop.
    Shutdown,
}
