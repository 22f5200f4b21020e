//! The store as one would explain it: a full map of the keys for every revision.

use bytes::Bytes;
use headwater_kv::check::check;
use headwater_kv::members::Roster;
use headwater_kv::request::*;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Map = BTreeMap<Bytes, KeyValue>;

/// What each version costs beside its bytes.
const OVERHEAD_BYTES: u64 = 80;

pub struct Model {
    /// By revision.
    maps: Vec<Map>,
    compacted: i64,
    versions: Vec<Version>,
    members: BTreeMap<u64, Member>,
    removed: Vec<u64>,
    /// By id, the time to live and what a checkpoint left of it.
    leases: BTreeMap<i64, (i64, i64)>,
    checkpoint: u64,
    alarms: BTreeSet<Alarm>,
}

/// One version of one key, in the order of writing.
#[derive(Clone)]
pub struct Version {
    /// As it was written; of a tombstone the key and the revision.
    pub kv: KeyValue,
    cost: u64,
    pub is_tombstone: bool,
}

/// A transaction under way.
struct Open {
    map: Map,
    written: Vec<Version>,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            maps: vec![Map::new(), Map::new()],
            compacted: -1,
            versions: Vec::new(),
            members: BTreeMap::new(),
            removed: Vec::new(),
            leases: BTreeMap::new(),
            checkpoint: 0,
            alarms: BTreeSet::new(),
        }
    }
}

impl Model {
    pub fn revision(&self) -> i64 {
        self.maps.len() as i64 - 1
    }

    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Everything ever written, in order.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// A key as it was at a revision.
    pub fn at(&self, key: &Bytes, revision: i64) -> Option<&KeyValue> {
        self.maps[revision as usize].get(key)
    }

    pub fn command(&mut self, command: &Command) -> Outcome {
        let result = self.execute(command);
        Outcome {
            revision: self.revision(),
            result,
        }
    }

    pub fn query(&self, query: &Query) -> Outcome {
        let result = match query {
            Query::Range(request) => check_range(request)
                .and_then(|()| self.range(&self.open(), request).map(Response::Range)),
            Query::Txn(request) => check_txn(request, usize::MAX)
                .and_then(|()| self.txn(&mut self.open(), request).map(Response::Txn)),
            Query::Status => Ok(Response::Status(self.status())),
            Query::Alarms(kind) => {
                let alarms = self.alarms.iter().copied();
                let alarms = alarms.filter(|alarm| kind.is_none_or(|kind| alarm.kind == kind));
                Ok(Response::Alarms(alarms.collect()))
            }
            Query::Members => {
                let members = self.members.values().cloned();
                let roster = Roster::new(members, self.removed.clone());
                Ok(Response::Members(Arc::new(roster)))
            }
            Query::LeaseTimeToLive(request) => self.time_to_live(request),
            Query::Hash(_) | Query::Copy(_) => panic!("versions are the store's own"),
            Query::Auth(_) | Query::AuthState | Query::May(_) | Query::By(..) => {
                panic!("there are no users here")
            }
            Query::LeaseLeases => Ok(Response::LeaseLeases(self.leases.keys().copied().collect())),
        };
        Outcome {
            revision: self.revision(),
            result,
        }
    }

    fn open(&self) -> Open {
        Open {
            map: self.maps.last().unwrap().clone(),
            written: Vec::new(),
        }
    }

    /// A full store takes in nothing; one that is wrong does nothing that a client asks for.
    fn check_alarms(&self, command: &Command) -> Result<(), KvError> {
        let is = |kind| self.alarms.iter().any(|alarm| alarm.kind == kind);
        let by_client = match command {
            Command::LeaseRevoke(revoke) => revoke.ended.is_none(),
            Command::Put(_) | Command::Txn(_) | Command::LeaseGrant(_) => true,
            Command::DeleteRange(_) | Command::Compact(_) => true,
            _ => false,
        };
        if by_client && is(AlarmKind::Corrupt) {
            return Err(KvError::Corrupt);
        }
        let is_larger = match command {
            Command::Put(_) | Command::LeaseGrant(_) => true,
            Command::Txn(txn) => puts_in(txn) > 0,
            _ => false,
        };
        if is_larger && is(AlarmKind::NoSpace) {
            return Err(KvError::NoSpace);
        }
        Ok(())
    }

