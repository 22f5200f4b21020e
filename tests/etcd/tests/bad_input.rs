//! Bad input of every kind: each gets an answer that a client can understand, and the server goes on as
//! if nothing were, with no more memory and files than before. What one case needs of load and memory
//! stands in `pressure`.

use bytes::Bytes;
use headwater_api::etcdserverpb::request_op::Request as Op;
use headwater_api::etcdserverpb::{
    AuthUserAddRequest, CompactionRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use headwater_api::v3electionpb::{CampaignRequest, CampaignResponse};
use headwater_api::v3lockpb::{LockRequest, LockResponse, UnlockRequest};
use headwater_etcd_tests::health::{Health, serves};
use headwater_etcd_tests::raw::{ANSWER_LIMIT, Line, framed, framed_as, say};
use prost::Message;

/// What a server may take of memory for all of a test here, buffers of its allocator included.
const GROWN_BYTES_MAX: u64 = 64 << 20;

const RANGE: &str = "etcdserverpb.KV/Range";
const PUT: &str = "etcdserverpb.KV/Put";
const TXN: &str = "etcdserverpb.KV/Txn";

/// gRPC's codes.
const INVALID_ARGUMENT: i32 = 3;
const RESOURCE_EXHAUSTED: i32 = 8;
const OUT_OF_RANGE: i32 = 11;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;

/// Whatever the code is.
const ANY: i32 = -1;

fn put(key: &str, value_bytes: usize) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: vec![b'v'; value_bytes].into(),
        ..Default::default()
    }
}

fn op(op: Op) -> RequestOp {
    RequestOp { request: Some(op) }
}

/// A transaction in a transaction, so deep.
fn nested(depth: usize) -> TxnRequest {
    let mut txn = TxnRequest::default();
    for _ in 0..depth {
        let inner = std::mem::take(&mut txn);
        txn.success.push(op(Op::RequestTxn(inner)));
    }
    txn
}

/// A transaction in a transaction, so deep that no library would write it.
fn nested_bytes(depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..depth {
        // A field of bytes is its number, its length, and they: the operation, and in it the transaction.
        for tag in [0x22, 0x12] {
            let mut field = vec![tag];
            prost::encoding::encode_varint(bytes.len() as u64, &mut field);
            field.append(&mut bytes);
            bytes = field;
        }
    }
    bytes
}

