//! Numbers for dashboards, under the names that etcd's dashboards and alerts look for.
//! Never kept twice: what the node, the store and the system know is read when asked for.
//!
//! # Source
//! etcd's metrics; the OpenMetrics text format.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater_kv::request::StoreStatus;
use headwater_runtime::Status;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::backend::Backend;
use crate::cli::ETCD_VERSION;
use crate::process;
use crate::service::SERVICES;

/// The type of the text that [`Metrics::text`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// gRPC's codes by number, as Go's libraries spell them in metrics.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Calls of one method, counted.
#[derive(Debug)]
struct Calls {
    service: &'static str,
    method: &'static str,
    kind: &'static str,
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
}

/// Which method a call is of; found once, used when the call ends.
#[derive(Clone, Copy, Debug)]
pub struct MethodId(usize);

/// What is counted here and nowhere else: calls.
#[derive(Debug)]
pub struct Metrics {
    calls: Vec<Calls>,
}

impl Metrics {
    /// All methods of the API, none called yet.
    pub fn new() -> Self {
        let of_service = |service: &'static crate::service::Service| {
            service.methods.iter().map(|&(method, kind)| Calls {
                service: service.name,
                method,
                kind,
                started: AtomicU64::new(0),
                handled: std::array::from_fn(|_| AtomicU64::new(0)),
            })
        };
        Self {
            calls: SERVICES.iter().flat_map(of_service).collect(),
        }
    }

    /// Counts a call that begins; none if the API has no such method.
    pub fn on_start(&self, service: &str, method: &str) -> Option<MethodId> {
        let is_it = |calls: &Calls| calls.method == method && calls.service == service;
        let place = self.calls.iter().position(is_it)?;
        self.calls[place].started.fetch_add(1, Ordering::Relaxed);
        Some(MethodId(place))
    }

    /// Counts a call that ended with gRPC's status `code`.
    pub fn on_end(&self, method: MethodId, code: usize) {
        let unknown = 2;
        let code = if code < CODES.len() { code } else { unknown };
        self.calls[method.0].handled[code].fetch_add(1, Ordering::Relaxed);
    }

    /// Everything there is to tell now.
    ///
    /// # Errors
    /// The text could not be built, which only a lack of memory could cause.
    pub fn text(&self, backend: &Backend, store: StoreStatus) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape {
            calls: self.sums(),
            store,
            node: backend.status(),
            limits: (
                backend.limits().quota_bytes,
                backend.cluster().members.len(),
            ),
        }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn sums(&self) -> Vec<CallSums> {
        let sums = |calls: &Calls| CallSums {
            service: calls.service,
            method: calls.method,
            kind: calls.kind,
            started: calls.started.load(Ordering::Relaxed),
            handled: std::array::from_fn(|code| calls.handled[code].load(Ordering::Relaxed)),
        };
        self.calls.iter().map(sums).collect()
    }
}

#[derive(Debug)]
struct CallSums {
    service: &'static str,
    method: &'static str,
    kind: &'static str,
    started: u64,
    handled: [u64; CODES.len()],
}

/// One moment's numbers.
#[derive(Debug)]
struct Scrape {
    calls: Vec<CallSums>,
    store: StoreStatus,
    node: Status,
    limits: (i64, usize),
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Writer(encoder);
        self.encode_node(&mut out)?;
        self.encode_store(&mut out)?;
        self.encode_disk_and_peers(&mut out)?;
        encode_process(&mut out)?;
        self.encode_calls(&mut out)
    }
}

