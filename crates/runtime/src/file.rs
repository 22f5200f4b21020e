//! The disk door onto a real directory: plain files, positioned reads and writes, real syncs.
//! Never retries and never hides a failure: after one, only the caller knows what is still true.
//!
//! # Source
//! Pillai et al., OSDI'14 (what a file system promises); Rebello et al., ATC'20 (failed fsync).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use headwater_replica::{Disk, DiskError, DiskErrorKind};
use memmap2::MmapMut;
use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

use crate::counters::Counters;
use crate::direct::{Aligned, Direct};
use crate::discard::Discard;

/// Files kept open at once, those of the log by two doors; beyond it all are closed and opened again when needed.
const OPEN_FILES_MAX: usize = 64;

/// Zeros are written and synced in pieces of this many bytes: a sync of the log that comes meanwhile
/// waits for one piece at most.
const ZEROS_BYTES: usize = 512 << 10;

/// In pieces at least as long as this recovery reads all that a log holds, and lets go of one after the other.
/// Such a piece is in pages of the kernel's: the allocator would keep much of what was given back.
const PAGES_FROM: usize = 1 << 20;

/// What a disk is used for: says which counters its work goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// The log.
    Log,
    /// Snapshot files.
    Snapshots,
    /// The log's next segment, made ahead of its need.
    Spare,
    /// Looking alone: nothing is opened for writing.
    Reading,
    /// The same, at the disk itself and not at what the kernel remembers of it.
    Scrubbing,
}

/// A real directory as a [`Disk`].
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
    used_for: Use,
    counters: Arc<Counters>,
    open: BTreeMap<String, Open>,
    aligned: Aligned,
    discard: Arc<Discard>,
}

/// An open file.
#[derive(Debug)]
struct Open {
    file: File,
    /// The way past the kernel's cache, of the log's files.
    direct: Direct,
}

impl Open {
    /// Writes all of `data` at `offset`, by way of `aligned` if past the cache.
    fn write(
        &mut self,
        path: &Path,
        offset: u64,
        data: &[u8],
        aligned: &mut Aligned,
    ) -> io::Result<()> {
        if !self
            .direct
            .write((&self.file, path), offset, data, aligned)?
        {
            self.file.write_all_at(data, offset)?;
        }
        Ok(())
    }

    /// Makes it `len` bytes of zeros, durably.
    fn write_zeros(&mut self, path: &Path, len: u64) -> io::Result<()> {
        let (zeros, mut aligned) = (vec![0; ZEROS_BYTES], Aligned::default());
        let mut offset = 0;
        while offset < len {
            let piece = (len - offset).min(ZEROS_BYTES as u64);
            self.write(path, offset, &zeros[..piece as usize], &mut aligned)?;
            // All of it now, so that no zeros are left for the log's first sync.
            self.file.sync_data()?;
            offset += piece;
        }
        self.file.sync_all()
    }
}

impl FileDisk {
    /// The directory `root`, which must exist.
    pub fn new(root: PathBuf, used_for: Use, counters: Arc<Counters>) -> Self {
        Self {
            root,
            used_for,
            counters,
            open: BTreeMap::new(),
            aligned: Aligned::default(),
            discard: Arc::default(),
        }
    }

    /// Where its work is counted.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// A second door to the same directory, with open files of its own.
    pub fn another(&self, used_for: Use) -> Self {
        Self {
            discard: self.discard.clone(),
            ..Self::new(self.root.clone(), used_for, self.counters.clone())
        }
    }

    /// Where a name lies. Names come from our own code, but one that could leave the directory
    /// must not reach the operating system.
    fn path(&self, deed: &str, name: &str) -> Result<PathBuf, DiskError> {
        let inside = Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if inside && !name.is_empty() && !name.contains('\0') {
            return Ok(self.root.join(name));
        }
        Err(DiskError {
            what: format!("{deed} {name:?}: not a name inside the data directory"),
            kind: DiskErrorKind::Failed,
        })
    }

