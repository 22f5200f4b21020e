//! Connections that break the rules of HTTP/2, speak another protocol, or stop in the middle: each is ended
//! with a reason that its client can understand, and the server goes on as if nothing were.

use anyhow::{Context, Result, bail, ensure};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::health::{Health, serves};
use headwater_etcd_tests::raw::{self, Line, PREFACE, frame, framed, kind, say};
use std::time::Duration;

/// What a server may take of memory for all of a test here, buffers of its allocator included.
const GROWN_BYTES_MAX: u64 = 64 << 20;

const RANGE: &str = "etcdserverpb.KV/Range";

/// The same where an etcd leaves clients without an answer.
async fn one_but_no_etcd() -> Option<(Cluster, Health, u16)> {
    let (cluster, health, port) = Health::of_one().await;
    if cluster.server.is_etcd {
        println!("left out: an etcd lets such clients wait, or says nothing");
        return None;
    }
    Some((cluster, health, port))
}

/// A head of a call, in fields that name themselves; the last is as long as it is said.
fn head(last_bytes: usize) -> Vec<u8> {
    let mut block = Vec::new();
    let mut field = |name: &str, value: &[u8]| {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value);
    };
    field(":method", b"POST");
    field(":scheme", b"http");
    field(":path", b"/etcdserverpb.KV/Range");
    field(":authority", b"here");
    field("content-type", b"application/grpc");
    field("te", b"trailers");
    field("filler", &vec![b'f'; last_bytes]);
    block
}

/// A string as HPACK has it, uncoded.
fn string(block: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    if length < 0x7f {
        block.push(u8::try_from(length).expect("less than 127"));
    } else {
        block.push(0x7f);
        length -= 0x7f;
        while length >= 0x80 {
            block.push(0x80 | u8::try_from(length & 0x7f).expect("seven bits"));
            length >>= 7;
        }
        block.push(u8::try_from(length).expect("seven bits"));
    }
    block.extend_from_slice(bytes);
}

/// A head block in frames: the first is HEADERS, the others CONTINUATION; the last is said to be so, or not.
fn head_frames(block: &[u8], is_ended: bool) -> Vec<u8> {
    let pieces: Vec<&[u8]> = block.chunks(1 << 14).collect();
    let mut bytes = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let kind = if number == 0 {
            kind::HEADERS
        } else {
            kind::CONTINUATION
        };
        let is_last = is_ended && number + 1 == pieces.len();
        bytes.extend(frame(kind, if is_last { 4 } else { 0 }, 1, piece));
    }
    bytes
}

/// Says this after the preface, and fails unless the server ends the connection and says why, or `may_stay`.
async fn is_shown_out(port: u16, what: &str, frames: &[u8], may_stay: bool) -> Result<()> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend_from_slice(frames);
    let limit = Duration::from_secs(if may_stay { 2 } else { 10 });
    let (heard, ended) = say(port, &bytes, limit).await?;
    ensure!(ended || may_stay, "{what}: the connection stays");
    if !ended {
        return Ok(());
    }
    let (code, text) = raw::goaway(&heard).with_context(|| what.to_owned())?;
    println!("{what}: GOAWAY {code} {text:?}");
    ensure!(code != 0, "{what}: it is said that nothing is wrong");
    Ok(())
}

#[tokio::test]
async fn frames_against_the_rules_end_the_connection_with_a_reason() {
    let Some((cluster, health, port)) = one_but_no_etcd().await else {
        return;
    };
    let request = head_frames(&head(1), true);
    let resets = |count: u32| {
        let mut frames = Vec::new();
        for n in 0..count {
            let mut head = request.clone();
            head[5..9].copy_from_slice(&(2 * n + 1).to_be_bytes());
            frames.extend(head);
            frames.extend(frame(kind::RESET, 0, 2 * n + 1, &[0, 0, 0, 8]));
        }
        frames
    };
    let endless: Vec<u8> = vec![0; 4 << 20];
    let pings = frame(kind::PING, 0, 0, &[7; 8]).repeat(200_000);
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]).repeat(100_000);
    let cases: Vec<(&str, Vec<u8>, bool)> = vec![
        (
            "a frame larger than agreed",
            frame(kind::HEADERS, 4, 1, &[0; 1 << 17]),
            false,
        ),
        (
            "HEADERS of stream 0",
            frame(kind::HEADERS, 4, 0, &[]),
            false,
        ),
        ("no HPACK", frame(kind::HEADERS, 4, 1, &[0xff; 64]), false),
        (
            "settings of a length that none have",
            frame(kind::SETTINGS, 0, 0, &[1; 5]),
            false,
        ),
        (
            "a window beyond its bound",
            frame(kind::SETTINGS, 0, 0, &[0, 4, 0xff, 255, 255, 255]),
            false,
        ),
        (
            "a head that never ends",
            head_frames(&endless, false),
            false,
        ),
        ("a hundred thousand calls taken back", resets(100_000), true),
        ("pings", pings, true),
        ("settings", settings, true),
    ];
    for (what, frames, may_stay) in &cases {
        is_shown_out(port, what, frames, *may_stay)
            .await
            .expect("an end");
        serves(&cluster, 0)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error:#}"));
    }
    health
        .lets_go(GROWN_BYTES_MAX)
        .await
        .expect("nothing stays");
}

