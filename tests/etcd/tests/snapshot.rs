//! A snapshot is a whole store in a file: it goes into a new cluster of ours, into an etcd, and from an
//! etcd to us, with history and leases; one that is not whole goes nowhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, WatchOptions};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::program::{run, said};
use headwater_etcd_tests::rival::rival;

const LIMIT: Duration = Duration::from_secs(10);

fn server() -> Server {
    Server::from_env().expect("a server to test")
}

fn laid_out(server: &Server, size: usize) -> Cluster {
    Cluster::new(server, size, &std::env::temp_dir(), &[]).expect("ports and a folder")
}

async fn up(cluster: &mut Cluster) -> Client {
    for number in 0..cluster.members.len() {
        cluster.spawn(number).expect("a process");
    }
    cluster.ready().await.expect("it serves");
    cluster.client(0, LIMIT).await.expect("a client")
}

/// Keys with a past: written again, deleted, made anew, in transactions, with a lease, compacted.
/// The id of the lease.
async fn live(client: &mut Client) -> i64 {
    let lease = client.lease_grant(3600, None).await.expect("a lease").id();
    for round in 0..6 {
        for key in 0..40 {
            let value = format!("{round}").repeat(1 + key * 7);
            client
                .put(format!("k{key:02}"), value, None)
                .await
                .expect("it answers");
        }
        client
            .delete(format!("k{:02}", round * 3), None)
            .await
            .expect("it answers");
        let ops = (0..5).map(|n| TxnOp::put(format!("t{n}"), format!("{round}"), None));
        let when = Compare::version("t0", CompareOp::Greater, -1);
        let txn = Txn::new().when([when]).and_then(ops.collect::<Vec<_>>());
        assert!(client.txn(txn).await.expect("it answers").succeeded());
    }
    let attached = PutOptions::new().with_lease(lease);
    client
        .put("leased", "for an hour", Some(attached))
        .await
        .expect("it answers");
    let large = vec![b'x'; 700_000];
    client.put("large", large, None).await.expect("it answers");
    client.compact(100, None).await.expect("it answers");
    lease
}

type Keys = BTreeMap<Vec<u8>, (i64, i64, i64, i64, Vec<u8>)>;

/// All there is at a revision; zero for the newest.
async fn keys_at(client: &mut Client, revision: i64) -> (i64, Keys) {
    let options = GetOptions::new().with_all_keys().with_revision(revision);
    let found = client.get("", Some(options)).await.expect("a range");
    let fields = |kv: &etcd_client::KeyValue| {
        let numbers = (kv.create_revision(), kv.mod_revision());
        let value = kv.value().to_vec();
        let rest = (numbers.0, numbers.1, kv.version(), kv.lease(), value);
        (kv.key().to_vec(), rest)
    };
    let keys = found.kvs().iter().map(fields).collect();
    (found.header().expect("a header").revision(), keys)
}

/// Both have the same keys, now and at every revision that can be read, and neither can read more.
async fn assert_same(one: &mut Client, other: &mut Client) {
    let (newest, keys) = keys_at(one, 0).await;
    assert_eq!(keys_at(other, 0).await, (newest, keys));
    for revision in 100..=newest {
        let (_, expected) = keys_at(one, revision).await;
        let (_, found) = keys_at(other, revision).await;
        assert!(found == expected, "revision {revision}");
    }
    for client in [one, other] {
        let options = GetOptions::new().with_revision(99);
        let error = client
            .get("k01", Some(options))
            .await
            .expect_err("it is compacted");
        assert!(error.to_string().contains("compacted"), "{error}");
    }
}

