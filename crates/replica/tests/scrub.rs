//! Files at rest, read again: what is whole is whole, each flipped bit is found, and what is being
//! written to is left alone.
#![allow(clippy::unwrap_used)]

mod wal_common;

use headwater_replica::LogOrder;
use headwater_replica::port::Disk;
use headwater_replica::scrub::{at_rest, check};
use headwater_sim::disk::SimDisk;
use wal_common::*;

/// Two sealed segments, one in use, and a snapshot.
fn directory() -> SimDisk {
    let mut disk = SimDisk::new();
    let (_, mut wal, mut store) = opened(&mut disk);
    let half = |at| write(at, None, vec![entry(1, at, &"x".repeat(2000))]);
    let orders: Vec<LogOrder> = (1..=5).map(half).collect();
    wal.run(&mut disk, &orders).unwrap();
    let mut ledger = Ledger::of(&(1..=40).collect::<Vec<_>>());
    take_snapshot(&mut disk, &mut store, meta(1, 2), &mut ledger, 64).unwrap();
    disk
}

/// Where a file's last byte is that is not zero: behind it nothing was written.
fn used(disk: &mut SimDisk, file: &str) -> u64 {
    let size = disk.size(file).unwrap().unwrap();
    let bytes = disk.read(file, 0, size as usize).unwrap();
    bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1
}

#[test]
fn what_is_whole_is_found_whole() {
    let mut disk = directory();
    let files = at_rest(&mut disk).unwrap();
    assert!(files.len() >= 3, "{files:?}");
    let last = disk.list("wal").unwrap().pop().unwrap();
    assert!(!files.iter().any(|file| file.contains(&last)), "in use");
    for file in files {
        assert_eq!(check(&mut disk, CLUSTER, &file), Ok(None), "{file}");
    }
    let gone = "wal/0000000000000077.wal";
    assert_eq!(check(&mut disk, CLUSTER, gone), Ok(None));
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let mut disk = directory();
    for file in at_rest(&mut disk).unwrap() {
        let used = used(&mut disk, &file);
        let is_log = file.starts_with("wal/");
        // A head's block is mostly zeros, and where witnesses stand nobody vouches for the past.
        let head = if is_log { 4096 } else { 0 };
        let places = (0..64.min(used)).chain((head..used).step_by(13));
        for at in places {
            let mut rotten = disk.clone();
            rotten.flip_bit(&file, at, 3);
            let found = check(&mut rotten, CLUSTER, &file).unwrap();
            // Padding between frames is nobody's.
            let is_padding = is_log && {
                let byte = disk.read(&file, at, 1).unwrap()[0];
                byte == 0 && found.is_none()
            };
            let is_named = found.is_some_and(|damage| {
                // A length that is wrong shows where it leads.
                damage.file == file && (damage.offset <= at || !is_log)
            });
            assert!(is_named || is_padding, "{file} byte {at}");
        }
    }
}
