//! The bytes of format version 1, as docs/format.md draws them. A change here is a new version.
#![allow(clippy::unwrap_used)]

mod wal_common;

use bytes::Bytes;
use headwater_raft::{Config, Incarnation, Index, NodeId, WriteId};
use headwater_replica::checksum::crc32c;
use headwater_replica::config_record::{decode_change, decode_config, encode_config};
use headwater_replica::port::Disk;
use headwater_replica::record::{decode_entries, encode_entries, entries_bytes};
use headwater_replica::recovery::open;
use headwater_replica::wal::{WAL_DIR, WalOptions, segment_name};
use headwater_replica::{Entry, LogOrder, LogWrite};
use headwater_sim::dice::Dice;
use headwater_sim::disk::SimDisk;
use wal_common::*;

/// Hexadecimal digits, 16 bytes to a line, runs of zero lines left out.
fn drawn(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (at, line) in bytes.chunks(16).enumerate() {
        if line.iter().any(|&byte| byte != 0) {
            let hex: Vec<String> = line.chunks(4).map(hex).collect();
            out += &format!("{:04x}: {}\n", at * 16, hex.join(" "));
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares with `tests/golden/<name>.txt`, whose first lines are comments; `UPDATE_GOLDEN=1`
/// rewrites the rest of it.
#[track_caller]
fn assert_drawn(bytes: &[u8], name: &str) {
    let path = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&path).expect("a golden file with its claim");
    let is_claim = |line: &&str| line.starts_with('#');
    let claim: String = golden
        .lines()
        .take_while(is_claim)
        .map(|line| line.to_owned() + "\n")
        .collect();
    let found = claim + &drawn(bytes);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
        return;
    }
    assert_eq!(found, golden, "the bytes of {name} are now\n{found}");
}

fn bytes_of(disk: &mut SimDisk, name: &str) -> Bytes {
    disk.read(name, 0, 1 << 20).unwrap()
}

#[test]
fn the_checksum_is_castagnoli() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn an_identity_file_is_drawn_so() {
    let mut disk = SimDisk::new();
    opened(&mut disk);
    assert_drawn(&bytes_of(&mut disk, "identity"), "wal/identity");
}

#[test]
fn a_segments_head_is_drawn_so() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    let order = write(1, None, vec![entry(1, 1, &"x".repeat(4000))]);
    wal.run(&mut disk, &[order]).unwrap();
    wal.run(&mut disk, &[write(2, None, vec![entry(3, 2, "ab")])])
        .unwrap();
    wal.idle(&mut disk).unwrap();
    assert_drawn(
        &bytes_of(&mut disk, &segment_name(1))[..4096],
        "wal/first_segment_head",
    );
    assert_drawn(
        &bytes_of(&mut disk, &segment_name(2))[..4096],
        "wal/second_segment_head",
    );
}

#[test]
fn frames_are_drawn_so() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    let entries = vec![
        entry(5, 1, "a"),
        entry(5, 2, ""),
        entry(6, 3, "hello, world"),
    ];
    wal.run(&mut disk, &[write(1, None, entries)]).unwrap();
    let truncation = LogWrite {
        id: WriteId(2),
        hard: hard(7, 0),
        commit: Index(1),
        truncate_from: Some(Index(2)),
        entries: vec![],
    };
    wal.run(&mut disk, &[LogOrder::Write(truncation)]).unwrap();
    let reset = LogOrder::Reset {
        id: WriteId(3),
        base: id(9, 100),
        hard: hard(9, 0),
    };
    wal.run(&mut disk, &[reset]).unwrap();
    assert_drawn(&bytes_of(&mut disk, &segment_name(1))[4096..], "wal/frames");
}

#[test]
fn a_snapshot_file_is_drawn_so() {
    let mut disk = SimDisk::new();
    let (_, _, mut store) = opened(&mut disk);
    let mut machine = Ledger::of(&[1, 2, 3]);
    take_snapshot(&mut disk, &mut store, meta(4, 77), &mut machine, 16).unwrap();
    assert_drawn(&bytes_of(&mut disk, &snapshot_file(4, 77)), "snapshot/file");
}

