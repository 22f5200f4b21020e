//! Renewals of leases on their way: all that come while a read is under way share the next one, and are done in
//! the turn in which that confirms this leader.
//! Never says how long a lease has: the lessor does.
//!
//! # Source
//! Dissertation §6.4 (one round of heartbeats for all reads that wait); etcd's lessor.

use headwater_kv::Store;
use headwater_kv::auth::{Asker, Right};
use headwater_kv::lessor::{Lessor, Renewal};
use headwater_kv::request::{Outcome, Query};
use headwater_runtime::{Instant, ReadError, ReadLevel, Stage};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::failure::Failure;

/// For how long at most, in nanoseconds, a renewal waits for a read that others asked for before it: a round of
/// heartbeats costs every member more than many renewals do, and few are in a hurry.
const PATIENCE_NS: u64 = 10_000_000;

/// A lease is to be renewed for who asks, who may not be known.
#[derive(Debug)]
pub struct Renew {
    /// The lease.
    pub id: i64,
    /// Who asks.
    pub asker: Option<Asker>,
    /// Who waits for what becomes of it.
    pub answer: oneshot::Sender<Renewed>,
}

/// What became of a renewal.
#[derive(Debug)]
pub struct Renewed {
    /// The store's revision.
    pub revision: i64,
    /// What the lessor says, if whoever asked may renew that.
    pub result: Result<Renewal, Failure>,
}

/// Those that wait for one read.
#[derive(Debug)]
struct Waiting {
    read: oneshot::Receiver<Result<Outcome, ReadError>>,
    renewals: Vec<Renew>,
}

/// All renewals on their way.
#[derive(Debug, Default)]
pub struct Renewals {
    /// Those for the next read.
    gathered: Vec<Renew>,
    waiting: Vec<Waiting>,
    /// Until then those wait that are gathered while others wait.
    ask_at: Instant,
    renewed: u64,
}

impl Renewals {
    /// How many were done so far.
    pub fn renewed(&self) -> u64 {
        self.renewed
    }

    /// One comes in.
    pub fn gather(&mut self, renew: Renew) {
        self.gathered.push(renew);
    }

    /// Asks for the read that those wait for which have come in, unless others still wait for theirs.
    pub fn ask(&mut self, stage: &Stage<'_, Store>) {
        let is_free = self.waiting.is_empty() || self.ask_at <= stage.now();
        if self.gathered.is_empty() || !is_free {
            return;
        }
        self.ask_at = stage.now().after(PATIENCE_NS);
        self.waiting.push(Waiting {
            // What is read does not matter, that it can be does.
            read: stage.query(Query::May(Right::User), ReadLevel::Linearizable),
            renewals: std::mem::take(&mut self.gathered),
        });
    }

    /// When there may be something to ask for, were nothing else to happen.
    pub fn next_deadline(&self) -> Option<Instant> {
        (!self.gathered.is_empty()).then_some(self.ask_at)
    }

    /// Does those whose read is done, if this node leads: since they were asked for, a quorum has confirmed that.
    pub fn finish(&mut self, lessor: &mut Lessor, stage: &Stage<'_, Store>) {
        let (now_ns, store) = (stage.now().0, stage.machine());
        let term = stage.reign().unwrap_or_default().0;
        let mut done = 0;
        self.waiting.retain_mut(|waiting| {
            let read = match waiting.read.try_recv() {
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Closed) => Err(ReadError::Stopped),
                Ok(read) => read,
            };
            let revision = read.as_ref().map_or(0, |read| read.revision);
            for renew in waiting.renewals.drain(..) {
                let result = match &read {
                    Ok(_) => renewed(&renew, (now_ns, term), lessor, store),
                    Err(ReadError::Timeout) => Err(Failure::TimedOut),
                    Err(ReadError::Stopped) => Err(Failure::Stopped),
                    // Whoever leads now may have it renewed yet.
                    Err(_) => Ok(Renewal::NotLeading),
                };
                done += u64::from(matches!(result, Ok(Renewal::Renewed(_))));
                // Whoever has gone away is told nothing, and that is no loss.
                let _ = renew.answer.send(Renewed { revision, result });
            }
            false
        });
        self.renewed += done;
    }
}

fn renewed(
    renew: &Renew,
    (now_ns, term): (u64, u64),
    lessor: &mut Lessor,
    store: &Store,
) -> Result<Renewal, Failure> {
    let may = store.may(renew.asker.as_ref(), Right::Renew(renew.id));
    may.map_err(Failure::Kv)?;
    Ok(lessor.renew(now_ns, term, renew.id, store))
}
