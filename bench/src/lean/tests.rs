use super::*;
use crate::engine::Engine;
use crate::load::{self, Plan};
use crate::machine::Watched;
use crate::work::{Shape, Work, key, value};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::random::Random;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// Longer than any of these may wait for anything.
const LONG: Duration = Duration::from_secs(20);

/// One member, and a client of it whose requests may take so long.
async fn served(limit: Duration, options: &[&str]) -> (Cluster, Client) {
    let server = Server::from_env().unwrap();
    let cluster = Cluster::start(&server, 1, options).await.unwrap();
    let url = cluster.members[0].client_url();
    let client = Client::connect(&url, limit).await.unwrap();
    (cluster, client)
}

fn some_value(bytes: usize) -> Bytes {
    value(&mut Random::new(1), bytes).into()
}

#[tokio::test]
async fn what_was_put_is_read_by_both_clients() {
    let test = async {
        let (cluster, mut client) = served(LONG, &[]).await;
        let mut usual = cluster.client(0, LONG).await.unwrap();
        // Beyond a frame, and beyond what a server's windows take at first.
        for bytes in [0, 1, 256, 1025, 20_000, 300_000] {
            let (key, value) = (format!("k{bytes}"), some_value(bytes));
            client.put(&key, &value).await.unwrap();
            let read = usual.get(key.as_str(), None).await.unwrap();
            assert_eq!(read.kvs()[0].value(), &value[..]);
            for serializable in [false, true] {
                let read = client.range(&key, serializable).await.unwrap();
                assert_eq!(read, Some(bytes));
            }
        }
        assert_eq!(client.range("nobody's", false).await.unwrap(), None);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_watch_has_each_event_of_its_key_from_then_on() {
    let test = async {
        let (_cluster, mut client) = served(LONG, &[]).await;
        client.put("watched", &some_value(1)).await.unwrap();
        let mut watch = client.watch("watched").await.unwrap();
        for number in 0..10 {
            client
                .put("watched", &some_value(number * 100))
                .await
                .unwrap();
            client.put("not watched", &some_value(1)).await.unwrap();
        }
        let mut events = 0;
        while events < 10 {
            events += timeout(LONG, watch.events()).await.unwrap().unwrap();
        }
        let more = timeout(Duration::from_millis(100), watch.events()).await;
        assert!(events == 10 && more.is_err());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn clients_of_one_connection_do_not_disturb_each_other() {
    let test = async {
        let (_cluster, client) = served(LONG, &[]).await;
        let mut clients = tokio::task::JoinSet::new();
        for number in 1..=100usize {
            let mut client = client.clone();
            clients.spawn_local(async move {
                let (key, value) = (format!("k{number}"), some_value(number));
                for _ in 0..2 {
                    client.put(&key, &value).await.unwrap();
                    assert_eq!(client.range(&key, false).await.unwrap(), Some(number));
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_swap_that_comes_late_changes_nothing_and_learns_the_revision() {
    let test = async {
        let (cluster, mut client) = served(LONG, &[]).await;
        let mut usual = cluster.client(0, LONG).await.unwrap();
        let (first, second) = (some_value(10), some_value(20));
        let created = client.swap("k", &first, 0).await.unwrap();
        assert!(created > 0);
        // Another client, which does not know of it.
        let mut late = client.clone();
        assert_eq!(late.swap("k", &second, 0).await.unwrap(), created);
        let read = usual.get("k", None).await.unwrap();
        assert_eq!(read.kvs()[0].value(), &first[..]);
        let swapped = late.swap("k", &second, created).await.unwrap();
        let read = usual.get("k", None).await.unwrap();
        assert_eq!(read.kvs()[0].value(), &second[..]);
        assert_eq!(read.kvs()[0].mod_revision(), swapped);
        assert!(swapped > created);
        usual.delete("k", None).await.unwrap();
        assert_eq!(client.swap("k", &first, swapped).await.unwrap(), 0);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_lease_is_kept_alive_until_it_is_revoked() {
    let test = async {
        let (cluster, mut client) = served(LONG, &[]).await;
        let mut lease = client.lease(60).await.unwrap();
        for _ in 0..3 {
            assert_eq!(lease.keep_alive().await.unwrap(), 60);
        }
        let mut usual = cluster.client(0, LONG).await.unwrap();
        usual.lease_revoke(lease.id).await.unwrap();
        assert_eq!(lease.keep_alive().await.unwrap(), 0);
    };
    LocalSet::new().run_until(test).await;
}

/// A short load on the one member, over few keys.
fn plan(cluster: &Cluster, engine: Engine, work: Work, value_bytes: usize) -> Plan {
    Plan {
        endpoints: vec![cluster.members[0].client_url()],
        engine,
        work,
        clients: 8,
        conns: 2,
        rate: None,
        shape: Shape {
            seconds: 0.5,
            warmup: 0.1,
            value_bytes,
            keys: 10,
        },
    }
}

#[tokio::test]
async fn both_engines_look_at_what_was_read() {
    let test = async {
        let (cluster, mut client) = served(LONG, &[]).await;
        for number in 0..10 {
            client.put(&key(number), &some_value(20)).await.unwrap();
        }
        for engine in [Engine::EtcdClient, Engine::Lean] {
            let right = plan(&cluster, engine, Work::Range, 20);
            let figures = load::run(&right, &Watched::default()).await.unwrap();
            assert_eq!(figures["errors"], 0.0, "{engine:?}");
            let wrong = plan(&cluster, engine, Work::Range, 30);
            let error = load::run(&wrong, &Watched::default()).await.unwrap_err();
            assert!(error.to_string().contains("has 20 bytes"), "{error}");
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn both_engines_count_what_a_server_refuses_as_errors() {
    let test = async {
        let (cluster, mut client) = served(LONG, &["--max-request-bytes=1000"]).await;
        let error = client.put("k", &some_value(3000)).await.unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
        for engine in [Engine::EtcdClient, Engine::Lean] {
            let plan = plan(&cluster, engine, Work::Mixed, 3000);
            let figures = load::run(&plan, &Watched::default()).await.unwrap();
            // Each put is refused, and each range finds nothing.
            assert!(figures["errors"] > 0.0, "{engine:?}: {figures:?}");
            assert!(figures["per_s"] > 0.0, "{engine:?}: {figures:?}");
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_stalled_server_is_an_error_and_so_is_one_that_is_gone() {
    let test = async {
        let (mut cluster, mut client) = served(Duration::from_millis(300), &[]).await;
        client.put("k", &some_value(256)).await.unwrap();
        cluster.pause(0);
        for _ in 0..2 {
            let late = timeout(LONG, client.put("k", &some_value(256))).await;
            let error = late.unwrap().unwrap_err();
            assert!(error.to_string().contains("no answer within"), "{error}");
        }
        cluster.resume(0);
        let mut patient = client.clone();
        patient.limit = LONG;
        assert_eq!(patient.range("k", false).await.unwrap(), Some(256));

        // Those who wait when a connection ends are told, and so are those who come later.
        cluster.pause(0);
        let mut waiting = patient.clone();
        let waits = tokio::task::spawn_local(async move { waiting.range("k", false).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waits.is_finished());
        cluster.kill(0);
        timeout(LONG / 2, waits)
            .await
            .unwrap()
            .unwrap()
            .unwrap_err();
        let later = timeout(LONG / 2, patient.range("k", false)).await;
        later.unwrap().unwrap_err();
    };
    LocalSet::new().run_until(test).await;
}
