//! The API over gRPC: answers, headers, and the codes and texts that clients match on.

use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::cluster_client::ClusterClient;
use crate::generated::etcdserverpb::kv_client::KvClient;
use crate::generated::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::generated::health::health_client::HealthClient;
use crate::support::Server;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// One server for one test, on a runtime of its own.
struct Bench {
    server: Server,
    channel: Channel,
}

impl Bench {
    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }
}

fn with_server(flags: &[&str], test: impl AsyncFnOnce(&Bench)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(dir.path(), flags);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let url = format!("http://127.0.0.1:{}", server.port);
        let channel = Endpoint::from_shared(url).expect("a URL").connect_lazy();
        test(&Bench { server, channel }).await;
    });
}

fn put(key: &str, value: &str) -> api::PutRequest {
    api::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

fn get(key: &str) -> api::RangeRequest {
    api::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

fn op(request: api::request_op::Request) -> api::RequestOp {
    api::RequestOp {
        request: Some(request),
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.expect_err("should be refused");
    (status.code(), status.message().to_owned())
}

#[test]
fn what_is_put_is_read_back_with_its_header() {
    with_server(&[], async |bench| {
        let mut kv = bench.kv();
        let written = kv.put(put("a", "1")).await.expect("written").into_inner();
        let header = written.header.expect("a header");
        assert_eq!(header.revision, 2);
        assert_eq!(header.raft_term, 1);
        assert!(header.cluster_id != 0 && header.member_id != 0);
        for serializable in [false, true] {
            let request = api::RangeRequest {
                serializable,
                ..get("a")
            };
            let read = kv.range(request).await.expect("read").into_inner();
            assert_eq!(read.header, Some(header));
            assert_eq!(read.kvs.len(), 1);
            assert_eq!(&read.kvs[0].value[..], b"1");
            assert_eq!(read.kvs[0].mod_revision, 2);
        }
        let deleted = kv
            .delete_range(api::DeleteRangeRequest {
                key: "a".into(),
                prev_kv: true,
                ..Default::default()
            })
            .await
            .expect("deleted")
            .into_inner();
        assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (1, 1));
        assert_eq!(deleted.header.expect("a header").revision, 3);
    });
}

#[test]
fn a_transaction_takes_one_branch_at_one_revision() {
    use api::compare::TargetUnion;
    use api::request_op::Request;
    use api::response_op::Response;
    with_server(&[], async |bench| {
        let mut kv = bench.kv();
        let create = api::TxnRequest {
            compare: vec![api::Compare {
                target: 1,
                key: "a".into(),
                target_union: Some(TargetUnion::CreateRevision(0)),
                ..Default::default()
            }],
            success: vec![op(Request::RequestPut(put("a", "1")))],
            failure: vec![op(Request::RequestRange(get("a")))],
        };
        let first = kv
            .txn(create.clone())
            .await
            .expect("carried out")
            .into_inner();
        assert!(first.succeeded);
        let second = kv.txn(create).await.expect("carried out").into_inner();
        assert!(!second.succeeded);
        let Some(Response::ResponseRange(read)) = &second.responses[0].response else {
            panic!("not the answer to a range: {second:?}");
        };
        assert_eq!(&read.kvs[0].value[..], b"1");
        let inner = read.header.expect("an inner header");
        assert_eq!((inner.revision, inner.member_id), (2, 0));

        let commit = |status: api::StatusResponse| status.raft_index;
        let mut care = MaintenanceClient::new(bench.channel.clone());
        let before = commit(
            care.status(api::StatusRequest {})
                .await
                .expect("status")
                .into_inner(),
        );
        let read_only = api::TxnRequest {
            success: vec![op(Request::RequestRange(get("a")))],
            ..Default::default()
        };
        kv.txn(read_only).await.expect("carried out");
        let after = commit(
            care.status(api::StatusRequest {})
                .await
                .expect("status")
                .into_inner(),
        );
        assert_eq!(
            before, after,
            "a transaction that only reads went through the log"
        );
    });
}

#[test]
fn a_bad_request_has_etcds_code_and_text() {
    with_server(
        &["--max-txn-ops", "2", "--max-request-bytes", "1000"],
        async |bench| {
            use api::request_op::Request;
            let mut kv = bench.kv();
            let invalid = |text: &str| (Code::InvalidArgument, format!("etcdserver: {text}"));
            assert_eq!(
                refused(kv.put(put("", "x")).await),
                invalid("key is not provided")
            );
            assert_eq!(
                refused(kv.range(get("")).await),
                invalid("key is not provided")
            );
            let unsorted = api::RangeRequest {
                sort_target: 77,
                ..get("a")
            };
            assert_eq!(
                refused(kv.range(unsorted).await),
                invalid("invalid sort option")
            );
            let large = put("a", &"x".repeat(1000));
            assert_eq!(
                refused(kv.put(large).await),
                invalid("request is too large")
            );
            let ops = |keys: &[&str]| api::TxnRequest {
                success: keys
                    .iter()
                    .map(|key| op(Request::RequestPut(put(key, ""))))
                    .collect(),
                ..Default::default()
            };
            let many = kv.txn(ops(&["a", "b", "c"])).await;
            assert_eq!(refused(many), invalid("too many operations in txn request"));
            let twice = kv.txn(ops(&["a", "a"])).await;
            assert_eq!(
                refused(twice),
                invalid("duplicate key given in txn request")
            );
            let future = api::RangeRequest {
                revision: 99,
                ..get("a")
            };
            assert_eq!(
                refused(kv.range(future).await),
                (
                    Code::OutOfRange,
                    "etcdserver: mvcc: required revision is a future revision".to_owned()
                )
            );
        },
    );
}

#[test]
fn history_that_was_forgotten_is_refused() {
    with_server(&[], async |bench| {
        let mut kv = bench.kv();
        for value in ["1", "2", "3"] {
            kv.put(put("a", value)).await.expect("written");
        }
        let request = api::CompactionRequest {
            revision: 3,
            physical: true,
        };
        kv.compact(request).await.expect("compacted");
        let at = |revision| api::RangeRequest {
            revision,
            ..get("a")
        };
        let compacted = "etcdserver: mvcc: required revision has been compacted".to_owned();
        assert_eq!(
            refused(kv.range(at(2)).await),
            (Code::OutOfRange, compacted.clone())
        );
        assert_eq!(
            refused(kv.compact(request).await),
            (Code::OutOfRange, compacted)
        );
        let read = kv.range(at(3)).await.expect("read").into_inner();
        assert_eq!(&read.kvs[0].value[..], b"2");
    });
}

#[test]
fn a_message_beyond_the_limit_exhausts_resources() {
    with_server(&["--max-request-bytes", "1000"], async |bench| {
        let huge = put("a", &"x".repeat(600 << 10));
        let (code, _) = refused(bench.kv().put(huge).await);
        assert_eq!(code, Code::ResourceExhausted);
    });
}

#[test]
fn what_is_not_served_says_so_as_etcd_would() {
    with_server(&[], async |bench| {
        let call = |path: &'static str| {
            let mut grpc = tonic::client::Grpc::new(bench.channel.clone());
            async move {
                grpc.ready().await.expect("connected");
                let codec = tonic_prost::ProstCodec::<api::PutRequest, api::PutResponse>::default();
                let path = http::uri::PathAndQuery::from_static(path);
                let request = tonic::Request::new(api::PutRequest::default());
                refused(grpc.unary(request, path, codec).await)
            }
        };
        let unimplemented = |text: &str| (Code::Unimplemented, text.to_owned());
        assert_eq!(
            call("/etcdserverpb.KV/Nope").await,
            unimplemented("unknown method Nope for service etcdserverpb.KV")
        );
        assert_eq!(
            call("/no.Such/Range").await,
            unimplemented("unknown service no.Such")
        );
    });
}

#[test]
fn members_and_status_tell_who_is_there() {
    with_server(&["--name", "solo"], async |bench| {
        let mut cluster = ClusterClient::new(bench.channel.clone());
        let request = api::MemberListRequest { linearizable: true };
        let list = cluster
            .member_list(request)
            .await
            .expect("listed")
            .into_inner();
        let header = list.header.expect("a header");
        assert_eq!(list.members.len(), 1);
        let member = &list.members[0];
        assert_eq!(
            (member.id, member.name.as_str()),
            (header.member_id, "solo")
        );
        let url = format!("http://127.0.0.1:{}", bench.server.port);
        assert_eq!(member.client_ur_ls, [url]);

        let mut care = MaintenanceClient::new(bench.channel.clone());
        let status = care
            .status(api::StatusRequest {})
            .await
            .expect("status")
            .into_inner();
        assert_eq!(status.leader, member.id);
        assert!(status.version.starts_with("3.6."));
        assert!(status.raft_index >= 1 && status.raft_applied_index == status.raft_index);
        assert!(status.errors.is_empty());
    });
}

#[test]
fn the_server_as_a_whole_serves_and_nothing_else_is_known() {
    use crate::generated::health::HealthCheckRequest;
    with_server(&[], async |bench| {
        let mut health = HealthClient::new(bench.channel.clone());
        let ask = |service: &str| HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(ask("")).await.expect("answered").into_inner();
        assert_eq!(answer.status, 1);
        let (code, text) = refused(health.check(ask("etcdserverpb.KV")).await);
        assert_eq!((code, text.as_str()), (Code::NotFound, "unknown service"));
    });
}

#[test]
fn calls_are_counted_by_method_and_code() {
    with_server(&[], async |bench| {
        bench.kv().put(put("a", "1")).await.expect("written");
        bench
            .kv()
            .put(put("", "1"))
            .await
            .expect_err("should be refused");
        let metrics = bench.server.http("GET", "/metrics");
        for code in ["OK", "InvalidArgument"] {
            let line = format!(
                "grpc_server_handled_total{{grpc_code=\"{code}\",grpc_method=\"Put\",\
                 grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}} 1"
            );
            assert!(metrics.lines().any(|l| l == line), "no {line}");
        }
    });
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let talk = |server: &Server| {
        let url = format!("http://127.0.0.1:{}", server.port);
        Endpoint::from_shared(url).expect("a URL").connect_lazy()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let mut server = Server::start(dir.path(), &[]);
        let mut kv = KvClient::new(talk(&server));
        for number in 0..50 {
            kv.put(put(&format!("k{number:02}"), "v"))
                .await
                .expect("written");
        }
        server.signal("KILL");
        server.wait();
        let server = Server::start(dir.path(), &[]);
        let request = api::RangeRequest {
            range_end: "l".into(),
            ..get("k")
        };
        let answer = KvClient::new(talk(&server)).range(request).await;
        let read = answer.expect("read").into_inner();
        assert_eq!(read.count, 50);
        assert_eq!(read.kvs[49].mod_revision, 51);
    });
}
