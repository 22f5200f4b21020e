//! What a client may ask of a server, as plain data that can be told again.
//! Never sends anything.

use headwater_api::etcdserverpb as api;

/// A revision that is counted from the current one when it is sent: `NOW + 1` is the next, `NOW - 1`
/// the one before. Far from any that a test reaches, so that operations can be left out of a
/// sequence and the rest still mean what they meant.
pub const NOW: i64 = 1 << 40;

/// The longest lease, in seconds.
const LEASE_MAX: i64 = 9_000_000_000;

/// One request, or a few that belong together.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Reads keys.
    Range(api::RangeRequest),
    /// Writes a key.
    Put(api::PutRequest),
    /// Deletes keys.
    Delete(api::DeleteRangeRequest),
    /// Decides, then reads and writes.
    Txn(api::TxnRequest),
    /// Forgets history.
    Compact(api::CompactionRequest),
    /// Grants a lease.
    Grant(api::LeaseGrantRequest),
    /// Grants a lease of a length that would end meanwhile, looks at it, and revokes it.
    Brief(api::LeaseGrantRequest),
    /// Revokes a lease.
    Revoke(api::LeaseRevokeRequest),
    /// Renews a lease.
    KeepAlive(api::LeaseKeepAliveRequest),
    /// Asks what is left of a lease.
    TimeToLive(api::LeaseTimeToLiveRequest),
    /// Lists leases.
    Leases,
    /// Raises, lists or ends alarms. Of members, 1 stands for the one that is asked.
    Alarm(api::AlarmRequest),
    /// Begins a watch on the one stream.
    Watch(api::WatchCreateRequest),
    /// Ends a watch.
    Cancel(i64),
    /// Asks how far the watches are.
    Progress,
}

impl Operation {
    /// The same with every revision as a number, where `current` is the current one.
    #[must_use]
    pub fn at(&self, current: i64) -> Operation {
        let mut resolved = self.clone();
        match &mut resolved {
            Operation::Range(request) => range_at(request, current),
            Operation::Txn(request) => txn_at(request, current),
            Operation::Compact(request) => revision_at(&mut request.revision, current),
            Operation::Watch(request) => {
                revision_at(&mut request.start_revision, current);
                // Less is refused by us, as from etcd 3.6.6 on, and "from now on" for those before.
                request.start_revision = request.start_revision.max(0);
            }
            _ => {}
        }
        resolved
    }

    /// Whether it is answered otherwise on purpose while the store is full: a put within a
    /// transaction of a transaction is refused, too (an etcd before 3.6 does not look so deep), and
    /// a lease of an impossible length for that.
    pub fn differs_when_full(&self) -> bool {
        match self {
            Operation::Txn(request) => ops(request).any(|op| has_put(op, 0)),
            Operation::Grant(request) | Operation::Brief(request) => request.ttl > LEASE_MAX,
            _ => false,
        }
    }

    /// Whether what the watches have still to tell may depend on when this is carried out.
    pub fn needs_quiet(&self) -> bool {
        matches!(
            self,
            Operation::Compact(_)
                | Operation::Watch(_)
                | Operation::Cancel(_)
                | Operation::Progress
        )
    }
}

fn ops(request: &api::TxnRequest) -> impl Iterator<Item = &api::RequestOp> {
    request.success.iter().chain(&request.failure)
}

fn has_put(op: &api::RequestOp, depth: u32) -> bool {
    use api::request_op::Request;
    match &op.request {
        Some(Request::RequestPut(_)) => depth > 0,
        Some(Request::RequestTxn(request)) => ops(request).any(|op| has_put(op, depth + 1)),
        _ => false,
    }
}

fn revision_at(revision: &mut i64, current: i64) {
    if *revision > NOW / 2 {
        *revision += current - NOW;
    }
}

fn range_at(request: &mut api::RangeRequest, current: i64) {
    for revision in [
        &mut request.revision,
        &mut request.min_mod_revision,
        &mut request.max_mod_revision,
        &mut request.min_create_revision,
        &mut request.max_create_revision,
    ] {
        revision_at(revision, current);
    }
}

fn txn_at(request: &mut api::TxnRequest, current: i64) {
    use api::compare::TargetUnion;
    use api::request_op::Request;
    for compare in &mut request.compare {
        if let Some(TargetUnion::CreateRevision(revision) | TargetUnion::ModRevision(revision)) =
            &mut compare.target_union
        {
            revision_at(revision, current);
        }
    }
    for op in request.success.iter_mut().chain(&mut request.failure) {
        match &mut op.request {
            Some(Request::RequestRange(request)) => range_at(request, current),
            Some(Request::RequestTxn(request)) => txn_at(request, current),
            _ => {}
        }
    }
}
