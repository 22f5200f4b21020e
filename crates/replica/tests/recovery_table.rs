//! One test for each row of the decision table in docs/format.md, "Recovery".
#![allow(clippy::unwrap_used)]

mod wal_common;

use bytes::Bytes;
use headwater_raft::{Index, NodeId, WriteId};
use headwater_replica::port::Disk;
use headwater_replica::record::{FrameHead, FrameKind, encode_frame};
use headwater_replica::recovery::{Expect, OpenError, open};
use headwater_replica::segment_head::SegmentHead;
use headwater_replica::snapshot_file::{FileDone, FileOrder, SnapshotStore};
use headwater_replica::wal::{Wal, segment_name};
use headwater_replica::{Entry, EntryKind, LogOrder};
use headwater_sim::dice::Dice;
use headwater_sim::disk::SimDisk;
use headwater_sim::plan::Rot;
use wal_common::*;

const FRAMES: u64 = 4096;
/// The life of whoever opens with [`expect`].
const FIRST_LIFE: u64 = (INCARNATION ^ (INCARNATION >> 64)) as u64;

fn damage_text(disk: &mut SimDisk) -> String {
    let before = disk.contents();
    match refusal(disk) {
        OpenError::Damaged(text) => {
            assert_eq!(
                before,
                disk.contents(),
                "a refused opening changed something"
            );
            text
        }
        other => panic!("not damage: {other}"),
    }
}

