//! Entries of the log read back while it is written to: the right ones whatever was cut and written
//! again around them, and nothing at all rather than a wrong one. `wal_random` does the same by chance.
#![allow(clippy::unwrap_used)]

mod wal_common;

use headwater_raft::{Index, NodeId, WriteId};
use headwater_replica::port::Disk;
use headwater_replica::scrub::Damage;
use headwater_replica::snapshot_file::{FileDone, FileOrder, SnapshotStore};
use headwater_replica::wal::{Wal, segment_name};
use headwater_replica::{Entry, LogOrder};
use headwater_sim::disk::SimDisk;
use wal_common::*;

struct Log {
    disk: SimDisk,
    wal: Wal,
    store: SnapshotStore,
    writes: u64,
    entries: Vec<Entry>,
}

impl Log {
    fn new() -> Self {
        let mut disk = SimDisk::new();
        let (_, wal, store) = opened(&mut disk);
        Self {
            disk,
            wal,
            store,
            writes: 0,
            entries: Vec::new(),
        }
    }

    /// Appends entries of a term behind the first `keep`, in one frame.
    fn write(&mut self, term: u64, keep: u64, count: u64, body_bytes: usize) {
        let cuts = keep < self.entries.len() as u64;
        self.entries.truncate(keep as usize);
        let body = |at: u64| format!("{term} {at} {}", "x".repeat(body_bytes));
        let new: Vec<Entry> = (keep + 1..=keep + count)
            .map(|at| entry(term, at, &body(at)))
            .collect();
        self.entries.extend(new.iter().cloned());
        self.writes += 1;
        let order = write(self.writes, cuts.then_some(keep + 1), new);
        let done = self.wal.run(&mut self.disk, &[order]);
        assert_eq!(done, Ok(Some(WriteId(self.writes))));
    }

    fn release(&mut self, upto: u64) {
        let upto = Index(upto);
        let order = LogOrder::Release { upto };
        self.wal.run(&mut self.disk, &[order]).unwrap();
    }

    /// Reads `first..=last` for a peer.
    fn read(&mut self, to: u64, first: u64, last: u64) -> (Vec<Entry>, Option<Damage>) {
        let prev = first.checked_sub(2).map(|at| self.entries[at as usize].id);
        let ids = self.entries[first as usize - 1..last as usize].iter();
        let wanted = wanted(prev.unwrap_or_default(), ids.map(|entry| entry.id));
        let to = NodeId(to);
        let order = FileOrder::ReadLog { to, wanted };
        match self.store.run::<Ledger>(&mut self.disk, order).unwrap() {
            Some(FileDone::LogRead {
                to: of,
                entries,
                damage,
            }) if of == to => (entries, damage),
            other => panic!("{other:?}"),
        }
    }

    fn assert_reads(&mut self, to: u64, first: u64, last: u64) {
        let right = self.entries[first as usize - 1..last as usize].to_vec();
        assert_eq!(
            self.read(to, first, last),
            (right, None),
            "{first} to {last}"
        );
    }
}

#[test]
fn what_was_cut_and_written_anew_is_told_by_its_term() {
    let mut log = Log::new();
    log.write(1, 0, 10, 10);
    log.write(2, 4, 6, 10);
    log.write(3, 7, 2, 10);
    // What was cut comes back in one case only: as the very entry that it was.
    log.write(5, 8, 4, 10);
    for (first, last) in [(1, 12), (4, 5), (5, 5), (7, 8), (8, 9), (9, 9), (12, 12)] {
        log.assert_reads(first, first, last);
    }
    // Across segments, and as the log grows.
    for term in 6..20 {
        let keep = log.entries.len() as u64 - 2;
        log.write(term, keep, 5, 300);
        log.assert_reads(2, 1, log.entries.len() as u64);
        log.assert_reads(3, keep, keep + 2);
    }
    assert!(log.disk.list("wal").unwrap().len() > 5);
}

#[test]
fn reading_on_costs_the_same_wherever_it_is() {
    let mut log = Log::new();
    for at in 0..300 {
        log.write(1, at, 1, 200);
    }
    let cost = |log: &mut Log, to, at| {
        let before = log.disk.counts().ops;
        log.assert_reads(to, at, at);
        log.disk.counts().ops - before
    };
    log.assert_reads(1, 1, 1);
    for at in 2..=300 {
        assert!(cost(&mut log, 1, at) <= 8, "entry {at}");
        // Somebody else is elsewhere.
        if at % 50 == 0 {
            log.assert_reads(2, at / 2, at / 2 + 3);
        }
    }
}

