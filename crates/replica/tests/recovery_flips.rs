//! Damage anywhere: every byte of a small directory turned over, one at a time, and forged bytes
//! whose checksums are right. Opening answers with the whole content or an error, never with
//! other content and never with a panic.
#![allow(clippy::unwrap_used)]

mod wal_common;

use headwater_raft::{Index, WriteId};
use headwater_replica::checksum::crc32c;
use headwater_replica::config_record::decode_config;
use headwater_replica::identity::decode_identity;
use headwater_replica::inspect::{Report, inspect};
use headwater_replica::port::Disk;
use headwater_replica::record::{decode_entries, decode_frame_head};
use headwater_replica::recovery::{OpenError, Recovered};
use headwater_replica::segment_head::{SegmentHead, Witnessed};
use headwater_replica::wal::{Wal, segment_name};
use headwater_replica::{Entry, EntryKind, LogOrder};
use headwater_sim::dice::Dice;
use headwater_sim::disk::SimDisk;
use wal_common::*;

/// Two segments, two snapshots, a truncation; the last sync was of two writes.
struct Directory {
    disk: SimDisk,
    last_segment: String,
    /// Where the last sync's frames lie in it.
    last_sync: std::ops::Range<u64>,
    is_recycled: bool,
}

/// `recycled`: the last segment's file was an earlier one's.
fn directory(witness: bool, recycled: bool) -> Directory {
    let mut disk = SimDisk::new();
    let (_, mut wal, mut store) = opened(&mut disk);
    let mut at = 0;
    let run = |disk: &mut SimDisk, wal: &mut Wal, orders: &[LogOrder]| {
        wal.run(disk, orders).unwrap();
    };
    let mut fill = |disk: &mut SimDisk, wal: &mut Wal, count: u64| {
        while disk.size(&segment_name(count)).unwrap().is_none() {
            at += 1;
            let body = format!("{at}").repeat(150);
            run(disk, wal, &[write(at, None, vec![entry(1, at, &body)])]);
        }
        at
    };
    let mut last_segment = 2;
    let mut covered = [2, 4];
    let mut last = fill(&mut disk, &mut wal, 2);
    if recycled {
        last = fill(&mut disk, &mut wal, 3);
        covered = [last - 1, last];
        last_segment = 4;
    }
    for covered in covered {
        let mut machine = Ledger::of(&[covered, 9, 9]);
        take_snapshot(&mut disk, &mut store, meta(1, covered), &mut machine, 8).unwrap();
    }
    if recycled {
        let upto = Index(last - 1);
        run(&mut disk, &mut wal, &[LogOrder::Release { upto }]);
        last = fill(&mut disk, &mut wal, 4);
        assert_eq!(wal.recycled(), 1);
        // What waits to be used is nobody's to damage.
        for name in disk.list("wal").unwrap() {
            if name.ends_with(".tmp") {
                disk.remove(&format!("wal/{name}")).unwrap();
            }
        }
    }
    let at = last;
    run(
        &mut disk,
        &mut wal,
        &[write(
            at + 1,
            Some(at),
            vec![entry(2, at, "other"), entry(2, at + 1, "more")],
        )],
    );
    let name = segment_name(last_segment);
    let used = |disk: &mut SimDisk| used(&disk.read(&name, 0, 1 << 20).unwrap());
    let before = used(&mut disk);
    let last = [
        write(at + 2, None, vec![entry(2, at + 2, "last but one")]),
        write(at + 3, None, vec![entry(3, at + 3, "last")]),
    ];
    run(&mut disk, &mut wal, &last);
    let after = used(&mut disk);
    if witness {
        wal.idle(&mut disk).unwrap();
    }
    Directory {
        last_sync: before..after,
        last_segment: name,
        is_recycled: recycled,
        disk,
    }
}

/// Where the frames of a segment end.
fn used(segment: &[u8]) -> u64 {
    let (head, mut chain) = SegmentHead::decode(&segment[..4096]).unwrap();
    let mut at = 4096;
    while let Ok(frame) = decode_frame_head(&segment[at..]) {
        if (frame.head.seq, frame.head.chain) != (head.seq, chain) {
            break;
        }
        (at, chain) = (at + frame.length() as usize, frame.crc);
    }
    at as u64
}

/// What a node makes of its disk: everything that was acknowledged.
fn content(found: &Recovered<Ledger>) -> (Vec<Entry>, headwater_raft::HardState, WriteId) {
    (found.entries.clone(), found.hard, found.next_write)
}