fn assert_names(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

// Identity.

#[test]
fn d1_an_empty_directory_is_formatted() {
    let mut disk = SimDisk::new();
    let (recovered, wal, _) = opened(&mut disk);
    assert_eq!(recovered.identity.incarnation, INCARNATION);
    assert_eq!(recovered.config, first_config());
    assert_eq!((recovered.base, recovered.log_base), (id(0, 0), id(0, 0)));
    assert_eq!(recovered.next_write, WriteId(1));
    assert_eq!(recovered.torn_bytes, 0);
    assert!(recovered.mended.is_empty());
    drop(wal);
    // What opening answered is durable.
    disk.power_cut(&mut Dice(0));
    disk.restart();
    let later = Expect {
        fresh_incarnation: 99,
        ..expect()
    };
    let (again, ..) = open::<Ledger>(&mut disk, &options(SMALL), later).unwrap();
    assert_eq!(again.identity, recovered.identity);
}

#[test]
fn d2_an_unfinished_formatting_starts_over() {
    let mut whole = SimDisk::new();
    opened(&mut whole);
    for at in 1..=whole.counts().ops {
        for seed in 0..8 {
            let mut disk = SimDisk::new();
            disk.crash_after(at);
            let early = try_open(&mut disk);
            assert!(matches!(early, Err(OpenError::Disk(_))), "call {at}");
            match seed {
                0 => disk.kill(),
                seed => disk.power_cut(&mut Dice(seed)),
            }
            disk.restart();
            let (recovered, ..) = opened(&mut disk);
            assert_eq!(recovered.next_write, WriteId(1));
        }
    }
}

#[test]
fn d3_a_missing_identity_is_never_an_empty_directory() {
    let mut disk = written_singly(1);
    disk.remove("identity").unwrap();
    assert_names(&damage_text(&mut disk), &["identity", "missing"]);

    let mut disk = SimDisk::new();
    let (_, _, mut store) = opened(&mut disk);
    take_snapshot(&mut disk, &mut store, meta(1, 1), &mut Ledger::of(&[1]), 64).unwrap();
    disk.remove("identity").unwrap();
    assert_names(&damage_text(&mut disk), &["identity", "missing"]);
}

#[test]
fn d4_an_identity_that_is_damaged_in_both_places_is_refused() {
    let mut disk = written_singly(1);
    disk.flip_bit("identity", 30, 4);
    disk.flip_bit("identity", 4096 + 70, 4);
    assert_names(&damage_text(&mut disk), &["identity, byte 0", "its check"]);
}

#[test]
fn d9_an_identity_that_is_damaged_in_one_place_is_read_in_the_other_and_written_again() {
    let mut whole = written_singly(3);
    let bytes = whole.read("identity", 0, 1 << 20).unwrap();
    let once = bytes.len() - 4096;
    for byte in 0..bytes.len() {
        let mut disk = whole.clone();
        disk.flip_bit("identity", byte as u64, (byte % 8) as u8);
        let (found, ..) = opened(&mut disk);
        assert_eq!(found.entries.len(), 3);
        assert!(
            found.mended[0].starts_with("identity"),
            "byte {byte}: {:?}",
            found.mended
        );
        let (again, ..) = opened(&mut disk);
        assert_eq!(again.mended, Vec::<String>::new(), "byte {byte}");
        assert_eq!(disk.read("identity", 0, 1 << 20).unwrap(), bytes);
    }
    // A whole sector, and the end of the file.
    let mut disk = whole.clone();
    disk.damage("identity", 0, &[0; 4096]);
    assert_eq!(opened(&mut disk).0.mended.len(), 1);
    let mut disk = whole.clone();
    disk.cut("identity", 4096 + 10);
    assert_eq!(opened(&mut disk).0.mended.len(), 1);
    // An earlier program wrote it once.
    let mut disk = whole.clone();
    disk.cut("identity", once as u64);
    assert_eq!(opened(&mut disk).0.mended, Vec::<String>::new());
}

#[test]
fn d5_the_directory_of_another_cluster_or_node_is_foreign() {
    let mut disk = written_singly(1);
    for (cluster, node) in [(CLUSTER + 1, NODE), (CLUSTER, NodeId(0x1f))] {
        let expect = Expect {
            cluster,
            node,
            ..expect()
        };
        let error = open::<Ledger>(&mut disk, &options(SMALL), expect).unwrap_err();
        let OpenError::Foreign(text) = error else {
            panic!("not foreign: {error}");
        };
        assert_names(
            &text,
            &[
                "node 7 of cluster 123456789abcdef,",
                &format!("node {:x} of cluster {cluster:x}", node.0),
            ],
        );
    }
}

/// Writes format version 2 into a file's prologue, with its check made right.
fn make_newer(disk: &mut SimDisk, name: &str) {
    let mut start = disk.read(name, 0, 12).unwrap().to_vec();
    start[8] = 2;
    let crc = headwater_replica::checksum::crc32c(&start);
    start.extend_from_slice(&crc.to_le_bytes());
    disk.write(name, 0, &start).unwrap();
}

#[test]
fn d6_a_file_of_a_later_version_is_named_as_such() {
    let mut whole = written_singly(1);
    let (_, _, mut store) = opened(&mut whole);
    take_snapshot(
        &mut whole,
        &mut store,
        meta(1, 1),
        &mut Ledger::of(&[1]),
        64,
    )
    .unwrap();
    for name in ["identity", &segment_name(1), &snapshot_file(1, 1)] {
        let mut disk = whole.clone();
        make_newer(&mut disk, name);
        let error = refusal(&mut disk);
        assert!(matches!(&error, OpenError::NewerFormat(text) if text.contains(name)));
    }
}

#[test]
fn d7_an_identity_without_a_log_is_damage() {
    let mut disk = written_singly(1);
    disk.remove(&segment_name(1)).unwrap();
    assert_names(&damage_text(&mut disk), &["wal", "no log"]);
}

fn occupant(disk: &mut SimDisk) -> String {
    let before = disk.contents();
    match refusal(disk) {
        OpenError::Occupied(text) => {
            assert_eq!(
                before,
                disk.contents(),
                "a refused opening changed something"
            );
            text
        }
        other => panic!("not occupied: {other}"),
    }
}

fn holding(names: &[&str]) -> SimDisk {
    let mut disk = SimDisk::new();
    for name in names {
        disk.write(name, 0, b"somebody's").unwrap();
    }
    disk
}

#[test]
fn d8_a_directory_of_foreign_files_is_not_formatted() {
    for name in [
        "notes.txt",
        "cluster.txt",
        "wal/notes",
        "wal/1.wal",
        "wal/0000000000000000-0000000000000000.wal",
        "snap/notes",
        "snap/0000000000000001-0000000000000001.tmp",
    ] {
        assert_names(&occupant(&mut holding(&[name])), &[name, "not empty"]);
    }
    // What a crash leaves of a formatting does not excuse what is beside it.
    let mut disk = holding(&["wal/next.tmp", "identity.tmp", "letter"]);
    assert_names(&occupant(&mut disk), &["letter"]);
}

#[test]
fn d8_the_data_of_etcd_are_named_as_such() {
    // etcd's data directory, and its inner one, where the names of some files are ours.
    let outer = ["member/wal", "member/snap"];
    let inner = [
        "snap/db",
        "snap/0000000000000002-0000000000002711.snap",
        "wal/0000000000000000-0000000000000000.wal",
        "wal/0.tmp",
    ];
    for names in [&outer[..], &inner[..]] {
        assert_names(&occupant(&mut holding(names)), &["etcd's data", names[0]]);
    }
}

#[test]
fn d8_what_a_formatting_and_a_file_system_leave_is_no_obstacle() {
    let mut disk = holding(&["lock", "lost+found", "identity.tmp", "wal/next.tmp"]);
    disk.write("wal/spare.tmp", 0, b"").unwrap();
    assert_eq!(opened(&mut disk).0.next_write, WriteId(1));
    // A directory that is ours may hold anything.
    disk.write("notes.txt", 0, b"somebody's").unwrap();
    disk.write("member/wal", 0, b"somebody's").unwrap();
    opened(&mut disk);
}

// Segments.

/// Writes until there are `count` segments; returns how many writes that took.
fn fill_segments(disk: &mut SimDisk, count: u64) -> u64 {
    let (_, mut wal, _) = opened(disk);
    let mut at = 0;
    while disk.size(&segment_name(count)).unwrap().is_none() {
        at += 1;
        let order = write(at, None, vec![entry(1, at, &"x".repeat(700))]);
        wal.run(disk, &[order]).unwrap();
    }
    at
}

#[test]
fn s1_a_segment_whose_head_is_bad_in_both_places_is_damage() {
    let mut disk = SimDisk::new();
    fill_segments(&mut disk, 3);
    for seq in 1..=3 {
        for offset in [9, 70] {
            let mut disk = disk.clone();
            disk.flip_bit(&segment_name(seq), offset, 0);
            disk.flip_bit(&segment_name(seq), 1024 + 80, 0);
            assert_names(&damage_text(&mut disk), &[&segment_name(seq), "check"]);
        }
    }
}

#[test]
fn s8_a_head_that_is_bad_in_one_place_is_read_in_the_other_and_written_again() {
    let mut whole = SimDisk::new();
    let writes = fill_segments(&mut whole, 3);
    for seq in 1..=3 {
        let name = segment_name(seq);
        for place in [0, 1024] {
            // A bit anywhere, or the whole sector.
            for offset in [3, 9, 17, 30, 70, 130, 511] {
                let mut disk = whole.clone();
                if offset == 511 {
                    disk.damage(&name, place, &[0x55; 512]);
                } else {
                    disk.flip_bit(&name, place + offset, 3);
                }
                let (found, ..) = opened(&mut disk);
                assert_eq!(found.entries.len() as u64, writes);
                let place = format!("byte {place}");
                let told = found.mended.iter().filter(|text| text.contains(&place));
                assert_eq!(told.count(), 1, "{:?}", found.mended);
                let (again, ..) = opened(&mut disk);
                assert_eq!(again.mended, Vec::<String>::new());
                let read = |disk: &mut SimDisk| disk.read(&name, 0, 2048).unwrap();
                assert_eq!(read(&mut disk), read(&mut whole));
            }
        }
        // A segment of an earlier program has its head once.
        let mut disk = whole.clone();
        disk.damage(&name, 1024, &[0; 512]);
        let (found, ..) = opened(&mut disk);
        assert_eq!(found.mended, Vec::<String>::new());
    }
}

#[test]
fn s2_a_segment_of_another_life_is_foreign() {
    let mut disk = written_singly(1);
    let mut other = SimDisk::new();
    let expect = Expect {
        fresh_incarnation: 5,
        ..expect()
    };
    open::<Ledger>(&mut other, &options(SMALL), expect).unwrap();
    let bytes = other.read(&segment_name(1), 0, SMALL as usize).unwrap();
    disk.write(&segment_name(1), 0, &bytes).unwrap();
    let error = refusal(&mut disk);
    let OpenError::Foreign(text) = error else {
        panic!("not foreign: {error}");
    };
    assert_names(
        &text,
        &[
            "incarnation 112233445566778899aabbccddeeff",
            "incarnation 5",
        ],
    );
}

#[test]
fn s3_a_segment_that_was_cut_short_is_damage() {
    let mut disk = written_singly(3);
    let cut = FRAMES + 2 * frame_of("body 1");
    disk.cut(&segment_name(1), cut);
    let text = damage_text(&mut disk);
    assert_names(&text, &[&segment_name(1), &format!("byte {cut}"), "8192"]);
}

#[test]
fn s4_a_segment_under_another_ones_name_is_damage() {
    let mut disk = SimDisk::new();
    fill_segments(&mut disk, 2);
    disk.rename(&segment_name(2), &segment_name(3)).unwrap();
    assert_names(
        &damage_text(&mut disk),
        &[&segment_name(3), "another's name"],
    );
}

#[test]
fn s5_a_hole_that_a_snapshot_covers_is_what_a_release_left() {
    let mut disk = SimDisk::new();
    let writes = fill_segments(&mut disk, 3);
    let (recovered, _, mut store) = opened(&mut disk);
    let covered = recovered.entries[recovered.entries.len() - 2].id;
    take_snapshot(
        &mut disk,
        &mut store,
        meta(covered.term.0, covered.index.0),
        &mut Ledger::of(&[1]),
        64,
    )
    .unwrap();
    disk.remove(&segment_name(2)).unwrap();
    let (recovered, ..) = opened(&mut disk);
    assert_eq!(recovered.next_write, WriteId(writes + 1));
    assert!(recovered.log_base.index <= covered.index);
    assert_eq!(
        disk.size(&segment_name(1)).unwrap(),
        None,
        "the rest goes too"
    );
}

#[test]
fn s6_a_hole_that_no_snapshot_covers_is_damage() {
    let mut disk = SimDisk::new();
    fill_segments(&mut disk, 3);
    disk.remove(&segment_name(2)).unwrap();
    assert_names(
        &damage_text(&mut disk),
        &["the log begins after entry", "covers 0@t0"],
    );
}

/// Damages a segment's head in both of its places.
fn flip_head(disk: &mut SimDisk, segment: u64) {
    disk.flip_bit(&segment_name(segment), 20, 7);
    disk.flip_bit(&segment_name(segment), 1024 + 20, 7);
}

#[test]
fn s7_damage_that_a_snapshot_covers_is_told_of_and_removed() {
    let mut whole = SimDisk::new();
    let writes = fill_segments(&mut whole, 3);
    let (recovered, _, mut store) = opened(&mut whole);
    let covered = recovered.entries[recovered.entries.len() - 2].id;
    let mut machine = Ledger::of(&[1]);
    let meta = meta(covered.term.0, covered.index.0);
    take_snapshot(&mut whole, &mut store, meta, &mut machine, 64).unwrap();
    // Heads and frames, of the first segment and of the second.
    for (segment, byte) in [(1, 20), (1, FRAMES + 3), (2, 20), (2, FRAMES + 3)] {
        let mut disk = whole.clone();
        match byte {
            20 => flip_head(&mut disk, segment),
            _ => disk.flip_bit(&segment_name(segment), byte, 7),
        }
        let (recovered, ..) = opened(&mut disk);
        assert_eq!(recovered.next_write, WriteId(writes + 1));
        assert_eq!(
            (recovered.base, recovered.log_base <= covered),
            (covered, true)
        );
        assert_names(&recovered.mended[0], &[&segment_name(segment), "covers"]);
        if (segment, byte) == (2, FRAMES + 3) {
            // What is lost can be named: the segment stays until a release.
            assert!(recovered.unreadable.is_empty());
            continue;
        }
        for gone in 1..=segment {
            assert_eq!(disk.size(&segment_name(gone)).unwrap(), None);
        }
        assert!(opened(&mut disk).0.mended.is_empty());
    }
    // What the snapshot does not cover stays damage: the last segment, and what stands in for it.
    let mut disk = whole.clone();
    flip_head(&mut disk, 3);
    damage_text(&mut disk);
    let mut disk = whole;
    flip_head(&mut disk, 2);
    disk.flip_bit(&snapshot_file(covered.term.0, covered.index.0), 130, 2);
    assert_names(&damage_text(&mut disk), &[&segment_name(2)]);
}

/// How many segments there are; files that wait to become one are none.
fn segments(disk: &mut SimDisk) -> usize {
    let names = disk.list("wal").unwrap();
    names.iter().filter(|name| name.ends_with(".wal")).count()
}

#[test]
fn s9_files_that_wait_to_become_segments_are_removed() {
    let mut disk = SimDisk::new();
    let (_, store, last) = released(&mut disk);
    assert_eq!(segments(&mut disk), 1);
    assert_eq!(disk.list("wal").unwrap().len(), 3);
    // A head is being written into one of them, and torn.
    let released = "wal/0000000000000001.tmp";
    disk.write(released, 0, &[0x55; 700]).unwrap();
    disk.write("wal/spare.tmp", 0, &[0; 9000]).unwrap();
    let (found, mut wal, _) = opened(&mut disk);
    assert_eq!((found.next_write, found.torn_bytes), (WriteId(last + 1), 0));
    assert!(found.mended.is_empty());
    assert_eq!(disk.list("wal").unwrap().len(), 1);
    // The next segment is a new file, and so on.
    fill_to(&mut disk, &mut wal, last, 4, BODY);
    assert_eq!(wal.recycled(), 0);
    drop(store);
}

#[test]
fn s9_whenever_power_is_lost_between_a_release_and_the_use_of_its_file_the_log_is_whole() {
    let (mut began, mut lost) = (0, 0);
    for at in 1..60 {
        for seed in 0..12 {
            let mut disk = SimDisk::new();
            let (mut wal, store, last) = covered(&mut disk);
            let upto = Index(last);
            disk.crash_after(at);
            let orders = |from: u64| {
                let write = move |at| write(at, None, vec![entry(1, at, &"y".repeat(700))]);
                (from + 1..=from + 6).map(write)
            };
            let mut acknowledged = last;
            let mut run = || {
                wal.run(&mut disk, &[LogOrder::Release { upto }])?;
                for order in orders(last) {
                    acknowledged = wal.run(&mut disk, &[order])?.unwrap().0;
                }
                wal.idle(&mut disk)
            };
            let ended = run().is_ok();
            drop(store);
            disk.power_cut(&mut Dice(seed));
            disk.restart();
            began += u64::from(disk.size(&segment_name(4)).unwrap().is_some());
            lost += u64::from(!ended);
            let (found, ..) = opened(&mut disk);
            assert!(
                found.mended.is_empty(),
                "call {at}, seed {seed}: {:?}",
                found.mended
            );
            let next = found.next_write.0;
            assert!(
                (acknowledged + 1..=acknowledged + 2).contains(&next),
                "call {at}"
            );
            assert_eq!(
                found.log_base.index.0 + found.entries.len() as u64,
                next - 1
            );
        }
    }
    assert!(began > 100 && lost > 100, "{began} {lost}");
}

// Frames.

#[test]
fn f1_a_log_that_ends_in_zeros_ends_there() {
    let mut disk = written_singly(3);
    let (recovered, ..) = opened(&mut disk);
    assert_eq!(indices(&recovered), [1, 2, 3]);
    assert_eq!(recovered.torn_bytes, 0);
    assert_eq!(recovered.next_write, WriteId(4));
    assert_eq!(recovered.hard, hard(1, 7));
}

#[test]
fn f2_a_bad_frame_with_nothing_after_it_is_torn_and_dropped() {
    let mut disk = written_singly(3);
    let at = FRAMES + 2 * frame_of("body 1");
    disk.flip_bit(&segment_name(1), at + 150, 0);
    let (recovered, ..) = opened(&mut disk);
    assert_eq!(indices(&recovered), [1, 2]);
    assert_eq!(recovered.torn_bytes, frame_of("body 3"));
    assert_eq!(recovered.next_write, WriteId(3));
    let tail = disk.read(&segment_name(1), at, 4096).unwrap();
    assert!(tail.iter().all(|&byte| byte == 0), "the torn frame is gone");
    disk.power_cut(&mut Dice(0));
    disk.restart();
    let (again, ..) = opened(&mut disk);
    assert_eq!((again.torn_bytes, again.next_write), (0, WriteId(3)));
}

#[test]
fn f3_whole_frames_after_a_torn_one_of_the_same_sync_are_dropped_with_it() {
    let mut disk = written_singly(1);
    let (_, mut wal, _) = opened(&mut disk);
    let batch: Vec<LogOrder> = (2..=4)
        .map(|at| write(at, None, vec![entry(1, at, &format!("body {at}"))]))
        .collect();
    wal.run(&mut disk, &batch).unwrap();
    for inside in [0, 4, 30, 110, 130, 150] {
        let mut disk = disk.clone();
        let torn = FRAMES + frame_of("body 1");
        disk.flip_bit(&segment_name(1), torn + inside, 1);
        let (recovered, ..) = opened(&mut disk);
        assert_eq!(indices(&recovered), [1]);
        assert!(recovered.torn_bytes >= 3 * frame_of("body 1") - 8);
        assert_eq!(recovered.next_write, WriteId(2));
    }
}

/// What cannot be read, in ranges, after an opening; and what is told of it.
fn unreadable(disk: &mut SimDisk) -> (Vec<(u64, u64, bool)>, String) {
    let (recovered, ..) = opened(disk);
    let ranges = recovered.unreadable.iter();
    let ranges = ranges.map(|lost| (lost.first.0, lost.last.0, lost.may_hold_config));
    (ranges.collect(), recovered.mended.join("\n"))
}

#[test]
fn f4_lost_frames_that_a_later_sync_vouches_for_are_named_by_the_next_whole_one() {
    let disk = written_singly(5);
    let length = frame_of("body 1");
    for (bad, good) in [(2, 3), (3, 4), (2, 4)] {
        for inside in [0, 4, 12, 100, 112, 120, 130] {
            let mut disk = disk.clone();
            for lost in bad..good {
                let at = FRAMES + (lost - 1) * length;
                disk.flip_bit(&segment_name(1), at + inside, 1);
            }
            let at = FRAMES + (bad - 1) * length;
            let (ranges, text) = unreadable(&mut disk);
            assert_eq!(ranges, [(bad, good - 1, true)], "{inside}: {text}");
            assert_names(&text, &[&segment_name(1), &format!("byte {at}"), "synced"]);
            // It is so at every opening, and what is written behind it stands.
            let (found, mut wal, _) = opened(&mut disk);
            assert_eq!(indices(&found), [1, 2, 3, 4, 5]);
            let order = write(6, None, vec![entry(1, 6, "body 6")]);
            wal.run(&mut disk, &[order]).unwrap();
            assert_eq!(unreadable(&mut disk).0, [(bad, good - 1, true)]);
        }
    }
}

#[test]
fn f4_lost_first_frames_of_a_segment_are_named_by_the_next_one_of_the_life_that_began_it() {
    // A release has taken the earlier segments, with all frames that would tell.
    let mut disk = SimDisk::new();
    let first = fill_segments(&mut disk, 2);
    let (_, mut wal, mut store) = opened(&mut disk);
    let covered = meta(1, first - 1);
    take_snapshot(&mut disk, &mut store, covered, &mut Ledger::of(&[1]), 64).unwrap();
    let upto = Index(first - 1);
    wal.run(&mut disk, &[LogOrder::Release { upto }]).unwrap();
    assert_eq!(disk.size(&segment_name(1)).unwrap(), None);
    let order = write(first + 1, None, vec![entry(1, first + 1, "new")]);
    wal.run(&mut disk, &[order]).unwrap();
    disk.flip_bit(&segment_name(2), FRAMES + 12, 1);
    assert_eq!(unreadable(&mut disk).0, [(first, first, true)]);
}

#[test]
fn f4_lost_frames_with_nothing_before_them_to_tell_whose_the_next_one_is_are_damage() {
    let mut disk = SimDisk::default();
    drop(opened(&mut disk));
    let expect = Expect {
        fresh_incarnation: 98,
        ..expect()
    };
    let (_, mut wal, _) = open::<Ledger>(&mut disk, &options(SMALL), expect).unwrap();
    for at in 1..=4 {
        let order = write(at, None, vec![entry(1, at, &format!("body {at}"))]);
        wal.run(&mut disk, &[order]).unwrap();
    }
    disk.flip_bit(&segment_name(1), FRAMES + 12, 1);
    let text = damage_text(&mut disk);
    assert_names(
        &text,
        &[&segment_name(1), &format!("byte {FRAMES}"), "synced"],
    );
    assert_names(
        &text,
        &["after write 0: entries 1 to 1, from 1 on of term 1"],
    );
    assert_names(&refusal(&mut disk).to_string(), &[&text, "add it again"]);
}

#[test]
fn f4_a_head_that_knows_no_life_leaves_that_of_the_segment_before() {
    // As an earlier program wrote it: once, with a zero where the life is now.
    let mut disk = SimDisk::new();
    let last = fill_segments(&mut disk, 2);
    let (_, mut wal, _) = opened(&mut disk);
    let order = write(last + 1, None, vec![entry(1, last + 1, "new")]);
    wal.run(&mut disk, &[order]).unwrap();
    let without_life = |disk: &mut SimDisk, name: &str| {
        let block = disk.read(name, 0, 4096).unwrap();
        let (mut head, _) = SegmentHead::decode(&block).unwrap();
        assert_ne!(head.life, 0);
        head.life = 0;
        let (mut bytes, _) = head.encode();
        bytes[1024..1536].fill(0);
        disk.damage(name, 0, &bytes[..2048]);
        // Only its first frame hangs on the head's checksum, and that is the one that is lost.
        disk.flip_bit(name, FRAMES + 12, 1);
    };
    without_life(&mut disk, &segment_name(2));
    assert_eq!(unreadable(&mut disk).0, [(last, last, true)]);
    // Where no frame before it tells, nothing is believed.
    let mut disk = written_singly(3);
    without_life(&mut disk, &segment_name(1));
    assert_names(&damage_text(&mut disk), &["synced"]);
}

#[test]
fn f4_a_frame_of_another_life_behind_lost_ones_is_not_believed() {
    // Three lives: what the last two wrote may as well be a client's bytes that look like it.
    let mut disk = written_singly(2);
    for (life, at) in [(98, 3), (99, 4)] {
        let expect = Expect {
            fresh_incarnation: life,
            ..expect()
        };
        let (_, mut wal, _) = open::<Ledger>(&mut disk, &options(SMALL), expect).unwrap();
        let order = write(at, None, vec![entry(1, at, &format!("body {at}"))]);
        wal.run(&mut disk, &[order]).unwrap();
    }
    let (_, mut wal, _) = opened(&mut disk);
    wal.run(&mut disk, &[write(5, None, vec![])]).unwrap();
    disk.flip_bit(&segment_name(1), FRAMES + 2 * frame_of("body 3") + 9, 1);
    assert_names(&damage_text(&mut disk), &["byte 4416", "synced"]);
}

#[test]
fn f4_lost_frames_in_which_the_term_changes_are_damage() {
    let mut disk = written_singly(2);
    let (_, mut wal, _) = opened(&mut disk);
    for at in 3..=5 {
        let order = write(at, None, vec![entry(2, at, &format!("body {at}"))]);
        wal.run(&mut disk, &[order]).unwrap();
    }
    disk.flip_bit(&segment_name(1), FRAMES + 2 * frame_of("body 3") + 9, 1);
    damage_text(&mut disk);
}

#[test]
fn f4_a_lost_truncation_is_made_good_if_the_log_is_known_up_to_there() {
    let mut disk = written_singly(4);
    let (_, mut wal, _) = opened(&mut disk);
    wal.run(&mut disk, &[write(5, None, vec![])]).unwrap();
    // The log is cut to two entries and nothing else; then it grows.
    wal.run(&mut disk, &[write(6, Some(3), vec![])]).unwrap();
    let order = write(7, None, vec![entry(2, 3, "other")]);
    wal.run(&mut disk, &[order]).unwrap();
    wal.run(&mut disk, &[write(8, None, vec![])]).unwrap();
    let cut = FRAMES + 4 * frame_of("body 1") + headwater_replica::record::frame_bytes(&[]);
    disk.flip_bit(&segment_name(1), cut + 9, 1);
    let (found, ..) = opened(&mut disk);
    let ids: Vec<_> = found.entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [id(1, 1), id(1, 2), id(2, 3)]);
    assert!(found.unreadable.is_empty());
    assert_names(&found.mended[0], &["are not concerned"]);
}