impl Scrape {
    fn encode_node(&self, out: &mut Writer<'_>) -> fmt::Result {
        let node = &self.node;
        let counter = |name: &str| node.counters.get(name).copied().unwrap_or(0);
        let has_leader = i64::from(node.leader.is_some());
        let is_leader = i64::from(node.leader == Some(node.node));
        out.gauge(
            "etcd_server_has_leader",
            "Whether a leader is known",
            has_leader,
        )?;
        out.gauge(
            "etcd_server_is_leader",
            "Whether this member leads",
            is_leader,
        )?;
        out.gauge(
            "etcd_server_is_learner",
            "Whether this member has no vote",
            0,
        )?;
        out.counter(
            "etcd_server_leader_changes_seen",
            "Changes of the leader",
            counter("leader_changes"),
        )?;
        out.counter(
            "etcd_server_proposals_committed",
            "The commit index",
            node.commit.0,
        )?;
        out.counter(
            "etcd_server_proposals_applied",
            "The last entry applied",
            node.applied.0,
        )?;
        out.gauge(
            "etcd_server_proposals_pending",
            "Proposals without an outcome yet",
            to_i64(counter("proposals_pending")),
        )?;
        out.counter(
            "etcd_server_proposals_failed",
            "Proposals that ended otherwise than applied",
            counter("proposals_failed"),
        )?;
        out.gauge(
            "etcd_server_quota_backend_bytes",
            "What is said to be the largest store",
            self.limits.0,
        )?;
        out.gauge(
            "etcd_network_known_peers",
            "Other members of the cluster",
            to_i64(self.limits.1 as u64 - 1),
        )?;
        out.gauge("headwater_raft_term", "The Raft term", to_i64(node.term.0))?;
        let version = [("server_version", ETCD_VERSION)];
        let mut family = out.family("etcd_server_version", "The version", MetricType::Gauge)?;
        ConstGauge::new(1i64).encode(family.encode_family(&version)?)
    }

    fn encode_store(&self, out: &mut Writer<'_>) -> fmt::Result {
        let store = &self.store;
        out.gauge(
            "etcd_mvcc_db_total_size_in_bytes",
            "Bytes that the store takes",
            to_i64(store.size_bytes),
        )?;
        out.gauge(
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "Bytes that the store would take without forgotten history",
            to_i64(store.size_in_use_bytes),
        )?;
        out.gauge(
            "etcd_debugging_mvcc_keys_total",
            "Keys alive",
            to_i64(store.keys),
        )?;
        out.gauge(
            "etcd_debugging_mvcc_current_revision",
            "The current revision",
            store.revision,
        )?;
        out.gauge(
            "etcd_debugging_mvcc_compact_revision",
            "The last compaction",
            store.compact_revision,
        )
    }

    fn encode_disk_and_peers(&self, out: &mut Writer<'_>) -> fmt::Result {
        let counters = &self.node.counters;
        let counter = |name: &str| counters.get(name).copied().unwrap_or(0);
        let (buckets, total) = sync_buckets(counters);
        let help = "Time to make the log durable";
        let name = "etcd_disk_wal_fsync_duration_seconds";
        let mut histogram = out.family(name, help, MetricType::Histogram)?;
        let seconds = counter("fsync_ns") as f64 / 1e9;
        histogram.encode_histogram::<NoLabelSet>(seconds, total, &buckets, None)?;
        out.counter(
            "etcd_network_peer_sent_bytes",
            "Bytes sent to other members",
            counter("peer_sent_bytes"),
        )?;
        out.counter(
            "etcd_network_peer_received_bytes",
            "Bytes received from other members",
            counter("peer_received_bytes"),
        )?;
        // All that the node counts is there under its own name too, for whoever digs deeper.
        for (name, &value) in counters
            .iter()
            .filter(|(n, _)| !n.starts_with("fsync_us_le_"))
        {
            let name = format!("headwater_{name}");
            out.gauge(&name, "As counted by the node", to_i64(value))?;
        }
        Ok(())
    }

