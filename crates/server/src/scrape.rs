//! All numbers for dashboards on one page, under the names that etcd's dashboards and alerts look for.
//! Never kept twice: what the node, the store and the system know is read when asked for.
//!
//! # Source
//! etcd's metrics; the OpenMetrics text format.

use std::collections::BTreeMap;

use headwater_kv::request::StoreStatus;
use headwater_runtime::Status;
use headwater_runtime::peer_counters::PeerCounts;

use crate::backend::Backend;
use crate::cli::ETCD_VERSION;
use crate::company::Counts;
use crate::http_pages::CLUSTER_VERSION;
use crate::metrics::Metrics;
use crate::metrics_text::{Format, Histogram, Kind, Page};
use crate::process::Usage;

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

/// Everything there is to tell, by what was looked up now.
pub fn text(
    format: Format,
    metrics: &Metrics,
    backend: &Backend,
    (store, company, usage): (StoreStatus, Counts, Usage),
) -> String {
    let scrape = Scrape {
        store,
        company,
        node: backend.status(),
        quota_bytes: backend.limits().quota_bytes,
        members: backend.config().members().len(),
        is_learner: backend.is_learner(),
    };
    let mut page = Page::new(format);
    scrape.put(&mut page);
    put_process(&mut page, usage);
    metrics.put(&mut page);
    page.finish()
}

/// One moment's numbers.
#[derive(Debug)]
struct Scrape {
    store: StoreStatus,
    company: Counts,
    node: Status,
    quota_bytes: i64,
    members: usize,
    is_learner: bool,
}

impl Scrape {
    fn put(&self, page: &mut Page) {
        self.put_node(page);
        self.put_versions(page);
        self.put_proposals(page);
        self.put_store(page);
        self.put_company(page);
        self.put_disk(page);
        self.put_peers(page);
        for (name, help) in OWN {
            page.counter(&format!("headwater_{name}_total"), help, self.counter(name));
        }
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
            u8::from(self.is_learner),
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
    }

    fn put_versions(&self, page: &mut Page) {
        let name = "etcd_server_id";
        page.family(name, Kind::Gauge, "This member's id.");
        let id = format!("{:x}", self.node.node.0);
        page.sample(name, &[("server_id", &id)], 1);
        let name = "etcd_cluster_version";
        page.family(
            name,
            Kind::Gauge,
            "The version of the API that all members share.",
        );
        let (minor, _) = CLUSTER_VERSION.rsplit_once('.').unwrap_or_default();
        page.sample(name, &[("cluster_version", minor)], 1);
        let name = "etcd_server_version";
        page.family(name, Kind::Gauge, "The release of etcd that this is like.");
        page.sample(name, &[("server_version", ETCD_VERSION)], 1);
        let name = "headwater_version";
        page.family(name, Kind::Gauge, "Headwater's own version.");
        page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    }

