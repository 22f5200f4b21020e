//! The snapshots' thread: writes, receives, serves and loads snapshot files beside the log, and reads old
//! entries of the log for peers.
//! Never holds up the log: its files and its syncs are its own.
//!
//! # Source
//! Raft paper §7; dissertation §5.1.

use std::sync::Arc;
use std::time::Instant;

use headwater_replica::StateMachine;
use headwater_replica::snapshot_file::{FileDone, FileOrder, SnapshotStore};

use crate::counters::Counters;
use crate::file::{FileDisk, Use};
use crate::lock::DirectoryLock;
use crate::scrubber::{Scrubber, tell};
use crate::worker::Worker;

/// Starts the snapshots' thread.
///
/// `done`: told each answer. `failed`: told why there will be no more. `scrub`: the cluster's id, and
/// how many bytes of files at rest a second are read again beside it; zero: none.
///
/// # Errors
/// The operating system gave no thread.
pub fn start<M: StateMachine>(
    mut store: SnapshotStore,
    mut disk: FileDisk,
    lock: Arc<DirectoryLock>,
    done: impl Fn(FileDone<M>) + Send + Sync + 'static,
    failed: impl Fn(String) + Send + 'static,
    scrub: (u64, u64),
) -> std::io::Result<Worker<FileOrder>> {
    let done = Arc::new(done);
    let found = done.clone();
    let (cluster, rate) = scrub;
    let scrubber = (rate > 0)
        .then(|| {
            let found = move |damage| found(FileDone::Damaged(damage));
            Scrubber::start(&disk, cluster, rate, found)
        })
        .transpose()?;
    let (mut watch, counters) = (Watch::default(), disk.counters());
    Worker::start("snapshot", lock, failed, move |orders: Vec<FileOrder>| {
        // It ends with this thread.
        let _ = &scrubber;
        // Nothing is to do when nothing is ordered for a while.
        for order in orders {
            watch.begin(&order);
            let answer = match order {
                // No segment stays open: one that is released would keep its space.
                FileOrder::ReadLog { .. } => {
                    store.run::<M>(&mut disk.another(Use::Reading), order)?
                }
                _ => store.run(&mut disk, order)?,
            };
            if let Some(FileDone::LogRead { damage, .. }) = &answer {
                damage.iter().for_each(|damage| tell(&counters, damage));
            }
            if let Some(answer) = answer {
                watch.end(&answer, &counters);
                counters.deliveries.on_done(&counters.peers, &answer);
                done(answer);
            }
        }
        Ok(false)
    })
}

/// When what is in the making was begun.
#[derive(Default)]
struct Watch {
    own: Option<Instant>,
    received: Option<Instant>,
}

impl Watch {
    fn begin(&mut self, order: &FileOrder) {
        match order {
            FileOrder::Begin(_) => self.own = Some(Instant::now()),
            FileOrder::Receive { offset: 0, .. } => self.received = Some(Instant::now()),
            _ => {}
        }
    }

    fn end<M>(&mut self, answer: &FileDone<M>, counters: &Counters) {
        let (begun, times) = match answer {
            FileDone::Taken(_) => (self.own.take(), &counters.snapshots_taken),
            FileDone::Loaded { .. } => (self.received.take(), &counters.snapshots_received),
            _ => return,
        };
        if let Some(begun) = begun {
            times.add(begun.elapsed());
        }
    }
}
