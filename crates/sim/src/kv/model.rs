//! The store as one would explain it: every version of every key, and which revision each command
//! led to. Knows only the commands that its clients make.
//! Never shares code with the store it judges.
//!
//! # Source
//! The etcd v3 API, package `etcdserverpb`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::request::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Ended,
    KeyValue, KvError, LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest, Member, Outcome,
    PutRequest, PutResponse, Query, RangeRequest, RangeResponse, RequestOp, Response, ResponseOp,
    SortOrder, StoreStatus, TxnRequest, TxnResponse,
};
use headwater_raft::{Index, LogId};
use headwater_replica::machine::StateMachine;

use crate::application;

/// The end of a range that means: all keys.
const ALL: &[u8] = b"\0";

/// All that committed commands have made of the store.
#[derive(Debug)]
pub struct Model {
    /// Each key's versions: the revision, and the key then or nothing.
    keys: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
    /// All changes in order: the revision, and the key.
    changes: Vec<(i64, Bytes)>,
    /// The log index that granted each lease.
    leases: BTreeMap<i64, u64>,
    /// The members, and who was one.
    members: BTreeMap<u64, Member>,
    removed: Vec<u64>,
    /// Term and number of the last checkpoint of leases.
    checkpoint: (u64, u64),
    /// The leases that a leader found to have ended, and that did.
    pub(super) ended: Vec<(i64, Ended)>,
    revision: i64,
    compacted: i64,
    /// What each command led to.
    after: BTreeMap<Index, After>,
}

/// After a command.
#[derive(Debug)]
struct After {
    reply: Outcome,
    compacted: i64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            changes: Vec::new(),
            leases: BTreeMap::new(),
            members: BTreeMap::new(),
            removed: Vec::new(),
            checkpoint: (0, 0),
            ended: Vec::new(),
            revision: 1,
            compacted: -1,
            after: BTreeMap::new(),
        }
    }
}

impl application::Model<Store> for Model {
    fn apply(&mut self, at: LogId, command: &Bytes) -> Result<(), String> {
        let command = Command::decode(command).map_err(|error| format!("{error:?}"))?;
        let reply = self.carry_out(at, &command);
        let compacted = self.compacted;
        self.after.insert(at.index, After { reply, compacted });
        Ok(())
    }

    fn judge_reply(&self, at: Index, reply: &Outcome) -> Result<(), String> {
        let expected = self.after.get(&at).map(|after| &after.reply);
        same(Some(reply), expected, "was told")
    }

    fn judge_answer(&self, at: Index, query: &Query, answer: &Outcome) -> Result<(), String> {
        let Query::Range(request) = query else {
            return Err(format!("clients ask for ranges, not {query:?}"));
        };
        let (revision, compacted) = self.after(at);
        let result = match request.revision {
            asked if asked > revision => Err(KvError::FutureRevision),
            1.. if request.revision < compacted => Err(KvError::Compacted),
            1.. => Ok(Response::Range(self.range(request, request.revision))),
            _ => Ok(Response::Range(self.range(request, revision))),
        };
        let told = format!("{request:?} saw");
        same(answer, &Outcome { revision, result }, &told)
    }

    fn judge_machine(&self, at: Index, machine: &Store) -> Result<(), String> {
        let (revision, _) = self.after(at);
        let expected = Outcome {
            revision,
            result: Ok(Response::Range(self.range(&all_keys(), revision))),
        };
        same(&machine.query(Query::Range(all_keys())), &expected, "holds")
    }

    /// All count alike, and what the model counts as it does.
    fn judge_all(&self, machines: &[&Store]) -> Result<(), String> {
        let mut first = None;
        for machine in machines {
            let Outcome { revision, result } = machine.query(Query::Status);
            let Ok(Response::Status(has)) = result else {
                return Err("a store does not tell its status".into());
            };
            let expected = *first.get_or_insert(StoreStatus {
                revision: self.revision,
                compact_revision: self.compacted,
                keys: self.range(&all_keys(), self.revision).count as u64,
                ..has
            });
            same(revision, self.revision, "is at revision")?;
            same(has, expected, "counts")?;
            let Ok(Response::Members(roster)) = machine.query(Query::Members).result else {
                return Err("a store does not tell its members".into());
            };
            let has = roster.members().cloned().collect();
            let members: Vec<Member> = self.members.values().cloned().collect();
            same::<Vec<Member>>(has, members, "knows of members")?;
            same(roster.removed(), &self.removed[..], "removed")?;
        }
        Ok(())
    }
}

fn same<T: PartialEq + Debug>(has: T, expected: T, word: &str) -> Result<(), String> {
    if has == expected {
        return Ok(());
    }
    Err(format!("{word} {has:?} instead of {expected:?}"))
}

impl Model {
    /// The revision after the command at an index, and what was compacted then.
    fn after(&self, at: Index) -> (i64, i64) {
        let after = self.after.get(&at);
        after.map_or((1, -1), |after| (after.reply.revision, after.compacted))
    }