/// Goes on writing after an opening and opens again: nothing odd comes out of the log's end.
fn goes_on(disk: &mut SimDisk, found: &Recovered<Ledger>, wal: &mut Wal) {
    let last = found.entries.last().unwrap().id;
    let next = entry(9, last.index.0 + 1, "goes on");
    let order = write(found.next_write.0, None, vec![next.clone()]);
    wal.run(disk, &[order]).unwrap();
    let (again, ..) = opened(disk);
    assert_eq!(again.entries[..again.entries.len() - 1], found.entries);
    assert_eq!(again.entries.last(), Some(&next));
    assert_eq!(again.torn_bytes, 0);
}

/// What a look at the directory tells, which changes nothing.
fn told(disk: &mut SimDisk) -> Result<Option<Report>, OpenError> {
    let before = disk.contents();
    let told = inspect::<Ledger>(disk);
    assert_eq!(before, disk.contents());
    told
}

/// A look tells what recovery then says and does.
fn assert_told(told: &Result<Option<Report>, OpenError>, result: &Result<Opened, OpenError>) {
    let log = match told {
        Ok(report) => &report.as_ref().expect("it was used").log,
        Err(why) => &Err(why.clone()),
    };
    match (log, result) {
        (Ok(log), Ok((found, ..))) => {
            assert_eq!((log.hard, log.base), (found.hard, found.base));
            assert_eq!(
                (log.begins_after, log.commit),
                (found.log_base, found.commit)
            );
            assert_eq!(log.entries.0, found.entries.len() as u64);
            assert_eq!(
                (log.torn_bytes, &log.mended),
                (found.torn_bytes, &found.mended)
            );
        }
        (Err(told), Err(why)) => assert_eq!(told, why),
        other => panic!("{other:?}"),
    }
}

/// All is as it was but for entries that are known by name; written again, they are there.
fn comes_back(
    disk: &mut SimDisk,
    (found, mut wal): (Recovered<Ledger>, Wal),
    want: &(Vec<Entry>, headwater_raft::HardState, WriteId),
) {
    assert_eq!((found.hard, found.next_write), (want.1, want.2));
    let base = found.log_base.index;
    let want: Vec<&Entry> = want.0.iter().filter(|e| e.id.index > base).collect();
    assert_eq!(found.entries.len(), want.len());
    let lost = |index| {
        let mut lost = found.unreadable.iter();
        lost.any(|lost| (lost.first..=lost.last).contains(&index))
    };
    for (entry, &want) in found.entries.iter().zip(&want) {
        let is_lost = entry.kind == EntryKind::Unreadable;
        assert_eq!((entry.id, is_lost), (want.id, lost(want.id.index)));
        assert!(is_lost || entry == want);
    }
    let mut orders = Vec::new();
    for (at, lost) in found.unreadable.iter().enumerate() {
        let within = |e: &&&Entry| (lost.first..=lost.last).contains(&e.id.index);
        orders.push(LogOrder::Repair {
            id: WriteId(found.next_write.0 + at as u64),
            hard: found.hard,
            commit: found.commit,
            entries: want.iter().filter(within).map(|&e| e.clone()).collect(),
        });
    }
    wal.run(disk, &orders).unwrap();
    let (again, ..) = opened(disk);
    assert!(again.unreadable.is_empty() && again.entries.iter().eq(want));
}

fn flip_everything(witness: bool, recycled: bool) {
    let Directory {
        disk: mut whole,
        last_segment,
        last_sync,
        is_recycled,
    } = directory(witness, recycled);
    let (found, ..) = opened(&mut whole.clone());
    let (want, log_base) = (content(&found), found.log_base.index);
    let every_bit = std::env::var("EVERY_BIT").is_ok();
    let (mut same, mut torn, mut refused, mut fallen_back, mut named) = (0, 0, 0, 0, 0);
    let files = whole.contents();
    assert_eq!(files.len(), 5, "{:?}", files.keys());
    for (name, bytes) in files {
        if recycled && !every_bit && name != last_segment {
            // What other files say is the same as where no segment is recycled.
            continue;
        }
        for offset in 0..bytes.len() as u64 {
            let bits = if every_bit {
                0..8
            } else {
                offset % 8..offset % 8 + 1
            };
            for bit in bits {
                let mut disk = whole.clone();
                disk.flip_bit(&name, offset, bit as u8);
                let in_last_sync = name == last_segment && last_sync.contains(&offset);
                let told = (offset % 16 == 0).then(|| told(&mut disk));
                let result = try_open(&mut disk);
                if let Some(told) = told {
                    assert_told(&told, &result);
                }
                let (found, mut wal, _) = match result {
                    Ok(opened) => opened,
                    Err(OpenError::Damaged(text) | OpenError::Foreign(text)) => {
                        assert!(text.contains(&name), "{name} {offset}: {text}");
                        refused += 1;
                        continue;
                    }
                    Err(other) => panic!("{name} {offset}: {other}"),
                };
                fallen_back += found.mended.len();
                // What a snapshot covers and cannot be read is left out.
                let starts_later = found.log_base.index > log_base;
                if !found.unreadable.is_empty() || starts_later {
                    comes_back(&mut disk, (found, wal), &want);
                    named += 1;
                    continue;
                }
                if content(&found) == want {
                    same += 1;
                } else {
                    // The one ambiguity: without a witness, the last sync could be a torn one.
                    assert!(in_last_sync && !witness, "{name} {offset}: other content");
                    // A lost head cannot be told from what was there before.
                    assert!(found.torn_bytes > 0 || is_recycled);
                    let kept = found.entries.len();
                    assert_eq!(found.entries, want.0[..kept]);
                    assert!(
                        (1..=2).contains(&(want.0.len() - kept)),
                        "only the last sync"
                    );
                    torn += 1;
                }
                if offset % 16 == 0 {
                    goes_on(&mut disk, &found, &mut wal);
                }
            }
        }
    }
    println!("same {same}, torn {torn}, refused {refused}, named {named}, told of {fallen_back}");
    let named_min = if recycled && !every_bit { 0 } else { 1000 };
    assert!(same > 0 && refused > 0 && fallen_back > 0 && named > named_min);
    assert_eq!(torn > 0, !witness);
    assert_eq!(whole.size(&last_segment).unwrap(), Some(SMALL));
}

