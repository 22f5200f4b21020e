//! A client that says how long it waits (`grpc-timeout`) is waited for no longer, here neither: not by a call
//! that finds no leader, not by one that stands in a queue.

use anyhow::{Context, Result, ensure};
use headwater_api::etcdserverpb::{
    LeaseKeepAliveRequest, PutRequest, RangeRequest, WatchCreateRequest, WatchRequest,
    watch_request::RequestUnion,
};
use headwater_api::v3lockpb::LockRequest;
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::raw::{Answer, Line, framed};
use std::time::{Duration, Instant};

const PUT: &str = "etcdserverpb.KV/Put";
const RANGE: &str = "etcdserverpb.KV/Range";
const RANGE_STREAM: &str = "etcdserverpb.KV/RangeStream";
const SNAPSHOT: &str = "etcdserverpb.Maintenance/Snapshot";
const LOCK: &str = "v3lockpb.Lock/Lock";
const WATCH: &str = "etcdserverpb.Watch/Watch";
const KEEP_ALIVE: &str = "etcdserverpb.Lease/LeaseKeepAlive";

/// gRPC's codes.
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;

/// What a call may take that is given less than half a second: far less than a request's own time.
const SOON: Duration = Duration::from_secs(3);

fn headwater() -> Option<Server> {
    Server::unless_etcd("an etcd has other words for some of it")
}

async fn within(line: &Line, time: &str, path: &str, body: &impl prost::Message) -> Result<Answer> {
    let body = framed(&body.encode_to_vec());
    let begin = Instant::now();
    let answer = line
        .call_with(path, &[("grpc-timeout", time)], body)
        .await?;
    let took = begin.elapsed();
    ensure!(
        took < SOON,
        "{path}, given {time}, took {took:?}: {answer:?}"
    );
    Ok(answer)
}

fn put() -> PutRequest {
    PutRequest {
        key: "k".into(),
        value: "v".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_call_that_finds_no_leader_ends_when_its_client_says() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let mut cluster = Cluster::start(&server, 2, &[]).await?;
    cluster.kill(1);
    let line = Line::open(cluster.members[0].client_port.number, 1 << 20).await?;
    let range = RangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    let answer = within(&line, "400m", PUT, &put()).await?;
    ensure!(answer.code == DEADLINE_EXCEEDED, "{answer:?}");
    let answer = within(&line, "400000u", RANGE, &range).await?;
    ensure!(answer.code == DEADLINE_EXCEEDED, "{answer:?}");
    line.close();
    Ok(())
}

#[tokio::test]
async fn who_stands_in_a_queue_leaves_it_when_his_time_is_up() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let cluster = Cluster::start(&server, 1, &[]).await?;
    let line = Line::open(cluster.members[0].client_port.number, 1 << 20).await?;
    let lock = LockRequest {
        name: "gate".into(),
        lease: 0,
    };
    let held = within(&line, "20S", LOCK, &lock).await?;
    ensure!(held.code == 0, "{held:?}");
    let waits = within(&line, "400m", LOCK, &lock).await?;
    ensure!(waits.code == DEADLINE_EXCEEDED, "{waits:?}");
    let mut client = cluster.client(0, Duration::from_secs(5)).await?;
    let begin = Instant::now();
    loop {
        let prefix = etcd_client::GetOptions::new().with_prefix();
        let places = client.get("gate/", Some(prefix)).await?.count();
        if places == 1 {
            break;
        }
        ensure!(begin.elapsed() < SOON, "{places} stand there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (time, code) in [
        ("1H", 0),
        ("4999m", 0),
        ("soon", INVALID_ARGUMENT),
        ("", INVALID_ARGUMENT),
    ] {
        let answer = within(&line, time, PUT, &put()).await.context(time)?;
        ensure!(answer.code == code, "given {time:?}: {answer:?}");
    }
    line.close();
    Ok(())
}

#[tokio::test]
async fn a_stream_ends_when_its_client_says() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let cluster = Cluster::start(&server, 1, &[]).await?;
    let line = Line::open(cluster.members[0].client_port.number, 1 << 20).await?;
    let create = WatchCreateRequest {
        key: "k".into(),
        ..Default::default()
    };
    let watch = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    let answer = within(&line, "400m", WATCH, &watch).await?;
    ensure!(
        answer.code == DEADLINE_EXCEEDED && !answer.body.is_empty(),
        "{answer:?}"
    );
    // Whose requests have ended is told all answers, and that is all.
    let gone = LeaseKeepAliveRequest { id: 1 };
    let answer = within(&line, "2S", KEEP_ALIVE, &gone).await?;
    ensure!(answer.code == 0 && !answer.body.is_empty(), "{answer:?}");
    let answer = within(&line, "soon", WATCH, &watch).await?;
    ensure!(answer.code == INVALID_ARGUMENT, "{answer:?}");
    line.close();
    Ok(())
}

#[tokio::test]
async fn a_large_answer_ends_when_its_client_says() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let cluster = Cluster::start(&server, 1, &[]).await?;
    let mut client = cluster.client(0, Duration::from_secs(5)).await?;
    for number in 0..8 {
        client
            .put(format!("k{number}"), vec![0; 1 << 20], None)
            .await?;
    }
    let all = RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..Default::default()
    };
    let line = Line::open(cluster.members[0].client_port.number, 1 << 20).await?;
    for path in [RANGE_STREAM, SNAPSHOT] {
        let whole = within(&line, "20S", path, &all).await?;
        ensure!(whole.code == 0 && whole.body.len() > 8 << 20, "{path}");
        let cut = within(&line, "1n", path, &all).await?;
        ensure!(cut.code == DEADLINE_EXCEEDED, "{path}: {}", cut.code);
        let wrong = within(&line, "soon", path, &all).await?;
        ensure!(wrong.code == INVALID_ARGUMENT, "{path}: {}", wrong.code);
    }
    line.close();
    Ok(())
}
