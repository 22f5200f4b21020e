//! What a server said to an operation, made comparable: what may differ between two servers that
//! are both right is taken out, and nothing else.
//! Never sends anything.

use crate::differ::operation::Operation;
use bytes::Bytes;
use headwater_api::etcdserverpb as api;
use headwater_api::mvccpb::KeyValue;

/// What a server said.
#[derive(Clone, PartialEq, Debug)]
#[expect(
    missing_docs,
    reason = "each is the answer to the operation of its name"
)]
pub enum Answer {
    Range(api::RangeResponse),
    Put(api::PutResponse),
    Delete(api::DeleteRangeResponse),
    Txn(api::TxnResponse),
    Compact(api::CompactionResponse),
    Grant(api::LeaseGrantResponse),
    Revoke(api::LeaseRevokeResponse),
    KeepAlive(api::LeaseKeepAliveResponse),
    TimeToLive(api::LeaseTimeToLiveResponse),
    Leases(api::LeaseLeasesResponse),
    Alarm(api::AlarmResponse),
    /// To each request of an operation of several.
    Several(Vec<Answer>),
    /// Watches answer on their stream.
    Nothing,
    /// gRPC's code and text.
    Refused(i32, String),
}

impl Answer {
    /// The answer without who gave it: of a header, the revision is left. `member`: the id of the
    /// member that was asked, in whose place there is a 1.
    pub fn anonymous(mut self, member: u64) -> Answer {
        if let Answer::Several(answers) = self {
            let anonymous = answers.into_iter().map(|answer| answer.anonymous(member));
            return Answer::Several(anonymous.collect());
        }
        if let Answer::Alarm(answer) = &mut self {
            for alarm in &mut answer.alarms {
                alarm.member_id = u64::from(alarm.member_id == member);
            }
            answer
                .alarms
                .sort_by_key(|alarm| (alarm.member_id, alarm.alarm));
        }
        if let Some(header) = self.header_mut() {
            let revision = header.revision;
            *header = api::ResponseHeader {
                revision,
                ..Default::default()
            };
        }
        self
    }

    /// The revision in the header.
    pub fn revision(&mut self) -> Option<i64> {
        if let Answer::Several(answers) = self {
            return answers.iter_mut().rev().find_map(Answer::revision);
        }
        self.header_mut().map(|header| header.revision)
    }

    fn header_mut(&mut self) -> Option<&mut api::ResponseHeader> {
        match self {
            Answer::Range(answer) => answer.header.as_mut(),
            Answer::Put(answer) => answer.header.as_mut(),
            Answer::Delete(answer) => answer.header.as_mut(),
            Answer::Txn(answer) => answer.header.as_mut(),
            Answer::Compact(answer) => answer.header.as_mut(),
            Answer::Grant(answer) => answer.header.as_mut(),
            Answer::Revoke(answer) => answer.header.as_mut(),
            Answer::KeepAlive(answer) => answer.header.as_mut(),
            Answer::TimeToLive(answer) => answer.header.as_mut(),
            Answer::Leases(answer) => answer.header.as_mut(),
            Answer::Alarm(answer) => answer.header.as_mut(),
            Answer::Several(_) | Answer::Nothing | Answer::Refused(..) => None,
        }
    }
}

/// How much the clocks by which two servers count a lease's time may be apart, in seconds.
const CLOCKS_APART: i64 = 3;

/// Takes out of two answers to the same request what etcd leaves open: the order of equals, of a
/// lease's keys and of leases; and the seconds that pass.
pub fn leave_open(operation: &Operation, ours: &mut Answer, theirs: &mut Answer) {
    match (operation, ours, theirs) {
        (Operation::Range(request), Answer::Range(ours), Answer::Range(theirs)) => {
            settle_range(request, ours);
            settle_range(request, theirs);
        }
        (Operation::Txn(request), Answer::Txn(ours), Answer::Txn(theirs)) => {
            settle_txn(request, ours);
            settle_txn(request, theirs);
        }
        (_, Answer::TimeToLive(ours), Answer::TimeToLive(theirs)) => {
            ours.keys.sort();
            theirs.keys.sort();
            if (ours.ttl - theirs.ttl).abs() <= CLOCKS_APART {
                ours.ttl = theirs.ttl;
            }
        }
        (_, Answer::Leases(ours), Answer::Leases(theirs)) => {
            ours.leases.sort_by_key(|lease| lease.id);
            theirs.leases.sort_by_key(|lease| lease.id);
        }
        (Operation::Brief(_), Answer::Several(ours), Answer::Several(theirs)) => {
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                leave_open(&Operation::Leases, ours, theirs);
            }
        }
        _ => {}
    }
}

fn settle_txn(request: &api::TxnRequest, answer: &mut api::TxnResponse) {
    use api::request_op::Request;
    use api::response_op::Response;
    let branch = if answer.succeeded {
        &request.success
    } else {
        &request.failure
    };
    for (op, answer) in branch.iter().zip(&mut answer.responses) {
        match (&op.request, &mut answer.response) {
            (Some(Request::RequestRange(request)), Some(Response::ResponseRange(answer))) => {
                settle_range(request, answer);
            }
            (Some(Request::RequestTxn(request)), Some(Response::ResponseTxn(answer))) => {
                settle_txn(request, answer);
            }
            _ => {}
        }
    }
}

/// Puts equals into the order of their keys. Where a limit cut through equals, which of them are
/// left is open: they are only counted.
fn settle_range(request: &api::RangeRequest, answer: &mut api::RangeResponse) {
    const BY_KEY: i32 = 0;
    const BY_VALUE: i32 = 4;
    if request.sort_target == BY_KEY {
        return;
    }
    // By values that are not shown: any order can be right.
    let hidden = request.keys_only && request.sort_target == BY_VALUE;
    let is_cut = answer.more;
    let group = |kv: &KeyValue| {
        if hidden {
            (0, Bytes::new())
        } else {
            sorted_by(kv, request.sort_target)
        }
    };
    if let Some(last) = answer.kvs.last().map(group).filter(|_| is_cut) {
        for kv in answer.kvs.iter_mut().filter(|kv| group(kv) == last) {
            *kv = KeyValue::default();
        }
    }
    let mut start = 0;
    while start < answer.kvs.len() {
        let first = group(&answer.kvs[start]);
        let equals = answer.kvs[start..]
            .iter()
            .take_while(|kv| group(kv) == first);
        let end = start + equals.count();
        answer.kvs[start..end].sort_by(|a, b| a.key.cmp(&b.key));
        start = end;
    }
}

fn sorted_by(kv: &KeyValue, target: i32) -> (i64, Bytes) {
    match target {
        1 => (kv.version, Bytes::new()),
        2 => (kv.create_revision, Bytes::new()),
        3 => (kv.mod_revision, Bytes::new()),
        _ => (0, kv.value.clone()),
    }
}
