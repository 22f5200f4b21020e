//! Compaction by itself: what is older than so long, or so many revisions back, is forgotten.
//! Never compacts where another leads, and never by more than what was asked for.
//!
//! # Source
//! etcd's `--auto-compaction-mode` and `--auto-compaction-retention`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use headwater_ctl::quantity;
use headwater_kv::request::{Command, CompactionRequest, KvError};
use headwater_runtime::ReadLevel;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::backend::Backend;
use crate::service::maintenance::store_status;

/// How often revisions are counted back: etcd's.
const REVISIONS_EVERY: Duration = Duration::from_secs(5 * 60);
/// At most so long passes between two compactions, once the first is due: etcd's.
const PERIOD_EVERY_MAX: Duration = Duration::from_secs(60 * 60);
/// So often in that time the revision is noted: etcd's.
const NOTES: u32 = 10;

/// What is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retention {
    /// Everything.
    All,
    /// What was there within so long.
    Period(Duration),
    /// So many revisions.
    Revisions(i64),
}

impl Retention {
    /// What the two flags say.
    ///
    /// # Errors
    /// They say nothing that can be understood; the text says what could be.
    pub fn parse(mode: &str, retention: &str) -> Result<Self> {
        let number = retention.parse::<i64>();
        let kept = match (mode, number) {
            ("periodic" | "revision" | "", Ok(0)) => Self::All,
            ("revision", Ok(number)) if number > 0 => Self::Revisions(number),
            ("revision", _) => bail!(
                "--auto-compaction-retention: \"{retention}\" is no number of revisions, as 1000 is"
            ),
            // A number alone is hours.
            ("periodic" | "", Ok(hours)) if hours > 0 => Self::Period(Duration::from_secs(
                hours.unsigned_abs().saturating_mul(3600),
            )),
            ("periodic" | "", _) => match quantity::time(retention) {
                Ok(period) if period.is_zero() => Self::All,
                Ok(period) => Self::Period(period),
                Err(why) => bail!("--auto-compaction-retention: {why}"),
            },
            _ => bail!("--auto-compaction-mode: \"{mode}\" is neither periodic nor revision"),
        };
        Ok(kept)
    }
}

/// Compacts for as long as this member leads.
pub async fn run(backend: Arc<Backend>, retention: Retention) {
    let mut history = match retention {
        Retention::All => return,
        Retention::Period(period) => History::new(period),
        Retention::Revisions(_) => History::new(REVISIONS_EVERY),
    };
    let every = match retention {
        Retention::Revisions(_) => REVISIONS_EVERY,
        _ => history.every / NOTES,
    };
    let me = backend.cluster().me;
    loop {
        tokio::time::sleep(every).await;
        if backend.leader() != Some(me) {
            // What was noted before another led says nothing of how long ago it was.
            history.clear();
            continue;
        }
        let Ok(store) = store_status(&backend, ReadLevel::Local).await else {
            continue;
        };
        let target = match retention {
            Retention::Revisions(kept) => Some(store.revision - kept),
            _ => history.note(Instant::now(), store.revision),
        };
        if let Some(revision) = target.filter(|target| *target > store.compact_revision.max(0)) {
            compact(&backend, revision).await;
        }
    }
}

async fn compact(backend: &Backend, revision: i64) {
    let request = CompactionRequest {
        revision,
        physical: false,
    };
    match backend.propose(&Command::Compact(request)).await {
        Ok(outcome) => match outcome.result {
            Ok(_) => info!(revision, "compacted by itself"),
            // Somebody has, by hand.
            Err(KvError::Compacted) => {}
            Err(error) => warn!(revision, ?error, "cannot compact"),
        },
        Err(failure) => warn!(revision, why = failure.code_and_text().1, "cannot compact"),
    }
}

/// Revisions, and when they were the newest.
#[derive(Debug)]
struct History {
    period: Duration,
    every: Duration,
    notes: VecDeque<(Instant, i64)>,
    last: Option<Instant>,
}

impl History {
    fn new(period: Duration) -> Self {
        Self {
            period,
            every: period.min(PERIOD_EVERY_MAX),
            notes: VecDeque::new(),
            last: None,
        }
    }

    fn clear(&mut self) {
        self.notes.clear();
        self.last = None;
    }

    /// Notes the newest revision; the one to compact to, if it is time: the newest of a period ago.
    fn note(&mut self, now: Instant, revision: i64) -> Option<i64> {
        self.notes.push_back((now, revision));
        let is_old = |(then, _): &(Instant, i64)| now.duration_since(*then) >= self.period;
        let old = self.notes.partition_point(is_old);
        let (_, target) = *self.notes.get(old.checked_sub(1)?)?;
        // The newest of the old ones may still be the one next time.
        self.notes.drain(..old - 1);
        let is_time = self
            .last
            .is_none_or(|last| now.duration_since(last) >= self.every);
        if !is_time {
            return None;
        }
        self.last = Some(now);
        Some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_understood_as_etcd_does() {
        let good = [
            ("periodic", "0", Retention::All),
            ("revision", "0", Retention::All),
            ("", "", Retention::All),
            (
                "periodic",
                "2",
                Retention::Period(Duration::from_secs(7200)),
            ),
            ("", "90m", Retention::Period(Duration::from_secs(5400))),
            ("periodic", "0s", Retention::All),
            ("revision", "1000", Retention::Revisions(1000)),
        ];
        for (mode, retention, kept) in good {
            let retention = if retention.is_empty() { "0" } else { retention };
            assert_eq!(Retention::parse(mode, retention).unwrap(), kept);
        }
        let bad = [
            ("revision", "1h"),
            ("revision", "-1"),
            ("periodic", "-1"),
            ("periodic", "soon"),
            ("often", "1"),
        ];
        for (mode, retention) in bad {
            assert!(
                Retention::parse(mode, retention).is_err(),
                "{mode} {retention}"
            );
        }
    }

    #[test]
    fn what_is_younger_than_the_period_stays() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut history = History::new(Duration::from_secs(100));
        for second in (0..100).step_by(10) {
            assert_eq!(history.note(at(second), 1000 + second as i64), None);
        }
        // The first is a period old; the next compaction comes a period later, with what is old then.
        assert_eq!(history.note(at(100), 1100), Some(1000));
        for second in (110..200).step_by(10) {
            assert_eq!(history.note(at(second), 1000 + second as i64), None);
        }
        assert_eq!(history.note(at(200), 1200), Some(1100));
        assert_eq!(history.notes.len(), 11);
        history.clear();
        assert_eq!(history.note(at(210), 1210), None);
    }

    #[test]
    fn a_long_period_is_compacted_every_hour() {
        let begin = Instant::now();
        let at = |minutes| begin + Duration::from_secs(60 * minutes);
        let mut history = History::new(Duration::from_secs(24 * 3600));
        let due: Vec<u64> = (0..=26 * 10)
            .map(|note| note * 6)
            .filter(|&minute| history.note(at(minute), minute as i64).is_some())
            .collect();
        assert_eq!(due, [24 * 60, 25 * 60, 26 * 60]);
    }
}
