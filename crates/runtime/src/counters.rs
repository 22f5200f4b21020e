//! What the runtime counts, for metrics. Never read by any decision.
//!
//! # Source
//! Gregg, "Systems Performance": latency as a distribution, never as a mean alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::peer_counters::Peers;

/// Upper bounds of the sync times' buckets, powers of two of a microsecond, with their names.
const SYNC_BUCKETS: [(u64, &str); 16] = [
    (32, "fsync_us_le_32"),
    (64, "fsync_us_le_64"),
    (128, "fsync_us_le_128"),
    (256, "fsync_us_le_256"),
    (512, "fsync_us_le_512"),
    (1 << 10, "fsync_us_le_1024"),
    (1 << 11, "fsync_us_le_2048"),
    (1 << 12, "fsync_us_le_4096"),
    (1 << 13, "fsync_us_le_8192"),
    (1 << 14, "fsync_us_le_16384"),
    (1 << 15, "fsync_us_le_32768"),
    (1 << 16, "fsync_us_le_65536"),
    (1 << 17, "fsync_us_le_131072"),
    (1 << 18, "fsync_us_le_262144"),
    (1 << 19, "fsync_us_le_524288"),
    (1 << 20, "fsync_us_le_1048576"),
];

/// Nanoseconds from which on an apply counts as slow; etcd's bound.
pub const SLOW_APPLY_NS: u64 = 100_000_000;

/// One number that only grows.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        // Each counter stands alone: no other memory is published through it.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The runtime's counters since its start, shared by the loop, the links and the disk threads.
#[derive(Default, Debug)]
pub struct Counters {
    /// Syncs of the log.
    pub syncs: Counter,
    /// Nanoseconds spent in them.
    pub sync_ns: Counter,
    sync_buckets: [Counter; SYNC_BUCKETS.len()],
    /// Bytes written to the log.
    pub log_bytes: Counter,
    /// Bytes that recovery has read.
    pub recovered_bytes: Counter,
    /// Bytes written to snapshot files.
    pub snapshot_bytes: Counter,
    /// What is counted of each peer for itself.
    pub peers: Peers,
    /// Frames queued for peers.
    pub frames_sent: Counter,
    /// Frames that came in from peers.
    pub frames_received: Counter,
    /// Frames for which there was no link, or no room in it.
    pub frames_dropped: Counter,
    /// Connections to peers that came up.
    pub link_ups: Counter,
    /// Connections to peers that went down.
    pub link_downs: Counter,
    /// Turns of the loop that applied commands and took longer than [`SLOW_APPLY_NS`].
    pub slow_applies: Counter,
    /// Heartbeats of a leader that were due for longer than another interval.
    pub late_heartbeats: Counter,
    /// Turns of the loop.
    pub turns: Counter,
    /// Inputs taken in by them.
    pub inputs: Counter,
    /// Groups of log orders that shared a sync.
    pub log_groups: Counter,
    /// Bytes of files at rest that were read again.
    pub scrub_bytes: Counter,
    /// Rounds over all files at rest.
    pub scrub_rounds: Counter,
    /// Places found damaged by them.
    pub scrub_damage: Counter,
}

impl Counters {
    /// Counts one sync of the log that took `time`.
    pub fn on_sync(&self, time: Duration) {
        self.syncs.add(1);
        self.sync_ns
            .add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let us = time.as_micros();
        if let Some(place) = SYNC_BUCKETS.iter().position(|&(le, _)| us <= le.into()) {
            self.sync_buckets[place].add(1);
        }
    }

    /// All counters by name. `fsync_us_le_N` counts the syncs of at most N microseconds, each
    /// bucket including those below it.
    pub fn by_name(&self) -> BTreeMap<&'static str, u64> {
        let mut names = BTreeMap::from([
            ("fsyncs", self.syncs.value()),
            ("fsync_ns", self.sync_ns.value()),
            ("log_bytes", self.log_bytes.value()),
            ("recovered_bytes", self.recovered_bytes.value()),
            ("snapshot_bytes", self.snapshot_bytes.value()),
            ("frames_sent", self.frames_sent.value()),
            ("frames_received", self.frames_received.value()),
            ("frames_dropped", self.frames_dropped.value()),
            ("link_ups", self.link_ups.value()),
            ("link_downs", self.link_downs.value()),
            ("slow_applies", self.slow_applies.value()),
            ("late_heartbeats", self.late_heartbeats.value()),
            ("turns", self.turns.value()),
            ("inputs", self.inputs.value()),
            ("log_groups", self.log_groups.value()),
            ("scrub_bytes", self.scrub_bytes.value()),
            ("scrub_rounds", self.scrub_rounds.value()),
            ("scrub_damage", self.scrub_damage.value()),
        ]);
        let mut below = 0;
        for ((_, name), bucket) in SYNC_BUCKETS.iter().zip(&self.sync_buckets) {
            below += bucket.value();
            names.insert(name, below);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_includes_those_below_it() {
        let counters = Counters::default();
        for us in [1, 64, 65, 5_000_000] {
            counters.on_sync(Duration::from_micros(us));
        }
        let names = counters.by_name();
        assert_eq!(names["fsyncs"], 4);
        assert_eq!(names["fsync_ns"], 5_000_130_000);
        assert_eq!(names["fsync_us_le_32"], 1);
        assert_eq!(names["fsync_us_le_64"], 2);
        assert_eq!(names["fsync_us_le_128"], 3);
        assert_eq!(names["fsync_us_le_1048576"], 3);
    }
}
