//! Clients that vanish without a word, and leave their connections behind: processes that stand still with
//! watches open, of which the system says that all is well. The server asks, hears nothing, and lets go.

use anyhow::{Context, Result, ensure};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::health::{Health, serves};
use headwater_etcd_tests::http;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How many clients there are.
const CLIENTS: usize = 6;

/// A server with this asks a silent client after a second whether it is there, and waits as long.
const OPTIONS: [&str; 2] = [
    "--grpc-keepalive-interval=1s",
    "--grpc-keepalive-timeout=1s",
];

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Processes that are ended with the test, however it ends.
struct Clients(Vec<Child>);

impl Clients {
    fn signal(&self, signal: Signal) {
        for child in &self.0 {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            // They are our children and were not waited for, so the numbers are still their own.
            kill_process(pid.expect("a number of the kernel's"), signal).expect("it is there");
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that is gone already is no loss.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How many streams of watches there are.
fn streams(cluster: &Cluster) -> Result<usize> {
    let page = http::get(cluster.members[0].client_port.number, "/metrics")?.body;
    let name = "etcd_debugging_mvcc_watch_stream_total ";
    let count = page.lines().find_map(|line| line.strip_prefix(name));
    Ok(count.context("no such line")?.parse()?)
}

async fn until(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !is_so().context(what.to_owned())? {
        ensure!(begin.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test]
async fn clients_that_stand_still_are_let_go_and_others_stay() -> Result<()> {
    let server = Server::from_env()?;
    if server.is_etcd {
        println!("left out: the clients here are headwater's");
        return Ok(());
    }
    let cluster = Cluster::start(&server, 1, &OPTIONS).await?;
    let url = cluster.members[0].client_url();
    let health = Health::of(&cluster, 0)?;
    let watch = |_| {
        let mut command = Command::new(&server.program);
        command.args(["ctl", "--endpoints", &url, "watch", "still"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).spawn()
    };
    let clients = Clients((0..CLIENTS).map(watch).collect::<Result<_, _>>()?);
    until("all watch", || Ok(streams(&cluster)? == CLIENTS)).await?;
    // Whoever is silent and there is not let go: it answers.
    tokio::time::sleep(Duration::from_millis(2200)).await;
    ensure!(streams(&cluster)? == CLIENTS, "some were let go");
    let before = health.open_files()?;
    clients.signal(Signal::STOP);
    // What they are told fills their windows, and is nobody's business but theirs.
    let slowest = serves(&cluster, 0).await?;
    until("they are let go", || Ok(streams(&cluster)? == 0)).await?;
    until("and so are their connections", || {
        Ok(health.open_files()? + CLIENTS / 2 < before)
    })
    .await?;
    println!(
        "measured: beside {CLIENTS} clients that stand still others are served in {slowest:?}"
    );
    serves(&cluster, 0).await?;
    drop(clients);
    health.lets_go(64 << 20).await
}
