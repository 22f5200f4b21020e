//! JSON over HTTP: the same answers to the same requests as a real etcd's, body by body.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::http;
use headwater_etcd_tests::rival::rival;
use serde_json::Value;

/// Requests in turn, each with its path below `/v3/`.
const REQUESTS: &[(&str, &str)] = &[
    ("kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#),
    ("kv/put", r#"{"key":"Zm9v","value":"YmF6","prev_kv":true}"#),
    ("kv/put", r#"{"key":"Zm9w","value":"","lease":"0"}"#),
    ("kv/range", r#"{"key":"Zm9v"}"#),
    ("kv/range", r#"{"key":"Zm9v","revision":2}"#),
    (
        "kv/range",
        r#"{"key":"AA==","range_end":"AA==","sort_order":"DESCEND","sort_target":"KEY","limit":1}"#,
    ),
    (
        "kv/range",
        r#"{"key":"AA==","range_end":"AA==","count_only":true}"#,
    ),
    (
        "kv/range",
        r#"{"key":"AA==","rangeEnd":"AA==","keysOnly":true}"#,
    ),
    ("kv/range", r#"{"key":"Zm9v","revision":"99"}"#),
    ("kv/range", r#"{"key":"Zm9v","something":"else"}"#),
    ("kv/range", ""),
    ("kv/put", "{}"),
    (
        "kv/txn",
        r#"{"compare":[{"result":"EQUAL","target":"VERSION","key":"Zm9v","version":"2"}],
        "success":[{"request_put":{"key":"dA==","value":"MQ=="}},{"request_range":{"key":"Zm9v"}}],
        "failure":[{"request_delete_range":{"key":"Zm9v"}}]}"#,
    ),
    (
        "kv/txn",
        r#"{"compare":[{"result":"GREATER","target":"MOD","key":"Zm9v","mod_revision":"77"}],
        "failure":[{"request_delete_range":{"key":"dA==","prev_kv":true}}]}"#,
    ),
    ("kv/deleterange", r#"{"key":"Zm9w"}"#),
    ("kv/compaction", r#"{"revision":"3"}"#),
    ("kv/compaction", r#"{"revision":"3"}"#),
    ("kv/range", r#"{"key":"Zm9v","revision":"2"}"#),
    ("lease/grant", r#"{"TTL":"100","ID":"7"}"#),
    ("lease/grant", r#"{"TTL":100,"ID":7}"#),
    ("kv/put", r#"{"key":"bGVhc2Vk","lease":7}"#),
    ("lease/leases", "{}"),
    ("kv/lease/leases", ""),
    ("lease/timetolive", r#"{"ID":8}"#),
    ("lease/keepalive", r#"{"ID":7}"#),
    ("lease/keepalive", r#"{"ID":"7"} {"ID":8}"#),
    ("lease/revoke", r#"{"ID":7}"#),
    ("kv/lease/revoke", r#"{"ID":7}"#),
    ("cluster/member/list", ""),
    ("cluster/member/remove", r#"{"ID":"5"}"#),
    ("maintenance/alarm", r#"{"action":"GET"}"#),
    ("maintenance/defragment", "{}"),
    ("maintenance/transfer-leadership", r#"{"targetID":"5"}"#),
    ("election/leader", r#"{"name":"bm9uZQ=="}"#),
    ("lock/unlock", r#"{"key":"bm9uZQ=="}"#),
    ("kv/put", r#"{"key":7}"#),
    ("kv/put", r#"{"key":"#),
    ("auth/authenticate", r#"{"name":"u","password":"p"}"#),
    ("auth/status", "{}"),
    ("auth/enable", "{}"),
    ("auth/user/get", r#"{"name":"u"}"#),
    ("auth/role/grant", r#"{"name":"r"}"#),
    ("auth/role/add", r#"{"name":"r"}"#),
    (
        "auth/role/grant",
        r#"{"name":"r","perm":{"permType":"READWRITE","key":"Zm9v"}}"#,
    ),
    ("auth/role/get", r#"{"role":"r"}"#),
];

async fn one(server: &Server) -> (Cluster, u16) {
    let cluster = Cluster::start(server, 1, &[]).await.expect("a cluster");
    let port = cluster.members[0].client_port.number;
    (cluster, port)
}

/// What differs from one server to another is blanked out, and the words for broken JSON.
fn alike(answer: &http::Answer) -> String {
    let blank = |value: &mut Value| blank(value);
    let lines = answer
        .body
        .lines()
        .map(|line| match serde_json::from_str::<Value>(line) {
            Ok(mut value) => {
                blank(&mut value);
                value.to_string()
            }
            Err(_) => line.to_owned(),
        });
    format!("{} {}", answer.status, lines.collect::<Vec<_>>().join("\n"))
}

fn blank(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_json_error = fields
                .get("error")
                .and_then(Value::as_str)
                .is_some_and(|text| {
                    !text.starts_with("etcdserver") && !text.starts_with("election")
                });
            for (name, field) in fields {
                let own = [
                    "cluster_id",
                    "member_id",
                    "raft_term",
                    "peerURLs",
                    "clientURLs",
                ];
                let is_id = name == "ID" && field.as_str().is_some_and(|id| id.len() > 4);
                let is_word = is_json_error && ["error", "message"].contains(&name.as_str());
                if own.contains(&name.as_str()) || is_id || is_word {
                    *field = Value::from("_");
                } else {
                    blank(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(blank),
        _ => {}
    }
}

#[tokio::test]
async fn the_answers_are_those_of_an_etcd() {
    let ours = Server::from_env().expect("a server to test");
    let theirs = Server::at(rival().expect("an etcd").join("etcd")).expect("an etcd");
    let ((_ours, here), (_theirs, there)) = (one(&ours).await, one(&theirs).await);
    for (path, body) in REQUESTS {
        let path = format!("/v3/{path}");
        let ask = |port| http::request("POST", port, &path, body).expect("an answer");
        let (mine, yours) = (ask(here), ask(there));
        assert_eq!(alike(&mine), alike(&yours), "{path} {body}");
    }
    // What is no call has the status of release 3.5, and JSON as release 3.6 has it.
    for (method, path, code) in [
        ("POST", "/v3/nothing/of/the/kind", 5),
        ("GET", "/v3/nothing/of/the/kind", 5),
        ("GET", "/v3/kv/range", 12),
    ] {
        let ask = |port| http::request(method, port, path, "").expect("an answer");
        let (mine, yours) = (ask(here), ask(there));
        assert_eq!(mine.status, yours.status, "{method} {path}");
        let body: Value = serde_json::from_str(&mine.body).expect("JSON");
        assert_eq!(body["code"], code, "{method} {path}");
        // There it is the text alone.
        assert_eq!(body["message"], yours.body.trim(), "{method} {path}");
    }
}

/// The first lines of an answer that does not end, as it comes.
fn first_lines(port: u16, path: &str, body: &str, count: usize) -> Vec<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let limit = Duration::from_secs(10);
    stream.set_read_timeout(Some(limit)).expect("a limit");
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it is sent");
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        let lines = String::from_utf8_lossy(&text).into_owned();
        let values = lines.lines().filter(|line| line.starts_with('{'));
        let values: Vec<Value> = values
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if values.len() >= count {
            return values;
        }
        let read = stream.read(&mut part).expect("there is more in time");
        assert!(read > 0, "it ends after {lines}");
        text.extend_from_slice(&part[..read]);
    }
}

#[tokio::test]
async fn a_watch_tells_line_by_line_while_it_stays_open() {
    let server = Server::from_env().expect("a server to test");
    let (_cluster, port) = one(&server).await;
    let put = |value: &str| {
        let body = format!(r#"{{"key":"Zm9v","value":"{value}"}}"#);
        http::request("POST", port, "/v3/kv/put", &body).expect("an answer")
    };
    put("MQ==");
    let body = r#"{"create_request":{"key":"Zm9v","start_revision":"1"}}"#;
    let lines = first_lines(port, "/v3/watch", body, 2);
    assert_eq!(lines[0]["result"]["created"], true);
    assert_eq!(lines[1]["result"]["events"][0]["kv"]["value"], "MQ==");
    // What happens later comes later, on the same stream.
    let later = std::thread::spawn(move || {
        let body = r#"{"create_request":{"key":"Zm9v"}}"#;
        first_lines(port, "/v3/watch", body, 2)
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    put("Mg==");
    let lines = later.join().expect("two lines");
    assert_eq!(lines[1]["result"]["events"][0]["kv"]["value"], "Mg==");
    // A stream that cannot be understood says so, and one that ends too early.
    for body in [r#"{"create_request":7}"#, r#"{"create_request":"#, "7"] {
        let answer = http::request("POST", port, "/v3/watch", body).expect("an answer");
        let text = answer.body;
        assert!(text.contains("error"), "{body}: {} {text}", answer.status);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = Server::from_env().expect("a server to test");
    let (_cluster, port) = one(&server).await;
    let value = "QUFB".repeat(600_000);
    let body = format!(r#"{{"key":"Zm9v","value":"{value}"}}"#);
    let answer = http::request("POST", port, "/v3/kv/put", &body).expect("an answer");
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        answer.body.contains("request is too large"),
        "{}",
        answer.body
    );
    // What is larger than anything may be is not even read to its end: there may be no answer.
    let value = "QUFB".repeat(3_000_000);
    let body = format!(r#"{{"key":"Zm9v","value":"{value}"}}"#);
    if let Ok(answer) = http::request("POST", port, "/v3/kv/put", &body) {
        assert_eq!(answer.status, 429, "{}", answer.body);
    }
    let answer = http::request("POST", port, "/v3/kv/range", r#"{"key":"Zm9v"}"#);
    assert_eq!(answer.expect("it is well").status, 200);
}

#[tokio::test]
async fn no_page_of_another_origin_writes() {
    let server = Server::from_env().expect("a server to test");
    let (_cluster, port) = one(&server).await;
    let curl = |origin: &str| {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--max-time",
                "10",
                "--write-out",
                "%{http_code}",
            ])
            .args(["--header", &format!("Origin: {origin}")])
            .args(["--data", r#"{"key":"Zm9v","value":"YmFy"}"#])
            .arg(format!("http://127.0.0.1:{port}/v3/kv/put"))
            .output()
            .expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let refused = curl("http://evil.example");
    assert!(refused.ends_with("403"), "{refused}");
    let own = curl(&format!("http://127.0.0.1:{port}"));
    assert!(own.ends_with("200"), "{own}");
}

#[tokio::test]
async fn a_stream_that_fails_before_it_says_anything_has_the_status_of_that() {
    let server = Server::from_env().expect("a server to test");
    let mut cluster = Cluster::start(&server, 3, &[]).await.expect("a cluster");
    let leader = cluster.wait_for_leader().await.expect("a leader");
    // An etcd's leader answers for a while when it is alone: the one that is left followed.
    let left = (leader + 1) % 3;
    for number in (0..3).filter(|&number| number != left) {
        cluster.kill(number);
    }
    let port = cluster.members[left].client_port.number;
    let ask = move || http::request("POST", port, "/v3/lease/keepalive", r#"{"ID":"7"}"#);
    let answer = tokio::task::spawn_blocking(ask).await.expect("it ends");
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(
        answer.body.contains(r#""http_code":503"#),
        "{}",
        answer.body
    );
}