    fn encode_calls(&self, out: &mut Writer<'_>) -> fmt::Result {
        let help = "Calls begun";
        let mut family = out.family("grpc_server_started", help, MetricType::Counter)?;
        for calls in &self.calls {
            let labels = calls.labels();
            ConstCounter::new(calls.started).encode(family.encode_family(&labels)?)?;
        }
        let help = "Calls ended, by status code";
        let mut family = out.family("grpc_server_handled", help, MetricType::Counter)?;
        for calls in &self.calls {
            for (code, &count) in CODES.iter().zip(&calls.handled) {
                let [kind, method, service] = calls.labels();
                let labels = [("grpc_code", *code), kind, method, service];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl CallSums {
    fn labels(&self) -> [(&'static str, &'static str); 3] {
        [
            ("grpc_type", self.kind),
            ("grpc_method", self.method),
            ("grpc_service", self.service),
        ]
    }
}

fn encode_process(out: &mut Writer<'_>) -> fmt::Result {
    let usage = process::usage();
    if let Some(bytes) = usage.resident_bytes {
        let help = "Memory in use";
        out.gauge("process_resident_memory_bytes", help, to_i64(bytes))?;
    }
    if let Some(count) = usage.open_files {
        out.gauge("process_open_fds", "Open files", to_i64(count))?;
    }
    if let Some(seconds) = usage.cpu_seconds {
        let help = "Processor time used";
        let counter = out.family("process_cpu_seconds", help, MetricType::Counter)?;
        ConstCounter::new(seconds).encode(counter)?;
    }
    Ok(())
}

/// The node's sync times: how many fell in each bucket alone, by its bound in seconds, and how
/// many there were. The node's own buckets include those below them.
fn sync_buckets(counters: &BTreeMap<&'static str, u64>) -> (Vec<(f64, u64)>, u64) {
    let bound = |(name, &count): (&&str, &u64)| {
        let us: u64 = name.strip_prefix("fsync_us_le_")?.parse().ok()?;
        Some((us, count))
    };
    let mut upto: Vec<(u64, u64)> = counters.iter().filter_map(bound).collect();
    upto.sort_unstable();
    let total = counters.get("fsyncs").copied().unwrap_or(0);
    let mut below = 0;
    let mut buckets = Vec::with_capacity(upto.len() + 1);
    for (us, count) in upto {
        buckets.push((us as f64 / 1e6, count.saturating_sub(below)));
        below = count.max(below);
    }
    buckets.push((f64::INFINITY, total.saturating_sub(below)));
    // The total is counted apart from the buckets; a sync may end between the two readings.
    (buckets, total.max(below))
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Saves the writing of descriptors.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        ConstGauge::new(value).encode(self.family(name, help, MetricType::Gauge)?)
    }

    /// The encoder adds `_total` to the name.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.family(name, help, MetricType::Counter)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sync_times_fall_in_one_bucket_each() {
        let counters = BTreeMap::from([
            ("fsync_us_le_64", 3),
            ("fsync_us_le_1024", 5),
            ("fsync_us_le_128", 3),
            ("fsyncs", 6),
        ]);
        let (buckets, total) = sync_buckets(&counters);
        assert_eq!(total, 6);
        assert_eq!(
            buckets,
            [(64e-6, 3), (128e-6, 0), (1024e-6, 2), (f64::INFINITY, 1)]
        );
    }

    #[test]
    fn a_scrape_has_the_names_that_dashboards_look_for() {
        let metrics = Metrics::new();
        let put = metrics.on_start("etcdserverpb.KV", "Put").unwrap();
        metrics.on_end(put, 14);
        assert!(metrics.on_start("etcdserverpb.KV", "Nope").is_none());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape {
            calls: metrics.sums(),
            store: StoreStatus::default(),
            node: Status::default(),
            limits: (7, 3),
        }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "etcd_server_has_leader 0",
            "etcd_server_leader_changes_seen_total 0",
            "etcd_server_proposals_committed_total 0",
            "etcd_network_known_peers 2",
            "etcd_disk_wal_fsync_duration_seconds_count 0",
            "grpc_server_started_total{grpc_type=\"unary\",grpc_method=\"Put\",\
             grpc_service=\"etcdserverpb.KV\"} 1",
            "grpc_server_handled_total{grpc_code=\"Unavailable\",grpc_type=\"unary\",\
             grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\"} 1",
            "grpc_server_handled_total{grpc_code=\"OK\",grpc_type=\"bidi_stream\",\
             grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }
}
