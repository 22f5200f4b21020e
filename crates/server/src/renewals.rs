//! Renewals of leases on their way: all that come in one turn share the read that confirms this leader, and are
//! done in the turn in which it does.
//! Never says how long a lease has: the lessor does.
//!
//! # Source
//! Dissertation §6.4 (one round of heartbeats for all reads that wait); etcd's lessor.

use headwater_kv::Store;
use headwater_kv::auth::{Asker, Right};
use headwater_kv::lessor::{Lessor, Renewal};
use headwater_kv::request::{Outcome, Query};
use headwater_runtime::{ReadError, ReadLevel, Stage};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::failure::Failure;

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
    /// Those of this turn.
    gathered: Vec<Renew>,
    waiting: Vec<Waiting>,
    /// How many were done.
    pub renewed: u64,
}

impl Renewals {
    /// One comes in.
    pub fn gather(&mut self, renew: Renew) {
        self.gathered.push(renew);
    }

    /// Asks for the read that those wait for which have come in.
    pub fn ask(&mut self, stage: &Stage<'_, Store>) {
        if self.gathered.is_empty() {
            return;
        }
        self.waiting.push(Waiting {
            // What is read does not matter, that it can be does.
            read: stage.query(Query::May(Right::User), ReadLevel::Linearizable),
            renewals: std::mem::take(&mut self.gathered),
        });
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
