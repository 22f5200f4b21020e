//! What operators fetch with curl from a client port.

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::http::{get, request};
use serde_json::Value;
use std::time::{Duration, Instant};

async fn cluster(size: usize) -> Cluster {
    let server = Server::from_env().expect("a server to test");
    Cluster::start(&server, size, &[]).await.expect("a cluster")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

#[tokio::test]
async fn the_version_says_which_etcd_this_is_like() {
    let cluster = cluster(1).await;
    let answer = get(cluster.members[0].client_port.number, "/version").expect("an answer");
    assert_eq!(answer.status, 200);
    let version = json(&answer.body);
    for part in ["etcdserver", "etcdcluster"] {
        let text = version[part]
            .as_str()
            .unwrap_or_else(|| panic!("no {part}: {version}"));
        assert_eq!(
            text.split('.')
                .filter(|part| part.parse::<u32>().is_ok())
                .count(),
            3,
            "{text}"
        );
    }
}

#[tokio::test]
async fn health_is_true_with_a_quorum_and_not_without() {
    let mut cluster = cluster(3).await;
    let port = cluster.members[2].client_port.number;
    let answer = get(port, "/health").expect("an answer");
    assert_eq!(
        (answer.status, json(&answer.body)["health"].as_str()),
        (200, Some("true"))
    );
    assert_eq!(
        request("POST", port, "/health", "")
            .expect("an answer")
            .status,
        405
    );

    cluster.kill(0);
    cluster.kill(1);
    // Until its election timeout has passed the last member may still believe in a leader.
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let answer = get(port, "/health").expect("an answer");
        if answer.status == 503 {
            assert_eq!(json(&answer.body)["health"].as_str(), Some("false"));
            break;
        }
        assert!(
            Instant::now() < deadline,
            "healthy without a quorum: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    cluster.spawn(0).expect("it starts again");
    cluster.ready().await.expect("a quorum again");
    assert_eq!(get(port, "/health").expect("an answer").status, 200);
}

/// The value of a metric without labels.
fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(name))?;
    line.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn metrics_have_the_names_that_dashboards_read() {
    let cluster = cluster(3).await;
    let ports: Vec<u16> = cluster
        .members
        .iter()
        .map(|member| member.client_port.number)
        .collect();
    let scrape = |port| get(port, "/metrics").expect("an answer").body;
    let headers = get(ports[0], "/metrics").expect("an answer").headers;
    assert!(
        headers.contains("content-type: text/plain; version=0.0.4"),
        "{headers}"
    );
    let before = scrape(ports[0]);
    let mut client = cluster
        .client(0, Duration::from_secs(5))
        .await
        .expect("a client");
    for number in 0..20 {
        client
            .put(format!("k{number}"), "v", None)
            .await
            .expect("a put");
    }
    let texts: Vec<String> = ports.iter().map(|&port| scrape(port)).collect();
    for text in &texts {
        assert_eq!(metric(text, "etcd_server_has_leader"), Some(1.0));
        for name in [
            "etcd_server_is_leader",
            "etcd_server_leader_changes_seen_total",
            "etcd_server_proposals_committed_total",
            "etcd_server_proposals_applied_total",
            "etcd_server_proposals_pending",
            "etcd_server_proposals_failed_total",
            "etcd_server_quota_backend_bytes",
            "etcd_mvcc_db_total_size_in_bytes",
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "etcd_disk_wal_fsync_duration_seconds_count",
            "etcd_disk_wal_fsync_duration_seconds_sum",
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_open_fds",
            "process_max_fds",
        ] {
            assert!(metric(text, name).is_some(), "no {name} in\n{text}");
        }
        assert!(text.contains("etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"}"));
        let type_of = "# TYPE etcd_server_leader_changes_seen_total counter";
        assert!(text.lines().any(|line| line == type_of), "{text}");
        // A method that was never called is there too: a rate needs a first zero.
        let lease = "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"LeaseGrant\",\
                     grpc_service=\"etcdserverpb.Lease\",grpc_type=\"unary\"} 0";
        assert!(text.lines().any(|line| line == lease), "{text}");
    }
    let leaders = texts
        .iter()
        .filter(|text| metric(text, "etcd_server_is_leader") == Some(1.0));
    assert_eq!(leaders.count(), 1, "one member leads");
    for name in [
        "etcd_disk_wal_fsync_duration_seconds_count",
        "etcd_server_proposals_applied_total",
    ] {
        let (before, after) = (metric(&before, name), metric(&texts[0], name));
        assert!(after > before, "{name} stood still at {after:?}");
    }
    let put = texts[0].lines().find(|line| {
        line.starts_with("grpc_server_handled_total{")
            && line.contains("grpc_method=\"Put\"")
            && line.contains("grpc_code=\"OK\"")
    });
    assert!(put.is_some_and(|line| line.ends_with(" 20")), "{put:?}");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let cluster = cluster(1).await;
    let port = cluster.members[0].client_port.number;
    for path in ["/no/such/page", "/v2/keys/k", "/v2/members"] {
        assert_eq!(get(port, path).expect("an answer").status, 404, "{path}");
    }
}
