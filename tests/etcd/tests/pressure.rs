//! More of everything than there should be: connections, readers that do not read, requests that do not
//! end, answers that are large, passwords, strangers at the peers' port. Memory and files stay within
//! bounds, and whoever behaves is served within a second, all along.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use etcd_client::PutOptions;
use headwater_api::etcdserverpb::{AuthenticateRequest, watch_request::RequestUnion};
use headwater_api::etcdserverpb::{LeaseTimeToLiveRequest, PutRequest, RangeRequest};
use headwater_api::etcdserverpb::{WatchCreateRequest, WatchRequest};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::golden::shell;
use headwater_etcd_tests::health::{Health, serves, serves_within};
use headwater_etcd_tests::http;
use headwater_etcd_tests::port::Port;
use headwater_etcd_tests::raw::{Line, PREFACE, framed, framed_as, say, send};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

const RANGE: &str = "etcdserverpb.KV/Range";
const PUT: &str = "etcdserverpb.KV/Put";
const WATCH: &str = "etcdserverpb.Watch/Watch";

/// gRPC's codes.
const RESOURCE_EXHAUSTED: i32 = 8;
const UNAUTHENTICATED: i32 = 16;

/// Who says nothing at a port for peers. The system lets a thousand wait, and then it drops who comes.
const STRANGERS: usize = 600;

/// What a server answers that has too much to do.
const TOO_MANY: &str = "etcdserver: too many requests";

fn headwater() -> Option<Server> {
    Server::unless_etcd("an etcd has no such bounds")
}

async fn one(server: &Server) -> (Cluster, u16) {
    let cluster = Cluster::start(server, 1, &["--bcrypt-cost=6"])
        .await
        .expect("a cluster");
    let port = cluster.members[0].client_port.number;
    (cluster, port)
}

/// One server whose shell has said this before.
async fn limited(server: &Server, before: &str, options: &[&str]) -> (Cluster, u16) {
    let temp = std::env::temp_dir();
    let mut cluster = Cluster::new(server, 1, &temp, options).expect("a cluster");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before}; exec \"$@\""), "sh"]);
    command.arg(&server.program).args(cluster.flags(0));
    cluster.spawn_command(0, command).expect("a shell");
    cluster.ready().await.expect("it serves");
    let port = cluster.members[0].client_port.number;
    (cluster, port)
}

/// Has this process open as many files as it may.
fn raise_own_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("up to the bound it is allowed");
    limit.maximum.unwrap_or(u64::MAX)
}

fn connections(port: u16, count: usize) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    (0..count).map(connect).collect()
}

/// Puts so many values of a MiB.
async fn fill(port: u16, count: usize) {
    let line = Line::open(port, 1 << 20).await.expect("a connection");
    for number in 0..count {
        let put = PutRequest {
            key: format!("large/{number:04}").into(),
            value: vec![b'v'; 1 << 20].into(),
            ..Default::default()
        };
        let answer = line.call(PUT, put).await.expect("a put");
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    line.close();
}

fn everything() -> Bytes {
    let range = RangeRequest {
        key: "large/".into(),
        range_end: "large0".into(),
        ..Default::default()
    };
    framed(&prost::Message::encode_to_vec(&range))
}

/// All of these wait for what takes ten seconds, so they wait together.
#[tokio::test]
async fn whoever_does_not_get_on_is_given_up() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    tokio::try_join!(
        named(
            "large answers",
            large_answers_that_nobody_takes_have_so_much_memory_together(&server)
        ),
        named(
            "half requests",
            requests_that_do_not_end_are_given_up(&server)
        ),
        named(
            "half messages",
            messages_of_streams_that_do_not_end_are_given_up(&server)
        ),
        named(
            "half talks",
            half_requests_that_never_end_are_shown_out(&server)
        ),
    )?;
    Ok(())
}

async fn named(name: &'static str, test: impl Future<Output = Result<()>>) -> Result<()> {
    test.await.context(name)
}

