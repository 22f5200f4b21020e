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

/// A file of several chunks, and where its head and each chunk end.
fn chunked(writings: usize) -> (LogId, Vec<u8>, Vec<usize>) {
    let bases: Vec<_> = (1..writings as u64).map(|at| (1, at)).collect();
    let (mut disk, mut server) = with_snapshots(&bases);
    take_snapshot(&mut disk, &mut server, meta(2, 9), &mut ledger(), 64).unwrap();
    let (base, file) = serve(&mut disk, &mut server, 1000);
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let mut ends = vec![56 + number(20)];
    while number(*ends.last().unwrap()) != u32::MAX as usize {
        let at = *ends.last().unwrap();
        ends.push(at + 8 + number(at));
    }
    (base, file, ends)
}

/// A receiver that died when it had so much of the file.
fn interrupted(base: LogId, file: &[u8], upto: usize) -> (SimDisk, SnapshotStore) {
    let (mut disk, mut store) = with_snapshots(&[(1, 1)]);
    give(&mut disk, &mut store, base, file, (0, upto));
    let (.., store) = opened(&mut disk);
    (disk, store)
}

#[test]
fn a_snapshot_goes_on_after_a_restart_behind_its_last_whole_chunk() {
    let (base, file, ends) = chunked(1);
    let first = ends[0] + 4;
    for upto in first..file.len() {
        let (mut disk, mut store) = interrupted(base, &file, upto);
        let whole = *ends.iter().rfind(|end| **end <= upto).unwrap();
        let whole = if whole < first { first } else { whole };
        let done = give(&mut disk, &mut store, base, &file, (0, first));
        assert_upto(&done, base, whole);
        let done = give(&mut disk, &mut store, base, &file, (whole, file.len()));
        let Some(FileDone::Loaded { machine, .. }) = done else {
            panic!("{upto}: {done:?}");
        };
        assert_eq!(machine, ledger());
        disk.power_cut(&mut Dice(upto as u64));
        disk.restart();
        assert_eq!(opened(&mut disk).0.base, base);
    }
}

#[test]
fn what_was_damaged_meanwhile_is_sent_again() {
    let (base, file, ends) = chunked(1);
    let upto = ends[ends.len() - 1];
    for at in ends[0]..upto {
        let (mut disk, mut store) = interrupted(base, &file, upto);
        disk.flip_bit(&part_file(2, 9), at as u64, (at % 8) as u8);
        let done = give(&mut disk, &mut store, base, &file, (0, ends[0]));
        let whole = *ends.iter().rfind(|end| **end <= at).unwrap();
        assert_upto(&done, base, whole);
        let done = give(&mut disk, &mut store, base, &file, (whole, file.len()));
        assert!(matches!(done, Some(FileDone::Loaded { .. })), "{done:?}");
    }
}

#[test]
fn zeros_in_the_place_of_chunks_are_none() {
    let (base, file, ends) = chunked(1);
    for &from in &ends[..3] {
        let (mut disk, mut store) = interrupted(base, &file, ends[3]);
        disk.damage(&part_file(2, 9), from as u64, &vec![0; ends[3] - from]);
        let done = give(&mut disk, &mut store, base, &file, (0, ends[0]));
        assert_upto(&done, base, from);
    }
}

#[test]
fn of_another_writing_nothing_is_kept() {
    let (base, file, ends) = chunked(1);
    let (same, other, _) = chunked(2);
    assert_eq!((same, other.len()), (base, file.len()));
    assert_ne!(other, file, "they differ by their numbers");
    for restarts in [true, false] {
        let (mut disk, mut store) = with_snapshots(&[(1, 1)]);
        give(&mut disk, &mut store, base, &file, (0, ends[2]));
        if restarts {
            store = opened(&mut disk).2;
        }
        let first = ends[0];
        let done = give(&mut disk, &mut store, base, &other, (0, first));
        assert_upto(&done, base, first);
        let done = give(&mut disk, &mut store, base, &other, (first, other.len()));
        assert!(matches!(done, Some(FileDone::Loaded { .. })), "{done:?}");
    }
    // A piece that does not say of which writing it is.
    let (mut disk, mut store) = interrupted(base, &file, ends[2]);
    assert_upto(&give(&mut disk, &mut store, base, &file, (0, 55)), base, 55);
}

#[test]
fn another_leader_that_has_the_same_file_goes_on_with_it() {
    let (base, file, ends) = chunked(1);
    let (mut second, mut leader) = with_snapshots(&[]);
    give(&mut second, &mut leader, base, &file, (0, file.len()));
    // It was restarted since.
    let (.., mut leader) = opened(&mut second);
    let (served, copy) = serve(&mut second, &mut leader, 100);
    let (mut disk, mut store) = interrupted(base, &file, ends[3]);
    let done = give(&mut disk, &mut store, served, &copy, (0, ends[0]));
    assert_upto(&done, base, ends[3]);
    let done = give(&mut disk, &mut store, base, &copy, (ends[3], copy.len()));
    assert!(matches!(done, Some(FileDone::Loaded { .. })), "{done:?}");
}

