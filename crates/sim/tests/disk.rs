//! The simulated disk keeps what POSIX promises and loses what it does not.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use headwater_replica::port::{Disk, DiskErrorKind};
use headwater_sim::dice::Dice;
use headwater_sim::disk::{SECTOR_BYTES, SimDisk, Stray};
use headwater_sim::plan::Rot;

const FILE: &str = "wal/a";

fn durable_file(content: &[u8]) -> SimDisk {
    let mut disk = SimDisk::new();
    disk.write(FILE, 0, content).unwrap();
    disk.sync(FILE).unwrap();
    disk.sync_dir("wal").unwrap();
    disk.sync_dir("").unwrap();
    disk
}

fn after_power_cut(disk: &SimDisk, seed: u64) -> SimDisk {
    let mut disk = disk.clone();
    disk.power_cut(&mut Dice(seed));
    disk.restart();
    disk
}

fn content(disk: &mut SimDisk, name: &str) -> Vec<u8> {
    disk.read(name, 0, 1 << 20).unwrap().to_vec()
}

#[test]
fn what_is_synced_with_its_names_survives_every_power_cut() {
    let disk = durable_file(b"kept");
    for seed in 0..50 {
        let mut after = after_power_cut(&disk, seed);
        assert_eq!(content(&mut after, FILE), b"kept");
    }
}

#[test]
fn a_file_without_its_names_synced_may_vanish() {
    for missing in ["wal", ""] {
        let mut disk = SimDisk::new();
        disk.write(FILE, 0, b"new").unwrap();
        disk.sync(FILE).unwrap();
        for dir in ["wal", ""] {
            if dir != missing {
                disk.sync_dir(dir).unwrap();
            }
        }
        let sizes: BTreeSet<_> = (0..50)
            .map(|seed| after_power_cut(&disk, seed).size(FILE).unwrap())
            .collect();
        assert_eq!(
            sizes,
            BTreeSet::from([None, Some(3)]),
            "without {missing:?}"
        );
    }
}

#[test]
fn unsynced_sectors_are_kept_lost_and_torn_in_any_mixture() {
    let mut disk = durable_file(&[b'o'; 4 * SECTOR_BYTES]);
    disk.write(FILE, 0, &[b'n'; 4 * SECTOR_BYTES]).unwrap();
    assert_eq!(content(&mut disk, FILE), [b'n'; 4 * SECTOR_BYTES]);
    let mut whole = BTreeSet::new();
    let mut torn = 0;
    for seed in 0..400 {
        let after = content(&mut after_power_cut(&disk, seed), FILE);
        assert_eq!(after.len(), 4 * SECTOR_BYTES);
        let new = after.chunks(SECTOR_BYTES).map(|sector| {
            let count = sector.iter().filter(|&&byte| byte == b'n').count();
            assert!(
                sector[..count].iter().all(|&byte| byte == b'n'),
                "a torn sector's end is old"
            );
            count
        });
        let new: Vec<usize> = new.collect();
        if new.iter().all(|&count| count == 0 || count == SECTOR_BYTES) {
            whole.insert(new);
        } else {
            torn += 1;
        }
    }
    assert!(whole.len() > 10, "of 16 mixtures only {}", whole.len());
    assert!(torn > 20);
}

#[test]
fn a_killed_process_leaves_the_cache_but_not_the_platter() {
    let mut disk = durable_file(b"old");
    disk.write(FILE, 0, b"new").unwrap();
    disk.kill();
    assert_eq!(disk.size(FILE).unwrap_err().kind, DiskErrorKind::Failed);
    disk.restart();
    assert_eq!(content(&mut disk, FILE), b"new");
    let after: BTreeSet<_> = (0..50)
        .map(|seed| content(&mut after_power_cut(&disk, seed), FILE))
        .collect();
    assert!(after.contains(&b"old"[..]) && after.contains(&b"new"[..]));
}

