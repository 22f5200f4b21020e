//! What the tests of the log share: a small state machine, entries, orders, openings.
#![allow(dead_code)]

use bytes::Bytes;
use headwater_raft::{Config, Entries, HardState, Index, LogId, NodeId, Term, WriteId};
use headwater_replica::port::{Disk, DiskError};
use headwater_replica::recovery::{Expect, OpenError, Recovered, open};
use headwater_replica::snapshot_file::{FileDone, FileOrder, SnapshotStore};
use headwater_replica::wal::{Wal, WalOptions, segment_name};
use headwater_replica::{
    Entry, EntryKind, LogOrder, LogWrite, Malformed, SnapshotMeta, StateMachine,
};
use headwater_sim::disk::SimDisk;

pub const CLUSTER: u64 = 0x0123_4567_89ab_cdef;
pub const NODE: NodeId = NodeId(7);
pub const INCARNATION: u128 = 0x00112233_44556677_8899aabb_ccddeeff;

/// Remembers every command's sum; the order matters.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ledger {
    pub sums: Vec<u64>,
    finished: bool,
}

impl Ledger {
    pub fn of(sums: &[u64]) -> Self {
        Self {
            sums: sums.to_vec(),
            finished: true,
        }
    }
}

pub fn sum(command: &[u8]) -> u64 {
    command.iter().fold(17, |sum: u64, &byte| {
        sum.wrapping_mul(1_000_003).wrapping_add(u64::from(byte))
    })
}

impl StateMachine for Ledger {
    type Reply = ();
    type Query = ();
    type Answer = ();
    type Walk = Vec<u64>;

    fn apply(&mut self, _at: LogId, command: &Bytes) {
        self.sums.push(sum(command));
    }

    fn query(&self, (): ()) {}

    fn begin_snapshot(&mut self) -> Vec<u64> {
        self.sums.clone()
    }

    fn next_chunk(&mut self, walk: &mut Vec<u64>, max_bytes: usize) -> Option<Bytes> {
        let count = (max_bytes / 8).max(1).min(walk.len());
        let piece: Vec<u8> = walk.drain(..count).flat_map(u64::to_le_bytes).collect();
        (!piece.is_empty()).then(|| piece.into())
    }

    fn load_chunk(&mut self, chunk: Bytes) -> Result<(), Malformed> {
        if !chunk.len().is_multiple_of(8) {
            return Err(Malformed("a chunk of odd length".into()));
        }
        let sums = chunk.chunks_exact(8);
        let sums = sums.map(|sum| u64::from_le_bytes(sum.try_into().unwrap()));
        self.sums.extend(sums);
        Ok(())
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        self.finished = true;
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.sums.len() as u64 * 8
    }

    /// All but those that begin with a zero.
    fn grows(command: &Bytes) -> bool {
        command.first() != Some(&0)
    }
}

pub type Opened = (Recovered<Ledger>, Wal, SnapshotStore);

pub fn expect() -> Expect {
    Expect {
        cluster: CLUSTER,
        node: NODE,
        fresh_incarnation: INCARNATION,
        first_config: first_config(),
    }
}

pub fn first_config() -> Config {
    Config::of_voters([NodeId(7), NodeId(8)]).with_learners([NodeId(9)])
}

pub fn options(segment_bytes: u64) -> WalOptions {
    WalOptions {
        segment_bytes,
        spare_bytes: 3 * segment_bytes,
    }
}

/// Small segments: a head block and this much for frames.
pub const SMALL: u64 = 4096 + 4096;

pub fn try_open(disk: &mut SimDisk) -> Result<Opened, OpenError> {
    open(disk, &options(SMALL), expect())
}

pub fn opened(disk: &mut SimDisk) -> Opened {
    try_open(disk).expect("a whole directory opens")
}

/// Opens and tells what kind of refusal came.
pub fn refusal(disk: &mut SimDisk) -> OpenError {
    match try_open(disk) {
        Ok((recovered, ..)) => panic!("opened with {recovered:?}"),
        Err(error) => error,
    }
}

pub fn id(term: u64, index: u64) -> LogId {
    LogId::new(Term(term), Index(index))
}

