//! etcd's flags that Headwater does not have: which may be ignored, which must not be, and why.
//! Never silent: an ignored flag leaves a line in the log.
//!
//! # Source
//! etcd's flags, from 3.5 to 3.7.

use headwater_ctl::quantity::boolean;

/// What etcd put before the names of flags that might have gone again.
pub const EXPERIMENTAL: &str = "experimental-";

/// A flag of etcd's.
#[derive(Clone, Copy, Debug)]
pub struct EtcdFlag {
    /// Its name, without dashes; `experimental-` before it changes nothing.
    pub name: &'static str,
    /// Whether a value follows it as a word of its own.
    pub takes_value: bool,
    /// What to say to it.
    answer: Answer,
    /// A value with which it asks for no more than there is.
    harmless: &'static str,
}

/// What to say to a flag.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Nothing is lost without it, because ...
    Ignore(&'static str),
    /// Whoever sets it relies on it; why it is not there and what to do instead. How to take it
    /// back is added by whoever knows where it was said.
    Refuse(&'static str),
    /// A list of features, each on or off.
    Gates,
}

impl EtcdFlag {
    /// What to note of it with this value, if anything; `None` for one that is left out.
    ///
    /// # Errors
    /// Why the server must not start with it, and what to do instead.
    pub fn judge(&self, value: Option<&str>) -> Result<Option<String>, String> {
        // What is empty or off asks for nothing, so nothing is refused.
        let asks = |value: &str| {
            !value.is_empty() && boolean(value) != Ok(false) && value != self.harmless
        };
        match self.answer {
            Answer::Ignore(why) => Ok(Some(format!("is ignored: {why}"))),
            Answer::Refuse(_) if value.is_some_and(|value| !asks(value)) => Ok(None),
            Answer::Refuse(why) => Err(why.to_owned()),
            Answer::Gates => gates(value.unwrap_or_default()).map(Some),
        }
    }
}

/// What to note of a list of features.
fn gates(list: &str) -> Result<String, String> {
    let mut notes = Vec::new();
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (name, is_on) = part.split_once('=').unwrap_or((part, ""));
        let gate = GATES.iter().find(|(known, _)| *known == name);
        let Some((_, why)) = gate else {
            let known: Vec<&str> = GATES.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "there is no feature \"{name}\"; etcd's are {}",
                known.join(", ")
            ));
        };
        boolean(is_on).map_err(|_| format!("\"{part}\" is not {name}=true or {name}=false"))?;
        notes.push(format!("{name}: {why}"));
    }
    Ok(format!("is ignored: {}", notes.join("; ")))
}

const GATES: &[(&str, &str)] = &[
    ("StopGRPCServiceOnDefrag", NO_DEFRAG),
    ("TxnModeWriteWithSharedBuffer", TUNES),
    ("InitialCorruptCheck", CHECKED),
    ("CompactHashCheck", COMPARED),
    ("LeaseCheckpoint", LEASES),
    ("LeaseCheckpointPersist", LEASES),
    ("SetMemberLocalAddr", LOCAL_ADDRESS),
    ("FastLeaseKeepAlive", TUNES),
    ("PriorityRequest", TUNES),
    ("AllAlpha", TUNES),
    ("AllBeta", TUNES),
];

const TUNES: &str = "it tunes a part that Headwater does not have";
const CHECKED: &str = "every log and snapshot read is checked anyway";
const COMPARED: &str = "members compare what they have written as --corrupt-check-time says";
const LEASES: &str = "leases outlast a change of leaders without it";
const NO_DEFRAG: &str = "there is nothing to defragment, so nothing stops for it";
const LOCAL_ADDRESS: &str = "members are not told apart by the addresses they dial from";

const ROTATION: Answer = Answer::Refuse(
    "the log is not rotated here: let logrotate do it to a file of --log-outputs, with copytruncate",
);
const DISCOVERY: Answer =
    Answer::Refuse("discovery is not built in: name all members in --initial-cluster");
