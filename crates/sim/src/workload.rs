//! Clients: which node they ask, one request each at a time.
//! Never decides what they want, nor judges an answer: the application and the history do.
//!
//! # Source
//! etcd's robustness tests (traffic); verification of unknown outcomes after Jepsen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headwater_raft::ReadLevel;
use headwater_replica::interface::{Input, RequestId};

use crate::application::{Application, Told, Want};
use crate::check::Violation;
use crate::dice::Dice;
use crate::plan::Knobs;
use crate::schedule::Event;
use crate::world::World;

/// One client.
struct Client<A: Application> {
    dice: Dice,
    /// The node it prefers; the others it tries now and then.
    node: usize,
    memory: A::Client,
}

/// How far a node has shown after the calm that it serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Probe {
    /// It is to write.
    Write,
    /// It has written and is to read.
    Read,
    /// It has been asked.
    Asked(u64),
    /// It has done both.
    Done,
}

/// All clients.
pub(crate) struct Workload<A: Application> {
    clients: Vec<Client<A>>,
    /// Which client waits for a request.
    waiting: BTreeMap<u64, usize>,
    /// What the plan asked for, word by word.
    pub(crate) asked: BTreeSet<u64>,
    /// What the company asked for, and its names for that.
    pub(crate) company: BTreeMap<u64, u64>,
    pub(crate) probes: Vec<Probe>,
    pub(crate) probing: BTreeMap<u64, (usize, Probe)>,
    /// How many numbers have been given out that no request shares.
    uniques: u64,
    think_ns: u64,
    nodes: u64,
}

impl<A: Application> Workload<A> {
    pub(crate) fn new(seed: u64, knobs: &Knobs) -> Self {
        let nodes = knobs.nodes + knobs.reserves;
        let clients = (0..knobs.clients).map(|client| {
            let mut dice = Dice::of(seed, "client", &[client]);
            Client {
                node: dice.below(nodes) as usize,
                dice,
                memory: A::client(knobs),
            }
        });
        Self {
            clients: clients.collect(),
            waiting: BTreeMap::new(),
            asked: BTreeSet::new(),
            company: BTreeMap::new(),
            probes: vec![Probe::Write; nodes as usize],
            probing: BTreeMap::new(),
            uniques: 0,
            think_ns: knobs.think_ns,
            nodes,
        }
    }

    /// A number that no other request has.
    fn unique(&mut self) -> u64 {
        self.uniques += 1;
        self.uniques
    }

    pub(crate) fn probe_write(&mut self) -> Bytes {
        A::probe_write(self.unique())
    }
}

impl<A: Application> World<A> {
    pub(crate) fn begin_workload(&mut self) {
        for client in 0..self.workload.clients.len() {
            self.schedule.after(1, Event::Client { client });
        }
    }

    /// A client asks.
    pub(crate) fn on_client(&mut self, client: usize) {
        if self.calm_at.is_some() {
            return;
        }
        let (unique, nodes) = (self.workload.unique(), self.workload.nodes);
        let asker = &mut self.workload.clients[client];
        let want = A::draw(&mut asker.memory, &mut asker.dice, unique);
        if asker.dice.chance(1, 4) {
            asker.node = asker.dice.below(nodes) as usize;
        }
        let (node, after) = (asker.node, 10_000 + asker.dice.below(1_000_000));
        let op = self.history.begin(want);
        self.workload.waiting.insert(op, client);
        self.schedule.after(after, Event::Ask { op, node });
    }

    /// A request reaches a node.
    pub(crate) fn on_ask(&mut self, op: u64, node: usize) -> Result<(), Violation> {
        let now = self.schedule.now();
        if self.nodes[node].live.is_none() {
            self.history.lose(op)?;
            self.on_outcome(op, None);
            return Ok(());
        }
        self.stats.requests += 1;
        let want = self.history.invoke(op).clone();
        self.hearsay.on_asked(op, &want);
        self.trace.note(now, Some(node), || match &want {
            Want::Write(command) => format!("request {op}: {}", A::words(command)),
            read => format!("request {op}: {read:?}"),
        });
        let request = RequestId(op);
        let input = match want {
            Want::Write(command) => Input::Propose { request, command },
            Want::Read(query) => Input::Query {
                request,
                query,
                level: Some(self.level(op, node)),
            },
            Want::ReadStale(query) => Input::Query {
                request,
                query,
                level: self.stale_level(op, node),
            },
        };
        if let Some(live) = &mut self.nodes[node].live {
            live.pending.insert(op);
        }
        self.give(node, input);
        Ok(())
    }

    /// How a linearizable read is asked for: every other one the cheaper way, where the plan has
    /// that.
    fn level(&mut self, op: u64, node: usize) -> ReadLevel {
        let is_company = self.workload.company.contains_key(&op);
        let lease = self.plan.knobs.leases && op.is_multiple_of(2) && !is_company;
        self.stats.lease_reads += u64::from(lease && self.has_lease(node));
        if lease {
            ReadLevel::Lease
        } else {
            ReadLevel::Linearizable
        }
    }

    /// The same for a read that may be stale.
    fn stale_level(&mut self, op: u64, node: usize) -> Option<ReadLevel> {
        let max_lag_ns = self.plan.knobs.lag_ns;
        if max_lag_ns == 0 || op.is_multiple_of(2) {
            return None;
        }
        self.bound_read(op, node, max_lag_ns);
        Some(ReadLevel::Bounded { max_lag_ns })
    }

    /// Whether a node leads and may answer without asking anyone.
    pub(crate) fn has_lease(&self, node: usize) -> bool {
        let now = self.nodes[node].clock.at(self.schedule.now());
        let live = self.nodes[node].live.as_ref();
        let until = live.and_then(|live| live.replica.raft().lease_until());
        until.is_some_and(|until| now < until)
    }

    /// A request has ended, with an answer or without.
    pub(crate) fn on_outcome(&mut self, op: u64, told: Option<Told<'_, A::Machine>>) {
        self.stats.answered += u64::from(told.is_some());
        if let Some((node, stage)) = self.workload.probing.remove(&op) {
            self.workload.probes[node] = match (told, stage) {
                (Some(_), Probe::Write) => Probe::Read,
                (Some(_), _) => Probe::Done,
                (None, stage) => stage,
            };
            return;
        }
        if self.workload.asked.remove(&op) {
            let told = u64::from(told.is_some());
            self.stats.asked_answered += told;
            self.stats.asked_failed += 1 - told;
            return;
        }
        if let Some(name) = self.workload.company.remove(&op) {
            return self.company_told(name, told);
        }
        let Some(client) = self.workload.waiting.remove(&op) else {
            return;
        };
        if let Some(told) = told {
            A::learn(&mut self.workload.clients[client].memory, told);
        }
        let think_ns = self.workload.think_ns;
        let after = self.workload.clients[client].dice.below(think_ns);
        self.schedule.after(after, Event::Client { client });
    }
}