    fn execute(&mut self, command: &Command) -> Result<Response, KvError> {
        check(command, usize::MAX)?;
        self.check_alarms(command)?;
        let mut open = self.open();
        let response = match command {
            Command::Put(request) => {
                check_put(request)?;
                self.check_lease(request.lease)?;
                Response::Put(self.put(&mut open, request)?)
            }
            Command::DeleteRange(request) => {
                check_key(&request.key)?;
                Response::DeleteRange(self.delete(&mut open, request))
            }
            Command::Txn(request) => {
                check_txn(request, usize::MAX)?;
                Response::Txn(self.txn(&mut open, request)?)
            }
            Command::Compact(request) => {
                if request.revision <= self.compacted {
                    return Err(KvError::Compacted);
                }
                if request.revision > self.revision() {
                    return Err(KvError::FutureRevision);
                }
                self.compacted = request.revision;
                Response::Compact
            }
            Command::Publish(_)
            | Command::Found(_)
            | Command::MemberAdd(..)
            | Command::MemberRemove(_)
            | Command::MemberUpdate(..) => self.on_members(command)?,
            Command::LeaseGrant(request) => self.grant(request)?,
            Command::LeaseRevoke(request) => self.revoke(&mut open, request)?,
            Command::LeaseCheckpoint(request) => self.take_checkpoint(request)?,
            Command::Auth(_) | Command::By(..) => panic!("there are no users here"),
            Command::Alarm(request) => {
                let told = request.is_raised || self.alarms.contains(&request.alarm);
                match request.is_raised {
                    true => self.alarms.insert(request.alarm),
                    false => self.alarms.remove(&request.alarm),
                };
                Response::Alarms(told.then_some(request.alarm).into_iter().collect())
            }
        };
        if !open.written.is_empty() {
            self.maps.push(open.map);
            self.versions.extend(open.written);
        }
        Ok(response)
    }

    fn on_members(&mut self, command: &Command) -> Result<Response, KvError> {
        let fits = |text: &String| text.len() <= 1024;
        let all_fit = |urls: &[String]| urls.len() <= 16 && urls.iter().all(fits);
        match command {
            Command::Publish(said) => {
                if !fits(&said.name) || !all_fit(&said.client_urls) {
                    return Err(KvError::AttributesTooLarge);
                }
                let member = self.member(said.member)?;
                member.name.clone_from(&said.name);
                member.client_urls.clone_from(&said.client_urls);
            }
            Command::MemberAdd(id, urls) | Command::MemberUpdate(id, urls) => {
                if !all_fit(urls) {
                    return Err(KvError::AttributesTooLarge);
                }
                if matches!(command, Command::MemberUpdate(..)) {
                    if !self.members.contains_key(id) {
                        return Err(KvError::MemberNotFound);
                    }
                    let mut others = self.members.values().filter(|other| other.id != *id);
                    if others.any(|other| other.peer_urls.iter().any(|url| urls.contains(url))) {
                        return Err(KvError::PeerUrlsExist);
                    }
                }
                self.member(*id)?.peer_urls.clone_from(urls);
            }
            Command::MemberRemove(id) => {
                self.members.remove(id);
                if !self.removed.contains(id) {
                    self.removed.push(*id);
                }
            }
            Command::Found(founders) => {
                let mut founders = founders.clone();
                founders.retain(|founder| !self.removed.contains(&founder.id));
                let is_new = |founder: &Member| {
                    let known = self.members.get(&founder.id);
                    known.is_none_or(|known| known.peer_urls.is_empty())
                };
                if founders.iter().any(is_new) {
                    self.members
                        .retain(|id, _| founders.iter().any(|founder| founder.id == *id));
                } else {
                    founders.clear();
                }
                for founder in &founders {
                    let member = self.member(founder.id)?;
                    if member.peer_urls.is_empty() {
                        member.peer_urls.clone_from(&founder.peer_urls);
                    }
                    if member.name.is_empty() {
                        member.name.clone_from(&founder.name);
                    }
                }
            }
            _ => unreachable!("no command about members: {command:?}"),
        }
        Ok(Response::Publish)
    }

