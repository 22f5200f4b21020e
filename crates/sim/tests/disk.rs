//! The simulated disk keeps what POSIX promises and loses what it does not.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use headwater_replica::port::{Disk, DiskErrorKind};
use headwater_sim::dice::Dice;
use headwater_sim::disk::{SECTOR_BYTES, SimDisk};

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
