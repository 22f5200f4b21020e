//! Disks become full, by the members' own writing or by somebody else's: what makes the store larger
//! is refused in etcd's words, what makes it smaller is taken, and all goes on once there is room.

use etcd_client::{
    AlarmAction, AlarmType, Client, CompactionOptions, DeleteOptions, Error, GetOptions,
};
use headwater_etcd_tests::cluster::{Cluster, STOP_LIMIT, Server};
use headwater_etcd_tests::http::get;
use headwater_etcd_tests::small_disk::SmallDisks;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const LIMIT: Duration = Duration::from_secs(10);

/// How long a cluster may take to find that it has room again.
const ROOM_LIMIT: Duration = Duration::from_secs(60);

const MIB: usize = 1 << 20;

/// Room for two segments of the log, the reserve, and not much besides.
const SMALL_BYTES: u64 = 190 << 20;

/// Room for what a member writes that keeps up.
const AMPLE_BYTES: u64 = 500 << 20;

/// In etcd's words; code 8 is `ResourceExhausted`.
const NO_SPACE: (i32, &str) = (8, "etcdserver: mvcc: database space exceeded");

async fn on_disks(bytes: u64) -> (Cluster, SmallDisks) {
    let server = Server::from_env().expect("a server to test");
    let folder = std::env::temp_dir();
    let mut cluster = Cluster::new(&server, 3, &folder, &[]).expect("ports and a folder");
    let disks = SmallDisks::mount(&cluster, bytes).expect("small disks");
    for number in 0..3 {
        disks.spawn(&mut cluster, number).expect("it starts");
    }
    cluster.ready().await.expect("it serves");
    (cluster, disks)
}

/// A value of one MiB that tells which it is.
fn value(number: usize) -> Vec<u8> {
    let mut value = vec![b'.'; MIB];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}