    fn member(&mut self, id: u64) -> Result<&mut Member, KvError> {
        if self.removed.contains(&id) {
            return Err(KvError::MemberNotFound);
        }
        if !self.members.contains_key(&id) && self.members.len() == 64 {
            return Err(KvError::TooManyMembers);
        }
        let member = self.members.entry(id).or_default();
        member.id = id;
        Ok(member)
    }

    fn check_lease(&self, lease: i64) -> Result<(), KvError> {
        if lease != 0 && !self.leases.contains_key(&lease) {
            return Err(KvError::LeaseNotFound);
        }
        Ok(())
    }

    fn grant(&mut self, request: &LeaseGrantRequest) -> Result<Response, KvError> {
        if request.id == 0 {
            return Err(KvError::LeaseNotFound);
        }
        if request.ttl > 9_000_000_000 {
            return Err(KvError::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&request.id) {
            return Err(KvError::LeaseExists);
        }
        let (id, ttl) = (request.id, request.ttl.max(1));
        self.leases.insert(id, (ttl, ttl));
        Ok(Response::LeaseGrant(LeaseGrantResponse { id, ttl }))
    }

    /// All commands here are of term 0 and index 0.
    fn revoke(
        &mut self,
        open: &mut Open,
        request: &LeaseRevokeRequest,
    ) -> Result<Response, KvError> {
        if !self.leases.contains_key(&request.id) {
            return Err(KvError::LeaseNotFound);
        }
        if request.ended.is_some_and(|ended| ended != Ended::default()) {
            return Err(KvError::LeaseDecisionVoid);
        }
        self.leases.remove(&request.id);
        for key in self.keys_of(request.id) {
            let (range_end, prev_kv) = (Bytes::new(), false);
            let delete = DeleteRangeRequest {
                key,
                range_end,
                prev_kv,
            };
            self.delete(open, &delete);
        }
        Ok(Response::LeaseRevoke)
    }

    fn take_checkpoint(&mut self, request: &LeaseCheckpointRequest) -> Result<Response, KvError> {
        if request.term != 0 || request.number <= self.checkpoint {
            return Err(KvError::LeaseDecisionVoid);
        }
        self.checkpoint = request.number;
        for left in request.leases.iter().filter(|left| left.granted == 0) {
            if let Some((ttl, remaining)) = self.leases.get_mut(&left.id) {
                let is_given_back = left.seconds <= 0;
                *remaining = if is_given_back {
                    *ttl
                } else {
                    left.seconds.min(*ttl)
                };
            }
        }
        Ok(Response::LeaseCheckpoint)
    }

    fn keys_of(&self, lease: i64) -> Vec<Bytes> {
        let keys = self.maps.last().unwrap().values();
        keys.filter(|kv| kv.lease == lease)
            .map(|kv| kv.key.clone())
            .collect()
    }

    fn time_to_live(&self, request: &LeaseTimeToLiveRequest) -> Result<Response, KvError> {
        let lease = self.leases.get(&request.id);
        let (granted_ttl, remaining_ttl) = *lease.ok_or(KvError::LeaseNotFound)?;
        let mut keys = self.keys_of(request.id);
        keys.retain(|_| request.keys);
        Ok(Response::LeaseTimeToLive(LeaseTimeToLiveResponse {
            id: request.id,
            granted_ttl,
            remaining_ttl,
            keys,
        }))
    }

    fn range(&self, open: &Open, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        let current = self.revision() + i64::from(!open.written.is_empty());
        let map = match request.revision {
            asked if asked > current => return Err(KvError::FutureRevision),
            asked if asked <= 0 || asked == current => &open.map,
            asked if asked < self.compacted => return Err(KvError::Compacted),
            asked => &self.maps[asked as usize],
        };
        let mut kvs: Vec<KeyValue> = map
            .values()
            .filter(|kv| contains(&request.key, &request.range_end, &kv.key))
            .cloned()
            .collect();
        let count = kvs.len() as i64;
        if request.count_only {
            return Ok(RangeResponse {
                kvs: Vec::new(),
                more: false,
                count,
            });
        }
        let bounds = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ];
        let limit = if request.limit > 0 {
            request.limit as usize
        } else {
            usize::MAX
        };
        if request.sort_order == SortOrder::None && bounds == [0; 4] {
            kvs.truncate(limit.saturating_add(1));
        }
        kvs.retain(|kv| {
            (bounds[0] == 0 || kv.mod_revision >= bounds[0])
                && (bounds[1] == 0 || kv.mod_revision <= bounds[1])
                && (bounds[2] == 0 || kv.create_revision >= bounds[2])
                && (bounds[3] == 0 || kv.create_revision <= bounds[3])
        });
        kvs.sort_by(|x, y| {
            let ordering = match request.sort_target {
                SortTarget::Key | SortTarget::Unknown => x.key.cmp(&y.key),
                SortTarget::Version => x.version.cmp(&y.version),
                SortTarget::Create => x.create_revision.cmp(&y.create_revision),
                SortTarget::Mod => x.mod_revision.cmp(&y.mod_revision),
                SortTarget::Value => x.value.cmp(&y.value),
            };
            if request.sort_order == SortOrder::Descend {
                ordering.reverse()
            } else {
                ordering
            }
        });
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResponse { kvs, more, count })
    }

    fn put(&self, open: &mut Open, request: &PutRequest) -> Result<PutResponse, KvError> {
        let before = open.map.get(&request.key).cloned();
        if (request.ignore_value || request.ignore_lease) && before.is_none() {
            return Err(KvError::KeyNotFound);
        }
        let main = self.revision() + 1;
        let mut kv = KeyValue {
            key: request.key.clone(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: request.value.clone(),
            lease: request.lease,
        };
        if let Some(before) = &before {
            kv.create_revision = before.create_revision;
            kv.version = before.version + 1;
            if request.ignore_value {
                kv.value = before.value.clone();
            }
            if request.ignore_lease {
                kv.lease = before.lease;
            }
        }
        open.written.push(Version {
            kv: kv.clone(),
            cost: OVERHEAD_BYTES + (kv.key.len() + kv.value.len()) as u64,
            is_tombstone: false,
        });
        open.map.insert(request.key.clone(), kv);
        Ok(PutResponse {
            prev_kv: before.filter(|_| request.prev_kv),
        })
    }

    fn delete(&self, open: &mut Open, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let main = self.revision() + 1;
        let (gone, left): (Map, Map) = std::mem::take(&mut open.map)
            .into_iter()
            .partition(|(key, _)| contains(&request.key, &request.range_end, key));
        open.map = left;
        open.written.extend(gone.keys().map(|key| Version {
            kv: KeyValue {
                key: key.clone(),
                mod_revision: main,
                ..Default::default()
            },
            cost: OVERHEAD_BYTES + key.len() as u64,
            is_tombstone: true,
        }));
        let deleted = gone.len() as i64;
        let prev_kvs = if request.prev_kv {
            gone.into_values().collect()
        } else {
            Vec::new()
        };
        DeleteRangeResponse { deleted, prev_kvs }
    }

    fn txn(&self, open: &mut Open, txn: &TxnRequest) -> Result<TxnResponse, KvError> {
        let ops = self.path(txn);
        for op in &ops {
            if let RequestOp::Put(request) = op {
                let is_there = self.maps.last().unwrap().contains_key(&request.key);
                if (request.ignore_value || request.ignore_lease) && !is_there {
                    return Err(KvError::KeyNotFound);
                }
                self.check_lease(request.lease)?;
            }
        }
        for op in &ops {
            if let RequestOp::Range(request) = op {
                if request.revision > self.revision() {
                    return Err(KvError::FutureRevision);
                }
                if request.revision != 0 && request.revision < self.compacted {
                    return Err(KvError::Compacted);
                }
            }
        }
        self.run(open, txn)
    }

    /// All operations that will be done.
    fn path<'a>(&self, txn: &'a TxnRequest) -> Vec<&'a RequestOp> {
        let ops = if self.decide(txn) {
            &txn.success
        } else {
            &txn.failure
        };
        let flat = |op: &'a RequestOp| match op {
            RequestOp::Txn(nested) => self.path(nested),
            op => vec![op],
        };
        ops.iter().flat_map(flat).collect()
    }

    fn run(&self, open: &mut Open, txn: &TxnRequest) -> Result<TxnResponse, KvError> {
        let succeeded = self.decide(txn);
        let mut responses = Vec::new();
        for op in if succeeded {
            &txn.success
        } else {
            &txn.failure
        } {
            responses.push(match op {
                RequestOp::Range(request) => ResponseOp::Range(self.range(open, request)?),
                RequestOp::Put(request) => ResponseOp::Put(self.put(open, request)?),
                RequestOp::DeleteRange(request) => {
                    ResponseOp::DeleteRange(self.delete(open, request))
                }
                RequestOp::Txn(nested) => ResponseOp::Txn(self.run(open, nested)?),
                RequestOp::Missing => unreachable!("checked"),
            });
        }
        Ok(TxnResponse {
            succeeded,
            responses,
        })
    }

    fn decide(&self, txn: &TxnRequest) -> bool {
        txn.compare.iter().all(|compare| {
            let is_value = matches!(compare.target, CompareTarget::Value(_));
            let mut subjects: Vec<KeyValue> = self.maps.last().unwrap().values().cloned().collect();
            subjects.retain(|kv| contains(&compare.key, &compare.range_end, &kv.key));
            if subjects.is_empty() {
                return !is_value && compares(compare, &KeyValue::default());
            }
            subjects.iter().all(|kv| compares(compare, kv))
        })
    }

    fn status(&self) -> StoreStatus {
        StoreStatus {
            revision: self.revision(),
            compact_revision: self.compacted,
            keys: self.maps.last().unwrap().len() as u64,
            size_bytes: self.size_after(self.compacted) + 64 * self.leases.len() as u64,
            size_in_use_bytes: self.size_after(self.revision()) + 64 * self.leases.len() as u64,
        }
    }

    /// The cost of what a compaction to `compacted` keeps.
    fn size_after(&self, compacted: i64) -> u64 {
        let mut newest = BTreeMap::new();
        let mut size = 0;
        for version in &self.versions {
            if version.kv.mod_revision > compacted {
                size += version.cost;
            } else {
                newest.insert(&version.kv.key, version);
            }
        }
        size + newest
            .values()
            .filter(|v| !v.is_tombstone)
            .map(|v| v.cost)
            .sum::<u64>()
    }
}

