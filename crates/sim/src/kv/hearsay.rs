//! What the store's clients say they asked for and were told, key by key: there must be an order of
//! all requests, each between its call and its answer, in which every value is where it was seen.
//! Never looks at a revision but as a client does, who asks whether a key is still as it saw it; nor
//! at an index, the log, or the model.
//!
//! # Source
//! docs/testing.md, "The judges"; Horn and Kroening, "Faster linearizability checking via
//! P-compositionality", 2015, for keys apart.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::request::{
    Command, Compare, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest, Query, RangeRequest,
    RangeResponse, RequestOp, Response, ResponseOp, SortOrder, TxnRequest, TxnResponse,
};
use headwater_linear::register::{self, Effect, Found};
use headwater_linear::search::{first_unexplained, until};
use headwater_linear::{Operation, Verdict};

use super::model::is_in;
use crate::application::{Hearsay, Told, Want};

/// All keys, and all that was said of them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Calls and answers so far: the clock.
    moments: u64,
    requests: BTreeMap<u64, Request>,
    /// What each key was seen to hold at each revision that last changed it.
    seen: BTreeMap<(Bytes, i64), Bytes>,
    /// What no order explains.
    wrong: Option<String>,
}

/// What one request did to one key, and when.
type Operated = Operation<Effect<Bytes>>;

/// One request.
#[derive(Debug)]
struct Request {
    called: u64,
    returned: Option<u64>,
    want: Want<Query>,
    /// What it did; until that is known, what it may have done.
    did: Vec<Deed>,
}

impl Request {
    fn did(&self, effect: Effect<Bytes>) -> Operated {
        Operation::new(effect, self.called, self.returned)
    }
}

/// A part of what a request did, or may have done.
#[derive(Debug)]
enum Deed {
    /// To one key.
    One(Bytes, Effect<Bytes>),
    /// To all keys in a range.
    Many(Many),
    /// A key was given a value with a lease.
    Lease(i64, Bytes, Bytes),
    /// To all keys of a lease: they are gone.
    Revoke(i64),
}

/// What a request did to all keys in a range, but those that it had written itself: they were as
/// shown, and, if it deletes, are gone.
#[derive(Debug)]
struct Many {
    start: Bytes,
    end: Bytes,
    /// What of the range is told, if not all.
    least: Option<Bytes>,
    most: Option<Bytes>,
    shown: BTreeMap<Bytes, Bytes>,
    deletes: bool,
    but: BTreeSet<Bytes>,
}

impl Hearsay<Store> for Keys {
    fn on_asked(&mut self, request: u64, want: &Want<Query>) {
        let called = self.now();
        let did = match want {
            Want::Write(command) => Command::decode(command)
                .map_or_else(|_| Vec::new(), |command| self.deeds(&command, None)),
            _ => Vec::new(),
        };
        let asked = Request {
            called,
            returned: None,
            want: want.clone(),
            did,
        };
        self.requests.insert(request, asked);
    }

    fn on_told(&mut self, request: u64, told: &Told<'_, Store>) {
        let (Told::Reply(outcome) | Told::Answer(outcome)) = told;
        let now = self.now();
        let Some(mut asked) = self.requests.remove(&request) else {
            return;
        };
        let Ok(response) = &outcome.result else {
            return;
        };
        self.see(response);
        asked.returned = Some(now);
        match &asked.want {
            Want::Write(command) => {
                if let Ok(command) = Command::decode(command) {
                    asked.did = self.deeds(&command, Some(response));
                }
            }
            Want::Read(Query::Range(range)) if range.revision == 0 => {
                if let Response::Range(answer) = response {
                    asked.did.push(Deed::Many(Many::shown(range, answer)));
                }
            }
            _ => return,
        }
        self.requests.insert(request, asked);
    }

    fn on_lost(&mut self, request: u64) {
        self.requests.remove(&request);
    }

    fn verdict(&self) -> Result<(), String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        for (key, operations) in self.by_key()? {
            match register::check(&operations) {
                Verdict::Linearizable => {}
                Verdict::Undecided => return Err(format!("{key:?} is too tangled to judge")),
                Verdict::Violation => return Err(explain(&key, &operations)),
            }
        }
        Ok(())
    }
}

/// How many operations before the first that no order explains are told with it.
const TOLD_MAX: usize = 12;

fn explain(key: &Bytes, operations: &[Operated]) -> String {
    let at = first_unexplained(operations, register::check).unwrap_or_default();
    let mut part = until(operations, at);
    part.sort_by_key(|operation| operation.returned.unwrap_or(operation.called));
    let part = &part[part.len().saturating_sub(TOLD_MAX)..];
    format!("no order explains what was told of {key:?} by {at}: {part:?}")
}

impl Keys {
    fn now(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }

