//! All numbers for dashboards on one page, under the names that etcd's dashboards and alerts look for.
//! Never kept twice: what the node and the store know is read when asked for, what the system knows once a
//! second at most.
//!
//! # Source
//! etcd's metrics; the OpenMetrics text format.

use headwater_kv::request::StoreStatus;
use headwater_runtime::Status;
use headwater_runtime::counters::NUMBERS;
use headwater_runtime::peer_counters::PeerCounts;

use crate::backend::Backend;
use crate::cli::ETCD_VERSION;
use crate::company::Counts;
use crate::http_pages::CLUSTER_VERSION;
use crate::metrics::Metrics;
use crate::metrics_text::{Format, Histogram, Kind, Page};
use crate::process::Usage;

/// What of the runtime's numbers etcd has a name for, and is told under that alone.
const UNDER_ETCDS_NAMES: [&str; 2] = ["slow_applies", "late_heartbeats"];

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
    usage.put(&mut page);
    backend.tally().put(&mut page);
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
        self.put_snapshots(page);
        let proposals = ("proposals", "Clients' proposals accepted by this node.");
        let own = NUMBERS.iter().chain([&proposals]);
        for (name, help) in own.filter(|(name, _)| !UNDER_ETCDS_NAMES.contains(name)) {
            let full = format!("headwater_{name}_total");
            page.counter(&full, help.trim_start(), self.counter(name));
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
        page.gauge(
            "etcd_debugging_auth_revision",
            "How often users and roles have changed.",
            self.company.auth_revision,
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
        for (name, help, times) in [
            (
                "etcd_disk_wal_fsync_duration_seconds",
                "Time to make the log durable.",
                "syncs",
            ),
            (
                "etcd_snap_fsync_duration_seconds",
                "Time to make what was written to a snapshot file durable.",
                "snapshot_syncs",
            ),
            (
                "etcd_debugging_snap_save_total_duration_seconds",
                "Time from the beginning of an own snapshot until it is durable, at its pace.",
                "snapshots_taken",
            ),
            (
                "etcd_snap_db_save_total_duration_seconds",
                "Time from a leader's snapshot's first piece until it is durable and loaded.",
                "snapshots_received",
            ),
        ] {
            page.family(name, Kind::Histogram, help);
            let times = self.node.times.get(times).cloned().unwrap_or_default();
            page.histogram(name, &[], &Histogram::of(&times));
        }
        page.gauge(
            "etcd_disk_wal_write_bytes_total",
            "Bytes written to the log, in whole sectors.",
            self.counter("log_bytes"),
        );
    }

    /// A family with a sample for each peer.
    fn put_each_peer(
        &self,
        page: &mut Page,
        (name, kind, help): (&str, Kind, &str),
        label: &str,
        count: fn(&PeerCounts) -> u64,
    ) {
        page.family(name, kind, help);
        let me = format!("{:x}", self.node.node.0);
        for (peer, counts) in &self.node.peers {
            let peer = format!("{:x}", peer.0);
            let labels = [("Local", me.as_str()), (label, peer.as_str())];
            let labels = if label == "Remote" {
                &labels[..]
            } else {
                &labels[1..]
            };
            page.sample(name, labels, count(counts));
        }
    }

    fn put_peers(&self, page: &mut Page) {
        let mut put = |name, kind, help, label, count| {
            self.put_each_peer(page, (name, kind, help), label, count);
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

    fn put_snapshots(&self, page: &mut Page) {
        let mut put = |name, help, label, count| {
            self.put_each_peer(page, (name, Kind::Counter, help), label, count);
        };
        put(
            "etcd_network_snapshot_send_success",
            "Snapshots that went to another member whole, and that it says it holds.",
            "To",
            |peer| peer.snapshots_sent,
        );
        put(
            "etcd_network_snapshot_receive_success",
            "Snapshots of another member that were loaded.",
            "From",
            |peer| peer.snapshots_received,
        );
        put(
            "etcd_network_snapshot_receive_failures",
            "Snapshots of another member that were not what they should be.",
            "From",
            |peer| peer.snapshots_refused,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headwater_runtime::NodeId;
    use headwater_runtime::counters::TimeCounts;

    use super::*;

    fn scrape() -> Scrape {
        let peer = PeerCounts {
            failures: 4,
            is_linked: true,
            snapshots_sent: 5,
            snapshots_received: 6,
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
            "etcd_network_snapshot_send_success{To=\"b\"} 5",
            "etcd_network_snapshot_receive_success{From=\"b\"} 6",
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
            let number = 1_000_001 + place as u64;
            scrape.node.counters.insert(name, number);
            expected.push((name, format!(" {number}")));
        }
        let times = headwater_runtime::counters::Counters::default().times();
        for (place, name) in times.into_keys().enumerate() {
            let count = 2_000_001 + place as u64;
            let times = TimeCounts {
                count,
                ..TimeCounts::default()
            };
            scrape.node.times.insert(name, times);
            expected.push((name, format!("_count {count}")));
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