    fn put_proposals(&self, page: &mut Page) {
        page.gauge(
            "etcd_server_proposals_committed_total",
            "The commit index: log entries committed since the cluster began.",
            self.node.commit.0,
        );
        page.gauge(
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
        page.counter(
            "etcd_server_slow_apply_total",
            "Turns that applied commands and took longer than a tenth of a second.",
            self.counter("slow_applies"),
        );
        page.counter(
            "etcd_server_heartbeat_send_failures_total",
            "Heartbeats of this member as a leader that were late by another interval.",
            self.counter("late_heartbeats"),
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
        let tallied = &self.company.tallied;
        for (name, help, count) in [
            ("etcd_mvcc_put_total", "Keys put.", tallied.puts),
            ("etcd_mvcc_delete_total", "Ranges deleted.", tallied.deletes),
            ("etcd_mvcc_range_total", "Ranges read.", tallied.ranges),
            (
                "etcd_mvcc_txn_total",
                "Requests of more than one operation.",
                tallied.txns,
            ),
            (
                "etcd_debugging_mvcc_range_total",
                "The same as etcd_mvcc_range_total.",
                tallied.ranges,
            ),
            (
                "etcd_debugging_lease_granted_total",
                "Leases granted.",
                tallied.leases_granted,
            ),
            (
                "etcd_debugging_lease_revoked_total",
                "Leases revoked, those that ended included.",
                tallied.leases_revoked,
            ),
        ] {
            page.counter(name, help, count);
        }
        page.gauge(
            "etcd_debugging_mvcc_total_put_size_in_bytes",
            "Bytes of all keys and values put.",
            tallied.put_bytes,
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

    fn put_disk(&self, page: &mut Page) {
        let name = "etcd_disk_wal_fsync_duration_seconds";
        page.family(name, Kind::Histogram, "Time to make the log durable.");
        page.histogram(name, &[], &sync_times(&self.node.counters));
        page.gauge(
            "etcd_disk_wal_write_bytes_total",
            "Bytes written to the log.",
            self.counter("log_bytes"),
        );
    }

    fn put_peers(&self, page: &mut Page) {
        let me = format!("{:x}", self.node.node.0);
        let peers = &self.node.peers;
        let peers: Vec<_> = peers
            .iter()
            .map(|(peer, counts)| (format!("{:x}", peer.0), counts))
            .collect();
        let mut put = |name, kind, help, label, count: fn(&PeerCounts) -> u64| {
            page.family(name, kind, help);
            for (peer, counts) in &peers {
                let labels = [("Local", me.as_str()), (label, peer.as_str())];
                let labels = if label == "Remote" {
                    &labels[..]
                } else {
                    &labels[1..]
                };
                page.sample(name, labels, count(counts));
            }
        };
        put(
            "etcd_network_peer_sent_bytes_total",
            Kind::Counter,
            "Bytes sent to another member.",
            "To",
            |peer| peer.sent_bytes,
        );
        put(
            "etcd_network_peer_received_bytes_total",
            Kind::Counter,
            "Bytes received from another member.",
            "From",
            |peer| peer.received_bytes,
        );
        put(
            "etcd_network_peer_sent_failures_total",
            Kind::Counter,
            "What another member was to be sent and was not, and attempts to connect that failed.",
            "To",
            |peer| peer.failures,
        );
        put(
            "etcd_network_active_peers",
            Kind::Gauge,
            "Whether there is a connection to another member.",
            "Remote",
            |peer| u64::from(peer.is_linked),
        );
        put(
            "etcd_network_disconnected_peers_total",
            Kind::Counter,
            "Connections to another member that went down.",
            "Remote",
            |peer| peer.downs,
        );
        let name = "etcd_network_peer_round_trip_time_seconds";
        let help = "Time from a question to another member's loop to its answer here.";
        page.family(name, Kind::Histogram, help);
        for (peer, times) in &self.company.round_trips {
            let peer = format!("{:x}", peer.0);
            page.histogram(name, &[("To", &peer)], &times.histogram());
        }
    }
}

fn put_process(page: &mut Page, usage: Usage) {
    if let Some(bytes) = usage.resident_bytes {
        page.gauge("process_resident_memory_bytes", "Memory in use.", bytes);
    }
    if let Some(count) = usage.open_files {
        page.gauge("process_open_fds", "Open files and sockets.", count);
        page.gauge("os_fd_used", "The same.", count);
    }
    if let Some(count) = usage.open_files_max {
        page.gauge("process_max_fds", "How many may be open.", count);
        page.gauge("os_fd_limit", "The same.", count);
    }
    if let Some(bytes) = usage.virtual_bytes {
        page.gauge("process_virtual_memory_bytes", "Addresses taken.", bytes);
    }
    if let Some(bytes) = usage.virtual_bytes_max {
        let help = "How many may be taken.";
        page.gauge("process_virtual_memory_max_bytes", help, bytes);
    }
    if let Some(seconds) = usage.started_seconds {
        let help = "When this process began, in seconds since 1970.";
        page.gauge("process_start_time_seconds", help, seconds);
    }
    if let Some(seconds) = usage.cpu_seconds {
        let help = "Processor time used, in seconds.";
        page.counter("process_cpu_seconds_total", help, seconds);
    }
}

/// The node's sync times: how many took no longer than each bound in seconds, and how many there
/// were.
fn sync_times(counters: &BTreeMap<&'static str, u64>) -> Histogram {
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
    let counter = |name| counters.get(name).copied().unwrap_or(0);
    let in_seconds = upto.into_iter().map(|(us, count)| (us as f64 / 1e6, count));
    Histogram {
        upto: in_seconds.collect(),
        count: counter("fsyncs").max(most),
        sum: counter("fsync_ns") as f64 / 1e9,
    }
}

#[cfg(test)]
mod tests {
    use headwater_runtime::NodeId;

    use super::*;

    #[test]
    fn sync_times_are_in_seconds_and_include_those_below() {
        let counters = BTreeMap::from([
            ("fsync_us_le_64", 3),
            ("fsync_us_le_1024", 5),
            ("fsync_us_le_128", 3),
            ("fsyncs", 6),
        ]);
        let times = sync_times(&counters);
        assert_eq!(times.count, 6);
        assert_eq!(times.upto, [(64e-6, 3), (128e-6, 3), (1024e-6, 5)]);
    }

    fn scrape() -> Scrape {
        let peer = PeerCounts {
            failures: 4,
            is_linked: true,
            ..PeerCounts::default()
        };
        Scrape {
            store: StoreStatus::default(),
            company: Counts::default(),
            node: Status {
                node: NodeId(0xa),
                peers: BTreeMap::from([(NodeId(0xb), peer)]),
                ..Status::default()
            },
            quota_bytes: 7,
            members: 3,
            is_learner: false,
        }
    }

    fn text(scrape: &Scrape) -> String {
        let mut page = Page::new(Format::Prometheus);
        scrape.put(&mut page);
        page.finish()
    }

    #[test]
    fn a_scrape_has_the_names_that_dashboards_look_for() {
        let text = text(&scrape());
        for line in [
            "etcd_server_has_leader 0",
            "# TYPE etcd_server_leader_changes_seen_total counter",
            "etcd_server_leader_changes_seen_total 0",
            "# TYPE etcd_server_proposals_committed_total gauge",
            "etcd_server_proposals_committed_total 0",
            "etcd_server_id{server_id=\"a\"} 1",
            "etcd_cluster_version{cluster_version=\"3.6\"} 1",
            "etcd_network_known_peers 2",
            "etcd_network_peer_sent_failures_total{To=\"b\"} 4",
            "etcd_network_active_peers{Local=\"a\",Remote=\"b\"} 1",
            "etcd_disk_wal_fsync_duration_seconds_count 0",
            "# TYPE headwater_log_bytes_total counter",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn all_that_the_node_counts_is_told_under_some_name() {
        let mut scrape = scrape();
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
        let text = text(&scrape);
        for (name, number) in expected {
            assert!(
                text.lines().any(|l| l.ends_with(&number)),
                "no {name} in\n{text}"
            );
        }
    }
}
