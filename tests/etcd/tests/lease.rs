//! Leases, locks and elections as clients call them that are not etcdctl.
//!
//! `SERVER_BIN=etcd` has etcd itself judged.

use etcd_client::{
    Client, Error, LeaseGrantOptions, LeaseTimeToLiveOptions, LockOptions, ProclaimOptions,
    PutOptions, ResignOptions,
};
use headwater_etcd_tests::cluster::{Cluster, Server};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long something must wait that may not come.
const PAUSE: Duration = Duration::from_millis(500);

async fn cluster(size: usize) -> Cluster {
    let server = Server::from_env().expect("a server to test");
    Cluster::start(&server, size, &[]).await.expect("a cluster")
}

async fn client(cluster: &Cluster, member: usize) -> Client {
    cluster.client(member, PATIENCE).await.expect("a client")
}

/// gRPC's code and text.
fn refusal<T>(answer: Result<T, Error>) -> (i32, String) {
    match answer {
        Err(Error::GRpcStatus(status)) => (i32::from(status.code()), status.message().to_string()),
        Err(other) => panic!("no status but {other}"),
        Ok(_) => panic!("it was accepted"),
    }
}

async fn granted(client: &mut Client, ttl: i64, id: i64) -> Result<(i64, i64), Error> {
    let options = LeaseGrantOptions::new().with_id(id);
    let granted = client.lease_grant(ttl, Some(options)).await?;
    Ok((granted.id(), granted.ttl()))
}

/// What there is of a lease: seconds left, granted, and its keys.
async fn left(client: &mut Client, id: i64) -> (i64, i64, Vec<String>) {
    let options = LeaseTimeToLiveOptions::new().with_keys();
    let lease = client.lease_time_to_live(id, Some(options)).await;
    let lease = lease.expect("an answer");
    let text = |key: &Vec<u8>| String::from_utf8_lossy(key).into_owned();
    let mut keys: Vec<String> = lease.keys().iter().map(text).collect();
    keys.sort();
    (lease.ttl(), lease.granted_ttl(), keys)
}

#[tokio::test]
async fn a_lease_has_the_id_and_the_time_that_it_was_granted() {
    let cluster = cluster(3).await;
    for member in 0..3 {
        let mut client = client(&cluster, member).await;
        let id = 40 + member as i64;
        assert_eq!(
            granted(&mut client, 60, id).await.expect("a lease"),
            (id, 60)
        );
        assert_eq!(
            refusal(granted(&mut client, 60, id).await),
            (9, "etcdserver: lease already exists".to_string())
        );
        let negative = granted(&mut client, 60, -id).await.expect("a lease");
        assert_eq!(negative, (-id, 60));
        // The least that is granted is one and a half elections.
        let shortest = granted(&mut client, 0, 0).await.expect("a lease");
        assert!(shortest.0 > 0 && shortest.1 == 2, "{shortest:?}");
        assert_eq!(
            refusal(granted(&mut client, 9_000_000_001, 0).await),
            (11, "etcdserver: too large lease TTL".to_string())
        );
        let put = PutOptions::new().with_lease(id);
        client
            .put(format!("k{member}"), "v", Some(put))
            .await
            .expect("a put");
        let (seconds, all, keys) = left(&mut client, id).await;
        assert!((30..=60).contains(&seconds), "{seconds} s left");
        assert_eq!((all, keys), (60, vec![format!("k{member}")]));
        client.lease_revoke(id).await.expect("a revocation");
        assert_eq!(
            refusal(client.lease_revoke(id).await),
            (5, "etcdserver: requested lease not found".to_string())
        );
        assert_eq!(left(&mut client, id).await, (-1, 0, Vec::new()));
        let gone = client
            .get(format!("k{member}"), None)
            .await
            .expect("a read");
        assert!(gone.kvs().is_empty(), "its key stays");
    }
    let mut client = client(&cluster, 1).await;
    let leases = client.leases().await.expect("a list");
    let negative = leases.leases().iter().filter(|lease| lease.id() < 0);
    assert_eq!(negative.count(), 3);
}