#[test]
fn f5_a_bad_body_is_named_by_its_identifier() {
    for bad in 1..=3 {
        let mut disk = written_singly(4);
        let body = FRAMES + (bad - 1) * frame_of("body 1") + 148;
        disk.flip_bit(&segment_name(1), body + 1, 3);
        let (ranges, text) = unreadable(&mut disk);
        assert_eq!(ranges, [(bad, bad, false)]);
        assert_names(&text, &[&format!("the body of entry {bad}@t1")]);
    }
}

#[test]
fn f5_a_configuration_that_cannot_be_read_is_known_to_be_one() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    let body = b"whatever it says".to_vec().into();
    let config = Entry::new(id(1, 1), EntryKind::Config, body);
    wal.run(&mut disk, &[write(1, None, vec![config])]).unwrap();
    wal.run(&mut disk, &[write(2, None, vec![])]).unwrap();
    disk.flip_bit(&segment_name(1), FRAMES + 150, 3);
    assert_eq!(unreadable(&mut disk).0, [(1, 1, true)]);
}

#[test]
fn f6_what_is_lost_in_a_segment_that_another_follows_is_named_by_that_ones_head() {
    let mut disk = SimDisk::new();
    fill_segments(&mut disk, 2);
    // The segment's very last frame: nothing after it but the next segment.
    let frame = frame_of(&"x".repeat(700));
    let last = FRAMES + (4096 / frame - 1) * frame;
    for inside in [3, 20, 140, 400] {
        let mut disk = disk.clone();
        disk.flip_bit(&segment_name(1), last + inside, 7);
        let (ranges, text) = unreadable(&mut disk);
        assert_eq!(ranges, [(4, 4, inside < 148)]);
        assert_names(&text, &[&segment_name(1), &format!("byte {last}")]);
        assert_names(&text, &[&segment_name(2), "begun after it was synced"]);
    }
}

