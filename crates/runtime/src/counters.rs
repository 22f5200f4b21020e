//! What the runtime counts, for metrics. Never read by any decision.
//!
//! # Source
//! Gregg, "Systems Performance": latency as a distribution, never as a mean alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::deliveries::Deliveries;
use crate::peer_counters::Peers;

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

/// Upper bounds of buckets of times, in microseconds: powers of two from 32 µs to two minutes.
const BOUNDS_US: [u64; 23] = {
    let mut bounds = [32; 23];
    let mut place = 1;
    while place < bounds.len() {
        bounds[place] = bounds[place - 1] * 2;
        place += 1;
    }
    bounds
};

/// How long something took, each time.
#[derive(Default, Debug)]
pub struct Times {
    /// By the first bound that is not below it; the last is above all bounds.
    buckets: [Counter; BOUNDS_US.len() + 1],
    ns: Counter,
}

/// The same at one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TimeCounts {
    /// Bounds in microseconds, and how many times lie at or below each.
    pub upto_us: Vec<(u64, u64)>,
    /// How many there are.
    pub count: u64,
    /// Their sum in nanoseconds.
    pub sum_ns: u64,
}

impl Times {
    /// Counts one more.
    pub fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_US.partition_point(|&bound| bound < us)].add(1);
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.ns.add(ns);
    }

    /// All of them now.
    pub fn now(&self) -> TimeCounts {
        let mut count = 0;
        let mut upto = |bucket: &Counter| {
            count += bucket.value();
            count
        };
        let below = self.buckets.iter().map(&mut upto).collect::<Vec<_>>();
        TimeCounts {
            upto_us: BOUNDS_US.into_iter().zip(below).collect(),
            count,
            sum_ns: self.ns.value(),
        }
    }
}

/// Declares times and numbers, each once: its name, and what it counts.
macro_rules! counters {
    (
        times: $($(#[doc = $times_help:literal])+ $times:ident,)+
        numbers: $($(#[doc = $help:literal])+ $name:ident,)+
    ) => {
        /// The runtime's counters since its start, shared by the loop, the links and the disk threads.
        #[derive(Default, Debug)]
        pub struct Counters {
            /// What is counted of each peer for itself.
            pub peers: Peers,
            /// Snapshots on their way between them.
            pub deliveries: Deliveries,
            $($(#[doc = $times_help])+ pub $times: Times,)+
            $($(#[doc = $help])+ pub $name: Counter,)+
        }

        /// All numbers: their names, and what they count.
        pub const NUMBERS: &[(&str, &str)] = &[$((stringify!($name), concat!($($help),+)),)+];

        impl Counters {
            /// All numbers by name.
            pub fn by_name(&self) -> BTreeMap<&'static str, u64> {
                BTreeMap::from([$((stringify!($name), self.$name.value()),)+])
            }

            /// All times by name.
            pub fn times(&self) -> BTreeMap<&'static str, TimeCounts> {
                BTreeMap::from([$((stringify!($times), self.$times.now()),)+])
            }
        }
    };
}

counters! {
    times:
    /// Syncs of the log.
    syncs,
    /// Syncs of snapshot files.
    snapshot_syncs,
    /// Own snapshots, from the first chunk until they are durable.
    snapshots_taken,
    /// Snapshots of a leader, from the first piece until they are durable and loaded.
    snapshots_received,
    numbers:
    /// Bytes written to the log.
    log_bytes,
    /// Groups of log writes that shared a sync.
    log_groups,
    /// Bytes of log and snapshots that this start has read.
    recovered_bytes,
    /// Bytes written to snapshot files.
    snapshot_bytes,
    /// Frames queued for peers.
    frames_sent,
    /// Frames that came in from peers.
    frames_received,
    /// Frames for peers that had no connection or no room in it.
    frames_dropped,
    /// Connections to peers that came up.
    link_ups,
    /// Connections to peers that went down.
    link_downs,
    /// Turns that applied commands and took longer than a tenth of a second.
    slow_applies,
    /// Heartbeats of this member as a leader that were late by another interval.
    late_heartbeats,
    /// Turns of the node's loop.
    turns,
    /// Events taken in by the node's loop.
    inputs,
    /// Bytes of log and snapshots at rest that were read again.
    scrub_bytes,
    /// Rounds over all log and snapshots at rest.
    scrub_rounds,
    /// Places in log and snapshots that were found damaged at rest.
    scrub_damage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_includes_those_below_it() {
        let times = Times::default();
        for us in [1, 64, 65, 200_000_000] {
            times.add(Duration::from_micros(us));
        }
        let now = times.now();
        assert_eq!((now.count, now.sum_ns), (4, 200_000_130_000));
        let upto = BTreeMap::from_iter(now.upto_us);
        assert_eq!((upto[&32], upto[&64], upto[&128]), (1, 2, 3));
        assert_eq!(upto.last_key_value(), Some((&(32 << 22), &3)));
    }

    #[test]
    fn every_number_has_its_name_and_says_what_it_is() {
        let counters = Counters::default();
        counters.log_bytes.add(7);
        let by_name = counters.by_name();
        assert_eq!(by_name["log_bytes"], 7);
        assert_eq!(by_name.len(), NUMBERS.len());
        for (name, help) in NUMBERS {
            assert!(by_name.contains_key(name) && help.len() > 9, "{name}");
        }
    }
}
