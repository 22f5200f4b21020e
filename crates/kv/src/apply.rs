//! One command, carried out; one query, answered.
//! Never fails and never depends on anything but the commands before.
//!
//! # Source
//! etcd v3 API, services `KV` and `Lease`; Raft paper §2 (replicated state machines).

use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use headwater_replica::LogId;
use headwater_replica::machine::{Malformed, StateMachine};

use crate::agreement::Sum;
use crate::alarm::Alarms;
use crate::auth::{Asker, Auth, AuthQuery, Right};
use crate::check::{check, check_query};
use crate::compaction::{Hold, compact, purge_some};
use crate::copy::copy;
use crate::hash::hash;
use crate::index::KeyRange;
use crate::lease::Leases;
use crate::members::{Members, Roster};
use crate::mvcc::{Mvcc, Put};
use crate::range::range;
use crate::record::Record;
use crate::request::{
    Command, DeleteRangeRequest, DeleteRangeResponse, KvError, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, Outcome, PutRequest, PutResponse, Query, Response, StoreStatus,
};
use crate::snapshot::{Loading, Walk};
use crate::tally::Tallied;
use crate::txn;
use crate::watch::WatchRequest;

/// The replicated key-value store.
#[derive(Debug, Default)]
pub struct Store {
    mvcc: Mvcc,
    leases: Leases,
    members: Members,
    alarms: Alarms,
    auth: Arc<Auth>,
    hold: Hold,
    loading: Loading,
}

impl StateMachine for Store {
    type Reply = Outcome;
    type Query = Query;
    type Answer = Outcome;
    type Walk = Walk;

    fn apply(&mut self, at: LogId, command: &Bytes) -> Outcome {
        let result = Command::decode(command).and_then(|command| self.execute(at, &command));
        Outcome {
            revision: self.mvcc.revision(),
            result,
        }
    }

    fn tidy(&mut self) -> bool {
        purge_some(&mut self.mvcc, &self.hold)
    }

    fn query(&self, query: Query) -> Outcome {
        Outcome {
            revision: self.mvcc.revision(),
            result: self.answer(&query),
        }
    }

    fn begin_snapshot(&mut self) -> Walk {
        let beside = (&self.members, self.alarms.of(None), &self.auth);
        Walk::begin(&self.mvcc, &self.leases, beside, &mut self.hold)
    }

    fn next_chunk(&mut self, walk: &mut Walk, max_bytes: usize) -> Option<Bytes> {
        walk.next_chunk(&self.mvcc, max_bytes)
    }

    fn load_chunk(&mut self, chunk: Bytes) -> Result<(), Malformed> {
        let Store {
            mvcc,
            leases,
            members,
            alarms,
            auth,
            loading,
            ..
        } = self;
        loading.take(mvcc, leases, (members, alarms, auth), &chunk)
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        self.loading.finish(&mut self.mvcc, &self.leases)
    }

    fn size_bytes(&self) -> u64 {
        // What the members say of themselves is bounded and small, and no part of the database.
        self.status().size_bytes
    }

    fn grows(command: &Bytes) -> bool {
        // What cannot be read is refused when it is applied.
        Command::decode(command).is_ok_and(|command| match command.wanted() {
            Command::Put(_) | Command::LeaseGrant(_) => true,
            Command::Txn(request) => txn::has_put(request),
            Command::Auth(request) => request.grows(),
            // The members and what they say of themselves are few, and who is to leave must not be
            // held.
            Command::DeleteRange(_)
            | Command::Compact(_)
            | Command::LeaseRevoke(_)
            | Command::LeaseCheckpoint(_)
            | Command::Alarm(_)
            | Command::Publish(_)
            | Command::Found(_)
            | Command::MemberAdd(..)
            | Command::MemberRemove(_)
            | Command::MemberUpdate(..)
            | Command::By(..) => false,
        })
    }
}

impl Store {
    /// The sum over all that was written since this store began.
    pub fn sum(&self) -> Sum {
        self.mvcc.sum()
    }

    /// What was done to the keys since this store began.
    pub fn tallied(&self) -> Tallied {
        self.mvcc.tally().now()
    }

    /// All versions of all keys, for those who watch.
    pub(crate) fn mvcc(&self) -> &Mvcc {
        &self.mvcc
    }

