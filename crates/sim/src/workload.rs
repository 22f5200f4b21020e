//! Clients: what they ask of which node, one request each at a time.
//! Never judges an answer: the history does.
//!
//! # Source
//! etcd's robustness tests (traffic); verification of unknown outcomes after Jepsen.

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_kv::request::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    LeaseGrantRequest, LeaseRevokeRequest, Outcome, PutRequest, Query, RangeRequest, RequestOp,
    Response, ResponseOp, SortOrder, TxnRequest,
};
use headwater_raft::ReadLevel;
use headwater_replica::interface::{Input, RequestId};

use crate::check::history::Want;
use crate::check::model::all_keys;
use crate::dice::Dice;
use crate::plan::Knobs;
use crate::schedule::Event;
use crate::world::World;

/// One client.
struct Client {
    dice: Dice,
    /// The node it prefers; the others it tries now and then.
    node: usize,
    /// The last revision that it saw each key changed at.
    known: BTreeMap<Bytes, i64>,
    /// The last revision it saw.
    revision: i64,
    /// The last lease it was granted, which may be gone; zero for none.
    lease: i64,
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
pub(crate) struct Workload {
    clients: Vec<Client>,
    /// Which client waits for a request.
    waiting: BTreeMap<u64, usize>,
    pub(crate) probes: Vec<Probe>,
    pub(crate) probing: BTreeMap<u64, (usize, Probe)>,
    next_value: u64,
    think_ns: u64,
    keys: u64,
    value_bytes: u64,
    nodes: u64,
}

impl Workload {
    pub(crate) fn new(seed: u64, knobs: &Knobs) -> Self {
        let nodes = knobs.nodes + knobs.reserves;
        let clients = (0..knobs.clients).map(|client| {
            let mut dice = Dice::of(seed, "client", &[client]);
            Client {
                node: dice.below(nodes) as usize,
                dice,
                known: BTreeMap::new(),
                revision: 1,
                lease: 0,
            }
        });
        Self {
            clients: clients.collect(),
            waiting: BTreeMap::new(),
            probes: vec![Probe::Write; nodes as usize],
            probing: BTreeMap::new(),
            next_value: 0,
            think_ns: knobs.think_ns,
            keys: knobs.keys,
            value_bytes: knobs.value_bytes,
            nodes,
        }
    }

    /// A value that no other request writes.
    fn value(&mut self, bytes: u64) -> Bytes {
        self.next_value += 1;
        let text = format!("v{}", self.next_value);
        format!("{text:.<width$}", width = bytes as usize).into()
    }

    pub(crate) fn probe_write(&mut self) -> Command {
        let value = self.value(0);
        put(key(0), value)
    }

    pub(crate) fn probe_read(&mut self) -> Want {
        Want::Read(one_key(key(0)), true)
    }

    /// What a client wants next.
    fn draw(&mut self, client: usize) -> Want {
        let bytes = self.clients[client].dice.below(self.value_bytes);
        let value = self.value(bytes);
        let unique = self.next_value;
        let Client {
            dice,
            known,
            revision,
            lease,
            ..
        } = &mut self.clients[client];
        let key = key(dice.below(self.keys));
        match dice.below(100) {
            0..14 => Want::Write(put(key, value)),
            14..20 => Want::Write(Command::Put(PutRequest {
                lease: *lease,
                ..put_request(key, value)
            })),
            20..23 => Want::Write(Command::LeaseGrant(LeaseGrantRequest {
                id: unique as i64,
                ttl: 60,
            })),
            23..25 => Want::Write(Command::LeaseRevoke(LeaseRevokeRequest {
                id: *lease,
                ended: None,
            })),
            25..33 => Want::Write(put(format!("u{unique}").into(), value)),
            33..45 => {
                let expected = known.get(&key).copied().unwrap_or(0);
                Want::Write(swap(key, expected, value))
            }
            45..50 => {
                let expected = known.get(&key).copied().unwrap_or(0);
                let version = (dice.chance(1, 2), dice.below(3) as i64);
                Want::Write(swap_two(key, expected, version, value))
            }
            50..54 => Want::Write(delete(one_key(key), value)),
            54..56 => Want::Write(delete(neighbours(key), value)),
            56..80 => Want::Read(one_key(key), true),
            80..83 => Want::Read(all_keys(), true),
            83..85 => Want::Read(first_or_last(dice), true),
            85..93 => Want::Read(one_key(key), false),
            93..97 => Want::Read(
                RangeRequest {
                    revision: 1 + dice.below(*revision as u64 + 1) as i64,
                    ..one_key(key)
                },
                dice.chance(1, 2),
            ),
            _ => Want::Write(Command::Compact(CompactionRequest {
                revision: (*revision - dice.below(10) as i64).max(1),
                physical: dice.chance(1, 2),
            })),
        }
    }