const NO_DISCOVERY: Answer = Answer::Ignore("there is no discovery; see --initial-cluster");
const PROXY: Answer = Answer::Refuse(
    "etcd's v2 proxy is gone for good: let clients know all members, or use a TCP proxy",
);
const NO_PROXY: Answer = Answer::Ignore("etcd's v2 proxy is gone for good");
const V2: Answer = Answer::Ignore("etcd's v2 API is gone for good");
const SPANS: Answer = Answer::Refuse("spans are not exported: see /metrics and --log-level debug");
const NO_SPANS: Answer = Answer::Ignore("spans are not exported");
const ALWAYS: Answer = Answer::Ignore("it is always so here");
const FILES: Answer = Answer::Ignore("the server keeps and deletes its own files");
const TUNING: Answer = Answer::Ignore(TUNES);
const SLOW: Answer = Answer::Ignore("how long calls and writes take is in /metrics");

const fn value(name: &'static str, answer: Answer) -> EtcdFlag {
    EtcdFlag {
        name,
        takes_value: true,
        answer,
        harmless: "",
    }
}

const fn unless(harmless: &'static str, flag: EtcdFlag) -> EtcdFlag {
    EtcdFlag { harmless, ..flag }
}

const fn switch(name: &'static str, answer: Answer) -> EtcdFlag {
    EtcdFlag {
        takes_value: false,
        ..value(name, answer)
    }
}