#[test]
fn a_configuration_reads_back_in_its_one_spelling() {
    let nodes = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
    let config = Config::of_voters(nodes(&[3, 1, 2]))
        .with_outgoing(nodes(&[2, 4]))
        .with_learners(nodes(&[9]))
        .with_joining(nodes(&[5, 8]))
        .with_disks([(NodeId(9), Incarnation(99)), (NodeId(2), Incarnation(22))]);
    let mut bytes = Vec::new();
    encode_config(&config, &mut bytes);
    assert_eq!(bytes.len(), 5 * 4 + 8 * 8 + 2 * 24);
    assert_eq!(decode_config(&bytes), Ok(config));
    for len in 0..bytes.len() {
        decode_config(&bytes[..len]).unwrap_err();
    }
    let mut longer = bytes.clone();
    longer.push(0);
    decode_config(&longer).unwrap_err();
    // In an entry a command may follow.
    let body = Bytes::from(longer);
    let (read, command) = decode_change(&body).expect("a configuration and a byte");
    assert_eq!(
        (read, &command[..]),
        (decode_config(&bytes).unwrap(), &[0][..])
    );
    decode_change(&body.slice(..bytes.len() - 1)).unwrap_err();
    // The first two voters change places.
    let mut disordered = bytes.clone();
    disordered.swap(4, 12);
    decode_config(&disordered).unwrap_err();
    // A count far beyond what is there asks for no memory.
    let mut greedy = bytes;
    greedy[3] = 0xff;
    decode_config(&greedy).unwrap_err();
}

#[test]
fn a_block_of_entries_reads_back_without_copies_and_only_whole() {
    let entries = vec![entry(5, 8, "abc"), entry(5, 9, ""), entry(7, 10, "xyz!")];
    let mut bytes = Vec::new();
    encode_entries(&entries, &mut bytes);
    assert_eq!(bytes.len(), entries_bytes(&entries));
    let block = Bytes::from(bytes.clone());
    let read = decode_entries(id(4, 7), block.clone()).unwrap();
    assert_eq!(read, entries);
    let body = &read[2].body;
    assert_eq!(
        body.as_ptr(),
        block[block.len() - 4..].as_ptr(),
        "a slice, not a copy"
    );
    decode_entries(id(6, 7), block.clone()).expect_err("terms go down");
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        decode_entries(id(4, 7), bad.into()).expect_err("a byte is wrong");
        decode_entries(id(4, 7), block.slice(..at)).expect_err("cut short");
    }
    bytes.push(0);
    decode_entries(id(4, 7), bytes.into()).expect_err("a byte too many");
    let none = decode_entries(id(4, 7), Bytes::from_static(&[0; 16]));
    none.expect_err("an empty block has a checksum too");
}

#[test]
fn one_sync_covers_all_orders_of_a_call() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    let before = disk.counts();
    let orders: Vec<LogOrder> = (1..=10)
        .map(|at| write(at, None, vec![entry(1, at, "x")]))
        .collect();
    assert_eq!(wal.run(&mut disk, &orders), Ok(Some(WriteId(10))));
    let after = disk.counts();
    assert_eq!(after.syncs - before.syncs, 1);
    assert_eq!(after.dir_syncs, before.dir_syncs);
    assert_eq!(after.ops - before.ops, 2, "one write, one sync");
    // Nothing to make durable, nothing to sync.
    let release = [LogOrder::Release { upto: Index(0) }];
    assert_eq!(wal.run(&mut disk, &release), Ok(None));
    assert_eq!(wal.run(&mut disk, &[]), Ok(None));
    assert_eq!(disk.counts(), after);
}

#[test]
fn a_spare_saves_the_zero_filling_at_a_change_of_segment() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    assert_eq!(
        wal.spare_wanted(),
        None,
        "an empty segment will do for a while"
    );
    let half = |at| write(at, None, vec![entry(1, at, &"x".repeat(2000))]);
    wal.run(&mut disk, &[half(1)]).unwrap();
    let (name, len) = wal.spare_wanted().unwrap();
    assert_eq!(len, SMALL);
    disk.create_zeroed(&name, len).unwrap();
    disk.sync(&name).unwrap();
    wal.spare_ready(len);
    assert_eq!(wal.spare_wanted(), None);
    let before = disk.counts();
    wal.run(&mut disk, &[half(2)]).unwrap();
    let after = disk.counts();
    assert!(
        after.written_bytes - before.written_bytes < SMALL,
        "no zero-filling"
    );
    assert_eq!(
        after.syncs - before.syncs,
        2,
        "the new head, then the frame"
    );
    assert_eq!(disk.size(&name).unwrap(), None);
    let (recovered, ..) = opened(&mut disk);
    assert_eq!(indices(&recovered), [1, 2]);
}

