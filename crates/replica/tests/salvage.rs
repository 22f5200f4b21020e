//! What a lost quorum left becomes the first directory of a new cluster, whole or not at all.
#![allow(clippy::unwrap_used)]

mod wal_common;

use headwater_raft::{Config, NodeId, Term};
use headwater_replica::config_record::encode_config;
use headwater_replica::recovery::{Expect, OpenError, Recovered, open};
use headwater_replica::salvage::{Salvaged, found_anew, salvage};
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

fn salvaged(disk: &mut SimDisk) -> Salvaged<Ledger> {
    let before = disk.contents();
    let salvaged = salvage::<Ledger>(disk).unwrap().expect("it holds data");
    assert_eq!(before, disk.contents(), "reading changed something");
    salvaged
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
fn a_directory_that_would_be_refused_is_not_salvaged() {
    let mut old = written_singly(4);
    // The first frame: nothing before it tells whose the next one is.
    old.flip_bit("wal/0000000000000001.wal", 4096 + 20, 1);
    assert!(matches!(
        salvage::<Ledger>(&mut old),
        Err(OpenError::Damaged(_))
    ));
    assert!(salvage::<Ledger>(&mut SimDisk::new()).unwrap().is_none());
}

#[test]
fn what_lies_behind_an_entry_that_cannot_be_read_does_not_count() {
    let mut old = written_singly(6);
    let third = 4096 + 2 * headwater_replica::record::frame_bytes(&[entry(1, 3, "body 3")]);
    old.flip_bit("wal/0000000000000001.wal", third + 150, 1);
    let what = salvaged(&mut old);
    assert_eq!((what.last, what.unusable), (id(1, 2), 4));
    assert_eq!(what.machine.sums, sums(2));
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