/// What a call should come to: its code and a part of its text.
type Expected = (i32, &'static str);

/// What a message comes to that is none. An etcd has several codes for that, and takes names that are no text.
fn malformed(is_etcd: bool) -> Expected {
    (if is_etcd { ANY } else { INTERNAL }, "")
}

async fn expect(line: &Line, what: &str, path: &str, body: Bytes, expected: Expected) {
    let answer = line.call_with(path, &[], body).await;
    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error:#}"));
    let is_right =
        (answer.code == expected.0 || expected.0 == ANY) && answer.text.contains(expected.1);
    assert!(is_right, "{what}: {} {:?}", answer.code, answer.text);
}

fn bytes_of(message: impl prost::Message) -> Bytes {
    framed(&message.encode_to_vec())
}

/// A call: what it is, its path and its body, and what it should come to.
type Case = (&'static str, &'static str, Bytes, Expected);

fn none_or_too_much(is_etcd: bool) -> Vec<Case> {
    let too_large = |text| (RESOURCE_EXHAUSTED, text);
    let larger = if is_etcd {
        "larger than max"
    } else {
        "too large"
    };
    vec![
        (
            "a put beyond the limit",
            PUT,
            bytes_of(put("k", 1_600_000)),
            (INVALID_ARGUMENT, "etcdserver: request is too large"),
        ),
        (
            "a put beyond any message",
            PUT,
            bytes_of(put("k", 3 << 20)),
            too_large(larger),
        ),
        (
            "a length of 4 GiB",
            PUT,
            framed_as(0, u32::MAX, b"xyz"),
            too_large(larger),
        ),
        (
            "a watch of 4 GiB",
            "etcdserverpb.Watch/Watch",
            framed_as(0, u32::MAX, b"xyz"),
            too_large(larger),
        ),
        (
            "a renewal of 4 GiB",
            "etcdserverpb.Lease/LeaseKeepAlive",
            framed_as(0, u32::MAX, b"xyz"),
            too_large(larger),
        ),
        (
            "a renewal of more than any is",
            "etcdserverpb.Lease/LeaseKeepAlive",
            framed_as(0, 1 << 20, b"xyz"),
            if is_etcd {
                (ANY, "")
            } else {
                too_large(larger)
            },
        ),
        (
            "compressed, it is said",
            PUT,
            framed_as(1, 3, b"xyz"),
            (INTERNAL, "compress"),
        ),
        (
            "a flag that is none",
            PUT,
            framed_as(7, 3, b"xyz"),
            malformed(is_etcd),
        ),
        ("no message", PUT, Bytes::new(), malformed(is_etcd)),
        (
            "half a message",
            PUT,
            framed_as(0, 100, b"xyz"),
            malformed(is_etcd),
        ),
        ("no protobuf", PUT, framed(&[0xff; 40]), malformed(is_etcd)),
        (
            "a field longer than its message",
            PUT,
            framed(b"\x0a\xff\xff\xff\xff\x0fk"),
            malformed(is_etcd),
        ),
    ]
}

fn not_for_anybody(is_etcd: bool) -> Vec<Case> {
    let name = AuthUserAddRequest {
        name: "\u{7f}user".into(),
        ..Default::default()
    };
    // The byte that was a letter is none in UTF-8.
    let mut no_text = name_bytes(name);
    no_text[2] = 0xff;
    vec![
        (
            "no service",
            "no.such.Service/Range",
            bytes_of(put("k", 1)),
            (UNIMPLEMENTED, "unknown service no.such.Service"),
        ),
        (
            "no method",
            "etcdserverpb.KV/Nope",
            bytes_of(put("k", 1)),
            (
                UNIMPLEMENTED,
                "unknown method Nope for service etcdserverpb.KV",
            ),
        ),
        (
            "no path",
            "",
            bytes_of(put("k", 1)),
            (if is_etcd { ANY } else { UNIMPLEMENTED }, ""),
        ),
        (
            "a user without letters",
            "etcdserverpb.Auth/UserAdd",
            framed(&no_text),
            malformed(is_etcd),
        ),
    ]
}

#[tokio::test]
async fn messages_that_are_none_or_too_much_are_refused_by_a_status() {
    let (cluster, health, port) = Health::of_one().await;
    let is_etcd = cluster.server.is_etcd;
    let line = Line::open(port, 1 << 20).await.expect("a connection");
    let cases = none_or_too_much(is_etcd)
        .into_iter()
        .chain(not_for_anybody(is_etcd));
    for (what, path, body, expected) in cases {
        expect(&line, what, path, body, expected).await;
    }
    serves(&cluster, 0).await.expect("it serves");
    line.close();
    health
        .lets_go(GROWN_BYTES_MAX)
        .await
        .expect("nothing stays");
}

fn name_bytes(message: AuthUserAddRequest) -> Vec<u8> {
    prost::Message::encode_to_vec(&message)
}

/// A name of a lock or of an election is bytes, like a key, and may be no text.
#[tokio::test]
async fn names_of_locks_and_elections_need_be_no_text() {
    let (cluster, health, port) = Health::of_one().await;
    let line = Line::open(port, 1 << 20).await.expect("a connection");
    let name = Bytes::from_static(b"\xff\0\xfe");
    let lock = LockRequest {
        name: name.clone(),
        lease: 0,
    };
    let campaign = CampaignRequest {
        name: name.slice(1..),
        lease: 0,
        value: Bytes::from_static(b"\xc3"),
    };
    let locked = line.call("v3lockpb.Lock/Lock", lock).await;
    let locked = locked.expect("an answer");
    assert_eq!(locked.code, 0, "{locked:?}");
    let locked = LockResponse::decode(&locked.body[5..]).expect("a message");
    assert!(locked.key.starts_with(b"\xff\0\xfe/"), "{locked:?}");
    let elected = line.call("v3electionpb.Election/Campaign", campaign).await;
    let elected = elected.expect("an answer");
    assert_eq!(elected.code, 0, "{elected:?}");
    let elected = CampaignResponse::decode(&elected.body[5..]).expect("a message");
    let leader = elected.leader.expect("a leader");
    assert_eq!(leader.name, name.slice(1..));
    assert!(leader.key.starts_with(b"\0\xfe/"), "{leader:?}");
    let unlock = UnlockRequest { key: locked.key };
    let unlocked = line.call("v3lockpb.Lock/Unlock", unlock).await;
    assert_eq!(unlocked.expect("an answer").code, 0);
    serves(&cluster, 0).await.expect("it serves");
    line.close();
    health
        .lets_go(GROWN_BYTES_MAX)
        .await
        .expect("nothing stays");
}

fn ops(count: usize) -> TxnRequest {
    let put = |number: usize| op(Op::RequestPut(put(&number.to_string(), 1)));
    TxnRequest {
        success: (0..count).map(put).collect(),
        ..Default::default()
    }
}

fn range(begin: &'static str, end: &'static str, limit: i64, revision: i64) -> RangeRequest {
    RangeRequest {
        key: begin.into(),
        range_end: end.into(),
        limit,
        revision,
        ..Default::default()
    }
}

fn refused() -> Vec<Case> {
    vec![
        (
            "129 operations",
            TXN,
            bytes_of(ops(129)),
            (
                INVALID_ARGUMENT,
                "etcdserver: too many operations in txn request",
            ),
        ),
        (
            "a transaction 90 deep, with a key that is none",
            TXN,
            {
                let mut txn = nested(40);
                txn.failure.push(op(Op::RequestPut(put("", 1))));
                bytes_of(txn)
            },
            (INVALID_ARGUMENT, "etcdserver: key is not provided"),
        ),
        (
            "the future",
            RANGE,
            bytes_of(range("a", "z", 0, 1 << 40)),
            (
                OUT_OF_RANGE,
                "etcdserver: mvcc: required revision is a future revision",
            ),
        ),
        (
            "what is compacted",
            RANGE,
            bytes_of(range("a", "z", 0, 1)),
            (
                OUT_OF_RANGE,
                "etcdserver: mvcc: required revision has been compacted",
            ),
        ),
        (
            "no key",
            RANGE,
            bytes_of(range("", "z", 0, 0)),
            (INVALID_ARGUMENT, "etcdserver: key is not provided"),
        ),
        (
            "a compaction in the future",
            "etcdserverpb.KV/Compact",
            bytes_of(CompactionRequest {
                revision: i64::MAX,
                physical: true,
            }),
            (
                OUT_OF_RANGE,
                "etcdserver: mvcc: required revision is a future revision",
            ),
        ),
    ]
}

fn answered() -> Vec<(&'static str, &'static str, Bytes)> {
    vec![
        ("128 operations", TXN, bytes_of(ops(128))),
        (
            "an end before the beginning",
            RANGE,
            bytes_of(range("z", "a", 0, 0)),
        ),
        ("a negative limit", RANGE, bytes_of(range("a", "z", -5, 0))),
        (
            "a negative revision",
            RANGE,
            bytes_of(range("a", "z", 0, -5)),
        ),
        (
            "a limit of all",
            RANGE,
            bytes_of(range("\0", "\0", i64::MAX, 0)),
        ),
    ]
}

#[tokio::test]
async fn requests_beyond_what_may_be_asked_are_refused_in_etcds_words() {
    let (cluster, health, port) = Health::of_one().await;
    let line = Line::open(port, 1 << 20).await.expect("a connection");
    for key in ["a", "b", "c"] {
        line.call(PUT, put(key, 1)).await.expect("a put");
    }
    let compact = CompactionRequest {
        revision: 3,
        physical: false,
    };
    line.call("etcdserverpb.KV/Compact", compact)
        .await
        .expect("a compaction");
    for (what, path, body, expected) in refused() {
        expect(&line, what, path, body, expected).await;
    }
    for (what, path, body) in answered() {
        expect(&line, what, path, body, (0, "")).await;
    }
    // Nobody's library goes deeper than that, and the stack has an end.
    let deep = line.call_with(TXN, &[], framed(&nested_bytes(5000))).await;
    let deep = deep.expect("an answer");
    assert_ne!(deep.code, 0, "{deep:?}");
    serves(&cluster, 0).await.expect("it serves");
    line.close();
    health
        .lets_go(GROWN_BYTES_MAX)
        .await
        .expect("nothing stays");
}

#[tokio::test]
async fn the_json_gateway_refuses_what_it_cannot_take_by_a_status_with_a_body() {
    let (cluster, health, port) = Health::of_one().await;
    let large = format!(r#"{{"key":"aw==","value":"{}"}}"#, "A".repeat(2_200_000));
    let huge = format!(r#"{{"key":"aw==","value":"{}"}}"#, "A".repeat(6 << 20));
    let deep = format!(r#"{{"key":{}"#, "[".repeat(100_000));
    let cases: Vec<(&str, &str, &str, &[u16])> = vec![
        ("a put beyond the limit", "/v3/kv/put", &large, &[400]),
        (
            "a put beyond any message",
            "/v3/kv/put",
            &huge,
            &[400, 413, 429],
        ),
        ("brackets without end", "/v3/kv/put", &deep, &[400]),
        ("no JSON", "/v3/kv/put", "\u{0}\u{1}", &[400]),
        ("no base64", "/v3/kv/put", r#"{"key":"%%%"}"#, &[400]),
        ("no such path", "/v3/no/such", "{}", &[404]),
    ];
    for (what, path, body, statuses) in cases {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        // The answer may come before all of the request is sent, and be its end.
        let said = say(port, request.as_bytes(), ANSWER_LIMIT).await;
        let (heard, ended) = said.expect("a connection");
        let heard = String::from_utf8_lossy(&heard).into_owned();
        let status = heard.get(9..12).and_then(|code| code.parse().ok());
        let body = heard.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let is_right = status.is_some_and(|status| statuses.contains(&status));
        assert!(ended && is_right && !body.is_empty(), "{what}: {heard:?}");
    }
    serves(&cluster, 0).await.expect("it serves");
    health
        .lets_go(GROWN_BYTES_MAX)
        .await
        .expect("nothing stays");
}
