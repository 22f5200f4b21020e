//! Metrics as text, in Prometheus's own format or, for who asks for it, in OpenMetrics.
//! Never knows what a number means.
//!
//! # Source
//! Prometheus's text format 0.0.4; OpenMetrics 1.0.

use std::fmt::{Display, Write as _};

use headwater_runtime::counters::TimeCounts;

/// How the numbers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// As etcd writes them, whoever asks.
    Prometheus,
    /// The standard that came of it: the family of a counter lacks the `_total` of its samples,
    /// and the text says where it ends.
    OpenMetrics,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// What the header `Accept` of a request asks for.
    pub fn asked_for(accept: &str) -> Self {
        let mut types = accept.split([',', ';']).map(str::trim);
        if types.any(|word| word.eq_ignore_ascii_case(OPEN_METRICS)) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The header `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What may happen to a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It only grows, until the process starts anew; its name ends in `_total`, but for a few of etcd's.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// Counts by size.
#[derive(Clone, Default, Debug)]
pub struct Histogram {
    /// Bounds, and how many lie at or below each.
    pub upto: Vec<(f64, u64)>,
    /// How many there are.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Histogram {
    /// Of times that the runtime's counters have.
    pub fn of(times: &TimeCounts) -> Self {
        let upto = times.upto_us.iter();
        Self {
            upto: upto.map(|&(us, count)| (us as f64 / 1e6, count)).collect(),
            count: times.count,
            sum: times.sum_ns as f64 / 1e9,
        }
    }

    /// Of counts that lie between a bound and the one before it, the last of them above all bounds,
    /// and a sum in nanoseconds.
    pub fn of_ns(bounds: &[f64], counts: &[u64], sum_ns: u64) -> Self {
        let mut count = 0;
        let mut below = counts.iter().map(|more| {
            count += more;
            count
        });
        let upto = bounds.iter().copied().zip(&mut below).collect();
        below.for_each(drop);
        Self {
            upto,
            count,
            sum: sum_ns as f64 / 1e9,
        }
    }
}

/// A text that is being written.
#[derive(Debug)]
pub struct Page {
    format: Format,
    text: String,
}

impl Page {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
        }
    }

    /// Begins a family: what its samples, which come next, are about.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let has_total = name.ends_with("_total");
        let name = match self.format {
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
            Format::Prometheus => name,
        };
        let kind = match kind {
            // Its samples keep the name that dashboards know, which is none of a counter there.
            Kind::Counter if !has_total && self.format == Format::OpenMetrics => "unknown",
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.text.push_str(&text);
    }

    /// One number of the family. Labels come in the order of their names, as etcd has them, and
    /// hold nothing that would have to be escaped.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (place, (label, of)) in labels.iter().enumerate() {
            let open = if place == 0 { '{' } else { ',' };
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{open}{label}=\"{of}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    /// A family of one counter.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help);
        self.sample(name, &[], value);
    }

    /// A family of one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help);
        self.sample(name, &[], value);
    }

    /// One histogram of the family: for each bound how many lie at or below it, how many there are,
    /// and their sum.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], of: &Histogram) {
        let bucket = format!("{name}_bucket");
        for (bound, below) in &of.upto {
            let bound = bound.to_string();
            self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), below);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), of.count);
        self.sample(&format!("{name}_sum"), labels, of.sum);
        self.sample(&format!("{name}_count"), labels, of.count);
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut page = Page::new(format);
        page.counter("a_total", "All.", 7);
        page.counter("d", "Some.", 5);
        page.family("b", Kind::Gauge, "Both.");
        page.sample("b", &[("x", "1"), ("y", "2")], -3);
        page.family("c", Kind::Histogram, "Sizes.");
        page.histogram("c", &[], &Histogram::of_ns(&[0.5], &[1, 1], 2_250_000_000));
        page.histogram("c", &[("x", "1")], &Histogram::of_ns(&[1.0], &[0, 0], 0));
        page.finish()
    }

    #[test]
    fn prometheus_is_told_names_as_etcd_writes_them() {
        assert_eq!(
            written(Format::Prometheus),
            "# HELP a_total All.\n# TYPE a_total counter\na_total 7\n\
             # HELP d Some.\n# TYPE d counter\nd 5\n\
             # HELP b Both.\n# TYPE b gauge\nb{x=\"1\",y=\"2\"} -3\n\
             # HELP c Sizes.\n# TYPE c histogram\nc_bucket{le=\"0.5\"} 1\n\
             c_bucket{le=\"+Inf\"} 2\nc_sum 2.25\nc_count 2\n\
             c_bucket{x=\"1\",le=\"1\"} 0\nc_bucket{x=\"1\",le=\"+Inf\"} 0\n\
             c_sum{x=\"1\"} 0\nc_count{x=\"1\"} 0\n"
        );
    }

    #[test]
    fn openmetrics_has_families_without_total_and_an_end() {
        let text = written(Format::OpenMetrics);
        assert!(
            text.starts_with("# HELP a All.\n# TYPE a counter\na_total 7\n"),
            "{text}"
        );
        assert!(text.contains("# TYPE d unknown\nd 5\n"), "{text}");
        assert!(text.ends_with("c_count{x=\"1\"} 0\n# EOF\n"), "{text}");
    }

    #[test]
    fn openmetrics_comes_only_when_asked_for() {
        let of_prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,\
                             text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        assert_eq!(Format::asked_for(of_prometheus), Format::OpenMetrics);
        for accept in ["", "*/*", "text/plain;version=0.0.4", "text/html, */*"] {
            assert_eq!(Format::asked_for(accept), Format::Prometheus, "{accept}");
        }
    }
}
