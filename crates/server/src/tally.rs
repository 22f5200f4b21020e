//! What this server counts of itself beside calls: probes of its health, reads that a leader has to confirm,
//! hashes, and how often it told all this.
//! Never read by any decision.
//!
//! # Source
//! etcd's metrics; those of Prometheus's own handler for Go.

use std::time::Duration;

use headwater_runtime::counters::{Counter, Times};
use http::StatusCode;

use crate::metrics_text::{Histogram, Kind, Page};

/// From here on the confirmation of a read is slow: after this time an etcd asks its leader again.
const SLOW_READ: Duration = Duration::from_millis(500);

/// What is counted.
#[derive(Default, Debug)]
pub struct Tally {
    healthy: Counter,
    unhealthy: Counter,
    reads_failed: Counter,
    reads_slow: Counter,
    /// Hashes of the whole store, and of its versions up to a revision.
    hashes: Times,
    hashes_of_revision: Times,
    told: Counter,
    untold: Counter,
}

impl Tally {
    /// Counts an answer of the page of health.
    pub fn on_health(&self, is_well: bool) {
        let count = if is_well {
            &self.healthy
        } else {
            &self.unhealthy
        };
        count.add(1);
    }

    /// Counts a read that a leader had to confirm.
    pub fn on_read(&self, took: Duration, is_answered: bool) {
        if !is_answered {
            self.reads_failed.add(1);
        }
        if took > SLOW_READ {
            self.reads_slow.add(1);
        }
    }

    /// Counts a hash, of the whole store or of its versions up to a revision.
    pub fn on_hash(&self, took: Duration, is_whole: bool) {
        let times = if is_whole {
            &self.hashes
        } else {
            &self.hashes_of_revision
        };
        times.add(took);
    }

    /// Counts an answer of the page of metrics.
    pub fn on_scrape(&self, is_told: bool) {
        let count = if is_told { &self.told } else { &self.untold };
        count.add(1);
    }

    /// Writes all that is counted.
    pub fn put(&self, page: &mut Page) {
        for (name, help, count) in [
            (
                "etcd_server_health_success",
                "Answers of /health that all is well.",
                &self.healthy,
            ),
            (
                "etcd_server_health_failures",
                "Answers of /health that it is not.",
                &self.unhealthy,
            ),
            (
                "etcd_server_read_indexes_failed_total",
                "Linearizable reads that no leader confirmed.",
                &self.reads_failed,
            ),
            (
                "etcd_server_slow_read_indexes_total",
                "Linearizable reads that took longer than half a second.",
                &self.reads_slow,
            ),
        ] {
            page.counter(name, help, count.value());
        }
        for (name, help, times) in [
            (
                "etcd_mvcc_hash_duration_seconds",
                "Time to hash the store, between other requests.",
                &self.hashes,
            ),
            (
                "etcd_mvcc_hash_rev_duration_seconds",
                "Time to hash the versions up to a revision, between other requests.",
                &self.hashes_of_revision,
            ),
        ] {
            page.family(name, Kind::Histogram, help);
            page.histogram(name, &[], &Histogram::of(&times.now()));
        }
        let name = "promhttp_metric_handler_requests_total";
        page.family(name, Kind::Counter, "Scrapes of this page, by status.");
        for (status, count) in [
            (StatusCode::OK, &self.told),
            (StatusCode::INTERNAL_SERVER_ERROR, &Counter::default()),
            (StatusCode::SERVICE_UNAVAILABLE, &self.untold),
        ] {
            page.sample(name, &[("code", status.as_str())], count.value());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics_text::Format;

    #[test]
    fn each_is_counted_under_its_name() {
        let tally = Tally::default();
        tally.on_health(true);
        tally.on_health(false);
        tally.on_health(false);
        tally.on_read(SLOW_READ, true);
        tally.on_read(SLOW_READ * 2, false);
        tally.on_hash(Duration::from_millis(3), true);
        tally.on_scrape(true);
        let mut page = Page::new(Format::Prometheus);
        tally.put(&mut page);
        let text = page.finish();
        for line in [
            "etcd_server_health_success 1",
            "etcd_server_health_failures 2",
            "etcd_server_read_indexes_failed_total 1",
            "etcd_server_slow_read_indexes_total 1",
            "etcd_mvcc_hash_duration_seconds_count 1",
            "etcd_mvcc_hash_duration_seconds_sum 0.003",
            "etcd_mvcc_hash_rev_duration_seconds_count 0",
            "promhttp_metric_handler_requests_total{code=\"200\"} 1",
            "promhttp_metric_handler_requests_total{code=\"503\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }
}