/// A lease of four seconds is kept for six through each member in turn, and then ends.
#[tokio::test]
async fn a_lease_is_kept_alive_through_any_member() {
    let cluster = cluster(3).await;
    let mut first = client(&cluster, 0).await;
    let id = first.lease_grant(4, None).await.expect("a lease").id();
    let put = PutOptions::new().with_lease(id);
    first.put("k", "v", Some(put)).await.expect("a put");
    for round in 0..9usize {
        let mut client = client(&cluster, round % 3).await;
        let (mut keeper, mut answers) = client.lease_keep_alive(id).await.expect("a stream");
        keeper.keep_alive().await.expect("a request");
        let answer = timeout(PATIENCE, answers.message()).await.expect("in time");
        let answer = answer.expect("in order").expect("an answer");
        assert_eq!((answer.id(), answer.ttl()), (id, 4));
        assert!(answer.header().is_some_and(|header| header.revision() > 1));
        sleep(Duration::from_millis(700)).await;
    }
    let since = Instant::now();
    assert_eq!(first.get("k", None).await.expect("a read").kvs().len(), 1);
    while !first.get("k", None).await.expect("a read").kvs().is_empty() {
        assert!(since.elapsed() < PATIENCE, "it never ends");
        sleep(Duration::from_millis(20)).await;
    }
    // Of one that is gone it is said that it has no time, which this client takes for an error.
    let gone = first.lease_keep_alive(id).await;
    let error = gone.expect_err("a lease that is gone").to_string();
    assert!(error.contains("lease not found"), "{error}");
}

/// All at once, through a member that must ask the leader for each.
#[tokio::test]
async fn a_thousand_leases_are_renewed_through_a_follower() {
    const LEASES: i64 = 1_000;
    let cluster = cluster(3).await;
    let leader = cluster.wait_for_leader().await.expect("a leader");
    let mut client = client(&cluster, (leader + 1) % 3).await;
    let since = Instant::now();
    let mut grants = tokio::task::JoinSet::new();
    for id in 1..=LEASES {
        let mut client = client.clone();
        grants.spawn(async move { granted(&mut client, 60, id).await.map(drop) });
    }
    for granted in grants.join_all().await {
        granted.expect("a lease");
    }
    let granted = since.elapsed();
    let since = Instant::now();
    let mut renewals = tokio::task::JoinSet::new();
    for id in 1..=LEASES {
        let mut client = client.clone();
        renewals.spawn(async move { client.lease_keep_alive(id).await.map(drop) });
    }
    for renewed in renewals.join_all().await {
        renewed.expect("a renewal");
    }
    let renewed = since.elapsed();
    println!("measured: {LEASES} leases granted in {granted:?} and renewed in {renewed:?}");
    assert!(renewed < PATIENCE, "{renewed:?}");
    let leases = client.leases().await.expect("a list");
    assert_eq!(leases.leases().len() as i64, LEASES);
}

#[tokio::test]
async fn leases_are_listed_in_the_order_in_which_they_end() {
    let cluster = cluster(1).await;
    let mut client = client(&cluster, 0).await;
    for (ttl, id) in [(300, 1), (100, 2), (200, 3)] {
        granted(&mut client, ttl, id).await.expect("a lease");
    }
    let leases = client.leases().await.expect("a list");
    let ids: Vec<i64> = leases.leases().iter().map(|lease| lease.id()).collect();
    assert_eq!(ids, [2, 3, 1]);
}

