//! The real world behind a replica's doors, for any Rust program to embed.
//!
//! Bring a [`StateMachine`]; [`Handle::start`] gives it a durable log, peers over TCP, recovery
//! and snapshots. A whole program, three nodes in one process:
//!
//! ```no_run
#![doc = include_str!("../examples/counter.rs")]
//! ```
//!
//! What a node has to tell people goes to [`tracing`]; a program that installs no subscriber does
//! not hear it.
//!
//! | room | what it is |
//! |---|---|
//! | [`handle`] | what an embedder holds |
//! | `start` | from a configuration to a running node |
//! | `driver`, `event` | the one loop, and what comes into it |
//! | [`company`] | what an embedder puts beside its machine, in the loop |
//! | `inbox` | the one queue into it |
//! | `outcome` | who waits for what became of a request |
//! | `worker` | a thread that may wait for the disk; `log_thread` and `snapshot_thread` are two |
//! | [`file`](mod@file) | the disk door onto a real directory |
//! | `discard` | files whose names are gone, given back behind everybody's back |
//! | [`lock`](mod@lock) | one process a directory |
//! | [`tls`], [`pipe`] | what wraps a connection, and what carries its bytes |
//! | [`tcp`], [`link`], `links` | connections between peers, what one of them carries, and those that stand |
//! | [`frame`], [`handshake`] | the bytes on them |
//! | [`card`] | who is here, for one that may not shake hands yet |
//! | `stranger` | what a client hears that has come to the port for peers |
//! | `clock`, [`dice`] | time and chance, which the inside is told |
//! | [`counters`], [`peer_counters`], [`name`] | what is counted, and how ids are written for people |
//! | `status` | how the node was after its last turn |
//! | [`deliveries`] | snapshots between nodes, counted |
//! | `leaving` | who is no member any more, and how long it is still heard |
//! | `leadership`, `space`, `mending` | what the log tells of elections, of a full disk, and of entries that come back |
//! | `scrubber` | files at rest, read again |
//! | [`seldom`] | lines of the log that would repeat too often |
//! | `recorder` | a record of all that the core was asked, for whoever checks it |

pub mod behind;
pub mod card;
pub mod company;
pub mod counters;
pub mod deliveries;
pub mod file;
pub mod frame;
pub mod handle;
pub mod handshake;
pub mod link;
pub mod lock;
pub mod name;
pub mod peer_counters;
pub mod pipe;
mod progress;
pub mod seldom;
mod stranger;
pub mod tcp;
pub mod tls;

mod clock;
pub mod dice;
mod direct;
mod discard;
mod driver;
mod event;
mod inbox;
mod leadership;
mod leaving;
mod links;
mod log_thread;
mod mending;
mod outcome;
mod recorder;
mod scrubber;
mod snapshot_thread;
mod space;
mod start;
mod status;
mod worker;

pub use company::{Company, Stage};
pub use handle::{
    Applied, COMMAND_BYTES_MAX, Handle, NodeConfig, PeerAddress, ProposeError, ReadError,
    ReadLevel, ReconfigureError, StartError, Status, StopReason, TransferError,
};
pub use headwater_raft::{Config, Index, Instant, LogId, NodeId, NotChanged, NotTaken, Term};
pub use headwater_replica::{Malformed, StateMachine};
pub use recorder::FlightRecorder;
