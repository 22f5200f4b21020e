//! What clients were told must fit one order of all requests that real time allows.
//!
//! The log gives the order of all writes, and every answer bears the store's revision, so no
//! search is needed: a write takes effect at its index, a read at its revision, and both must lie
//! between what was known when they began and what is known when they end.
//! Never guesses what became of a request without an outcome: it may or may not have happened.
//!
//! # Source
//! Herlihy and Wing, TOPLAS'90; etcd's robustness tests for the check by revision.

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_kv::request::{Command, KvError, Outcome, RangeRequest, Response};
use headwater_raft::{Index, LogId};
use headwater_replica::interface::{ProposeFate, ReadFate};

use super::raft::Cluster;
use super::{Violation, ensure};

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// A write.
    Write(Command),
    /// A read; linearizable or not.
    Read(RangeRequest, bool),
}

/// How a request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// No answer yet.
    Open,
    /// Answered.
    Done,
    /// Surely without effect, now and forever.
    Never,
    /// Perhaps, perhaps later.
    Unknown,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) want: Want,
    pub(crate) command: Option<Bytes>,
    pub(crate) fate: Fate,
    /// What had been answered to anyone when it began.
    floor: Floor,
}

/// The least that a request must see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Floor {
    index: Index,
    revision: i64,
}

/// All requests.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) ops: Vec<Op>,
    /// Commands that occur once, and who made them.
    by_command: BTreeMap<Bytes, u64>,
    /// Where each was committed.
    placed: BTreeMap<u64, Index>,
    looked_at: usize,
    floor: Floor,
}

impl History {
    /// A new request; its name.
    pub(crate) fn begin(&mut self, want: Want) -> u64 {
        let name = self.ops.len() as u64;
        let command = match &want {
            Want::Write(command) => Some(command.encode()),
            Want::Read(..) => None,
        };
        let is_unique = !matches!(
            want,
            Want::Write(Command::Compact(_) | Command::LeaseRevoke(_))
        );
        if let Some(bytes) = command.clone().filter(|_| is_unique) {
            self.by_command.insert(bytes, name);
        }
        self.ops.push(Op {
            want,
            command,
            fate: Fate::Open,
            floor: Floor::default(),
        });
        name
    }

    /// A node takes a request in.
    pub(crate) fn invoke(&mut self, name: u64) -> &Op {
        let op = &mut self.ops[name as usize];
        op.floor = self.floor;
        op
    }

    /// A request that no node took.
    pub(crate) fn refuse(&mut self, name: u64) {
        self.ops[name as usize].fate = Fate::Never;
    }

    /// A request whose node died.
    pub(crate) fn lose(&mut self, name: u64) {
        self.ops[name as usize].fate = Fate::Unknown;
    }

    /// Looks at what has been committed since the last time: each command once, and none that
    /// was said to be without effect.
    pub(crate) fn on_committed(&mut self, cluster: &Cluster) -> Result<(), Violation> {
        for committed in &cluster.committed[self.looked_at..] {
            let Some(&name) = self.by_command.get(&committed.body) else {
                continue;
            };
            let index = committed.id.index;
            let before = self.placed.insert(name, index);
            ensure(before.is_none(), "exactly once", || {
                format!("request {name} is committed at {before:?} and at {index}")
            })?;
            let fate = self.ops[name as usize].fate;
            ensure(fate != Fate::Never, "outcome", || {
                format!("request {name} was surely lost, and is committed at {index}")
            })?;
        }
        self.looked_at = cluster.committed.len();
        Ok(())
    }

    /// A write has its outcome.
    pub(crate) fn on_proposed(
        &mut self,
        cluster: &Cluster,
        name: u64,
        result: &Result<(LogId, Outcome), ProposeFate>,
    ) -> Result<(), Violation> {
        let op = &mut self.ops[name as usize];
        let (id, outcome) = match result {
            Ok(done) => done,
            Err(ProposeFate::Unknown) => {
                op.fate = Fate::Unknown;
                return Ok(());
            }
            Err(fate) => {
                op.fate = Fate::Never;
                let placed = self.placed.get(&name);
                return ensure(placed.is_none(), "outcome", || {
                    format!("request {name} ends as {fate:?}, and is committed at {placed:?}")
                });
            }
        };
        op.fate = Fate::Done;
        let committed = cluster.committed.get((id.index.0 as usize).wrapping_sub(1));
        let at = committed.filter(|at| at.id == *id && Some(&at.body) == op.command.as_ref());
        let at = at.ok_or_else(|| {
            let what = format!("request {name} was told it stands at {id}, where it is not");
            Violation::new("outcome", what)
        })?;
        ensure(at.reply.as_ref() == Some(outcome), "reply", || {
            format!(
                "request {name} at {id} was told {outcome:?} instead of {:?}",
                at.reply
            )
        })?;
        ensure(
            id.index > op.floor.index && outcome.revision >= op.floor.revision,
            "linearizability",
            || {
                format!(
                    "write {name} takes effect at {id}, after {:?} had been seen",
                    op.floor
                )
            },
        )?;
        self.floor.index = self.floor.index.max(id.index);
        self.floor.revision = self.floor.revision.max(outcome.revision);
        Ok(())
    }

    /// A read has its outcome. `seen` is the highest revision this node has shown in this life.
    pub(crate) fn on_answered(
        &mut self,
        cluster: &Cluster,
        name: u64,
        seen: &mut i64,
        result: &Result<Outcome, ReadFate>,
    ) -> Result<(), Violation> {
        let op = &mut self.ops[name as usize];
        op.fate = Fate::Done;
        let Ok(outcome) = result else { return Ok(()) };
        let Want::Read(request, linearizable) = &op.want else {
            return Err(Violation::new("outcome", "a write was answered as a read"));
        };
        let revision = outcome.revision;
        ensure(revision <= cluster.model.revision(), "read", || {
            format!("read {name} saw revision {revision}, which is not committed")
        })?;
        ensure(revision >= *seen, "read", || {
            format!("a node showed revision {seen}, and {revision} to read {name}")
        })?;
        *seen = revision;
        check_answer(cluster, request, outcome)?;
        if *linearizable {
            let floor = op.floor;
            ensure(revision >= floor.revision, "linearizability", || {
                format!("read {name} saw revision {revision} after {floor:?} had been seen")
            })?;
            self.floor.revision = self.floor.revision.max(revision);
        }
        Ok(())
    }
}

/// Whether an answer shows the store as it was at the revision it bears.
fn check_answer(
    cluster: &Cluster,
    request: &RangeRequest,
    outcome: &Outcome,
) -> Result<(), Violation> {
    let current = outcome.revision;
    let asked = request.revision;
    let at = if asked > 0 { asked } else { current };
    let expected = if asked > current {
        Err(KvError::FutureRevision)
    } else {
        Ok(Response::Range(cluster.model.range(request, at)))
    };
    // Compaction does not show in the revision, so an old read may come before or after it.
    let compacted =
        asked > 0 && asked < cluster.model.compacted() && outcome.result == Err(KvError::Compacted);
    ensure(compacted || outcome.result == expected, "read", || {
        format!(
            "at revision {at} of {current} a read of {:?} saw {:?} instead of {expected:?}",
            request.key, outcome.result
        )
    })
}