#[test]
fn a_write_larger_than_a_segment_gets_one_of_its_size() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    let large = "x".repeat(100_000);
    wal.run(&mut disk, &[write(1, None, vec![entry(1, 1, &large)])])
        .unwrap();
    let size = disk.size(&segment_name(2)).unwrap().unwrap();
    assert_eq!(size, (4096 + frame_of(&large)).next_multiple_of(4096));
    wal.run(&mut disk, &[write(2, None, vec![entry(1, 2, "small")])])
        .unwrap();
    let (recovered, ..) = opened(&mut disk);
    assert_eq!(indices(&recovered), [1, 2]);
    assert_eq!(recovered.entries[0].body.len(), 100_000);
}

/// Bodies that are written in eleven calls: long ones, and many short ones.
fn long_entries() -> Vec<Entry> {
    let lengths = [0, 70_000, 16_000, 3_000_000, 1, 65_536, 65_535];
    let lengths = lengths.iter().chain([&16_000; 200]);
    let entries = (1..).zip(lengths).map(|(at, &length)| {
        let letter = char::from(b'a' + (at % 26) as u8);
        entry(1, at, &letter.to_string().repeat(length))
    });
    entries.collect()
}

/// A log of one large segment.
fn opened_large(disk: &mut SimDisk) -> Opened {
    open(disk, &options(16 << 20), expect()).unwrap()
}

#[test]
fn long_bodies_and_many_short_ones_are_written_in_pieces_and_are_one_frame() {
    let entries = long_entries();
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened_large(&mut disk);
    let before = disk.counts();
    let next = entry(1, entries.len() as u64 + 1, "the next");
    let orders = [
        write(1, None, entries.clone()),
        write(2, None, vec![next.clone()]),
    ];
    assert_eq!(wal.run(&mut disk, &orders), Ok(Some(WriteId(2))));
    let after = disk.counts();
    assert_eq!(after.syncs - before.syncs, 1);
    // Six pieces of a mebibyte, the end; a sync.
    assert_eq!(after.ops - before.ops, 8);
    let exact = entries.iter().map(|entry| entry.body.len() as u64 + 20);
    let written = after.written_bytes - before.written_bytes;
    let pieces_begin = 7 * 512;
    let bound = 400 + pieces_begin;
    assert!(written.abs_diff(exact.sum()) < bound, "each sector once");
    drop(wal);
    let (recovered, ..) = opened_large(&mut disk);
    let mut all = entries;
    all.push(next);
    assert_eq!(recovered.entries, all);
}

#[test]
fn a_crash_between_pieces_leaves_the_whole_write_or_none_of_it() {
    let entries = long_entries();
    let mut found = std::collections::BTreeSet::new();
    for (at, power) in (1..=8).flat_map(|at| [(at, false), (at, true)]) {
        let mut disk = SimDisk::new();
        let (_, mut wal, _) = opened_large(&mut disk);
        let first = write(1, None, vec![entry(1, 1, "acknowledged")]);
        wal.run(&mut disk, &[first]).unwrap();
        disk.crash_after(at);
        let more = entries.iter().map(|entry| {
            let mut entry = entry.clone();
            entry.id.index = entry.id.index.next();
            entry
        });
        let order = write(2, None, more.collect());
        wal.run(&mut disk, &[order]).unwrap_err();
        if power {
            disk.power_cut(&mut Dice(at));
        }
        disk.restart();
        let (recovered, mut wal, _) = opened_large(&mut disk);
        let held = recovered.entries.len();
        assert!(held == 1 || held == 1 + entries.len(), "{held} of them");
        found.insert((held, power));
        let next = write(9, None, vec![entry(1, held as u64 + 1, "goes on")]);
        wal.run(&mut disk, &[next]).unwrap();
    }
    assert!(
        found.contains(&(1, true)) && found.contains(&(1, false)),
        "{found:?}"
    );
}

#[test]
fn a_log_that_failed_once_acknowledges_nothing_more() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    disk.fail_sync(1, headwater_sim::dice::Dice(0));
    let order = || write(1, None, vec![entry(1, 1, "x")]);
    let first = wal.run(&mut disk, &[order()]).unwrap_err();
    let second = wal.run(&mut disk, &[order()]).unwrap_err();
    assert!(second.what.contains(&first.what));
    wal.run(&mut disk, &[]).unwrap_err();
    wal.idle(&mut disk).unwrap_err();
    assert_eq!(wal.spare_wanted(), None);
}

