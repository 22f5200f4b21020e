//! Any member tells of all: who takes part, and where clients reach whom.

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::golden::shell;
use headwater_etcd_tests::port::Port;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

/// What `etcdctl` prints that knows only this member's address.
fn etcdctl(cluster: &Cluster, number: usize, arguments: &str) -> String {
    let only = format!("export ETCDCTL_ENDPOINTS=$EP{}", number + 1);
    shell(cluster, &format!("{only}\netcdctl {arguments}")).expect("a shell")
}

/// The client URLs, peer URLs and names that this member tells, in the order of the names.
fn told(cluster: &Cluster, number: usize) -> Vec<(String, String, String)> {
    let printed = etcdctl(cluster, number, "member list");
    let mut members: Vec<_> = printed
        .lines()
        .map(|line| {
            let cells: Vec<&str> = line.split(", ").collect();
            let [_, "started", name, peer, client, "false"] = cells[..] else {
                panic!("not a member that started: {line}");
            };
            (name.to_string(), peer.to_string(), client.to_string())
        })
        .collect();
    members.sort();
    members
}

/// What every member should tell, with clients' addresses of these members only.
fn expected(cluster: &Cluster, known: &[usize]) -> Vec<(String, String, String)> {
    let members = cluster.members.iter().enumerate();
    let expected = members.map(|(number, member)| {
        let client = known.contains(&number).then(|| member.client_url());
        (
            member.name.clone(),
            member.peer_url(),
            client.unwrap_or_default(),
        )
    });
    expected.collect()
}

#[tokio::test]
async fn any_one_endpoint_leads_to_all() {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, 3, &[]).await.expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    for number in 0..3 {
        assert_eq!(told(&cluster, number), expected(&cluster, &[0, 1, 2]));

        let table = etcdctl(&cluster, number, "endpoint status --cluster -w table");
        let rows: Vec<&str> = table.lines().filter(|line| line.contains("http")).collect();
        assert_eq!(rows.len(), 3, "{table}");
        for member in &cluster.members {
            let url = format!("| {} |", member.client_url());
            assert_eq!(table.matches(&url).count(), 1, "{table}");
        }
        let leaders = rows.iter().filter(|row| row.contains("true")).count();
        assert_eq!(leaders, 1, "{table}");

        let healthy = etcdctl(&cluster, number, "endpoint health --cluster");
        for member in &cluster.members {
            let line = format!("{} is healthy: ", member.client_url());
            assert_eq!(healthy.matches(&line).count(), 1, "{healthy}");
        }
    }
}

#[tokio::test]
async fn publishing_is_no_write_that_clients_see() {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, 3, &[]).await.expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    let all = etcd_client::GetOptions::new().with_all_keys();
    let answer = client.get("", Some(all)).await.expect("a range");
    let revision = answer.header().expect("a head").revision();
    assert_eq!((answer.count(), revision), (0, 1));
}

#[tokio::test]
async fn a_member_that_never_started_has_a_name_and_no_address() {
    let server = Server::from_env().expect("a server to test");
    let mut cluster =
        Cluster::new(&server, 3, &std::env::temp_dir(), &[]).expect("a cluster laid out");
    for number in [0, 2] {
        cluster.spawn(number).expect("it starts");
    }
    cluster.ready().await.expect("two of three serve");
    cluster.acquainted().await.expect("both know both");
    for number in [0, 2] {
        assert_eq!(told(&cluster, number), expected(&cluster, &[0, 2]));
        let status = etcdctl(&cluster, number, "endpoint status --cluster");
        assert_eq!(status.lines().count(), 2, "{status}");
    }
    cluster.spawn(1).expect("it starts");
    cluster.ready().await.expect("all serve");
    cluster.acquainted().await.expect("all know all");
    assert_eq!(told(&cluster, 0), expected(&cluster, &[0, 1, 2]));
}

#[tokio::test]
async fn a_member_that_moved_is_found_where_it_is_now() {
    let server = Server::from_env().expect("a server to test");
    let mut cluster = Cluster::start(&server, 3, &[]).await.expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    let before = cluster.members[1].client_url();
    cluster.terminate(1).await.expect("it leaves");
    assert_eq!(
        told(&cluster, 0),
        expected(&cluster, &[0, 1, 2]),
        "a member that is away is still told of"
    );
    cluster.members[1].client_port = Port::reserve().expect("a port");
    assert_ne!(cluster.members[1].client_url(), before);
    cluster.spawn(1).expect("it starts elsewhere");
    cluster.ready().await.expect("all serve");
    cluster.acquainted().await.expect("all know all");
    for number in 0..3 {
        assert_eq!(told(&cluster, number), expected(&cluster, &[0, 1, 2]));
    }
}

#[tokio::test]
async fn what_is_known_of_a_member_outlives_the_log_and_all_processes() {
    let server = Server::from_env().expect("a server to test");
    let often = if server.is_etcd {
        "--snapshot-count=100"
    } else {
        "--snapshot-log-bytes=65536"
    };
    let mut cluster = Cluster::start(&server, 3, &[often])
        .await
        .expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    for number in 0..300 {
        let value = vec![b'v'; 2_000];
        let written = client.put(format!("k{}", number % 5), value, None).await;
        let written = written.expect("a put");
        // Forgotten history makes the state small, and a snapshot worth its while.
        if number % 20 == 19 {
            let revision = written.header().expect("a head").revision();
            client.compact(revision, None).await.expect("a compaction");
        }
    }
    if !server.is_etcd {
        let snapshots = cluster.members[0].data_dir.join("snap");
        let has_snapshot = std::fs::read_dir(snapshots).is_ok_and(|files| files.count() > 0);
        assert!(has_snapshot, "the log alone would prove less");
    }
    (0..3).for_each(|number| cluster.kill(number));
    // The third cannot say anything; the others remember.
    for number in [0, 1] {
        cluster.spawn(number).expect("it starts again");
    }
    cluster.ready().await.expect("two of three serve");
    cluster.acquainted().await.expect("both know both");
    for number in [0, 1] {
        assert_eq!(told(&cluster, number), expected(&cluster, &[0, 1, 2]));
    }
}
