//! Snapshot files: orders to write, receive, serve and load them, and the worker that obeys.
//! Never decides when: the replica does.
//!
//! # Source
//! Raft paper §7, Figure 13; dissertation §5.1, §5.4.

use alloc::string::String;
use bytes::Bytes;
use headwater_raft::{LogId, NodeId};

use crate::entry::SnapshotMeta;

/// One order to the snapshot worker; carried out in the order given, apart from the log.
#[derive(Clone, Debug)]
pub enum FileOrder {
    /// Start writing an own snapshot (any unfinished one is dropped).
    Begin(SnapshotMeta),
    /// The next chunk of the own snapshot, as the state machine gave it. Answer:
    /// [`FileDone::Wrote`].
    Chunk(Bytes),
    /// The own snapshot is whole: make it durable, drop older ones. Answer: [`FileDone::Taken`].
    Finish,
    /// Bytes of a leader's snapshot file, from `offset`; offset 0 starts the file anew, any other
    /// offset must be where the file ends so far (else the order is ignored and answered with
    /// where it ends). Answer: [`FileDone::Received`], and once `offset + bytes` reaches
    /// `total_bytes`, the file is checked, made durable, its state machine loaded:
    /// [`FileDone::Loaded`] or [`FileDone::Refused`].
    Receive {
        /// What the snapshot covers.
        base: LogId,
        /// The file's whole size.
        total_bytes: u64,
        /// Where `bytes` go.
        offset: u64,
        /// A piece of the file.
        bytes: Bytes,
    },
    /// Read a piece of the newest own snapshot file for a follower. Answer: [`FileDone::Piece`].
    Read {
        /// For whom.
        to: NodeId,
        /// Which snapshot the follower has begun to receive; `None` to start with the newest.
        base: Option<LogId>,
        /// From where.
        offset: u64,
        /// How much at most.
        len: usize,
    },
}

/// What the snapshot worker did.
#[derive(Debug)]
pub enum FileDone<M> {
    /// A chunk of the own snapshot is written, not yet durable: room for the next.
    Wrote,
    /// An own snapshot is durable.
    Taken(SnapshotMeta),
    /// A received snapshot has grown to `upto` bytes.
    Received {
        /// Which.
        base: LogId,
        /// Its size so far.
        upto: u64,
    },
    /// A received snapshot is whole, checked, durable, and loaded.
    Loaded {
        /// What it covers.
        meta: SnapshotMeta,
        /// The state machine in it.
        machine: M,
    },
    /// A received snapshot was not what it should be and has been dropped.
    Refused {
        /// Which.
        base: LogId,
        /// What was wrong with it.
        why: String,
    },
    /// A piece of an own snapshot, to be sent.
    Piece {
        /// To whom.
        to: NodeId,
        /// Of which snapshot; may be newer than the one asked for, then `offset` is 0.
        base: LogId,
        /// The file's whole size.
        total_bytes: u64,
        /// From where.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
}
