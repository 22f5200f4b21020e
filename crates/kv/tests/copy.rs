//! A copy is the store as of one moment, whatever is applied between its pieces.
mod support;

use std::collections::BTreeMap;

use headwater_kv::Store;
use headwater_kv::copy::{CopiedLease, CopyRequest, CopyResponse, Import, Version};
use headwater_kv::request::{
    Command, CompactionRequest, KeyValue, KvError, LeaseGrantRequest, Query, RangeRequest, Response,
};
use headwater_replica::machine::StateMachine;
use support::{apply, delete_of, put_of};

fn piece(store: &Store, request: CopyRequest) -> Result<CopyResponse, KvError> {
    match store.query(Query::Copy(request)).result? {
        Response::Copy(piece) => Ok(piece),
        other => panic!("no copy: {other:?}"),
    }
}

/// The whole copy, in pieces of so many versions, with a write after each piece.
fn whole(store: &mut Store, versions_max: usize) -> CopyResponse {
    let mut all: Option<CopyResponse> = None;
    loop {
        let after = all.as_ref().and_then(|all| all.next.clone());
        let request = CopyRequest {
            after,
            versions_max,
        };
        let next = piece(store, request).expect("no compaction came between");
        match &mut all {
            None => all = Some(next),
            Some(all) => {
                assert!(next.leases.is_empty(), "the first piece has them all");
                assert_eq!(next.revision, all.revision);
                all.versions.extend(next.versions);
                all.next = next.next;
            }
        }
        let so_far = all.as_ref().expect("there was a piece");
        if so_far.next.is_none() {
            return so_far.clone();
        }
        for key in ["", "k3", "zz"] {
            let key = format!("{key}late");
            apply(store, &put_of(&key, "too late"));
        }
        apply(store, &delete_of("k", "l"));
    }
}

/// What a reader would find at `revision` in these versions alone.
fn visible(versions: &[Version], revision: i64) -> BTreeMap<Vec<u8>, (i64, i64, i64, Vec<u8>)> {
    let mut sorted: Vec<_> = versions.iter().collect();
    sorted.sort_by_key(|version| version.position());
    let mut found = BTreeMap::new();
    for version in sorted.iter().filter(|v| v.position().0 <= revision) {
        let kv = version.to_kv();
        if version.is_tombstone() {
            found.remove(&kv.key.to_vec());
        } else {
            let fields = (kv.create_revision, kv.mod_revision, kv.version);
            let value = kv.value.to_vec();
            found.insert(kv.key.to_vec(), (fields.0, fields.1, fields.2, value));
        }
    }
    found
}

/// What a reader finds at `revision` in the store.
fn read(store: &Store, revision: i64) -> BTreeMap<Vec<u8>, (i64, i64, i64, Vec<u8>)> {
    let request = RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        revision,
        ..RangeRequest::default()
    };
    let Ok(Response::Range(range)) = store.query(Query::Range(request)).result else {
        panic!("revision {revision} can be read");
    };
    let fields = |kv: headwater_kv::request::KeyValue| {
        let numbers = (kv.create_revision, kv.mod_revision, kv.version);
        let value = (numbers.0, numbers.1, numbers.2, kv.value.to_vec());
        (kv.key.to_vec(), value)
    };
    range.kvs.into_iter().map(fields).collect()
}

#[test]
fn a_copy_shows_every_revision_that_can_be_read_as_it_was() {
    for versions_max in [1, 2, 7, 1000] {
        let mut store = Store::default();
        for at in 0..60 {
            let key = format!("k{}", at * 7 % 11);
            match at % 5 {
                4 => apply(&mut store, &delete_of(&key, "")),
                _ => apply(&mut store, &put_of(&key, &format!("v{at}"))),
            };
        }
        let grant = |id, ttl| Command::LeaseGrant(LeaseGrantRequest { id, ttl });
        for (id, ttl) in [(77, 60), (3, 5)] {
            apply(&mut store, &grant(id, ttl));
        }
        let request = CompactionRequest {
            revision: 20,
            physical: false,
        };
        apply(&mut store, &Command::Compact(request));
        let asked = match store.query(Query::Status) {
            outcome if outcome.result.is_ok() => outcome.revision,
            outcome => panic!("{outcome:?}"),
        };
        let copy = whole(&mut store, versions_max);
        assert_eq!((copy.revision, copy.compact_revision), (asked, 20));
        let lease = |id, ttl| CopiedLease {
            id,
            ttl,
            remaining: 0,
        };
        assert_eq!(copy.leases, [lease(3, 5), lease(77, 60)]);
        for revision in 20..=asked {
            let found = visible(&copy.versions, revision);
            assert_eq!(found, read(&store, revision), "at {revision}");
        }
    }
}

