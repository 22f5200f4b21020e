//! A small call, or a renewal, that comes whole and one that comes in parts, or with a time that it may take, go different
//! ways through our server. What comes back is the same, answers and errors, and so is what is counted.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headwater_api::etcdserverpb::{
    DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest, request_op::Request,
};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::http;
use headwater_etcd_tests::raw::{Answer, Line, framed};
use prost::Message;
use std::time::Duration;

/// How a request comes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Whole,
    /// Its message in two parts, the second after a while.
    Parts,
    /// Its end after a while.
    LateEnd,
    /// Whole, with a time that it may take.
    Timed,
    /// Whole, and larger than what counts as small, by a field that nobody knows.
    Large,
}

const WAYS: [Way; 5] = [Way::Whole, Way::Parts, Way::LateEnd, Way::Timed, Way::Large];

const PAUSE: Duration = Duration::from_millis(30);

/// Field 1000 of protobuf, of 20 000 bytes.
fn unknown_field() -> Vec<u8> {
    let mut field = vec![0xc2, 0x3e, 0xa0, 0x9c, 0x01];
    field.resize(field.len() + 20_000, 7);
    field
}

async fn call(line: &Line, path: &str, message: &[u8], way: Way) -> Result<Answer> {
    let body = framed(message);
    let parts: Vec<Bytes> = match way {
        Way::Whole => return line.call_with(path, &[], body).await,
        Way::Timed => {
            return line.call_with(path, &[("grpc-timeout", "9S")], body).await;
        }
        Way::Large => {
            let message = [message, &unknown_field()].concat();
            return line.call_with(path, &[], framed(&message)).await;
        }
        Way::Parts => vec![body.slice(..body.len() / 2), body.slice(body.len() / 2..)],
        Way::LateEnd => vec![body, Bytes::new()],
    };
    line.call_in_parts(path, &parts, PAUSE).await
}

/// What is counted of a method's calls: how they ended, and messages in and out.
fn counted(cluster: &Cluster, method: &str) -> Result<Vec<(String, u64)>> {
    let page = http::get(cluster.members[0].client_port.number, "/metrics")?.body;
    let method = format!("grpc_method=\"{method}\"");
    let of_calls = |line: &&str| {
        let name = line.split('{').next().unwrap_or_default();
        let is_count = name.starts_with("grpc_server_") && name.ends_with("_total");
        is_count && line.contains(&method)
    };
    let lines = page.lines().filter(of_calls);
    lines
        .map(|line| {
            let (name, count) = line.rsplit_once(' ').context("a sample")?;
            Ok((name.to_owned(), count.parse()?))
        })
        .collect()
}

#[tokio::test]
async fn a_call_has_the_same_answer_whichever_way_it_goes() -> Result<()> {
    let Some(server) = Server::unless_etcd("it looks into our metrics") else {
        return Ok(());
    };
    one_answer(&server, &[]).await?;
    // Also where other threads than the loop's serve clients.
    one_answer(&server, &["--client-threads=2"]).await
}

async fn one_answer(server: &Server, options: &[&str]) -> Result<()> {
    let cluster = Cluster::start(server, 1, options).await?;
    let line = Line::open(cluster.members[0].client_port.number, 1 << 20).await?;
    let put = |key: &str, bytes: usize| PutRequest {
        key: key.as_bytes().to_vec().into(),
        value: vec![b'v'; bytes].into(),
        prev_kv: true,
        ..Default::default()
    };
    let range = |key: &str, revision: i64| RangeRequest {
        key: key.as_bytes().to_vec().into(),
        revision,
        ..Default::default()
    };
    let txn = |key: &str| TxnRequest {
        success: vec![RequestOp {
            request: Some(Request::RequestRange(range(key, 0))),
        }],
        ..Default::default()
    };
    let delete = |key: &str| DeleteRangeRequest {
        key: key.as_bytes().to_vec().into(),
        ..Default::default()
    };
    // Beyond revision 63 a revision takes as many bytes for the next ones.
    for number in 0..150 {
        line.call("etcdserverpb.KV/Put", put(&format!("k{number}"), 10))
            .await?;
    }
    let lease = LeaseGrantRequest { id: 7, ttl: 600 };
    line.call("etcdserverpb.Lease/LeaseGrant", lease).await?;
    let renewal = |id: i64| LeaseKeepAliveRequest { id }.encode_to_vec();
    let calls = [
        ("LeaseKeepAlive", renewal(7)),
        ("LeaseKeepAlive", renewal(8)),
        ("LeaseKeepAlive", b"\x0f".to_vec()),
        ("Put", put("k", 10).encode_to_vec()),
        ("Put", put("", 10).encode_to_vec()),
        ("Put", b"\x0f".to_vec()),
        ("Put", put("large", 12_000).encode_to_vec()),
        ("Range", range("large", 0).encode_to_vec()),
        ("Range", range("k", 1 << 40).encode_to_vec()),
        ("Range", range("", 0).encode_to_vec()),
        ("Range", b"\x0f".to_vec()),
        ("Txn", txn("k").encode_to_vec()),
        ("Txn", txn("").encode_to_vec()),
        ("DeleteRange", delete("nobody").encode_to_vec()),
        ("DeleteRange", delete("").encode_to_vec()),
    ];
    for (method, message) in calls {
        let service = match method {
            "LeaseKeepAlive" => "Lease",
            _ => "KV",
        };
        let path = format!("etcdserverpb.{service}/{method}");
        // The first makes what the others find.
        call(&line, &path, &message, Way::Whole).await?;
        let mut first = None;
        for way in WAYS {
            let before = counted(&cluster, method)?;
            let answer = call(&line, &path, &message, way).await?;
            let after = counted(&cluster, method)?;
            let grown = before.into_iter().zip(after);
            let grown = grown.filter(|(before, after)| before != after);
            let grown: Vec<_> = grown.map(|((name, n), (_, now))| (name, now - n)).collect();
            let seen = (answer.code, answer.text, answer.body.len(), grown);
            ensure!(seen.3.len() >= 2, "{method} {way:?}: {seen:?}");
            let first = first.get_or_insert_with(|| seen.clone());
            ensure!(seen == *first, "{method} {way:?}: {seen:?}, not {first:?}");
        }
    }
    line.close();
    Ok(())
}