#[test]
fn f7_a_bad_last_frame_that_a_witness_vouches_for_is_damage_unless_it_names_its_entries() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    write_singly(&mut disk, &mut wal, 3);
    wal.idle(&mut disk).unwrap();
    let last = FRAMES + 2 * frame_of("body 1");
    for inside in [0, 40, 130, 150] {
        let mut disk = disk.clone();
        disk.flip_bit(&segment_name(1), last + inside, 0);
        let text = if inside < 148 {
            damage_text(&mut disk)
        } else {
            let (ranges, text) = unreadable(&mut disk);
            assert_eq!(ranges, [(3, 3, false)]);
            text
        };
        assert_names(&text, &["a witness says that write 3 was synced"]);
    }
}

/// Three writes are acknowledged, the fourth is torn, and the third is damaged in one place.
fn damaged_before_a_torn_tail(inside: u64, witness: bool) -> SimDisk {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    write_singly(&mut disk, &mut wal, 3);
    if witness {
        wal.idle(&mut disk).unwrap();
    }
    wal.run(&mut disk, &[write(4, None, vec![entry(1, 4, "body 4")])])
        .unwrap();
    let length = frame_of("body 1");
    disk.flip_bit(&segment_name(1), FRAMES + 2 * length + inside, 1);
    disk.flip_bit(&segment_name(1), FRAMES + 3 * length + 150, 1);
    disk
}