#[test]
fn a_failed_sync_leaves_clean_pages_that_later_syncs_do_not_write() {
    let mut lost = 0;
    for seed in 0..50 {
        let mut disk = durable_file(&[b'o'; 600]);
        disk.write(FILE, 0, &[b'n'; 600]).unwrap();
        disk.fail_sync(1, Dice(seed));
        disk.sync(FILE).unwrap_err();
        disk.sync(FILE).unwrap();
        assert_eq!(content(&mut disk, FILE), [b'n'; 600], "the cache keeps it");
        let mut after = after_power_cut(&disk, seed);
        lost += u64::from(content(&mut after, FILE) != [b'n'; 600]);
        // Written again, it is dirty again.
        disk.write(FILE, 0, &[b'n'; 600]).unwrap();
        disk.sync(FILE).unwrap();
        assert_eq!(
            content(&mut after_power_cut(&disk, seed), FILE),
            [b'n'; 600]
        );
    }
    assert!(lost > 10);
}

#[test]
fn a_rename_is_all_or_nothing() {
    let mut disk = durable_file(b"old");
    disk.write("wal/b", 0, b"new").unwrap();
    disk.sync("wal/b").unwrap();
    disk.sync_dir("wal").unwrap();
    disk.rename("wal/b", FILE).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let mut after = after_power_cut(&disk, seed);
        let names = after.list("wal").unwrap().len();
        seen.insert((names, content(&mut after, FILE)));
    }
    assert_eq!(
        seen,
        BTreeSet::from([(1, b"new".to_vec()), (2, b"old".to_vec())])
    );
}

#[test]
fn a_crash_comes_at_the_call_asked_for_and_lasts() {
    let mut disk = durable_file(b"12345678");
    disk.crash_after(2);
    assert_eq!(disk.size(FILE).unwrap(), Some(8));
    disk.write(FILE, 0, b"abcdefgh").unwrap_err();
    assert!(disk.is_down());
    disk.sync(FILE).unwrap_err();
    disk.restart();
    assert_eq!(
        content(&mut disk, FILE),
        b"abcd5678",
        "half of the write was made"
    );
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let mut disk = durable_file(b"1234");
    disk.set_quota(Some(8));
    let full = disk.create_zeroed("wal/b", 5).unwrap_err();
    assert_eq!(full.kind, DiskErrorKind::Full);
    assert_eq!(
        disk.write(FILE, 3, b"456789").unwrap_err().kind,
        DiskErrorKind::Full
    );
    disk.write(FILE, 0, b"12345678").unwrap();
    disk.remove(FILE).unwrap();
    disk.create_zeroed("wal/b", 8).unwrap();
}

#[test]
fn a_read_fails_once_and_changes_nothing() {
    let mut disk = durable_file(b"1234");
    disk.fail_read(2);
    assert_eq!(content(&mut disk, FILE), b"1234");
    let failed = disk.read(FILE, 0, 4).unwrap_err();
    assert_eq!(failed.kind, DiskErrorKind::Failed);
    assert_eq!(content(&mut disk, FILE), b"1234");
}

#[test]
fn a_misread_brings_other_bytes_once_and_changes_nothing() {
    let written: Vec<u8> = (0..4 * SECTOR_BYTES)
        .map(|at| 1 + (at % 250) as u8)
        .collect();
    for kind in [Rot::Bits, Rot::Zeros, Rot::Astray, Rot::Cut] {
        let mut others = 0;
        for seed in 0..20 {
            let mut disk = durable_file(&written);
            disk.misread(2, kind, Dice(seed));
            assert_eq!(content(&mut disk, FILE), written);
            assert_eq!(disk.take_misread(), None);
            let read = content(&mut disk, FILE);
            assert!(disk.take_misread().is_some());
            assert_eq!(content(&mut disk, FILE), written);
            let differs = |at: &usize| read.get(*at) != written.get(*at);
            let places: Vec<usize> = (0..written.len()).filter(differs).collect();
            let sectors: BTreeSet<usize> = places.iter().map(|at| at / SECTOR_BYTES).collect();
            match kind {
                Rot::Bits => assert_eq!(places.len(), 1),
                Rot::Cut => assert_eq!(read[..], written[..read.len()]),
                Rot::Zeros | Rot::Astray => assert!(sectors.len() <= 1),
            }
            others += u64::from(!places.is_empty());
        }
        assert!(others > 10, "{kind:?}: {others} of 20");
    }
}