    /// Takes note of the values that an answer shows.
    fn see(&mut self, response: &Response) {
        match response {
            Response::Range(range) => self.see_all(&range.kvs),
            Response::Put(put) => self.see_all(put.prev_kv.as_slice()),
            Response::DeleteRange(delete) => self.see_all(&delete.prev_kvs),
            Response::Txn(txn) => {
                for response in &txn.responses {
                    match response {
                        ResponseOp::Range(range) => self.see_all(&range.kvs),
                        ResponseOp::Put(put) => self.see_all(put.prev_kv.as_slice()),
                        ResponseOp::DeleteRange(delete) => self.see_all(&delete.prev_kvs),
                        ResponseOp::Txn(_) => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn see_all(&mut self, kvs: &[KeyValue]) {
        for kv in kvs {
            let place = (kv.key.clone(), kv.mod_revision);
            let value = self.seen.entry(place).or_insert_with(|| kv.value.clone());
            if *value != kv.value {
                let wrong = format!("{value:?} was seen where {kv:?} was");
                self.wrong.get_or_insert(wrong);
            }
        }
    }

    /// What a client wants to find that asks for a key as it was last changed at a revision.
    fn expected(&self, key: &Bytes, revision: i64) -> Option<Option<Bytes>> {
        if revision == 0 {
            return Some(None);
        }
        self.seen.get(&(key.clone(), revision)).cloned().map(Some)
    }

    /// What a command did, if it was answered so; what it may have done, if it was not answered.
    fn deeds(&mut self, command: &Command, told: Option<&Response>) -> Vec<Deed> {
        match (command, told) {
            (Command::Put(put), None) => vec![put_deed(put, Found::Anything), lease_deed(put)],
            (Command::Put(put), Some(Response::Put(answer))) => {
                let finds = found(put, answer.prev_kv.as_ref());
                vec![put_deed(put, finds), lease_deed(put)]
            }
            (Command::DeleteRange(delete), None) => vec![Deed::Many(Many::deleted(delete, &[]))],
            (Command::DeleteRange(delete), Some(Response::DeleteRange(answer))) => {
                vec![Deed::Many(Many::deleted(delete, &answer.prev_kvs))]
            }
            (Command::Txn(txn), None) => self.possible(txn),
            (Command::Txn(txn), Some(Response::Txn(answer))) => self.done(txn, answer),
            (Command::LeaseRevoke(revoke), _) => vec![Deed::Revoke(revoke.id)],
            _ => Vec::new(),
        }
    }

    /// What a transaction may have done.
    fn possible(&self, txn: &TxnRequest) -> Vec<Deed> {
        let mut deeds: BTreeMap<Bytes, Deed> = BTreeMap::new();
        for op in txn.success.iter().chain(&txn.failure) {
            match op {
                RequestOp::Put(put) => {
                    let finds = match self.condition(txn, &put.key) {
                        Some(expected) => Found::This(expected),
                        None => Found::Anything,
                    };
                    let deed = || put_deed(put, finds);
                    deeds.entry(put.key.clone()).or_insert_with(deed);
                }
                RequestOp::DeleteRange(delete) => {
                    let many = Many::deleted(delete, &[]);
                    deeds.insert(delete.key.clone(), Deed::Many(many));
                }
                _ => {}
            }
        }
        deeds.into_values().collect()
    }

    /// What a transaction wants to find at a key.
    fn condition(&self, txn: &TxnRequest, key: &Bytes) -> Option<Option<Bytes>> {
        let mut compares = txn.compare.iter().filter(|compare| compare.key == key);
        compares.find_map(|compare| match compare.target {
            CompareTarget::Mod(revision) => self.expected(key, revision),
            _ => None,
        })
    }

    /// What a transaction did.
    fn done(&mut self, txn: &TxnRequest, answer: &TxnResponse) -> Vec<Deed> {
        let branch = if answer.succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let mut deeds = Vec::new();
        let mut written = BTreeSet::new();
        // When the keys were found to have been changed last; zero for a key that was not there.
        let mut before: BTreeMap<&Bytes, i64> = BTreeMap::new();
        for (op, response) in branch.iter().zip(&answer.responses) {
            match (op, response) {
                (RequestOp::Put(put), ResponseOp::Put(answer)) => {
                    let previous = answer.prev_kv.as_ref();
                    if put.prev_kv {
                        before.insert(&put.key, previous.map_or(0, |kv| kv.mod_revision));
                    }
                    deeds.push(put_deed(put, found(put, previous)));
                    written.insert(put.key.clone());
                }
                (RequestOp::Range(range), ResponseOp::Range(answer)) => {
                    let many = Many::shown(range, answer);
                    let shown = answer.kvs.iter().find(|kv| kv.key == range.key);
                    let changed_at = shown.map_or(0, |kv| kv.mod_revision);
                    before.entry(&range.key).or_insert(changed_at);
                    let but = written.clone();
                    deeds.push(Deed::Many(Many { but, ..many }));
                }
                (RequestOp::DeleteRange(delete), ResponseOp::DeleteRange(answer)) => {
                    let but = written.clone();
                    let many = Many::deleted(delete, &answer.prev_kvs);
                    deeds.push(Deed::Many(Many { but, ..many }));
                }
                _ => {}
            }
        }
        for Compare { key, target, .. } in &txn.compare {
            let is_alone = txn.compare.len() == 1;
            if let CompareTarget::Value(_) = target
                && !answer.succeeded
            {
                // Its clients compare with what no key holds, so there was none.
                deeds.push(Deed::One(key.clone(), Effect::see(None)));
            }
            let (CompareTarget::Mod(asked), Some(found)) = (target, before.get(key)) else {
                continue;
            };
            let is_wrong = match answer.succeeded {
                true => found != asked,
                false => is_alone && found == asked,
            };
            if is_wrong {
                let wrong = format!("{key:?}: {txn:?} found {found:?} and did {answer:?}");
                self.wrong.get_or_insert(wrong);
            }
        }
        deeds
    }

    /// Everything that was done to each key, or may have been.
    fn by_key(&self) -> Result<BTreeMap<Bytes, Vec<Operated>>, String> {
        let mut keys: BTreeMap<Bytes, Vec<Operated>> = BTreeMap::new();
        // The values that keys were given with each lease.
        let mut leased: BTreeMap<i64, BTreeMap<&Bytes, Vec<Bytes>>> = BTreeMap::new();
        for request in self.requests.values() {
            for deed in &request.did {
                if let Deed::One(key, effect) = deed {
                    let operations = keys.entry(key.clone()).or_default();
                    operations.push(request.did(effect.clone()));
                }
                // Zero is no lease.
                if let Deed::Lease(lease @ 1.., key, value) = deed {
                    let keys = leased.entry(*lease).or_default();
                    keys.entry(key).or_default().push(value.clone());
                }
            }
        }
        for request in self.requests.values() {
            for deed in &request.did {
                match deed {
                    Deed::One(..) | Deed::Lease(..) => {}
                    Deed::Many(many) => {
                        if let Some(key) = many.shown.keys().find(|key| !keys.contains_key(*key)) {
                            return Err(format!("{key:?} was seen, and nobody wrote it"));
                        }
                        let told = request.returned.is_some();
                        let from = keys.range_mut(many.start.clone()..);
                        let within = from.take_while(|(key, _)| is_in(key, &many.start, &many.end));
                        for (key, operations) in within.filter(|(key, _)| many.tells_of(key)) {
                            let effect = many.effect(key, told);
                            operations.extend(effect.map(|effect| request.did(effect)));
                        }
                    }
                    Deed::Revoke(lease) => {
                        for (key, values) in leased.get(lease).into_iter().flatten() {
                            let operations = keys.entry((*key).clone()).or_default();
                            operations.push(request.did(Effect::TakeAway(values.clone())));
                        }
                    }
                }
            }
        }
        Ok(keys)
    }
}

fn found(put: &PutRequest, previous: Option<&KeyValue>) -> Found<Bytes> {
    if put.prev_kv {
        Found::This(previous.map(|kv| kv.value.clone()))
    } else {
        Found::Anything
    }
}

fn put_deed(put: &PutRequest, finds: Found<Bytes>) -> Deed {
    let leaves = Some(Some(put.value.clone()));
    Deed::One(put.key.clone(), Effect::Step { finds, leaves })
}

fn lease_deed(put: &PutRequest) -> Deed {
    Deed::Lease(put.lease, put.key.clone(), put.value.clone())
}

impl Many {
    fn shown(range: &RangeRequest, answer: &RangeResponse) -> Self {
        let edge = answer
            .kvs
            .last()
            .filter(|_| answer.more)
            .map(|kv| kv.key.clone());
        let descends = range.sort_order == SortOrder::Descend;
        Self {
            start: range.key.clone(),
            end: range.range_end.clone(),
            least: edge.clone().filter(|_| descends),
            most: edge.filter(|_| !descends),
            shown: values(&answer.kvs),
            deletes: false,
            but: BTreeSet::new(),
        }
    }

    fn deleted(delete: &DeleteRangeRequest, previous: &[KeyValue]) -> Self {
        Self {
            start: delete.key.clone(),
            end: delete.range_end.clone(),
            least: None,
            most: None,
            shown: values(previous),
            deletes: true,
            but: BTreeSet::new(),
        }
    }

    fn tells_of(&self, key: &Bytes) -> bool {
        self.least.as_ref().is_none_or(|least| key >= least)
            && self.most.as_ref().is_none_or(|most| key <= most)
            && !self.but.contains(key)
    }

    /// What it did to one of its keys; `was_told`: what is shown is the truth.
    fn effect(&self, key: &Bytes, was_told: bool) -> Option<Effect<Bytes>> {
        let finds = match was_told {
            true => Found::This(self.shown.get(key).cloned()),
            false => Found::Anything,
        };
        let leaves = self.deletes.then_some(None);
        // What was not there is not deleted.
        let leaves = leaves.filter(|_| finds != Found::This(None));
        (was_told || self.deletes).then_some(Effect::Step { finds, leaves })
    }
}

fn values(kvs: &[KeyValue]) -> BTreeMap<Bytes, Bytes> {
    let pairs = kvs.iter().map(|kv| (kv.key.clone(), kv.value.clone()));
    pairs.collect()
}
