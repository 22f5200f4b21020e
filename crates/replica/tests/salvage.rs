//! What a lost quorum left becomes the first directory of a new cluster, whole or not at all.
#![allow(clippy::unwrap_used)]

mod wal_common;

use headwater_raft::{Config, Index, NodeId, Term, WriteId};
use headwater_replica::config_record::encode_config;
use headwater_replica::recovery::{Expect, OpenError, Recovered, open};
use headwater_replica::remains::Remains;
use headwater_replica::salvage::{Found, Salvaged, found_anew};
use headwater_replica::segment_head::{WITNESS_OFFSETS, encode_witness};
use headwater_replica::{Entry, EntryKind, LogOrder};
use headwater_sim::dice::Dice;
use headwater_sim::disk::SimDisk;
use wal_common::*;

const NEW_CLUSTER: u64 = CLUSTER + 1;
const NEW_NODE: NodeId = NodeId(0x77);

fn expect_new() -> Expect {
    Expect {
        cluster: NEW_CLUSTER,
        node: NEW_NODE,
        fresh_incarnation: 5,
        first_config: Config::of_voters([NEW_NODE]),
    }
}

fn open_new(disk: &mut SimDisk) -> Result<Recovered<Ledger>, OpenError> {
    open::<Ledger>(disk, &options(SMALL), expect_new()).map(|(recovered, ..)| recovered)
}

fn remains(disk: &mut SimDisk) -> Remains {
    let before = disk.contents();
    let remains = Remains::of::<Ledger>(disk).unwrap();
    assert_eq!(before, disk.contents(), "reading changed something");
    remains.expect("it holds data")
}

/// What these directories hold together, and the state in it.
fn in_all(disks: &mut [&mut SimDisk]) -> (Found, Salvaged<Ledger>) {
    let remains: Vec<Remains> = disks.iter_mut().map(|disk| remains(disk)).collect();
    let found = Found::in_all(&remains).unwrap();
    let from = found.snapshot.map_or(0, |(which, _)| which);
    let salvaged = found.salvage(disks[from], CLUSTER).unwrap();
    assert_eq!(salvaged.last, found.kept);
    (found, salvaged)
}

fn salvaged(disk: &mut SimDisk) -> Salvaged<Ledger> {
    in_all(&mut [disk]).1
}

/// Salvages a directory and opens what comes of it, after a power cut.
fn begun_anew(old: &mut SimDisk) -> Recovered<Ledger> {
    let mut new = SimDisk::new();
    let what = salvaged(old);
    found_anew(&mut new, &options(SMALL), expect_new(), what).unwrap();
    new.power_cut(&mut Dice(0));
    new.restart();
    open_new(&mut new).unwrap()
}

const SEGMENT: &str = "wal/0000000000000001.wal";

/// A log of entries of these terms, synced apart.
fn terms(terms: &[u64]) -> SimDisk {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    for (&term, at) in terms.iter().zip(1..) {
        let order = write(at, None, vec![entry(term, at, &format!("body {at}"))]);
        wal.run(&mut disk, &[order]).unwrap();
    }
    disk
}

/// Damages the body of an entry of a log of one-entry writes.
fn spoil_body(disk: &mut SimDisk, at: u64) {
    disk.flip_bit(SEGMENT, 4096 + (at - 1) * frame_of("body 1") + 150, 1);
}

/// Damages the head of its frame.
fn spoil_head(disk: &mut SimDisk, at: u64) {
    disk.flip_bit(SEGMENT, 4096 + (at - 1) * frame_of("body 1") + 20, 1);
}

fn sums(count: u64) -> Vec<u64> {
    let sum_of = |at| sum(format!("body {at}").as_bytes());
    (1..=count).map(sum_of).collect()
}

#[test]
fn every_entry_counts_and_the_new_log_goes_on_behind_them() {
    let mut old = written_singly(40);
    let recovered = begun_anew(&mut old);
    assert_eq!(recovered.machine.sums, sums(40));
    assert_eq!((recovered.base, recovered.log_base), (id(1, 40), id(1, 40)));
    assert!(recovered.entries.is_empty());
    assert_eq!(recovered.config, Config::of_voters([NEW_NODE]));
    assert_eq!(recovered.identity.cluster, NEW_CLUSTER);
    assert_eq!(
        (recovered.hard.term, recovered.hard.voted_for),
        (Term(1), None)
    );
    assert!(recovered.mended.is_empty());
}

