//! The log's thread: everything ordered while one sync ran shares the next (group commit).
//! Never reorders: one queue, one file, one thread (rule R2).
//!
//! # Source
//! Dissertation §10.2.1 (writing to the disk in parallel); Gray & Reuter (group commit).

use std::sync::Arc;

use headwater_raft::WriteId;
use headwater_replica::LogOrder;
use headwater_replica::wal::Wal;

use crate::counters::Counters;
use crate::file::FileDisk;
use crate::lock::DirectoryLock;
use crate::worker::Worker;

/// Starts the log's thread.
///
/// `done`: told the last write that has become durable. `failed`: told why none will any more.
///
/// # Errors
/// The operating system gave no thread.
pub fn start(
    mut wal: Wal,
    mut disk: FileDisk,
    lock: Arc<DirectoryLock>,
    counters: Arc<Counters>,
    done: impl Fn(WriteId) + Send + 'static,
    failed: impl Fn(String) + Send + 'static,
) -> std::io::Result<Worker<LogOrder>> {
    Worker::start("log", lock, failed, move |orders: Vec<LogOrder>| {
        counters.log_groups.add(1);
        if let Some(upto) = wal.run(&mut disk, &orders)? {
            done(upto);
        }
        Ok(())
    })
}
