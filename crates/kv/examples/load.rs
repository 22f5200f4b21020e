//! How fast the store takes a million keys, and how much memory they need.
//! Needs Linux: seconds and rates are of the processor, read from `/proc`; milliseconds are of the
//! clock, since the former comes in steps of some.
//!
//! `cargo run --release -p headwater-kv --example load`
use bytes::{Bytes, BytesMut};
use headwater_kv::Store;
use headwater_kv::request::{
    Command, CompactionRequest, PutRequest, Query, RangeRequest, Response,
};
use headwater_replica::LogId;
use headwater_replica::machine::StateMachine;
use std::time::Instant;

const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 256;

/// How many commands come out of one buffer, as they do out of the log.
const BATCH: u64 = 1_000;

fn main() {
    let before = resident_bytes();
    println!("resident at start      {:>8.1} MB", megabytes(before));
    let mut store = Store::default();
    load(&mut store, "put, keys in order    ", |number| number);
    report(&store);
    scan(&store);
    snapshot(&mut store);
    load(&mut store, "put again, any order  ", scatter);
    report(&store);
    compact(&mut store);
    load(&mut store, "put while it is freed ", scatter);
    report(&store);
    drop(store);
    let mut store = Store::default();
    load(&mut store, "put, keys in any order", scatter);
    report(&store);
}

/// Applies a million puts; only the time within `apply` counts.
fn load(store: &mut Store, what: &str, order: impl Fn(u64) -> u64) {
    let mut seconds = 0.0;
    for batch in 0..KEYS / BATCH {
        let commands = encode((batch * BATCH..(batch + 1) * BATCH).map(&order));
        let start = busy_seconds();
        for command in &commands {
            let outcome = store.apply(LogId::default(), command);
            assert!(outcome.result.is_ok(), "a put cannot be refused");
        }
        seconds += busy_seconds() - start;
    }
    println!("{what} {:>8.0} puts/s", KEYS as f64 / seconds);
}

/// Puts as slices of one buffer.
fn encode(numbers: impl Iterator<Item = u64>) -> Vec<Bytes> {
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let mut buffer = BytesMut::new();
    let mut ends = Vec::new();
    for number in numbers {
        let key = Bytes::from(format!("key-{number:012}"));
        let put = PutRequest {
            key,
            value: value.clone(),
            ..Default::default()
        };
        buffer.extend_from_slice(&Command::Put(put).encode());
        ends.push(buffer.len());
    }
    let mut buffer = buffer.freeze();
    let mut start = 0;
    let mut split = |end| {
        let command = buffer.split_to(end - start);
        start = end;
        command
    };
    ends.into_iter().map(&mut split).collect()
}

/// A permutation of the numbers below a million.
fn scatter(number: u64) -> u64 {
    number * 379_009 % KEYS
}

fn scan(store: &Store) {
    let all = RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..Default::default()
    };
    for (what, limit, count_only) in [
        ("range of all", 0, false),
        ("first 500 of all", 500, false),
        ("count of all", 0, true),
    ] {
        let start = Instant::now();
        let outcome = store.query(Query::Range(RangeRequest {
            limit,
            count_only,
            ..all.clone()
        }));
        let seconds = start.elapsed().as_secs_f64();
        let Ok(Response::Range(response)) = outcome.result else {
            panic!("a range of all cannot be refused");
        };
        assert_eq!(response.count, KEYS as i64);
        println!(
            "{what:<22} {:>8.2} ms, {} keys",
            seconds * 1e3,
            response.kvs.len()
        );
    }
}

fn snapshot(store: &mut Store) {
    let start = busy_seconds();
    let mut walk = store.begin_snapshot();
    let (mut bytes, mut slowest) = (0, 0.0_f64);
    let mut loaded = Store::default();
    let mut loading = 0.0;
    loop {
        let begun = Instant::now();
        let Some(chunk) = store.next_chunk(&mut walk, 256 << 10) else {
            break;
        };
        slowest = slowest.max(begun.elapsed().as_secs_f64());
        bytes += chunk.len();
        let start = busy_seconds();
        loaded.load_chunk(chunk).expect("a chunk just written");
        loading += busy_seconds() - start;
    }
    let walking = (busy_seconds() - start) - loading;
    let start = busy_seconds();
    loaded.finish_load().expect("a snapshot just written");
    loading += busy_seconds() - start;
    println!(
        "snapshot               {:>8.1} MB, walk {:.2} s (slowest 256 KiB {:.2} ms), load {:.2} s",
        megabytes(bytes as u64),
        walking,
        slowest * 1e3,
        loading
    );
}

fn compact(store: &mut Store) {
    let Ok(Response::Status(status)) = store.query(Query::Status).result else {
        panic!("a status is always given");
    };
    let request = CompactionRequest {
        revision: status.revision,
        physical: false,
    };
    let start = Instant::now();
    store.apply(LogId::default(), &Command::Compact(request).encode());
    println!(
        "compaction             {:>8.2} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    report(store);
}

fn report(store: &Store) {
    let Ok(Response::Status(status)) = store.query(Query::Status).result else {
        panic!("a status is always given");
    };
    println!(
        "  resident {:.1} MB; size {:.1} MB, in use {:.1} MB, {} keys",
        megabytes(resident_bytes()),
        megabytes(status.size_bytes),
        megabytes(status.size_in_use_bytes),
        status.keys
    );
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// How long this process has had a processor: others may share the machine.
fn busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = text
        .split_whitespace()
        .next()
        .and_then(|first| first.parse::<u64>().ok());
    nanoseconds.unwrap_or(0) as f64 / 1e9
}

/// Of this process, as Linux counts it.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