#[test]
fn orders_wait_for_room_on_a_full_disk_and_nothing_is_lost() {
    let mut disk = SimDisk::new();
    let (_, mut wal, mut store) = opened(&mut disk);
    let half = |at| write(at, None, vec![entry(1, at, &"x".repeat(2000))]);
    disk.set_quota(Some(disk.used_bytes()));
    let upto = wal.run(&mut disk, &[half(1), half(2), half(3)]).unwrap();
    assert_eq!((upto, wal.waiting()), (Some(WriteId(1)), 2));
    assert!(wal.is_short());
    // What is ordered later comes behind.
    let small = write(4, None, vec![entry(1, 4, "small")]);
    assert_eq!(wal.run(&mut disk, &[small]), Ok(None));
    assert_eq!(wal.waiting(), 3);
    let (recovered, ..) = opened(&mut disk.clone());
    assert_eq!(indices(&recovered), [1]);
    disk.set_quota(None);
    assert_eq!(wal.run(&mut disk, &[]), Ok(Some(WriteId(4))));
    assert!(!wal.is_short());
    let (recovered, ..) = opened(&mut disk.clone());
    assert_eq!(indices(&recovered), [1, 2, 3, 4]);
    // What makes room is not held up by what waits for it.
    disk.set_quota(Some(disk.used_bytes() + 1000));
    take_snapshot(&mut disk, &mut store, meta(1, 3), &mut Ledger::of(&[1]), 64).unwrap();
    assert_eq!(wal.run(&mut disk, &[half(5)]), Ok(None));
    let release = LogOrder::Release { upto: Index(3) };
    assert_eq!(wal.run(&mut disk, &[release]), Ok(None));
    assert_eq!(wal.run(&mut disk, &[]), Ok(Some(WriteId(5))));
    let (recovered, ..) = opened(&mut disk);
    assert_eq!(indices(&recovered).last(), Some(&5));
}

#[test]
fn what_is_cut_off_by_a_write_that_waits_is_not_released_before() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    let half = |at| write(at, None, vec![entry(1, at, &"x".repeat(2000))]);
    wal.run(&mut disk, &[half(1), half(2), half(3)]).unwrap();
    let before = disk.list("wal").unwrap();
    disk.set_quota(Some(disk.used_bytes()));
    let other = write(4, Some(3), vec![entry(2, 3, &"y".repeat(2000))]);
    let release = LogOrder::Release { upto: Index(3) };
    assert_eq!(wal.run(&mut disk, &[other, release]), Ok(None));
    assert_eq!(disk.list("wal").unwrap(), before);
    disk.set_quota(None);
    assert_eq!(wal.run(&mut disk, &[]), Ok(Some(WriteId(4))));
    let now = disk.list("wal").unwrap();
    let is_segment = |name: &&String| name.ends_with(".wal");
    let count = |names: &[String]| names.iter().filter(is_segment).count();
    assert!(count(&now) < count(&before));
}

#[test]
fn a_spare_that_finds_no_room_is_told() {
    let mut disk = SimDisk::new();
    let (_, mut wal, _) = opened(&mut disk);
    wal.run(
        &mut disk,
        &[write(1, None, vec![entry(1, 1, &"x".repeat(2000))])],
    )
    .unwrap();
    let (name, len) = wal.spare_wanted().unwrap();
    disk.set_quota(Some(disk.used_bytes()));
    let full = disk.create_zeroed(&name, len).unwrap_err();
    wal.spare_failed(&full);
    assert!(wal.is_short() && wal.spare_wanted().is_some());
    disk.set_quota(None);
    disk.create_zeroed(&name, len).unwrap();
    wal.spare_ready(len);
    assert!(!wal.is_short());
}

/// Bytes that go to the disk per byte of entries: batches of 16 entries of 256 bytes fill `segments`
/// segments of 256 KiB, of which each is released when the next one is begun, if any is.
fn bytes_per_byte(segments: u64, release: bool) -> f64 {
    let mut disk = SimDisk::new();
    let options = options(256 << 10);
    let (_, mut wal, _) = open::<Ledger>(&mut disk, &options, expect()).unwrap();
    let (mut last, mut writes, mut begun) = (0, 0, 1);
    while begun <= segments {
        if let Some((name, len)) = wal.spare_wanted() {
            disk.create_zeroed(&name, len).unwrap();
            disk.sync(&name).unwrap();
            wal.spare_ready(len);
        }
        let body = "x".repeat(256);
        let batch = (last + 1..=last + 16).map(|at| entry(1, at, &body));
        (last, writes) = (last + 16, writes + 1);
        wal.run(&mut disk, &[write(writes, None, batch.collect())])
            .unwrap();
        if disk.size(&segment_name(begun + 1)).unwrap().is_some() {
            begun += 1;
            if release {
                let upto = Index(last - 16);
                wal.run(&mut disk, &[LogOrder::Release { upto }]).unwrap();
            }
        }
    }
    disk.counts().written_bytes as f64 / (last * 256) as f64
}

