//! A node's clock: it counts from its own beginning, and runs at a rate of its own.
//!
//! # Source
//! Dissertation §6.4.1: a bound on how differently clocks run.

use headwater_raft::Instant;

const MILLION: u128 = 1_000_000;

/// What one life of a node takes for time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it shows at the world's beginning, in nanoseconds.
    pub ahead_ns: u64,
    /// How far it moves while the world moves a million.
    pub rate_ppm: u32,
}

impl Default for Clock {
    /// The world's own.
    fn default() -> Self {
        Self {
            ahead_ns: 0,
            rate_ppm: 1_000_000,
        }
    }
}

impl Clock {
    /// What it shows at a moment of the world.
    pub fn shows(&self, moment: Instant) -> Instant {
        let passed = u128::from(moment.0) * u128::from(self.rate_ppm) / MILLION;
        Instant(passed as u64 + self.ahead_ns)
    }

    /// The first moment of the world at which it shows this or more.
    pub fn moment_of(&self, shown: Instant) -> Instant {
        if shown == Instant::NEVER {
            return shown;
        }
        let passed = u128::from(shown.0.saturating_sub(self.ahead_ns));
        Instant((passed * MILLION).div_ceil(u128::from(self.rate_ppm)) as u64)
    }
}
