//! A sequence of operations, carried out on both servers side by side until they differ.
//! Never decides what may differ: `answer` does.

use crate::cluster::Server;
use crate::differ::answer::{Answer, leave_open};
use crate::differ::operation::Operation;
use crate::differ::side::{SENTINEL, Side, Word};
use anyhow::Result;
use headwater_api::etcdserverpb as api;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the watches of two servers may take until they have told the same.
const QUIET_LIMIT: Duration = Duration::from_secs(3);

/// How many operations may go by until what the watches tell is compared.
const QUIET_EVERY: usize = 50;

/// How long an etcd may take to tell a watch of what was before it began.
const CATCHING_UP: Duration = Duration::from_millis(150);

/// Where two servers differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which of the operations, by its place in the sequence.
    pub step: usize,
    /// What was asked.
    pub operation: String,
    /// What ours said.
    pub ours: String,
    /// What the other said.
    pub theirs: String,
}

/// The programs that are compared.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The one under test.
    pub ours: Server,
    /// The referee.
    pub theirs: Server,
}

/// What became of a sequence.
#[derive(Debug)]
pub struct Report {
    /// How many operations were asked of both.
    pub asked: usize,
    /// How many of them were not refused.
    pub carried_out: usize,
    /// The first difference.
    pub difference: Option<Difference>,
}

/// Carries out the operations on two fresh servers, until they differ.
///
/// # Errors
/// If a server does not start, or its stream of watches breaks.
pub async fn run(programs: &Programs, operations: &[(usize, Operation)]) -> Result<Report> {
    let folder = folder();
    // The referee is asked what is right, not whether it keeps it.
    let theirs = ["--unsafe-no-fsync", "--log-level=error"];
    let (ours, theirs) = tokio::join!(
        Side::start(&programs.ours, &folder, &[]),
        Side::start(&programs.theirs, &folder, &theirs)
    );
    let mut pair = Pair {
        ours: ours?,
        theirs: theirs?,
        revision: 1,
        asked: 0,
        carried_out: 0,
        has_alarm: false,
    };
    let difference = pair.run(operations).await?;
    Ok(Report {
        asked: pair.asked,
        carried_out: pair.carried_out,
        difference,
    })
}

/// Memory, where there is such a folder.
fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_path_buf()
    } else {
        std::env::temp_dir()
    }
}

struct Pair {
    ours: Side,
    theirs: Side,
    revision: i64,
    asked: usize,
    carried_out: usize,
    has_alarm: bool,
}

impl Pair {
    async fn run(&mut self, operations: &[(usize, Operation)]) -> Result<Option<Difference>> {
        for (count, (step, operation)) in operations.iter().enumerate() {
            if (operation.needs_quiet() || count % QUIET_EVERY == 0)
                && let Some(difference) = self.quiet(*step).await?
            {
                return Ok(Some(difference));
            }
            let operation = operation.at(self.revision);
            if self.has_alarm && operation.differs_when_full() {
                continue;
            }
            if matches!(operation, Operation::Compact(_)) {
                self.caught_up().await?;
            }
            self.asked += 1;
            if let Some(difference) = self.perform(*step, &operation).await {
                return Ok(Some(difference));
            }
            if operation.needs_quiet()
                && let Some(mut difference) = self.quiet(*step).await?
            {
                difference.operation = format!("{operation:?}, then {}", difference.operation);
                return Ok(Some(difference));
            }
        }
        let last = operations.last().map_or(0, |(step, _)| *step);
        self.quiet(last).await
    }

    /// Waits until the referee has looked through the past for all its watches: it looks from time
    /// to time, and a compaction ends a watch that has been told all there is but was not looked at.
    async fn caught_up(&self) -> Result<()> {
        let began = Instant::now();
        while self.theirs.is_behind()? && began.elapsed() < QUIET_LIMIT {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn perform(&mut self, step: usize, operation: &Operation) -> Option<Difference> {
        let (mut ours, mut theirs) =
            tokio::join!(self.ours.perform(operation), self.theirs.perform(operation));
        self.carried_out += usize::from(!matches!(ours, Answer::Refused(..)));
        self.revision = theirs.revision().unwrap_or(0).max(self.revision);
        if matches!(operation, Operation::Alarm(_)) {
            self.has_alarm = self.ours.has_alarm().await;
        }
        leave_open(operation, &mut ours, &mut theirs);
        (ours != theirs).then(|| Difference {
            step,
            operation: format!("{operation:?}"),
            ours: format!("{ours:?}"),
            theirs: format!("{theirs:?}"),
        })
    }

    /// Waits until all watches have told all there is to tell, and compares it.
    async fn quiet(&mut self, step: usize) -> Result<Option<Difference>> {
        let write = Operation::Put(api::PutRequest {
            key: SENTINEL.into(),
            ..Default::default()
        });
        if let Some(difference) = self.perform(step, &write).await {
            return Ok(Some(difference));
        }
        let mut answer = self
            .ours
            .perform(&Operation::Range(api::RangeRequest {
                key: SENTINEL.into(),
                ..Default::default()
            }))
            .await;
        let written = match &answer {
            Answer::Range(range) => range.kvs.first().map_or(0, |kv| kv.mod_revision),
            _ => 0,
        };
        self.revision = answer.revision().unwrap_or(0).max(self.revision);
        // Nothing may be written while the alarm is on.
        let (least, from) = if written == self.revision {
            (Duration::ZERO, written)
        } else {
            (CATCHING_UP, 0)
        };
        let began = Instant::now();
        loop {
            let wait = Duration::from_millis(2);
            let (ours, theirs) = tokio::join!(self.ours.listen(wait), self.theirs.listen(wait));
            ours?;
            theirs?;
            let heard = self.ours.sentinel.min(self.theirs.sentinel) >= from;
            if heard && self.ours.told == self.theirs.told && began.elapsed() >= least {
                // An etcd keeps the number of a watch that a compaction ended until it is cancelled.
                for id in self.theirs.ended_by_compaction() {
                    self.theirs.perform(&Operation::Cancel(id)).await;
                }
                self.ours.told.clear();
                self.theirs.told.clear();
                return Ok(None);
            }
            if began.elapsed() > QUIET_LIMIT {
                break;
            }
        }
        Ok(Some(self.differently_told(step)))
    }

    fn differently_told(&self, step: usize) -> Difference {
        let (ours, theirs) = (&self.ours.told, &self.theirs.told);
        let words = |told: &BTreeMap<i64, Vec<Word>>, other: &BTreeMap<i64, Vec<Word>>| {
            let differs = |(id, words): &(&i64, &Vec<Word>)| other.get(id) != Some(words);
            let told: BTreeMap<_, _> = told.iter().filter(differs).collect();
            format!("{told:?}")
        };
        Difference {
            step,
            operation: "what watches tell".to_string(),
            ours: words(ours, theirs),
            theirs: words(theirs, ours),
        }
    }
}
