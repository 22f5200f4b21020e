//! One Raft node without an operating system.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod checksum;
pub mod entry;
pub mod machine;
pub mod port;
pub mod recovery;
pub mod replica;
pub mod snapshot_file;

pub use entry::{Entry, EntryKind, Identity, LogOrder, LogWrite, RecoveredLog, SnapshotMeta};
pub use machine::{Malformed, StateMachine};
pub use port::{Disk, DiskError, DiskErrorKind};
