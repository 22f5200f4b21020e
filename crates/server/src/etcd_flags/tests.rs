//! Every flag that an etcd knows from 3.5 to 3.7 has a meaning here or an answer, and what runs etcd
//! elsewhere runs this.

use std::any::TypeId;

use crate::argv::Environment;
use crate::cli::{self, Command};
use crate::config::Config;
use crate::doors::Served;

/// Flags that are on or off.
const SWITCHES: &str = "\
    auto-tls client-cert-auth discovery-insecure-skip-tls-verify discovery-insecure-transport \
    enable-distributed-tracing enable-grpc-gateway enable-log-rotation enable-pprof enable-v2 \
    experimental-compact-hash-check-enabled experimental-enable-distributed-tracing \
    experimental-enable-lease-checkpoint experimental-enable-lease-checkpoint-persist \
    experimental-initial-corrupt-check experimental-memory-mlock \
    experimental-peer-skip-client-san-verification experimental-stop-grpc-service-on-defrag \
    experimental-txn-mode-write-with-shared-buffer force-new-cluster \
    initial-election-tick-advance memory-mlock peer-auto-tls peer-client-cert-auth \
    peer-skip-client-san-verification pre-vote socket-reuse-address socket-reuse-port \
    strict-reconfig-check unsafe-no-fsync";

/// Flags that take a value.
const VALUES: &str = "\
    advertise-client-urls auth-token auth-token-ttl auto-compaction-mode \
    auto-compaction-retention backend-batch-interval backend-batch-limit \
    backend-bbolt-freelist-type bcrypt-cost bootstrap-defrag-threshold-megabytes cert-file \
    cipher-suites client-cert-allowed-hostname client-cert-file client-crl-file \
    client-key-file compact-hash-check-time compaction-batch-limit compaction-sleep-interval \
    config-file corrupt-check-time cors data-dir discovery discovery-cacert discovery-cert \
    discovery-dial-timeout discovery-endpoints discovery-fallback discovery-keepalive-time \
    discovery-keepalive-timeout discovery-key discovery-password discovery-proxy \
    discovery-request-timeout discovery-srv discovery-srv-name discovery-token discovery-user \
    distributed-tracing-address distributed-tracing-instance-id \
    distributed-tracing-sampling-rate distributed-tracing-service-name downgrade-check-time \
    election-timeout experimental-bootstrap-defrag-threshold-megabytes \
    experimental-compact-hash-check-time experimental-compaction-batch-limit \
    experimental-compaction-sleep-interval experimental-corrupt-check-time \
    experimental-distributed-tracing-address experimental-distributed-tracing-instance-id \
    experimental-distributed-tracing-sampling-rate \
    experimental-distributed-tracing-service-name experimental-downgrade-check-time \
    experimental-enable-v2v3 experimental-snapshot-catchup-entries \
    experimental-warning-apply-duration experimental-warning-unary-request-duration \
    experimental-watch-progress-notify-interval feature-gates grpc-keepalive-interval \
    grpc-keepalive-min-time grpc-keepalive-timeout heartbeat-interval host-whitelist \
    initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token \
    key-file listen-client-http-urls listen-client-urls listen-metrics-urls listen-peer-urls \
    log-format log-level log-outputs log-rotation-config-json logger max-concurrent-streams \
    max-learners max-request-bytes max-snapshots max-txn-ops max-wals metrics name \
    peer-cert-allowed-cn peer-cert-allowed-hostname peer-cert-file peer-client-cert-file \
    peer-client-key-file peer-crl-file peer-key-file peer-trusted-ca-file proxy \
    proxy-dial-timeout proxy-failure-wait proxy-read-timeout proxy-refresh-interval \
    proxy-write-timeout quota-backend-bytes raft-read-timeout raft-write-timeout \
    self-signed-cert-validity snapshot-catchup-entries snapshot-count tls-max-version \
    tls-min-version trusted-ca-file v2-deprecation wal-dir warning-apply-duration \
    warning-unary-request-duration watch-progress-notify-interval";