#[test]
fn with_releases_a_quarter_more_than_the_entries_goes_to_the_disk() {
    let (kept, released) = (bytes_per_byte(16, false), bytes_per_byte(192, true));
    println!("{kept:.3} without releases, {released:.3} with");
    assert!(kept > 2.0 && released < 1.26, "{kept} {released}");
}

#[test]
fn released_segments_wait_for_their_next_use_until_they_weigh_enough() {
    for (spare_bytes, kept) in [(0, 2), (3 * 8192, 3), (1 << 20, 6)] {
        let mut disk = SimDisk::new();
        let options = WalOptions {
            spare_bytes,
            ..options(8192)
        };
        let (_, mut wal, _) = open::<Ledger>(&mut disk, &options, expect()).unwrap();
        let mut at = fill_to(&mut disk, &mut wal, 0, 7, 700);
        let upto = Index(at - 1);
        wal.run(&mut disk, &[LogOrder::Release { upto }]).unwrap();
        let names = disk.list(WAL_DIR).unwrap();
        let spares = names.iter().filter(|name| name.ends_with(".tmp"));
        assert_eq!(spares.count(), kept);
        assert_eq!(names.len(), kept + 1, "the others are gone");
        at = fill_to(&mut disk, &mut wal, at, 7 + kept as u64, 700);
        assert_eq!(wal.recycled(), kept as u64);
        let upto = Index(at - 1);
        let orders = [LogOrder::Release { upto }, LogOrder::GiveRoom];
        wal.run(&mut disk, &orders).unwrap();
        let names = disk.list(WAL_DIR).unwrap();
        assert_eq!(names.len(), 2, "one is enough where there is no room");
    }
}

#[test]
fn whole_sectors_are_written_once_the_first_one_is_full() {
    let mut disk = SimDisk::new();
    for opening in 0..3 {
        let (found, mut wal, _) = open::<Ledger>(&mut disk, &options(1 << 20), expect()).unwrap();
        let first = found.entries.len() as u64 + 1;
        let mut bytes = 0;
        for at in first..first + 40 {
            let before = disk.counts().written_bytes;
            let id = found.next_write.0 + at - first;
            let body = "x".repeat(at as usize * 37 % 900);
            let order = write(id, None, vec![entry(1, at, &body)]);
            wal.run(&mut disk, &[order]).unwrap();
            let written = disk.counts().written_bytes - before;
            // A frame is larger than 100 bytes, so five of them fill a sector.
            let is_aligned = opening == 0 || at >= first + 5;
            assert!(written.is_multiple_of(512) || !is_aligned, "{written}");
            bytes += written;
        }
        assert!(bytes > 40 * 512);
    }
}

#[test]
fn spares_that_are_too_short_give_their_room_to_a_long_segment() {
    let mut disk = SimDisk::new();
    let options = WalOptions {
        spare_bytes: 1 << 20,
        ..options(8192)
    };
    let (_, mut wal, _) = open::<Ledger>(&mut disk, &options, expect()).unwrap();
    let at = fill_to(&mut disk, &mut wal, 0, 7, 700);
    let upto = Index(at - 1);
    wal.run(&mut disk, &[LogOrder::Release { upto }]).unwrap();
    disk.set_quota(Some(disk.used_bytes()));
    let long = write(at + 1, None, vec![entry(1, at + 1, &"y".repeat(30_000))]);
    let done = wal.run(&mut disk, &[long]);
    assert_eq!((done, wal.waiting()), (Ok(Some(WriteId(at + 1))), 0));
    let names = disk.list(WAL_DIR).unwrap();
    assert!(names.iter().all(|name| name.ends_with(".wal")), "{names:?}");
    let too_long = write(at + 2, None, vec![entry(1, at + 2, &"z".repeat(60_000))]);
    let orders = [too_long, LogOrder::GiveRoom];
    assert_eq!(wal.run(&mut disk, &orders), Ok(None));
    assert_eq!(wal.waiting(), 2);
}
