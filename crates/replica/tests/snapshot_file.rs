//! Snapshot files: taken, served piece by piece, received, refused, kept and dropped.
#![allow(clippy::unwrap_used)]

mod wal_common;

use bytes::Bytes;
use headwater_raft::{LogId, NodeId};
use headwater_replica::port::Disk;
use headwater_replica::recovery::{Expect, open};
use headwater_replica::snapshot_file::{FileDone, FileOrder, SnapshotStore};
use headwater_sim::dice::Dice;
use headwater_sim::disk::SimDisk;
use wal_common::*;

type Done = Option<FileDone<Ledger>>;

fn ledger() -> Ledger {
    Ledger::of(&(1..=40).collect::<Vec<_>>())
}

fn with_snapshots(bases: &[(u64, u64)]) -> (SimDisk, SnapshotStore) {
    let mut disk = SimDisk::new();
    let (_, _, mut store) = opened(&mut disk);
    for &(term, index) in bases {
        let done = take_snapshot(&mut disk, &mut store, meta(term, index), &mut ledger(), 64);
        assert!(matches!(done, Ok(Some(FileDone::Taken(m))) if m == meta(term, index)));
    }
    (disk, store)
}

fn names(disk: &mut SimDisk) -> Vec<String> {
    let names = disk.list("snap").unwrap();
    names
        .into_iter()
        .map(|name| format!("snap/{name}"))
        .collect()
}

/// Reads a whole file as a follower would, in pieces of `len`.
fn serve(disk: &mut SimDisk, store: &mut SnapshotStore, len: usize) -> (LogId, Vec<u8>) {
    let (mut file, mut wanted) = (Vec::new(), None);
    loop {
        let order = FileOrder::Read {
            to: NodeId(8),
            base: wanted,
            offset: file.len() as u64,
            len,
        };
        let Ok(Some(FileDone::Piece::<Ledger> {
            to,
            base,
            total_bytes,
            offset,
            bytes,
        })) = store.run(disk, order)
        else {
            panic!("no piece");
        };
        assert_eq!((to, offset), (NodeId(8), file.len() as u64));
        assert!(wanted.is_none_or(|wanted| wanted == base));
        file.extend_from_slice(&bytes);
        if file.len() as u64 == total_bytes {
            return (base, file);
        }
        wanted = Some(base);
    }
}

fn give(
    disk: &mut SimDisk,
    store: &mut SnapshotStore,
    base: LogId,
    file: &[u8],
    (from, to): (usize, usize),
) -> Done {
    let order = FileOrder::Receive {
        base,
        total_bytes: file.len() as u64,
        offset: from as u64,
        bytes: Bytes::copy_from_slice(&file[from..to]),
    };
    store.run(disk, order).unwrap()
}

fn assert_upto(done: &Done, base: LogId, upto: usize) {
    let Some(FileDone::Received { base: of, upto: at }) = done else {
        panic!("{done:?}");
    };
    assert_eq!((*of, *at), (base, upto as u64));
}

#[test]
fn the_two_newest_snapshots_are_kept() {
    let (mut disk, _) = with_snapshots(&[(1, 3), (1, 5), (2, 9)]);
    assert_eq!(names(&mut disk), [snapshot_file(1, 5), snapshot_file(2, 9)]);
}

#[test]
fn a_taken_snapshot_is_durable() {
    for seed in 0..30 {
        let (mut disk, _) = with_snapshots(&[(1, 3)]);
        disk.power_cut(&mut Dice(seed));
        disk.restart();
        let (recovered, ..) = opened(&mut disk);
        assert_eq!(recovered.base, id(1, 3));
        assert_eq!(recovered.machine, ledger());
    }
}

