//! A server that is asked to stop lets its clients have what is under way, tells streams that it goes, and waits
//! for nobody who has nothing under way.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headwater_api::etcdserverpb::watch_request::RequestUnion;
use headwater_api::etcdserverpb::{PutRequest, RangeRequest, WatchCreateRequest, WatchRequest};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::http;
use headwater_etcd_tests::raw::{Line, framed};
use prost::Message;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const PUT: &str = "etcdserverpb.KV/Put";
const RANGE: &str = "etcdserverpb.KV/Range";
const WATCH: &str = "etcdserverpb.Watch/Watch";

/// gRPC's code for a server that is not there any more.
const UNAVAILABLE: i32 = 14;

/// What a reader takes at a time, and how long it then waits.
const WINDOW_BYTES: u32 = 64 << 10;
const PAUSE: Duration = Duration::from_millis(1);

/// How many keys there are, of a MiB each.
const KEYS: u8 = 4;

fn headwater() -> Option<Server> {
    Server::unless_etcd("what an etcd does when it stops is its own affair")
}

async fn one(server: &Server) -> Result<(Cluster, Line)> {
    let cluster = Cluster::start(server, 1, &[]).await?;
    let line = Line::open(cluster.members[0].client_port.number, WINDOW_BYTES).await?;
    Ok((cluster, line))
}

#[tokio::test]
async fn who_takes_an_answer_when_the_server_stops_gets_all_of_it() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let (mut cluster, line) = one(&server).await?;
    for number in 0..KEYS {
        let put = PutRequest {
            key: vec![b'a' + number].into(),
            value: vec![number; 1 << 20].into(),
            ..Default::default()
        };
        ensure!(line.call(PUT, put).await?.code == 0, "a put");
    }
    let all = RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    let all = framed(&all.encode_to_vec());
    let (answer, _request) = line.begin(RANGE, &[], all, true).await?;
    let mut body = answer.await?.into_body();
    let reading = async {
        let mut bytes = 0;
        while let Some(data) = body.data().await {
            let data = data.context("the answer is cut")?;
            bytes += data.len();
            tokio::time::sleep(PAUSE).await;
            body.flow_control().release_capacity(data.len())?;
        }
        let trailers = body.trailers().await?.context("no trailers")?;
        let status = trailers.get("grpc-status").context("no status")?;
        ensure!(status == "0", "{status:?}");
        ensure!(bytes > usize::from(KEYS) << 20, "{bytes} bytes");
        Ok(())
    };
    let (read, left) = tokio::join!(reading, cluster.terminate(0));
    read?;
    ensure!(left?.success(), "it did not leave in peace");
    Ok(())
}

#[tokio::test]
async fn a_watch_hears_that_the_server_stops() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let (mut cluster, line) = one(&server).await?;
    let create = WatchCreateRequest {
        key: "k".into(),
        ..Default::default()
    };
    let watch = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    let watching = line.call(WATCH, watch);
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.terminate(0).await
    };
    let (watched, left) = tokio::join!(watching, stopping);
    let watched = watched?;
    ensure!(watched.code == UNAVAILABLE, "{watched:?}");
    ensure!(left?.success(), "it did not leave in peace");
    Ok(())
}

#[tokio::test]
async fn nobody_waits_for_who_says_nothing() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let (mut cluster, _line) = one(&server).await?;
    let port = cluster.members[0].client_port.number;
    let _silent = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut begun = TcpStream::connect(("127.0.0.1", port)).await?;
    begun.write_all(b"PRI").await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begin = Instant::now();
    ensure!(
        cluster.terminate(0).await?.success(),
        "it did not leave in peace"
    );
    let took = begin.elapsed();
    ensure!(took < Duration::from_millis(1500), "it took {took:?}");
    Ok(())
}

/// A watch whose client closes the connection was called off, and is counted so.
#[tokio::test]
async fn who_hangs_up_has_called_its_streams_off() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let (cluster, line) = one(&server).await?;
    let port = cluster.members[0].client_port.number;
    let (answer, _request) = line.begin(WATCH, &[], Bytes::new(), false).await?;
    answer.await?;
    line.close();
    let counted = |code: &str| -> Result<u64> {
        let page = http::get(port, "/metrics")?.body;
        let name = format!(
            "grpc_server_handled_total{{grpc_code=\"{code}\",grpc_method=\"Watch\",\
             grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"}} "
        );
        let count = page
            .lines()
            .find_map(|line| line.strip_prefix(name.as_str()));
        Ok(count.with_context(|| format!("no {name}"))?.parse()?)
    };
    let begin = Instant::now();
    while counted("Canceled")? == 0 {
        ensure!(
            begin.elapsed() < Duration::from_secs(5),
            "it is not counted"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(counted("Unknown")? == 0, "it is counted as an error");
    Ok(())
}