#[test]
fn what_a_failed_sync_left_in_memory_is_written_again() {
    let (base, file, ends) = chunked(1);
    for seed in 0..20 {
        let (mut disk, mut store) = with_snapshots(&[(1, 1)]);
        give(&mut disk, &mut store, base, &file, (0, ends[2]));
        disk.fail_sync(1, Dice(seed));
        let rest = FileOrder::Receive {
            base,
            total_bytes: file.len() as u64,
            offset: ends[2] as u64,
            bytes: Bytes::copy_from_slice(&file[ends[2]..]),
        };
        store.run::<Ledger>(&mut disk, rest).unwrap_err();
        // The process starts again on the same page cache, whose pages count as clean.
        let (.., mut store) = opened(&mut disk);
        let done = give(&mut disk, &mut store, base, &file, (0, ends[0]));
        let whole = ends[ends.len() - 1];
        assert_upto(&done, base, whole);
        let done = give(&mut disk, &mut store, base, &file, (whole, file.len()));
        assert!(matches!(done, Some(FileDone::Loaded { .. })), "{done:?}");
        disk.power_cut(&mut Dice(seed));
        disk.restart();
        let (recovered, ..) = opened(&mut disk);
        assert_eq!((recovered.base, recovered.machine), (base, ledger()));
    }
}

#[test]
fn what_is_synced_on_the_way_outlives_a_power_cut() {
    let (base, file, ends) = chunked(1);
    for seed in 0..20 {
        let (mut disk, mut store) = with_snapshots(&[(1, 1)]);
        store.sync_every(64);
        for (from, to) in [(0, ends[0]), (ends[0], ends[1]), (ends[1], ends[2])] {
            give(&mut disk, &mut store, base, &file, (from, to));
        }
        disk.power_cut(&mut Dice(seed));
        disk.restart();
        let (.., mut store) = opened(&mut disk);
        let done = give(&mut disk, &mut store, base, &file, (0, ends[0]));
        assert_upto(&done, base, ends[2]);
    }
}

#[test]
fn what_is_being_received_goes_when_it_is_overtaken() {
    let (base, file, ends) = chunked(1);
    for restarts in [true, false] {
        let (mut disk, mut store) = with_snapshots(&[(1, 1)]);
        give(&mut disk, &mut store, base, &file, (0, ends[2]));
        if restarts {
            store = opened(&mut disk).2;
        }
        take_snapshot(&mut disk, &mut store, meta(2, 8), &mut ledger(), 64).unwrap();
        assert!(names(&mut disk).contains(&part_file(2, 9)));
        take_snapshot(&mut disk, &mut store, meta(2, 9), &mut ledger(), 64).unwrap();
        assert!(!names(&mut disk).contains(&part_file(2, 9)));
        assert_upto(&give(&mut disk, &mut store, base, &file, (9, 10)), base, 0);
    }
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
    for index in [8, 9] {
        take_snapshot(&mut disk, &mut store, meta(2, index), &mut ledger(), 64).unwrap();
    }
    assert_eq!(piece(&mut disk, &mut store, begun, 32), Some((id(2, 9), 0)));
    let (mut empty, mut nothing) = with_snapshots(&[]);
    assert_eq!(piece(&mut empty, &mut nothing, None, 0), None);
}

#[test]
fn as_many_snapshots_are_kept_as_is_said() {
    for (kept, left) in [(1, 1), (3, 3), (0, 4)] {
        let (mut disk, mut store) = with_snapshots(&[]);
        store.keep(kept);
        for index in 1..=4 {
            take_snapshot(&mut disk, &mut store, meta(1, index), &mut ledger(), 64).unwrap();
        }
        let newest: Vec<_> = (5 - left..=4).map(|at| snapshot_file(1, at)).collect();
        assert_eq!(names(&mut disk), newest);
    }
}

#[test]
fn a_snapshot_that_a_follower_reads_is_kept_until_it_stops() {
    let (mut disk, mut store) = with_snapshots(&[(1, 1)]);
    let mut take = |disk: &mut SimDisk, index, reads: bool| {
        if reads {
            let order = FileOrder::Read {
                to: NodeId(8),
                base: Some(id(1, 1)),
                offset: 8,
                len: 8,
            };
            let done: Done = store.run(disk, order).unwrap();
            assert!(matches!(done, Some(FileDone::Piece { offset: 8, .. })));
        }
        take_snapshot(disk, &mut store, meta(1, index), &mut ledger(), 64).unwrap();
        names(disk).contains(&snapshot_file(1, 1))
    };
    assert!(take(&mut disk, 2, true));
    assert!(take(&mut disk, 3, true), "two newer ones");
    assert!(take(&mut disk, 4, true), "three newer ones");
    assert!(!take(&mut disk, 5, false));
    assert_eq!(names(&mut disk), [snapshot_file(1, 4), snapshot_file(1, 5)]);
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
    // What an earlier life was receiving does so only if there is no other room.
    let (mut disk, mut store) = with_snapshots(&[]);
    let _: Done = store.run(&mut disk, piece(&file[..50], 0)).unwrap();
    let (.., mut store) = opened(&mut disk);
    let done = reserve(&mut disk, &mut store, 100);
    assert!(matches!(done, Some(FileDone::Reserved(true))));
    assert!(names(&mut disk).contains(&part_file(1, 3)));
    disk.remove("snap/reserve.tmp").unwrap();
    disk.set_quota(Some(disk.used_bytes() + 50));
    let done = reserve(&mut disk, &mut store, 100);
    assert!(matches!(done, Some(FileDone::Reserved(true))));
    assert!(!names(&mut disk).contains(&part_file(1, 3)));
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
