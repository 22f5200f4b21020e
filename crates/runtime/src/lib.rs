//! The real world behind a replica's doors, for any Rust program to embed.

pub mod handle;

pub use handle::{
    Applied, Handle, NodeConfig, PeerAddress, ProposeError, ReadError, ReadLevel, StartError,
    Status, StopReason,
};
