//! The disk door over a real directory, and the directory's lock.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_replica::{Disk, DiskErrorKind};
use headwater_runtime::counters::Counters;
use headwater_runtime::file::{FileDisk, Use};
use headwater_runtime::lock::{DirectoryLock, LOCK_FILE, LockError};
use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};
use tempfile::TempDir;

struct Room {
    directory: TempDir,
    counters: Arc<Counters>,
    disk: FileDisk,
}

fn room() -> Room {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let counters = Arc::new(Counters::default());
    let disk = FileDisk::new(directory.path().into(), Use::Log, counters.clone());
    Room {
        directory,
        counters,
        disk,
    }
}

#[test]
fn what_is_written_is_read_back_through_another_door() {
    let mut room = room();
    room.disk.write("wal/a", 3, b"word").expect("written");
    room.disk.sync("wal/a").expect("synced");
    let mut other = room.disk.another(Use::Snapshots);
    assert_eq!(other.size("wal/a"), Ok(Some(7)));
    assert_eq!(
        other.read("wal/a", 0, 100).expect("read"),
        &b"\0\0\0word"[..]
    );
    assert_eq!(other.read("wal/a", 4, 2).expect("read"), &b"or"[..]);
    assert_eq!(other.read("wal/a", 100, 2).expect("read"), &b""[..]);
    assert_eq!(room.counters.syncs.now().count, 1);
    assert_eq!(room.counters.log_bytes.value(), 4);
}

/// Whether this process has the file open so that what it writes goes past the kernel's cache.
fn is_open_past_the_cache(path: &Path) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").expect("open files");
    open.flatten().any(|open| {
        let name = open.file_name().into_string().expect("a number");
        let said = std::fs::read_to_string(format!("/proc/self/fdinfo/{name}"));
        let said = said.unwrap_or_default();
        let flags = said.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        let is_direct = flags.is_some_and(|flags| flags & OFlags::DIRECT.bits() != 0);
        is_direct && std::fs::read_link(open.path()).is_ok_and(|to| to == path)
    })
}

#[test]
fn sectors_go_past_the_cache_and_what_is_read_is_what_was_written_either_way() {
    const LEN: usize = 256 << 10;
    let mut room = room();
    room.disk.create_zeroed("seg", LEN as u64).expect("made");
    let path = room.directory.path().join("seg");
    let said = statx(
        rustix::fs::CWD,
        &path,
        AtFlags::empty(),
        StatxFlags::DIOALIGN,
    );
    let is_known = said.is_ok_and(|said| {
        let is_said = said.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
        let sector_is_known = (1..=512).contains(&said.stx_dio_offset_align);
        is_said && sector_is_known && said.stx_dio_mem_align <= 4096
    });
    assert_eq!(is_open_past_the_cache(&path), is_known);
    println!("past the cache: {is_known}");
    let mut reader = room.disk.another(Use::Reading);
    let mut model = vec![0_u8; LEN];
    let mut dice = 1_u64;
    let mut below = |bound: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 33) as usize % bound
    };
    for round in 0..400 {
        let (mut at, mut len) = (below(LEN - 20_000), 1 + below(20_000));
        if below(3) > 0 {
            (at, len) = (at & !511, (len | 511) + 1);
        }
        let bytes = vec![(round % 251) as u8 + 1; len];
        room.disk.write("seg", at as u64, &bytes).expect("written");
        model[at..at + len].copy_from_slice(&bytes);
        if below(4) == 0 {
            room.disk.sync("seg").expect("synced");
        }
        let from = below(LEN);
        let read = reader.read("seg", from as u64, 30_000).expect("read");
        assert!(read[..] == model[from..LEN.min(from + 30_000)], "{round}");
    }
    assert!(room.disk.read("seg", 0, LEN).expect("read")[..] == model);
    // What is longer than a piece, and lies in memory where it happens to.
    let long: Vec<u8> = (0..(3 << 20) + 1_u32).map(|at| (at % 253) as u8).collect();
    room.disk.write("long", 512, &long[1..]).expect("written");
    let read = reader.read("long", 512, long.len()).expect("read");
    assert!(read[..] == long[1..]);
}

#[test]
fn a_zeroed_file_is_written_and_not_merely_reserved() {
    use std::os::unix::fs::MetadataExt;
    let mut room = room();
    let len = (2 << 20) + 17;
    room.disk.write("seg", 0, b"old bytes").expect("written");
    room.disk.create_zeroed("seg", len).expect("made");
    let read = room.disk.read("seg", 0, len as usize).expect("read");
    assert_eq!(read.len() as u64, len);
    assert!(read.iter().all(|&byte| byte == 0));
    let meta = std::fs::metadata(room.directory.path().join("seg")).expect("it is there");
    assert!(meta.blocks() * 512 >= len, "{} blocks", meta.blocks());
}

#[test]
fn a_reserve_takes_up_its_room_and_needs_no_zeros() {
    use std::os::unix::fs::MetadataExt;
    let mut room = room();
    let len = (2 << 20) + 17;
    for _ in 0..2 {
        room.disk
            .reserve("snap/reserve", len)
            .expect("there is room");
        let meta = std::fs::metadata(room.directory.path().join("snap/reserve"));
        let meta = meta.expect("it is there");
        assert_eq!(meta.len(), len);
        assert!(meta.blocks() * 512 >= len, "{} blocks", meta.blocks());
    }
}

