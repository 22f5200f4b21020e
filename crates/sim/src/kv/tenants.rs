//! Tenants: clients that live by leases, and the lessor of every node, driven as a server does.
//! Never judges when a lease ends: `lease` does.
//!
//! # Source
//! etcd v3 API, service `Lease`; etcd's clientv3 (keep-alives).

use headwater_kv::Store;
use headwater_kv::lessor::{Lessor, Renewal};
use headwater_kv::request::{
    Command, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, Query, Response,
};

use super::lease::{Judge, Moment};
use super::wish::number;
use super::{Kv, key, one_key};
use crate::application::{Told, Want};
use crate::company::{Company, Stage};
use crate::dice::Dice;
use crate::knobs::MS;
use crate::plan::Knobs;
use crate::trace::Stats;

/// Above the ids of all other clients' leases.
const FIRST_LEASE: i64 = 1 << 40;

/// Above the ids of all leases that tenants take by themselves.
const ASKED_LEASE: i64 = 1 << 41;

/// How many leases one message ends at most.
const ENDED_MAX: usize = 4;

/// The longest that a tenant's lease lives, in seconds.
const TTL_MAX: u64 = 2;

/// All tenants, and the lessors of all nodes.
#[derive(Debug)]
pub(super) struct Tenants {
    lessors: Vec<Lessor>,
    /// The term in which each lessor rules.
    terms: Vec<Option<u64>>,
    checkpoint_ns: u64,
    tenants: Vec<Tenant>,
    judge: Judge,
    asks: u64,
    leases: i64,
    counts: Counts,
    wrong: Option<String>,
}

#[derive(Debug, Default)]
struct Counts {
    granted: u64,
    renewed: u64,
    gone: u64,
    checkpoints: u64,
}

#[derive(Debug)]
struct Tenant {
    dice: Dice,
    lease: Option<i64>,
    next_ns: u64,
    waiting: Option<Waiting>,
}

/// What a tenant waits for.
#[derive(Clone, Debug)]
struct Waiting {
    name: u64,
    what: What,
    node: usize,
    asked: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Grant(i64),
    /// That a quorum confirms the node's leadership.
    Renewal(i64),
    /// That what must be applied first is.
    Checkpoint(i64),
    Other,
}

impl Tenants {
    pub(super) fn new(seed: u64, knobs: &Knobs) -> Self {
        let nodes = knobs.nodes + knobs.reserves;
        let checkpoint_ns = if knobs.leases {
            knobs.checkpoint_ns
        } else {
            u64::MAX
        };
        let tenants = (0..knobs.tenants).map(|tenant| {
            let mut dice = Dice::of(seed, "tenant", &[tenant]);
            Tenant {
                next_ns: dice.below(200 * MS),
                dice,
                lease: None,
                waiting: None,
            }
        });
        Self {
            lessors: (0..nodes).map(|_| Lessor::new(checkpoint_ns)).collect(),
            terms: vec![None; nodes as usize],
            checkpoint_ns,
            tenants: tenants.collect(),
            judge: Judge::new(nodes, knobs.leases.then_some(knobs.drift)),
            asks: 0,
            leases: FIRST_LEASE,
            counts: Counts::default(),
            wrong: None,
        }
    }

    fn name(&mut self) -> u64 {
        self.asks += 1;
        self.asks
    }

    /// What a node's lessor does at the end of a turn.
    fn drive(&mut self, node: usize, store: &Store, stage: &Stage<'_, Kv>) {
        let now_ns = stage.clock_ns(node);
        let term = stage.leads(node);
        if self.terms[node] != term {
            self.terms[node] = term;
            match term {
                Some(term) => self.lessors[node].lead(now_ns, term, store),
                None => self.lessors[node].follow(),
            }
        }
        self.lessors[node].observe(now_ns, store);
        for request in self.lessors[node].ended(now_ns, ENDED_MAX) {
            let ended = request.ended.expect("it has ended");
            let at = Moment::of(stage);
            self.judge.on_finding(node, request.id, ended, at);
            let name = self.name();
            stage.ask(node, name, write(Command::LeaseRevoke(request)));
        }
        if let Some(request) = self.lessors[node].checkpoint(now_ns) {
            self.counts.checkpoints += 1;
            let name = self.name();
            stage.ask(node, name, write(Command::LeaseCheckpoint(request)));
        }
    }

