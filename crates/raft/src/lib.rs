//! The Raft consensus algorithm, alone.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod membership;
pub mod message;
pub mod quorum;
pub mod types;

pub use membership::Config;
pub use message::{AppendResult, Message};
pub use types::{Entries, HardState, Index, Instant, LogId, NodeId, ReadId, Term, WriteId};
