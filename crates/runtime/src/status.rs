//! How the node was at the end of its last turn: written by the loop, read by anyone.
//! Never makes the loop wait for longer than a copy.
//!
//! # Source
//! ARCHITECTURE.md, "Threads" (what of a node is shared under a lock).

use std::sync::{Mutex, PoisonError};

use headwater_replica::interface::Status;

/// How the replica was at the end of the last turn, for anyone to look at.
#[derive(Default, Debug)]
pub struct StatusCell(Mutex<Status>);

impl StatusCell {
    /// How the replica was; waits for no more than a copy.
    pub fn read(&self) -> Status {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node runs no longer: it leads nobody and follows nobody.
    pub fn mark_stopped(&self) {
        let status = Status {
            role: "stopped",
            leader: None,
            ..self.read()
        };
        self.write(status);
    }

    /// The loop says how it is now.
    pub fn write(&self, status: Status) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}