#[test]
fn a_new_begin_drops_the_unfinished_one() {
    let (mut disk, mut store) = with_snapshots(&[]);
    let mut run = |order| -> Done { store.run(&mut disk, order).unwrap() };
    assert!(run(FileOrder::Begin(meta(1, 3))).is_none());
    assert!(matches!(
        run(FileOrder::Chunk(Bytes::from_static(&[1; 8]))),
        Some(FileDone::Wrote)
    ));
    assert!(run(FileOrder::Begin(meta(1, 4))).is_none());
    assert!(matches!(
        run(FileOrder::Chunk(Bytes::from_static(&[2; 8]))),
        Some(FileDone::Wrote)
    ));
    assert!(matches!(run(FileOrder::Finish), Some(FileDone::Taken(m)) if m == meta(1, 4)));
    assert!(
        run(FileOrder::Finish).is_none(),
        "there is nothing to finish"
    );
    assert_eq!(names(&mut disk), [snapshot_file(1, 4)]);
}

#[test]
fn a_snapshot_travels_in_pieces_of_any_size() {
    let (mut from, mut server) = with_snapshots(&[(1, 3), (2, 9)]);
    for len in [1, 7, 64, 1000] {
        let (base, file) = serve(&mut from, &mut server, len);
        assert_eq!(base, id(2, 9));
        let (mut disk, mut store) = with_snapshots(&[]);
        let mut at = 0;
        while at + len < file.len() {
            let done = give(&mut disk, &mut store, base, &file, (at, at + len));
            at += len;
            assert_upto(&done, base, at);
        }
        let rest = (at, file.len());
        let Some(FileDone::Loaded { meta: m, machine }) =
            give(&mut disk, &mut store, base, &file, rest)
        else {
            panic!("not loaded");
        };
        assert_eq!((m, machine), (meta(2, 9), ledger()));
        assert_eq!(names(&mut disk), [snapshot_file(2, 9)]);
        disk.power_cut(&mut Dice(len as u64));
        disk.restart();
        assert_eq!(opened(&mut disk).0.base, base, "what is loaded is durable");
    }
}

#[test]
fn a_piece_that_does_not_follow_is_answered_with_where_the_file_ends() {
    let (mut from, mut server) = with_snapshots(&[(2, 9)]);
    let (base, file) = serve(&mut from, &mut server, 1000);
    let (mut disk, mut store) = with_snapshots(&[]);
    assert_upto(&give(&mut disk, &mut store, base, &file, (10, 20)), base, 0);
    assert_upto(&give(&mut disk, &mut store, base, &file, (0, 30)), base, 30);
    assert_upto(
        &give(&mut disk, &mut store, base, &file, (10, 40)),
        base,
        30,
    );
    assert_upto(
        &give(&mut disk, &mut store, base, &file, (40, 50)),
        base,
        30,
    );
    let other = id(2, 10);
    assert_upto(
        &give(&mut disk, &mut store, other, &file, (30, 40)),
        other,
        0,
    );
    assert_upto(
        &give(&mut disk, &mut store, base, &file, (30, 40)),
        base,
        40,
    );
    // From the beginning again, as after a lost answer.
    assert_upto(&give(&mut disk, &mut store, base, &file, (0, 5)), base, 5);
    let done = give(&mut disk, &mut store, base, &file, (5, file.len()));
    assert!(matches!(done, Some(FileDone::Loaded { .. })));
}

#[test]
fn another_snapshots_beginning_drops_the_one_being_received() {
    let (mut from, mut server) = with_snapshots(&[(2, 9)]);
    let (base, file) = serve(&mut from, &mut server, 1000);
    let (mut disk, mut store) = with_snapshots(&[]);
    let older = id(1, 4);
    assert_upto(
        &give(&mut disk, &mut store, older, &file, (0, 30)),
        older,
        30,
    );
    let done = give(&mut disk, &mut store, base, &file, (0, file.len()));
    assert!(matches!(done, Some(FileDone::Loaded { .. })));
    assert_eq!(names(&mut disk), [snapshot_file(2, 9)]);
}