const FLAGS: &[EtcdFlag] = &[
    value(
        "self-signed-cert-validity",
        Answer::Ignore("self-made certificates are good for ten years"),
    ),
    value(
        "client-cert-file",
        Answer::Ignore("JSON over HTTP needs no connection from the server to itself"),
    ),
    value(
        "client-key-file",
        Answer::Ignore("JSON over HTTP needs no connection from the server to itself"),
    ),
    value("peer-client-cert-file", ONE_CERTIFICATE),
    value("peer-client-key-file", ONE_CERTIFICATE),
    switch(
        "peer-skip-client-san-verification",
        Answer::Ignore("where a member dials from is not compared with its certificate"),
    ),
    value("discovery", DISCOVERY),
    value("discovery-srv", DISCOVERY),
    value("discovery-srv-name", DISCOVERY),
    value("discovery-token", DISCOVERY),
    value("discovery-endpoints", DISCOVERY),
    value("discovery-proxy", DISCOVERY),
    unless("exit", value("discovery-fallback", NO_DISCOVERY)),
    value("discovery-dial-timeout", NO_DISCOVERY),
    value("discovery-request-timeout", NO_DISCOVERY),
    value("discovery-keepalive-time", NO_DISCOVERY),
    value("discovery-keepalive-timeout", NO_DISCOVERY),
    switch("discovery-insecure-transport", NO_DISCOVERY),
    switch("discovery-insecure-skip-tls-verify", NO_DISCOVERY),
    value("discovery-cert", NO_DISCOVERY),
    value("discovery-key", NO_DISCOVERY),
    value("discovery-cacert", NO_DISCOVERY),
    value("discovery-user", NO_DISCOVERY),
    value("discovery-password", NO_DISCOVERY),
    unless("off", value("proxy", PROXY)),
    value("proxy-failure-wait", NO_PROXY),
    value("proxy-refresh-interval", NO_PROXY),
    value("proxy-dial-timeout", NO_PROXY),
    value("proxy-write-timeout", NO_PROXY),
    value("proxy-read-timeout", NO_PROXY),
    switch("enable-v2", V2),
    value("enable-v2v3", V2),
    value("v2-deprecation", V2),
    value(
        "wal-dir",
        Answer::Refuse("log and snapshots share one directory: use --data-dir"),
    ),
    switch(
        "force-new-cluster",
        Answer::Refuse(
            "see `headwater disk recover --help`: it begins a new cluster with what a lost one left",
        ),
    ),
    unless(
        "*",
        value(
            "cors",
            Answer::Refuse("CORS is not built in yet: use a proxy that adds it"),
        ),
    ),
    unless(
        "*",
        value(
            "host-whitelist",
            Answer::Refuse(
                "host whitelists are not built in yet: listen where only trusted clients are",
            ),
        ),
    ),
    value(
        "listen-client-socket",
        Answer::Refuse("unix sockets are not served: use --listen-client-urls"),
    ),
    switch(
        "socket-reuse-port",
        Answer::Refuse(
            "a port has one server, or clients would meet now this one and now that: stop the other",
        ),
    ),
    switch("socket-reuse-address", ALWAYS),
    value(
        "logger",
        Answer::Ignore("see --log-level, --log-format and --log-outputs"),
    ),
    value("log-package-levels", Answer::Ignore("see --log-level")),
    switch("debug", Answer::Ignore("see --log-level debug")),
    switch("enable-log-rotation", ROTATION),
    value(
        "log-rotation-config-json",
        Answer::Ignore("the log is not rotated here: let logrotate do it"),
    ),
    switch("pre-vote", ALWAYS),
    switch("initial-election-tick-advance", ALWAYS),
    switch("enable-grpc-gateway", ALWAYS),
    switch(
        "unsafe-no-fsync",
        Answer::Ignore("an acknowledged write is always on disk"),
    ),
    value("max-wals", FILES),
    value(
        "snapshot-count",
        Answer::Ignore("snapshots follow bytes, not entries: see --snapshot-log-bytes"),
    ),
    value("backend-batch-interval", TUNING),
    value("backend-batch-limit", TUNING),
    value("backend-bbolt-freelist-type", TUNING),
    value("bootstrap-defrag-threshold-megabytes", TUNING),
    switch("stop-grpc-service-on-defrag", Answer::Ignore(NO_DEFRAG)),
    switch("txn-mode-write-with-shared-buffer", TUNING),
    switch(
        "memory-mlock",
        Answer::Ignore("memory is not locked: MemorySwapMax=0 in a unit keeps it from the swap"),
    ),
    value(
        "grpc-keepalive-min-time",
        Answer::Ignore("clients may ping as often as they like"),
    ),
    switch(
        "enable-pprof",
        Answer::Ignore("Go's profiler has nothing to look at here"),
    ),
    value(
        "metrics",
        Answer::Ignore("/metrics always shows everything"),
    ),
    value("feature-gates", Answer::Gates),
    value("raft-read-timeout", TUNING),
    value("raft-write-timeout", TUNING),
    value("snapshot-catchup-entries", TUNING),
    value("warning-apply-duration", SLOW),
    value("warning-unary-request-duration", SLOW),
    value("compaction-batch-limit", TUNING),
    value("compaction-sleep-interval", TUNING),
    value("downgrade-check-time", TUNING),
    switch("enable-distributed-tracing", SPANS),
    value("distributed-tracing-address", NO_SPANS),
    value("distributed-tracing-service-name", NO_SPANS),
    value("distributed-tracing-instance-id", NO_SPANS),
    value("distributed-tracing-sampling-rate", NO_SPANS),
    switch("enable-lease-checkpoint", Answer::Ignore(LEASES)),
    switch("enable-lease-checkpoint-persist", Answer::Ignore(LEASES)),
    switch("initial-corrupt-check", Answer::Ignore(CHECKED)),
    switch("compact-hash-check-enabled", Answer::Ignore(COMPARED)),
    value("compact-hash-check-time", Answer::Ignore(COMPARED)),
];

const ONE_CERTIFICATE: Answer = Answer::Refuse(
    "members show one certificate, whoever dials: use --peer-cert-file, for both purposes",
);

/// All of them.
pub fn all() -> impl Iterator<Item = &'static EtcdFlag> {
    FLAGS.iter()
}

/// The one called `name`.
pub fn find(name: &str) -> Option<&'static EtcdFlag> {
    let name = name.strip_prefix(EXPERIMENTAL).unwrap_or(name);
    FLAGS.iter().find(|flag| flag.name == name)
}

#[cfg(test)]
mod tests;