/// It goes on: writes, and watches from before the snapshot on.
async fn assert_alive(client: &mut Client, lease: i64) {
    let left = client
        .lease_time_to_live(lease, None)
        .await
        .expect("it answers");
    assert_eq!(left.granted_ttl(), 3600);
    assert!(left.ttl() > 3000, "{} seconds left", left.ttl());
    let (newest, _) = keys_at(client, 0).await;
    let from = WatchOptions::new().with_start_revision(newest - 1);
    let mut stream = client
        .watch("leased", Some(from))
        .await
        .expect("it answers");
    let attached = PutOptions::new().with_lease(lease);
    client
        .put("leased", "again", Some(attached))
        .await
        .expect("it answers");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let message = tokio::time::timeout(LIMIT, stream.message()).await;
        let message = message
            .expect("in time")
            .expect("it goes on")
            .expect("it stays open");
        let kvs = message
            .events()
            .iter()
            .map(|event| event.kv().expect("a key"));
        seen.extend(kvs.map(|kv| kv.value().to_vec()).collect::<Vec<_>>());
    }
    assert_eq!(seen, [b"for an hour".to_vec(), b"again".to_vec()]);
    client.lease_revoke(lease).await.expect("it answers");
    assert_eq!(
        client
            .get("leased", None)
            .await
            .expect("it answers")
            .kvs()
            .len(),
        0
    );
}

/// Has a member write its snapshot into a file in the cluster's folder.
fn save(cluster: &Cluster, etcdctl: &Path) -> PathBuf {
    let file = cluster.folder.join("snapshot.db");
    run(Command::new(etcdctl)
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints={}", cluster.members[0].client_url()))
        .args(["snapshot", "save"])
        .arg(&file));
    file
}

/// Restores a snapshot for each member, with the flags that it will be started with.
fn restore(cluster: &Cluster, program: &Path, command: &[&str], file: &Path) {
    for number in 0..cluster.members.len() {
        restore_member(cluster, number, program, command, file);
    }
}

fn restore_member(cluster: &Cluster, number: usize, program: &Path, command: &[&str], file: &Path) {
    const FLAGS: [&str; 5] = [
        "name",
        "data-dir",
        "initial-cluster",
        "initial-cluster-token",
        "initial-advertise-peer-urls",
    ];
    let flags = cluster.flags(number);
    let wanted = flags.iter().filter(|flag| {
        let name = flag.trim_start_matches('-').split('=').next();
        name.is_some_and(|name| FLAGS.contains(&name))
    });
    run(Command::new(program).args(command).arg(file).args(wanted));
}

#[tokio::test]
async fn a_snapshot_becomes_a_cluster_of_three_with_history_and_leases() {
    let server = server();
    if server.is_etcd {
        return;
    }
    let mut old = laid_out(&server, 3);
    let mut before = up(&mut old).await;
    let lease = live(&mut before).await;
    let file = save(&old, Path::new("etcdctl"));
    let told = run(Command::new(&server.program)
        .args(["snapshot", "status"])
        .arg(&file));
    assert!(told.contains("compacted up to     100"), "{told}");

    let mut new = laid_out(&server, 3);
    restore(&new, &server.program, &["snapshot", "restore"], &file);
    let mut after = up(&mut new).await;
    assert_same(&mut before, &mut after).await;
    assert_alive(&mut after, lease).await;
    // And it is a cluster like any other: its members die and come back.
    for number in 0..3 {
        new.kill(number);
    }
    let mut after = up(&mut new).await;
    assert_eq!(after.get("leased", None).await.unwrap().kvs().len(), 0);
    after.put("k01", "goes on", None).await.unwrap();
}