async fn large_answers_that_nobody_takes_have_so_much_memory_together(
    server: &Server,
) -> Result<()> {
    let (cluster, port) = one(server).await;
    fill(port, 48).await;
    let health = Health::of(&cluster, 0)?;
    // Without a bound they would be 4 GiB.
    let line = Line::open(port, 0).await?;
    let mut answers = Vec::new();
    for _ in 0..100 {
        answers.push(line.begin(RANGE, &[], everything(), true).await?);
    }
    let begin = Instant::now();
    let mut refused = 0;
    let (mut most, mut slowest) = (0, Duration::ZERO);
    let mut waiting: Vec<_> = answers
        .into_iter()
        .map(|(answer, _)| tokio::spawn(answer))
        .collect();
    let mut heads = Vec::new();
    while refused < 30 && begin.elapsed() < Duration::from_secs(9) {
        slowest = slowest.max(serves(&cluster, 0).await?);
        most = most.max(health.grown_bytes()?);
        for at in (0..waiting.len()).rev() {
            if waiting[at].is_finished() {
                let response = waiting.swap_remove(at).await??;
                let text = response.headers().get("grpc-message");
                refused += usize::from(
                    text.is_some_and(|text| text == "etcdserver:%20too%20many%20requests"),
                );
                heads.push(response);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!(
        "measured: 100 unread answers of 48 MiB: {refused} refused, {} MiB more, others served in {slowest:?}",
        most / MIB
    );
    ensure!(most < 250 * MIB, "{} MiB", most / MIB);
    ensure!(refused >= 30, "{refused} were refused");
    // Those that were not are cut in the end, and others have their room.
    let reader = Line::open(port, 1 << 20).await?;
    let begin = Instant::now();
    let whole = loop {
        let answer = reader.call_with(RANGE, &[], everything()).await?;
        if answer.code == 0 {
            break answer.body;
        }
        ensure!(
            answer.code == RESOURCE_EXHAUSTED && answer.text == TOO_MANY,
            "{answer:?}"
        );
        ensure!(
            begin.elapsed() < Duration::from_secs(20),
            "there is no room again"
        );
    };
    ensure!(whole.len() as u64 > 48 * MIB, "{} bytes", whole.len());
    // Nothing of theirs stays, not even what was on its way.
    for head in heads {
        if !head.headers().contains_key("grpc-status") {
            let mut body = head.into_body();
            let cut = tokio::time::timeout(Duration::from_secs(25), body.data()).await?;
            ensure!(matches!(cut, Some(Err(_))), "it is not cut");
        }
    }
    line.close();
    reader.close();
    health.lets_go(300 * MIB).await
}

/// Turning megabytes into JSON takes seconds in a build like this one, and whoever else is served does not
/// wait for it.
#[tokio::test]
async fn large_answers_in_json_keep_nobody_waiting() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let (cluster, port) = one(&server).await;
    fill(port, 8).await;
    let health = Health::of(&cluster, 0)?;
    let range = r#"{"key":"bGFyZ2Uv","range_end":"bGFyZ2Uw"}"#;
    let mut answers = Vec::new();
    for _ in 0..4 {
        let ask = move || http::request("POST", port, "/v3/kv/range", range);
        answers.push(tokio::task::spawn_blocking(ask));
    }
    let mut slowest = Duration::ZERO;
    while answers.iter().any(|answer| !answer.is_finished()) {
        slowest = slowest.max(serves(&cluster, 0).await?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for answer in answers {
        let answer = answer.await??;
        ensure!(answer.status == 200, "{}", answer.status);
        // Three bytes are four letters.
        let bytes = answer.body.len() as u64;
        ensure!(bytes > 8 * MIB * 4 / 3, "{bytes} bytes");
        ensure!(answer.body.ends_with(r#""count":"8"}"#), "it breaks off");
        let length = format!("content-length: {bytes}");
        ensure!(answer.headers.contains(&length), "{}", answer.headers);
    }
    println!("measured: beside 4 answers of 8 MiB in JSON others are served in {slowest:?}");
    health.lets_go(300 * MIB).await
}

#[tokio::test]
async fn watchers_that_do_not_read_cost_a_word_each() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let (cluster, port) = one(&server).await;
    let health = Health::of(&cluster, 0)?;
    let line = Line::open(port, 0).await?;
    let create = WatchCreateRequest {
        key: "large/".into(),
        range_end: "large0".into(),
        ..Default::default()
    };
    let watch = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    let watch = framed(&prost::Message::encode_to_vec(&watch));
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(line.begin(WATCH, &[], watch.clone(), false).await?);
    }
    fill(port, 24).await;
    let slowest = serves(&cluster, 0).await?;
    let grown = health.grown_bytes()?;
    println!(
        "measured: 50 watchers that do not read 24 MiB: {} MiB more, others served in {slowest:?}",
        grown / MIB
    );
    // Each holds a word, beside the 24 MiB that the store and the log's cache have.
    ensure!(grown < 250 * MIB, "{} MiB", grown / MIB);
    drop(streams);
    line.close();
    health.lets_go(250 * MIB).await
}

/// The keys of a lease, and a value that a put replaces.
#[tokio::test]
async fn answers_beside_ranges_that_nobody_takes_have_room_too() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let (cluster, port) = one(&server).await;
    let mut client = cluster.client(0, Duration::from_secs(5)).await?;
    let lease = client.lease_grant(600, None).await?.id();
    for number in 0..12_u8 {
        let attached = PutOptions::new().with_lease(lease);
        let key = vec![b'a' + number; 1 << 20];
        client.put(key, "", Some(attached)).await?;
    }
    client.put("old", vec![b'v'; 1 << 20], None).await?;
    let health = Health::of(&cluster, 0)?;
    let keys = LeaseTimeToLiveRequest {
        id: lease,
        keys: true,
    };
    let keys = framed(&prost::Message::encode_to_vec(&keys));
    let line = Line::open(port, 0).await?;
    let mut answers = Vec::new();
    for _ in 0..50 {
        let path = "etcdserverpb.Lease/LeaseTimeToLive";
        answers.push(line.begin(path, &[], keys.clone(), true).await?.0);
    }
    // Who has heard the head of an answer takes no more of it, and does not say so.
    let (mut refused, mut heads) = (0, Vec::new());
    for answer in answers {
        let head = tokio::time::timeout(Duration::from_secs(15), answer).await??;
        let status = head.headers().get("grpc-status");
        refused += usize::from(status.is_some_and(|status| status == "8"));
        heads.push(head);
    }
    let grown = health.grown_bytes()?;
    println!(
        "measured: 50 unread answers with the keys of a lease, 12 MiB: {refused} refused, {} MiB more",
        grown / MIB
    );
    ensure!(refused >= 20, "{refused} were refused");
    // What a put replaces is an answer like any other, and waits for room like any other.
    let put = PutRequest {
        key: "old".into(),
        value: vec![b'w'; 1 << 20].into(),
        prev_kv: true,
        ..Default::default()
    };
    drop(heads);
    let reader = Line::open(port, 4 << 20).await?;
    let answer = reader.call(PUT, put).await?;
    ensure!(
        answer.body.len() as u64 > MIB,
        "{} bytes",
        answer.body.len()
    );
    line.close();
    reader.close();
    // At the most 456 to 706 MiB were taken, and nobody asks for any now.
    health.lets_go(150 * MIB).await
}

/// Half a message of a stream, and then nothing.
async fn messages_of_streams_that_do_not_end_are_given_up(server: &Server) -> Result<()> {
    let (cluster, port) = one(server).await;
    let health = Health::of(&cluster, 0)?;
    let half = framed_as(0, 3 << 19, &vec![7; 1 << 19]);
    let line = Line::open(port, 1 << 20).await?;
    let mut calls = Vec::new();
    for half in [half, framed_as(0, 20, b"\x0a")] {
        for _ in 0..10 {
            let (answer, mut request) = line.begin(WATCH, &[], Bytes::new(), false).await?;
            send(&mut request, half.clone()).await?;
            calls.push((answer, request));
        }
    }
    serves(&cluster, 0).await?;
    // Between two messages a stream may be silent for as long as it likes.
    let (silent, _request) = line.begin(WATCH, &[], Bytes::new(), false).await?;
    let mut silent = silent.await?.into_body();
    for (answer, _request) in calls {
        let mut body = answer.await?.into_body();
        let trailers = tokio::time::timeout(Duration::from_secs(15), body.trailers()).await;
        let trailers = trailers.context("it waits for ever")??;
        let trailers = trailers.context("no trailers")?;
        ensure!(trailers["grpc-status"] == "4", "{trailers:?}");
    }
    let more = tokio::time::timeout(Duration::from_millis(100), silent.data()).await;
    ensure!(more.is_err(), "a silent stream ended: {more:?}");
    line.close();
    health.lets_go(150 * MIB).await
}

async fn requests_that_do_not_end_are_given_up(server: &Server) -> Result<()> {
    let (cluster, port) = one(server).await;
    let health = Health::of(&cluster, 0)?;
    let put = PutRequest {
        key: "k".into(),
        value: vec![0; 1 << 20].into(),
        ..Default::default()
    };
    let whole = framed(&prost::Message::encode_to_vec(&put));
    let half = whole.slice(..whole.len() / 2);
    let line = Line::open(port, 1 << 20).await?;
    let mut calls = Vec::new();
    // However little it is.
    for half in [vec![half; 40], vec![whole.slice(..9); 40]].concat() {
        let (answer, mut request) = line.begin(PUT, &[], Bytes::new(), false).await?;
        send(&mut request, half).await?;
        calls.push((answer, request));
    }
    serves(&cluster, 0).await?;
    let grown = health.grown_bytes()?;
    ensure!(grown < 200 * MIB, "{} MiB", grown / MIB);
    for (answer, _request) in calls {
        let answer = tokio::time::timeout(Duration::from_secs(15), answer).await;
        let head = answer.context("it waits for ever")??;
        ensure!(head.headers()["grpc-status"] == "4", "{head:?}");
    }
    line.close();
    health.lets_go(150 * MIB).await
}

/// Half a request, and then nothing: whoever does that is shown out, so that a thousand of them do not keep
/// others from coming.
async fn half_requests_that_never_end_are_shown_out(server: &Server) -> Result<()> {
    let (cluster, port) = one(server).await;
    let health = Health::of(&cluster, 0)?;
    let limit = Duration::from_secs(13);
    let halves: [&[u8]; 4] = [
        b"GET /health HT",
        b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"PRI * HTTP/2.0\r\n",
        b"",
    ];
    let talks =
        halves.map(|half| tokio::spawn(async move { (half, say(port, half, limit).await) }));
    for talk in talks {
        let (half, said) = talk.await?;
        let (heard, ended) = said?;
        let heard = String::from_utf8_lossy(&heard).into_owned();
        ensure!(
            ended,
            "{:?}: the connection stays: {heard:?}",
            half.escape_ascii().to_string()
        );
    }
    serves(&cluster, 0).await?;
    health.lets_go(64 * MIB).await
}

#[tokio::test]
async fn five_thousand_connections_come_and_go() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let mine = raise_own_files();
    ensure!(
        mine > 6000,
        "this machine lets a process have {mine} open files"
    );
    let (cluster, port) = limited(&server, "ulimit -Sn 1024", &[]).await;
    let health = Health::of(&cluster, 0)?;
    let idle = connections(port, 5000);
    for mut stream in &idle {
        stream.write_all(PREFACE)?;
    }
    // Whoever comes last waits until those before are let in.
    let slowest = serves_within(&cluster, 0, Duration::from_secs(5)).await?;
    let begin = Instant::now();
    while health.open_files()? < 5000 {
        ensure!(
            begin.elapsed() < Duration::from_secs(5),
            "{} are open",
            health.open_files()?
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    serves(&cluster, 0).await?;
    let grown = health.grown_bytes()?;
    println!(
        "measured: 5000 connections: {} MiB more, others served in {slowest:?}",
        grown / MIB
    );
    ensure!(grown < 300 * MIB, "{} MiB", grown / MIB);
    drop(idle);
    health.lets_go(300 * MIB).await?;
    serves(&cluster, 0).await?;
    Ok(())
}

#[tokio::test]
async fn where_files_are_few_the_log_has_them_and_clients_are_turned_away() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    raise_own_files();
    let watched = Port::reserve()?;
    let option = format!("--listen-metrics-urls=http://127.0.0.1:{}", watched.number);
    let (cluster, port) = limited(&server, "ulimit -n 300", &[&option]).await;
    let health = Health::of(&cluster, 0)?;
    let mut known = cluster.client(0, Duration::from_secs(2)).await?;
    known.put("a", "b", None).await?;
    let idle = connections(port, 400);
    let (_, ended) = say(
        port,
        b"GET /version HTTP/1.0\r\n\r\n",
        Duration::from_secs(3),
    )
    .await?;
    ensure!(ended, "one too many is not turned away");
    let page = http::get(watched.number, "/health")?;
    ensure!(page.status == 200, "nobody can see how it is: {page:?}");
    // Two segments of the log, and a snapshot would fit as well.
    for _ in 0..40 {
        known.put("a", vec![b'v'; 1 << 20], None).await?;
    }
    known.get("a", None).await?;
    ensure!(
        cluster.members[0].printed().contains("open files"),
        "nothing is said: {}",
        cluster.members[0].printed()
    );
    drop(idle);
    health.lets_go(400 * MIB).await?;
    serves(&cluster, 0).await?;
    Ok(())
}

/// Users, of whom nobody knows the password.
const USERS: &str =
    "etcdctl user add root:rpw && etcdctl user grant-role root root && etcdctl auth enable";

/// What nobody has signed, and claims to know of a future of users and roles.
fn forged(algorithm: &str) -> String {
    let base64 = |text: &str| {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut out = String::new();
        for three in text.as_bytes().chunks(3) {
            let bits = three
                .iter()
                .fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
            let bits = bits << (8 * (3 - three.len()));
            for place in 0..=three.len() {
                let six = (bits >> (18 - 6 * place)) & 63;
                out.push(char::from(alphabet[six as usize]));
            }
        }
        out
    };
    let head = base64(&format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#));
    let claims = base64(r#"{"username":"root","revision":999999999999,"iat":1,"since":1}"#);
    format!(
        "{head}.{claims}.{}",
        base64("no signature at all, of 32 bytes")
    )
}

#[tokio::test]
async fn who_cannot_show_who_he_is_costs_others_nothing() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    let (cluster, port) = one(&server).await;
    let health = Health::of(&cluster, 0)?;
    // Before there are users, a token is nothing; in none of its lives it makes anybody wait.
    for (users, code) in [(false, 0), (true, UNAUTHENTICATED)] {
        if users {
            shell(&cluster, USERS)?;
        }
        let line = Line::open(port, 1 << 20).await?;
        for token in [
            forged("HS256"),
            forged("RS256"),
            "x.y.z".into(),
            "a".repeat(9000),
        ] {
            let begin = Instant::now();
            let answer = line
                .call_with(RANGE, &[("token", &token)], everything())
                .await?;
            let took = begin.elapsed();
            ensure!(
                took < Duration::from_secs(1),
                "it takes {took:?} to refuse {token:.20}"
            );
            ensure!(answer.code == code, "{token:.20}: {answer:?}");
        }
        line.close();
    }
    let line = Line::open(port, 1 << 20).await?;
    let mut guesses = Vec::new();
    for number in 0..400 {
        let guess = AuthenticateRequest {
            name: "root".into(),
            password: format!("guess {number}"),
        };
        let body = framed(&prost::Message::encode_to_vec(&guess));
        guesses.push(
            line.begin("etcdserverpb.Auth/Authenticate", &[], body, true)
                .await?
                .0,
        );
    }
    // Nobody may read without a token, but the pages tell whether reads are served.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    let healthy = tokio::task::spawn_blocking(move || http::get(port, "/health")).await??;
    let took = begin.elapsed();
    ensure!(
        healthy.status == 200 && took < Duration::from_secs(1),
        "{took:?} {healthy:?}"
    );
    let (mut refused, mut wrong) = (0, 0);
    for guess in guesses {
        let head = guess.await?;
        match head.headers()["grpc-status"].to_str()? {
            "8" => refused += 1,
            "3" => wrong += 1,
            _ => ensure!(false, "{head:?}"),
        }
    }
    println!(
        "measured: 400 guesses: {wrong} wrong, {refused} too many, a read beside them in {took:?}"
    );
    ensure!(refused >= 200 && wrong >= 100, "{refused} and {wrong}");
    line.close();
    health.lets_go(100 * MIB).await
}

/// The first word between peers, from a cluster that nobody knows.
fn hello() -> Vec<u8> {
    let mut bytes = b"HWPEER\r\n\x01\0\x01\0\0\0\0\0".to_vec();
    for number in [1_u64, 2, 3, 4, 5, 6] {
        bytes.extend(number.to_le_bytes());
    }
    let mut crc = u32::MAX;
    for &byte in &bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    bytes.extend((!crc).to_le_bytes());
    bytes
}

#[tokio::test]
async fn strangers_at_the_port_for_peers_keep_no_member_out() -> Result<()> {
    let Some(server) = headwater() else {
        return Ok(());
    };
    raise_own_files();
    // Two members: neither does anything without the other.
    let mut cluster = Cluster::start(&server, 2, &[]).await?;
    let health = Health::of(&cluster, 0)?;
    let port = cluster.members[0].peer_port.number;
    let limit = Duration::from_secs(6);
    let garbage = vec![0xff; 1 << 20];
    let slow = &hello()[..20];
    let said = [&b"GET / HTTP/1.1\r\n\r\n"[..], &garbage, slow, &hello()];
    let said = said.map(|bytes| {
        let bytes = bytes.to_vec();
        tokio::spawn(async move { say(port, &bytes, limit).await })
    });
    let mut heard = Vec::new();
    for talk in said {
        let (bytes, ended) = talk.await??;
        ensure!(ended, "a stranger stays");
        heard.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    ensure!(heard[3].contains("belongs to cluster 1"), "{heard:?}");
    let silent = connections(port, STRANGERS);
    serves(&cluster, 0).await?;
    cluster.kill(1);
    cluster.spawn(1)?;
    let begin = Instant::now();
    cluster.ready().await?;
    let took = begin.elapsed();
    println!("measured: a member is back among {STRANGERS} silent strangers in {took:?}");
    ensure!(
        took < Duration::from_secs(15),
        "it takes {took:?} to come back"
    );
    drop(silent);
    health.lets_go(100 * MIB).await
}