#[test]
fn what_is_behind_a_release_is_found_also_where_the_last_reading_ended_before() {
    let mut log = Log::new();
    for at in 0..60 {
        log.write(1, at, 1, 300);
    }
    // The last frame of the first segment; the next is in the second.
    let second = (1..60).find(|&at| {
        log.read(1, at, at);
        let mut disk = log.disk.clone();
        disk.remove(&segment_name(1)).unwrap();
        std::mem::swap(&mut disk, &mut log.disk);
        let found = !log.read(9, at, at).0.is_empty();
        log.disk = disk;
        found
    });
    let second = second.unwrap();
    log.assert_reads(1, second - 1, second - 1);
    log.release(second - 1);
    assert!(log.disk.size(&segment_name(1)).unwrap().is_none());
    log.assert_reads(1, second, second + 1);
    // What is released is not there, and nobody is to blame.
    assert_eq!(log.read(1, second - 1, second), (Vec::new(), None));
}

#[test]
fn a_segment_in_the_file_of_another_holds_its_own_entries() {
    let mut log = Log::new();
    let mut at = 0;
    while log.wal.recycled() < 3 {
        log.write(1, at, 1, 500);
        at += 1;
        log.release(at.saturating_sub(4));
    }
    for first in at - 3..=at {
        log.assert_reads(first, first, at);
    }
}

#[test]
fn damage_is_told_and_never_read_as_an_entry() {
    let mut log = Log::new();
    for at in 0..6 {
        log.write(1, 3 * at, 3, 20);
    }
    let (file, size) = (segment_name(1), log.disk.size(&segment_name(1)).unwrap());
    let whole = log.disk.read(&file, 0, size.unwrap() as usize).unwrap();
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap() as u64;
    let right = log.entries[6..12].to_vec();
    let (mut damaged, mut read) = (0, 0);
    for at in (0..64).chain(4096..=used) {
        let disk = log.disk.clone();
        log.disk.flip_bit(&file, at, 5);
        let (entries, damage) = log.read(at, 7, 12);
        assert!(right.starts_with(&entries), "byte {at}: {entries:?}");
        assert_eq!(entries.is_empty(), damage.is_some(), "byte {at}");
        if let Some(damage) = damage {
            assert_eq!(damage.file, file);
            damaged += 1;
        } else if entries.len() == right.len() {
            read += 1;
        }
        log.disk = disk;
    }
    // Bodies that nobody asks for, and what lies behind, are not looked at.
    assert!(damaged > 100 && read > 100, "{damaged} and {read}");
}

#[test]
fn an_entry_that_was_written_again_is_found_where_it_is_whole() {
    let mut log = Log::new();
    log.write(1, 0, 5, 20);
    let again = vec![log.entries[1].clone(), log.entries[2].clone()];
    let order = LogOrder::Repair {
        id: WriteId(2),
        hard: hard(1, 7),
        commit: Index(0),
        entries: again,
    };
    log.wal.run(&mut log.disk, &[order]).unwrap();
    log.writes = 2;
    log.write(1, 5, 3, 20);
    log.assert_reads(1, 1, 8);
    let file = segment_name(1);
    let bytes = log.disk.read(&file, 0, 8192).unwrap();
    let body = &log.entries[1].body;
    let at = bytes.windows(body.len()).position(|bytes| bytes == body);
    log.disk.flip_bit(&file, at.unwrap() as u64, 0);
    log.assert_reads(2, 2, 3);
    // What stands behind it in its frame takes another look.
    let mut next = 1;
    while next <= 8 {
        let (entries, damage) = log.read(3, next, 8);
        assert_eq!(damage, None);
        assert!(log.entries[next as usize - 1..].starts_with(&entries));
        next += entries.len() as u64;
    }
}

#[test]
fn what_was_cut_before_the_beginning_of_the_first_segment_is_found_in_it() {
    let mut log = Log::new();
    let mut at = 0;
    while log.disk.list("wal").unwrap().len() < 2 {
        log.write(1, at, 2, 300);
        at += 2;
    }
    // The second segment holds one frame; what it says was before it is cut.
    log.write(2, at - 6, 3, 300);
    log.release(at - 1);
    assert!(log.disk.size(&segment_name(1)).unwrap().is_none());
    log.assert_reads(1, at - 5, at - 3);
    // What was released is not there, and nobody is to blame.
    assert_eq!(log.read(1, at - 6, at - 5), (Vec::new(), None));
}