    fn failed(&self, deed: &str, name: &str, error: &io::Error) -> DiskError {
        DiskError {
            what: format!("{deed} {}: {error}", self.root.join(name).display()),
            kind: kind_of(error),
        }
    }

    /// The open file of that name, opened and if `create` made if need be.
    fn file(&mut self, deed: &str, name: &str, create: bool) -> Result<&File, DiskError> {
        Ok(&self.opened(deed, name, create)?.file)
    }

    fn opened(&mut self, deed: &str, name: &str, create: bool) -> Result<&mut Open, DiskError> {
        if !self.open.contains_key(name) {
            if self.open.len() >= OPEN_FILES_MAX {
                self.open.clear();
            }
            let path = self.path(deed, name)?;
            if create {
                self.make_parent(deed, name, &path)?;
            }
            let file = OpenOptions::new()
                .read(true)
                .write(!matches!(self.used_for, Use::Reading | Use::Scrubbing))
                .create(create)
                .mode(0o600)
                .open(&path)
                .map_err(|e| self.failed(deed, name, &e))?;
            let direct = match self.used_for {
                Use::Log | Use::Spare => Direct::Unknown,
                Use::Snapshots | Use::Reading | Use::Scrubbing => Direct::None,
            };
            self.open.insert(name.into(), Open { file, direct });
        }
        Ok(self.open.get_mut(name).expect("inserted above"))
    }

    /// Makes the directory a file is to lie in. Its own name is made durable here, because the
    /// door has no deed for that: callers sync the directory they put files in, not its parent.
    fn make_parent(&self, deed: &str, name: &str, path: &Path) -> Result<(), DiskError> {
        let parent = path.parent().expect("a path below the root has a parent");
        if parent.is_dir() {
            return Ok(());
        }
        let make = || {
            std::fs::create_dir_all(parent)?;
            let mut directory = parent;
            while directory != self.root {
                directory = directory.parent().expect("below the root");
                File::open(directory)?.sync_all()?;
            }
            Ok(())
        };
        make().map_err(|e| self.failed(deed, name, &e))
    }

    fn count_written(&self, bytes: usize) {
        match self.used_for {
            Use::Log => self.counters.log_bytes.add(bytes as u64),
            Use::Snapshots => self.counters.snapshot_bytes.add(bytes as u64),
            Use::Spare | Use::Reading | Use::Scrubbing => {}
        }
    }
}

impl Disk for FileDisk {
    fn list(&mut self, dir: &str) -> Result<Vec<String>, DiskError> {
        let path = if dir.is_empty() {
            self.root.clone()
        } else {
            self.path("list", dir)?
        };
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.failed("list", dir, &e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| self.failed("list", dir, &e))?;
            // A name that is not UTF-8 is none of ours, and nobody inside could say it.
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn size(&mut self, name: &str) -> Result<Option<u64>, DiskError> {
        let path = self.path("size", name)?;
        match std::fs::metadata(path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed("size", name, &e)),
        }
    }

    fn read(&mut self, name: &str, offset: u64, len: usize) -> Result<Bytes, DiskError> {
        let is_scrubbing = self.used_for == Use::Scrubbing;
        let is_recovery = self.used_for == Use::Log;
        let file = self.file("read", name, false)?;
        let forget = || {
            if is_scrubbing {
                // No more than advice: what is in use elsewhere is remembered all the same.
                let len = std::num::NonZeroU64::new(len as u64);
                let _ = rustix::fs::fadvise(file, offset, len, Advice::DontNeed);
            }
        };
        let read = || {
            forget();
            let left = file.metadata()?.len().saturating_sub(offset);
            let len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
            let bytes = if is_recovery && len >= PAGES_FROM {
                let mut pages = MmapMut::map_anon(len)?;
                // A wish: one large page instead of hundreds.
                let _ = pages.advise(memmap2::Advice::HugePage);
                let done = fill(file, offset, &mut pages)?;
                Bytes::from_owner(pages).slice(..done)
            } else {
                let mut bytes = vec![0; len];
                let done = fill(file, offset, &mut bytes)?;
                bytes.truncate(done);
                Bytes::from(bytes)
            };
            forget();
            Ok(bytes)
        };
        let bytes = read().map_err(|e| self.failed("read", name, &e))?;
        if is_recovery {
            self.counters.recovered_bytes.add(bytes.len() as u64);
        }
        Ok(bytes)
    }

