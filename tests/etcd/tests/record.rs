//! What real servers do while one is killed and one is paused is a behaviour of the specification;
//! and what they did not do is none. Of Headwater alone: etcd keeps no such records.

use headwater_etcd_tests::cluster::{Cluster, Server};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Longer than a call takes while another leader is found.
const LIMIT: Duration = Duration::from_secs(10);

/// Puts between two things that happen, each through a member of its own.
const PUTS: usize = 8;

/// Traces with one thing wrong, spread over all kinds of events and of their fields.
const MUTANTS: &str = "40";

fn record(cluster: &Cluster, number: usize) -> PathBuf {
    let file = format!("{}.jsonl", cluster.members[number].name);
    cluster.folder.join(file)
}

fn spawn(cluster: &mut Cluster, number: usize, record: &Path) {
    let mut command = Command::new(&cluster.server.program);
    command.args(cluster.flags(number));
    command.arg("--flight-recorder").arg(record);
    cluster.spawn_command(number, command).expect("it starts");
}

fn spawn_with_record(cluster: &mut Cluster, number: usize) {
    let record = record(cluster, number);
    spawn(cluster, number, &record);
}

/// Gives each of these members puts, all at the same time.
async fn put(cluster: &Cluster, members: &[usize]) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for &number in members {
        let mut client = cluster.client(number, LIMIT).await.expect("a client");
        writers.spawn(async move {
            for put in 0..PUTS {
                let key = format!("{number}/{put}");
                let mut tries = 0;
                // One that its leader took with it has no known outcome.
                while let Err(error) = client.put(key.clone(), "value", None).await {
                    tries += 1;
                    assert!(tries < 100, "{error}");
                    sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
    writers
}

async fn hand_over(cluster: &Cluster, from: usize, to: usize) {
    let id = |number| async move {
        let mut client = cluster.client(number, LIMIT).await.expect("a client");
        let status = client.status().await.expect("it answers");
        status.header().expect("a header").member_id()
    };
    let to = id(to).await;
    let mut client = cluster.client(from, LIMIT).await.expect("a client");
    client.move_leader(to).await.expect("it hands over");
}

/// All that can happen to three members without an operator.
async fn live(cluster: &mut Cluster) {
    put(cluster, &[0, 1, 2]).await.join_all().await;
    let first = cluster.wait_for_leader().await.expect("a leader");
    let second = (first + 1) % 3;
    hand_over(cluster, first, second).await;
    put(cluster, &[0, 1, 2]).await.join_all().await;

    let leader = cluster.wait_for_leader().await.expect("a leader");
    let others: Vec<usize> = (0..3).filter(|&number| number != leader).collect();
    let load = put(cluster, &others).await;
    sleep(Duration::from_millis(20)).await;
    cluster.kill(leader);
    load.join_all().await;
    spawn_with_record(cluster, leader);
    cluster.ready().await.expect("it comes back");
    put(cluster, &[leader]).await.join_all().await;

    let leader = cluster.wait_for_leader().await.expect("a leader");
    let others: Vec<usize> = (0..3).filter(|&number| number != leader).collect();
    cluster.pause(leader);
    put(cluster, &others).await.join_all().await;
    cluster.resume(leader);
    cluster.ready().await.expect("it goes on");
    put(cluster, &[leader]).await.join_all().await;
    for number in 0..3 {
        cluster.terminate(number).await.expect("it stops");
    }
}

/// Holds the records of some members against the specification.
fn check(cluster: &Cluster, members: &[usize]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let records = members.iter().map(|&number| record(cluster, number));
    let output = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--locked",
            "--release",
            "-p",
            "xtask",
            "--",
        ])
        .args(["spec", "trace", "--mutants", MUTANTS])
        .args(records)
        .current_dir(root)
        .output();
    output.expect("cargo starts")
}

#[tokio::test]
async fn what_a_real_cluster_does_is_a_behaviour_of_the_specification() {
    let server = Server::from_env().expect("a server to test");
    if server.is_etcd {
        return;
    }
    let cluster = Cluster::new(&server, 3, &std::env::temp_dir(), &[]);
    let mut cluster = cluster.expect("a folder");
    (0..3).for_each(|number| spawn_with_record(&mut cluster, number));
    cluster.ready().await.expect("they serve");
    live(&mut cluster).await;

    let output = check(&cluster, &[0, 1, 2]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        panic!("{}: {said}{errors}", cluster.keep().display());
    }
    let events = said.split(" events accepted").next();
    let events = events.and_then(|before| before.rsplit(' ').next()?.parse().ok());
    let events: usize = events.unwrap_or_else(|| panic!("{said}"));
    assert!(events >= 1000, "too little happened: {said}");
    print!("measured: {said}");

    // What a member heard of another that kept no record has no sender.
    let output = check(&cluster, &[0, 1]);
    assert!(!output.status.success(), "a record was not missed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("of which there is no record"), "{errors}");
}

#[tokio::test]
async fn a_record_that_cannot_be_written_is_named() {
    let server = Server::from_env().expect("a server to test");
    if server.is_etcd {
        return;
    }
    let cluster = Cluster::new(&server, 1, &std::env::temp_dir(), &[]);
    let mut cluster = cluster.expect("a folder");
    let data_dir = cluster.members[0].data_dir.clone();
    let nowhere = cluster.folder.join("none/record");
    for (record, what) in [
        (nowhere, "See --flight-recorder"),
        (data_dir.join("record"), "lies in the data directory"),
    ] {
        spawn(&mut cluster, 0, &record);
        let status = loop {
            match cluster.exited(0) {
                Some(status) => break status,
                None => sleep(Duration::from_millis(20)).await,
            }
        };
        let printed = cluster.members[0].printed();
        assert!(!status.success(), "{printed}");
        assert!(printed.contains(what), "{printed}");
        assert!(printed.contains(&record.display().to_string()), "{printed}");
    }
    // Nothing is left that would stand in the way.
    spawn_with_record(&mut cluster, 0);
    cluster.ready().await.expect("it serves");
}