pub fn entry(term: u64, index: u64, body: &str) -> Entry {
    Entry::new(
        id(term, index),
        EntryKind::Command,
        Bytes::copy_from_slice(body.as_bytes()),
    )
}

pub fn hard(term: u64, vote: u64) -> HardState {
    HardState {
        term: Term(term),
        voted_for: (vote > 0).then_some(NodeId(vote)),
    }
}

/// A write of `entries` in the last one's term, with a vote for ourselves.
pub fn write(id: u64, truncate_from: Option<u64>, entries: Vec<Entry>) -> LogOrder {
    let term = entries.last().map_or(1, |entry| entry.id.term.0);
    LogOrder::Write(LogWrite {
        id: WriteId(id),
        hard: hard(term, 7),
        commit: Index(0),
        truncate_from: truncate_from.map(Index),
        entries,
    })
}

/// Writes 1 to `count`, each of one entry of term 1, each synced apart.
pub fn write_singly(disk: &mut SimDisk, wal: &mut Wal, count: u64) {
    for at in 1..=count {
        let order = write(at, None, vec![entry(1, at, &format!("body {at}"))]);
        assert_eq!(wal.run(disk, &[order]), Ok(Some(WriteId(at))));
    }
}

/// A directory with `count` single-entry writes, synced apart; the writer is gone.
pub fn written_singly(count: u64) -> SimDisk {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    write_singly(&mut disk, &mut wal, count);
    disk
}

/// How long the frame of a one-entry write with this body is.
pub fn frame_of(body: &str) -> u64 {
    (128 + 20 + body.len() as u64).next_multiple_of(8)
}

pub fn indices(recovered: &Recovered<Ledger>) -> Vec<u64> {
    recovered.entries.iter().map(|e| e.id.index.0).collect()
}

/// Writes an own snapshot of `machine` and answers what the worker answered at the end.
pub fn take_snapshot(
    disk: &mut dyn Disk,
    store: &mut SnapshotStore,
    meta: SnapshotMeta,
    machine: &mut Ledger,
    chunk_bytes: usize,
) -> Result<Option<FileDone<Ledger>>, DiskError> {
    let run = |store: &mut SnapshotStore, disk: &mut dyn Disk, order| store.run(disk, order);
    let none: Option<FileDone<Ledger>> = run(store, disk, FileOrder::Begin(meta))?;
    if let Some(FileDone::NoRoom) = none {
        return Ok(none);
    }
    assert!(none.is_none());
    let mut walk = machine.begin_snapshot();
    while let Some(chunk) = machine.next_chunk(&mut walk, chunk_bytes) {
        let wrote = run(store, disk, FileOrder::Chunk(chunk))?;
        if let Some(FileDone::NoRoom) = wrote {
            return Ok(wrote);
        }
        assert!(matches!(wrote, Some(FileDone::Wrote)));
    }
    store.run(disk, FileOrder::Finish)
}

/// The header of entries of these identities, which follow `prev`.
pub fn wanted(prev: LogId, ids: impl IntoIterator<Item = LogId>) -> Entries {
    let mut entries = Entries::none(prev);
    for id in ids {
        if entries.runs.last().is_none_or(|&(_, term)| term != id.term) {
            entries.runs.push((id.index, id.term));
        }
        entries.last = id.index;
    }
    entries
}

pub fn meta(term: u64, index: u64) -> SnapshotMeta {
    SnapshotMeta {
        base: id(term, index),
        config: Config::of_voters([NodeId(7), NodeId(8), NodeId(9)]),
    }
}

pub fn snapshot_file(term: u64, index: u64) -> String {
    format!("snap/{term:016x}-{index:016x}.snap")
}

pub fn part_file(term: u64, index: u64) -> String {
    snapshot_file(term, index).replace(".snap", ".part")
}

/// Writes entry after entry, with bodies of `body_bytes`, behind `last` until segment `count` is begun: the
/// last one.
pub fn fill_to(disk: &mut SimDisk, wal: &mut Wal, last: u64, count: u64, body_bytes: usize) -> u64 {
    let mut at = last;
    while disk.size(&segment_name(count)).unwrap().is_none() {
        at += 1;
        let order = write(at, None, vec![entry(1, at, &"x".repeat(body_bytes))]);
        wal.run(disk, &[order]).unwrap();
    }
    at
}
