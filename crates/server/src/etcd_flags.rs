//! etcd's flags that Headwater does not have: which may be ignored, which must not be, and why.
//! Never silent: an ignored flag leaves a line in the log.
//!
//! # Source
//! etcd's flags.

/// A flag of etcd's.
#[derive(Clone, Copy, Debug)]
pub struct EtcdFlag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Whether a value follows it as a word of its own.
    pub takes_value: bool,
    /// What to say to it.
    pub answer: Answer,
}

/// What to say to a flag.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Nothing is lost without it, because ...
    Ignore(&'static str),
    /// Whoever sets it relies on it; why it is not there and what to do instead. How to take it
    /// back is added by whoever knows where it was said.
    Refuse(&'static str),
}

const REVOKED: Answer = Answer::Refuse(
    "lists of revoked certificates are not read yet: take trust away by replacing the CA's file, \
     which needs no restart",
);
const SUITES: Answer = Answer::Refuse(
    "TLS 1.2 and 1.3 are spoken, with none but safe ciphers, and there is nothing to choose yet",
);
const LOG: Answer = Answer::Ignore("the log goes to the standard error; see --log-level");
const ALWAYS: Answer = Answer::Ignore("it is always so here");
const FILES: Answer = Answer::Ignore("the server keeps and deletes its own files");
const TUNING: Answer = Answer::Ignore("it tunes a part that Headwater does not have");
const DISCOVERY: Answer =
    Answer::Refuse("discovery is not built in: name all members in --initial-cluster");
const CORRUPTION: Answer = Answer::Ignore("every log and snapshot read is checked anyway");

const fn value(name: &'static str, answer: Answer) -> EtcdFlag {
    EtcdFlag {
        name,
        takes_value: true,
        answer,
    }
}

const fn switch(name: &'static str, answer: Answer) -> EtcdFlag {
    EtcdFlag {
        name,
        takes_value: false,
        answer,
    }
}

const FLAGS: &[EtcdFlag] = &[
    value("client-crl-file", REVOKED),
    value("peer-crl-file", REVOKED),
    value("cipher-suites", SUITES),
    value("tls-min-version", SUITES),
    value("tls-max-version", SUITES),
    value(
        "self-signed-cert-validity",
        Answer::Refuse("self-made certificates are good for ten years"),
    ),
    value("discovery", DISCOVERY),
    value("discovery-srv", DISCOVERY),
    value("discovery-srv-name", DISCOVERY),
    value("discovery-token", DISCOVERY),
    value("discovery-endpoints", DISCOVERY),
    value("discovery-proxy", DISCOVERY),
    value("discovery-fallback", DISCOVERY),
    value(
        "config-file",
        Answer::Refuse("configuration files are not read yet: use flags or ETCD_ variables"),
    ),
    value(
        "wal-dir",
        Answer::Refuse("log and snapshots share one directory: use --data-dir"),
    ),
    value(
        "listen-client-http-urls",
        Answer::Refuse("gRPC and HTTP share one port: use --listen-client-urls"),
    ),
    switch(
        "force-new-cluster",
        Answer::Refuse(
            "see `headwater disk recover --help`: it begins a new cluster with what a lost one left",
        ),
    ),
    value(
        "cors",
        Answer::Refuse("CORS is not built in yet: use a proxy that adds it"),
    ),
    value(
        "host-whitelist",
        Answer::Refuse(
            "host whitelists are not built in yet: listen where only trusted clients are",
        ),
    ),
    value(
        "listen-client-socket",
        Answer::Refuse("unix sockets are not served: use --listen-client-urls"),
    ),
    value("logger", LOG),
    value("log-outputs", LOG),
    value("log-format", LOG),
    value("log-package-levels", LOG),
    switch("enable-log-rotation", LOG),
    value("log-rotation-config-json", LOG),
    switch("debug", LOG),
    switch("pre-vote", ALWAYS),
    switch("initial-election-tick-advance", ALWAYS),
    switch("enable-grpc-gateway", TUNING),
    switch(
        "enable-v2",
        Answer::Ignore("etcd's v2 API is gone for good"),
    ),
    switch(
        "unsafe-no-fsync",
        Answer::Ignore("an acknowledged write is always on disk"),
    ),
    value("max-wals", FILES),
    value("backend-batch-interval", TUNING),
    value("backend-batch-limit", TUNING),
    value("backend-bbolt-freelist-type", TUNING),
    value("experimental-backend-bbolt-freelist-type", TUNING),
    value("experimental-bootstrap-defrag-threshold-megabytes", TUNING),
    value("bootstrap-defrag-threshold-megabytes", TUNING),
    value("max-concurrent-streams", TUNING),
    value("grpc-keepalive-min-time", TUNING),
    value("grpc-keepalive-interval", TUNING),
    value("grpc-keepalive-timeout", TUNING),
    switch(
        "enable-pprof",
        Answer::Ignore("Go's profiler has nothing to look at here"),
    ),
    value(
        "metrics",
        Answer::Ignore("/metrics always shows everything"),
    ),
    value("feature-gates", TUNING),
    value("snapshot-catchup-entries", TUNING),
    value("experimental-snapshot-catchup-entries", TUNING),
    value("warning-apply-duration", TUNING),
    value("experimental-warning-apply-duration", TUNING),
    value("warning-unary-request-duration", TUNING),
    value("experimental-warning-unary-request-duration", TUNING),
    value("compaction-batch-limit", TUNING),
    value("experimental-compaction-batch-limit", TUNING),
    value("max-learners", TUNING),
    value("experimental-max-learners", TUNING),
    value("downgrade-check-time", TUNING),
    value("experimental-downgrade-check-time", TUNING),
    switch("experimental-enable-lease-checkpoint", ALWAYS),
    switch("experimental-initial-corrupt-check", CORRUPTION),
    switch("experimental-compact-hash-check-enabled", CORRUPTION),
    value("compact-hash-check-time", CORRUPTION),
    value("experimental-compact-hash-check-time", CORRUPTION),
];

/// All of them.
pub fn all() -> impl Iterator<Item = &'static EtcdFlag> {
    FLAGS.iter()
}

/// The one called `name`.
pub fn find(name: &str) -> Option<&'static EtcdFlag> {
    FLAGS.iter().find(|flag| flag.name == name)
}
