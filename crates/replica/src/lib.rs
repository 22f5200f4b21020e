//! One Raft node without an operating system.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod checksum;
pub mod entry;
pub mod identity;
pub mod machine;
pub mod port;
pub mod record;
pub mod recovery;
mod replay;
pub mod replica;
mod runs;
pub mod snapshot_file;
mod snapshot_record;
pub mod wal;

pub use entry::{Entry, EntryKind, Identity, LogOrder, LogWrite, RecoveredLog, SnapshotMeta};
pub use machine::{Malformed, StateMachine};
pub use port::{Disk, DiskError, DiskErrorKind};
