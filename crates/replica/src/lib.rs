//! One Raft node without an operating system.
//!
//! [`replica::Replica`] drives the core of `headwater-raft` and, like it, never waits: inputs in,
//! outputs out. The [`wal`] and the [`snapshot_file`] worker take orders as data and carry them
//! out on a [`Disk`] that the world provides. [`recovery::open`] turns a directory back into a
//! node. [`StateMachine`] is what an embedder writes.
//!
//! | room | what it is |
//! |---|---|
//! | [`port`], [`machine`] | the doors to the world, and to the embedder's state |
//! | [`calls`] | the core, and what it was asked, for whoever looks on |
//! | [`telling`] | how a run of a node is written down |
//! | [`interface`] | inputs, outputs, outcomes, options |
//! | [`replica`] | the driver: turns, and what the core's effects become |
//! | `intake`, `request` | clients' requests on their way, and until their one outcome |
//! | `reconfigure` | the same for changes of members |
//! | `bodies`, `recall` | the log's entries in memory; those that have left it, for peers that need them |
//! | `snapshots`, `pace` | when to take, send and install one; how fast |
//! | `space` | what is still taken when the disk is full, and how room comes back |
//! | `codec`, `brief` | frames between nodes |
//! | [`mailbox`], [`coalescer`] | what waits for a turn, and for other frames: for whoever drives a replica |
//! | [`framing`] | where a frame ends on a connection, and whether it is whole |
//! | [`entry`], [`wal`] | the orders given to the log, and the worker that obeys |
//! | `spares` | files for the log's next segments: made ahead, or released and used again |
//! | `runs` | the terms of the log that is on disk, run by run |
//! | [`snapshot_file`], `arrival` | the same for snapshot files; those that a leader sends |
//! | [`record`], [`segment_head`], `snapshot_record`, [`identity`], [`checksum`] | the bytes of all files |
//! | [`config_record`] | the bytes of a configuration, in whatever holds one |
//! | [`inspect`] | what a directory holds, told without changing it |
//! | [`scrub`] | whether files at rest are still what was written |
//! | [`remains`], [`salvage`] | what can be read of a damaged directory; what several of a lost cluster hold together, as the first directory of a new one |
//! | [`recovery`], `segments`, `replay`, `window` | from a directory to a node; the log's files; reading them back |
//! | `read_back` | some entries of the log, read while it is written to |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod arrival;
mod batch;
mod bodies;
mod brief;
pub mod calls;
pub mod checksum;
pub mod coalescer;
mod codec;
pub mod config_record;
mod damage;
pub mod entry;
pub mod framing;
pub mod identity;
pub mod inspect;
mod intake;
pub mod interface;
pub mod machine;
pub mod mailbox;
mod pace;
pub mod port;
mod read_back;
mod recall;
mod reconfigure;
pub mod record;
pub mod recovery;
pub mod remains;
mod replay;
pub mod replica;
mod request;
mod runs;
pub mod salvage;
pub mod scrub;
pub mod segment_head;
mod segments;
pub mod snapshot_file;
mod snapshot_record;
mod snapshots;
mod space;
mod spares;
pub mod telling;
pub mod wal;
mod window;

/// What [`StateMachine::apply`] is told: an entry's place in the log.
pub use headwater_raft::LogId;

pub use codec::parcel::{Parcel, is_piece, parcel_of};
pub use codec::{header_of, message_of, note};
pub use entry::{Entry, EntryKind, Identity, LogOrder, LogWrite, SnapshotMeta};
pub use machine::{Malformed, StateMachine};
pub use port::{Disk, DiskError, DiskErrorKind};
