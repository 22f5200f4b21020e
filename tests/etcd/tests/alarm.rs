//! A store that has become as large as it may: an alarm says so everywhere, nothing new is taken in, room
//! can be made, and then it goes on.

use std::process::Command;
use std::time::{Duration, Instant};

use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, DeleteOptions, LeaseGrantOptions, Txn, TxnOp,
};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::http;

const LIMIT: Duration = Duration::from_secs(10);
/// The quota: small, but larger than what etcd's file has from the first.
const QUOTA_BYTES: usize = 1 << 20;
const FULL: &str = "etcdserver: mvcc: database space exceeded";

async fn three() -> (Cluster, Client) {
    let server = Server::from_env().expect("a server to test");
    let quota = format!("--quota-backend-bytes={QUOTA_BYTES}");
    let cluster = Cluster::start(&server, 3, &[&quota]).await;
    let cluster = cluster.expect("a cluster");
    let client = cluster.client(0, LIMIT).await.expect("a client");
    (cluster, client)
}

/// Writes until it is refused: how many bytes went in.
async fn fill(client: &mut Client) -> usize {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut bytes = 0;
    for at in 0.. {
        assert!(Instant::now() < deadline, "{bytes} bytes, and no end");
        match client
            .put(format!("fill/{at:06}"), vec![b'x'; 4000], None)
            .await
        {
            Ok(_) => bytes += 4000,
            Err(error) => {
                assert!(error.to_string().contains(FULL), "{error}");
                break;
            }
        }
    }
    bytes
}

async fn alarms(client: &mut Client) -> Vec<(u64, AlarmType)> {
    let list = client.alarm(AlarmAction::Get, AlarmType::None, None).await;
    let list = list.expect("a list");
    list.alarms()
        .iter()
        .map(|alarm| (alarm.member_id(), alarm.alarm()))
        .collect()
}

fn page(cluster: &Cluster, number: usize, path: &str) -> (u16, String) {
    let answer = http::get(cluster.members[number].client_port.number, path);
    let answer = answer.expect("an answer");
    (answer.status, answer.body)
}

fn etcdctl(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints={}", cluster.members[1].client_url()))
        .args(arguments)
        .output()
        .expect("etcdctl");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_full_store_says_so_and_goes_on_when_there_is_room() {
    let (cluster, mut client) = three().await;
    client
        .put("before", "v", None)
        .await
        .expect("there is room");
    let bytes = fill(&mut client).await;
    assert!(bytes > QUOTA_BYTES / 2, "{bytes} bytes are not much");

    // Everywhere, and in everybody's words.
    for number in 0..3 {
        let mut client = cluster.client(number, LIMIT).await.expect("a client");
        let raised = alarms(&mut client).await;
        assert!(!raised.is_empty());
        assert!(
            raised.iter().all(|(_, kind)| *kind == AlarmType::Nospace),
            "{raised:?}"
        );
        let error = client.put("more", "v", None).await.unwrap_err();
        assert!(error.to_string().contains(FULL), "{error}");
        let (code, text) = page(&cluster, number, "/health");
        assert_eq!(code, 503, "{text}");
        assert!(text.contains("ALARM NOSPACE"), "{text}");
        let (code, text) = page(&cluster, number, "/health?exclude=NOSPACE");
        // Release 3.5.1 of etcd does not know that.
        assert!(code == 200 || cluster.server.is_etcd, "{text}");
    }
    let list = etcdctl(&cluster, &["alarm", "list"]);
    assert!(list.contains("alarm:NOSPACE"), "{list}");
    let status = etcdctl(&cluster, &["endpoint", "status", "-w", "table"]);
    assert!(status.contains("alarm:NOSPACE"), "{status}");

    // What makes it larger is refused, the rest is not.
    let lease = client.lease_grant(60, Some(LeaseGrantOptions::new())).await;
    assert!(lease.unwrap_err().to_string().contains(FULL));
    let txn = Txn::new().and_then([TxnOp::put("more", "v", None)]);
    assert!(
        client
            .txn(txn)
            .await
            .unwrap_err()
            .to_string()
            .contains(FULL)
    );
    assert_eq!(
        client
            .get("before", None)
            .await
            .expect("reads go on")
            .kvs()
            .len(),
        1
    );
    let options = DeleteOptions::new().with_prefix();
    let gone = client
        .delete("fill/", Some(options))
        .await
        .expect("deletions go on");
    let revision = gone.header().expect("a header").revision();
    client
        .compact(revision, None)
        .await
        .expect("compactions go on");
    for number in 0..3 {
        // An etcd gives back what was compacted in its own time, and only then has room.
        let mut client = cluster.client(number, LIMIT).await.expect("a client");
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.defragment().await.expect("done, or nothing to do");
    }

    // Until somebody says that it is mended.
    let error = client.put("more", "v", None).await.unwrap_err();
    assert!(error.to_string().contains(FULL), "{error}");
    let ended = etcdctl(&cluster, &["alarm", "disarm"]);
    assert!(ended.contains("alarm:NOSPACE"), "{ended}");
    assert_eq!(alarms(&mut client).await, []);
    client
        .put("more", "v", None)
        .await
        .expect("there is room again");
    let (code, text) = page(&cluster, 0, "/health");
    assert_eq!(code, 200, "{text}");
}

#[tokio::test]
async fn an_alarm_that_is_ended_too_early_comes_back() {
    let (_cluster, mut client) = three().await;
    fill(&mut client).await;
    for (member, kind) in alarms(&mut client).await {
        let mut options = AlarmOptions::new();
        options.with_member(member);
        let ended = client
            .alarm(AlarmAction::Deactivate, kind, Some(options))
            .await;
        ended.expect("it ends");
    }
    let deadline = Instant::now() + LIMIT;
    while client.put("k", vec![0; 4000], None).await.is_ok() {
        assert!(
            Instant::now() < deadline,
            "it is forgotten that there is no room"
        );
    }
    assert!(!alarms(&mut client).await.is_empty());
}

#[tokio::test]
async fn history_goes_by_itself_and_what_is_younger_stays() {
    let server = Server::from_env().expect("a server to test");
    let flags = [
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=3s",
    ];
    let cluster = Cluster::start(&server, 3, &flags).await;
    let cluster = cluster.expect("a cluster");
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    let begin = Instant::now();
    let at = async |client: &mut Client, revision: i64| {
        let options = etcd_client::GetOptions::new().with_revision(revision);
        client.get("k", Some(options)).await
    };
    let mut written = Vec::new();
    while begin.elapsed() < Duration::from_secs(9) {
        let put = client.put("k", "v", None).await.expect("a put");
        written.push((Instant::now(), put.header().expect("a header").revision()));
        // What is younger than was asked for is there at any time.
        let young = |(then, _): &&(Instant, i64)| then.elapsed() < Duration::from_millis(2500);
        let (_, revision) = *written.iter().find(young).expect("the last one");
        at(&mut client, revision).await.expect("it is young");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error = at(&mut client, written[0].1).await.unwrap_err();
    assert!(error.to_string().contains("compacted"), "{error}");
}
