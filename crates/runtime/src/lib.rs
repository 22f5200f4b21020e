//! The real world behind a replica's doors, for any Rust program to embed.
//!
//! Bring a [`StateMachine`]; [`Handle::start`] gives it a durable log, peers over TCP, recovery
//! and snapshots. A whole program, three nodes in one process:
//!
//! ```no_run
#![doc = include_str!("../examples/counter.rs")]
//! ```
//!
//! The map of the house: `handle` is what an embedder holds; `start` puts a node together;
//! `driver` is the one loop; `log_thread` and `snapshot_thread` wait for the disk through `file`;
//! `tcp`, `link`, `frame` and `handshake` carry bytes between peers.

pub mod counters;
pub mod file;
pub mod frame;
pub mod handle;
pub mod handshake;
pub mod link;
pub mod lock;
pub mod tcp;

mod clock;
mod dice;
mod driver;
mod inbox;
mod log_thread;
mod name;
mod snapshot_thread;
mod start;
mod worker;

pub use handle::{
    Applied, Handle, NodeConfig, PeerAddress, ProposeError, ReadError, ReadLevel, StartError,
    Status, StopReason,
};
pub use headwater_raft::{LogId, NodeId};
pub use headwater_replica::{Malformed, StateMachine};
