//! What cannot be seen from outside yet: the log of changes, and memory that is given back.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use headwater_replica::LogId;
use headwater_replica::machine::StateMachine;

use super::Store;
use crate::request::{
    Command, CompactionRequest, DeleteRangeRequest, KvError, PutRequest, RequestOp, TxnRequest,
};

fn key(number: u64) -> Bytes {
    Bytes::from(format!("k{number}"))
}

fn put(number: u64) -> PutRequest {
    PutRequest {
        key: key(number),
        value: Bytes::from_static(b"v"),
        ..Default::default()
    }
}

fn delete(from: u64, to: u64) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key(from),
        range_end: key(to),
        prev_kv: false,
    }
}

fn txn(success: Vec<RequestOp>) -> Command {
    Command::Txn(TxnRequest {
        success,
        ..Default::default()
    })
}

/// Revisions with one change and with several, with deletions, with a key put and then deleted.
fn commands() -> Vec<Command> {
    let mut commands = Vec::new();
    for round in 0..4 {
        commands.push(Command::Put(put(1)));
        commands.push(txn(vec![RequestOp::Put(put(2)), RequestOp::Put(put(3))]));
        commands.push(Command::DeleteRange(delete(1, 3)));
        let nested = |op| {
            RequestOp::Txn(
                TxnRequest {
                    success: vec![op],
                    ..Default::default()
                }
                .into(),
            )
        };
        commands.push(txn(vec![
            nested(RequestOp::Put(put(4 + round))),
            nested(RequestOp::DeleteRange(delete(3, 9))),
        ]));
        commands.push(Command::Put(put(1)));
    }
    commands
}

fn compact(revision: i64, physical: bool) -> Command {
    Command::Compact(CompactionRequest { revision, physical })
}

fn run(commands: &[Command]) -> Store {
    let mut store = Store::default();
    for command in commands {
        let outcome = store.apply(LogId::default(), &command.encode());
        assert!(outcome.result.is_ok(), "{command:?}: {outcome:?}");
        while matches!(command, Command::Compact(request) if request.physical) && store.tidy() {}
    }
    store
}

fn reload(store: &mut Store) -> Store {
    let mut loaded = Store::default();
    let mut walk = store.begin_snapshot();
    while let Some(chunk) = store.next_chunk(&mut walk, 40) {
        loaded.load_chunk(chunk).expect("a chunk just written");
    }
    loaded.finish_load().expect("a snapshot just written");
    loaded
}

/// All changes from a revision on, as text.
fn changes(store: &Store, revision: i64) -> Vec<String> {
    let changes = store.mvcc.changes_since(revision, 0);
    changes
        .map(|record| format!("{:?}", record.parts()))
        .collect()
}

#[test]
fn a_loaded_store_knows_every_change_since_the_compacted_revision() {
    let commands = commands();
    let untouched = run(&commands);
    let last = untouched.mvcc.revision();
    for revision in 0..=last {
        let compacted = [&commands[..], &[compact(revision, revision % 2 == 0)]].concat();
        let mut store = run(&compacted);
        let expected = changes(&untouched, revision);
        assert_eq!(
            changes(&store, revision),
            expected,
            "compacted to {revision}"
        );
        let mut loaded = reload(&mut store);
        assert_eq!(
            changes(&loaded, revision),
            expected,
            "loaded, compacted to {revision}"
        );
        assert_eq!(loaded.mvcc.status(), store.mvcc.status());
        let again = reload(&mut loaded);
        assert_eq!(changes(&again, revision), expected, "loaded twice");
    }
}

#[test]
fn a_compaction_gives_memory_back_once_no_walk_needs_it() {
    let versions = |store: &Store| -> usize {
        let never_compacted = -1;
        store
            .mvcc
            .kept_after(None, i64::MAX, never_compacted)
            .count()
    };
    let mut store = run(&(0..100).map(|_| Command::Put(put(1))).collect::<Vec<_>>());
    let mut walk = store.begin_snapshot();
    store.next_chunk(&mut walk, 1);
    store.apply(LogId::default(), &compact(101, true).encode());
    assert!(!store.tidy());
    assert_eq!(versions(&store), 100, "held for the walk");
    drop(walk);
    assert!(!store.tidy());
    assert_eq!(versions(&store), 1, "freed once the walk was dropped");
}

#[test]
fn a_compaction_of_much_is_tidied_up_bit_by_bit() {
    let versions = |store: &Store| store.mvcc.changes_since(0, 0).count();
    let mut store = run(&(0..10_000)
        .map(|_| Command::Put(put(1)))
        .collect::<Vec<_>>());
    let compacted = store.apply(LogId::default(), &compact(10_001, true).encode());
    assert!(compacted.result.is_ok());
    let mut left = versions(&store);
    assert_eq!(left, 10_000, "nobody waits for memory");
    loop {
        let has_more = store.tidy();
        let now = versions(&store);
        assert!(left - now <= 3_000, "{} at once", left - now);
        left = now;
        if !has_more {
            break;
        }
    }
    assert_eq!(left, 1);
}

#[test]
fn a_refusal_halfway_leaves_nothing_behind() {
    let mut store = run(&commands());
    let (status, before) = (store.mvcc.status(), changes(&store, 0));
    // The key is there before, so only carrying it out shows that it cannot be done.
    let from_first = DeleteRangeRequest {
        key: key(1),
        range_end: Bytes::from_static(b"\0"),
        prev_kv: false,
    };
    let kept = PutRequest {
        ignore_value: true,
        value: Bytes::new(),
        ..put(1)
    };
    let refused = txn(vec![
        RequestOp::Put(put(7)),
        RequestOp::DeleteRange(from_first),
        RequestOp::Put(put(9)),
        RequestOp::Put(kept),
    ]);
    let outcome = store.apply(LogId::default(), &refused.encode());
    assert_eq!(outcome.result, Err(KvError::KeyNotFound));
    assert_eq!(outcome.revision, status.revision);
    assert_eq!(store.mvcc.status(), status);
    assert_eq!(changes(&store, 0), before);
    assert!(store.mvcc.current(&key(1)).is_some() && store.mvcc.current(&key(7)).is_none());
    let next = store.apply(LogId::default(), &Command::Put(put(7)).encode());
    assert_eq!(next.revision, status.revision + 1);
}