#[test]
fn a_snapshot_and_the_log_behind_it_add_up() {
    let mut old = SimDisk::new();
    let (_, mut wal, mut store) = opened(&mut old);
    write_singly(&mut old, &mut wal, 20);
    let mut state = Ledger::of(&sums(12));
    take_snapshot(&mut old, &mut store, meta(1, 12), &mut state, 16).unwrap();
    drop(wal);
    let recovered = begun_anew(&mut old);
    assert_eq!(recovered.machine.sums, sums(20));
    assert_eq!(recovered.base, id(1, 20));
}

#[test]
fn a_command_that_came_with_a_change_of_members_counts() {
    let mut old = SimDisk::new();
    let (_, mut wal, _) = opened(&mut old);
    write_singly(&mut old, &mut wal, 3);
    let mut body = Vec::new();
    encode_config(&Config::of_voters([NodeId(7)]), &mut body);
    body.extend_from_slice(b"body 4");
    let change = Entry::new(id(1, 4), EntryKind::Config, body.into());
    wal.run(&mut old, &[write(4, None, vec![change])]).unwrap();
    drop(wal);
    let recovered = begun_anew(&mut old);
    assert_eq!(recovered.machine.sums, sums(4));
    assert_eq!(recovered.config, Config::of_voters([NEW_NODE]));
}

#[test]
fn a_snapshot_ahead_of_its_log_counts_alone() {
    let mut old = SimDisk::new();
    let (_, mut wal, mut store) = opened(&mut old);
    write_singly(&mut old, &mut wal, 3);
    let mut state = Ledger::of(&sums(9));
    take_snapshot(&mut old, &mut store, meta(2, 9), &mut state, 64).unwrap();
    drop(wal);
    let recovered = begun_anew(&mut old);
    assert_eq!(recovered.machine.sums, sums(9));
    assert_eq!((recovered.base, recovered.hard.term), (id(2, 9), Term(2)));
}

#[test]
fn what_was_overwritten_does_not_count_and_a_term_without_entries_does() {
    let mut old = SimDisk::new();
    let (_, mut wal, _) = opened(&mut old);
    write_singly(&mut old, &mut wal, 5);
    let overwrite = write(6, Some(4), vec![entry(2, 4, "body 4")]);
    wal.run(&mut old, &[overwrite]).unwrap();
    let LogOrder::Write(mut vote) = write(7, None, vec![]) else {
        unreachable!()
    };
    vote.hard = hard(9, 8);
    wal.run(&mut old, &[LogOrder::Write(vote)]).unwrap();
    drop(wal);
    let recovered = begun_anew(&mut old);
    assert_eq!(recovered.machine.sums, sums(4));
    assert_eq!((recovered.base, recovered.hard.term), (id(2, 4), Term(9)));
}

#[test]
fn an_empty_directory_has_nothing_to_give() {
    assert!(
        Remains::of::<Ledger>(&mut SimDisk::new())
            .unwrap()
            .is_none()
    );
}

#[test]
fn what_lies_behind_an_entry_that_cannot_be_read_does_not_count() {
    let mut old = written_singly(6);
    spoil_body(&mut old, 3);
    let (found, what) = in_all(&mut [&mut old]);
    assert_eq!((found.kept, found.known_to), (id(1, 2), id(1, 6)));
    assert_eq!(found.readable_behind, [(Index(4), Index(6))]);
    assert!(found.is_certain);
    assert_eq!(what.machine.sums, sums(2));
}

#[test]
fn directories_that_lack_different_entries_have_all_of_them_together() {
    let [mut one, mut other, mut third] = [6, 5, 4].map(written_singly);
    for (disk, lost) in [(&mut one, 3), (&mut other, 2), (&mut third, 4)] {
        spoil_head(disk, lost);
    }
    let (found, what) = in_all(&mut [&mut one, &mut other, &mut third]);
    assert_eq!((found.kept, found.known_to), (id(1, 6), id(1, 6)));
    assert!(found.readable_behind.is_empty());
    assert_eq!(what.machine.sums, sums(6));
}

