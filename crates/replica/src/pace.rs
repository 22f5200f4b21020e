//! A pace for bytes that are in no hurry.
//! Never reads a clock.
//!
//! # Source
//! The leaky bucket of Turner, "New directions in communications", IEEE Communications Magazine 24(10),
//! 1986.

use headwater_raft::Instant;

/// When the next bytes may go, at so many a second.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Pace {
    free_at: Instant,
}

impl Pace {
    /// Whether bytes may go now.
    pub(crate) fn is_free(&self, now: Instant) -> bool {
        now >= self.free_at
    }

    /// From when on bytes may go.
    pub(crate) fn free_at(&self) -> Instant {
        self.free_at
    }

    /// So many bytes go now; zero a second: as many as there are. Who comes a little late is not
    /// slower for it: up to the time that these bytes take is made good.
    pub(crate) fn spend(&mut self, now: Instant, bytes: usize, per_second: u64) {
        if per_second == 0 {
            return;
        }
        let ns = u128::from(bytes as u64) * 1_000_000_000 / u128::from(per_second);
        let ns = u64::try_from(ns).unwrap_or(u64::MAX);
        let earliest = Instant(now.0.saturating_sub(ns));
        self.free_at = self.free_at.max(earliest).after(ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many bytes go in ten seconds, asked for every `every_ns`.
    fn gone(per_second: u64, every_ns: u64, bytes: usize) -> u64 {
        let mut pace = Pace::default();
        let mut gone = 0;
        for at in (0..10 * SECOND).step_by(every_ns as usize) {
            let now = Instant(100 * SECOND + at);
            if pace.is_free(now) {
                pace.spend(now, bytes, per_second);
                gone += bytes as u64;
            }
        }
        gone
    }

    #[test]
    fn bytes_go_at_the_pace_that_was_set_however_coarse_the_clock() {
        for (every_ns, bytes) in [(1_000_000, 100), (7_000_000, 1000), (1_000_000, 3000)] {
            let gone = gone(10_000, every_ns, bytes);
            assert!((95_000..=107_000).contains(&gone), "{gone}");
        }
        assert_eq!(gone(0, SECOND, 1000), 10_000);
    }

    #[test]
    fn a_silence_is_made_good_by_no_more_than_what_goes_at_once() {
        let mut pace = Pace::default();
        let now = Instant(1000 * SECOND);
        for _ in 0..2 {
            assert!(pace.is_free(now));
            pace.spend(now, 1000, 1000);
        }
        assert!(!pace.is_free(now));
        assert_eq!(pace.free_at(), now.after(SECOND));
    }
}
