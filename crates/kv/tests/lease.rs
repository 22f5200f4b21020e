//! What a leader decides about leases counts only while it leads, and snapshots carry it over.
mod support;

use bytes::Bytes;
use headwater_kv::Store;
use headwater_kv::request::{
    Command, Ended, KvError, LeaseCheckpointRequest, LeaseGrantRequest, LeaseLeft,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, Query, Response,
};
use headwater_replica::machine::StateMachine;
use support::{
    apply_at, assert_equal_reads, assert_every_chunk_counts, b, chunks, load, reload, status,
};

fn grant(id: i64, ttl: i64) -> Command {
    Command::LeaseGrant(LeaseGrantRequest { id, ttl })
}

fn put(key: &str, lease: i64) -> Command {
    Command::Put(PutRequest {
        key: b(key),
        lease,
        ..Default::default()
    })
}

fn revoke(id: i64) -> Command {
    Command::LeaseRevoke(LeaseRevokeRequest { id, ended: None })
}

fn end(id: i64, term: u64, granted: u64) -> Command {
    let ended = Some(Ended { term, granted });
    Command::LeaseRevoke(LeaseRevokeRequest { id, ended })
}

/// All leases here were granted at index 1, unless said otherwise.
fn checkpoint(term: u64, number: u64, left: &[(i64, i64)]) -> Command {
    let left = left.iter().map(|&(id, seconds)| LeaseLeft {
        id,
        granted: 1,
        seconds,
    });
    Command::LeaseCheckpoint(LeaseCheckpointRequest {
        term,
        number,
        leases: left.collect(),
    })
}

fn remaining(store: &Store, id: i64) -> i64 {
    let request = LeaseTimeToLiveRequest { id, keys: false };
    match store.query(Query::LeaseTimeToLive(request)).result {
        Ok(Response::LeaseTimeToLive(lease)) => lease.remaining_ttl,
        other => panic!("there is such a lease: {other:?}"),
    }
}

fn run(term: u64, store: &mut Store, command: &Command) -> Result<Response, KvError> {
    apply_at(term, 1, store, command).result
}

fn store_of(leases: &[(i64, i64)]) -> Store {
    let mut store = Store::default();
    for (id, ttl) in leases {
        run(1, &mut store, &grant(*id, *ttl)).expect("it is new");
    }
    store
}

#[test]
fn an_expiry_of_another_term_or_of_another_lease_is_void() {
    let mut store = store_of(&[(1, 60)]);
    run(3, &mut store, &put("a", 1)).expect("the lease exists");
    let revision = status(&store).revision;
    for (term, granted) in [(2, 1), (4, 1), (3, 2)] {
        let void = run(3, &mut store, &end(1, term, granted));
        assert_eq!(void, Err(KvError::LeaseDecisionVoid));
    }
    assert_eq!(status(&store).revision, revision);
    assert_eq!(remaining(&store, 1), 60);
    assert_eq!(run(3, &mut store, &end(1, 3, 1)), Ok(Response::LeaseRevoke));
    assert_eq!(status(&store).revision, revision + 1, "its key is deleted");
}

#[test]
fn a_client_may_revoke_in_any_term() {
    let mut store = store_of(&[(1, 60)]);
    assert_eq!(run(9, &mut store, &revoke(1)), Ok(Response::LeaseRevoke));
}

#[test]
fn checkpoints_count_in_their_term_and_in_their_order() {
    let mut store = store_of(&[(1, 60), (2, 60)]);
    let void = Err(KvError::LeaseDecisionVoid);
    let done = Ok(Response::LeaseCheckpoint);
    assert_eq!(run(3, &mut store, &checkpoint(2, 9, &[(1, 5)])), void);
    assert_eq!(run(3, &mut store, &checkpoint(3, 2, &[(1, 20)])), done);
    assert_eq!(run(3, &mut store, &checkpoint(3, 1, &[(1, 40)])), void);
    assert_eq!(run(3, &mut store, &checkpoint(3, 2, &[(1, 50)])), void);
    assert_eq!((remaining(&store, 1), remaining(&store, 2)), (20, 60));
    let clears = checkpoint(3, 3, &[(1, 0), (7, 5), (2, 61)]);
    assert_eq!(run(3, &mut store, &clears), done, "one is not there");
    assert_eq!((remaining(&store, 1), remaining(&store, 2)), (60, 60));
    assert_eq!(run(4, &mut store, &checkpoint(4, 1, &[(2, 1)])), done);
    assert_eq!(remaining(&store, 2), 1, "the next leader counts anew");
    apply_at(4, 9, &mut store, &revoke(1))
        .result
        .expect("it exists");
    apply_at(4, 10, &mut store, &grant(1, 60))
        .result
        .expect("the id is free again");
    assert_eq!(run(4, &mut store, &checkpoint(4, 2, &[(1, 5)])), done);
    assert_eq!(remaining(&store, 1), 60, "another lease of that id");
}

