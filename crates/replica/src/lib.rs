//! One Raft node without an operating system.
//!
//! [`replica::Replica`] drives the core of `headwater-raft` and, like it, never waits: inputs in,
//! outputs out. The [`wal`] and the [`snapshot_file`] worker take orders as data and carry them
//! out on a [`Disk`] that the world provides. [`recovery::open`] turns a directory back into a
//! node. [`StateMachine`] is what an embedder writes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bodies;
pub mod checksum;
mod codec;
pub mod entry;
pub mod identity;
mod intake;
pub mod interface;
pub mod machine;
pub mod port;
pub mod record;
pub mod recovery;
mod replay;
pub mod replica;
mod request;
mod runs;
pub mod snapshot_file;
mod snapshot_record;
mod snapshots;
pub mod wal;

/// What [`StateMachine::apply`] is told: an entry's place in the log.
pub use headwater_raft::LogId;

pub use codec::message_of;
pub use entry::{Entry, EntryKind, Identity, LogOrder, LogWrite, SnapshotMeta};
pub use machine::{Malformed, StateMachine};
pub use port::{Disk, DiskError, DiskErrorKind};
