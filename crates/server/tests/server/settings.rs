//! What settings do: the configuration file, the ports for clients, the log.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use tonic::transport::Endpoint;

use crate::generated::etcdserverpb::PutRequest;
use crate::generated::etcdserverpb::kv_client::KvClient;
use crate::support::{PATIENCE, Server, free_port, headwater, http_at};

/// What an HTTP/2 client says first: the preface, and a frame of settings that sets none.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The frame type of settings, and the setting of streams at a time.
const SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn a_server_starts_with_the_sample_file() {
    let sample = include_str!("../../../../etc/headwater.conf.yaml");
    let ports = [free_port(), free_port()];
    let dir = dir();
    let data = dir.path().join("data");
    let text = sample
        .replace("127.0.0.1:2379", &format!("127.0.0.1:{}", ports[0].number))
        .replace("127.0.0.1:2380", &format!("127.0.0.1:{}", ports[1].number))
        .replace("/var/lib/headwater", &data.display().to_string());
    let file = dir.path().join("headwater.conf.yaml");
    std::fs::write(&file, text).expect("written");
    let mut command = headwater();
    command.arg("-config-file").arg(&file).arg("--name=ignored");
    let server = Server::run(command, ports);
    assert!(data.is_dir());
    assert!(server.http("GET", "/health").contains(r#""health":"true""#));
    let said = |part: &str| server.said.iter().any(|line| line.contains(part));
    assert!(
        said("WARN --name ignored: with --config-file"),
        "{:?}",
        server.said
    );
    assert!(said("name=\"n1\""), "{:?}", server.said);
}

#[tokio::test]
async fn http_has_ports_of_its_own_if_that_is_wanted() {
    let (http, metrics) = (free_port(), free_port());
    let dir = dir();
    let server = Server::start(
        dir.path(),
        &[
            &format!("--listen-client-http-urls=http://127.0.0.1:{}", http.number),
            &format!("--listen-metrics-urls=http://127.0.0.1:{}", metrics.number),
        ],
    );
    let get = |port, path| http_at(port, "GET", path, "*/*");
    assert!(get(http.number, "/version").starts_with("HTTP/1.1 200"));
    assert!(get(metrics.number, "/metrics").starts_with("HTTP/1.1 200"));
    let refused = get(server.port, "/version");
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
    assert!(refused.contains("--listen-client-http-urls"), "{refused}");
    let put = async |port: u16| {
        let address = format!("http://127.0.0.1:{port}");
        let endpoint = Endpoint::from_shared(address).expect("an address");
        let channel = endpoint.connect().await.expect("it listens");
        let request = PutRequest {
            key: "k".into(),
            ..PutRequest::default()
        };
        KvClient::new(channel).put(request).await
    };
    put(server.port).await.expect("gRPC is served there");
    put(http.number)
        .await
        .expect_err("gRPC is not served there");
}

/// A connection on which the server has been greeted in HTTP/2, and what it says at once.
fn greet(port: u16) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(PREFACE).expect("it reads");
    let mut head = [0; 9];
    stream.read_exact(&mut head).expect("a frame's head");
    assert_eq!(head[3], SETTINGS);
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut settings).expect("the frame");
    (stream, settings)
}

#[test]
fn a_connections_bounds_are_those_of_the_flags() {
    let dir = dir();
    let server = Server::start(
        dir.path(),
        &[
            "--max-concurrent-streams=77",
            "--grpc-keepalive-interval=300ms",
            "--grpc-keepalive-timeout=200ms",
        ],
    );
    let since = Instant::now();
    let (mut stream, settings) = greet(server.port);
    let streams = settings.chunks(6).find_map(|setting| {
        let id = u16::from_be_bytes([setting[0], setting[1]]);
        let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
        (id == MAX_CONCURRENT_STREAMS).then_some(value)
    });
    assert_eq!(streams, Some(77));
    // It is asked whether it is there, and says nothing.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the server ends it");
    assert!(since.elapsed() >= Duration::from_millis(400));
}

#[test]
fn the_log_goes_where_and_in_the_form_that_it_should() {
    let dir = dir();
    let file = dir.path().join("log");
    let outputs = format!("--log-outputs=stderr,{}", file.display());
    let data = dir.path().join("data");
    let mut server = Server::start(&data, &["--log-format=json", &outputs]);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let text = std::fs::read_to_string(&file).expect("it is there");
    let line = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("JSON") };
    let messages: Vec<_> = text.lines().map(|l| line(l)["message"].clone()).collect();
    for part in ["starting", "ready to serve client requests", "stopped"] {
        assert!(messages.iter().any(|message| message == part), "{text}");
    }
    let first = line(&server.said[0]);
    assert!(
        first["level"].is_string() && first["timestamp"].is_string(),
        "{first}"
    );
}