fn understand(arguments: &[&str], set: &[(&str, &str)]) -> Result<(Config, Vec<String>), String> {
    let argv = ["headwater"].iter().chain(arguments);
    let argv = argv.map(|word| (*word).to_owned()).collect();
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment: Environment = set.iter().map(pair).collect();
    let understood = cli::understand(argv, &environment).map_err(|error| {
        let text = error.to_string();
        text.strip_prefix("error: ").unwrap_or(&text).to_owned()
    });
    let (cli, notes, origins) = understood?;
    let Command::Serve(args) = cli.command else {
        panic!("not to serve");
    };
    let config = Config::from_args(&args).map_err(|error| origins.explain(&error.to_string()));
    Ok((config?, notes))
}

#[test]
fn each_flag_of_etcds_is_known_with_the_same_number_of_words() {
    let definition = cli::definition();
    let serve = definition.find_subcommand("serve").unwrap();
    let ours = |name: &str| {
        let name = name.strip_prefix(super::EXPERIMENTAL).unwrap_or(name);
        let arg = serve
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name))?;
        Some(arg.get_value_parser().type_id() != TypeId::of::<bool>())
    };
    let theirs = |name| super::find(name).map(|flag| flag.takes_value);
    for (names, takes_value) in [(SWITCHES, false), (VALUES, true)] {
        for name in names.split_whitespace() {
            let known = (ours(name), theirs(name));
            let is_known_once =
                matches!(known, (Some(x), None) | (None, Some(x)) if x == takes_value);
            assert!(is_known_once, "--{name}: {known:?}");
        }
    }
}

#[test]
fn each_flag_of_etcds_may_be_off() {
    for name in SWITCHES.split_whitespace() {
        if let Err(error) = understand(&[&format!("--{name}=false")], &[]) {
            panic!("--{name}: {error}");
        }
    }
    for flag in super::all().filter(|flag| flag.takes_value) {
        let empty = understand(&[&format!("--{}=", flag.name)], &[]);
        assert!(empty.is_ok(), "--{}: {empty:?}", flag.name);
    }
}

#[test]
fn a_refusal_says_what_to_do_instead() {
    for (flag, advice) in [
        ("--wal-dir=/w", "use --data-dir"),
        ("--discovery-srv=example.org", "--initial-cluster"),
        ("--socket-reuse-port", "stop the other"),
        ("--peer-client-cert-file=x", "use --peer-cert-file"),
        ("--enable-log-rotation", "logrotate"),
        ("--proxy=on", "TCP proxy"),
        ("--enable-distributed-tracing", "/metrics"),
        ("--force-new-cluster", "headwater disk recover"),
        ("--cors=https://example.org", "a proxy that adds it"),
        ("--feature-gates=Warp=true", "InitialCorruptCheck, "),
        ("--feature-gates=CompactHashCheck", "CompactHashCheck=true"),
        ("--no-such-flag", "unexpected argument '--no-such-flag'"),
        (
            "--experimental-no-such-flag",
            "'--experimental-no-such-flag'",
        ),
    ] {
        let error = understand(&[flag], &[]).unwrap_err();
        assert!(error.contains(advice), "{error}");
    }
    for flag in [
        "--cors=*",
        "--host-whitelist=*",
        "--proxy=off",
        "--tls-min-version=TLS1.2",
    ] {
        assert!(understand(&[flag], &[]).unwrap().1.is_empty(), "{flag}");
    }
    let (_, notes) = understand(&["--feature-gates=InitialCorruptCheck=true"], &[]).unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
}