    /// Learns from an answer.
    fn learn(&mut self, client: usize, outcome: &Outcome) {
        let client = &mut self.clients[client];
        client.revision = client.revision.max(outcome.revision);
        let mut learn = |kvs: &[headwater_kv::request::KeyValue]| {
            for kv in kvs {
                client.known.insert(kv.key.clone(), kv.mod_revision);
            }
        };
        match &outcome.result {
            Ok(Response::Range(range)) => learn(&range.kvs),
            Ok(Response::LeaseGrant(granted)) => client.lease = granted.id,
            Ok(Response::Txn(txn)) => {
                for response in &txn.responses {
                    if let ResponseOp::Range(range) = response {
                        learn(&range.kvs);
                    }
                }
            }
            _ => {}
        }
    }
}

fn key(number: u64) -> Bytes {
    format!("k{number}").into()
}

fn one_key(key: Bytes) -> RangeRequest {
    RangeRequest {
        key,
        ..RangeRequest::default()
    }
}

fn put_request(key: Bytes, value: Bytes) -> PutRequest {
    PutRequest {
        key,
        value,
        prev_kv: true,
        ..PutRequest::default()
    }
}

fn put(key: Bytes, value: Bytes) -> Command {
    Command::Put(put_request(key, value))
}

/// Puts if the key was last changed at `expected`; else reads it.
fn swap(key: Bytes, expected: i64, value: Bytes) -> Command {
    Command::Txn(TxnRequest {
        compare: vec![Compare {
            result: CompareResult::Equal,
            target: CompareTarget::Mod(expected),
            key: key.clone(),
            range_end: Bytes::new(),
        }],
        success: vec![
            RequestOp::Put(put_request(key.clone(), value)),
            RequestOp::Range(one_key(key.clone())),
        ],
        failure: vec![RequestOp::Range(one_key(key))],
    })
}

/// Puts a key and its twin if the one was last changed at `expected` and the other's version is
/// greater, or less, than a number; else puts the twin alone.
fn swap_two(key: Bytes, expected: i64, (greater, version): (bool, i64), value: Bytes) -> Command {
    let twin = Bytes::from([&key[..], b"+"].concat());
    let compare = |key: &Bytes, result, target| Compare {
        result,
        target,
        key: key.clone(),
        range_end: Bytes::new(),
    };
    let result = if greater {
        CompareResult::Greater
    } else {
        CompareResult::Less
    };
    Command::Txn(TxnRequest {
        compare: vec![
            compare(&key, CompareResult::Equal, CompareTarget::Mod(expected)),
            compare(&twin, result, CompareTarget::Version(version)),
        ],
        success: vec![
            RequestOp::Put(put_request(key.clone(), value.clone())),
            RequestOp::Put(put_request(twin.clone(), value.clone())),
            RequestOp::Range(neighbours(key.clone())),
        ],
        failure: vec![
            RequestOp::Put(put_request(twin, value)),
            RequestOp::Range(one_key(key)),
        ],
    })
}

/// A key, its twin and what else lies between it and the next number.
fn neighbours(key: Bytes) -> RangeRequest {
    RangeRequest {
        range_end: Bytes::from([&key[..], b"~"].concat()),
        ..one_key(key)
    }
}

/// The first few keys, or the last.
fn first_or_last(dice: &mut Dice) -> RangeRequest {
    let orders = [SortOrder::None, SortOrder::Descend];
    RangeRequest {
        limit: 1 + dice.below(4) as i64,
        sort_order: orders[dice.below(2) as usize],
        ..all_keys()
    }
}

/// Deletes what is asked for unless its first key has a value that nothing has: this one, which
/// makes the command one of its kind.
fn delete(RangeRequest { key, range_end, .. }: RangeRequest, unless: Bytes) -> Command {
    Command::Txn(TxnRequest {
        compare: vec![Compare {
            result: CompareResult::NotEqual,
            target: CompareTarget::Value(unless),
            key: key.clone(),
            range_end: Bytes::new(),
        }],
        success: vec![RequestOp::DeleteRange(DeleteRangeRequest {
            key,
            range_end,
            prev_kv: true,
        })],
        failure: Vec::new(),
    })
}

impl World {
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
        let want = self.workload.draw(client);
        let nodes = self.workload.nodes;
        let asker = &mut self.workload.clients[client];
        if asker.dice.chance(1, 4) {
            asker.node = asker.dice.below(nodes) as usize;
        }
        let (node, after) = (asker.node, 10_000 + asker.dice.below(1_000_000));
        let op = self.history.begin(want);
        self.workload.waiting.insert(op, client);
        self.schedule.after(after, Event::Ask { op, node });
    }

