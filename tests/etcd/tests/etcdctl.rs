//! Debian's etcdctl against a cluster of three: every answer as etcd 3.4.23 gave it.
//!
//! `SERVER_BIN=etcd` runs the same files against etcd.

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::golden;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

async fn golden_file(name: &str) {
    golden_file_with(name, &[]).await;
}

/// The same from servers with these flags.
async fn golden_file_with(name: &str, options: &[&str]) {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, 3, options)
        .await
        .expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name);
    let differences = golden::run(&cluster, &file)
        .await
        .expect("a golden file and a shell");
    let count = differences.len();
    assert!(
        count == 0,
        "{count} differences from {name}:\n{}",
        differences.join("\n")
    );
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
async fn members_come_and_go() {
    golden_file("member.txt").await;
}

#[tokio::test]
async fn changes_are_watched() {
    golden_file("watch.txt").await;
}

#[tokio::test]
async fn leases_take_their_keys_along() {
    golden_file("lease.txt").await;
}

#[tokio::test]
async fn locks_and_elections_have_one_holder_at_a_time() {
    golden_file("lock.txt").await;
}

#[tokio::test]
async fn members_are_listed_and_healthy() {
    golden_file("endpoint.txt").await;
}

#[tokio::test]
async fn users_do_what_their_roles_permit() {
    // Each command brings its password along: it may be cheap here.
    golden_file_with("auth.txt", &["--bcrypt-cost=4"]).await;
}

#[tokio::test]
async fn answers_in_a_transaction_tell_the_revision_so_far() {
    golden_file("txn_revisions.txt").await;
}

/// What was there, what comes and what goes, in pages and under another prefix.
#[tokio::test]
async fn a_mirror_shows_what_the_original_has() {
    let server = Server::from_env().expect("a server to test");
    let original = Cluster::start(&server, 1, &[]).await.expect("a cluster");
    let mirror = Cluster::start(&server, 1, &[]).await.expect("a cluster");
    let at = |cluster: &Cluster, command: &str| golden::shell(cluster, command).expect("a shell");
    // A mirror begins with pages of a thousand keys.
    let mut client = original
        .client(0, Duration::from_secs(5))
        .await
        .expect("a client");
    for number in 0..1_200 {
        let key = format!("p/{number:04}");
        client.put(key, "old", None).await.expect("a put");
    }
    let mut mirroring = Command::new("etcdctl");
    mirroring
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_ENDPOINTS", original.members[0].client_url())
        .args(["make-mirror", "--prefix", "p/", "--dest-prefix", "q/"])
        .arg(mirror.members[0].client_url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let _mirroring = mirroring.spawn().expect("etcdctl runs");
    let is_there = || at(&mirror, "etcdctl get q/1199").contains("old");
    let (mut copied, mut since) = (String::new(), Instant::now());
    while !is_there() {
        let more = at(&mirror, "etcdctl get q/ --prefix --keys-only | grep -c q/");
        if more != copied {
            (copied, since) = (more, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "no more pages come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    at(
        &original,
        "etcdctl put p/new 1; etcdctl put other x; etcdctl del p/0007; etcdctl put p/0008 changed",
    );
    let all = |cluster, prefix: &str| {
        let pairs = at(cluster, &format!("etcdctl get {prefix}/ --prefix"));
        pairs.replace(&format!("{prefix}/"), "")
    };
    let since = Instant::now();
    while all(&original, "p") != all(&mirror, "q") {
        assert!(since.elapsed() < PATIENCE, "they differ");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let copied = all(&mirror, "q");
    assert!(copied.contains("new\n1") && copied.contains("0008\nchanged"));
    assert_eq!(copied.lines().count(), 2 * 1_200, "neither less nor more");
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

#[tokio::test]
async fn leadership_moves_to_the_member_that_is_named() {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, 3, &[]).await.expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    let shell = |command: &str| golden::shell(&cluster, command).expect("a shell");
    let members = shell("etcdctl member list");
    let id_of = |member: usize| {
        let url = cluster.members[member].client_url();
        let line = members.lines().find(|line| line.contains(&url));
        let id = line.and_then(|line| line.split(',').next());
        id.expect("it is listed").to_owned()
    };
    for _ in 0..3 {
        let leader = cluster.wait_for_leader().await.expect("a leader");
        let next = (leader + 1) % 3;
        let (from, to) = (id_of(leader), id_of(next));
        let said = shell(&format!("etcdctl move-leader {to}"));
        let done = format!("Leadership transferred from {from} to {to}");
        assert!(said.contains(&done), "{said}");
        assert_eq!(cluster.wait_for_leader().await.expect("a leader"), next);
        shell("etcdctl put k v");
    }
    let said = shell("etcdctl move-leader 1234 2>&1");
    assert!(said.contains("bad leader transferee"), "{said}");
}
