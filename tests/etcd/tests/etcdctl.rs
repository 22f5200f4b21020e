//! Debian's etcdctl against a cluster of three: every answer as etcd 3.4.23 gave it.
//!
//! `SERVER_BIN=etcd` runs the same files against etcd.

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::golden;
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