    /// All leases.
    pub(super) fn leases(&self) -> impl Iterator<Item = i64> {
        self.leases.keys().copied()
    }

    /// The changes from a revision on: the revision, and the key.
    pub(super) fn changes_since(&self, revision: i64) -> impl Iterator<Item = &(i64, Bytes)> {
        let first = self.changes.partition_point(|(at, _)| *at < revision);
        self.changes[first..].iter()
    }

    /// A key before and after the change of it at a revision.
    pub(super) fn change(
        &self,
        key: &Bytes,
        revision: i64,
    ) -> (Option<KeyValue>, Option<KeyValue>) {
        let versions = &self.keys[key];
        let place = versions.partition_point(|(at, _)| *at < revision);
        let before = place
            .checked_sub(1)
            .and_then(|last| versions[last].1.clone());
        (before, versions[place].1.clone())
    }

    /// Carries out a command.
    fn carry_out(&mut self, at: LogId, command: &Command) -> Outcome {
        let next = self.revision + 1;
        let mut wrote = false;
        let result = match command {
            Command::Put(put) => {
                wrote = put.lease == 0 || self.leases.contains_key(&put.lease);
                if wrote {
                    Ok(Response::Put(self.put(put, next)))
                } else {
                    Err(KvError::LeaseNotFound)
                }
            }
            Command::DeleteRange(delete) => {
                let response = self.delete(delete, next);
                wrote = response.deleted > 0;
                Ok(Response::DeleteRange(response))
            }
            // The only one that plans ask for is to keep the value of a key that is gone by then.
            Command::Txn(txn) if has_another_within(txn) => Err(KvError::KeyNotFound),
            Command::Txn(txn) => Ok(Response::Txn(self.txn(txn, next, &mut wrote))),
            Command::Compact(request) => self.compact(request.revision),
            Command::Publish(said) => self.on_member(said.member, |member| {
                member.name.clone_from(&said.name);
                member.client_urls.clone_from(&said.client_urls);
            }),
            Command::MemberAdd(id, urls) | Command::MemberUpdate(id, urls) => {
                self.on_member(*id, |member| member.peer_urls.clone_from(urls))
            }
            Command::Found(founders) => {
                for founder in founders {
                    // Nobody is asked for twice, nor after it was removed.
                    self.members
                        .entry(founder.id)
                        .or_insert_with(|| founder.clone());
                }
                Ok(Response::Publish)
            }
            Command::MemberRemove(id) => {
                self.members.remove(id);
                if !self.removed.contains(id) {
                    self.removed.push(*id);
                }
                Ok(Response::Publish)
            }
            Command::LeaseGrant(request) => self.grant(at, request),
            Command::LeaseRevoke(request) => self.revoke(at, request, &mut wrote),
            // No plan lets a server raise one.
            Command::Alarm(_) => Ok(Response::Alarms(Vec::new())),
            // Nor are there users in them.
            Command::Auth(_) | Command::By(..) => Err(KvError::MalformedCommand),
            Command::LeaseCheckpoint(request) => {
                let named = (request.term, request.number);
                if request.term == at.term.0 && named > self.checkpoint {
                    self.checkpoint = named;
                    Ok(Response::LeaseCheckpoint)
                } else {
                    Err(KvError::LeaseDecisionVoid)
                }
            }
        };
        self.revision += i64::from(wrote);
        Outcome {
            revision: self.revision,
            result,
        }
    }

    fn compact(&mut self, revision: i64) -> Result<Response, KvError> {
        if revision <= self.compacted {
            return Err(KvError::Compacted);
        }
        if revision > self.revision {
            return Err(KvError::FutureRevision);
        }
        self.compacted = revision;
        Ok(Response::Compact)
    }

    /// Something is said of a member.
    fn on_member(&mut self, id: u64, said: impl FnOnce(&mut Member)) -> Result<Response, KvError> {
        if self.removed.contains(&id) {
            return Err(KvError::MemberNotFound);
        }
        said(self.members.entry(id).or_insert_with(|| Member {
            id,
            ..Member::default()
        }));
        Ok(Response::Publish)
    }

    fn grant(&mut self, at: LogId, request: &LeaseGrantRequest) -> Result<Response, KvError> {
        let (id, ttl) = (request.id, request.ttl);
        if self.leases.contains_key(&id) {
            return Err(KvError::LeaseExists);
        }
        self.leases.insert(id, at.index.0);
        Ok(Response::LeaseGrant(LeaseGrantResponse { id, ttl }))
    }

    /// Deletes the keys that have the lease now.
    fn revoke(
        &mut self,
        at: LogId,
        request: &LeaseRevokeRequest,
        wrote: &mut bool,
    ) -> Result<Response, KvError> {
        let granted = self.leases.get(&request.id);
        let granted = *granted.ok_or(KvError::LeaseNotFound)?;
        if let Some(ended) = request.ended {
            if (ended.term, ended.granted) != (at.term.0, granted) {
                return Err(KvError::LeaseDecisionVoid);
            }
            self.ended.push((request.id, ended));
        }
        self.leases.remove(&request.id);
        let revision = self.revision + 1;
        for (key, versions) in &mut self.keys {
            let now = versions.last().and_then(|(_, kv)| kv.as_ref());
            if now.is_some_and(|kv| kv.lease == request.id) {
                versions.push((revision, None));
                self.changes.push((revision, key.clone()));
                *wrote = true;
            }
        }
        Ok(Response::LeaseRevoke)
    }