#[test]
fn f4_what_a_torn_frame_alone_proves_is_not_forgotten_with_it() {
    for witness in [false, true] {
        // A lost head: the torn frame is all that tells of it.
        damage_text(&mut damaged_before_a_torn_tail(20, witness));
        // A lost body, which is named: still so when the torn frame is gone.
        let mut disk = damaged_before_a_torn_tail(150, witness);
        for _ in 0..3 {
            let (found, ..) = opened(&mut disk);
            assert_eq!(indices(&found), [1, 2, 3], "witness {witness}");
            assert_eq!(found.unreadable.len(), 1);
            disk.power_cut(&mut Dice(7));
            disk.restart();
        }
        // Whenever power is lost while it is mended.
        for at in 1..40 {
            let mut disk = damaged_before_a_torn_tail(150, witness);
            disk.crash_after(at);
            if try_open(&mut disk).is_ok() {
                break;
            }
            disk.power_cut(&mut Dice(at));
            disk.restart();
            let (found, ..) = opened(&mut disk);
            assert_eq!(indices(&found), [1, 2, 3], "witness {witness}, call {at}");
        }
    }
}

#[test]
fn f12_what_is_written_again_is_read_again_and_old_damage_stays_harmless() {
    let mut disk = written_singly(5);
    let length = frame_of("body 1");
    disk.flip_bit(&segment_name(1), FRAMES + length + 20, 1);
    disk.flip_bit(&segment_name(1), FRAMES + 3 * length + 150, 1);
    assert_eq!(unreadable(&mut disk).0, [(2, 2, true), (4, 4, false)]);
    let (_, mut wal, _) = opened(&mut disk);
    let repair = |write: u64, at: u64| LogOrder::Repair {
        id: WriteId(write),
        hard: hard(1, 7),
        commit: Index(0),
        entries: vec![entry(1, at, &format!("body {at}"))],
    };
    wal.run(&mut disk, &[repair(6, 2)]).unwrap();
    assert_eq!(unreadable(&mut disk).0, [(4, 4, false)]);
    let (_, mut wal, _) = opened(&mut disk);
    wal.run(&mut disk, &[repair(7, 4)]).unwrap();
    let (found, ..) = opened(&mut disk);
    let (whole, ..) = opened(&mut written_singly(5));
    assert_eq!(found.entries, whole.entries);
    assert!(found.unreadable.is_empty());
    assert_names(&found.mended.join(""), &["2 to 2 were written again since"]);
    // A repair that is damaged itself is none.
    let (_, mut wal, _) = opened(&mut disk);
    wal.run(&mut disk, &[write(8, None, vec![])]).unwrap();
    disk.flip_bit(&segment_name(1), FRAMES + 6 * length + 150, 1);
    assert_eq!(unreadable(&mut disk).0, [(4, 4, false)]);
}

#[test]
fn f13_what_cannot_be_read_is_damage_where_nobody_else_has_it() {
    let alone = |disk: &mut SimDisk| {
        let expect = Expect {
            first_config: headwater_raft::Config::of_voters([NODE]),
            ..expect()
        };
        open::<Ledger>(disk, &options(SMALL), expect)
    };
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = alone(&mut disk).unwrap();
    write_singly(&mut disk, &mut wal, 3);
    disk.flip_bit(&segment_name(1), FRAMES + frame_of("body 1") + 150, 1);
    let Err(OpenError::Damaged(text)) = alone(&mut disk) else {
        panic!("it goes on without the entry");
    };
    assert_names(&text, &["the body of entry 2@t1", "no other member"]);
}

#[test]
fn f14_the_log_begins_behind_what_a_snapshot_covers_and_cannot_be_read() {
    let mut disk = written_singly(5);
    let (_, _, mut store) = opened(&mut disk);
    let mut machine = Ledger::of(&[1]);
    take_snapshot(&mut disk, &mut store, meta(1, 3), &mut machine, 64).unwrap();
    let length = frame_of("body 1");
    for (bad, base) in [(2, 2), (3, 3), (4, 0)] {
        let mut disk = disk.clone();
        disk.flip_bit(&segment_name(1), FRAMES + (bad - 1) * length + 150, 1);
        let (found, ..) = opened(&mut disk);
        assert_eq!(found.log_base.index, Index(base));
        assert_eq!(found.unreadable.is_empty(), bad <= 3);
    }
}

#[test]
fn f8_a_torn_witness_vouches_for_nothing_and_harms_nothing() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    write_singly(&mut disk, &mut wal, 3);
    wal.idle(&mut disk).unwrap();
    disk.flip_bit(&segment_name(1), 2048 + 17, 0);
    let (recovered, ..) = opened(&mut disk);
    assert_eq!(indices(&recovered), [1, 2, 3]);
}

#[test]
fn f9_a_whole_unacknowledged_frame_is_kept_and_made_durable() {
    for seed in 0..20 {
        let mut disk = written_singly(1);
        let (_, mut wal, _) = opened(&mut disk);
        disk.fail_sync(1, Dice(seed));
        let order = write(2, None, vec![entry(1, 2, "body 2")]);
        wal.run(&mut disk, &[order]).unwrap_err();
        // The process starts again on the same page cache, whose pages count as clean.
        let (recovered, ..) = opened(&mut disk);
        assert_eq!(indices(&recovered), [1, 2]);
        disk.power_cut(&mut Dice(seed));
        disk.restart();
        let (again, ..) = opened(&mut disk);
        assert_eq!(indices(&again), [1, 2], "what recovery answered is durable");
    }
}

#[test]
fn f9_what_is_written_again_is_what_was_checked() {
    // A read brings a wrong bit, once; each read of an opening in turn.
    let mut went_on = 0;
    for nth in 1..12 {
        for seed in 0..20 {
            let mut disk = written_singly(3);
            disk.misread(nth, Rot::Bits, Dice(seed));
            let before = disk.contents();
            let Ok((recovered, ..)) = try_open(&mut disk) else {
                assert_eq!(
                    before,
                    disk.contents(),
                    "a refused opening changed something"
                );
                continue;
            };
            went_on += u64::from(disk.take_misread().is_some());
            disk.power_cut(&mut Dice(seed));
            disk.restart();
            let (again, ..) = opened(&mut disk);
            assert_eq!(
                indices(&again),
                indices(&recovered),
                "read {nth}, seed {seed}"
            );
        }
    }
    assert!(went_on > 0);
}

#[test]
fn f10_frames_that_do_not_meet_the_next_segments_chain_are_told_of() {
    let mut disk = SimDisk::new();
    let mut twin = SimDisk::new();
    fill_segments(&mut disk, 2);
    // An equal log but for the life that wrote it: whole in itself, of another chain.
    opened(&mut twin);
    let expect = Expect {
        fresh_incarnation: 1,
        ..expect()
    };
    let (_, mut wal, _) = open::<Ledger>(&mut twin, &options(SMALL), expect).unwrap();
    for at in 1..=5 {
        let order = write(at, None, vec![entry(1, at, &"x".repeat(700))]);
        wal.run(&mut twin, &[order]).unwrap();
    }
    let bytes = twin.read(&segment_name(1), 0, SMALL as usize).unwrap();
    disk.write(&segment_name(1), 0, &bytes).unwrap();
    // No entry is missing, and it is told.
    let (ranges, text) = unreadable(&mut disk);
    assert!(ranges.is_empty());
    assert_names(&text, &[&segment_name(1), "are not concerned"]);
}

