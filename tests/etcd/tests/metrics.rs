//! What `/metrics` serves, beside what an etcd serves and what dashboards and alerts read.

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use headwater_api::v3lockpb::LockRequest;
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::http::get;
use headwater_etcd_tests::raw::{Line, framed};
use headwater_etcd_tests::rival::rival;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const LIST: &str = include_str!("../metrics.txt");
const ALERTS: &str = include_str!("../../../monitoring/alerts.yml");
const DASHBOARD: &str = include_str!("../../../monitoring/grafana.json");

/// What all of this may take until it shows.
const PATIENCE: Duration = Duration::from_secs(20);

/// One page, taken apart.
#[derive(Debug, Default)]
struct Page {
    types: BTreeMap<String, String>,
    /// The samples by name and labels, as they stand.
    samples: BTreeMap<String, f64>,
    /// The names of labels of each family, `le` left out.
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Page {
    fn of(text: &str) -> Page {
        let mut page = Page::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                page.types.insert(name.into(), kind.into());
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let value = value
                    .parse()
                    .unwrap_or_else(|_| panic!("no number: {line}"));
                let before = page.samples.insert(series.into(), value);
                assert!(before.is_none(), "twice: {series}");
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let family = page.family(name).expect("a type before the samples");
                let names = labels
                    .split("\",")
                    .filter_map(|label| label.split_once('='));
                let names = names.map(|(name, _)| name.to_owned());
                let names = names.filter(|name| name != "le");
                page.labels.entry(family).or_default().extend(names);
            }
        }
        page
    }

    /// The family that a sample of this name is of.
    fn family(&self, name: &str) -> Option<String> {
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| name.strip_suffix(part));
        let whole = whole.filter(|whole| self.types.contains_key(*whole));
        let family = whole.unwrap_or(name);
        self.types.contains_key(family).then(|| family.to_owned())
    }

    fn value(&self, series: &str) -> f64 {
        let value = self.samples.get(series);
        *value.unwrap_or_else(|| panic!("no {series}"))
    }
}

async fn start(server: &Server) -> Cluster {
    let cluster = Cluster::start(server, 3, &["--metrics=extensive"]).await;
    cluster.expect("a cluster")
}

fn scrape(cluster: &Cluster, number: usize) -> Page {
    let port = cluster.members[number].client_port.number;
    Page::of(&get(port, "/metrics").expect("an answer").body)
}

/// The same few calls of each server, all through its first member.
async fn load(cluster: &Cluster) {
    let client = cluster.client(0, Duration::from_secs(10)).await;
    let mut client = client.expect("a client");
    for number in 0..7 {
        let put = client.put(format!("k{number}"), "value", None).await;
        put.expect("a put");
    }
    for _ in 0..3 {
        client.get("k1", None).await.expect("a get");
    }
    client.delete("k2", None).await.expect("a deletion");
    let is_there = Compare::version("k3", CompareOp::Greater, 0);
    let then = [TxnOp::put("k4", "new", None), TxnOp::get("k5", None)];
    let txn = Txn::new().when([is_there]).and_then(then);
    assert!(client.txn(txn).await.expect("a transaction").succeeded());
    let lease = client.lease_grant(60, None).await.expect("a lease").id();
    let attached = PutOptions::new().with_lease(lease);
    client.put("k6", "", Some(attached)).await.expect("a put");
    client.lease_revoke(lease).await.expect("a revocation");
    let unknown = PutOptions::new().with_lease(lease);
    let refused = client.put("k7", "", Some(unknown)).await;
    refused.expect_err("there is no such lease");
}

/// What the load adds to all counts that have to be equal.
async fn counted(cluster: &Cluster) -> BTreeMap<String, f64> {
    let before = scrape(cluster, 0);
    load(cluster).await;
    let after = scrape(cluster, 0);
    let added = |(series, value): (&String, &f64)| {
        let added = value - before.samples.get(series).unwrap_or(&0.0);
        (series.clone(), added)
    };
    // Answers bear ids and terms, whose lengths differ.
    let is_equal = |(series, added): &(String, f64)| {
        let name = series.split('{').next().expect("a name");
        let of_calls = name.starts_with("grpc_server_") && !name.contains("seconds_");
        let times = name == "grpc_server_handling_seconds_count";
        let of_keys = name.starts_with("etcd_mvcc_") && name.ends_with("_total");
        let of_leases = name.starts_with("etcd_debugging_lease_") && name.ends_with("ed_total");
        let bytes = "etcd_network_client_grpc_received_bytes_total";
        let others = ["etcd_debugging_mvcc_total_put_size_in_bytes", bytes];
        *added != 0.0 && (of_calls || times || of_keys || of_leases || others.contains(&name))
    };
    after.samples.iter().map(added).filter(is_equal).collect()
}

/// The lines of the list: a name, a type, labels, and whether something must have happened first.
fn list() -> Vec<(&'static str, &'static str, BTreeSet<String>, bool)> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    let entry = |line: &'static str| {
        let mut words = line.split(' ');
        let (name, kind) = (words.next().expect("a name"), words.next().expect("a type"));
        let mut labels: BTreeSet<String> = words.map(String::from).collect();
        let may_lack = labels.remove("peer");
        (name, kind, labels, may_lack)
    };
    lines.map(entry).collect()
}

