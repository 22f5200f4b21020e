//! Recovery, fed with any files in a data directory: written by a log, damaged, made up.
//!
//! # Source
//! docs/format.md, "Recovery" and "Rules for all files".

use headwater_raft::{Index, Instant, LogId, Term, WriteId};
use headwater_replica::interface::Options;
use headwater_replica::port::Disk;
use headwater_replica::record::{FrameHead, FrameKind, decode_frame_head, encode_frame};
use headwater_replica::replica::Replica;
use headwater_replica::wal::segment_name;
use headwater_replica::{Entry, EntryKind};
use headwater_sim::disk::SimDisk;

use crate::draw::Draw;
use crate::memory::Limit;
use crate::wal_common::{Ledger, entry, hard, meta, take_snapshot, try_open, write};

/// Opening a directory; its input is what that holds.
const OPENED: Limit = Limit {
    bytes: 256 << 10,
    bytes_per_byte: 16,
};

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut draw = Draw::new(data);
    let mut disk = written(&mut draw);
    while !draw.is_done() {
        spoil(&mut disk, &mut draw);
    }
    let bytes = disk.contents().values().map(Vec::len).sum();
    OPENED.hold(bytes, || open_twice(&mut disk));
}

/// A directory that opens at all opens again, and nothing has changed.
fn open_twice(disk: &mut SimDisk) {
    let Ok((first, ..)) = try_open(disk) else {
        return;
    };
    let (again, ..) = try_open(disk).expect("what was mended is whole");
    assert_eq!((first.hard, first.base), (again.hard, again.base));
    assert_eq!(first.entries, again.entries);
    assert_eq!(again.torn_bytes, 0, "what was torn has been mended");
    // The core may find a contradiction, but it must find it.
    let _ = Replica::new(Instant(0), Options::default(), again);
}

/// A directory with a log and perhaps a snapshot.
fn written(draw: &mut Draw<'_>) -> SimDisk {
    let mut disk = SimDisk::new();
    let (_, mut wal, mut store) = try_open(&mut disk).expect("an empty directory");
    let writes = draw.below(8);
    for at in 1..=writes {
        let body = "a body of some length".repeat(draw.below(40) as usize);
        let order = write(at, None, vec![entry(1, at, &body)]);
        wal.run(&mut disk, &[order]).expect("a good disk");
    }
    if writes > 0 && draw.coin() {
        let mut machine = Ledger::of(&(1..=writes).collect::<Vec<u64>>());
        let meta = meta(1, 1 + draw.below(writes));
        let taken = take_snapshot(&mut disk, &mut store, meta, &mut machine, 32);
        taken.expect("a good disk");
    }
    disk
}

/// Spoils one thing.
fn spoil(disk: &mut SimDisk, draw: &mut Draw<'_>) {
    let names: Vec<String> = disk.contents().into_keys().collect();
    let Some(name) = names
        .get(draw.byte() as usize % names.len().max(1))
        .cloned()
    else {
        return;
    };
    let size = disk.contents()[&name].len() as u64;
    let offset = place(draw, size);
    match draw.below(10) {
        0 if size > 0 => disk.flip_bit(&name, offset.min(size - 1), draw.below(8) as u8),
        1 => disk.cut(&name, offset),
        2 => disk.remove(&name).expect("a good disk"),
        3 => {
            let content = disk.contents().remove(&name).unwrap_or_default();
            disk.remove(&name).expect("a good disk");
            disk.write(&file_name(draw), 0, &content)
                .expect("a good disk");
        }
        4 => {
            let (name, data) = (file_name(draw), draw.bytes(255));
            disk.write(&name, 0, &data).expect("a good disk");
        }
        5 => {
            let number = draw.number().to_le_bytes();
            disk.write(&name, offset, &number).expect("a good disk");
        }
        6 => {
            let content = disk.contents().remove(&name).unwrap_or_default();
            let to = file_name(draw);
            disk.write(&to, 0, &content).expect("a good disk");
        }
        7 | 8 => forge(disk, draw),
        _ => {
            let data = draw.bytes(255);
            disk.write(&name, offset, &data).expect("a good disk");
        }
    }
    if draw.below(4) == 0 {
        disk.kill();
        disk.restart();
    }
}

/// Somewhere in a file: often near its beginning.
fn place(draw: &mut Draw<'_>, size: u64) -> u64 {
    let at = u64::from(draw.byte()) << (8 * draw.below(2)) | draw.below(8);
    at.min(size)
}

fn file_name(draw: &mut Draw<'_>) -> String {
    let seq = 1 + draw.below(4);
    let base = (draw.below(3), draw.below(9));
    match draw.below(8) {
        0..=2 => format!("wal/{seq:016x}.wal"),
        3 => "wal/next.tmp".into(),
        4 => "wal/spare.tmp".into(),
        5 => "identity".into(),
        6 => format!("snap/{:016x}-{:016x}.snap", base.0, base.1),
        _ => String::from_utf8_lossy(&draw.bytes(12)).replace('/', "_"),
    }
}

/// Adds a frame whose checksums fit, but whose numbers need not: to the first segment, where its
/// frames end or somewhere else.
fn forge(disk: &mut SimDisk, draw: &mut Draw<'_>) {
    let name = segment_name(1);
    let Some(segment) = disk.contents().remove(&name) else {
        return;
    };
    let (mut offset, mut chain) = (4096.min(segment.len()), 0);
    let mut last = LogId::default();
    let mut id = 0;
    while let Ok(read) = decode_frame_head(&segment[offset..]) {
        let next = offset as u64 + read.length();
        if next > segment.len() as u64 {
            break;
        }
        (offset, chain, id) = (next as usize, read.crc, read.head.id.0);
        last = LogId::new(
            read.head.hard.term,
            Index(read.head.prev.index.0.saturating_add(read.count.into())),
        );
    }
    let off = |draw: &mut Draw<'_>, right: u64| match draw.below(6) {
        0 => draw.number(),
        _ => right,
    };
    let prev = LogId::new(Term(off(draw, last.term.0)), Index(off(draw, last.index.0)));
    let head = FrameHead {
        seq: off(draw, 1),
        offset: off(draw, offset as u64),
        id: WriteId(off(draw, id + 1)),
        durable: WriteId(off(draw, id)),
        life: draw.number(),
        hard: hard(off(draw, 1), draw.below(9)),
        commit: Index(draw.number()),
        truncate_from: draw.coin().then(|| Index(draw.number())),
        prev,
        prev_run_first: Index(off(draw, 1)),
        kind: if draw.below(4) == 0 {
            FrameKind::Reset
        } else {
            FrameKind::Write
        },
        chain: off(draw, chain.into()) as u32,
    };
    let next = Index(prev.index.0.saturating_add(1));
    let id = LogId::new(prev.term, next);
    let entries = match draw.below(3) {
        0 => vec![],
        _ => vec![Entry::new(id, EntryKind::Command, draw.bytes(64).into())],
    };
    let mut out = Vec::new();
    encode_frame(&head, &entries, &mut out);
    disk.write(&name, offset as u64, &out).expect("a good disk");
}