    fn create_zeroed(&mut self, name: &str, len: u64) -> Result<(), DiskError> {
        self.open.remove(name);
        let path = self.path("create", name)?;
        let open = self.opened("create", name, true)?;
        let mut fill = || {
            open.file.set_len(0)?;
            // Reserving first keeps the file in one piece and finds a full disk before any zero
            // is written; a file system that cannot reserve still gets its zeros.
            allocate(&open.file, len)?;
            open.write_zeros(&path, len)
        };
        fill().map_err(|e| self.failed("create", name, &e))
    }

    fn reserve(&mut self, name: &str, len: u64) -> Result<(), DiskError> {
        self.open.remove(name);
        let path = self.path("reserve", name)?;
        let open = self.opened("reserve", name, true)?;
        let mut reserve = || {
            open.file.set_len(0)?;
            if allocate(&open.file, len)? {
                open.file.sync_all()
            } else {
                open.write_zeros(&path, len)
            }
        };
        reserve().map_err(|e| self.failed("reserve", name, &e))
    }

    fn write(&mut self, name: &str, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let path = self.path("write", name)?;
        let mut aligned = std::mem::take(&mut self.aligned);
        let open = self.opened("write", name, true);
        let written = open.map(|open| open.write(&path, offset, data, &mut aligned));
        self.aligned = aligned;
        written?.map_err(|e| self.failed("write", name, &e))?;
        self.count_written(data.len());
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let before = Instant::now();
        let file = self.file("sync", name, false)?;
        file.sync_data()
            .map_err(|e| self.failed("sync", name, &e))?;
        let times = match self.used_for {
            Use::Log => &self.counters.syncs,
            Use::Snapshots => &self.counters.snapshot_syncs,
            Use::Spare | Use::Reading | Use::Scrubbing => return Ok(()),
        };
        times.add(before.elapsed());
        Ok(())
    }

    fn sync_dir(&mut self, dir: &str) -> Result<(), DiskError> {
        let path = if dir.is_empty() {
            self.root.clone()
        } else {
            self.path("sync directory", dir)?
        };
        File::open(path)
            .and_then(|directory| directory.sync_all())
            .map_err(|e| self.failed("sync directory", dir, &e))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let (old, new) = (self.path("rename", from)?, self.path("rename to", to)?);
        std::fs::rename(old, new).map_err(|e| self.failed("rename", from, &e))?;
        self.open.remove(to);
        if let Some(file) = self.open.remove(from) {
            self.open.insert(to.into(), file);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        let path = self.path("remove", name)?;
        self.open.remove(name);
        match std::fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(self.failed("remove", name, &e)),
        }
    }

    fn discard(&mut self, name: &str) -> Result<(), DiskError> {
        let held = self.open.remove(name).map(|open| open.file);
        let held = held.or_else(|| File::open(self.path("remove", name).ok()?).ok());
        self.remove(name)?;
        if let Some(file) = held {
            self.discard.close(file);
        }
        Ok(())
    }
}

/// Reads from `offset` on until `bytes` are full or the file ends; how many there were.
fn fill(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Reserves a file's first `len` bytes; `false` if the file system cannot.
fn allocate(file: &File, len: u64) -> io::Result<bool> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// What the caller can do about an error of the operating system.
fn kind_of(error: &io::Error) -> DiskErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskErrorKind::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            DiskErrorKind::Denied
        }
        io::ErrorKind::NotFound => DiskErrorKind::NotFound,
        _ => DiskErrorKind::Failed,
    }
}
