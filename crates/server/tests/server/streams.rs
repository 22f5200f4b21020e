//! Streams that are in order themselves, and what ends them.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::generated::etcdserverpb as api;
use crate::generated::etcdserverpb::lease_client::LeaseClient;
use crate::generated::etcdserverpb::watch_client::WatchClient;
use crate::support::{PATIENCE, Server, free_port, headwater};
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

/// How metrics call the watch.
const WATCH: &str = "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",\
                     grpc_type=\"bidi_stream\"";

fn channel(port: u16) -> Channel {
    let url = format!("http://127.0.0.1:{port}");
    Endpoint::from_shared(url).expect("a URL").connect_lazy()
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test);
}

fn watch_of(key: &str) -> api::WatchRequest {
    use api::watch_request::RequestUnion;
    let create = api::WatchCreateRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    api::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    }
}

/// A watch of one key, whose requests go on as long as the sender lives.
async fn watch(
    port: u16,
    wants_leader: bool,
) -> Result<
    (
        mpsc::Sender<api::WatchRequest>,
        Streaming<api::WatchResponse>,
    ),
    Status,
> {
    let (requests, outgoing) = mpsc::channel(1);
    requests.send(watch_of("k")).await.expect("there is room");
    let mut request = Request::new(ReceiverStream::new(outgoing));
    if wants_leader {
        let yes = "true".parse().expect("it is ASCII");
        request.metadata_mut().insert("hasleader", yes);
    }
    let mut client = WatchClient::new(channel(port));
    let stream = client.watch(request).await?.into_inner();
    Ok((requests, stream))
}

async fn end<T: std::fmt::Debug>(stream: &mut Streaming<T>) -> (Code, String) {
    let said = tokio::time::timeout(PATIENCE, stream.message()).await;
    let status = said.expect("in time").expect_err("the end");
    (status.code(), status.message().to_owned())
}

#[test]
fn a_server_that_stops_ends_its_streams_at_once_and_says_why() {
    on_a_runtime(async {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut server = Server::start(dir.path(), &[]);
        let (_requests, mut watched) = watch(server.port, false).await.expect("a stream");
        assert!(watched.message().await.expect("a word").is_some());
        let (_renewals, outgoing) = mpsc::channel::<api::LeaseKeepAliveRequest>(1);
        let mut leases = LeaseClient::new(channel(server.port));
        let kept = leases.lease_keep_alive(ReceiverStream::new(outgoing)).await;
        let mut kept = kept.expect("a stream").into_inner();
        let since = Instant::now();
        server.signal("TERM");
        let stopped = (Code::Unavailable, "etcdserver: server stopped".to_owned());
        assert_eq!(end(&mut watched).await, stopped);
        assert_eq!(end(&mut kept).await, stopped);
        assert!(server.wait().success());
        assert!(since.elapsed() < Duration::from_secs(5), "it was held up");
    });
}

/// Watches that are open are those that were begun and have not ended: so dashboards count them.
#[test]
fn a_stream_is_counted_when_it_ends() {
    on_a_runtime(async {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let server = Server::start(dir.path(), &[]);
        let (requests, mut watched) = watch(server.port, false).await.expect("a stream");
        assert!(watched.message().await.expect("a word").is_some());
        let ended = |code| format!("grpc_server_handled_total{{grpc_code=\"{code}\",{WATCH}}} ");
        let started = format!("grpc_server_started_total{{{WATCH}}} 1");
        let page = server.http("GET", "/metrics");
        assert!(page.contains(&started), "{page}");
        assert!(page.contains(&(ended("OK") + "0")), "{page}");
        assert!(
            page.contains("\netcd_debugging_mvcc_watcher_total 1\n"),
            "{page}"
        );
        drop((requests, watched));
        let since = Instant::now();
        let cancelled = ended("Canceled") + "1";
        loop {
            let page = server.http("GET", "/metrics");
            if page.contains(&cancelled) && page.contains("\netcd_debugging_mvcc_watcher_total 0\n")
            {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{page}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// A process that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One of three members, alone.
#[test]
fn without_a_leader_those_streams_end_that_want_one() {
    on_a_runtime(async {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ports = [(); 4].map(|()| free_port());
        let peer = |place: usize| format!("http://127.0.0.1:{}", ports[place].number);
        let all = format!("n1={},n2={},n3={}", peer(1), peer(2), peer(3));
        let child = headwater()
            .args(["--name", "n1", "--initial-cluster", &all])
            .args(["--listen-peer-urls", &peer(1)])
            .args(["--initial-advertise-peer-urls", &peer(1)])
            .args(["--listen-client-urls", &peer(0)])
            .args(["--election-timeout", "500", "--heartbeat-interval", "50"])
            .arg("--data-dir")
            .arg(dir.path())
            .spawn()
            .expect("the program is there");
        let _alone = Killed(child);
        let since = Instant::now();
        let (_requests, mut patient) = loop {
            match watch(ports[0].number, false).await {
                Ok(stream) => break stream,
                Err(status) => assert!(since.elapsed() < PATIENCE, "{status}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(patient.message().await.expect("a word").is_some());
        let refused = watch(ports[0].number, true).await.expect_err("no leader");
        let no_leader = (Code::Unavailable, "etcdserver: no leader");
        assert_eq!((refused.code(), refused.message()), no_leader);
        // The other goes on, though there is no leader for long.
        let waits = tokio::time::timeout(Duration::from_secs(3), patient.message());
        assert!(waits.await.is_err(), "it was ended");
    });
}
