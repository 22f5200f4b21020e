//! Outcomes on their way back: who waits for one, and what a replica's fates are called outside.
//! Never invents one: each comes from the replica, or the node has stopped.
//!
//! # Source
//! ARCHITECTURE.md, "The rules": R11 (exactly one typed outcome).

use headwater_raft::{NodeId, TransferFailed, TransferRefused};
use headwater_replica::StateMachine;
use headwater_replica::interface::{ProposeFate, ReadFate, ReconfigureFate, TransferFate};
use tokio::sync::oneshot;

use crate::handle::{Applied, ProposeError, ReadError, ReconfigureError, TransferError};

/// A proposal's way back to its client.
pub type ProposalOutcome<R> = oneshot::Sender<Result<Applied<R>, ProposeError>>;

/// A query's way back to its client.
pub type QueryOutcome<A> = oneshot::Sender<Result<A, ReadError>>;

/// The way back to who asked for a change of members.
pub type ReconfigureOutcome = oneshot::Sender<Result<(), ReconfigureError>>;

/// A transfer's way back to who asked for it.
pub type TransferOutcome = oneshot::Sender<Result<NodeId, TransferError>>;

/// Who waits for an outcome.
pub(crate) enum Pending<M: StateMachine> {
    /// A proposal, of so many bytes.
    Proposal(usize, ProposalOutcome<M::Reply>),
    /// A query.
    Query(QueryOutcome<M::Answer>),
    /// A change of members.
    Reconfigure(ReconfigureOutcome),
    /// A transfer.
    Transfer(TransferOutcome),
}

/// Why a proposal of so many bytes was not applied here.
pub(crate) fn propose_error(fate: ProposeFate, bytes: usize) -> ProposeError {
    match fate {
        ProposeFate::NoLeader => ProposeError::NoLeader,
        ProposeFate::DiskSlow => ProposeError::DiskSlow,
        ProposeFate::Busy => ProposeError::Busy,
        ProposeFate::NoSpace => ProposeError::NoSpace,
        ProposeFate::TooLarge => ProposeError::TooLarge(bytes),
        ProposeFate::Lost => ProposeError::Lost,
        ProposeFate::Unknown => ProposeError::Unknown("time ran out, or the leader was lost"),
    }
}

/// Why a query has no answer.
pub(crate) fn read_error(fate: ReadFate) -> ReadError {
    match fate {
        ReadFate::NoLeader => ReadError::NoLeader,
        ReadFate::LeaderChanged => ReadError::LeaderChanged,
        ReadFate::Busy => ReadError::Busy,
        ReadFate::Timeout => ReadError::Timeout,
    }
}

/// Why a change of members is not known to be complete.
pub(crate) fn reconfigure_error(fate: ReconfigureFate) -> ReconfigureError {
    match fate {
        ReconfigureFate::NotChanged(why) => ReconfigureError::NotChanged(why),
        ReconfigureFate::Lost => ReconfigureError::Lost,
        ReconfigureFate::Unknown => ReconfigureError::Unknown,
    }
}

/// Why leadership was not handed over.
pub(crate) fn transfer_error(fate: TransferFate) -> TransferError {
    match fate {
        TransferFate::Refused(TransferRefused::NotLeader { leader }) => {
            TransferError::NotLeader(leader)
        }
        TransferFate::Refused(TransferRefused::NotVoter) => TransferError::NotVoter,
        TransferFate::Refused(TransferRefused::Itself) => TransferError::Itself,
        TransferFate::Refused(TransferRefused::UnderWay { to }) => TransferError::UnderWay(to.0),
        TransferFate::Refused(TransferRefused::NobodyFit) => TransferError::NobodyFit,
        // A halted node stops.
        TransferFate::Refused(_) => TransferError::Stopped,
        TransferFate::Failed { why, .. } => match why {
            TransferFailed::LeadershipLost => TransferError::LeadershipLost,
            _ => TransferError::TimedOut,
        },
    }
}