    /// Both, to be filled.
    pub(crate) fn parts_mut(&mut self) -> (&mut Mvcc, &mut Leases) {
        (&mut self.mvcc, &mut self.leases)
    }

    /// All leases, for who watches over them.
    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Who the members are, as far as this was told. Another one after each change: whoever looks
    /// on may compare pointers.
    pub fn roster(&self) -> &Arc<Roster> {
        self.members.roster()
    }

    /// Users, roles and rights. Another value after each change: whoever looks on may compare
    /// pointers.
    pub fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// Puts users, roles and rights of elsewhere into a store that has none.
    pub fn restore_auth(&mut self, auth: Auth) {
        self.auth = Arc::new(auth);
    }

    fn execute(&mut self, at: LogId, command: &Command) -> Result<Response, KvError> {
        // A server checks before it proposes. Checking again here keeps the store sound whoever
        // proposed; the limit on operations is that server's own setting, so it plays no part.
        check(command, usize::MAX)?;
        let (asker, command) = command.parts();
        self.auth.permit(&self.mvcc, asker, command)?;
        self.alarms.check(command)?;
        let (mvcc, leases) = (&mut self.mvcc, &mut self.leases);
        let operations = mvcc.tally().operations();
        let result = match command {
            Command::Put(request) => put(mvcc, leases, request).map(Response::Put),
            Command::DeleteRange(request) => Ok(Response::DeleteRange(delete_range(mvcc, request))),
            Command::Txn(request) => txn::apply(mvcc, leases, request).map(Response::Txn),
            Command::Compact(request) => compact(mvcc, request).map(|()| Response::Compact),
            Command::Publish(attributes) => {
                self.members.publish(attributes).map(|()| Response::Publish)
            }
            Command::Found(founders) => self.members.found(founders).map(|()| Response::Publish),
            Command::MemberAdd(id, urls) => self.members.add(*id, urls).map(|()| Response::Publish),
            Command::MemberRemove(id) => {
                self.members.remove(*id);
                Ok(Response::Publish)
            }
            Command::MemberUpdate(id, urls) => {
                self.members.update(*id, urls).map(|()| Response::Publish)
            }
            Command::Alarm(request) => Ok(Response::Alarms(self.alarms.change(request))),
            Command::Auth(request) => {
                Auth::change(&mut self.auth, request).map(|()| Response::Auth(self.auth.clone()))
            }
            Command::By(..) => Err(KvError::MalformedCommand),
            Command::LeaseGrant(request) => leases
                .grant(at, request)
                .inspect(|_| mvcc.tally().leases_granted.add(1))
                .map(Response::LeaseGrant),
            Command::LeaseRevoke(request) => leases
                .revoke(mvcc, at, request)
                .map(|()| Response::LeaseRevoke),
            Command::LeaseCheckpoint(request) => leases
                .take_checkpoint(at, request)
                .map(|()| Response::LeaseCheckpoint),
        };
        mvcc.tally().end_request(operations);
        match &result {
            Ok(_) => mvcc.commit(),
            Err(_) => mvcc.roll_back(),
        }
        result
    }

    fn answer(&self, query: &Query) -> Result<Response, KvError> {
        check_query(query, usize::MAX)?;
        let (asker, query) = match query {
            Query::By(asker, query) => (Some(asker), &**query),
            query => (None, query),
        };
        self.auth.permit_query(&self.mvcc, asker, query)?;
        match query {
            Query::Range(request) => range(&self.mvcc, request).map(Response::Range),
            Query::Txn(request) => {
                let operations = self.mvcc.tally().operations();
                let result = txn::read(&self.mvcc, &self.leases, request);
                self.mvcc.tally().end_request(operations);
                result.map(Response::Txn)
            }
            Query::Status => Ok(Response::Status(self.status())),
            Query::Alarms(kind) => Ok(Response::Alarms(self.alarms.of(*kind))),
            Query::Members => Ok(Response::Members(self.members.roster().clone())),
            Query::LeaseTimeToLive(request) => {
                self.time_to_live(request).map(Response::LeaseTimeToLive)
            }
            Query::Copy(request) => {
                copy(&self.mvcc, &self.leases, &self.auth, request).map(Response::Copy)
            }
            Query::Hash(request) => hash(&self.mvcc, &self.auth, request).map(Response::Hash),
            Query::Auth(AuthQuery::User(name)) => self
                .auth
                .user(name)
                .map(|_| Response::Auth(self.auth.clone())),
            Query::Auth(AuthQuery::Role(name)) => self
                .auth
                .role(name)
                .map(|_| Response::Auth(self.auth.clone())),
            Query::Auth(AuthQuery::All) | Query::AuthState => Ok(Response::Auth(self.auth.clone())),
            Query::May(_) => Ok(Response::May),
            Query::By(..) => Err(KvError::MalformedCommand),
            Query::LeaseLeases => {
                let ids = self.leases.iter().map(|(id, _)| id);
                Ok(Response::LeaseLeases(ids.collect()))
            }
        }
    }

