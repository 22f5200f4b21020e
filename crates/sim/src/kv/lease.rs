//! No lease ends before its time has passed since a client asked for what it was told.
//! Never trusts a lessor's clock for more than its machine's clock shows.
//!
//! A clock can be trusted across nodes only where plans keep all within the drift: there the time
//! of the world must have passed, as the fastest clock shows it. Elsewhere clocks leap, but no
//! lessor writes down what a lease has left; so whoever ends a lease has measured all of its time
//! by itself, in this life of its machine.
//!
//! # Source
//! Gray and Cheriton, "Leases", SOSP'89.

use std::collections::BTreeMap;

use headwater_kv::request::Ended;

use crate::company::Stage;
use crate::kv::Kv;

const SECOND_NS: u64 = 1_000_000_000;

/// A moment, by the world and by the clock of every machine in its present life.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    now_ns: u64,
    clocks: Vec<(u64, u64)>,
}

impl Moment {
    pub(super) fn of(stage: &Stage<'_, Kv>) -> Self {
        let clocks = (0..stage.nodes()).map(|node| (stage.life(node), stage.clock_ns(node)));
        Self {
            now_ns: stage.now_ns(),
            clocks: clocks.collect(),
        }
    }
}

/// That a node found a lease to have ended.
#[derive(Clone, Debug)]
struct Finding {
    node: usize,
    at: Moment,
    /// What its clock showed when the machine's life began.
    born_ns: u64,
}

/// What clients were told, and what lessors found.
#[derive(Debug)]
pub(super) struct Judge {
    /// How far clocks run apart, of a thousand, if they stay within that.
    drift: Option<u64>,
    /// Of each lease: when a client asked for what it was told last, and how long it has.
    promises: BTreeMap<i64, (Moment, i64)>,
    findings: BTreeMap<(i64, u64, u64), Finding>,
    /// Leases that ended because of a finding.
    over: BTreeMap<i64, Finding>,
    born_ns: Vec<(u64, u64)>,
    looked_at: usize,
}

impl Judge {
    pub(super) fn new(nodes: u64, drift: Option<u64>) -> Self {
        Self {
            drift,
            promises: BTreeMap::new(),
            findings: BTreeMap::new(),
            over: BTreeMap::new(),
            born_ns: vec![(0, 0); nodes as usize],
            looked_at: 0,
        }
    }

    /// How many leases have ended by themselves.
    pub(super) fn ended(&self) -> u64 {
        self.over.len() as u64
    }

    /// Takes note of when each machine's life began.
    pub(super) fn see(&mut self, node: usize, stage: &Stage<'_, Kv>) {
        let life = stage.life(node);
        if self.born_ns[node].0 != life {
            self.born_ns[node] = (life, stage.clock_ns(node));
        }
    }

    /// A client has been told that a lease has so many seconds from when it asked.
    pub(super) fn on_promise(&mut self, id: i64, asked: Moment, ttl: i64) -> Result<(), String> {
        let known = self.promises.get(&id);
        if known.is_none_or(|(last, _)| last.now_ns < asked.now_ns) {
            self.promises.insert(id, (asked, ttl));
        }
        self.check(id)
    }

    /// A node finds that a lease has ended.
    pub(super) fn on_finding(&mut self, node: usize, id: i64, ended: Ended, at: Moment) {
        let born_ns = self.born_ns[node].1;
        let finding = Finding { node, at, born_ns };
        self.findings
            .entry((id, ended.term, ended.granted))
            .or_insert(finding);
    }

    /// Looks at the leases that have ended since the last time.
    pub(super) fn on_committed(&mut self, stage: &Stage<'_, Kv>) -> Result<(), String> {
        let all = &stage.model().ended;
        for &(id, ended) in &all[self.looked_at..] {
            let key = (id, ended.term, ended.granted);
            let finding = self.findings.get(&key);
            let finding = finding.ok_or_else(|| format!("nobody found that {id} has ended"))?;
            self.over.insert(id, finding.clone());
            self.check(id)?;
        }
        self.looked_at = all.len();
        Ok(())
    }

    fn check(&self, id: i64) -> Result<(), String> {
        let (Some(over), Some((asked, ttl))) = (self.over.get(&id), self.promises.get(&id)) else {
            return Ok(());
        };
        let passed_ns = match self.drift {
            Some(drift) => {
                let passed_ns = over.at.now_ns.saturating_sub(asked.now_ns);
                passed_ns * (1000 + drift) / 1000 + 1
            }
            None => {
                let (life, now_ns) = over.at.clocks[over.node];
                let (asked_life, asked_ns) = asked.clocks[over.node];
                let since_ns = if asked_life == life {
                    asked_ns
                } else {
                    over.born_ns
                };
                now_ns.saturating_sub(since_ns)
            }
        };
        if passed_ns >= *ttl as u64 * SECOND_NS {
            return Ok(());
        }
        Err(format!(
            "lease {id} had {ttl} s at {} ns, and has ended at {} ns by the word of n{}",
            asked.now_ns,
            over.at.now_ns,
            over.node + 1
        ))
    }
}