#[test]
fn f11_stale_frames_behind_a_torn_one_never_come_back() {
    // Two frames share a sync; the power cut tears the first and keeps the second.
    let mut disk = written_singly(1);
    let (_, mut wal, _) = opened(&mut disk);
    let batch: Vec<LogOrder> = (2..=3)
        .map(|at| write(at, None, vec![entry(1, at, "lost")]))
        .collect();
    wal.run(&mut disk, &batch).unwrap();
    let torn = FRAMES + frame_of("body 1");
    disk.flip_bit(&segment_name(1), torn + 150, 0);
    let (recovered, mut wal, _) = opened(&mut disk);
    assert_eq!(indices(&recovered), [1]);
    // A write of exactly the torn frame's place and content leads to where the stale one was.
    let order = write(2, None, vec![entry(1, 2, "lost")]);
    wal.run(&mut disk, &[order]).unwrap();
    let (again, ..) = opened(&mut disk);
    assert_eq!(indices(&again), [1, 2]);
    assert_eq!(again.torn_bytes, 0);
}

#[test]
fn f11_a_stale_frame_that_was_not_wiped_never_follows_a_rewritten_one() {
    let mut disk = written_singly(1);
    let (_, mut wal, _) = opened(&mut disk);
    // The second of them begins where a sector does: others are written over with the one before.
    let body = "lost".repeat(51);
    let batch: Vec<LogOrder> = (2..=3)
        .map(|at| write(at, None, vec![entry(1, at, &body)]))
        .collect();
    wal.run(&mut disk, &batch).unwrap();
    let torn = FRAMES + frame_of("body 1");
    let stale = torn + frame_of(&body);
    assert_eq!(stale % 512, 0);
    let lost = disk
        .read(&segment_name(1), stale, frame_of(&body) as usize)
        .unwrap();
    disk.flip_bit(&segment_name(1), torn + 150, 0);
    let later = Expect {
        fresh_incarnation: 99,
        ..expect()
    };
    let (_, mut wal, _) = open::<Ledger>(&mut disk, &options(SMALL), later).unwrap();
    // A disk that lied about wiping: the second frame is there as before.
    disk.write(&segment_name(1), stale, &lost).unwrap();
    let order = write(2, None, vec![entry(1, 2, &body)]);
    wal.run(&mut disk, &[order]).unwrap();
    let (again, ..) = opened(&mut disk);
    assert_eq!(indices(&again), [1, 2]);
    assert_eq!(again.torn_bytes, frame_of(&body));
}

// Frames in a file that was an earlier segment's.

/// The length of a body whose frame is two sectors, so that a frame of before begins behind it unharmed.
const BODY: usize = 2 * 512 - 148;

/// Three segments, and a snapshot that covers all but the last one's entries; and the last entry.
fn covered(disk: &mut SimDisk) -> (Wal, SnapshotStore, u64) {
    let (_, mut wal, mut store) = opened(disk);
    let last = fill_to(disk, &mut wal, 0, 3, BODY);
    let covered = meta(1, last - 1);
    take_snapshot(disk, &mut store, covered, &mut Ledger::of(&[1]), 64).unwrap();
    (wal, store, last)
}

/// The same with the first two segments released.
fn released(disk: &mut SimDisk) -> (Wal, SnapshotStore, u64) {
    let (mut wal, store, last) = covered(disk);
    let upto = Index(last - 1);
    wal.run(disk, &[LogOrder::Release { upto }]).unwrap();
    (wal, store, last)
}

/// A log whose fourth and last segment is in the file of the first, with one frame; and its entry.
fn recycled() -> (SimDisk, Wal, u64) {
    let mut disk = SimDisk::new();
    let (mut wal, _, last) = released(&mut disk);
    let last = fill_to(&mut disk, &mut wal, last, 4, BODY);
    assert_eq!(wal.recycled(), 1);
    let block = disk.read(&segment_name(4), 0, 4096).unwrap();
    assert!(SegmentHead::decode(&block).unwrap().0.is_recycled);
    (disk, wal, last)
}

/// Where the first frame behind that one is.
const SECOND: u64 = FRAMES + 2 * 512;

#[test]
fn f15_frames_of_an_earlier_use_end_the_log_and_are_neither_torn_nor_evidence() {
    let (mut disk, mut wal, mut last) = recycled();
    let name = segment_name(4);
    // The very next frame there is whole, and of the first segment.
    let bytes = disk.read(&name, SECOND, 4096).unwrap();
    let stale = headwater_replica::record::decode_frame_head(&bytes).unwrap();
    assert_eq!((stale.head.seq, stale.head.offset), (1, SECOND));
    let mut place = SECOND;
    loop {
        // With and without a witness, and whether power fails or not.
        for case in 0..4 {
            let mut disk = disk.clone();
            if case & 1 == 1 {
                let mut copy = disk.clone();
                drop(opened(&mut copy));
                disk = copy;
            }
            if case & 2 == 2 {
                disk.power_cut(&mut Dice(case));
                disk.restart();
            }
            let (found, ..) = opened(&mut disk);
            assert_eq!((found.torn_bytes, found.mended.len()), (0, 0));
            assert_eq!(found.next_write, WriteId(last + 1));
            // No more is wiped than where the next frame's head will be.
            let behind = (place + 128).min(SMALL);
            let wiped = disk.read(&name, place, (behind - place) as usize).unwrap();
            assert!(wiped.iter().all(|&byte| byte == 0));
        }
        // Frames of the same size lead from one stale frame to the next, others do not.
        let body = if last % 2 == 0 { BODY } else { BODY - 512 };
        let frame = (148 + body as u64).next_multiple_of(8);
        if place + frame > SMALL {
            break;
        }
        last += 1;
        let order = write(last, None, vec![entry(1, last, &"z".repeat(body))]);
        wal.run(&mut disk, &[order]).unwrap();
        wal.idle(&mut disk).unwrap();
        place += frame;
    }
    assert!(last > 10);
}

/// Bytes that a client may have sent: at `at`, a frame of segment `seq`, whole in itself, which knows
/// all writes to be durable.
fn forged(seq: u64, at: u64, life: u64) -> Vec<u8> {
    let head = FrameHead {
        seq,
        offset: at,
        id: WriteId(1000),
        durable: WriteId(999),
        life,
        hard: hard(1, 7),
        commit: Index(0),
        truncate_from: None,
        prev: id(1, 900),
        prev_run_first: Index(1),
        kind: FrameKind::Write,
        chain: 0,
    };
    let mut bytes = Vec::new();
    encode_frame(&head, &[], &mut bytes);
    bytes
}

#[test]
fn f15_what_a_client_wrote_into_an_earlier_use_is_no_evidence() {
    for (life, believed) in [(12345, false), (FIRST_LIFE, true)] {
        let (mut disk, ..) = recycled();
        let at = SECOND + 160;
        disk.write(&segment_name(4), at, &forged(4, at, life))
            .unwrap();
        if believed {
            // Nobody is told that number; who knew it could do harm, but no more than this.
            damage_text(&mut disk);
            continue;
        }
        for _ in 0..2 {
            let (found, ..) = opened(&mut disk);
            assert_eq!((found.torn_bytes, found.mended.len()), (0, 0));
        }
        // One of another life began the segment; then only its own frames count.
        let mut disk = written_singly(1);
        let at = FRAMES + 800;
        disk.write(&segment_name(1), at, &forged(1, at, life))
            .unwrap();
        damage_text(&mut disk);
    }
}

