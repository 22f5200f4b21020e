//! Numbers for dashboards, under the names that etcd's dashboards and alerts look for.
//! Never kept twice: what the node, the store and the system know is read when asked for.
//!
//! # Source
//! etcd's metrics; the OpenMetrics text format.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater_kv::request::StoreStatus;
use headwater_runtime::Status;
use http::HeaderMap;

use crate::backend::Backend;
use crate::cli::ETCD_VERSION;
use crate::company::Counts;
use crate::metrics_text::{Format, Kind, Page};
use crate::process;
use crate::service::{SERVICES, UNARY};

/// What the node counts and etcd has no name for: the node's name for it, and what
/// it is. All of it only grows.
const OWN: [(&str, &str); 15] = [
    (
        "frames_dropped",
        "Frames for peers that had no connection or no room in it.",
    ),
    ("frames_received", "Frames that came in from peers."),
    ("frames_sent", "Frames queued for peers."),
    ("inputs", "Events taken in by the node's loop."),
    ("link_downs", "Connections to peers that went down."),
    ("link_ups", "Connections to peers that came up."),
    ("log_bytes", "Bytes written to the log."),
    ("log_groups", "Groups of log writes that shared a sync."),
    ("proposals", "Clients' proposals accepted by this node."),
    (
        "recovered_bytes",
        "Bytes of log and snapshots that this start has read.",
    ),
    (
        "scrub_bytes",
        "Bytes of log and snapshots at rest that were read again.",
    ),
    (
        "scrub_damage",
        "Places in log and snapshots that were found damaged at rest.",
    ),
    ("scrub_rounds", "Rounds over all log and snapshots at rest."),
    ("snapshot_bytes", "Bytes written to snapshot files."),
    ("turns", "Turns of the node's loop."),
];

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

    /// Whether a call of a method goes on after the head of its answer.
    pub fn is_stream(&self, method: MethodId) -> bool {
        self.calls[method.0].kind != UNARY
    }

    /// Counts a call that ended with gRPC's status `code`.
    pub fn on_end(&self, method: MethodId, code: usize) {
        let unknown = 2;
        let code = if code < CODES.len() { code } else { unknown };
        self.calls[method.0].handled[code].fetch_add(1, Ordering::Relaxed);
    }

    /// Everything there is to tell now.
    pub fn text(
        &self,
        format: Format,
        backend: &Backend,
        store: StoreStatus,
        company: Counts,
    ) -> String {
        let scrape = Scrape {
            calls: self.sums(),
            store,
            company,
            node: backend.status(),
            quota_bytes: backend.limits().quota_bytes,
            members: backend.config().members().len(),
        };
        scrape.text(format)
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

/// The code that a response's head or its trailers carry. A head without one is a success so far: the
/// calls that are no streams fail before they send.
pub fn status_code(headers: &HeaderMap) -> usize {
    let number = |value: &http::HeaderValue| value.to_str().ok()?.parse().ok();
    headers.get("grpc-status").and_then(number).unwrap_or(0)
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
    company: Counts,
    node: Status,
    quota_bytes: i64,
    members: usize,
}

impl Scrape {
    fn text(&self, format: Format) -> String {
        let mut page = Page::new(format);
        self.put_node(&mut page);
        self.put_proposals(&mut page);
        self.put_store(&mut page);
        self.put_company(&mut page);
        self.put_disk_and_peers(&mut page);
        put_process(&mut page);
        self.put_calls(&mut page);
        page.finish()
    }

    fn counter(&self, name: &str) -> u64 {
        self.node.counters.get(name).copied().unwrap_or(0)
    }

    fn put_node(&self, page: &mut Page) {
        let node = &self.node;
        page.gauge(
            "etcd_server_has_leader",
            "Whether a leader is known.",
            u8::from(node.leader.is_some()),
        );
        page.gauge(
            "etcd_server_is_leader",
            "Whether this member leads.",
            u8::from(node.leader == Some(node.node)),
        );
        page.gauge(
            "etcd_server_is_learner",
            "Whether this member has no vote.",
            0,
        );
        page.counter(
            "etcd_server_leader_changes_seen_total",
            "Changes of the leader.",
            self.counter("leader_changes"),
        );
        page.gauge(
            "etcd_server_quota_backend_bytes",
            "What is said to be the largest store, in bytes.",
            self.quota_bytes,
        );
        page.gauge(
            "etcd_network_known_peers",
            "Other members of the cluster.",
            self.members - 1,
        );
        page.gauge("headwater_raft_term", "The Raft term.", node.term.0);
        page.gauge(
            "headwater_snapshot_index",
            "The last log entry that the newest snapshot covers.",
            self.counter("snapshot_index"),
        );
        page.gauge(
            "headwater_disk_full",
            "Whether the disk has no room, so that what can make the store larger is refused.",
            self.counter("short_of_space"),
        );
        page.gauge(
            "headwater_log_unreadable_entries",
            "Log entries that the disk cannot give back and other members have not yet.",
            self.counter("unreadable"),
        );
        page.counter(
            "headwater_log_repaired_entries_total",
            "Log entries that the disk could not give back, written again from other members' copies.",
            self.counter("repaired"),
        );
        let name = "etcd_server_version";
        page.family(name, Kind::Gauge, "The release of etcd that this is like.");
        page.sample(name, &[("server_version", ETCD_VERSION)], 1);
        let name = "headwater_version";
        page.family(name, Kind::Gauge, "Headwater's own version.");
        page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    }

    fn put_proposals(&self, page: &mut Page) {
        page.counter(
            "etcd_server_proposals_committed_total",
            "The commit index: log entries committed since the cluster began.",
            self.node.commit.0,
        );
        page.counter(
            "etcd_server_proposals_applied_total",
            "The last log entry applied.",
            self.node.applied.0,
        );
        page.gauge(
            "etcd_server_proposals_pending",
            "Proposals without an outcome yet.",
            self.counter("proposals_pending"),
        );
        page.counter(
            "etcd_server_proposals_failed_total",
            "Proposals that ended otherwise than applied.",
            self.counter("proposals_failed"),
        );
    }

    fn put_store(&self, page: &mut Page) {
        let store = &self.store;
        page.gauge(
            "etcd_mvcc_db_total_size_in_bytes",
            "Bytes that the store takes.",
            store.size_bytes,
        );
        page.gauge(
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "Bytes that the store would take without forgotten history.",
            store.size_in_use_bytes,
        );
        page.gauge("etcd_debugging_mvcc_keys_total", "Keys alive.", store.keys);
        page.gauge(
            "etcd_debugging_mvcc_current_revision",
            "The current revision.",
            store.revision,
        );
        page.gauge(
            "etcd_debugging_mvcc_compact_revision",
            "The revision of the last compaction.",
            store.compact_revision,
        );
    }

    fn put_company(&self, page: &mut Page) {
        let company = &self.company;
        page.gauge(
            "etcd_debugging_mvcc_watch_stream_total",
            "Streams of watches.",
            company.streams,
        );
        page.gauge(
            "etcd_debugging_mvcc_watcher_total",
            "Watchers.",
            company.watchers,
        );
        page.gauge(
            "etcd_debugging_mvcc_slow_watcher_total",
            "Watchers that are behind and read what they missed.",
            company.watchers_behind,
        );
        page.counter(
            "etcd_debugging_mvcc_events_total",
            "Events told to watchers of this member.",
            company.events,
        );
        page.counter(
            "etcd_debugging_lease_renewed_total",
            "Leases renewed by this member as a leader.",
            company.leases_renewed,
        );
        page.counter(
            "etcd_debugging_server_lease_expired_total",
            "Leases whose end this member has found as a leader.",
            company.leases_ended,
        );
        page.counter(
            "headwater_agreement_checks_total",
            "How often what this member has written was compared with a leader's.",
            company.compared,
        );
        page.counter(
            "headwater_agreement_partings_total",
            "How often it was not the same.",
            company.partings,
        );
    }

    fn put_disk_and_peers(&self, page: &mut Page) {
        let (upto, count) = sync_buckets(&self.node.counters);
        page.histogram(
            "etcd_disk_wal_fsync_duration_seconds",
            "Time to make the log durable.",
            &upto,
            count,
            self.counter("fsync_ns") as f64 / 1e9,
        );
        page.counter(
            "etcd_network_peer_sent_bytes_total",
            "Bytes sent to other members.",
            self.counter("peer_sent_bytes"),
        );
        page.counter(
            "etcd_network_peer_received_bytes_total",
            "Bytes received from other members.",
            self.counter("peer_received_bytes"),
        );
        for (name, help) in OWN {
            page.counter(&format!("headwater_{name}_total"), help, self.counter(name));
        }
    }

    /// Methods that were never called are there too, as in etcd: a rate needs a first zero.
    fn put_calls(&self, page: &mut Page) {
        let name = "grpc_server_started_total";
        page.family(name, Kind::Counter, "Calls begun.");
        for calls in &self.calls {
            page.sample(name, &calls.labels(), calls.started);
        }
        let name = "grpc_server_handled_total";
        page.family(name, Kind::Counter, "Calls ended, by status code.");
        for calls in &self.calls {
            for (code, count) in CODES.iter().zip(&calls.handled) {
                let [method, service, kind] = calls.labels();
                page.sample(name, &[("grpc_code", code), method, service, kind], count);
            }
        }
    }
}

impl CallSums {
    fn labels(&self) -> [(&'static str, &'static str); 3] {
        [
            ("grpc_method", self.method),
            ("grpc_service", self.service),
            ("grpc_type", self.kind),
        ]
    }
}

fn put_process(page: &mut Page) {
    let usage = process::usage();
    if let Some(bytes) = usage.resident_bytes {
        page.gauge("process_resident_memory_bytes", "Memory in use.", bytes);
    }
    if let Some(count) = usage.open_files {
        page.gauge("process_open_fds", "Open files and sockets.", count);
    }
    if let Some(count) = usage.open_files_max {
        page.gauge("process_max_fds", "How many may be open.", count);
    }
    if let Some(seconds) = usage.cpu_seconds {
        let help = "Processor time used, in seconds.";
        page.counter("process_cpu_seconds_total", help, seconds);
    }
}

/// The node's sync times: how many took no longer than each bound in seconds, and how many there
/// were.
fn sync_buckets(counters: &BTreeMap<&'static str, u64>) -> (Vec<(f64, u64)>, u64) {
    let bound = |(name, &count): (&&str, &u64)| {
        let us: u64 = name.strip_prefix("fsync_us_le_")?.parse().ok()?;
        Some((us, count))
    };
    let mut upto: Vec<(u64, u64)> = counters.iter().filter_map(bound).collect();
    upto.sort_unstable();
    // The buckets and the total are read one after the other, and a sync may end in between.
    let mut most = 0;
    for (_, count) in &mut upto {
        most = most.max(*count);
        *count = most;
    }
    let total = counters.get("fsyncs").copied().unwrap_or(0);
    let in_seconds = upto.into_iter().map(|(us, count)| (us as f64 / 1e6, count));
    (in_seconds.collect(), total.max(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sync_times_are_in_seconds_and_include_those_below() {
        let counters = BTreeMap::from([
            ("fsync_us_le_64", 3),
            ("fsync_us_le_1024", 5),
            ("fsync_us_le_128", 3),
            ("fsyncs", 6),
        ]);
        let (upto, total) = sync_buckets(&counters);
        assert_eq!(total, 6);
        assert_eq!(upto, [(64e-6, 3), (128e-6, 3), (1024e-6, 5)]);
    }

    fn scrape(metrics: &Metrics) -> Scrape {
        Scrape {
            calls: metrics.sums(),
            store: StoreStatus::default(),
            company: Counts::default(),
            node: Status::default(),
            quota_bytes: 7,
            members: 3,
        }
    }

    #[test]
    fn a_scrape_has_the_names_that_dashboards_look_for() {
        let metrics = Metrics::new();
        let put = metrics.on_start("etcdserverpb.KV", "Put").unwrap();
        metrics.on_end(put, 14);
        assert!(metrics.on_start("etcdserverpb.KV", "Nope").is_none());
        let text = scrape(&metrics).text(Format::Prometheus);
        for line in [
            "etcd_server_has_leader 0",
            "# TYPE etcd_server_leader_changes_seen_total counter",
            "etcd_server_leader_changes_seen_total 0",
            "etcd_server_proposals_committed_total 0",
            "etcd_network_known_peers 2",
            "etcd_disk_wal_fsync_duration_seconds_count 0",
            "# TYPE headwater_log_bytes_total counter",
            "grpc_server_started_total{grpc_method=\"Put\",\
             grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1",
            "grpc_server_handled_total{grpc_code=\"Unavailable\",grpc_method=\"Put\",\
             grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1",
            "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Watch\",\
             grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn all_that_the_node_counts_is_told_under_some_name() {
        let metrics = Metrics::new();
        let mut scrape = scrape(&metrics);
        let mut expected = Vec::new();
        let counted = headwater_runtime::counters::Counters::default().by_name();
        for (place, name) in counted.into_keys().enumerate() {
            // The buckets' counts must not fall as the bounds rise, and have a test of their own.
            if !name.starts_with("fsync") {
                let number = 1_000_001 + place as u64;
                scrape.node.counters.insert(name, number);
                expected.push((name, format!(" {number}")));
            }
        }
        let text = scrape.text(Format::Prometheus);
        for (name, number) in expected {
            assert!(
                text.lines().any(|l| l.ends_with(&number)),
                "no {name} in\n{text}"
            );
        }
    }
}
