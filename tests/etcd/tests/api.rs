//! Calls of the API that etcdctl cannot make, or that etcd itself gets wrong.

use etcd_client::{Client, Error, GetOptions, SortOrder, SortTarget, Txn, TxnOp};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::judge::agreed_state;
use std::time::Duration;

async fn cluster(size: usize) -> Cluster {
    let server = Server::from_env().expect("a server to test");
    Cluster::start(&server, size, &[]).await.expect("a cluster")
}

async fn client(cluster: &Cluster) -> Client {
    cluster
        .client(0, Duration::from_secs(5))
        .await
        .expect("a client")
}

/// gRPC's code and text.
fn refusal<T>(answer: Result<T, Error>) -> (i32, String) {
    match answer {
        Err(Error::GRpcStatus(status)) => (i32::from(status.code()), status.message().to_string()),
        Err(other) => panic!("no status but {other}"),
        Ok(_) => panic!("it was accepted"),
    }
}

#[tokio::test]
async fn a_count_ignores_limits_and_brings_no_keys() {
    let cluster = cluster(1).await;
    let mut client = client(&cluster).await;
    for key in ["a", "a/1", "a/2", "b"] {
        client.put(key, "v", None).await.expect("a put");
    }
    let options = GetOptions::new()
        .with_prefix()
        .with_count_only()
        .with_limit(1);
    let answer = client.get("a", Some(options)).await.expect("a count");
    assert_eq!(
        (answer.count(), answer.kvs().len(), answer.more()),
        (3, 0, false)
    );
    let options = GetOptions::new().with_all_keys().with_count_only();
    assert_eq!(
        client
            .get("", Some(options))
            .await
            .expect("a count")
            .count(),
        4
    );
    let past = GetOptions::new()
        .with_prefix()
        .with_count_only()
        .with_revision(3);
    assert_eq!(
        client.get("a", Some(past)).await.expect("a count").count(),
        2
    );
}

#[tokio::test]
async fn revisions_of_creation_and_change_filter_after_the_count() {
    let cluster = cluster(1).await;
    let mut client = client(&cluster).await;
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("a", "4")] {
        client.put(key, value, None).await.expect("a put");
    }
    let options = || GetOptions::new().with_all_keys();
    let keys = async |mut client: Client, options| {
        let answer = client.get("", Some(options)).await.expect("a range");
        let keys = answer
            .kvs()
            .iter()
            .map(|kv| kv.key_str().expect("text").to_string());
        (keys.collect::<Vec<_>>().join(""), answer.count())
    };
    assert_eq!(
        keys(client.clone(), options().with_min_mod_revision(4)).await,
        ("ac".into(), 3)
    );
    assert_eq!(
        keys(client.clone(), options().with_max_mod_revision(3)).await,
        ("b".into(), 3)
    );
    assert_eq!(
        keys(client.clone(), options().with_min_create_revision(3)).await,
        ("bc".into(), 3)
    );
    assert_eq!(
        keys(client.clone(), options().with_max_create_revision(2)).await,
        ("a".into(), 3)
    );
    let sorted = options()
        .with_sort(SortTarget::Mod, SortOrder::Descend)
        .with_limit(2);
    assert_eq!(keys(client.clone(), sorted).await, ("ac".into(), 3));
}