#[test]
fn a_received_file_with_any_byte_wrong_is_refused_and_dropped() {
    let (mut from, mut server) = with_snapshots(&[(2, 9)]);
    let (base, file) = serve(&mut from, &mut server, 1000);
    for at in 0..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1 << (at % 8);
        let (mut disk, mut store) = with_snapshots(&[(1, 1)]);
        let done = give(&mut disk, &mut store, base, &bad, (0, bad.len()));
        let Some(FileDone::Refused { base: of, why }) = done else {
            panic!("byte {at}: {done:?}");
        };
        assert_eq!(of, base);
        assert!(!why.is_empty());
        assert_eq!(names(&mut disk), [snapshot_file(1, 1)]);
        // A good copy is still welcome.
        let done = give(&mut disk, &mut store, base, &file, (0, file.len()));
        assert!(matches!(done, Some(FileDone::Loaded { .. })));
    }
}

#[test]
fn a_received_file_of_the_wrong_length_or_place_is_refused() {
    let (mut from, mut server) = with_snapshots(&[(2, 9)]);
    let (base, file) = serve(&mut from, &mut server, 1000);
    let longer = [&file[..], &[0; 8]].concat();
    for bad in [&file[..file.len() - 1], &file[..20], &longer[..]] {
        let (mut disk, mut store) = with_snapshots(&[]);
        let done = give(&mut disk, &mut store, base, bad, (0, bad.len()));
        assert!(matches!(done, Some(FileDone::Refused { .. })), "{done:?}");
    }
    let (mut disk, mut store) = with_snapshots(&[]);
    let other = id(2, 8);
    let done = give(&mut disk, &mut store, other, &file, (0, file.len()));
    assert!(matches!(done, Some(FileDone::Refused { why, .. }) if why.contains("9@t2")));
    // More bytes than the whole was said to have.
    assert_upto(&give(&mut disk, &mut store, base, &file, (0, 30)), base, 30);
    let order = FileOrder::Receive {
        base,
        total_bytes: file.len() as u64,
        offset: 30,
        bytes: Bytes::from(longer[29..].to_vec()),
    };
    let done: Done = store.run(&mut disk, order).unwrap();
    assert!(matches!(done, Some(FileDone::Refused { .. })), "{done:?}");
}

#[test]
fn a_received_file_of_another_cluster_is_refused() {
    let mut other = SimDisk::new();
    let expect = Expect {
        cluster: 5,
        ..expect()
    };
    let (_, _, mut server) = open::<Ledger>(&mut other, &options(SMALL), expect).unwrap();
    take_snapshot(&mut other, &mut server, meta(2, 9), &mut ledger(), 64).unwrap();
    let (base, file) = serve(&mut other, &mut server, 1000);
    let (mut disk, mut store) = with_snapshots(&[]);
    let done = give(&mut disk, &mut store, base, &file, (0, file.len()));
    assert!(matches!(done, Some(FileDone::Refused { why, .. }) if why.contains("cluster")));
}

#[test]
fn a_reader_of_a_dropped_snapshot_gets_the_beginning_of_the_newest() {
    let (mut disk, mut store) = with_snapshots(&[(1, 3), (1, 5)]);
    let piece = |disk: &mut SimDisk, store: &mut SnapshotStore, base, offset| {
        let order = FileOrder::Read {
            to: NodeId(8),
            base,
            offset,
            len: 16,
        };
        match store.run::<Ledger>(disk, order) {
            Ok(Some(FileDone::Piece { base, offset, .. })) => Some((base, offset)),
            Ok(None) => None,
            other => panic!("{other:?}"),
        }
    };
    let begun = Some(id(1, 3));
    assert_eq!(
        piece(&mut disk, &mut store, begun, 32),
        Some((id(1, 3), 32))
    );
    take_snapshot(&mut disk, &mut store, meta(2, 9), &mut ledger(), 64).unwrap();
    assert_eq!(piece(&mut disk, &mut store, begun, 32), Some((id(2, 9), 0)));
    let (mut empty, mut nothing) = with_snapshots(&[]);
    assert_eq!(piece(&mut empty, &mut nothing, None, 0), None);
}

