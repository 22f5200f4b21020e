//! Scripts whose answers a real etcd gave; the store must give the same.
//!
//! `ETCD=/path/to/etcd cargo test -p headwater-kv --test golden` asks that etcd (one process per
//! script, on 127.0.0.1) and says where it differs from the files; with `UPDATE_GOLDEN=1` as well,
//! its answers become the files. Those here are of etcd 3.4.23.
mod support;

use headwater_kv::Store;
use headwater_kv::check::{check, check_query};
use headwater_kv::request::Outcome;
use headwater_replica::machine::StateMachine;
use std::fs;
use std::path::{Path, PathBuf};
use support::etcd::{Etcd, Process};
use support::script::{Request, parse, print};
use support::watching::{AtEtcd, AtStore};
use support::{apply, status};

/// All scripts of a room.
fn check_room(room: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(room);
    let entries = fs::read_dir(&root).expect("the room has a folder");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", root.display());
    for path in paths {
        check_script(&path);
    }
}

fn check_script(path: &Path) {
    let text = fs::read_to_string(path).expect("a script is text");
    assert!(
        text.starts_with("# "),
        "{} must begin with its claim",
        path.display()
    );
    let (script, mut expected) = text.split_once("---\n").unwrap_or((&text, ""));
    let requests = parse(script);
    let recorded;
    if let Ok(program) = std::env::var("ETCD") {
        recorded = ask_etcd(&program, &requests);
        if std::env::var("UPDATE_GOLDEN").is_ok() {
            fs::write(path, format!("{}\n---\n{recorded}", script.trim_end()))
                .expect("the script can be written");
            expected = &recorded;
        }
        assert_eq!(recorded, expected, "etcd differs from {}", path.display());
    }
    assert_eq!(
        ask_store(&requests),
        expected,
        "the store differs from {}",
        path.display()
    );
}

fn ask_etcd(program: &str, requests: &[Request]) -> String {
    let process = Process::start(program);
    let mut etcd = Etcd::connect(&process.address);
    let mut watchers = AtEtcd::default();
    let answers = requests.iter().map(|request| match request {
        Request::Command(command) => print(&etcd.command(command)),
        Request::Query(query) => print(&etcd.query(query)),
        Request::Watch(name, request) => watchers.create(&process.address, *name, request),
        Request::Told(name) => watchers.told(*name),
    });
    answers.collect()
}

fn ask_store(requests: &[Request]) -> String {
    let mut store = Store::default();
    let mut watchers = AtStore::default();
    let refused = |store: &Store, error| Outcome {
        revision: status(store).revision,
        result: Err(error),
    };
    // A server checks before it proposes or reads, with etcd's default limit.
    let mut answer = |request: &Request| match request {
        Request::Command(command) => {
            let outcome = match check(command, 128) {
                Ok(()) => apply(&mut store, command),
                Err(error) => refused(&store, error),
            };
            watchers.advance(&store);
            print(&outcome)
        }
        Request::Query(query) => print(&match check_query(query, 128) {
            Ok(()) => store.query(query.clone()),
            Err(error) => refused(&store, error),
        }),
        Request::Watch(name, request) => watchers.create(&store, *name, request),
        Request::Told(name) => watchers.told(&store, *name),
    };
    requests.iter().map(&mut answer).collect()
}

#[test]
fn ranges_answer_as_etcd_does() {
    check_room("range");
}

#[test]
fn writes_answer_as_etcd_does() {
    check_room("apply");
}

#[test]
fn transactions_answer_as_etcd_does() {
    check_room("txn");
}

#[test]
fn requests_are_refused_as_etcd_refuses_them() {
    check_room("check");
}

#[test]
fn compaction_answers_as_etcd_does() {
    check_room("compaction");
}

#[test]
fn leases_answer_as_etcd_does() {
    check_room("lease");
}

#[test]
fn watchers_are_told_what_etcd_tells_them() {
    check_room("watch");
}
