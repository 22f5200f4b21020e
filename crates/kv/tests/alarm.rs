//! What is refused while an alarm is raised, until it ends; and that a snapshot brings it.
mod support;

use headwater_kv::Store;
use headwater_kv::request::*;
use headwater_replica::machine::StateMachine;
use support::{apply, delete_of, put_of};

fn alarm(kind: AlarmKind, member: u64, is_raised: bool) -> Command {
    let alarm = Alarm { kind, member };
    Command::Alarm(AlarmRequest { alarm, is_raised })
}

fn raised(store: &Store, kind: Option<AlarmKind>) -> Vec<Alarm> {
    match store.query(Query::Alarms(kind)).result {
        Ok(Response::Alarms(alarms)) => alarms,
        other => panic!("no alarms: {other:?}"),
    }
}

fn txn_of(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> Command {
    Command::Txn(TxnRequest {
        compare: Vec::new(),
        success,
        failure,
    })
}

fn put_op() -> RequestOp {
    match put_of("k", "v") {
        Command::Put(request) => RequestOp::Put(request),
        other => panic!("no put: {other:?}"),
    }
}

fn delete_op() -> RequestOp {
    match delete_of("k", "") {
        Command::DeleteRange(request) => RequestOp::DeleteRange(request),
        other => panic!("no deletion: {other:?}"),
    }
}

/// What clients ask for: commands that make the store larger, and others.
fn commands() -> [Vec<Command>; 2] {
    let nested = RequestOp::Txn(Box::new(TxnRequest {
        compare: Vec::new(),
        success: Vec::new(),
        failure: vec![put_op()],
    }));
    let grant = |id| Command::LeaseGrant(LeaseGrantRequest { id, ttl: 10 });
    let larger = vec![
        put_of("k", "v"),
        grant(9),
        txn_of(vec![put_op()], vec![]),
        // In a branch that is not taken, too: as in etcd.
        txn_of(vec![delete_op()], vec![put_op()]),
        txn_of(vec![nested], vec![]),
    ];
    let revoke = LeaseRevokeRequest { id: 7, ended: None };
    let others = vec![
        delete_of("k", ""),
        txn_of(vec![delete_op()], vec![]),
        Command::Compact(CompactionRequest {
            revision: 2,
            physical: false,
        }),
        Command::LeaseRevoke(revoke),
    ];
    [larger, others]
}

fn store() -> Store {
    let mut store = Store::default();
    let grant = Command::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 10 });
    for command in [grant, put_of("k", "v"), put_of("k", "w")] {
        apply(&mut store, &command).result.expect("all is well");
    }
    store
}

#[test]
fn a_full_store_takes_nothing_that_makes_it_larger() {
    let [larger, others] = commands();
    for command in &larger {
        let mut store = store();
        apply(&mut store, &alarm(AlarmKind::NoSpace, 1, true));
        let refused = apply(&mut store, command);
        assert_eq!(refused.result, Err(KvError::NoSpace), "{command:?}");
        apply(&mut store, &alarm(AlarmKind::NoSpace, 1, false));
        assert!(apply(&mut store, command).result.is_ok(), "{command:?}");
    }
    for command in &others {
        let mut store = store();
        apply(&mut store, &alarm(AlarmKind::NoSpace, 1, true));
        assert!(apply(&mut store, command).result.is_ok(), "{command:?}");
    }
}

#[test]
fn a_corrupt_store_does_nothing_that_clients_ask_for() {
    for command in commands().iter().flatten() {
        let mut store = store();
        apply(&mut store, &alarm(AlarmKind::Corrupt, 1, true));
        // Both: the worse one is told.
        apply(&mut store, &alarm(AlarmKind::NoSpace, 1, true));
        let refused = apply(&mut store, command);
        assert_eq!(refused.result, Err(KvError::Corrupt), "{command:?}");
    }
}

#[test]
fn an_alarm_ends_when_every_member_has_ended_its_own() {
    let mut store = store();
    let (first, second) = (
        Alarm {
            kind: AlarmKind::NoSpace,
            member: 1,
        },
        Alarm {
            kind: AlarmKind::NoSpace,
            member: 2,
        },
    );
    let told = |outcome: Outcome| match outcome.result {
        Ok(Response::Alarms(alarms)) => alarms,
        other => panic!("no alarms: {other:?}"),
    };
    assert_eq!(
        told(apply(&mut store, &alarm(AlarmKind::NoSpace, 2, true))),
        [second]
    );
    assert_eq!(
        told(apply(&mut store, &alarm(AlarmKind::NoSpace, 1, true))),
        [first]
    );
    assert_eq!(
        told(apply(&mut store, &alarm(AlarmKind::NoSpace, 1, true))),
        [first]
    );
    assert_eq!(raised(&store, None), [first, second]);
    assert_eq!(raised(&store, Some(AlarmKind::Corrupt)), []);
    assert_eq!(
        told(apply(&mut store, &alarm(AlarmKind::NoSpace, 1, false))),
        [first]
    );
    assert_eq!(
        told(apply(&mut store, &alarm(AlarmKind::NoSpace, 1, false))),
        []
    );
    assert_eq!(
        apply(&mut store, &put_of("k", "v")).result,
        Err(KvError::NoSpace)
    );
    assert_eq!(
        told(apply(&mut store, &alarm(AlarmKind::NoSpace, 2, false))),
        [second]
    );
    assert!(apply(&mut store, &put_of("k", "v")).result.is_ok());
}

#[test]
fn a_snapshot_brings_the_alarms() {
    for max_bytes in [1, 1 << 20] {
        let mut store = store();
        for (kind, member) in [(AlarmKind::Corrupt, 3), (AlarmKind::NoSpace, u64::MAX)] {
            apply(&mut store, &alarm(kind, member, true));
        }
        let mut walk = store.begin_snapshot();
        apply(&mut store, &alarm(AlarmKind::Corrupt, 3, false));
        let mut loaded = Store::default();
        while let Some(chunk) = store.next_chunk(&mut walk, max_bytes) {
            loaded.load_chunk(chunk).expect("a chunk just written");
        }
        loaded.finish_load().expect("a snapshot just written");
        let kinds: Vec<_> = raised(&loaded, None)
            .iter()
            .map(|a| (a.kind, a.member))
            .collect();
        assert_eq!(
            kinds,
            [(AlarmKind::NoSpace, u64::MAX), (AlarmKind::Corrupt, 3)]
        );
    }
}