    /// A tenant wants something.
    fn act(&mut self, tenant: usize, stage: &Stage<'_, Kv>) {
        let name = self.name();
        let Tenant { dice, lease, .. } = &mut self.tenants[tenant];
        let leader = (0..stage.nodes()).find(|&node| stage.leads(node).is_some());
        let anywhere = dice.below(stage.nodes() as u64) as usize;
        let node = leader.filter(|_| dice.chance(3, 4)).unwrap_or(anywhere);
        let (what, want) = match *lease {
            None => {
                self.leases += 1;
                let (id, ttl) = (self.leases, 1 + dice.below(TTL_MAX) as i64);
                let grant = Command::LeaseGrant(LeaseGrantRequest { id, ttl });
                (What::Grant(id), write(grant))
            }
            Some(id) => match dice.below(20) {
                0..12 => {
                    let any = one_key(key(0));
                    (What::Renewal(id), Want::Read(Query::Range(any)))
                }
                12..17 => {
                    let put = Command::Put(PutRequest {
                        key: format!("t{tenant}").into(),
                        value: format!("t{name}").into(),
                        lease: id,
                        ..PutRequest::default()
                    });
                    (What::Other, write(put))
                }
                17 => {
                    *lease = None;
                    let request = LeaseRevokeRequest { id, ended: None };
                    (What::Other, write(Command::LeaseRevoke(request)))
                }
                _ => {
                    *lease = None;
                    return;
                }
            },
        };
        let asked = Moment::of(stage);
        self.tenants[tenant].waiting = Some(Waiting {
            name,
            what,
            node,
            asked,
        });
        stage.ask(node, name, want);
    }

    /// A quorum has confirmed that a node leads, if it does, since a tenant asked it.
    fn renew(&mut self, tenant: usize, id: i64, waited: Waiting, stage: &Stage<'_, Kv>) {
        let node = waited.node;
        let (Some(term), Some(store)) = (stage.leads(node), stage.machine(node)) else {
            return;
        };
        if self.terms[node] != Some(term) {
            return;
        }
        match self.lessors[node].renew(stage.clock_ns(node), term, id, store) {
            Renewal::Renewed(ttl) => {
                self.counts.renewed += 1;
                let judged = self.judge.on_promise(id, waited.asked, ttl);
                self.wrong = self.wrong.take().or(judged.err());
            }
            Renewal::First(request) => {
                let name = self.name();
                let what = What::Checkpoint(id);
                self.tenants[tenant].waiting = Some(Waiting {
                    name,
                    what,
                    ..waited
                });
                stage.ask(node, name, write(Command::LeaseCheckpoint(request)));
            }
            Renewal::Gone => {
                self.counts.gone += 1;
                self.tenants[tenant].lease = None;
            }
            Renewal::NotLeading => {}
        }
    }
}

impl Company<Kv> for Tenants {
    fn on_life(&mut self, node: usize) {
        self.lessors[node] = Lessor::new(self.checkpoint_ns);
        self.terms[node] = None;
    }