    /// Whether a client has a right, as things stand.
    ///
    /// # Errors
    /// It has not: why.
    pub fn may(&self, asker: Option<&Asker>, right: Right) -> Result<(), KvError> {
        self.auth
            .permit_query(&self.mvcc, asker, &Query::May(right))
    }

    /// Whether a client may watch, as things stand.
    pub(crate) fn may_watch(
        &self,
        asker: Option<&Asker>,
        request: &WatchRequest,
    ) -> Result<(), KvError> {
        self.auth.permit_watch(&self.mvcc, asker, request)
    }

    fn status(&self) -> StoreStatus {
        let mut status = self.mvcc.status();
        status.size_bytes += self.leases.cost_bytes();
        status.size_in_use_bytes += self.leases.cost_bytes();
        status
    }

    fn time_to_live(
        &self,
        request: &LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, KvError> {
        let lease = self.leases.get(request.id).ok_or(KvError::LeaseNotFound)?;
        let keys = self.mvcc.attached(request.id).filter(|_| request.keys);
        Ok(LeaseTimeToLiveResponse {
            id: request.id,
            granted_ttl: lease.ttl,
            remaining_ttl: lease.remaining.unwrap_or(lease.ttl),
            keys: keys.map(Bytes::copy_from_slice).collect(),
        })
    }
}

/// Writes a key in the open transaction.
pub(crate) fn put(
    mvcc: &mut Mvcc,
    leases: &Leases,
    request: &PutRequest,
) -> Result<PutResponse, KvError> {
    leases.check(request.lease)?;
    let kept = if request.ignore_value || request.ignore_lease {
        Some(
            mvcc.current(&request.key)
                .cloned()
                .ok_or(KvError::KeyNotFound)?,
        )
    } else {
        None
    };
    let kept = kept.as_ref().map(|record| record.parts());
    let value = kept
        .filter(|_| request.ignore_value)
        .map_or(&request.value[..], |kept| kept.value);
    let lease = kept
        .filter(|_| request.ignore_lease)
        .map_or(request.lease, |kept| kept.lease);
    mvcc.tally().puts.add(1);
    let bytes = request.key.len() + value.len();
    mvcc.tally().put_bytes.add(bytes as u64);
    let previous = mvcc.put(Put {
        key: &request.key,
        value,
        lease,
        wants_previous: request.prev_kv,
    });
    let prev_kv = previous.map(|previous| previous.to_kv(false));
    Ok(PutResponse { prev_kv })
}

/// Deletes the keys of a range, in key order, in the open transaction.
pub(crate) fn delete_range(mvcc: &mut Mvcc, request: &DeleteRangeRequest) -> DeleteRangeResponse {
    mvcc.tally().deletes.add(1);
    let keys = KeyRange::new(&request.key, &request.range_end);
    let found: Vec<_> = mvcc.visible(keys, mvcc.read_revision()).cloned().collect();
    delete_found(mvcc, &found);
    let deleted = found.len() as i64;
    let asked = if request.prev_kv { found } else { Vec::new() };
    let prev_kvs = asked.iter().map(|record| record.to_kv(false)).collect();
    DeleteRangeResponse { deleted, prev_kvs }
}

/// Deletes keys that exist, in the open transaction.
pub(crate) fn delete_found(mvcc: &mut Mvcc, found: &[Record]) {
    for record in found {
        mvcc.delete(record.key());
    }
}

#[cfg(test)]
mod tests;
