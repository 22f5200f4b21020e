use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn config(flags: &str) -> Result<Config> {
    let words = ["headwater", "serve"];
    let argv = words.into_iter().chain(flags.split_whitespace());
    match Cli::try_parse_from(argv)?.command {
        Command::Serve(args) => Config::from_args(&args),
        other => panic!("not to serve: {other:?}"),
    }
}

fn complaint(flags: &str) -> String {
    config(flags).expect_err("should be refused").to_string()
}

const THREE: &str = "--initial-cluster n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,\
                     n3=http://10.0.0.3:2380 --initial-advertise-peer-urls http://10.0.0.2:2380";

#[test]
fn without_flags_it_is_one_server_as_etcd_would_be() {
    let config = config("").unwrap();
    assert_eq!(config.doors.len(), 1);
    assert_eq!(config.doors[0].address.to_string(), "127.0.0.1:2379");
    assert!(!config.doors[0].is_tls && config.client_tls.is_none());
    assert_eq!(config.data_dir().to_str(), Some("default.headwater"));
    assert_eq!(config.cluster.founders.len(), 1);
    let member = &config.cluster.founders[0];
    assert_eq!(member.client_urls, ["http://localhost:2379"]);
    assert_eq!(member.peer_urls, ["http://localhost:2380"]);
    assert!(config.may_be_unreachable, "its port for peers may be taken");
    assert_eq!(config.limits.request_timeout, Duration::from_secs(7));
}

#[test]
fn all_members_of_a_cluster_agree_on_its_ids() {
    let one = config(&format!("--name n2 {THREE}")).unwrap();
    let other = config(
        "--name n1 --initial-advertise-peer-urls http://10.0.0.1:2380 --initial-cluster \
         n3=http://10.0.0.3:2380,n2=http://10.0.0.2:2380,n1=http://10.0.0.1:2380",
    )
    .unwrap();
    assert_eq!(one.cluster.id, other.cluster.id);
    assert_eq!(one.node.members, other.node.members);
    assert_ne!(one.cluster.me, other.cluster.me);
    assert_eq!(one.node.members[&one.cluster.me], "10.0.0.2:2380");
}

#[test]
fn a_name_outside_the_cluster_is_refused_with_the_names_inside() {
    let text = complaint(&format!("--name n9 {THREE}"));
    assert!(text.contains("couldn't find local name \"n9\""), "{text}");
    assert!(text.contains("n1, n2, n3"), "{text}");
}

#[test]
fn own_urls_that_differ_are_refused_with_both() {
    let text = complaint(&format!("--name n1 {THREE}"));
    assert!(text.contains("http://10.0.0.1:2380"), "{text}");
    assert!(
        text.contains("--initial-advertise-peer-urls is http://10.0.0.2:2380"),
        "{text}"
    );
}

#[test]
fn what_cannot_work_is_refused_before_anything_starts() {
    let cases = [
        ("--name a,b", "must not contain"),
        ("--initial-cluster default", "NAME=URL"),
        (
            "--initial-cluster a=http://h:1,b=http://h:1",
            "both \"a\" and \"b\"",
        ),
        ("--election-timeout 200", "at least 5 times"),
        ("--election-timeout 60000", "at most 50000"),
        ("--heartbeat-interval 0", "at least 1"),
        ("--max-request-bytes 0", "between 1 and"),
        ("--max-request-bytes 29360129", "29360128 (28 MiB)"),
        ("--max-txn-ops 0", "at least 1"),
        (
            "--snapshot-send-bytes-per-second 1",
            "send-bytes-per-second (1) must be 0",
        ),
        (
            "--snapshot-write-bytes-per-second 1048575",
            "at least 1048576 (1 MiB)",
        ),
        ("--listen-client-urls http://example.org:1", "IP address"),
        (
            "--listen-client-urls https://127.0.0.1:1",
            "headwater certs",
        ),
        ("--listen-client-urls ,", "at least one URL"),
    ];
    for (flags, part) in cases {
        let text = complaint(flags);
        assert!(text.contains(part), "{flags}: {text}");
    }
}

#[test]
fn a_wildcard_is_advertised_as_something_that_can_be_reached() {
    let config = config("--listen-client-urls http://0.0.0.0:7000").unwrap();
    let member = &config.cluster.founders[0];
    assert_eq!(member.client_urls, ["http://localhost:7000"]);
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn of_several_peer_urls_the_first_is_used_and_the_rest_named() {
    let config = config(
        "--initial-cluster default=http://a:1,default=http://b:1 \
         --initial-advertise-peer-urls http://b:1,http://a:1",
    )
    .unwrap();
    assert_eq!(config.node.members[&config.cluster.me], "a:1");
    assert!(
        config.warnings[0].contains("2 peer URLs"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn a_lease_lives_at_least_one_and_a_half_elections() {
    assert_eq!(lease_ttl_min(100, 1000), 2);
    assert_eq!(lease_ttl_min(500, 2500), 4);
    assert_eq!(lease_ttl_min(100, 50_000), 75);
}

#[test]
fn a_record_is_kept_only_if_wanted_and_has_a_bound() {
    assert_eq!(config("").unwrap().node.flight_recorder, None);
    let config = config("--flight-recorder n1.jsonl").unwrap();
    let recorder = config.node.flight_recorder.unwrap();
    assert_eq!(recorder.file.to_str(), Some("n1.jsonl"));
    assert_eq!(recorder.bytes_max, 1 << 30);
}

#[test]
fn a_change_of_members_is_checked_unless_somebody_says_otherwise() {
    let is_strict = |flags| config(flags).expect("sound").limits.strict_reconfig;
    assert!(is_strict(""));
    assert!(is_strict("--strict-reconfig-check"));
    assert!(is_strict("--strict-reconfig-check=true"));
    assert!(!is_strict("--strict-reconfig-check=false"));
    assert!(config("--strict-reconfig-check=perhaps").is_err());
}