#[tokio::test]
async fn a_head_that_is_too_large_ends_its_call_alone() {
    let Some((cluster, health, port)) = one_but_no_etcd().await else {
        return;
    };
    let line = Line::open(port, 1 << 20).await.expect("a connection");
    let filler = "f".repeat(1 << 20);
    let range = framed(b"\x0a\x01k");
    let answer = line.call_with(RANGE, &[("filler", &filler)], range).await;
    let error = format!("{:#}", answer.expect_err("it is too large"));
    println!("a head of 1 MiB: {error}");
    serves(&cluster, 0).await.expect("it serves");
    line.close();
    health
        .lets_go(GROWN_BYTES_MAX)
        .await
        .expect("nothing stays");
}

/// The first bytes of a TLS connection.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03\
    0123456789abcdef0123456789abcdef\x00\x00\x02\x13\x01\x01\x00\x00\x00";

#[tokio::test]
async fn other_protocols_on_the_clients_port_are_told_what_is_spoken() -> Result<()> {
    let Some((cluster, health, port)) = one_but_no_etcd().await else {
        return Ok(());
    };
    let limit = Duration::from_secs(5);
    let text = |heard: &[u8]| String::from_utf8_lossy(heard).into_owned();

    let (heard, ended) = say(port, b"GET /version HTTP/1.0\r\n\r\n", limit).await?;
    let heard = text(&heard);
    ensure!(ended && heard.contains(" 200 "), "HTTP/1.0: {heard:?}");
    ensure!(heard.contains("etcdserver"), "HTTP/1.0: {heard:?}");

    for bytes in [
        &b"\0\x01\x02\x03\x04\x05\x06\x07\r\n\r\n"[..],
        b"HELO example\r\n\r\n",
    ] {
        let (heard, ended) = say(port, bytes, limit).await?;
        ensure!(
            ended && text(&heard).contains(" 400 "),
            "garbage: {:?}",
            text(&heard)
        );
    }
    let (heard, ended) = say(port, CLIENT_HELLO, limit).await?;
    ensure!(ended, "TLS on a plain port: the connection stays");
    ensure!(
        text(&heard).starts_with("HTTP/1.1 400 "),
        "TLS on a plain port: {:?}",
        text(&heard)
    );

    let large = format!(
        "GET /version HTTP/1.1\r\nfiller: {}\r\n\r\n",
        "f".repeat(4 << 20)
    );
    let (heard, ended) = say(port, large.as_bytes(), limit).await?;
    ensure!(
        ended && text(&heard).contains(" 431 "),
        "a large head: {:?}",
        text(&heard)
    );
    serves(&cluster, 0).await?;
    health.lets_go(GROWN_BYTES_MAX).await
}

#[tokio::test]
async fn plain_bytes_on_a_port_with_tls_are_told_so() -> Result<()> {
    let server = Server::from_env()?;
    let mut cluster = Cluster::new(&server, 1, &std::env::temp_dir(), &["--auto-tls"])?;
    cluster.members[0].client_scheme = "https";
    let port = cluster.members[0].client_port.number;
    cluster.spawn(0)?;
    // Its certificate is its own, so nobody asks it anything; it listens once the port is open.
    let begin = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(
            begin.elapsed() < Duration::from_secs(20),
            "it does not listen"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let limit = Duration::from_secs(8);
    let (heard, ended) = say(port, b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n", limit).await?;
    let heard = String::from_utf8_lossy(&heard).into_owned();
    ensure!(
        ended && heard.contains(" 400 "),
        "HTTP on a port with TLS: {heard:?}"
    );
    let (_, ended) = say(port, PREFACE, limit).await?;
    ensure!(ended, "HTTP/2 on a port with TLS: the connection stays");
    let (heard, ended) = say(port, &[0x16, 3, 1, 0, 4, 9, 9, 9, 9], limit).await?;
    ensure!(ended, "a hello that is none: the connection stays");
    ensure!(
        matches!(heard.first(), None | Some(0x15)),
        "neither an end nor an alert: {heard:?}"
    );
    match cluster.exited(0) {
        None => Ok(()),
        Some(status) => bail!("it left: {status}"),
    }
}
