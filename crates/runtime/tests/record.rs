//! The record that a node keeps of its run: whole, bounded, and never in the node's way.

mod common;

use std::fs;
use std::path::PathBuf;

use common::Cluster;
use headwater_runtime::{FlightRecorder, Handle, NodeConfig, StartError};

/// Enough for an election and some commands.
const BYTES_MAX: u64 = 40_000;

fn record(cluster: &Cluster) -> PathBuf {
    cluster.data_dir(1).with_extension("jsonl")
}

fn with_record(config: &mut NodeConfig) {
    config.flight_recorder = Some(FlightRecorder {
        file: config.data_dir.with_extension("jsonl"),
        bytes_max: 1 << 20,
    });
}

fn with_short_record(config: &mut NodeConfig) {
    with_record(config);
    let recorder = config.flight_recorder.as_mut();
    recorder.expect("just given").bytes_max = BYTES_MAX;
}

fn on_a_full_disk(config: &mut NodeConfig) {
    config.flight_recorder = Some(FlightRecorder {
        file: "/dev/full".into(),
        bytes_max: BYTES_MAX,
    });
}

async fn propose(cluster: &Cluster, command: &'static str) {
    let applied = cluster.node(1).propose(command.into()).await;
    applied.expect("applied");
}

#[tokio::test]
async fn what_is_answered_is_recorded_and_each_life_continues_the_record() {
    let mut cluster = Cluster::started(1, with_record).await;
    propose(&cluster, "one").await;
    let text = fs::read_to_string(record(&cluster)).expect("a record");
    assert!(text.ends_with("}\n"), "a line is not whole: {text}");
    assert_eq!(text.matches("\"type\":\"propose\"").count(), 2, "{text}");
    cluster.stop(1).await;

    // A process that is killed may leave the beginning of a line.
    fs::write(record(&cluster), text + "{\"t\":12").expect("written");
    cluster.start(1).await;
    propose(&cluster, "two").await;
    let text = fs::read_to_string(record(&cluster)).expect("a record");
    assert!(text.contains("{\"t\":12\n{\"t\":"), "{text}");
    assert_eq!(text.matches("\"kind\":\"start\"").count(), 2, "{text}");
}

#[tokio::test]
async fn a_record_ends_at_its_bound_says_so_and_stays_as_it_is() {
    let mut cluster = Cluster::started(1, with_short_record).await;
    for _ in 0..200 {
        propose(&cluster, "more").await;
    }
    let text = fs::read_to_string(record(&cluster)).expect("a record");
    assert!(text.len() as u64 <= BYTES_MAX, "{} bytes", text.len());
    let last = text.lines().last().expect("lines");
    assert!(last.contains("\"kind\":\"stopped\""), "{last}");
    cluster.stop(1).await;
    cluster.start(1).await;
    propose(&cluster, "again").await;
    let after = fs::read_to_string(record(&cluster)).expect("a record");
    assert_eq!(after, text);
}

#[tokio::test]
async fn a_node_goes_on_when_its_record_cannot() {
    let cluster = Cluster::started(1, on_a_full_disk).await;
    propose(&cluster, "one").await;
    propose(&cluster, "two").await;
}

#[tokio::test]
async fn a_record_that_cannot_be_is_named_and_stands_in_nobodys_way() {
    let mut cluster = Cluster::new(1, |_| {});
    let mut config = cluster.config(1);
    let at = |file| {
        let bytes_max = BYTES_MAX;
        Some(FlightRecorder { file, bytes_max })
    };
    let nowhere = cluster.directory.path().join("no/record");
    config.flight_recorder = at(nowhere.clone());
    let Err(error) = Handle::<common::Journal>::start(config.clone()).await else {
        panic!("it started");
    };
    assert!(
        matches!(&error, StartError::Record(file, _) if *file == nowhere),
        "{error:?}"
    );
    config.flight_recorder = at(config.data_dir.join("record"));
    let Err(error) = Handle::<common::Journal>::start(config).await else {
        panic!("it started");
    };
    assert!(matches!(error, StartError::Config(_)), "{error:?}");
    cluster.start(1).await;
    propose(&cluster, "one").await;
}