#[test]
fn an_entry_of_another_term_does_not_stand_in_for_one_that_is_lost() {
    // The second one's leader was deposed with its third entry, of which the first one's knew nothing.
    let mut one = terms(&[1, 1, 3, 3]);
    let mut other = terms(&[1, 1, 2, 2]);
    spoil_body(&mut one, 3);
    let (found, what) = in_all(&mut [&mut one, &mut other]);
    assert_eq!((found.kept, found.known_to), (id(1, 2), id(3, 4)));
    assert_eq!(what.machine.sums, sums(2));
}

#[test]
fn where_a_change_of_terms_is_lost_the_highest_name_before_it_is_guessed() {
    let mut old = terms(&[1, 1, 2, 3, 3]);
    spoil_head(&mut old, 3);
    spoil_head(&mut old, 4);
    let (found, what) = in_all(&mut [&mut old]);
    assert_eq!((found.kept, found.known_to), (id(1, 2), id(3, 5)));
    assert!(!found.is_certain);
    assert_eq!(found.readable_behind, [(Index(5), Index(5))]);
    assert_eq!(what.machine.sums, sums(2));
}

#[test]
fn what_contradicts_a_committed_entry_is_not_kept() {
    let mut one = SimDisk::new();
    let (_, mut wal, _) = opened(&mut one);
    write_singly(&mut one, &mut wal, 4);
    let LogOrder::Write(mut last) = write(5, None, vec![entry(1, 5, "body 5")]) else {
        unreachable!()
    };
    last.commit = Index(4);
    wal.run(&mut one, &[LogOrder::Write(last)]).unwrap();
    drop(wal);
    // Of a higher term, and never committed.
    let mut other = terms(&[1, 1, 2]);
    let (found, what) = in_all(&mut [&mut one, &mut other]);
    assert_eq!((found.kept, found.committed), (id(1, 5), Index(4)));
    assert_eq!(what.machine.sums, sums(5));
}

#[test]
fn what_was_cut_off_is_not_known() {
    let mut old = SimDisk::new();
    let (_, mut wal, _) = opened(&mut old);
    write_singly(&mut old, &mut wal, 5);
    wal.run(&mut old, &[write(6, Some(4), vec![])]).unwrap();
    drop(wal);
    let (found, what) = in_all(&mut [&mut old]);
    assert_eq!((found.kept, found.known_to), (id(1, 3), id(1, 3)));
    assert_eq!(what.machine.sums, sums(3));
}

#[test]
fn a_directory_without_its_identity_is_known_by_its_log() {
    let mut old = written_singly(6);
    for at in [30, 4096 + 30] {
        old.flip_bit("identity", at, 1);
    }
    assert!(try_open(&mut old).is_err());
    let remains = remains(&mut old);
    assert_eq!(
        (remains.cluster, remains.identity.unwrap().node),
        (CLUSTER, NODE)
    );
    assert!(remains.damage[0].starts_with("identity: "), "{remains:?}");
    let (found, what) = in_all(&mut [&mut old]);
    assert_eq!((found.kept, found.known_to), (id(1, 6), id(1, 6)));
    assert_eq!(found.config, None);
    assert_eq!(what.machine.sums, sums(6));
}

#[test]
fn a_segment_without_its_head_is_read_all_the_same() {
    let last = "wal/0000000000000002.wal";
    for (segment, place) in [(1, SEGMENT), (2, last)] {
        let mut old = written_singly(40);
        for at in [30, 1024 + 30] {
            old.flip_bit(place, at, 1);
        }
        assert!(try_open(&mut old).is_err(), "segment {segment}");
        let (found, what) = in_all(&mut [&mut old]);
        assert_eq!((found.kept, found.known_to), (id(1, 40), id(1, 40)));
        assert_eq!(what.machine.sums, sums(40), "segment {segment}");
    }
}