#[test]
fn a_compaction_between_two_pieces_ends_a_copy() {
    let mut store = Store::default();
    for at in 0..5 {
        apply(&mut store, &put_of(&format!("k{at}"), "v"));
    }
    let first = CopyRequest {
        after: None,
        versions_max: 2,
    };
    let next = piece(&store, first).unwrap().next;
    assert!(next.is_some());
    let request = CompactionRequest {
        revision: 3,
        physical: false,
    };
    apply(&mut store, &Command::Compact(request));
    let second = CopyRequest {
        after: next,
        versions_max: 2,
    };
    assert_eq!(piece(&store, second), Err(KvError::Compacted));
}

#[test]
fn a_copy_of_nothing_is_one_empty_piece() {
    let copy = piece(&Store::default(), CopyRequest::default()).unwrap();
    assert_eq!(copy.revision, 1);
    assert!(copy.versions.is_empty() && copy.leases.is_empty() && copy.next.is_none());
}

/// The store that a copy of another one makes; what a compaction hides may be there or not.
fn imported(copy: &CopyResponse, extra: &[Version]) -> Store {
    let mut import = Import::new(copy.revision, copy.compact_revision);
    // By revision, as etcd's files have them.
    let mut versions: Vec<_> = copy.versions.iter().chain(extra).collect();
    versions.sort_by_key(|version| version.position());
    for version in versions {
        let kv = version.to_kv();
        let content = (!version.is_tombstone()).then_some(&kv);
        let taken = import.take(version.position(), &kv.key, content);
        taken.expect("it comes from a store");
    }
    let (store, orphans) = import.finish(&copy.leases).expect("it was a store");
    assert_eq!(orphans, 0);
    store
}

#[test]
fn a_store_made_of_a_copy_is_the_same_store() {
    for compacted in [0, 2, 5, 6, 30, 61] {
        let mut store = Store::default();
        let grant = Command::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 60 });
        apply(&mut store, &grant);
        for at in 0..60 {
            let key = format!("k{}", at * 5 % 7);
            match at % 5 {
                4 => apply(&mut store, &delete_of("k", "l")),
                _ => apply(&mut store, &put_of(&key, &format!("v{at}"))),
            };
        }
        let before = whole(&mut store, 1000);
        if compacted > 0 {
            let request = CompactionRequest {
                revision: compacted,
                physical: false,
            };
            apply(&mut store, &Command::Compact(request));
        }
        let copy = piece(&store, all()).unwrap();
        // Compacted or not in the file: what is hidden stays hidden.
        let hidden = before.versions.into_iter();
        let hidden = hidden.filter(|version| !copy.versions.contains(version));
        let hidden: Vec<Version> = hidden.collect();
        for extra in [&[][..], &hidden[..]] {
            let mut imported = imported(&copy, extra);
            assert_eq!(
                support::hash(&imported, 0, usize::MAX),
                support::hash(&store, 0, usize::MAX)
            );
            for revision in compacted.max(1)..=copy.revision {
                let found = read(&imported, revision);
                assert_eq!(found, read(&store, revision), "at {revision}");
            }
            // And it goes on like one: over its own snapshot too.
            apply(&mut imported, &put_of("k1", "new"));
            let mut again = Store::default();
            let mut walk = imported.begin_snapshot();
            while let Some(chunk) = imported.next_chunk(&mut walk, 100) {
                again.load_chunk(chunk).unwrap();
            }
            again.finish_load().unwrap();
            assert_eq!(
                support::hash(&again, 0, usize::MAX),
                support::hash(&imported, 0, usize::MAX)
            );
        }
    }
}

fn all() -> CopyRequest {
    CopyRequest {
        after: None,
        versions_max: usize::MAX,
    }
}

#[test]
fn what_makes_no_store_is_refused() {
    let mut import = Import::new(9, -1);
    let kv = |create_revision, version| KeyValue {
        create_revision,
        version,
        ..KeyValue::default()
    };
    let bad = [
        (2, kv(2, 0)),
        (2, kv(3, 1)),
        (2, kv(2, -1)),
        (1, kv(1, 1)),
        (2, kv(0, 1)),
        (2, kv(2, 5)),
    ];
    for (main, kv) in bad {
        assert!(
            import.take((main, 0), b"k", Some(&kv)).is_err(),
            "{main} {kv:?}"
        );
    }
    assert!(import.take((2, 0), b"", Some(&kv(2, 1))).is_err());
    import.take((2, 0), b"k", Some(&kv(2, 1))).unwrap();
    let missing = import.finish(&[]);
    assert_eq!(missing.map(|_| ()), Err("the last changes are missing"));
}

#[test]
fn a_key_whose_lease_is_gone_stays_without_one() {
    let mut import = Import::new(2, -1);
    let kv = KeyValue {
        create_revision: 2,
        version: 1,
        lease: 77,
        ..KeyValue::default()
    };
    import.take((2, 0), b"k", Some(&kv)).unwrap();
    let (store, orphans) = import.finish(&[]).unwrap();
    assert_eq!((orphans, read(&store, 2).len()), (1, 1));
}