#[test]
fn a_full_disk_costs_the_new_snapshot_and_nothing_else() {
    let (mut disk, mut store) = with_snapshots(&[(1, 3)]);
    let used: usize = disk.contents().values().map(Vec::len).sum();
    disk.set_quota(Some(used as u64 + 200));
    let full = take_snapshot(&mut disk, &mut store, meta(1, 5), &mut ledger(), 64);
    assert!(matches!(full, Ok(Some(FileDone::NoRoom))), "{full:?}");
    assert_eq!(names(&mut disk), [snapshot_file(1, 3)]);
    // The rest of it is ignored, and the next one starts from scratch.
    let done: Done = store.run(&mut disk, FileOrder::Finish).unwrap();
    assert!(done.is_none());
    disk.set_quota(None);
    take_snapshot(&mut disk, &mut store, meta(1, 5), &mut ledger(), 64).unwrap();
    let (recovered, ..) = opened(&mut disk);
    assert_eq!((recovered.base, recovered.machine), (id(1, 5), ledger()));
}

fn reserve(disk: &mut SimDisk, store: &mut SnapshotStore, bytes: u64) -> Done {
    store.run(disk, FileOrder::Reserve { bytes }).unwrap()
}

#[test]
fn a_reserve_is_the_room_for_a_snapshot_on_a_full_disk() {
    let (mut disk, mut store) = with_snapshots(&[(1, 3)]);
    let done = reserve(&mut disk, &mut store, 2000);
    assert!(matches!(done, Some(FileDone::Reserved(true))));
    disk.set_quota(Some(disk.used_bytes()));
    let full = take_snapshot(&mut disk, &mut store, meta(1, 5), &mut ledger(), 64);
    assert!(matches!(full, Ok(Some(FileDone::NoRoom))));
    let taken = take_snapshot(&mut disk, &mut store, meta(1, 5), &mut ledger(), 64);
    assert!(matches!(taken, Ok(Some(FileDone::Taken(_)))));
    // The older one gives its room for the next reserve, the newest does not.
    let done = reserve(&mut disk, &mut store, 2000);
    assert!(matches!(done, Some(FileDone::Reserved(true))));
    let kept = [snapshot_file(1, 5), "snap/reserve.tmp".into()];
    assert_eq!(names(&mut disk), kept);
    let (recovered, _, mut store) = opened(&mut disk);
    assert_eq!(recovered.base, id(1, 5));
    assert_eq!(names(&mut disk), kept[..1], "a start may need the room");
    let done = reserve(&mut disk, &mut store, 1 << 20);
    assert!(matches!(done, Some(FileDone::Reserved(false))));
    assert_eq!(names(&mut disk), kept[..1]);
}

#[test]
fn a_snapshot_that_nobody_sends_on_gives_way_to_the_reserve() {
    let (mut disk, mut store) = with_snapshots(&[]);
    let (mut other, mut sender) = with_snapshots(&[(1, 3)]);
    let (base, file) = serve(&mut other, &mut sender, 100);
    let piece = |bytes: &[u8], offset| FileOrder::Receive {
        base,
        total_bytes: file.len() as u64,
        offset,
        bytes: Bytes::copy_from_slice(bytes),
    };
    let _: Done = store.run(&mut disk, piece(&file[..50], 0)).unwrap();
    assert!(reserve(&mut disk, &mut store, 100).is_none());
    let _: Done = store.run(&mut disk, piece(&file[50..80], 50)).unwrap();
    assert!(reserve(&mut disk, &mut store, 100).is_none());
    let done = reserve(&mut disk, &mut store, 100);
    assert!(matches!(done, Some(FileDone::Reserved(true))));
    // Whoever sends on after all is told to begin anew.
    let done: Done = store.run(&mut disk, piece(&file[80..], 80)).unwrap();
    assert!(matches!(done, Some(FileDone::Received { upto: 0, .. })));
}

#[test]
fn a_failed_sync_never_leads_to_a_name() {
    for failing in 1..=2 {
        let (mut disk, mut store) = with_snapshots(&[(1, 3)]);
        disk.fail_sync(failing, Dice(3));
        take_snapshot(&mut disk, &mut store, meta(1, 5), &mut ledger(), 64).unwrap_err();
        let named = names(&mut disk).contains(&snapshot_file(1, 5));
        assert_eq!(named, failing == 2, "the second is the directory's");
        assert!(
            names(&mut disk).contains(&snapshot_file(1, 3)),
            "the older one stays"
        );
    }
}