#[tokio::test]
async fn a_lock_has_one_holder_and_the_next_follows() {
    let cluster = cluster(3).await;
    let mut first = client(&cluster, 0).await;
    let held = first.lock("l", None).await.expect("a lock");
    let key = held.key().to_vec();
    assert!(key.starts_with(b"l/"), "{key:?}");
    let lease = first.get(key.clone(), None).await.expect("a read").kvs()[0].lease();
    let (seconds, all, _) = left(&mut first, lease).await;
    assert!(all == 60 && seconds >= 30, "{seconds} of {all}");
    // The same lease has it already.
    let again = LockOptions::new().with_lease(lease);
    let again = first.lock("l", Some(again)).await.expect("the same lock");
    assert_eq!(again.key(), key);
    let mut second = client(&cluster, 1).await;
    let waits = tokio::spawn(async move { second.lock("l", None).await });
    sleep(PAUSE).await;
    assert!(!waits.is_finished(), "two hold it");
    first.unlock(key.clone()).await.expect("no longer held");
    let next = timeout(PATIENCE, waits).await.expect("in time");
    let next = next.expect("no panic").expect("a lock");
    assert_ne!(next.key(), key);
    first
        .unlock(key)
        .await
        .expect("to unlock twice is no error");
    let unknown = LockOptions::new().with_lease(4711);
    let (_, text) = refusal(first.lock("l", Some(unknown)).await);
    assert!(text.contains("requested lease not found"), "{text}");
}

/// Who has waited for a lock and given up leaves nothing behind in the queue.
#[tokio::test]
async fn who_gives_up_a_lock_stands_in_nobodys_way() {
    let cluster = cluster(1).await;
    let mut first = client(&cluster, 0).await;
    let key = first.lock("l", None).await.expect("a lock").key().to_vec();
    let mut impatient = client(&cluster, 0).await;
    assert!(timeout(PAUSE, impatient.lock("l", None)).await.is_err());
    let mut third = client(&cluster, 0).await;
    let waits = tokio::spawn(async move { third.lock("l", None).await });
    sleep(PAUSE).await;
    first.unlock(key).await.expect("no longer held");
    let next = timeout(PATIENCE, waits).await;
    next.expect("at once").expect("no panic").expect("a lock");
}

#[tokio::test]
async fn an_election_has_one_leader_and_is_observed() {
    let cluster = cluster(3).await;
    let mut first = client(&cluster, 0).await;
    let mut second = client(&cluster, 1).await;
    let mut third = client(&cluster, 2).await;
    assert_eq!(
        refusal(first.leader("e").await),
        (2, "election: no leader".to_string())
    );
    let one = first.lease_grant(60, None).await.expect("a lease").id();
    let two = first.lease_grant(60, None).await.expect("a lease").id();
    let won = first.campaign("e", "one", one).await.expect("a victory");
    let leader = won.leader().expect("a key").clone();
    assert_eq!((leader.lease(), leader.name()), (one, &b"e"[..]));
    let mut observed = third.observe("e").await.expect("a stream");
    let mut shown = async || {
        let told = timeout(PATIENCE, observed.message())
            .await
            .expect("in time");
        let told = told.expect("in order").expect("a leader");
        told.kv()
            .expect("a key")
            .value_str()
            .expect("text")
            .to_string()
    };
    assert_eq!(shown().await, "one");
    let waits = tokio::spawn(async move { second.campaign("e", "two", two).await });
    sleep(PAUSE).await;
    assert!(!waits.is_finished(), "two lead");
    let proclaim = || ProclaimOptions::new().with_leader(leader.clone());
    first
        .proclaim("uno", Some(proclaim()))
        .await
        .expect("it leads");
    assert_eq!(shown().await, "uno");
    let head = first.leader("e").await.expect("a leader");
    assert_eq!(head.kv().expect("a key").value_str().expect("text"), "uno");
    let resign = ResignOptions::new().with_leader(leader.clone());
    first.resign(Some(resign)).await.expect("it resigns");
    timeout(PATIENCE, waits)
        .await
        .expect("in time")
        .expect("no panic")
        .expect("a victory");
    assert_eq!(shown().await, "two");
    assert_eq!(
        refusal(first.proclaim("uno", Some(proclaim())).await),
        (2, "election: not leader".to_string())
    );
}
