//! Calls, counted by method: how many began, how they ended, how long they took, and what they
//! carried.
//! Never kept by name: a call looks its method up once.
//!
//! # Source
//! go-grpc-prometheus, whose names etcd's dashboards and alerts read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::grpc;
use crate::metrics_text::{Histogram, Kind, Page};
use crate::service::{BIDI, SERVICES, UNARY};

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

/// Upper bounds of the buckets of the time that calls take, in seconds: those of Prometheus's clients.
const TIME_BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Messages of one direction.
#[derive(Debug, Default)]
struct Carried {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// Calls of one method, counted.
#[derive(Debug)]
struct Calls {
    service: &'static str,
    method: &'static str,
    kind: &'static str,
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
    /// By the time that they took, each in the bucket of the first bound that is not below it.
    took: [AtomicU64; TIME_BOUNDS.len() + 1],
    took_ns: AtomicU64,
    received: Carried,
    sent: Carried,
}

/// A call that has begun: which method it is of, found once, and when.
#[derive(Clone, Copy, Debug)]
pub struct MethodId {
    place: usize,
    began: Instant,
}

/// What is counted here and nowhere else: calls.
#[derive(Debug)]
pub struct Metrics {
    calls: Vec<Calls>,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// From the client.
    In,
    /// To the client.
    Out,
}

impl Metrics {
    /// All methods of the API, none called yet.
    pub fn new() -> Self {
        let zeros = |_| AtomicU64::new(0);
        let of_service = |service: &'static crate::service::Service| {
            service.methods.iter().map(move |&(method, kind)| Calls {
                service: service.name,
                method,
                kind,
                started: AtomicU64::new(0),
                handled: std::array::from_fn(zeros),
                took: std::array::from_fn(zeros),
                took_ns: AtomicU64::new(0),
                received: Carried::default(),
                sent: Carried::default(),
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
        add(&self.calls[place].started, 1);
        Some(MethodId {
            place,
            began: Instant::now(),
        })
    }

    /// Whether a call of a method goes on after the head of its answer.
    pub fn is_stream(&self, method: MethodId) -> bool {
        self.calls[method.place].kind != UNARY
    }

    /// Whether a call of a method may have more than one message to hear.
    pub fn hears_many(&self, method: MethodId) -> bool {
        self.calls[method.place].kind == BIDI
    }

    /// Counts messages that a call has carried, and their bytes.
    pub fn on_messages(&self, method: MethodId, way: Way, messages: u64, bytes: u64) {
        let calls = &self.calls[method.place];
        let carried = match way {
            Way::In => &calls.received,
            Way::Out => &calls.sent,
        };
        add(&carried.messages, messages);
        add(&carried.bytes, bytes);
    }

    /// Counts a call that ends now, with gRPC's status `code`.
    pub fn on_end(&self, method: MethodId, code: usize) {
        let unknown = 2;
        let code = if code < CODES.len() { code } else { unknown };
        let calls = &self.calls[method.place];
        add(&calls.handled[code], 1);
        let took: Duration = method.began.elapsed();
        let seconds = took.as_secs_f64();
        add(
            &calls.took[TIME_BOUNDS.partition_point(|&bound| bound < seconds)],
            1,
        );
        add(
            &calls.took_ns,
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        );
    }

    /// Writes all that is counted. Methods that were never called are there too, as in etcd: a rate
    /// needs a first zero.
    pub fn put(&self, page: &mut Page) {
        self.put_each(page, "grpc_server_started_total", "Calls begun.", |calls| {
            &calls.started
        });
        let name = "grpc_server_handled_total";
        page.family(name, Kind::Counter, "Calls ended, by status code.");
        for calls in &self.calls {
            for (code, count) in CODES.iter().zip(&calls.handled) {
                let [method, service, kind] = calls.labels();
                page.sample(
                    name,
                    &[("grpc_code", code), method, service, kind],
                    of(count),
                );
            }
        }
        let name = "grpc_server_handling_seconds";
        page.family(
            name,
            Kind::Histogram,
            "Time from a call's beginning to its end.",
        );
        for calls in &self.calls {
            let counts: Vec<u64> = calls.took.iter().map(of).collect();
            let times = Histogram::of_ns(&TIME_BOUNDS, &counts, of(&calls.took_ns));
            page.histogram(name, &calls.labels(), &times);
        }
        let name = "grpc_server_msg_received_total";
        self.put_each(page, name, "Messages from clients.", |calls| {
            &calls.received.messages
        });
        let name = "grpc_server_msg_sent_total";
        self.put_each(page, name, "Messages to clients.", |calls| {
            &calls.sent.messages
        });
        let sum =
            |count: fn(&Calls) -> &AtomicU64| self.calls.iter().map(count).map(of).sum::<u64>();
        page.counter(
            "etcd_network_client_grpc_received_bytes_total",
            "Bytes of the messages from clients.",
            sum(|calls| &calls.received.bytes),
        );
        page.counter(
            "etcd_network_client_grpc_sent_bytes_total",
            "Bytes of the messages to clients.",
            sum(|calls| &calls.sent.bytes),
        );
    }

    fn put_each(&self, page: &mut Page, name: &str, help: &str, count: fn(&Calls) -> &AtomicU64) {
        page.family(name, Kind::Counter, help);
        for calls in &self.calls {
            page.sample(name, &calls.labels(), of(count(calls)));
        }
    }
}

impl Calls {
    fn labels(&self) -> [(&'static str, &'static str); 3] {
        [
            ("grpc_method", self.method),
            ("grpc_service", self.service),
            ("grpc_type", self.kind),
        ]
    }
}

fn add(count: &AtomicU64, n: u64) {
    // Each counts for itself: no other memory is published through it.
    count.fetch_add(n, Ordering::Relaxed);
}

fn of(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// The code that a response's head or its trailers carry. A head without one is a success so far: the
/// calls that are no streams fail before they send.
pub fn status_code(headers: &HeaderMap) -> usize {
    let number = |value: &http::HeaderValue| value.to_str().ok()?.parse().ok();
    headers.get(grpc::STATUS).and_then(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics_text::Format;

    #[test]
    fn calls_are_told_by_method() {
        let metrics = Metrics::new();
        let put = metrics.on_start("etcdserverpb.KV", "Put").unwrap();
        metrics.on_messages(put, Way::In, 1, 30);
        metrics.on_end(put, 14);
        assert!(metrics.on_start("etcdserverpb.KV", "Nope").is_none());
        let mut page = Page::new(Format::Prometheus);
        metrics.put(&mut page);
        let text = page.finish();
        let of_put = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
        for line in [
            format!("grpc_server_started_total{{{of_put}}} 1"),
            format!("grpc_server_handled_total{{grpc_code=\"Unavailable\",{of_put}}} 1"),
            format!("grpc_server_handling_seconds_bucket{{{of_put},le=\"10\"}} 1"),
            format!("grpc_server_handling_seconds_bucket{{{of_put},le=\"+Inf\"}} 1"),
            format!("grpc_server_handling_seconds_count{{{of_put}}} 1"),
            format!("grpc_server_msg_received_total{{{of_put}}} 1"),
            format!("grpc_server_msg_sent_total{{{of_put}}} 0"),
            "etcd_network_client_grpc_received_bytes_total 30".to_owned(),
            "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Watch\",\
             grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 0"
                .to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }
}