#[test]
fn a_snapshot_carries_leases_what_is_left_of_them_and_whose_word_counts() {
    let mut store = store_of(&[(-5, 60), (1, 60), (9, 1)]);
    run(3, &mut store, &put("a", 1)).expect("the lease exists");
    run(3, &mut store, &put("b", -5)).expect("the lease exists");
    run(3, &mut store, &checkpoint(3, 7, &[(1, 30)])).expect("it is the first");
    for chunk_bytes in [1, 30, 1 << 20] {
        let mut loaded = reload(&mut store, chunk_bytes);
        assert_equal_reads(&loaded, &store, "loaded");
        let void = run(3, &mut loaded, &checkpoint(3, 7, &[(1, 10)]));
        assert_eq!(void, Err(KvError::LeaseDecisionVoid));
        run(3, &mut loaded, &revoke(1)).expect("it was loaded");
        assert_eq!(status(&loaded).keys, 1);
    }
}

#[test]
fn a_snapshot_shows_the_leases_as_they_were_when_it_began() {
    let mut store = store_of(&[(1, 60), (2, 60)]);
    run(1, &mut store, &put("a", 1)).expect("the lease exists");
    let expected = reload(&mut store, 1 << 20);
    let mut walk = store.begin_snapshot();
    let mut loaded = Store::default();
    run(1, &mut store, &revoke(1)).expect("it exists");
    run(1, &mut store, &grant(3, 60)).expect("it is new");
    while let Some(chunk) = store.next_chunk(&mut walk, 1) {
        loaded.load_chunk(chunk).expect("a chunk just written");
    }
    loaded.finish_load().expect("a snapshot just written");
    assert_equal_reads(&loaded, &expected, "as it began");
}

#[test]
fn a_snapshot_that_lacks_or_repeats_a_lease_is_refused() {
    let mut store = store_of(&[(1, 60), (2, 60), (3, 60)]);
    run(1, &mut store, &put("a", 2)).expect("the lease exists");
    let whole = chunks(&mut store, 1);
    assert_eq!(whole.len(), 6, "a head, three leases, a key, an end");
    assert!(load(&whole).is_ok());
    assert_every_chunk_counts(&whole);
    // The counts fit, but a key names a lease that is not there.
    let mut chunks = whole.clone();
    chunks[2] = Bytes::from_static(&[7, 5, 120, 1, 0]);
    chunks.swap(1, 2);
    assert!(load(&chunks).is_err(), "another lease instead");
}

#[test]
fn a_snapshot_with_leases_is_drawn_so() {
    let mut store = Store::default();
    let grants = [grant(-1, 60), grant(7, 100)];
    for (index, command) in (4..).zip(&grants) {
        apply_at(2, index, &mut store, command)
            .result
            .expect("it is new");
    }
    run(2, &mut store, &put("k", 7)).expect("the lease exists");
    let left = LeaseLeft {
        id: 7,
        granted: 5,
        seconds: 30,
    };
    let checkpoint = Command::LeaseCheckpoint(LeaseCheckpointRequest {
        term: 2,
        number: 9,
        leases: vec![left],
    });
    run(2, &mut store, &checkpoint).expect("it is the first");
    let mut walk = store.begin_snapshot();
    let whole = store.next_chunk(&mut walk, 1 << 20).expect("the only one");
    let drawn = [
        // The head: version, revision 2, never compacted, term and number of the last checkpoint,
        // begun at revision 1, and the sum since: the checksum of the one record; no rights needed, the
        // first revision of users, no secret.
        &[1, 7, 4, 1, 2, 9, 2, 170, 143, 188, 238, 2, 0, 1, 0][..],
        // Each lease: id, seconds granted, at which index, seconds left if not all.
        &[7, 1, 120, 4, 0],
        &[7, 14, 200, 1, 5, 60],
        // The one record, with its lease, and the end: one record, no changes, no members, two leases,
        // nobody removed, no alarms, no users, no roles.
        &[2, 7, 1, b'k', 2, 0, 1, 14, 0],
        &[4, 1, 0, 0, 2, 0, 0, 0, 0],
    ];
    assert_eq!(whole[..], drawn.concat()[..]);
    let mut loaded = Store::default();
    loaded.load_chunk(whole).expect("a chunk just written");
    loaded.finish_load().expect("a snapshot just written");
    assert_equal_reads(&loaded, &store, "loaded");
}

/// Bytes that the version before leases wrote, for a store of one put.
#[test]
fn a_snapshot_from_before_there_were_leases_is_read() {
    let mut store = Store::default();
    run(1, &mut store, &put("k", 0)).expect("a put");
    let old: &[u8] = &[
        1, 2, 4, 1, // The head: version, revision 2, never compacted.
        2, 7, 1, b'k', 2, 0, 1, 0, 0, // The one record.
        4, 1, 0, 0, // The end: one record, no changes, no members.
    ];
    let load = |bytes: &[u8]| {
        let mut store = Store::default();
        store
            .load_chunk(Bytes::copy_from_slice(bytes))
            .and_then(|()| store.finish_load())
            .map(|()| store)
    };
    let loaded = load(old).expect("an older version");
    assert_equal_reads(&loaded, &store, "from an older version");
    let has_lease = [&old[..4], &[7, 2, 120, 1, 0], &old[4..]].concat();
    let refusal = load(&has_lease).expect_err("it had no such item");
    assert!(refusal.0.contains("an unknown item"), "{refusal}");
}
