//! From the API's messages to the store's words and back.
//! Never decides anything: what a message means is the store's business.
//!
//! # Source
//! The etcd v3 API, packages `etcdserverpb` and `mvccpb`.

use bytes::Bytes;
use headwater_kv::auth::{PermissionKind, Role};
use headwater_kv::request as kv;
use headwater_kv::watch::{Event, EventKind, WatchRequest};

use crate::generated::authpb;
use crate::generated::etcdserverpb as api;
use crate::generated::mvccpb;

/// A range as the store knows it.
pub fn range(request: api::RangeRequest) -> kv::RangeRequest {
    kv::RangeRequest {
        sort_order: sort_order(request.sort_order),
        sort_target: sort_target(request.sort_target),
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}

fn sort_order(number: i32) -> kv::SortOrder {
    use api::range_request::SortOrder;
    match SortOrder::try_from(number) {
        Ok(SortOrder::None) => kv::SortOrder::None,
        Ok(SortOrder::Ascend) => kv::SortOrder::Ascend,
        Ok(SortOrder::Descend) => kv::SortOrder::Descend,
        Err(_) => kv::SortOrder::Unknown,
    }
}

fn sort_target(number: i32) -> kv::SortTarget {
    use api::range_request::SortTarget;
    match SortTarget::try_from(number) {
        Ok(SortTarget::Key) => kv::SortTarget::Key,
        Ok(SortTarget::Version) => kv::SortTarget::Version,
        Ok(SortTarget::Create) => kv::SortTarget::Create,
        Ok(SortTarget::Mod) => kv::SortTarget::Mod,
        Ok(SortTarget::Value) => kv::SortTarget::Value,
        Err(_) => kv::SortTarget::Unknown,
    }
}

/// A put as the store knows it.
pub fn put(request: api::PutRequest) -> kv::PutRequest {
    kv::PutRequest {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// A deletion as the store knows it.
pub fn delete_range(request: api::DeleteRangeRequest) -> kv::DeleteRangeRequest {
    kv::DeleteRangeRequest {
        key: request.key,
        range_end: request.range_end,
        prev_kv: request.prev_kv,
    }
}

/// A compaction as the store knows it.
pub fn compaction(request: &api::CompactionRequest) -> kv::CompactionRequest {
    kv::CompactionRequest {
        revision: request.revision,
        physical: request.physical,
    }
}

/// A transaction as the store knows it. The decoder has bounded how deep it nests.
pub fn txn(request: api::TxnRequest) -> kv::TxnRequest {
    kv::TxnRequest {
        compare: request.compare.into_iter().map(compare).collect(),
        success: request.success.into_iter().map(request_op).collect(),
        failure: request.failure.into_iter().map(request_op).collect(),
    }
}

fn request_op(op: api::RequestOp) -> kv::RequestOp {
    use api::request_op::Request;
    match op.request {
        Some(Request::RequestRange(request)) => kv::RequestOp::Range(range(request)),
        Some(Request::RequestPut(request)) => kv::RequestOp::Put(put(request)),
        Some(Request::RequestDeleteRange(request)) => {
            kv::RequestOp::DeleteRange(delete_range(request))
        }
        Some(Request::RequestTxn(request)) => kv::RequestOp::Txn(Box::new(txn(request))),
        None => kv::RequestOp::Missing,
    }
}

fn compare(compare: api::Compare) -> kv::Compare {
    use api::compare::{CompareResult, CompareTarget, TargetUnion};
    let operand = compare.target_union;
    // An operand of another kind than the target's counts as none: zero, or no bytes.
    let target = match (CompareTarget::try_from(compare.target), operand) {
        (Ok(CompareTarget::Version), Some(TargetUnion::Version(n))) => {
            kv::CompareTarget::Version(n)
        }
        (Ok(CompareTarget::Version), _) => kv::CompareTarget::Version(0),
        (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(n))) => {
            kv::CompareTarget::Create(n)
        }
        (Ok(CompareTarget::Create), _) => kv::CompareTarget::Create(0),
        (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(n))) => kv::CompareTarget::Mod(n),
        (Ok(CompareTarget::Mod), _) => kv::CompareTarget::Mod(0),
        (Ok(CompareTarget::Value), Some(TargetUnion::Value(v))) => kv::CompareTarget::Value(v),
        (Ok(CompareTarget::Value), _) => kv::CompareTarget::Value(bytes::Bytes::new()),
        (Ok(CompareTarget::Lease), Some(TargetUnion::Lease(n))) => kv::CompareTarget::Lease(n),
        (Ok(CompareTarget::Lease), _) => kv::CompareTarget::Lease(0),
        (Err(_), _) => kv::CompareTarget::Unknown,
    };
    let result = match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => kv::CompareResult::Equal,
        Ok(CompareResult::Greater) => kv::CompareResult::Greater,
        Ok(CompareResult::Less) => kv::CompareResult::Less,
        Ok(CompareResult::NotEqual) => kv::CompareResult::NotEqual,
        Err(_) => kv::CompareResult::Unknown,
    };
    kv::Compare {
        result,
        target,
        key: compare.key,
        range_end: compare.range_end,
    }
}