#[tokio::test]
async fn members_of_other_snapshots_or_of_none_are_of_another_cluster() {
    let server = server();
    if server.is_etcd {
        return;
    }
    let mut old = laid_out(&server, 1);
    let mut client = up(&mut old).await;
    client.put("a", "1", None).await.expect("a put");
    let first = save(&old, Path::new("etcdctl"));
    let earlier = old.folder.join("earlier.db");
    std::fs::rename(&first, &earlier).expect("another name");
    client.put("b", "2", None).await.expect("a put");
    let later = save(&old, Path::new("etcdctl"));

    // The first has the earlier one, the second the later one, and of the third nobody thought.
    let mut new = laid_out(&server, 3);
    let command = ["snapshot", "restore"];
    restore_member(&new, 0, &server.program, &command, &earlier);
    restore_member(&new, 1, &server.program, &command, &later);
    for number in 0..3 {
        new.spawn(number).expect("a process");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for number in 0..3 {
        let said = new.members[number].printed();
        assert!(
            !new.serves(number).await,
            "a majority of different logs: {said}"
        );
    }
    // The file that all are to have makes a cluster.
    for number in 0..3 {
        new.kill(number);
        let directory = &new.members[number].data_dir;
        // Who began with no snapshot may have refused before it made one.
        if directory.exists() {
            std::fs::remove_dir_all(directory).expect("its directory goes");
        }
    }
    restore(&new, &server.program, &command, &later);
    let mut client = up(&mut new).await;
    assert_eq!(client.get("b", None).await.expect("a read").kvs().len(), 1);
    let members = client.member_list().await.expect("the members");
    let members = members.members().iter();
    assert_eq!(members.flat_map(|member| member.peer_urls()).count(), 3);
}

#[tokio::test]
async fn an_etcd_restores_our_snapshot_and_we_restore_its() {
    let server = server();
    if server.is_etcd {
        return;
    }
    let rival = rival().expect("an etcd");
    let etcd = Server::at(rival.join("etcd")).expect("an etcd");
    let mut ours = laid_out(&server, 1);
    let mut here = up(&mut ours).await;
    let lease = live(&mut here).await;
    let file = save(&ours, &rival.join("etcdctl"));

    let mut theirs = laid_out(&etcd, 1);
    restore(
        &theirs,
        &rival.join("etcdutl"),
        &["snapshot", "restore"],
        &file,
    );
    let mut there = up(&mut theirs).await;
    assert_same(&mut here, &mut there).await;

    // Back, with what has happened there.
    there.put("from", "etcd", None).await.unwrap();
    there.delete("k05", None).await.unwrap();
    let file = save(&theirs, &rival.join("etcdctl"));
    let mut again = laid_out(&server, 1);
    restore(&again, &server.program, &["snapshot", "restore"], &file);
    let mut here = up(&mut again).await;
    assert_same(&mut there, &mut here).await;
    there.put("leased", "for an hour", None).await.unwrap();
    here.put(
        "leased",
        "for an hour",
        Some(PutOptions::new().with_lease(lease)),
    )
    .await
    .unwrap();
    assert_alive(&mut here, lease).await;
}

#[tokio::test]
async fn what_is_not_whole_is_restored_nowhere() {
    let server = server();
    if server.is_etcd {
        return;
    }
    let mut cluster = laid_out(&server, 1);
    let mut client = up(&mut cluster).await;
    client.put("k", "v", None).await.unwrap();
    let file = save(&cluster, Path::new("etcdctl"));
    let whole = std::fs::read(&file).expect("the snapshot");
    let into = cluster.folder.join("restored");
    let refused = |bytes: &[u8], words: &str| {
        let bad = cluster.folder.join("bad.db");
        std::fs::write(&bad, bytes).expect("a file");
        let output = Command::new(&server.program)
            .args(["snapshot", "restore", "--data-dir"])
            .arg(&into)
            .arg(&bad)
            .output()
            .expect("it starts");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!into.exists(), "{said}");
    };
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    refused(&flipped, "its checksum is another");
    refused(&whole[..whole.len() - 1], "its end is missing");
    refused(&whole[..whole.len() - 32], "it has no checksum at its end");
    refused(b"not a snapshot", "it is no snapshot");
    refused(&[], "it is empty");

    // A directory in use is left as it is.
    let mine = &cluster.members[0].data_dir;
    let output = Command::new(&server.program)
        .args(["snapshot", "restore", "--data-dir"])
        .args([mine, &file])
        .output()
        .expect("it starts");
    assert!(
        said(&output).contains("it is not empty"),
        "{}",
        said(&output)
    );
    client.put("k", "still here", None).await.unwrap();
}
