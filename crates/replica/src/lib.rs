//! One Raft node without an operating system.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bodies;
pub mod checksum;
mod codec;
pub mod entry;
pub mod identity;
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

pub use codec::message_of;
pub use entry::{Entry, EntryKind, Identity, LogOrder, LogWrite, RecoveredLog, SnapshotMeta};
pub use machine::{Malformed, StateMachine};
pub use port::{Disk, DiskError, DiskErrorKind};