#[test]
fn f16_frames_of_this_use_behind_a_torn_one_are_dropped_with_it() {
    let (mut disk, mut wal, last) = recycled();
    let batch: Vec<LogOrder> = (last + 1..=last + 3)
        .map(|at| write(at, None, vec![entry(1, at, "in a group")]))
        .collect();
    wal.run(&mut disk, &batch).unwrap();
    let frame = frame_of("in a group");
    for inside in [0, 4, 30, 110, 130, 150] {
        let mut disk = disk.clone();
        disk.flip_bit(&segment_name(4), SECOND + inside, 1);
        let before = disk
            .read(&segment_name(4), SECOND + 3 * frame, 4096)
            .unwrap();
        let (found, mut wal, _) = opened(&mut disk);
        assert_eq!(found.next_write, WriteId(last + 1));
        assert_eq!(found.torn_bytes, 3 * frame);
        let tail = disk.read(&segment_name(4), SECOND, 4096).unwrap();
        assert!(tail[..3 * frame as usize].iter().all(|&byte| byte == 0));
        assert_eq!(tail[3 * frame as usize..], before, "what is stale stays");
        let order = write(last + 1, None, vec![entry(1, last + 1, "in a group")]);
        wal.run(&mut disk, &[order]).unwrap();
        let (again, ..) = opened(&mut disk);
        assert_eq!((again.torn_bytes, again.next_write), (0, WriteId(last + 2)));
    }
    // The last one alone: of a lost head nothing is told, of a lost body its place.
    for (inside, torn) in [(4, 0), (150, frame)] {
        let mut disk = disk.clone();
        disk.flip_bit(&segment_name(4), SECOND + 2 * frame + inside, 1);
        let (found, ..) = opened(&mut disk);
        assert_eq!(
            (found.torn_bytes, found.next_write),
            (torn, WriteId(last + 3))
        );
        let (again, ..) = opened(&mut disk);
        assert_eq!((again.torn_bytes, again.next_write), (0, WriteId(last + 3)));
    }
}

/// The same log, and two frames more by a later life, of which the first is lost.
fn lost_first_of_a_life(witness: bool) -> (SimDisk, u64) {
    let (mut disk, _, last) = recycled();
    let expect = Expect {
        fresh_incarnation: 98,
        ..expect()
    };
    let (_, mut wal, _) = open::<Ledger>(&mut disk, &options(SMALL), expect).unwrap();
    for at in last + 1..=last + 2 {
        let order = write(at, None, vec![entry(1, at, &format!("body {at}"))]);
        wal.run(&mut disk, &[order]).unwrap();
        if witness {
            wal.idle(&mut disk).unwrap();
        }
    }
    disk.flip_bit(&segment_name(4), SECOND + 9, 1);
    (disk, last)
}

#[test]
fn f17_a_frame_of_a_life_that_a_witness_names_is_evidence_before_any_of_its_frames_is_read() {
    for witness in [false, true] {
        let (mut disk, _) = lost_first_of_a_life(witness);
        let text = damage_text(&mut disk);
        assert_names(
            &text,
            &[&segment_name(4), &format!("byte {SECOND}"), "synced"],
        );
    }
}

#[test]
fn f17_where_a_witness_is_damaged_every_frame_of_the_segments_number_is_evidence() {
    let (mut disk, _) = lost_first_of_a_life(false);
    for slot in [2048, 3072] {
        disk.flip_bit(&segment_name(4), slot + 25, 1);
        damage_text(&mut disk);
    }
    // An earlier program's witness names no life.
    let (mut disk, _) = lost_first_of_a_life(false);
    for slot in [2048, 3072] {
        let witness = headwater_replica::segment_head::encode_witness(4, WriteId(1), 0);
        disk.write(&segment_name(4), slot, &witness).unwrap();
    }
    damage_text(&mut disk);
}

// Snapshots.

/// Ten entries, a snapshot of the first `covered`, and maybe a release of them.
fn with_snapshot(covered: &[u64]) -> SimDisk {
    let mut disk = SimDisk::new();
    let (_, mut wal, mut store) = opened(&mut disk);
    write_singly(&mut disk, &mut wal, 10);
    for &index in covered {
        let sums: Vec<u64> = (1..=index).collect();
        let done = take_snapshot(
            &mut disk,
            &mut store,
            meta(1, index),
            &mut Ledger::of(&sums),
            16,
        );
        assert!(matches!(done, Ok(Some(FileDone::Taken(m))) if m == meta(1, index)));
    }
    disk
}

#[test]
fn p1_the_newest_whole_snapshot_is_loaded() {
    let mut disk = with_snapshot(&[3, 5]);
    let (recovered, _, _) = opened(&mut disk);
    assert_eq!(recovered.base, id(1, 5));
    assert_eq!(recovered.config, meta(1, 5).config);
    assert_eq!(recovered.machine, Ledger::of(&[1, 2, 3, 4, 5]));
    assert_eq!(indices(&recovered), (1..=10).collect::<Vec<_>>());
    assert_eq!(recovered.commit, Index(5));
    assert!(recovered.mended.is_empty());
}

#[test]
fn p2_unfinished_snapshots_are_removed() {
    let mut disk = with_snapshot(&[3]);
    for unfinished in [
        "snap/0000000000000001-0000000000000009.tmp",
        "snap/reserve.tmp",
        &part_file(1, 2),
        &part_file(1, 3),
    ] {
        disk.write(unfinished, 0, b"half").unwrap();
    }
    let (recovered, ..) = opened(&mut disk);
    assert_eq!(recovered.base, id(1, 3));
    let left = disk.list("snap").unwrap();
    assert_eq!(left, [&snapshot_file(1, 3)["snap/".len()..]]);
}

#[test]
fn p11_what_was_being_received_stays_if_it_covers_more_and_goes_unless_it_is_gone_on_with() {
    let mut disk = with_snapshot(&[3]);
    for base in [(1, 8), (2, 20), (1, 19)] {
        disk.write(&part_file(base.0, base.1), 0, b"half").unwrap();
    }
    let kept = [snapshot_file(1, 3), part_file(2, 20)];
    let mut store = opened(&mut disk).2;
    assert_eq!(disk.contents().len(), 3 + 2 - 1, "{:?}", disk.contents());
    for name in &kept {
        assert!(disk.size(name).unwrap().is_some(), "{name}");
    }
    // It is not of the writing that a leader sends, by its first bytes.
    let first = FileOrder::Receive {
        base: id(2, 20),
        total_bytes: 1000,
        offset: 0,
        bytes: Bytes::from(vec![7; 100]),
    };
    let done = store.run::<Ledger>(&mut disk, first).unwrap();
    assert!(matches!(done, Some(FileDone::Received { upto: 100, .. })));
    let bytes = disk.read(&kept[1], 0, 1000).unwrap();
    assert_eq!(bytes, vec![7; 100]);
}

#[test]
fn p3_a_damaged_newest_gives_way_to_an_older_one_that_the_log_reaches() {
    let mut disk = with_snapshot(&[3, 5]);
    disk.flip_bit(&snapshot_file(1, 5), 130, 2);
    let (recovered, _, _) = opened(&mut disk);
    assert_eq!(recovered.base, id(1, 3));
    assert_eq!(recovered.machine, Ledger::of(&[1, 2, 3]));
    assert_names(
        &recovered.mended[0],
        &[&snapshot_file(1, 5), "byte", "check"],
    );
    // The next start finds nothing amiss, and serves nothing that is damaged.
    let (again, _, _) = opened(&mut disk);
    assert_eq!(again.base, id(1, 3));
    assert!(again.mended.is_empty());
}

#[test]
fn p4_a_damaged_only_snapshot_gives_way_to_a_log_from_the_beginning() {
    let mut disk = with_snapshot(&[5]);
    disk.flip_bit(&snapshot_file(1, 5), 60, 2);
    let (recovered, _, _) = opened(&mut disk);
    assert_eq!(recovered.base, id(0, 0));
    assert_eq!(recovered.config, first_config());
    assert_eq!(recovered.machine, Ledger::default());
    assert_eq!(indices(&recovered), (1..=10).collect::<Vec<_>>());
    assert_eq!(recovered.mended.len(), 1);
}