    /// `lease:N:SECONDS` is granted to a tenant who does nothing of its own; `renew:N` renews it.
    fn wish(&mut self, node: usize, words: &str, stage: &Stage<'_, Kv>) -> Result<bool, String> {
        let words: Vec<&str> = words.split(':').collect();
        let (id, ttl) = match words[..] {
            ["lease", id, ttl] => (number(id)?, Some(number(ttl)?)),
            ["renew", id] => (number(id)?, None),
            _ => return Ok(false),
        };
        let (id, name, asked) = (ASKED_LEASE + id, self.name(), Moment::of(stage));
        let (what, want) = match ttl {
            Some(ttl) => {
                let grant = Command::LeaseGrant(LeaseGrantRequest { id, ttl });
                (What::Grant(id), write(grant))
            }
            None => {
                let any = one_key(key(0));
                (What::Renewal(id), Want::Read(Query::Range(any)))
            }
        };
        self.tenants.push(Tenant {
            dice: Dice(0),
            lease: None,
            next_ns: u64::MAX,
            waiting: Some(Waiting {
                name,
                what,
                node,
                asked,
            }),
        });
        stage.ask(node, name, want);
        Ok(true)
    }

    fn after_turn(&mut self, node: usize, stage: &Stage<'_, Kv>) -> Result<(), String> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        if self.tenants.is_empty() {
            return Ok(());
        }
        self.judge.see(node, stage);
        self.judge.on_committed(stage)?;
        if let Some(store) = stage.machine(node) {
            self.drive(node, store, stage);
        }
        Ok(())
    }

    fn on_time(&mut self, stage: &Stage<'_, Kv>) -> Result<(), String> {
        for tenant in 0..self.tenants.len() {
            let now = stage.now_ns();
            if self.tenants[tenant].next_ns > now {
                continue;
            }
            let pause_ns = 10 * MS + self.tenants[tenant].dice.below(400 * MS);
            self.tenants[tenant].next_ns = now + pause_ns;
            if !stage.is_calm() && self.tenants[tenant].waiting.is_none() {
                self.act(tenant, stage);
            }
        }
        Ok(())
    }

    fn on_told(&mut self, name: u64, told: Option<Told<'_, Store>>, stage: &Stage<'_, Kv>) {
        let mine = |tenant: &Tenant| tenant.waiting.as_ref().is_some_and(|w| w.name == name);
        let Some(tenant) = self.tenants.iter().position(mine) else {
            return;
        };
        let Some(waited) = self.tenants[tenant].waiting.take() else {
            return;
        };
        let Some(Told::Reply(outcome) | Told::Answer(outcome)) = told else {
            return;
        };
        match (waited.what, &outcome.result) {
            (What::Grant(id), Ok(Response::LeaseGrant(granted))) => {
                self.counts.granted += 1;
                self.tenants[tenant].lease = Some(id);
                let judged = self.judge.on_promise(id, waited.asked, granted.ttl);
                self.wrong = self.wrong.take().or(judged.err());
            }
            (What::Renewal(id) | What::Checkpoint(id), _) => {
                self.renew(tenant, id, waited, stage);
            }
            _ => {}
        }
    }

    fn next_ns(&self) -> Option<u64> {
        let next = self.tenants.iter().map(|tenant| tenant.next_ns);
        next.min()
    }

    /// Nobody renews a tenant's lease in the calm, so all of them end.
    fn unsettled(&self, stage: &Stage<'_, Kv>) -> Option<String> {
        let left = stage.model().leases().find(|&id| id > FIRST_LEASE)?;
        Some(format!("lease {left} goes on, and nobody renews it"))
    }

    fn patience_ns(&self) -> u64 {
        // A new leader begins anew; and a revocation may be lost, and asked for again after 3 s.
        if self.tenants.is_empty() {
            0
        } else {
            (2 * TTL_MAX + 4) * 1000 * MS
        }
    }

    fn count(&self, stats: &mut Stats) {
        stats.leases_granted += self.counts.granted;
        stats.leases_renewed += self.counts.renewed;
        stats.leases_gone += self.counts.gone;
        stats.leases_ended += self.judge.ended();
        stats.lease_checkpoints += self.counts.checkpoints;
    }
}

fn write(command: Command) -> Want<Query> {
    Want::Write(command.encode())
}
