//! The application that worlds have unless they are given another: the key-value store, its clients
//! and its model.
//! Never judges an answer: the model does.
//!
//! # Source
//! etcd's robustness tests (traffic).

mod agreeing;
mod hearsay;
mod lease;
mod model;
mod tenants;
mod watch;
mod watchers;
mod wish;

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::request::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    KeyValue, LeaseGrantRequest, LeaseRevokeRequest, Outcome, PutRequest, Query, RangeRequest,
    RequestOp, Response, ResponseOp, SortOrder, TxnRequest,
};
use headwater_raft::Config;

use self::agreeing::Agreeing;
use self::model::{Model, all_keys};
use self::tenants::Tenants;
use self::watchers::Watchers;
use crate::application::{Application, Hearsay, Told, Want};
use crate::company::Company;
use crate::dice::Dice;
use crate::plan::Knobs;

/// The store that the server runs.
#[derive(Debug)]
pub struct Kv;

/// What a client of it remembers.
#[derive(Debug)]
pub struct Client {
    /// The last revision that it saw each key changed at.
    known: BTreeMap<Bytes, i64>,
    /// The last revision it saw.
    revision: i64,
    /// The last lease it was granted, which may be gone; zero for none.
    lease: i64,
    /// How many keys are fought over.
    keys: u64,
    value_bytes: u64,
}

impl Application for Kv {
    type Machine = Store;
    type Client = Client;
    type Model = Model;

    fn client(knobs: &Knobs) -> Client {
        Client {
            known: BTreeMap::new(),
            revision: 1,
            lease: 0,
            keys: knobs.keys,
            value_bytes: knobs.value_bytes,
        }
    }

    fn draw(client: &mut Client, dice: &mut Dice, unique: u64) -> Want<Query> {
        let value = value(unique, dice.below(client.value_bytes));
        let key = key(dice.below(client.keys));
        let write = |command: Command| Want::Write(command.encode());
        let read = |range| Want::Read(Query::Range(range));
        match dice.below(100) {
            0..14 => write(put(key, value)),
            14..20 => write(Command::Put(PutRequest {
                lease: client.lease,
                ..put_request(key, value)
            })),
            20..23 => write(Command::LeaseGrant(LeaseGrantRequest {
                id: unique as i64,
                ttl: 60,
            })),
            23..25 => write(Command::LeaseRevoke(LeaseRevokeRequest {
                id: client.lease,
                ended: None,
            })),
            25..33 => write(put(format!("u{unique}").into(), value)),
            33..45 => write(swap(key.clone(), client.expected(&key), value)),
            45..50 => {
                let version = (dice.chance(1, 2), dice.below(3) as i64);
                write(swap_two(key.clone(), client.expected(&key), version, value))
            }
            50..54 => write(delete(one_key(key), value)),
            54..56 => write(delete(neighbours(key), value)),
            56..80 => read(one_key(key)),
            80..83 => read(all_keys()),
            83..85 => read(first_or_last(dice)),
            85..93 => Want::ReadStale(Query::Range(one_key(key))),
            kind @ 93..97 => {
                let keys = if kind < 95 {
                    one_key(key)
                } else {
                    neighbours(key)
                };
                let past = Query::Range(RangeRequest {
                    revision: 1 + dice.below(client.revision as u64 + 1) as i64,
                    ..keys
                });
                if dice.chance(1, 2) {
                    Want::Read(past)
                } else {
                    Want::ReadStale(past)
                }
            }
            _ => write(Command::Compact(CompactionRequest {
                revision: (client.revision - dice.below(10) as i64).max(1),
                physical: dice.chance(1, 2),
            })),
        }
    }

    fn wish(words: &str) -> Result<Want<Query>, String> {
        wish::read(words)
    }

    fn learn(client: &mut Client, told: Told<'_, Store>) {
        let (Told::Reply(outcome) | Told::Answer(outcome)) = told;
        client.learn(outcome);
    }

    fn probe_write(unique: u64) -> Bytes {
        put(key(0), value(unique, 0)).encode()
    }

    fn probe_read() -> Query {
        Query::Range(one_key(key(0)))
    }

    fn news(expect: &Config, target: &Config) -> Bytes {
        let (before, after) = (expect.members(), target.members());
        let came = after.iter().find(|id| !before.contains(id));
        let gone = before.iter().find(|id| !after.contains(id));
        let command = match (came, gone) {
            (Some(id), _) => Command::MemberAdd(id.0, vec![format!("http://n{}", id.0)]),
            (None, Some(id)) => Command::MemberRemove(id.0),
            (None, None) => return Bytes::new(),
        };
        command.encode()
    }

    fn company(seed: u64, knobs: &Knobs) -> Box<dyn Company<Kv>> {
        let clients = (Watchers::new(seed, knobs), Tenants::new(seed, knobs));
        Box::new((Agreeing::default(), clients))
    }

    fn hearsay() -> Box<dyn Hearsay<Store>> {
        Box::new(hearsay::Keys::default())
    }

    fn words(command: &Bytes) -> String {
        format!("{:?}", Command::decode(command))
    }
}

/// A value that no other request writes.
fn value(unique: u64, bytes: u64) -> Bytes {
    let text = format!("v{unique}");
    format!("{text:.<width$}", width = bytes as usize).into()
}

impl Client {
    fn expected(&self, key: &Bytes) -> i64 {
        self.known.get(key).copied().unwrap_or(0)
    }

    fn learn(&mut self, outcome: &Outcome) {
        self.revision = self.revision.max(outcome.revision);
        match &outcome.result {
            Ok(Response::Range(range)) => self.see(&range.kvs),
            Ok(Response::LeaseGrant(granted)) => self.lease = granted.id,
            Ok(Response::Txn(txn)) => {
                for response in &txn.responses {
                    if let ResponseOp::Range(range) = response {
                        self.see(&range.kvs);
                    }
                }
            }
            _ => {}
        }
    }

    fn see(&mut self, kvs: &[KeyValue]) {
        for kv in kvs {
            self.known.insert(kv.key.clone(), kv.mod_revision);
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
