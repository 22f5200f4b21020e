//! What clients were told must fit one order of all requests that real time allows.
//!
//! The log gives the order of all writes, and every answer names the command after which it was
//! given, so no search is needed for any state machine: a write takes effect at its index, a read
//! right after the last command it saw, and both must lie between what was known when they began
//! and what is known when they end.
//! Never guesses what became of a request without an outcome: it may or may not have happened.
//!
//! # Source
//! Herlihy and Wing, TOPLAS'90; etcd's robustness tests, which check by revision.

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_raft::{Index, LogId};
use headwater_replica::interface::ProposeFate;
use headwater_replica::machine::StateMachine;

use super::raft::Cluster;
use super::{Violation, ensure};
use crate::application::{Application, Model, Want};

/// One request.
struct Op<Query> {
    want: Want<Query>,
    /// The least that it must see: what had been answered to anyone when it began.
    floor: Index,
}

/// A command: there may be several alike.
#[derive(Default)]
struct Asked {
    times: u64,
    /// Of these, said to be without effect, now and forever.
    lost: u64,
    committed: u64,
}

/// All requests.
pub(crate) struct History<A: Application> {
    ops: Vec<Op<<A::Machine as StateMachine>::Query>>,
    commands: BTreeMap<Bytes, Asked>,
    looked_at: usize,
    floor: Index,
}

impl<A: Application> Default for History<A> {
    fn default() -> Self {
        Self {
            ops: Vec::new(),
            commands: BTreeMap::new(),
            looked_at: 0,
            floor: Index(0),
        }
    }
}

impl<A: Application> History<A> {
    /// The last command of which anyone knows by an answer.
    pub(crate) fn floor(&self) -> Index {
        self.floor
    }

    /// A new request; its name.
    pub(crate) fn begin(&mut self, want: Want<<A::Machine as StateMachine>::Query>) -> u64 {
        let name = self.ops.len() as u64;
        if let Want::Write(command) = &want {
            self.commands.entry(command.clone()).or_default().times += 1;
        }
        let floor = Index(0);
        self.ops.push(Op { want, floor });
        name
    }

    /// A node takes a request in.
    pub(crate) fn invoke(&mut self, name: u64) -> &Want<<A::Machine as StateMachine>::Query> {
        let op = &mut self.ops[name as usize];
        op.floor = self.floor;
        &op.want
    }

    /// A request without effect: no node took it, or one said so.
    pub(crate) fn lose(&mut self, name: u64) -> Result<(), Violation> {
        let Want::Write(command) = &self.ops[name as usize].want else {
            return Ok(());
        };
        let asked = self.commands.entry(command.clone()).or_default();
        asked.lost += 1;
        asked.check(|| format!("request {name} is surely lost"))
    }

    /// Looks at what has been committed since the last time: each command as often as it was asked
    /// for, but for those that were said to be without effect.
    pub(crate) fn on_committed(&mut self, cluster: &Cluster<A>) -> Result<(), Violation> {
        for committed in &cluster.committed[self.looked_at..] {
            if let Some(asked) = self.commands.get_mut(&committed.body) {
                asked.committed += 1;
                asked.check(|| format!("one more is committed at {}", committed.id))?;
            }
        }
        self.looked_at = cluster.committed.len();
        Ok(())
    }

    /// A write has its outcome.
    pub(crate) fn on_proposed(
        &mut self,
        cluster: &Cluster<A>,
        name: u64,
        result: &Result<(LogId, <A::Machine as StateMachine>::Reply), ProposeFate>,
    ) -> Result<(), Violation> {
        let (id, reply) = match result {
            Ok(done) => done,
            Err(ProposeFate::Unknown) => return Ok(()),
            Err(_) => return self.lose(name),
        };
        let Op { want, floor } = &self.ops[name as usize];
        let at = cluster.committed.get((id.index.0 as usize).wrapping_sub(1));
        let stands = at.is_some_and(
            |at| matches!(want, Want::Write(command) if at.id == *id && at.body == command),
        );
        ensure(stands, "outcome", || {
            format!("request {name} was told it stands at {id}, where it is not")
        })?;
        let judged = cluster.model.judge_reply(id.index, reply);
        judged.map_err(|why| Violation::new("reply", format!("request {name} at {id}: {why}")))?;
        ensure(id.index > *floor, "linearizability", || {
            format!("write {name} takes effect at {id}, after {floor} had been seen")
        })?;
        self.floor = self.floor.max(id.index);
        Ok(())
    }

    /// A read has its answer, from the state after the command `at`, or from none that there was.
    /// `seen` is the last command that this node has shown in this life.
    pub(crate) fn on_answered(
        &mut self,
        cluster: &Cluster<A>,
        name: u64,
        (at, seen): (Option<Index>, &mut Index),
        answer: &<A::Machine as StateMachine>::Answer,
    ) -> Result<Index, Violation> {
        let Op { want, floor } = &self.ops[name as usize];
        let (query, linearizable) = match want {
            Want::Read(query) => (query, true),
            Want::ReadStale(query) => (query, false),
            Want::Write(_) => {
                return Err(Violation::new("outcome", "a write was answered as a read"));
            }
        };
        let at = at.ok_or_else(|| {
            let what = format!("read {name} saw a state to which no committed commands lead");
            Violation::new("read", what)
        })?;
        ensure(at >= *seen, "read", || {
            format!("a node showed {seen}, and {at} to read {name}")
        })?;
        *seen = at;
        let judged = cluster.model.judge_answer(at, query, answer);
        judged.map_err(|why| Violation::new("read", format!("read {name} at {at}: {why}")))?;
        if linearizable {
            ensure(at >= *floor, "linearizability", || {
                format!("read {name} saw {at} after {floor} had been seen")
            })?;
            self.floor = self.floor.max(at);
        }
        Ok(at)
    }
}

impl Asked {
    fn check(&self, what: impl FnOnce() -> String) -> Result<(), Violation> {
        let &Self {
            times,
            lost,
            committed,
        } = self;
        let oracle = if committed > times {
            "exactly once"
        } else {
            "outcome"
        };
        ensure(committed + lost <= times, oracle, || {
            let what = what();
            format!("{what}: asked for {times} times, {lost} times lost, {committed} committed")
        })
    }
}
