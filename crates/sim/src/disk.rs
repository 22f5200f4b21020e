//! A disk made of dice: what a page cache holds, what is durable, and what a power cut leaves.
//! Never kinder than POSIX: nothing is durable before its sync, names apart from contents.
//!
//! # Source
//! Pillai et al., "All File Systems Are Not Created Equal", OSDI'14; Rebello et al., "Can
//! Applications Recover from fsync Failures?", ATC'20.

mod lies;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headwater_replica::port::{Disk, DiskError, DiskErrorKind};

use crate::dice::Dice;

pub(crate) use lies::used;
pub use lies::{Damage, Stray};
use lies::{Lies, due};

/// What a power cut keeps whole, unless it tears it.
pub const SECTOR_BYTES: usize = 512;

/// One directory tree on one disk, as processes see it and as the platters hold it.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    files: BTreeMap<u64, File>,
    next_file: u64,
    /// As processes see it.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    durable_dirs: BTreeSet<String>,
    /// Changes of names not yet durable, by directory.
    changes: BTreeMap<String, Vec<NameChange>>,
    quota_bytes: Option<u64>,
    down: bool,
    ops_left: Option<u64>,
    sync_failure: Option<(u64, Dice)>,
    call_failure: Option<(u64, ())>,
    lies: Lies,
    counts: Counts,
}

/// What was asked of a disk since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Calls of any kind.
    pub ops: u64,
    /// Bytes written, zero-filling included.
    pub written_bytes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of directories.
    pub dir_syncs: u64,
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    cache: Vec<u8>,
    /// In the order made.
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    /// The file has at least this many bytes.
    Extend(usize),
    /// A sector's content from its start, up to the end of the file then.
    Sector { at: usize, content: Vec<u8> },
}

#[derive(Clone, Debug)]
enum NameChange {
    MakeDir(String),
    Link { name: String, file: u64 },
    Unlink { name: String },
    Rename { from: String, to: String, file: u64 },
}

impl Change {
    fn apply(&self, durable: &mut Vec<u8>) {
        match self {
            Self::Extend(len) => durable.resize(durable.len().max(*len), 0),
            Self::Sector { at, content } => {
                let end = at + content.len();
                durable.resize(durable.len().max(end), 0);
                durable[*at..end].copy_from_slice(content);
            }
        }
    }

    /// The same change when power failed while it was made.
    fn torn(&self, dice: &mut Dice) -> Self {
        match self {
            Self::Extend(len) => Self::Extend(*len),
            Self::Sector { at, content } => {
                let kept = dice.below(content.len() as u64 + 1) as usize;
                let content = content[..kept].to_vec();
                Self::Sector { at: *at, content }
            }
        }
    }
}

/// How much of what was not synced a power cut keeps.
fn kept<T: Clone>(changes: &[T], dice: &mut Dice) -> Vec<T> {
    match dice.below(4) {
        0 => Vec::new(),
        1 => changes.to_vec(),
        2 => {
            let count = dice.below(changes.len() as u64 + 1);
            changes[..count as usize].to_vec()
        }
        _ => {
            let of = 2 + dice.below(6);
            let some = changes.iter().filter(|_| !dice.chance(1, of));
            some.cloned().collect()
        }
    }
}

impl File {
    fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.unsynced.push(Change::Extend(end));
        }
        self.cache[offset..end].copy_from_slice(data);
        let first = offset / SECTOR_BYTES * SECTOR_BYTES;
        for at in (first..end).step_by(SECTOR_BYTES) {
            let to = (at + SECTOR_BYTES).min(self.cache.len());
            let content = self.cache[at..to].to_vec();
            self.unsynced.push(Change::Sector { at, content });
        }
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    fn power_cut(&mut self, dice: &mut Dice) {
        let changes = kept(&self.unsynced, dice);
        let tearing = dice.chance(1, 2);
        for change in &changes {
            if tearing && dice.chance(1, 4) {
                change.torn(dice).apply(&mut self.durable);
            } else {
                change.apply(&mut self.durable);
            }
        }
        self.unsynced.clear();
        self.cache = self.durable.clone();
    }
}