fn assert_listed(page: &Page, is_etcd: bool) {
    for (name, kind, labels, may_lack) in list() {
        if is_etcd && may_lack && !page.types.contains_key(name) {
            continue;
        }
        let served = page.types.get(name).map(String::as_str);
        assert_eq!(served, Some(kind), "{name}, etcd: {is_etcd}");
        assert_eq!(page.labels[name], labels, "{name}, etcd: {is_etcd}");
    }
}

#[tokio::test]
async fn the_list_holds_of_an_etcd_too_and_equal_calls_count_equally() {
    let ours = Server::from_env().expect("a server to test");
    let theirs = Server::at(rival().expect("an etcd").join("etcd")).expect("an etcd");
    let (ours, theirs) = tokio::join!(start(&ours), start(&theirs));
    let (here, there) = (counted(&ours).await, counted(&theirs).await);
    let puts = here.get("etcd_mvcc_put_total");
    assert_eq!(puts, Some(&9.0), "{here:#?}");
    assert_eq!(here, there);
    assert_listed(&scrape(&ours, 0), ours.server.is_etcd);
    assert_listed(&scrape(&theirs, 0), true);
}

#[tokio::test]
async fn members_are_told_apart_and_one_that_is_gone_shows() {
    let server = Server::from_env().expect("a server to test");
    let mut cluster = start(&server).await;
    let id_of = |number| {
        let page = scrape(&cluster, number);
        let series = page.samples.keys();
        let mut ids =
            series.filter_map(|series| series.strip_prefix("etcd_server_id{server_id=\""));
        ids.next()
            .expect("an id")
            .trim_end_matches("\"}")
            .to_owned()
    };
    let (me, other, gone) = (id_of(0), id_of(1), id_of(2));
    let of = |name: &str, to: &str| format!("{name}{{To=\"{to}\"}}");
    let deadline = Instant::now() + PATIENCE;
    for id in [&other, &gone] {
        let times = of("etcd_network_peer_round_trip_time_seconds_count", id);
        while scrape(&cluster, 0)
            .samples
            .get(&times)
            .is_none_or(|&count| count < 1.0)
        {
            assert!(Instant::now() < deadline, "no answer of {id}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let page = scrape(&cluster, 0);
        assert!(page.value(&of("etcd_network_peer_sent_bytes_total", id)) > 0.0);
        let received = format!("etcd_network_peer_received_bytes_total{{From=\"{id}\"}}");
        assert!(page.value(&received) > 0.0);
        let active = format!("etcd_network_active_peers{{Local=\"{me}\",Remote=\"{id}\"}}");
        assert_eq!(page.value(&active), 1.0);
    }
    let failures = |cluster: &Cluster, id: &str| {
        let page = scrape(cluster, 0);
        page.value(&of("etcd_network_peer_sent_failures_total", id))
    };
    let (before, before_other) = (failures(&cluster, &gone), failures(&cluster, &other));
    cluster.kill(2);
    let deadline = Instant::now() + PATIENCE;
    while failures(&cluster, &gone) < before + 2.0 {
        assert!(Instant::now() < deadline, "nothing failed to reach {gone}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(failures(&cluster, &other), before_other);
    let active = format!("etcd_network_active_peers{{Local=\"{me}\",Remote=\"{gone}\"}}");
    assert_eq!(scrape(&cluster, 0).value(&active), 0.0);
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_has_ended_all_the_same() {
    let server = Server::from_env().expect("a server to test");
    let cluster = Cluster::start(&server, 1, &[]).await.expect("a cluster");
    let port = cluster.members[0].client_port.number;
    let line = Line::open(port, 1 << 20).await.expect("a connection");
    let lock = || LockRequest {
        name: "gate".into(),
        lease: 0,
    };
    let path = "v3lockpb.Lock/Lock";
    let held = line.call(path, lock()).await.expect("an answer");
    assert_eq!(held.code, 0, "{held:?}");
    let body = framed(&lock().encode_to_vec());
    let waits = line.begin(path, &[], body, true).await.expect("a call");
    let of_lock = "grpc_method=\"Lock\",grpc_service=\"v3lockpb.Lock\",grpc_type=\"unary\"}";
    let until = async |series: String, expected: f64| {
        let begin = Instant::now();
        while scrape(&cluster, 0).value(&series) < expected {
            assert!(
                begin.elapsed() < PATIENCE,
                "{series} stays below {expected}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(format!("grpc_server_started_total{{{of_lock}"), 2.0).await;
    drop(waits);
    let ended = "grpc_server_handled_total{grpc_code=\"Canceled\",";
    until(format!("{ended}{of_lock}"), 1.0).await;
    line.close();
}

/// What in a text looks like the name of a series of ours.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let is_one = |word: &&str| {
        let prefixes = ["etcd_", "grpc_server_", "headwater_", "process_"];
        prefixes.iter().any(|prefix| word.starts_with(prefix))
    };
    words.filter(is_one).collect()
}

#[tokio::test]
async fn all_that_our_alerts_and_our_dashboard_read_is_served() {
    let server = Server::from_env().expect("a server to test");
    if server.is_etcd {
        // It has none of the names that are our own.
        return;
    }
    let cluster = start(&server).await;
    let page = scrape(&cluster, 0);
    let (alerts, dashboard) = (names(ALERTS), names(DASHBOARD));
    assert!(
        alerts.len() > 12 && dashboard.len() > 20,
        "too little is read"
    );
    for name in alerts.union(&dashboard) {
        assert!(page.family(name).is_some(), "{name} is not served");
    }
    serde_json::from_str::<serde_json::Value>(DASHBOARD).expect("JSON");
}