    fn put(&mut self, put: &PutRequest, revision: i64) -> PutResponse {
        let old = self.current(&put.key);
        let fresh = KeyValue {
            key: put.key.clone(),
            create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            value: put.value.clone(),
            lease: put.lease,
        };
        let versions = self.keys.entry(put.key.clone()).or_default();
        versions.push((revision, Some(fresh)));
        self.changes.push((revision, put.key.clone()));
        PutResponse {
            prev_kv: old.filter(|_| put.prev_kv),
        }
    }

    /// Deletes the keys of a range.
    fn delete(&mut self, delete: &DeleteRangeRequest, revision: i64) -> DeleteRangeResponse {
        let mut prev_kvs = Vec::new();
        let asked = |key: &Bytes| is_in(key, &delete.key, &delete.range_end);
        let found = self.keys.range_mut(delete.key.clone()..);
        for (key, versions) in found.take_while(|(key, _)| asked(key)) {
            if let Some(old) = versions.last().and_then(|(_, kv)| kv.clone()) {
                versions.push((revision, None));
                self.changes.push((revision, key.clone()));
                prev_kvs.push(old);
            }
        }
        DeleteRangeResponse {
            deleted: prev_kvs.len() as i64,
            prev_kvs: prev_kvs.into_iter().filter(|_| delete.prev_kv).collect(),
        }
    }

    fn txn(&mut self, txn: &TxnRequest, revision: i64, wrote: &mut bool) -> TxnResponse {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let branch = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let mut responses = Vec::new();
        for op in branch {
            responses.push(match op {
                RequestOp::Put(put) => {
                    *wrote = true;
                    ResponseOp::Put(self.put(put, revision))
                }
                RequestOp::DeleteRange(delete) => {
                    let response = self.delete(delete, revision);
                    *wrote |= response.deleted > 0;
                    ResponseOp::DeleteRange(response)
                }
                RequestOp::Range(range) => ResponseOp::Range(self.range(range, i64::MAX)),
                RequestOp::Txn(_) | RequestOp::Missing => {
                    unreachable!("the workload makes no such operation")
                }
            });
        }
        TxnResponse {
            succeeded,
            responses,
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let kv = self.current(&compare.key);
        let number = |of: fn(&KeyValue) -> i64| kv.as_ref().map_or(0, of);
        let order = match &compare.target {
            CompareTarget::Mod(operand) => number(|kv| kv.mod_revision).cmp(operand),
            CompareTarget::Version(operand) => number(|kv| kv.version).cmp(operand),
            // Nothing has no value that could be compared.
            CompareTarget::Value(operand) => match &kv {
                Some(kv) => kv.value.cmp(operand),
                None => return false,
            },
            _ => unreachable!("the workload makes no such comparison"),
        };
        match compare.result {
            CompareResult::Equal => order.is_eq(),
            CompareResult::NotEqual => order.is_ne(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
            CompareResult::Unknown => unreachable!("the workload makes no such comparison"),
        }
    }

    fn current(&self, key: &Bytes) -> Option<KeyValue> {
        self.keys.get(key)?.last()?.1.clone()
    }

    /// The keys that `request` asks for, as of `revision`.
    fn range(&self, request: &RangeRequest, revision: i64) -> RangeResponse {
        let asked = |key: &Bytes| is_in(key, &request.key, &request.range_end);
        let found = self.keys.range(request.key.clone()..);
        let mut kvs: Vec<KeyValue> = found
            .take_while(|(key, _)| asked(key))
            .filter_map(|(_, versions)| {
                let upto = versions.partition_point(|&(at, _)| at <= revision);
                versions[..upto].last()?.1.clone()
            })
            .collect();
        let count = kvs.len() as i64;
        if request.sort_order == SortOrder::Descend {
            kvs.reverse();
        }
        let more = request.limit > 0 && count > request.limit;
        if more {
            kvs.truncate(request.limit as usize);
        }
        RangeResponse { kvs, more, count }
    }
}

fn has_another_within(txn: &TxnRequest) -> bool {
    let mut ops = txn.success.iter();
    ops.any(|op| matches!(op, RequestOp::Txn(_)))
}

/// Whether a key, which is not before the start, is in the range that a request names.
pub(super) fn is_in(key: &Bytes, start: &Bytes, end: &Bytes) -> bool {
    match &**end {
        [] => key == start,
        ALL => true,
        _ => key < end,
    }
}

/// All keys.
pub(crate) fn all_keys() -> RangeRequest {
    RangeRequest {
        key: Bytes::from_static(ALL),
        range_end: Bytes::from_static(ALL),
        ..RangeRequest::default()
    }
}