#[test]
fn names_are_listed_in_order_renamed_and_removed() {
    let mut room = room();
    assert_eq!(room.disk.list("wal"), Ok(vec![]));
    for name in ["wal/2", "wal/1", "wal/3"] {
        room.disk.write(name, 0, name.as_bytes()).expect("written");
    }
    assert_eq!(room.disk.list(""), Ok(vec!["wal".into()]));
    room.disk.rename("wal/3", "wal/1").expect("renamed");
    room.disk.sync_dir("wal").expect("synced");
    assert_eq!(room.disk.list("wal"), Ok(vec!["1".into(), "2".into()]));
    assert_eq!(room.disk.read("wal/1", 0, 9).expect("read"), &b"wal/3"[..]);
    // The renamed file is written where it is now, not where it was.
    room.disk.write("wal/1", 0, b"WAL").expect("written");
    assert_eq!(room.disk.read("wal/1", 0, 9).expect("read"), &b"WAL/3"[..]);
    room.disk.remove("wal/2").expect("removed");
    room.disk
        .remove("wal/2")
        .expect("no error if there is none");
    assert_eq!(room.disk.list("wal"), Ok(vec!["1".into()]));
    assert_eq!(room.disk.size("wal/2"), Ok(None));
}

#[test]
fn a_removed_file_does_not_live_on_in_an_open_handle() {
    let mut room = room();
    room.disk.write("a", 0, b"long ago").expect("written");
    room.disk.remove("a").expect("removed");
    room.disk.write("a", 0, b"new").expect("written");
    assert_eq!(room.disk.read("a", 0, 100).expect("read"), &b"new"[..]);
}

#[test]
fn a_discarded_file_has_no_name_at_once_and_gives_its_room_back_soon() {
    let mut room = room();
    for name in ["was-open", "was-not"] {
        std::fs::write(room.directory.path().join(name), b"word").expect("written");
    }
    room.disk.read("was-open", 0, 4).expect("read");
    for name in ["was-open", "was-not", "never-was"] {
        room.disk.discard(name).expect("discarded");
        assert_eq!(room.disk.size(name), Ok(None));
    }
    let is_held = || {
        let open = std::fs::read_dir("/proc/self/fd").expect("listed");
        let mut paths = open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        paths.any(|path| path.starts_with(room.directory.path()))
    };
    let until = Instant::now() + Duration::from_secs(30);
    while is_held() {
        assert!(Instant::now() < until, "its room was not given back");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn many_files_are_served_with_few_open_at_once() {
    let mut room = room();
    for i in 0..200 {
        room.disk
            .write(&format!("{i:03}"), 0, &[i])
            .expect("written");
    }
    for i in 0..200 {
        let read = room.disk.read(&format!("{i:03}"), 0, 1).expect("read");
        assert_eq!(read[..], [i]);
    }
    let open = std::fs::read_dir("/proc/self/fd").expect("proc").count();
    assert!(open < 150, "{open} files open");
}

#[test]
fn a_missing_file_is_told_apart_and_named() {
    let mut room = room();
    let error = room.disk.read("wal/none", 0, 1).expect_err("no such file");
    assert_eq!(error.kind, DiskErrorKind::NotFound);
    let path = room.directory.path().join("wal/none");
    assert!(error.what.starts_with("read "), "{error}");
    assert!(error.what.contains(&path.display().to_string()), "{error}");
    assert!(error.what.contains("No such file"), "{error}");
}

#[test]
fn no_name_leaves_the_directory() {
    let mut room = room();
    for name in ["../a", "/etc/a", "a/../../b", "", "a\0b"] {
        assert!(room.disk.write(name, 0, b"x").is_err(), "{name:?}");
        assert!(room.disk.remove(name).is_err(), "{name:?}");
    }
    assert!(
        !room
            .directory
            .path()
            .parent()
            .expect("above")
            .join("a")
            .exists()
    );
}

#[test]
fn a_full_disk_is_told_apart() {
    // Writing to this device always finds no space: the one full disk every machine has.
    let mut room = room();
    std::os::unix::fs::symlink("/dev/full", room.directory.path().join("full")).expect("linked");
    let error = room.disk.write("full", 0, b"x").expect_err("no space");
    assert_eq!(error.kind, DiskErrorKind::Full, "{error}");
}

#[test]
fn a_directory_is_locked_once_and_free_again_after() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("deep/data");
    let lock = DirectoryLock::take(&path).expect("nobody else is here");
    assert!(matches!(DirectoryLock::take(&path), Err(LockError::Held)));
    let holder = std::fs::read_to_string(path.join(LOCK_FILE)).expect("readable");
    assert_eq!(holder.trim(), std::process::id().to_string());
    drop(lock);
    DirectoryLock::take(&path).expect("free again");
}

#[test]
fn a_directory_that_cannot_be_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    std::fs::write(&file, b"not a directory").expect("written");
    let path = file.join("data");
    let Err(LockError::Unusable(text)) = DirectoryLock::take(&path) else {
        panic!("a file has no directories in it");
    };
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert!(text.contains("Not a directory"), "{text}");
}
