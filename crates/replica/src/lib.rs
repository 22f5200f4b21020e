//! One Raft node without an operating system.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bodies;
pub mod checksum;
mod codec;
pub mod entry;
pub mod interface;
pub mod machine;
pub mod port;
pub mod record;
pub mod recovery;
pub mod replica;
mod request;
pub mod snapshot_file;
mod snapshots;

pub use entry::{Entry, EntryKind, Identity, LogOrder, LogWrite, RecoveredLog, SnapshotMeta};
pub use machine::{Malformed, StateMachine};
pub use port::{Disk, DiskError, DiskErrorKind};
