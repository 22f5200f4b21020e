//! The clock: nanoseconds since the node's start, never backwards.
//! Never tells the time of day; nothing inside needs it.
//!
//! # Source
//! Raft paper §5.6: timing is for liveness alone.

use std::time::{Duration, Instant as StdInstant};

use headwater_raft::Instant;

/// A deadline further away than this is looked at again after it: timers need a finite moment.
const FAR: Duration = Duration::from_secs(3600);

/// A monotonic clock that counts from its making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: StdInstant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: StdInstant::now(),
        }
    }

    /// Now.
    pub fn now(&self) -> Instant {
        let ns = self.start.elapsed().as_nanos();
        Instant(u64::try_from(ns).expect("five hundred years have not passed"))
    }

    /// The runtime's name for `moment`, or for a moment an hour away if that comes first.
    pub fn timer_at(&self, moment: Instant) -> tokio::time::Instant {
        let wait = Duration::from_nanos(moment.since(self.now())).min(FAR);
        tokio::time::Instant::now() + wait
    }
}