#[test]
fn a_damaged_snapshot_counts_no_more_than_the_log_and_the_others() {
    let with_snapshot = |ahead: u64| {
        let mut disk = SimDisk::new();
        let (_, mut wal, mut store) = opened(&mut disk);
        write_singly(&mut disk, &mut wal, 6);
        let mut state = Ledger::of(&sums(ahead));
        take_snapshot(&mut disk, &mut store, meta(1, ahead), &mut state, 64).unwrap();
        disk
    };
    // The log has all that it covered.
    let mut old = with_snapshot(4);
    old.flip_bit(&snapshot_file(1, 4), 130, 1);
    let (found, what) = in_all(&mut [&mut old]);
    assert_eq!((found.kept, found.snapshot), (id(1, 6), None));
    assert_eq!(what.machine.sums, sums(6));
    // It does not: what was in the snapshot alone is lost, and known to have been committed.
    let mut old = with_snapshot(9);
    old.flip_bit(&snapshot_file(1, 9), 130, 1);
    assert!(try_open(&mut old).is_err());
    let (found, what) = in_all(&mut [&mut old]);
    assert_eq!((found.kept, found.known_to), (id(1, 6), id(1, 9)));
    assert_eq!(found.committed, Index(9));
    assert_eq!(what.machine.sums, sums(6));
    // Another one's snapshot.
    let (found, what) = in_all(&mut [&mut old, &mut with_snapshot(8)]);
    assert_eq!(
        (found.kept, found.snapshot),
        (id(1, 8), Some((1, id(1, 8))))
    );
    assert_eq!(what.machine.sums, sums(8));
}

#[test]
fn a_torn_end_is_no_damage_and_a_lost_one_is_open() {
    let last = 4096 + 5 * frame_of("body 1");
    let mut torn = written_singly(6);
    torn.flip_bit(SEGMENT, last + 20, 1);
    let remains_of = remains(&mut torn);
    assert!(
        remains_of.damage.is_empty() && !remains_of.has_open_end,
        "{remains_of:?}"
    );
    let mut lost = written_singly(6);
    let witness = encode_witness(1, WriteId(6), 0);
    lost.damage(SEGMENT, WITNESS_OFFSETS[0] as u64, &witness);
    lost.flip_bit(SEGMENT, last + 20, 1);
    let remains_of = remains(&mut lost);
    assert_eq!(remains_of.damage.len(), 1, "{remains_of:?}");
    assert!(remains_of.has_open_end);
    let (found, _) = in_all(&mut [&mut lost]);
    assert_eq!((found.kept, found.known_to), (id(1, 5), id(1, 5)));
}

#[test]
fn whatever_byte_is_damaged_no_entry_is_kept_that_was_not_written() {
    let mut old = SimDisk::new();
    let (_, mut wal, mut store) = opened(&mut old);
    write_singly(&mut old, &mut wal, 30);
    let mut state = Ledger::of(&sums(12));
    take_snapshot(&mut old, &mut store, meta(1, 12), &mut state, 16).unwrap();
    drop(wal);
    let all = sums(30);
    for (name, bytes) in old.contents() {
        for at in (0..bytes.len()).filter(|&at| (bytes[at] != 0 && at % 7 == 0) || at % 997 == 0) {
            old.flip_bit(&name, at as u64, 3);
            let (found, what) = in_all(&mut [&mut old]);
            let kept = found.kept.index.0 as usize;
            assert_eq!(what.machine.sums, all[..kept], "{name}, byte {at}");
            let is_lost = kept < 30;
            let remains = remains(&mut old);
            let is_told = !remains.damage.is_empty();
            // The last frame's damage looks like a torn write: see docs/format.md, "The last sync".
            assert!(
                is_told || !is_lost || kept == 29,
                "{name}, byte {at}: {kept}"
            );
            old.flip_bit(&name, at as u64, 3);
        }
    }
}

#[test]
fn a_directory_in_use_is_not_overwritten() {
    let what = salvaged(&mut written_singly(4));
    let mut taken = written_singly(2);
    let before = taken.contents();
    let refused = found_anew(&mut taken, &options(SMALL), expect_new(), what);
    assert!(matches!(refused, Err(OpenError::Occupied(_))));
    assert_eq!(before, taken.contents());
}