fn dir_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(dir, _)| dir)
}

fn refused(what: String, kind: DiskErrorKind) -> DiskError {
    DiskError { what, kind }
}

impl SimDisk {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was asked of it so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Lets the files take up at most so many bytes together; `None` for no limit.
    pub fn set_quota(&mut self, bytes: Option<u64>) {
        self.quota_bytes = bytes;
    }

    /// The `n`-th next call (one is the next) is carried out in part at most and fails, and so do
    /// all calls after it until [`SimDisk::restart`].
    pub fn crash_after(&mut self, n: u64) {
        assert!(n > 0, "the next call is number one");
        self.ops_left = Some(n);
    }

    /// The `n`-th next sync, of a file or a directory, fails as on Linux: it may have written
    /// anything, what it did not write counts as clean, and the cache keeps it.
    pub fn fail_sync(&mut self, n: u64, dice: Dice) {
        assert!(n > 0, "the next sync is number one");
        self.sync_failure = Some((n, dice));
    }

    /// The `n`-th next call (one is the next) is carried out in part at most and fails.
    pub fn fail_call(&mut self, n: u64) {
        assert!(n > 0, "the next call is number one");
        self.call_failure = Some((n, ()));
    }

    /// How many bytes all files take up.
    pub fn used_bytes(&self) -> u64 {
        let files = self.names.values().map(|file| self.files[file].cache.len());
        files.sum::<usize>() as u64
    }

    /// Whether calls fail until a restart.
    pub fn is_down(&self) -> bool {
        self.down
    }

    /// Kills the process: calls fail until a restart; the page cache survives.
    pub fn kill(&mut self) {
        self.down = true;
    }

    /// Cuts the power: of what was not synced, the dice keep nothing, everything, a beginning or
    /// any part, sectors torn. Calls fail until a restart.
    pub fn power_cut(&mut self, dice: &mut Dice) {
        self.down = true;
        let changes = std::mem::take(&mut self.changes);
        for (_, changes) in changes {
            for change in kept(&changes, dice) {
                self.make_durable(&change);
            }
        }
        let dirs = &self.durable_dirs;
        self.durable_names
            .retain(|name, _| dir_of(name).is_empty() || dirs.contains(dir_of(name)));
        self.names = self.durable_names.clone();
        self.forget_unnamed();
        for file in self.files.values_mut() {
            file.power_cut(dice);
        }
        self.lies.come_to_light();
    }

    /// The process starts again: planned failures are forgotten, calls work.
    pub fn restart(&mut self) {
        self.down = false;
        self.ops_left = None;
        self.sync_failure = None;
        self.call_failure = None;
        self.lies.disarm();
    }