#[test]
fn no_flipped_byte_changes_content_but_for_an_unwitnessed_last_sync() {
    flip_everything(false, false);
}

#[test]
fn no_flipped_byte_changes_content_behind_a_witness() {
    flip_everything(true, false);
}

#[test]
fn no_flipped_byte_changes_content_where_a_segment_was_used_before() {
    flip_everything(false, true);
}

#[test]
fn no_flipped_byte_changes_content_behind_a_witness_where_a_segment_was_used_before() {
    flip_everything(true, true);
}

/// Changes random bytes and then makes the checksum over them right.
fn forge(disk: &mut SimDisk, dice: &mut Dice, name: &str, start: u64, crc: u64, checked: u64) {
    let count = 1 + dice.below(4);
    for _ in 0..count {
        let at = start + crc + 4 + dice.below(checked);
        let byte = match dice.below(3) {
            0 => 0xff,
            1 => 0,
            _ => dice.next() as u8,
        };
        disk.write(name, at, &[byte]).unwrap();
    }
    let bytes = disk.read(name, start + crc + 4, checked as usize).unwrap();
    let sum = crc32c(&bytes).to_le_bytes();
    disk.write(name, start + crc, &sum).unwrap();
}

#[test]
fn forged_heads_never_panic() {
    let whole = directory(false, false).disk;
    let first_frame = 4096 + (128 + 20 + 150u64).next_multiple_of(8);
    let mut refused = 0;
    for seed in 0..6000 {
        let mut dice = Dice(seed);
        let mut disk = whole.clone();
        let seq = segment_name(1 + dice.below(2));
        match dice.below(5) {
            0 => forge(&mut disk, &mut dice, &seq, 0, 16, 492),
            1 => forge(&mut disk, &mut dice, &seq, 4096, 4, 120),
            2 => forge(&mut disk, &mut dice, &segment_name(1), first_frame, 4, 120),
            3 => forge(&mut disk, &mut dice, &segment_name(1), 4096 + 112, 0, 32),
            _ => forge(&mut disk, &mut dice, &snapshot_file(1, 4), 0, 16, 80),
        }
        refused += u64::from(try_open(&mut disk).is_err());
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    let mut dice = Dice(1);
    for _ in 0..20_000 {
        let len = dice.below(600) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| dice.next() as u8).collect();
        if dice.chance(1, 2) {
            // Small numbers get further than wild ones.
            bytes.iter_mut().skip(1).for_each(|byte| *byte &= 3);
        }
        let _ = decode_config(&bytes);
        let _ = decode_frame_head(&bytes);
        let _ = decode_identity(&bytes);
        let _ = SegmentHead::decode(&bytes);
        let _ = Witnessed::decode(&bytes, 1);
        let claimed = bytes.len().min(16 + 20 * (dice.below(20) as usize));
        if claimed > 16 {
            let count = ((claimed - 16) / 20) as u32;
            bytes[4..8].copy_from_slice(&count.to_le_bytes());
            let table = 16 + 20 * count as usize;
            let crc = crc32c(&bytes[4..table]).to_le_bytes();
            bytes[..4].copy_from_slice(&crc);
        }
        let _ = decode_entries(id(0, 0), bytes.into());
    }
}
