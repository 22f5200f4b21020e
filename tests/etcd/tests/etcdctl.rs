//! Debian's etcdctl against a cluster of three: every answer as etcd 3.4.23 gave it.
//!
//! `SERVER_BIN=etcd` runs the same files against etcd.

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::golden;
use std::collections::BTreeSet;
use std::path::Path;

async fn golden_file(name: &str) {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, 3, &[]).await.expect("a cluster");
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name);
    golden::run(&cluster, &file)
        .await
        .expect("a golden file and a shell");
}

#[tokio::test]
async fn keys_are_written_and_read() {
    golden_file("put_get.txt").await;
}

#[tokio::test]
async fn ranges_are_read() {
    golden_file("range.txt").await;
}

#[tokio::test]
async fn keys_are_deleted() {
    golden_file("del.txt").await;
}

#[tokio::test]
async fn transactions_choose_their_branch() {
    golden_file("txn.txt").await;
}

#[tokio::test]
async fn the_past_is_compacted() {
    golden_file("compaction.txt").await;
}

#[tokio::test]
async fn members_are_listed_and_healthy() {
    golden_file("endpoint.txt").await;
}

#[tokio::test]
async fn the_status_table_tells_who_leads() {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, 3, &[]).await.expect("a cluster");
    golden::shell(&cluster, "etcdctl put k v").expect("a shell");
    let table = golden::shell(&cluster, "etcdctl endpoint status -w table").expect("a shell");
    let cells = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells
            .into_iter()
            .map(str::to_string)
            .collect::<Vec<String>>()
    };
    let mut rows = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells);
    let head = rows.next().expect("a head");
    assert_eq!(
        head.join(","),
        "ENDPOINT,ID,VERSION,DB SIZE,IS LEADER,IS LEARNER,RAFT TERM,RAFT INDEX,\
         RAFT APPLIED INDEX,ERRORS"
    );
    let rows: Vec<Vec<String>> = rows.collect();
    let column = |number: usize| rows.iter().map(move |row| row[number].as_str());
    let urls: Vec<String> = cluster
        .members
        .iter()
        .map(|member| member.client_url())
        .collect();
    assert!(column(0).eq(urls.iter().map(String::as_str)), "{table}");
    assert_eq!(
        column(1).collect::<BTreeSet<_>>().len(),
        3,
        "three ids: {table}"
    );
    assert!(
        column(2).all(|version| version.split('.').count() == 3),
        "{table}"
    );
    assert!(column(3).all(|size| size.ends_with('B')), "{table}");
    assert_eq!(
        column(4).filter(|&leads| leads == "true").count(),
        1,
        "{table}"
    );
    assert!(column(5).all(|learns| learns == "false"), "{table}");
    assert_eq!(
        column(6).collect::<BTreeSet<_>>().len(),
        1,
        "one term: {table}"
    );
    for number in [6, 7, 8] {
        assert!(
            column(number).all(|cell| cell.parse::<u64>().is_ok_and(|n| n > 0)),
            "{table}"
        );
    }
    assert!(column(9).all(str::is_empty), "{table}");
}