fn compares(compare: &Compare, kv: &KeyValue) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(operand) => kv.version.cmp(operand),
        CompareTarget::Create(operand) => kv.create_revision.cmp(operand),
        CompareTarget::Mod(operand) => kv.mod_revision.cmp(operand),
        CompareTarget::Value(operand) => kv.value.cmp(operand),
        CompareTarget::Lease(operand) => kv.lease.cmp(operand),
        CompareTarget::Unknown => Ordering::Equal,
    };
    match compare.result {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
        CompareResult::NotEqual => ordering != Ordering::Equal,
        CompareResult::Unknown => true,
    }
}

pub fn contains(start: &Bytes, end: &Bytes, key: &Bytes) -> bool {
    match &end[..] {
        b"" => key == start,
        b"\0" => key >= start,
        end => key >= start && key < end,
    }
}

fn check_key(key: &Bytes) -> Result<(), KvError> {
    if key.is_empty() {
        Err(KvError::EmptyKey)
    } else {
        Ok(())
    }
}

fn check_range(request: &RangeRequest) -> Result<(), KvError> {
    check_key(&request.key)?;
    let is_unknown =
        request.sort_order == SortOrder::Unknown || request.sort_target == SortTarget::Unknown;
    if is_unknown {
        Err(KvError::InvalidSortOption)
    } else {
        Ok(())
    }
}

