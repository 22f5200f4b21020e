//! Clients of other languages against a cluster of three. What each can do stands in a program of its own
//! language, in `tests/consumers`; `scripts/clients.sh` gets the clients.
//!
//! `SERVER_BIN=etcd` has etcd itself judged.

use headwater_etcd_tests::cluster::{Cluster, Server};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder that holds a client.
async fn packages(client: &str) -> String {
    let mut script = Command::new("bash");
    script
        .arg(root().join("scripts/clients.sh"))
        .arg(client)
        .kill_on_drop(true);
    let output = timeout(PATIENCE, script.output()).await;
    let output = output.expect("it is got in time").expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no client {client}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

/// Runs a program with a client, whose folder the program finds by the variable `path`.
async fn run(client: &str, path: &str, interpreter: &str, program: &str) {
    let packages = packages(client).await;
    let server = Server::from_env().expect("a server to test");
    // Passwords are hashed here and there: it may be cheap.
    let cluster = Cluster::start(&server, 3, &["--bcrypt-cost=4"])
        .await
        .expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    let urls = cluster.members.iter().map(|member| member.client_url());
    let mut command = Command::new(interpreter);
    command
        .arg(root().join("tests/consumers").join(program))
        .env(path, packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("no_proxy", "127.0.0.1")
        .env("ENDPOINTS", urls.collect::<Vec<_>>().join(","))
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("an end in time").expect("an interpreter");
    let text = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{program}: {said}");
    println!("{program}:\n{said}");
}

#[tokio::test]
async fn pythons_etcd3_works() {
    run("etcd3", "PYTHONPATH", "python3", "python/with_etcd3.py").await;
}

#[tokio::test]
async fn pythons_aetcd_works() {
    run("aetcd", "PYTHONPATH", "python3", "python/with_aetcd.py").await;
}

#[tokio::test]
async fn nodes_etcd3_works() {
    run("node", "NODE_PATH", "node", "node/with_etcd3.js").await;
}