/// What kubeadm has the kubelet start, on a machine at 10.0.0.1.
#[test]
fn kubeadms_arguments_are_understood() {
    let arguments = [
        "--advertise-client-urls=https://10.0.0.1:2379",
        "--cert-file=/etc/kubernetes/pki/etcd/server.crt",
        "--client-cert-auth=true",
        "--data-dir=/var/lib/etcd",
        "--experimental-initial-corrupt-check=true",
        "--experimental-watch-progress-notify-interval=5s",
        "--feature-gates=InitialCorruptCheck=true",
        "--initial-advertise-peer-urls=https://10.0.0.1:2380",
        "--initial-cluster=master=https://10.0.0.1:2380",
        "--key-file=/etc/kubernetes/pki/etcd/server.key",
        "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379",
        "--listen-metrics-urls=http://127.0.0.1:2381",
        "--listen-peer-urls=https://10.0.0.1:2380",
        "--name=master",
        "--peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt",
        "--peer-client-cert-auth=true",
        "--peer-key-file=/etc/kubernetes/pki/etcd/peer.key",
        "--peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
        "--snapshot-count=10000",
        "--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
    ];
    let (config, notes) = understand(&arguments, &[]).unwrap();
    assert_eq!(config.doors.len(), 3);
    assert!(config.doors[0].is_tls && config.doors[2].served == Served::Pages);
    assert_eq!(config.progress_every.as_secs(), 5);
    assert_eq!(notes.len(), 3, "{notes:?}");
}

/// What the charts that run etcd by its environment set, for the first pod of three.
#[test]
fn a_charts_environment_is_understood() {
    let set = [
        ("ETCD_NAME", "etcd-0"),
        ("ETCD_DATA_DIR", "/data"),
        (
            "ETCD_ADVERTISE_CLIENT_URLS",
            "http://etcd-0.etcd:2379,http://etcd:2379",
        ),
        ("ETCD_LISTEN_CLIENT_URLS", "http://0.0.0.0:2379"),
        (
            "ETCD_INITIAL_ADVERTISE_PEER_URLS",
            "http://etcd-0.etcd:2380",
        ),
        ("ETCD_LISTEN_PEER_URLS", "http://0.0.0.0:2380"),
        ("ETCD_LISTEN_METRICS_URLS", "http://0.0.0.0:9090"),
        ("ETCD_INITIAL_CLUSTER_TOKEN", "etcd-cluster-k8s"),
        ("ETCD_INITIAL_CLUSTER_STATE", "new"),
        (
            "ETCD_INITIAL_CLUSTER",
            "etcd-0=http://etcd-0.etcd:2380,etcd-1=http://etcd-1.etcd:2380,etcd-2=http://etcd-2.etcd:2380",
        ),
        ("ETCD_AUTH_TOKEN", "simple"),
        ("ETCD_AUTO_COMPACTION_MODE", "periodic"),
        ("ETCD_AUTO_COMPACTION_RETENTION", "10h"),
        ("ETCD_AUTO_TLS", "false"),
        ("ETCD_PEER_AUTO_TLS", "false"),
        ("ETCD_CERT_FILE", ""),
        ("ETCD_HEARTBEAT_INTERVAL", ""),
        ("ETCD_LOG_LEVEL", "info"),
        ("ETCD_QUOTA_BACKEND_BYTES", "8589934592"),
        ("ETCD_ON_K8S", "yes"),
        ("ETCD_ROOT_PASSWORD", "secret"),
        ("ETCD_PORT_2379_TCP", "tcp://10.96.0.7:2379"),
    ];
    let (config, notes) = understand(&[], &set).unwrap();
    assert_eq!(config.cluster.founders.len(), 3);
    assert_eq!(config.limits.quota_bytes, 8 << 30);
    assert_eq!(notes.len(), 3, "those that etcd does not know: {notes:?}");
    assert!(
        notes.iter().all(|note| !note.contains("secret")),
        "{notes:?}"
    );
    let (config, _) = understand(&["--name", "etcd-0", "--quota-backend-bytes=4G"], &set).unwrap();
    assert_eq!(
        config.limits.quota_bytes,
        4 << 30,
        "the command line comes first"
    );
    let error = understand(&[], &[("ETCD_MAX_TXN_OPS", "many")]).unwrap_err();
    assert!(
        error.starts_with("ETCD_MAX_TXN_OPS: invalid value 'many'"),
        "{error}"
    );
    let error = understand(&[], &[("ETCD_HEARTBEAT_INTERVAL", "900ms")]).unwrap_err();
    assert!(
        error.starts_with("ETCD_HEARTBEAT_INTERVAL: --election-timeout (1000 ms)"),
        "{error}"
    );
}