#[test]
fn a_misread_waits_for_something_in_use() {
    let mut disk = durable_file(b"1234");
    disk.create_zeroed("wal/b", 100).unwrap();
    disk.misread(1, Rot::Zeros, Dice(1));
    assert_eq!(content(&mut disk, "wal/b"), [0; 100]);
    assert_eq!(content(&mut disk, FILE), [0; 4]);
}

/// Writes anew over a file of four sectors, and one of the writes strays.
fn strayed(seed: u64, lands: bool, cached: bool) -> SimDisk {
    let mut disk = durable_file(&[b'o'; 4 * SECTOR_BYTES]);
    let dice = Dice(seed);
    disk.stray(
        1,
        Stray {
            lands,
            cached,
            dice,
        },
    );
    disk.sync(FILE).unwrap();
    assert_eq!(disk.stray_done(), None, "there was nothing to write");
    disk.write(FILE, 0, &[b'n'; 2 * SECTOR_BYTES]).unwrap();
    disk.sync(FILE).unwrap();
    assert!(disk.stray_done().is_some());
    disk
}

fn new_sectors(content: &[u8]) -> Vec<bool> {
    let sectors = content.chunks(SECTOR_BYTES);
    sectors
        .map(|sector| sector == [b'n'; SECTOR_BYTES])
        .collect()
}

#[test]
fn a_lost_write_leaves_the_old_sector_and_says_nothing() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let mut disk = strayed(seed, false, false);
        let before = content(&mut disk, FILE);
        assert_eq!(content(&mut after_power_cut(&disk, seed), FILE), before);
        seen.insert(new_sectors(&before));
    }
    let lost = |at: usize| vec![at != 0, at != 1, false, false];
    assert_eq!(seen, BTreeSet::from([lost(0), lost(1)]));
}

#[test]
fn a_page_cache_hides_a_lost_write_until_the_power_goes() {
    let mut disk = strayed(3, false, true);
    let (all, one) = ([true, true, false, false], 1);
    assert_eq!(new_sectors(&content(&mut disk, FILE)), all);
    disk.kill();
    disk.restart();
    assert_eq!(new_sectors(&content(&mut disk, FILE)), all);
    assert!(disk.is_hiding());
    let mut after = after_power_cut(&disk, 3);
    let new = new_sectors(&content(&mut after, FILE));
    assert_eq!(new.iter().filter(|&&new| new).count(), one);
    assert!(!after.is_hiding());
    // Written again, it is there.
    disk.write(FILE, 0, &[b'x'; 2 * SECTOR_BYTES]).unwrap();
    disk.sync(FILE).unwrap();
    let rewritten = content(&mut after_power_cut(&disk, 3), FILE);
    assert_eq!(rewritten[..2 * SECTOR_BYTES], [b'x'; 2 * SECTOR_BYTES]);
}

#[test]
fn a_misdirected_write_lands_over_another_sector() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let mut disk = strayed(seed, true, false);
        seen.insert(new_sectors(&content(&mut disk, FILE)));
    }
    assert!(seen.contains(&vec![true, false, true, false]), "{seen:?}");
    assert!(seen.contains(&vec![false, true, false, true]), "{seen:?}");
}

#[test]
fn equal_seeds_make_equal_disks() {
    let mut disk = durable_file(&[1; 5000]);
    for at in 0..20 {
        disk.write(FILE, at * 211, &[at as u8; 100]).unwrap();
    }
    for seed in 0..20 {
        let twice = [after_power_cut(&disk, seed), after_power_cut(&disk, seed)];
        assert_eq!(twice[0].contents(), twice[1].contents());
    }
}