    /// Turns over one bit of a file, on the platter and in the cache alike.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn flip_bit(&mut self, name: &str, offset: u64, bit: u8) {
        let file = self.file_mut(name);
        file.sync();
        file.cache[offset as usize] ^= 1 << bit;
        file.durable = file.cache.clone();
    }

    /// Writes over a part of a file, on the platter and in the cache alike.
    ///
    /// # Panics
    /// If there is no such file or place.
    pub fn damage(&mut self, name: &str, offset: u64, bytes: &[u8]) {
        let file = self.file_mut(name);
        file.sync();
        let from = offset as usize;
        file.cache[from..from + bytes.len()].copy_from_slice(bytes);
        file.durable = file.cache.clone();
    }

    /// Cuts a file's end off, durably: a fault, not something a log asks for.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn cut(&mut self, name: &str, len: u64) {
        let file = self.file_mut(name);
        file.sync();
        file.cache.truncate(len as usize);
        file.durable = file.cache.clone();
    }

    /// All files and their contents, as processes see them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let content = |file: &u64| self.files[file].cache.clone();
        let files = self.names.iter();
        files
            .map(|(name, file)| (name.clone(), content(file)))
            .collect()
    }

    fn file_mut(&mut self, name: &str) -> &mut File {
        let file = self.names.get(name).expect("a file of this name");
        self.files.get_mut(file).expect("names lead to files")
    }

    /// Counts a call. `Ok(true)`: it is the one to be interrupted.
    fn begin(&mut self, what: &str) -> Result<bool, DiskError> {
        self.counts.ops += 1;
        if self.down {
            return Err(refused(format!("{what}: down"), DiskErrorKind::Failed));
        }
        if let Some(left) = &mut self.ops_left {
            *left -= 1;
            self.down = *left == 0;
        }
        let fails = due(&mut self.call_failure).is_some();
        Ok(self.down || fails)
    }

    fn interrupted<T>(&self, what: &str) -> Result<T, DiskError> {
        Err(refused(format!("{what}: crashed"), DiskErrorKind::Failed))
    }

    fn find(&mut self, what: &str, name: &str) -> Result<&mut File, DiskError> {
        match self.names.get(name) {
            Some(file) => Ok(self.files.get_mut(file).expect("names lead to files")),
            None => {
                let what = format!("{what} {name}: no such file");
                Err(refused(what, DiskErrorKind::NotFound))
            }
        }
    }

    fn change(&mut self, dir: &str, change: NameChange) {
        self.changes.entry(dir.into()).or_default().push(change);
    }

    fn link(&mut self, name: &str) -> u64 {
        let dir = dir_of(name).to_string();
        // The entry in `changes` is also how a directory is known to exist.
        if !dir.is_empty() && !self.changes.contains_key(&dir) && !self.durable_dirs.contains(&dir)
        {
            self.change("", NameChange::MakeDir(dir.clone()));
        }
        self.next_file += 1;
        let file = self.next_file;
        self.files.insert(file, File::default());
        self.names.insert(name.into(), file);
        let name = name.into();
        self.change(&dir, NameChange::Link { name, file });
        file
    }

    fn make_durable(&mut self, change: &NameChange) {
        match change.clone() {
            NameChange::MakeDir(dir) => {
                self.durable_dirs.insert(dir);
            }
            NameChange::Link { name, file } => {
                self.durable_names.insert(name, file);
            }
            NameChange::Unlink { name } => {
                self.durable_names.remove(&name);
            }
            NameChange::Rename { from, to, file } => {
                self.durable_names.remove(&from);
                self.durable_names.insert(to, file);
            }
        }
    }

    /// Drops files that no name, durable or not, can lead to any more.
    fn forget_unnamed(&mut self) {
        let names = self.names.values().chain(self.durable_names.values());
        let mut used: BTreeSet<u64> = names.copied().collect();
        for change in self.changes.values().flatten() {
            if let NameChange::Link { file, .. } | NameChange::Rename { file, .. } = change {
                used.insert(*file);
            }
        }
        self.files.retain(|file, _| used.contains(file));
    }

    fn check_quota(&self, what: &str, more: u64) -> Result<(), DiskError> {
        let used = self.used_bytes();
        // A power cut may bring back more than there is room for; what is there can be overwritten.
        if more > 0 && self.quota_bytes.is_some_and(|quota| used + more > quota) {
            let what = format!("{what}: no space left");
            return Err(refused(what, DiskErrorKind::Full));
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn list(&mut self, dir: &str) -> Result<Vec<String>, DiskError> {
        if self.begin("list")? {
            return self.interrupted("list");
        }
        let names = self.names.keys().filter(|name| dir_of(name) == dir);
        let local = |name: &String| name.rsplit('/').next().unwrap_or(name).to_string();
        Ok(names.map(local).collect())
    }

    fn size(&mut self, name: &str) -> Result<Option<u64>, DiskError> {
        if self.begin("size")? {
            return self.interrupted("size");
        }
        let file = self.names.get(name);
        Ok(file.map(|file| self.files[file].cache.len() as u64))
    }

    fn read(&mut self, name: &str, offset: u64, len: usize) -> Result<Bytes, DiskError> {
        if self.begin("read")? {
            return self.interrupted("read");
        }
        let cache = &self.find("read", name)?.cache;
        let from = (offset as usize).min(cache.len());
        let to = from.saturating_add(len).min(cache.len());
        let bytes = cache[from..to].to_vec();
        self.tell(name, from, bytes)
    }

    fn create_zeroed(&mut self, name: &str, len: u64) -> Result<(), DiskError> {
        let crash = self.begin("create")?;
        self.check_quota("create", len)?;
        self.counts.written_bytes += len;
        let file = self.link(name);
        let file = self.files.get_mut(&file).expect("just made");
        let len = if crash { len / 2 } else { len };
        file.cache.resize(len as usize, 0);
        file.unsynced.push(Change::Extend(len as usize));
        if crash {
            return self.interrupted("create");
        }
        Ok(())
    }

    fn reserve(&mut self, name: &str, len: u64) -> Result<(), DiskError> {
        self.create_zeroed(name, len)
    }

    fn write(&mut self, name: &str, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let crash = self.begin("write")?;
        let size = self
            .names
            .get(name)
            .map(|file| self.files[file].cache.len() as u64);
        let end = offset + data.len() as u64;
        self.check_quota("write", end.saturating_sub(size.unwrap_or(0)))?;
        self.counts.written_bytes += data.len() as u64;
        if size.is_none() {
            self.link(name);
        }
        let data = if crash { &data[..data.len() / 2] } else { data };
        self.find("write", name)?.write(offset as usize, data);
        if crash {
            return self.interrupted("write");
        }
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.counts.syncs += 1;
        if self.begin("sync")? {
            return self.interrupted("sync");
        }
        let failing = due(&mut self.sync_failure);
        let file = self.find("sync", name)?;
        let Some(mut dice) = failing else {
            self.sync_or_stray(name);
            return Ok(());
        };
        for change in kept(&file.unsynced, &mut dice) {
            change.apply(&mut file.durable);
        }
        file.unsynced.clear();
        let what = format!("sync {name}: input/output error");
        Err(refused(what, DiskErrorKind::Failed))
    }

    fn sync_dir(&mut self, dir: &str) -> Result<(), DiskError> {
        self.counts.dir_syncs += 1;
        if self.begin("sync_dir")? {
            return self.interrupted("sync_dir");
        }
        if !dir.is_empty() && !self.changes.contains_key(dir) && !self.durable_dirs.contains(dir) {
            let what = format!("sync_dir {dir}: no such directory");
            return Err(refused(what, DiskErrorKind::NotFound));
        }
        if due(&mut self.sync_failure).is_some() {
            // A journal that fails keeps what it holds for the next try.
            let what = format!("sync_dir {dir}: input/output error");
            return Err(refused(what, DiskErrorKind::Failed));
        }
        let changes = self.changes.get_mut(dir).map(std::mem::take);
        for change in changes.unwrap_or_default() {
            self.make_durable(&change);
        }
        self.forget_unnamed();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        if self.begin("rename")? {
            return self.interrupted("rename");
        }
        self.find("rename", from)?;
        assert_eq!(dir_of(from), dir_of(to), "a rename stays in its directory");
        let file = self.names.remove(from).expect("just found");
        self.names.insert(to.into(), file);
        let (from, to) = (from.to_string(), to.to_string());
        let dir = dir_of(&to).to_string();
        self.change(&dir, NameChange::Rename { from, to, file });
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        if self.begin("remove")? {
            return self.interrupted("remove");
        }
        if self.names.remove(name).is_some() {
            let dir = dir_of(name).to_string();
            let name = name.into();
            self.change(&dir, NameChange::Unlink { name });
        }
        Ok(())
    }
}