    /// A request reaches a node.
    pub(crate) fn on_ask(&mut self, op: u64, node: usize) {
        let now = self.schedule.now();
        if self.nodes[node].live.is_none() {
            self.history.refuse(op);
            return self.on_outcome(op, None);
        }
        self.stats.requests += 1;
        let asked = self.history.invoke(op).clone();
        self.trace.note(now, Some(node), || {
            format!("request {op}: {:?}", asked.want)
        });
        let request = RequestId(op);
        let input = match (asked.want, asked.command) {
            (Want::Read(range, linearizable), _) => Input::Query {
                request,
                query: Query::Range(range),
                level: self.level(op, node, linearizable),
            },
            (Want::Write(_), command) => Input::Propose {
                request,
                command: command.expect("a write has a command"),
            },
        };
        if let Some(live) = &mut self.nodes[node].live {
            live.pending.insert(op);
        }
        self.give(node, input);
    }

    /// How a read is asked for: every other one the cheaper way, where the plan has that.
    fn level(&mut self, op: u64, node: usize, linearizable: bool) -> Option<ReadLevel> {
        let (leases, max_lag_ns) = (self.plan.knobs.leases, self.plan.knobs.lag_ns);
        if linearizable {
            let lease = leases && op.is_multiple_of(2);
            self.stats.lease_reads += u64::from(lease && self.has_lease(node));
            let level = if lease {
                ReadLevel::Lease
            } else {
                ReadLevel::Linearizable
            };
            return Some(level);
        }
        if max_lag_ns == 0 || op.is_multiple_of(2) {
            return None;
        }
        self.bound_read(op, node, max_lag_ns);
        Some(ReadLevel::Bounded { max_lag_ns })
    }

    fn has_lease(&self, node: usize) -> bool {
        let now = self.nodes[node].clock.at(self.schedule.now());
        let live = self.nodes[node].live.as_ref();
        let until = live.and_then(|live| live.replica.raft().lease_until());
        until.is_some_and(|until| now < until)
    }

    /// A request has ended, with an answer or without.
    pub(crate) fn on_outcome(&mut self, op: u64, answer: Option<Outcome>) {
        self.stats.answered += u64::from(answer.is_some());
        if let Some((node, stage)) = self.workload.probing.remove(&op) {
            self.workload.probes[node] = match (answer, stage) {
                (Some(_), Probe::Write) => Probe::Read,
                (Some(_), _) => Probe::Done,
                (None, stage) => stage,
            };
            return;
        }
        let Some(client) = self.workload.waiting.remove(&op) else {
            return;
        };
        if let Some(outcome) = answer {
            self.workload.learn(client, &outcome);
        }
        let think_ns = self.workload.think_ns;
        let after = self.workload.clients[client].dice.below(think_ns);
        self.schedule.after(after, Event::Client { client });
    }
}
