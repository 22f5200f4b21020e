//! A word now and then about a recovery that takes long.
//! Never part of it: it looks at a counter beside.
//!
//! # Source
//! docs/operating.md, "Start again".

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::counters::Counters;

/// How often something is said.
const PAUSE: Duration = Duration::from_secs(1);

/// How much recovery has to read, and has read.
pub(crate) struct Progress {
    counters: Arc<Counters>,
    all_bytes: u64,
    segments: usize,
}

impl Progress {
    /// Of the data directory `root`, which may not be there yet.
    pub(crate) fn of(root: &Path, counters: Arc<Counters>) -> Self {
        let log = sizes(&root.join("wal"), "wal");
        let snapshots = sizes(&root.join("snap"), "snap");
        Self {
            counters,
            segments: log.len(),
            all_bytes: log.iter().chain(&snapshots).sum(),
        }
    }

    /// Waits for recovery to end.
    pub(crate) async fn watch<T>(&self, recovery: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let mut ticks = interval_at(begin + PAUSE, PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut recovery = std::pin::pin!(recovery);
        loop {
            tokio::select! {
                ended = &mut recovery => return ended,
                _ = ticks.tick() => tracing::info!(
                    read_bytes = self.counters.recovered_bytes.value(),
                    of_bytes = self.all_bytes,
                    log_segments = self.segments,
                    seconds = begin.elapsed().as_secs(),
                    "still reading the log and the snapshots"
                ),
            }
        }
    }
}

/// The sizes of the files in a directory whose names end so.
fn sizes(directory: &Path, extension: &str) -> Vec<u64> {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let files = files.filter(|file| file.path().extension().is_some_and(|e| e == extension));
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .collect()
}
