//! Files at rest that the disk damages while the node runs are found and replaced.

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use common::{Cluster, PATIENCE};
use headwater_runtime::ReadLevel;

/// The files of a directory whose names end so, oldest first.
fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    paths.sort();
    paths
}

/// Turns over a bit; `None` if the file is gone.
fn flip(file: &Path, offset: u64) -> Option<()> {
    let file = OpenOptions::new().read(true).write(true).open(file).ok()?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("a byte");
    file.write_all_at(&[byte[0] ^ 1], offset).expect("a disk");
    Some(())
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn damage_at_rest_is_found_and_what_is_in_memory_takes_its_place() {
    let mut cluster = Cluster::started(1, |config| {
        config.segment_bytes = 16 << 10;
        config.scrub_bytes_per_second = 64 << 20;
    })
    .await;
    let node = cluster.nodes.values().next().expect("a node").clone();
    for number in 0..60_u64 {
        let mut command = vec![7; 1000];
        command[..8].copy_from_slice(&number.to_le_bytes());
        node.propose(Bytes::from(command)).await.expect("a disk");
    }
    let counted = |name: &'static str| {
        let node = node.clone();
        move || node.status().counters[name]
    };
    let (damage, rounds) = (counted("scrub_damage"), counted("scrub_rounds"));
    let wal = cluster.data_dir(1).join("wal");
    let oldest = files(&wal, ".wal").remove(0);
    flip(&oldest, 5000).expect("a sealed segment is there");
    until("damage in the log is found", || damage() == 1).await;
    until("a snapshot takes its place", || !oldest.exists()).await;
    let snap = cluster.data_dir(1).join("snap");
    let newest = files(&snap, ".snap").pop().expect("a snapshot");
    flip(&newest, 150).expect("it is there");
    until("damage in the snapshot is found", || damage() == 2).await;
    let (before, read) = (rounds(), counted("scrub_bytes"));
    until("all is read again", || rounds() >= before + 2).await;
    assert_eq!(damage(), 2, "and is whole");
    assert!(read() > 0);
    drop((damage, rounds, read, node));
    cluster.stop(1).await;
    cluster.start(1).await;
    cluster.leader().await;
    let node = cluster.nodes.values().next().expect("a node");
    let answer = node.query((), ReadLevel::Linearizable).await;
    assert_eq!(answer.expect("an answer").len(), 60);
}