/// Writes one key: whether it was taken, or refused for lack of room.
async fn put(client: &mut Client, number: usize) -> bool {
    let deadline = Instant::now() + LIMIT;
    loop {
        match client
            .put(format!("big{number:04}"), value(number), None)
            .await
        {
            Ok(_) => return true,
            Err(Error::GRpcStatus(status)) => {
                let told = (status.code() as i32, status.message());
                if told == NO_SPACE {
                    return false;
                }
                // An election, or a leader that has handed over.
                assert!(Instant::now() < deadline, "{status:?}");
            }
            Err(error) => panic!("{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Writes until that is refused: how many were taken.
async fn fill_up(client: &mut Client) -> usize {
    for number in 0..1000 {
        if !put(client, number).await {
            return number;
        }
    }
    panic!("a thousand MiB were taken on small disks");
}

fn is_full(cluster: &Cluster, number: usize) -> bool {
    let port = cluster.members[number].client_port.number;
    let page = get(port, "/metrics").expect("metrics").body;
    page.lines().any(|line| line == "headwater_disk_full 1")
}

/// Waits until a page answers so.
async fn health(port: u16, path: &str, code: u16, words: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = get(port, path).expect("an answer");
        if answer.status == code && answer.body.contains(words) {
            return;
        }
        assert!(Instant::now() < deadline, "{path}: {answer:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn until_all_have_room(cluster: &Cluster) {
    let deadline = Instant::now() + ROOM_LIMIT;
    let full = |number: &usize| is_full(cluster, *number);
    while (0..cluster.members.len()).any(|number| full(&number)) {
        assert!(Instant::now() < deadline, "a disk is still full");
        sleep(Duration::from_millis(200)).await;
    }
}

/// What was acknowledged and not deleted is on every member, and nothing else is. A member answers a
/// linearizable read from what it holds itself.
async fn all_hold(cluster: &Cluster, numbers: impl Iterator<Item = usize> + Clone) {
    for member in 0..cluster.members.len() {
        let mut client = cluster.client(member, LIMIT).await.expect("a client");
        for number in numbers.clone() {
            let got = client.get(format!("big{number:04}"), None).await;
            let got = got.expect("an answer");
            let kept = got.kvs().first().map(|pair| pair.value());
            let is_whole = kept == Some(&value(number));
            assert!(
                is_whole,
                "member {member} does not hold what was put as {number}"
            );
        }
        let all = GetOptions::new().with_prefix().with_count_only();
        let got = client.get("", Some(all)).await.expect("a count");
        assert_eq!(got.count() as usize, numbers.clone().count());
    }
}

#[tokio::test]
async fn what_fills_the_disks_can_be_deleted_and_then_all_is_taken_again() {
    let (mut cluster, disks) = on_disks(SMALL_BYTES).await;
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    let taken = fill_up(&mut client).await;
    assert!(taken > 40, "only {taken} MiB were taken");
    // Whoever refuses says so everywhere that operators look.
    let full = (0..3).find(|&number| is_full(&cluster, number));
    let full = full.expect("somebody's disk is full");
    let port = cluster.members[full].client_port.number;
    // Leadership may be on its way to a member that has room.
    health(port, "/health", 503, "ALARM NOSPACE").await;
    health(port, "/health?exclude=NOSPACE", 200, "true").await;
    let mut there = cluster.client(full, LIMIT).await.expect("a client");
    let alarms = there.alarm(AlarmAction::Get, AlarmType::None, None).await;
    let alarms = alarms.expect("a list of alarms");
    assert!(
        alarms
            .alarms()
            .iter()
            .any(|alarm| alarm.alarm() == AlarmType::Nospace),
        "{alarms:?}"
    );
    // A start on a full disk needs nothing that is not there.
    cluster.kill(full);
    disks.spawn(&mut cluster, full).expect("it starts");
    cluster.ready().await.expect("it serves on a full disk");
    all_hold(&cluster, 0..taken).await;

    let revision = {
        let range = DeleteOptions::new().with_range("big0010");
        let deleted = client.delete("big0000", Some(range)).await;
        let deleted = deleted.expect("what makes the store smaller is taken");
        assert_eq!(deleted.deleted(), 10);
        let rest = DeleteOptions::new().with_range("big9999");
        let deleted = client.delete("big0015", Some(rest)).await;
        let deleted = deleted.expect("what makes the store smaller is taken");
        deleted.header().expect("a header").revision()
    };
    let compaction = CompactionOptions::new().with_physical();
    let compacted = client.compact(revision, Some(compaction)).await;
    compacted.expect("a compaction is taken");
    until_all_have_room(&cluster).await;
    assert!(put(&mut client, 2000).await, "there is room again");
    all_hold(&cluster, (10..15).chain([2000])).await;
    for number in 0..3 {
        let status = cluster.terminate(number).await;
        status.unwrap_or_else(|why| panic!("not within {STOP_LIMIT:?}: {why}"));
        disks.spawn(&mut cluster, number).expect("it starts");
    }
    cluster.ready().await.expect("it serves");
    all_hold(&cluster, (10..15).chain([2000])).await;
}

#[tokio::test]
async fn a_member_whose_disk_somebody_else_fills_stops_nobody_and_comes_back() {
    let (cluster, disks) = on_disks(AMPLE_BYTES).await;
    let leader = cluster.wait_for_leader().await.expect("a leader");
    disks.fill(&cluster, leader).expect("the disk is filled");
    let other = (leader + 1) % 3;
    let mut client = cluster.client(other, LIMIT).await.expect("a client");
    // More than the full member's segment holds: it cannot keep up. The same few keys, so that the
    // others have room for all.
    let mut refused = 0;
    for round in 0..80 {
        while !put(&mut client, round % 8).await {
            refused += 1;
            assert!(
                refused < 100,
                "the cluster does not go on without that member"
            );
            sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(is_full(&cluster, leader));
    assert!(!is_full(&cluster, other));
    assert_ne!(cluster.leader().await, Some(leader), "it has handed over");
    disks.give_back(&cluster, leader).expect("it is there");
    until_all_have_room(&cluster).await;
    all_hold(&cluster, 0..8).await;
    let mut back = cluster.client(leader, LIMIT).await.expect("a client");
    assert!(put(&mut back, 8).await, "it takes everything again");
}