fn check_put(request: &PutRequest) -> Result<(), KvError> {
    check_key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(KvError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(KvError::LeaseProvided);
    }
    Ok(())
}

/// The stateless checks of a transaction, the slow way.
pub fn check_txn(txn: &TxnRequest, ops_max: usize) -> Result<(), KvError> {
    check_ops(txn, ops_max)?;
    writes(&txn.success)?;
    writes(&txn.failure)?;
    Ok(())
}

fn check_ops(txn: &TxnRequest, ops_max: usize) -> Result<(), KvError> {
    let ops = *[txn.compare.len(), txn.success.len(), txn.failure.len()]
        .iter()
        .max()
        .unwrap();
    if ops > ops_max {
        return Err(KvError::TooManyOps);
    }
    for compare in &txn.compare {
        check_key(&compare.key)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            RequestOp::Range(request) => check_range(request)?,
            RequestOp::Put(request) => check_put(request)?,
            RequestOp::DeleteRange(request) => check_key(&request.key)?,
            RequestOp::Txn(nested) => check_ops(nested, ops_max - ops)?,
            RequestOp::Missing => return Err(KvError::KeyNotFound),
        }
    }
    Ok(())
}

type Writes = (BTreeSet<Bytes>, Vec<DeleteRangeRequest>);

