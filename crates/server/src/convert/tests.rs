use bytes::Bytes;

use super::*;

#[test]
fn a_number_that_names_no_order_is_passed_on_as_unknown() {
    let mut request = api::RangeRequest {
        sort_order: 2,
        sort_target: 4,
        ..Default::default()
    };
    let known = range(request.clone());
    assert_eq!(known.sort_order, kv::SortOrder::Descend);
    assert_eq!(known.sort_target, kv::SortTarget::Value);
    request.sort_order = 3;
    request.sort_target = -1;
    let unknown = range(request);
    assert_eq!(unknown.sort_order, kv::SortOrder::Unknown);
    assert_eq!(unknown.sort_target, kv::SortTarget::Unknown);
}

#[test]
fn an_operand_of_another_kind_counts_as_none() {
    use api::compare::TargetUnion;
    let with = |target, operand| {
        compare(api::Compare {
            target,
            target_union: operand,
            ..Default::default()
        })
        .target
    };
    let value = TargetUnion::Value(Bytes::from_static(b"v"));
    assert_eq!(
        with(3, Some(value.clone())),
        kv::CompareTarget::Value(Bytes::from_static(b"v"))
    );
    assert_eq!(with(0, Some(value)), kv::CompareTarget::Version(0));
    assert_eq!(with(2, None), kv::CompareTarget::Mod(0));
    assert_eq!(
        with(2, Some(TargetUnion::ModRevision(7))),
        kv::CompareTarget::Mod(7)
    );
    assert_eq!(
        with(4, Some(TargetUnion::Lease(7))),
        kv::CompareTarget::Lease(7)
    );
    assert_eq!(with(9, None), kv::CompareTarget::Unknown);
}

#[test]
fn an_operation_without_content_stays_visible() {
    let request = api::TxnRequest {
        failure: vec![api::RequestOp { request: None }],
        ..Default::default()
    };
    assert_eq!(txn(request).failure, [kv::RequestOp::Missing]);
}

#[test]
fn answers_within_a_transaction_carry_the_revision_alone() {
    use api::response_op::Response;
    let header = api::ResponseHeader {
        cluster_id: 1,
        member_id: 2,
        revision: 3,
        raft_term: 4,
    };
    let nested = kv::TxnResponse {
        succeeded: true,
        responses: vec![kv::ResponseOp::Put(kv::PutResponse::default())],
    };
    let response = txn_response(
        header,
        kv::TxnResponse {
            succeeded: false,
            responses: vec![kv::ResponseOp::Txn(nested)],
        },
    );
    assert_eq!(response.header, Some(header));
    let Some(Response::ResponseTxn(nested)) = &response.responses[0].response else {
        panic!("the nested answer is of another kind");
    };
    assert_eq!(nested.header, Some(api::ResponseHeader::default()));
    let Some(Response::ResponsePut(put)) = &nested.responses[0].response else {
        panic!("the innermost answer is of another kind");
    };
    let at = |revision| {
        Some(api::ResponseHeader {
            revision,
            ..Default::default()
        })
    };
    assert_eq!(put.header, at(3));
}

#[test]
fn what_comes_before_the_first_change_of_a_transaction_carries_the_revision_before() {
    use api::response_op::Response;
    let header = api::ResponseHeader {
        revision: 3,
        ..Default::default()
    };
    let range = || kv::ResponseOp::Range(kv::RangeResponse::default());
    let put = kv::ResponseOp::Put(kv::PutResponse::default());
    let response = txn_response(
        header,
        kv::TxnResponse {
            succeeded: true,
            responses: vec![range(), put, range()],
        },
    );
    let revisions = response.responses.iter().map(|op| match &op.response {
        Some(Response::ResponseRange(range)) => range.header.map(|header| header.revision),
        Some(Response::ResponsePut(put)) => put.header.map(|header| header.revision),
        _ => None,
    });
    assert_eq!(revisions.collect::<Vec<_>>(), [Some(2), Some(3), Some(3)]);
}

#[test]
fn every_field_of_a_key_arrives() {
    let response = range_response(
        None,
        kv::RangeResponse {
            kvs: vec![kv::KeyValue {
                key: Bytes::from_static(b"k"),
                create_revision: 2,
                mod_revision: 3,
                version: 4,
                value: Bytes::from_static(b"v"),
                lease: 6,
            }],
            more: true,
            count: 9,
        },
    );
    let kv = &response.kvs[0];
    assert_eq!((&kv.key[..], &kv.value[..]), (&b"k"[..], &b"v"[..]));
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version, kv.lease),
        (2, 3, 4, 6)
    );
    assert_eq!((response.more, response.count), (true, 9));
}