#[tokio::test]
async fn refusals_have_etcds_codes() {
    let cluster = cluster(1).await;
    let mut client = client(&cluster).await;
    client.put("k", "v", None).await.expect("a put");
    assert_eq!(
        refusal(client.put("", "v", None).await),
        (3, "etcdserver: key is not provided".to_string())
    );
    let future = GetOptions::new().with_revision(100);
    assert_eq!(
        refusal(client.get("k", Some(future)).await),
        (
            11,
            "etcdserver: mvcc: required revision is a future revision".to_string()
        )
    );
    client.compact(2, None).await.expect("a compaction");
    assert_eq!(
        refusal(client.compact(2, None).await),
        (
            11,
            "etcdserver: mvcc: required revision has been compacted".to_string()
        )
    );
    let options = etcd_client::PutOptions::new().with_lease(7);
    assert_eq!(
        refusal(client.put("k", "v", Some(options)).await),
        (5, "etcdserver: requested lease not found".to_string())
    );
    let twice = Txn::new().and_then([TxnOp::put("k", "1", None), TxnOp::put("k", "2", None)]);
    assert_eq!(
        refusal(client.txn(twice).await),
        (
            3,
            "etcdserver: duplicate key given in txn request".to_string()
        )
    );
    assert_eq!(
        refusal(client.put("large", vec![0; 1_600_000], None).await),
        (3, "etcdserver: request is too large".to_string())
    );
}

/// etcd up to 3.6 carries out the put on some members only; after that they differ for ever.
#[tokio::test]
async fn a_transaction_fails_on_all_members_or_on_none() {
    if Server::unless_etcd("known to be wrong in etcd 3.4 and 3.5").is_none() {
        return;
    }
    let cluster = cluster(3).await;
    let mut client = client(&cluster).await;
    client.put("k", "1", None).await.expect("a put");
    let future = TxnOp::get("k", Some(GetOptions::new().with_revision(1000)));
    let txn = Txn::new().and_then([TxnOp::put("k", "2", None), future]);
    assert_eq!(refusal(client.txn(txn).await).0, 11);
    let state = agreed_state(&cluster).await.expect("all members agree");
    assert_eq!(state.revision, 2, "nothing was written");
}

#[tokio::test]
async fn any_member_takes_writes_and_sees_those_of_others_at_once() {
    let cluster = cluster(3).await;
    let limit = Duration::from_secs(5);
    for round in 0..60usize {
        let mut writer = cluster.client(round % 3, limit).await.expect("a client");
        let value = round.to_string();
        let put = writer.put("k", value.clone(), None).await.expect("a put");
        let revision = put.header().expect("a header").revision();
        let mut reader = cluster
            .client((round + 1) % 3, limit)
            .await
            .expect("a client");
        let read = reader.get("k", None).await.expect("a read");
        assert_eq!(read.kvs()[0].value_str().expect("text"), value);
        assert_eq!(read.kvs()[0].mod_revision(), revision);
    }
}

/// Transactions in memory of several clients do that: what they read first says as of when they read the rest,
/// from whichever member.
#[tokio::test]
async fn a_revision_that_one_member_told_is_known_to_the_others_too() {
    if Server::unless_etcd("an etcd that has not heard of it refuses").is_none() {
        return;
    }
    let cluster = cluster(3).await;
    let leader = cluster.leader().await.expect("a leader");
    let limit = Duration::from_secs(5);
    let mut writer = cluster.client(leader, limit).await.expect("a client");
    let mut readers = Vec::new();
    for away in [1, 2] {
        let reader = cluster.client((leader + away) % 3, limit).await;
        let mut reader = reader.expect("a client");
        reader.get("k", None).await.expect("it is connected");
        readers.push(reader);
    }
    for round in 0..300 {
        let put = writer.put("k", round.to_string(), None).await;
        let put = put.expect("a put");
        let revision = put.header().expect("a header").revision();
        let as_of = GetOptions::new().with_serializable();
        let as_of = as_of.with_revision(revision);
        for reader in &mut readers {
            let txn = Txn::new().and_then([TxnOp::get("k", Some(as_of.clone()))]);
            let read = match round % 2 {
                0 => reader.get("k", Some(as_of.clone())).await.map(drop),
                _ => reader.txn(txn).await.map(drop),
            };
            read.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
    // What nobody has written is in the future for all of them.
    let as_of = GetOptions::new().with_serializable();
    let future = readers[0].get("k", Some(as_of.with_revision(1000))).await;
    assert_eq!(refusal(future).0, 11);
}