#[test]
fn p5_a_damaged_snapshot_that_nothing_stands_in_for_is_damage() {
    let mut disk = SimDisk::new();
    let last = fill_segments(&mut disk, 3);
    let (recovered, mut wal, mut store) = opened(&mut disk);
    assert_eq!(recovered.entries.len() as u64, last);
    take_snapshot(
        &mut disk,
        &mut store,
        meta(1, last),
        &mut Ledger::of(&[1]),
        64,
    )
    .unwrap();
    let upto = Index(last);
    wal.run(&mut disk, &[LogOrder::Release { upto }]).unwrap();
    assert_eq!(segments(&mut disk), 1);
    let mut whole = disk.clone();
    assert_eq!(opened(&mut whole).0.base, id(1, last));

    let mut damaged = disk.clone();
    damaged.flip_bit(&snapshot_file(1, last), 64, 2);
    let text = damage_text(&mut damaged);
    assert_names(
        &text,
        &[&snapshot_file(1, last), "the log begins after entry"],
    );
    disk.remove(&snapshot_file(1, last)).unwrap();
    assert_names(&damage_text(&mut disk), &["covers 0@t0"]);
}

#[test]
fn p6_a_snapshot_ahead_of_the_log_voids_it() {
    let mut disk = with_snapshot(&[]);
    let (_, _, mut store) = opened(&mut disk);
    take_snapshot(
        &mut disk,
        &mut store,
        meta(2, 20),
        &mut Ledger::of(&[1]),
        64,
    )
    .unwrap();
    for round in 0..2 {
        let (recovered, mut wal, _) = opened(&mut disk);
        assert_eq!(recovered.base, id(2, 20));
        assert_eq!(recovered.log_base, id(2, 20));
        assert_eq!(recovered.entries, []);
        assert_eq!(recovered.commit, Index(20));
        assert_eq!(recovered.next_write, WriteId(12), "the reset is made once");
        if round == 1 {
            let order = write(12, None, vec![entry(2, 21, "goes on")]);
            wal.run(&mut disk, &[order]).unwrap();
        }
    }
    let (recovered, ..) = opened(&mut disk);
    assert_eq!(indices(&recovered), [21]);
}

#[test]
fn p7_a_snapshot_that_contradicts_the_log_voids_it() {
    let mut disk = with_snapshot(&[]);
    let (_, _, mut store) = opened(&mut disk);
    take_snapshot(&mut disk, &mut store, meta(3, 8), &mut Ledger::of(&[1]), 64).unwrap();
    let (recovered, ..) = opened(&mut disk);
    assert_eq!((recovered.base, recovered.log_base), (id(3, 8), id(3, 8)));
    assert_eq!(recovered.entries, []);
}

#[test]
fn p8_a_snapshot_of_another_cluster_is_foreign() {
    let mut other = SimDisk::new();
    let expect = Expect {
        cluster: 5,
        ..expect()
    };
    let (_, _, mut store) = open::<Ledger>(&mut other, &options(SMALL), expect).unwrap();
    take_snapshot(
        &mut other,
        &mut store,
        meta(1, 2),
        &mut Ledger::of(&[1]),
        64,
    )
    .unwrap();
    let bytes = other.read(&snapshot_file(1, 2), 0, 4096).unwrap();
    let mut disk = written_singly(3);
    disk.write(&snapshot_file(1, 2), 0, &bytes).unwrap();
    let error = refusal(&mut disk);
    let OpenError::Foreign(text) = error else {
        panic!("not foreign: {error}");
    };
    assert_names(&text, &["cluster 5,", "not of 123456789abcdef"]);
}

#[test]
fn p9_a_snapshot_under_another_ones_name_counts_as_damaged() {
    let mut disk = with_snapshot(&[3]);
    disk.rename(&snapshot_file(1, 3), &snapshot_file(1, 4))
        .unwrap();
    let (recovered, _, _) = opened(&mut disk);
    assert_eq!(recovered.base, id(0, 0));
    assert_names(&recovered.mended[0], &["another's name"]);
}

#[test]
fn p10_a_damaged_snapshot_that_was_ahead_of_the_log_is_damage() {
    // Beyond the log's end, then in contradiction to it; alone, and with an older one beside it.
    for (older, (term, index)) in [(&[][..], (2, 20)), (&[3], (2, 20)), (&[3], (3, 8))] {
        let mut disk = with_snapshot(older);
        let (_, _, mut store) = opened(&mut disk);
        let mut state = Ledger::of(&[1]);
        take_snapshot(&mut disk, &mut store, meta(term, index), &mut state, 64).unwrap();
        let name = snapshot_file(term, index);
        disk.flip_bit(&name, 64, 2);
        let missing = format!("lacks entry {}", id(term, index));
        assert_names(&damage_text(&mut disk), &[&name, &missing]);
    }
}

#[test]
fn a_release_follows_a_truncation_across_segments() {
    // Segment 2 begins with a truncation of what segment 1 ended with; segment 1 goes.
    let mut disk = SimDisk::new();
    let first = fill_segments(&mut disk, 2);
    let (_, mut wal, mut store) = opened(&mut disk);
    let from = first - 2;
    let new: Vec<_> = (from..=first + 1).map(|at| entry(2, at, "new")).collect();
    wal.run(&mut disk, &[write(first + 1, Some(from), new)])
        .unwrap();
    let covered = first;
    take_snapshot(
        &mut disk,
        &mut store,
        meta(2, covered),
        &mut Ledger::of(&[1]),
        64,
    )
    .unwrap();
    let upto = Index(covered);
    wal.run(&mut disk, &[LogOrder::Release { upto }]).unwrap();
    assert_eq!(disk.size(&segment_name(1)).unwrap(), None);
    let (recovered, ..) = opened(&mut disk);
    assert_eq!(recovered.base, id(2, covered));
    let after: Vec<_> = recovered
        .entries
        .iter()
        .filter(|e| e.id.index > upto)
        .collect();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].id, id(2, first + 1));
    assert!(recovered.log_base.index < Index(covered));
}

#[test]
fn a_log_of_one_empty_segment_still_knows_term_vote_and_place() {
    let big = |at| write(at, None, vec![entry(4, at, &"x".repeat(3000))]);
    // The next segment is begun, but its first frame does not get there.
    let begun = (0..).find_map(|seed| {
        let mut disk = SimDisk::new();
        let (_, mut wal, _) = opened(&mut disk);
        wal.run(&mut disk, &[big(1)]).unwrap();
        disk.crash_after(6);
        wal.run(&mut disk, &[big(2)]).unwrap_err();
        disk.power_cut(&mut Dice(seed));
        disk.restart();
        let (recovered, ..) = opened(&mut disk);
        let begun = disk.size(&segment_name(2)).unwrap().is_some();
        (begun && indices(&recovered) == [1]).then_some(disk)
    });
    let mut disk = begun.unwrap();
    let (before, mut wal, mut store) = opened(&mut disk);
    take_snapshot(&mut disk, &mut store, meta(4, 1), &mut Ledger::of(&[1]), 64).unwrap();
    let upto = Index(1);
    wal.run(&mut disk, &[LogOrder::Release { upto }]).unwrap();
    assert_eq!(segments(&mut disk), 1);
    let (after, mut wal, _) = opened(&mut disk);
    assert_eq!(after.hard, hard(4, 7));
    assert_eq!(after.hard, before.hard);
    assert_eq!(after.next_write, WriteId(2));
    assert_eq!((after.log_base, after.entries), (id(4, 1), vec![]));
    wal.run(&mut disk, &[big(2)]).unwrap();
    assert_eq!(indices(&opened(&mut disk).0), [2]);
}