const SAMPLE: &str = include_str!("../../../../etc/headwater.conf.yaml");

fn of_file(text: &str) -> Result<(Config, Vec<String>), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    std::fs::write(&file, text).unwrap();
    let flag = format!("--config-file={}", file.display());
    let set = [("ETCD_NAME", "other")];
    understand(&["--max-txn-ops", "7", &flag], &set).map_err(|error| {
        let at = error.find("c.yaml").unwrap_or_default();
        error[at..].to_owned()
    })
}

#[test]
fn the_file_is_all_there_is() {
    let (config, notes) = of_file(
        "name: n1
watch-progress-notify-interval: 3000000000
",
    )
    .unwrap();
    assert_eq!(
        (config.name.as_str(), config.limits.txn_ops_max),
        ("n1", 128)
    );
    assert_eq!(config.progress_every.as_secs(), 3);
    assert!(
        notes[0].starts_with("--max-txn-ops, ETCD_NAME ignored: "),
        "{notes:?}"
    );
    let variable = [("ETCD_CONFIG_FILE", "/no/such/file")];
    let error = understand(&[], &variable).unwrap_err();
    assert!(error.contains("/no/such/file: No such file"), "{error}");
}

#[test]
fn what_is_wrong_in_a_file_has_its_line() {
    for (text, complaint) in [
        (
            "name: n1
heartbeat-interval: often",
            "c.yaml:2: heartbeat-interval: invalid value 'often': \"often\" is no length of time",
        ),
        (
            "datadir: /d",
            "c.yaml:1: datadir is no setting; did you mean data-dir?",
        ),
        (
            "wal-dir: /w",
            "c.yaml:1: wal-dir: log and snapshots share one directory",
        ),
        (
            "name: n1
initial-cluster: n2=http://x:1",
            "c.yaml:2: initial-cluster: couldn't find",
        ),
        ("config-file: c.yaml", "c.yaml:1: config-file is no setting"),
        (
            "client-transport-security:
  cert-file: a",
            "c.yaml:2: client-transport-security.cert-file needs --key-file",
        ),
    ] {
        let error = of_file(text).unwrap_err();
        assert!(error.starts_with(complaint), "{error}");
    }
}

#[test]
fn all_that_the_sample_shows_is_so() {
    let (config, _) = of_file(SAMPLE).unwrap();
    let by_default = understand(&[], &[]).unwrap().0;
    assert_eq!(config.limits.quota_bytes, by_default.limits.quota_bytes);
    let example = |line: &str| line.trim_start().starts_with("auto-compaction-retention");
    let shown: Vec<String> = SAMPLE
        .lines()
        .map(|line| match line.trim_start().strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => {
                line.replacen('#', "", 1)
            }
            _ => line.to_owned(),
        })
        .collect();
    let (full, _) = of_file(&shown.join(
        "
",
    ))
    .unwrap();
    assert!(shown.iter().any(|line| example(line)));
    assert_eq!(full.bounds, by_default.bounds);
    assert_eq!(full.progress_every, by_default.progress_every);
    assert_eq!(full.compare_every, by_default.compare_every);
    assert_eq!(
        full.limits.request_bytes_max,
        by_default.limits.request_bytes_max
    );
    assert_eq!(
        full.node.snapshot_log_bytes,
        by_default.node.snapshot_log_bytes
    );
    assert!(full.client_tls.is_some() && full.peer_tls.is_some());
}
