//! Leases: which there are, how long each lives, and what goes with it when it ends.
//! Never knows the time: when a lease has ended is decided by the leader's `lessor` and comes here
//! as a command.
//!
//! Which keys are attached to a lease is told by the keys themselves; `mvcc` keeps them by lease.
//!
//! What a leader decides can be committed when it leads no more: it was passed on, or waited. By
//! then the next leader may have promised a client more. So expiry and checkpoints bear the term
//! of the leader that decided, and count only in an entry of that term. Checkpoints of one leader
//! bear numbers as well: one that comes late does not undo what a later one said. And both say
//! which log index granted the lease they mean, which its id alone does not: a client may choose
//! the id of a lease that is gone.
//!
//! # Source
//! etcd v3 API, service `Lease`; fencing by term, Raft paper §5.1.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use headwater_replica::LogId;

use crate::apply::delete_found;
use crate::mvcc::Mvcc;
use crate::request::{
    Ended, KvError, LeaseCheckpointRequest, LeaseGrantRequest, LeaseGrantResponse,
    LeaseRevokeRequest,
};

/// The longest time to live, in seconds: etcd's.
pub const TTL_MAX: i64 = 9_000_000_000;

/// How much of the store's size a lease is; what etcd's quota charges.
const LEASE_BYTES: u64 = 64;

/// How many grants and revocations are remembered for the lessor.
const RECENT_MAX: usize = 1 << 16;

/// One lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lease {
    /// The time to live it was granted, in seconds.
    pub(crate) ttl: i64,
    /// The log index that granted it.
    pub(crate) granted: u64,
    /// What the last checkpoint left of it; `None`: all.
    pub(crate) remaining: Option<i64>,
}

/// All leases.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    granted: BTreeMap<i64, Lease>,
    /// Term and number of the last checkpoint.
    checkpoint: (u64, u64),
    /// The leases last granted or revoked. Only of this node, and in no snapshot.
    recent: VecDeque<i64>,
    /// How many were forgotten of those.
    forgotten: u64,
}

impl Leases {
    pub(crate) fn get(&self, id: i64) -> Option<Lease> {
        self.granted.get(&id).copied()
    }

    /// All of them, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, Lease)> {
        self.granted.iter().map(|(id, lease)| (*id, *lease))
    }

    pub(crate) fn len(&self) -> usize {
        self.granted.len()
    }

    /// Their part of the store's size.
    pub(crate) fn cost_bytes(&self) -> u64 {
        LEASE_BYTES * self.granted.len() as u64
    }

    /// Term and number of the last checkpoint.
    pub(crate) fn checkpoint(&self) -> (u64, u64) {
        self.checkpoint
    }

    /// Whether a put may attach its key to `lease`; zero attaches to none.
    pub(crate) fn check(&self, lease: i64) -> Result<(), KvError> {
        if lease == 0 || self.granted.contains_key(&lease) {
            Ok(())
        } else {
            Err(KvError::LeaseNotFound)
        }
    }

    pub(crate) fn grant(
        &mut self,
        at: LogId,
        request: &LeaseGrantRequest,
    ) -> Result<LeaseGrantResponse, KvError> {
        let id = request.id;
        if self.granted.contains_key(&id) {
            // Mark: a lease is granted that is there already.
            return Err(KvError::LeaseExists);
        }
        let ttl = request.ttl.max(1);
        let lease = Lease {
            ttl,
            granted: at.index.0,
            remaining: None,
        };
        self.granted.insert(id, lease);
        self.remember(id);
        Ok(LeaseGrantResponse { id, ttl })
    }

    /// Ends a lease, in the open transaction, which deletes its keys in order.
    pub(crate) fn revoke(
        &mut self,
        mvcc: &mut Mvcc,
        at: LogId,
        request: &LeaseRevokeRequest,
    ) -> Result<(), KvError> {
        let lease = self.get(request.id).ok_or(KvError::LeaseNotFound)?;
        let is_void = |ended: Ended| ended.term != at.term.0 || ended.granted != lease.granted;
        if request.ended.is_some_and(is_void) {
            // Mark: a leader's word that a lease has ended is void.
            return Err(KvError::LeaseDecisionVoid);
        }
        self.granted.remove(&request.id);
        let attached = mvcc.attached(request.id);
        let found: Vec<_> = attached
            .filter_map(|key| mvcc.current(key).cloned())
            .collect();
        delete_found(mvcc, &found);
        mvcc.tally().deletes.add(found.len() as u64);
        mvcc.tally().leases_revoked.add(1);
        self.remember(request.id);
        Ok(())
    }

    /// Takes in how much time leases have left.
    pub(crate) fn take_checkpoint(
        &mut self,
        at: LogId,
        request: &LeaseCheckpointRequest,
    ) -> Result<(), KvError> {
        let named = (request.term, request.number);
        if request.term != at.term.0 || named <= self.checkpoint {
            // Mark: a checkpoint of leases is void.
            return Err(KvError::LeaseDecisionVoid);
        }
        self.checkpoint = named;
        for left in &request.leases {
            let lease = self.granted.get_mut(&left.id);
            if let Some(lease) = lease.filter(|lease| lease.granted == left.granted) {
                // Mark: a checkpoint takes time from a lease, or gives it back.
                let is_less = (1..lease.ttl).contains(&left.seconds);
                lease.remaining = is_less.then_some(left.seconds);
            }
        }
        Ok(())
    }

    /// What was granted or revoked since the first `upto` of all that were; `None` if that is
    /// forgotten.
    pub(crate) fn since(&self, upto: u64) -> Option<impl Iterator<Item = i64>> {
        let known = usize::try_from(upto.checked_sub(self.forgotten)?).ok()?;
        (known <= self.recent.len()).then(|| self.recent.range(known..).copied())
    }

    /// How many times something was granted or revoked, as far as this node knows.
    pub(crate) fn changes(&self) -> u64 {
        self.forgotten + self.recent.len() as u64
    }

    fn remember(&mut self, id: i64) {
        self.recent.push_back(id);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
            self.forgotten += 1;
        }
    }

    /// All of them, for a snapshot.
    pub(crate) fn to_vec(&self) -> Vec<(i64, Lease)> {
        self.iter().collect()
    }

    /// Takes in the checkpoint that a snapshot names.
    pub(crate) fn restore_checkpoint(&mut self, checkpoint: (u64, u64)) {
        self.checkpoint = checkpoint;
    }

    /// Takes in the next of a snapshot's leases; they come in order.
    pub(crate) fn restore(&mut self, id: i64, lease: Lease) -> Result<(), &'static str> {
        let last = self.granted.last_key_value();
        if last.is_some_and(|(last, _)| *last >= id) {
            return Err("leases out of order");
        }
        let is_sound = id != 0
            && (1..=TTL_MAX).contains(&lease.ttl)
            && lease
                .remaining
                .is_none_or(|left| (1..lease.ttl).contains(&left));
        if !is_sound {
            return Err("a broken lease");
        }
        self.granted.insert(id, lease);
        Ok(())
    }
}

/// Whether a grant is one at all.
pub(crate) fn check_grant(request: &LeaseGrantRequest) -> Result<(), KvError> {
    if request.id == 0 {
        Err(KvError::LeaseNotFound)
    } else if request.ttl > TTL_MAX {
        Err(KvError::LeaseTtlTooLarge)
    } else {
        Ok(())
    }
}
