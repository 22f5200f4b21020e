//! The log's thread: everything ordered while one sync ran shares the next (group commit).
//! Never reorders: one queue, one thread (rule R2). Never fills a segment with zeros itself: a
//! thread of its own has the next one ready in time.
//!
//! # Source
//! Dissertation §10.2.1 (writing to the disk in parallel); Gray & Reuter (group commit).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headwater_raft::WriteId;
use headwater_replica::wal::Wal;
use headwater_replica::{Disk, DiskError, LogOrder};

use crate::counters::Counters;
use crate::file::{FileDisk, Use};
use crate::lock::DirectoryLock;
use crate::worker::Worker;

/// The pause after an attempt to make a spare segment that failed. The log can do without, but for
/// a node whose disk is full this is how it learns that there is room again.
const SPARE_PAUSE: Duration = Duration::from_secs(1);

/// Starts the log's thread.
///
/// `done`: told the last write that has become durable. `short`: told when the disk has no room
/// for the next segment, and when it has again. `failed`: told why nothing will be durable any more.
///
/// # Errors
/// The operating system gave no thread.
pub fn start(
    wal: Wal,
    disk: FileDisk,
    lock: Arc<DirectoryLock>,
    counters: Arc<Counters>,
    done: impl Fn(WriteId) + Send + 'static,
    short: impl Fn(bool) + Send + 'static,
    failed: impl Fn(String) + Send + 'static,
) -> std::io::Result<Worker<LogOrder>> {
    let mut log = Log {
        wal,
        disk,
        spare: Spare::default(),
    };
    let mut was_short = false;
    Worker::start("log", lock, failed, move |orders: Vec<LogOrder>| {
        log.take_spare();
        if orders.is_empty() && log.wal.waiting() == 0 {
            log.wal.idle(&mut log.disk)?;
        } else {
            counters.log_groups.add(1);
            if let Some(upto) = log.wal.run(&mut log.disk, &orders)? {
                done(upto);
            }
        }
        log.order_spare();
        let is_short = log.wal.is_short();
        if was_short != is_short {
            was_short = is_short;
            short(is_short);
        }
        Ok(is_short || log.spare.is_under_way())
    })
}

struct Log {
    wal: Wal,
    disk: FileDisk,
    spare: Spare,
}

impl Log {
    /// Takes over a spare segment that is ready.
    fn take_spare(&mut self) {
        match self.spare.take_ready() {
            Some(Ok(length)) => self.wal.spare_ready(length),
            Some(Err(error)) => self.wal.spare_failed(&error),
            None => {}
        }
    }

    /// Has a spare segment made if one is wanted.
    fn order_spare(&mut self) {
        if let Some((name, length)) = self.wal.spare_wanted() {
            self.spare.make(self.disk.another(Use::Spare), name, length);
        }
    }
}

/// The making of a spare segment, at most one at a time.
#[derive(Default)]
struct Spare {
    maker: Option<JoinHandle<Result<u64, DiskError>>>,
    not_before: Option<Instant>,
    warned: bool,
}

impl Spare {
    fn make(&mut self, mut disk: FileDisk, name: String, length: u64) {
        let wait = self.not_before.is_some_and(|t| Instant::now() < t);
        if wait || self.maker.is_some() {
            return;
        }
        let maker = std::thread::Builder::new()
            .name("spare".into())
            .spawn(move || {
                let made = disk.create_zeroed(&name, length);
                let made = made.and_then(|()| disk.sync(&name));
                if made.is_err() {
                    // What there is of it may be all the room that is left.
                    let _ = disk.remove(&name);
                }
                made.map(|()| length)
            });
        match maker {
            Ok(maker) => self.maker = Some(maker),
            Err(error) => self.give_up(&error.to_string()),
        }
    }

    fn is_under_way(&self) -> bool {
        self.maker.is_some()
    }

    /// The length of the spare segment, once after it is made; or why it could not be made.
    fn take_ready(&mut self) -> Option<Result<u64, DiskError>> {
        let maker = self.maker.take_if(|maker| maker.is_finished())?;
        match maker.join() {
            Ok(made) => {
                match &made {
                    Ok(_) => self.warned = false,
                    Err(error) => self.give_up(&error.to_string()),
                }
                Some(made)
            }
            Err(_) => {
                self.give_up("its maker panicked");
                None
            }
        }
    }

    /// Said once until one is made.
    fn give_up(&mut self, why: &str) {
        if !self.warned {
            tracing::warn!(
                why,
                "no spare log segment: the log will have to wait for one"
            );
        }
        self.warned = true;
        self.not_before = Some(Instant::now() + SPARE_PAUSE);
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // It writes into the directory, so the lock must not go before it ends.
        if let Some(maker) = self.maker.take() {
            let _ = maker.join();
        }
    }
}