/// A watch as the store knows it.
pub fn watch(request: api::WatchCreateRequest) -> WatchRequest {
    use api::watch_create_request::FilterType;
    let leaves_out = |kind: FilterType| request.filters.contains(&kind.into());
    WatchRequest {
        no_put: leaves_out(FilterType::Noput),
        no_delete: leaves_out(FilterType::Nodelete),
        key: request.key,
        range_end: request.range_end,
        start_revision: request.start_revision,
        prev_kv: request.prev_kv,
        progress_notify: request.progress_notify,
        fragment: request.fragment,
    }
}

/// An event as clients know it.
pub fn event(event: Event) -> mvccpb::Event {
    use mvccpb::event::EventType;
    let kind = match event.kind {
        EventKind::Put => EventType::Put,
        EventKind::Delete => EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(event.kv)),
        prev_kv: event.prev_kv.map(key_value),
    }
}

/// A key as clients know it.
pub fn key_value(kv: kv::KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

/// A key as the store knows it, and back from [`key_value`].
pub fn stored_key_value(kv: mvccpb::KeyValue) -> kv::KeyValue {
    kv::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

/// The answer to a range, under `header`.
pub fn range_response(
    header: Option<api::ResponseHeader>,
    response: kv::RangeResponse,
) -> api::RangeResponse {
    api::RangeResponse {
        header,
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: response.count,
    }
}

/// The answer to a put, under `header`.
pub fn put_response(
    header: Option<api::ResponseHeader>,
    response: kv::PutResponse,
) -> api::PutResponse {
    api::PutResponse {
        header,
        prev_kv: response.prev_kv.map(key_value),
    }
}

/// The answer to a deletion, under `header`.
pub fn delete_range_response(
    header: Option<api::ResponseHeader>,
    response: kv::DeleteRangeResponse,
) -> api::DeleteRangeResponse {
    api::DeleteRangeResponse {
        header,
        deleted: response.deleted,
        prev_kvs: response.prev_kvs.into_iter().map(key_value).collect(),
    }
}

/// The answer to a transaction, under `header`. The answers in it carry a header too, with nothing
/// but the revision that the store had got to by then; that of a transaction in it is empty.
pub fn txn_response(header: api::ResponseHeader, response: kv::TxnResponse) -> api::TxnResponse {
    let has_changed = has_changed(&response);
    let mut before = header.revision - i64::from(has_changed);
    api::TxnResponse {
        header: Some(header),
        ..txn_in_txn(&mut before, header.revision, response)
    }
}

/// Whether the transaction moved the revision.
fn has_changed(response: &kv::TxnResponse) -> bool {
    response.responses.iter().any(|op| match op {
        kv::ResponseOp::Range(_) => false,
        kv::ResponseOp::Put(_) => true,
        kv::ResponseOp::DeleteRange(response) => response.deleted > 0,
        kv::ResponseOp::Txn(response) => has_changed(response),
    })
}

/// `now`: the revision so far, which is `after` as soon as something has changed.
fn txn_in_txn(now: &mut i64, after: i64, response: kv::TxnResponse) -> api::TxnResponse {
    let mut responses = Vec::with_capacity(response.responses.len());
    for op in response.responses {
        responses.push(response_op(now, after, op));
    }
    api::TxnResponse {
        header: Some(api::ResponseHeader::default()),
        succeeded: response.succeeded,
        responses,
    }
}

fn response_op(now: &mut i64, after: i64, response: kv::ResponseOp) -> api::ResponseOp {
    use api::response_op::Response;
    let header = |revision| {
        Some(api::ResponseHeader {
            revision,
            ..Default::default()
        })
    };
    let response = match response {
        kv::ResponseOp::Range(response) => {
            Response::ResponseRange(range_response(header(*now), response))
        }
        kv::ResponseOp::Put(response) => {
            *now = after;
            Response::ResponsePut(put_response(header(after), response))
        }
        kv::ResponseOp::DeleteRange(response) => {
            if response.deleted > 0 {
                *now = after;
            }
            Response::ResponseDeleteRange(delete_range_response(header(*now), response))
        }
        kv::ResponseOp::Txn(response) => Response::ResponseTxn(txn_in_txn(now, after, response)),
    };
    api::ResponseOp {
        response: Some(response),
    }
}

/// A role's rights as messages.
pub fn permissions(role: &Role) -> Vec<authpb::Permission> {
    let message =
        |((key, range_end), kind): (&(Bytes, Bytes), &PermissionKind)| authpb::Permission {
            perm_type: *kind as i32,
            key: key.clone(),
            range_end: range_end.clone(),
        };
    role.0.iter().map(message).collect()
}

#[cfg(test)]
mod tests;