fn writes(ops: &[RequestOp]) -> Result<Writes, KvError> {
    let mut puts = BTreeSet::new();
    let mut deletes: Vec<DeleteRangeRequest> = Vec::new();
    let is_deleted = |deletes: &[DeleteRangeRequest], key: &Bytes| {
        let mut literal = deletes
            .iter()
            .filter(|delete| &delete.range_end[..] != b"\0");
        literal.any(|delete| contains(&delete.key, &delete.range_end, key))
    };
    for op in ops {
        if let RequestOp::DeleteRange(request) = op {
            deletes.push(request.clone());
        }
    }
    for op in ops {
        if let RequestOp::Txn(nested) = op {
            let (then_puts, then_deletes) = writes(&nested.success)?;
            let (else_puts, else_deletes) = writes(&nested.failure)?;
            let either: BTreeSet<Bytes> = then_puts.union(&else_puts).cloned().collect();
            for key in either {
                if is_deleted(&deletes, &key) || !puts.insert(key) {
                    return Err(KvError::DuplicateKey);
                }
            }
            deletes.extend(then_deletes);
            deletes.extend(else_deletes);
        }
    }
    for op in ops {
        if let RequestOp::Put(request) = op
            && (is_deleted(&deletes, &request.key) || !puts.insert(request.key.clone()))
        {
            return Err(KvError::DuplicateKey);
        }
    }
    Ok((puts, deletes))
}

/// How many puts there are in a transaction, whichever way it goes.
fn puts_in(txn: &TxnRequest) -> usize {
    let both = txn.success.iter().chain(&txn.failure);
    both.map(|op| match op {
        RequestOp::Put(_) => 1,
        RequestOp::Txn(nested) => puts_in(nested),
        _ => 0,
    })
    .sum()
}
